"""Learning curves: correlation and firing rate against the iteration.

In: a `Study` and a size.  Out: a `Picture`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from rlsbench.published import LEARNING_CURVES
from rlsbench.report.accuracy import Accuracy, accuracies
from rlsbench.report.picture import Picture, paint
from rlsbench.report.series import Study
from rlsbench.training.progress import WINDOW


def draw_learning(study: Study, neurons: int) -> Picture | None:
    """Mean and range over runs; None if the runs have too few iterations."""
    rows = accuracies(study, neurons)
    if not rows:
        return None
    known = LEARNING_CURVES.get(study.preset, ()) if study.as_published else ()
    published = [point for point in known if point[0] <= study.iterations]

    def draw(panels: Sequence[Axes]) -> None:
        top, bottom = panels
        lowest, highest = 0.0, 0.0
        x = np.arange(1, study.iterations + 1)
        for number, row in enumerate(rows):
            step = max(1, study.iterations // 8)
            marks = (number * step // len(rows), step)  # shifted against those of other lines
            for ax, field in ((top, "correlation"), (bottom, "firing_rate_hz")):
                curves = np.array([[_value(i, field) for i in run.iterations] for run in row.runs])
                mean = curves.mean(axis=0)
                color = row.line.style.color
                ax.plot(x, mean, markevery=marks, markersize=5, label=row.line.label, **row.line.style.keywords())
                if len(row.runs) > 1:
                    ax.fill_between(x, curves.min(axis=0), curves.max(axis=0), color=color, alpha=0.15, linewidth=0)
                if ax is top:
                    lowest = min(lowest, float(np.nanmin(curves, initial=0.0)))
                else:
                    highest = max(highest, float(curves.max()))
        if published:
            points = list(zip(*published, strict=True))
            top.plot(*points, "o", color="black", fillstyle="none", markersize=6, label="published")
        top.set(ylabel="correlation", ylim=(lowest - 0.02, 1.0), xlim=(0, study.iterations + 1))
        bottom.set(xlabel="iteration", ylabel="firing rate (Hz)", ylim=(0.0, 1.15 * highest or 1.0))
        bottom.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))

    return paint(
        f"learning-{study.name}-{neurons}",
        _finding(rows, study.iterations, published),
        f"{study.experiment}, {neurons:,} neurons · {study.machine}",
        "Mean over neurons of the correlation of target and learned current in the training trial, and mean firing "
        "rate. Lines: means over runs; bands: their range.",
        draw,
        heights=(2.6, 1.4),
    )


def _value(iteration: object, field: str) -> float:
    value = getattr(iteration, field)
    return np.nan if value is None else float(value)


def _finding(rows: Sequence[Accuracy], iterations: int, published: Sequence[tuple[int, float]]) -> str:
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
