"""The two forms of the update as objects: they hold P, and go through it in blocks of neurons.

Where numbers of inputs vary, each class of similar numbers has an object of its own.

In: P, w, and the network's filtered spikes.  Out: P and w, updated.  Knows threads, but no
equation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlsbench.backend import Arrays, Options, Update
from rlsbench.problem import Problem
from rlsbench.rules import Rls
from rlsbench_torch import rls_event, rls_plain
from rlsbench_torch.devices import blocks_of, in_parallel
from rlsbench_torch.rls_plain import Goal
from rlsbench_torch.simulation import Simulation
from rlsbench_torch.storage import ClassedStorage, Storage
from rlsbench_torch.tuning import EVENT_BLOCK


class Plain(Update):
    """Read and write all of P at each update; w is (N, n), the pre-synaptic `sources` (N, 2 L).

    `neurons` (N,), if given, are those of a class; then P is still to be filled.
    """

    def __init__(
        self,
        problem: Problem,
        options: Options,
        arrays: Arrays[Tensor],
        w: Tensor,
        sources: Tensor,
        neurons: NDArray[np.int64] | None = None,
    ) -> None:
        rule, plastic, n = problem.learning, problem.plastic, w.shape[1]
        assert isinstance(rule, Rls)
        P0, signs, self.threads = np.zeros((n, n)), plastic.signs, options.threads
        if w.device.type != "cpu":
            self.threads = 1  # one thread queues work for a device
        if neurons is None:
            P0, parts = rule.initial_P(plastic), 1
        else:
            signs, parts = signs[neurons, :n], self.threads
        self.storage = Storage(arrays.new(f"P {n}"), P0, options.p_precision, parts)
        self.w = w
        self.sources = sources
        self.freeze_w = rule.benchmark
        self.signs = torch.from_numpy(signs).to(w).expand(len(sources), n) if rule.keeps_signs else None
        self.run: Callable[[Callable[[slice], None], list[slice]], None] = partial(in_parallel, threads=self.threads)
        self.update = torch.compile(rls_plain.update, dynamic=True) if options.compile else rls_plain.update

    @property
    def full(self) -> bool:
        """Whether no more updates can be pending."""
        return False

    def inputs(self, block: slice, neurons: Tensor, feedforward: Tensor) -> Tensor:
        """[feedforward; neurons[pre(c)]] of each neuron c of a block, (B, n)."""
        sources = self.sources[block]
        recurrent = neurons.index_select(0, sources.view(-1)).view(sources.shape)
        if not len(feedforward):
            return recurrent
        return torch.cat([feedforward.expand(len(recurrent), -1), recurrent], dim=1)

    def learn(self, simulation: Simulation, u_bal: Tensor, f: Tensor) -> None:
        r_X = torch.from_numpy(simulation.r_X).to(self.w.dtype).to(self.w.device)
        goal = Goal.of(u_bal, f, self.freeze_w)
        self._update_blocks(lambda block: self.inputs(block, simulation.r, r_X), goal)

    def rls_update(self, x: Tensor, u_bal: Tensor, f: Tensor) -> None:
        self._update_blocks(lambda block: x[block], Goal.of(u_bal, f, self.freeze_w))

    def _update_blocks(self, x_of: Callable[[slice], Tensor], goal: Goal) -> None:
        storage = self.storage

        def work(block: slice) -> None:
            P = storage.take(block)
            w = self.w[block]
            self.update(P, w, x_of(block), goal.part(block))
            if self.signs is not None:
                w.mul_(w * self.signs[block] >= 0)
            storage.put(block, P)

        self.run(work, storage.blocks)


class Event(Plain):
    """Read the columns of inputs that spiked; write P every m updates and after a trial."""

    def __init__(self, problem: Problem, options: Options, arrays: Arrays[Tensor], w: Tensor, *which: Any) -> None:
        super().__init__(problem, options, arrays, w, *which)
        N, n = len(self.sources), w.shape[1]
        self.a = (1.0 - problem.clock.dt_ms / float(problem.tau_plas_ms)) ** problem.clock.learn_every
        self.pending = rls_event.Pending(*(arrays.new(f"{name} {n}").zero_() for name in rls_event.Pending._fields))
        self.blocks = blocks_of(N, EVENT_BLOCK if w.device.type == "cpu" else N)
        self.r_X_last = np.zeros(problem.plastic.feedforward)
        self.count = 0
        self.first = True  # whether the next update is the first one of a trial

    def begin_trial(self) -> None:
        self.settle()
        self.forget()

    def forget(self) -> None:
        self.count = 0
        self.pending.last.zero_()
        self.pending.error.zero_()
        self.r_X_last[:] = 0.0
        self.first = True

    @property
    def full(self) -> bool:
        return self.count == len(self.pending.k)

    def learn(self, simulation: Simulation, u_bal: Tensor, f: Tensor) -> None:
        if self.full:
            self.settle()
        wide, count = self.storage.wide, self.count
        jump = (simulation.r if self.first else simulation.rise).to(wide)
        jump_X = torch.from_numpy(simulation.r_X - self.a * self.r_X_last).to(wide).to(self.w.device)
        goal = Goal.of(u_bal, f, self.freeze_w)

        def work(block: slice) -> None:
            s = self.inputs(block, jump, jump_X)
            P = self.storage.P[block]
            rls_event.update(P, self.w[block], s, goal.part(block), self.pending.part(block), count, self.a)

        self.run(work, self.blocks)
        self.r_X_last[:] = simulation.r_X
        self.first = False
        self.count += 1

    def rls_update(self, x: Tensor, u_bal: Tensor, f: Tensor) -> None:
        self.begin_trial()
        super().rls_update(x, u_bal, f)

    def gain(self) -> Tensor | None:
        return None if self.first else self.pending.last[1]

    def settle(self) -> None:
        if not self.count:
            return
        storage, count = self.storage, self.count

        def work(block: slice) -> None:
            P = storage.take(block)
            rls_event.fold(P, self.pending.part(block), count)
            storage.put(block, P)

        self.run(work, storage.blocks)
        self.count = 0


class Classed(Update):
    """Either form where numbers of inputs vary, in classes of similar numbers.

    w (N, n) and the `sources` (N, 2 L) are as wide as those of the neuron with the most inputs.
    Beyond a neuron's own inputs, w and P are 0, so it does not matter what x is there.
    """

    def __init__(
        self,
        form: type[Plain],
        problem: Problem,
        options: Options,
        arrays: Arrays[Tensor],
        w: Tensor,
        sources: NDArray[np.int32],
    ) -> None:
        rule, plastic = problem.learning, problem.plastic
        assert isinstance(rule, Rls)
        self.w = w
        self.jobs: list[Callable[[], None]] = []
        self.classes: list[tuple[Tensor, Plain]] = []

        def make(neurons: NDArray[np.int64], n: int) -> Storage:
            own = torch.from_numpy(sources[neurons, : n - plastic.feedforward].clip(0))
            own = arrays.new(f"sources {n}").copy_(own)
            made = form(problem, options, arrays, w[:0, :n], own, neurons)
            made.run, self.threads = self._collect, made.threads
            self.classes.append((torch.from_numpy(neurons).to(w.device), made))
            storage: Storage = made.storage
            return storage

        self.storage = ClassedStorage(plastic.inputs, make)
        self.storage.fill(rule.initial_matrices(plastic, self.storage.tops))

    def begin_trial(self) -> None:
        self.settle()
        for _, form in self.classes:
            form.begin_trial()

    def learn(self, simulation: Simulation, u_bal: Tensor, f: Tensor) -> None:
        if any(form.full for _, form in self.classes):
            self.settle()
        self._of_each(lambda form, own: form.learn(simulation, u_bal[own], f[own]))

    def rls_update(self, x: Tensor, u_bal: Tensor, f: Tensor) -> None:
        self.settle()
        self._of_each(lambda form, own: form.rls_update(x[own, : form.w.shape[1]], u_bal[own], f[own]))

    def _of_each(self, update: Callable[[Plain, Tensor], None]) -> None:
        """Update each class; its weights are next to each other only meanwhile."""
        for neurons, form in self.classes:
            form.w = self.w[neurons, : form.w.shape[1]]
            update(form, neurons)
        self._run()
        for neurons, form in self.classes:
            n = form.w.shape[1]
            self.w[neurons, :n] = form.w
            form.w = self.w[:0, :n]

    def _collect(self, work: Callable[[slice], None], blocks: list[slice]) -> None:
        self.jobs += [partial(work, block) for block in blocks]

    def _run(self) -> None:
        """Run what the classes have asked for, with the threads shared by all of them."""
        in_parallel(lambda job: job(), self.jobs, self.threads)
        self.jobs.clear()

    def forget(self) -> None:
        for _, form in self.classes:
            form.forget()

    def settle(self) -> None:
        for _, form in self.classes:
            form.settle()
        self._run()

    def gain(self) -> Tensor | None:
        gains = [form.gain() for _, form in self.classes]
        if any(g is None for g in gains):
            return None
        return torch.cat(gains)[torch.cat([neurons for neurons, _ in self.classes]).argsort()]
