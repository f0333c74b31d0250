"""The forms of the RLS update as objects with one interface.

In: a network's filtered spikes and currents, targets, w.  Out: w and P, updated.  Knows the kernels
of each form; which one is taken is decided in `rlsbench_numba.backend`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from rlsbench.backend import Block, Kept, Options, RuleUpdate, Update
from rlsbench.precision import pack
from rlsbench.problem import Problem
from rlsbench.rules import Rls, RlsWithoutP
from rlsbench_numba import rls_event, rls_plain, rls_without_p
from rlsbench_numba.arrays import New, thread_ranges
from rlsbench_numba.lanes import ENCODINGS
from rlsbench_numba.rls_blas import update_kernel
from rlsbench_numba.rls_plain import Inputs, Readout
from rlsbench_numba.simulation import Simulation
from rlsbench_numba.spiked_inputs import (
    Between,
    Jumps,
    Spiked,
    accumulate,
    collect_jumps,
    count_found,
    count_inputs,
    fill_found,
    fill_inputs,
    look_up_inputs,
)
from rlsbench_numba.steps import filtered
from rlsbench_numba.storage import Storage, fill_rows
from rlsbench_numba.storage_varying import VaryingStorage
from rlsbench_numba.tuning import BLOCKS_PER_THREAD

Floats = NDArray[np.floating[Any]]


def make_update(problem: Problem, options: Options, network: Simulation, new: New, *, blas: bool) -> Update:
    """The update of a problem with targets."""
    form: type[_Form | ByRule]
    if isinstance(problem.learning, Rls):
        form = Blas if blas else (Event if options.algorithm == "event" else Plain)
    else:
        form = WithoutP if isinstance(problem.learning, RlsWithoutP) else ByRule
    return form(problem, options, network, new)


def kept_signs(problem: Problem, dtype: np.dtype[Any]) -> Floats:
    """The signs that weights keep, (n,) of every neuron or (N, n); none, (0,)."""
    return (problem.own_part.plastic.signs if problem.learning.keeps_signs else np.empty(0)).astype(dtype)


class _Form(Update):
    """What the forms have in common; they update the w of `network`."""

    def __init__(self, problem: Problem, options: Options, network: Simulation, new: New) -> None:
        self.network, self.n = network, problem.n
        rule = problem.learning
        assert isinstance(rule, Rls)
        self.benchmark = rule.benchmark
        self.threads = options.threads
        self.blocks = BLOCKS_PER_THREAD * options.threads
        self.work: NDArray[np.int64] | None = None  # of all neurons before one, where it varies
        if problem.plastic.varies:
            self.work = np.concatenate([[0], np.cumsum(1 + problem.own_part.plastic.inputs**2)])
        w = network.w
        self.signs = kept_signs(problem, w.dtype)
        self.no_inputs = Inputs(w[:0], np.empty(0, w.dtype), np.empty(0, w.dtype), np.empty((0, 0), np.int32))

    def _ranges(self, low: int, high: int) -> NDArray[np.int64]:
        """Where blocks of the neurons low .. high-1 that take equally long begin, and high."""
        shares = np.arange(self.blocks + 1)
        if self.work is None:
            return low + shares * (high - low) // self.blocks
        first, last = self.work[[low, high]].tolist()
        return np.asarray(np.searchsorted(self.work, first + shares * (last - first) // self.blocks))

    def _readout(self, u_bal: Floats, f: Floats) -> Readout:
        return Readout(self.network.w, u_bal, f, self.benchmark, self.signs)

    def _network_inputs(self, r: Floats) -> Inputs:
        """The inputs of all neurons after the last step; r (lines,) is scratch."""
        network = self.network
        filtered(r, network.neurons, network.model.log_decay_r, network.step)
        return self.no_inputs._replace(r_X=network.r_X, r=r, sources=network.sources)


class Plain(_Form):
    """Read and write all of P at each update."""

    def __init__(self, problem: Problem, options: Options, network: Simulation, new: New) -> None:
        super().__init__(problem, options, network, new)
        rule, plastic = problem.learning, problem.own_part.plastic
        assert isinstance(rule, Rls)
        if plastic.varies:
            self.storage = VaryingStorage(options, rule, plastic, new)
        else:
            self.storage = Storage(options, rule.initial_P(plastic), new("P"), new("unit"))
        if options.algorithm == "plain":
            self.r = new("r now")

    def learn(self, *inputs: Any) -> None:
        self._learn(self.network.neurons.u_bal, inputs[0], self._network_inputs(self.r))

    def rls_update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        self._learn(u_bal, f, self.no_inputs._replace(given=x))

    def _learn(self, u_bal: Floats, f: Floats, inputs: Inputs) -> None:
        rls_plain.learn(self.storage.matrices, self._readout(u_bal, f), inputs, self._ranges(0, len(f)))


class Event(Plain):
    """Read the columns of inputs that spiked; write P every m updates and between trials."""

    def __init__(self, problem: Problem, options: Options, network: Simulation, new: New) -> None:
        super().__init__(problem, options, network, new)
        k, g, last, error = (new(f"pending.{name}") for name in ("k", "g", "last", "error"))
        for array in (g, last, error):
            array.fill(0)
        if k.ndim == 1:  # n varies
            k.fill(0)
        else:  # gigabytes, by all threads
            fill_rows(k.view(f"u{k.itemsize}"), np.zeros(k.shape[1], f"u{k.itemsize}"))
        wide: Any = g.dtype.type
        # What one spike adds to its input: so k is in the range of P.
        unit = wide(2.0 ** np.rint(-np.log2(float(problem.tau_plas_ms))) if k.dtype != g.dtype else 1.0)
        self.pending = rls_event.Pending(k.view(ENCODINGS[k.dtype.name]), g, last, error, unit)
        self.m, self.count = self.pending.g.shape[1], 0
        self.plastic = problem.own_part.plastic
        # Decay of filtered spikes between two updates.
        self.a = wide((1.0 - problem.clock.dt_ms / float(problem.tau_plas_ms)) ** problem.clock.learn_every)
        self.j, self.s = new("jumps.j"), new("jumps.s")
        self.lines = thread_ranges(len(self.j), options.threads, scanned=True)
        self.spiked = Spiked(*(new(f"spiked.{name}") for name in Spiked._fields))
        self.spiked.start[0] = 0
        shared, lists = network.shared, (new(f"between.{name}") for name in Between._fields[2:])
        self.between = None if shared is None else Between(shared.owner, np.zeros_like(shared.length[0]), *lists)
        self.cursor = new("cursor")
        self.least_jump = self.a / float(problem.tau_plas_ms)
        self.r_X_last = np.zeros(problem.plastic.feedforward, wide)
        self.everything = True

    def begin_trial(self) -> None:
        self.settle()
        self._forget(slice(None))

    def _forget(self, neurons: slice) -> None:
        """Drop what depends on the last update: the next one takes all of x as a jump."""
        self.pending.last[neurons] = 0
        self.pending.error[neurons] = 0
        self.r_X_last.fill(0)
        self.everything = True

    def learn(self, *inputs: Any) -> None:
        network = self.network
        N, neurons, outputs = len(self.cursor), network.neurons, network.outputs
        log_decay = network.model.log_decay_r[0]
        everything, self.everything = self.everything, False
        filtered_spikes = neurons.r, neurons.rise, neurons.updated
        count = collect_jumps(*filtered_spikes, log_decay, network.step, everything, self.j, self.s, self.lines)
        jumps = Jumps(self.j[:count], self.s[:count], *self._feedforward_jumps(everything))
        shared = self.between is not None and look_up_inputs(self.between, jumps, outputs)
        owned = network.lists.bounds
        if shared:
            count_found(self.cursor, jumps, self.between, owned)
        else:
            count_inputs(self.cursor, jumps, outputs, self._bounds(0, N))
        listed, start = accumulate(self.cursor, self.spiked.start), self.spiked.start
        if self.count == self.m:
            self.settle()
        readout = self._readout(neurons.u_bal, inputs[0])
        low = 0
        while low < N:  # once, unless the lists are longer than what is allocated
            high = N
            if listed > len(self.spiked.columns):
                fits = start[low] + len(self.spiked.columns)
                high = max(int(np.searchsorted(start, fits, side="right")) - 1, low + 1)
            if shared and high - low == N:
                fill_found(self.spiked, self.cursor, jumps, self.between, owned)
            else:
                fill_inputs(self.spiked, self.cursor, jumps, outputs, self._bounds(low, high))
            matrices = self.storage.matrices
            rls_event.learn(matrices, readout, self.pending, self.count, self.a, self.spiked, self._ranges(low, high))
            low = high
        self.count += 1

    def _feedforward_jumps(self, everything: bool) -> tuple[NDArray[np.uint16], Floats]:
        """The feed-forward inputs that spiked, and their jumps, 1/ms."""
        r_X = self.network.r_X.astype(self.a.dtype)
        s_X = r_X - self.a * self.r_X_last
        self.r_X_last[:] = r_X
        # Of an input that did not spike, only rounding is left, far below the smallest jump.
        j_X = np.flatnonzero(s_X > (0 if everything else self.least_jump / 2)).astype(np.uint16)
        return j_X, s_X[j_X]

    def penalize(self, column: int, strength: float) -> None:
        """An update with x = sqrt(strength) e_i: all of x is a jump, in one column of P."""
        if self.count == self.m:
            self.settle()
        self._forget(slice(None))
        N, has = len(self.cursor), column < self.plastic.inputs
        self.spiked.start[1:] = np.cumsum(has)
        self.spiked.columns[:N] = column
        self.spiked.s[:N] = np.sqrt(strength)
        w0 = np.broadcast_to(self.plastic.initial_weights, (N, self.n))[:, column]
        f = (np.sqrt(strength) * w0).astype(self.network.w.dtype)
        readout = self._readout(np.zeros_like(f), f)
        matrices = self.storage.matrices
        rls_event.learn(matrices, readout, self.pending, self.count, self.a, self.spiked, self._ranges(0, N))
        self.count += 1

    def _bounds(self, low: int, high: int) -> NDArray[np.int64]:
        """Ranges of the neurons low .. high-1, one for each thread."""
        return low + np.arange(self.threads + 1, dtype=np.int64) * (high - low) // self.threads

    def rls_update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        self.begin_trial()
        super().rls_update(x, u_bal, f)

    def settle(self) -> None:
        if self.count:
            ranges = self._ranges(0, len(self.cursor))
            rls_event.apply_pending(self.storage.matrices, self.pending, self.count, ranges)
            self.count = 0

    def set_part(self, first: int, block: Block) -> None:
        self.count = 0
        self._forget(slice(first, first + len(block.w)))
        super().set_part(first, block)

    def gain(self) -> Floats | None:
        return None if self.everything else self.pending.last[:, 1]


class Blas(_Form):
    """The plain update by single-threaded BLAS, neuron by neuron: the published scheme."""

    def __init__(self, problem: Problem, options: Options, network: Simulation, new: New) -> None:
        super().__init__(problem, options, network, new)
        assert isinstance(problem.learning, Rls)
        P0 = problem.learning.initial_P(problem.plastic).astype(options.p_precision)
        if options.storage == "packed":
            P0 = pack(P0)
        self.P = new("P").reshape(len(network.w), *P0.shape)
        self.P[:] = P0
        self.r, self.x = new("r now"), new("x")
        self.kernel = update_kernel(options.p_precision, options.storage)
        self.blas = ThreadpoolController()

    def learn(self, *inputs: Any) -> None:
        rls_plain.gather_inputs(self.x, self._network_inputs(self.r), self.blocks)
        self._learn(self.x, self.network.neurons.u_bal, inputs[0])

    def rls_update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        self._learn(x.astype(self.P.dtype, copy=False), u_bal, f)

    def _learn(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        if not self.n:  # BLAS would print an error for each empty matrix
            return
        with self.blas.limit(limits=1, user_api="blas"):
            self.kernel(self.P, x, self._readout(u_bal, f), self.blocks)

    def settle(self) -> None:
        """Mirror the lower triangle of a full matrix, the only one that BLAS updates."""
        if self.P.ndim == 3:
            for i in range(1, self.n):
                self.P[:, :i, i] = self.P[:, i, :i]

    def part(self, first: int, last: int) -> Mapping[str, Kept]:
        return {"P": Kept(self.P[first:last])}

    def set_part(self, first: int, block: Block) -> None:
        if self.n:
            self.P[first : first + len(block.w)] = block.P.full() if self.P.ndim == 3 else block.P.packed()


class ByRule(RuleUpdate):
    """A rule that is written in NumPy."""

    def __init__(self, problem: Problem, options: Options, network: Simulation, new: New) -> None:
        super().__init__(problem, network.w[:, : problem.n], network.sources, new, options.threads)
        self.network, self.r = network, new("r now")

    def learn(self, *inputs: Any) -> None:
        network = self.network
        filtered(self.r, network.neurons, network.model.log_decay_r, network.step)
        super().learn(self.r, network.r_X, network.neurons.u_bal[: len(network.w)], inputs[0])


class WithoutP(ByRule):
    """The rule `rls-without-p`, compiled."""

    def __init__(self, problem: Problem, options: Options, network: Simulation, new: New) -> None:
        super().__init__(problem, options, network, new)
        assert isinstance(self.rule, RlsWithoutP)
        learned = np.flatnonzero(~self.fixed)
        inverse = self.rule.initial_inverse(problem.plastic)[np.ix_(learned, learned)]
        self.constants = rls_without_p.Constants(inverse, learned)
        self.parts = BLOCKS_PER_THREAD * options.threads
        self.readout = Readout(network.w, self.r, self.r, self.rule.benchmark, kept_signs(problem, network.w.dtype))
        self.blas = ThreadpoolController()

    def change_weights(self, r: Floats, r_X: Floats, u_bal: Floats, f: Floats) -> None:
        readout = self.readout._replace(u_bal=u_bal, f=f)
        with self.blas.limit(limits=1, user_api="blas"):
            rls_without_p.learn(readout, self.past, self.sources, self.constants, self.parts)
