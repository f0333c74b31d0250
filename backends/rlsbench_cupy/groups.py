"""Groups of kernel arguments, with the members of kernels/groups.cuh and kernels/rls_groups.cuh.

In: device arrays and numbers.  Out: tuples to unpack into an argument list: `(N, *state, *clock)`.
The .cuh files describe each member.
"""

from __future__ import annotations

from collections import namedtuple

Clock = namedtuple("Clock", "now key0 key1")  # position in the trial, and the seed
State = namedtuple("State", "v u_E u_I u_P u_bal X_stim r last own")  # of the neurons
# Of the neurons, and of populations, within a trial.
Constants = namedtuple("Constants", "X_bal tau_plas recorded background_table background_weight")
Arriving = namedtuple("Arriving", "arrived in_E in_I in_P")  # in the next step
Spikes = namedtuple("Spikes", "spiked spiked_count counts kept kept_count capacity")  # of a step, and recorded ones
Feedforward = namedtuple("Feedforward", "probability r_X")
# Static synapses, plastic synapses by pre-synaptic neuron, and plastic weights.
Synapses = namedtuple("Synapses", "targets static_weights static_rows start post column w")
Matrices = namedtuple("Matrices", "P_all unit")  # P and its units
Learning = namedtuple("Learning", "w_all sources signal u_bal f benchmark")  # weights, inputs and targets of an update
Pending = namedtuple("Pending", "k_all g_all pending last q_g y_e a")  # rank-1 updates, and the last update
