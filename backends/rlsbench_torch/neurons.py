"""The neurons of a network: their state, who spikes, and who is refractory.

In: the input u (N,) of a step, and noise.  Out: lists of spikes.  Knows nothing of synapses.

Leaky integrate-and-fire neurons go without `where`: v <- lerp(v, u, leak), leak = 0 while
refractory. Of other models, PyTorch calls the functions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from rlsbench.backend import Arrays
from rlsbench.problem import Problem
from rlsbench_torch.spikes import SpikeLists

Floats = Any  # an array, (variables, N)


class Neurons(ABC):
    """State of N neurons; `changing` are the tensors that a step changes."""

    v: Tensor  # (N,)
    changing: tuple[Tensor, ...]

    def __init__(self, problem: Problem, arrays: Arrays[Tensor], lists: SpikeLists) -> None:
        self.N, self.rest, self.lists = problem.neurons, problem.refractory_steps, lists
        self.spiked = arrays.new("spiked")
        self.refractory: deque[Tensor] = deque()

    def begin(self, state: Floats) -> None:
        """Set the state (variables, N); nobody is refractory."""
        self.refractory.clear()
        self._begin(torch.tensor(state, dtype=self.v.dtype, device=self.v.device))

    def spikes(self, u: Tensor, noise: Tensor | None) -> Tensor:
        """Who spiked, in increasing order; they are reset, and refractory from the next step on."""
        if len(self.refractory) > self.rest:
            self._rested(self.refractory.popleft())
        self._advance(u, noise)
        spiked = self.lists.listed(self.spiked)
        self._reset(spiked)
        if self.rest:
            self._refract(spiked)
            self.refractory.append(spiked)
        return spiked

    @abstractmethod
    def _begin(self, state: Tensor) -> None: ...

    @abstractmethod
    def _advance(self, u: Tensor, noise: Tensor | None) -> None:
        """Steps 5 and 6 up to the spikes."""

    @abstractmethod
    def _reset(self, spiked: Tensor) -> None: ...

    @abstractmethod
    def _refract(self, spiked: Tensor) -> None: ...

    @abstractmethod
    def _rested(self, spiked: Tensor) -> None: ...


class Leaky(Neurons):
    """Leaky integrate-and-fire neurons with the same parameters."""

    def __init__(self, problem: Problem, arrays: Arrays[Tensor], lists: SpikeLists, *, compile: bool) -> None:
        super().__init__(problem, arrays, lists)
        neuron = problem.neuron
        self.leaks = problem.clock.dt_ms / neuron.tau_m_ms
        self.threshold = float(neuron.threshold)
        self.reset = float(neuron.reset_voltage)
        self.may_exceed = problem.noise.kind == "voltage"  # whether noise can lift a refractory neuron over it
        # (N + 1,) each, as lists may be padded with N. While refractory, leak is 0 and, if there is
        # noise on the voltage, threshold infinite.
        self.changing = tuple(arrays.new(name) for name in ("v", "leak", "threshold"))
        self.v, self.leak, self.thresholds = (array[: self.N] for array in self.changing)
        self.voltages = torch.compile(_voltages, dynamic=True) if compile else _voltages

    def _begin(self, state: Tensor) -> None:
        for array, value in zip(self.changing, (self.reset, self.leaks, self.threshold), strict=True):
            array.fill_(value)
        self.v.copy_(state[0])

    def _advance(self, u: Tensor, noise: Tensor | None) -> None:
        self.voltages(self.v, self.leak, self.thresholds, u, noise, self.spiked)

    def _reset(self, spiked: Tensor) -> None:
        self.changing[0].index_fill_(0, spiked, self.reset)

    def _refract(self, spiked: Tensor) -> None:
        self.changing[1].index_fill_(0, spiked, 0.0)
        if self.may_exceed:
            self.changing[2].index_fill_(0, spiked, torch.inf)

    def _rested(self, spiked: Tensor) -> None:
        self.changing[1].index_fill_(0, spiked, self.leaks)
        if self.may_exceed:
            self.changing[2].index_fill_(0, spiked, self.threshold)


def _voltages(v: Tensor, leak: Tensor, threshold: Tensor, u: Tensor, noise: Tensor | None, spiked: Tensor) -> None:
    if noise is not None:
        v.add_(noise)
    v.lerp_(u, leak)
    torch.gt(v, threshold, out=spiked)


class Modelled(Neurons):
    """Neurons of any model, whose parameters may vary."""

    def __init__(self, problem: Problem, arrays: Arrays[Tensor], lists: SpikeLists, *, compile: bool) -> None:
        super().__init__(problem, arrays, lists)
        self.state = arrays.new("state of neurons")
        self.v = self.state[0]
        self.resting = arrays.new("resting")  # (N + 1,), who is refractory
        self.changing = self.state, self.resting
        values, rows = dict(problem.neuron.values), arrays.new("parameters")
        for row, name in zip(rows, problem.neuron.varying, strict=False):
            values[name] = row.copy_(torch.tensor(values[name]))
        p = problem.neuron.model.values()(**values)
        advance = partial(_advance, problem.neuron.model, p, problem.clock.dt_ms)
        self.advance: Callable[..., None] = torch.compile(advance, dynamic=True) if compile else advance

    def _begin(self, state: Tensor) -> None:
        self.state.copy_(state)
        self.resting.zero_()

    def _advance(self, u: Tensor, noise: Tensor | None) -> None:
        if noise is not None:
            self.v.add_(noise)
        self.advance(self.state, u, self.resting[: self.N], self.spiked)

    def _reset(self, spiked: Tensor) -> None:
        pass  # `_advance` has done so

    def _refract(self, spiked: Tensor) -> None:
        self.resting.index_fill_(0, spiked, True)

    def _rested(self, spiked: Tensor) -> None:
        self.resting.index_fill_(0, spiked, False)


def _advance(model: Any, p: Any, dt_ms: float, state: Tensor, u: Tensor, resting: Tensor, spiked: Tensor) -> None:
    """Step 6 with the functions of a model: `rlsbench.neurons.Neurons.advance`."""
    s = model.state()(*state.unbind())
    new, held = model.step(s, u, p, dt_ms), model.refractory(s, u, p, dt_ms)
    s = model.state()(*(torch.where(resting, b, a) for a, b in zip(new, held, strict=True)))
    torch.logical_and(model.spikes(s, p), ~resting, out=spiked)
    for row, old, value in zip(state, s, model.reset(s, p), strict=True):
        row.copy_(torch.where(spiked, value, old))


def make_neurons(problem: Problem, arrays: Arrays[Tensor], lists: SpikeLists, *, compile: bool) -> Neurons:
    """The neurons of a problem, in their fastest form."""
    form = Leaky if problem.neuron.plain else Modelled
    return form(problem, arrays, lists, compile=compile)
