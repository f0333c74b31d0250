"""Time and memory against the number of neurons, and time relative to another line.

In: a `Study`.  Out: `Picture`s, exponents of fits, and `Ratio`s of lines that may be compared.

For ratios, runs are paired by repetition and seed: within a repetition of a sweep all backends run
one after another, so that a temporary disturbance of the machine affects both.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from scipy.stats import linregress

from rlsbench.report.picture import GREY, Picture, curve, log_axis, paint
from rlsbench.report.series import Line, Study, grouped
from rlsbench.report.words import Spread, gib, seconds, several, times
from rlsbench.results import RunDocument
from rlsbench.results.table import counted_seconds

_HOLLOW = ("o", "s", "^", "D", "v")
_NEAR = 200  # the memory of the machine is drawn if it is at most this multiple of the peak


class Fit(NamedTuple):
    """seconds = factor N^exponent."""

    exponent: float
    error: float  #: standard error of the exponent
    factor: float


def fit_exponent(sizes: Sequence[float], values: Sequence[float]) -> Fit | None:
    """Fit a power law to positive values: linear regression of the logarithms.

    None for fewer than three different sizes, which give no error estimate.
    """
    if len(set(sizes)) < 3:
        return None
    line = linregress(np.log(sizes), np.log(values))
    return Fit(float(line.slope), float(line.stderr), float(np.exp(line.intercept)))


def line_fit(line: Line) -> Fit | None:
    """The fit of the seconds of a line."""
    return fit_exponent(line.sizes, [line.seconds(size).median for size in line.sizes])


def scaling_finding(study: Study, compared_with: str | None = None) -> str:
    """The main result, in one sentence."""
    size = study.compared_size(compared_with)
    slow = baseline(study, compared_with)
    if size is not None and slow is not None:
        fast = study.at(size)[0]
        ratio = speedup(fast, slow, size)
        if ratio is None:
            took, slower = (seconds(line.seconds(size).median) for line in (fast, slow))
            return f"{size:,} neurons take {took} per iteration with {fast.label}, {slower} with {slow.label}"
        if not ratio.is_clear:
            return f"no clear difference between {fast.label} and {slow.label} at {size:,} neurons"
        found = f"{fast.label} trains {size:,} neurons {times(ratio.spread.median)} times as fast as {slow.label}"
    else:
        size = study.sizes[-1]
        fast = study.at(size)[0]
        found = f"{fast.label} takes {seconds(fast.seconds(size).median)} per iteration at {size:,} neurons"
    fit = line_fit(fast)
    return found + (f"; its time grows as N^{fit.exponent:.2f}" if fit is not None else "")


def draw_scaling(study: Study, studies: Sequence[Study] = (), compared_with: str | None = None) -> Picture | None:
    """Seconds per iteration against N, both logarithmic; None for a single size.

    The axes also include other studies of the experiment, so that its figures on several machines
    can be compared.
    """
    if len(study.sizes) < 2:
        return None
    counts, published = study.iterations - study.warm_up, study.published_times
    beside = [s for s in studies if s is not study and s.experiment == study.experiment and len(s.sizes) > 1]

    def draw(ax: Axes) -> None:
        values = [point.seconds for point in published]
        for other in (study, *beside):
            values += [v for line in other.lines for n in line.sizes for v in line.seconds(n)[1:3]]
        for line in study.lines:
            spreads = [line.seconds(size) for size in line.sizes]
            fit = line_fit(line)
            told = "" if fit is None else f": N^{fit.exponent:.2f} ± {fit.error:.2f}"
            curve(ax, line.sizes, spreads, line.style, f"{line.label}{told}")
        for marker, hardware in zip(_HOLLOW, dict.fromkeys(p.hardware for p in published), strict=False):
            points = [(p.neurons, p.seconds) for p in published if p.hardware == hardware]
            ax.plot(*zip(*points, strict=True), marker, color="black", fillstyle="none", label=f"published, {hardware}")
        sizes = [size for other in (study, *beside) for size in other.sizes]
        log_axis(ax, "x", [*sizes, *(p.neurons for p in published)], "neurons, N")
        log_axis(ax, "y", values, "seconds per iteration (s)")

    return paint(
        f"scaling-{study.name}",
        scaling_finding(study, compared_with),
        study.context,
        f"Wall time of one trial with learning: median over runs of the median over {several(counts, 'iteration')}; "
        "bars from the fastest to the slowest iteration. Exponents of a power law are shown with standard errors."
        + (" Hollow markers: published times, with their hardware." if published else ""),
        draw,
    )


class Ratio(NamedTuple):
    """The ratio of the times of two lines."""

    spread: Spread  #: over pairs of runs
    interleaved: bool  #: whether both runs of each pair belong to one sweep

    @property
    def is_clear(self) -> bool:
        """Whether all pairs agree on which line is faster."""
        return self.spread.low > 1 or self.spread.high < 1


def speedup(fast: Line, slow: Line, neurons: int) -> Ratio | None:
    """Seconds of `slow` over seconds of `fast`; None if repetition or software differ."""
    one, other = _by_repetition(fast, neurons), _by_repetition(slow, neurons)
    pairs = [(one[place], other[place]) for place in one if place in other]
    if not pairs or not same_software(fast.runs[0], slow.runs[0]):
        return None
    ratios = [_seconds(slower) / _seconds(faster) for faster, slower in pairs]
    return Ratio(Spread.of(ratios), all(_sweeps(faster) & _sweeps(slower) for faster, slower in pairs))


def baseline(study: Study, backend: str | None = None) -> Line | None:
    """The baseline of speed-ups: the slowest line (of a backend) at the size of the comparison."""
    size = study.compared_size(backend)
    lines = [] if size is None else [ln for ln in study.at(size) if backend in (None, ln.contender.backend)]
    return lines[-1] if lines else None


def _by_repetition(line: Line, neurons: int) -> dict[tuple[int, int], list[RunDocument]]:
    return grouped(line.at(neurons), lambda run: (run.repetition.repetition if run.repetition else 0, run.seed))


def _seconds(runs: list[RunDocument]) -> float:
    return median(median(counted_seconds(run)) for run in runs)


def _sweeps(runs: list[RunDocument]) -> set[str]:
    return {run.repetition.sweep for run in runs if run.repetition is not None}


def same_software(a: RunDocument, b: RunDocument) -> bool:
    """Whether commit and shared versions agree; plug-ins may record further packages."""
    shared = a.versions.keys() & b.versions.keys()
    return (a.commit, a.dirty) == (b.commit, b.dirty) and all(a.versions[k] == b.versions[k] for k in shared)


def draw_memory(study: Study) -> Picture | None:
    """Peak memory against N, both logarithmic; None for fewer than two sizes with a known peak."""
    known = [(line, {s: p for s in line.sizes if (p := line.peak_memory(s))}) for line in study.lines]
    curves = [(line, found) for line, found in known if found]
    sizes = sorted({size for _, found in curves for size in found})
    if len(sizes) < 2:
        return None
    top = max(peak.high for _, found in curves for peak in found.values())
    total = study.lines[0].runs[0].machine.get("memory_bytes")
    limit = total if isinstance(total, int) and top <= total <= _NEAR * top else None

    def draw(ax: Axes) -> None:
        values = [] if limit is None else [limit / 2**30]
        for line, found in curves:
            peaks = [[value / 2**30 for value in peak[:3]] for peak in found.values()]
            values += [value for _, *ends in peaks for value in ends]
            curve(ax, list(found), peaks, line.style, line.label)
        if limit is not None:
            ax.axhline(limit / 2**30, color=GREY, linestyle=(0, (6, 3)), linewidth=1.2, label="memory of the machine")
        log_axis(ax, "x", sizes, "neurons, N")
        log_axis(ax, "y", values, "peak resident memory (GiB)")

    return paint(
        f"memory-{study.name}",
        _memory_finding(curves, sizes[-1]),
        study.context,
        "Peak resident memory of the process of a run, or of its ranks together: Python and its libraries, drawing the "
        "network, training and measuring the correlation. Medians and ranges over runs.",
        draw,
    )


def _memory_finding(curves: Sequence[tuple[Line, dict[int, Spread]]], size: int) -> str:
    """The smallest and largest peak at the largest size, and the growth per neuron."""
    peaks = [(found[size].median, line, found) for line, found in curves if size in found]
    there = sorted(peaks, key=lambda item: (item[0], item[1].label))
    (least, line, known), (most, other, _) = there[0], there[-1]
    if len(there) > 1 and gib(most) == gib(least):
        return f"{size:,} neurons need {gib(least)} with each of {len(there)} variants"
    found = f"{size:,} neurons need {gib(least)} with {line.label}"
    found += f" and {gib(most)} with {other.label}" if len(there) > 1 else ""
    if len(known) > 1:
        (smaller, less), (larger, more) = list(known.items())[-2:]
        growth = (more.median - less.median) / (larger - smaller)
        found += f"; {line.label} needs {growth / 1000:,.0f} kB per neuron" if growth > 0 else ""
    return found
