"""What computing costs at least, by count: bytes moved, additions and multiplications.

In: n and options.  Out: the `Cost` of one plain update of one neuron, and the records in which a
backend gives the cost of its other forms and of its kernels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from rlsbench.backend.capabilities import Options
from rlsbench.precision import PRECISIONS, STORAGES

__all__ = ["Cost", "DeviceLimits", "KernelCost", "plain_cost"]


class Cost(NamedTuple):
    """Of one update of one neuron."""

    bytes: float
    """Read and written, each array once, if nothing stays in a cache between updates."""
    operations: float
    """Additions and multiplications."""


def plain_cost(n: int, options: Options) -> Cost:
    """The plain form reads and writes all of P, reads x, and reads and writes w.

    k = P x takes 2 n^2 operations, P - g k k' two for each stored entry, and x.k, w.x and w - g e k
    2 n each.
    """
    entries = STORAGES[options.storage].entries(n)
    real = PRECISIONS[options.precision].bytes
    moved = 2 * entries * PRECISIONS[options.p_precision].bytes + 3 * n * real
    return Cost(moved, 2 * n * n + 2 * entries + 6 * n)


class KernelCost(NamedTuple):
    """What the launches of one kernel cost in an iteration, by count."""

    kernel: str
    bytes: float
    """Moved between the device's memory and its processors, each array once a launch."""
    operations: float
    """Additions and multiplications."""
    launches: float
    working_set: float = math.inf
    """Bytes that consecutive launches reuse: not moved again if the last-level cache holds them."""


class DeviceLimits(NamedTuple):
    """What a device can do at most, from its data sheet."""

    name: str
    bytes_per_second: float
    operations_per_second: float
    """In float32, without tensor cores."""
    cache_bytes: float
    """Of the last-level cache."""

    def floor_seconds(self, cost: KernelCost) -> float:
        """The least time that a kernel's launches can take, by bytes or operations.

        Latency, launches, atomics and cache traffic are left out: it is a lower bound, not a
        prediction.
        """
        moved = 0.0 if cost.working_set <= self.cache_bytes else cost.bytes
        return max(moved / self.bytes_per_second, cost.operations / self.operations_per_second)
