"""Published values that figures are compared with.

In: the name of a preset.  Out: numbers.  Source: Arthur, Kim, Chen, Preibisch and Darshan (2023),
Front. Neuroinform. 17:1099510, the JuliaCon 2022 talk, and the authors' tutorial.
"""

from __future__ import annotations

from typing import Final, NamedTuple

LEARNING_CURVES: Final[dict[str, tuple[tuple[int, float], ...]]] = {
    "tutorial": ((10, 0.069), (98, 0.70), (100, 0.77)),
    "mouse": ((5, 0.06), (10, 0.13), (20, 0.35), (30, 0.50), (90, 0.65), (100, 0.65)),
}
"""(iteration, mean correlation while learning), by preset."""


class PublishedTime(NamedTuple):
    """A published time per iteration."""

    neurons: int
    seconds: float
    hardware: str


_EIGHT_THREADS = "8 threads and MKL, processor not stated"

SCALING: Final[dict[str, tuple[PublishedTime, ...]]] = {
    "sinusoid": (
        PublishedTime(10_000, 3.9, _EIGHT_THREADS),
        PublishedTime(20_000, 8.2, _EIGHT_THREADS),
        PublishedTime(50_000, 22.0, _EIGHT_THREADS),
        PublishedTime(1_000_000, 1260.0, "48-core Intel machine"),
        PublishedTime(1_000_000, 48.0, "NVIDIA A100 80 GB"),
    ),
    "tutorial": (PublishedTime(4096, 7.1, "the authors' workstation"),),
    "mouse": (PublishedTime(66_002, 4.39, "NVIDIA H100"),),
}
"""Seconds per iteration, by preset; P in float32, packed, full or symmetric."""
