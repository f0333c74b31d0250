"""Peak resident memory against the number of neurons.

In: a `Study`.  Out: a `Picture`.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from rlsbench.report.picture import Picture, curve, log_axis, paint
from rlsbench.report.series import Line, Spread, Study
from rlsbench.report.style import GREY
from rlsbench.report.words import gib

_NEAR = 200  # the memory of the machine is drawn if it is at most this multiple of the peak


def peak_memory(line: Line, neurons: int) -> Spread | None:
    """Peak resident memory, bytes; None if no run recorded it."""
    found = [float(run.peak_memory_bytes) for run in line.at(neurons) if run.peak_memory_bytes]
    return Spread.of(found) if found else None


def bytes_per_neuron(line: Line) -> float | None:
    """Slope of the peak between the two largest sizes; None for fewer than two sizes."""
    found = [(size, peak.median) for size in line.sizes if (peak := peak_memory(line, size)) is not None]
    if len(found) < 2:
        return None
    (smaller, less), (larger, more) = found[-2:]
    return (more - less) / (larger - smaller)


def draw_memory(study: Study) -> Picture | None:
    """Peak memory against N, both logarithmic; None for fewer than two sizes with a known peak."""
    curves = [(line, [(s, p) for s in line.sizes if (p := peak_memory(line, s)) is not None]) for line in study.lines]
    curves = [(line, found) for line, found in curves if found]
    sizes = sorted({size for _, found in curves for size, _ in found})
    if len(sizes) < 2:
        return None
    top = max(peak.high for _, found in curves for _, peak in found)
    total = study.lines[0].runs[0].machine.get("memory_bytes")
    limit = total if isinstance(total, int) and top <= total <= _NEAR * top else None

    def draw(panels: Sequence[Axes]) -> None:
        (ax,) = panels
        values = [] if limit is None else [limit / 2**30]
        for line, found in curves:
            peaks = [Spread(peak.median / 2**30, peak.low / 2**30, peak.high / 2**30, peak.n) for _, peak in found]
            values += [value for peak in peaks for value in (peak.low, peak.high)]
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
    peaks = [(peak.median, line) for line, found in curves for at, peak in found if at == size]
    there = sorted(peaks, key=lambda item: (item[0], item[1].label))
    (least, line), (most, other) = there[0], there[-1]
    found = f"{size:,} neurons need {gib(least)} with {line.label}"
    if len(there) > 1 and gib(most) == gib(least):
        return f"{size:,} neurons need {gib(least)} with each of {len(there)} variants"
    if len(there) > 1:
        found += f" and {gib(most)} with {other.label}"
    growth = bytes_per_neuron(line)
    if growth is not None and growth > 0:
        found += f"; {line.label} needs {growth / 1000:,.0f} kB per neuron"
    return found
