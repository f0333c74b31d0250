"""The trainer of the backends `numba` and `numba-blas`: a simulation, and a form of the update.

In: a `Problem`, `Options` and declared arrays.  Out: a `Trainer`.  Imports Numba.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import Arrays, ArraySpec, Block, Cost, Options, SpikeTrain, Trainer, Update, mean_cost
from rlsbench.problem import Problem
from rlsbench.rules import Rls
from rlsbench_numba import compiling
from rlsbench_numba.arrays import Floats, aligned
from rlsbench_numba.compiling import use_threads
from rlsbench_numba.costs import update_cost
from rlsbench_numba.simulation import Simulation
from rlsbench_numba.tuning import TARGETS_TOGETHER
from rlsbench_numba.updates import Event, make_update


class NumbaTrainer(Trainer):
    """A network and an update; `options` has the form of it that is taken."""

    def __init__(
        self, problem: Problem, options: Options, notes: Sequence[str], specs: Sequence[ArraySpec], *, blas: bool
    ) -> None:
        super().__init__(problem, options, [*notes, *compiling.notes])
        use_threads(options.threads)
        self.blas, new = blas, Arrays(specs, aligned).new
        self.simulation = Simulation(problem, options.precision, options.threads, new)
        self.w = self.simulation.w[:, : problem.n]
        if options.algorithm == "event" or problem.targets is None:
            self.simulation.sources = np.empty((0, 0), np.int32)  # needed no more
        self.update, self.task_of_targets, self.unshifted = Update(), -1, self.targets
        if problem.targets is not None:
            self.kept: Floats = new("targets")
            self.shifted: Floats = new("shifted targets")
            self.offset: Floats | None = None
            self.update = make_update(problem, options, self.simulation, new, blas=blas)
        self.begin_trial(0, 0, np.empty(0, np.int64))

    def begin_trial(self, trial: int, task: int, record: NDArray[np.int64]) -> None:
        use_threads(self.options.threads)
        self.task = task
        self.simulation.begin_trial(trial, task, record)
        self.update.begin_trial()

    def advance(self, first: int, last: int, spikes: SpikeTrain | None = None) -> None:
        self.simulation.advance(first, last, spikes)

    def learn(self, bin: int) -> None:
        use_threads(self.options.threads)
        self.update.learn(np.empty(0) if self.targets is None else self._targets(bin))

    def _targets(self, bin: int) -> Floats:
        """Targets at one bin, (N,); those of all bins are kept where they take little memory."""
        targets = self.unshifted
        assert targets is not None
        if len(self.kept) < targets.bins:
            return self._computed(bin)
        if self.task_of_targets != self.task:
            self.kept[:], self.task_of_targets = targets.matrix(self.task), self.task
        f: Floats = self.kept[bin]
        if self.offset is not None:
            f = np.add(f, self.offset, out=self.shifted)
        return f

    def _computed(self, bin: int) -> Floats:
        """The same for targets that are not kept, by some threads."""
        targets: Any = self.targets
        f: Floats = self.kept[0]

        def compute(first: int) -> None:
            some = slice(first, first + TARGETS_TOGETHER)
            f[some] = targets.row(self.task, bin, some)

        with ThreadPoolExecutor(self.options.threads) as pool:
            list(pool.map(compute, range(0, len(f), TARGETS_TOGETHER)))
        return f

    def shift_targets(self, offset: NDArray[np.float64]) -> None:
        super().shift_targets(offset)
        self.offset = offset[self.own].astype(self.shifted.dtype)

    def set_external(self, current: NDArray[np.float64]) -> None:
        super().set_external(current)
        self.simulation.neurons.X_bal[: self.neurons] = current[self.own]

    def rls_update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        use_threads(self.options.threads)
        x, u_bal, f = (np.ascontiguousarray(a, self.w.dtype) for a in (x, u_bal, f))
        self.update.rls_update(x, u_bal, f)

    def penalize(self, column: int, strength: float) -> None:
        if isinstance(self.update, Event):
            use_threads(self.options.threads)
            self.update.penalize(column, strength)
        else:
            super().penalize(column, strength)

    def sum_currents(self, rows: NDArray[np.int64], every: int, *, plastic_only: bool) -> bool:
        self._sums = self.simulation.sum_currents(rows, every, plastic_only)
        return True

    def currents(self) -> tuple[Floats, Floats]:
        N = self.neurons
        return self.simulation.neurons.u_bal[:N], self.simulation.neurons.u_P[:N]

    def voltages(self) -> Floats:
        voltages: Floats = self.simulation.neurons.v[: self.neurons]
        return voltages

    def spike_counts(self) -> NDArray[np.int64]:
        return self.simulation.neurons.counts

    def recorded_spikes(self) -> SpikeTrain:
        return SpikeTrain.join(self.simulation.recorded)

    def exchange_seconds(self) -> float | None:
        exchange = self.simulation.exchange
        return None if exchange is None or not len(exchange.clock) else 1e-9 * float(exchange.clock[2])

    def settle(self) -> None:
        use_threads(self.options.threads)
        self.update.settle()

    def weights(self) -> Floats:
        return self.w.copy()

    def diagonal(self, first: int, last: int) -> Floats:
        return self.update.diagonal(first, last) if self.problem.plastic.varies else super().diagonal(first, last)

    def block(self, first: int, last: int) -> Block:
        return Block(self.w[first:last], self.update.part(first, last))

    def load_block(self, first: int, block: Block) -> None:
        self.w[first : first + len(block.w)] = block.w
        self.update.set_part(first, block)

    def gain(self) -> Floats | None:
        gain: Floats | None = self.update.gain()
        return gain

    def update_cost(self, spiked: float) -> Cost | None:
        if not isinstance(self.problem.learning, Rls):
            return None
        inputs = self.problem.own_part.plastic.inputs
        share = spiked / max(1e-9, float(inputs.mean()))  # of a neuron's inputs
        return mean_cost(inputs, lambda n: update_cost(n, self.options, share * n, blas=self.blas))
