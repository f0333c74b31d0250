"""Colours and manners that all pictures share: the colours of Okabe and Ito, which the colour-blind tell apart."""

from __future__ import annotations

from matplotlib.axes import Axes

__all__ = ["BLUE", "DPI", "GREEN", "GREY", "ORANGE", "PALETTE", "tidy"]

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8C8C8C"
PALETTE = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9")
DPI = 150


def tidy(ax: Axes) -> None:
    """No box, and a small title."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.title.set_fontsize("small")
