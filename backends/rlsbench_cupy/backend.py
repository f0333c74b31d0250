"""The backends `cupy` and `cupy-float32`: what they offer and need, without importing CuPy.

In: a `Problem` and `Options`.  Out: a `Trainer` from `rlsbench_cupy.trainer`, imported on first
use.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Final

from rlsbench.backend import ArraySpec, Backend, Capabilities, KernelCost, Options, Sizes, Trainer
from rlsbench.configuration import Experiment
from rlsbench.errors import UnavailableBackendError
from rlsbench.problem import Problem
from rlsbench.ranks import Communicator
from rlsbench_cupy import costs
from rlsbench_cupy.arrays import declare
from rlsbench_cupy.device import device_number, device_of_rank

MAX_INPUTS: Final = 1000
"""Plastic inputs of a neuron whose scratch fits in shared memory."""


def _missing_driver() -> str | None:
    """Name of the CUDA driver's library if it cannot be loaded; loading it starts no device."""
    driver = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(driver)
    except OSError:
        return driver
    return None


@dataclass(frozen=True)
class CupyBackend(Backend):
    """CUDA kernels, compiled and launched by CuPy; normals are computed in the given precision."""

    name: str
    description: str
    capabilities: Capabilities
    normals: str = "float64"
    device_limits = costs.DEVICES

    def unavailable(self) -> str | None:
        loaded = sys.modules.get("cupy")
        if loaded is not None:
            return None if loaded.cuda.is_available() else "CuPy finds no CUDA device"
        no_cupy = find_spec("cupy") is None
        no_driver = _missing_driver()
        pip = "pip install cupy-cuda12x, or cupy-cuda13x with a driver for CUDA 13"
        if no_driver:
            beside = f", and {pip}" if no_cupy else ""
            return f"no CUDA driver ({no_driver}); it needs an NVIDIA GPU with its driver{beside}"
        return f"CuPy is not installed; {pip}" if no_cupy else None

    def unusable(self, options: Options) -> str | None:
        import cupy

        kind, _, number = options.device.partition(":")
        count = int(cupy.cuda.runtime.getDeviceCount())
        known = ", ".join(f"cuda:{i}" for i in range(count)) or "none"
        if kind != "cuda" or (number and not number.isdecimal()) or device_number(options.device) >= count:
            return f"there is no {options.device} here; available: {known}"
        return None

    def free_bytes(self, options: Options) -> int:
        import cupy

        with cupy.cuda.Device(device_number(options.device)):
            free, _ = cupy.cuda.runtime.memGetInfo()
            pooled = cupy.get_default_memory_pool().free_bytes()  # freed arrays that CuPy still holds
        return int(free) + int(pooled)

    def share_bytes(self, options: Options, ranks: Communicator) -> int:
        number, sharing = device_of_rank(options.device, ranks)
        return self.free_bytes(replace(options, device=f"cuda:{number}")) // sharing

    def trainer(self, problem: Problem, options: Options) -> Trainer:
        try:
            from rlsbench_cupy.trainer import CupyTrainer
        except ImportError as error:
            raise UnavailableBackendError(f"backend {self.name} cannot be used: {error}") from error
        return CupyTrainer(problem, options, self.normals)

    def arrays(self, sizes: Sizes, options: Options) -> list[ArraySpec]:
        return declare(sizes, options)

    def kernel_costs(self, experiment: Experiment, options: Options, rate_hz: float) -> Sequence[KernelCost]:
        return costs.kernel_costs(experiment, options, rate_hz)


CAVEAT = "emulated, not yet run on a GPU"

BACKEND = CupyBackend(
    "cupy",
    f"CuPy with its own CUDA kernels; {CAVEAT}",
    Capabilities(
        p_precisions=("float32", "float64", "float16", "bfloat16", "int16"),
        storages=("full", "packed"),
        algorithms=("plain", "event"),
        devices=("cuda",),
        features=Capabilities().features | {"background", "neuron-models", "populations", "ranks"},
        specialized=True,
        max_plastic_inputs=MAX_INPUTS,
        caveat=CAVEAT,
    ),
)
FLOAT32 = CupyBackend(
    "cupy-float32",
    f"CuPy, noise and stimulus in float32, for GPUs with slow float64; {CAVEAT}",
    replace(BACKEND.capabilities, precisions=("float32",), p_precisions=("float32", "float16", "bfloat16", "int16")),
    normals="float32",
)
