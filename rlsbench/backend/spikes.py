"""Spikes as two arrays, as recorded and replayed by a trainer."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["SpikeTrain"]


class SpikeTrain(NamedTuple):
    """Spikes sorted by step, then neuron."""

    step: NDArray[np.int32]  #: (S,), 1-based step of each spike
    neuron: NDArray[np.int32]  #: (S,), neuron of each spike

    @classmethod
    def empty(cls) -> SpikeTrain:
        """No spikes."""
        return cls(np.empty(0, np.int32), np.empty(0, np.int32))

    @classmethod
    def join(cls, parts: list[SpikeTrain]) -> SpikeTrain:
        """Merge and sort the spikes of several trains."""
        step = np.concatenate([p.step for p in parts] or [np.empty(0, np.int32)])
        neuron = np.concatenate([p.neuron for p in parts] or [np.empty(0, np.int32)])
        order = np.lexsort((neuron, step))
        return cls(step[order], neuron[order])

    def bounds(self, first: int, last: int) -> NDArray[np.int64]:
        """(last - first + 2,): the spikes of step first + k are at bounds[k] .. bounds[k+1]-1."""
        return np.searchsorted(self.step, np.arange(first, last + 2)).astype(np.int64)
