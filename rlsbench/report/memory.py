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

__all__ = ["bytes_per_neuron", "draw_memory", "peak_memory"]

_NEAR = 200  # the machine's memory is drawn where it is at most as many times what was used


def peak_memory(line: Line, neurons: int) -> Spread | None:
    """Largest resident memory of the processes, bytes; None where no run told."""
    found = [float(run.peak_memory_bytes) for run in line.at(neurons) if run.peak_memory_bytes]
    return Spread.of(found) if found else None


def bytes_per_neuron(line: Line) -> float | None:
    """Growth of the peak from the second largest size to the largest; None where it cannot be told."""
    found = [(size, peak.median) for size in line.sizes if (peak := peak_memory(line, size)) is not None]
    if len(found) < 2:
        return None
    (smaller, less), (larger, more) = found[-2:]
    return (more - less) / (larger - smaller)


def draw_memory(study: Study) -> Picture | None:
    """Peak memory against N, both logarithmic; None where there is one size alone, or no memory was told."""
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
        "Largest resident memory of the process of a run, with Python, its libraries, drawing the network and "
        "measuring the correlation; medians and ranges over runs.",
        draw,
    )


def _finding(curves: Sequence[tuple[Line, Sequence[tuple[int, Spread]]]], size: int) -> str:
    """The least and the most at the largest size, and what a neuron adds."""
    there = sorted(
        ((peak.median, line) for line, found in curves for at, peak in found if at == size),
        key=lambda item: (item[0], item[1].label),
    )
    (least, line), (most, other) = there[0], there[-1]
    found = f"{size:,} neurons take {gib(least)} with {line.label}"
    if len(there) > 1 and gib(most) == gib(least):
        return f"{size:,} neurons take {gib(least)} with every one of {len(there)} variants"
    if len(there) > 1:
        found += f" and {gib(most)} with {other.label}"
    growth = bytes_per_neuron(line)
    if growth is not None and growth > 0:
        found += f"; {line.label} adds {growth / 1000:,.0f} kB a neuron"
    return found
