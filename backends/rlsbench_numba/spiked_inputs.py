"""The inputs of each neuron that spiked since its last update: what the event form updates from.

In: which neurons spiked, and by how much their filtered spikes rose.  Out: lists by post-synaptic
neuron.  Knows nothing of P.

Each thread makes the lists of its own range of post-synaptic neurons: it counts, then fills. A list
is in the order of the pre-synaptic neurons, in any number of threads. Where delays of synapses
differ, delay lines take the place of pre-synaptic neurons.

Where threads share look-ups (`rlsbench_numba.lookup`), they do here, too: each looks up a share of
the neurons that spiked, for all, unless a list between two threads is full.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench_numba.arrays import Floats
from rlsbench_numba.by_address import in_parallel
from rlsbench_numba.compiling import kernel, kernel_of_python, parallel_kernel
from rlsbench_numba.delivery import bisect, prefetch_outputs
from rlsbench_numba.lanes import prefetch
from rlsbench_numba.lookup import FULL
from rlsbench_numba.tuning import GROUP, INPUTS_AHEAD, SHARED_AHEAD


class Jumps(NamedTuple):
    """What filtered spikes rose by since the last update, 1/ms, by pre-synaptic neuron."""

    j: NDArray[np.int32]  # (count,), neurons that spiked, rising
    s: Floats  # (count,)
    j_X: NDArray[np.uint16]  # (count_X,), feed-forward inputs that spiked, rising
    s_X: Floats  # (count_X,)


class Spiked(NamedTuple):
    """The same by post-synaptic neuron: neuron c has the entries start[c] .. start[c+1]-1."""

    start: NDArray[np.int64]  # (N + 1,); in lists made in parts, counted from the first neuron's entries on
    columns: NDArray[np.uint16]  # which entry of x
    s: Floats  # its jump, 1/ms, in the precision in which P is computed


class Between(NamedTuple):
    """The same by the thread that found an input and the one that owns the neuron."""

    owner: NDArray[np.int16]  # as in `rlsbench_numba.lookup.Shared`
    length: NDArray[np.int64]  # likewise, (threads, threads + 1, padded)
    post: NDArray[np.int32]  # (threads, threads, room)
    columns: NDArray[np.uint16]
    s: Floats


@kernel
def _collect(counts, t, r, rise, updated, log_decay, step, everything, j, s, low):
    count = 0
    for i in range(len(j)):
        taken = r[i] if everything else rise[i]
        if taken != 0:
            j[count] = low + i
            s[count] = taken * np.exp(log_decay * (step - updated[i]))
            count += 1
        rise[i] = 0
    counts[t] = count


@kernel
def _collect_part(counts, r, rise, updated, log_decay, step, everything, j, s, bounds, t):
    low, high = bounds[t], bounds[t + 1]
    filtered_spikes = r[low:high], rise[low:high], updated[low:high]
    _collect(counts, t, *filtered_spikes, log_decay, step, everything, j[low:high], s[low:high], low)


@kernel
def _join(j, s, counts, bounds):
    total = counts[0]
    for t in range(1, len(counts)):
        for i in range(bounds[t], bounds[t] + counts[t]):
            j[total], s[total] = j[i], s[i]
            total += 1
    return total


@parallel_kernel
def collect_jumps(r, rise, updated, log_decay, step, everything, j, s, bounds):
    """List the neurons whose r has risen since the last call and by how much, and reset the rise.

    Rises are as of `step`; all of r counts if `everything`. `log_decay` is the logarithm of the
    decay in a step; `bounds` are ranges of neurons, one for each thread. Returns the number of
    entries written into j and s (N,).
    """
    counts = np.zeros(len(bounds) - 1, np.int64)
    given = counts, r, rise, updated, log_decay, step, everything, j, s, bounds
    in_parallel(_collect_part, given, len(counts))
    return _join(j, s, counts, bounds)


@kernel
def _count(length, jumps, outputs, bounds, t):
    j, start, low, high = jumps.j, outputs.start, bounds[t], bounds[t + 1]
    for c in range(low, high):
        length[c] = len(jumps.j_X)
    for i in range(len(j)):
        prefetch_outputs(outputs, j[min(i + INPUTS_AHEAD, len(j) - 1)])
        post = outputs.post[start[j[i]] : start[j[i] + 1]]
        for e in range(bisect(post, low), bisect(post, high)):
            length[post[e]] += 1


@parallel_kernel
def count_inputs(length, jumps, outputs, bounds):
    """Write how many inputs of each neuron are to be listed into length (N,)."""
    in_parallel(_count, (length, jumps, outputs, bounds), len(bounds) - 1)


@kernel_of_python
def accumulate(length, start):
    """start[c + 1] = length[0] + .. + length[c]; returns the sum of all."""
    total = 0
    for c in range(len(length)):
        total += length[c]
        start[c + 1] = total
    return total


@kernel
def _fill_feedforward(spiked, cursor, jumps, base, low, high):
    columns, s, j_X, s_X = spiked.columns, spiked.s, jumps.j_X, jumps.s_X
    for c in range(low, high):
        at = spiked.start[c] - base
        for i in range(len(j_X)):
            columns[at + i] = j_X[i]
            s[at + i] = s_X[i]
        cursor[c] = at + len(j_X)


@kernel
def _fill(spiked, cursor, jumps, outputs, bounds, t):
    columns, s, low, high, base = spiked.columns, spiked.s, bounds[t], bounds[t + 1], spiked.start[bounds[0]]
    _fill_feedforward(spiked, cursor, jumps, base, low, high)
    for i in range(len(jumps.j)):
        prefetch_outputs(outputs, jumps.j[min(i + INPUTS_AHEAD, len(jumps.j) - 1)])
        j, s_j = jumps.j[i], jumps.s[i]
        first, last = outputs.start[j], outputs.start[j + 1]
        post, column = outputs.post[first:last], outputs.column[first:last]
        first, last = bisect(post, low), bisect(post, high)
        for e in range(first, last):
            prefetch(columns, cursor[post[e]])
            prefetch(s, cursor[post[e]])
        for e in range(first, last):
            at = cursor[post[e]]
            columns[at] = column[e]
            s[at] = s_j
            cursor[post[e]] = at + 1


@parallel_kernel
def fill_inputs(spiked, cursor, jumps, outputs, bounds):
    """Fill the lists of the neurons bounds[0] .. bounds[-1]-1, a range for each thread.

    Entries are counted from spiked.start[bounds[0]] on; cursor (N,) is scratch.
    """
    in_parallel(_fill, (spiked, cursor, jumps, outputs, bounds), len(bounds) - 1)


@kernel
def _look_up(between, jumps, outputs, t):
    start, post_of, column, threads = outputs.start, outputs.post, outputs.column, len(between.post)
    length, post, columns, s = between.length[t], between.post[t], between.columns[t], between.s[t]
    length[:] = 0
    j = jumps.j[len(jumps.j) * t // threads : len(jumps.j) * (t + 1) // threads]
    s_j = jumps.s[len(jumps.j) * t // threads :]
    for i in range(len(j)):
        prefetch(start, j[min(i + 2 * SHARED_AHEAD, len(j) - 1)])
        prefetch_outputs(outputs, j[min(i + SHARED_AHEAD, len(j) - 1)])
        for e in range(start[j[i]], start[j[i] + 1]):
            owner = between.owner[post_of[e] // GROUP]
            n = length[owner]
            if n == post.shape[1]:
                length[threads] = FULL
                return
            post[owner, n], columns[owner, n], s[owner, n] = post_of[e], column[e], s_j[i]
            length[owner] = n + 1


@parallel_kernel
def look_up_inputs(between, jumps, outputs):
    """Look up inputs that spiked for the threads that own their neurons.

    Returns whether all are listed; not if a list is full.
    """
    threads = len(between.post)
    in_parallel(_look_up, (between, jumps, outputs), threads)
    return not (between.length[:, threads] == FULL).any()


@kernel
def _count_found(length, jumps, between, bounds, t):
    for c in range(bounds[t], bounds[t + 1]):
        length[c] = len(jumps.j_X)
    for finder in range(len(between.post)):
        for i in range(between.length[finder, t]):
            length[between.post[finder, t, i]] += 1


@parallel_kernel
def count_found(length, jumps, between, bounds):
    """`count_inputs` from lists between threads; bounds are the neurons that each owns."""
    in_parallel(_count_found, (length, jumps, between, bounds), len(bounds) - 1)


@kernel
def _fill_found(spiked, cursor, jumps, between, bounds, t):
    columns, s = spiked.columns, spiked.s
    _fill_feedforward(spiked, cursor, jumps, 0, bounds[t], bounds[t + 1])
    for finder in range(len(between.post)):
        post, column, s_j = between.post[finder, t], between.columns[finder, t], between.s[finder, t]
        for i in range(between.length[finder, t]):
            at = cursor[post[i]]
            columns[at] = column[i]
            s[at] = s_j[i]
            cursor[post[i]] = at + 1


@parallel_kernel
def fill_found(spiked, cursor, jumps, between, bounds):
    """`fill_inputs` of all neurons, from lists between threads."""
    in_parallel(_fill_found, (spiked, cursor, jumps, between, bounds), len(bounds) - 1)
