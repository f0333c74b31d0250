"""The base class of backends.

In: a `Problem` and `Options`.  Out: a `Trainer`, and what is known about it before it is made.

A backend is an object registered in the entry-point group `rlsbench.backends`;
docs/add-a-backend.md builds one step by step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeVar

from rlsbench.backend.arrays import Allocate, Arrays, ArraySpec, Sizes
from rlsbench.backend.capabilities import Capabilities, Options
from rlsbench.backend.cost import DeviceLimits, KernelCost, SpreadCost
from rlsbench.backend.trainer import Trainer
from rlsbench.configuration import Experiment
from rlsbench.problem import Problem
from rlsbench.ranks import Communicator

__all__ = ["Backend"]

A = TypeVar("A")
SPIKE_BYTES = 4  # the number of a neuron


class Backend(ABC):
    """An implementation of the model and its learning rule.

    Attributes
    ----------
    name : str
        Name of its entry point.
    description : str
        How it computes, in one line.
    capabilities : Capabilities
        What it supports.
    device_limits : sequence of DeviceLimits
        Devices for which `kernel_costs` gives a lower bound of the time; usually none.
    """

    name: str
    description: str
    capabilities: Capabilities = Capabilities()
    device_limits: Sequence[DeviceLimits] = ()

    @abstractmethod
    def trainer(self, problem: Problem, options: Options) -> Trainer:
        """Make a trainer with initial weights and P = inv(P_inv0)."""

    @abstractmethod
    def arrays(self, sizes: Sizes, options: Options) -> Sequence[ArraySpec]:
        """Declare the arrays of a trainer, which must allocate from this declaration."""

    def allocator(self, problem: Problem, options: Options, allocate: Allocate[A]) -> Arrays[A]:
        """The arrays that are declared for a trainer of a problem, to be allocated by name.

        Parameters
        ----------
        problem : Problem
        options : Options
        allocate : callable
            From shape and dtype to an array, as `numpy.zeros`.
        """
        return Arrays(self.arrays(Sizes.of_problem(problem), options), allocate)

    def unavailable(self) -> str | None:
        """Why it is not usable on this machine, or None; must not import an optional library."""
        return None

    def unusable(self, options: Options) -> str | None:
        """Why these options are not usable on this machine, or None; may import a library.

        A clause that also names what is available: "no device cuda:1; available: cpu, cuda:0".
        """
        return None

    def free_bytes(self, options: Options) -> int | None:
        """Free memory of the options' device in bytes; None for the memory of this machine."""
        return None

    def share_bytes(self, options: Options, ranks: Communicator) -> int | None:
        """The share of one rank in `free_bytes`, where ranks of a node share the device."""
        free = self.free_bytes(options)
        return None if free is None else free // ranks.here

    def kernel_costs(self, experiment: Experiment, options: Options, rate_hz: float) -> Sequence[KernelCost]:
        """Counted cost of each kernel in one iteration at a firing rate; empty if unknown."""
        return ()

    def spread_cost(
        self, sizes: Sizes, options: Options, ranks: Communicator, spikes: float, spiked: float
    ) -> SpreadCost:
        """What a network of these sizes costs a rank because it is spread.

        Parameters
        ----------
        sizes : Sizes
            Those of the rank.
        options : Options
        ranks : Communicator
        spikes : float
            Spikes of all neurons in a step.
        spiked : float
            Neurons of the network that have spiked since the last update.
        """
        return SpreadCost(SPIKE_BYTES * spikes)
