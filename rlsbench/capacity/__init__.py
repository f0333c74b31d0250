"""Memory and disk space that a run needs, what is free, and alternatives that fit."""

from rlsbench.capacity.assumed import AssumedDevice
from rlsbench.capacity.disk import check_disk, disk_bytes
from rlsbench.capacity.fitting import Alternative, advice, alternatives, check_fits, fitting_options, largest_neurons
from rlsbench.capacity.memory import (
    check_memory,
    fits,
    free_bytes,
    known_free_bytes,
    needed_bytes,
    readable,
    shortage_table,
)

__all__ = [
    "Alternative",
    "AssumedDevice",
    "advice",
    "alternatives",
    "check_disk",
    "check_fits",
    "check_memory",
    "disk_bytes",
    "fits",
    "fitting_options",
    "free_bytes",
    "known_free_bytes",
    "largest_neurons",
    "needed_bytes",
    "readable",
    "shortage_table",
]
