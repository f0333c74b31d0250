"""Static and plastic synapses in memory, drawn and transposed in parallel.

In: a `Problem`, `StaticSynapses` and `PlasticInputs`.  Out: arrays that
`rlsbench_numba.delivery` reads.  Knows no state and no time.

Post-synaptic neurons fall into blocks of 65,536, within which 16 bits name one: a static synapse
takes two bytes, and the currents to which a thread adds stay in its cache. Synapses are drawn as
`rlsbench.streams.distinct_integers` defines, so they are the same ones.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench.network import PlasticInputs
from rlsbench.network.edges import ranges
from rlsbench.problem import Problem
from rlsbench.streams import Purpose, key_from_seed
from rlsbench_numba.arrays import Floats
from rlsbench_numba.by_address import in_parallel
from rlsbench_numba.compiling import allocating_kernel, kernel, parallel_kernel
from rlsbench_numba.normals import Stream, philox
from rlsbench_numba.tuning import BLOCK_BITS, DRAWS

PARTS = 64  # ranges of neurons whose synapses are drawn at once
_32 = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)
BlockStart = NDArray[np.uint16] | NDArray[np.int32]  # as wide as the longest row needs


class Outputs(NamedTuple):
    """Recurrent plastic synapses by pre-synaptic neuron: neuron j has start[j] .. start[j+1]-1.

    Where their delays differ, j is a delay line: see `rlsbench.network.PlasticInputs.lines`.
    """

    start: NDArray[np.int64]  # (lines + 1,); one line for each neuron and delay
    post: NDArray[np.int32]  # (synapses,), post-synaptic neurons, rising for each pre-synaptic neuron
    column: NDArray[np.uint16]  # (synapses,), which of the post-synaptic neuron's plastic weights


class Synapses(NamedTuple):
    """All synapses by pre-synaptic neuron, with weights in (threshold - reset) ms."""

    bounds: NDArray[np.int64]  # (P + 1,), where each population begins, and N
    post_bounds: NDArray[np.int64]  # the same among the neurons of the rank: those of this process
    signs: NDArray[np.int8]  # (P,), 1 or -1
    low: NDArray[np.uint16]  # (N 2K,), the low 16 bits of static targets, which rise in each row
    outputs: int  # 2K, the length of all rows; 0 if it varies, as it does among the neurons of a rank
    row_start: NDArray[np.int64]  # (N,), where each row begins then; else (0,)
    block_start: BlockStart  # (N, blocks + 1), where in a row each block of targets begins
    J: Floats  # (P, P), static weight by (pre, post) population
    J_own: Floats  # (N, 2K), static weights in the order of `low`; (0, 0) if populations decide on them
    start: NDArray[np.int64]  # as in `Outputs`, likewise `post` and `column`
    post: NDArray[np.int32]
    column: NDArray[np.uint16]
    w: Floats  # (N, width), plastic weights, padded with zeros
    plastic_delays: NDArray[np.int64]  # those that occur, ascending, steps
    edge_start: NDArray[np.int64]  # (N + 1,), rows of static synapses that are `as_edges`; (0,) without them
    edge_post: NDArray[np.int32]  # (E,), sorted by delay, then neuron
    edge_weight: Floats  # (E,)
    edge_delay: NDArray[np.uint8]  # (E,), steps; (0,) if all are one step
    delays: NDArray[np.int64]  # the delays that occur, ascending; (0,) without such synapses
    inhibitory: NDArray[np.bool_]  # (N,), likewise


class StaticEdges(NamedTuple):
    """The part of `Synapses` for static synapses in rows of any length; see `as_edges`."""

    edge_start: NDArray[np.int64]
    edge_post: NDArray[np.int32]
    edge_weight: Floats
    edge_delay: NDArray[np.uint8]
    delays: NDArray[np.int64]
    inhibitory: NDArray[np.bool_]


class Scratch(NamedTuple):
    """What one thread needs to draw row after row of `count` distinct integers."""

    row: NDArray[np.int64]  # (count,), the result
    table: NDArray[np.int64]  # (5 count + DRAWS,), all -1 before and after
    words: NDArray[np.uint64]  # (4, DRAWS // 4)


def as_edges(p: Problem) -> bool:
    """Whether static synapses are `StaticEdges`: by tables or, on ranks, with own weights."""
    return p.projections is not None or (p.ranks.spread and p.static is not None and p.static.own_weights is not None)


def static_edges(p: Problem, dtype: np.dtype[Any]) -> StaticEdges:
    """Draw or read the static synapses of a problem that are kept so."""
    if not as_edges(p):
        none = np.empty(0, np.int64)
        empty = np.empty(0, np.int32), np.empty(0, dtype), np.empty(0, np.uint8)
        return StaticEdges(none, *empty, delays=none, inhibitory=np.empty(0, np.bool_))
    edges = p.static_edges()
    start, post, delays = edges.start, edges.index, edges.delays()
    weight, delay = np.asarray(edges.weight), np.empty(0, np.uint8)
    if edges.delay is not None:
        delay = edges.delay
        for first, last in ranges(start):
            some = slice(start[first], start[last])
            row = np.repeat(np.arange(last - first), np.diff(start[first : last + 1]))
            order = np.lexsort((delay[some], row))  # neurons ascend already
            for values in (post, weight, delay):
                values[some] = values[some][order]
    inhibitory = ~p.populations.excitatory(np.arange(p.neurons))
    return StaticEdges(start, post, weight.astype(dtype), delay, delays, inhibitory)


def draw_static(low: NDArray[np.uint16], block_start: BlockStart, seed: int) -> None:
    """Draw all static synapses into `low` and `block_start`, as `Synapses` has them."""
    _draw_static(low, block_start, Stream(int(Purpose.STATIC_OUTPUTS), *key_from_seed(seed)))


def draw_sources(sources: NDArray[np.int32], plastic: PlasticInputs, seed: int, origin: int = 0) -> None:
    """Draw `PlasticInputs.lines` of the neurons from `origin` on into `sources` (N, 2L)."""
    L = plastic.per_population
    if plastic.varies:
        sources[:] = plastic.lines(seed)
    elif L:
        for first, pool, purpose in zip(
            (0, L), plastic.pools, (Purpose.PLASTIC_EXCITATORY, Purpose.PLASTIC_INHIBITORY), strict=True
        ):
            stream = Stream(int(purpose), *key_from_seed(seed))
            _draw_from_pool(sources, first, L, np.ascontiguousarray(pool), stream, origin)


def transpose(outputs: Outputs, sources: NDArray[np.int32], feedforward: int, threads: int) -> None:
    """Sort the synapses `sources` (N, 2L) by pre-synaptic neuron; columns from `feedforward` on.

    A source of -1 is none.
    """
    bounds = np.arange(threads + 1, dtype=np.int64) * (len(outputs.start) - 1) // threads
    outputs.start.fill(0)
    _count_outputs(sources, outputs, bounds)
    np.cumsum(outputs.start, out=outputs.start)
    _fill_outputs(sources, outputs, feedforward, bounds)


@kernel
def draw_row(scratch, below, step, stream):
    """Distinct integers in [0, below), rising, as one row of `rlsbench.streams.distinct_integers`.

    Accepted draws are put into a sorted table with gaps, near the place that their size suggests;
    one that is there already is dropped. The result is scratch.row.
    """
    row, table, words = scratch.row, scratch.table, scratch.words
    count, rejected = len(row), np.uint64((1 << 32) % below)
    scale = 4.0 * count / below
    found = block = 0
    while found < count:
        philox(words, DRAWS // 4, np.uint64(block), step, 0, stream)
        for d in range(DRAWS):
            product = words[d % 4, d // 4] * np.uint64(below)
            if (product & _LOW) < rejected:
                continue
            value: Any = np.int64(product >> _32)
            at: Any = np.int64(value * scale)
            while table[at] >= 0 and table[at] < value:
                at += 1
            if table[at] == value:
                continue
            while value >= 0:  # larger values move on
                table[at], value = value, table[at]
                at += 1
            found += 1
            if found == count:
                break
        block += DRAWS // 4
    found = at = 0
    while found < count:  # without a branch that is taken in one of four entries
        value = table[at]
        row[found] = value
        found += value >= 0
        table[at] = -1
        at += 1


@allocating_kernel
def new_scratch(count):
    """What `draw_row` needs for rows of `count` integers."""
    table = np.full(5 * count + DRAWS, -1, np.int64)
    return Scratch(np.empty(count, np.int64), table, np.empty((4, DRAWS // 4), np.uint64))


@allocating_kernel
def _static_rows(low, block_start, stream, part):
    scratch = new_scratch(low.shape[1])
    row, N = scratch.row, len(low)
    for j in range(part * N // PARTS, (part + 1) * N // PARTS):
        draw_row(scratch, len(low) - 1, j, stream)
        block = 0
        block_start[j, 0] = 0
        for i in range(len(row)):
            target = row[i] + (row[i] >= j)  # skip the neuron itself
            while block < target >> BLOCK_BITS:
                block += 1
                block_start[j, block] = i
            low[j, i] = target & 0xFFFF
        block_start[j, block + 1 :] = len(row)


@parallel_kernel
def _draw_static(low, block_start, stream):
    in_parallel(_static_rows, (low, block_start, stream), PARTS)


@allocating_kernel
def _pool_rows(sources, column, L, pool, stream, origin, part):
    scratch, N = new_scratch(L), len(sources)
    for c in range(part * N // PARTS, (part + 1) * N // PARTS):
        draw_row(scratch, len(pool), origin + c, stream)
        for i in range(L):
            sources[c, column + i] = pool[scratch.row[i]]


@parallel_kernel
def _draw_from_pool(sources, column, L, pool, stream, origin):
    in_parallel(_pool_rows, (sources, column, L, pool, stream, origin), PARTS)


@kernel
def _count_part(sources, outputs, bounds, t):
    start, low, high = outputs.start, bounds[t], bounds[t + 1]
    for c in range(len(sources)):
        for i in range(sources.shape[1]):
            j = sources[c, i]
            if low <= j < high:
                start[j + 1] += 1


@parallel_kernel
def _count_outputs(sources, outputs, bounds):
    """start[j + 1] = synapses of neuron j: each thread counts those of its own range of them."""
    in_parallel(_count_part, (sources, outputs, bounds), len(bounds) - 1)


@allocating_kernel
def _fill_part(sources, outputs, feedforward, bounds, t):
    start, post, column, low, high = outputs.start, outputs.post, outputs.column, bounds[t], bounds[t + 1]
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
def _fill_outputs(sources, outputs, feedforward, bounds):
    in_parallel(_fill_part, (sources, outputs, feedforward, bounds), len(bounds) - 1)
