"""What spikes of one step add to the inputs of a range of neurons: model section 2, steps 7 and 8.

In: lists of neurons that spiked, and synapses.  Out: currents.  Knows nothing of voltages.

Each thread owns a range of post-synaptic neurons, and finds its share of a row, which is sorted, by bisection: no
atomics, and the same order of sums in every number of threads.
"""

from __future__ import annotations

from rlsbench_numba.compiling import kernel
from rlsbench_numba.lanes import prefetch
from rlsbench_numba.synapses import BLOCK_BITS

__all__ = ["TOGETHER", "ask_for_outputs", "bisect", "deliver_feedforward", "deliver_plastic", "deliver_static"]

AHEAD = 4  # spikes between the one that is delivered and the one whose static synapses are asked for
TOGETHER = 4  # spikes whose plastic weights are asked for together
LINE = 64  # bytes


@kernel
def deliver_static(U_E, U_I, synapses, enter_E, enter_I, excitatory, spiked, low, high):
    """Add J[pre, post], or its own weight, for each static synapse of `spiked` neurons onto the neurons low .. high-1.

    Parameters
    ----------
    U_E, U_I : ndarrays, shape (N padded,)
        Currents as they are kept, from excitatory and from inhibitory neurons; may be one array.
    synapses : Synapses
    enter_E, enter_I : float
        What weights are multiplied by.
    excitatory : int
    spiked : ndarray of int32
    low, high : int
    """
    size, J = 1 << BLOCK_BITS, synapses.J
    for block in range(low >> BLOCK_BITS, ((high - 1) >> BLOCK_BITS) + 1):
        base = block << BLOCK_BITS
        # Of this block: where this thread's neurons begin and end, and where the inhibitory ones begin.
        first, last = max(low - base, 0), min(high - base, size)
        middle = min(max(excitatory - base, first), last)
        own_E, own_I = U_E[base : base + size], U_I[base : base + size]
        for m in range(min(AHEAD, len(spiked))):
            ask_for_targets(synapses, spiked[m], block)
        for m in range(len(spiked)):
            j = spiked[m]
            if m + AHEAD < len(spiked):
                ask_for_targets(synapses, spiked[m + AHEAD], block)
            row = synapses.low[j, synapses.block_start[j, block] : synapses.block_start[j, block + 1]]
            a = 0 if first == 0 else bisect(row, first)
            b = len(row) if last == size or base + last == len(synapses.low) else bisect(row, last)
            middle_of_row = a if middle == first else (b if middle == last else bisect(row, middle))
            if len(synapses.J_own):
                start = synapses.block_start[j, block]
                own, enter = (own_E, enter_E) if j < excitatory else (own_I, enter_I)
                add_weights(own, row, a, b, synapses.J_own[j, start:], enter)
            elif j < excitatory:
                add_weight(own_E, row, a, middle_of_row, J[0, 0] * enter_E)
                add_weight(own_E, row, middle_of_row, b, J[0, 1] * enter_E)
            else:
                add_weight(own_I, row, a, middle_of_row, J[1, 0] * enter_I)
                add_weight(own_I, row, middle_of_row, b, J[1, 1] * enter_I)


@kernel
def ask_for_targets(synapses, j, block):
    """Ask for the static synapses of neuron j onto a block of neurons."""
    width = synapses.low.shape[1]
    for i in range(synapses.block_start[j, block], synapses.block_start[j, block + 1], LINE // 2):
        prefetch(synapses.low, j * width + i)


@kernel
def add_weight(U, row, first, last, weight):
    """Add one weight to the neurons row[first .. last-1]."""
    for i in range(first, last):
        U[row[i]] += weight


@kernel
def add_weights(U, row, first, last, weights, enter):
    """Add a weight of its own to each of the neurons row[first .. last-1]."""
    for i in range(first, last):
        U[row[i]] += weights[i] * enter


@kernel
def deliver_plastic(U_P, synapses, enter, spiked, low, high):
    """Add the plastic weights of the `spiked` neurons onto the neurons low .. high-1.

    Parameters
    ----------
    U_P : ndarray, shape (N padded,)
    synapses : Synapses
    enter : ndarray, shape (1,) or (N padded,)
        What weights are multiplied by.
    spiked : ndarray of int32
    low, high : int
    """
    w, width = synapses.w, synapses.w.shape[1]
    whole, each = low == 0 and high == len(w), len(enter) > 1
    for some in range(0, len(spiked), TOGETHER):
        until = min(some + TOGETHER, len(spiked))
        for m in range(until, min(until + TOGETHER, len(spiked))):  # the synapses of the next ones,
            ask_for_outputs(synapses, spiked[m])
        for m in range(some, until):  # the weights of these,
            first, last = synapses.start[spiked[m]], synapses.start[spiked[m] + 1]
            post, column = synapses.post[first:last], synapses.column[first:last]
            for i in range(0 if whole else bisect(post, low), len(post) if whole else bisect(post, high)):
                prefetch(w, post[i] * width + column[i])
        for m in range(some, until):  # and now they are at hand.
            first, last = synapses.start[spiked[m]], synapses.start[spiked[m] + 1]
            post, column = synapses.post[first:last], synapses.column[first:last]
            for i in range(0 if whole else bisect(post, low), len(post) if whole else bisect(post, high)):
                U_P[post[i]] += enter[post[i] if each else 0] * w[post[i], column[i]]


@kernel
def ask_for_outputs(synapses, j):
    """Ask for the plastic synapses of neuron j."""
    for i in range(synapses.start[j], synapses.start[j + 1], LINE // 4):
        prefetch(synapses.post, i)
    for i in range(synapses.start[j], synapses.start[j + 1], LINE // 2):
        prefetch(synapses.column, i)


@kernel
def deliver_feedforward(U_P, w, enter, spiked, low, high):
    """Add the weights of the feed-forward inputs that spiked (LX,) onto the neurons low .. high-1."""
    for x in range(len(spiked)):
        if spiked[x]:
            for c in range(low, high):
                U_P[c] += enter[c if len(enter) > 1 else 0] * w[c, x]


@kernel
def bisect(rising, value):
    """Index of the first entry that is not less than `value`."""
    low, high = 0, len(rising)
    while low < high:
        middle = (low + high) // 2
        if rising[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low
