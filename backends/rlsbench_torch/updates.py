"""The two forms of the update as objects with one interface: they hold P, and go through it in blocks of neurons.

In: P, w, and the network's filtered spikes.  Out: P and w, updated.  Knows when each form applies, and threads.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from rlsbench.backend import Options
from rlsbench.errors import UnsupportedError
from rlsbench.problem import Problem
from rlsbench_torch import rls_event, rls_plain
from rlsbench_torch.backend import pairs_kept
from rlsbench_torch.devices import in_parallel
from rlsbench_torch.matrices import Matrices
from rlsbench_torch.simulation import Simulation

__all__ = ["Event", "Frozen", "Plain", "Update", "make_update"]

EVENT_BLOCK = 1024  # neurons, on the processor: their jumps, and one k of each, stay in the second-level cache

Floats = NDArray[np.floating[Any]]


class Update(Protocol):
    """One form of the update, with P and what it keeps between updates."""

    def begin_trial(self) -> None:
        """Filtered spikes are zero now."""

    def learn(self, simulation: Simulation, f: torch.Tensor) -> None:
        """Update from the network's filtered spikes and u_bal towards the targets f (N,)."""

    def rls_update(self, x: torch.Tensor, u_bal: torch.Tensor, f: torch.Tensor) -> None:
        """Update from given inputs x (N, n)."""

    def P(self) -> Floats:
        """A copy of P, every update so far written into it."""

    def set_P(self, P: Floats) -> None:
        """Take P (N, n, n); w has been replaced, too."""

    @property
    def matrices(self) -> Matrices:
        """P as it was last written."""

    def settle(self) -> None:
        """Write every update so far into P."""

    def forget(self) -> None:
        """P and w are being replaced: let go of all that goes on from the last update."""

    def gain(self) -> torch.Tensor | None:
        """g of the last update in this trial, (N,), where it is kept."""


class Inputs:
    """Gathers values of neurons as values of their plastic inputs.

    Parameters
    ----------
    sources : Tensor of int32, shape (N, 2 L)
    """

    def __init__(self, sources: torch.Tensor) -> None:
        self.sources = sources

    def of(self, block: slice, neurons: torch.Tensor, feedforward: torch.Tensor) -> torch.Tensor:
        """[feedforward; neurons[pre(c)]] of the neurons c of a block, (B, n), from (LX,) and (N,)."""
        sources = self.sources[block]
        recurrent = neurons.index_select(0, sources.view(-1)).view(sources.shape)
        if not len(feedforward):
            return recurrent
        return torch.cat([feedforward.expand(len(recurrent), -1), recurrent], dim=1)


class Plain:
    """Read and write all of P at each update."""

    def __init__(self, problem: Problem, options: Options, w: torch.Tensor, sources: torch.Tensor) -> None:
        self.matrices = _matrices(problem, options, w.device)
        self.w, self.inputs = w, Inputs(sources)
        self.threads = options.threads if w.device.type == "cpu" else 1  # that ask the device
        self.benchmark = problem.learning.benchmark
        self.update = torch.compile(rls_plain.update, dynamic=True) if options.compile else rls_plain.update

    def begin_trial(self) -> None:
        pass

    def learn(self, simulation: Simulation, f: torch.Tensor) -> None:
        r_X = torch.from_numpy(simulation.r_X).to(self.w.dtype).to(self.w.device)
        self._go_through(lambda block: self.inputs.of(block, simulation.r, r_X), simulation.u_bal, f)

    def rls_update(self, x: torch.Tensor, u_bal: torch.Tensor, f: torch.Tensor) -> None:
        self._go_through(lambda block: x[block], u_bal, f)

    def _go_through(self, x_of: Any, u_bal: torch.Tensor, f: torch.Tensor) -> None:
        m, u_minus_f, idle = self.matrices, u_bal - f, _idle(f)

        def work(block: slice) -> None:
            P = m.take(block)
            without = None if idle is None else idle[block]
            self.update(P, self.w[block], x_of(block), u_minus_f[block], without, self.benchmark)
            m.put(block, P)

        in_parallel(work, m.blocks, self.threads)

    def P(self) -> Floats:
        return self.matrices.get()

    def set_P(self, P: Floats) -> None:
        self.matrices.set(P)

    def settle(self) -> None:
        pass

    def forget(self) -> None:
        pass

    def gain(self) -> torch.Tensor | None:
        return None


class Event:
    """Read the columns of inputs that spiked; write P every few updates, and at the end of a trial."""

    def __init__(self, problem: Problem, options: Options, w: torch.Tensor, sources: torch.Tensor) -> None:
        N, n = problem.neurons, problem.n
        self.plain = Plain(problem, options, w, sources)
        self.matrices, self.w, self.inputs = self.plain.matrices, w, self.plain.inputs
        self.threads, self.benchmark = self.plain.threads, problem.learning.benchmark
        self.a = (1.0 - problem.clock.dt_ms / float(problem.tau_plas_ms)) ** problem.clock.learn_every
        self.pairs = pairs_kept(n)
        self.memory = rls_event.empty_memory(N, n, self.pairs, self.matrices.wide, w.dtype, w.device)
        size = EVENT_BLOCK if w.device.type == "cpu" else N
        self.blocks = [slice(c, min(c + size, N)) for c in range(0, N, size)]
        self.r_X_last = np.zeros(problem.plastic.feedforward)
        self.kept = 0

    def begin_trial(self) -> None:
        self.settle()
        self.forget()

    def forget(self) -> None:
        self.kept = 0
        rls_event.forget(self.memory)
        self.r_X_last[:] = 0.0
        self.everything = True

    def learn(self, simulation: Simulation, f: torch.Tensor) -> None:
        if self.kept == self.pairs:
            self.settle()
        wide = self.matrices.wide
        jump = (simulation.r if self.everything else simulation.rise).to(wide)
        jump_X = torch.from_numpy(simulation.r_X - self.a * self.r_X_last).to(wide).to(self.w.device)
        u_minus_f, idle = simulation.u_bal - f, _idle(f)

        def work(block: slice) -> None:
            rls_event.update(
                self.matrices.P[block],
                self.w[block],
                self.memory.of(block),
                self.kept,
                self.a,
                self.inputs.of(block, jump, jump_X),
                u_minus_f[block],
                None if idle is None else idle[block],
                self.benchmark,
            )

        in_parallel(work, self.blocks, self.threads)
        simulation.rise.zero_()
        self.r_X_last[:] = simulation.r_X
        self.everything = False
        self.kept += 1

    def rls_update(self, x: torch.Tensor, u_bal: torch.Tensor, f: torch.Tensor) -> None:
        self.settle()
        self.forget()
        self.plain.rls_update(x, u_bal, f)

    def P(self) -> Floats:
        self.settle()
        return self.matrices.get()

    def set_P(self, P: Floats) -> None:
        self.forget()
        self.matrices.set(P)

    def gain(self) -> torch.Tensor | None:
        return None if self.everything else self.memory.last[1]

    def settle(self) -> None:
        if not self.kept:
            return
        m = self.matrices

        def work(block: slice) -> None:
            P = m.take(block)
            rls_event.fold(P, self.memory.of(block), self.kept)
            m.put(block, P)

        in_parallel(work, m.blocks, self.threads)
        self.kept = 0


class Frozen:
    """No update: a network without targets keeps neither P nor anything else that learning needs."""

    def begin_trial(self) -> None:
        pass

    def learn(self, simulation: Simulation, f: torch.Tensor) -> None:
        raise UnsupportedError("a network without targets cannot learn")

    def rls_update(self, x: torch.Tensor, u_bal: torch.Tensor, f: torch.Tensor) -> None:
        raise UnsupportedError("a network without targets cannot learn")

    def P(self) -> Floats:
        return np.empty((0, 0))

    def set_P(self, P: Floats) -> None:
        pass

    @property
    def matrices(self) -> Matrices:
        raise UnsupportedError("a network without targets has no P")

    def settle(self) -> None:
        pass

    def forget(self) -> None:
        pass

    def gain(self) -> torch.Tensor | None:
        return None


def make_update(problem: Problem, options: Options, w: torch.Tensor, sources: NDArray[np.int32]) -> Update:
    """The update that the options name; none where there are no targets."""
    if problem.targets is None:
        return Frozen()
    kind = Event if options.algorithm == "event" else Plain
    return kind(problem, options, w, torch.from_numpy(sources).to(w.device))


def _matrices(problem: Problem, options: Options, device: torch.device) -> Matrices:
    P0 = problem.learning.initial_P(problem.plastic)
    return Matrices(problem.neurons, P0, options.p_precision, device)


def _idle(f: torch.Tensor) -> torch.Tensor | None:
    """Neurons without target (N,), or None where all have one."""
    idle = f.isnan()
    return idle if bool(idle.any()) else None
