"""Lists of the neurons that spiked in a step: of exact length, or padded so that nothing waits.

In: which neurons spiked (N,).  Out: their indices.

On the CPU a list has its exact length. On CUDA that length would be known only after the device has
caught up, which a step should not wait for: there a list has a fixed length and is padded with N,
and whether it was long enough is checked once in a chunk of steps. If not, the state before the
chunk is restored and the chunk is run again with longer lists.
"""

from __future__ import annotations

import torch
from torch import Tensor


class SpikeLists:
    """Lists of `length`, which may grow between chunks of steps; of exact length if it is None."""

    def __init__(self, N: int, length: int | None = None) -> None:
        self.N = N
        self.padded = length is not None
        self.length = min(length or 0, N)
        self.counts: list[Tensor] = []

    def begin(self) -> None:
        """Begin a chunk of steps."""
        self.counts.clear()

    def listed(self, spiked: Tensor) -> Tensor:
        """Indices of the neurons that are true in `spiked` (N,), in increasing order."""
        if not self.padded:
            return spiked.nonzero().view(-1)
        self.counts.append(spiked.sum())
        return torch.nonzero_static(spiked, size=self.length, fill_value=self.N).view(-1)

    def sufficed(self) -> bool:
        """Whether every list since `begin` is complete; if not, the next ones are longer."""
        most = int(torch.stack(self.counts).max()) if self.counts else 0
        if most <= self.length:
            return True
        self.length = min(self.N, 2 * most)
        return False
