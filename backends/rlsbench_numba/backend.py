"""The backend `numba`: what it offers, without importing Numba.

In: a `Problem` and `Options`.  Out: a `Trainer` from `rlsbench_numba.trainer`, which is imported on first use.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec

import numpy as np

from rlsbench.backend import FEATURES, Backend, Options, Trainer, standard_bytes
from rlsbench.configuration import Experiment
from rlsbench.errors import UnavailableBackendError
from rlsbench.problem import Problem

__all__ = ["BACKEND", "NumbaBackend"]

PAIRS = 12  # updates that the event form keeps before it writes P; a multiple of 4


class NumbaBackend:
    """Fused kernels, parallel over neurons: the plain update, and the event form on full storage."""

    name = "numba"
    description = "Numba, fused kernels in parallel over neurons"
    precisions = ("float32", "float64")
    p_precisions = ("float32", "float64")
    storages = ("packed", "full")
    algorithms = ("plain", "event")
    devices = ("cpu",)
    features = frozenset(FEATURES)

    def unavailable(self) -> str | None:
        if find_spec("numba") is None:
            return "the package numba is not installed; pip install 'rlsbench[numba]'"
        return None

    def trainer(self, problem: Problem, options: Options) -> Trainer:
        _leave_room_for_threads(options.threads)
        try:
            from rlsbench_numba.trainer import NumbaTrainer
        except ImportError as error:
            raise UnavailableBackendError(f"backend numba cannot be used: {error}") from error
        return NumbaTrainer(problem, options)

    def memory_bytes(self, experiment: Experiment, options: Options) -> dict[str, int]:
        needed = standard_bytes(experiment, options, state_arrays=16)
        if options.storage == "full" and options.algorithm != "plain":
            N, n = experiment.network.neurons, experiment.feedforward.LX + 2 * experiment.network.plastic_per_population
            P = np.dtype(options.p_precision).itemsize
            needed["event memory"] = N * n * ((PAIRS + 2) * P + 2)
        return needed


def _leave_room_for_threads(threads: int) -> None:
    """Numba fixes the largest number of threads when it is imported: let it be no less than what is asked."""
    if "numba" not in sys.modules:
        os.environ.setdefault("NUMBA_NUM_THREADS", str(max(8, threads, os.cpu_count() or 1)))


BACKEND = NumbaBackend()
_: Backend = BACKEND
