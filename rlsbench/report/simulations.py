"""Simulations without learning: time against the number of neurons, in simulators and on backends.

In: `SimulationDocument`s of one experiment and machine.  Out: a `Picture` and the rows of a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from matplotlib.axes import Axes

from rlsbench.report.picture import Picture, curve, log_axis, paint, style
from rlsbench.report.series import grouped, tidy_text
from rlsbench.report.words import Spread, number, seconds, several, spread
from rlsbench.results import SimulationDocument, digest


def draw_simulations(context: str, documents: Sequence[SimulationDocument]) -> Picture | None:
    """Seconds per second of model time against N, both logarithmic; None for a single size."""
    lines = grouped(documents, _label)
    sizes = sorted({d.neurons for d in documents})
    if len(sizes) < 2:
        return None
    at = {label: {n: _per_second(own) for n, own in grouped(of, _neurons).items()} for label, of in lines.items()}

    def draw(ax: Axes) -> None:
        for line, (label, by_size) in enumerate(at.items()):
            curve(ax, list(by_size), list(by_size.values()), style(line), label)
        values = [value for by_size in at.values() for found in by_size.values() for value in found[1:3]]
        log_axis(ax, "x", sizes, "neurons, N")
        log_axis(ax, "y", values, "seconds per second of model time")

    # The title compares what simulators have, too: static synapses, at the largest size of most.
    static = [d for d in documents if d.synapses == "static"] or documents
    named = {n: grouped(of, lambda d: d.backend) for n, of in grouped(static, _neurons).items()}
    largest = max(named, key=lambda n: (len(named[n]), n))
    fastest = sorted((min(_per_second([d]).median for d in own), name) for name, own in named[largest].items())
    told = ", ".join(f"{seconds(found)} in {tidy_text(name)}" for found, name in fastest)
    return paint(
        f"simulation-{digest([context, documents[0].model_seconds, documents[0].measurement_version])}",
        f"a second of {largest:,} neurons without learning takes {told}",
        context,
        f"Wall time of {documents[0].model_seconds:g} s of model time, divided by it; medians over runs, bars from the "
        "fastest to the slowest.",
        draw,
    )


def simulation_table(
    context: str, documents: Sequence[SimulationDocument]
) -> tuple[str, tuple[str, ...], tuple[tuple[str, ...], ...], str]:
    """Title, columns, rows and note of the table of the same simulations."""
    columns = ("", "how", "synapses", "precision", "threads", "records", "neurons", "s per s of model time (range)")
    rows = []
    for (n, label), own in grouped(documents, lambda d: (d.neurons, _label(d))).items():
        d = own[0]
        words = (label, d.how, d.synapses, d.precision, several(d.threads, "thread"), d.recorded)
        setup = number(median(one.setup_seconds for one in own))
        rate = f"{median(one.firing_rate_hz for one in own):.3g}"
        rows.append((*(tidy_text(word) for word in words), f"{n:,}", spread(_per_second(own)), rate, setup))
    note = f"Of {documents[0].model_seconds:g} s of model time. Setup: building the network, and compiling if it does."
    return context, (*columns, "rate (Hz)", "setup (s)"), tuple(rows), note


def _label(d: SimulationDocument) -> str:
    """Simulator and version, or backend; its precision and threads; and plastic synapses."""
    name = f"{d.backend} {d.simulator_version}" if d.simulator_version else d.backend
    plastic = ", plastic synapses" if d.synapses != "static" else ""
    return tidy_text(f"{name} ({d.precision}, {several(d.threads, 'thread')}{plastic})")


def _neurons(d: SimulationDocument) -> int:
    return d.neurons


def _per_second(documents: Sequence[SimulationDocument]) -> Spread:
    return Spread.of([s / d.model_seconds for d in documents for s in d.seconds])
