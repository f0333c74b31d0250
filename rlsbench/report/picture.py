"""Figures: a common style and layout, rendered reproducibly to SVG and PNG.

In: a title, a context, and a function that draws.  Out: a `Picture`.  The palette is that of Okabe
and Ito, which is safe for the colour-blind.

Figures are narrow enough to be read on a phone and in a column of print.  Text is never parsed as
mathematics, because labels come from documents, which are untrusted input.
"""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

from rlsbench.results import atomic_write

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8C8C8C"
PALETTE = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9")
DPI = 150
WIDTH = 5.6  # inches
_LETTERS = 54  # per line of the title
_LABELLED = ((1.0, (1, 1.5, 2, 3, 5, 7)), (2.0, (1, 2, 5)), (3.4, (1, 3)), (float("inf"), (1,)))  # by decades
FIGURE_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "rlsbench",
    "text.parse_math": False,
    **dict.fromkeys(("legend.fontsize", "xtick.labelsize", "ytick.labelsize"), 9.0),
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
}
"""What differs from the defaults of Matplotlib."""
default_style = matplotlib.style.context(["default", {"text.parse_math": False}])
"""Decorator of functions that draw: the user's own settings do not apply."""
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", "-.", ":")


class Style(NamedTuple):
    """Style of a line, as keywords of Matplotlib; the marker tells it apart in black and white."""

    color: str
    marker: str
    linestyle: str


def style(index: int) -> Style:
    """The style of line 0, 1, ...: the first 42 differ in colour or marker."""
    dashes = _DASHES[index // len(PALETTE) % len(_DASHES)]
    return Style(PALETTE[index % len(PALETTE)], _MARKERS[index % len(_MARKERS)], dashes)


def tidy(ax: Axes) -> None:
    """Remove the top and right spines, and make the title small."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.title.set_fontsize("small")


@dataclass(frozen=True)
class Picture:
    """A figure with its title and caption."""

    name: str  #: name of its files, without suffix
    title: str  #: the finding that it shows
    context: str  #: experiment and machine
    caption: str  #: how to read it
    svg: bytes
    png: bytes


def paint(
    name: str, title: str, context: str, caption: str, draw: Callable[..., None], heights: Sequence[float] = (3.6,)
) -> Picture:
    """Draw a figure of panels that share their horizontal axis; `heights` are in inches.

    `draw` draws into the axes, from top to bottom; labels in the first are shown in the legend.
    """
    with matplotlib.style.context(["default", FIGURE_STYLE]):
        together = re.sub(r"(?<=\d) (?=[A-Za-z])", "\N{NO-BREAK SPACE}", title)  # a number and its unit
        lines = textwrap.wrap(together, _LETTERS, break_on_hyphens=False)
        below = textwrap.wrap(context, _LETTERS + 24)
        figure = Figure(figsize=(WIDTH, 1.0), layout="constrained")
        axes: Any = figure.subplots(len(heights), 1, sharex=True, height_ratios=list(heights), squeeze=False)[:, 0]
        draw(*axes)
        handles, labels = axes[0].get_legend_handles_labels()
        labels = [textwrap.fill(label, 74) for label in labels]
        columns = 2 if len(labels) > 1 and max(map(len, labels)) <= 34 else 1
        rows = -(-len(labels) // columns) + sum(label.count("\n") for label in labels)
        figure.set_figheight(sum(heights) + 0.22 * len(lines) + 0.17 * len(below) + 0.19 * rows + 0.75)
        figure.suptitle("\n".join(lines), x=0.015, ha="left", fontsize=10.5, fontweight="bold")
        axes[0].set_title("\n".join(below), loc="left", fontsize=8.5, color="#555555")
        if labels:
            figure.legend(handles, labels, loc="outside lower left", ncols=columns, frameon=False, handlelength=2.6)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # it is shown as a box
            svg, png = io.BytesIO(), io.BytesIO()
            figure.savefig(svg, format="svg", metadata={"Date": None, "Title": title})
            figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
    return Picture(name, title, context, caption, svg.getvalue(), png.getvalue())


def save(figure: Figure, path: Path) -> Path:
    """Write a figure atomically, in the format of the suffix, or raise an `OutputError`."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=DPI)
    return path


def log_axis(ax: Axes, which: str, values: Sequence[float], label: str) -> None:
    """Make an axis logarithmic, with margins and plain tick labels."""
    # Documents are untrusted input: keep the limits far from the smallest and largest doubles.
    low, high = (min(max(value, 1e-200), 1e200) for value in (min(values), max(values)))
    margin = max(1.25, 10 ** (0.06 * float(np.log10(high) - np.log10(low))))
    bounds = (low / margin, high * margin)
    axis = ax.xaxis if which == "x" else ax.yaxis
    ax.set(**{f"{which}scale": "log", f"{which}lim": bounds, f"{which}label": label})
    decades = float(np.log10(bounds[1]) - np.log10(bounds[0]))
    subs = next(subs for least, subs in _LABELLED if decades < least)
    ticks = [t for t in LogLocator(subs=subs, numticks=99).tick_values(*bounds) if bounds[0] <= t <= bounds[1]]
    ticks = ticks[::2] if decades > 6.5 else ticks
    ticks = ticks if len(ticks) > 1 else sorted({low, high})
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(LogLocator(subs=range(2, 10), numticks=99))
    plain_labels(ax)


def plain_labels(ax: Axes) -> None:
    """Label the decades of logarithmic axes in digits, not in mathematical text."""
    for axis in (ax.xaxis, ax.yaxis):
        if axis.get_scale() == "log":
            axis.set_major_formatter(FuncFormatter(_plain))
            axis.set_minor_formatter(NullFormatter())


def curve(ax: Axes, sizes: Sequence[float], values: Sequence[Sequence[float]], style: Style, label: str) -> None:
    """Draw medians with bars over the range (see `Spread`); the legend shows only the line."""
    middle, low, high = np.array([value[:3] for value in values]).T
    bars = [middle - low, high - middle]
    drawn = ax.errorbar(sizes, middle, yerr=bars, capsize=2.5, elinewidth=1.0, **style._asdict())
    drawn[0].set_label(label)


def _plain(value: float, _: object = None) -> str:
    """1,000,000 as 1 M; never an exponent."""
    for size, suffix in ((1e9, " G"), (1e6, " M")):
        if value >= size:
            return f"{value / size:g}{suffix}"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
