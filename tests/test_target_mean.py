"""The mean of the targets, where it is free: the rule, its state, and what it does to training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from rlsbench import load_experiment, prepare
from rlsbench.network import Populations
from rlsbench.report import figures
from rlsbench.results import read_checkpoint, save_checkpoint
from rlsbench.targets import MatrixTargets, ShiftedTargets
from rlsbench.training.target_mean import TargetMean

N, EXCITATORY = 7, 4
WITHOUT = [1, 5]  # neurons without a target


def targets() -> MatrixTargets:
    currents = np.arange(2 * 3 * N, dtype=float).reshape(2, 3, N)
    currents[..., WITHOUT] = np.nan
    return MatrixTargets(currents)


def target_mean(kind: str, rate: float = 0.25) -> TargetMean:
    return TargetMean(kind, rate, Populations.pair(N, EXCITATORY), targets())


def error() -> Any:
    d = np.arange(1.0, N + 1)
    d[WITHOUT] = np.nan
    return d


def test_a_fixed_mean_does_not_adapt() -> None:
    assert [target_mean(kind).adapts for kind in ("fixed", "neuron", "population")] == [False, True, True]


def test_each_neuron_follows_its_own_error() -> None:
    mean = target_mean("neuron")
    mean.adapt(error())
    mean.adapt(error())
    assert_array_equal(mean.offset, 0.5 * np.nan_to_num(error()))


def test_a_population_follows_the_mean_error_of_its_neurons_with_a_target() -> None:
    mean = target_mean("population")
    mean.adapt(error())
    means = np.array([(1 + 3 + 4) / 3, (5 + 7) / 2])
    has_target = [1, 0, 1, 1, 1, 0, 1]
    np.testing.assert_allclose(mean.offset, 0.25 * np.repeat(means, [4, 3]) * has_target)
    np.testing.assert_allclose(mean.means(), 0.25 * means)


def test_a_population_without_targets_has_no_mean() -> None:
    currents = np.full((1, 2, N), np.nan)
    currents[..., :2] = 1.0
    mean = TargetMean("population", 1.0, Populations.pair(N, EXCITATORY), MatrixTargets(currents))
    mean.adapt(np.where(np.isnan(currents[0, 0]), np.nan, 2.0))
    assert mean.means() == (2.0, None)


@settings(deadline=None)
@given(st.floats(0.05, 1.0), st.floats(-2, 2))
def test_the_offset_converges_to_the_mean_of_the_network(rate: float, u: float) -> None:
    """Where the network does not answer, the error decays as (1 - rate)^i: its sum is bounded."""
    mean, total = target_mean("neuron", rate), 0.0
    for _ in range(int(20 / rate)):
        d = np.where(np.isnan(error()), np.nan, u) - mean.offset
        total += np.nan_to_num(d)[0]
        mean.adapt(d)
    assert mean.offset[0] == pytest.approx(u, abs=1e-6)
    assert total == pytest.approx(u / rate, abs=1e-5)


def test_shifted_targets() -> None:
    offset = np.linspace(-1, 1, N)
    shifted = ShiftedTargets(targets(), offset)
    assert (shifted.tasks, shifted.bins, shifted.partial) == (2, 3, True)
    assert_array_equal(shifted.row(1, 2), targets().row(1, 2) + offset)
    assert_array_equal(shifted.matrix(1, np.array([0, 6])), targets().matrix(1, np.array([0, 6])) + offset[[0, 6]])


def trained(kind: str, iterations: int, backend: str = "numpy-full") -> Any:
    small = {"network.neurons": 64, "network.K": 16, "network.L": 6, "training.iterations": 6}
    short = {"stimulus.on_ms": 0.0, "stimulus.off_ms": 20.0, "time.train_duration_ms": 100.0}
    short |= {"training.average_from_ms": 20.0}
    experiment = load_experiment("smoke", overrides={"learning.target_mean": kind} | small | short)
    training = prepare(experiment, backend)
    list(training.run(iterations))
    return training


@pytest.mark.parametrize("kind", ["neuron", "population"])
def test_targets_follow_the_mean_of_the_learned_current(kind: str) -> None:
    training = trained(kind, 1)
    error = (training.learned_current() - training.problem.targets.matrix(0)).mean(axis=0)
    offset = 0.1 * error
    if kind == "population":
        Ne = training.problem.populations[0].size
        offset = np.repeat([offset[:Ne].mean(), offset[Ne:].mean()], [Ne, len(offset) - Ne])
    np.testing.assert_allclose(training.target_mean.offset, offset, atol=1e-7)
    np.testing.assert_allclose(training.targets.row(0, 3), training.problem.targets.row(0, 3) + offset, atol=1e-7)
    last = training.iterations[-1]
    assert (last.target_offset_excitatory, last.target_offset_inhibitory) == training.target_mean.means()


def test_a_fixed_mean_has_no_offset() -> None:
    training = trained("fixed", 1)
    assert training.targets is training.problem.targets
    assert training.iterations[-1].target_offset_excitatory is None


def test_training_adapts_without_measuring_the_correlation() -> None:
    training = trained("population", 0)
    list(training.run(1, correlate=False))
    assert training.target_mean.offset.any()


def test_a_checkpoint_with_a_fixed_mean_has_no_offset(tmp_path: Path) -> None:
    assert read_checkpoint(save_checkpoint(tmp_path / "one.h5", trained("fixed", 1))).target_offset() is None


@pytest.mark.parametrize(("kind", "pictures"), [("fixed", 2), ("population", 3)])
def test_the_picture_of_a_run_shows_the_offset_if_it_adapts(
    kind: str, pictures: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, drawn = trained(kind, 2), list[Any]()
    own = figures.draw_learning_curve
    monkeypatch.setattr(figures, "draw_learning_curve", lambda t, axes: (drawn.extend(axes), own(t, axes)))
    assert figures.save_summary(training, tmp_path).stat().st_size > 10_000
    assert len(drawn) == pictures
    if kind == "population":
        curves = [line.get_ydata() for line in drawn[-1].lines]
        frame = training.learning_curve()
        assert_array_equal(curves[0], frame.target_offset_excitatory)
        assert_array_equal(curves[1], frame.target_offset_inhibitory)
