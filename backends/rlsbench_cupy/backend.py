"""The backend `cupy`: what it offers and what it needs, without importing CuPy.

In: a `Problem` and `Options`.  Out: a `Trainer` from `rlsbench_cupy.trainer`, which is imported on first use.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from rlsbench.backend import (
    ArraySpec,
    Backend,
    Capabilities,
    DeviceLimits,
    KernelCost,
    Options,
    Sizes,
    Trainer,
    pending_updates,
)
from rlsbench.configuration import Experiment
from rlsbench.errors import UnavailableBackendError
from rlsbench.problem import Problem

__all__ = [
    "BACKEND",
    "INPUTS_AT_MOST",
    "SHARED_BYTES",
    "CupyBackend",
    "event_warps",
    "fold_warps",
    "pairs_kept",
    "plain_warps",
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
    """Updates that stay pending before P is written; they must fit into shared memory when folded."""
    return max(1, min(pending_updates(n, PAIRS_PER_ROOT_N), PAIRS_BYTES // (wide_bytes * max(4, n + 3))))


def _missing_driver() -> str | None:
    """The library of the CUDA driver, where it is not here; loading it starts no device."""
    driver = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(driver)
    except OSError:
        return driver
    return None


@dataclass(frozen=True)
class CupyBackend(Backend):
    """CUDA kernels, compiled and launched by CuPy."""

    name: str = "cupy"
    description: str = "CuPy with its own CUDA kernels; emulated, not yet run on a GPU"
    capabilities: Capabilities = Capabilities(
        p_precisions=("float32", "float64", "float16", "bfloat16", "int16"),
        storages=("full", "packed"),
        algorithms=("plain", "event"),
        devices=("cuda",),
        max_plastic_inputs=INPUTS_AT_MOST,
        caveat="emulated, not yet run on a GPU",
    )

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

    def arrays(self, sizes: Sizes, options: Options) -> list[ArraySpec]:
        from rlsbench_cupy.costs import arrays

        return arrays(sizes, options)

    @property
    def device_limits(self) -> Sequence[DeviceLimits]:  # type: ignore[override]
        from rlsbench_cupy.costs import DEVICES

        return DEVICES

    def kernel_costs(self, experiment: Experiment, options: Options, rate_hz: float) -> Sequence[KernelCost]:
        from rlsbench_cupy.costs import kernel_costs

        return kernel_costs(experiment, options, rate_hz)


BACKEND = CupyBackend()
