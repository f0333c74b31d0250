"""The external current, where it follows the firing rates: the rule, its state, what it does."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from rlsbench import Training, load_experiment, prepare, resume
from rlsbench.cli import main
from rlsbench.errors import ConfigurationError, ResultError
from rlsbench.results import load_run, read_checkpoint, save_checkpoint
from rlsbench.training.evaluation import evaluate
from rlsbench.training.external_current import adapted

GAIN = 0.25
SETTINGS = {
    "targets.kind": "surrogate",
    "targets.tasks": 2,
    "learning.external": "rate",
    "learning.external_gain": GAIN,
    "learning.neurons": ["inhibitory"],
    "training.iterations": 4,
    "numerics.threads": 1,
}


def training_of(tiny: dict[str, Any], iterations: int, **changes: Any) -> Training:
    training = prepare(load_experiment("smoke", overrides=tiny | SETTINGS | changes), "numpy-packed")
    list(training.run(iterations, correlate=False))
    return training


@pytest.fixture(scope="module")
def half_way(tiny: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Training, Path]:
    """A whole training of four iterations, and its checkpoint after two."""
    training = training_of(tiny, 2)
    path = save_checkpoint(tmp_path_factory.mktemp("half") / "two.h5", training)
    list(training.run(correlate=False))
    return training, path


def test_the_current_rises_where_the_rate_is_too_low() -> None:
    current, recorded_hz = np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.array([4.5, 4.5, 4.5, 0.0, np.nan])
    found = adapted(current, np.array([9, 4, 19, 2, 7]), recorded_hz, seconds=2.0, gain=GAIN)
    assert_array_equal(found - current, GAIN * np.array([0.0, 0.5, -1.0, -2.0, 0.0]))
    assert_array_equal(current, [1.0, 2.0, 3.0, 4.0, 5.0])


def test_rates_converge_to_recorded_ones_whatever_their_size() -> None:
    recorded_hz, current = np.array([2.0, 8.0, 60.0]), np.zeros(3)
    for _ in range(200):
        counts = np.round(2.0 * 8.0 * np.exp(4.0 * current)).astype(np.int64)  # of an exponential f-I curve
        current = adapted(current, counts, recorded_hz, seconds=2.0, gain=0.05)
    np.testing.assert_allclose(counts, 2.0 * recorded_hz, atol=1)


def test_each_neuron_follows_its_own_rate_in_the_task_of_the_trial(tiny: dict[str, Any]) -> None:
    training = training_of(tiny, 0)
    problem, clock, Ne = training.problem, training.problem.clock, training.problem.populations[0].size
    expected = problem.external_current.copy()
    for task in (0, 1):
        next(training.run(1))
        spikes = training.spikes()  # of all neurons, as there are few
        late = spikes.neuron[spikes.step >= clock.stimulus_off]
        counts = np.bincount(late, minlength=problem.neurons)
        rates = training.recorded_rates(task)
        assert rates is not None
        wanted = 0.04 * rates.mean(axis=0)  # spikes in 40 ms
        expected[Ne:] += GAIN * ((wanted - counts) / (wanted + 1))[Ne:]
        assert counts.sum() < len(spikes.neuron)  # some are before the targets begin
        for of in (training.problem, training.trainer.problem):
            np.testing.assert_allclose(of.external_current, expected, rtol=1e-12)
    assert_array_equal(expected[:Ne], problem.external_current[:Ne])  # the neurons that do not learn
    last = training.iterations[-1]
    assert (last.external_excitatory, last.external_inhibitory) == (None, pytest.approx(expected[Ne:].mean()))


def test_a_fixed_current_stays(tiny: dict[str, Any], tmp_path: Path) -> None:
    training = training_of(tiny, 1, **{"learning.external": "fixed"})
    assert training.problem is training.trainer.problem
    assert training.iterations[-1].external_inhibitory is None
    assert read_checkpoint(save_checkpoint(tmp_path / "one.h5", training)).external_current() is None


def test_frozen_trials_have_the_adapted_current(half_way: tuple[Training, Path]) -> None:
    training, current = half_way[0], half_way[0].problem.external_current
    held = {"weights": training.weights(), "external_current": current, "initial": training.initial}
    again = prepare(training.experiment, "numpy-packed", learn=False, **held)
    without = replace(again, problem=replace(again.problem, external_current=0 * current))
    rates = [evaluate(t, 2, threads=1).rates_hz for t in (training, again, without)]
    assert_array_equal(rates[1], rates[0])
    assert not np.array_equal(rates[2], rates[0])


def test_resumption_is_bit_for_bit(half_way: tuple[Training, Path]) -> None:
    whole, continued = half_way[0], resume(half_way[1])
    list(continued.run(correlate=False))
    assert_array_equal(continued.problem.external_current, whole.problem.external_current)
    assert_array_equal(continued.weights(), whole.weights())
    external = [i.external_inhibitory for i in whole.iterations]
    assert [i.external_inhibitory for i in continued.iterations] == external
    assert len(set(external)) == 4


def test_an_iteration_that_ends_early_is_undone(half_way: tuple[Training, Path], monkeypatch: Any) -> None:
    training = resume(half_way[1])
    before = training.problem.external_current.copy()
    monkeypatch.setattr(training.progress, "add", lambda iteration: 1 / 0)  # after the current was adapted
    with pytest.raises(Exception, match="division by zero"):
        next(training.run(1, correlate=False))
    for problem in (training.problem, training.trainer.problem):
        assert_array_equal(problem.external_current, before)
    list(training.run(correlate=False))
    assert_array_equal(training.problem.external_current, half_way[0].problem.external_current)


def test_a_checkpoint_without_the_current_is_refused(
    half_way: tuple[Training, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Any
) -> None:
    monkeypatch.setattr(Training, "adapts_external", False)
    path = save_checkpoint(tmp_path / "without.h5", half_way[0])
    with refused(ResultError, path, "external_current"):
        read_checkpoint(path)


def test_a_saved_run_has_the_current(
    tiny_options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Any
) -> None:
    for picture in ("figures.save_summary", "evaluation_figures.save_evaluation"):
        monkeypatch.setattr(f"rlsbench.report.{picture}", lambda *parts: parts[-1])
    run, options = tmp_path / "run", [*tiny_options, "--backend", "numpy-packed", "--iterations", "2"]
    options += [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
    main(["run", "--preset", "smoke", *options, "--no-correlate", "--output", str(run)])
    saved = load_run(run)
    assert saved.external_current is not None
    assert_array_equal(saved.external_current, np.load(run / "external_current.npy"))
    curve = saved.document.iterations[-1]
    assert curve.external_inhibitory == pytest.approx(saved.external_current[35:].mean())
    other = shutil.copytree(run, tmp_path / "other")
    np.save(other / "external_current.npy", saved.external_current + 1)
    for folder in (run, other):
        main(["evaluate", str(folder), "--trials", "2", "--threads", "1"])
    rates = [pd.read_csv(folder / "evaluation.csv").rate_hz.mean() for folder in (run, other)]
    assert rates[1] > rates[0] + 1
    damaged = shutil.copytree(run, tmp_path / "damaged")
    np.save(damaged / "external_current.npy", saved.weights)
    with refused(ResultError, "external_current.npy"):
        load_run(damaged)


def test_targets_without_recorded_rates_are_refused(tiny: dict[str, Any], refused: Any) -> None:
    experiment = load_experiment("smoke", overrides=tiny | {"learning.external": "rate"})
    with refused(ConfigurationError, "learning.external", "rate", "targets.kind"):
        prepare(experiment, "numpy-packed")


def test_a_current_of_another_size_is_refused(tiny: dict[str, Any], refused: Any) -> None:
    experiment = load_experiment("smoke", overrides=tiny)
    with refused(ConfigurationError, "external_current", (3,), (70,)):
        prepare(experiment, "numpy-packed", external_current=np.zeros(3))
