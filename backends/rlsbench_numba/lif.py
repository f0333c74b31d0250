"""The leaky integrate-and-fire neuron, compiled: `rlsbench.network.LIF` for a group of neurons.

In: voltages and currents of a group.  Out: voltages, and which neurons spiked.  Knows nothing of synapses.
"""

from __future__ import annotations

from rlsbench_numba.compiling import kernel

__all__ = ["integrate", "reset_and_list"]


@kernel
def integrate(v, u_bal, u_P, X, refractory, dt_over_tau_m, threshold):
    """v += dt/tau_m (X + u - v) where the neuron is not refractory; how many then exceed the threshold."""
    for c in range(len(v)):
        change = dt_over_tau_m * (X[c] + (u_bal[c] + u_P[c]) - v[c])
        v[c] += change if refractory[c] == 0 else v.dtype.type(0)
    spikes = 0
    for c in range(len(v)):
        spikes += (v[c] > threshold) & (refractory[c] == 0)
    return spikes


@kernel
def reset_and_list(v, refractory, threshold, reset, refractory_steps, first, found):
    """Reset the neurons that spiked, list them as first + index in `found`, and count down the others; how many."""
    count = 0
    for c in range(len(v)):
        if refractory[c] > 0:
            refractory[c] -= 1
        elif v[c] > threshold:
            v[c] = reset
            refractory[c] = refractory_steps
            found[count] = first + c
            count += 1
    return count
