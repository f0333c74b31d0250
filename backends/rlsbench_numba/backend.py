"""The backends `numba` and `numba-blas`: what they offer, without importing Numba.

In: a `Problem` and `Options`.  Out: a `Trainer` from `rlsbench_numba.trainer`, which is imported on first use.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from rlsbench.backend import FEATURES, Backend, Options, Trainer, standard_bytes
from rlsbench.configuration import Experiment
from rlsbench.errors import UnavailableBackendError
from rlsbench.problem import Problem

__all__ = ["BACKEND", "BLAS", "NumbaBackend"]

PAIRS = 12  # updates that the event form keeps before it writes P; a multiple of 4


@dataclass(frozen=True)
class NumbaBackend:
    """One way of updating in Numba.

    Parameters
    ----------
    name, description : str
    algorithms : tuple of str
    blas : bool
        Leave matrix-vector products and rank-one updates to BLAS.
    """

    name: str
    description: str
    algorithms: tuple[str, ...]
    blas: bool = False
    precisions: tuple[str, ...] = ("float32", "float64")
    p_precisions: tuple[str, ...] = ("float32", "float64")
    storages: tuple[str, ...] = ("packed", "full")
    devices: tuple[str, ...] = ("cpu",)
    features: frozenset[str] = frozenset(FEATURES)

    def unavailable(self) -> str | None:
        if find_spec("numba") is None:
            return "the package numba is not installed; pip install 'rlsbench[numba]'"
        return None

    def trainer(self, problem: Problem, options: Options) -> Trainer:
        _prepare_threads(options.threads)
        try:
            from rlsbench_numba.trainer import NumbaTrainer
        except ImportError as error:
            raise UnavailableBackendError(f"backend {self.name} cannot be used: {error}") from error
        return NumbaTrainer(problem, options, blas=self.blas)

    def memory_bytes(self, experiment: Experiment, options: Options) -> dict[str, int]:
        needed = standard_bytes(experiment, options, state_arrays=16)
        N, n = experiment.network.neurons, experiment.feedforward.LX + 2 * experiment.network.plastic_per_population
        P = np.dtype(options.p_precision).itemsize
        if self.blas:
            needed["inputs x"] = N * n * P
        elif options.storage == "full" and options.algorithm != "plain":
            needed["event memory"] = N * n * ((PAIRS + 2) * P + 2)
        return needed


def _prepare_threads(threads: int) -> None:
    """Set, before Numba is imported, what cannot be set later; what the user has set stays.

    The most threads that can be asked for; and how long threads of GNU OpenMP spin before they sleep. By default they
    spin for milliseconds, and where other work keeps one thread from its processor, the others spin for all of that
    time at each step: two busy processes beside it made a trial of 20,000 neurons take over 60 s in place of 0.9.
    """
    if "numba" not in sys.modules:
        os.environ.setdefault("NUMBA_NUM_THREADS", str(max(8, threads, os.cpu_count() or 1)))
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


BACKEND = NumbaBackend("numba", "Numba, fused kernels in parallel over neurons", ("plain", "event"))
BLAS = NumbaBackend("numba-blas", "Numba, BLAS for each neuron: the published CPU scheme", ("plain",), blas=True)
_: tuple[Backend, Backend] = (BACKEND, BLAS)
