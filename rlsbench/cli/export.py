"""`rlsbench export`: a trained network for another tool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from rlsbench.cli.console import new_console
from rlsbench.cli.options import COUNT, given_overrides

_CHECKPOINT = (
    "Source of the weights: best, last, or a checkpoint file. By default the best if it was kept, else the last."
)
_TO = "sonata, brian2, nest, npz, or a format that another package registers."
_OUTPUT = "Folder for the files, which must not exist."


@click.command(short_help="Write a trained network for another tool.")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--to", required=True, metavar="FORMAT", help=_TO)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="DIR", help=_OUTPUT)
@click.option("--checkpoint", metavar="WHICH", help=_CHECKPOINT)
@click.option(
    "--backend", "backend_name", metavar="NAME", help="Of the initial trial; by default that of the training."
)
@click.option("--threads", type=COUNT, help="By default all that are available.")
@click.option("--recording", type=click.Path(), multiple=True, help="Current path of the recording.")
def export(run: Path, to: str, output: Path, checkpoint: str | None, backend_name: str | None, **options: Any) -> None:
    """Write the trained network in the directory RUN as files for another tool.

    brian2 and nest come with a script, simulate.py, that runs a trial and draws it. See
    docs/export.md.
    """
    from rlsbench.export import SYNAPSES
    from rlsbench.export import export as write

    console = new_console()
    with console.status(f"writing {output}"):
        settings = given_overrides(options)
        network = write(run, to, output, checkpoint=checkpoint, backend=backend_name, settings=settings)
    counts = ", ".join(f"{network.count(kind):,} {kind}" for kind in SYNAPSES if network.count(kind))
    size = sum(path.stat().st_size for path in output.iterdir())
    console.print(
        f"{network.problem.neurons:,} neurons and their synapses ({counts}): {size / 1e6:,.1f} MB in {output}"
    )
    if (output / "simulate.py").exists():
        console.print(f"run a trial: python {output / 'simulate.py'}")
