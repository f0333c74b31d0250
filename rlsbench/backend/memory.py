"""How many bytes a training run will need, before anything is allocated, and how many there are.

In: an experiment and options.  Out: bytes by array.  Knows sizes, not backends.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import psutil

from rlsbench.backend.protocol import Backend, Options, OwnDevices
from rlsbench.configuration import Experiment
from rlsbench.errors import InsufficientMemoryError
from rlsbench.problem import Clock

__all__ = [
    "PRECISION_BYTES",
    "available_bytes",
    "check_memory",
    "fits",
    "free_bytes",
    "needed_bytes",
    "standard_bytes",
]

PRECISION_BYTES: Final = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int16": 2}
"""Bytes of a number of P."""

LIBRARIES: Final = 2**28  # NumPy, SciPy, Numba, Matplotlib and the rest, as measured


def standard_bytes(e: Experiment, options: Options, *, state_arrays: int) -> dict[str, int]:
    """Bytes of a trainer that keeps the usual arrays.

    Parameters
    ----------
    e : Experiment
    options : Options
    state_arrays : int
        Arrays of N values that its simulation keeps.

    Returns
    -------
    dict
        Name of the array to bytes.
    """
    N, recurrent = e.network.neurons, 2 * e.network.plastic_per_population
    n = e.plastic_inputs
    entries = n * n if options.storage == "full" else n * (n + 1) // 2
    real = np.dtype(options.precision).itemsize
    return {
        "P": N * entries * PRECISION_BYTES[options.p_precision],
        "w": N * n * real,
        "plastic inputs": N * recurrent * 4,
        "plastic outputs": N * recurrent * 8,
        "static targets": N * 2 * e.network.K * 4,
        "state": N * state_arrays * real,
    }


def available_bytes() -> int:
    """Memory that this process can still take: the machine's, or less where a control group limits it."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text().strip()
    except OSError:
        return free
    return free if limit == "max" else min(free, int(limit) - int(used))


def free_bytes(backend: Backend, options: Options) -> int:
    """Memory that a trainer can still take where it would be: on a device of its own, or in this machine."""
    if options.device != "cpu" and isinstance(backend, OwnDevices) and backend.unavailable() is None:
        return backend.free_bytes(options)
    return available_bytes()


def needed_bytes(backend: Backend, e: Experiment, options: Options) -> dict[str, int]:
    """Bytes of a training run by array: what the backend's trainer holds, and what there is beside it.

    The learned current is there twice: that of the last iteration is kept until the next one has ended.
    """
    if options.device != "cpu" and isinstance(backend, OwnDevices):
        return dict(backend.memory_bytes(e, options))  # on the device; what is beside it is in the machine's memory
    clock = Clock.from_experiment(e)
    samples = clock.bins + 2 + round(2 * e.training.window_ms / e.time.learn_every_ms)
    measured = samples * e.network.neurons * np.dtype(options.precision).itemsize
    return {**backend.memory_bytes(e, options), "learned current": 2 * measured, "Python and libraries": LIBRARIES}


def fits(needed: Mapping[str, int], free: int | None = None) -> bool:
    """Whether so many bytes can be had of those free (by default in this machine), with a little to spare."""
    return sum(needed.values()) <= 0.95 * (available_bytes() if free is None else free)


def check_memory(needed: Mapping[str, int], free: int | None = None) -> None:
    """Refuse what cannot fit.

    Raises
    ------
    InsufficientMemoryError
        With the largest arrays and what is free.
    """
    total, free = sum(needed.values()), available_bytes() if free is None else free
    if total > free:
        largest = sorted(needed.items(), key=lambda item: -item[1])[:2]
        parts = ", ".join(f"{name} {size / 2**30:.1f}" for name, size in largest)
        raise InsufficientMemoryError(
            f"this needs {total / 2**30:.1f} GiB ({parts}) and {free / 2**30:.1f} GiB are free; "
            "take fewer --neurons, --storage packed or a narrower --p-precision"
        )
