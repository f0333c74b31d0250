"""Training from Python: what it learns, what it records, and what its clock measures."""

from __future__ import annotations

import itertools
import sys
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rlsbench import Iteration, Training, capacity, load_experiment, prepare
from rlsbench.backend import (
    FEATURES,
    ArraySpec,
    Options,
    SpikeTrain,
    Trainer,
    backend_entries,
    get_backend,
    make_trainer,
    resolve_options,
)
from rlsbench.cli import main
from rlsbench.errors import BackendError, InsufficientMemoryError, RlsbenchError, UnknownBackendError, UnsupportedError
from rlsbench.problem import Problem, initial_problem
from rlsbench.results import read_results
from rlsbench.training.initial_trial import measure_initial_trial
from rlsbench.training.learned_current import LearnedCurrent
from rlsbench.training.trial import run_trial

USABLE = [entry.name for entry in backend_entries() if entry.reason is None and entry.origin.startswith("rlsbench ")]
FAST = "numba" if "numba" in USABLE else "numpy-packed"


@pytest.fixture
def small(tiny: dict[str, Any]) -> Training:
    """A tiny network, ready to be trained."""
    return prepare(load_experiment("smoke", overrides=tiny), "numpy-packed")


def test_smoke_preset_learns() -> None:
    """Measured for four seeds and two backends: at most 0.08 after two iterations, then 0.72."""
    trained = prepare(load_experiment("smoke"), FAST)
    correlation = [i.correlation or 0.0 for i in trained.run()]
    assert len(correlation) == 20
    assert np.mean(correlation[:2]) < 0.15
    assert np.mean(correlation[-4:]) > 0.6
    assert trained.learning_curve()["firing_rate_hz"].between(3.0, 6.5).all()


def test_smoke_preset_learns_only_where_weights_change() -> None:
    """In benchmark mode the correlation stays low; with learning it exceeds 0.4."""
    trained = prepare(load_experiment("smoke", overrides={"learning.benchmark": True}), FAST)
    correlation = [i.correlation or 0.0 for i in trained.run(10)]
    assert np.abs(correlation).max() < 0.2


def test_the_network_of_the_initial_trial_is_freed_before_the_next_is_drawn(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module, made = sys.modules["rlsbench.training.preparation"], list[weakref.ref[Trainer]]()

    def make(*arguments: Any) -> Trainer:
        assert not any(trainer() for trainer in made)
        trainer = make_trainer(*arguments)
        if trainer.problem.neurons == 70:  # not the tiny network that warms up
            made.append(weakref.ref(trainer))
        return trainer

    monkeypatch.setattr(module, "make_trainer", make)
    assert prepare(load_experiment("smoke", overrides=tiny), "numpy-packed").trainer is made[-1]()
    assert len(made) == 2


def test_learning_curve_holds_every_iteration(small: Training) -> None:
    assert small.learning_curve().empty
    done = list(small.run(3))
    curve = small.learning_curve()
    assert isinstance(curve, pd.DataFrame)
    not_in_curves = ("population_rates_hz", "exchange_seconds")
    assert list(curve.columns) == [name for name in Iteration.__dataclass_fields__ if name not in not_in_curves]
    assert curve["iteration"].tolist() == [1, 2, 3]
    assert curve["firing_rate_hz"].tolist() == [i.firing_rate_hz for i in done]
    assert curve["correlation"].tolist() == [i.correlation for i in done]
    assert curve["correlation"].dtype == np.float64
    assert (curve["rls_seconds"] > 0).all()
    assert (curve["rls_seconds"] < curve["seconds"]).all()
    assert small.seconds_per_iteration() == np.median([i.seconds for i in done[1:]])


def test_iterations_are_those_of_the_experiment_and_go_on(small: Training) -> None:
    assert small.seconds_per_iteration() is None
    assert [i.iteration for i in small.run()] == [1, 2]
    assert [i.iteration for i in small.run(1)] == [3]
    assert len(small.iterations) == 3


def test_iterations_run_on_demand(small: Training) -> None:
    iterator = small.run(1000)
    assert next(iterator).iteration == 1
    assert len(small.iterations) == 1


def test_records_of_the_last_iteration(small: Training) -> None:
    with pytest.raises(RlsbenchError):
        small.learned_current()
    assert len(small.spikes().step) == 0
    (iteration,) = small.run(1)
    learned, target = small.learned_current(), small.target_current()
    bins, N = small.problem.clock.bins, small.problem.neurons
    assert learned.shape == target.shape == (bins, N) == (20, 70)
    by_hand = [np.corrcoef(learned[:, c], target[:, c])[0, 1] for c in range(N)]
    assert iteration.correlation == pytest.approx(np.mean(by_hand), abs=1e-6)
    assert iteration.undefined_correlations == 0
    few = small.shown_neurons()
    np.testing.assert_array_equal(small.learned_current(few), learned[:, few])
    recorded = small.recorded_neurons()
    spikes = small.spikes()
    assert set(spikes.neuron) <= set(recorded)
    assert small.last_record is not None
    counts = small.last_record.spike_counts
    np.testing.assert_array_equal(np.bincount(spikes.neuron, minlength=N)[recorded], counts[recorded])
    assert iteration.firing_rate_hz == pytest.approx(counts.sum() / N / 0.05)
    assert iteration.firing_rate_hz > 5


def test_without_correlation_no_current_is_sampled(small: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LearnedCurrent, "sample", lambda *_: pytest.fail("a sample was taken"))
    (iteration,) = small.run(1, correlate=False)
    assert iteration.correlation is None
    assert iteration.undefined_correlations == 0
    assert np.isnan(small.learning_curve()["correlation"][0])


def test_tasks_alternate(tiny: dict[str, Any]) -> None:
    trained = prepare(load_experiment("smoke", overrides=tiny | {"targets.tasks": 3}), "numpy-packed")
    targets = []
    for iteration in trained.run(5):
        assert iteration.task == (iteration.iteration - 1) % 3
        targets.append(trained.target_current())
    assert trained.learning_curve()["task"].tolist() == [0, 1, 2, 0, 1]
    np.testing.assert_array_equal(targets[3], targets[0])
    assert not np.allclose(targets[1], targets[0])
    assert trained.last_record is not None
    assert trained.last_record.task == 1


def test_seconds_exclude_measurement(small: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    """If every sample takes 5 ms longer, measuring takes 0.2 s longer and the trial does not."""
    sample, taken = LearnedCurrent.sample, []

    def slow(self: LearnedCurrent, step: int, trainer: Any) -> None:
        time.sleep(0.005)
        taken.append(step)
        sample(self, step, trainer)

    monkeypatch.setattr(LearnedCurrent, "sample", slow)
    before = time.perf_counter()
    (iteration,) = small.run(1)
    wall = time.perf_counter() - before
    assert taken == list(range(110, 501, 10))  # each millisecond after the stimulus
    slept = 0.005 * len(taken)
    assert iteration.measuring_seconds >= slept
    assert iteration.seconds <= wall - slept
    assert iteration.seconds + iteration.measuring_seconds <= wall


@pytest.mark.parametrize("seed", [1, 2])
def test_spontaneous_rates_are_the_same_in_every_backend(seed: int) -> None:
    experiment = load_experiment("smoke", overrides={"training.seed": seed})
    rates = {}
    for name in USABLE:
        backend = get_backend(name)
        trainer = backend.trainer(initial_problem(experiment), resolve_options(backend, experiment.numerics))
        measured = measure_initial_trial(trainer, experiment.training.average_from_ms).rates_hz
        rates[name] = [measured[:256].mean(), measured[256:].mean()]
    assert len(rates) >= 3
    for name, rate in rates.items():
        np.testing.assert_allclose(rate, rates["reference"], rtol=0.01, err_msg=name)
        assert 2.0 < rate[0] < rate[1] < 6.0


def test_options_and_times_of_a_training(tiny: dict[str, Any]) -> None:
    numerics = {"numerics.precision": "float64", "numerics.p_precision": "float32", "numerics.threads": 2}
    prepared = prepare(load_experiment("smoke", overrides=tiny | numerics), get_backend("numpy-full"))
    options = prepared.options
    assert (options.precision, options.p_precision, options.storage, options.threads) == (
        "float64",
        "float32",
        "full",
        2,
    )
    state = prepared.trainer.state()
    assert (state.w.dtype, state.P.dtype) == (np.float64, np.float32)
    assert state.w.shape == (70, 12)
    assert prepared.setup_seconds > 0
    assert prepared.compile_seconds > 0
    assert prepared.backend.name == "numpy-full"


def test_no_tiny_network_is_run_for_kernels_of_the_sizes_of_a_network(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    warmed: list[Any] = []
    monkeypatch.setattr("rlsbench.training.preparation._warm_up", lambda *asked: warmed.append(asked))
    backend: Any = get_backend("numpy-packed")
    for specialized in (True, False):
        made = replace(backend, capabilities=replace(backend.capabilities, specialized=specialized))
        prepare(load_experiment("smoke", overrides=tiny), made)
        assert bool(warmed) is not specialized


def test_invalid_requests_are_refused(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    """A refused run makes no trainer, except for the tiny network that runs first."""

    class Modest:
        """numpy-full without feed-forward inputs, which makes no trainer that has them."""

        capabilities = replace(get_backend("numpy-full").capabilities, features=frozenset(FEATURES) - {"feedforward"})

        def __getattr__(self, name: str) -> Any:
            return getattr(get_backend("numpy-full"), name)

        def trainer(self, problem: Problem, options: Options) -> Any:
            assert problem.neurons == 16
            assert problem.feedforward is None
            return get_backend("numpy-full").trainer(problem, options)

    with refused(UnknownBackendError, "abacus"):
        prepare(load_experiment("smoke", overrides=tiny), "abacus")
    with refused(UnsupportedError, "feedforward"):
        prepare(load_experiment("smoke", overrides=tiny | {"feedforward.LX": 2}), Modest())
    with refused(UnsupportedError, "storage", "packed"):
        prepare(load_experiment("smoke", overrides=tiny | {"numerics.storage": "packed"}), Modest())
    monkeypatch.setattr(capacity, "available_bytes", lambda: 1000)
    with pytest.raises(InsufficientMemoryError):
        prepare(load_experiment("smoke", overrides=tiny), Modest())


def test_a_seed_draws_the_same_in_every_backend(tiny: dict[str, Any]) -> None:
    """Targets agree bit for bit, and so do the spikes that initial voltages and noise cause."""
    alike = tiny | {
        "network.K": 0,
        "targets.untrained": 10,
        "noise.sigma": 1.5,
        "numerics.precision": "float64",
        "numerics.p_precision": "float64",
    }

    def start(name: str, seed: int) -> tuple[np.ndarray, np.ndarray, SpikeTrain]:
        """Targets, rates without plastic inputs, and the spikes of another trial."""
        training = prepare(load_experiment("mouse", overrides=alike | {"training.seed": seed}), name)
        p = training.trainer.problem
        assert p.targets is not None
        spikes = run_trial(training.trainer, 3, task=0, learn=False, record=np.arange(p.neurons)).spikes
        return p.targets.matrix(0), training.initial.rates_hz, spikes

    wanted = start("reference", 5)
    assert wanted[1].sum() > 0
    assert len(wanted[2].step) > 100
    for name in USABLE:
        for got, expected in zip(start(name, 5), wanted, strict=True):
            np.testing.assert_array_equal(got, expected, err_msg=name)
    other = start("reference", 6)
    assert not np.array_equal(other[0][:, 0], wanted[0][:, 0])
    assert not np.array_equal(other[1], wanted[1])


# What crosses the contract


def replaced(name: str, change: Callable[[Any], Any]) -> Callable[[Any], None]:
    """Change what a method of a trainer returns."""

    def apply(trainer: Any) -> None:
        own = getattr(trainer, name)
        setattr(trainer, name, lambda *arguments: change(own(*arguments)))

    return apply


def failing_in_trial_2(error: BaseException) -> Callable[[Any], None]:
    def apply(trainer: Any) -> None:
        own, calls = trainer.learn, itertools.count()

        def learn(bin: int) -> None:
            if next(calls) == trainer.problem.clock.bins + 3:
                raise error
            own(bin)

        trainer.learn = learn

    return apply


@pytest.mark.parametrize(
    ("change", "done", "named"),
    [
        (failing_in_trial_2(RuntimeError("kernel\nfailed")), 1, ["RuntimeError: kernel failed", "test_training.py:"]),
        (failing_in_trial_2(SystemExit(0)), 1, ["SystemExit"]),
        (replaced("spike_counts", lambda counts: -counts), 0, ["spike_counts()", "-"]),
        (replaced("spike_counts", lambda counts: counts[1:]), 0, ["spike_counts()", "(69,)", "(70,)"]),
        (replaced("recorded_spikes", lambda s: SpikeTrain(s.step - 9999, s.neuron)), 0, ["recorded_spikes()", "step"]),
        (replaced("recorded_spikes", lambda s: SpikeTrain(s.step, s.neuron + 70)), 0, ["recorded_spikes()", "neuron"]),
        (replaced("recorded_spikes", lambda s: SpikeTrain(s.step[1:], s.neuron)), 0, ["recorded_spikes()", "step"]),
        (replaced("voltages", lambda v: v[1:]), 0, ["voltages()", "(69,)", "(70,)"]),
        (replaced("currents", lambda both: (both[0][:1], both[1])), 0, ["currents()", "u_bal", "(1,)"]),
        (replaced("current_sums", lambda sums: sums[:, 1:]), 0, ["current_sums()"]),
        (replaced("block", lambda block: block._replace(w=block.w[:, 1:])), 0, ["block()", "(70, 11)"]),
        (replaced("weights", lambda w: w[:, 1:]), 2, ["weights()", "(70, 11)"]),
        (replaced("weights", lambda w: w * np.nan), 2, ["weights()", "finite"]),
    ],
)
def test_a_backend_that_breaks_its_contract_is_named(
    tiny: dict[str, Any], change: Callable[[Any], None], done: int, named: list[str], refused: Any
) -> None:
    training = prepare(load_experiment("smoke", overrides=tiny), "numpy-full")
    change(training.trainer)
    with refused(BackendError, "backend numpy-full", *named) as caught:
        list(training.run(2))
        training.weights()
    assert "\n" not in str(caught.value)
    assert len(training.iterations) == done


@pytest.mark.parametrize(
    ("name", "body", "named"),
    [
        ("trainer", lambda *_: None, "NoneType"),
        ("trainer", lambda *_: 1 // 0, "ZeroDivisionError"),
        ("arrays", lambda *_: [][0], "IndexError"),
        ("arrays", lambda *_: [ArraySpec.of("P", -(10**30), "u1")], "negative"),
        ("unusable", lambda *_: {}["driver"], "KeyError: 'driver'"),
    ],
)
def test_a_backend_that_fails_before_the_training_is_named(
    tiny: dict[str, Any], name: str, body: Any, named: str, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = get_backend("numpy-full")
    monkeypatch.setattr(type(backend), name, body)
    with refused(BackendError, "backend numpy-full", named):
        prepare(load_experiment("smoke", overrides=tiny), backend)


def test_what_was_learned_before_a_backend_fails_is_kept(
    tiny_options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = type(get_backend("numpy-full"))
    own = kind.trainer

    def failing(self: Any, *arguments: Any) -> Any:
        trainer = own(self, *arguments)
        begin = trainer.begin_trial

        def begin_trial(trial: int, *rest: Any) -> None:
            if trial == 2:
                raise RuntimeError("kernel\nfailed")
            begin(trial, *rest)

        trainer.begin_trial = begin_trial  # type: ignore[method-assign]
        return trainer

    monkeypatch.setattr(kind, "trainer", failing)
    out = str(tmp_path / "out")
    options = ["--preset", "smoke", "--backend", "numpy-full", "--checkpoint-every", "1", "--output", out]
    with pytest.raises(SystemExit) as end:
        main(["run", *options, *tiny_options])
    (line,) = capsys.readouterr().err.splitlines()
    assert end.value.code == 1
    assert all(named in line for named in ("backend numpy-full", "kernel failed", f"rlsbench resume {out}"))
    assert len(read_results([out]).runs[0].iterations) == 1
    assert (tmp_path / "out" / "checkpoints" / "iteration-000001.h5").is_file()
