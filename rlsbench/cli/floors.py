"""A table of lower bounds for the kernels of an iteration on devices that need not be present.

In: a backend that counts the work of its kernels, an experiment and options.  Out: tables on a
console.  Measures nothing.
"""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from rlsbench.backend import Backend, Options
from rlsbench.configuration import Experiment

__all__ = ["ASSUMED_RATE_HZ", "print_floors"]

ASSUMED_RATE_HZ = {"mouse": 7.5}
OTHER_RATE_HZ = 5.5  # the published networks while they learn sinusoids


def print_floors(console: Console, backend: Backend, preset: str, e: Experiment, options: Options) -> None:
    """Print bytes, operations and launches of each kernel, and the lower bound of each device."""
    from rlsbench.published import SCALING

    rate = ASSUMED_RATE_HZ.get(preset, OTHER_RATE_HZ)
    costs, devices = backend.kernel_costs(e, options, rate), backend.device_limits
    table = Table(box=None, pad_edge=False, show_footer=True)
    table.add_column("kernel", footer="total")
    for heading, total in (
        ("GB", f"{sum(c.bytes for c in costs) / 1e9:,.1f}"),
        ("1e9 operations", f"{sum(c.operations for c in costs) / 1e9:,.1f}"),
        ("launches", f"{sum(c.launches for c in costs):,.0f}"),
    ):
        table.add_column(heading, footer=total, justify="right")
    for d in devices:
        table.add_column(f"{d.name}, s", footer=f"{sum(map(d.floor_seconds, costs)):.3g}", justify="right")
    for c in costs:
        floors = [f"{d.floor_seconds(c):.3g}" for d in devices]
        table.add_row(c.kernel, f"{c.bytes / 1e9:,.1f}", f"{c.operations / 1e9:,.1f}", f"{c.launches:,.0f}", *floors)
    console.print(f"\nOne iteration by count, at {rate:g} Hz:", highlight=False)
    console.print(table, soft_wrap=False)
    sheets = "; ".join(
        f"{d.name} {d.bytes_per_second / 1e12:g} TB/s, {d.operations_per_second / 1e12:g} TFLOP/s" for d in devices
    )
    console.print(
        f"Lower bounds, not measurements: the larger of bytes / bandwidth and operations / speed ({sheets}), excluding "
        "data that fit into the last-level cache, launches, latency and atomics.",
        highlight=False,
        soft_wrap=True,
    )
    published = [p for p in SCALING.get(preset, ()) if "NVIDIA" in p.hardware]
    for p in published:
        console.print(
            f"published, for another code: {p.seconds:g} s for {p.neurons:,} neurons on an {p.hardware}",
            highlight=False,
            soft_wrap=True,
        )
