"""The trainer protocol and the registry of backends."""

from rlsbench.backend.memory import available_bytes, check_memory, standard_bytes
from rlsbench.backend.protocol import FEATURES, Backend, Options, SpikeTrain, State, Trainer, pack, unpack
from rlsbench.backend.registry import (
    GROUP,
    Entry,
    available_threads,
    backend_entries,
    get_backend,
    require,
    resolve_options,
)

__all__ = [
    "FEATURES",
    "GROUP",
    "Backend",
    "Entry",
    "Options",
    "SpikeTrain",
    "State",
    "Trainer",
    "available_bytes",
    "available_threads",
    "backend_entries",
    "check_memory",
    "get_backend",
    "pack",
    "require",
    "resolve_options",
    "standard_bytes",
    "unpack",
]
