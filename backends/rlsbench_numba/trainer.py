"""The trainer of the backend `numba`: arrays, and calls of the kernels.

In: a `Problem` and `Options`.  Out: a `Trainer`.  Imports Numba.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import Options, SpikeTrain, State
from rlsbench.problem import Problem
from rlsbench.streams import Purpose, key_from_seed
from rlsbench_numba import simulation
from rlsbench_numba.compiling import use_threads
from rlsbench_numba.normals import normals_scratch
from rlsbench_numba.simulation import ALIGN, GROUP, Inputs, Lists, Neurons, Synapses
from rlsbench_numba.updates import Blas, Event, Plain, Update, why_not_event

Floats = NDArray[np.floating[Any]]

__all__ = ["NumbaTrainer"]

NEURONS_PER_THREAD = (
    8192  # fewer are better simulated by one thread: threads meet after each step, and on a busy machine wait
)


class NumbaTrainer:
    """P neuron-major, (N, n, n) or (N, n(n+1)/2); everything else as arrays of the kernels' named tuples."""

    def __init__(self, problem: Problem, options: Options, *, blas: bool = False) -> None:
        self.problem = problem
        lacking = "it is BLAS that updates here" if blas else why_not_event(problem, options)
        algorithm = "plain" if lacking or options.algorithm == "plain" else "event"
        self.options = replace(options, algorithm=algorithm)
        self.notes = (
            [f"takes the plain update, not event: {lacking}"] if options.algorithm == "event" and lacking else []
        )
        N, p, dtype = problem.neurons, problem, np.dtype(options.precision)
        use_threads(options.threads)
        plastic = p.plastic
        self.sources = plastic.sources()
        self.w = np.tile(plastic.initial_weights.astype(dtype), (N, 1))
        P0 = p.learning.initial_P(plastic).astype(options.p_precision)
        if options.storage == "packed":
            P0 = P0[np.tril_indices(plastic.n)]
        self.P = np.empty((N, *P0.shape), P0.dtype)
        self.P[:] = P0
        outputs = plastic.outputs(self.sources)
        self.synapses = Synapses(
            p.static.targets() if p.static else np.empty((N, 0), np.int32),
            np.array(p.static.weights if p.static else np.zeros((2, 2)), dtype),
            outputs.start,
            outputs.post,
            outputs.column,
            self.w,
        )
        self.inputs = _inputs(p, dtype)
        self.simulation_threads = max(1, min(options.threads, N // NEURONS_PER_THREAD))
        self.bounds = _ranges(N, self.simulation_threads)
        widest = int(np.diff(self.bounds).max())
        self.lists = Lists(
            np.empty((2, self.simulation_threads, widest), np.int32),
            np.zeros((2, self.simulation_threads, 8), np.int64),
            normals_scratch(self.simulation_threads),
            np.empty((self.simulation_threads, GROUP), dtype),
        )
        self.neurons = _neurons(p, dtype)
        self.r_X, self.s_X = (np.zeros(plastic.feedforward, dtype) for _ in range(2))
        self.update: Update
        if algorithm == "event":
            self.update = Event(problem, options, self.P, self.w, outputs)
        elif blas:
            self.update = Blas(problem, options, self.P, self.w, self.sources)
        else:
            self.update = Plain(problem, options, self.P, self.w, self.sources)
        self.begin_trial(0, 0, np.empty(0, np.int64))

    def begin_trial(self, trial: int, task: int, record: NDArray[np.int64]) -> None:
        p, s = self.problem, self.neurons
        self.trial, self.task = trial, task
        for array in (
            s.u_E,
            s.u_I,
            s.u_P,
            s.u_bal,
            s.r,
            s.s,
            s.in_E,
            s.in_I,
            s.in_P,
            s.refractory,
            s.counts,
            self.r_X,
            self.s_X,
        ):
            array.fill(0)
        s.X[:] = s.X_bal
        s.X_stim.fill(p.stimulus.mu if p.stimulus else 0.0)
        s.v[:] = p.neuron.initial_state(p.initial_voltage_normals(trial))[0]
        s.recorded.fill(False)
        s.recorded[record] = True
        self.record_count = len(record)
        self.kept: list[SpikeTrain] = []
        self.update.begin_trial()

    def advance(self, first: int, last: int, spikes: SpikeTrain | None = None) -> None:
        use_threads(self.simulation_threads)
        p, steps = self.problem, last - first + 1
        feedforward = np.zeros((steps, 0), np.bool_)
        if p.feedforward:
            feedforward = p.feedforward.spikes(self.trial, self.task, first, last)
        replay, bounds = np.empty(0, np.int32), np.empty(0, np.int64)
        if spikes is not None:
            replay, bounds = np.ascontiguousarray(spikes.neuron, np.int32), spikes.bounds(first, last)
        kept = np.empty((self.simulation_threads, steps * self.record_count, 2), np.int32)
        counts = simulation.advance(
            self.neurons,
            self.synapses,
            self.inputs,
            self.lists,
            self.bounds,
            first,
            last,
            self.trial,
            self.task,
            feedforward,
            replay,
            bounds,
            kept,
        )
        self.kept += [SpikeTrain(k[:c, 0].copy(), k[:c, 1].copy()) for k, c in zip(kept, counts, strict=True) if c]
        if p.feedforward:
            self._filter_feedforward(feedforward)

    def _filter_feedforward(self, spikes: NDArray[np.bool_]) -> None:
        """Advance r_X by the steps of `spikes`; a spike counts from the next step on, as it does in r."""
        feedforward = self.problem.feedforward
        assert feedforward is not None
        for s_X in spikes:
            self.r_X += (self.s_X - self.problem.clock.dt_ms * self.r_X) / feedforward.tau_ms
            self.s_X = s_X.astype(self.r_X.dtype)

    def learn(self, bin: int) -> None:
        use_threads(self.options.threads)
        targets = self.problem.targets
        assert targets is not None
        f = targets.row(self.task, bin).astype(self.w.dtype)
        self.update.learn(self.neurons, self.r_X, f)

    def rls_update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        use_threads(self.options.threads)
        x, u_bal, f = (np.ascontiguousarray(a, self.w.dtype) for a in (x, u_bal, f))
        self.update.rls_update(x, u_bal, f)

    def currents(self) -> tuple[Floats, Floats]:
        return self.neurons.u_bal, self.neurons.u_P

    def spike_counts(self) -> NDArray[np.int64]:
        return self.neurons.counts

    def recorded_spikes(self) -> SpikeTrain:
        return SpikeTrain.join(self.kept)

    def state(self) -> State:
        return State(self.w.copy(), self.update.written().copy())

    def restore(self, state: State) -> None:
        self.update.written()
        self.w[:] = state.w
        self.P[:] = state.full() if self.P.ndim == 3 else state.packed()
        self.update.replaced()

    def synchronize(self) -> None:
        pass


def _neurons(p: Problem, dtype: np.dtype[Any]) -> Neurons:
    """The state of the neurons, not yet that of a trial."""
    N = p.neurons
    X_bal = p.external_current.astype(dtype)
    arrays: dict[str, Any] = {name: np.zeros(N, dtype) for name in Neurons._fields}
    arrays |= {
        "X": X_bal.copy(),
        "X_bal": X_bal,
        "refractory": np.zeros(N, np.int32),
        "counts": np.zeros(N, np.int64),
        "recorded": np.zeros(N, np.bool_),
        "fresh": np.zeros(N, np.bool_),
    }
    return Neurons(**arrays)


def _inputs(p: Problem, dtype: np.dtype[Any]) -> Inputs:
    """The numbers of the model in the precision of the state."""
    dt, stimulus = p.clock.dt_ms, p.stimulus
    tau_E, tau_I, tau_P = (np.atleast_1d(np.asarray(t, np.float64)) for t in (p.tau_E_ms, p.tau_I_ms, p.tau_plas_ms))
    neuron: Any = p.neuron
    kinds = {"none": simulation.NO_NOISE, "voltage": simulation.VOLTAGE_NOISE, "current": simulation.CURRENT_NOISE}
    key0, key1 = key_from_seed(p.seed)
    return Inputs(
        excitatory=p.excitatory,
        decay_E=(1.0 - dt / tau_E).astype(dtype),
        decay_I=(1.0 - dt / tau_I).astype(dtype),
        decay_P=(1.0 - dt / tau_P).astype(dtype),
        gain_E=(1.0 / tau_E).astype(dtype),
        gain_I=(1.0 / tau_I).astype(dtype),
        gain_P=(1.0 / tau_P).astype(dtype),
        neuron=np.array([dt / neuron.tau_m_ms, neuron.threshold, neuron.reset_voltage], dtype),
        refractory_steps=p.refractory_steps,
        noise_kind=kinds[p.noise.kind] if p.noise.scale else simulation.NO_NOISE,
        noise_scale=np.array([p.noise.scale], dtype),
        stimulus=np.array([stimulus.mu, stimulus.decay, stimulus.scale] if stimulus else [0.0, 0.0, 0.0], dtype),
        stimulus_on=stimulus.on if stimulus else -1,
        stimulus_off=stimulus.off if stimulus else -1,
        noise_purpose=int(Purpose.NOISE),
        stimulus_purpose=int(Purpose.STIMULUS),
        key0=key0,
        key1=key1,
    )


def _ranges(N: int, threads: int) -> NDArray[np.int64]:
    """Each thread's range of neurons, (threads + 1,): whole multiples of ALIGN, but for the last."""
    groups = -(-N // ALIGN)
    return np.minimum((np.arange(threads + 1) * groups // threads) * ALIGN, N)
