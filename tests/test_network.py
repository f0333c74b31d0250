"""The network: populations, synapses, stimulus, noise, feed-forward inputs and the neuron model."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rlsbench.network import (
    SIGNS,
    Feedforward,
    Noise,
    PlasticInputs,
    Populations,
    StaticSynapses,
    Stimulus,
    plastic_pools,
)
from rlsbench.streams import Purpose, normal, uniform

WEIGHTS = ((1.0, 2.0), (-3.0, -4.0))
SEEDS = st.integers(0, 2**64 - 1)


def halves(N: int) -> Populations:
    """Two populations of the published proportions."""
    return Populations.pair(N, N // 2)


def static(N: int, outputs: int) -> StaticSynapses:
    """Static synapses with weights by population."""
    return StaticSynapses(halves(N), outputs, WEIGHTS)


def plastic(N: int, LX: int, L: int, weight: float = 0.5) -> PlasticInputs:
    """Plastic inputs drawn from all neurons of both populations."""
    return PlasticInputs(halves(N), LX, L, weight, plastic_pools(halves(N)))


# --- populations


@pytest.mark.parametrize(("N", "Ne"), [(10, 5), (11, 5), (7, 4), (3, 0)])
def test_populations(N: int, Ne: int) -> None:
    populations = Populations.pair(N, Ne)
    excitatory, inhibitory = populations
    assert (populations.neurons, populations.published) == (N, Ne == N // 2)
    assert (excitatory.name, excitatory.sign, inhibitory.name, inhibitory.sign) == ("excitatory", 1, "inhibitory", -1)
    assert excitatory.members().tolist() == [*range(Ne)]
    assert inhibitory.members().tolist() == [*range(Ne, N)]
    assert (excitatory.size, inhibitory.size) == (Ne, N - Ne)
    assert populations.index(np.arange(N)).tolist() == [0] * Ne + [1] * (N - Ne)
    assert populations.per_neuron([2.5, -1.0]).tolist() == [2.5] * Ne + [-1.0] * (N - Ne)
    assert populations.excitatory(np.arange(N)).tolist() == [True] * Ne + [False] * (N - Ne)


def test_populations_in_any_order() -> None:
    populations = Populations.of([("a", 2, -1), ("b", 3, 1), ("c", 1, -1), ("d", 2, 1)])
    assert [(p.name, p.first, p.last, p.sign) for p in populations] == [
        *(("a", 0, 2, -1), ("b", 2, 5, 1), ("c", 5, 6, -1), ("d", 6, 8, 1))
    ]
    assert (populations.neurons, populations.published) == (8, False)
    assert populations.index(np.arange(8)).tolist() == [0, 0, 1, 1, 1, 2, 3, 3]
    assert populations.excitatory([1, 4, 5, 6]).tolist() == [False, True, False, True]
    assert [populations.members(sign).tolist() for sign in SIGNS] == [[2, 3, 4, 6, 7], [0, 1, 5]]
    assert populations.per_neuron([1, 2, 3, 4]).tolist() == [1, 1, 2, 2, 2, 3, 4, 4]
    assert not Populations.of([("i", 2, -1), ("e", 2, 1)]).published
    assert Populations.of([("i", 2, -1)]).members(1).tolist() == []
    sources = PlasticInputs(populations, 0, 3, 1.0, plastic_pools(populations)).sources(1)
    assert sources[:, 3:].tolist() == [[0, 1, 5]] * 8
    assert {2, 3, 4, 6, 7} == {*sources[:, :3].ravel().tolist()}


# --- static synapses


@settings(deadline=None, max_examples=60)
@given(st.data(), st.integers(2, 60), SEEDS)
def test_static_targets_are_distinct_others(data: Any, N: int, seed: int) -> None:
    outputs = data.draw(st.integers(1, N - 1))
    synapses = static(N, outputs)
    targets = synapses.targets(seed)
    assert targets.shape == (N, outputs)
    assert targets.dtype == np.int32
    for j, row in enumerate(targets):
        assert row.tolist() == sorted(set(row.tolist()) - {j})
        assert 0 <= row[0] <= row[-1] < N
    first = data.draw(st.integers(0, N))
    last = data.draw(st.integers(first, N))
    np.testing.assert_array_equal(synapses.targets(seed, first, last), targets[first:last])
    np.testing.assert_array_equal(synapses.targets(seed, first), targets[first:])


def test_static_weights_by_population_or_by_synapse() -> None:
    synapses = static(6, 2)
    targets = synapses.targets(1)
    weights = synapses.target_weights(targets)
    for j in range(6):
        for target, weight in zip(targets[j], weights[j], strict=True):
            assert weight == WEIGHTS[int(j >= 3)][int(target >= 3)]
    own = np.arange(12.0).reshape(6, 2)
    separate = replace(synapses, own_weights=own)
    assert np.shares_memory(separate.target_weights(targets), own)
    for some in (synapses, separate):
        np.testing.assert_array_equal(some.target_weights(targets[2:4], 2), some.target_weights(targets)[2:4])
    assert (synapses.by_sign, separate.by_sign) == (True, False)


def test_static_synapses_onto_all_other_neurons() -> None:
    targets = static(9, 8).targets(1)
    for j in range(9):
        assert targets[j].tolist() == [c for c in range(9) if c != j]


def test_static_targets_are_drawn_uniformly() -> None:
    """A neuron receives a synapse from any other neuron with probability 2K/(N - 1)."""
    N, outputs = 1500, 60
    targets = static(N, outputs).targets(3)
    degree = np.bincount(targets.ravel(), minlength=N)
    p = outputs / (N - 1)
    variance = (N - 1) * p * (1 - p)
    assert degree.mean() == outputs
    # The sample variance of N binomial counts has a relative standard deviation of sqrt(2/N).
    assert abs(degree.var() / variance - 1) < 4.5 * math.sqrt(2 / N)
    # The position relative to the neuron itself is uniform, including its direct neighbours.
    offset = (targets - np.arange(N)[:, None]) % N
    assert offset.min() == 1
    counts = np.bincount(offset.ravel(), minlength=N)[1:]
    expected = N * outputs / (N - 1)
    assert stats.chi2.sf(np.sum((counts - expected) ** 2) / (expected * (1 - p)), N - 2) > 1e-3
    assert abs(counts[0] - expected) < 4.5 * math.sqrt(expected)
    assert abs(counts[-1] - expected) < 4.5 * math.sqrt(expected)


def test_static_targets_differ_by_seed_and_from_plastic_sources() -> None:
    a, b = (static(100, 20).targets(seed) for seed in (1, 2))
    assert (a != b).any(axis=1).all()
    sources = plastic(100, 0, 20).sources(1)
    assert (np.sort(sources[:, 20:] - 50) != np.sort(sources[:, :20])).any(axis=1).all()  # separately for E and I


# --- plastic synapses


@settings(deadline=None, max_examples=60)
@given(st.data(), st.integers(2, 60), st.integers(0, 4), SEEDS)
def test_plastic_sources(data: Any, N: int, LX: int, seed: int) -> None:
    L = data.draw(st.integers(0, N // 2))
    inputs = plastic(N, LX, L)
    sources = inputs.sources(seed)
    assert inputs.n == LX + 2 * L
    assert sources.shape == (N, 2 * L)
    assert sources.dtype == np.int32
    assert sources.flags.c_contiguous
    for row in sources.tolist():
        for half, low, high in ((row[:L], 0, N // 2), (row[L:], N // 2, N)):
            assert half == sorted(set(half))
            assert all(low <= j < high for j in half)
    first = data.draw(st.integers(0, N))
    last = data.draw(st.integers(first, N))
    np.testing.assert_array_equal(inputs.sources(seed, first, last), sources[first:last])
    np.testing.assert_array_equal(inputs.sources(seed, first), sources[first:])


@settings(deadline=None, max_examples=60)
@given(st.data(), st.integers(2, 40), st.integers(0, 4), SEEDS)
def test_outputs_are_the_transpose_of_sources(data: Any, N: int, LX: int, seed: int) -> None:
    L = data.draw(st.integers(0, N // 2))
    inputs = plastic(N, LX, L)
    sources = inputs.sources(seed)
    outputs = inputs.outputs(sources)
    assert (outputs.start.dtype, outputs.post.dtype, outputs.column.dtype) == (np.int64, np.int32, np.int32)
    assert outputs.start.shape == (N + 1,)
    assert (outputs.start[0], outputs.start[-1]) == (0, N * 2 * L)
    for j in range(N):
        span = slice(outputs.start[j], outputs.start[j + 1])
        # All positions of neuron j among the sources.
        places = [(c, LX + int(k)) for c in range(N) for k in np.flatnonzero(sources[c] == j)]
        assert list(zip(outputs.post[span].tolist(), outputs.column[span].tolist(), strict=True)) == places


@pytest.mark.parametrize(("LX", "L"), [(0, 3), (2, 3), (2, 0), (0, 0)])
def test_initial_weights(LX: int, L: int) -> None:
    weights = plastic(20, LX, L, weight=0.75).initial_weights
    assert weights.tolist() == [0.0] * LX + [0.75] * L + [-0.75] * L


def test_pools_contain_the_neurons_with_the_highest_rates() -> None:
    rates = np.array([5.0, 1.0, 4.0, 2.0, 3.0, 0.5, 9.0, 7.0, 7.0, 8.0, 6.0])  # Ne = 5 of 11
    excitatory, inhibitory = plastic_pools(Populations.pair(11, 5), 0.6, rates)
    assert excitatory.tolist() == [0, 2, 4]
    assert inhibitory.tolist() == [6, 7, 9]  # of two equal rates, the neuron with the lower number
    sources = PlasticInputs(Populations.pair(11, 5), 0, 2, 1.0, (excitatory, inhibitory)).sources(1)
    assert set(sources[:, :2].ravel().tolist()) == {0, 2, 4}
    assert set(sources[:, 2:].ravel().tolist()) == {6, 7, 9}
    assert [pool.tolist() for pool in plastic_pools(Populations.pair(11, 5))] == [[*range(5)], [*range(5, 11)]]
    with pytest.raises(ValueError, match="frac"):
        plastic_pools(Populations.pair(11, 5), 0.6)


@settings(deadline=None)
@given(st.data(), st.integers(2, 40), st.floats(0.01, 1))
def test_pools_of_any_fraction(data: Any, N: int, frac: float) -> None:
    Ne = N // 2
    rates = np.array(data.draw(st.lists(st.integers(0, 6), min_size=N, max_size=N)), np.float64)
    for pool, low, high in zip(plastic_pools(Populations.pair(N, Ne), frac, rates), (0, Ne), (Ne, N), strict=True):
        assert pool.dtype == np.int32
        assert len(pool) == (high - low if frac == 1 else math.floor(frac * Ne))
        assert pool.tolist() == sorted(set(pool.tolist()) & set(range(low, high)))
        rest = np.setdiff1d(np.arange(low, high), pool)
        if len(rest) and len(pool):
            assert rates[pool].min() >= rates[rest].max()


# --- stimulus and noise

STIMULUS = Stimulus(on=20, off=60, mu=0.3, b_per_ms=0.05, sigma=0.2, dt_ms=0.1)


def test_the_stimulus_is_active_strictly_between_its_ends() -> None:
    assert [i for i in range(100) if STIMULUS.active(i)] == list(range(21, 60))
    assert not any(replace(STIMULUS, on=60).active(i) for i in range(100))


def path(stimulus: Stimulus, task: int, N: int, dtype: str = "float64", seed: int = 4) -> np.ndarray:
    """The stimulus at its active steps, (steps, N)."""
    x = np.full(N, stimulus.mu, dtype)
    rows = []
    for step in range(stimulus.on + 1, stimulus.off):
        stimulus.advance(x, seed, task, step)
        rows.append(x.copy())
    return np.array(rows)


def test_the_stimulus_is_an_euler_maruyama_path() -> None:
    """x += b (mu - x) dt + sigma sqrt(dt) xi; the address of xi is the step after onset."""
    found = path(STIMULUS, 2, 7)
    x = np.full(7, 0.3)
    for k in range(1, 40):
        xi = normal(4, Purpose.STIMULUS, trial=2, step=k, first=0, last=7)
        x = x + 0.05 * (0.3 - x) * 0.1 + 0.2 * math.sqrt(0.1) * xi
        np.testing.assert_allclose(found[k - 1], x, rtol=1e-13)


def test_the_stimulus_is_frozen() -> None:
    """Independent of the onset, of when it is drawn and of precision; not of the task and seed."""
    a = path(STIMULUS, 0, 9)
    np.testing.assert_array_equal(path(STIMULUS, 0, 9), a)
    np.testing.assert_array_equal(path(replace(STIMULUS, on=120, off=160), 0, 9), a)
    np.testing.assert_array_equal(path(STIMULUS, 0, 5), a[:, :5])
    single = path(STIMULUS, 0, 9, "float32")
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, a, rtol=0, atol=1e-5)
    for other in (path(STIMULUS, 1, 9), path(STIMULUS, 0, 9, seed=5)):
        assert (other != a).all()
    assert abs(np.corrcoef(path(STIMULUS, 0, 2000)[-1], path(STIMULUS, 1, 2000)[-1])[0, 1]) < 0.1


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 3))
def test_parts_of_the_normals_of_a_stimulus_and_of_noise(first: int, more: int, task: int) -> None:
    noise = Noise("voltage", 0.5, 0.1, 10.0)
    for source in (STIMULUS, noise):
        whole = source.normals(4, task, np.arange(21, 24), 0, 60)
        assert whole.shape == (3, 60)
        np.testing.assert_array_equal(source.normals(4, task, 22, first, first + more), whole[1, first : first + more])
    assert (STIMULUS.normals(4, task, 22, 0, 60) != noise.normals(4, task, 22, 0, 60)).all()


def test_the_stimulus_has_the_variance_of_an_ornstein_uhlenbeck_path() -> None:
    """Stationary standard deviation sigma/sqrt(2b) (1 + b dt/4); autocorrelation exp(-b t)."""
    stimulus = Stimulus(on=0, off=4000, mu=-1.0, b_per_ms=0.05, sigma=0.2, dt_ms=0.1)
    x = path(stimulus, 0, 800)[1999:]  # 200 ms, ten time constants, after the start
    assert abs(x.mean() + 1) < 0.02
    deviation = 0.2 / math.sqrt(2 * 0.05)
    assert x.std() == pytest.approx(deviation, rel=0.02)
    assert x[-1].std() == pytest.approx(deviation, rel=0.1)
    lagged = np.mean((x[200:] + 1) * (x[:-200] + 1)) / deviation**2
    assert lagged == pytest.approx(math.exp(-0.05 * 20), abs=0.03)


@pytest.mark.parametrize(
    ("kind", "scale"), [("none", 0.0), ("voltage", 0.65 * math.sqrt(0.2 / 12)), ("current", 0.65 * math.sqrt(12 / 0.2))]
)
def test_noise_scales(kind: Any, scale: float) -> None:
    noise = Noise(kind, 0.65, 0.2, 12.0)
    assert noise.scale == pytest.approx(scale, rel=1e-14)
    expected = normal(3, Purpose.NOISE, trial=5, step=7, first=2, last=9)
    np.testing.assert_array_equal(noise.normals(3, 5, 7, 2, 9), expected)


def test_both_kinds_of_noise_have_the_same_effect_on_the_voltage() -> None:
    """Current noise acts on v with a factor dt/tau_m, which gives the scale of voltage noise."""
    voltage, current = (Noise(kind, 0.4, 0.1, 10.0).scale for kind in ("voltage", "current"))
    assert current * 0.1 / 10.0 == pytest.approx(voltage, rel=1e-14)


# --- feed-forward inputs

FEEDFORWARD = Feedforward(
    inputs=3,
    steps=400,
    stimulus_off=100,
    mu_hz=5.0,
    b_per_ms=0.0025,
    sigma=0.2,
    half_window=50,
    dt_ms=0.1,
    tau_ms=150.0,
)


def naive_rates(f: Feedforward, seed: int, task: int) -> np.ndarray:
    """An Ornstein-Uhlenbeck path, averaged over +- half_window steps of the trial, clipped at 0."""
    rates = np.empty((f.steps + 1, f.inputs))
    for x in range(f.inputs):
        y = [f.mu_hz]
        for i in range(1, f.steps + 1):
            xi = float(normal(seed, Purpose.FEEDFORWARD_RATE, trial=task, step=i, first=x, last=x + 1)[0])
            y.append(y[-1] + f.b_per_ms * (f.mu_hz - y[-1]) * f.dt_ms + f.sigma * math.sqrt(f.dt_ms) * xi)
        for i in range(f.steps + 1):
            window = y[max(0, i - f.half_window) : i + f.half_window + 1]
            rates[i, x] = max(0.0, sum(window) / len(window))
    return rates


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 150},
        {"steps": 60, "half_window": 0, "sigma": 20.0},
        {"steps": 90, "half_window": 7, "mu_hz": 0.1, "sigma": 3.0, "dt_ms": 0.5, "b_per_ms": 0.3},
        {"steps": 30, "half_window": 100, "inputs": 1},
    ],
)
def test_feedforward_rates_are_averaged_paths(changes: dict[str, Any]) -> None:
    f = replace(FEEDFORWARD, **changes)
    for task in (0, 1):
        expected = naive_rates(f, 8, task)
        np.testing.assert_allclose(f.rates_hz(8, task), expected, rtol=1e-10, atol=1e-10)
    if "sigma" in changes:
        assert (expected == 0).any()
        assert (expected > 0).any()


def test_feedforward_rates_belong_to_a_task() -> None:
    a, b = FEEDFORWARD.rates_hz(8, 0), FEEDFORWARD.rates_hz(8, 1)
    assert a.shape == (401, 3)
    assert (a != b).any(axis=0).all()
    assert (a[:, 0] != a[:, 1]).any()
    np.testing.assert_array_equal(replace(FEEDFORWARD).rates_hz(8, 0), a)
    assert (FEEDFORWARD.rates_hz(9, 0) != a).any()
    with pytest.raises(ValueError, match="read-only"):
        a[0, 0] = 1.0


def test_feedforward_paths_have_the_stationary_variance() -> None:
    f = replace(FEEDFORWARD, inputs=400, steps=20_000, half_window=0, mu_hz=50.0)  # 2 s, five time constants
    x = f.rates_hz(8, 0)[10_000:]
    assert x.std() == pytest.approx(0.2 / math.sqrt(2 * 0.0025), rel=0.05)
    assert x.mean() == pytest.approx(50.0, abs=0.3)


@settings(deadline=None, max_examples=40)
@given(st.data(), st.integers(0, 5), st.integers(0, 2))
def test_feedforward_spikes(data: Any, trial: int, task: int) -> None:
    """Spikes occur with probability rate dt after the stimulus; ranges of steps agree."""
    f = replace(FEEDFORWARD, mu_hz=2000.0)
    whole = f.spikes(8, trial, task, 0, f.steps)
    assert whole.shape == (401, 3)
    assert whole.dtype == bool
    assert not whole[:101].any()
    assert whole[101:].any(axis=0).all()
    steps = np.arange(f.steps + 1)
    u = uniform(8, Purpose.FEEDFORWARD_SPIKE, trial=trial, step=steps, first=0, last=3)
    np.testing.assert_array_equal(whole[101:], (u < f.rates_hz(8, task) * 0.1e-3)[101:])
    first = data.draw(st.integers(0, f.steps))
    last = data.draw(st.integers(first, f.steps))
    np.testing.assert_array_equal(f.spikes(8, trial, task, first, last), whole[first : last + 1])


def test_feedforward_inputs_fire_at_their_rates() -> None:
    f = replace(FEEDFORWARD, inputs=40, steps=3000, mu_hz=200.0, sigma=2.0, b_per_ms=0.01)
    trials = [f.spikes(8, trial, 0, 101, 3000) for trial in range(20)]
    found = np.mean(trials, axis=(0, 1)) / 0.1e-3  # Hz
    expected = f.rates_hz(8, 0)[101:].mean(axis=0)
    error = np.sqrt(expected / (20 * 2900 * 0.1e-3))
    assert (np.abs(found - expected) < 4.5 * error).all()
    assert abs(found.mean() - expected.mean()) < 4.5 * error.mean() / math.sqrt(40)
    assert (trials[0] != trials[1]).any()
    assert f.spikes(8, 0, 0, 0, 3000)[101].tolist() == trials[0][0].tolist()  # the first step after the stimulus
