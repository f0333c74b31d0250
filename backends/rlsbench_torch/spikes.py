"""Lists of the neurons that spiked in a step: as long as they are, or of one length that needs no waiting.

In: which neurons spiked (N,).  Out: their numbers.

On the processor a list has the length that it has.  On CUDA that length would be known only once the device has caught
up, which a step should not wait for: there a list has room for so many, the rest filled with N, and whether it was room
enough is looked up once in a chunk of steps.  If not, the chunk is run again with more room, from the state before it.
"""

from __future__ import annotations

from typing import Protocol

import torch

__all__ = ["Exact", "Padded", "SpikeLists", "spike_lists"]

AT_FIRST = 64  # room of a padded list, and 1 for every so many neurons
SHARE = 256


class SpikeLists(Protocol):
    """Makes the lists of a chunk of steps."""

    padded: bool
    """Whether lists may be filled up with N."""

    def begin(self) -> None:
        """A chunk begins."""

    def listed(self, spiked: torch.Tensor) -> torch.Tensor:
        """Numbers of the neurons that are true in `spiked` (N,), rising."""

    def sufficed(self) -> bool:
        """Whether every list since `begin` holds all; if not, the next ones have more room."""


class Exact:
    """Lists as long as they are."""

    padded = False

    def begin(self) -> None:
        pass

    def listed(self, spiked: torch.Tensor) -> torch.Tensor:
        return spiked.nonzero().view(-1)

    def sufficed(self) -> bool:
        return True


class Padded:
    """Lists of one length.

    Parameters
    ----------
    N : int
    room : int
        Length at first.
    """

    padded = True

    def __init__(self, N: int, room: int) -> None:
        self.N, self.room = N, min(room, N)
        self.counts: list[torch.Tensor] = []

    def begin(self) -> None:
        self.counts.clear()

    def listed(self, spiked: torch.Tensor) -> torch.Tensor:
        self.counts.append(spiked.sum())
        return torch.nonzero_static(spiked, size=self.room, fill_value=self.N).view(-1)

    def sufficed(self) -> bool:
        most = int(torch.stack(self.counts).max()) if self.counts else 0
        enough = most <= self.room
        if not enough:
            self.room = min(self.N, 2 * most)
        return enough


def spike_lists(N: int, device: torch.device) -> SpikeLists:
    """Those that suit a device."""
    return Padded(N, AT_FIRST + N // SHARE) if device.type == "cuda" else Exact()
