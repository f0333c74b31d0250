"""Colours and manners that all pictures share: the colours of Okabe and Ito, which the colour-blind tell apart."""

from __future__ import annotations

from typing import Any, NamedTuple

from matplotlib.axes import Axes

__all__ = ["BLUE", "DPI", "GREEN", "GREY", "ORANGE", "PALETTE", "Style", "style", "tidy"]

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8C8C8C"
PALETTE = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9")
DPI = 150

_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", "-.", ":")


class Style(NamedTuple):
    """How a line is drawn: by colour and by marker, so that it is also known in black and white."""

    color: str
    marker: str
    linestyle: str

    def keywords(self) -> dict[str, Any]:
        """For Matplotlib."""
        return self._asdict()


def style(index: int) -> Style:
    """The style of the first, second, ... line: 42 are told apart by colour and marker alone."""
    return Style(
        PALETTE[index % len(PALETTE)],
        _MARKERS[index % len(_MARKERS)],
        _DASHES[index // len(PALETTE) % len(_DASHES)],
    )


def tidy(ax: Axes) -> None:
    """No box, and a small title."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.title.set_fontsize("small")
