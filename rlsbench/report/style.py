"""Shared figure style: the colour-blind safe palette of Okabe and Ito, markers and dashes."""

from __future__ import annotations

from typing import Any, NamedTuple

from matplotlib.axes import Axes

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8C8C8C"
PALETTE = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9")
DPI = 150

_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", "-.", ":")


class Style(NamedTuple):
    """Style of a line: colour and marker, so that it is also recognizable in black and white."""

    color: str
    marker: str
    linestyle: str

    def keywords(self) -> dict[str, Any]:
        """Keyword arguments of Matplotlib."""
        return self._asdict()


def style(index: int) -> Style:
    """The style of line 0, 1, ...: the first 42 differ in colour or marker."""
    dashes = _DASHES[index // len(PALETTE) % len(_DASHES)]
    return Style(PALETTE[index % len(PALETTE)], _MARKERS[index % len(_MARKERS)], dashes)


def tidy(ax: Axes) -> None:
    """Remove the top and right spines, and make the title small."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.title.set_fontsize("small")
