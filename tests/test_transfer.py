"""The transfer function of the LIF neuron: quadrature, round trips and published values."""

from __future__ import annotations

import itertools
import math
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import erfc, erfcx

from rlsbench.errors import ConfigurationError, RecordingError
from rlsbench.transfer import MAX_RATE_HZ, NeuronParameters, stationary_current, stationary_rate, targets_from_rates
from tests.conftest import DATA


@pytest.fixture
def alm() -> Path:
    """Folder of recorded rates and the currents that the authors computed from them."""
    folder = DATA / "alm"
    if not (folder / "utarg1Hz_lickleft.jld").is_file():
        pytest.skip(f"no recordings in {folder}")
    return folder


def reference_rate(mu: float, sigma: float, tau: float = 10.0, threshold: float = 1.0, reset: float = 0.0) -> float:
    """Siegert's integral by adaptive quadrature, separately for each unit and each side of 0."""
    a, b = (reset - mu) / sigma, (threshold - mu) / sigma
    shift = max(b, 0.0) ** 2

    def integrand(x: float) -> float:
        return float(np.exp(x * x - shift) * erfc(-x) if x > 0 else np.exp(-shift) * erfcx(-x))

    edges = [a, *(float(x) for x in range(math.ceil(a), math.ceil(b)) if a < x < b), b]
    total = math.fsum(
        quad(integrand, low, high, epsabs=0, epsrel=1e-13, limit=200)[0] for low, high in itertools.pairwise(edges)
    )
    return 1000 * math.exp(-shift) / (tau * math.sqrt(math.pi) * total)


@pytest.mark.parametrize("sigma", [0.05, 0.3093, 0.65, 3.0, 40.0])
def test_rate_equals_adaptive_quadrature(sigma: float) -> None:
    mu = [m for m in (-5.0, -0.75, 0.0, 0.5, 0.999, 1.0, 1.5, 7.0, 100.0) if (1 - m) / sigma < 25]
    expected = [reference_rate(m, sigma) for m in mu]
    np.testing.assert_allclose(stationary_rate(mu, sigma), expected, rtol=1e-11)


def test_rate_in_other_units() -> None:
    rate = stationary_rate(-52.0, 4.0, NeuronParameters(tau_m_ms=20.0, threshold=-50.0, reset=-65.0))
    assert rate == pytest.approx(reference_rate(-52.0, 4.0, 20.0, -50.0, -65.0), rel=1e-11)
    assert rate == pytest.approx(stationary_rate(13 / 15, 4 / 15) / 2, rel=1e-11)


def test_rate_far_from_threshold() -> None:
    with warnings.catch_warnings(), np.errstate(all="raise", under="ignore"):
        warnings.simplefilter("error")
        assert stationary_rate([-1e300, -1e6, -50.0], 0.65).tolist() == [0.0, 0.0, 0.0]
        assert 0 < stationary_rate(-15.0, 0.65) < 1e-200
        # Without noise nu = 1000 / (tau ln((mu - reset)/(mu - threshold))),
        # which tends to 1000 (mu - 1/2)/tau.
        strong = stationary_rate([50.0, 1e7, 1e300], 1e-6)
        np.testing.assert_allclose(strong, [-100 / np.log1p(-1 / 50.0), 1e9 - 50, 1e302], rtol=1e-11)


def test_rate_broadcasts_sigma() -> None:
    mu = np.linspace(-1, 1, 15).reshape(5, 3)
    rate = stationary_rate(mu, np.array([0.3, 0.6, 0.9]))
    assert rate.shape == (5, 3)
    np.testing.assert_allclose(rate[:, 1], stationary_rate(mu[:, 1], 0.6), rtol=1e-13)
    assert stationary_rate(np.empty((0, 3)), 0.65).shape == (0, 3)


def test_rates_of_the_plain_formula_in_the_specification() -> None:
    rate = stationary_rate([-0.75, -0.3, 0.0, 0.3, 0.5], 0.65)
    np.testing.assert_allclose(rate, [0.100, 1.80, 7.00, 18.4, 29.6], rtol=5e-3)


def test_known_currents() -> None:
    current = stationary_current([0.1, 6.38112, 27.5787], 0.65)
    np.testing.assert_allclose(current, [-0.74940072, -0.02402191, 0.46673508], atol=2e-8)


@settings(deadline=None, max_examples=60)
@given(
    rate=st.lists(st.floats(0.001, 400.0), min_size=1, max_size=5),
    sigma=st.sampled_from([1e-4, 0.05, 0.3093, 0.65, 5.0, 1e3]),
    per_neuron=st.booleans(),
    tau=st.sampled_from([10.0, 37.5]),
)
def test_current_is_the_inverse_of_rate(rate: list[float], sigma: float, per_neuron: bool, tau: float) -> None:
    noise = np.full(len(rate), sigma) if per_neuron else sigma
    neuron = NeuronParameters(tau_m_ms=tau)
    current = stationary_current([rate], noise, neuron)
    np.testing.assert_allclose(stationary_rate(current, noise, neuron), [rate], rtol=1e-9)


def test_inverse_over_the_whole_range_and_beyond_the_table() -> None:
    rate = np.geomspace(1e-200, MAX_RATE_HZ, 4001)
    current = stationary_current(rate, 0.65)
    np.testing.assert_allclose(stationary_rate(current, 0.65), rate, rtol=1e-9)
    assert (np.diff(current) > 0).all()


def test_table_and_newton_agree_for_a_matrix() -> None:
    rates = np.random.default_rng(1).lognormal(1.4, 1.3, (7, 40))
    np.testing.assert_allclose(
        stationary_current(rates, 0.65), stationary_current(rates, np.full(40, 0.65)), rtol=0, atol=1e-9
    )
    noise = np.linspace(0.3, 0.8, 40)
    each = [stationary_current(rates[:, c], float(noise[c])) for c in range(40)]
    np.testing.assert_allclose(stationary_current(rates, noise), np.transpose(each), rtol=0, atol=1e-9)


def test_a_published_recording_takes_seconds() -> None:
    rates = np.random.default_rng(2).lognormal(1.4, 1.3, (15, 66_002))
    start = time.perf_counter()
    targets_from_rates(rates, 0.65)
    assert time.perf_counter() - start < 5  # a tenth of the matrix


def test_zero_becomes_the_minimum_rate() -> None:
    rates = np.array([[0.0, 0.05, 2.0], [7.0, 0.0, 0.0]])
    expected = stationary_current([[0.1, 0.05, 2.0], [7.0, 0.1, 0.1]], 0.65)
    np.testing.assert_array_equal(targets_from_rates(rates, 0.65), expected)
    assert targets_from_rates([[0.0]], 0.65, minimum_rate_hz=2.0)[0, 0] == expected[0, 2]
    assert rates[0, 0] == 0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sigma": 0.0}, "sigma = 0"),
        ({"sigma": -0.5}, "sigma = -0.5"),
        ({"sigma": math.nan}, "sigma = nan"),
        ({"sigma": [0.6, 0.0]}, "sigma = 0"),
        ({"sigma": [0.6, 0.6, 0.6]}, "(3,)"),
        ({"threshold": 0.0}, "threshold = 0"),
        ({"reset": math.inf}, "reset = inf"),
        ({"tau_m_ms": 0.0}, "tau_m_ms = 0"),
    ],
)
def test_invalid_parameters(change: dict[str, Any], named: str, refused: Any) -> None:
    parameters = dict(change)
    sigma = parameters.pop("sigma", 0.65)
    with refused(ConfigurationError, named):
        stationary_current([[1.0, 2.0]], sigma, NeuronParameters(**parameters))


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf, 2 * MAX_RATE_HZ])
def test_invalid_rates(rate: float, refused: Any) -> None:
    with refused(RecordingError, f"{rate:g} Hz", "10000 Hz"):
        stationary_current([[1.0, rate]], 0.65)


def test_invalid_targets(refused: Any) -> None:
    with refused(RecordingError, "-1 Hz"):
        targets_from_rates([[-1.0]], 0.65)
    for minimum in (0.0, -1.0, math.nan, 2 * MAX_RATE_HZ):
        with refused(ConfigurationError, f"minimum_rate_hz = {minimum:g}"):
            targets_from_rates([[1.0]], 0.65, minimum_rate_hz=minimum)
    with refused(ConfigurationError, "NaN"):
        stationary_rate([0.0, math.nan], 0.65)


def test_currents_of_the_authors_are_reproduced(alm: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(alm / "movingrate_Pyr1Hz_lickleft.jld") as file:
        rates = file["Pyr"][:, ::12]
    with h5py.File(alm / "utarg1Hz_lickleft.jld") as file:
        theirs = file["utarg"][:, ::12]
    assert rates.shape == (101, 152)
    positive = np.where(rates == 0, 0.1, rates)
    assert (positive != rates).any()
    # One sigma per neuron, by Gauss-Newton steps on the log rate at their currents.
    sigma, small = np.full(152, 0.31), 1e-6
    for _ in range(6):
        here, there = (np.log(stationary_rate(theirs, s)) for s in (sigma, sigma + small))
        slope = (there - here) / small
        sigma = sigma - (slope * (here - np.log(positive))).sum(axis=0) / (slope**2).sum(axis=0)
    assert sigma.mean() == pytest.approx(0.3093, abs=0.0002)
    assert sigma.std() == pytest.approx(0.0008, abs=0.0002)
    np.testing.assert_allclose(targets_from_rates(rates, sigma), theirs, rtol=0, atol=5e-6)
    assert np.abs(targets_from_rates(rates, 0.3093) - theirs).max() > 1e-4  # they did not use one sigma for all
