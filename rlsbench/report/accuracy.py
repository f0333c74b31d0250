"""Correlation that was reached against the time of an iteration: what precisions and storages of P gain and cost.

In: a `Study` and a size.  Out: `Accuracy` rows and a `Picture`.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from matplotlib.axes import Axes

from rlsbench.report.picture import Picture, paint
from rlsbench.report.series import Line, Spread, Study
from rlsbench.report.words import seconds
from rlsbench.results import RunDocument
from rlsbench.results.table import counted_seconds, run_correlation

__all__ = ["Accuracy", "accuracies", "draw_accuracy"]


class Accuracy(NamedTuple):
    """What a line reached."""

    line: Line
    runs: tuple[RunDocument, ...]
    """Those whose correlation is known."""
    correlation: Spread
    """Mean over the last ten iterations of each run; the first number is the mean over runs."""
    rate_hz: Spread
    """Firing rate over the same iterations, likewise."""
    seconds: Spread


def accuracies(study: Study, neurons: int) -> list[Accuracy]:
    """What each line reached at a size, the fastest first; lines whose runs were too short are left out."""
    found = []
    for line in study.at(neurons):
        runs = tuple(run for run in line.at(neurons) if run_correlation(run) is not None)
        if runs:
            correlations = [c for run in runs if (c := run_correlation(run)) is not None]
            rates = [fmean(i.firing_rate_hz for i in run.iterations[-10:]) for run in runs]
            every = Spread.of([_middle(run) for run in runs])
            found.append(Accuracy(line, runs, _mean(correlations), _mean(rates), every))
    return sorted(found, key=lambda a: (a.seconds.median, a.line.label))


def draw_accuracy(study: Study, neurons: int) -> Picture | None:
    """Correlation against seconds: small marks for runs, large ones for means; None for fewer than two lines."""
    rows = accuracies(study, neurons)
    if len(rows) < 2:
        return None

    def draw(panels: Sequence[Axes]) -> None:
        (ax,) = panels
        for row in rows:
            style = row.line.style
            for run in row.runs:
                ax.plot(
                    [_middle(run)],
                    [run_correlation(run) or 0.0],
                    marker=style.marker,
                    color=style.color,
                    markersize=3.5,
                )
            ax.plot(
                [row.seconds.median],
                [row.correlation.median],
                linestyle="none",
                marker=style.marker,
                markersize=9,
                color=style.color,
                markeredgecolor="black",
                markeredgewidth=0.8,
                label=row.line.label,
            )
        ax.set_xlim(0, 1.08 * max(row.seconds.high for row in rows))
        low = min(row.correlation.low for row in rows)
        high = max(row.correlation.high for row in rows)
        room = max(0.08 * (high - low), (0.1 - high + low) / 2)  # at least 0.1 from top to bottom
        ax.set_ylim(low - room, high + room)
        ax.set(xlabel="seconds per iteration (s)", ylabel="correlation, last 10 iterations")

    return paint(
        f"accuracy-{study.name}-{neurons}",
        _finding(rows),
        f"{study.experiment}, {neurons:,} neurons · {study.machine}",
        f"Mean correlation of target and learned current over the last 10 of {study.iterations} iterations, while "
        "learning. Small marks: runs; large ones: their mean correlation and median time. Up and left is better. "
        "The vertical axis does not begin at 0.",
        draw,
    )


def _finding(rows: Sequence[Accuracy]) -> str:
    fastest, best = rows[0], max(rows, key=lambda row: row.correlation.median)
    found = (
        f"{fastest.line.label} is fastest, {seconds(fastest.seconds.median)} an iteration, at a correlation of "
        f"{fastest.correlation.median:.2f}"
    )
    if f"{best.correlation.median:.2f}" == f"{fastest.correlation.median:.2f}":
        return found + (", and none reaches more" if len(rows) > 1 else "")
    apart = best.correlation.low > fastest.correlation.high
    found += f"; {best.line.label} reaches {best.correlation.median:.2f} in {seconds(best.seconds.median)}"
    found += "" if apart else ", which their spread does not tell apart"
    return found


def _middle(run: RunDocument) -> float:
    return Spread.of(counted_seconds(run)).median


def _mean(values: Sequence[float]) -> Spread:
    return Spread(fmean(values), min(values), max(values), len(values))
