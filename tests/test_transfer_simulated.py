"""The transfer function of a simulated neuron: first-passage equation, simulations, round trips."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsbench.errors import ConfigurationError, RecordingError
from rlsbench.network import Noise
from rlsbench.neurons import Neurons
from rlsbench.transfer import (
    MAX_RATE_HZ,
    NeuronParameters,
    max_simulated_rate,
    simulated_current,
    simulated_rate,
    stationary_current,
    stationary_rate,
    targets_from_rates,
)

MU = [-0.75, -0.3, 0.0, 0.3, 0.5]


def first_passage_rate(
    mu: float,
    sigma: float = 0.65,
    *,
    dt_ms: float = 0.1,
    tau_m_ms: float = 10.0,
    refractory_steps: int = 1,
    threshold: float = 1.0,
    reset: float = 0.0,
    noise: str = "voltage",
) -> float:
    """Rate of the model's neuron, from the expected number of steps T(v) to the next spike.

    T(v) = 1 + integral of p(v -> v') T(v') dv' over v' up to the threshold, solved by the Nystroem
    method on Gauss-Legendre nodes.
    """
    c = 1 - dt_ms / tau_m_ms
    s = sigma * math.sqrt(dt_ms / tau_m_ms) * (c if noise == "voltage" else 1.0)
    low = min(mu, reset) - 8 * s / math.sqrt(1 - c * c)
    x, w = np.polynomial.legendre.leggauss(8)
    edges = np.linspace(low, threshold, math.ceil((threshold - low) / s) + 1)
    half = np.diff(edges)[:, None] / 2
    nodes, weights = (edges[:-1, None] + half * (x + 1)).ravel(), (half * w).ravel()

    def density(mean: Any, deviation: float) -> Any:
        return weights * np.exp(-0.5 * ((nodes - mean) / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))

    kernel = density((c * nodes + (1 - c) * mu)[:, None], s)
    T = np.linalg.solve(np.eye(nodes.size) - kernel, np.ones(nodes.size))
    first = s * math.sqrt(1 + refractory_steps) if noise == "voltage" else s  # noise enters while refractory
    steps = refractory_steps + 1 + density(c * reset + (1 - c) * mu, first) @ T
    return float(1000 / (steps * dt_ms))


def model_rate(mu: float, neurons: int, duration_ms: float, *, kind: str = "voltage", dt_ms: float = 0.1) -> float:
    """Rate of simulated neurons, in the order of the model; refractory for one step."""
    lif, noise = Neurons(), Noise(kind, 0.65, dt_ms, 10.0)  # type: ignore[arg-type]
    random, spikes = np.random.default_rng(1), 0
    state, active = np.zeros((1, neurons), np.float32), np.ones(neurons, bool)
    warm_up = round(200 / dt_ms)
    for step in range(warm_up + round(duration_ms / dt_ms)):
        xi = np.float32(noise.scale) * random.standard_normal(neurons, dtype=np.float32)
        if kind == "voltage":
            state[0] += xi
        drive = np.float32(mu) + (xi if kind == "current" else np.zeros_like(xi))
        spiked = lif.advance(state, drive, active, dt_ms)
        active = ~spiked
        if step >= warm_up:
            spikes += int(spiked.sum())
    return 1000 * spikes / (neurons * duration_ms)


def test_rates_of_the_corrected_formula_in_the_specification() -> None:
    assert [f"{rate:.3g}" for rate in simulated_rate(MU, 0.65)] == ["0.067", "1.39", "5.81", "16.1", "26.5"]


def test_formula_of_the_module() -> None:
    c, s = 0.99, 0.65 * math.sqrt(0.01)
    sigma = math.sqrt(2 * (s * c) ** 2 / (1 - c**2))
    interval = 1 / stationary_rate(MU, sigma, NeuronParameters(threshold=1 + 0.5826 * sigma * 0.1)) + 1e-4
    np.testing.assert_allclose(simulated_rate(MU, 0.65), 1 / interval, rtol=1e-5)


@pytest.mark.parametrize("noise", ["voltage", "current"])
@pytest.mark.parametrize(
    ("dt_ms", "refractory_steps", "below"),
    [(0.1, 0, 0.006), (0.1, 1, 0.006), (0.1, 20, 0.025), (0.5, 1, 0.025), (1.0, 1, 0.05)],
)
def test_rate_is_that_of_the_first_passage_equation(
    noise: Any, dt_ms: float, refractory_steps: int, below: float
) -> None:
    exact = [first_passage_rate(m, dt_ms=dt_ms, refractory_steps=refractory_steps, noise=noise) for m in [*MU, 1.2]]
    neuron = NeuronParameters(dt_ms=dt_ms, refractory_ms=refractory_steps * dt_ms, noise=noise)
    ratio = simulated_rate([*MU, 1.2], 0.65, neuron) / exact
    assert (ratio < 1).all()
    assert (ratio > 1 - below).all()


@pytest.mark.parametrize(("mu", "neurons"), [(-0.3, 3000), (0.0, 1500), (0.5, 700)])
def test_rate_is_that_of_the_simulated_neuron(mu: float, neurons: int) -> None:
    rate = model_rate(mu, neurons, 2000)
    assert rate == pytest.approx(float(simulated_rate(mu, 0.65)), rel=0.03)
    assert rate == pytest.approx(first_passage_rate(mu), rel=0.03)
    assert 0.10 - 0.02 < 1 - rate / float(stationary_rate(mu, 0.65)) < 0.34  # the published formula


def test_published_formula_is_10_to_34_percent_off() -> None:
    missing = [1 - first_passage_rate(mu) / float(stationary_rate(mu, 0.65)) for mu in MU]
    np.testing.assert_allclose(missing, [0.32, 0.22, 0.17, 0.12, 0.10], atol=0.006)


def test_noise_on_the_current_is_not_damped_by_the_leak() -> None:
    rate = model_rate(0.0, 1500, 2000, kind="current")
    expected = float(simulated_rate(0.0, 0.65, NeuronParameters(noise="current")))
    assert rate == pytest.approx(expected, rel=0.02)
    assert expected > 1.04 * simulated_rate(0.0, 0.65)


def test_short_steps_lead_to_the_stationary_rate() -> None:
    fine = simulated_rate(MU, 0.65, NeuronParameters(dt_ms=1e-9, refractory_ms=0.0))
    np.testing.assert_allclose(fine, stationary_rate(MU, 0.65), rtol=1e-4)
    rates = [simulated_rate(MU, 0.65, NeuronParameters(dt_ms=dt)) for dt in (0.01, 0.1, 0.5)]
    assert (np.diff(rates, axis=0) < 0).all()


def test_refractory_period_is_rounded_to_steps_and_added_to_the_interval() -> None:
    neurons = [NeuronParameters(refractory_ms=ms) for ms in (0.0, 0.06, 0.1, 2.04)]
    intervals = [1000 / simulated_rate(MU, 0.65, neuron) for neuron in neurons]
    for interval, longer in zip(intervals, (0.0, 0.1, 0.1, 2.0), strict=True):
        np.testing.assert_allclose(interval - intervals[0], longer, atol=1e-8)


def test_rate_in_other_units_and_per_neuron() -> None:
    mu = np.array([[-0.3, 0.2, 0.4], [0.0, 0.1, 0.5]])
    sigma = np.array([0.3, 0.65, 0.9])
    rate = simulated_rate(mu, sigma)
    for c in range(3):
        np.testing.assert_allclose(rate[:, c], simulated_rate(mu[:, c], float(sigma[c])), rtol=1e-12)
    scaled = NeuronParameters(tau_m_ms=20.0, threshold=-50.0, reset=-65.0, dt_ms=0.2, refractory_ms=0.2)
    np.testing.assert_allclose(simulated_rate(-65 + 15 * mu, 15 * sigma, scaled), rate / 2, rtol=1e-9)


@settings(deadline=None, max_examples=60)
@given(
    rate=st.lists(st.floats(0.001, 400.0), min_size=1, max_size=5),
    sigma=st.sampled_from([1e-4, 0.05, 0.3093, 0.65, 5.0, 1e3]),
    per_neuron=st.booleans(),
    neuron=st.builds(
        NeuronParameters,
        dt_ms=st.sampled_from([0.01, 0.1, 1.0]),
        refractory_ms=st.sampled_from([0.0, 0.1, 2.0]),
        noise=st.sampled_from(["voltage", "current"]),
        reset=st.sampled_from([0.0, -0.5]),
    ),
)
def test_current_is_the_inverse_of_rate(
    rate: list[float], sigma: float, per_neuron: bool, neuron: NeuronParameters
) -> None:
    noise = np.full(len(rate), sigma) if per_neuron else sigma
    current = simulated_current([rate], noise, neuron)
    np.testing.assert_allclose(simulated_rate(current, noise, neuron), [rate], rtol=1e-9)


def test_highest_rate(refused: Any) -> None:
    neuron = NeuronParameters(refractory_ms=2.0)
    highest = max_simulated_rate(neuron)
    assert highest == pytest.approx(1000 / 2.1)
    current = simulated_current([highest], 0.65, neuron)
    assert simulated_rate(current, 0.65, neuron) == pytest.approx(highest, rel=1e-9)
    for wrong in (highest + 0.01, 500.0, 1e4, 0.0, -1.0, math.nan, math.inf):
        with refused(RecordingError, f"{wrong:g} Hz", "1 of 2 values", "476.19 Hz"):
            simulated_current([[1.0, wrong]], 0.65, neuron)
    assert max_simulated_rate(NeuronParameters(refractory_ms=0.0)) == MAX_RATE_HZ


def test_choice_of_the_transfer(refused: Any) -> None:
    rates = np.array([[0.0, 4.0], [9.0, 30.0]])
    positive = np.where(rates == 0, 0.1, rates)
    published = targets_from_rates(rates, 0.65)
    np.testing.assert_array_equal(published, stationary_current(positive, 0.65))
    np.testing.assert_array_equal(published, targets_from_rates(rates, 0.65, NeuronParameters(dt_ms=1.0)))
    neuron = NeuronParameters(threshold=1.1, dt_ms=0.2, refractory_ms=0.4, noise="current")
    corrected = targets_from_rates(rates, 0.65, neuron, transfer="simulated")
    np.testing.assert_array_equal(corrected, simulated_current(positive, 0.65, neuron))
    # The network needs about 0.05 more at each rate to fire as recorded.
    np.testing.assert_allclose(targets_from_rates(rates, 0.65, transfer="simulated") - published, 0.048, atol=0.006)
    with refused(ConfigurationError, "transfer = 'other'", "stationary", "simulated"):
        targets_from_rates(rates, 0.65, transfer="other")  # type: ignore[arg-type]
    with refused(ConfigurationError, "minimum_rate_hz = 600", "476.19"):
        targets_from_rates(
            rates, 0.65, NeuronParameters(refractory_ms=2.0), transfer="simulated", minimum_rate_hz=600.0
        )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"dt_ms": 0.0}, ["dt_ms = 0"]),
        ({"dt_ms": math.nan}, ["dt_ms = nan"]),
        ({"dt_ms": 10.0}, ["dt_ms = 10", "tau_m_ms = 10"]),
        ({"refractory_ms": -0.1}, ["refractory_ms = -0.1"]),
        ({"refractory_ms": math.inf}, ["refractory_ms = inf"]),
        ({"noise": "none"}, ["noise = 'none'", "voltage", "current"]),
        ({"sigma": 0.0}, ["sigma = 0"]),
        ({"sigma": 1e-6}, ["sigma = 1e-06", "dt_ms = 0.1"]),
        ({"sigma": [0.6, 0.6, 0.6]}, ["(3,)"]),
        ({"threshold": 0.0}, ["threshold = 0", "reset = 0"]),
        ({"tau_m_ms": -1.0}, ["tau_m_ms = -1"]),
    ],
)
def test_invalid_parameters(change: dict[str, Any], named: list[str], refused: Any) -> None:
    parameters = dict(change)
    sigma = parameters.pop("sigma", 0.65)
    with refused(ConfigurationError, *named):
        simulated_current([[1.0, 2.0]], sigma, NeuronParameters(**parameters))
    if not isinstance(sigma, list):
        with refused(ConfigurationError, *named):
            simulated_rate([0.1, 0.2], sigma, NeuronParameters(**parameters))
