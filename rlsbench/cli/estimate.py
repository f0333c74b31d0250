"""`rlsbench show` and `rlsbench estimate`: settings, memory and time of a run that is planned."""

from __future__ import annotations

from typing import Any

import click
from rich.console import Console

from rlsbench.backend import Backend, Options, registered_backend
from rlsbench.capacity import advice, alternatives, assumed_device, readable
from rlsbench.cli.console import new_console, new_table, number
from rlsbench.cli.options import MEMORY, Number, experiment_options, resolve_experiment, subject_options, together
from rlsbench.configuration import Experiment, to_toml
from rlsbench.estimate import estimate as estimate_run
from rlsbench.plugins import blamed
from rlsbench.published import SCALING
from rlsbench.ranks import Planned
from rlsbench.spread import RATE_HZ, Links, Spread

_RATE_HZ = {"mouse": 7.5}  # assumed, by preset
_BANDWIDTH = (
    "Memory bandwidth of a device that is not in this machine, or of a node; by default 1000, 20 for a CPU, and 200 "
    "for a node with --ranks."
)
_RANKS = "MPI ranks that the network is spread over; --threads is the number of each."
_NODE_MEMORY = "Of a node that is not this machine, such as 256GB."
_positive = Number(min=0, min_open=True)
_of_ranks = together(  # given only with --ranks
    click.option(
        "--ranks-per-node", type=click.IntRange(min=1), metavar="N", help="Ranks that share a node; by default 1."
    ),
    click.option("--node-memory", type=MEMORY, help=_NODE_MEMORY),
    click.option("--latency-us", type=_positive, metavar="US", help="Of a message between nodes; by default 2."),
    click.option("--link-gbps", type=_positive, metavar="GBIT/S", help="Of each node; by default 200."),
)


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
@click.option("--bandwidth", type=_positive, metavar="GB/S", help=_BANDWIDTH)
@click.option("--ranks", type=click.IntRange(min=2), metavar="R", help=_RANKS)
@_of_ranks
def estimate(
    preset: str,
    backend_name: str,
    time: bool,
    device_memory: int | None,
    bandwidth: float | None,
    ranks: int | None,
    ranks_per_node: int | None,
    node_memory: int | None,
    latency_us: float | None,
    link_gbps: float | None,
    **options: Any,
) -> None:
    """Estimate the memory of a run by array, its files, and the time of an iteration.

    Nothing of the requested size is allocated. The backend need not be available here: the time is
    then a lower bound from the amount of data moved. With --ranks, nodes need not be there.
    """
    given: dict[str, float | None] = {"ranks-per-node": ranks_per_node, "node-memory": node_memory}
    given |= {"latency-us": latency_us, "link-gbps": link_gbps}
    for name, value in given.items():
        if ranks is None and value is not None:
            raise click.UsageError(f"--{name} {value:g}: only with --ranks")
    experiment = resolve_experiment(preset, options)
    console = new_console()
    backend = registered_backend(backend_name)
    if node_memory is not None and backend.capabilities.devices[0] != "cpu":
        raise click.UsageError(f"--node-memory: {backend_name} has its arrays on a device: use --device-memory")
    if device_memory is not None:
        backend, time = assumed_device(backend, device_memory), False
    with console.status("timing a small network"):
        result = estimate_run(
            experiment,
            backend,
            time=time,
            bandwidth=None if bandwidth is None else 1e9 * bandwidth,
            ranks=None if ranks is None else Planned(ranks, ranks_per_node or 1),
            links=_links(latency_us, link_gbps),
            free=node_memory,
            rate_hz=_RATE_HZ.get(preset, RATE_HZ),
        )
    experiment, o, spread = result.experiment, result.options, result.spread
    console.print(
        f"{experiment.network.neurons:,} neurons with {backend_name}: {o.precision}, P {o.p_precision} {o.storage}, "
        f"{o.algorithm} updates, {o.threads} threads"
    )
    for note in result.notes:
        console.print(note)
    sizes = {"bytes": result.bytes}
    if spread:
        nodes = -(-spread.ranks.size // spread.ranks.here)
        console.print(f"{spread.ranks.size:,} ranks on {nodes:,} nodes: at most {spread.neurons:,} neurons each")
        sizes = {"rank 0": result.bytes, "another rank": spread.others}
    table = new_table("array", *map(number, sizes))
    for name, size in sorted(result.bytes.items(), key=lambda item: -item[1]):
        if size:
            table.add_row(name, *(readable(of.get(name, 0)) for of in sizes.values()))
    table.add_row()
    table.add_row("total", *(readable(sum(of.values())) for of in sizes.values()), style="table.footer")
    console.print(table, soft_wrap=False)
    if spread:
        where = "the node of rank 0" if o.device == "cpu" else "the device of a rank"
        needed = readable(result.node_bytes), readable(spread.all_bytes(result.total_bytes))
        console.print(f"{where} needs {needed[0]}, all ranks {needed[1]}")
    if result.free_bytes is None:
        console.print(f"the memory of {o.device} is unknown here")
    elif result.node_bytes <= result.free_bytes:
        console.print(f"{readable(result.free_bytes)} are free: it fits")
    else:
        console.print(f"{readable(result.free_bytes)} are free: it does not fit")
        for line in () if spread else advice(experiment, alternatives(backend, experiment, o, result.free_bytes)):
            console.print(line)
    files = ", ".join(f"{name} {readable(size)}" for name, size in result.disk.items())
    console.print(f"on disk {readable(sum(result.disk.values()))}: {files}")
    if result.seconds is not None:
        parts = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in result.parts.items())
        if result.timed_neurons:
            source = f"scaled from {result.timed_neurons:,} neurons timed here"
            console.print(f"about {result.seconds:.3g} s per iteration: {parts}; {source}")
        elif spread or not backend.device_limits or bandwidth is not None:
            source = f"from bytes moved at {result.bandwidth / 1e9:,.0f} GB/s (--bandwidth), not timed"
            console.print(f"at least {result.seconds:.3g} s per iteration: {parts}; {source}: {result.why_no_time}")
    if spread and result.parts:
        _print_exchange(console, spread, max(result.parts, key=result.parts.__getitem__))
    if backend.device_limits and not spread:
        _print_floors(console, backend, preset, experiment, o)


def _links(latency_us: float | None, link_gbps: float | None) -> Links:
    usual = Links()
    latency = usual.latency if latency_us is None else 1e-6 * latency_us
    return Links(latency, usual.bandwidth if link_gbps is None else 1e9 / 8 * link_gbps)


def _print_exchange(console: Console, spread: Spread, longest: str) -> None:
    """Print what is exchanged, and what takes most of an iteration."""
    console.print(
        f"exchange: {spread.spikes:,.0f} spikes and {spread.bytes / 1e3:,.1f} kB a step; an iteration at least "
        f"{spread.exchange_seconds:.3g} s, {spread.floor_seconds:.3g} s with 4 bytes a spike"
    )
    console.print(f"what limits: {longest}")


def _print_floors(console: Console, backend: Backend, preset: str, e: Experiment, options: Options) -> None:
    """Print bytes, operations and launches of each kernel, and the lower bound of each device."""
    rate = _RATE_HZ.get(preset, RATE_HZ)
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
