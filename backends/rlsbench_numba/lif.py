"""The leaky integrate-and-fire neuron, compiled: `rlsbench.network.LIF` for a group of neurons.

In: voltages and what drives them.  Out: voltages, and which neurons spiked.  Knows nothing of
synapses.

    v <- v + alpha (X + u - v), alpha = dt/tau_m;  v > threshold: a spike, v = reset

This is docs/model.md section 2, step 6. Arrays are padded to a multiple of 16 and whole vectors are
advanced; padding never spikes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rlsbench_numba import lanes
from rlsbench_numba.compiling import kernel
from rlsbench_numba.lanes import LANES, count_above, fma, load, minus, plus, select_above, splat, store


class Lif(NamedTuple):
    """Parameters of the neuron model, in the precision of the state."""

    alpha: np.floating[Any]  # dt/tau_m
    threshold: np.floating[Any]
    reset: np.floating[Any]
    refractory_steps: int  # steps that a neuron is refractory after a spike


@kernel
def integrate(v, X, u, refractory, first, last, lif, found):
    """Advance the neurons first .. last-1, none of them refractory, by one step.

    v, X and refractory (steps left) are (N padded,), u (GROUP,) starts at neuron `first`. The
    neurons that spiked are written into `found`, and their number is returned.
    """
    alpha, threshold, count = splat(lif.alpha), splat(lif.threshold), 0
    for c in range(first, last, LANES):
        v_c = load(v, c)
        v_c = fma(alpha, minus(plus(load(X, c), load(u, c - first)), v_c), v_c)
        store(v, c, v_c)
        if count_above(v_c, threshold):
            count = list_spikes(v, refractory, c, min(c + LANES, last), lif, found, count)
    return count


@kernel
def integrate_refractory(v, X, u, refractory, first, last, lif, found):
    """As `integrate`, but neurons in their refractory period keep their voltage.

    Returns how many spiked, and how many are refractory afterwards.
    """
    alpha, threshold = splat(lif.alpha), splat(lif.threshold)
    zero, one = splat(lanes.zero_of(lif.alpha)), splat(lanes.one_of(lif.alpha))
    count = remaining = 0
    for c in range(first, last, LANES):
        v_c, left = load(v, c), load(refractory, c)
        v_new = fma(alpha, minus(plus(load(X, c), load(u, c - first)), v_c), v_c)
        store(v, c, select_above(left, zero, v_c, v_new))
        store(refractory, c, select_above(left, zero, minus(left, one), left))
        # A refractory neuron cannot spike in this step: it counts as being at the threshold.
        if count_above(select_above(left, zero, threshold, v_new), threshold):
            for lane in range(min(LANES, last - c)):
                if v[c + lane] > lif.threshold and lanes.lane_of(left, lane) == 0:
                    v[c + lane] = lif.reset
                    refractory[c + lane] = lif.refractory_steps
                    found[count] = c + lane
                    count += 1
        remaining += count_above(load(refractory, c), zero)
    return count, remaining


@kernel
def list_spikes(v, refractory, first, last, lif, found, count):
    """Reset the neurons first .. last-1 above the threshold and append them to `count` others."""
    for c in range(first, last):
        if v[c] > lif.threshold:
            v[c] = lif.reset
            refractory[c] = lif.refractory_steps
            found[count] = c
            count += 1
    return count
