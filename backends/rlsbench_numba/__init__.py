"""Numba backends: compiled kernels, parallel over neurons. Importing them does not import Numba."""

from rlsbench_numba.backend import BACKEND, BLAS, NumbaBackend

__all__ = ["BACKEND", "BLAS", "NumbaBackend"]
