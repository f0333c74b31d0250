"""The simulation of a network: its synapses and neurons, and calls of the compiled steps.

In: a `Problem`, and arrays as `rlsbench_numba.arrays` declares them.  Out: currents, filtered
spikes and recorded spikes.  Knows nothing of P.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import SpikeTrain
from rlsbench.problem import Problem
from rlsbench.streams import Purpose, key_from_seed
from rlsbench_numba import steps
from rlsbench_numba.arrays import FILTERED, STATE, Floats, New, aligned, thread_ranges
from rlsbench_numba.compiling import use_threads
from rlsbench_numba.exchange import exchange_of
from rlsbench_numba.lookup import shared_lists
from rlsbench_numba.neurons import compiled, constants
from rlsbench_numba.static_shard import draw_shard
from rlsbench_numba.synapses import Outputs, Synapses, as_edges, draw_sources, draw_static, static_edges, transpose
from rlsbench_numba.tuning import DECAY_BITS, DECAY_STEPS, DECAY_STEPS_PER_NEURON, GROUP

NOISE = {"none": steps.NO_NOISE, "voltage": steps.VOLTAGE_NOISE, "current": steps.CURRENT_NOISE}
INTEGERS = ("updated", "refractory_count", "counts", "recorded")


class Simulation:
    """A network, and where it is in a trial: `step` is the last one that was run."""

    def __init__(self, problem: Problem, precision: str, threads: int, new: New) -> None:
        self.problem, p = problem, problem
        dtype = np.dtype(precision)
        self.w = new("w")  # plastic weights (N, width), padded with zeros; an update changes them
        self.w[:] = 0
        self.part, self.own = part, own = p.own_part, p.own
        self.w[:, : p.n] = part.plastic.initial_weights
        row_start = np.empty(0, np.int64)
        J, J_own = np.zeros(2 * (len(p.populations),), dtype), np.empty((0, 0), dtype)
        static = None if as_edges(p) else p.static
        if static:
            J[:] = static.weights
        if static and static.own_weights is not None:
            J_own = np.ascontiguousarray(static.own_weights, dtype)
        block_start = new("block_start")
        if static and p.ranks.spread:
            low, row_start = draw_shard(p, block_start)
        else:
            low = new("low") if static else np.empty(0, np.uint16)
            if static:
                draw_static(low, block_start, p.seed)
        self.sources = new("sources")  # (N, 2 L), delay lines
        draw_sources(self.sources, part.plastic, p.seed, own.start)
        self.outputs = Outputs(new("start"), new("post"), new("column"))
        transpose(self.outputs, self.sources, p.plastic.feedforward, threads)
        of, edges = p.populations, static_edges(p, dtype)
        post_bounds = np.clip(of.bounds, own.start, own.stop) - own.start
        outputs = 0 if len(row_start) or static is None else static.outputs
        drawn = (low.reshape(-1), outputs, row_start, block_start, J, J_own, *self.outputs, self.w)
        self.synapses = Synapses(of.bounds, post_bounds, of.signs, *drawn, p.plastic.delays, **edges._asdict())
        self.exchange = exchange_of(p)
        bounds = thread_ranges(own.stop - own.start, threads)
        self.threads = len(bounds) - 1
        spiked, length = new("spiked"), np.zeros((p.longest_delay + 1, self.threads, 8), np.int64)
        self.lists = steps.Threads(
            bounds=bounds,
            spiked=spiked,
            length=length,
            arrived=new("arrived") if p.ranks.spread else spiked,
            arrived_length=np.zeros_like(length[:, :1]) if p.ranks.spread else length,
            words=aligned((self.threads, 4, GROUP // 4), np.dtype(np.uint64)),
            normals=aligned((self.threads, GROUP), np.dtype(np.float64)),
            u=aligned((self.threads, GROUP), dtype),
        )
        self.lists.normals.fill(0)  # of lanes beyond the last neuron, too
        self.shared = shared_lists(bounds, new)
        self.model = _model(p, dtype, *(new(name) for name in ("decay_P", "gain_P", "gain_r", "varying")))
        self.neurons = _neurons(p, new)
        self.task, self.stimulus_known = 0, 0  # the last step of which X_stim of this task is kept
        self.r_X = np.zeros(p.plastic.feedforward, dtype)  # filtered spikes of the feed-forward inputs, 1/ms
        self.s_X = np.zeros_like(self.r_X)

    def begin_trial(self, trial: int, task: int, record: NDArray[np.int64]) -> None:
        """Put the network into its state at t = 0; see `rlsbench.backend.Trainer`."""
        p, s = self.problem, self.neurons
        if task != self.task:
            self.stimulus_known = 0
        self.trial, self.task, self.step = trial, task, 0
        for name, array in s._asdict().items():
            if name not in ("state", "v", "X", "X_bal", "X_stim"):
                array.fill(0)
        for array in (self.r_X, self.s_X, self.lists.length, self.lists.arrived_length):
            array.fill(0)
        if self.exchange is not None:
            self.exchange.clock.fill(0)
        s.X[:] = s.X_bal
        s.X_stim[0] = p.stimulus.mu if p.stimulus else 0.0
        s.state[:, : len(s.counts)] = self.part.neuron.initial_state(p.initial_voltage_normals(trial))
        own = record[(record >= self.own.start) & (record < self.own.stop)] - self.own.start
        s.recorded[own] = True
        self.record_count = len(own)
        self.recorded: list[SpikeTrain] = []
        self.samples = 1, np.empty(0, np.int64), False, self.w[:0]

    def sum_currents(self, rows: NDArray[np.int64], every: int, plastic_only: bool) -> Floats:
        """Sums of currents, (rows, N), that further steps of this trial are added to."""
        shape = rows.max(initial=-1) + 1, self.own.stop - self.own.start
        self.samples = every, rows, plastic_only, np.zeros(shape, self.w.dtype)
        return self.samples[-1]

    def advance(self, first: int, last: int, spikes: SpikeTrain | None = None) -> None:
        """Run the steps first .. last; `spikes` replace those of the network."""
        use_threads(self.threads)
        p = self.problem
        s_X = np.zeros((last - first + 1, 0), np.bool_)
        if p.feedforward:
            s_X = p.feedforward.spikes(p.seed, self.trial, self.task, first, last)
        replay, bounds = np.empty(0, np.int32), np.empty(0, np.int64)
        if spikes is not None:
            here = (spikes.neuron >= self.own.start) & (spikes.neuron < self.own.stop)
            given = SpikeTrain(spikes.step[here], spikes.neuron[here] - np.int32(self.own.start))
            replay, bounds = np.ascontiguousarray(given.neuron, np.int32), given.bounds(first, last)
        stimulated = min(last, p.stimulus.off - 1) if p.stimulus else 0
        known = stimulated <= self.stimulus_known
        run = steps.Run(first, last, self.trial, self.task, s_X, replay, bounds, known, *self.samples)
        capacity = len(s_X) * self.record_count
        record = steps.Record(np.empty((self.threads, capacity, 2), np.int32), np.zeros((self.threads, 8), np.int64))
        steps.advance(self.neurons, self.synapses, self.model, self.lists, run, record, self.exchange, self.shared)
        self.step = last
        if len(self.neurons.X_stim) > 1:
            self.stimulus_known = max(self.stimulus_known, stimulated)
        for found, count in zip(record.spikes, record.length[:, 0], strict=True):
            if count:
                self.recorded.append(SpikeTrain(found[:count, 0].copy(), found[:count, 1] + np.int32(self.own.start)))
        if p.feedforward:
            # 3. r_X += (-dt r_X + s_X)/tau, with the spikes of the previous step
            for s_now in s_X:
                self.r_X += (self.s_X - p.clock.dt_ms * self.r_X) / p.feedforward.tau_ms
                self.s_X = s_now.astype(self.r_X.dtype)


def _neurons(p: Problem, new: New) -> steps.Neurons:
    """The state of the neurons, not yet that of a trial."""
    arrays = {name: new(name) for name in (*STATE, *FILTERED) if name != "U_I"}
    arrays["U_I"] = arrays["U_E"] if p.tau_E_ms == p.tau_I_ms else new("U_I")
    arrays |= {name: new(name) for name in INTEGERS}
    arrays |= {name: new(name) for name in ("state", "X_stim")}
    arrays["v"] = arrays["state"][0]
    # Padding stays at the reset voltage, and so below the threshold of the published model.
    for name in ("state", "X", "X_bal"):
        arrays[name].fill(np.mean(p.neuron.reset_voltage))
    own = p.own_part.external_current
    arrays["X_bal"][: len(own)] = own
    return steps.Neurons(**arrays)


def _model(
    p: Problem, dtype: np.dtype[Any], decay_P: Floats, gain_P: Floats, gain_r: Floats, varying: Floats
) -> steps.Model:
    """The parameters in the precision of the state; fills the tables and what varies by neuron."""
    dt, stimulus, part = p.clock.dt_ms, p.stimulus, p.own_part
    tau_r, tau_P = (np.atleast_1d(np.asarray(tau, np.float64)) for tau in (p.tau_plas_ms, part.tau_plas_ms))
    if each := len(tau_r) > 1:
        tau_P = np.resize(tau_P, decay_P.shape[1])
    tau_E, tau_I = np.array([p.tau_E_ms]), np.array([p.tau_I_ms])
    f_E, f_I, f_P, f_r = (1.0 - dt / tau for tau in (tau_E, tau_I, tau_P, tau_r))
    period = _period(min(f.min() for f in (f_E, f_I, f_r)), each=each)  # the same on all ranks
    k = np.arange(period + 1)
    decay_P[: period + 1] = f_P ** k[:, None]
    gain_P[: period + 1] = 1.0 / (tau_P * f_P ** k[:, None])
    gain_r[:] = 1.0 / tau_r
    for row, name in zip(varying, part.neuron.varying, strict=False):
        row[:] = np.resize(part.neuron.values[name], row.shape)
    (key0, key1), real = key_from_seed(p.seed), dtype.type
    return steps.Model(
        one_static_current=p.tau_E_ms == p.tau_I_ms,
        period=period,
        decay_E=(f_E**k).astype(dtype),
        decay_I=(f_I**k).astype(dtype),
        decay_P=decay_P,
        gain_E=(1.0 / (tau_E * f_E**k)).astype(dtype),
        gain_I=(1.0 / (tau_I * f_I**k)).astype(dtype),
        gain_P=gain_P,
        gain_r=gain_r,
        log_decay_r=np.log(f_r),
        advance_group=compiled(part.neuron, dtype.name),
        constants=constants(part.neuron, dt),
        varying=varying,
        refractory_steps=p.refractory_steps,
        noise_kind=NOISE[p.noise.kind] if p.noise.scale else steps.NO_NOISE,
        noise_scale=real(p.noise.scale),
        mu=real(stimulus.mu if stimulus else 0.0),
        b_dt=real(stimulus.decay if stimulus else 0.0),
        stimulus_scale=real(stimulus.scale if stimulus else 0.0),
        stimulus_on=stimulus.on if stimulus else -1,
        stimulus_off=stimulus.off if stimulus else -1,
        background_table=p.background.table if p.background else np.empty((0, 0), np.uint64),
        background_weight=np.array(p.background.weights if p.background else (), dtype),
        background_purpose=int(Purpose.BACKGROUND),
        noise_purpose=int(Purpose.NOISE),
        stimulus_purpose=int(Purpose.STIMULUS),
        key0=key0,
        key1=key1,
        origin=p.own.start,
    )


def _period(smallest: float, *, each: bool) -> int:
    """Steps between two decays: few enough that no current decays by more than 2^DECAY_BITS."""
    most = DECAY_STEPS_PER_NEURON if each else DECAY_STEPS
    return max(1, min(most, int(DECAY_BITS * np.log(2) / -np.log(smallest))))
