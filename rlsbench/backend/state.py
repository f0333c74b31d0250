"""What is learned and kept, as host arrays: of all neurons (`State`), or of some (`Block`).

A block holds what the learning rule declares, P among it, in the trainer's own precision and
storage. So saving needs no second copy of P, and restoring is exact. Where numbers of plastic
inputs vary, the matrices of neurons follow one another in a flat array, each without padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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

    #: (B, ...); a positive definite matrix as (B, n, n) or, packed, (B, n(n+1)/2); with `sizes`,
    #: the numbers of one neuron after another
    values: NDArray[Any]
    precision: str | None = None  #: of a matrix, of dtype `PRECISIONS[precision].stored`; by default that of values
    unit: Floats | None = None  #: (B,), the value of a stored 1, if the precision is scaled
    sizes: NDArray[np.int64] | None = None  #: (B,), n of each neuron's matrix, where they vary

    @property
    def type(self) -> str:
        """The precision, or the name of the dtype."""
        return self.precision or self.values.dtype.name

    def copy(self) -> Kept:
        """The same in memory of its own."""
        return self._replace(values=self.values.copy(), unit=None if self.unit is None else self.unit.copy())

    @property
    def triangles(self) -> bool:
        """Whether matrices are packed triangles."""
        return self.values.ndim == 2 if self.sizes is None else self.values.size < (self.sizes**2).sum()

    @property
    def start(self) -> NDArray[np.int64]:
        """Where the numbers of each neuron begin in flat values, and their end, (B + 1,)."""
        assert self.sizes is not None
        entries = self.sizes * (self.sizes + 1) // 2 if self.triangles else self.sizes**2
        return np.concatenate([[0], np.cumsum(entries)])

    def part(self, first: int, last: int) -> Kept:
        """Those of the neurons first .. last-1 of these, a view."""
        unit = None if self.unit is None else self.unit[first:last]
        if self.sizes is None:
            return self._replace(values=self.values[first:last], unit=unit)
        sizes, start = self.sizes[first:last], self.start[first : last + 1]
        return self._replace(values=self.values[start[0] : start[-1]], unit=unit, sizes=sizes)

    def matrices(self) -> Iterator[Floats]:
        """The matrix of one neuron after another, (n, n), in the dtype used for arithmetic."""
        if self.sizes is None:
            yield from self.full()
            return
        P, start, packed = self.widened(), self.start, self.triangles
        for c, n in enumerate(self.sizes.tolist()):
            own = P[start[c] : start[c + 1]]
            yield unpack(own) if packed else own.reshape(n, n)

    def widened(self) -> NDArray[Any]:
        """The array in the dtype used for arithmetic; a view if it is stored so."""
        numbers = self.values if self.precision is None else PRECISIONS[self.precision].widen(self.values)
        if self.unit is None:
            return numbers
        if self.sizes is not None:
            return numbers * np.repeat(self.unit, np.diff(self.start))
        return numbers * self.unit.reshape(-1, *[1] * (numbers.ndim - 1))

    def full(self) -> Floats:
        """A matrix as (B, n, n), whatever its storage, in the dtype used for arithmetic.

        Where sizes vary, n is the largest, and smaller matrices are padded with zeros.
        """
        if self.sizes is not None:
            n = int(self.sizes.max(initial=0))
            padded = np.zeros((len(self.sizes), n, n), self.part(0, 0).widened().dtype)
            for P_c, own in zip(padded, self.matrices(), strict=True):
                P_c[: len(own), : len(own)] = own
            return padded
        P = self.widened()
        return P if P.ndim == 3 else unpack(P)

    def packed(self) -> Floats:
        """A matrix as (B, n(n+1)/2), whatever its storage, in the dtype used for arithmetic."""
        if self.sizes is not None:
            return pack(self.full())
        P = self.widened()
        return P if P.ndim == 2 else pack(P)

    def diagonal(self) -> Floats:
        """The diagonals of a matrix, (B, n), in the dtype used for arithmetic.

        Padded as in `full`.
        """
        if self.sizes is not None:
            i, n = np.arange(self.sizes.max(initial=0)), self.sizes[:, None]
            at = self.start[:-1, None] + (i * (i + 3) // 2 if self.triangles else i * (n + 1))
            padded = np.zeros(at.shape, self.values.dtype)
            padded[i < n] = self.values[at[i < n]]
            return Kept(padded, self.precision, self.unit).widened()
        if self.values.ndim == 3:
            return self._replace(values=np.diagonal(self.values, axis1=1, axis2=2)).widened()
        i = np.arange(inputs_of(self.values))
        return self._replace(values=self.values[:, i * (i + 1) // 2 + i]).widened()


class State(NamedTuple):
    """Weights of all neurons, and what the learning rule keeps."""

    w: Floats  #: (N, n), in the precision of the currents
    kept: Mapping[str, NDArray[Any]] = NOTHING  #: (N, ...) by name, in the dtype used for arithmetic
    sizes: NDArray[np.int64] | None = None  #: as in `Kept`, which then holds nothing but matrices

    @property
    def P(self) -> Floats:
        """P of RLS: (N, n, n) or, packed, (N, n(n+1)/2); with `sizes`, flat."""
        return self.kept["P"]

    def full(self, name: str = "P") -> Floats:
        """A matrix as (N, n, n), from either storage."""
        return Kept(self.kept[name], sizes=self.sizes).full()

    def packed(self, name: str = "P") -> Floats:
        """A matrix as (N, n(n+1)/2), from either storage."""
        return Kept(self.kept[name], sizes=self.sizes).packed()


class Block(NamedTuple):
    """Weights of consecutive neurons, and what the learning rule keeps."""

    w: Floats  #: (B, n)
    kept: Mapping[str, Kept] = NOTHING  #: by name, as the rule declares; nothing without targets

    @property
    def P(self) -> Kept:
        """P of RLS."""
        return self.kept["P"]

    def part(self, first: int, last: int) -> Block:
        """That of the neurons first .. last-1 of these, views."""
        return Block(self.w[first:last], {name: kept.part(first, last) for name, kept in self.kept.items()})

    @property
    def nbytes(self) -> int:
        """Size of its numbers."""
        return self.w.nbytes + sum(kept.values.nbytes for kept in self.kept.values())

    def copy(self) -> Block:
        """The same in memory of its own."""
        return Block(self.w.copy(), {name: kept.copy() for name, kept in self.kept.items()})
