"""The trainer of the backend `numba`: arrays, and calls of the kernels.

In: a `Problem` and `Options`.  Out: a `Trainer`.  Imports Numba.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import Block, Cost, Options, Sizes, SpikeTrain, State, Trainer, plain_cost
from rlsbench.errors import UnsupportedError
from rlsbench.problem import Problem
from rlsbench.streams import Purpose, key_from_seed
from rlsbench_numba import simulation
from rlsbench_numba.backend import TARGETS_IN_MEMORY, choose_algorithm
from rlsbench_numba.compiling import use_threads
from rlsbench_numba.costs import blas_cost, event_cost
from rlsbench_numba.lanes import LANES
from rlsbench_numba.matrices import aligned, padded
from rlsbench_numba.normals import normals_scratch
from rlsbench_numba.simulation import ALIGN, GROUP, Inputs, Lists, Neurons, Synapses
from rlsbench_numba.synapses import draw_sources, draw_static, turn_round
from rlsbench_numba.updates import Blas, Event, Frozen, Plain, Update, Wiring

Floats = NDArray[np.floating[Any]]

__all__ = ["NumbaTrainer"]

NEURONS_PER_THREAD = 5000  # fewer are better simulated by one thread: threads meet after each step


class NumbaTrainer(Trainer):
    """The arrays of a network, and an `Update` with its P."""

    def __init__(self, problem: Problem, options: Options, *, blas: bool = False) -> None:
        self.blas = blas
        N, p, dtype = problem.neurons, problem, np.dtype(options.precision)
        if p.n > np.iinfo(np.uint16).max:
            raise UnsupportedError(f"{p.n} plastic inputs a neuron: this backend numbers them in 16 bits")
        algorithm, notes = choose_algorithm(Sizes.of_problem(problem), options, blas=blas)
        super().__init__(problem, replace(options, algorithm=algorithm), notes)
        use_threads(options.threads)
        plastic = p.plastic
        static = draw_static(p.static, N, p.seed)
        sources = draw_sources(plastic, p.seed)
        outputs = turn_round(sources, plastic.feedforward, options.threads)
        if algorithm == "event" or p.targets is None:
            sources = sources[:0]  # the event form does without
        w = aligned((N, padded(p.n, LANES)), dtype)
        w[:] = 0
        w[:, : p.n] = plastic.initial_weights
        J, J_own = np.zeros((2, 2), dtype), np.empty((0, 0), dtype)
        if p.static:
            J[:] = p.static.weights
            if p.static.own_weights is not None:
                J_own = np.ascontiguousarray(p.static.own_weights, dtype)
        self.synapses = Synapses(static.low, static.start, J, J_own, outputs.start, outputs.post, outputs.column, w)
        self.inputs = _inputs(p, dtype)
        self.simulation_threads = max(1, min(options.threads, N // NEURONS_PER_THREAD))
        self.bounds = _ranges(N, self.simulation_threads)
        widest = int(np.diff(self.bounds).max())
        self.lists = Lists(
            np.empty((2, self.simulation_threads, widest), np.int32),
            np.zeros((2, self.simulation_threads, 8), np.int64),
            normals_scratch(self.simulation_threads),
            np.zeros((self.simulation_threads, GROUP)),
            np.zeros((self.simulation_threads, GROUP), dtype),
        )
        self.neurons = _neurons(p, dtype, one_static_current=self.inputs.one_static_current)
        self.r_X, self.s_X = (np.zeros(plastic.feedforward, dtype) for _ in range(2))
        self.step = 0
        self.targets_of = -1
        self.update: Update = Frozen()
        if p.targets is not None:
            kind = Event if algorithm == "event" else (Blas if blas else Plain)
            self.update = kind(problem, options, Wiring(w, sources, outputs))
        self.begin_trial(0, 0, np.empty(0, np.int64))

    @property
    def w(self) -> Floats:
        """Plastic weights, (N, n)."""
        return self.synapses.w[:, : self.problem.n]

    def begin_trial(self, trial: int, task: int, record: NDArray[np.int64]) -> None:
        use_threads(self.options.threads)
        p, s = self.problem, self.neurons
        self.trial, self.task, self.step = trial, task, 0
        for name in _ZERO_AT_FIRST:
            getattr(s, name).fill(0)
        for array in (self.r_X, self.s_X, self.lists.length):
            array.fill(0)
        s.X[:] = s.X_bal
        s.X_stim.fill(p.stimulus.mu if p.stimulus else 0.0)
        s.v[: p.neurons] = p.neuron.initial_state(p.initial_voltage_normals(trial))[0]
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
            feedforward = p.feedforward.spikes(p.seed, self.trial, self.task, first, last)
        replay, bounds = np.empty(0, np.int32), np.empty(0, np.int64)
        if spikes is not None:
            replay, bounds = np.ascontiguousarray(spikes.neuron, np.int32), spikes.bounds(first, last)
        kept = np.empty((self.simulation_threads, steps * self.record_count, 2), np.int32)
        alone = self.simulation_threads == 1
        counts = (simulation.advance_alone if alone else simulation.advance)(
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
        self.step = last
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
        f = self._targets(bin)
        self.update.learn(self.neurons, self.inputs.log_decay_P, self.step, self.r_X, f)

    def _targets(self, bin: int) -> Floats:
        """Targets at one bin, (N,): from memory where those of all bins take little."""
        targets, dtype = self.problem.targets, self.w.dtype
        assert targets is not None
        if targets.bins * self.problem.neurons * dtype.itemsize > TARGETS_IN_MEMORY:
            return targets.row(self.task, bin).astype(dtype)
        if self.targets_of != self.task:
            self.targets, self.targets_of = targets.matrix(self.task).astype(dtype), self.task
        row: Floats = self.targets[bin]
        return row

    def rls_update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        use_threads(self.options.threads)
        x, u_bal, f = (np.ascontiguousarray(a, self.w.dtype) for a in (x, u_bal, f))
        self.update.rls_update(x, u_bal, f)

    def currents(self) -> tuple[Floats, Floats]:
        N = self.problem.neurons
        return self.neurons.u_bal[:N], self.neurons.u_P[:N]

    def spike_counts(self) -> NDArray[np.int64]:
        return self.neurons.counts

    def recorded_spikes(self) -> SpikeTrain:
        return SpikeTrain.join(self.kept)

    def weights(self) -> Floats:
        return self.w.copy()

    def state(self) -> State:
        use_threads(self.options.threads)
        return State(self.w.copy(), self.update.P())

    def restore(self, state: State) -> None:
        self.w[:] = state.w
        self.update.set_P(state.full() if self.options.storage == "full" else state.packed())

    def settle(self) -> None:
        use_threads(self.options.threads)
        self.update.settle()

    def block(self, first: int, last: int) -> Block:
        P, unit = self.update.part(first, last)
        return Block(self.w[first:last], P, unit, self.options.p_precision)

    def load_block(self, first: int, block: Block) -> None:
        self.w[first : first + len(block.w)] = block.w
        self.update.set_part(first, block)

    def gain(self) -> Floats | None:
        return self.update.gain()

    def update_cost(self, spiked: float) -> Cost:
        """What one update of one neuron moves and computes, with that many inputs that spiked since the last."""
        n, options = self.problem.n, self.options
        if self.blas:
            return blas_cost(n, options)
        return event_cost(n, options, spiked) if options.algorithm == "event" else plain_cost(n, options)


_ZERO_AT_FIRST = (
    *("u_bal", "u_P", "U_E", "U_I", "U_P"),
    *("r", "rise", "updated", "refractory", "waiting", "counts"),
)


def _neurons(p: Problem, dtype: np.dtype[Any], *, one_static_current: bool) -> Neurons:
    """The state of the neurons, not yet that of a trial."""
    N = p.neurons
    many = padded(N, LANES)
    # What pads the voltages stays at the reset voltage, and so below the threshold.
    X_bal = np.full(many, float(p.neuron.reset_voltage), dtype)  # type: ignore[attr-defined]
    X_bal[:N] = p.external_current
    arrays: dict[str, Any] = {name: np.zeros(many, dtype) for name in Neurons._fields}
    arrays |= {
        "v": X_bal.copy(),
        "X": X_bal.copy(),
        "X_bal": X_bal,
        "updated": np.zeros(N, np.int32),
        "waiting": np.zeros(-(-N // GROUP), np.int32),
        "counts": np.zeros(N, np.int64),
        "recorded": np.zeros(N, np.bool_),
    }
    if one_static_current:
        arrays["U_I"] = arrays["U_E"]
    return Neurons(**arrays)


def _inputs(p: Problem, dtype: np.dtype[Any]) -> Inputs:
    """The numbers of the model in the precision of the state."""
    dt, stimulus = p.clock.dt_ms, p.stimulus
    tau_E, tau_I, tau_P = (np.atleast_1d(np.asarray(t, np.float64)) for t in (p.tau_E_ms, p.tau_I_ms, p.tau_plas_ms))
    neuron: Any = p.neuron
    kinds = {"none": simulation.NO_NOISE, "voltage": simulation.VOLTAGE_NOISE, "current": simulation.CURRENT_NOISE}
    key0, key1 = key_from_seed(p.seed)
    noise_kind = kinds[p.noise.kind] if p.noise.scale else simulation.NO_NOISE
    if len(tau_P) > 1:
        tau_P = np.resize(tau_P, padded(p.neurons, LANES))
    f_E, f_I, f_P = (1.0 - dt / tau for tau in (tau_E, tau_I, tau_P))
    period = _period(min(f.min() for f in (f_E, f_I, f_P)), many=len(tau_P) > 1)
    k = np.arange(period + 1)
    return Inputs(
        excitatory=p.excitatory,
        one_static_current=p.tau_E_ms == p.tau_I_ms,
        period=period,
        scale_E=(f_E**k).astype(dtype),
        scale_I=(f_I**k).astype(dtype),
        scale_P=(f_P ** k[:, None]).astype(dtype),
        enter_E=(1.0 / (tau_E * f_E**k)).astype(dtype),
        enter_I=(1.0 / (tau_I * f_I**k)).astype(dtype),
        enter_P=(1.0 / (tau_P * f_P ** k[:, None])).astype(dtype),
        gain_P=(1.0 / tau_P).astype(dtype),
        log_decay_P=np.log(f_P),
        neuron=np.array([dt / neuron.tau_m_ms, neuron.threshold, neuron.reset_voltage], dtype),
        refractory_steps=p.refractory_steps,
        noise_kind=noise_kind,
        noise_scale=np.array([p.noise.scale], dtype),
        stimulus=np.array([stimulus.mu, stimulus.decay, stimulus.scale] if stimulus else [0.0, 0.0, 0.0], dtype),
        stimulus_on=stimulus.on if stimulus else -1,
        stimulus_off=stimulus.off if stimulus else -1,
        noise_purpose=int(Purpose.NOISE),
        stimulus_purpose=int(Purpose.STIMULUS),
        key0=key0,
        key1=key1,
    )


def _period(smallest: float, *, many: bool) -> int:
    """Steps after which currents are brought up to date: few enough that none decays by more than 2^20."""
    most = 8 if many else 64
    return max(1, min(most, int(20 * np.log(2) / -np.log(smallest))))


def _ranges(N: int, threads: int) -> NDArray[np.int64]:
    """Each thread's range of neurons, (threads + 1,): whole multiples of ALIGN, but for the last."""
    groups = -(-N // ALIGN)
    return np.minimum((np.arange(threads + 1) * groups // threads) * ALIGN, N)
