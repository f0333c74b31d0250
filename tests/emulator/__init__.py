"""Runs unchanged CUDA kernels, and a backend that launches them through CuPy, without a GPU.

In: kernel source, and code that imports cupy.  Out: the same results as on a GPU, or an error that
names the violation.  README.md says how to use it, what it checks and what it cannot check.

    include/      the subset of CUDA C++, for g++
    runtime.cpp   fibers, barriers, shuffles, faults
    shadow.h      races and uninitialised memory
    native.py     compiles and runs kernels
    device.py     device memory, order between streams
    array.py      cupy.ndarray
    streams.py    devices, streams, events, graphs
    kernels.py    RawModule, and checks of launches
    stand_in.py   installs all that in place of CuPy

matrix.py, indices.py, mutations.py and registers.py are the checks of the backend.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from tests.emulator.native import KernelFault, Mode, missing
from tests.emulator.stand_in import install, suspend, uninstall

__all__ = ["KernelFault", "Mode", "emulated_cupy", "install", "missing", "need", "uninstall"]


def need() -> None:
    """Skip the module of tests that calls this where kernels cannot be emulated.

    It fails where checks without a GPU are required.
    """
    import pytest  # the emulator alone does without

    if reason := missing():
        if os.environ.get("RLSBENCH_REQUIRE_GPU_CHECKS"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason, allow_module_level=True)


@contextmanager
def emulated_cupy(mode: Mode | None = None) -> Iterator[ModuleType]:
    """Install the stand-in as cupy within the block, and restore the previous module after it."""
    before = suspend()
    try:
        yield install(mode)
    finally:
        uninstall()
        before()
