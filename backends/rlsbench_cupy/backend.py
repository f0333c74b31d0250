"""The backend `cupy`: what it offers and what it needs, without importing CuPy.

In: a `Problem` and `Options`.  Out: a `Trainer` from `rlsbench_cupy.trainer`, which is imported on first use.
"""

from __future__ import annotations

import ctypes
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from rlsbench.backend import FEATURES, Backend, DeviceLimits, KernelCost, Options, Trainer
from rlsbench.configuration import Experiment
from rlsbench.errors import UnavailableBackendError
from rlsbench.problem import Problem

__all__ = [
    "BACKEND",
    "INPUTS_AT_MOST",
    "SHARED_BYTES",
    "CupyBackend",
    "choose_algorithm",
    "event_warps",
    "fold_warps",
    "pairs_kept",
    "plain_warps",
    "takes_event",
    "why_not_event",
]

INPUTS_AT_MOST = 1000
SHARED_BYTES = 48 * 1024
"""Shared memory of a block that every device gives without being asked."""
PAIRS_BYTES = 40 * 1024  # of shared memory that the pairs of a fold may take
PAIRS_PER_ROOT_N = 1.3


def plain_warps(n: int) -> int:
    """Warps that update a neuron in the plain form, which visits n^2 entries."""
    return 1 if n <= 32 else 4


def event_warps(n: int) -> int:
    """Warps that update a neuron in the event form, which visits some columns of n entries."""
    return 1 if n <= 128 else 4


def fold_warps(n: int) -> int:
    """Warps that fold the pairs of a neuron."""
    return 1 if n <= 32 else 4


def pairs_kept(n: int, wide_bytes: int) -> int:
    """Updates that the event form keeps before it writes P.

    Reading the pairs costs n m / 2 numbers an update, writing P some n^2 / m: so the best m goes with the root of n.
    They must fit into shared memory when they are folded.
    """
    wanted = max(4, 4 * round(PAIRS_PER_ROOT_N * math.sqrt(n) / 4))
    return max(1, min(wanted, PAIRS_BYTES // (wide_bytes * max(4, n + 3))))


def why_not_event(*, tau_plas_varies: bool, feedforward_differs: bool) -> str | None:
    """Why the event form does not apply, or None."""
    if tau_plas_varies:
        return "each neuron has a tau_plas of its own, and it needs one decay for all inputs"
    if feedforward_differs:
        return "feed-forward inputs have a filter of their own, and it needs one decay for all inputs"
    return None


def choose_algorithm(problem: Problem, options: Options) -> tuple[str, Sequence[str]]:
    """The form of the update, and what a user should know of the choice."""
    feedforward = problem.feedforward
    lacking = why_not_event(
        tau_plas_varies=isinstance(problem.tau_plas_ms, np.ndarray),
        feedforward_differs=feedforward is not None and feedforward.tau_ms != problem.tau_plas_ms,
    )
    if options.algorithm == "plain" or lacking:
        note = f"takes the plain update, not event: {lacking}"
        return "plain", [note] if options.algorithm == "event" else []
    return "event", []


def takes_event(e: Experiment, options: Options) -> bool:
    """Whether a trainer of this experiment will take the event form."""
    lacking = why_not_event(
        tau_plas_varies=isinstance(e.synapse.tau_plas_ms, tuple),
        feedforward_differs=e.feedforward.LX > 0 and e.feedforward.tau_ms not in (None, e.synapse.tau_plas_ms),
    )
    return options.algorithm != "plain" and not lacking


def _missing_driver() -> str | None:
    """The library of the CUDA driver, where it is not here; loading it starts no device."""
    driver = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(driver)
    except OSError:
        return driver
    return None


@dataclass(frozen=True)
class CupyBackend:
    """CUDA kernels, compiled and launched by CuPy."""

    name: str = "cupy"
    description: str = "CuPy, CUDA kernels of its own; emulated, not yet run on a GPU"
    caveat: str = "emulated, not yet run on a GPU"
    precisions: tuple[str, ...] = ("float32", "float64")
    p_precisions: tuple[str, ...] = ("float32", "float64", "float16", "bfloat16", "int16")
    storages: tuple[str, ...] = ("full", "packed")
    algorithms: tuple[str, ...] = ("plain", "event")
    devices: tuple[str, ...] = ("cuda",)
    features: frozenset[str] = frozenset(FEATURES)

    def unavailable(self) -> str | None:
        loaded = sys.modules.get("cupy")
        if loaded is not None:
            return None if loaded.cuda.is_available() else "CuPy finds no CUDA device"
        no_cupy, no_driver = find_spec("cupy") is None, _missing_driver()
        pip = "pip install cupy-cuda12x, or cupy-cuda13x with a driver for CUDA 13"
        if no_driver:
            beside = f", and {pip}" if no_cupy else ""
            return f"no CUDA driver ({no_driver}); install NVIDIA's, on a machine with one of its GPUs{beside}"
        return f"CuPy is not installed; {pip}" if no_cupy else None

    def unusable(self, options: Options) -> str | None:
        import cupy

        from rlsbench_cupy.device import device_number

        kind, _, number = options.device.partition(":")
        count = int(cupy.cuda.runtime.getDeviceCount())
        known = ", ".join(f"cuda:{i}" for i in range(count)) or "none"
        if kind != "cuda" or (number and not number.isdecimal()) or device_number(options.device) >= count:
            return f"there is no {options.device} here; there are {known}"
        return None

    def free_bytes(self, options: Options) -> int:
        import cupy

        from rlsbench_cupy.device import device_number

        with cupy.cuda.Device(device_number(options.device)):
            free, _ = cupy.cuda.runtime.memGetInfo()
            kept = cupy.get_default_memory_pool().free_bytes()  # what CuPy has been given back, and still holds
        return int(free) + int(kept)

    def trainer(self, problem: Problem, options: Options) -> Trainer:
        try:
            from rlsbench_cupy.trainer import CupyTrainer
        except ImportError as error:
            raise UnavailableBackendError(f"backend {self.name} cannot be used: {error}") from error
        return CupyTrainer(problem, options)

    def memory_bytes(self, experiment: Experiment, options: Options) -> dict[str, int]:
        from rlsbench_cupy.costs import memory_bytes

        return memory_bytes(experiment, options)

    @property
    def device_limits(self) -> Sequence[DeviceLimits]:
        from rlsbench_cupy.costs import DEVICES

        return DEVICES

    def kernel_costs(self, experiment: Experiment, options: Options, rate_hz: float) -> Sequence[KernelCost]:
        from rlsbench_cupy.costs import kernel_costs

        return kernel_costs(experiment, options, rate_hz)


BACKEND = CupyBackend()
_: Backend = BACKEND
