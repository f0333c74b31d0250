"""The interface between the core and a backend, and the registry of backends.

Stable names, for backends in other distributions: `Backend`, `Trainer`, `Capabilities`,
`Options`, `FEATURES`, `Sizes`, `ArraySpec`, `Arrays`, `Lifetime`, `network_arrays`, `Update`,
`SpikeTrain`, `State`, `Block`, `Kept`, `Cost`, `KernelCost`, `DeviceLimits`, `choose_form`,
`pending_updates`, `drawing_scratch`, `RuleUpdate`, `rule_arrays`, `keep_signs`, `size_classes`,
`ClassedMatrices`, `mean_cost`, `SpreadCost`. All other names may change without notice.
"""

from rlsbench.backend.arrays import (
    Arrays,
    ArraySpec,
    Lifetime,
    Sizes,
    drawing_scratch,
    network_arrays,
    rule_arrays,
    size_classes,
)
from rlsbench.backend.backend import Backend
from rlsbench.backend.capabilities import FEATURES, Capabilities, Options
from rlsbench.backend.classed import ClassedMatrices
from rlsbench.backend.cost import Cost, DeviceLimits, KernelCost, SpreadCost, mean_cost, plain_cost
from rlsbench.backend.event_form import choose_form, pending_updates, why_not_event
from rlsbench.backend.registry import (
    GROUP,
    Entry,
    backend_entries,
    compatible_precisions,
    get_backend,
    make_trainer,
    registered_backend,
    require,
    require_usable,
    resolve_options,
    resolved_device,
    why_unusable,
)
from rlsbench.backend.rule_update import RuleUpdate, keep_signs
from rlsbench.backend.spikes import SpikeTrain
from rlsbench.backend.state import Block, Kept, State
from rlsbench.backend.trainer import Trainer
from rlsbench.backend.update import Update

__all__ = [
    "FEATURES",
    "GROUP",
    "ArraySpec",
    "Arrays",
    "Backend",
    "Block",
    "Capabilities",
    "ClassedMatrices",
    "Cost",
    "DeviceLimits",
    "Entry",
    "Kept",
    "KernelCost",
    "Lifetime",
    "Options",
    "RuleUpdate",
    "Sizes",
    "SpikeTrain",
    "SpreadCost",
    "State",
    "Trainer",
    "Update",
    "backend_entries",
    "choose_form",
    "compatible_precisions",
    "drawing_scratch",
    "get_backend",
    "keep_signs",
    "make_trainer",
    "mean_cost",
    "network_arrays",
    "pending_updates",
    "plain_cost",
    "registered_backend",
    "require",
    "require_usable",
    "resolve_options",
    "resolved_device",
    "rule_arrays",
    "size_classes",
    "why_not_event",
    "why_unusable",
]
