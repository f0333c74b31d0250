"""The problem that a trainer is made from: clock, weights, currents, P and targets, against the formulas."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from rlsbench.configuration import Experiment, load_experiment
from rlsbench.errors import ConfigurationError
from rlsbench.problem import Clock, InitialTrial, build_problem, fit_to_recording, initial_problem
from rlsbench.targets import MatrixTargets
from rlsbench.transfer import stationary_rate


def initial(e: Experiment, mean: float = 0.0) -> InitialTrial:
    N = e.network.neurons
    return InitialTrial(np.arange(N, dtype=float), np.full(N, mean), np.full(N, 2.0))


@pytest.mark.parametrize(
    ("preset", "steps", "bins", "every"), [("tutorial", 20_000, 100, 100), ("mouse", 40_000, 150, 200)]
)
def test_the_clock_counts_whole_steps(preset: str, steps: int, bins: int, every: int) -> None:
    clock = Clock.from_experiment(load_experiment(preset))
    assert (clock.steps, clock.stimulus_off, clock.bins, clock.learn_every) == (steps, 10_000, bins, every)
    learning = [(i, clock.learning_bin(i)) for i in range(1, steps + 1) if clock.learning_bin(i) is not None]
    assert learning == [(10_000 + every * (b + 1), b) for b in range(bins)]
    assert clock.sample_every == 10


def test_weights_and_external_currents() -> None:
    e = load_experiment("tutorial", overrides={"network.g": 1.2})
    p = build_problem(e, initial(e))
    s = 10.0 * 1.2 * 2 / math.sqrt(205)
    assert p.static is not None
    np.testing.assert_allclose(p.static.weights, [[0.15 * s, 1.0 * s], [-0.75 * s, -1.0 * s]])
    assert p.static.outputs == 410
    jx = 0.08 * math.sqrt(205) * 1.2
    np.testing.assert_allclose(p.external_current[[0, 2047, 2048, 4095]], [1.5 * jx, 1.5 * jx, jx, jx])
    assert p.plastic.initial_weight == pytest.approx(2 * 10.0 * 1.2 / (2 * math.sqrt(29)))
    assert p.refractory_steps == 1
    mouse = load_experiment("mouse", overrides={"network.neurons": 200})
    assert initial_problem(mouse).static is None
    assert not initial_problem(mouse).external_current.any()


def test_the_initial_trial_has_neither_plasticity_nor_stimulus() -> None:
    p = initial_problem(load_experiment("tutorial"))
    assert (p.n, p.stimulus, p.targets, p.feedforward) == (0, None, None, None)


def test_P_starts_as_the_inverse_of_the_penalties() -> None:
    e = load_experiment(
        "smoke",
        overrides={
            "network.neurons": 20,
            "network.K": 3,
            "network.L": 2,
            "feedforward.LX": 2,
            "learning.lambda_plastic": 0.8,
            "learning.lambda_feedforward": 0.3,
            "learning.mu": 0.25,
        },
    )
    p = build_problem(e, initial(e))
    weights = p.plastic.initial_weights
    inverse = np.zeros((6, 6))
    for i in range(6):
        for j in range(6):
            if i >= 2 and j >= 2 and weights[i] * weights[j] > 0:
                inverse[i, j] += 0.25
        inverse[i, i] += 0.3 if i < 2 else 0.8
    np.testing.assert_allclose(p.learning.initial_inverse(p.plastic), inverse)
    np.testing.assert_allclose(p.learning.initial_P(p.plastic) @ inverse, np.eye(6), atol=1e-12)


def test_sinusoid_targets() -> None:
    e = load_experiment("sinusoid", overrides={"network.neurons": 2000, "targets.tasks": 2})
    targets = build_problem(e, initial(e, mean=-0.7)).targets
    assert targets is not None
    assert (targets.tasks, targets.bins) == (2, 100)
    f = targets.matrix(0)
    assert f.shape == (100, 2000)
    np.testing.assert_allclose(f[7], targets.row(0, 7))
    # A whole period: the mean is the offset, the amplitude 0.5, and the phases are spread evenly.
    np.testing.assert_allclose(f.mean(axis=0), -0.7, atol=1e-12)
    np.testing.assert_allclose(np.sqrt(2) * f.std(axis=0), 0.5, rtol=1e-9)
    t = 1000.0 + 10.0 * np.arange(1, 101)
    phase = targets.phases_ms[0]  # type: ignore[attr-defined]
    np.testing.assert_allclose(f, 0.5 * np.sin(2 * np.pi * (t[:, None] - phase) / 1000.0) - 0.7, atol=1e-9)
    assert phase.min() >= 0
    assert phase.max() <= 1000
    assert np.histogram(phase, 4)[0].min() > 400
    assert not np.allclose(f, targets.matrix(1))


@pytest.mark.parametrize(
    ("overrides", "features"),
    [
        ({}, set()),
        ({"noise.kind": "voltage", "noise.sigma": 0.5}, {"voltage-noise"}),
        ({"noise.kind": "current", "noise.sigma": 0.5}, {"current-noise"}),
        ({"feedforward.LX": 2}, {"feedforward"}),
        ({"synapse.tau_plas_ms": [50.0, 60.0]}, {"tau-plas-per-neuron"}),
        ({"learning.benchmark": True}, {"benchmark"}),
    ],
)
def test_required_features(overrides: dict[str, object], features: set[str]) -> None:
    e = load_experiment("smoke", overrides=overrides)
    assert build_problem(e, initial(e)).required_features == {"neuron:lif"} | features


def test_tau_plas_per_neuron_lies_in_its_range() -> None:
    e = load_experiment("smoke", overrides={"synapse.tau_plas_ms": [50.0, 60.0], "feedforward.LX": 1})
    p = build_problem(e, initial(e))
    tau = np.asarray(p.tau_plas_ms)
    assert tau.shape == (512,)
    assert 50 <= tau.min() < 51 < 59 < tau.max() <= 60
    assert p.feedforward is not None
    assert p.feedforward.tau_ms == 55.0


def test_a_recording_sets_size_duration_and_targets(tmp_path: Path) -> None:
    rates = np.random.default_rng(0).uniform(0.5, 30, (25, 130))
    rates[3, 5] = 0.0
    np.save(tmp_path / "rates.npy", rates)
    asked = load_experiment("mouse", overrides={"targets.recording": str(tmp_path / "rates.npy"), "network.L": 6})
    e, recording = fit_to_recording(asked)
    assert (e.network.neurons, e.time.train_duration_ms) == (130, 500.0)
    targets = build_problem(e, initial(e), recording).targets
    assert isinstance(targets, MatrixTargets)
    back = stationary_rate(targets.matrix(0), 0.65)
    rates[3, 5] = 0.1
    np.testing.assert_allclose(back, rates, rtol=1e-8)
    with pytest.raises(ConfigurationError, match=r"targets\.recording is missing"):
        fit_to_recording(load_experiment("mouse"))
    np.save(tmp_path / "few.npy", rates[:, :60])
    few = load_experiment("mouse", overrides={"targets.recording": str(tmp_path / "few.npy")})
    with pytest.raises(ConfigurationError, match=r"^few.npy holds 25 bins x 60 neurons.*network.L = 64: [^\n]*$"):
        fit_to_recording(few)


def test_sigma_follows_the_static_current_where_there_is_one(tmp_path: Path) -> None:
    np.save(tmp_path / "rates.npy", np.full((20, 100), 5.0))
    overrides = {"targets.recording": str(tmp_path / "rates.npy"), "network.K": 10, "network.L": 6}
    e, recording = fit_to_recording(load_experiment("mouse", overrides=overrides))
    targets = build_problem(e, initial(e), recording).targets
    assert targets is not None
    sigma = 2.0 / math.sqrt(1.3 * 3.0)
    np.testing.assert_allclose(stationary_rate(targets.row(0, 0), sigma), 5.0, rtol=1e-8)
