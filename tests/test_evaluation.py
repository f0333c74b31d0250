"""Evaluation with frozen weights: measures, independence of threads, and saved runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rlsbench import Training, load_experiment, prepare
from rlsbench.backend import Backend, Options, SpikeTrain, Trainer, make_trainer
from rlsbench.cli import main
from rlsbench.clock import Clock
from rlsbench.errors import BackendError, ConfigurationError, ResultError
from rlsbench.network import Populations
from rlsbench.problem import Problem
from rlsbench.recordings import smooth
from rlsbench.results import load_run
from rlsbench.targets.making import target_neurons
from rlsbench.training.evaluation import FIRST_TRIAL, Evaluation, binned_counts, evaluate
from rlsbench.training.learned_current import pearson
from rlsbench.training.trial import run_trial
from tests.conftest import usable

pytestmark = pytest.mark.xdist_group("evaluation")  # so that what they share is trained once
SMALL: dict[str, Any] = {
    "network.neurons": 120,
    "network.K": 10,
    "network.L": 8,
    "time.train_duration_ms": 200.0,
    "targets.period_ms": 200.0,
    "stimulus.on_ms": 20.0,
    "stimulus.off_ms": 40.0,
    "training.average_from_ms": 20.0,
    "external.scale": 0.4,
    "noise.kind": "voltage",
    "noise.sigma": 0.3,
}


@pytest.fixture(scope="module")
def training() -> Training:
    trained = prepare(load_experiment("smoke", overrides=SMALL | {"targets.tasks": 2}), "numpy-packed")
    for _ in trained.run(10):
        pass
    return trained


@pytest.fixture(scope="module")
def found(training: Training) -> Evaluation:
    return evaluate(training, 4, smoothing_bins=3, threads=2)


def test_spikes_are_counted_in_the_bins_that_lead_up_to_each_update() -> None:
    clock = Clock(0.1, 40, 10, 10)  # updates after steps 20, 30 and 40
    step = np.array([1, 10, 11, 20, 21, 30, 40], np.int32)
    neuron = np.array([0, 1, 0, 0, 1, 1, 0], np.int32)
    np.testing.assert_array_equal(binned_counts(SpikeTrain(step, neuron), clock, 2), [[2, 0], [0, 2], [1, 0]])


@pytest.mark.parametrize(
    ("N", "recorded", "neurons"),
    [(6, 6, range(6)), (7, 7, range(7)), (10, 6, [0, 1, 2, 5, 6, 7]), (10, 5, [0, 1, 2, 5, 6]), (10, 9, [*range(9)])],
)
def test_a_recording_is_spread_over_both_populations(N: int, recorded: int, neurons: Any) -> None:
    assert target_neurons(Populations.pair(N, N // 2), recorded).tolist() == list(neurons)
    ten = Populations.of([("a", 2, -1), ("b", 7, 1), ("c", 1, 1)])
    assert target_neurons(ten, 5).tolist() == [0, 2, 3, 4, 5][:5]


def test_measures_of_a_neuron(training: Training, found: Evaluation) -> None:
    """By hand, from trials that are run one by one."""
    p = training.problem
    assert p.targets is not None
    table = found.neurons.set_index(["task", "neuron"])
    assert len(table) == 2 * 120
    for task in range(2):
        counts = []
        for i in range(4):
            run_trial(training.trainer, FIRST_TRIAL + i, task=task, learn=False, record=np.arange(120))
            counts.append(binned_counts(training.trainer.recorded_spikes(), p.clock, 120))
        spikes = np.array(counts).sum(axis=1)  # trials, neurons
        np.testing.assert_allclose(table.rate_hz[task], spikes.mean(axis=0) / 0.2, rtol=1e-12)
        silent = spikes.sum(axis=0) == 0
        fano = spikes[:, ~silent].var(axis=0, ddof=1) / spikes[:, ~silent].mean(axis=0)
        np.testing.assert_allclose(table.fano_factor[task][~silent], fano, rtol=1e-9)
        assert table.fano_factor[task][silent].isna().all()
        psth = smooth(np.mean(counts, axis=0) / 0.01, "boxcar", 3)
        np.testing.assert_allclose(found.rates_hz[task], psth, rtol=1e-9, atol=1e-9)
        expected = pearson(found.currents[task], p.targets.matrix(task))
        np.testing.assert_allclose(table.current_correlation[task], expected, rtol=1e-9)
        other = pearson(found.currents[task], p.targets.matrix(1 - task))
        np.testing.assert_allclose(table.current_correlation_other_task[task], other, rtol=1e-9)
    assert found.neurons.psth_correlation.isna().all()  # there is no recording
    assert table.current_correlation.mean() > table.single_trial_current_correlation.mean() > 0
    assert abs(table.current_correlation_shuffled.mean()) < 0.2
    # Weights are unchanged.
    before = training.weights()
    evaluate(training, 2)
    np.testing.assert_array_equal(training.weights(), before)


def test_threads_change_nothing(training: Training, found: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    for threads in (3, 1):
        if threads == 1:  # Numba's threading layer workqueue serves the calling thread alone
            monkeypatch.setattr("rlsbench.training.evaluation.ThreadPoolExecutor", None)
        other = evaluate(training, 4, smoothing_bins=3, threads=threads)
        pd.testing.assert_frame_equal(other.neurons, found.neurons)
        np.testing.assert_array_equal(other.spread, found.spread)


def test_summary_is_the_mean_over_neurons(training: Training, found: Evaluation) -> None:
    summary = json.loads(json.dumps(found.summary()))
    assert summary["trials"] == 4
    assert [task["task"] for task in summary["tasks"]] == [0, 1]
    rows = found.neurons[found.neurons.task == 1]
    assert summary["tasks"][1]["current_correlation"] == pytest.approx(rows.current_correlation.mean())
    assert summary["tasks"][1]["psth_correlation"] is None
    learned = [i.correlation for i in training.iterations[-10:] if i.correlation is not None]
    assert summary["correlation_while_learning"] == pytest.approx(np.mean(learned))


@pytest.mark.parametrize(("trials", "bins"), [(1, 3), (0, 3), (4, 2), (4, 0), (4, -1)])
def test_invalid_requests_are_refused(trials: int, bins: int, training: Training, refused: Any) -> None:
    key = f"trials = {trials}" if trials < 2 else f"smoothing_bins = {bins}"
    with refused(ConfigurationError, key):
        evaluate(training, trials, smoothing_bins=bins)


# Silenced neurons


@pytest.mark.parametrize("backend", ["reference", "numpy-full", "numba", "torch"])
def test_silenced_neurons_act_as_if_their_synapses_were_cut(backend: str) -> None:
    usable(backend)
    settings = SMALL | {"numerics.precision": "float64", "targets.tasks": 2}
    training = prepare(load_experiment("smoke", overrides=settings), backend)
    problem = training.problem
    silenced = np.zeros(120, bool)
    silenced[[0, 5, *range(60, 80), 119]] = True
    found = evaluate(training, 2, silence=["0", "5", "60:80", "119"])
    np.testing.assert_array_equal(found.silenced, silenced)
    assert np.isfinite(found.currents).all()
    sources = problem.plastic.sources(problem.seed)
    assert problem.static is not None
    static = problem.static.target_weights(problem.static.targets(problem.seed)) * ~silenced[:, None]
    cut = replace(
        problem,
        static=replace(problem.static, own_weights=static),
        plastic=replace(problem.plastic, own_weights=training.weights() * ~silenced[sources]),
        targets=None,
    )
    trainer = make_trainer(training.backend, cut, training.options)
    for task in range(2):
        spikes = run_trial(trainer, FIRST_TRIAL, task=task, learn=False, record=np.arange(120)).spikes
        others = ~silenced[spikes.neuron]
        assert others.any()
        assert not others.all()
        np.testing.assert_array_equal(found.spikes[task].step, spikes.step[others])
        np.testing.assert_array_equal(found.spikes[task].neuron, spikes.neuron[others])


@pytest.mark.parametrize("model", ["glif5", "adex", "izhikevich"])
def test_neurons_of_any_model_are_silenced(model: str) -> None:
    settings = {"neuron.model": model, "external.excitatory": 4.0, "external.inhibitory": 4.0}
    training = prepare(load_experiment("smoke", overrides=SMALL | settings), "numpy-full")
    assert evaluate(training, 2).neurons.rate_hz[:60].mean() > 1
    found = evaluate(training, 2, silence="excitatory").neurons
    assert not found.rate_hz[:60].any()


def test_silenced_neurons_are_recorded_and_count_in_no_mean(training: Training, found: Evaluation) -> None:
    assert "silenced" not in found.neurons
    assert "silenced" not in found.summary()
    mask = np.zeros(120, bool)
    mask[60:] = mask[3] = True
    perturbed = evaluate(training, 2, silence=mask)
    assert perturbed.neurons.silenced.tolist() == [*mask] * 2
    summary = json.loads(json.dumps(perturbed.summary()))
    assert summary["silenced"] == {"excitatory": 1, "inhibitory": 60}
    assert list(summary["populations"]) == ["excitatory"]
    rates = perturbed.neurons.rate_hz[perturbed.neurons.task == 0]
    assert summary["tasks"][0]["rate_hz"] == pytest.approx(rates[~mask].mean())
    assert not rates[mask].any()
    assert not evaluate(training, 2, silence=np.zeros(120, bool)).neurons.silenced.any()
    assert np.flatnonzero(evaluate(training, 2, silence=3).silenced).tolist() == [3]


@pytest.mark.parametrize(
    ("silence", "named"),
    [
        (["L4x"], ("L4x", "excitatory, inhibitory")),
        (["120"], ("120", "0:120")),
        ([-1], ("-1",)),
        (["9:3"], ("9:3", "0:120")),
        (np.zeros(7, bool), ("7", "120")),
        (["inhibitory", "excitatory"], ("all 120",)),
    ],
)
def test_neurons_that_cannot_be_silenced_are_refused(
    silence: Any, named: Any, training: Training, refused: Any
) -> None:
    with refused(ConfigurationError, "silence", *named):
        evaluate(training, 2, silence=silence)


def test_a_backend_whose_silenced_neurons_spike_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def deaf(backend: Backend, problem: Problem, options: Options) -> Trainer:
        return make_trainer(
            backend, replace(problem, external_current=np.nan_to_num(problem.external_current)), options
        )

    training = prepare(load_experiment("smoke", overrides=SMALL), "numpy-packed")
    monkeypatch.setattr("rlsbench.training.evaluation.make_trainer", deaf)
    with pytest.raises(BackendError, match="numpy-packed"):
        evaluate(training, 2, silence="inhibitory")


# A saved run


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "run"
    settings = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]
    command = ["run", "--backend", "numpy-packed", "--iterations", "5", *settings, "--output", str(folder)]
    main(command)
    return folder


def test_evaluate_a_saved_run(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", str(saved), "--trials", "3", "--threads", "2"])
    out = capsys.readouterr().out
    assert "current correlation" in out
    assert "correlation while learning (published measure)" in out
    table = pd.read_csv(saved / "evaluation.csv")
    assert len(table) == 120
    document = load_run(saved).document
    assert document.evaluation is not None
    assert document.evaluation["tasks"][0]["current_correlation"] == pytest.approx(
        table.current_correlation.mean(), rel=1e-4
    )
    assert (saved / "evaluation.png").stat().st_size > 10_000
    # The same as in the process that trained it.
    trained = prepare(load_experiment("smoke", overrides=SMALL), "numpy-packed")
    for _ in trained.run(5):
        pass
    again = evaluate(trained, 3).neurons
    np.testing.assert_allclose(table.current_correlation, again.current_correlation, rtol=1e-4, atol=1e-5)


def test_evaluate_a_saved_run_with_silenced_neurons(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(saved, run)
    main(["evaluate", str(run), "--trials", "2"])
    before = (run / "evaluation.csv").read_bytes(), (run / "result.json").read_bytes()
    main(["evaluate", str(run), "--trials", "2", "--silence", "inhibitory,0:2"])
    assert "62 silenced" in capsys.readouterr().out
    assert ((run / "evaluation.csv").read_bytes(), (run / "result.json").read_bytes()) == before
    assert (run / "silenced.png").stat().st_size > 10_000
    table = pd.read_csv(run / "silenced.csv")
    assert table.neuron[table.silenced].tolist() == [0, 1, *range(60, 120)]
    assert not table.rate_hz[table.silenced].any()
    summary = json.loads((run / "silenced.json").read_text())
    assert summary["silenced"] == {"excitatory": 2, "inhibitory": 60}
    with pytest.raises(SystemExit):
        main(["evaluate", str(run), "--trials", "2", "--silence", "inhibitory,L4"])
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert "'L4'" in error


def _remove(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).unlink()


def _write(name: str, content: bytes) -> Callable[[Path], None]:
    def write(run: Path) -> None:
        (run / name).write_bytes(content)

    return write


def _save(array: Any) -> Callable[[Path], None]:
    return lambda run: np.save(run / "weights.npy", array)


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "no configuration": (_remove("configuration.toml"), "configuration.toml"),
    "unknown setting": (_write("configuration.toml", b"colour = 3\n"), "configuration.toml"),
    "no document": (_remove("result.json"), "result.json is missing"),
    "half a document": (_write("result.json", b'{"schema_version": 1'), "result.json"),
    "another document": (_write("result.json", b"{}"), "result.json"),
    "document is not text": (_write("result.json", b"\xff\xfe"), "result.json"),
    "no weights": (_remove("weights.npy"), "weights.npy is missing"),
    "weights are text": (_write("weights.npy", b"0.5"), "weights.npy"),
    "weights are cut": (
        lambda r: (r / "weights.npy").write_bytes((r / "weights.npy").read_bytes()[:-4]),
        "weights.npy",
    ),
    "weights are objects": (lambda r: np.save(r / "weights.npy", np.array([[None]])), "weights.npy"),
    "weights are a vector": (_save(np.zeros(5)), "float32"),
    "weights are NaN": (_save(np.full((120, 16), np.nan)), "NaN"),
    "weights of another network": (_save(np.zeros((7, 16))), "(7, 16)"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damaged_runs_end_in_one_line(
    what: str, saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(saved, run)
    damage, message = DAMAGE[what]
    damage(run)
    with pytest.raises(SystemExit):
        main(["evaluate", str(run), "--trials", "2"])
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert message in err


def test_huge_headers_are_refused_before_memory_is_allocated(saved: Path, tmp_path: Path, refused: Any) -> None:
    run = tmp_path / "run"
    shutil.copytree(saved, run)
    with (run / "weights.npy").open("wb") as file:
        header = {"shape": (10**12, 10**6), "fortran_order": False, "descr": "<f8"}
        np.lib.format.write_array_header_1_0(file, header)
    with refused(ResultError, run / "weights.npy"):
        load_run(run)


# With recorded rates

MOUSE: dict[str, Any] = {
    "network.neurons": 130,
    "network.L": 8,
    "targets.tasks": 2,
    "targets.untrained": 10,
    "training.average_from_ms": 20.0,
    "time.train_duration_ms": 600.0,
    "stimulus.on_ms": 20.0,
    "stimulus.off_ms": 40.0,
}


@pytest.fixture(scope="module")
def mouse() -> Training:
    trained = prepare(load_experiment("mouse", overrides=MOUSE), "numpy-packed")
    for _ in trained.run(4):
        pass
    return trained


def test_recorded_rates_are_compared(mouse: Training, tmp_path: Path) -> None:
    found = evaluate(mouse, 3)
    table = found.neurons
    assert mouse.recording is not None
    followed = target_neurons(Populations.pair(130, 65), 120)
    for task in range(2):
        rows = table[table.task == task].set_index("neuron")
        data = mouse.recording.rates_hz[:, :, task]
        np.testing.assert_allclose(rows.data_rate_hz[followed], data.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(rows.rate_error_hz, rows.rate_hz - rows.data_rate_hz, rtol=1e-12)
        expected = pearson(found.rates_hz[task][:, followed], data)
        np.testing.assert_allclose(rows.psth_correlation[followed], expected, rtol=1e-9)
        there = mouse.recording.rates_hz[:, :, 1 - task]
        other = pearson(found.rates_hz[task][:, followed], there)
        np.testing.assert_allclose(rows.psth_correlation_other_task[followed], other, rtol=1e-9)
        assert rows.psth_correlation_shuffled[followed].notna().sum() > 100
        beyond = rows.drop(followed)
        assert len(beyond) == 10
        compared = [c for c in rows.columns if "correlation" in c or "data" in c or "error" in c]
        assert beyond[compared].isna().all(axis=None)
        assert (beyond.region == "").all()
        assert rows.region[followed].tolist() == list(mouse.recording.regions or ())
        assert rows.id[followed[0]] == "surrogate 0"
    assert table[table.task == 0].has_target.to_numpy().nonzero()[0].tolist() == followed.tolist()
    summary = found.summary()
    rates = table[(table.task == 0) & table.has_target].rate_hz
    assert summary["tasks"][0]["rate_hz"] == pytest.approx(rates.mean())
    errors = (table[table.task == 0].rate_error_hz).abs().mean()
    assert summary["tasks"][0]["absolute_rate_error_hz"] == pytest.approx(errors)
    from rlsbench.report.evaluation_figures import save_evaluation

    assert save_evaluation(mouse, found, tmp_path / "scores.png").stat().st_size > 10_000


def test_neurons_without_target_keep_their_weights(mouse: Training) -> None:
    w = mouse.weights()
    start = prepare(load_experiment("mouse", overrides=MOUSE), "numpy-packed").weights()
    followed = np.isin(np.arange(130), target_neurons(Populations.pair(130, 65), 120))
    np.testing.assert_array_equal(w[~followed], start[~followed])
    assert (w[followed] != start[followed]).any(axis=1).all()
