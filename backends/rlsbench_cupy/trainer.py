"""The trainer of the backend `cupy`: a simulation and an update on one device.

In: a `Problem` and `Options`.  Out: a `Trainer`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import Arrays, Block, Cost, Options, Sizes, SpikeTrain, Trainer, Update, choose_form
from rlsbench.problem import Problem
from rlsbench_cupy.arrays import declare
from rlsbench_cupy.costs import update_cost
from rlsbench_cupy.device import Array, Device, device_of_rank
from rlsbench_cupy.simulation import Simulation
from rlsbench_cupy.storage import Floats
from rlsbench_cupy.tuning import COPIED_BYTES
from rlsbench_cupy.updates import Event, Plain

T = TypeVar("T", bound=type[Trainer])


def on_device(trainer: T) -> T:
    """Let the public methods of a class of trainers run with their device and stream current."""

    def current(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def run(self: CupyTrainer, *args: Any, **kwargs: Any) -> Any:
            with self.device.current():
                return method(self, *args, **kwargs)

        return run

    for name, method in list(vars(trainer).items()):
        if callable(method) and not name.startswith("_"):
            setattr(trainer, name, current(method))
    return trainer


@on_device
class CupyTrainer(Trainer):
    """A network on one device; `UnsupportedError` if the kernels cannot represent the problem."""

    def __init__(self, problem: Problem, options: Options, normals: str = "float64") -> None:
        sizes = Sizes.of_problem(problem)
        algorithm, notes = choose_form(sizes, options)
        super().__init__(problem, replace(options, algorithm=algorithm), notes)
        self.device = Device(device_of_rank(options.device, problem.ranks)[0])
        with self.device.current():
            arrays: Arrays[Array] = Arrays(declare(sizes, self.options), self.device.empty)
            self.simulation = Simulation(problem, options.precision, arrays, self.device, normals)
            self.update = Update()
            if problem.targets is not None:
                form = Event if algorithm == "event" else Plain
                self.update = form(problem, self.options, arrays, self.simulation)
                self.kept, self.offset, self.shifted = map(arrays.new, ("targets", "offset", "shifted"))
            self.task_of_targets, self.unshifted = -1, self.targets
            self.sums = self.device.zeros((1, 1), self.simulation.dtype)
        self.begin_trial(0, 0, np.empty(0, np.int64))

    def begin_trial(self, trial: int, task: int, record: NDArray[np.int64]) -> None:
        self.task = task
        self.simulation.begin_trial(trial, task, record)
        self.update.begin_trial()
        targets = self.unshifted
        if targets is None or self.task_of_targets == task:
            return
        if 8 * targets.bins * self.neurons <= COPIED_BYTES:
            self.device.put(self.kept, targets.matrix(task))
        else:  # large
            for bin in range(targets.bins):
                self.device.put(self.kept[bin], targets.row(task, bin))
        self.task_of_targets = task

    def advance(self, first: int, last: int, spikes: SpikeTrain | None = None) -> None:
        self.simulation.advance(first, last, spikes)

    def learn(self, bin: int) -> None:
        if self.targets is self.unshifted:  # without an offset, or none
            self.update.learn(None if self.targets is None else self.kept[bin])
        else:
            self.simulation.add(self.kept[bin], self.offset, self.shifted)
            self.update.learn(self.shifted)

    def shift_targets(self, offset: NDArray[np.float64]) -> None:
        super().shift_targets(offset)
        self.device.put(self.offset, offset[self.own])

    def set_external(self, current: NDArray[np.float64]) -> None:
        super().set_external(current)
        self.device.put(self.simulation.constants.X_bal, current[self.own])

    def rls_update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        given = [self.device.array(np.ascontiguousarray(a, self.simulation.dtype)) for a in (x, u_bal, f)]
        self.update.rls_update(*given)
        self.device.synchronize()  # before they are freed

    def currents(self) -> tuple[Floats, Floats]:
        state = self.simulation.state
        return self.device.take(state.u_bal), self.device.take(state.u_P)

    def voltages(self) -> Floats:
        return self.device.take(self.simulation.state.v[: self.neurons])

    def clear_sums(self, rows: int) -> None:
        if self.sums.shape != (rows, self.neurons):
            self.sums = self.device.zeros((rows, self.neurons), self.simulation.dtype)
        else:
            self.sums.fill(0)

    def add_currents(self, row: int, *, plastic_only: bool) -> None:
        self.simulation.add_currents(self.sums, row, plastic_only=plastic_only)

    def current_sums(self) -> Floats:
        return self.device.take(self.sums)

    def spike_counts(self) -> NDArray[np.int64]:
        return self.simulation.spike_counts()

    def recorded_spikes(self) -> SpikeTrain:
        return self.simulation.recorded_spikes()

    def exchange_seconds(self) -> float | None:
        exchange = self.simulation.exchange
        return None if exchange is None else exchange.seconds

    def weights(self) -> Floats:
        return self.simulation.weights()

    def settle(self) -> None:
        self.update.settle()

    def block(self, first: int, last: int) -> Block:
        return Block(self.simulation.weights(first, last), self.update.part(first, last))

    def load_block(self, first: int, block: Block) -> None:
        self.simulation.set_weights(block.w, first)
        self.update.forget()
        self.update.set_part(first, block)

    def diagonal(self, first: int, last: int) -> Floats:
        return self.update.diagonal(first, last)

    def gain(self) -> Floats | None:
        gain: Floats | None = self.update.gain()
        return gain

    def update_cost(self, spiked: float) -> Cost:
        return update_cost(self.problem.n, self.options, spiked)

    def synchronize(self) -> None:
        self.device.synchronize()
