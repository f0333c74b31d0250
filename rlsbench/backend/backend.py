"""The base class of every backend: what it offers, whether it can be used here, and its trainers.

In: nothing at import time.  Out: a `Trainer` for a `Problem`.  Knows no backend by name.

A backend is one object, registered in the entry-point group `rlsbench.backends`.
docs/add-a-backend.md builds one step by step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeVar

from rlsbench.backend.arrays import Allocate, Arrays, ArraySpec, Sizes
from rlsbench.backend.capabilities import Capabilities, Options
from rlsbench.backend.cost import DeviceLimits, KernelCost
from rlsbench.backend.trainer import Trainer
from rlsbench.configuration import Experiment
from rlsbench.problem import Problem

__all__ = ["Backend"]

A = TypeVar("A")


class Backend(ABC):
    """A way of computing.

    Attributes
    ----------
    name : str
        Under which it is requested.
    description : str
        One line: how it computes.
    capabilities : Capabilities
        What it offers.
    device_limits : sequence of DeviceLimits
        Devices for which `kernel_costs` gives a lower bound of the time; mostly none.
    """

    name: str
    description: str
    capabilities: Capabilities = Capabilities()
    device_limits: Sequence[DeviceLimits] = ()

    @abstractmethod
    def trainer(self, problem: Problem, options: Options) -> Trainer:
        """Allocate and fill a trainer: weights at their initial values, P = inv(P_inv0)."""

    @abstractmethod
    def arrays(self, sizes: Sizes, options: Options) -> Sequence[ArraySpec]:
        """Declare the arrays of a trainer, which allocates what is declared here and nothing else."""

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
        """Why it cannot be used on this machine, or None; must not import an optional library."""
        return None

    def unusable(self, options: Options) -> str | None:
        """Why these options cannot be used on this machine, or None; may import its library.

        One clause that names what there is: "there is no cuda:1 here; available are cpu and cuda:0".
        """
        return None

    def free_bytes(self, options: Options) -> int | None:
        """Free memory of the device of these options; None for the memory of this machine."""
        return None

    def kernel_costs(self, experiment: Experiment, options: Options, rate_hz: float) -> Sequence[KernelCost]:
        """What one iteration costs at a firing rate, kernel by kernel, by count; empty if not known."""
        return ()
