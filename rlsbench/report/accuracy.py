"""Correlation against time per iteration: benefits and costs of precisions and storages of P.

In: a `Study` and a size.  Out: `Accuracy` rows and a `Picture`.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any, NamedTuple

from matplotlib.axes import Axes

from rlsbench.report.picture import Picture, paint
from rlsbench.report.series import Line, Spread, Study
from rlsbench.report.words import seconds
from rlsbench.results import RunDocument
from rlsbench.results.table import counted_seconds, run_correlation
from rlsbench.training.progress import WINDOW


class Accuracy(NamedTuple):
    """Correlation, firing rate and time of one line."""

    line: Line
    runs: tuple[RunDocument, ...]
    """Runs with a final correlation."""
    correlation: Spread
    """Mean and range over runs of the final correlation of each run."""
    rate_hz: Spread
    """The same of the firing rate in these iterations."""
    seconds: Spread


def accuracies(study: Study, neurons: int) -> list[Accuracy]:
    """The lines at a size, the fastest first; those with too few iterations are omitted."""
    found = []
    for line in study.at(neurons):
        runs = tuple(run for run in line.at(neurons) if run_correlation(run) is not None)
        if runs:
            correlations = [c for run in runs if (c := run_correlation(run)) is not None]
            rates = [fmean(i.firing_rate_hz for i in run.iterations[-WINDOW:]) for run in runs]
            every = Spread.of([_middle(run) for run in runs])
            found.append(Accuracy(line, runs, _mean(correlations), _mean(rates), every))
    return sorted(found, key=lambda a: (a.seconds.median, a.line.label))


def draw_accuracy(study: Study, neurons: int) -> Picture | None:
    """Correlation against seconds; None for fewer than two lines."""
    rows = accuracies(study, neurons)
    if len(rows) < 2:
        return None

    def draw(panels: Sequence[Axes]) -> None:
        (ax,) = panels
        for row in rows:
            style = row.line.style
            for run in row.runs:
                x, y = _middle(run), run_correlation(run) or 0.0
                ax.plot([x], [y], marker=style.marker, color=style.color, markersize=3.5)
            x, y = row.seconds.median, row.correlation.median
            large: dict[str, Any] = {"markersize": 9, "markeredgecolor": "black", "markeredgewidth": 0.8}
            ax.plot([x], [y], style.marker, color=style.color, label=row.line.label, **large)
        ax.set_xlim(0, 1.08 * max(row.seconds.high for row in rows))
        low = min(row.correlation.low for row in rows)
        high = max(row.correlation.high for row in rows)
        margin = max(0.08 * (high - low), (0.1 - high + low) / 2)  # at least 0.1 from top to bottom
        ax.set_ylim(low - margin, high + margin)
        ax.set(xlabel="seconds per iteration (s)", ylabel=f"correlation, last {WINDOW} iterations")

    return paint(
        f"accuracy-{study.name}-{neurons}",
        _finding(rows),
        f"{study.experiment}, {neurons:,} neurons · {study.machine}",
        f"Mean correlation of target and learned current over the last {WINDOW} of {study.iterations} iterations, "
        "while learning. Small markers: runs; large markers: their mean correlation and median time. Higher and "
        "further left is better. The vertical axis does not start at 0.",
        draw,
    )


def _finding(rows: Sequence[Accuracy]) -> str:
    fastest, best = rows[0], max(rows, key=lambda row: row.correlation.median)
    found = (
        f"{fastest.line.label} is fastest, {seconds(fastest.seconds.median)} per iteration, with a correlation of "
        f"{fastest.correlation.median:.2f}"
    )
    if f"{best.correlation.median:.2f}" == f"{fastest.correlation.median:.2f}":
        return found + (", and no other reaches more" if len(rows) > 1 else "")
    clear = best.correlation.low > fastest.correlation.high
    found += f"; {best.line.label} reaches {best.correlation.median:.2f} in {seconds(best.seconds.median)}"
    found += "" if clear else ", a difference within the range of the runs"
    return found


def _middle(run: RunDocument) -> float:
    return Spread.of(counted_seconds(run)).median


def _mean(values: Sequence[float]) -> Spread:
    return Spread(fmean(values), min(values), max(values), len(values))
