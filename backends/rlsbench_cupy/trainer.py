"""The trainer of the backend `cupy`: a simulation and an update on one device.

In: a `Problem` and `Options`.  Out: a `Trainer`.  Host arrays only where the protocol asks for them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import Block, Cost, Options, Sizes, SpikeTrain, State, Trainer, choose_form
from rlsbench.errors import UnsupportedError
from rlsbench.problem import Problem
from rlsbench_cupy.backend import INPUTS_AT_MOST
from rlsbench_cupy.costs import update_cost
from rlsbench_cupy.device import Device
from rlsbench_cupy.simulation import Simulation
from rlsbench_cupy.updates import Event, Frozen, Plain, Update

__all__ = ["CupyTrainer"]

Floats = NDArray[np.floating[Any]]

PART_BYTES = 1 << 26  # of the targets that are computed on the host at once


class CupyTrainer(Trainer):
    """A network on one device."""

    def __init__(self, problem: Problem, options: Options) -> None:
        if problem.n > INPUTS_AT_MOST:
            raise UnsupportedError(f"{problem.n} plastic inputs a neuron: this backend takes at most {INPUTS_AT_MOST}")
        algorithm, notes = choose_form(Sizes.of_problem(problem), options)
        super().__init__(problem, replace(options, algorithm=algorithm), notes)
        self.device = Device(options.device)
        with self.device.current():
            self.simulation = Simulation(problem, options.precision, self.device)
            self.update: Update = Frozen()
            if problem.targets is not None:
                kind = Event if algorithm == "event" else Plain
                self.update = kind(problem, self.options, self.simulation)
                self.targets = self.device.empty((problem.targets.bins, problem.neurons), self.simulation.dtype)
            self.targets_of = -1
            self.sums = self.device.zeros((1, 1), self.simulation.dtype)
        self.begin_trial(0, 0, np.empty(0, np.int64))

    def begin_trial(self, trial: int, task: int, record: NDArray[np.int64]) -> None:
        with self.device.current():
            self.simulation.begin_trial(trial, task, record)
            self.update.begin_trial()
            if self.problem.targets is not None and self.targets_of != task:
                self._set_targets(task)

    def _set_targets(self, task: int) -> None:
        """Copy the targets of a task to the device, some bins at a time."""
        targets = self.problem.targets
        assert targets is not None
        N, bins = self.problem.neurons, targets.bins
        if 8 * bins * N <= PART_BYTES:
            self.device.put(self.targets, targets.matrix(task))
        else:
            for bin in range(bins):
                self.device.put(self.targets[bin], targets.row(task, bin))
        self.targets_of = task

    def advance(self, first: int, last: int, spikes: SpikeTrain | None = None) -> None:
        with self.device.current():
            self.simulation.advance(first, last, spikes)

    def learn(self, bin: int) -> None:
        with self.device.current():
            if self.problem.targets is None:
                raise UnsupportedError("a network without targets cannot learn")
            self.update.learn(self.targets[bin])

    def rls_update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        with self.device.current():
            given = [self.device.array(np.ascontiguousarray(a, self.simulation.dtype)) for a in (x, u_bal, f)]
            self.update.rls_update(*given)
            self.device.synchronize()  # they are given back

    def currents(self) -> tuple[Floats, Floats]:
        with self.device.current():
            return self.device.take(self.simulation.u_bal), self.device.take(self.simulation.u_P)

    def clear_sums(self, rows: int) -> None:
        with self.device.current():
            if len(self.sums) != rows or self.sums.shape[1] != self.problem.neurons:
                self.sums = self.device.zeros((rows, self.problem.neurons), self.simulation.dtype)
            else:
                self.sums.fill(0)

    def add_currents(self, row: int, *, plastic_only: bool) -> None:
        with self.device.current():
            self.simulation.add_currents(self.sums, row, plastic_only=plastic_only)

    def current_sums(self) -> Floats:
        with self.device.current():
            return self.device.take(self.sums)

    def spike_counts(self) -> NDArray[np.int64]:
        with self.device.current():
            return self.simulation.spike_counts()

    def recorded_spikes(self) -> SpikeTrain:
        with self.device.current():
            return self.simulation.recorded_spikes()

    def weights(self) -> Floats:
        with self.device.current():
            return self.simulation.weights()

    def state(self) -> State:
        with self.device.current():
            return State(self.simulation.weights(), self.update.P())

    def restore(self, state: State) -> None:
        with self.device.current():
            self.simulation.set_weights(state.w)
            self.update.set_P(state.P)

    def settle(self) -> None:
        with self.device.current():
            self.update.settle()

    def block(self, first: int, last: int) -> Block:
        with self.device.current():
            P, unit = self.update.matrices.part(first, last)
            return Block(self.simulation.weights(first, last), P, unit, self.options.p_precision)

    def diagonal(self, first: int, last: int) -> Floats:
        with self.device.current():
            return self.update.matrices.diagonal(first, last)

    def load_block(self, first: int, block: Block) -> None:
        with self.device.current():
            self.simulation.set_weights(block.w, first)
            self.update.forget()
            self.update.matrices.set_part(first, block)

    def gain(self) -> Floats | None:
        with self.device.current():
            return self.update.gain()

    def update_cost(self, spiked: float) -> Cost:
        """What one update of one neuron moves and computes, with that many inputs that spiked since the last."""
        return update_cost(self.problem.n, self.options, spiked)

    def synchronize(self) -> None:
        with self.device.current():
            self.device.synchronize()
