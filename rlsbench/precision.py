"""Precisions and storage layouts of P.

All byte counts and conversions, and the tolerances of the conformance suite, come from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt, prod
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


class Tolerances(NamedTuple):
    """Allowed deviations from the float64 reference, relative to the largest entry."""

    one_update: float
    many_updates: float
    trial: float  #: after a trial of 50 ms


@dataclass(frozen=True)
class Precision:
    """A precision in which P, currents or weights are stored.

    Numbers are converted to `computed` for arithmetic. `scaled` ones are stored as integers, in a
    unit that each neuron has.
    """

    name: str
    stored: np.dtype[Any]  #: in memory and in checkpoints; bfloat16 as its bit pattern
    computed: np.dtype[Any]  #: float32 for 16-bit precisions, otherwise the same as `stored`
    epsilon: float  #: spacing of numbers close to the largest entry, relative to that entry
    tolerances: Tolerances
    scaled: bool = False

    @property
    def bytes(self) -> int:
        """Size of one stored number."""
        return self.stored.itemsize

    @property
    def narrow(self) -> bool:
        """Whether numbers are stored in 16 bits and computed in float32."""
        return self.stored != self.computed

    def widen(self, stored: NDArray[Any]) -> Floats:
        """Convert stored numbers to `computed`; the caller multiplies by the unit if `scaled`."""
        if self.name == "bfloat16":
            import ml_dtypes

            stored = stored.view(ml_dtypes.bfloat16)
        return stored.astype(self.computed, copy=False)

    def round(self, x: Floats) -> NDArray[Any]:
        """Round to the nearest stored number, ties to even; x is in units if `scaled`."""
        if self.name == "bfloat16":
            import ml_dtypes

            return x.astype(ml_dtypes.bfloat16).view(self.stored)
        return (np.rint(x) if self.scaled else x).astype(self.stored)


_F8, _F4 = np.dtype("<f8"), np.dtype("<f4")

PRECISIONS: Final[dict[str, Precision]] = {
    p.name: p
    for p in (
        Precision("float64", _F8, _F8, 2.0**-52, Tolerances(1e-12, 1e-10, 1e-10)),
        Precision("float32", _F4, _F4, 2.0**-23, Tolerances(1e-5, 2e-4, 2e-4)),
        Precision("int16", np.dtype("<i2"), _F4, 2.0**-12, Tolerances(1e-3, 5e-2, 5e-2), scaled=True),
        Precision("float16", np.dtype("<f2"), _F4, 2.0**-10, Tolerances(4e-3, 3e-2, 3e-2)),
        Precision("bfloat16", np.dtype("<u2"), _F4, 2.0**-7, Tolerances(3e-2, 2e-1, 2e-1)),
    )
}
"""Precisions by name, from the finest to the coarsest."""


class Storage(NamedTuple):
    """A storage layout of symmetric n x n matrices."""

    name: str

    def entries(self, n: int) -> int:
        """Count of the numbers stored for each matrix."""
        return prod(self.shape(n))

    def shape(self, n: int) -> tuple[int, ...]:
        """Shape of one matrix: (n, n), or (n(n+1)/2,) for its lower triangle, row by row."""
        return (n, n) if self.name == "full" else (n * (n + 1) // 2,)


STORAGES: Final[dict[str, Storage]] = {name: Storage(name) for name in ("full", "packed")}  #: storage layouts by name


def pack(P: Floats) -> Floats:
    """Lower triangles of (..., n, n), row by row: entry (i, j <= i) at i (i + 1)/2 + j."""
    i, j = np.tril_indices(P.shape[-1])
    return np.ascontiguousarray(P[..., i, j])


def inputs_of(packed: NDArray[Any]) -> int:
    """n of packed triangles (..., n(n+1)/2)."""
    return isqrt(2 * packed.shape[-1])


def unpack(packed: Floats) -> Floats:
    """Symmetric matrices (..., n, n) from their packed lower triangles (..., n(n+1)/2)."""
    n = inputs_of(packed)
    P = np.empty((*packed.shape[:-1], n, n), packed.dtype)
    i, j = np.tril_indices(n)
    P[..., i, j] = packed
    P[..., j, i] = packed
    return P
