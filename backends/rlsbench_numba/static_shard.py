"""The static synapses onto the neurons of one rank, drawn together with the other ranks.

In: a `Problem` that is spread over ranks.  Out: the part of `Synapses` for static synapses.

A source's targets are drawn at once, so each rank draws those of its own sources, and sends every
target to the rank that owns it. No rank ever has all of them, and the network is the same on any
number of ranks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rlsbench.problem import Problem
from rlsbench.streams import Purpose, key_from_seed
from rlsbench_numba.by_address import in_parallel
from rlsbench_numba.compiling import allocating_kernel, kernel, parallel_kernel
from rlsbench_numba.delivery import bisect
from rlsbench_numba.normals import Stream
from rlsbench_numba.synapses import PARTS, BlockStart, draw_row, new_scratch
from rlsbench_numba.tuning import BLOCK_BITS, SENT_AT_ONCE


def draw_shard(p: Problem, block_start: BlockStart) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """Draw the static synapses onto the neurons of this rank; all ranks call this.

    Returns `low` and `row_start` of `Synapses`, of which the first has room for more, and fills
    block_start (N, blocks + 1).
    """
    assert p.static is not None
    N, outputs, own, ranks = p.neurons, p.static.outputs, p.own, p.ranks
    bounds = ranks.bounds(N)
    mine = own.stop - own.start
    expected = mine * outputs
    low = np.empty(expected + 8 * int(np.sqrt(expected)) + 1024, np.uint16)
    row_start = np.zeros(N, np.int64)
    stream = Stream(int(Purpose.STATIC_OUTPUTS), *key_from_seed(p.seed))
    rows, end = max(1, SENT_AT_ONCE // outputs), 0
    for done in range(0, int(np.diff(bounds).max()), rows):
        first, last = (np.minimum(bounds[:-1] + done + more, bounds[1:]) for more in (0, rows))
        a, b = first[ranks.rank], last[ranks.rank]
        targets, splits = np.empty((b - a, outputs), np.int32), np.empty((b - a, ranks.size + 1), np.int64)
        _draw_rows(targets, splits, a, N, bounds, stream)
        lengths = np.diff(splits, axis=1).T.astype(np.int32)
        starts = np.zeros(lengths.size + 1, np.int64)
        np.cumsum(lengths.ravel(), out=starts[1:])
        packed = np.empty(targets.size, np.int32)
        _pack(packed, targets, splits, starts[:-1].reshape(lengths.shape))
        shares = ranks.transfer(np.split(packed, starts[np.arange(1, ranks.size) * (b - a)]))
        for source, length, share in zip(first, ranks.transfer(list(lengths)), shares, strict=True):
            if end + len(share) > len(low):
                low = np.resize(low, 2 * (end + len(share)))
            starts = np.concatenate([[0], np.cumsum(length, dtype=np.int64)])
            some = slice(source, source + len(length))
            row_start[some] = end + starts[:-1]
            _unpack(low[end:], block_start[some], share, starts, own.start)
            end += len(share)
    return low, row_start


@allocating_kernel
def _draw_part(targets, splits, source, N, bounds, stream, part):
    scratch = new_scratch(targets.shape[1])
    rows = len(targets)
    for r in range(part * rows // PARTS, (part + 1) * rows // PARTS):
        j, row = source + r, targets[r]
        draw_row(scratch, N - 1, j, stream)
        for i in range(len(row)):
            row[i] = scratch.row[i] + (scratch.row[i] >= j)  # skip the neuron itself
        for rank in range(len(bounds)):
            splits[r, rank] = bisect(row, bounds[rank])


@parallel_kernel
def _draw_rows(targets, splits, source, N, bounds, stream):
    """The targets of the neurons from `source` on, and where those of each rank begin."""
    in_parallel(_draw_part, (targets, splits, source, N, bounds, stream), PARTS)


@kernel
def _pack_row(packed, targets, splits, starts, r):
    for rank in range(len(starts)):
        at = starts[rank, r] - splits[r, rank]
        for i in range(splits[r, rank], splits[r, rank + 1]):
            packed[at + i] = targets[r, i]


@parallel_kernel
def _pack(packed, targets, splits, starts):
    """Sort targets by rank, then source; starts (ranks, rows) says where those of each go."""
    in_parallel(_pack_row, (packed, targets, splits, starts), len(targets))


@kernel
def _unpack_row(low, block_start, targets, starts, origin, r):
    block, first, last = 0, starts[r], starts[r + 1]
    block_start[r, 0] = 0
    for i in range(first, last):
        target = targets[i] - origin
        while block < target >> BLOCK_BITS:
            block += 1
            block_start[r, block] = i - first
        low[i] = target & 0xFFFF
    for later in range(block + 1, block_start.shape[1]):
        block_start[r, later] = last - first


@parallel_kernel
def _unpack(low, block_start, targets, starts, origin):
    """Rows of the targets that a rank sent, as `Synapses` has them."""
    in_parallel(_unpack_row, (low, block_start, targets, starts, origin), len(starts) - 1)
