"""Runs unchanged CUDA kernels, and a backend that uses them through CuPy, on a machine without a GPU.

In: kernel source, and code that imports cupy.  Out: the same results as on a GPU, or an error that says what was done
that may not be done.  README.md says how to use it, what it checks and what it cannot.

    include/          the subset of CUDA C++, for g++             device.py     device memory, order between streams
    runtime.cpp       fibers, barriers, shuffles, faults          array.py      cupy.ndarray
    shadow.h          races and uninitialised memory              streams.py    devices, streams, events, graphs
    native.py         compiles and runs kernels                   kernels.py    RawModule, and what a launch must be
                                                                  stand_in.py   puts all that in CuPy's place

    matrix.py, indices.py, mutations.py, registers.py: what the backend is checked with, see README.md
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from tests.emulator.native import KernelFault, Mode, missing
from tests.emulator.stand_in import install, suspend, uninstall

__all__ = ["KernelFault", "Mode", "emulated_cupy", "install", "missing", "uninstall"]


@contextmanager
def emulated_cupy(mode: Mode | None = None) -> Iterator[ModuleType]:
    """The stand-in in the place of cupy for as long as the block lasts; then what was there before comes back."""
    before = suspend()
    try:
        yield install(mode)
    finally:
        uninstall()
        before()
