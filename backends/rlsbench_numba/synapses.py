"""Static and plastic synapses in memory, drawn and turned round in parallel.

In: `rlsbench.network.StaticSynapses` and `PlasticInputs`.  Out: arrays that `rlsbench_numba.delivery` reads.  Knows no
state and no time.

Post-synaptic neurons fall into blocks of 65,536, within which 16 bits name one: a static synapse takes two bytes, and
what a thread adds to stays in its cache.  Neurons are drawn by the definition of `rlsbench.streams.distinct_integers`,
so they are the same synapses.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange
from numpy.typing import NDArray

from rlsbench.network import PlasticInputs, StaticSynapses
from rlsbench.streams import Purpose, key_from_seed
from rlsbench_numba.compiling import kernel, parallel_kernel
from rlsbench_numba.normals import philox

__all__ = ["BLOCK_BITS", "Outputs", "StaticTargets", "draw_sources", "draw_static", "turn_round"]

BLOCK_BITS = 16
_DRAWS = 64  # words that are drawn at once; a multiple of 4
_32 = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


class StaticTargets(NamedTuple):
    """Static synapses of all neurons."""

    low: NDArray[np.uint16]
    """(N, 2K), the low 16 bits of the post-synaptic neurons, which rise in each row."""
    start: NDArray[np.int32]
    """(N, blocks + 1), where in a row each block of post-synaptic neurons begins."""


class Outputs(NamedTuple):
    """Recurrent plastic synapses seen from the pre-synaptic side; those of neuron j are start[j] .. start[j+1]-1."""

    start: NDArray[np.int64]
    """(N + 1,)"""
    post: NDArray[np.int32]
    """(N 2L,), rising for each pre-synaptic neuron."""
    column: NDArray[np.uint16]
    """(N 2L,), which of the post-synaptic neuron's plastic weights."""


def draw_static(synapses: StaticSynapses | None, N: int, seed: int) -> StaticTargets:
    """All static synapses; with none, rows of length 0."""
    blocks = (N >> BLOCK_BITS) + 1
    if synapses is None:
        return StaticTargets(np.empty((N, 0), np.uint16), np.zeros((N, blocks + 1), np.int32))
    targets = StaticTargets(np.empty((N, synapses.outputs), np.uint16), np.empty((N, blocks + 1), np.int32))
    key0, key1 = key_from_seed(seed)
    _draw_static(targets.low, targets.start, N, int(Purpose.STATIC_OUTPUTS), key0, key1)
    return targets


def draw_sources(plastic: PlasticInputs, seed: int) -> NDArray[np.int32]:
    """`PlasticInputs.sources`, in parallel: (N, 2L)."""
    N, L = plastic.neurons, plastic.per_population
    sources = np.empty((N, 2 * L), np.int32)
    key0, key1 = key_from_seed(seed)
    if L:
        for first, pool, purpose in zip(
            (0, L), plastic.pools, (Purpose.PLASTIC_EXCITATORY, Purpose.PLASTIC_INHIBITORY), strict=True
        ):
            _draw_from_pool(sources, first, L, np.ascontiguousarray(pool), int(purpose), key0, key1)
    return sources


def turn_round(sources: NDArray[np.int32], feedforward: int, threads: int) -> Outputs:
    """The synapses of `sources` (N, 2L) by their pre-synaptic neurons; columns are counted from `feedforward` on."""
    N, width = sources.shape
    bounds = np.arange(threads + 1, dtype=np.int64) * N // threads
    start = np.zeros(N + 1, np.int64)
    _count_outputs(sources, start, bounds)
    np.cumsum(start, out=start)
    outputs = Outputs(start, np.empty(N * width, np.int32), np.empty(N * width, np.uint16))
    _fill_outputs(sources, start, outputs.post, outputs.column, feedforward, bounds)
    return outputs


@kernel
def draw_row(row, below, purpose, step, key0, key1, table, words):
    """`row` (count,) distinct integers in [0, below) in rising order: `rlsbench.streams.distinct_integers` for one row.

    Accepted draws are put into a sorted table with gaps, near the place that their size suggests; one that is there
    already is dropped.

    Parameters
    ----------
    row : ndarray of int64, shape (count,)
    below, purpose, step, key0, key1 : int
    table : ndarray of int64, shape (2 count + some,)
        Scratch; all -1 before and after.
    words : ndarray of uint64, shape (4, _DRAWS // 4)
        Scratch.
    """
    count, rejected = len(row), np.uint64((1 << 32) % below)
    scale = 2.0 * count / below
    found = block = 0
    while found < count:
        philox(words[0], words[1], words[2], words[3], _DRAWS // 4, np.uint64(block), step, 0, purpose, key0, key1)
        for d in range(_DRAWS):
            product = words[d % 4, d // 4] * np.uint64(below)
            if (product & _LOW) < rejected:
                continue
            value: Any = np.int64(product >> _32)
            at: Any = np.int64(value * scale)
            while table[at] >= 0 and table[at] < value:
                at += 1
            if table[at] == value:
                continue
            while value >= 0:  # what is larger moves on
                table[at], value = value, table[at]
                at += 1
            found += 1
            if found == count:
                break
        block += _DRAWS // 4
    found = at = 0
    while found < count:
        if table[at] >= 0:
            row[found] = table[at]
            table[at] = -1
            found += 1
        at += 1


@kernel
def _static_row(low, start, j, N, purpose, key0, key1, row, table, words):
    """The static synapses of neuron j."""
    draw_row(row, N - 1, purpose, j, key0, key1, table, words)
    block = 0
    start[0] = 0
    for i in range(len(row)):
        target = row[i] + (row[i] >= j)  # skip the neuron itself
        while block < target >> BLOCK_BITS:
            block += 1
            start[block] = i
        low[i] = target & 0xFFFF
    while block < len(start) - 1:
        block += 1
        start[block] = len(row)


@kernel
def _static_rows(low, start, N, purpose, key0, key1, first, last):
    count = low.shape[1]
    row, table = np.empty(count, np.int64), np.full(3 * count + _DRAWS, -1, np.int64)
    words = np.empty((4, _DRAWS // 4), np.uint64)
    for j in range(first, last):
        _static_row(low[j], start[j], j, N, purpose, key0, key1, row, table, words)


@parallel_kernel
def _draw_static(low, start, N, purpose, key0, key1):
    parts = 64
    for part in prange(parts):
        _static_rows(low, start, N, purpose, key0, key1, part * N // parts, (part + 1) * N // parts)


@kernel
def _pool_rows(sources, column, L, pool, purpose, key0, key1, first, last):
    row, table = np.empty(L, np.int64), np.full(3 * L + _DRAWS, -1, np.int64)
    words = np.empty((4, _DRAWS // 4), np.uint64)
    for c in range(first, last):
        draw_row(row, len(pool), purpose, c, key0, key1, table, words)
        for i in range(L):
            sources[c, column + i] = pool[row[i]]


@parallel_kernel
def _draw_from_pool(sources, column, L, pool, purpose, key0, key1):
    parts, N = 64, len(sources)
    for part in prange(parts):
        _pool_rows(sources, column, L, pool, purpose, key0, key1, part * N // parts, (part + 1) * N // parts)


@kernel
def _count_part(sources, start, low, high):
    for c in range(len(sources)):
        for i in range(sources.shape[1]):
            j = sources[c, i]
            if low <= j < high:
                start[j + 1] += 1


@parallel_kernel
def _count_outputs(sources, start, bounds):
    """start[j + 1] = synapses of neuron j: each thread counts those of its own pre-synaptic neurons."""
    for t in prange(len(bounds) - 1):
        _count_part(sources, start, bounds[t], bounds[t + 1])


@kernel
def _fill_part(sources, start, post, column, feedforward, low, high):
    cursor = start[low:high].copy()
    for c in range(len(sources)):
        for i in range(sources.shape[1]):
            j = sources[c, i]
            if low <= j < high:
                at = cursor[j - low]
                post[at] = c
                column[at] = feedforward + i
                cursor[j - low] = at + 1


@parallel_kernel
def _fill_outputs(sources, start, post, column, feedforward, bounds):
    for t in prange(len(bounds) - 1):
        _fill_part(sources, start, post, column, feedforward, bounds[t], bounds[t + 1])
