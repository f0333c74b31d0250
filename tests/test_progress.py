"""The progress of a training, and the checks of its numbers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlsbench import Iteration, Training, load_experiment, prepare
from rlsbench.backend import Options
from rlsbench.cli import main
from rlsbench.errors import ConfigurationError, NumericsError
from rlsbench.results import last_checkpoint, parse_document
from rlsbench.targets import MatrixTargets
from rlsbench.training.health import check_penalties, check_problem
from rlsbench.training.progress import Progress

Refused = Callable[..., AbstractContextManager[Any]]


def progress(correlations: list[float | None], rates: list[float] | None = None, tasks: int = 1) -> Progress:
    made = Progress(tasks)
    for i, c in enumerate(correlations):
        made.add(Iteration(i + 1, i % tasks, 1.0, 0.5, 0.1, rates[i] if rates else 5.0, c, 0))
    return made


# Progress


def test_the_best_is_the_highest_so_far() -> None:
    made = progress([0.1, 0.5, None, 0.4])
    assert (made.best_iteration, made.best_score) == (2, 0.5)
    assert not made.is_best
    made.add(Iteration(5, 0, 1.0, 0.5, 0.1, 5.0, 0.6, 3))
    assert made.is_best
    assert progress([]).best_iteration is None
    assert not progress([None]).is_best


def test_the_best_is_the_mean_over_all_tasks() -> None:
    """An easy task and a hard one: the mean over both counts, once both have been seen."""
    made = progress([0.9, 0.1, 0.8, 0.4, 0.7, 0.2], tasks=2)
    assert made.best_iteration == 4
    assert made.best_score == pytest.approx(0.6)


def test_smoothed_correlation_and_its_peak() -> None:
    correlations = [i / 20 for i in range(20)] + [1 - i / 20 for i in range(20)]
    made = progress(list(correlations))
    assert made.correlation == pytest.approx(np.mean(correlations[-10:]))
    means = np.convolve(correlations, np.full(10, 0.1), "valid")
    assert made.peak == pytest.approx(means.max())
    assert made.peak_iteration == 10 + int(np.argmax(np.round(means, 12)))
    assert made.since_peak() == 40 - made.peak_iteration
    assert progress([0.5] * 9).correlation is None
    assert progress([0.5] * 9).since_peak() == 0
    assert progress([0.5] * 20, tasks=7).window == 14


def test_drift_of_the_rate() -> None:
    assert progress([None] * 19, [5.0] * 19).drift_hz is None
    assert progress([None] * 30, [5 + 0.02 * i for i in range(30)]).drift_hz == pytest.approx(2.0)


def test_the_warning_needs_a_fall_and_a_climb() -> None:
    rising, falling = [5.0] * 20 + [7.0] * 20, [0.8] * 20 + [0.7] * 20
    assert progress(list(falling), [5.0] * 40).warning() is None
    assert progress([0.8] * 40, rising).warning() is None
    assert progress([0.8] * 20 + [0.77] * 20, rising).warning() is None
    made = progress(list(falling), rising)
    told = made.warning()
    assert told is not None
    for value in ("0.800", "iteration 10", "0.700", "5.00", "7.00", "--patience", "--save-best"):
        assert value in told
    assert made.warning() is None


def test_patience_ends_a_training(make: Callable[..., Training]) -> None:
    training = make(**{"training.patience": 3, "training.iterations": 60})
    done = list(training.run())
    assert 13 <= len(done) < 60
    assert training.progress.since_peak() == 3
    assert training.out_of_patience()
    assert list(training.run()) == []
    assert len(list(training.run(2))) == 2  # unless it is asked for


# Numerical errors


def test_fast_neurons_are_counted_and_all_their_spikes_kept(make: Callable[..., Training]) -> None:
    counts = []
    for limit in (1e-3, 40.0, 1e4):
        training = make(**{"training.maxrate_hz": limit})
        (iteration,) = training.run(1)
        assert training.last_record is not None
        spikes = training.last_record.spike_counts
        assert iteration.neurons_above_maxrate == (spikes / training.problem.clock.seconds > limit).sum()
        counts.append((iteration.neurons_above_maxrate, int(spikes.sum()), iteration.firing_rate_hz))
    assert counts[0][0] > counts[1][0] > counts[2][0] == 0
    assert len({count[1:] for count in counts}) == 1


FORMS = [
    ("reference", {}),
    ("numpy-full", {}),
    ("numpy-packed", {}),
    ("numba", {}),
    ("numba", {"numerics.algorithm": "plain", "numerics.storage": "packed", "numerics.p_precision": "float16"}),
    ("numba-blas", {}),
]


def spoiled(training: Training, which: str, neuron: int) -> None:
    """Corrupt the arrays of a trainer."""
    from rlsbench.backend import Block, Kept

    (block,) = training.trainer.blocks(training.problem.neurons)
    w, P = block.w.copy(), block.P.widened().copy()
    n = w.shape[1]
    at = np.arange(n) * (np.arange(n) + 1) // 2 + np.arange(n)
    if which == "w":
        w[neuron, 3] = np.inf
    elif P.ndim == 3:
        P[neuron, np.arange(n), np.arange(n)] *= {"P": -1, "too large P": 1.5}[which]
    else:
        P[neuron, at] *= {"P": -1, "too large P": 1.5}[which]
    training.trainer.load_blocks([(0, Block(w, {"P": Kept(P)}))])


@pytest.mark.parametrize("which", ["w", "P", "too large P"])
@pytest.mark.parametrize(("backend", "numerics"), FORMS)
def test_an_error_names_the_neuron_and_the_step(
    which: str, backend: str, numerics: dict[str, Any], make: Callable[..., Training], refused: Refused
) -> None:
    training = make(backend, **numerics)
    assert len(list(training.run(2))) == 2
    spoiled(training, which, 17)
    with np.errstate(all="ignore"), refused(NumericsError, "iteration 3", "neuron 17", "learning bin"):
        list(training.run(1))
    assert len(training.iterations) == 2


def test_an_error_is_found_in_the_learning_bin_where_it_arises(make: Callable[..., Training], refused: Refused) -> None:
    """The event form keeps g, which shows an error in P at once; any form shows an error in u."""
    for backend, which in (("numba", "P"), ("numpy-full", "u")):
        training = make(backend)
        list(training.run(1))
        advance, trainer = training.trainer.advance, training.trainer

        def spoiling(
            first: int,
            last: int,
            spikes: Any = None,
            which: str = which,
            trainer: Any = trainer,
            advance: Any = advance,
        ) -> None:
            advance(first, last, spikes)
            if first <= 240 <= last:  # the seventh bin is learned at step 240, the eighth at 260
                if which == "P":
                    trainer.update.pending.last[17] = -3.0, 1.0  # q and g
                else:
                    trainer.simulation.u_E[17] = np.nan

        trainer.advance = spoiling  # type: ignore[method-assign]
        with np.errstate(all="ignore"), refused(NumericsError, "learning bin 8 of 20", "neuron 17"):
            list(training.run(1))


def test_an_error_of_a_voltage_is_found(make: Callable[..., Training], refused: Refused) -> None:
    """Currents know nothing of it: a neuron whose voltage is NaN is silent."""
    for backend in ("reference", "numpy-packed"):
        training = make(backend)
        voltages = training.trainer.voltages()
        assert voltages is not None
        assert np.isfinite(voltages).all()
        advance, trainer = training.trainer.advance, training.trainer

        def spoiling(first: int, last: int, spikes: Any = None, trainer: Any = trainer, advance: Any = advance) -> None:
            advance(first, last, spikes)
            trainer.voltages()[17] = np.nan

        trainer.advance = spoiling  # type: ignore[method-assign]
        with refused(NumericsError, "iteration 1", "v of neuron 17", "NaN"):
            list(training.run(1))


@pytest.mark.parametrize(
    ("p_precision", "setting", "value", "wider"),
    [
        ("float16", "lambda_plastic", 1e-7, "float32"),  # 1/lambda overflows
        ("float16", "lambda_plastic", 1e8, "float32"),  # and vanishes
        ("int16", "lambda_feedforward", 1e6, "float32"),  # relative to the largest entry
        ("float32", "lambda_plastic", 1e-8, "float32"),  # mu/lambda exceeds the precision
    ],
)
def test_penalties_that_a_precision_cannot_hold(
    p_precision: str, setting: str, value: float, wider: str, refused: Refused
) -> None:
    changes: dict[str, Any] = {f"learning.{setting}": value, "feedforward.LX": 2}
    changes["learning.mu"] = 0.01 if p_precision == "float32" else 0.0
    e = load_experiment("smoke", overrides=changes)
    fine = load_experiment("smoke", overrides={"feedforward.LX": 2})
    options = Options("float32", p_precision, "full", "plain", 1, "cpu")
    check_penalties(fine, options)
    with refused(ConfigurationError, f"learning.{setting}", f"{value:g}", p_precision, wider):
        check_penalties(e, options)


def test_penalties_are_checked_for_the_numbers_of_inputs_that_neurons_have(tmp_path: Path, refused: Refused) -> None:
    """With tables, that is neither `network.L` nor the in-degree, but the inputs of one sign."""
    edges = tmp_path / "edges.csv"  # neuron 7 has 248 excitatory inputs, neuron 8 an inhibitory one
    edges.write_text("pre,post\n" + "".join(f"{i},7\n" for i in range(8, 256)) + "400,8\n")
    table = {"kind": "plastic", "file": str(edges)}
    options = Options("float32", "float32", "full", 1)
    for L, mu, accepted in [(2, 1e5, False), (2, 3.3e4, True), (256, 3.3e4, True), (256, 3.5e4, False)]:
        changes = {"connectivity": [table], "network.L": L, "learning.mu": mu, "learning.lambda_plastic": 1.0}
        e = load_experiment("smoke", overrides=changes)
        if accepted:  # 2^-23 times mu and 248 inputs is less than lambda = 1
            check_penalties(e, options)
        else:
            with refused(ConfigurationError, "learning.lambda_plastic", "float32"):
                check_penalties(e, options)


def test_a_P_that_vanishes_says_so(make: Callable[..., Training], refused: Refused) -> None:
    training = make("numpy-full")
    list(training.run(1))
    training.trainer.storage.P[17, 3, 3] = 0  # type: ignore[attr-defined]
    assert training._watch is not None
    with refused(NumericsError, "neuron 17", "float32", "--p-precision float64"):
        training._watch.ended(1)


@pytest.mark.parametrize(
    "p_precision",
    [
        *("float64", "float32", "float16"),
        *(pytest.param(p, marks=pytest.mark.combinations) for p in ("bfloat16", "int16")),
    ],
)
def test_a_healthy_run_passes_in_every_precision(p_precision: str, make: Callable[..., Training]) -> None:
    precision = "float64" if p_precision == "float64" else "float32"
    for storage in ("full", "packed"):
        numerics = {"precision": precision, "p_precision": p_precision, "storage": storage}
        training = make("numba", **{f"numerics.{name}": value for name, value in numerics.items()})
        assert len(list(training.run(8))) == 8


@pytest.mark.parametrize(("value", "word"), [(np.inf, "infinite"), (np.nan, "NaN")])
def test_targets_that_are_not_finite(value: float, word: str, make: Callable[..., Training], refused: Refused) -> None:
    problem = make().problem
    assert problem.targets is not None
    currents = np.stack([problem.targets.matrix(0)] * 2)
    currents[:, :, 3] = np.nan  # without target: valid
    check_problem(replace(problem, targets=MatrixTargets(currents)))
    currents[1, 7, 5] = value
    with refused(NumericsError, "neuron 5", "learning bin 8", "task 1", word):
        check_problem(replace(problem, targets=MatrixTargets(currents)))


def test_a_run_with_a_numerical_error_keeps_its_last_good_checkpoint(
    tiny_options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rlsbench_numpy.trainer import NumpyTrainer

    original = NumpyTrainer.learn

    def learn(self: Any, bin: int) -> None:
        original(self, bin)
        if self.simulation.trial == 4 and bin == 19 and self.problem.neurons == 70:
            self.w[23, 0] = np.nan

    monkeypatch.setattr(NumpyTrainer, "learn", learn)
    run = tmp_path / "run"
    arguments = ["run", "--backend", "numpy-full", *tiny_options, "--iterations", "9", "--checkpoint-every", "1"]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--save-best", "--output", str(run)])
    assert end.value.code == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for named in ("iteration 4", "learning bin 20", "w of neuron 23", "NaN", "iteration 3", f"rlsbench resume {run}"):
        assert named in error
    checkpoint, damaged = last_checkpoint(run)
    assert (checkpoint.iteration, damaged) == (3, [])
    assert np.isfinite(checkpoint.weights()).all()
    assert len(parse_document((run / "result.json").read_text()).iterations) == 3  # type: ignore[union-attr]
    assert not (run / "weights.npy").exists()


def test_checks_cost_little() -> None:
    """The aim, measured by `benchmarks.watching`, is 2 %; the limit allows for a busy machine."""
    training = prepare(load_experiment("smoke", overrides={"training.iterations": 6}), "numpy-full")
    plain = [i.measuring_seconds / i.seconds for i in training.run(6, correlate=False)]
    assert sorted(plain)[3] < 0.1
