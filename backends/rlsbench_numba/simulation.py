"""The steps of a trial, compiled: model section 2, steps 2 to 8.

In: the arrays of a network and a range of steps.  Out: the arrays, advanced in place.  Knows nothing of P.

Each thread owns a range of neurons.  In a step it first takes the spikes of the previous step and adds their weights to
the currents of its own neurons, then advances its own neurons and lists those that spiked.  So one step has one
barrier, no atomics, and the same sums in every number of threads.  Within a range, neurons go in groups that stay in
the first-level cache.

A step touches as little memory as it can: per neuron it reads U_E (and U_I, if its time constant differs), U_P, X and
v, and writes v.  That is because

- currents are kept as U = u / f^k, f = 1 - dt/tau, k steps after they were last brought up to date: then they need not
  be decayed, and what arrives is divided by f^k in place of that.  Every `period` steps they are brought up to date;
- filtered spikes r are kept as of the neuron's last spike;
- steps that are left of refractory periods are looked at only in groups in which there are any.

Where the steps of a trial are cut changes no bit of the result.  Symbols as in `rlsbench_reference.model`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange
from numpy.typing import NDArray

from rlsbench_numba.compiling import kernel, parallel_kernel
from rlsbench_numba.delivery import TOGETHER, ask_for_outputs, deliver_feedforward, deliver_plastic, deliver_static
from rlsbench_numba.lanes import LANES, cast, fma, load, minus, plus, splat, store
from rlsbench_numba.lif import integrate, integrate_waiting
from rlsbench_numba.normals import NORMALS_AT_ONCE, fill_normals

__all__ = [
    "ALIGN",
    "CURRENT_NOISE",
    "GROUP",
    "NO_NOISE",
    "VOLTAGE_NOISE",
    "Inputs",
    "Lists",
    "Neurons",
    "Synapses",
    "advance",
    "advance_alone",
    "filtered",
]

NO_NOISE, VOLTAGE_NOISE, CURRENT_NOISE = 0, 1, 2
GROUP = NORMALS_AT_ONCE  # neurons that are advanced together
ALIGN = GROUP  # neurons of two threads never share a group

Floats = NDArray[np.floating[Any]]


class Neurons(NamedTuple):
    """State of the neurons; floating-point arrays are padded to a multiple of 16."""

    v: Floats
    u_bal: Floats
    """Static and plastic current after the last step that was run."""
    u_P: Floats
    U_E: Floats
    """Currents as they are kept; U_I is U_E itself where one static current is enough."""
    U_I: Floats
    U_P: Floats
    X: Floats
    X_bal: Floats
    X_stim: Floats
    r: Floats
    """Filtered spikes as of the step `updated`."""
    rise: Floats
    """What of r came since it was last taken, as of that step."""
    updated: NDArray[np.int32]
    refractory: Floats
    """Steps that are left of the refractory period."""
    waiting: NDArray[np.int32]
    """(groups,), neurons in their refractory period."""
    counts: NDArray[np.int64]
    recorded: NDArray[np.bool_]


class Synapses(NamedTuple):
    """Who projects to whom, and with what weight; see `rlsbench_numba.synapses`."""

    low: NDArray[np.uint16]
    """(N, 2K), static targets within their blocks."""
    block_start: NDArray[np.int32]
    """(N, blocks + 1)"""
    J: Floats
    """(2, 2), static weight by (pre, post) population, excitatory first."""
    J_own: Floats
    """(N, 2K), static weights in the order of `low`; (0, 0) where those of populations are enough."""
    start: NDArray[np.int64]
    """(N + 1,), plastic synapses by pre-synaptic neuron."""
    post: NDArray[np.int32]
    column: NDArray[np.uint16]
    w: Floats
    """(N, width), plastic weights, padded with zeros."""


class Inputs(NamedTuple):
    """Numbers of the model, in the precision of the state, and where randomness comes from."""

    excitatory: int
    one_static_current: bool
    period: int
    """Steps after which currents are brought up to date."""
    scale_E: Floats
    """(period + 1,), f^k; scale_I alike, scale_P (period + 1, 1) or (period + 1, N padded)."""
    scale_I: Floats
    scale_P: Floats
    enter_E: Floats
    """(period + 1,), 1/(tau f^k): what a weight that arrives is multiplied by; enter_I and enter_P alike."""
    enter_I: Floats
    enter_P: Floats
    gain_P: Floats
    """1/tau_plas, (1,) or (N padded,)."""
    log_decay_P: NDArray[np.float64]
    """Logarithm of 1 - dt/tau_plas."""
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
    """(2, threads, neurons of a thread): neurons that spiked in even and odd steps."""
    length: NDArray[np.int64]
    """(2, threads, 8): entry 0 counts; the rest keeps counters of two threads off one cache line."""
    words: NDArray[np.uint64]
    normals: NDArray[np.float64]
    """(threads, GROUP)"""
    u: Floats
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
        given, arrived = given_at(step - first, replay, replay_bounds), feedforward[max(step - 1 - first, 0)]
        for t in prange(threads):
            if step > first:
                deliver(neurons, synapses, inputs, lists, step - 1, bounds[t], bounds[t + 1], arrived)
            one_step(
                neurons, inputs, lists, t, bounds, step, trial, task, len(replay_bounds) == 0, given, kept, kept_count
            )
    for t in prange(threads):
        note_currents(neurons, inputs, lists, t, bounds[t], bounds[t + 1], last, trial)
        deliver(neurons, synapses, inputs, lists, last, bounds[t], bounds[t + 1], feedforward[last - first])
    return kept_count


@kernel
def advance_alone(
    neurons, synapses, inputs, lists, bounds, first, last, trial, task, feedforward, replay, replay_bounds, kept
):
    """`advance` in one thread, without the cost of starting a parallel region in each step."""
    kept_count = np.zeros(1, np.int64)
    for step in range(first, last + 1):
        given, arrived = given_at(step - first, replay, replay_bounds), feedforward[max(step - 1 - first, 0)]
        if step > first:
            deliver(neurons, synapses, inputs, lists, step - 1, bounds[0], bounds[1], arrived)
        one_step(neurons, inputs, lists, 0, bounds, step, trial, task, len(replay_bounds) == 0, given, kept, kept_count)
    note_currents(neurons, inputs, lists, 0, bounds[0], bounds[1], last, trial)
    deliver(neurons, synapses, inputs, lists, last, bounds[0], bounds[1], feedforward[last - first])
    return kept_count


@kernel
def given_at(index, replay, replay_bounds):
    """The spikes that replace those of a step; none in a free run."""
    if len(replay_bounds) == 0:
        return replay[:0]
    return replay[replay_bounds[index] : replay_bounds[index + 1]]


@kernel
def one_step(neurons, inputs, lists, t, bounds, step, trial, task, free, given, kept, kept_count):
    """Steps 2 to 6 for the neurons of thread t; lists and books those that spiked."""
    low, high = bounds[t], bounds[t + 1]
    before = (step - 1) % 2
    filter_spikes(neurons, inputs, lists.spiked[before, t, : lists.length[before, t, 0]], step)
    count = advance_range(neurons, inputs, lists, t, low, high, step, trial, task, free)
    if not free:
        count = take_given(lists.spiked[step % 2, t], given, low, high)
    lists.length[step % 2, t, 0] = count
    kept_count[t] = note(neurons, lists.spiked[step % 2, t, :count], step, kept[t], kept_count[t])


@kernel
def filter_spikes(neurons, inputs, spiked, step):
    """3. r of the neurons that spiked in the previous step: r <- r (1 - dt/tau_plas)^steps + 1/tau_plas."""
    for j in spiked:
        own = j if len(inputs.log_decay_P) > 1 else 0
        factor = np.exp(inputs.log_decay_P[own] * (step - neurons.updated[j]))
        neurons.r[j] = neurons.r[j] * factor + inputs.gain_P[own]
        neurons.rise[j] = neurons.rise[j] * factor + inputs.gain_P[own]
        neurons.updated[j] = step


@kernel
def filtered(r_now, neurons, log_decay_P, step):
    """R of all neurons after a step, into r_now (N,)."""
    for j in range(len(r_now)):
        own = j if len(log_decay_P) > 1 else 0
        r_now[j] = neurons.r[j] * np.exp(log_decay_P[own] * (step - neurons.updated[j]))


@kernel
def advance_range(neurons, inputs, lists, t, low, high, step, trial, task, free):
    """Steps 2 to 6 for the neurons low .. high-1; how many spiked."""
    if not free:
        return 0
    in_stimulus = inputs.stimulus_on < step < inputs.stimulus_off
    found, xi, u, words = lists.spiked[step % 2, t], lists.normals[t], lists.u[t], lists.words[t]
    k = since_up_to_date(step, inputs.period)
    scale_E, scale_I, scale_P = inputs.scale_E[k], inputs.scale_I[k], inputs.scale_P[k]
    # Named here, since taking an array from a tuple costs as much as advancing twenty neurons.
    v, X, X_bal, X_stim, U_E, U_I, U_P = (
        neurons.v,
        neurons.X,
        neurons.X_bal,
        neurons.X_stim,
        neurons.U_E,
        neurons.U_I,
        neurons.U_P,
    )
    refractory, waiting, neuron, stimulus = neurons.refractory, neurons.waiting, inputs.neuron, inputs.stimulus
    noise_kind, noise_scale, steps = inputs.noise_kind, inputs.noise_scale[0], inputs.refractory_steps
    key0, key1, one, off = inputs.key0, inputs.key1, inputs.one_static_current, inputs.stimulus_off
    count = 0
    for a in range(low, high, GROUP):
        b = min(a + GROUP, high)
        # 2. Currents, noise on them and (5.) on the voltage.
        static_current(u, U_E, U_I, scale_E, scale_I, one, a, b)
        add_plastic_current(u, U_P, scale_P, a, b)
        if noise_kind != NO_NOISE:
            fill_normals(xi[: b - a], a, trial, step, inputs.noise_purpose, key0, key1, words)
            if noise_kind == CURRENT_NOISE:
                add_scaled(u, xi, noise_scale, b - a)
            else:
                add_scaled(v[a:], xi, noise_scale, b - a)
        # 4. External input: X_bal, plus the stimulus while it is on.
        if in_stimulus:
            fill_normals(xi[: b - a], a, task, step - inputs.stimulus_on, inputs.stimulus_purpose, key0, key1, words)
            stimulate(X, X_bal, X_stim, xi, stimulus, a, b)
        elif step == off:
            X[a:b] = X_bal[a:b]
        # 6. Integration, spikes and reset.
        group = a // GROUP
        if waiting[group]:
            spikes, waiting[group] = integrate_waiting(v, X, u, refractory, a, b, neuron, steps, found[count:])
        else:
            spikes = integrate(v, X, u, refractory, a, b, neuron, steps, found[count:])
            waiting[group] = spikes if steps > 0 else 0
        count += spikes
    return count


@kernel
def since_up_to_date(step, period):
    """k: steps, 1 .. period, since currents were brought up to date."""
    return (step - 1) % period + 1


@kernel
def static_current(u, U_E, U_I, scale_E, scale_I, one, first, last):
    """u_bal of the neurons first .. last-1, without noise, into u (group,)."""
    f_E, f_I = splat(scale_E), splat(scale_I)
    nothing = splat(scale_E - scale_E)
    for c in range(first, last, LANES):
        u_bal = fma(f_E, load(U_E, c), nothing)
        if not one:
            u_bal = fma(f_I, load(U_I, c), u_bal)
        store(u, c - first, u_bal)


@kernel
def add_plastic_current(u, U_P, scale_P, first, last):
    """Add u_P of the neurons first .. last-1 to u (group,)."""
    f_P = splat(scale_P[0])
    for c in range(first, last, LANES):
        if len(scale_P) > 1:
            f_P = load(scale_P, c)
        store(u, c - first, fma(f_P, load(U_P, c), load(u, c - first)))


@kernel
def note_currents(neurons, inputs, lists, t, low, high, step, trial):
    """u_bal and u_P of the neurons low .. high-1 after a step."""
    xi, u = lists.normals[t], lists.u[t]
    k = since_up_to_date(step, inputs.period)
    for a in range(low, high, GROUP):
        b = min(a + GROUP, high)
        static_current(
            u, neurons.U_E, neurons.U_I, inputs.scale_E[k], inputs.scale_I[k], inputs.one_static_current, a, b
        )
        if inputs.noise_kind == CURRENT_NOISE:
            fill_normals(xi[: b - a], a, trial, step, inputs.noise_purpose, inputs.key0, inputs.key1, lists.words[t])
            add_scaled(u, xi, inputs.noise_scale[0], b - a)
        neurons.u_bal[a:b] = u[: b - a]
        u[:] = 0
        add_plastic_current(u, neurons.U_P, inputs.scale_P[k], a, b)
        neurons.u_P[a:b] = u[: b - a]


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
    """Book the spikes of one step: counts, and the record."""
    for j in spiked:
        neurons.counts[j] += 1
        if neurons.recorded[j]:
            kept[kept_count, 0] = step
            kept[kept_count, 1] = j
            kept_count += 1
    return kept_count


@kernel
def deliver(neurons, synapses, inputs, lists, step, low, high, feedforward):
    """Steps 7 and 8: add the weights of one step's spikes to the currents of the neurons low .. high-1."""
    if step % inputs.period == 0:
        bring_up_to_date(neurons.U_P, inputs.scale_P[inputs.period], low, high)
        bring_up_to_date(neurons.U_E, inputs.scale_E[inputs.period :], low, high)
        if not inputs.one_static_current:
            bring_up_to_date(neurons.U_I, inputs.scale_I[inputs.period :], low, high)
    k = since_up_to_date(step + 1, inputs.period)
    enter_P = inputs.enter_P[k]
    for t in range(lists.length.shape[1]):
        spiked = lists.spiked[step % 2, t, : lists.length[step % 2, t, 0]]
        if len(spiked) == 0:
            continue
        for m in range(min(TOGETHER, len(spiked))):
            ask_for_outputs(synapses, spiked[m])
        if synapses.low.shape[1] > 0:
            deliver_static(
                neurons.U_E,
                neurons.U_I,
                synapses,
                inputs.enter_E[k],
                inputs.enter_I[k],
                inputs.excitatory,
                spiked,
                low,
                high,
            )
        deliver_plastic(neurons.U_P, synapses, enter_P, spiked, low, high)
    deliver_feedforward(neurons.U_P, synapses.w, enter_P, feedforward, low, high)


@kernel
def bring_up_to_date(U, scale, first, last):
    """U <- U f^k; `scale` of one or of each neuron."""
    f = splat(scale[0])
    nothing = splat(scale[0] - scale[0])
    for c in range(first, last, LANES):
        if len(scale) > 1:
            f = load(scale, c)
        store(U, c, fma(f, load(U, c), nothing))


@kernel
def add_scaled(total, xi, scale, count):
    """Total <- total + scale xi, for `count` neurons from the beginning of each."""
    factor = splat(scale)
    for c in range(0, count, LANES):
        x = load(total, c)
        store(total, c, fma(factor, cast(load(xi, c), x), x))


@kernel
def stimulate(X, X_bal, X_stim, xi, stimulus, first, last):
    """X_stim += b (mu - X_stim) dt + sigma sqrt(dt) xi;  X = X_bal + X_stim."""
    mu, b_dt, scale = splat(stimulus[0]), splat(stimulus[1]), splat(stimulus[2])
    for c in range(first, last, LANES):
        x = load(X_stim, c)
        x = fma(scale, cast(load(xi, c - first), x), fma(b_dt, minus(mu, x), x))
        store(X_stim, c, x)
        store(X, c, plus(load(X_bal, c), x))
