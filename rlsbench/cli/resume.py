"""`rlsbench resume`: go on with a run from its last checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console

from rlsbench.cli.interruption import Interruption
from rlsbench.cli.options import COUNT, checkpoint_options, given_overrides, resource_options
from rlsbench.cli.train import result_options, train
from rlsbench.results import Checkpoints, RunDirectory, check_writable, last_checkpoint, resume_checkpoint

__all__ = ["resume"]


@click.command(short_help="Go on with a run from its last checkpoint.")
@click.argument("run", type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="RUN")
@click.option("--backend", "backend_name", metavar="NAME", help="By default the one that began it.")
@click.option("--iterations", type=COUNT, help="Number of iterations in all; by default as it was asked for.")
@click.option("--precision", metavar="TYPE", help="By default as before, as the next five.")
@click.option("--p-precision", metavar="TYPE")
@click.option("--storage", metavar="FORM")
@click.option("--algorithm", metavar="FORM")
@click.option("--threads", type=COUNT)
@click.option("--device")
@click.option("--recording", type=click.Path(path_type=Path), multiple=True, help="Where the recording is now.")
@checkpoint_options
@resource_options
@result_options
@click.option("--correlate/--no-correlate", default=None, help="Measure the correlation; by default as before.")
def resume(
    run: Path,
    backend_name: str | None,
    json_file: Path | None,
    save_weights: bool,
    correlate: bool | None,
    monitor: float | None,
    force: bool,
    **options: Any,
) -> None:
    """Go on with the run in the directory RUN as if it had never stopped.

    With the same backend, precisions and storage the result is the same to the last bit; with others it is the same
    within rounding, and the run says so.
    """
    options["recording"] = [str(path) for path in options["recording"]] or None
    if json_file is not None:
        check_writable(json_file)
    console = Console()
    with Interruption() as interruption, RunDirectory(run, resumed=True) as directory:
        checkpoint, damaged = last_checkpoint(run)
        for problem in damaged:
            console.print(f"warning: {problem}", highlight=False, soft_wrap=True)
        overrides = given_overrides(options)
        total = overrides.get("training.iterations", checkpoint.experiment.training.iterations)
        if checkpoint.iteration >= total and (run / "result.json").is_file():
            console.print(
                f"all {checkpoint.iteration} iterations are done; --iterations asks for more",
                highlight=False,
                soft_wrap=True,
            )
            return
        with Checkpoints(run, checkpoint.experiment.checkpoints) as checkpoints:
            with console.status("drawing the network and reading the checkpoint"):
                training = resume_checkpoint(
                    checkpoint,
                    backend=backend_name,
                    overrides=overrides,
                    force=force,
                )
            if training.out_of_patience() and (run / "result.json").is_file():
                told = (
                    f"it stopped by itself after iteration {checkpoint.iteration}: a larger --patience, or 0, goes on"
                )
                console.print(told, highlight=False, soft_wrap=True)
                return
            checkpoints.section = training.experiment.checkpoints
            checkpoints.resumed(checkpoint)
            if correlate is None:
                correlate = not training.iterations or training.iterations[-1].correlation is not None
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
