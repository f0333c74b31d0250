"""What a network takes on a device, by count: bytes that are held, bytes that are moved, operations, launches.

In: an experiment and options.  Out: counts.  Nothing here is measured, and CuPy is not imported.
"""

from __future__ import annotations

import numpy as np

from rlsbench.backend import PRECISION_BYTES, Cost, Options, plain_cost
from rlsbench.configuration import Experiment
from rlsbench.problem import Clock
from rlsbench_cupy.backend import pairs_kept, takes_event

__all__ = ["memory_bytes", "update_cost"]

SECTOR = 32
"""Bytes that a device moves at least: a number that stands alone costs as much."""


def memory_bytes(e: Experiment, options: Options) -> dict[str, int]:
    """Bytes on the device, by array."""
    N, recurrent, K = e.network.neurons, 2 * e.network.plastic_per_population, e.network.K
    n, LX = e.plastic_inputs, e.feedforward.LX
    real, stored = np.dtype(options.precision).itemsize, PRECISION_BYTES[options.p_precision]
    wide = 8 if options.p_precision == "float64" else 4
    entries = n * n if options.storage == "full" else n * (n + 1) // 2
    clock = Clock.from_experiment(e)
    needed = {
        "P": N * entries * stored + N * wide,
        "w": N * n * real,
        "plastic inputs": N * recurrent * 4,
        "plastic outputs": N * recurrent * (4 + 2) + N * 8,
        "static targets": N * 2 * K * 4,
        "state": N * (10 * real + 4 * 4 + 8 + 8 + 1),
        "targets": N * clock.bins * real,
        "feed-forward rates": (clock.steps + 1) * LX * 8,
    }
    if takes_event(e, options):
        pairs = pairs_kept(n, wide)
        needed["k of recent updates"] = N * pairs * (n + 1) * wide + N * (2 * wide + 3 * real)
    return needed


def update_cost(n: int, options: Options, spiked: float) -> Cost:
    """What an update of a neuron moves and computes, folding included.

    Parameters
    ----------
    n : int
    options : Options
    spiked : float
        Inputs that have spiked since the last update, on average.
    """
    index = 4 * n + 4 * n / 8  # who projects here; whether they spiked mostly comes from the cache
    if options.algorithm == "plain":
        bytes_, operations = plain_cost(n, options)
        return Cost(bytes_ + index, operations)
    b, real = PRECISION_BYTES[options.p_precision], np.dtype(options.precision).itemsize
    wide = max(4, b)
    m, full = pairs_kept(n, wide), options.storage == "full"
    entries = n * n if full else n * (n + 1) // 2
    column = n * b if full else n / 2 * b + n / 2 * SECTOR
    kept = (m - 1) / 2  # pairs that P lacks, on average
    moved = min(spiked * column, b * entries) + wide * n * (kept + 2) + 2 * real * n + index
    folded = (2 * b * entries + wide * n * m) / m
    operations = 2 * n * spiked + kept * (2 * spiked + 2 * n) + 8 * n + 2 * entries
    return Cost(moved + folded, operations)
