"""`rlsbench show` and `rlsbench estimate`: settings, memory and time of a run that is planned."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console

from rlsbench.backend import Backend, Options, registered_backend
from rlsbench.capacity import advice, alternatives, assumed_device, readable
from rlsbench.cli.console import new_console, new_table, number
from rlsbench.cli.options import MEMORY, Number, experiment_options, resolve_experiment, subject_options
from rlsbench.configuration import Experiment, to_toml
from rlsbench.estimate import estimate as estimate_run
from rlsbench.plugins import blamed
from rlsbench.published import SCALING

_RATE_HZ = {"mouse": 7.5}  # assumed, by preset
_OTHER_RATE_HZ = 5.5  # the published networks while they learn sinusoids
_BANDWIDTH = "Memory bandwidth of a device that is not in this machine; by default 1000, and 20 for a CPU."


@click.command(short_help="Print the configuration of a preset.")
@click.argument("preset")
@experiment_options
def show(preset: str, **options: Any) -> None:
    """Print all settings of PRESET as TOML, which `--config` of other commands can read."""
    click.echo(to_toml(resolve_experiment(preset, options)), nl=False)


@click.command(short_help="Memory and time of a run, before it is started.")
@subject_options
@experiment_options
@click.option("--time/--no-time", default=True, help="Train a small network briefly, and scale its time.")
@click.option("--device-memory", type=MEMORY, help="Of a device that is not in this machine, such as 80GB.")
@click.option("--bandwidth", type=Number(min=0, min_open=True), metavar="GB/S", help=_BANDWIDTH)
def estimate(
    preset: str, backend_name: str, time: bool, device_memory: int | None, bandwidth: float | None, **options: Any
) -> None:
    """Estimate the memory of a run by array, its files, and the time of an iteration.

    Nothing of the requested size is allocated. The backend need not be available here: the time is
    then a lower bound from the amount of data moved.
    """
    experiment = resolve_experiment(preset, options)
    console = new_console()
    backend = registered_backend(backend_name)
    if device_memory is not None:
        backend, time = assumed_device(backend, device_memory), False
    with console.status("timing a small network"):
        result = estimate_run(experiment, backend, time=time, bandwidth=None if bandwidth is None else 1e9 * bandwidth)
    experiment, o = result.experiment, result.options
    console.print(
        f"{experiment.network.neurons:,} neurons with {backend_name}: {o.precision}, P {o.p_precision} {o.storage}, "
        f"{o.algorithm} updates, {o.threads} threads"
    )
    for note in result.notes:
        console.print(note)
    table = new_table("array", number("bytes"))
    for name, size in sorted(result.bytes.items(), key=lambda item: -item[1]):
        if size:
            table.add_row(name, readable(size))
    table.add_row("", "")
    table.add_row("total", readable(result.total_bytes), style="table.footer")
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
            source = f"scaled from {result.timed_neurons:,} neurons timed here"
            console.print(f"about {result.seconds:.3g} s per iteration: {parts}; {source}")
        elif not backend.device_limits or bandwidth is not None:
            source = f"from bytes moved at {result.bandwidth / 1e9:,.0f} GB/s (--bandwidth), not timed"
            console.print(f"at least {result.seconds:.3g} s per iteration: {parts}; {source}: {result.why_no_time}")
    if backend.device_limits:
        _print_floors(console, backend, preset, experiment, o)


def _print_floors(console: Console, backend: Backend, preset: str, e: Experiment, options: Options) -> None:
    """Print bytes, operations and launches of each kernel, and the lower bound of each device."""
    rate = _RATE_HZ.get(preset, _OTHER_RATE_HZ)
    with blamed(f"backend {backend.name}"):
        costs, devices = backend.kernel_costs(e, options, rate), backend.device_limits
    table = new_table("kernel", *map(number, ("GB", "1e9 operations", "launches", *(f"{d.name}, s" for d in devices))))
    rows = [(c.bytes / 1e9, c.operations / 1e9, c.launches, *(d.floor_seconds(c) for d in devices)) for c in costs]
    rows.append(tuple(map(sum, zip(*rows, strict=True))))
    for name, (size, operations, launches, *floors) in zip((*(c.kernel for c in costs), "total"), rows, strict=True):
        numbers = (f"{size:,.1f}", f"{operations:,.1f}", f"{launches:,.0f}", *(f"{floor:.3g}" for floor in floors))
        table.add_row(name, *numbers, style="table.footer" if name == "total" else None)
    console.print(f"\nOne iteration by count, at {rate:g} Hz:")
    console.print(table, soft_wrap=False)
    sheets = "; ".join(
        f"{d.name} {d.bytes_per_second / 1e12:g} TB/s, {d.operations_per_second / 1e12:g} TFLOP/s" for d in devices
    )
    console.print(
        f"Lower bounds, not measurements: the larger of bytes / bandwidth and operations / speed ({sheets}), excluding "
        "data that fit into the last-level cache, launches, latency and atomics."
    )
    for p in SCALING.get(preset, ()):
        if "NVIDIA" in p.hardware:
            took = f"{p.seconds:g} s for {p.neurons:,} neurons on an {p.hardware}"
            console.print(f"published, for another code: {took}")
