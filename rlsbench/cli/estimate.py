"""`rlsbench estimate`: memory and time of a run, before it is started."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console
from rich.table import Table

from rlsbench.backend import CountsKernels, registered_backend
from rlsbench.backend.assumed import assumed_device
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
def estimate(preset: str, backend_name: str, time: bool, device_memory: int | None, **options: Any) -> None:
    """Count the memory of a run by array, and estimate the time of an iteration on this machine."""
    experiment = resolve_experiment(preset, options)
    console = Console()
    backend = registered_backend(backend_name)
    if device_memory is not None:
        backend, time = assumed_device(backend, device_memory), False
    with console.status("timing a small network"):
        result = estimate_run(experiment, backend, time=time)
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
    table.add_column("bytes", justify="right", footer=_bytes(result.total_bytes))
    for name, size in sorted(result.bytes.items(), key=lambda item: -item[1]):
        if size:
            table.add_row(name, _bytes(size))
    table.add_row("", "")
    console.print(table)
    fits = result.total_bytes <= result.free_bytes
    console.print(
        f"{_bytes(result.free_bytes)} are free: " + ("it fits" if fits else "it does not fit"), highlight=False
    )
    if result.seconds is not None:
        console.print(
            f"about {result.seconds:.3g} s an iteration: simulation {result.simulation_seconds:.3g} s, "
            f"updates {result.rls_seconds:.3g} s; scaled from {result.timed_neurons:,} neurons timed here",
            highlight=False,
            soft_wrap=True,
        )
    elif result.why_no_time is not None:
        console.print(f"no time: {result.why_no_time}", highlight=False, soft_wrap=True)
    if isinstance(backend, CountsKernels):
        print_floors(console, backend, preset, experiment, o)


def _bytes(size: int) -> str:
    """A size as people read it, in GiB or MiB."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
