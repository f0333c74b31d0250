"""The algorithms of the update as objects with one interface, and the choice between them.

In: P, w, and the network's filtered spikes.  Out: P and w, updated.  Knows kernels and when each applies.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from rlsbench.backend import Block, Options, widened
from rlsbench.errors import UnsupportedError
from rlsbench.precision import pack, unpack
from rlsbench.problem import Problem
from rlsbench_numba import rls_event, rls_plain
from rlsbench_numba.backend import pairs_kept
from rlsbench_numba.matrices import Matrices
from rlsbench_numba.rls_blas import update_kernel
from rlsbench_numba.simulation import Neurons, filtered
from rlsbench_numba.spiked_inputs import add_up, count_inputs, fill_inputs, take_jumps
from rlsbench_numba.synapses import Outputs

Floats = NDArray[np.floating[Any]]

__all__ = ["Blas", "Event", "Frozen", "Plain", "Update", "Wiring"]

BLOCKS_PER_THREAD = 16  # ranges of neurons in an update: evens out threads that are slowed down
LISTED_AT_LEAST = 1 << 22  # entries of lists of spiked inputs for which there is always room
LISTED_PER_NEURON = 16  # the same for each neuron


class Wiring(NamedTuple):
    """The plastic synapses, by post- and by pre-synaptic neuron."""

    w: Floats
    """(N, width)"""
    sources: NDArray[np.int32]
    """(N, 2 L), or (0, 0) where the update does without."""
    outputs: Outputs


class Update(Protocol):
    """One algorithm, with P and what it keeps between updates."""

    def begin_trial(self) -> None:
        """Filtered spikes are zero now."""

    def learn(self, neurons: Neurons, log_decay: NDArray[np.float64], step: int, r_X: Floats, f: Floats) -> None:
        """Update from the network's filtered spikes after a step, towards the targets f (N,)."""

    def rls_update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        """Update from given inputs x (N, n)."""

    def P(self) -> Floats:
        """A copy of P, every update so far written into it."""

    def set_P(self, P: Floats) -> None:
        """Take P, full or packed; w has been replaced, too."""

    def settle(self) -> None:
        """Write every update so far into P, and every entry of it."""

    def part(self, first: int, last: int) -> tuple[NDArray[Any], Floats]:
        """P of some neurons as it was last written, and its units; see `rlsbench.backend.Block`."""

    def set_part(self, first: int, block: Block) -> None:
        """Take P of the neurons from `first` on; their w has been replaced, too."""

    def gain(self) -> Floats | None:
        """g of the last update, (N,), where it is kept."""


class Plain:
    """Read and write all of P at each update."""

    def __init__(self, problem: Problem, options: Options, wiring: Wiring) -> None:
        self.matrices = _matrices(problem, options)
        self.wiring, self.n = wiring, problem.n
        self.benchmark = problem.learning.benchmark
        self.blocks = BLOCKS_PER_THREAD * options.threads
        self.r = np.empty(problem.neurons, wiring.w.dtype)

    def begin_trial(self) -> None:
        pass

    def learn(self, neurons: Neurons, log_decay: NDArray[np.float64], step: int, r_X: Floats, f: Floats) -> None:
        filtered(self.r, neurons, log_decay, step)
        m = self.matrices
        rls_plain.learn_from_network(
            m.values,
            m.unit,
            self.wiring.w,
            self.n,
            r_X,
            self.r,
            self.wiring.sources,
            neurons.u_bal,
            f,
            self.benchmark,
            self.blocks,
        )

    def rls_update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        m = self.matrices
        rls_plain.learn_from_inputs(m.values, m.unit, self.wiring.w, self.n, x, u_bal, f, self.benchmark, self.blocks)

    def P(self) -> Floats:
        return self.matrices.get()

    def set_P(self, P: Floats) -> None:
        self.matrices.set(P)

    def settle(self) -> None:
        pass

    def part(self, first: int, last: int) -> tuple[NDArray[Any], Floats]:
        return self.matrices.part(first, last)

    def set_part(self, first: int, block: Block) -> None:
        self.matrices.set_part(first, block)

    def gain(self) -> Floats | None:
        return None


class Event:
    """Read the columns of inputs that spiked; write P every few updates, and at the end of a trial."""

    def __init__(self, problem: Problem, options: Options, wiring: Wiring) -> None:
        N, n, LX = problem.neurons, problem.n, problem.plastic.feedforward
        self.matrices = _matrices(problem, options)
        self.wiring, self.n = wiring, n
        self.benchmark = problem.learning.benchmark
        self.blocks = BLOCKS_PER_THREAD * options.threads
        self.threads = options.threads
        wide: np.dtype[Any] = self.matrices.wide
        decay = 1.0 - problem.clock.dt_ms / float(problem.tau_plas_ms)
        self.a: np.floating[Any] = wide.type(decay**problem.clock.learn_every)
        self.pairs = pairs_kept(n)
        self.memory = rls_event.empty_memory(self.matrices, wiring.w.shape[1], self.pairs, wiring.w.dtype)
        room = min(N * n, max(LISTED_AT_LEAST, LISTED_PER_NEURON * N))
        self.columns, self.jumps = np.empty(room, np.uint16), np.empty(room, wide)
        self.length, self.start = np.empty(N, np.int64), np.zeros(N + 1, np.int64)
        self.who, self.jump = np.empty(N, np.int32), np.empty(N, wide)
        self.r_X_last = np.zeros(LX, wide)
        self.everything = True
        self.kept = 0

    def begin_trial(self) -> None:
        self._fold()
        self._forget()

    def _forget(self) -> None:
        """There is no k to go on from: the next update takes all of x as a jump."""
        self.memory.last.fill(0)
        self.memory.error.fill(0)
        self.r_X_last.fill(0)
        self.everything = True

    def learn(self, neurons: Neurons, log_decay: NDArray[np.float64], step: int, r_X: Floats, f: Floats) -> None:
        count = take_jumps(
            neurons.r, neurons.rise, neurons.updated, log_decay[0], step, self.everything, self.who, self.jump
        )
        self.everything = False
        who, jump, outputs = self.who[:count], self.jump[:count], self.wiring.outputs
        jump_X = r_X.astype(self.a.dtype) - self.a * self.r_X_last
        self.r_X_last[:] = r_X
        N = len(self.length)
        count_inputs(self.length, who, len(jump_X), outputs, self._bounds(0, N))
        listed = add_up(self.length, self.start)
        if self.kept == self.pairs:
            self._fold()
        low = 0
        while low < N:  # one round, but where everything is listed
            high = N
            if listed > len(self.columns):
                fits = self.start[low] + len(self.columns)
                high = max(int(np.searchsorted(self.start, fits, side="right")) - 1, low + 1)
            fill_inputs(
                self.start, self.columns, self.jumps, self.length, who, jump, jump_X, outputs, self._bounds(low, high)
            )
            rls_event.learn(
                self.matrices.values,
                self.matrices.unit,
                self.wiring.w,
                self.memory,
                self.kept,
                self.a,
                self.start,
                self.columns,
                self.jumps,
                neurons.u_bal,
                f,
                self.benchmark,
                low,
                high,
                self.blocks,
            )
            low = high
        self.kept += 1

    def _bounds(self, low: int, high: int) -> NDArray[np.int64]:
        return low + np.arange(self.threads + 1, dtype=np.int64) * (high - low) // self.threads

    def rls_update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        self._fold()
        self._forget()
        m = self.matrices
        rls_plain.learn_from_inputs(m.values, m.unit, self.wiring.w, self.n, x, u_bal, f, self.benchmark, self.blocks)

    def P(self) -> Floats:
        self._fold()
        return self.matrices.get()

    def set_P(self, P: Floats) -> None:
        self.kept = 0
        self._forget()
        self.matrices.set(P)

    def settle(self) -> None:
        self._fold()

    def part(self, first: int, last: int) -> tuple[NDArray[Any], Floats]:
        return self.matrices.part(first, last)

    def set_part(self, first: int, block: Block) -> None:
        self.kept, self.everything = 0, True
        neurons = slice(first, first + len(block.w))
        for array in (self.memory.last[neurons], self.memory.error[neurons], self.r_X_last):
            array.fill(0)
        self.matrices.set_part(first, block)

    def gain(self) -> Floats | None:
        return None if self.everything else self.memory.last[:, 1]

    def _fold(self) -> None:
        if self.kept:
            m = self.matrices
            rls_event.fold(m.values, m.unit, self.memory, self.kept, self.wiring.w.shape[1], self.n, self.blocks)
            self.kept = 0


class Frozen:
    """No update: a network without targets keeps neither P nor anything else that learning needs."""

    def begin_trial(self) -> None:
        pass

    def learn(self, neurons: Neurons, log_decay: NDArray[np.float64], step: int, r_X: Floats, f: Floats) -> None:
        raise UnsupportedError("a network without targets cannot learn")

    def rls_update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        raise UnsupportedError("a network without targets cannot learn")

    def P(self) -> Floats:
        return np.empty((0, 0))

    def set_P(self, P: Floats) -> None:
        pass

    def settle(self) -> None:
        pass

    def part(self, first: int, last: int) -> tuple[NDArray[Any], Floats]:
        return np.empty((last - first, 0)), np.ones(last - first)

    def set_part(self, first: int, block: Block) -> None:
        pass

    def gain(self) -> Floats | None:
        return None


class Blas:
    """The plain update by BLAS, neuron by neuron: the published scheme. BLAS itself runs in one thread."""

    def __init__(self, problem: Problem, options: Options, wiring: Wiring) -> None:
        self.wiring = wiring
        self.benchmark = problem.learning.benchmark
        self.blocks = BLOCKS_PER_THREAD * options.threads
        P0 = problem.learning.initial_P(problem.plastic).astype(options.p_precision)
        if options.storage == "packed":
            P0 = P0[np.tril_indices(problem.n)]
        self.values = np.empty((problem.neurons, *P0.shape), P0.dtype)
        self.values[:] = P0
        self.r = np.empty(problem.neurons, wiring.w.dtype)
        self.x = np.empty((problem.neurons, problem.n), P0.dtype)
        self.kernel = update_kernel(options.p_precision, options.storage)
        self.blas = ThreadpoolController()

    def begin_trial(self) -> None:
        pass

    def learn(self, neurons: Neurons, log_decay: NDArray[np.float64], step: int, r_X: Floats, f: Floats) -> None:
        filtered(self.r, neurons, log_decay, step)
        rls_plain.gather_inputs(self.x, r_X, self.r, self.wiring.sources, self.blocks)
        self._update(self.x, neurons.u_bal, f)

    def rls_update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        self._update(x.astype(self.values.dtype, copy=False), u_bal, f)

    def _update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        with self.blas.limit(limits=1, user_api="blas"):
            self.kernel(self.values, self.wiring.w, x, u_bal, f, self.benchmark, self.blocks)

    def P(self) -> Floats:
        self.settle()
        return self.values.copy()

    def set_P(self, P: Floats) -> None:
        self.values[:] = P

    def settle(self) -> None:
        """BLAS keeps the lower triangle of a full matrix up to date: mirror it."""
        P = self.values
        if P.ndim == 3:
            for i in range(1, P.shape[1]):
                P[:, :i, i] = P[:, i, :i]

    def part(self, first: int, last: int) -> tuple[NDArray[Any], Floats]:
        return self.values[first:last], np.ones(last - first, self.values.dtype)

    def set_part(self, first: int, block: Block) -> None:
        P = widened(block)
        if P.ndim != self.values.ndim:
            P = pack(P) if P.ndim == 3 else unpack(P, block.w.shape[1])
        self.values[first : first + len(P)] = P

    def gain(self) -> Floats | None:
        return None


def _matrices(problem: Problem, options: Options) -> Matrices:
    P0 = problem.learning.initial_P(problem.plastic)
    return Matrices(problem.neurons, problem.n, options.storage, options.p_precision, P0)
