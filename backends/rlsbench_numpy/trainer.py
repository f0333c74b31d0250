"""The trainer of the NumPy backends.

In: a `Problem`, `Options` and the declared arrays.  Out: a `Trainer`.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from rlsbench.backend import Arrays, Block, Options, RuleUpdate, SpikeTrain, Trainer, Update, keep_signs
from rlsbench.problem import Problem
from rlsbench.rules import Rls
from rlsbench_numpy.simulation import Simulation
from rlsbench_numpy.storage import ClassedStorage, Floats, FullStorage, PackedStorage


class NumpyTrainer(Trainer):
    """Simulation and RLS in NumPy; blocks of neurons are updated in `threads` threads."""

    def __init__(self, problem: Problem, options: Options, arrays: Arrays[NDArray[Any]]) -> None:
        super().__init__(problem, options)
        plastic = problem.own_part.plastic
        self.w = arrays.new("w").T  # (N, n), with inputs first in memory: sums over inputs run along neurons
        self.w[:] = plastic.initial_weights
        self.simulation = Simulation(problem, self.w, arrays)
        self.storage: FullStorage | PackedStorage | ClassedStorage | None = None
        self.rule = Update()
        self.blas = ThreadpoolController()
        if problem.targets is not None and not isinstance(problem.learning, Rls):
            self.rule = RuleUpdate(problem, self.w, self.simulation.lines, arrays.new, options.threads)
        elif problem.targets is not None and isinstance(problem.learning, Rls):
            if plastic.varies:
                self.storage = ClassedStorage(arrays.new("P"), plastic, options)
                self.storage.fill(problem.learning.initial_matrices(plastic, self.storage.tops))
            else:
                P0 = problem.learning.initial_P(plastic).astype(options.p_precision)
                storage = FullStorage if options.storage == "full" else PackedStorage
                self.storage = storage(arrays.new("P"), P0, options.threads)
            self.rule.storage = self.storage

    def begin_trial(self, trial: int, task: int, record: NDArray[np.int64]) -> None:
        self.task = task
        self.simulation.begin_trial(trial, task, record)

    def advance(self, first: int, last: int, spikes: SpikeTrain | None = None) -> None:
        self.simulation.advance(first, last, spikes)

    def learn(self, bin: int) -> None:
        f, simulation = self.target_row(bin).astype(self.w.dtype), self.simulation
        if self.storage is None:
            self.rule.learn(simulation.r[:, 0], simulation.r_X, simulation.u_bal, f)
        else:
            self._update(simulation.x, simulation.u_bal, f)

    def set_external(self, current: NDArray[np.float64]) -> None:
        super().set_external(current)
        self.simulation.X_bal[:] = current[self.own]

    def rls_update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        if self.storage is None:
            self.rule.rls_update(x, u_bal, f)  # which says why it cannot
        x, u_bal, f = (a.astype(self.w.dtype, copy=False) for a in (x, u_bal, f))
        self._update(lambda block: x[block], u_bal, f)

    def _update(self, x_of: Callable[[Any], Floats], u_bal: Floats, f: Floats) -> None:
        storage, rule, signs = self.storage, self.problem.learning, self.problem.own_part.plastic.signs
        assert storage is not None

        def update(block: Any) -> None:
            w = self.w[block]
            storage.update(block, x_of(block), w, u_bal[block], f[block], rule.benchmark)
            if rule.keeps_signs:
                keep_signs(w, signs if signs.ndim == 1 else signs[block])
            if not isinstance(block, slice):  # then w is a copy
                self.w[block] = w

        with self.blas.limit(limits=1, user_api="blas"), ThreadPoolExecutor(self.options.threads) as pool:
            list(pool.map(update, storage.blocks))

    def currents(self) -> tuple[Floats, Floats]:
        return self.simulation.u_bal, self.simulation.u_P

    def voltages(self) -> Floats:
        voltages: Floats = self.simulation.neurons[0]
        return voltages

    def spike_counts(self) -> NDArray[np.int64]:
        return self.simulation.counts

    def recorded_spikes(self) -> SpikeTrain:
        return SpikeTrain.join(self.simulation.recorded)

    def weights(self) -> Floats:
        return self.w.copy()

    def block(self, first: int, last: int) -> Block:
        return Block(self.w[first:last], self.rule.part(first, last))

    def load_block(self, first: int, block: Block) -> None:
        self.w[first : first + len(block.w)] = block.w
        self.rule.set_part(first, block)
