"""Limits of a machine: memory bandwidth and arithmetic, measured with NumPy in a few seconds.

In: a number of threads. Out: `MachineLimits`. The method is that of STREAM (McCalpin 1995): arrays
several times larger than the caches, a separate part for each thread, the best of several passes.
Updating in place counts as a read and a write, so no cache line is fetched only to be overwritten.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from timeit import repeat
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from rlsbench.available import available_bytes
from rlsbench.results import MachineLimits, machine_record

TIMES_CACHE = 8  # size of the array that is read and updated relative to the largest cache


def measure_limits(threads: int, *, passes: int = 7, order: int = 2048, least_bytes: int = 2**28) -> MachineLimits:
    """Measure bandwidth and arithmetic in the best of several passes.

    The array that is read and updated is larger than `least_bytes` if caches are large, and smaller
    if memory is scarce; `order` is that of the matrices that are multiplied.
    """
    size = min(max(least_bytes, TIMES_CACHE * _largest_cache()), available_bytes() // 8)
    parts = np.array_split(np.ones(max(size // 4, threads), np.float32), threads)
    total = sum(part.nbytes for part in parts)
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        # Both operands of the product are the same array, so it is read once.
        reading = _best(lambda: list(pool.map(np.dot, parts, parts)), passes)
        updating = _best(lambda: list(pool.map(np.negative, parts, parts)), passes)  # in place
    arithmetic = {}
    with threadpool_limits(threads):
        for precision in ("float32", "float64"):
            a = np.ones((order, order), precision)
            arithmetic[precision] = 2 * order**3 / _best(partial(np.matmul, a, a, out=np.empty_like(a)), passes)
    return MachineLimits(
        threads=threads,
        read_bytes_per_second=total / reading,
        update_bytes_per_second=2 * total / updating,
        operations_per_second=arithmetic,
    )


def _best(work: Callable[[], Any], passes: int) -> float:
    work()
    return min(repeat(work, number=1, repeat=passes))


def _largest_cache() -> int:
    """Bytes of the largest cache of one processor; 0 if unknown."""
    units = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
    sizes = [re.fullmatch(r"(\d+)([KMG]?)", str(size)) for size in machine_record()["caches"].values()]
    return max((int(found[1]) * units[found[2]] for found in sizes if found), default=0)
