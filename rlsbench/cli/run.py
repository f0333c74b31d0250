"""`rlsbench run`: train a network and keep the results."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from rlsbench.backend import get_backend, require_usable, resolve_options
from rlsbench.capacity import check_disk, disk_bytes
from rlsbench.cli.console import new_console
from rlsbench.cli.interruption import Interruption
from rlsbench.cli.options import (
    backend_option,
    checkpoint_options,
    experiment_options,
    preset_option,
    resolve_experiment,
    resource_options,
)
from rlsbench.cli.train import result_options, train
from rlsbench.results import Checkpoints, RunDirectory, check_writable, run_document
from rlsbench.training import prepare


@click.command(short_help="Train a network and keep the results.")
@preset_option
@backend_option
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
    """Train a network and keep configuration, learning curve, results and pictures in a directory.

    Control-C or SIGTERM stops the run after the current iteration, with a checkpoint for
    `rlsbench resume`.
    """
    backend = get_backend(backend_name)
    experiment = resolve_experiment(preset, options)
    if not correlate and (experiment.training.patience or experiment.checkpoints.best != "none"):
        raise click.UsageError("--patience and --save-best need the correlation: omit --no-correlate")
    require_usable(backend, resolve_options(backend, experiment.numerics))
    if json_file is not None:
        check_writable(json_file)
    place = output or Path("runs") / f"{preset}-{backend_name}-{datetime.now():%Y%m%d-%H%M%S}"
    with Interruption() as interruption, RunDirectory(place) as directory:
        console = new_console()
        console.print(experiment.description or preset)
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
            f"{document.neurons:,} neurons, each with {document.static_outputs:,} static and "
            f"{document.plastic_inputs:,} plastic synapses; {backend_name}, {document.precision}, "
            f"P {document.p_precision} {document.storage}, {document.algorithm} updates, {document.threads} threads\n"
            f"set up in {document.setup_seconds:.1f} s, compiled in {document.compile_seconds:.1f} s; "
            f"spontaneous {spontaneous.excitatory:.2f} Hz (E), {spontaneous.inhibitory:.2f} Hz (I)"
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
