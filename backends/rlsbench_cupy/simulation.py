"""The steps of a trial on the device: arrays, launches, and graphs of launches.

In: a `Problem` and a `Device`.  Out: the network's state, advanced.  Knows no P.

A step is two launches, `step` and `deliver`; which step it is stands in device memory, so a graph of some steps that
was captured once serves at any step of any trial. Nothing is allocated within a trial, and nothing is waited for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import SpikeTrain
from rlsbench.errors import UnsupportedError
from rlsbench.problem import Problem
from rlsbench.streams import key_from_seed
from rlsbench_cupy.compiling import compiled
from rlsbench_cupy.connectivity import draw_sources, draw_static, own_weights, turn_round
from rlsbench_cupy.device import BLOCK, Array, Device, blocks

__all__ = ["STATIC_AT_MOST", "Simulation", "model_macros"]

STATIC_AT_MOST = 60_000
"""Static targets of a neuron: those that arrive from one population in one step are counted in 16 bits."""
DELIVERING_BLOCKS = 1024
SPIKING_AT_ONCE = 512  # neurons of which one is expected to spike in a step, at most
DELIVERING_THREADS = 128
STEPS_AT_ONCE = 128  # of a graph
GRAPHS = 8
KEPT_AT_LEAST = 1 << 16  # spikes for which there is room before they are fetched
NOISE_KINDS = {"none": 0, "voltage": 1, "current": 2}


def model_macros(p: Problem, precision: str) -> dict[str, object]:
    """The numbers and the features of a problem, for kernels/model.cuh."""
    static, stimulus, feedforward, neuron = p.static, p.stimulus, p.feedforward, p.neuron
    (J_EE, J_EI), (J_IE, J_II) = static.weights if static else ((0.0, 0.0), (0.0, 0.0))
    each = isinstance(p.tau_plas_ms, np.ndarray)
    return {
        "REAL": "double" if precision == "float64" else "float",
        "N_INPUTS": p.n,
        "LX": p.plastic.feedforward,
        "STATIC_EACH": static.outputs if static else 0,
        "EXCITATORY": p.excitatory,
        "ONE_CURRENT": p.tau_E_ms == p.tau_I_ms,
        "OWN_WEIGHTS": static is not None and static.own_weights is not None,
        "TAU_EACH": each,
        "NOISE_KIND": NOISE_KINDS[p.noise.kind],
        "NOISE_SCALE": float(p.noise.scale),
        "DT": float(p.clock.dt_ms),
        "TAU_M": float(neuron.tau_m_ms),
        "TAU_E": float(p.tau_E_ms),
        "TAU_I": float(p.tau_I_ms),
        "TAU_PLAS": 1.0 if each else float(p.tau_plas_ms),
        "TAU_X": float(feedforward.tau_ms) if feedforward else 1.0,
        "THRESHOLD": float(neuron.threshold),  # type: ignore[attr-defined]
        "RESET": float(neuron.reset_voltage),  # type: ignore[attr-defined]
        "REFRACTORY_STEPS": p.refractory_steps,
        "J_EE": float(J_EE),
        "J_EI": float(J_EI),
        "J_IE": float(J_IE),
        "J_II": float(J_II),
        "STIMULUS_ON": stimulus.on if stimulus else -1,
        "STIMULUS_OFF": stimulus.off if stimulus else p.clock.stimulus_off,
        "STIMULUS_MU": float(stimulus.mu) if stimulus else 0.0,
        "STIMULUS_DECAY": float(stimulus.decay) if stimulus else 0.0,
        "STIMULUS_SCALE": float(stimulus.scale) if stimulus else 0.0,
    }


class Simulation:
    """The state of a network, its synapses and its plastic weights.

    Parameters
    ----------
    problem : Problem
    precision : {"float64", "float32"}
    device : Device
        Current now, and whenever a method is called.

    Attributes
    ----------
    w : cupy.ndarray, shape (N, n)
        Plastic weights.
    sources : cupy.ndarray, shape (N, 2L)
        Pre-synaptic neurons of the recurrent ones.
    u_bal, u_P : cupy.ndarray, shape (N,)
        Currents after the last step.
    step : int
        The last step that was asked for.
    """

    def __init__(self, problem: Problem, precision: str, device: Device) -> None:
        self.problem, self.device = problem, device
        p, N, LX = problem, problem.neurons, problem.plastic.feedforward
        self.dtype = np.dtype(precision)
        if p.static is not None and p.static.outputs > STATIC_AT_MOST:
            raise UnsupportedError(
                f"{p.static.outputs} static synapses a neuron: this backend counts at most {STATIC_AT_MOST}"
            )
        if p.stimulus is not None and p.stimulus.off != p.clock.stimulus_off:
            raise UnsupportedError("a stimulus that ends at another time than learning begins")
        macros = model_macros(p, precision)
        module = compiled("simulation", macros)
        self.kernels = {
            name: module.get_function(name)
            for name in ("begin", "step", "replayed_step", "deliver", "filtered_spikes", "jumps", "add_currents")
        }
        two_currents, own = not macros["ONE_CURRENT"], bool(macros["OWN_WEIGHTS"])
        current_is_sum = two_currents or p.noise.kind == "current"

        def state(needed: bool = True, dtype: Any = self.dtype) -> Array:
            return device.zeros(N if needed else 1, dtype)

        self.targets = draw_static(device, p.static, p.seed)
        self.J_own = own_weights(device, p.static, self.dtype)
        self.sources = draw_sources(device, p.plastic, p.seed)
        self.outputs = turn_round(device, p.plastic, self.sources)
        self.w = device.empty((N, p.n), self.dtype) if p.n else device.zeros((1, 1), self.dtype)
        self.set_weights(p.plastic.initial_weights)
        self.v, self.u_E, self.u_I, self.u_P = state(), state(), state(two_currents), state()
        self.u_bal = state() if current_is_sum else self.u_E
        self.X_bal = device.array(p.external_current.astype(self.dtype))
        self.X_stim, self.r, self.last = state(p.stimulus is not None), state(), state(dtype=np.int32)
        self.arrived = state(not own, np.uint32)
        self.in_E, self.in_I, self.in_P = state(own, np.uint64), state(own, np.uint64), state(dtype=np.uint64)
        tau_plas = np.asarray(p.tau_plas_ms, np.float64)
        self.tau_plas = device.array(np.atleast_1d(tau_plas))
        self.counts, self.recorded = state(dtype=np.int32), state(dtype=np.uint8)
        self.spiked, self.spiked_count = state(dtype=np.int32), device.zeros(2, np.int32)
        self.r_X = device.zeros(max(1, LX), self.dtype)
        self.signal = device.zeros(N + LX, self.dtype)
        self.now = device.zeros(4, np.int32)
        self.kept, self.kept_count = device.zeros((KEPT_AT_LEAST, 2), np.int32), device.zeros(1, np.int32)
        self.probability, self._probability_of = device.zeros((1, 1), np.float64), -1
        key0, key1 = key_from_seed(p.seed)
        self._N, self._keys = np.int32(N), (np.uint32(key0), np.uint32(key1))
        self._record = np.empty(0, np.int64)
        self.step = 0
        self.graphs: dict[int, Any] = {}
        self.capture = device.captures
        """Whether steps are captured in graphs; without, the same launches are made one by one."""
        self._seen: set[int] = set()

    def set_weights(self, w: NDArray[Any], start: int = 0) -> None:
        """Take plastic weights (B, n) of the neurons from `start` on, or the same (n,) for every neuron."""
        n, many = self.problem.n, self.problem.neurons if w.ndim == 1 else len(w)
        rows = max(1, (1 << 26) // max(1, n * self.dtype.itemsize))
        for first in range(0, many if n else 0, rows):
            last = min(first + rows, many)
            part = np.broadcast_to(w, (last - first, n)) if w.ndim == 1 else w[first:last]
            self.device.put(self.w[start + first : start + last], part)

    def weights(self, first: int = 0, last: int | None = None) -> NDArray[Any]:
        """A copy of the plastic weights of all neurons, or of first .. last-1, (B, n)."""
        last = self.problem.neurons if last is None else last
        if not self.problem.n:
            return np.empty((last - first, 0), self.dtype)
        return self.device.take(self.w[first:last])

    def begin_trial(self, trial: int, task: int, record: NDArray[np.int64]) -> None:
        """The state at t = 0; the spikes of `record` are kept."""
        p, N = self.problem, self.problem.neurons
        if not np.array_equal(record, self._record):
            flags = np.zeros(N, np.uint8)
            flags[record] = 1
            self.device.put(self.recorded, flags)
            self._record = np.array(record)
            room = max(KEPT_AT_LEAST, STEPS_AT_ONCE * len(record))
            if room != len(self.kept):
                self.kept = self.device.zeros((room, 2), np.int32)
                self._forget_graphs()
        if p.feedforward is not None and self._probability_of != task:
            probability = p.feedforward.rates_hz(p.seed, task) * (p.clock.dt_ms / 1000.0)
            if self.probability.shape == probability.shape:
                self.device.put(self.probability, probability)
            else:
                self.probability = self.device.array(probability)
                self._forget_graphs()
            self._probability_of = task
        self.kernels["begin"](
            self._grid(),
            (BLOCK,),
            (
                *(self._N, np.int32(trial), np.int32(task), *self._keys),
                *(self.v, self.u_E, self.u_I, self.u_P, self.u_bal, self.X_stim, self.r, self.last),
                *(self.arrived, self.in_E, self.in_I, self.in_P, self.counts, self.r_X),
                *(self.spiked_count, self.kept_count, self.now),
            ),
        )
        self.step = 0
        self._kept: list[SpikeTrain] = []
        self._kept_at_most = 0

    def advance(self, first: int, last: int, replay: SpikeTrain | None = None) -> None:
        """Run the steps first .. last."""
        if replay is not None:
            self._replay(first, last, replay)
        else:
            for low in range(first, last + 1, STEPS_AT_ONCE):
                steps = min(last + 1 - low, STEPS_AT_ONCE)
                self._make_room(steps)
                self._run(steps)
        self.step = last

    def _run(self, steps: int) -> None:
        """Some steps, as a graph from the second time on: the first one loads the kernels."""
        graph = self.graphs.get(steps)
        if graph is None and self.capture and steps > 1 and steps in self._seen and len(self.graphs) < GRAPHS:
            self.device.stream.begin_capture()
            self._launch(steps)
            graph = self.graphs[steps] = self.device.stream.end_capture()
        self._seen.add(steps)
        if graph is None:
            self._launch(steps)
        else:
            graph.launch(self.device.stream)

    def _launch(self, steps: int) -> None:
        step, deliver = self.step_launch(), self.deliver_launch()
        for _ in range(steps):
            step()
            deliver()

    def step_launch(self) -> Any:
        """A function that launches `step`."""
        kernel, grid, arguments = self.kernels["step"], self._grid(), self._step_arguments()
        return lambda: kernel(grid, (BLOCK,), arguments)

    def deliver_launch(self) -> Any:
        """A function that launches `deliver`."""
        kernel, outputs = self.kernels["deliver"], self.outputs
        grid = (min(DELIVERING_BLOCKS, 1 + self.problem.neurons // SPIKING_AT_ONCE),)
        arguments = (
            *(self._N, self.spiked, self.spiked_count, self.targets, self.J_own, self.arrived, self.in_E, self.in_I),
            *(outputs.start, outputs.post, outputs.column, self.w, self.in_P, self.u_P, self.probability, self.now),
            *self._keys,
        )
        return lambda: kernel(grid, (DELIVERING_THREADS,), arguments)

    def _grid(self) -> tuple[int]:
        """A thread for each neuron, and for each feed-forward input."""
        return blocks(max(self.problem.neurons, self.problem.plastic.feedforward))

    def _step_arguments(self) -> tuple[Any, ...]:
        return (
            *(self._N, self.v, self.u_E, self.u_I, self.u_P, self.u_bal, self.X_bal, self.X_stim, self.r, self.last),
            *(self.arrived, self.in_E, self.in_I, self.in_P, self.tau_plas, self.counts, self.recorded),
            *(self.spiked, self.spiked_count, self.kept, self.kept_count, np.int32(len(self.kept))),
            *(self.probability, self.r_X, self.now, *self._keys),
        )

    def _replay(self, first: int, last: int, spikes: SpikeTrain) -> None:
        bounds = spikes.bounds(first, last)
        given = np.ascontiguousarray(spikes.neuron[bounds[0] : bounds[-1]], np.int32)
        replay = self.device.array(given if len(given) else np.zeros(1, np.int32))
        start = self.device.array(bounds - bounds[0])
        kernel, deliver = self.kernels["replayed_step"], self.deliver_launch()
        grid = self._grid()
        for i in range(first, last + 1):
            if (i - first) % STEPS_AT_ONCE == 0:
                self._make_room(min(last + 1 - i, STEPS_AT_ONCE))
            kernel(grid, (BLOCK,), (*self._step_arguments(), replay, start, np.int32(first)))
            deliver()
        self.device.synchronize()  # the spikes that were given are given back

    def _forget_graphs(self) -> None:
        self.graphs.clear()  # they hold the addresses of arrays that are no more

    def _make_room(self, steps: int) -> None:
        """Fetch the spikes that were recorded, where those of some more steps might not find room."""
        more = steps * len(self._record)
        if self._kept_at_most + more > len(self.kept):
            self._fetch()
        self._kept_at_most += more

    def _fetch(self) -> None:
        count = int(self.device.take(self.kept_count)[0])
        if count:
            kept = self.device.take(self.kept[:count])
            self._kept.append(SpikeTrain(kept[:, 0].copy(), kept[:, 1].copy()))
            self.kept_count.fill(0)
        self._kept_at_most = 0

    def recorded_spikes(self) -> SpikeTrain:
        """Spikes so far of the neurons that are recorded."""
        self._fetch()
        return SpikeTrain.join(self._kept)

    def spike_counts(self) -> NDArray[np.int64]:
        """Spikes of each neuron so far, (N,)."""
        return self.device.take(self.counts).astype(np.int64)

    def filtered_spikes(self) -> Array:
        """r of each neuron after the last step, then r_X: (N + LX,), valid until the next call."""
        self.kernels["filtered_spikes"](
            blocks(len(self.signal)),
            (BLOCK,),
            (self._N, np.int32(self.step), self.r, self.last, self.tau_plas, self.r_X, self.signal),
        )
        return self.signal

    def jumps(self, a: float, before: int, r_before: Array, r_X_before: Array) -> Array:
        """How far the filtered inputs jumped since the step `before`, (N + LX,); see kernels/inputs.cu."""
        self.kernels["jumps"](
            blocks(len(self.signal)),
            (BLOCK,),
            (
                *(self._N, np.int32(self.step), np.int32(before), self.dtype.type(a), self.r, self.last, self.r_X),
                *(r_before, r_X_before, self.signal),
            ),
        )
        return self.signal

    def add_currents(self, sums: Array, row: int, *, plastic_only: bool) -> None:
        """Add the current after the last step to a row of sums (rows, N)."""
        self.kernels["add_currents"](
            blocks(self.problem.neurons),
            (BLOCK,),
            (self._N, np.int32(row), np.int32(plastic_only), self.u_bal, self.u_P, sums),
        )
