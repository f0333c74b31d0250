"""The backends `numpy-full` and `numpy-packed`: one trainer, two storages of P.

In: a `Problem` and `Options`.  Out: a `Trainer`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from rlsbench.backend import FEATURES, Backend, Block, Options, SpikeTrain, State, Trainer, widened
from rlsbench.capacity import standard_bytes
from rlsbench.configuration import Experiment
from rlsbench.precision import PRECISION_BYTES
from rlsbench.problem import Problem
from rlsbench_numpy.simulation import Simulation
from rlsbench_numpy.storage import FullStorage, PackedStorage, Storage, block_length

Floats = NDArray[np.floating[Any]]

__all__ = ["FULL", "PACKED", "NumpyBackend", "NumpyTrainer"]


class NumpyTrainer:
    """Simulation and RLS in NumPy; blocks of neurons are updated in `threads` threads."""

    def __init__(self, problem: Problem, options: Options) -> None:
        self.problem, self.options, self.notes = problem, replace(options, algorithm="plain"), ()
        N, plastic = problem.neurons, problem.plastic
        self.w = np.array(np.broadcast_to(plastic.initial_weights, (N, plastic.n)), options.precision)
        self.simulation = Simulation(problem, self.w)
        P0 = problem.learning.initial_P(plastic).astype(options.p_precision)
        storage = FullStorage if options.storage == "full" else PackedStorage
        self.storage: Storage = storage(N if problem.targets else 0, P0, options.threads)

    def begin_trial(self, trial: int, task: int, record: NDArray[np.int64]) -> None:
        self.simulation.begin_trial(trial, task, record)

    def advance(self, first: int, last: int, spikes: SpikeTrain | None = None) -> None:
        self.simulation.advance(first, last, spikes)

    def learn(self, bin: int) -> None:
        targets = self.problem.targets
        assert targets is not None
        f = targets.row(self.simulation.task, bin).astype(self.w.dtype)
        self._update(self.simulation.x, self.simulation.u_bal, f)

    def rls_update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        x, u_bal, f = (a.astype(self.w.dtype, copy=False) for a in (x, u_bal, f))
        self._update(lambda block: x[block], u_bal, f)

    def _update(self, x_of: Any, u_bal: Floats, f: Floats) -> None:
        benchmark = self.problem.learning.benchmark

        def update(block: slice) -> None:
            self.storage.update(block, x_of(block), self.w[block], u_bal[block], f[block], benchmark)

        with threadpool_limits(1, "blas"), ThreadPoolExecutor(self.options.threads) as pool:
            list(pool.map(update, self.storage.blocks()))

    def currents(self) -> tuple[Floats, Floats]:
        return self.simulation.u_bal, self.simulation.u_P

    def spike_counts(self) -> NDArray[np.int64]:
        return self.simulation.counts

    def recorded_spikes(self) -> SpikeTrain:
        return SpikeTrain.join(self.simulation.recorded)

    def weights(self) -> Floats:
        return self.w.copy()

    def state(self) -> State:
        return State(self.w.copy(), self.storage.get())

    def restore(self, state: State) -> None:
        self.w[:] = state.w
        full = state.P.ndim == 3
        self.storage.set(state.P if full else None, None if full else state.P)

    def settle(self) -> None:
        pass

    def block(self, first: int, last: int) -> Block:
        P = self.storage.part(first, last)
        return Block(self.w[first:last], P, np.ones(last - first, P.dtype), self.options.p_precision)

    def load_block(self, first: int, block: Block) -> None:
        self.w[first : first + len(block.w)] = block.w
        P = State(block.w, widened(block))
        self.storage.set_part(first, P.full() if self.options.storage == "full" else P.packed())

    def gain(self) -> None:
        return None

    def synchronize(self) -> None:
        pass


@dataclass(frozen=True)
class NumpyBackend:
    """One storage of P in NumPy."""

    name: str
    description: str
    storages: tuple[str, ...]
    precisions: tuple[str, ...] = ("float32", "float64")
    p_precisions: tuple[str, ...] = ("float32", "float64")
    algorithms: tuple[str, ...] = ("plain",)
    devices: tuple[str, ...] = ("cpu",)
    features: frozenset[str] = frozenset(FEATURES)

    def unavailable(self) -> str | None:
        return None

    def trainer(self, problem: Problem, options: Options) -> Trainer:
        return NumpyTrainer(problem, options)

    def memory_bytes(self, experiment: Experiment, options: Options) -> dict[str, int]:
        needed = standard_bytes(experiment, options, state_arrays=16)
        if options.storage == "full":
            block = 2 * 2**20  # P and the outer products of a block
        else:
            rows = block_length(experiment.network.neurons, options.threads)
            block = 5 * experiment.plastic_inputs * rows * PRECISION_BYTES[options.p_precision]
        return needed | {"scratch for an update": block * options.threads}


FULL = NumpyBackend("numpy-full", "NumPy, batched matrix products on N x n x n", ("full",))
PACKED = NumpyBackend("numpy-packed", "NumPy, packed triangles laid out along neurons", ("packed",))
_: tuple[Backend, Backend] = (FULL, PACKED)
