"""CUDA kernels through CuPy; importing this package imports neither CuPy nor a driver."""

from rlsbench_cupy.backend import BACKEND

__all__ = ["BACKEND"]
