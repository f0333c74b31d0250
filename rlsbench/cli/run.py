"""`rlsbench run`: train a network and keep the results."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from rlsbench.backend import get_backend, require_usable, resolve_options
from rlsbench.capacity import check_disk, disk_bytes
from rlsbench.cli.interruption import Interruption
from rlsbench.cli.options import (
    checkpoint_options,
    experiment_options,
    preset_help,
    resolve_experiment,
    resource_options,
)
from rlsbench.cli.train import result_options, train
from rlsbench.results import Checkpoints, RunDirectory, check_writable, run_document
from rlsbench.training import prepare

__all__ = ["run"]


@click.command(short_help="Train a network and keep the results.")
@click.option("--preset", default="smoke", show_default=True, metavar="NAME", help=f"One of {preset_help()}.")
@click.option("--backend", "backend_name", required=True, metavar="NAME", help="See `rlsbench backends`.")
@experiment_options
@checkpoint_options
@click.option("--output", type=click.Path(path_type=Path), help="New directory for the results; by default in runs/.")
@result_options
@click.option("--correlate/--no-correlate", default=True, help="Measure the correlation in each iteration.")
@resource_options
def run(
    preset: str,
    backend_name: str,
    output: Path | None,
    json_file: Path | None,
    save_weights: bool,
    correlate: bool,
    monitor: float | None,
    force: bool,
    **options: Any,
) -> None:
    """Train a network and keep configuration, learning curve, machine and pictures in a directory.

    Control-C or SIGTERM ends it after the iteration under way, with a checkpoint from which `rlsbench resume` goes on.
    """
    backend = get_backend(backend_name)
    experiment = resolve_experiment(preset, options)
    if not correlate and (experiment.training.patience or experiment.checkpoints.best != "none"):
        raise click.UsageError("--patience and --save-best go by the correlation; leave out --no-correlate")
    require_usable(backend, resolve_options(backend, experiment.numerics))
    if json_file is not None:
        check_writable(json_file)
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    place = output or Path("runs") / f"{preset}-{backend_name}-{stamp}"
    with Interruption() as interruption, RunDirectory(place) as directory:
        console = Console()
        console.print(experiment.description or preset, highlight=False, soft_wrap=True)
        with console.status("drawing the network and measuring its spontaneous activity"):
            training = prepare(
                experiment,
                backend,
                force=force,
                before=None
                if force
                else lambda e, o: check_disk(disk_bytes(e, o, weights=save_weights), directory.path),
            )
        document = run_document(training)
        spontaneous = document.spontaneous_rate_hz
        console.print(
            f"{document.neurons:,} neurons, {document.static_outputs:,} static and {document.plastic_inputs:,} plastic "
            f"synapses each; {backend_name}, {document.precision}, P {document.p_precision} {document.storage}, "
            f"{document.algorithm} updates, {document.threads} threads\n"
            f"set up in {document.setup_seconds:.1f} s, compiled in {document.compile_seconds:.1f} s; "
            f"spontaneous {spontaneous.excitatory:.2f} Hz (E), {spontaneous.inhibitory:.2f} Hz (I)",
            highlight=False,
            soft_wrap=True,
        )
        with Checkpoints(directory.path, training.experiment.checkpoints) as checkpoints:
            train(
                console,
                training,
                directory,
                checkpoints,
                interruption,
                correlate=correlate,
                save_weights=save_weights,
                json_file=json_file,
                monitor=monitor,
            )
