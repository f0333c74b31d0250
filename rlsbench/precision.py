"""Precisions and storages of P: how many bytes, what is stored, and what it is computed in.

In: the name of a precision or storage.  Out: a frozen record.  Knows no backend; every count of
bytes, every conversion and every tolerance of the suite comes from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["PRECISIONS", "STORAGES", "Precision", "Storage", "Tolerances", "pack", "unpack"]

Floats = NDArray[np.floating[Any]]


class Tolerances(NamedTuple):
    """Allowed differences from the float64 reference, as fractions of the largest entry."""

    one_update: float
    many_updates: float
    trial: float
    """A trial of 50 ms."""


@dataclass(frozen=True)
class Precision:
    """A precision in which P, currents or weights are stored.

    Parameters
    ----------
    name : str
    stored : numpy dtype
        Of what is stored, in memory and in checkpoints. bfloat16 is stored as its bits.
    computed : numpy dtype
        In which arithmetic is done: its own, or float32 where 16 bits are stored.
    epsilon : float
        Spacing of the numbers just below the largest entry, as a fraction of it.
    tolerances : Tolerances
    scaled : bool
        Whether stored integers have a unit, one for each neuron.
    """

    name: str
    stored: np.dtype[Any]
    computed: np.dtype[Any]
    epsilon: float
    tolerances: Tolerances
    scaled: bool = False

    @property
    def bytes(self) -> int:
        """Of one stored number."""
        return self.stored.itemsize

    @property
    def narrow(self) -> bool:
        """Whether it takes 16 bits, and so is computed in float32."""
        return self.stored != self.computed

    def widen(self, stored: NDArray[Any]) -> Floats:
        """Stored numbers in the precision in which they are computed; times the unit where scaled."""
        if self.name == "bfloat16":
            import ml_dtypes

            stored = stored.view(ml_dtypes.bfloat16)
        return stored.astype(self.computed, copy=False)

    def round(self, x: Floats) -> NDArray[Any]:
        """Numbers as they are stored: rounded to nearest, ties to even; x in units where scaled."""
        if self.name == "bfloat16":
            import ml_dtypes

            return x.astype(ml_dtypes.bfloat16).view(self.stored)
        return (np.rint(x) if self.scaled else x).astype(self.stored)


def _dtypes(stored: str, computed: str) -> tuple[np.dtype[Any], np.dtype[Any]]:
    return np.dtype(stored), np.dtype(computed)


PRECISIONS: Final[dict[str, Precision]] = {
    p.name: p
    for p in (  # from the finest to the coarsest
        Precision("float64", *_dtypes("<f8", "<f8"), 2.0**-52, Tolerances(1e-12, 1e-10, 1e-10)),
        Precision("float32", *_dtypes("<f4", "<f4"), 2.0**-23, Tolerances(1e-5, 2e-4, 2e-4)),
        Precision("int16", *_dtypes("<i2", "<f4"), 2.0**-12, Tolerances(1e-3, 5e-2, 5e-2), scaled=True),
        Precision("float16", *_dtypes("<f2", "<f4"), 2.0**-10, Tolerances(4e-3, 3e-2, 3e-2)),
        Precision("bfloat16", *_dtypes("<u2", "<f4"), 2.0**-7, Tolerances(3e-2, 2e-1, 2e-1)),
    )
}
"""By name, the finest first."""


class Storage(NamedTuple):
    """A layout of symmetric n x n matrices."""

    name: str

    def entries(self, n: int) -> int:
        """Numbers that are stored of one matrix."""
        return n * n if self.name == "full" else n * (n + 1) // 2

    def shape(self, n: int) -> tuple[int, ...]:
        """Shape of one matrix: (n, n), or (n(n+1)/2,), its lower triangle row by row."""
        return (n, n) if self.name == "full" else (n * (n + 1) // 2,)


STORAGES: Final[dict[str, Storage]] = {name: Storage(name) for name in ("full", "packed")}
"""By name."""


def pack(P: Floats) -> Floats:
    """Lower triangles of (..., n, n), row by row: entry (i, j <= i) at i (i + 1)/2 + j."""
    i, j = np.tril_indices(P.shape[-1])
    return np.ascontiguousarray(P[..., i, j])


def unpack(packed: Floats, n: int) -> Floats:
    """Symmetric matrices (..., n, n) from their packed lower triangles (..., n(n+1)/2)."""
    P = np.empty((*packed.shape[:-1], n, n), packed.dtype)
    i, j = np.tril_indices(n)
    P[..., i, j] = packed
    P[..., j, i] = packed
    return P
