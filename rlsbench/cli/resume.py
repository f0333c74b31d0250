"""`rlsbench resume`: continue a run from its last checkpoint."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from rlsbench.cli.interruption import Interruption
from rlsbench.cli.options import COUNT, checkpoint_options, given_overrides, resource_options
from rlsbench.cli.train import result_options, train
from rlsbench.results import Checkpoints, RunDirectory, check_writable, last_checkpoint
from rlsbench.results import resume as resume_training


@click.command(short_help="Continue a run from its last checkpoint.")
@click.argument("run", type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="RUN")
@click.option("--backend", "backend_name", metavar="NAME", help="By default the one that started the run.")
@click.option("--iterations", type=COUNT, help="Total number of iterations; by default unchanged.")
@click.option("--precision", metavar="TYPE", help="Unchanged by default, like the next five options.")
@click.option("--p-precision", metavar="TYPE")
@click.option("--storage", metavar="FORM")
@click.option("--algorithm", metavar="FORM")
@click.option("--threads", type=COUNT)
@click.option("--device")
@click.option("--recording", type=click.Path(path_type=Path), multiple=True, help="Current path of the recording.")
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
    """Continue the run in the directory RUN as if it had never stopped.

    With the same backend, precisions and storage the result is identical to the last bit. With
    others it is the same within rounding, and the run says so.
    """
    options["recording"] = [str(path) for path in options["recording"]] or None
    if json_file is not None:
        check_writable(json_file)
    console = Console()
    show = partial(console.print, highlight=False, soft_wrap=True)
    with Interruption() as interruption, RunDirectory(run, resumed=True) as directory:
        checkpoint, damaged = last_checkpoint(run)
        for problem in damaged:
            show(f"warning: {problem}")
        overrides = given_overrides(options)
        total = overrides.get("training.iterations", checkpoint.experiment.training.iterations)
        finished = (run / "result.json").is_file()
        if finished and checkpoint.iteration >= total:
            show(f"all {checkpoint.iteration} iterations are done; use --iterations to add more")
            return
        with Checkpoints(run, checkpoint.experiment.checkpoints) as checkpoints:
            with console.status("creating the network and reading the checkpoint"):
                training = resume_training(checkpoint, backend=backend_name, overrides=overrides, force=force)
            if finished and training.out_of_patience():
                show(f"stopped early after iteration {checkpoint.iteration}; raise --patience or set it to 0 to go on")
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
