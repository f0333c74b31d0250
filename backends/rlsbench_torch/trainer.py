"""The trainer of the backend `torch`: weights, a simulation, an update, and the way between host and device.

In: a `Problem` and `Options`.  Out: a `Trainer`.  Imports PyTorch.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlsbench.backend import Block, Options, Sizes, SpikeTrain, State, Trainer, choose_form
from rlsbench.errors import UnsupportedError
from rlsbench.problem import Problem
from rlsbench_torch.devices import DTYPES, on_host, synchronize, use_threads
from rlsbench_torch.simulation import Simulation
from rlsbench_torch.updates import make_update

Floats = NDArray[np.floating[Any]]

__all__ = ["TorchTrainer"]


class TorchTrainer(Trainer):
    """A network in PyTorch, on one device."""

    @torch.inference_mode()
    def __init__(self, problem: Problem, options: Options) -> None:
        N, n = problem.neurons, problem.n
        if N * n >= 2**31:
            raise UnsupportedError(f"{N:,} neurons with {n} plastic inputs: this backend numbers weights in 32 bits")
        algorithm, notes = choose_form(Sizes.of_problem(problem), options)
        self.device = torch.device(options.device)
        kind = self.device.type
        untried = f"torch has not been tested on {kind}: run `rlsbench verify torch --device {options.device}` first"
        super().__init__(problem, replace(options, algorithm=algorithm), notes if kind == "cpu" else [*notes, untried])
        use_threads(options.threads)
        flat = torch.zeros(N * n + 1, dtype=DTYPES[options.precision], device=self.device)
        self.w = flat[:-1].view(N, n)
        self.w.copy_(torch.tensor(problem.plastic.initial_weights))
        sources = problem.plastic.sources(problem.seed)
        self.simulation = Simulation(problem, flat, sources, threads=options.threads, compile=options.compile)
        self.update = make_update(problem, self.options, self.w, sources)

    @torch.inference_mode()
    def begin_trial(self, trial: int, task: int, record: NDArray[np.int64]) -> None:
        use_threads(self.options.threads)
        self.simulation.begin_trial(trial, task, record)
        self.update.begin_trial()

    @torch.inference_mode()
    def advance(self, first: int, last: int, spikes: SpikeTrain | None = None) -> None:
        self.simulation.advance(first, last, spikes)

    @torch.inference_mode()
    def learn(self, bin: int) -> None:
        use_threads(self.options.threads)
        targets = self.problem.targets
        assert targets is not None
        self.update.learn(self.simulation, self._tensor(targets.row(self.simulation.task, bin)))

    @torch.inference_mode()
    def rls_update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        use_threads(self.options.threads)
        self.update.rls_update(self._tensor(x), self._tensor(u_bal), self._tensor(f))

    def _tensor(self, array: Floats) -> torch.Tensor:
        return torch.tensor(array, dtype=self.w.dtype, device=self.device)

    def currents(self) -> tuple[Floats, Floats]:
        return on_host(self.simulation.u_bal), on_host(self.simulation.u_P)

    def spike_counts(self) -> NDArray[np.int64]:
        return on_host(self.simulation.counted[:-1]).copy()

    def recorded_spikes(self) -> SpikeTrain:
        return SpikeTrain.join(self.simulation.recorded)

    def weights(self) -> Floats:
        return on_host(self.w).copy()

    @torch.inference_mode()
    def state(self) -> State:
        use_threads(self.options.threads)
        return State(self.weights(), self.update.P())

    @torch.inference_mode()
    def restore(self, state: State) -> None:
        self.w.copy_(torch.tensor(state.w))
        self.update.set_P(state.full())

    @torch.inference_mode()
    def settle(self) -> None:
        use_threads(self.options.threads)
        self.update.settle()

    @torch.inference_mode()
    def block(self, first: int, last: int) -> Block:
        P = self.update.matrices.part(first, last)
        unit: Floats = np.ones(last - first, np.float64 if P.dtype == np.float64 else np.float32)
        return Block(on_host(self.w[first:last]), P, unit, self.options.p_precision)

    @torch.inference_mode()
    def diagonal(self, first: int, last: int) -> Floats:
        return self.update.matrices.diagonal(first, last)

    @torch.inference_mode()
    def load_block(self, first: int, block: Block) -> None:
        self.w[first : first + len(block.w)] = torch.tensor(block.w)
        self.update.forget()
        self.update.matrices.set_part(first, block)

    @torch.inference_mode()
    def gain(self) -> Floats | None:
        g = self.update.gain()
        return None if g is None else on_host(g)

    def synchronize(self) -> None:
        synchronize(self.device)
