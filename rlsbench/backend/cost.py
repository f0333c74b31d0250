"""What computing costs at least, by count: bytes that are moved, additions and multiplications.

In: n and options, or a trainer.  Out: a `Cost` of one update of one neuron; of the kernels of an iteration, a floor.
Knows the plain form; other forms are told by their trainers, and kernels by their backends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from rlsbench.backend.protocol import Options, Trainer
from rlsbench.configuration import Experiment
from rlsbench.precision import PRECISION_BYTES

__all__ = ["Cost", "CountsKernels", "DeviceLimits", "KernelCost", "plain_cost", "update_cost"]


class Cost(NamedTuple):
    """Of one update of one neuron."""

    bytes: float
    """Read and written, each array once, where nothing stays in a cache from one update to the next."""
    operations: float
    """Additions and multiplications."""


def plain_cost(n: int, options: Options) -> Cost:
    """The plain form reads and writes all of P, reads x, and reads and writes w.

    k = P x takes 2 n^2 operations, P - g k k' two for each entry that is stored, and x.k, w.x and w - g e k 2 n each.
    """
    entries = n * n if options.storage == "full" else n * (n + 1) // 2
    real = np.dtype(options.precision).itemsize
    moved = 2 * entries * PRECISION_BYTES[options.p_precision] + 3 * n * real
    return Cost(moved, 2 * n * n + 2 * entries + 6 * n)


def update_cost(trainer: Trainer, spiked: float) -> Cost | None:
    """The cost of the form that a trainer takes.

    Parameters
    ----------
    trainer : Trainer
        With a method `update_cost(spiked)`, or of the plain form.
    spiked : float
        Inputs of a neuron that have spiked between two updates, on average.

    Returns
    -------
    Cost or None
        None for another form whose trainer does not tell.
    """
    told = getattr(trainer, "update_cost", None)
    if told is not None:
        return Cost(*told(spiked))
    return plain_cost(trainer.problem.n, trainer.options) if trainer.options.algorithm == "plain" else None


class KernelCost(NamedTuple):
    """What the launches of one kernel take in an iteration, by count."""

    kernel: str
    bytes: float
    """Moved between the device's memory and its processors, each array once a launch."""
    operations: float
    """Additions and multiplications."""
    launches: float
    working_set: float = math.inf
    """Bytes that consecutive launches use again: they need not be moved where the last cache holds them."""


class DeviceLimits(NamedTuple):
    """What a device can do at most, from its data sheet."""

    name: str
    bytes_per_second: float
    operations_per_second: float
    """In float32, without tensor cores."""
    cache_bytes: float
    """Of the last cache."""

    def floor_seconds(self, cost: KernelCost) -> float:
        """The least time that a kernel's launches can take: its bytes, or its operations, whichever takes longer.

        Latency, launches, atomics and what a cache moves are left out, so it is a bound and no expectation.
        """
        moved = 0.0 if cost.working_set <= self.cache_bytes else cost.bytes
        return max(moved / self.bytes_per_second, cost.operations / self.operations_per_second)


@runtime_checkable
class CountsKernels(Protocol):
    """What a backend adds that can tell what its kernels take, without a device."""

    @property
    def device_limits(self) -> Sequence[DeviceLimits]:
        """Devices for which a floor is worth knowing."""

    def kernel_costs(self, experiment: Experiment, options: Options, rate_hz: float) -> Sequence[KernelCost]:
        """What one iteration takes at a firing rate, kernel by kernel."""
