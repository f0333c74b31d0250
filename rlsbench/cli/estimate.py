"""`rlsbench estimate`: memory and time of a run, before it is started."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console
from rich.table import Table

from rlsbench.backend import registered_backend
from rlsbench.capacity import AssumedDevice, advice, alternatives, readable
from rlsbench.cli.floors import print_floors
from rlsbench.cli.options import MEMORY, experiment_options, preset_help, resolve_experiment
from rlsbench.estimate import estimate as estimate_run

__all__ = ["estimate"]


@click.command(short_help="Memory and time of a run, before it is started.")
@click.option("--preset", default="smoke", show_default=True, metavar="NAME", help=f"One of {preset_help()}.")
@click.option("--backend", "backend_name", required=True, metavar="NAME", help="Need not be available here.")
@experiment_options
@click.option("--time/--no-time", default=True, help="Train a small network for a moment, and scale its time.")
@click.option("--device-memory", type=MEMORY, help="Of a device that need not be here, as 80GB.")
@click.option(
    "--bandwidth",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GB/S",
    help="Of the memory of a device that is not here, for a time by count; by default 1000, and 20 of a processor.",
)
def estimate(
    preset: str,
    backend_name: str,
    time: bool,
    device_memory: int | None,
    bandwidth: float | None,
    **options: Any,
) -> None:
    """Count the memory of a run by array and what it writes, and estimate the time of an iteration.

    Nothing of the size that is asked for is allocated. Of a backend that cannot be used here, the time is a bound by
    count.
    """
    experiment = resolve_experiment(preset, options)
    console = Console()
    backend = registered_backend(backend_name)
    if device_memory is not None:
        backend, time = AssumedDevice(backend, device_memory), False
    with console.status("timing a small network"):
        result = estimate_run(experiment, backend, time=time, bandwidth=None if bandwidth is None else 1e9 * bandwidth)
    o = result.options
    console.print(
        f"{experiment.network.neurons:,} neurons with {backend_name}: {o.precision}, P {o.p_precision} {o.storage}, "
        f"{o.algorithm} updates, {o.threads} threads",
        highlight=False,
        soft_wrap=True,
    )
    for note in result.notes:
        console.print(note, highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, show_footer=True)
    table.add_column("array", footer="in all")
    table.add_column("bytes", justify="right", footer=readable(result.total_bytes))
    for name, size in sorted(result.bytes.items(), key=lambda item: -item[1]):
        if size:
            table.add_row(name, readable(size))
    table.add_row("", "")
    console.print(table)
    if result.free_bytes is None:
        _say(console, f"how much {o.device} has cannot be told here")
    else:
        fits = result.total_bytes <= result.free_bytes
        _say(console, f"{readable(result.free_bytes)} are free: " + ("it fits" if fits else "it does not fit"))
        if not fits:
            for line in advice(experiment, alternatives(backend, experiment, o, result.free_bytes)):
                _say(console, line)
    files = ", ".join(f"{name} {readable(size)}" for name, size in result.disk.items())
    _say(console, f"on the disk {readable(sum(result.disk.values()))}: {files}")
    if result.seconds is not None:
        parts = f"simulation {result.simulation_seconds:.3g} s, updates {result.rls_seconds:.3g} s"
        if result.timed_neurons:
            how = f"scaled from {result.timed_neurons:,} neurons timed here"
            _say(console, f"about {result.seconds:.3g} s an iteration: {parts}; {how}")
        elif not backend.device_limits or bandwidth is not None:
            how = f"by count of bytes at {result.bandwidth / 1e9:,.0f} GB/s (--bandwidth), not timed"
            _say(console, f"at least {result.seconds:.3g} s an iteration: {parts}; {how}: {result.why_no_time}")
    if backend.device_limits:
        print_floors(console, backend, preset, experiment, o)


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
