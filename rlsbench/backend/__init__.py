"""The trainer protocol and the registry of backends."""

from rlsbench.backend.cost import Cost, plain_cost, update_cost
from rlsbench.backend.memory import PRECISION_BYTES, available_bytes, check_memory, fits, needed_bytes, standard_bytes
from rlsbench.backend.protocol import FEATURES, Backend, Options, SpikeTrain, State, Trainer, pack, unpack
from rlsbench.backend.registry import (
    GROUP,
    Entry,
    available_threads,
    backend_entries,
    fitting_options,
    get_backend,
    registered_backend,
    require,
    resolve_options,
)

__all__ = [
    "FEATURES",
    "GROUP",
    "PRECISION_BYTES",
    "Backend",
    "Cost",
    "Entry",
    "Options",
    "SpikeTrain",
    "State",
    "Trainer",
    "available_bytes",
    "available_threads",
    "backend_entries",
    "check_memory",
    "fits",
    "fitting_options",
    "get_backend",
    "needed_bytes",
    "pack",
    "plain_cost",
    "registered_backend",
    "require",
    "resolve_options",
    "standard_bytes",
    "unpack",
    "update_cost",
]
