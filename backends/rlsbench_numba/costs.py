"""What an update costs by count: bytes that are moved, additions and multiplications, for one neuron.

In: n, options, and how many inputs spike between updates.  Out: a `Cost`.  Does not import Numba.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rlsbench.backend import Cost, Options, plain_cost
from rlsbench.precision import PRECISIONS, STORAGES
from rlsbench_numba.backend import pairs_kept

__all__ = ["blas_cost", "event_cost"]


def blas_cost(n: int, options: Options) -> Cost:
    """BLAS reads and writes one triangle, also of a full matrix."""
    return plain_cost(n, replace(options, storage="packed"))


def event_cost(n: int, options: Options, spiked: float) -> Cost:
    """An update reads the columns of inputs that spiked, and the pairs (k_j, g_j) that P lacks; P is written every m.

    In operations: the columns take 2 n each; what the pairs take from them, 2 for each pair, column and then 2 n for
    each pair; k, s.k, w.s and w - g e k some 8 n; folding m pairs into P two for each of its entries and pair.

    Parameters
    ----------
    n : int
    options : Options
    spiked : float
        Inputs that have spiked since the last update, on average.
    """
    b, real = PRECISIONS[options.p_precision].bytes, np.dtype(options.precision).itemsize
    wide = max(4, b)
    m, full = pairs_kept(n), options.storage == "full"
    entries = STORAGES[options.storage].entries(n)
    columns = min(spiked * n, entries) if full else entries  # a column of a triangle is spread over all of it
    kept = (m - 1) / 2  # pairs that P lacks, on average
    moved = b * columns + wide * n * (kept + 2) + 2 * real * n  # k is read once and written once
    folded = (2 * b * entries + wide * n * m) / m
    operations = 2 * n * spiked + kept * (2 * spiked + 2 * n) + 8 * n + 2 * entries
    return Cost(moved + folded, operations)
