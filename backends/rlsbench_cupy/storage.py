"""P as host arrays and as what is stored on the device: the counterpart of kernels/storage.cuh.

In: matrices in any storage.  Out: stored numbers and units, and back.  Knows NumPy, not CuPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.precision import pack, unpack

__all__ = ["STORED", "Storage"]

Floats = NDArray[np.floating[Any]]

STORED: dict[str, type[np.generic]] = {
    "float64": np.float64,
    "float32": np.float32,
    "float16": np.uint16,
    "bfloat16": np.uint16,
    "int16": np.int16,
}
"""Precision of P to the dtype of what is stored: the bits of 16-bit numbers."""

INT16_BITS = 14


class Storage:
    """How the P of a neuron with n inputs is stored.

    Parameters
    ----------
    n : int
    storage : {"full", "packed"}
    precision : str
        A key of `STORED`.
    """

    def __init__(self, n: int, storage: str, precision: str) -> None:
        self.n, self.packed, self.precision = n, storage == "packed", precision
        self.entries = n * (n + 1) // 2 if self.packed else n * n
        self.stored = np.dtype(STORED[precision])
        self.wide: np.dtype[Any] = np.dtype(np.float64 if precision == "float64" else np.float32)

    def to_stored(self, P: Floats) -> tuple[NDArray[Any], Floats]:
        """Stored numbers (B, entries) and units (B,) of matrices (B, n, n) or triangles (B, n (n + 1)/2).

        Rounded to nearest, ties to even.
        """
        flat = (P if P.ndim == 2 else pack(P)) if self.packed else (P if P.ndim == 3 else unpack(P, self.n))
        flat = np.ascontiguousarray(flat).reshape(len(flat), self.entries)
        unit = np.ones(len(flat), self.wide)
        if self.precision == "int16":
            largest = np.maximum(np.abs(flat).max(axis=1, initial=0.0), 1e-30)
            unit[:] = 2.0 ** (np.ceil(np.log2(largest)) - INT16_BITS)
            return np.rint(flat / unit[:, None]).astype(np.int16), unit
        if self.precision == "float16":
            return flat.astype(np.float16).view(np.uint16), unit
        if self.precision == "bfloat16":
            bits = np.ascontiguousarray(flat, np.float32).view(np.uint32)
            return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16), unit
        return flat.astype(self.stored), unit

    def bits(self, P: NDArray[Any]) -> NDArray[Any]:
        """Stored numbers (B, entries) of what is stored so elsewhere: (B, n, n) or (B, n (n + 1)/2), bit for bit."""
        return np.ascontiguousarray(P).view(self.stored).reshape(len(P), self.entries)

    def to_wide(self, stored: NDArray[Any], unit: Floats) -> Floats:
        """The entries (B, n, n) or (B, n (n + 1)/2) of stored numbers (B, entries), in the precision of kernels."""
        if self.precision == "float16":
            wide = stored.view(np.float16).astype(np.float32)
        elif self.precision == "bfloat16":
            wide = (stored.astype(np.uint32) << 16).view(np.float32)
        else:
            wide = stored.astype(self.wide)
        wide *= unit[:, None]
        return wide if self.packed else wide.reshape(-1, self.n, self.n)
