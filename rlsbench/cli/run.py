"""`rlsbench run` and `rlsbench resume`: train a network and keep the results."""

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
    COUNT,
    experiment_options,
    given_overrides,
    numerics_options,
    resolve_experiment,
    run_options,
    subject_options,
)
from rlsbench.cli.train import Outputs, Run
from rlsbench.results import Checkpoints, RunDirectory, check_writable, last_checkpoint, run_document
from rlsbench.results import resume as resume_training
from rlsbench.training import prepare


def _outputs(options: dict[str, Any]) -> Outputs:
    """What the options ask for; an `OutputError` if it could not be written."""
    if options["json_file"] is not None:
        check_writable(options["json_file"])
    return Outputs(options["json_file"], options["save_weights"], options["monitor"])


@click.command(short_help="Train a network and keep the results.")
@subject_options
@experiment_options
@click.option("--output", type=click.Path(path_type=Path), help="New directory for the results; by default in runs/.")
@click.option("--correlate/--no-correlate", default=True, help="Measure the correlation in each iteration.")
@run_options
def run(preset: str, backend_name: str, output: Path | None, correlate: bool, force: bool, **options: Any) -> None:
    """Train a network and keep configuration, learning curve, results and pictures in a directory.

    Control-C or SIGTERM stops the run after the current iteration, with a checkpoint for
    `rlsbench resume`.
    """
    backend = get_backend(backend_name)
    experiment = resolve_experiment(preset, options)
    if not correlate and (experiment.training.patience or experiment.checkpoints.best != "none"):
        raise click.UsageError("--patience and --save-best need the correlation: omit --no-correlate")
    require_usable(backend, resolve_options(backend, experiment.numerics))
    outputs = _outputs(options)
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
                else lambda e, o: check_disk(disk_bytes(e, o, weights=outputs.weights), directory.path),
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
            Run(console, training, directory, checkpoints, interruption).complete(correlate, outputs)


@click.command(short_help="Continue a run from its last checkpoint.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="RUN")
@click.option("--backend", "backend_name", metavar="NAME", help="By default the one that started the run.")
@click.option("--iterations", type=COUNT, help="Total number of iterations; by default unchanged.")
@numerics_options
@click.option("--recording", multiple=True, metavar="FILE", help="Current path of the recording.")
@click.option("--correlate/--no-correlate", default=None, help="Measure the correlation; by default as before.")
@run_options
def resume(folder: Path, backend_name: str | None, correlate: bool | None, force: bool, **options: Any) -> None:
    """Continue the run in the directory RUN as if it had never stopped.

    With the same backend, precisions and storage the result is identical to the last bit. With
    others it is the same within rounding, and the run says so. What no option sets is unchanged.
    """
    outputs = _outputs(options)
    console = new_console()
    with Interruption() as interruption, RunDirectory(folder, resumed=True) as directory:
        checkpoint, damaged = last_checkpoint(folder)
        for problem in damaged:
            console.print(f"warning: {problem}")
        overrides = given_overrides(options)
        total = overrides.get("training.iterations", checkpoint.experiment.training.iterations)
        finished = (folder / "result.json").is_file()
        if finished and checkpoint.iteration >= total:
            console.print(f"all {checkpoint.iteration} iterations are done; use --iterations to add more")
            return
        with Checkpoints(folder, checkpoint.experiment.checkpoints) as checkpoints:
            with console.status("creating the network and reading the checkpoint"):
                training = resume_training(checkpoint, backend=backend_name, overrides=overrides, force=force)
            if finished and training.out_of_patience():
                early = f"stopped early after iteration {checkpoint.iteration}"
                console.print(f"{early}; raise --patience or set it to 0 to go on")
                return
            checkpoints.section = training.experiment.checkpoints
            checkpoints.resumed(checkpoint)
            if correlate is None:
                correlate = not training.iterations or training.iterations[-1].correlation is not None
            Run(console, training, directory, checkpoints, interruption).complete(correlate, outputs)
