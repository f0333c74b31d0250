"""What is learned and kept, as host arrays: of all neurons (`State`), or of some (`Block`).

A block holds P in the trainer's own precision and storage. So saving needs no second copy of P, and
restoring is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench.precision import PRECISIONS, pack, unpack

__all__ = ["Block", "State", "diagonal", "widened"]

Floats = NDArray[np.floating[Any]]


class State(NamedTuple):
    """Weights and P of all neurons, and what another rule than RLS keeps in place of P."""

    w: Floats  #: (N, n), in the precision of the currents
    P: Floats  #: (N, n, n) or, packed, (N, n(n+1)/2); dtype `PRECISIONS[p_precision].computed`
    rule: Mapping[str, NDArray[Any]] = MappingProxyType({})  #: (N, ...) by name, as the rule declares

    def full(self) -> Floats:
        """P as (N, n, n), from either storage."""
        return self.P if self.P.ndim == 3 else unpack(self.P, self.w.shape[1])

    def packed(self) -> Floats:
        """P as (N, n(n+1)/2), from either storage."""
        return self.P if self.P.ndim == 2 else pack(self.P)


class Block(NamedTuple):
    """Weights and P of consecutive neurons, and what another rule than RLS keeps in place of P."""

    w: Floats  #: (B, n)
    P: NDArray[Any]  #: (B, n, n) or, packed, (B, n(n+1)/2); dtype `PRECISIONS[p_precision].stored`
    unit: Floats  #: (B,), the value of a stored 1; it is 1 unless the precision is scaled
    p_precision: str
    rule: Mapping[str, NDArray[Any]] = MappingProxyType({})  #: (B, ...) by name, as the rule declares

    @classmethod
    def unscaled(cls, w: Floats, P: NDArray[Any], p_precision: str) -> Block:
        """A block of a trainer whose precision is not scaled: every unit is 1."""
        return cls(w, P, np.ones(len(w), PRECISIONS[p_precision].computed), p_precision)

    def full(self) -> Floats:
        """P as (B, n, n), whatever its storage, in the precision in which it is computed."""
        return State(self.w, widened(self)).full()

    def packed(self) -> Floats:
        """P as (B, n(n+1)/2), whatever its storage, in the precision in which it is computed."""
        return State(self.w, widened(self)).packed()


def widened(block: Block) -> Floats:
    """P of a block in the dtype used for arithmetic, in the shape of `block.P`."""
    unit = block.unit.reshape(-1, *[1] * (block.P.ndim - 1))
    return PRECISIONS[block.p_precision].widen(block.P) * unit


def diagonal(block: Block) -> Floats:
    """The diagonals of a block's P, (B, n), in the dtype used for arithmetic."""
    if block.P.ndim == 3:
        stored = np.diagonal(block.P, axis1=1, axis2=2)
    else:
        i = np.arange(block.w.shape[1])
        stored = block.P[:, i * (i + 1) // 2 + i]
    return PRECISIONS[block.p_precision].widen(stored) * block.unit[:, None]
