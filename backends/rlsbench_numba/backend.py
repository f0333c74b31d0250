"""The backends `numba` and `numba-blas`: what they offer, without importing Numba.

In: a `Problem` and `Options`.  Out: a `Trainer` from `rlsbench_numba.trainer`, which is imported on first use.
"""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from rlsbench.backend import FEATURES, Backend, Options, Trainer
from rlsbench.clock import Clock
from rlsbench.configuration import Experiment
from rlsbench.errors import UnavailableBackendError
from rlsbench.precision import PRECISION_BYTES
from rlsbench.problem import Problem

__all__ = ["BACKEND", "BLAS", "NumbaBackend", "prepare_threads"]

PAIRS_PER_ROOT_N = 1.1
TARGETS_IN_MEMORY = 1 << 25  # bytes
COMPILING = 200 * 2**20  # LLVM's memory after it has compiled the kernels of a run, as measured
SMALL_N, LONG_MS = 64, 60.0  # below and above which plain updates of triangles are faster


def pairs_kept(n: int) -> int:
    """Updates that the event form keeps before it writes P, a multiple of 4.

    Reading the pairs costs n m / 2 numbers an update, writing P n^2 / m: so the best m goes with the root of n.  The
    factor is measured; see docs/performance.md.
    """
    return max(4, 4 * round(PAIRS_PER_ROOT_N * math.sqrt(n) / 4))


def why_not_event(*, tau_plas_varies: bool, feedforward_differs: bool) -> str | None:
    """Why the event form does not apply, or None."""
    if tau_plas_varies:
        return "each neuron has a tau_plas of its own, and it needs one decay for all inputs"
    if feedforward_differs:
        return "feed-forward inputs have a filter of their own, and it needs one decay for all inputs"
    return None


def plain_is_faster(*, n: int, storage: str, p_precision: str, learn_every_ms: float) -> bool:
    """Whether the plain form takes less time than the event form where both apply; measured, see docs/performance.md.

    With full storage it never does.  An event update reads a whole triangle, and what it saves is the writing: too
    little where the triangle is small, or where so many inputs spike between updates that their lists cost more.
    """
    if storage == "full":
        return False
    return learn_every_ms > LONG_MS or (n < SMALL_N and PRECISION_BYTES[p_precision] > 2)


def choose_algorithm(problem: Problem, options: Options, *, blas: bool) -> tuple[str, list[str]]:
    """The form of the update, and what a user should know of the choice."""
    if blas:
        return "plain", []
    feedforward = problem.feedforward
    lacking = why_not_event(
        tau_plas_varies=isinstance(problem.tau_plas_ms, np.ndarray),
        feedforward_differs=feedforward is not None and feedforward.tau_ms != problem.tau_plas_ms,
    )
    learn_every_ms = problem.clock.learn_every * problem.clock.dt_ms
    algorithm = options.algorithm
    if algorithm == "auto":
        plain = plain_is_faster(
            n=problem.n, storage=options.storage, p_precision=options.p_precision, learn_every_ms=learn_every_ms
        )
        algorithm = "plain" if plain else "event"
    algorithm = "plain" if lacking else algorithm
    asked = options.algorithm == "event" and lacking
    return algorithm, [f"takes the plain update, not event: {lacking}"] if asked else []


@dataclass(frozen=True)
class NumbaBackend:
    """One way of updating in Numba.

    Parameters
    ----------
    name, description : str
    algorithms : tuple of str
    blas : bool
        Leave matrix-vector products and rank-one updates to BLAS.
    library_bytes : int
        Resident memory before any array: Python, Numba and LLVM, and kernels as they are loaded; as measured.
    """

    name: str
    description: str
    algorithms: tuple[str, ...]
    blas: bool = False
    library_bytes: int = 188 * 2**20
    precisions: tuple[str, ...] = ("float32", "float64")
    p_precisions: tuple[str, ...] = ("float32", "float64", "float16", "bfloat16", "int16")
    storages: tuple[str, ...] = ("full", "packed")
    devices: tuple[str, ...] = ("cpu",)
    features: frozenset[str] = frozenset(FEATURES)

    def unavailable(self) -> str | None:
        if find_spec("numba") is None:
            return "the package numba is not installed; pip install 'rlsbench[numba]'"
        return None

    def trainer(self, problem: Problem, options: Options) -> Trainer:
        prepare_threads(options.threads)
        try:
            from rlsbench_numba.trainer import NumbaTrainer
        except ImportError as error:
            raise UnavailableBackendError(f"backend {self.name} cannot be used: {error}") from error
        return NumbaTrainer(problem, options, blas=self.blas)

    def memory_bytes(self, experiment: Experiment, options: Options) -> dict[str, int]:
        network, real = experiment.network, np.dtype(options.precision).itemsize
        N, recurrent = network.neurons, 2 * network.plastic_per_population
        n = experiment.plastic_inputs
        width, wide = _multiple(n, 16), max(4, PRECISION_BYTES[options.p_precision])
        entries = n * (n + 1) // 2
        if options.storage == "full":
            entries = n * n if self.blas else _multiple(n, 4) * width
        in_memory = Clock.from_experiment(experiment).bins * N * real
        needed = {
            "P": N * entries * PRECISION_BYTES[options.p_precision],
            "w": N * width * real,
            "plastic synapses": N * recurrent * (4 + 2) + N * 8,
            "static synapses": N * (2 * network.K * 2 + ((N >> 16) + 2) * 4),
            "state": N * (13 * real + 4 + 8 + 8),
            "targets": N * 8 * 2 + (in_memory if in_memory <= TARGETS_IN_MEMORY else N * real),
            "kernels, compiled on first use": 0 if self._compiled() else COMPILING,
        }
        if self._algorithm(experiment, options) == "event":
            needed["k of recent updates"] = N * pairs_kept(n) * width * wide
            needed["spiked inputs"] = min(N * n, max(1 << 22, 16 * N)) * (2 + wide) + N * (8 + 8 + 4 + wide)
        else:
            needed["plastic inputs"] = N * recurrent * 4
        if self.blas:
            needed["inputs x"] = N * n * wide
        return needed

    def _compiled(self) -> bool:
        """Whether kernels were compiled since these sources changed; they may not be all that are needed."""
        folder = os.environ.get("NUMBA_CACHE_DIR")
        here = Path(__file__).parent
        kernels = (Path(folder) if folder else here / "__pycache__").rglob("simulation.advance*.nbc")
        newest = max((kernel.stat().st_mtime for kernel in kernels), default=0.0)
        return newest > max(source.stat().st_mtime for source in here.glob("*.py"))

    def _algorithm(self, e: Experiment, options: Options) -> str:
        """The form of the update that a trainer of this experiment will take."""
        lacking = why_not_event(
            tau_plas_varies=isinstance(e.synapse.tau_plas_ms, tuple),
            feedforward_differs=e.feedforward.LX > 0 and e.feedforward.tau_ms not in (None, e.synapse.tau_plas_ms),
        )
        n = e.plastic_inputs
        plain = options.algorithm == "auto" and plain_is_faster(
            n=n, storage=options.storage, p_precision=options.p_precision, learn_every_ms=e.time.learn_every_ms
        )
        return "plain" if self.blas or lacking or plain or options.algorithm == "plain" else "event"


def _multiple(count: int, of: int) -> int:
    return -(-count // of) * of


def prepare_threads(threads: int) -> None:
    """Set, before Numba is imported, what cannot be set later; what the user has set stays.

    The most threads that can be asked for; and how long threads of GNU OpenMP spin before they sleep. By default they
    spin for milliseconds, and where other work keeps one thread from its processor, the others spin for all of that
    time at each step: two busy processes beside it made a trial of 20,000 neurons take over 60 s in place of 0.9.
    """
    if "numba" not in sys.modules:
        os.environ.setdefault("NUMBA_NUM_THREADS", str(max(8, threads, os.cpu_count() or 1)))
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


BACKEND = NumbaBackend("numba", "Numba, fused kernels in parallel over neurons", ("plain", "event"))
BLAS = NumbaBackend(
    "numba-blas",
    "Numba, BLAS for each neuron: the published CPU scheme",
    ("plain",),
    blas=True,
    library_bytes=220 * 2**20,
    p_precisions=("float32", "float64"),
)
_: tuple[Backend, Backend] = (BACKEND, BLAS)
