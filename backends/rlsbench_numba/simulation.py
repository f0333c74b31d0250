"""The steps of a trial, compiled: model section 2, steps 2 to 8.

In: the arrays of a network and a range of steps.  Out: the arrays, advanced in place.  Knows nothing of P.

Each thread owns a range of neurons.  In a step it first takes the spikes of the previous step and adds their weights to
what arrives at its own neurons (targets are sorted, so its share of a row is found by bisection), then advances its own
neurons and lists those that spiked.  So one step has one barrier, no atomics, and the same sums in every number of
threads.  Within a range, neurons go in groups that stay in the first-level cache, through short loops over few arrays
each, which is what LLVM vectorises.

Symbols as in `rlsbench_reference.model`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange
from numpy.typing import NDArray

from rlsbench_numba.compiling import kernel, parallel_kernel
from rlsbench_numba.lif import integrate, reset_and_list
from rlsbench_numba.normals import NORMALS_AT_ONCE, fill_normals

__all__ = ["CURRENT_NOISE", "NO_NOISE", "VOLTAGE_NOISE", "Inputs", "Lists", "Neurons", "Synapses", "advance"]

NO_NOISE, VOLTAGE_NOISE, CURRENT_NOISE = 0, 1, 2
GROUP = NORMALS_AT_ONCE  # neurons that are advanced together
ALIGN = 64  # neurons of two threads never share a vector or a cache line

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.signedinteger[Any]]


class Neurons(NamedTuple):
    """State of the neurons; all (N,)."""

    v: Floats
    u_E: Floats
    u_I: Floats
    u_P: Floats
    u_bal: Floats
    r: Floats
    s: Floats
    in_E: Floats
    in_I: Floats
    in_P: Floats
    X: Floats
    X_bal: Floats
    X_stim: Floats
    refractory: NDArray[np.int32]
    counts: NDArray[np.int64]
    recorded: NDArray[np.bool_]
    fresh: NDArray[np.bool_]
    """Spiked since this was last cleared."""


class Synapses(NamedTuple):
    """Who projects to whom, and with what weight."""

    static_targets: NDArray[np.int32]
    """(N, 2K), rising in each row."""
    J: Floats
    """(2, 2), static weight by (pre, post) population, excitatory first."""
    start: NDArray[np.int64]
    """(N + 1,), see `rlsbench.network.PlasticOutputs`."""
    post: NDArray[np.int32]
    column: NDArray[np.int32]
    w: Floats
    """(N, n)"""


class Inputs(NamedTuple):
    """Numbers of the model, in the precision of the state, and where randomness comes from."""

    excitatory: int
    decay_E: Floats
    """(1,): 1 - dt/tau_E; decay_I and decay_P alike, decay_P (1,) or (N,)."""
    decay_I: Floats
    decay_P: Floats
    gain_E: Floats
    """(1,): 1/tau_E; gain_I and gain_P alike."""
    gain_I: Floats
    gain_P: Floats
    neuron: Floats
    """dt/tau_m, threshold, reset."""
    refractory_steps: int
    noise_kind: int
    noise_scale: Floats
    """(1,)"""
    stimulus: Floats
    """mu, b dt, sigma sqrt(dt)."""
    stimulus_on: int
    stimulus_off: int
    noise_purpose: int
    stimulus_purpose: int
    key0: int
    key1: int


class Lists(NamedTuple):
    """Where threads put the spikes they find, and scratch."""

    spiked: NDArray[np.int32]
    """(2, threads, ceil(N / threads) and some): neurons that spiked in even and odd steps."""
    length: NDArray[np.int64]
    """(2, threads, 8): entry 0 counts; the rest keeps counters of two threads off one cache line."""
    words: NDArray[np.uint64]
    xi: Floats
    """(threads, GROUP)"""


@parallel_kernel
def advance(
    neurons, synapses, inputs, lists, bounds, first, last, trial, task, feedforward, replay, replay_bounds, kept
):
    """Run the steps first .. last.

    Parameters
    ----------
    neurons : Neurons
    synapses : Synapses
    inputs : Inputs
    lists : Lists
    bounds : ndarray of int64, shape (threads + 1,)
        Each thread's range of neurons.
    first, last, trial, task : int
    feedforward : ndarray of bool, shape (last - first + 1, LX)
        Which feed-forward inputs spike at which step.
    replay : ndarray of int32
        Spikes that take the place of the network's own, in order of step.
    replay_bounds : ndarray of int64, shape (last - first + 2,) or (0,)
        Where each step's spikes begin in `replay`; empty in a free run.
    kept : ndarray of int32, shape (threads, capacity, 2)
        Takes (step, neuron) of the recorded neurons' spikes.

    Returns
    -------
    ndarray of int64, shape (threads,)
        Spikes kept by each thread.
    """
    threads = len(bounds) - 1
    kept_count = np.zeros(threads, np.int64)
    for step in range(first, last + 1):
        spiking_inputs = feedforward[max(step - 1 - first, 0)]
        given = replay[:0]
        if len(replay_bounds) > 0:
            given = replay[replay_bounds[step - first] : replay_bounds[step - first + 1]]
        for t in prange(threads):
            if step > first:
                deliver(neurons, synapses, inputs.excitatory, lists, step - 1, bounds[t], bounds[t + 1], spiking_inputs)
            one_step(
                neurons, inputs, lists, t, bounds, step, trial, task, len(replay_bounds) == 0, given, kept, kept_count
            )
    for t in prange(threads):
        arrived = feedforward[last - first]
        deliver(neurons, synapses, inputs.excitatory, lists, last, bounds[t], bounds[t + 1], arrived)
    return kept_count


@kernel
def one_step(neurons, inputs, lists, t, bounds, step, trial, task, free, given, kept, kept_count):
    """Steps 2 to 6 for the neurons of thread t; lists and books those that spiked."""
    low, high = bounds[t], bounds[t + 1]
    count = advance_range(neurons, inputs, lists, t, low, high, step, trial, task, free)
    if not free:
        count = take_given(lists.spiked[step % 2, t], given, low, high)
    lists.length[step % 2, t, 0] = count
    kept_count[t] = note(neurons, lists.spiked[step % 2, t, :count], step, kept[t], kept_count[t])


@kernel
def advance_range(neurons, inputs, lists, t, low, high, step, trial, task, free):
    """Steps 2 to 6 for the neurons low .. high-1; how many spiked."""
    in_stimulus = inputs.stimulus_on < step < inputs.stimulus_off
    found = lists.spiked[step % 2, t]
    count = 0
    for a in range(low, high, GROUP):
        b = min(a + GROUP, high)
        xi = lists.xi[t, : b - a]
        # 2. and 3. Currents and filtered spikes, with what arrived in the previous step.
        decay(neurons.u_E[a:b], neurons.in_E[a:b], inputs.decay_E, inputs.gain_E, a)
        decay(neurons.u_I[a:b], neurons.in_I[a:b], inputs.decay_I, inputs.gain_I, a)
        decay(neurons.u_P[a:b], neurons.in_P[a:b], inputs.decay_P, inputs.gain_P, a)
        decay(neurons.r[a:b], neurons.s[a:b], inputs.decay_P, inputs.gain_P, a)
        add(neurons.u_bal[a:b], neurons.u_E[a:b], neurons.u_I[a:b])
        if inputs.noise_kind != NO_NOISE:
            fill_normals(xi, a, trial, step, inputs.noise_purpose, inputs.key0, inputs.key1, lists.words[t])
            if inputs.noise_kind == CURRENT_NOISE:
                add_scaled(neurons.u_bal[a:b], xi, inputs.noise_scale[0])
        if not free:
            continue
        # 5. Voltage noise.
        if inputs.noise_kind == VOLTAGE_NOISE:
            add_scaled(neurons.v[a:b], xi, inputs.noise_scale[0])
        # 4. External input: X_bal, plus the stimulus while it is on.
        if in_stimulus:
            since = step - inputs.stimulus_on
            fill_normals(xi, a, task, since, inputs.stimulus_purpose, inputs.key0, inputs.key1, lists.words[t])
            stimulate(neurons.X[a:b], neurons.X_bal[a:b], neurons.X_stim[a:b], xi, inputs.stimulus)
        elif step == inputs.stimulus_off:
            neurons.X[a:b] = neurons.X_bal[a:b]
        # 6. Integration, spikes and reset.
        spikes = integrate(
            neurons.v[a:b],
            neurons.u_bal[a:b],
            neurons.u_P[a:b],
            neurons.X[a:b],
            neurons.refractory[a:b],
            inputs.neuron[0],
            inputs.neuron[1],
        )
        if spikes:
            count += reset_and_list(
                neurons.v[a:b],
                neurons.refractory[a:b],
                inputs.neuron[1],
                inputs.neuron[2],
                inputs.refractory_steps,
                a,
                found[count:],
            )
        else:
            count_down(neurons.refractory[a:b])
    return count


@kernel
def take_given(found, given, low, high):
    """Replay: list those of the given spikes that are this thread's; how many."""
    count = 0
    for j in given:
        if low <= j < high:
            found[count] = j
            count += 1
    return count


@kernel
def note(neurons, spiked, step, kept, kept_count):
    """Book the spikes of one step: the s of the next, counts, and the record."""
    for j in spiked:
        neurons.s[j] = 1
        neurons.counts[j] += 1
        neurons.fresh[j] = True
        if neurons.recorded[j]:
            kept[kept_count, 0] = step
            kept[kept_count, 1] = j
            kept_count += 1
    return kept_count


@kernel
def deliver(neurons, synapses, excitatory, lists, step, low, high, feedforward):
    """Steps 7 and 8: add the weights of one step's spikes to what arrives at the neurons low .. high-1."""
    targets, J, post, parity = synapses.static_targets, synapses.J, synapses.post, step % 2
    K2 = targets.shape[1]
    for t in range(lists.length.shape[1]):
        for m in range(lists.length[parity, t, 0]):
            j = lists.spiked[parity, t, m]
            if K2 > 0:
                row = targets[j]
                a, middle, b = bisect(row, low), bisect(row, excitatory), bisect(row, high)
                population = 0 if j < excitatory else 1
                arriving = neurons.in_E if j < excitatory else neurons.in_I
                to_E, to_I = J[population, 0], J[population, 1]
                for i in range(a, min(b, middle)):
                    arriving[row[i]] += to_E
                for i in range(max(a, middle), b):
                    arriving[row[i]] += to_I
            own = post[synapses.start[j] : synapses.start[j + 1]]
            column = synapses.column[synapses.start[j] : synapses.start[j + 1]]
            for i in range(bisect(own, low), bisect(own, high)):
                neurons.in_P[own[i]] += synapses.w[own[i], column[i]]
    for x in range(len(feedforward)):
        if feedforward[x]:
            for c in range(low, high):
                neurons.in_P[c] += synapses.w[c, x]


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


@kernel
def decay(u, arriving, factor, gain, first):
    """u <- u (1 - dt/tau) + arriving/tau, and nothing more arrives; `factor` and `gain` of one or of each neuron."""
    if len(factor) == 1:
        f, g = factor[0], gain[0]
        for c in range(len(u)):
            u[c] = f * u[c] + g * arriving[c]
            arriving[c] = 0
    else:
        for c in range(len(u)):
            u[c] = factor[first + c] * u[c] + gain[first + c] * arriving[c]
            arriving[c] = 0


@kernel
def add(total, a, b):
    """Total <- a + b."""
    for c in range(len(total)):
        total[c] = a[c] + b[c]


@kernel
def add_scaled(total, a, scale):
    """Total <- total + scale a."""
    for c in range(len(total)):
        total[c] += scale * a[c]


@kernel
def stimulate(X, X_bal, X_stim, xi, stimulus):
    """X_stim += b (mu - X_stim) dt + sigma sqrt(dt) xi;  X = X_bal + X_stim."""
    mu, b_dt, scale = stimulus[0], stimulus[1], stimulus[2]
    for c in range(len(X)):
        X_stim[c] += (mu - X_stim[c]) * b_dt + scale * xi[c]
        X[c] = X_bal[c] + X_stim[c]


@kernel
def count_down(refractory):
    """One step less of each refractory period."""
    for c in range(len(refractory)):
        refractory[c] = max(refractory[c] - 1, 0)
