"""Peak resident memory against the number of neurons.

In: a `Study`.  Out: a `Picture`.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from rlsbench.report.picture import GREY, Picture, curve, log_axis, paint
from rlsbench.report.series import Line, Study
from rlsbench.report.words import Spread, gib

_NEAR = 200  # the memory of the machine is drawn if it is at most this multiple of the peak


def peak_memory(line: Line, neurons: int) -> Spread | None:
    """Peak resident memory, bytes; None if no run recorded it."""
    found = [float(run.peak_memory_bytes) for run in line.at(neurons) if run.peak_memory_bytes]
    return Spread.of(found) if found else None


def draw_memory(study: Study) -> Picture | None:
    """Peak memory against N, both logarithmic; None for fewer than two sizes with a known peak."""
    known = [(line, [(s, p) for s in line.sizes if (p := peak_memory(line, s)) is not None]) for line in study.lines]
    curves = [(line, found) for line, found in known if found]
    sizes = sorted({size for _, found in curves for size, _ in found})
    if len(sizes) < 2:
        return None
    top = max(peak.high for _, found in curves for _, peak in found)
    total = study.lines[0].runs[0].machine.get("memory_bytes")
    limit = total if isinstance(total, int) and top <= total <= _NEAR * top else None

    def draw(ax: Axes) -> None:
        values = [] if limit is None else [limit / 2**30]
        for line, found in curves:
            peaks = [[value / 2**30 for value in peak[:3]] for _, peak in found]
            values += [value for _, *ends in peaks for value in ends]
            curve(ax, [size for size, _ in found], peaks, line.style, line.label)
        if limit is not None:
            ax.axhline(limit / 2**30, color=GREY, linestyle=(0, (6, 3)), linewidth=1.2, label="memory of the machine")
        log_axis(ax, "x", sizes, "neurons, N")
        log_axis(ax, "y", values, "peak resident memory (GiB)")

    return paint(
        f"memory-{study.name}",
        _finding(curves, sizes[-1]),
        study.context,
        "Peak resident memory of the process of a run: Python and its libraries, drawing the network, training and "
        "measuring the correlation. Medians and ranges over runs.",
        draw,
    )


def _finding(curves: Sequence[tuple[Line, Sequence[tuple[int, Spread]]]], size: int) -> str:
    """The smallest and largest peak at the largest size, and the growth per neuron."""
    peaks = [(dict(found)[size].median, line, found) for line, found in curves if size in dict(found)]
    there = sorted(peaks, key=lambda item: (item[0], item[1].label))
    (least, line, known), (most, other, _) = there[0], there[-1]
    if len(there) > 1 and gib(most) == gib(least):
        return f"{size:,} neurons need {gib(least)} with each of {len(there)} variants"
    found = f"{size:,} neurons need {gib(least)} with {line.label}"
    found += f" and {gib(most)} with {other.label}" if len(there) > 1 else ""
    if len(known) > 1:
        (smaller, less), (larger, more) = known[-2:]
        growth = (more.median - less.median) / (larger - smaller)
        found += f"; {line.label} needs {growth / 1000:,.0f} kB per neuron" if growth > 0 else ""
    return found
