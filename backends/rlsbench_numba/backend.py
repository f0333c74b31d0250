"""The backends `numba` and `numba-blas`: what they offer, without importing Numba.

In: a `Problem` and `Options`.  Out: a `Trainer` from `rlsbench_numba.trainer`, which is imported on first use.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from rlsbench.backend import (
    ArraySpec,
    Backend,
    Capabilities,
    Lifetime,
    Options,
    Sizes,
    Trainer,
    choose_form,
    pending_updates,
)
from rlsbench.errors import UnavailableBackendError
from rlsbench.precision import PRECISIONS, STORAGES
from rlsbench.problem import Problem

__all__ = ["BACKEND", "BLAS", "NumbaBackend", "prepare_threads"]

PAIRS_PER_ROOT_N = 1.1
TARGETS_IN_MEMORY = 1 << 25  # bytes
COMPILING = 200 * 2**20  # LLVM's memory after it has compiled the kernels of a run, as measured
SMALL_N, LONG_MS = 64, 60.0  # below and above which plain updates of triangles are faster


def pairs_kept(n: int) -> int:
    """Updates that stay pending before P is written; the factor is measured (docs/performance.md)."""
    return pending_updates(n, PAIRS_PER_ROOT_N)


def plain_is_faster(sizes: Sizes, options: Options) -> bool:
    """Whether the plain form takes less time where both forms apply; measured, see docs/performance.md.

    With full storage it never does. An event update reads a whole triangle and saves the writing:
    too little where the triangle is small, or where so many inputs spike between updates that their
    lists cost more.
    """
    if options.storage == "full":
        return False
    return sizes.learn_every_ms > LONG_MS or (sizes.n < SMALL_N and not PRECISIONS[options.p_precision].narrow)


def choose_algorithm(sizes: Sizes, options: Options, *, blas: bool) -> tuple[str, list[str]]:
    """The form of the update, and what a user should know about the choice."""
    return ("plain", []) if blas else choose_form(sizes, options, plain_is_faster=plain_is_faster(sizes, options))


@dataclass(frozen=True)
class NumbaBackend(Backend):
    """One way of updating in Numba.

    Parameters
    ----------
    name, description : str
    capabilities : Capabilities
    blas : bool
        Leave matrix-vector products and rank-one updates to BLAS.
    """

    name: str
    description: str
    capabilities: Capabilities
    blas: bool = False

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

    def arrays(self, sizes: Sizes, options: Options) -> list[ArraySpec]:
        N, n, real = sizes.N, sizes.n, np.dtype(options.precision).itemsize
        p = PRECISIONS[options.p_precision]
        width, wide = _multiple(n, 16), p.computed.itemsize
        entries = STORAGES[options.storage].entries(n)
        if options.storage == "full" and not self.blas:
            entries = _multiple(n, 4) * width
        in_memory = sizes.bins * N * real

        def of(name: str, size: int, lifetime: Lifetime = Lifetime.LEARNING) -> ArraySpec:
            return ArraySpec.of(name, size, np.uint8, lifetime)

        needed = [
            of("P", N * entries * p.bytes),
            of("w", N * width * real, Lifetime.STATE),
            of("plastic synapses", N * sizes.recurrent * (4 + 2) + N * 8, Lifetime.NETWORK),
            of("static synapses", N * (sizes.outputs * 2 + ((N >> 16) + 2) * 4), Lifetime.NETWORK),
            of("state", N * (13 * real + 4 + 8 + 8), Lifetime.STATE),
            of("targets", N * 8 * 2 + (in_memory if in_memory <= TARGETS_IN_MEMORY else N * real)),
            of("kernels, compiled on first use", 0 if self._compiled() else COMPILING),
        ]
        if choose_algorithm(sizes, options, blas=self.blas)[0] == "event":
            needed += [
                of("k of recent updates", N * pairs_kept(n) * width * wide),
                of("spiked inputs", min(N * n, max(1 << 22, 16 * N)) * (2 + wide) + N * (8 + 8 + 4 + wide)),
            ]
        else:
            needed.append(of("plastic inputs", N * sizes.recurrent * 4, Lifetime.NETWORK))
        if self.blas:
            needed.append(of("inputs x", N * n * wide))
        return needed

    def _compiled(self) -> bool:
        """Whether kernels were compiled since these sources changed; they may not be all that are needed."""
        folder = os.environ.get("NUMBA_CACHE_DIR")
        here = Path(__file__).parent
        kernels = (Path(folder) if folder else here / "__pycache__").rglob("simulation.advance*.nbc")
        newest = max((kernel.stat().st_mtime for kernel in kernels), default=0.0)
        return newest > max(source.stat().st_mtime for source in here.glob("*.py"))


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


P_PRECISIONS = ("float32", "float64", "float16", "bfloat16", "int16")

BACKEND = NumbaBackend(
    "numba",
    "Numba, fused kernels in parallel over neurons",
    Capabilities(
        p_precisions=P_PRECISIONS,
        storages=("full", "packed"),
        algorithms=("plain", "event"),
        library_bytes=188 * 2**20,
        max_plastic_inputs=np.iinfo(np.uint16).max,
    ),
)
BLAS = NumbaBackend(
    "numba-blas",
    "Numba, BLAS for each neuron: the published CPU scheme",
    Capabilities(storages=("full", "packed"), library_bytes=220 * 2**20, max_plastic_inputs=np.iinfo(np.uint16).max),
    blas=True,
)
