"""The backend `cupy`: CUDA kernels through CuPy.  Imports neither CuPy nor a driver."""

from rlsbench_cupy.backend import BACKEND

__all__ = ["BACKEND"]
