"""The base class for forms of the update within a backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend.state import Block, Kept
from rlsbench.errors import UnsupportedError

__all__ = ["Update"]

Floats = NDArray[np.floating[Any]]


class Update:
    """What the learning rule keeps, and whatever else a form of the update keeps between calls.

    This base keeps nothing and serves networks without targets; forms of the update override it.
    Those of RLS may set `storage`, P of all neurons, which then answers for `part`, `set_part` and
    `diagonal`.
    """

    storage: Any = None

    def begin_trial(self) -> None:
        """React to the reset of the filtered spikes to zero."""

    def learn(self, *inputs: Any) -> None:
        """Update w and P from the network's filtered spikes."""
        raise UnsupportedError("a network without targets cannot learn")

    def rls_update(self, x: Any, u_bal: Any, f: Any) -> None:
        """Update w and P from given x (N, n), static currents u_bal (N,) and targets f (N,)."""
        raise UnsupportedError("a network without targets cannot learn")

    def settle(self) -> None:
        """Apply all pending updates to P, and fill in the entries that updates skip."""

    def forget(self) -> None:
        """Discard all that earlier updates left behind, because w and P will be replaced."""

    def part(self, first: int, last: int) -> Mapping[str, Kept]:
        """What the rule keeps for the neurons first .. last-1, by name, as stored."""
        return {"P": self.storage.part(first, last)} if self.storage else {}

    def set_part(self, first: int, block: Block) -> None:
        """Load what the rule keeps of consecutive neurons from `first` on."""
        if self.storage and block.w.size:  # without inputs, a checkpoint has no P
            self.storage.set_part(first, block.P)

    def diagonal(self, first: int, last: int) -> Floats:
        """Diagonals of P of the neurons first .. last-1, (B, n)."""
        return self.storage.diagonal(first, last) if self.storage else np.empty((last - first, 0))

    def gain(self) -> Any:
        """g of the last update in this trial, (N,), or None if it is not stored."""
        return None
