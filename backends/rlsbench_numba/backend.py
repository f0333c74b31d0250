"""The backends `numba` and `numba-blas`: what they offer, without importing Numba.

In: a `Problem` and `Options`.  Out: a trainer from `rlsbench_numba.trainer`, imported on first use.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from rlsbench.backend import (
    FEATURES,
    ArraySpec,
    Backend,
    Capabilities,
    Options,
    Sizes,
    SpreadCost,
    Trainer,
    choose_form,
)
from rlsbench.errors import UnavailableBackendError
from rlsbench.problem import Problem
from rlsbench.ranks import Communicator
from rlsbench_numba.arrays import declare, message_length, sharing_threads, thread_ranges
from rlsbench_numba.costs import plain_is_faster
from rlsbench_numba.tuning import (
    BLAS_LIBRARY_BYTES,
    COMPILER_BYTES,
    JUMP_SECONDS,
    LIBRARY_BYTES,
    SCAN_SECONDS,
    SHARED_INPUT_SECONDS,
    SHARED_SPIKE_SECONDS,
    SHARED_SYNAPSE_SECONDS,
    SPIKE_SECONDS,
    SPIN_COUNT,
)


@dataclass(frozen=True)
class NumbaBackend(Backend):
    """A way of updating P in Numba; `blas` leaves products and rank-1 updates to BLAS."""

    name: str
    description: str
    capabilities: Capabilities
    blas: bool = False

    def unavailable(self) -> str | None:
        if find_spec("numba") is None:
            return "the package numba is not installed; pip install 'rlsbench[numba]'"
        if os.environ.get("NUMBA_DISABLE_JIT", "0").strip() not in ("", "0"):
            return "NUMBA_DISABLE_JIT is set, so nothing would be compiled; unset it"
        return None

    def trainer(self, problem: Problem, options: Options) -> Trainer:
        prepare_threads(options.threads)
        try:
            from rlsbench_numba.trainer import NumbaTrainer
        except ImportError as error:
            raise UnavailableBackendError(f"backend {self.name} cannot be used: {error}") from error
        sizes = Sizes.of_problem(problem)
        options, notes = self._chosen(sizes, options)
        return NumbaTrainer(problem, options, notes, declare(sizes, options, blas=self.blas), blas=self.blas)

    def arrays(self, sizes: Sizes, options: Options) -> list[ArraySpec]:
        options, _ = self._chosen(sizes, options)
        compiler = ArraySpec.of("kernels, compiled on first use", 0 if _compiled() else COMPILER_BYTES, np.uint8)
        return [*declare(sizes, options, blas=self.blas), compiler]

    def spread_cost(
        self, sizes: Sizes, options: Options, ranks: Communicator, spikes: float, spiked: float
    ) -> SpreadCost:
        length, others = message_length(int(np.diff(ranks.bounds(sizes.everyone)).max())), sizes.everyone - sizes.N
        sent = length * ranks.size + (spikes if spikes > (length - 1) * ranks.size else 0)
        scanning = len(thread_ranges(sizes.everyone, options.threads, scanned=True)) - 1
        share, look_up, before = others / sizes.everyone, SPIKE_SECONDS, JUMP_SECONDS
        if sharing := sharing_threads(sizes, options):
            plastic, static = (synapses / sizes.everyone for synapses in (sizes.synapses, sizes.N * sizes.outputs))
            look_up = (SHARED_SPIKE_SECONDS + SHARED_SYNAPSE_SECONDS * (plastic + static)) / sharing
            before = (JUMP_SECONDS + SHARED_INPUT_SECONDS * plastic) / sharing
        if self._chosen(sizes, options)[0].algorithm == "plain":
            before = 0.0
        update = before * share * spiked + SCAN_SECONDS * others / scanning
        return SpreadCost(4 * sent, look_up * share * spikes, update, sizes.shortest_delay)

    def _chosen(self, sizes: Sizes, options: Options) -> tuple[Options, list[str]]:
        """The options with the form of the update that is taken, and notes for the user."""
        form, notes = "plain", list[str]()
        if not self.blas:
            form, notes = choose_form(sizes, options, plain_is_faster=plain_is_faster(sizes, options))
        return replace(options, algorithm=form), notes


_found: list[bool] = []  # that kernels were cached: the folder, of thousands of files, is not read again


def _compiled() -> bool:
    """Whether kernels are cached that are newer than all sources; others may still be missing."""
    if _found:
        return True
    folder, here = os.environ.get("NUMBA_CACHE_DIR"), Path(__file__).parent
    kernels = (Path(folder) if folder else here / "__pycache__").rglob("steps.advance*.nbc")
    newest = max((kernel.stat().st_mtime for kernel in kernels), default=0.0)
    if newest > max(source.stat().st_mtime for source in here.glob("*.py")):
        _found.append(True)
    return bool(_found)


def prepare_threads(threads: int) -> None:
    """Set what can only be set before Numba is imported; what the user has set stays.

    These are the most threads that can be used, and how long a thread of GNU OpenMP spins before it
    sleeps (`rlsbench_numba.tuning.SPIN_COUNT`).
    """
    if "numba" not in sys.modules:
        os.environ.setdefault("NUMBA_NUM_THREADS", str(max(8, threads, os.cpu_count() or 1)))
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPIN_COUNT))


INPUTS = int(np.iinfo(np.uint16).max)  # plastic inputs are numbered in 16 bits

BACKEND = NumbaBackend(
    "numba",
    "Numba, fused kernels in parallel over neurons",
    Capabilities(
        p_precisions=("float32", "float64", "float16", "bfloat16", "int16"),
        storages=("full", "packed"),
        algorithms=("plain", "event"),
        features=frozenset(FEATURES),
        library_bytes=LIBRARY_BYTES,
        max_plastic_inputs=INPUTS,
    ),
)
BLAS = NumbaBackend(
    "numba-blas",
    "Numba, BLAS for each neuron: the published CPU scheme",
    Capabilities(
        storages=("full", "packed"),
        features=frozenset(FEATURES) - {"varying-in-degree", "plastic-delays"},
        library_bytes=BLAS_LIBRARY_BYTES,
        max_plastic_inputs=INPUTS,
    ),
    blas=True,
)
