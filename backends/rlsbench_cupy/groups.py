"""Groups of kernel arguments, with the members of kernels/groups.cuh and kernels/rls_groups.cuh.

In: device arrays and numbers.  Out: tuples to unpack into an argument list: `(N, *state, *clock)`.
The .cuh files describe each member.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rlsbench_cupy.device import Array

__all__ = [
    "Arriving",
    "Clock",
    "Constants",
    "Feedforward",
    "Learning",
    "Matrices",
    "Pending",
    "Spikes",
    "State",
    "Synapses",
]


class Clock(NamedTuple):
    """Position in the trial, and the seed."""

    now: Array
    key0: np.uint32
    key1: np.uint32


class State(NamedTuple):
    """State of the neurons."""

    v: Array
    u_E: Array
    u_I: Array
    u_P: Array
    u_bal: Array
    X_stim: Array
    r: Array
    last: Array


class Constants(NamedTuple):
    """Constants of the neurons within a trial."""

    X_bal: Array
    tau_plas: Array
    recorded: Array


class Arriving(NamedTuple):
    """Input that arrives in the next step."""

    arrived: Array
    in_E: Array
    in_I: Array
    in_P: Array


class Spikes(NamedTuple):
    """Spikes of a step, and what is counted and recorded of them."""

    spiked: Array
    spiked_count: Array
    counts: Array
    kept: Array
    kept_count: Array
    capacity: np.int32


class Feedforward(NamedTuple):
    """Feed-forward inputs."""

    probability: Array
    r_X: Array


class Synapses(NamedTuple):
    """Static synapses, plastic synapses by pre-synaptic neuron, and plastic weights."""

    targets: Array
    static_weights: Array
    start: Array
    post: Array
    column: Array
    w: Array


class Matrices(NamedTuple):
    """P and its units."""

    P_all: Array
    unit: Array


class Learning(NamedTuple):
    """Weights, inputs and targets of an update."""

    w_all: Array
    sources: Array
    signal: Array
    u_bal: Array
    f: Array
    benchmark: np.int32


class Pending(NamedTuple):
    """Pending rank-1 updates, and the last update."""

    k_all: Array
    g_all: Array
    pending: np.int32
    last: np.int32
    q_g: Array
    y_e: Array
    a: np.floating
