"""The steps of a trial on the device (docs/model.md section 2): arrays, launches, and graphs.

In: a `Problem` and a `Device`.  Out: the network's state, advanced.  Knows no P.

A step is two launches, `step` and `deliver`. Which step it is stands in device memory, so a graph
of steps that was captured once serves at any step of any trial. Within a trial nothing is
allocated, and nothing waits for the device. Between the two, ranks exchange the spikes of a step by
the host, so there are no graphs then; neurons, arrays of N and post-synaptic neurons are those of
the rank, and counted from the first of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import Arrays, SpikeTrain
from rlsbench.errors import UnsupportedError
from rlsbench.network import Populations
from rlsbench.problem import Problem
from rlsbench.streams import key_from_seed
from rlsbench_cupy import tuning
from rlsbench_cupy.compiling import compiled
from rlsbench_cupy.device import Array, Device, grid_of
from rlsbench_cupy.exchange import Exchange
from rlsbench_cupy.groups import Arriving, Clock, Constants, Feedforward, Spikes, State, Synapses
from rlsbench_cupy.neurons import code
from rlsbench_cupy.synapses import draw_onto_rank, draw_sources, draw_static, static_weights, transpose
from rlsbench_cupy.tuning import BLOCK, COPIED_BYTES, GRAPHS, SPIKES_KEPT, STEPS_AT_ONCE

STATIC_AT_MOST: Final = 60_000
"""Static targets of a neuron; spikes from one population in a step are counted in 16 bits."""

NEVER: Final = -(1 << 30)
"""Step of the last spike or update if there was none; as in kernels/model.cuh."""

C_TYPES: Final = {"float64": "double", "float32": "float"}

NOISE_KINDS: Final = {"none": 0, "voltage": 1, "current": 2}


def model_macros(p: Problem, precision: str, normals: str = "float64") -> dict[str, object]:
    """Constants and features of a problem, as macros for kernels/model.cuh."""
    static, stimulus, feedforward, neuron = p.static, p.stimulus, p.feedforward, p.neuron
    J = np.array(static.weights if static and static.by_sign else np.zeros((2, 2)), np.float64).ravel().tolist()
    each = isinstance(p.tau_plas_ms, np.ndarray)
    return {
        "REAL": C_TYPES[precision],
        "NORMAL": C_TYPES[normals],
        "N_INPUTS": p.n,
        "LX": p.plastic.feedforward,
        "SPREAD": p.ranks.spread,
        "STATIC_EACH": static.outputs if static else 0,
        **population_macros(p.populations),
        "BACKGROUND_ENTRIES": p.background.table.shape[1] if p.background else 0,
        "ONE_CURRENT": p.tau_E_ms == p.tau_I_ms,
        "OWN_WEIGHTS": static is not None and not static.by_sign,
        "TAU_EACH": each,
        "NOISE_KIND": NOISE_KINDS[p.noise.kind],
        "NOISE_SCALE": float(p.noise.scale),
        "DT": float(p.clock.dt_ms),
        "LIF": neuron.plain,
        "TAU_M": float(neuron.tau_m_ms) if neuron.plain else 1.0,
        "TAU_E": float(p.tau_E_ms),
        "TAU_I": float(p.tau_I_ms),
        "TAU_PLAS": 1.0 if each else float(p.tau_plas_ms),
        "TAU_X": float(feedforward.tau_ms) if feedforward else 1.0,
        "THRESHOLD": float(neuron.threshold) if neuron.plain else 1.0,
        "RESET": float(neuron.reset_voltage) if neuron.plain else 0.0,
        "REFRACTORY_STEPS": p.refractory_steps,
        **dict(zip(("J_EE", "J_EI", "J_IE", "J_II"), J, strict=True)),
        "STIMULUS_ON": stimulus.on if stimulus else -1,
        "STIMULUS_OFF": stimulus.off if stimulus else p.clock.stimulus_off,
        "STIMULUS_MU": float(stimulus.mu) if stimulus else 0.0,
        "STIMULUS_DECAY": float(stimulus.decay) if stimulus else 0.0,
        "STIMULUS_SCALE": float(stimulus.scale) if stimulus else 0.0,
    }


def population_macros(populations: Populations) -> dict[str, object]:
    """Expressions for the number of the population of neuron c, and for whether c is excitatory."""
    excitatory = [
        f"(c>={population.first}&&c<{population.last})" if population.first else f"c<{population.last}"
        for population in populations
        if population.sign > 0
    ]
    number = "+".join(f"(c>={population.first})" for population in populations.each[1:])
    return {"POPULATION": f"({number or 0})", "EXCITATORY": f"({'||'.join(excitatory) or 'false'})"}


class Simulation:
    """The state of a network, its synapses and its plastic weights.

    The device must be current whenever a method is called. `normals` is the precision in which
    those of noise and stimulus are computed. `UnsupportedError` is raised if the kernels cannot
    represent the network.
    """

    def __init__(
        self, problem: Problem, precision: str, arrays: Arrays[Array], device: Device, normals: str = "float64"
    ) -> None:
        p, part, own = problem, problem.own_part, problem.own
        if p.static is not None and p.static.outputs > STATIC_AT_MOST:
            raise UnsupportedError(
                f"{p.static.outputs} static synapses a neuron: this backend supports at most {STATIC_AT_MOST}"
            )
        if p.stimulus is not None and p.stimulus.off != p.clock.stimulus_off:
            raise UnsupportedError("this backend requires that learning begins when the stimulus ends")
        self.problem, self.own, self.neurons = problem, own, own.stop - own.start
        self.device = device
        self.dtype = np.dtype(precision)
        module = compiled("simulation", model_macros(p, precision, normals), code(p.neuron, precision))
        names = ("begin", "step", "replayed_step", "deliver", "filtered_spikes", "jumps", "add_currents", "add")
        self.kernels = {name: module.get_function(name) for name in names}

        self.sources = arrays.new("sources")  # pre-synaptic neurons of recurrent plastic inputs, (N, 2L)
        draw_sources(device, self.sources, part.plastic, p.seed)
        targets, weights, rows = (arrays.new(f"static {name}") for name in ("targets", "weights", "rows"))
        if p.ranks.spread:
            draw_onto_rank(device, targets, weights, rows, p.static, p.seed, p.ranks)
        else:
            draw_static(device, targets, p.static, p.seed)
            static_weights(device, weights, p.static, targets)
        self.w = arrays.new("w")  # plastic weights, (N, n)
        self.set_weights(part.plastic.initial_weights)
        outputs = transpose(device, arrays, part.plastic, self.sources)
        self.synapses = Synapses._make((targets, weights, rows, *outputs, self.w))

        N, state = self.neurons, {name: arrays.new(name) for name in State._fields}
        if state["u_bal"].shape != (N,):
            state["u_bal"] = state["u_E"]  # the only static current
        self.state = State(**state)
        for row, name in enumerate(part.neuron.varying):
            device.put(state["own"][row * N : (row + 1) * N], np.asarray(part.neuron.values[name]))
        table, weight = (p.background.table, p.background.weights) if p.background else (np.zeros(1), np.zeros(1))
        each = [arrays.new(name) for name in ("X_bal", "tau_plas", "recorded")]
        background = (device.array(np.asarray(table, np.int64)), device.array(np.asarray(weight, self.dtype)))
        self.constants = Constants._make((*each, *background))
        device.put(self.constants.X_bal, part.external_current)
        device.put(self.constants.tau_plas, np.atleast_1d(np.asarray(p.tau_plas_ms, np.float64)))
        self.constants.recorded.fill(0)
        self.arriving = Arriving._make(arrays.new(name) for name in Arriving._fields)
        spikes = arrays.new("spikes")  # how many, in even and odd steps, and which
        lists = (arrays.new(name) for name in ("counts", "kept", "kept_count"))
        self.spikes = Spikes._make((spikes[2:], spikes[:2], *lists, np.int32(SPIKES_KEPT)))
        self.exchange = Exchange(p.ranks, device, spikes, N) if p.ranks.spread else None
        self.feedforward = Feedforward(arrays.new("feed-forward rates"), arrays.new("r_X"))
        self.signal = arrays.new("signal")
        self.clock = Clock(arrays.new("now"), *(np.uint32(key) for key in key_from_seed(p.seed)))
        self.N, self.origin, self.everyone = np.int32(N), np.int32(own.start), np.int32(p.neurons)
        self.step = 0  # the last one that was launched
        self.graphs: dict[int, Any] = {}
        self.capture = self.exchange is None  # otherwise the same launches are made one by one
        self._launched: set[int] = set()
        self._record = np.empty(0, np.int64)
        self._rates_of = -1

    def set_weights(self, w: NDArray[Any], start: int = 0) -> None:
        """Take plastic weights (B, n) of the neurons from `start` on, or the same (n,) for all."""
        n = self.problem.n
        count = (self.neurons if w.ndim == 1 else len(w)) if n else 0
        rows = max(1, COPIED_BYTES // max(1, n * self.dtype.itemsize))
        for first in range(0, count, rows):
            last = min(first + rows, count)
            part = np.broadcast_to(w, (last - first, n)) if w.ndim == 1 else w[first:last]
            self.device.put(self.w[start + first : start + last], part)

    def weights(self, first: int = 0, last: int | None = None) -> NDArray[Any]:
        """A copy of the weights of the neurons first .. last-1, by default of all, (B, n)."""
        last = self.neurons if last is None else last
        if not self.problem.n:
            return np.empty((last - first, 0), self.dtype)
        return self.device.take(self.w[first:last])

    def begin_trial(self, trial: int, task: int, record: NDArray[np.int64]) -> None:
        """Put the network into its state at t = 0; keep the spikes of the neurons `record`."""
        p = self.problem
        record = record[(record >= self.own.start) & (record < self.own.stop)] - self.own.start
        if not np.array_equal(record, self._record):
            self._set_record(record)
        if p.feedforward is not None and self._rates_of != task:
            probability = p.feedforward.rates_hz(p.seed, task) * (p.clock.dt_ms / 1000.0)
            self.device.put(self.feedforward.probability, probability)
            self._rates_of = task
        groups = (*self.state, *self.arriving, *self.spikes, *self.feedforward, *self.clock)
        arguments = (self.N, self.origin, np.int32(trial), np.int32(task), *groups)
        self.kernels["begin"](self._grid(), (BLOCK,), arguments)
        if self.exchange is not None:
            self.state.r.fill(0)
            self.state.last.fill(NEVER)
            self.exchange.begin_trial()
        self.step = 0
        self._fetched: list[SpikeTrain] = []
        self._kept_at_most = 0

    def _set_record(self, record: NDArray[np.int64]) -> None:
        """Choose the neurons whose spikes are kept; STEPS_AT_ONCE steps of them must fit."""
        flags = np.zeros(self.neurons, np.uint8)
        flags[record] = 1
        self.device.put(self.constants.recorded, flags)
        self._record = record
        capacity = max(SPIKES_KEPT, STEPS_AT_ONCE * len(record))
        if capacity != len(self.spikes.kept):
            kept = self.device.empty((capacity, 2), np.int32)
            self.spikes = self.spikes._replace(kept=kept, capacity=np.int32(capacity))
            self.graphs.clear()  # they hold the address of the old array

    def advance(self, first: int, last: int, replay: SpikeTrain | None = None) -> None:
        """Run the steps first .. last."""
        replayed = None if replay is None else self._replayed_step(first, last, replay)
        for low in range(first, last + 1, STEPS_AT_ONCE):
            steps = min(last + 1 - low, STEPS_AT_ONCE)
            self._make_space(steps)
            if replayed is None:
                self._run(steps)
            else:
                self._launch(steps, replayed)
        if replayed is not None:
            self.device.synchronize()  # before the given spikes are freed
        self.step = last

    def _run(self, steps: int) -> None:
        """Run steps, from the second time on as a graph: the first launches load the kernels."""
        graph = self.graphs.get(steps)
        if graph is None and self.capture and steps > 1 and steps in self._launched and len(self.graphs) < GRAPHS:
            self.device.stream.begin_capture()
            self._launch(steps, self._step_launch("step"))
            graph = self.graphs[steps] = self.device.stream.end_capture()
        self._launched.add(steps)
        if graph is None:
            self._launch(steps, self._step_launch("step"))
        else:
            graph.launch(self.device.stream)

    def _launch(self, steps: int, step: Callable[[], None]) -> None:
        """Launch so many steps, with `deliver` after each."""
        kernel = self.kernels["deliver"]
        grid = (min(tuning.DELIVERING_BLOCKS, 1 + self.problem.neurons // tuning.NEURONS_PER_SPIKE),)
        s = self.state
        filtered = s.u_P, s.r, s.last, self.constants.tau_plas
        groups = (*self.synapses, *self.spikes, *self.arriving, *filtered, *self.feedforward, *self.clock)
        arguments = (self.N, *groups)
        for _ in range(steps):
            step()
            if self.exchange is not None:
                self.exchange.run()
            kernel(grid, (tuning.DELIVERING_THREADS,), arguments)

    def _step_launch(self, name: str, *replay: Any) -> Callable[[], None]:
        """A function that launches `step`, or `replayed_step` with its further arguments."""
        kernel, grid = self.kernels[name], self._grid()
        groups = (*self.constants, *self.state, *self.arriving, *self.spikes, *self.feedforward, *self.clock)
        arguments = (self.N, self.origin, *groups, *replay)
        return lambda: kernel(grid, (BLOCK,), arguments)

    def _grid(self) -> tuple[int]:
        """A thread for each neuron and for each feed-forward input."""
        return grid_of(max(self.neurons, self.problem.plastic.feedforward))

    def _replayed_step(self, first: int, last: int, spikes: SpikeTrain) -> Callable[[], None]:
        """A function that launches steps first .. last with given spikes."""
        bounds = spikes.bounds(first, last)
        given = np.ascontiguousarray(spikes.neuron[bounds[0] : bounds[-1]], np.int32)
        replay = self.device.array(given if len(given) else np.zeros(1, np.int32))
        start = self.device.array(bounds - bounds[0])
        return self._step_launch("replayed_step", replay, start, np.int32(first))

    def _make_space(self, steps: int) -> None:
        """Fetch the recorded spikes if those of further steps might not fit."""
        more = steps * len(self._record)
        if self._kept_at_most + more > len(self.spikes.kept):
            self._fetch()
        self._kept_at_most += more

    def _fetch(self) -> None:
        count = int(self.device.take(self.spikes.kept_count)[0])
        if count:
            kept = self.device.take(self.spikes.kept[:count])
            self._fetched.append(SpikeTrain(kept[:, 0].copy(), kept[:, 1].copy()))
            self.spikes.kept_count.fill(0)
        self._kept_at_most = 0

    def recorded_spikes(self) -> SpikeTrain:
        """Spikes so far of the recorded neurons."""
        self._fetch()
        return SpikeTrain.join(self._fetched)

    def spike_counts(self) -> NDArray[np.int64]:
        """Spikes of each neuron so far, (N,)."""
        return self.device.take(self.spikes.counts).astype(np.int64)

    def filtered_spikes(self) -> Array:
        """r_X, then r of all neurons after the last step, (LX + N,); valid until the next call."""
        arguments = (
            *(self.everyone, np.int32(self.step), self.state.r, self.state.last, self.constants.tau_plas),
            *(self.feedforward.r_X, self.signal),
        )
        self.kernels["filtered_spikes"](grid_of(len(self.signal)), (BLOCK,), arguments)
        return self.signal

    def jumps(self, a: float, before: int, r_before: Array, r_X_before: Array) -> Array:
        """Jumps of x since step `before`, (LX + N,), 1/ms; see kernels/inputs.cu."""
        arguments = (
            *(self.everyone, np.int32(self.step), np.int32(before), self.dtype.type(a), self.state.r, self.state.last),
            *(self.feedforward.r_X, r_before, r_X_before, self.signal),
        )
        self.kernels["jumps"](grid_of(len(self.signal)), (BLOCK,), arguments)
        return self.signal

    def add_currents(self, sums: Array, row: int, *, plastic_only: bool) -> None:
        """Add the currents after the last step to a row of sums (rows, N)."""
        arguments = (self.N, np.int32(row), np.int32(plastic_only), self.state.u_bal, self.state.u_P, sums)
        self.kernels["add_currents"](grid_of(self.neurons), (BLOCK,), arguments)

    def add(self, a: Array, b: Array, out: Array) -> None:
        """Write a + b to `out`, all (N,)."""
        self.kernels["add"](grid_of(self.neurons), (BLOCK,), (self.N, a, b, out))
