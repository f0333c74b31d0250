"""The leaky integrate-and-fire neuron, compiled: `rlsbench.network.LIF` for a group of neurons.

In: voltages and what drives them.  Out: voltages, and which neurons spiked.  Knows nothing of synapses.

Arrays reach to a multiple of 16, and whole vectors are advanced; what pads them never counts.
"""

from __future__ import annotations

from rlsbench_numba.compiling import kernel
from rlsbench_numba.lanes import LANES, above, fma, lane_of, load, minus, plus, splat, store, where_above

__all__ = ["integrate", "integrate_waiting"]


@kernel
def integrate(v, X, u, refractory, first, last, neuron, refractory_steps, found):
    """v += dt/tau_m (X + u - v) for the neurons first .. last-1, none of them in its refractory period; spikes.

    Parameters
    ----------
    v, X : ndarrays, shape (N padded,)
    u : ndarray, shape (group,)
        Synaptic current of the group.
    refractory : ndarray, shape (N padded,)
        Steps that are left of each refractory period.
    first, last : int
    neuron : ndarray, shape (3,)
        dt/tau_m, threshold, reset.
    refractory_steps : int
    found : ndarray of int32
        Takes the neurons that spiked.

    Returns
    -------
    int
        How many.
    """
    factor, limit, count = splat(neuron[0]), splat(neuron[1]), 0
    for c in range(first, last, LANES):
        v_c = load(v, c)
        v_c = fma(factor, minus(plus(load(X, c), load(u, c - first)), v_c), v_c)
        store(v, c, v_c)
        if above(v_c, limit):
            count = list_spikes(v, refractory, c, min(c + LANES, last), neuron, refractory_steps, found, count)
    return count


@kernel
def integrate_waiting(v, X, u, refractory, first, last, neuron, refractory_steps, found):
    """As `integrate`, but neurons in their refractory period keep their voltage; spikes, and how many then wait."""
    factor, limit = splat(neuron[0]), splat(neuron[1])
    nothing, one = splat(neuron[0] - neuron[0]), splat(neuron[0] / neuron[0])
    count = waiting = 0
    for c in range(first, last, LANES):
        v_c, left = load(v, c), load(refractory, c)
        v_new = fma(factor, minus(plus(load(X, c), load(u, c - first)), v_c), v_c)
        store(v, c, where_above(left, nothing, v_c, v_new))
        store(refractory, c, where_above(left, nothing, minus(left, one), left))
        # Those that waited in this step cannot spike in it: they count as being at the threshold.
        if above(where_above(left, nothing, limit, v_new), limit):
            for lane in range(min(LANES, last - c)):
                if v[c + lane] > neuron[1] and lane_of(left, lane) == 0:
                    v[c + lane] = neuron[2]
                    refractory[c + lane] = refractory_steps
                    found[count] = c + lane
                    count += 1
        waiting += above(load(refractory, c), nothing)
    return count, waiting


@kernel
def list_spikes(v, refractory, first, last, neuron, refractory_steps, found, count):
    """Reset the neurons first .. last-1 above the threshold, and list them after `count` others; how many then."""
    for c in range(first, last):
        if v[c] > neuron[1]:
            v[c] = neuron[2]
            refractory[c] = refractory_steps
            found[count] = c
            count += 1
    return count
