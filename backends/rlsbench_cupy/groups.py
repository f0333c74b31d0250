"""Groups of kernel arguments, with the members of kernels/groups.cuh and kernels/rls_groups.cuh.

In: device arrays and numbers.  Out: tuples to unpack into an argument list: `(N, *state, *clock)`.
The .cuh files describe each member.
"""

from __future__ import annotations

from collections import namedtuple

# Position in the trial, and the seed.
Clock = namedtuple("Clock", "now key0 key1")
# State of the neurons.
State = namedtuple("State", "v u_E u_I u_P u_bal X_stim r last")
# Constants of the neurons within a trial.
Constants = namedtuple("Constants", "X_bal tau_plas recorded")
# Input that arrives in the next step.
Arriving = namedtuple("Arriving", "arrived in_E in_I in_P")
# Spikes of a step, and what is counted and recorded of them.
Spikes = namedtuple("Spikes", "spiked spiked_count counts kept kept_count capacity")
# Feed-forward inputs.
Feedforward = namedtuple("Feedforward", "probability r_X")
# Static synapses, plastic synapses by pre-synaptic neuron, and plastic weights.
Synapses = namedtuple("Synapses", "targets static_weights start post column w")
# P and its units.
Matrices = namedtuple("Matrices", "P_all unit")
# Weights, inputs and targets of an update.
Learning = namedtuple("Learning", "w_all sources signal u_bal f benchmark")
# Pending rank-1 updates, and the last update.
Pending = namedtuple("Pending", "k_all g_all pending last q_g y_e a")
