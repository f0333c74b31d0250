"""From an experiment to its problem: clock, weights, external current, P, targets, recordings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import block_diag

from rlsbench.clock import Clock
from rlsbench.configuration import Experiment, load_experiment
from rlsbench.errors import ConfigurationError, RecordingError
from rlsbench.network import InitialTrial, PlasticInputs, Populations, plastic_pools
from rlsbench.problem import Problem, build_problem, initial_problem
from rlsbench.recordings import Recording, stack_conditions
from rlsbench.rules import Rls
from rlsbench.streams import Purpose, normal, uniform
from rlsbench.targets import MatrixTargets, SinusoidTargets, Targets
from rlsbench.targets.making import fit_to_recording, make_targets, out_of_reach
from rlsbench.transfer import NeuronParameters, stationary_current, stationary_rate

SMALL = {"network.neurons": 40, "network.K": 9, "network.L": 4}


def experiment(preset: str = "smoke", **overrides: Any) -> Experiment:
    """A preset with some values replaced; __ in a keyword is a dot in the key."""
    return load_experiment(preset, overrides={key.replace("__", "."): v for key, v in overrides.items()})


def measured(N: int) -> InitialTrial:
    """An initial trial with distinct values for each neuron."""
    c = np.arange(N, dtype=np.float64)
    return InitialTrial(c % 7, np.sin(c), 0.5 + 0.01 * c)


def build(e: Experiment) -> Problem:
    """The problem with the targets of an experiment that needs no recording."""
    initial = measured(e.network.neurons)
    return build_problem(e, initial, make_targets(e, initial))


def targets_of(e: Experiment, recording: Recording | None = None) -> Targets:
    """The targets of an experiment whose initial trial measured zeros."""
    return make_targets(e, InitialTrial(*np.zeros((3, e.network.neurons))), recording)


# --- the clock


@pytest.mark.parametrize(
    ("preset", "steps", "off", "every", "bins", "seconds"),
    [
        ("tutorial", 20_000, 10_000, 100, 100, 2.0),
        ("sinusoid", 20_000, 10_000, 100, 100, 2.0),
        ("mouse", 40_000, 10_000, 200, 150, 4.0),
        ("smoke", 7_000, 2_000, 100, 50, 0.7),
    ],
)
def test_clocks_of_the_presets(preset: str, steps: int, off: int, every: int, bins: int, seconds: float) -> None:
    clock = Clock.from_experiment(load_experiment(preset))
    assert clock == Clock(0.1, steps, off, every)
    assert (clock.bins, clock.sample_every) == (bins, 10)
    assert clock.seconds == pytest.approx(seconds)
    learned = {i: b for i in range(1, steps + 1) if (b := clock.learning_bin(i)) is not None}
    # stim_off < t <= train_time and t a multiple of learn_every; row 0 of the targets first
    assert learned == {off + every * (b + 1): b for b in range(bins)}
    assert max(learned) == steps


@settings(deadline=None)
@given(
    dt=st.sampled_from([0.05, 0.1, 0.2, 0.25, 0.3, 0.7, 1.0]),
    every=st.integers(1, 200),
    off=st.integers(0, 100),
    bins=st.integers(1, 200),
    on=st.floats(0, 1),
)
def test_clocks_count_whole_steps(dt: float, every: int, off: int, bins: int, on: float) -> None:
    """Times that are multiples of dt in decimal, though not in binary, give whole steps."""
    learn_every = round(every * dt, 6)
    e = experiment(
        time__dt_ms=dt,
        time__learn_every_ms=learn_every,
        time__train_duration_ms=round(bins * every * dt, 6),
        stimulus__off_ms=round(off * every * dt, 6),
        stimulus__on_ms=round(math.floor(on * off * every) * dt, 6),
        training__average_from_ms=0.0,
    )
    clock = Clock.from_experiment(e)
    assert (clock.steps, clock.stimulus_off, clock.learn_every) == ((off + bins) * every, off * every, every)
    assert clock.bins == bins
    assert clock.sample_every == max(1, round(1 / dt))
    assert [clock.learning_bin(i) for i in (off * every, (off + 1) * every, clock.steps)] == [None, 0, bins - 1]
    stimulus = build(e).stimulus
    assert stimulus is not None
    assert (stimulus.on, stimulus.off) == (math.floor(on * off * every), off * every)


@pytest.mark.parametrize(("refractory", "dt", "steps"), [(0.1, 0.1, 1), (0.3, 0.1, 3), (0.7, 0.1, 7), (0, 0.1, 0)])
def test_refractory_periods_are_whole_steps(refractory: float, dt: float, steps: int) -> None:
    assert build(experiment(**SMALL, neuron__refractory_ms=refractory, time__dt_ms=dt)).refractory_steps == steps


# --- weights and constant currents (docs/model.md section 1)


@pytest.mark.parametrize(("K", "L", "g", "tau_m"), [(205, 29, 1.0, 10.0), (9, 4, 1.5, 20.0)])
def test_weights_and_external_current(K: int, L: int, g: float, tau_m: float) -> None:
    e = experiment(network__neurons=501, network__K=K, network__L=L, network__g=g, neuron__tau_m_ms=tau_m)
    p = build(e)
    s = tau_m * g * 2 / math.sqrt(K)
    assert p.static is not None
    np.testing.assert_allclose(p.static.weights, [[0.15 * s, 1.0 * s], [-0.75 * s, -1.0 * s]], rtol=1e-14)
    assert (p.neurons, p.populations.published) == (501, True)
    assert (p.static.populations, p.static.outputs) == (Populations.pair(501, 250), 2 * K)
    jx = 0.08 * math.sqrt(K) * g
    np.testing.assert_allclose(p.external_current, [1.5 * jx] * 250 + [jx] * 251, rtol=1e-14)
    w = 2 * tau_m * g / (2 * math.sqrt(L))
    assert p.n == 2 * L
    np.testing.assert_allclose(p.plastic.initial_weights, [w] * L + [-w] * L, rtol=1e-14)
    assert p.plastic.pools[0].tolist() == [*range(250)]
    assert p.plastic.pools[1].tolist() == [*range(250, 501)]


def test_weights_and_factors_of_the_configuration() -> None:
    e = experiment(
        **SMALL,
        network__weight_EE=1.0,
        network__weight_EI=2.0,
        network__weight_IE=-3.0,
        network__weight_II=-4.0,
        external__scale=0.5,
        external__excitatory=3.0,
        external__inhibitory=-2.0,
    )
    p = build(e)
    s = 10 * 2 / 3
    np.testing.assert_allclose(p.static.weights, [[s, 2 * s], [-3 * s, -4 * s]])  # type: ignore[union-attr]
    np.testing.assert_allclose(p.external_current, [0.5 * 3 * 3.0] * 20 + [0.5 * 3 * -2.0] * 20)


def test_without_static_synapses() -> None:
    p = build(experiment("mouse", network__neurons=200, targets__kind="sinusoid"))
    assert p.static is None
    assert not p.external_current.any()
    assert p.n == 128
    assert p.noise.scale == pytest.approx(0.65 * math.sqrt(0.1 / 10))


def test_without_plastic_synapses() -> None:
    p = build(experiment(**(SMALL | {"network__L": 0})))
    assert p.n == 0
    assert p.plastic.sources(p.seed).shape == (40, 0)


def test_plastic_inputs_come_from_the_neurons_with_the_highest_rates() -> None:
    e = experiment(**SMALL, network__frac=0.5)
    rates = np.random.default_rng(1).permutation(40).astype(np.float64)
    p = build_problem(e, InitialTrial(rates, np.zeros(40), np.zeros(40)), None)
    for pool, low in zip(p.plastic.pools, (0, 20), strict=True):
        assert pool.tolist() == sorted(np.argsort(-rates[low : low + 20])[:10] + low)
    assert set(p.plastic.sources(p.seed).ravel().tolist()) <= {
        *p.plastic.pools[0].tolist(),
        *p.plastic.pools[1].tolist(),
    }


def test_time_constants() -> None:
    p = build(experiment(**SMALL, synapse__tau_E_ms=2.0, synapse__tau_I_ms=5.0))
    assert (p.tau_E_ms, p.tau_I_ms, p.tau_plas_ms) == (2.0, 5.0, 150.0)
    each = build(experiment(**SMALL, synapse__tau_plas_ms=[50, 250], feedforward__LX=1))
    expected = 50 + 200 * uniform(1, Purpose.TAU_PLAS, first=0, last=40)
    np.testing.assert_allclose(each.tau_plas_ms, expected, rtol=1e-14)
    assert each.feedforward is not None
    assert each.feedforward.tau_ms == 150.0
    own = build(experiment(**SMALL, feedforward__LX=1, feedforward__tau_ms=30.0))
    assert own.feedforward is not None
    assert own.feedforward.tau_ms == 30.0


def test_inputs_of_the_configuration() -> None:
    e = experiment(
        **SMALL,
        feedforward__LX=3,
        feedforward__mu_hz=7.0,
        feedforward__b_per_ms=0.1,
        feedforward__sigma=0.3,
        stimulus__mu=0.4,
        noise__kind="current",
        noise__sigma=0.2,
        training__seed=77,
    )
    p = build(e)
    f, s = p.feedforward, p.stimulus
    assert f is not None
    assert s is not None
    assert (f.inputs, f.steps, f.stimulus_off, f.half_window) == (3, 7000, 2000, 500)
    assert (f.mu_hz, f.b_per_ms, f.sigma, f.dt_ms, f.tau_ms) == (7.0, 0.1, 0.3, 0.1, 150.0)
    assert (s.on, s.off, s.mu, s.b_per_ms, s.sigma, s.dt_ms) == (1000, 2000, 0.4, 0.05, 0.2, 0.1)
    assert (p.noise.kind, p.noise.sigma, p.noise.tau_m_ms, p.seed) == ("current", 0.2, 10.0, 77)
    assert p.n == 3 + 8
    z = normal(77, Purpose.INITIAL_VOLTAGE, trial=5, first=0, last=40)
    np.testing.assert_array_equal(p.initial_voltage_normals(5), z)
    with pytest.raises(FrozenInstanceError):
        p.seed = 1  # type: ignore[misc]


def test_initial_problems_have_no_plastic_synapses_and_no_stimulus() -> None:
    e = experiment(**SMALL, feedforward__LX=3)
    p, full = initial_problem(e), build(e)
    assert (p.n, p.stimulus, p.targets, p.feedforward, p.tasks) == (0, None, None, None, 1)
    assert p.plastic.sources(p.seed).shape == (40, 0)
    assert p.static == full.static
    assert p.clock == full.clock
    np.testing.assert_array_equal(p.external_current, full.external_current)


@pytest.mark.parametrize(
    ("changes", "extra"),
    [
        ({}, set()),
        ({"noise__kind": "voltage", "noise__sigma": 0.1}, {"voltage-noise"}),
        ({"noise__kind": "current", "noise__sigma": 0.1}, {"current-noise"}),
        ({"feedforward__LX": 1}, {"feedforward"}),
        ({"synapse__tau_plas_ms": [20, 200]}, {"tau-plas-per-neuron"}),
        ({"learning__benchmark": True}, {"benchmark"}),
        ({"network__K": 0, "targets__tasks": 2}, set()),
    ],
)
def test_required_features(changes: dict[str, Any], extra: set[str]) -> None:
    assert build(experiment(**(SMALL | changes))).required_features == {"neuron:lif"} | extra


# --- P at the start (docs/model.md section 3)


@settings(deadline=None)
@given(
    LX=st.integers(0, 5),
    L=st.integers(0, 8),
    lam=st.floats(0.01, 10),
    lam_FF=st.floats(0.01, 10),
    mu=st.floats(0, 10),
    weight=st.floats(0.01, 10),
)
def test_initial_inverse_and_P(LX: int, L: int, lam: float, lam_FF: float, mu: float, weight: float) -> None:
    populations = Populations.pair(20, 10)
    plastic = PlasticInputs(populations, LX, L, weight, plastic_pools(populations))
    rule = Rls(lam, lam_FF, mu)
    inverse = rule.initial_inverse(plastic)
    w, n = plastic.initial_weights, LX + 2 * L
    assert inverse.shape == (n, n)
    for a in range(n):
        for b in range(n):
            expected = (lam_FF if a < LX else lam) if a == b else 0.0
            if a >= LX and b >= LX and w[a] * w[b] > 0:
                expected += mu
            assert inverse[a, b] == pytest.approx(expected, rel=1e-14)
    P = rule.initial_P(plastic)
    np.testing.assert_array_equal(P, P.T)
    np.testing.assert_allclose(P @ inverse, np.eye(n), atol=1e-9)
    # Sherman and Morrison: (lambda + mu 1 1')^-1 = 1/lambda - mu/(lambda (lambda + L mu)) 1 1'
    block = np.eye(L) / lam - mu / (lam * (lam + L * mu)) * np.ones((L, L))
    np.testing.assert_allclose(P, block_diag(np.eye(LX) / lam_FF, block, block)[:n, :n], rtol=1e-9, atol=1e-12)


def test_learning_rules_of_the_configuration() -> None:
    rule = build(experiment(**SMALL, learning__lambda_feedforward=3.0, learning__benchmark=True)).learning
    assert rule == Rls(0.05, 3.0, 0.01, benchmark=True)


# --- targets (docs/model.md section 5)


def test_sinusoid_targets() -> None:
    e = experiment(**SMALL, targets__amplitude=0.7, targets__period_ms=400.0, targets__tasks=3, training__seed=9)
    p = build(e)
    targets, offset = p.targets, measured(40).mean_current
    assert targets is not None
    assert (targets.tasks, targets.bins, p.tasks) == (3, 50, 3)
    for task in range(3):
        phase = 400 * uniform(9, Purpose.TARGET_PHASE, trial=task, first=0, last=40)
        matrix = targets.matrix(task)
        assert matrix.shape == (50, 40)
        for b in (0, 1, 17, 49):
            t = 200 + 10 * (b + 1)  # after stim_off, learn_every times 1, 2, ...
            expected = 0.7 * np.sin(2 * np.pi * (t - phase) / 400) + offset
            np.testing.assert_allclose(targets.row(task, b), expected, rtol=0, atol=1e-12)
            np.testing.assert_allclose(matrix[b], expected, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(targets.matrix(task, slice(3, 9)), matrix[:, 3:9])
        np.testing.assert_array_equal(targets.matrix(task, np.array([8, 2])), matrix[:, [8, 2]])


def test_published_sinusoids() -> None:
    targets = targets_of(experiment("tutorial"))
    assert isinstance(targets, SinusoidTargets)
    assert (targets.tasks, targets.bins) == (1, 100)
    np.testing.assert_allclose(targets.times_ms, 1000 + 10 * np.arange(1, 101))
    phases_ms = np.arctan2(targets.sine, targets.cosine) % (2 * np.pi) * 1000 / (2 * np.pi)
    assert 0 < phases_ms.min() < 5
    assert 995 < phases_ms.max() < 1000
    matrix = targets.matrix(0)
    np.testing.assert_allclose(matrix.mean(axis=0), 0, atol=1e-12)  # 100 bins are one period
    np.testing.assert_allclose((matrix**2).mean(axis=0), 0.125, rtol=1e-9)


def test_matrix_targets() -> None:
    currents = np.random.default_rng(1).standard_normal((2, 5, 7))
    targets = MatrixTargets(currents)
    assert (targets.tasks, targets.bins) == (2, 5)
    np.testing.assert_array_equal(targets.row(1, 3), currents[1, 3])
    np.testing.assert_array_equal(targets.matrix(1), currents[1])
    np.testing.assert_array_equal(targets.matrix(0, slice(2, 5)), currents[0][:, 2:5])
    np.testing.assert_array_equal(targets.matrix(0, np.array([6, 1])), currents[0][:, [6, 1]])


# --- recordings


def recorded(tmp_path: Path, bins: int = 30, neurons: int = 160, preset: str = "mouse", **overrides: Any) -> Experiment:
    """An experiment whose targets are a file of rates, with some zeros."""
    rates = np.random.default_rng(2).gamma(1.0, 8.0, (bins, neurons))
    rates[rates < 2] = 0.0
    np.save(tmp_path / "rates.npy", rates)
    how = {"recording__files": str(tmp_path / "rates.npy"), "recording__time_axis": "rows", **overrides}
    return experiment(preset, targets__kind="recording", **how)


def test_a_recording_sets_neurons_and_duration(tmp_path: Path) -> None:
    e = recorded(tmp_path)
    fitted, recording = fit_to_recording(e)
    assert recording.rates_hz.shape == (30, 160, 1)
    assert (fitted.network.neurons, fitted.time.train_duration_ms) == (160, 30 * 20.0)
    assert Clock.from_experiment(fitted) == Clock(0.1, 10_000 + 30 * 200, 10_000, 200)
    changed = {"network": {"neurons": 160}, "time": {"train_duration_ms": 600.0}}
    for name, section in e:
        expected = section.model_copy(update=changed[name]) if name in changed else section
        assert getattr(fitted, name) == expected
    assert (e.network.neurons, e.time.train_duration_ms) == (66_002, 3000.0)


def test_bins_and_neurons_of_the_experiment_tell_the_time_axis(tmp_path: Path, refused: Any) -> None:
    """Those of a run that is resumed; bins alone, which a preset has by chance, do not."""
    np.save(tmp_path / "rates.npy", np.ones((400, 150)))  # neurons x bins
    how = {"targets__kind": "recording", "recording__files": str(tmp_path / "rates.npy"), "targets__untrained": 3}
    with refused(RecordingError, "rates.npy", "400 x 150", "--time-axis rows", "--time-axis columns"):
        fit_to_recording(experiment("mouse", **how))
    fitted, recording = fit_to_recording(experiment("mouse", **how, network__neurons=403))
    assert recording.rates_hz.shape == (150, 400, 1)
    assert fitted.network.neurons == 403
    other = experiment("mouse", **how, recording__time_axis="rows")
    assert fit_to_recording(other)[0].network.neurons == 153


def test_what_cannot_be_a_recording_is_refused(tmp_path: Path, refused: Any) -> None:
    with refused(RecordingError, "rates.npy", "9 bins of 160 neurons", "10"):
        fit_to_recording(recorded(tmp_path, bins=9))
    e = recorded(tmp_path)
    np.save(tmp_path / "rates.npy", 100 * np.load(tmp_path / "rates.npy"))
    with refused(RecordingError, "rates.npy", "1000 Hz"):
        fit_to_recording(e)


def test_targets_of_a_recording(tmp_path: Path) -> None:
    """The rates of the currents are the recorded rates, and 0.1 Hz where the recording has 0."""
    fitted, recording = fit_to_recording(recorded(tmp_path))
    targets = targets_of(fitted, recording)
    assert isinstance(targets, MatrixTargets)
    assert targets.currents.shape == (1, 30, 160)
    assert not targets.partial
    assert build_problem(fitted, measured(160), targets).targets is targets
    recorded_hz = recording.rates_hz[:, :, 0]
    wanted = np.where(recorded_hz == 0, 0.1, recorded_hz)
    assert (recorded_hz == 0).any()
    found = targets.matrix(0)
    np.testing.assert_allclose(stationary_rate(found, 0.65), wanted, rtol=1e-6)
    np.testing.assert_allclose(found[recorded_hz == 0], stationary_current(0.1, 0.65), rtol=1e-9)
    np.testing.assert_array_equal(targets.row(0, 4), found[4])


def test_targets_of_a_recording_follow_the_neuron_and_the_minimum(tmp_path: Path) -> None:
    changes = {"targets__minimum_rate_hz": 0.4, "neuron__tau_m_ms": 15.0, "neuron__reset": -1.0}
    fitted, recording = fit_to_recording(recorded(tmp_path, neuron__threshold=2.0, noise__sigma=0.9, **changes))
    found = targets_of(fitted, recording).matrix(0)
    rates = stationary_rate(found, 0.9, NeuronParameters(tau_m_ms=15.0, threshold=2.0, reset=-1.0))
    recorded_hz = recording.rates_hz[:, :, 0]
    np.testing.assert_allclose(rates, np.where(recorded_hz == 0, 0.4, recorded_hz), rtol=1e-6)


@pytest.mark.parametrize("subtract", [True, False])
def test_the_external_current_is_not_learned(tmp_path: Path, subtract: bool) -> None:
    """Target + X_bal is the current for the rate; as in 0.2, the target alone."""
    e = recorded(tmp_path, network__K=20, targets__subtract_external=subtract)
    fitted, recording = fit_to_recording(e)
    initial = InitialTrial(*np.ones((3, 160)))
    problem = build_problem(fitted, initial, make_targets(fitted, initial, recording))
    assert problem.targets is not None
    assert np.all(problem.external_current > 0)
    total = problem.targets.matrix(0) + problem.external_current * subtract
    sigma = 1.0 / math.sqrt(1.3 * fitted.synapse.tau_E_ms)
    np.testing.assert_allclose(stationary_rate(total, sigma), np.maximum(recording.rates_hz[:, :, 0], 0.1), rtol=1e-6)


def test_targets_out_of_the_network_s_reach_are_named() -> None:
    populations, own = Populations.pair(4, 2), InitialTrial(np.ones(4), np.array([-3.0, -3.0, -1.0, -1.0]), np.ones(4))
    near = MatrixTargets(np.array([[[-2.8, np.nan, -1.5, -0.9]] * 2]))
    far = MatrixTargets(np.array([[[0.5, np.nan, -1.5, -0.9]] * 2]))
    assert out_of_reach(near, own, populations) == []
    (warning,) = out_of_reach(far, own, populations)
    assert all(part in warning for part in ("excitatory", "0.50", "-3.00"))


def test_static_currents_stand_for_noise(tmp_path: Path) -> None:
    """sigma = (mean temporal standard deviation of the static current)/sqrt(1.3 tau_E)."""
    e = recorded(tmp_path, network__K=20, synapse__tau_E_ms=4.0, noise__kind="none", noise__sigma=0.0)
    fitted, recording = fit_to_recording(e)
    std = np.linspace(0.5, 1.5, 160)
    initial = InitialTrial(np.zeros(160), np.zeros(160), std)
    found = make_targets(fitted, initial, recording).matrix(0) + build_problem(fitted, initial, None).external_current
    sigma = 1.0 / math.sqrt(1.3 * 4.0)
    np.testing.assert_allclose(stationary_rate(found, sigma), np.maximum(recording.rates_hz[:, :, 0], 0.1), rtol=1e-6)


def test_a_silent_network_has_no_targets_of_rates(tmp_path: Path, refused: Any) -> None:
    fitted, recording = fit_to_recording(recorded(tmp_path, network__K=20))
    silent = InitialTrial(np.zeros(160), np.zeros(160), np.full(160, 1e-30))
    with refused(ConfigurationError, "external.scale = 0.08", "network.K"):
        make_targets(fitted, silent, recording)


def test_conditions_of_a_recording_are_tasks(tmp_path: Path) -> None:
    """The targets of a task are the currents for the rates of a condition."""
    fitted, left = fit_to_recording(recorded(tmp_path))
    right = replace(left, rates_hz=left.rates_hz[::-1] + 1.0)
    targets = targets_of(fitted, stack_conditions([left, right], ["left", "right"]))
    assert isinstance(targets, MatrixTargets)
    assert (targets.tasks, targets.bins) == (2, 30)
    for task, recording in enumerate((left, right)):
        np.testing.assert_array_equal(targets.matrix(task), targets_of(fitted, recording).matrix(0))


def test_several_files_are_conditions_or_one_population(refused: Any, make_nwb: Callable[..., Path]) -> None:
    few = {"identifier": "day2", "units/classification": ["good"] * 3 + [""] * 3}
    files = [str(make_nwb({"identifier": "day1"}, "day1.nwb")), str(make_nwb(few, "day2.nwb"))]
    how = {"network__L": 2, "network__frac": 1.0, "targets__kind": "recording"}
    pooled, recording = fit_to_recording(experiment("mouse", **how, recording__files=files, recording__pool=True))
    assert (pooled.network.neurons, pooled.targets.tasks) == (8, 1)
    assert recording.source == "day1.nwb + day2.nwb"
    with refused(RecordingError, "day2.nwb", "3 neurons", "--pool"):
        fit_to_recording(experiment("mouse", **how, recording__files=files))
    files[1] = str(make_nwb({"identifier": "day2"}, "day2.nwb"))
    with refused(RecordingError, "day2.nwb", "day1,", "--no-pool"):
        fit_to_recording(experiment("mouse", **how, recording__files=files))
    same, _ = fit_to_recording(experiment("mouse", **how, recording__files=files, recording__pool=False))
    assert (same.network.neurons, same.targets.tasks) == (5, 2)


def test_spike_times_give_targets(make_nwb: Callable[..., Path]) -> None:
    changes = {"network__L": 2, "network__frac": 1.0, "recording__files": str(make_nwb()), "targets__kind": "recording"}
    fitted, recording = fit_to_recording(experiment("mouse", **changes))
    assert (fitted.network.neurons, fitted.time.train_duration_ms) == (5, 3000.0)
    assert recording.trials == (8,)
    targets = targets_of(fitted, recording)
    assert (targets.tasks, targets.bins) == (1, 150)
    finer = fit_to_recording(experiment("mouse", time__learn_every_ms=10.0, **changes))[1]
    assert finer.bins == 300  # bins are those of learning


def test_a_recording_must_be_named_and_exist(tmp_path: Path, refused: Any) -> None:
    with refused(ConfigurationError, "recording.files", "--recording"):
        fit_to_recording(experiment("mouse", targets__kind="recording"))
    with refused(RecordingError, tmp_path / "none.npy"):
        fit_to_recording(experiment("mouse", targets__kind="recording", recording__files=str(tmp_path / "none.npy")))
    with refused(ValueError, "surrogate", "fit_to_recording"):
        targets_of(experiment("mouse", network__neurons=200))


def test_recordings_that_do_not_fit_are_errors(tmp_path: Path, refused: Any) -> None:
    with refused(ConfigurationError, "rates.npy", "network.L = 40", "30", "--untrained", "--plastic-inputs"):
        fit_to_recording(recorded(tmp_path, bins=10, neurons=60, network__L=40))
    with refused(ConfigurationError, "rates.npy", "10 bins x 60 neurons", "network.K = 100", "29", "--untrained"):
        fit_to_recording(recorded(tmp_path, bins=10, neurons=60, preset="smoke", time__learn_every_ms=20.0))


@pytest.mark.parametrize(("untrained", "L"), [(0, 30), (1, 30), (40, 50), (200, 64)])
def test_small_recordings_have_fewer_plastic_inputs(tmp_path: Path, untrained: int, L: int) -> None:
    """As many as there are, if nobody asked for more than there are."""
    fitted, recording = fit_to_recording(recorded(tmp_path, neurons=60, targets__untrained=untrained))
    assert fitted.network.L == L
    notes = [note for note in recording.notes if "--plastic-inputs" in note]
    assert len(notes) == (L < 64)
    assert all(f"{2 * L} plastic inputs instead of 128" in note and "60 neurons" in note for note in notes)
    assert fit_to_recording(fitted)[0] == fitted  # when it is resumed


def test_bins_of_another_width_are_errors(make_nwb: Callable[..., Path], refused: Any, monkeypatch: Any) -> None:
    """The bins of a file that states their width must have that of the experiment."""
    e = experiment("mouse", network__L=2, recording__files=str(make_nwb()), targets__kind="recording")
    read = fit_to_recording(e)[1]
    edges = np.asarray(read.edges_s)
    monkeypatch.setattr("rlsbench.targets.making.read_recording", lambda *_, **__: replace(read, edges_s=2 * edges))
    with refused(RecordingError, read.source, "40 ms", "time.learn_every_ms = 20"):
        fit_to_recording(e)


def test_neurons_beyond_the_recording_have_no_target(tmp_path: Path) -> None:
    alone = fit_to_recording(recorded(tmp_path))
    fitted, recording = fit_to_recording(recorded(tmp_path, targets__untrained=40))
    assert fitted.network.neurons == 200
    targets = targets_of(fitted, recording)
    assert targets.partial
    matrix = targets.matrix(0)
    followed = np.r_[0:80, 100:180]
    np.testing.assert_array_equal(matrix[:, followed], targets_of(*alone).matrix(0))
    assert np.isnan(np.delete(matrix, followed, axis=1)).all()


def test_the_corrected_transfer_function_gives_higher_currents(tmp_path: Path) -> None:
    stationary, simulated = (
        targets_of(*fit_to_recording(recorded(tmp_path, targets__transfer=rule))).matrix(0)
        for rule in ("stationary", "simulated")
    )
    assert np.all(simulated > stationary)


def test_a_surrogate_replaces_a_recording() -> None:
    e = experiment("mouse", network__neurons=300, targets__tasks=2, targets__untrained=20)
    fitted, recording = fit_to_recording(e)
    assert fitted == e
    assert recording.rates_hz.shape == (150, 280, 2)
    assert recording.regions is not None
    assert recording.edges_s is not None
    assert "surrogate" in recording.source
    assert targets_of(fitted, recording).tasks == 2
    again = fit_to_recording(e)[1]
    np.testing.assert_array_equal(again.rates_hz, recording.rates_hz)
