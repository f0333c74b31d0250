"""`rlsbench evaluate`: run a trained network with frozen weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from rlsbench.backend import get_backend
from rlsbench.cli.options import COUNT
from rlsbench.configuration import changed


@click.command(short_help="Run a trained network with frozen weights.")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--trials", type=COUNT, default=100, show_default=True, help="Trials of each task.")
@click.option("--smoothing-bins", type=COUNT, default=15, show_default=True, help="Width of the PSTH smoothing.")
@click.option("--backend", "backend_name", metavar="NAME", help="By default the one of the training.")
@click.option("--threads", type=COUNT, help="By default all that are available.")
@click.option("--recording", type=click.Path(path_type=Path), multiple=True, help="Current path of the recording.")
@click.option(
    "--checkpoint",
    metavar="WHICH",
    help="Source of the weights: best, last, or a checkpoint file. By default the best if it was kept, else the last.",
)
@click.option("--format", "form", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True)
def evaluate(
    run: Path,
    trials: int,
    smoothing_bins: int,
    backend_name: str | None,
    threads: int | None,
    recording: tuple[Path, ...],
    checkpoint: str | None,
    form: str,
) -> None:
    """Run many trials of the network in the directory RUN without learning.

    Compares them with the targets, and writes evaluation.csv (a row for each neuron and task),
    evaluation.png and a summary in result.json there.
    """
    from rlsbench.results import load_run, write_atomically
    from rlsbench.training import prepare
    from rlsbench.training.evaluation import evaluate as evaluate_training
    from rlsbench.training.progress import final_correlation

    saved = load_run(run, checkpoint)
    backend = get_backend(backend_name or saved.document.backend)
    experiment = saved.experiment
    if threads is not None:
        experiment = changed(experiment, {"numerics.threads": threads})
    if recording:
        experiment = changed(experiment, {"recording.files": [str(path) for path in recording]})
    console = Console()
    with console.status("creating the network"):
        training = prepare(experiment, backend, weights=saved.weights, learn=False)
    with console.status(f"running {trials} trials of {training.problem.tasks} task(s)"):
        found = evaluate_training(
            training,
            trials,
            smoothing_bins=smoothing_bins,
            correlation_while_learning=final_correlation([i.correlation for i in saved.iterations], minimum=1),
        )
    table = found.neurons
    if form == "csv":
        write_atomically(run / "evaluation.csv", table.to_csv(index=False, float_format="%.6g"))
    else:
        try:
            table.to_parquet(run / "evaluation.parquet")
        except ImportError:
            raise click.UsageError("--format parquet needs the package pyarrow: pip install pyarrow") from None
    summary = {"weights": saved.weights_from, **found.summary()}
    document = saved.document.model_copy(update={"evaluation": summary})
    write_atomically(run / "result.json", document.to_json())
    from rlsbench.report.evaluation_figures import save_evaluation  # slow import

    picture = save_evaluation(training, found, run)
    console.print(_table(summary))
    console.print(
        f"{found.seconds_per_trial:.3g} s per trial; all neurons in {run / f'evaluation.{form}'}", soft_wrap=True
    )
    console.print(f"figure in {picture}", highlight=False, soft_wrap=True)


def _table(summary: dict[str, Any]) -> Table:
    """The means over neurons, with a column for each task."""
    tasks = summary["tasks"]
    table = Table(box=None, pad_edge=False)
    table.add_column(f"mean over neurons, {summary['trials']} frozen trials ({summary['weights']})")
    for task in tasks:
        table.add_column(f"task {task['task']}", justify="right")
    for name in [name for name in tasks[0] if name != "task"]:
        values = [task[name] for task in tasks]
        if any(value is not None for value in values):
            table.add_row(name.replace("_", " "), *["-" if value is None else f"{value:.3f}" for value in values])
    learning = summary["correlation_while_learning"]
    if learning is not None:
        table.add_row("correlation while learning (published measure)", f"{learning:.3f}")
    return table
