"""The surrogate recording: its statistics, and its draws as pure functions of seed and neuron."""

from __future__ import annotations

import itertools
import math
import time
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from rlsbench.errors import ConfigurationError
from rlsbench.surrogate import MODES, REGIONS, SELECTIVITY, _modes, _poisson, surrogate_recording
from rlsbench.transfer import targets_from_rates

Array = NDArray[np.float64]


class Surrogate(NamedTuple):
    """The arrays of a surrogate recording, and the modes of its bins."""

    rates_hz: Array
    edges_s: Array
    regions: NDArray[np.str_]
    trials: NDArray[np.int64]
    modes: Array


def surrogate_rates(neurons: int, **how: Any) -> Surrogate:
    drawn = surrogate_recording(neurons, **how)
    assert drawn.edges_s is not None
    assert drawn.unit_trials is not None
    assert drawn.bin_s is not None
    assert (drawn.unit_trials == drawn.unit_trials[:, :1]).all()
    modes = _modes(drawn.edges_s[:-1] + drawn.bin_s / 2)
    return Surrogate(drawn.rates_hz, drawn.edges_s, np.array(drawn.regions), drawn.unit_trials[:, 0], modes)


@pytest.fixture(scope="module")
def published() -> Surrogate:
    """A surrogate of published size, drawn once."""
    return surrogate_rates(66_002, seed=1)


@pytest.fixture(scope="module")
def means(published: Surrogate) -> Array:
    """Mean rate of each neuron, Hz."""
    return published.rates_hz[:, :, 0].mean(axis=0)


def test_shapes_and_edges(published: Surrogate) -> None:
    assert published.rates_hz.shape == (150, 66_002, 1)
    assert published.rates_hz.dtype == np.float64
    np.testing.assert_allclose(published.edges_s, -2 + 0.02 * np.arange(151))
    assert published.regions.shape == published.trials.shape == (66_002,)
    assert published.modes.shape == (150, len(MODES))
    assert 5 <= len(MODES) <= 8


def test_size_and_time() -> None:
    start = time.perf_counter()
    surrogate_rates(6600, seed=1)
    assert time.perf_counter() - start < 3  # a tenth of the published size


def test_rates_are_lognormal_and_capped(published: Surrogate, means: Array) -> None:
    assert np.isfinite(published.rates_hz).all()
    assert published.rates_hz.min() == 0
    assert np.median(means) == pytest.approx(4.1, rel=0.02)
    assert means.mean() == pytest.approx(9.0, rel=0.04)
    quartiles = np.log(np.quantile(means, [0.1, 0.25, 0.5, 0.75, 0.9]))
    np.testing.assert_allclose(quartiles, math.log(4.1) + 1.3 * stats.norm.ppf([0.1, 0.25, 0.5, 0.75, 0.9]), atol=0.05)
    assert 110 < means.max() < 121
    assert 120 < published.rates_hz.max() < 135  # the cap, and Poisson noise


def test_a_few_cells_are_silent(published: Surrogate) -> None:
    silent = (published.rates_hz[:, :, 0] == 0).all(axis=0)
    assert 0.003 < silent.mean() < 0.007


def test_regions_have_their_own_rates(published: Surrogate, means: Array) -> None:
    assert len(REGIONS) == 5
    medians = {}
    for region, (share, _) in REGIONS.items():
        mask = published.regions == region
        assert mask.mean() == pytest.approx(share, abs=0.006)
        medians[region] = np.median(means[mask])
    expected = {region: 4.1 * math.exp(offset) for region, (_, offset) in REGIONS.items()}
    for region, median in medians.items():
        assert median == pytest.approx(expected[region], rel=0.06)
    assert max(medians.values()) > 1.6 * min(medians.values())


def test_principal_components(published: Surrogate, means: Array) -> None:
    deviations = published.rates_hz[:, :, 0] - means
    variance = np.linalg.eigvalsh(deviations @ deviations.T)[::-1]
    explained = np.cumsum(variance) / variance.sum()
    assert explained[0] == pytest.approx(0.44, abs=0.02)
    assert int(np.searchsorted(explained, 0.9)) + 1 == 6


def autocorrelation(rates: Array) -> list[float]:
    """Of each neuron's deviations from its mean, at 0.1, 0.2 and 0.3 s, averaged over neurons."""
    x = rates[:, rates.std(axis=0) > 0]
    x = x - x.mean(axis=0)
    return [float(((x[:-lag] * x[lag:]).mean(axis=0) / x.var(axis=0)).mean()) for lag in (5, 10, 15)]


def test_autocorrelation(published: Surrogate) -> None:
    rates = published.rates_hz[:, ::4, 0]
    before_go = autocorrelation(rates[published.edges_s[:-1] < -1e-9])
    np.testing.assert_allclose(before_go, [0.73, 0.44, 0.11], atol=0.04)  # of the recordings
    np.testing.assert_allclose(before_go, [0.76, 0.43, 0.11], atol=0.01)
    np.testing.assert_allclose(autocorrelation(rates), [0.83, 0.55, 0.27], atol=0.01)


def test_modulation_is_about_that_of_recorded_neurons(published: Surrogate, means: Array) -> None:
    relative = published.rates_hz[:, means > 1, 0].std(axis=0) / means[means > 1]
    assert np.median(relative) == pytest.approx(0.28, abs=0.03)  # 0.24 in the recordings before the cue
    # A network cannot learn less modulated targets: they are lost in the noise of the spikes.
    assert targets_from_rates(published.rates_hz[:, :2000, 0], 0.65).std(axis=0).mean() > 0.08


def test_trials_and_the_steps_of_the_rates(published: Surrogate) -> None:
    assert (published.trials.min(), published.trials.max()) == (100, 150)
    assert published.trials.mean() == pytest.approx(125, abs=0.3)
    window = np.minimum(np.arange(150), 7) + 1 + np.minimum(150 - np.arange(150), 7)  # 151 bins, the last one dropped
    assert (window[0], window[7], window[75], window[149]) == (8, 15, 15, 9)
    counts = published.rates_hz[:, :500, 0] * (0.02 * published.trials[:500]) * window[:, None]
    np.testing.assert_allclose(counts, np.round(counts), rtol=0, atol=1e-6)
    assert len(np.unique(np.round(counts[75]) % 15)) == 15  # and no coarser steps


def test_noise_is_that_of_poisson_counts(published: Surrogate, means: Array) -> None:
    # A step of the smoothed rate is the difference of two raw bins, 15 apart, which is mostly
    # noise where the modes change little.
    slow = np.flatnonzero((means > 0.5) & (means < 2.0))
    steps = np.diff(published.rates_hz[64:74, slow, 0], axis=0) * 15 * 0.02 * published.trials[slow]
    ratio = (steps**2).mean(axis=0) / (2 * means[slow] * 0.02 * published.trials[slow])
    assert np.median(ratio) == pytest.approx(1.0, abs=0.1)


def test_modes_are_shared_with_mixed_signs(published: Surrogate, means: Array) -> None:
    np.testing.assert_allclose(published.modes.T @ published.modes / 150, np.eye(len(MODES)), atol=0.08)
    np.testing.assert_allclose(published.modes.mean(axis=0), 0, atol=0.03)
    strong = means > 20
    z = published.rates_hz[:, strong, 0] / means[strong] - 1
    for positive in (published.modes.T @ z > 0).mean(axis=1):
        assert 0.45 < positive < 0.55
    go = published.modes[:, list(MODES).index("go step")]
    assert (go[published.edges_s[:-1] > 0.2] > 1).all()
    assert (go[published.edges_s[1:] < -0.1] < -0.5).all()
    assert sum(MODES.values()) == pytest.approx(1)


@pytest.mark.parametrize("neurons", [1, 1000, 4099])
def test_a_neuron_is_the_same_whatever_their_number(published: Surrogate, neurons: int) -> None:
    few = surrogate_rates(neurons, seed=1)
    np.testing.assert_array_equal(few.rates_hz, published.rates_hz[:, :neurons])
    np.testing.assert_array_equal(few.regions, published.regions[:neurons])
    np.testing.assert_array_equal(few.trials, published.trials[:neurons])


def test_seeds_differ(published: Surrogate) -> None:
    other = surrogate_rates(1000, seed=2)
    a, b = other.rates_hz[:, :, 0].mean(axis=0), published.rates_hz[:, :1000, 0].mean(axis=0)
    assert abs(stats.spearmanr(a, b).statistic) < 0.12
    assert (other.trials != published.trials[:1000]).mean() > 0.9


def test_values_are_a_format() -> None:
    tiny = surrogate_rates(3, seed=7, bins=4, conditions=2)
    again = surrogate_rates(3, seed=7, bins=4, conditions=2)
    np.testing.assert_array_equal(tiny.rates_hz, again.rates_hz)
    counts = tiny.rates_hz * (0.02 * tiny.trials[:, None]) * 5  # all windows hold the 5 bins
    assert tiny.regions.tolist() == ["striatum", "thalamus", "thalamus"]
    assert tiny.trials.tolist() == [138, 113, 100]
    assert np.round(counts[0]).astype(int).tolist() == [[11, 11], [21, 35], [276, 558]]


def test_conditions_share_rates_and_part_of_their_modulation(published: Surrogate, means: Array) -> None:
    three = surrogate_rates(6000, seed=1, conditions=3)
    assert three.rates_hz.shape == (150, 6000, 3)
    np.testing.assert_array_equal(three.rates_hz[:, :, :1], published.rates_hz[:, :6000])
    levels = three.rates_hz.mean(axis=0)
    high = means[:6000] > 4
    inside = slice(7, 143)  # whole windows
    noise = 1 / (means[:6000] * 0.02 * 15 * three.trials)[high]
    z = three.rates_hz[inside, high] / levels[high] - 1
    z -= z.mean(axis=0)
    pairs = list(itertools.combinations(range(3), 2))
    common = [(z[:, :, a] * z[:, :, b]).mean() for a, b in pairs]
    signal = (z**2).mean() - (1 - 15 / 136) * noise.mean()  # part of the noise went with the mean
    assert np.mean(common) / signal == pytest.approx(1 - SELECTIVITY, abs=0.05)
    for a, b in pairs:
        assert stats.spearmanr(levels[:, a], levels[:, b]).statistic > 0.99


def test_other_bins() -> None:
    wide = surrogate_rates(2000, seed=3, bins=60, bin_s=0.05)
    assert wide.rates_hz.shape == (60, 2000, 1)
    assert wide.edges_s[-1] == pytest.approx(1.0)
    np.testing.assert_allclose(wide.modes[::2], surrogate_rates(1, seed=1, bins=300, bin_s=0.01).modes[2::10], atol=0.2)
    narrow = surrogate_rates(2000, seed=3)
    assert stats.spearmanr(wide.rates_hz.mean(axis=0)[:, 0], narrow.rates_hz.mean(axis=0)[:, 0]).statistic > 0.99


def test_poisson_quantiles() -> None:
    random = np.random.default_rng(1)
    mean = 10 ** random.uniform(-3, 3, (2, 100_000))
    u = random.random(mean.shape)
    u[0, :20_000] = 10 ** -random.uniform(0, 9.6, 20_000)
    u[0, :10_000] = 1 - u[0, :10_000]
    count = _poisson(u, mean)
    np.testing.assert_array_equal(count, stats.poisson.ppf(u, mean))
    assert _poisson(np.array([0.5, 1 - 2.0**-33]), np.zeros(2)).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"neurons": 0}, "neurons = 0"),
        ({"neurons": 1.5}, "neurons = 1.5"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": 2**64}, "seed = 18446744073709551616"),
        ({"bins": 1}, "bins = 1"),
        ({"conditions": 0}, "conditions = 0"),
        ({"bin_s": 0.0}, "bin_s = 0"),
        ({"bin_s": math.nan}, "bin_s = nan"),
    ],
)
def test_invalid_numbers(change: dict[str, Any], named: str, refused: Any) -> None:
    with refused(ConfigurationError, named):
        surrogate_rates(**{"neurons": 10, "seed": 1, **change})
