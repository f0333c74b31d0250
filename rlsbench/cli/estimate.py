"""`rlsbench estimate`: memory and time of a run, before it is started."""

from __future__ import annotations

from typing import Any

import click
from rich.table import Table

from rlsbench.backend import registered_backend
from rlsbench.capacity import AssumedDevice, advice, alternatives, readable
from rlsbench.cli.console import new_console
from rlsbench.cli.floors import print_floors
from rlsbench.cli.options import MEMORY, backend_option, experiment_options, preset_option, resolve_experiment
from rlsbench.estimate import estimate as estimate_run


@click.command(short_help="Memory and time of a run, before it is started.")
@preset_option
@backend_option
@experiment_options
@click.option("--time/--no-time", default=True, help="Train a small network briefly, and scale its time.")
@click.option("--device-memory", type=MEMORY, help="Of a device that is not in this machine, such as 80GB.")
@click.option(
    "--bandwidth",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GB/S",
    help="Memory bandwidth of a device that is not in this machine; by default 1000, and 20 for a CPU.",
)
def estimate(
    preset: str,
    backend_name: str,
    time: bool,
    device_memory: int | None,
    bandwidth: float | None,
    **options: Any,
) -> None:
    """Estimate the memory of a run by array, its files, and the time of an iteration.

    Nothing of the requested size is allocated. The backend need not be available here: the time is
    then a lower bound from the amount of data moved.
    """
    experiment = resolve_experiment(preset, options)
    console = new_console()
    backend = registered_backend(backend_name)
    if device_memory is not None:
        backend, time = AssumedDevice(backend, device_memory), False
    with console.status("timing a small network"):
        result = estimate_run(experiment, backend, time=time, bandwidth=None if bandwidth is None else 1e9 * bandwidth)
    o = result.options
    console.print(
        f"{experiment.network.neurons:,} neurons with {backend_name}: {o.precision}, P {o.p_precision} {o.storage}, "
        f"{o.algorithm} updates, {o.threads} threads"
    )
    for note in result.notes:
        console.print(note)
    table = Table(box=None, pad_edge=False, show_footer=True)
    table.add_column("array", footer="total")
    table.add_column("bytes", justify="right", footer=readable(result.total_bytes))
    for name, size in sorted(result.bytes.items(), key=lambda item: -item[1]):
        if size:
            table.add_row(name, readable(size))
    table.add_row("", "")
    console.print(table, soft_wrap=False)
    if result.free_bytes is None:
        console.print(f"the memory of {o.device} is unknown here")
    elif result.total_bytes <= result.free_bytes:
        console.print(f"{readable(result.free_bytes)} are free: it fits")
    else:
        console.print(f"{readable(result.free_bytes)} are free: it does not fit")
        for line in advice(experiment, alternatives(backend, experiment, o, result.free_bytes)):
            console.print(line)
    files = ", ".join(f"{name} {readable(size)}" for name, size in result.disk.items())
    console.print(f"on disk {readable(sum(result.disk.values()))}: {files}")
    if result.seconds is not None:
        parts = f"simulation {result.simulation_seconds:.3g} s, updates {result.rls_seconds:.3g} s"
        if result.timed_neurons:
            console.print(
                f"about {result.seconds:.3g} s per iteration: {parts}; scaled from {result.timed_neurons:,} neurons "
                "timed here"
            )
        elif not backend.device_limits or bandwidth is not None:
            console.print(
                f"at least {result.seconds:.3g} s per iteration: {parts}; from bytes moved at "
                f"{result.bandwidth / 1e9:,.0f} GB/s (--bandwidth), not timed: {result.why_no_time}"
            )
    if backend.device_limits:
        print_floors(console, backend, preset, experiment, o)
