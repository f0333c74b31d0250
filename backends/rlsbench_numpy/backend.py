"""The backends `numpy-full` and `numpy-packed`: one trainer, two storages of P.

In: a `Problem` and `Options`.  Out: a `Trainer`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlsbench.backend import (
    FEATURES,
    ArraySpec,
    Backend,
    Capabilities,
    Lifetime,
    Options,
    Sizes,
    Trainer,
    network_arrays,
    rule_arrays,
)
from rlsbench.problem import Problem
from rlsbench_numpy.simulation import state_arrays
from rlsbench_numpy.storage import update_scratch
from rlsbench_numpy.trainer import NumpyTrainer


@dataclass(frozen=True)
class NumpyBackend(Backend):
    """A NumPy backend with one storage of P."""

    name: str
    description: str
    capabilities: Capabilities

    def trainer(self, problem: Problem, options: Options) -> Trainer:
        return NumpyTrainer(problem, options, self.allocator(problem, options, np.zeros))

    def arrays(self, sizes: Sizes, options: Options) -> list[ArraySpec]:
        scratch = update_scratch(sizes, options) * options.threads
        return [
            *rule_arrays(sizes.classes, options),
            ArraySpec.of("w", (sizes.n, sizes.N), options.precision),
            *network_arrays(sizes),
            *state_arrays(sizes, options),
            # Not SCRATCH: what a thread frees, the C library keeps for the next update.
            ArraySpec.of("scratch for an update", scratch, np.uint8, Lifetime.LEARNING),
        ]


ALL = frozenset(FEATURES)
FULL = NumpyBackend(
    "numpy-full", "NumPy, batched matrix products on N x n x n", Capabilities(storages=("full",), features=ALL)
)
PACKED = NumpyBackend(
    "numpy-packed",
    "NumPy, packed triangles laid out along neurons",
    Capabilities(storages=("packed",), features=ALL),
)
