"""Kernels that only other kernels can call, called from Python."""

from __future__ import annotations

from typing import Any

import numba


def from_python(kernel: Any) -> Any:
    """A kernel that calls this one with the same arguments, and that Python can call."""

    @numba.njit(error_model="numpy")
    def call(*arguments: Any) -> Any:
        return kernel(*arguments)

    return call
