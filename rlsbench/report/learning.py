"""Correlation of target and learned current in a `Study`: against time, and against iterations."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from rlsbench.published import LEARNING_CURVES
from rlsbench.report.picture import Picture, paint
from rlsbench.report.series import Line, Study
from rlsbench.report.words import Spread, seconds
from rlsbench.results import RunDocument
from rlsbench.results.table import counted_seconds, run_correlation
from rlsbench.training.progress import WINDOW


class Accuracy(NamedTuple):
    """Correlation, firing rate and time of the runs of one line with a final correlation."""

    line: Line
    runs: tuple[RunDocument, ...]
    points: tuple[tuple[float, float], ...]  #: seconds per iteration and final correlation of each run
    seconds: Spread
    correlation: Spread  #: mean and range over runs
    rate_hz: Spread  #: the same of the firing rate in the iterations of the final correlation


def accuracies(study: Study, neurons: int) -> list[Accuracy]:
    """The lines at a size, the fastest first; those with too few iterations are omitted."""
    found = []
    for line in study.at(neurons):
        known = [(run, c) for run in line.at(neurons) if (c := run_correlation(run)) is not None]
        if known:
            runs, correlations = zip(*known, strict=True)
            times = [median(counted_seconds(run)) for run in runs]
            rates = [fmean(i.firing_rate_hz for i in run.iterations[-WINDOW:]) for run in runs]
            spreads = Spread.of(times), Spread.of(correlations, fmean), Spread.of(rates, fmean)
            found.append(Accuracy(line, runs, tuple(zip(times, correlations, strict=True)), *spreads))
    return sorted(found, key=lambda a: (a.seconds.median, a.line.label))


def draw_accuracy(study: Study, neurons: int) -> Picture | None:
    """Correlation against seconds; None for fewer than two lines."""
    rows = accuracies(study, neurons)
    if len(rows) < 2:
        return None

    def draw(ax: Axes) -> None:
        for row in rows:
            style = row.line.style
            for x, y in row.points:
                ax.plot([x], [y], marker=style.marker, color=style.color, markersize=3.5)
            middle = [row.seconds.median], [row.correlation.median]
            large: dict[str, Any] = {"markersize": 9, "markeredgecolor": "black", "markeredgewidth": 0.8}
            ax.plot(*middle, style.marker, color=style.color, label=row.line.label, **large)
        ax.set_xlim(0, 1.08 * max(row.seconds.high for row in rows))
        low, high = min(row.correlation.low for row in rows), max(row.correlation.high for row in rows)
        margin = max(0.08 * (high - low), (0.1 - high + low) / 2)  # at least 0.1 from top to bottom
        ax.set_ylim(low - margin, high + margin)
        ax.set(xlabel="seconds per iteration (s)", ylabel=f"correlation, last {WINDOW} iterations")

    return paint(
        f"accuracy-{study.name}-{neurons}",
        _accuracy_finding(rows),
        f"{study.experiment}, {neurons:,} neurons · {study.machine}",
        f"Mean correlation of target and learned current over the last {WINDOW} of {study.iterations} iterations, "
        "while learning. Small markers: runs; large markers: their mean correlation and median time. Higher and "
        "further left is better. The vertical axis does not start at 0.",
        draw,
    )


def _accuracy_finding(rows: Sequence[Accuracy]) -> str:
    fastest, best = rows[0], max(rows, key=lambda row: row.correlation.median)
    reached, most = f"{fastest.correlation.median:.2f}", f"{best.correlation.median:.2f}"
    found = f"{fastest.line.label} is fastest, {seconds(fastest.seconds.median)} per iteration, "
    found += f"with a correlation of {reached}"
    if most == reached:
        return f"{found}, and no other reaches more"
    clear = best.correlation.low > fastest.correlation.high
    found += f"; {best.line.label} reaches {most} in {seconds(best.seconds.median)}"
    return found + ("" if clear else ", a difference within the range of the runs")


def draw_learning(study: Study, neurons: int) -> Picture | None:
    """Mean and range over runs; None if the runs have too few iterations."""
    rows = accuracies(study, neurons)
    if not rows:
        return None
    known = LEARNING_CURVES.get(study.preset, ()) if study.as_published else ()
    published = [point for point in known if point[0] <= study.iterations]

    def draw(top: Axes, bottom: Axes) -> None:
        x, step = np.arange(1, study.iterations + 1), max(1, study.iterations // 8)
        for number, row in enumerate(rows):
            style = row.line.style
            marks: dict[str, Any] = {"markevery": (number * step // len(rows), step), "markersize": 5}  # shifted
            for ax, field in ((top, "correlation"), (bottom, "firing_rate_hz")):
                curves = np.array([[getattr(i, field) for i in run.iterations] for run in row.runs], float)
                ax.plot(x, curves.mean(axis=0), label=row.line.label, **marks, **style._asdict())
                if len(row.runs) > 1:
                    band: dict[str, Any] = {"color": style.color, "alpha": 0.15, "linewidth": 0}
                    ax.fill_between(x, curves.min(axis=0), curves.max(axis=0), **band)
        if published:
            hollow: dict[str, Any] = {"color": "black", "fillstyle": "none", "markersize": 6}
            top.plot(*zip(*published, strict=True), "o", label="published", **hollow)
        lowest, highest = min(0.0, top.dataLim.ymin), max(0.0, bottom.dataLim.ymax)
        top.set(ylabel="correlation", ylim=(lowest - 0.02, 1.0), xlim=(0, study.iterations + 1))
        bottom.set(xlabel="iteration", ylabel="firing rate (Hz)", ylim=(0.0, 1.15 * highest or 1.0))
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))

    return paint(
        f"learning-{study.name}-{neurons}",
        _learning_finding(rows, study.iterations, published),
        f"{study.experiment}, {neurons:,} neurons · {study.machine}",
        "Mean over neurons of the correlation of target and learned current in the training trial, and mean firing "
        "rate. Lines: means over runs; bands: their range.",
        draw,
        heights=(2.6, 1.4),
    )


def _learning_finding(rows: Sequence[Accuracy], iterations: int, published: Sequence[tuple[int, float]]) -> str:
    means = [row.correlation.median for row in rows]
    low, high = f"{min(means):.2f}", f"{max(means):.2f}"
    reached = f"a correlation of {high}" if low == high else f"correlations of {low} to {high}"
    who = rows[0].line.label if len(rows) == 1 else f"{len(rows)} variants"
    found = f"{who} {'reaches' if len(rows) == 1 else 'reach'} {reached} after {iterations} iterations"
    last = [value for at, value in published if iterations - WINDOW < at <= iterations]
    if last:
        span = f"{min(last):.2f}" if min(last) == max(last) else f"{min(last):.2f} to {max(last):.2f}"
        found += f"; published: {span}"
    return found
