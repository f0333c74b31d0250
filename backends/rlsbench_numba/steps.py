"""The steps of a trial, compiled: docs/model.md section 2, steps 2 to 8.

In: the arrays of a network and a range of steps.  Out: the arrays, advanced in place.  Knows
nothing of P.

Each thread owns a range of neurons. In a step it first adds the weights of the previous step's
spikes to the currents of its own neurons, then advances them and lists those that spiked. So a step
has one barrier, no atomics, and the same sums in any number of threads. Within a range, neurons go
in groups that stay in the first-level cache.

A step touches as little memory as possible: for each neuron it reads U_E (and U_I, if its time
constant differs), U_P, X and v, and writes v. For that,

- currents are stored as U = u / f^k, f = 1 - dt/tau, k steps after the last decay was applied. They
  do not decay in a step; what arrives is divided by f^k instead. Every `period` steps decay is
  applied;
- filtered spikes r are stored as of the neuron's last spike;
- refractory periods are counted down only in groups that have refractory neurons.

Where the steps of a trial are cut changes no bit of the result.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench_numba.arrays import Floats
from rlsbench_numba.by_address import address_of, call_for_each, stored
from rlsbench_numba.compiling import kernel, kernel_of_python, parallel_kernel
from rlsbench_numba.delivery import (
    deliver_background,
    deliver_edges,
    deliver_feedforward,
    deliver_plastic,
    deliver_static,
    prefetch_outputs,
)
from rlsbench_numba.exchange import exchange_spikes
from rlsbench_numba.lanes import LANES, cast, fma, load, minus, plus, splat, store, zero_of
from rlsbench_numba.lookup import add_plastic, add_static, complete, find_plastic, find_static
from rlsbench_numba.neurons import call_group
from rlsbench_numba.normals import Stream, fill_normals
from rlsbench_numba.tuning import GROUP, PLASTIC_TOGETHER

NO_NOISE, VOLTAGE_NOISE, CURRENT_NOISE = 0, 1, 2


class Neurons(NamedTuple):
    """State of the neurons; floating-point arrays have N entries, padded to a multiple of 16.

    Of a rank these are its own neurons, but r, rise and updated are those of all.
    """

    state: Floats  # (variables, N padded)
    v: Floats  # its first row, the voltages
    u_bal: Floats  # static and plastic current after the last sample, or the last step of a call of `advance`
    u_P: Floats
    U_E: Floats  # stored currents; U_I is U_E itself if both have one time constant
    U_I: Floats
    U_P: Floats
    X: Floats
    X_bal: Floats
    X_stim: Floats  # (1 or 1 + steps of the stimulus, N padded), its path as far as it is known, from mu on
    r: Floats  # (lines,), filtered spikes as they arrive, 1/ms, as of the step `updated`
    rise: Floats  # (lines,), what r has risen by since the last update, as of that step
    updated: NDArray[np.int32]  # (lines,)
    refractory: Floats  # steps that are left of the refractory period
    refractory_count: NDArray[np.int32]  # (groups,), refractory neurons
    counts: NDArray[np.int64]  # (N,), spikes in this trial
    recorded: NDArray[np.bool_]  # (N,), whose spikes are recorded


class Model(NamedTuple):
    """Parameters, in the precision of the state; times in steps unless noted."""

    one_static_current: bool
    period: int  # steps between two decays of the stored currents
    decay_E: Floats  # (at least period + 1,), f^k; decay_I likewise, decay_P (.., 1) or (.., N padded)
    decay_I: Floats
    decay_P: Floats
    gain_E: Floats  # 1/(tau f^k), 1/ms, what a weight that arrives is multiplied by; shapes as above
    gain_I: Floats
    gain_P: Floats
    gain_r: Floats  # (1,) or, of all ranks, (everyone,): 1/tau_plas of filtered spikes, 1/ms
    log_decay_r: NDArray[np.float64]  # likewise, logarithm of 1 - dt/tau_plas
    advance_group: int  # address; this and the next three are those of `rlsbench_numba.neurons`
    constants: NDArray[np.float64]
    varying: Floats
    refractory_steps: int
    noise_kind: int
    noise_scale: np.floating[Any]  # standard deviation in a step
    mu: np.floating[Any]  # of the stimulus: mean; b dt; sigma sqrt(dt); first and last step
    b_dt: np.floating[Any]
    stimulus_scale: np.floating[Any]
    stimulus_on: int
    stimulus_off: int
    background_table: NDArray[np.uint64]  # those of `rlsbench.network.Background`; (0, 0) and (0,) without
    background_weight: Floats
    background_purpose: int
    noise_purpose: int  # streams of noise and stimulus; see `rlsbench_numba.normals.Stream`
    stimulus_purpose: int
    key0: int
    key1: int
    origin: int  # number of the first neuron in the network: 0, except on a rank


class Threads(NamedTuple):
    """Where threads put the spikes they find, and their scratch."""

    bounds: NDArray[np.int64]  # (threads + 1,), each thread's range of neurons
    spiked: NDArray[np.int32]  # (D, threads, neurons of a thread): those that spiked in step i in row i mod D
    length: NDArray[np.int64]  # (D, threads, 8): entry 0 counts; the rest keeps two counters off one cache line
    arrived: NDArray[np.int32]  # `spiked` itself; on a rank (D, 1, N), the spikes of all ranks
    arrived_length: NDArray[np.int64]  # `length` itself; on a rank (D, 1, 8)
    words: NDArray[np.uint64]  # (threads, 4, GROUP // 4)
    normals: NDArray[np.float64]  # (threads, GROUP)
    u: Floats  # (threads, GROUP)


class Run(NamedTuple):
    """A range of steps."""

    first: int
    last: int
    trial: int
    task: int
    s_X: NDArray[np.bool_]  # (steps, LX), which feed-forward inputs spike
    replay: NDArray[np.int32]  # spikes that take the place of the network's own, in the order of steps
    replay_bounds: NDArray[np.int64]  # (steps + 1,), where each step's spikes begin in `replay`; (0,) in a free run
    known: bool  # whether X_stim is known in these steps
    every: int  # steps from one sample of the currents to the next
    rows: NDArray[np.int64]  # (samples,), the row of sums that sample i, after step i every, is added to, or -1; (0,)
    plastic_only: bool  # add u_P alone
    sums: Floats  # (rows, N)


class Record(NamedTuple):
    """Spikes of the recorded neurons, by thread."""

    spikes: NDArray[np.int32]  # (threads, capacity, 2), (step, neuron)
    length: NDArray[np.int64]  # (threads, 8): entry 0 counts, likewise


@parallel_kernel
def advance(neurons, synapses, model, threads, run, record, exchange, shared):
    """Run the steps of `run`; spikes are appended to `record`.

    `exchange` and `shared` are None where there is nobody to exchange spikes or share look-ups
    with: kernels are then compiled without.
    """
    number = len(threads.bounds) - 1
    given = (neurons, synapses, model, threads, run, record, shared)
    arguments, stepping = stored(given), address_of(one_step, given)
    for step in range(run.first, run.last + 2):
        call_for_each(stepping, arguments, number, step)
        if step > run.last:
            break
        if exchange is not None:  # noqa: SIM102 (Numba leaves out only what a test for None alone decides)
            if step % exchange.together == 0:
                exchange_spikes(threads, exchange, step)
        if shared is not None:
            call_for_each(address_of(look_up, given), arguments, number, step)


@kernel
def one_step(neurons, synapses, model, threads, run, record, shared, t, step):
    """Steps 7 and 8 of the previous step, then 2 to 6 of this one, for the neurons of thread t.

    After the last step of the run, 7 and 8 of that one are all.
    """
    low, high = threads.bounds[t], threads.bounds[t + 1]
    depth = len(threads.length)  # 1 + the longest delay
    now = step % depth
    if step > run.first:
        deliver(neurons, synapses, model, threads, run, shared, t, step - 1)
        if step > run.last:
            return
    delays, lengths = synapses.plastic_delays, threads.arrived_length
    for i in range(len(delays)):
        due = (step - delays[i]) % depth
        of, first, last = share_of(lengths[due], len(threads.bounds) - 1, t)
        filter_spikes(neurons, model, threads.arrived[due, of, first:last], i, len(delays), step)
    if len(run.replay_bounds) == 0:
        count = advance_range(neurons, model, threads, run, t, step)
    else:
        first, last = run.replay_bounds[step - run.first], run.replay_bounds[step - run.first + 1]
        count = take_given(threads.spiked[now, t], run.replay[first:last], low, high)
    threads.length[now, t, 0] = count
    sampled = len(run.rows) > 0 and step % run.every == 0 and run.rows[step // run.every] >= 0
    if sampled or step == run.last:
        write_currents(neurons, model, threads, run, t, step)
    if sampled:
        total = run.sums[run.rows[step // run.every], low:high]
        add(total, neurons.u_P[low:high])
        if not run.plastic_only:
            add(total, neurons.u_bal[low:high])
    record_spikes(neurons, threads.spiked[now, t, :count], step, record, t)


@kernel
def share_of(length, threads, t):
    """The spikes that thread t filters: the number of a list, and a range in it.

    Its own list or, of that of all ranks, a share.
    """
    if len(length) == threads:
        return t, 0, length[t, 0]
    return 0, length[0, 0] * t // threads, length[0, 0] * (t + 1) // threads


@kernel
def filter_spikes(neurons, model, spiked, i, delays, step):
    """3. r <- r (1 - dt/tau_plas)^steps + 1/tau_plas of the delay line i of neurons that spiked."""
    for neuron in spiked:
        j, own = neuron * delays + i, neuron if len(model.log_decay_r) > 1 else 0
        gain = model.gain_r[own]
        factor = np.exp(model.log_decay_r[own] * (step - neurons.updated[j]))
        neurons.r[j] = neurons.r[j] * factor + gain
        neurons.rise[j] = neurons.rise[j] * factor + gain
        neurons.updated[j] = step


@kernel_of_python
def filtered(r_now, neurons, log_decay_r, step):
    """Write r of all delay lines after a step into r_now (lines,)."""
    delays = len(r_now) // len(log_decay_r)
    for j in range(len(r_now)):
        own = j // delays if len(log_decay_r) > 1 else 0
        r_now[j] = neurons.r[j] * np.exp(log_decay_r[own] * (step - neurons.updated[j]))


@kernel
def advance_range(neurons, model, threads, run, t, step):
    """Steps 2 and 4 to 6 for the neurons of thread t; returns how many spiked."""
    low, high = threads.bounds[t], threads.bounds[t + 1]
    in_stimulus = model.stimulus_on < step < model.stimulus_off
    k = steps_since_decay(step, model.period)
    decay_E, decay_I, decay_P = model.decay_E[k], model.decay_I[k], model.decay_P[k]
    noise = Stream(model.noise_purpose, model.key0, model.key1)
    stimulus = Stream(model.stimulus_purpose, model.key0, model.key1)
    # Taking an array from a tuple costs as much as advancing twenty neurons, so it is done once.
    found = threads.spiked[step % len(threads.length), t]
    xi, u, words = threads.normals[t], threads.u[t], threads.words[t]
    state, v, X, refractory = neurons.state, neurons.v, neurons.X, neurons.refractory
    address, constants, varying, rest = model.advance_group, model.constants, model.varying, model.refractory_steps
    X_bal, path = neurons.X_bal, len(neurons.X_stim)
    X_stim_before = neurons.X_stim[(step - model.stimulus_on - 1) % path]
    X_stim = neurons.X_stim[(step - model.stimulus_on) % path]
    U_E, U_I, U_P = neurons.U_E, neurons.U_I, neurons.U_P
    refractory_count = neurons.refractory_count
    count = 0
    for a in range(low, high, GROUP):
        b = min(a + GROUP, high)
        # 2. u = u_E + u_I + u_P, with noise on it; 5. noise on v
        current(u, U_E, U_I, U_P, decay_E, decay_I, decay_P, model.one_static_current, True, True, a, b)
        if model.noise_kind != NO_NOISE:
            fill_normals(xi[: b - a], model.origin + a, run.trial, step, noise, words)
            if model.noise_kind == CURRENT_NOISE:
                add_scaled(u, xi, model.noise_scale, b - a)
            else:
                add_scaled(v[a:], xi, model.noise_scale, b - a)
        # 4. X = X_bal, plus X_stim between stim_on and stim_off
        if in_stimulus:
            if not run.known:
                fill_normals(xi[: b - a], model.origin + a, run.task, step - model.stimulus_on, stimulus, words)
                advance_stimulus(X_stim, X_stim_before, xi, model, a, b)
            stimulate(X, X_bal, X_stim, a, b)
        elif step == model.stimulus_off:
            copy(X[a:b], X_bal[a:b])
        # 6. Integration, spikes and reset
        count = call_group(
            *(address, state, varying, X, u, refractory, constants),
            *(refractory_count, a // GROUP, found, count, a, b, rest),
        )
    return count


@kernel
def steps_since_decay(step, period):
    """k, 1 .. period: steps since decay was applied to the stored currents."""
    return (step - 1) % period + 1


@kernel
def current(u, U_E, U_I, U_P, decay_E, decay_I, decay_P, one, static, plastic, first, last):
    """u <- U_E f_E^k + U_I f_I^k + U_P f_P^k of the neurons first .. last-1.

    The first two only if `static`, without U_I if `one`; the last only if `plastic`.
    """
    f_E, f_I, f_P = splat(decay_E), splat(decay_I), splat(decay_P[0])
    zero = splat(zero_of(decay_E))
    for c in range(first, last, LANES):
        total = zero
        if static:
            total = fma(f_E, load(U_E, c), total)
            if not one:
                total = fma(f_I, load(U_I, c), total)
        if plastic:
            if len(decay_P) > 1:
                f_P = load(decay_P, c)
            total = fma(f_P, load(U_P, c), total)
        store(u, c - first, total)


@kernel
def copy(to, source):
    """Copy the first numbers of an array into another one, without a temporary copy."""
    for i in range(len(to)):
        to[i] = source[i]


@kernel
def add(total, values):
    """Total <- total + values."""
    for i in range(len(total)):
        total[i] += values[i]


@kernel
def write_currents(neurons, model, threads, run, t, step):
    """Write u_bal and u_P of the neurons of thread t after a step."""
    xi, u, words = threads.normals[t], threads.u[t], threads.words[t]
    k = steps_since_decay(step, model.period)
    decays = model.decay_E[k], model.decay_I[k], model.decay_P[k]
    kept = neurons.U_E, neurons.U_I, neurons.U_P
    noise = Stream(model.noise_purpose, model.key0, model.key1)
    high = threads.bounds[t + 1]
    for a in range(threads.bounds[t], high, GROUP):
        b = min(a + GROUP, high)
        current(u, *kept, *decays, model.one_static_current, True, False, a, b)
        if model.noise_kind == CURRENT_NOISE:
            fill_normals(xi[: b - a], model.origin + a, run.trial, step, noise, words)
            add_scaled(u, xi, model.noise_scale, b - a)
        copy(neurons.u_bal[a:b], u)
        current(u, *kept, *decays, model.one_static_current, False, True, a, b)
        copy(neurons.u_P[a:b], u)


@kernel
def take_given(found, given, low, high):
    """Replay: list the given spikes of the neurons low .. high-1; returns how many."""
    count = 0
    for j in given:
        if low <= j < high:
            found[count] = j
            count += 1
    return count


@kernel
def record_spikes(neurons, spiked, step, record, t):
    """Count the spikes of one step, and record those of the recorded neurons."""
    count = record.length[t, 0]
    for j in spiked:
        neurons.counts[j] += 1
        if neurons.recorded[j]:
            record.spikes[t, count, 0] = step
            record.spikes[t, count, 1] = j
            count += 1
    record.length[t, 0] = count


@kernel
def look_up(neurons, synapses, model, threads, run, record, shared, t, step):
    """Look up this thread's share of the spikes that `deliver` adds after a step."""
    lengths, found, delays = threads.arrived_length, threads.arrived, synapses.plastic_delays
    sharing = len(threads.bounds) - 1
    if synapses.low.size > 0:
        now = step % len(lengths)
        of, first, last = share_of(lengths[now], sharing, t)
        find_static(shared, synapses, found[now, of, first:last], t)
    for i in range(len(delays)):
        due = (step + 1 - delays[i]) % len(lengths)
        of, first, last = share_of(lengths[due], sharing, t)
        find_plastic(shared, synapses, found[due, of, first:last], i, t)


@kernel
def deliver(neurons, synapses, model, threads, run, shared, t, step):
    """7. and 8. Add what acts in step + 1 to the currents of the neurons of thread t."""
    low, high, period = threads.bounds[t], threads.bounds[t + 1], model.period
    if step % period == 0:
        apply_decay(neurons.U_P, model.decay_P[period], low, high)
        apply_decay(neurons.U_E, model.decay_E[period : period + 1], low, high)
        if not model.one_static_current:
            apply_decay(neurons.U_I, model.decay_I[period : period + 1], low, high)
    k = steps_since_decay(step + 1, period)
    gain_E, gain_I, gain_P = model.gain_E[k], model.gain_I[k], model.gain_P[k]
    found, length, delays = threads.arrived, threads.arrived_length, synapses.plastic_delays
    depth, others = length.shape[:2]
    for i in range(len(delays)):
        due = (step + 1 - delays[i]) % depth
        for other in range(others):
            for m in range(min(PLASTIC_TOGETHER, length[due, other, 0])):
                prefetch_outputs(synapses, found[due, other, m] * len(delays) + i)
    listed = synapses.low.size == 0
    if shared is not None:  # noqa: SIM102 (Numba leaves out only what a test for None alone decides)
        if complete(shared, 0):
            add_static(neurons.U_E, neurons.U_I, shared, gain_E, gain_I, t)
            listed = True
    if not listed:
        for other in range(others):
            spiked = found[step % depth, other, : length[step % depth, other, 0]]
            deliver_static(neurons.U_E, neurons.U_I, synapses, gain_E, gain_I, spiked, low, high)
    for i in range(len(delays)):
        if shared is not None:  # noqa: SIM102
            if complete(shared, 1 + i):
                add_plastic(neurons.U_P, shared, gain_P, i, t)
                continue
        due = (step + 1 - delays[i]) % depth
        for other in range(others):
            spiked = found[due, other, : length[due, other, 0]]
            deliver_plastic(neurons.U_P, synapses, gain_P, spiked, i, low, high)
    for delay in synapses.delays:
        due = (step + 1 - delay) % depth
        for other in range(others):
            spiked = found[due, other, : length[due, other, 0]]
            deliver_edges(neurons.U_E, neurons.U_I, synapses, gain_E, gain_I, spiked, delay, low, high)
    if len(model.background_weight) > 0:
        stream, words = Stream(model.background_purpose, model.key0, model.key1), threads.words[t]
        table, weight = model.background_table, model.background_weight
        U_E, U_I, bounds, trial, origin = neurons.U_E, neurons.U_I, synapses.post_bounds, run.trial, model.origin
        to = U_E, U_I, bounds
        deliver_background(*to, table, weight, gain_E, gain_I, stream, trial, step, words, origin, low, high)
    deliver_feedforward(neurons.U_P, synapses.w, gain_P, run.s_X[step - run.first], low, high)


@kernel
def apply_decay(U, decay, first, last):
    """U <- U f^k; `decay` is f^k of all neurons, (1,), or of each, (N padded,)."""
    f = splat(decay[0])
    zero = splat(zero_of(decay))
    for c in range(first, last, LANES):
        if len(decay) > 1:
            f = load(decay, c)
        store(U, c, fma(f, load(U, c), zero))


@kernel
def add_scaled(total, xi, scale, count):
    """Total <- total + scale xi, for `count` neurons from the beginning of each."""
    factor = splat(scale)
    for c in range(0, count, LANES):
        x = load(total, c)
        store(total, c, fma(factor, cast(load(xi, c), x), x))


@kernel
def advance_stimulus(X_stim, before, xi, model, first, last):
    """X_stim = before + b (mu - before) dt + sigma sqrt(dt) xi."""
    mu, b_dt, scale = splat(model.mu), splat(model.b_dt), splat(model.stimulus_scale)
    for c in range(first, last, LANES):
        x = load(before, c)
        store(X_stim, c, fma(scale, cast(load(xi, c - first), x), fma(b_dt, minus(mu, x), x)))


@kernel
def stimulate(X, X_bal, X_stim, first, last):
    """X = X_bal + X_stim."""
    for c in range(first, last, LANES):
        store(X, c, plus(load(X_bal, c), load(X_stim, c)))
