"""Numba backend: compiled kernels, parallel over neurons. Importing this package does not import Numba."""

from rlsbench_numba.backend import BACKEND, NumbaBackend

__all__ = ["BACKEND", "NumbaBackend"]
