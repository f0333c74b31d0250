"""What is learned and kept, as host arrays: of all neurons (`State`), or of some (`Block`).

A block holds what the learning rule declares, P among it, in the trainer's own precision and
storage. So saving needs no second copy of P, and restoring is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench.precision import PRECISIONS, inputs_of, pack, unpack

__all__ = ["Block", "Kept", "State"]

Floats = NDArray[np.floating[Any]]
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Kept(NamedTuple):
    """An array that the learning rule keeps, of consecutive neurons, as the trainer stores it."""

    values: NDArray[Any]  #: (B, ...); a positive definite matrix as (B, n, n) or, packed, (B, n(n+1)/2)
    precision: str | None = None  #: of a matrix, of dtype `PRECISIONS[precision].stored`; by default that of values
    unit: Floats | None = None  #: (B,), the value of a stored 1, if the precision is scaled

    @property
    def type(self) -> str:
        """The precision, or the name of the dtype."""
        return self.precision or self.values.dtype.name

    def copy(self) -> Kept:
        """The same in memory of its own."""
        return Kept(self.values.copy(), self.precision, None if self.unit is None else self.unit.copy())

    def widened(self) -> NDArray[Any]:
        """The array in the dtype used for arithmetic; a view if it is stored so."""
        numbers = self.values if self.precision is None else PRECISIONS[self.precision].widen(self.values)
        return numbers if self.unit is None else numbers * self.unit.reshape(-1, *[1] * (numbers.ndim - 1))

    def full(self) -> Floats:
        """A matrix as (B, n, n), whatever its storage, in the dtype used for arithmetic."""
        P = self.widened()
        return P if P.ndim == 3 else unpack(P)

    def packed(self) -> Floats:
        """A matrix as (B, n(n+1)/2), whatever its storage, in the dtype used for arithmetic."""
        P = self.widened()
        return P if P.ndim == 2 else pack(P)

    def diagonal(self) -> Floats:
        """The diagonals of a matrix, (B, n), in the dtype used for arithmetic."""
        if self.values.ndim == 3:
            return self._replace(values=np.diagonal(self.values, axis1=1, axis2=2)).widened()
        i = np.arange(inputs_of(self.values))
        return self._replace(values=self.values[:, i * (i + 1) // 2 + i]).widened()


class State(NamedTuple):
    """Weights of all neurons, and what the learning rule keeps."""

    w: Floats  #: (N, n), in the precision of the currents
    kept: Mapping[str, NDArray[Any]] = NOTHING  #: (N, ...) by name, in the dtype used for arithmetic

    @property
    def P(self) -> Floats:
        """P of RLS: (N, n, n) or, packed, (N, n(n+1)/2)."""
        return self.kept["P"]

    def full(self, name: str = "P") -> Floats:
        """A matrix as (N, n, n), from either storage."""
        return Kept(self.kept[name]).full()

    def packed(self, name: str = "P") -> Floats:
        """A matrix as (N, n(n+1)/2), from either storage."""
        return Kept(self.kept[name]).packed()


class Block(NamedTuple):
    """Weights of consecutive neurons, and what the learning rule keeps."""

    w: Floats  #: (B, n)
    kept: Mapping[str, Kept] = NOTHING  #: by name, as the rule declares; nothing without targets

    @property
    def P(self) -> Kept:
        """P of RLS."""
        return self.kept["P"]

    @property
    def nbytes(self) -> int:
        """Size of its numbers."""
        return self.w.nbytes + sum(kept.values.nbytes for kept in self.kept.values())

    def copy(self) -> Block:
        """The same in memory of its own."""
        return Block(self.w.copy(), {name: kept.copy() for name, kept in self.kept.items()})
