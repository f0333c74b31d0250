"""Runs unchanged CUDA kernels, and a backend that uses them through CuPy, on a machine without a GPU.

In: kernel source, and code that imports cupy.  Out: the same results as on a GPU, or an error that says what was done that
may not be done.  README.md says how to use it, what it checks and what it cannot.

    cuda_emulation.h   the subset of CUDA C++, for g++         native.py     compiles and runs kernels
    runtime.cpp        fibers, barriers, shuffles, faults      device.py     device memory, order between streams
    shadow.h           races and uninitialised memory          array.py      cupy.ndarray
                                                               stand_in.py   the rest of CuPy that is used
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from tests.emulator.native import KernelFault, Mode, missing
from tests.emulator.stand_in import install, uninstall

__all__ = ["KernelFault", "Mode", "emulated_cupy", "install", "missing", "uninstall"]


@contextmanager
def emulated_cupy(mode: Mode | None = None) -> Iterator[ModuleType]:
    """The stand-in in the place of cupy, for as long as the block lasts."""
    try:
        yield install(mode)
    finally:
        uninstall()
