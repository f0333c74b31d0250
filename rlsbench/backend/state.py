"""The learned state of a trainer: w and P, whole or in blocks of neurons, as host arrays.

In: arrays of a trainer.  Out: a `State` or `Block`s.  Knows how P is encoded; knows no file.

A block holds P as the trainer stores it, so saving takes no second copy of P and restoring is exact.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench.precision import PRECISIONS, pack, unpack

__all__ = ["Block", "State", "diagonal", "widened"]

Floats = NDArray[np.floating[Any]]


class State(NamedTuple):
    """What has been learned."""

    w: Floats
    """(N, n), in the precision of the currents."""
    P: Floats
    """(N, n, n) for full storage, (N, n(n+1)/2) for packed, in the precision in which P is computed."""

    def full(self) -> Floats:
        """P as (N, n, n), whatever its storage."""
        return self.P if self.P.ndim == 3 else unpack(self.P, self.w.shape[1])

    def packed(self) -> Floats:
        """P as (N, n(n+1)/2), whatever its storage."""
        return self.P if self.P.ndim == 2 else pack(self.P)


class Block(NamedTuple):
    """Weights and P of consecutive neurons."""

    w: Floats
    """(B, n)"""
    P: NDArray[Any]
    """(B, n, n), or (B, n(n+1)/2), lower triangles row by row; dtype `PRECISIONS[p_precision].stored`."""
    unit: Floats
    """(B,), the value of a stored 1: 1 except where the precision is scaled."""
    p_precision: str

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
    """P of a block in the precision in which it is computed, shaped as in the block."""
    unit = block.unit.reshape(-1, *[1] * (block.P.ndim - 1))
    return PRECISIONS[block.p_precision].widen(block.P) * unit


def diagonal(block: Block) -> Floats:
    """The diagonal of P of a block, (B, n), in the precision in which it is computed."""
    if block.P.ndim == 3:
        stored = np.diagonal(block.P, axis1=1, axis2=2)
    else:
        i = np.arange(block.w.shape[1])
        stored = block.P[:, i * (i + 1) // 2 + i]
    return PRECISIONS[block.p_precision].widen(stored) * block.unit[:, None]
