"""What the spikes of one step add to the currents of a range of neurons.

In: lists of neurons that spiked, and synapses.  Out: currents.  Knows nothing of voltages.

These are steps 7 and 8 of docs/model.md section 2. Each thread owns a range of post-synaptic
neurons and finds its share of a sorted row by bisection: no atomics, and sums in the same order in
any number of threads.
"""

from __future__ import annotations

import numpy as np

from rlsbench_numba.compiling import kernel
from rlsbench_numba.lanes import prefetch
from rlsbench_numba.normals import philox
from rlsbench_numba.tuning import BLOCK_BITS, CACHE_LINE, EDGES_AHEAD, GROUP, PLASTIC_TOGETHER, STATIC_AHEAD


@kernel
def deliver_static(U_E, U_I, synapses, gain_E, gain_I, spiked, low, high):
    """U_E[i] += gain_E J_ij for each static synapse of a neuron j that spiked; U_I likewise.

    i = low .. high-1. U_E and U_I (N padded,) may be one array; gains are in 1/ms.
    """
    size, J, bounds, signs = 1 << BLOCK_BITS, synapses.J, synapses.bounds, synapses.signs
    post_bounds, N = synapses.post_bounds, len(synapses.w)
    pair = len(signs) == 2 and signs[0] > 0 and signs[1] < 0
    for block in range(low >> BLOCK_BITS, ((high - 1) >> BLOCK_BITS) + 1):
        base = block << BLOCK_BITS
        # Within this block: this thread's neurons, and the first of the second population.
        first, last = max(low - base, 0), min(high - base, size)
        middle = min(max(post_bounds[1] - base, first), last)
        own_E, own_I = U_E[base : base + size], U_I[base : base + size]
        for m in range(min(STATIC_AHEAD, len(spiked))):
            prefetch_targets(synapses, spiked[m], block, block + 1)
        for m in range(len(spiked)):
            j = spiked[m]
            if m + STATIC_AHEAD < len(spiked):
                prefetch_targets(synapses, spiked[m + STATIC_AHEAD], block, block + 1)
            begin, start = row_of(synapses, j), np.int64(synapses.block_start[j, block])
            row = synapses.low[begin + start : begin + synapses.block_start[j, block + 1]]
            a = 0 if first == 0 else bisect(row, first)
            b = len(row) if last == size or base + last == N else bisect(row, last)
            if len(synapses.J_own):
                own, gain = (own_E, gain_E) if signs[population(bounds, j)] > 0 else (own_I, gain_I)
                add_weights(own, row, a, b, synapses.J_own[j, start:], gain)
                continue
            if not pair:
                pre, at = population(bounds, j), a
                own, gain = (own_E, gain_E) if signs[pre] > 0 else (own_I, gain_I)
                for post in range(len(signs)):
                    end = post_bounds[post + 1] - base
                    after = b if end >= last else (a if end <= first else bisect(row, end))
                    add_weight(own, row, at, after, J[pre, post] * gain)
                    at = after
                continue
            middle_of_row = a if middle == first else (b if middle == last else bisect(row, middle))
            if j < bounds[1]:
                add_weight(own_E, row, a, middle_of_row, J[0, 0] * gain_E)
                add_weight(own_E, row, middle_of_row, b, J[0, 1] * gain_E)
            else:
                add_weight(own_I, row, a, middle_of_row, J[1, 0] * gain_I)
                add_weight(own_I, row, middle_of_row, b, J[1, 1] * gain_I)


@kernel
def population(bounds, j):
    """Number of the population of neuron j."""
    number = 0
    while j >= bounds[number + 1]:
        number += 1
    return number


@kernel
def row_of(synapses, j):
    """Where the static targets of neuron j begin in synapses.low."""
    return j * synapses.outputs if synapses.outputs > 0 else synapses.row_start[j]


@kernel
def prefetch_row(synapses, j):
    """Prefetch where the static synapses of neuron j are."""
    width = synapses.block_start.shape[1]
    prefetch(synapses.block_start, j * width)
    prefetch(synapses.block_start, j * width + width - 1)
    if synapses.outputs == 0:
        prefetch(synapses.row_start, j)


@kernel
def prefetch_targets(synapses, j, first, last):
    """Prefetch the static synapses of neuron j onto the blocks first .. last-1 of neurons."""
    start, block_start = row_of(synapses, j), synapses.block_start
    for i in range(np.int64(block_start[j, first]), np.int64(block_start[j, last]), CACHE_LINE // 2):
        prefetch(synapses.low, start + i)


@kernel
def add_weight(U, row, first, last, weight):
    """Add one weight to the neurons row[first .. last-1]."""
    for i in range(first, last):
        U[row[i]] += weight


@kernel
def add_weights(U, row, first, last, weights, gain):
    """Add the weight of each synapse to the neurons row[first .. last-1]."""
    for i in range(first, last):
        U[row[i]] += weights[i] * gain


@kernel
def deliver_edges(U_E, U_I, synapses, gain_E, gain_I, spiked, delay, low, high):
    """The same as `deliver_static` for synapses in rows of any length, and those of one delay.

    In a row, synapses are sorted by delay, then neuron.
    """
    start, post, weight, delays = synapses.edge_start, synapses.edge_post, synapses.edge_weight, synapses.edge_delay
    for m in range(min(EDGES_AHEAD, len(spiked))):
        prefetch_edges(synapses, spiked[m])
    for m in range(len(spiked)):
        j = spiked[m]
        if m + EDGES_AHEAD < len(spiked):
            prefetch_edges(synapses, spiked[m + EDGES_AHEAD])
        first, last = start[j], start[j + 1]
        if len(delays) > 0:
            row = delays[first:last]
            first, last = first + bisect(row, delay), first + bisect(row, delay + 1)
        part = post[first:last]
        a = first + (0 if low == 0 else bisect(part, low))
        b = last if high == len(start) - 1 else first + bisect(part, high)
        U, gain = (U_I, gain_I) if synapses.inhibitory[j] else (U_E, gain_E)
        for i in range(a, b):
            U[post[i]] += weight[i] * gain


@kernel
def prefetch_edges(synapses, j):
    """Prefetch the static synapses of neuron j; with delays, only where they begin."""
    first, last = synapses.edge_start[j], synapses.edge_start[j + 1]
    if len(synapses.edge_delay) > 0:
        prefetch(synapses.edge_delay, first)
        return
    for i in range(first, last, CACHE_LINE // 4):
        prefetch(synapses.edge_post, i)
        prefetch(synapses.edge_weight, i)


@kernel
def deliver_plastic(U_P, synapses, gain, spiked, delay, low, high):
    """U_P[i] += gain w_ij for each plastic synapse of a neuron j that spiked, i = low .. high-1.

    U_P is (N padded,), gain (1,) or (N padded,), 1/ms. The synapses are those of one delay, of
    which `delay` is the number.
    """
    w, width, delays = synapses.w, synapses.w.shape[1], len(synapses.plastic_delays)
    whole, each = low == 0 and high == len(w), len(gain) > 1
    for some in range(0, len(spiked), PLASTIC_TOGETHER):
        until = min(some + PLASTIC_TOGETHER, len(spiked))
        # Prefetch the synapses of the next spikes and the weights of these, which are read last.
        for m in range(until, min(until + PLASTIC_TOGETHER, len(spiked))):
            prefetch_outputs(synapses, spiked[m] * delays + delay)
        for m in range(some, until):
            j = spiked[m] * delays + delay
            first, last = synapses.start[j], synapses.start[j + 1]
            post, column = synapses.post[first:last], synapses.column[first:last]
            for i in range(0 if whole else bisect(post, low), len(post) if whole else bisect(post, high)):
                prefetch(w, post[i] * width + column[i])
        for m in range(some, until):
            j = spiked[m] * delays + delay
            first, last = synapses.start[j], synapses.start[j + 1]
            post, column = synapses.post[first:last], synapses.column[first:last]
            for i in range(0 if whole else bisect(post, low), len(post) if whole else bisect(post, high)):
                U_P[post[i]] += gain[post[i] if each else 0] * w[post[i], column[i]]


@kernel
def prefetch_outputs(outputs, j):
    """Prefetch the plastic synapses of neuron j."""
    first, last = outputs.start[j], outputs.start[j + 1]
    for i in range(first, last, CACHE_LINE // 4):
        prefetch(outputs.post, i)
    for i in range(first, last, CACHE_LINE // 2):
        prefetch(outputs.column, i)


@kernel
def deliver_feedforward(U_P, w, gain, s_X, low, high):
    """U_P[i] += gain w_ix for each feed-forward input x that spiked, s_X (LX,)."""
    for x in range(len(s_X)):
        if s_X[x]:
            for c in range(low, high):
                U_P[c] += gain[c if len(gain) > 1 else 0] * w[c, x]


@kernel
def deliver_background(U_E, U_I, bounds, table, weight, gain_E, gain_I, stream, trial, step, words, origin, low, high):
    """U_E[i] += gain_E J n for the n spikes from outside; U_I likewise if the weight J is negative.

    Population p has weight[p]; n is how many entries of table[p] the word of neuron i reaches. Of a
    rank, neuron 0 has the number `origin` in the network.
    """
    for a in range(low, high, GROUP):
        b = min(a + GROUP, high)
        philox(words, (b - a + 3) // 4, np.uint64((origin + a) // 4), step, trial, stream)
        for p in range(len(weight)):
            if weight[p] == 0:
                continue
            U, J = (U_E, weight[p] * gain_E) if weight[p] > 0 else (U_I, weight[p] * gain_I)
            for i in range(max(a, bounds[p]), min(b, bounds[p + 1])):
                word, n = words[(i - a) % 4, (i - a) // 4], 0
                while word >= table[p, n]:
                    n += 1
                U[i] += n * J


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
