"""The algorithms of the update as objects with one interface, and the choice between them.

In: P, w, and the network's filtered spikes.  Out: P and w, updated.  Knows kernels and when each applies.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from rlsbench.backend import Options
from rlsbench.network import PlasticOutputs
from rlsbench.problem import Problem
from rlsbench_numba import rls_event, rls_plain
from rlsbench_numba.rls_blas import update_kernel
from rlsbench_numba.rls_event import PAIRS
from rlsbench_numba.simulation import Neurons

Floats = NDArray[np.floating[Any]]

__all__ = ["Blas", "Event", "Plain", "Update", "why_not_event"]

BLOCKS_PER_THREAD = 16  # ranges of neurons in an update: evens out threads that are slowed down


class Update(Protocol):
    """One algorithm, with what it keeps between updates."""

    def begin_trial(self) -> None:
        """Filtered spikes are zero now."""

    def learn(self, neurons: Neurons, r_X: Floats, f: Floats) -> None:
        """Update from the network's filtered spikes towards the targets f (N,)."""

    def rls_update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        """Update from given inputs x (N, n)."""

    def written(self) -> Floats:
        """P, with every update so far written into it."""

    def replaced(self) -> None:
        """P and w have been replaced from outside."""


def why_not_event(problem: Problem, options: Options) -> str | None:
    """Why the event form does not apply, or None."""
    if options.storage != "full":
        return f"it reads columns of P, which {options.storage} storage does not keep together"
    if isinstance(problem.tau_plas_ms, np.ndarray):
        return "each neuron has a tau_plas of its own, and it needs one decay for all inputs"
    if problem.feedforward is not None and problem.feedforward.tau_ms != problem.tau_plas_ms:
        return "feed-forward inputs have a filter of their own, and it needs one decay for all inputs"
    if problem.n > np.iinfo(np.int16).max:
        return f"it numbers inputs in 16 bits, and there are {problem.n}"
    return None


class Plain:
    """Read and write all of P at each update."""

    def __init__(self, problem: Problem, options: Options, P: Floats, w: Floats, sources: NDArray[np.int32]) -> None:
        self.P, self.w, self.sources = P, w, sources
        self.benchmark = problem.learning.benchmark
        self.blocks = BLOCKS_PER_THREAD * options.threads

    def begin_trial(self) -> None:
        pass

    def learn(self, neurons: Neurons, r_X: Floats, f: Floats) -> None:
        rls_plain.learn_from_network(
            self.P, self.w, r_X, neurons.r, self.sources, neurons.u_bal, f, self.benchmark, self.blocks
        )

    def rls_update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        rls_plain.learn_from_inputs(self.P, self.w, x, u_bal, f, self.benchmark, self.blocks)

    def written(self) -> Floats:
        return self.P

    def replaced(self) -> None:
        pass


class Blas:
    """The plain update by BLAS, neuron by neuron: the published scheme. BLAS itself runs in one thread."""

    def __init__(self, problem: Problem, options: Options, P: Floats, w: Floats, sources: NDArray[np.int32]) -> None:
        self.P, self.w, self.sources = P, w, sources
        self.benchmark = problem.learning.benchmark
        self.blocks = BLOCKS_PER_THREAD * options.threads
        self.x = np.empty(w.shape, P.dtype)
        self.kernel = update_kernel(options.p_precision, options.storage)
        self.blas = ThreadpoolController()

    def begin_trial(self) -> None:
        pass

    def learn(self, neurons: Neurons, r_X: Floats, f: Floats) -> None:
        rls_plain.gather_inputs(self.x, r_X, neurons.r, self.sources, self.blocks)
        self._update(self.x, neurons.u_bal, f)

    def rls_update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        self._update(x.astype(self.P.dtype, copy=False), u_bal, f)

    def _update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        with self.blas.limit(limits=1, user_api="blas"):
            self.kernel(self.P, self.w, x, u_bal, f, self.benchmark, self.blocks)

    def written(self) -> Floats:
        """BLAS keeps one triangle of a full matrix up to date: mirror it."""
        if self.P.ndim == 3:
            for i in range(1, self.P.shape[1]):
                self.P[:, :i, i] = self.P[:, i, :i]
        return self.P

    def replaced(self) -> None:
        pass


class Event:
    """Read the columns of inputs that spiked; write P every PAIRS updates."""

    def __init__(self, problem: Problem, options: Options, P: Floats, w: Floats, outputs: PlasticOutputs) -> None:
        N, n, LX = problem.neurons, problem.n, problem.plastic.feedforward
        self.P, self.w, self.outputs = P, w, outputs
        self.benchmark = problem.learning.benchmark
        self.blocks = BLOCKS_PER_THREAD * options.threads
        self.bounds = np.arange(options.threads + 1, dtype=np.int64) * N // options.threads
        clock = problem.clock
        decay = 1.0 - clock.dt_ms / float(problem.tau_plas_ms)
        self.a = P.dtype.type(decay**clock.learn_every)
        self.memory = rls_event.empty_memory(N, n, w.dtype, P.dtype)
        self.spiked = rls_event.empty_spiked(N, n, P.dtype)
        self.r_last, self.r_X_last = np.zeros(N, w.dtype), np.zeros(LX, w.dtype)
        self.who, self.jump = np.empty(N, np.int32), np.empty(N, P.dtype)
        self.fresh = True
        self.kept = 0

    def begin_trial(self) -> None:
        """x = 0: the next update takes all of x as a jump, and there is no k to go on from."""
        for array in (*self.memory[:5], self.r_last, self.r_X_last):
            array.fill(0)
        self.fresh = True

    replaced = begin_trial

    def learn(self, neurons: Neurons, r_X: Floats, f: Floats) -> None:
        if self.fresh:
            neurons.fresh.fill(True)
            self.fresh = False
        count = rls_event.collect(neurons.fresh, neurons.s, neurons.r, self.r_last, self.a, self.who, self.jump)
        jump_X = (r_X - self.a * self.r_X_last).astype(self.P.dtype)
        self.r_X_last[:] = r_X
        who_X = np.arange(len(r_X), dtype=np.int32)  # few: all of them, whether they spiked or not
        out = self.outputs
        rls_event.list_inputs(
            self.spiked,
            self.who[:count],
            self.jump[:count],
            who_X,
            jump_X,
            out.start,
            out.post,
            out.column,
            self.bounds,
        )
        if self.kept == PAIRS:
            self.written()
        rls_event.learn(
            self.P,
            self.w,
            self.memory,
            self.spiked,
            self.kept,
            self.a,
            neurons.u_bal,
            f,
            self.benchmark,
            self.blocks,
        )
        self.kept += 1

    def rls_update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        rls_plain.learn_from_inputs(self.written(), self.w, x, u_bal, f, self.benchmark, self.blocks)
        self.replaced()

    def written(self) -> Floats:
        if self.kept:
            rls_event.fold(self.P, self.memory.pairs, self.blocks)
            self.kept = 0
        return self.P
