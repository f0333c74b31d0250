"""The backends `cupy` and `cupy-float32`: CUDA kernels through CuPy.

Imports neither CuPy nor a driver.
"""

from rlsbench_cupy.backend import BACKEND, FLOAT32

__all__ = ["BACKEND", "FLOAT32"]
