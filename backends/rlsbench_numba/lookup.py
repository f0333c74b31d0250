"""Synapses of the neurons that spiked, which the threads of a rank look up for each other.

In: spikes of all ranks, and synapses.  Out: lists by the thread that owns the target; then
currents.  Knows nothing of voltages.

In a network over many ranks and threads, a spike has few targets among the neurons of a thread or
none, but finding that out takes several reads of memory. So each thread looks up a share of the
spikes, and lists what it finds in a list for each thread. Threads then add what is in their lists,
in the order of the lists and so of the spikes: the sums are those of `rlsbench_numba.delivery`, to
the last bit. If a list is full, each thread looks up the spikes of that step itself.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench_numba.arrays import Floats, New, padded
from rlsbench_numba.compiling import kernel
from rlsbench_numba.delivery import population, prefetch_outputs, prefetch_row, prefetch_targets, row_of
from rlsbench_numba.lanes import prefetch
from rlsbench_numba.tuning import BLOCK_BITS, CACHE_LINE, GROUP, SHARED_AHEAD

FULL = 1


class Shared(NamedTuple):
    """Lists (finding thread, owning thread, entry)."""

    owner: NDArray[np.int16]  # (groups,), the thread that owns a group of neurons
    length: NDArray[np.int64]  # (1 + delays, threads, threads + 1, padded), static lists first; at the end, FULL
    static_post: NDArray[np.int32]  # (threads, threads, room), targets c; ~c of an inhibitory neuron
    static_weight: Floats  # likewise
    plastic_post: NDArray[np.int32]  # (delays, threads, threads, room)
    plastic_weight: Floats


def shared_lists(bounds: NDArray[np.int64], new: New) -> Shared | None:
    """Lists for threads with these ranges of neurons, as `rlsbench_numba.arrays` declares them.

    None if threads share no look-ups.
    """
    lists = [new(f"shared.{name}") for name in Shared._fields[2:]]
    delays, threads = lists[2].shape[:2]
    if threads == 0:
        return None
    groups = np.arange(0, bounds[-1], GROUP)
    owner = np.searchsorted(bounds, groups, side="right") - 1
    length = np.zeros((1 + delays, threads, padded(threads + 1, CACHE_LINE // 8)), np.int64)
    return Shared(owner.astype(np.int16), length, *lists)


@kernel
def find_static(shared, synapses, spiked, t):
    """List the static synapses of neurons that spiked, of which thread t looks these up."""
    J, J_own, signs, post_bounds = synapses.J, synapses.J_own, synapses.signs, synapses.post_bounds
    low, block_start, blocks = synapses.low, synapses.block_start, synapses.block_start.shape[1] - 1
    owner, length, post, weight = shared.owner, shared.length[0, t], shared.static_post[t], shared.static_weight[t]
    length[:] = 0
    for m in range(min(2 * SHARED_AHEAD, len(spiked))):
        prefetch_row(synapses, spiked[m])
    for m in range(len(spiked)):
        if m + 2 * SHARED_AHEAD < len(spiked):
            prefetch_row(synapses, spiked[m + 2 * SHARED_AHEAD])
        if m + SHARED_AHEAD < len(spiked):
            prefetch_targets(synapses, spiked[m + SHARED_AHEAD], 0, blocks)
        j = spiked[m]
        begin, pre, to = row_of(synapses, j), population(synapses.bounds, j), 0
        for block in range(blocks):
            for i in range(np.int64(block_start[j, block]), np.int64(block_start[j, block + 1])):
                c = (block << BLOCK_BITS) + np.int64(low[begin + i])
                while c >= post_bounds[to + 1]:
                    to += 1
                value = J_own[j, i] if len(J_own) else J[pre, to]
                append(owner, length, post, weight, c, c if signs[pre] > 0 else ~c, value)


@kernel
def find_plastic(shared, synapses, spiked, delay, t):
    """The same for plastic synapses of the delay with this number."""
    start, post_of, column, w = synapses.start, synapses.post, synapses.column, synapses.w
    delays, width, ahead = len(synapses.plastic_delays), w.shape[1], SHARED_AHEAD
    owner, length = shared.owner, shared.length[1 + delay, t]
    post, weight = shared.plastic_post[delay, t], shared.plastic_weight[delay, t]
    length[:] = 0
    for m in range(-3 * ahead, len(spiked)):
        if m + 3 * ahead < len(spiked):
            prefetch(start, spiked[m + 3 * ahead] * delays + delay)
        if 0 <= m + 2 * ahead < len(spiked):
            prefetch_outputs(synapses, spiked[m + 2 * ahead] * delays + delay)
        if 0 <= m + ahead < len(spiked):
            j = spiked[m + ahead] * delays + delay
            for e in range(start[j], start[j + 1]):
                prefetch(w, post_of[e] * width + column[e])
        if m >= 0:
            j = spiked[m] * delays + delay
            for e in range(start[j], start[j + 1]):
                c = post_of[e]
                append(owner, length, post, weight, c, c, w[c, column[e]])


@kernel
def append(owner, length, post, weight, c, coded, value):
    """Append a synapse onto neuron c to the list of the thread that owns it, unless it is full."""
    t = owner[c // GROUP]
    n = length[t]
    if n == post.shape[1]:
        length[len(post)] = FULL
        return
    post[t, n], weight[t, n] = coded, value
    length[t] = n + 1


@kernel
def complete(shared, kind):
    """Whether all synapses of a kind are listed: 0, static ones, or 1 + the number of a delay."""
    lists, threads = shared.length[kind], len(shared.static_post)
    full = False
    for t in range(threads):
        full = full or lists[t, threads] == FULL
    return not full


@kernel
def add_static(U_E, U_I, shared, gain_E, gain_I, t):
    """`deliver_static` to the neurons of thread t, from lists."""
    for s in range(len(shared.static_post)):
        post, weight = shared.static_post[s, t], shared.static_weight[s, t]
        for i in range(shared.length[0, s, t]):
            c = np.int64(post[i])
            if c >= 0:
                U_E[c] += weight[i] * gain_E
            else:
                U_I[~c] += weight[i] * gain_I


@kernel
def add_plastic(U_P, shared, gain, delay, t):
    """`deliver_plastic` to the neurons of thread t, from lists."""
    each = len(gain) > 1
    for s in range(len(shared.static_post)):
        post, weight = shared.plastic_post[delay, s, t], shared.plastic_weight[delay, s, t]
        for i in range(shared.length[1 + delay, s, t]):
            U_P[post[i]] += gain[post[i] if each else 0] * weight[i]
