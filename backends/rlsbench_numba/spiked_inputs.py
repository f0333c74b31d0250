"""The inputs of each neuron that spiked since its last update: what the event form updates from.

In: which neurons spiked, and how far their filtered spikes rose.  Out: lists by post-synaptic neuron.  Knows nothing
of P.

Each thread makes the lists of its own range of post-synaptic neurons: it counts, and then fills.  A list is in order of
the pre-synaptic neurons, in every number of threads.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from rlsbench_numba.compiling import kernel, parallel_kernel
from rlsbench_numba.delivery import bisect
from rlsbench_numba.lanes import prefetch

AHEAD = 4  # pre-synaptic neurons between the one that is counted and the one whose synapses are asked for

__all__ = ["add_up", "count_inputs", "fill_inputs", "take_jumps"]


@kernel
def take_jumps(r, rise, updated, log_decay, step, everything, who, jump):
    """List the neurons whose r has risen since the last call, with how far, and forget it.

    Parameters
    ----------
    r, rise, updated : ndarrays
        See `rlsbench_numba.simulation.Neurons`.
    log_decay : float
        Logarithm of the decay of r in a step.
    step : int
        After which r is taken.
    everything : bool
        Take all of r, as if it had risen from 0.
    who : ndarray of int32, shape (N,)
        Taken for as many entries as are returned, rising; `jump` alike.
    jump : ndarray, shape (N,)
        1/ms.

    Returns
    -------
    int
    """
    count = 0
    for j in range(len(who)):
        taken = r[j] if everything else rise[j]
        if taken != 0:
            who[count] = j
            jump[count] = taken * np.exp(log_decay * (step - updated[j]))
            count += 1
        rise[j] = 0
    return count


@kernel
def ask_for(outputs, j):
    """Ask for the synapses of neuron j."""
    first, last = outputs.start[j], outputs.start[j + 1]
    for i in range(first, last, 16):
        prefetch(outputs.post, i)
    for i in range(first, last, 32):
        prefetch(outputs.column, i)


@kernel
def _count(length, who, feedforward, outputs, low, high):
    for c in range(low, high):
        length[c] = feedforward
    for m in range(len(who)):
        ask_for(outputs, who[min(m + AHEAD, len(who) - 1)])
        first, last = outputs.start[who[m]], outputs.start[who[m] + 1]
        post = outputs.post[first:last]
        for i in range(bisect(post, low), bisect(post, high)):
            length[post[i]] += 1


@parallel_kernel
def count_inputs(length, who, feedforward, outputs, bounds):
    """length (N,): how many inputs of each neuron are listed; `feedforward` ones always are."""
    for t in prange(len(bounds) - 1):
        _count(length, who, feedforward, outputs, bounds[t], bounds[t + 1])


@kernel
def add_up(length, start):
    """start[c + 1] = length[0] + .. + length[c]; how many in all."""
    total = 0
    for c in range(len(length)):
        total += length[c]
        start[c + 1] = total
    return total


@kernel
def _fill(start, columns, jumps, cursor, who, jump, jump_X, outputs, base, low, high):
    for c in range(low, high):
        at = start[c] - base
        for i in range(len(jump_X)):
            columns[at + i] = i
            jumps[at + i] = jump_X[i]
        cursor[c] = at + len(jump_X)
    for m in range(len(who)):
        j, s_j = who[m], jump[m]
        first, last = outputs.start[j], outputs.start[j + 1]
        post = outputs.post[first:last]
        for i in range(bisect(post, low), bisect(post, high)):
            at = cursor[post[i]]
            columns[at] = outputs.column[first + i]
            jumps[at] = s_j
            cursor[post[i]] = at + 1


@parallel_kernel
def fill_inputs(start, columns, jumps, cursor, who, jump, jump_X, outputs, bounds):
    """Fill the lists of the neurons bounds[0] .. bounds[-1] - 1.

    Parameters
    ----------
    start : ndarray of int64, shape (N + 1,)
        The list of neuron c is entries start[c] - start[bounds[0]] .. of the next two.
    columns, jumps : ndarrays
        Written: entries of x, and their jumps (1/ms).
    cursor : ndarray of int64, shape (N,)
        Scratch.
    who, jump : ndarrays, shape (count,)
        Neurons that spiked, rising, and their jumps.
    jump_X : ndarray, shape (LX,)
        Those of the feed-forward inputs.
    outputs : Outputs
    bounds : ndarray of int64, shape (threads + 1,)
        Ranges of post-synaptic neurons.
    """
    for t in prange(len(bounds) - 1):
        _fill(start, columns, jumps, cursor, who, jump, jump_X, outputs, start[bounds[0]], bounds[t], bounds[t + 1])
