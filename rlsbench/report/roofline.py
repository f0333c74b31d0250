"""RLS updates compared with the memory bandwidth and peak arithmetic of the machine.

In: a `Study` whose runs timed the update separately, with limits measured beside them.  Out:
`UpdateSpeed`s and a `Picture` (the roofline of Williams, Waterman and Patterson 2009).

The limits are those of the CPU, so updates on other devices are omitted.  Bytes and operations are
counted for each algorithm (see docs/measuring.md), not measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from statistics import fmean, median
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from rlsbench.report.picture import GREY, Picture, log_axis, paint
from rlsbench.report.series import Line, Study, grouped
from rlsbench.report.words import number, several
from rlsbench.results import MachineLimits, RunDocument


class UpdateSpeed(NamedTuple):
    """The update of one line at one size; medians over runs."""

    line: Line
    neurons: int
    nanoseconds: float  #: time of the update of one neuron, mean over a trial
    intensity: float  #: operations per byte
    bytes_per_second: float
    operations_per_second: float
    bandwidth_share: float  #: fraction of the bandwidth of the machine
    arithmetic_share: float  #: fraction of its peak arithmetic in the precision of the computation

    @property
    def share(self) -> float:
        """Fraction of the speed that bandwidth and arithmetic together allow."""
        return max(self.bandwidth_share, self.arithmetic_share)

    @property
    def bound(self) -> str:
        """The binding limit."""
        return "memory bandwidth" if self.bandwidth_share >= self.arithmetic_share else "arithmetic"


def update_speeds(study: Study) -> list[UpdateSpeed]:
    """The update of each line at the largest size with timings; the closest to the limits first."""
    speeds = [speed for line in study.lines if (speed := _speed(line)) is not None]
    return sorted(speeds, key=lambda speed: (-speed.share, speed.line.label))


def bandwidth(limits: MachineLimits) -> float:
    """The higher of the read and the update bandwidth, bytes/s, which is the stricter reference."""
    return max(limits.read_bytes_per_second, limits.update_bytes_per_second)


def draw_roofline(study: Study) -> Picture | None:
    """Operations per second against operations per byte; None without timings of the update."""
    speeds = update_speeds(study)
    if not speeds:
        return None
    roofs = _roofs(speeds)

    def draw(ax: Axes) -> None:
        x = [speed.intensity for speed in speeds] + [peak / band for _, band, peak in roofs]
        low, high = min(x) / 2, max(x) * 2
        y = [speed.operations_per_second / 1e9 for speed in speeds]
        for (name, band, peak), dash in zip(roofs, ("-", "--", "-.", ":") * len(roofs), strict=False):
            grid = np.geomspace(low, high, 200)
            label = f"roof{name}: {number(band / 1e9)} GB/s, {number(peak / 1e9)} Gop/s"
            ax.plot(grid, np.minimum(grid * band, peak) / 1e9, color=GREY, linestyle=dash, label=label)
            y += [peak / 1e9, low * band / 1e9]
        for speed in speeds:
            style, rate = speed.line.style, speed.operations_per_second
            height = [rate / 1e9, rate / speed.share / 1e9]
            ax.plot([speed.intensity] * 2, height, color=style.color, linestyle=":", linewidth=1.0)
            label = f"{speed.line.label}: {speed.share:.0%}"
            ax.plot([speed.intensity], height[:1], style.marker, color=style.color, markersize=8, label=label)
        log_axis(ax, "x", [low, high], "operations per byte moved")
        log_axis(ax, "y", y, "operations per second (10⁹/s)")

    sizes = sorted({speed.neurons for speed in speeds})
    at = f"{sizes[0]:,} neurons" if len(sizes) == 1 else f"the largest size of each, up to {sizes[-1]:,} neurons"
    return paint(
        f"roofline-{study.name}",
        _finding(speeds),
        study.context,
        f"The RLS update alone, at {at}, compared with the measured limits of this machine: streaming an array that "
        "exceeds the caches, and multiplying matrices. An update that stays in a cache can exceed the slope. Bytes and "
        "operations are counted, not measured.",
        draw,
    )


def _speed(line: Line) -> UpdateSpeed | None:
    for size in reversed(line.sizes):
        rows = [row for run in line.at(size) if (row := _row(run))]
        if rows:
            return UpdateSpeed(line, size, *map(median, zip(*rows, strict=True)))
    return None


def _row(run: RunDocument) -> list[float]:
    """The fields of `UpdateSpeed` from `nanoseconds` on; empty if one is unknown or invalid."""
    update, limits = run.update, run.limits
    if update is None or limits is None or not isfinite(sum(update.update_seconds)) or run.device != "cpu":
        return []
    moved, operations = update.bytes_per_update or 0.0, update.operations_per_update or 0.0
    peak = limits.operations_per_second.get(run.precision, 0.0)
    mean, band = fmean(update.update_seconds or [0.0]) / run.neurons, bandwidth(limits)
    if not all(isfinite(value) and value > 0 for value in (moved, operations, peak, mean, band)):
        return []
    speed, rate = moved / mean, operations / mean
    return [1e9 * mean, operations / moved, speed, rate, speed / band, rate / peak]


def _roofs(speeds: Sequence[UpdateSpeed]) -> list[tuple[str, float, float]]:
    """Name, bandwidth and peak arithmetic for each number of threads and precision."""
    measured = [(run.limits, run.precision) for speed in speeds for run in speed.line.at(speed.neurons) if run.limits]
    known = [(limits, precision) for limits, precision in measured if precision in limits.operations_per_second]
    roofs = []
    for (threads, precision), pairs in grouped(known, lambda pair: (pair[0].threads, pair[1])).items():
        peak = median(limits.operations_per_second[precision] for limits, _ in pairs)
        band = median(bandwidth(limits) for limits, _ in pairs)
        roofs.append((f", {precision}, {several(threads, 'thread')}", band, peak))
    return roofs


def _finding(speeds: Sequence[UpdateSpeed]) -> str:
    best, worst = speeds[0], speeds[-1]
    found = f"The update of {best.line.label} reaches {best.share:.0%} of this machine's {best.bound}"
    if best.share > 1:
        found = f"The update of {best.line.label} stays in the caches: {best.share:.1f} times the {best.bound}"
    if len(speeds) > 1:
        found += f"; that of {worst.line.label}, {worst.share:.0%}"
        found += f" of its {worst.bound}" if worst.bound != best.bound else ""
    return found
