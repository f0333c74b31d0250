"""Counted costs: bytes moved, additions and multiplications.

In: n and options.  Out: the `Cost` of a plain update, and records for the costs that a backend
gives for its other forms of the update and for its kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend.capabilities import Options
from rlsbench.precision import PRECISIONS, STORAGES

__all__ = ["Cost", "DeviceLimits", "KernelCost", "SpreadCost", "mean_cost", "plain_cost"]


class Cost(NamedTuple):
    """Cost of one update of one neuron."""

    bytes: float  #: read and written, each array once, with no reuse of caches between updates
    operations: float  #: additions and multiplications


def plain_cost(n: int, options: Options) -> Cost:
    """Cost of a plain update, which reads and writes all of P, reads x, and reads and writes w.

    k = P x takes 2 n^2 operations, P - g k k' two for each stored entry, and x.k, w.x and w - g e k
    2 n each.
    """
    entries = STORAGES[options.storage].entries(n)
    real = PRECISIONS[options.precision].bytes
    moved = 2 * entries * PRECISIONS[options.p_precision].bytes + 3 * n * real
    return Cost(moved, 2 * n * n + 2 * entries + 6 * n)


def mean_cost(inputs: NDArray[np.int64], of: Callable[[int], Cost]) -> Cost:
    """Mean over neurons with these numbers of inputs (N,), given the cost of each number."""
    sizes, neurons = np.unique(inputs, return_counts=True)
    return Cost(*np.average([of(n) for n in sizes.tolist()], axis=0, weights=neurons).tolist())


class SpreadCost(NamedTuple):
    """What a rank receives, and does for neurons of other ranks."""

    bytes: float  #: messages of all ranks in a step
    step_seconds: float = 0.0  #: of each thread in a step
    update_seconds: float = 0.0  #: before each update, with all threads
    together: int = 1  #: steps whose spikes are exchanged together


class KernelCost(NamedTuple):
    """Counted cost of all launches of one kernel in an iteration."""

    kernel: str
    bytes: float  #: moved between the device's memory and its processors, each array once per launch
    operations: float  #: additions and multiplications
    launches: float
    working_set: float = math.inf  #: bytes that launches share: not moved again if they fit into the last-level cache


class DeviceLimits(NamedTuple):
    """Peak figures of a device, from its data sheet."""

    name: str
    bytes_per_second: float
    operations_per_second: float  #: in float32, without tensor cores
    cache_bytes: float  #: size of the last-level cache

    def floor_seconds(self, cost: KernelCost) -> float:
        """Lower bound of the time of a kernel's launches, set by bytes or by operations.

        Latency, launch overhead, atomics and cache traffic are ignored.
        """
        moved = 0.0 if cost.working_set <= self.cache_bytes else cost.bytes
        return max(moved / self.bytes_per_second, cost.operations / self.operations_per_second)
