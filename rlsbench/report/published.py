"""Published figures that pictures are compared with.

In: the name of a preset.  Out: numbers.  Source: Arthur, Kim, Chen, Preibisch and Darshan (2023), Front. Neuroinform.
17:1099510, and the authors' tutorial.
"""

from __future__ import annotations

from typing import Final

__all__ = ["LEARNING_CURVES"]

LEARNING_CURVES: Final[dict[str, tuple[tuple[int, float], ...]]] = {
    "tutorial": ((10, 0.069), (98, 0.70), (100, 0.77)),
    "mouse": ((5, 0.06), (10, 0.13), (20, 0.35), (30, 0.50), (90, 0.65), (100, 0.65)),
}
"""Preset to (iteration, mean correlation while learning)."""
