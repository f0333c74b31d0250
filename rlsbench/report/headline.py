"""One SVG figure that compares the measured scaling of a `ResultSet` with the published times."""

from __future__ import annotations

import io
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rlsbench.errors import ResultError
from rlsbench.published import SCALING
from rlsbench.report.picture import BLUE, FIGURE_STYLE, GREY, ORANGE, log_axis
from rlsbench.report.series import is_as_published, machine_text
from rlsbench.report.words import Spread, several, spread
from rlsbench.results import ResultSet, RunDocument, write_atomically
from rlsbench.results.table import counted_seconds

_PRESET = "sinusoid"
CLOSE = 1.5  # ratio of times whose labels would touch


def write_headline(found: ResultSet, path: Path) -> Path:
    """Draw seconds per iteration against the number of neurons, published and measured.

    Measured are the runs of the unchanged scaling experiment by the backend that trained the
    largest network, on that machine; the fastest run at each size.  Runs that failed the
    conformance suite are not drawn, but those that were not checked are.  The path of the SVG file
    is returned; an existing file is overwritten.

    Raises
    ------
    ResultError
        If there is no such run.
    OutputError
        If the file cannot be written.
    """
    valid = [run for run in found.runs if run.validity != "failed" and counted_seconds(run)]
    runs = [run for run in valid if run.preset == _PRESET and is_as_published(run)]
    if not runs:
        raise ResultError(f"no run of the unchanged preset {_PRESET!r}")
    largest = max(runs, key=lambda run: run.neurons)
    ours = [run for run in runs if (run.backend, machine_text(run)) == (largest.backend, machine_text(largest))]
    with matplotlib.style.context(["default", FIGURE_STYLE, {"svg.fonttype": "none"}]):
        figure = Figure(figsize=(8.4, 4.6), layout="constrained")
        _draw(figure.subplots(), ours, largest)
        content = io.BytesIO()
        figure.savefig(content, format="svg", metadata={"Date": None})
    write_atomically(path, content.getvalue())
    return path


def _draw(ax: Axes, ours: list[RunDocument], largest: RunDocument) -> None:
    values: list[float] = []
    sizes: list[float] = [run.neurons for run in ours]
    labels: list[tuple[float, float, str, str]] = []  # neurons, s, text, colour
    groups = _groups(ours).items()
    threads = several(largest.threads, "thread")
    for ((precision, storage), points), color, marker in zip(groups, (BLUE, ORANGE, GREY), "osD", strict=False):
        middle, low, high = np.array([points[size][:3] for size in sorted(points)]).T
        label = f"measured, {largest.backend}, {threads}, P {precision} ({storage})"
        markers: dict[str, Any] = {"marker": marker, "markersize": 7, "capsize": 3}
        ax.errorbar(sorted(points), middle, [middle - low, high - middle], color=color, label=label, **markers)
        values += [*low, *high]
        if (size := max(points)) == largest.neurons:
            labels.append((size, points[size].median, f"{threads}: {spread(points[size])} s", color))
    for hardware in dict.fromkeys(p.hardware for p in SCALING[_PRESET]):
        known = [p for p in SCALING[_PRESET] if p.hardware == hardware]
        ax.plot([p.neurons for p in known], [p.seconds for p in known], "^--", color="black", fillstyle="none", ms=8)
        labels.append((known[-1].neurons, known[-1].seconds, f"{hardware}: {known[-1].seconds:,g} s", "black"))
        values += [p.seconds for p in known]
        sizes += [p.neurons for p in known]
    _annotate(ax, labels)
    log_axis(ax, "x", [*sizes, 8.0 * max(sizes)], "neurons")
    log_axis(ax, "y", values, "seconds per iteration")
    ax.minorticks_off()
    title = f"Training up to {largest.neurons:,} neurons on {machine_text(largest)}"
    ax.set_title(title, loc="left", fontweight="bold", fontsize=11)
    note = "Medians over the iterations of a run; bars show the range. Hollow: published."
    ax.legend(loc="upper left", frameon=False, title=note, title_fontsize=8.5, alignment="left")


def _groups(runs: list[RunDocument]) -> dict[tuple[str, str], dict[int, Spread]]:
    """The fastest run of each size, for each precision and storage of P."""
    groups: dict[tuple[str, str], dict[int, Spread]] = defaultdict(dict)
    for run in runs:
        time, group = Spread.of(counted_seconds(run)), groups[run.p_precision, run.storage]
        group[run.neurons] = min(time, group.get(run.neurons, time))
    return groups


def _annotate(ax: Axes, labels: list[tuple[float, float, str, str]]) -> None:
    """Write labels beside their points; two that would touch are moved apart."""
    for x, y, text, color in labels:
        near = [other for size, other, *_ in labels if size == x and other != y and 1 / CLOSE < other / y < CLOSE]
        shift = 6 * int(np.sign(y - near[0])) if near else 0
        ax.annotate(text, (x, y), (9, shift), textcoords="offset points", va="center", fontsize=9, color=color)
