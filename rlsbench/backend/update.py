"""The update that does nothing: base of every form of the RLS update that a backend has."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend.state import Block
from rlsbench.errors import UnsupportedError

__all__ = ["Update"]

Floats = NDArray[np.floating[Any]]


class Update:
    """P and what an update keeps between calls; this one has neither.

    It serves a network without targets as it is. A form of the update overrides what it does.
    """

    def begin_trial(self) -> None:
        """The filtered spikes are zero from here on."""

    def learn(self, *inputs: Any) -> None:
        """Update w and P from the network's filtered spikes."""
        raise UnsupportedError("a network without targets cannot learn")

    def rls_update(self, x: Any, u_bal: Any, f: Any) -> None:
        """Update w and P from given inputs x (N, n), static currents u_bal (N,) and targets f (N,)."""
        raise UnsupportedError("a network without targets cannot learn")

    def settle(self) -> None:
        """Apply every pending update to P, and fill in entries that updates leave out."""

    def forget(self) -> None:
        """Drop whatever depends on the last update: w and P are being replaced."""

    def part(self, first: int, last: int) -> tuple[NDArray[Any], Floats]:
        """P of the neurons first .. last-1 as it is stored, and their units; no P here, so no columns."""
        return np.empty((last - first, 0)), np.ones(last - first)

    def set_part(self, first: int, block: Block) -> None:
        """Take P of the neurons from `first` on."""

    def diagonal(self, first: int, last: int) -> Floats:
        """Diagonal of P of the neurons first .. last-1."""
        return np.empty((last - first, 0))

    def gain(self) -> Any:
        """g of the last update in this trial, (N,), or None where it is not kept."""
        return None
