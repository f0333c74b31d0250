"""NumPy backends: `numpy-full` and `numpy-packed`."""

from rlsbench_numpy.backend import FULL, PACKED, NumpyBackend

__all__ = ["FULL", "PACKED", "NumpyBackend"]
