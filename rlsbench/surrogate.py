"""A surrogate recording: random rates with the statistics of the mouse recordings.

In: a number of neurons and a seed.  Out: a `Recording`.  Knows the random streams and what a
recording is; knows no file or network.

The rates start 2 s before the go cue (at published size, 150 bins of 20 ms):

- The mean rate of a neuron is lognormal with a median of 4.1 Hz, a standard deviation of 1.3 of its
  logarithm (to which an offset for its region contributes) and a maximum of 120 Hz; 1 neuron in 200
  is silent.
- The rate in time is this mean times 1 + depth x a sum of eight temporal modes common to all
  neurons, with normal coefficients, clipped to 0 ... 120 Hz. The depth of modulation is lognormal
  with a median of 0.34.
- Half of the variance of the coefficients is specific to a condition; the rest is shared.
- The counts in a bin, summed over 100 to 150 trials, are Poisson. Their mean over trials is
  smoothed by a centred mean over 15 bins, whose window shrinks at the ends. One additional bin is
  drawn, and dropped after smoothing.

So the rates have the noise, the steps of 1/(15 bins x trials) and the edges of recorded PSTHs. The
names of the regions are those of Chen et al. (2024), Cell 187:676; their shares and offsets and the
shapes of the modes are invented.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, pdtr

from rlsbench.errors import ConfigurationError
from rlsbench.recordings import Recording, smooth
from rlsbench.streams import Purpose, normal, uniform

Array = NDArray[np.float64]

START_S: Final = -2.0  # start of the first bin, relative to the go cue
SMOOTHING: Final = 15  # bins of the centred mean
MEDIAN_HZ: Final = 4.1
LOG_DEVIATION: Final = 1.3
HIGHEST_HZ: Final = 120.0
SILENT: Final = 0.005  # share of the neurons
TRIALS: Final = (100, 150)  # fewest and most
REGIONS: Final = {  # share of the neurons, offset of the log of the rate (weighted mean 0)
    "ALM": (0.30, -0.10),
    "striatum": (0.20, -0.40),
    "thalamus": (0.20, 0.20),
    "midbrain": (0.20, 0.30),
    "medulla": (0.10, 0.10),
}
MODES: Final = {  # share of the variance of a rate; a seed's meaning depends on the order
    "go step": 0.38,
    "delay ramp": 0.16,
    "tonic": 0.10,
    "suppression": 0.08,
    "sample": 0.08,
    "go transient": 0.08,
    "late response": 0.06,
    "delay onset": 0.06,
}
DEPTH: Final = 0.34  # median of (standard deviation of the modulation) / (mean rate)
DEPTH_LOG_DEVIATION: Final = 0.5
SELECTIVITY: Final = 0.5  # part of the variance of the coefficients specific to a condition

_RATE, _REGION, _SILENCE, _TRIALS, _DEPTH, _COEFFICIENTS = 0, 1, 2, 3, 4, 16  # steps of the draws
_CHUNK = 4096  # neurons drawn together, in arrays of a few MB
_SUMMED = 10.0  # Poisson counts and means up to here are inverted by summing probabilities


def surrogate_recording(
    neurons: int, *, seed: int, bins: int = 150, bin_s: float = 0.02, conditions: int = 1
) -> Recording:
    """Draw a surrogate of the mouse recordings, as the module describes.

    At published size the mean rate is about 9 Hz and the median 4.1 Hz. Of the variance of the
    rates about each neuron's mean, the first principal component explains 0.44 and the first six
    0.9, as in those recordings. The autocorrelation of these rates at lags of 0.1, 0.2 and 0.3 s is
    on average 0.76, 0.43 and 0.11 in the 2 s before the go cue, the window of the public recordings
    of motor cortex (0.70 to 0.71, 0.41 to 0.44, 0.11 to 0.14). Over all 3 s it is 0.83, 0.55 and
    0.27, since the go cue has a lasting effect.

    A neuron depends on the seed, in [0, 2^64), and its index, not on the number of neurons, and a
    condition (such as lick left) does not depend on their number. `bin_s` is the width of a bin in
    s. Raises ConfigurationError if a number is out of range.
    """
    for name, value, low, high in (
        ("neurons", neurons, 1, 2**31 - 1),
        ("seed", seed, 0, 2**64 - 1),
        ("bins", bins, 2, 2**20),
        ("conditions", conditions, 1, 2**16),
    ):
        if not (isinstance(value, int | np.integer) and low <= value <= high):
            raise ConfigurationError(f"{name} = {value} of a surrogate: should be an integer from {low} to {high}")
    if not (math.isfinite(bin_s) and bin_s > 0):
        raise ConfigurationError(f"bin_s = {bin_s:g} of a surrogate: should be a positive number of seconds")
    edges = np.asarray(START_S + bin_s * np.arange(bins + 1), dtype=np.float64)
    modes = _modes(edges + bin_s / 2)  # for the requested bins and one more
    rates = np.empty((bins, neurons, conditions))
    regions, trials = np.empty(neurons, dtype=np.int64), np.empty(neurons, dtype=np.int64)
    for first in range(0, neurons, _CHUNK):
        part = slice(first, min(first + _CHUNK, neurons))
        regions[part], mean_hz, depth, trials[part] = _neurons(seed, part.start, part.stop)
        for condition in range(conditions):
            gain = 1 + modes @ (depth * _coefficients(seed, part.start, part.stop, condition))
            expected = np.clip(mean_hz * gain, 0.0, HIGHEST_HZ) * (bin_s * trials[part])
            draw = {"trial": condition, "first": part.start, "last": part.stop}
            u = uniform(seed, Purpose.SURROGATE_COUNT, step=np.arange(bins + 1), **draw)
            rates[:, part, condition] = smooth(_poisson(u, expected), "boxcar", SMOOTHING)[:-1] / (bin_s * trials[part])
    names = list(REGIONS)
    return Recording(
        rates_hz=rates,
        edges_s=edges,
        conditions=tuple(f"condition {condition + 1}" for condition in range(conditions)),
        regions=tuple(names[region] for region in regions),
        ids=tuple(f"surrogate {neuron}" for neuron in range(neurons)),
        unit_trials=np.tile(trials[:, None], (1, conditions)),
        source=f"surrogate of seed {seed}",
        provenance={"seed": seed, "bins": bins, "bin_s": bin_s},
        notes=("no recording was given: the targets are random rates with the statistics of the mouse recordings",),
    )


def _shapes(t: Array) -> Array:
    """The modes at times t (s) before they are centred and made orthogonal, (len(t), 8)."""

    def bump(centre: float, width: float) -> Array:
        return np.exp(-0.5 * ((t - centre) / width) ** 2)

    def step(centre: float, width: float) -> Array:
        return 0.5 + 0.5 * np.tanh((t - centre) / (2 * width))

    shapes = {
        "go step": step(0.08, 0.03),
        "delay ramp": np.where(t < 0, np.clip((t + 1.2) / 1.2, 0.0, None), np.exp(-np.maximum(t, 0.0) / 0.15)),
        "tonic": step(-1.0, 0.45),
        "suppression": -bump(0.4, 0.14),
        "sample": bump(-1.6, 0.1),
        "go transient": bump(0.15, 0.08),
        "late response": bump(0.7, 0.1),
        "delay onset": bump(-1.1, 0.1),
    }
    return np.stack([shapes[name] for name in MODES], axis=1)


def _modes(t: Array) -> Array:
    """The modes at times t (s), (len(t), 8), by the Gram-Schmidt process.

    They are orthogonal with mean 0 and mean square 1 over the published bins, whatever t is.
    """
    published = _shapes(np.linspace(START_S + 0.01, START_S + 3.01, 151))
    mean = published.mean(axis=0)
    _, triangle = np.linalg.qr(published - mean)
    triangle *= np.sign(np.diag(triangle))[:, None] / math.sqrt(len(published))
    return np.asarray(np.linalg.solve(triangle.T, (_shapes(t) - mean).T).T)


def _neurons(seed: int, first: int, last: int) -> tuple[NDArray[np.int64], Array, Array, NDArray[np.int64]]:
    """Index of the region, mean rate (Hz), relative depth of modulation, and number of trials."""
    u, z = (partial(draw, seed, Purpose.SURROGATE_NEURON, first=first, last=last) for draw in (uniform, normal))
    share, offset = np.array(list(REGIONS.values())).T
    region = np.searchsorted(np.cumsum(share)[:-1], u(step=_REGION), side="right")
    within = math.sqrt(LOG_DEVIATION**2 - float(share @ offset**2))
    mean_hz = np.minimum(MEDIAN_HZ * np.exp(offset[region] + within * z(step=_RATE)), HIGHEST_HZ)
    mean_hz[u(step=_SILENCE) < SILENT] = 0.0
    depth = DEPTH * np.exp(DEPTH_LOG_DEVIATION * z(step=_DEPTH))
    fewest, most = TRIALS
    trials = fewest + np.floor(u(step=_TRIALS) * (most - fewest + 1)).astype(np.int64)
    return region, mean_hz, depth, trials


def _coefficients(seed: int, first: int, last: int, condition: int) -> Array:
    """Coefficients of the modes in a condition, (8, last - first), with a part that is shared."""
    numbers = _COEFFICIENTS + np.arange(len(MODES))
    shared, own = (
        normal(seed, Purpose.SURROGATE_NEURON, trial=trial, step=numbers, first=first, last=last)
        for trial in (0, 1 + condition)
    )
    deviation = np.sqrt(list(MODES.values()))[:, None]
    return np.asarray(deviation * (math.sqrt(1 - SELECTIVITY) * shared + math.sqrt(SELECTIVITY) * own))


def _poisson(u: Array, mean: Array) -> Array:
    """Poisson counts, as floats, by inversion: the smallest k with P(count <= k) >= u; any shape.

    Counts above `_SUMMED` are computed by the normal asymptotic expansion of Giles (2016), ACM
    Trans. Math. Softw. 42:7, and checked with the exact probability where the error of the
    expansion could matter; smaller ones by summing probabilities.
    """
    w, m = ndtri(u), np.maximum(mean, 1.0)  # smaller means are not left to the expansion
    ww = w * w
    x = m + np.sqrt(m) * w + (1 / 3 + ww / 6) - w * (1 / 36 + ww / 72) / np.sqrt(m)
    x += (-8 / 405 + ww * (7 / 810 + ww / 270)) / m
    error = np.where(ww < 9, (1 / 40 + ww * (1 / 80 + ww / 160)) / m, 0.5)  # the bound holds near the middle
    count = np.floor(x + error)
    small = (mean < _SUMMED) | (count <= _SUMMED)
    count[small] = _poisson_sum(u[small], mean[small])
    unsure = (x - count < error) & ~small
    count[unsure] -= pdtr(count[unsure] - 1, mean[unsure]) >= u[unsure]
    return count


def _poisson_sum(u: Array, mean: Array) -> Array:
    """The same for arrays (n,) by summing probabilities; iterates up to the largest count."""
    count = np.zeros(u.size)
    todo = np.arange(u.size)
    term = np.exp(-mean)
    total = term.copy()
    k = 0
    while todo.size:
        more = u[todo] > total
        todo, term, total, mean = todo[more], term[more], total[more], mean[more]
        k += 1
        count[todo] = k
        term = term * mean / k
        total = total + term
    return count
