"""The trainer of the backend `torch`: weights, a simulation and an update on one device.

In: a `Problem` and `Options`.  Out: a `Trainer`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlsbench.backend import Arrays, Block, Options, Sizes, SpikeTrain, Trainer, Update, choose_form
from rlsbench.errors import UnsupportedError
from rlsbench.problem import Problem
from rlsbench_torch.arrays import declare
from rlsbench_torch.devices import dtype_of, on_host, synchronize, use_threads
from rlsbench_torch.simulation import Simulation
from rlsbench_torch.storage import Floats
from rlsbench_torch.updates import Classed, Event, Plain


class TorchTrainer(Trainer):
    """A network in PyTorch; `UnsupportedError` if 32 bits cannot index its weights."""

    @torch.inference_mode()
    def __init__(self, problem: Problem, options: Options) -> None:
        N, n = problem.neurons, problem.n
        if N * n >= 2**31:
            raise UnsupportedError(f"{N:,} neurons with {n} plastic inputs: this backend indexes weights in 32 bits")
        sizes = Sizes.of_problem(problem)
        algorithm, notes = choose_form(sizes, options)
        device = torch.device(options.device)
        if device.type != "cpu":
            verify = f"rlsbench verify torch --device {options.device}"
            notes = [*notes, f"torch has not been tested on {device.type}: run `{verify}` first"]
        super().__init__(problem, replace(options, algorithm=algorithm), notes)
        use_threads(options.threads)
        arrays = Arrays(
            declare(sizes, self.options),
            lambda shape, dtype: torch.empty(shape, dtype=dtype_of(dtype), device=device),
        )
        flat = arrays.new("w").zero_()
        self.device = device
        self.w = flat[:-1].view(N, n)
        self.w.copy_(torch.tensor(problem.plastic.initial_weights))
        sources = problem.plastic.sources(problem.seed)
        self.simulation = Simulation(problem, self.options, arrays, flat, sources)
        self.update = Update()
        if problem.targets is not None:
            form = Event if algorithm == "event" else Plain
            made = (problem, self.options, arrays, self.w)
            varies = problem.plastic.varies
            self.update = Classed(form, *made, sources) if varies else form(*made, torch.from_numpy(sources).to(device))

    @torch.inference_mode()
    def begin_trial(self, trial: int, task: int, record: NDArray[np.int64]) -> None:
        use_threads(self.options.threads)
        self.task = task
        self.simulation.begin_trial(trial, task, record)
        self.update.begin_trial()

    @torch.inference_mode()
    def advance(self, first: int, last: int, spikes: SpikeTrain | None = None) -> None:
        self.simulation.advance(first, last, spikes)

    @torch.inference_mode()
    def learn(self, bin: int) -> None:
        use_threads(self.options.threads)
        f = np.empty(0) if self.targets is None else self.target_row(bin)
        self.update.learn(self.simulation, self.simulation.u_bal, self._tensor(f))
        self.simulation.rise.zero_()

    @torch.inference_mode()
    def rls_update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        use_threads(self.options.threads)
        self.update.rls_update(self._tensor(x), self._tensor(u_bal), self._tensor(f))

    @torch.inference_mode()
    def set_external(self, current: NDArray[np.float64]) -> None:
        super().set_external(current)
        self.simulation.X_bal.copy_(self._tensor(current))

    def _tensor(self, array: Floats) -> Tensor:
        return torch.tensor(array, dtype=self.w.dtype, device=self.device)

    def currents(self) -> tuple[Floats, Floats]:
        return on_host(self.simulation.u_bal), on_host(self.simulation.u_P)

    def voltages(self) -> Floats:
        return on_host(self.simulation.neurons.v)

    def spike_counts(self) -> NDArray[np.int64]:
        return on_host(self.simulation.counts[:-1]).copy()

    def recorded_spikes(self) -> SpikeTrain:
        return SpikeTrain.join(self.simulation.recorded_spikes)

    def weights(self) -> Floats:
        return on_host(self.w).copy()

    @torch.inference_mode()
    def settle(self) -> None:
        use_threads(self.options.threads)
        self.update.settle()

    @torch.inference_mode()
    def block(self, first: int, last: int) -> Block:
        return Block(on_host(self.w[first:last]), self.update.part(first, last))

    @torch.inference_mode()
    def load_block(self, first: int, block: Block) -> None:
        self.w[first : first + len(block.w)] = torch.tensor(block.w)
        self.update.forget()
        self.update.set_part(first, block)

    @torch.inference_mode()
    def diagonal(self, first: int, last: int) -> Floats:
        return self.update.diagonal(first, last)

    @torch.inference_mode()
    def gain(self) -> Floats | None:
        g = self.update.gain()
        return None if g is None else on_host(g)

    def synchronize(self) -> None:
        synchronize(self.device)
