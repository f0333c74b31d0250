"""`rlsbench evaluate`: run a trained network with frozen weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from rlsbench.backend import get_backend
from rlsbench.cli.console import drawn, new_console, new_table, number
from rlsbench.cli.options import COUNT, LIST, given_overrides
from rlsbench.ranks import communicator

if TYPE_CHECKING:
    from rlsbench.results import SavedRun
    from rlsbench.training import Training
    from rlsbench.training.evaluation import Evaluation

_SILENCE = "Neurons that do not spike: populations, numbers or ranges, such as L4i,0:100."
_WEIGHTS = "Source of the weights: best, last, or a checkpoint file. By default the best if it was kept, else the last."


@click.command(short_help="Run a trained network with frozen weights.")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--trials", type=COUNT, default=100, show_default=True, help="Trials of each task.")
@click.option("--smoothing-bins", type=COUNT, default=15, show_default=True, help="Width of the PSTH smoothing.")
@click.option("--backend", "backend_name", metavar="NAME", help="By default the one of the training.")
@click.option("--threads", type=COUNT, help="By default all that are available.")
@click.option("--recording", type=click.Path(), multiple=True, help="Current path of the recording.")
@click.option("--checkpoint", metavar="WHICH", help=_WEIGHTS)
@click.option("--silence", type=LIST, default=(), metavar="NEURONS", help=_SILENCE)
@click.option("--format", "form", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True)
def evaluate(
    run: Path,
    trials: int,
    smoothing_bins: int,
    checkpoint: str | None,
    silence: tuple[str, ...],
    form: str,
    **options: Any,
) -> None:
    """Run many trials of the network in the directory RUN without learning.

    Compares them with the targets, and writes evaluation.csv (a row for each neuron and task),
    evaluation.png and a summary in result.json there. With --silence, it writes silenced.csv,
    silenced.png and silenced.json instead.
    """
    from rlsbench.results import RunDirectory, frozen, load_run
    from rlsbench.training.evaluation import evaluate as evaluate_training
    from rlsbench.training.progress import final_correlation

    # Locked before the results are read, and until they are written.
    ranks = communicator()
    with ranks.together():
        if ranks.rank == 0:
            click.get_current_context().with_resource(RunDirectory(run, resumed=True))
    with ranks.together():
        saved = load_run(run, checkpoint, ranks)
    backend = get_backend(options["backend_name"] or saved.document.backend)
    console = new_console(quiet=ranks.rank > 0)
    with console.status("creating the network"):
        training = frozen(saved, backend, given_overrides(options), ranks)
    learning = final_correlation([i.correlation for i in saved.iterations], minimum=1)
    with console.status(f"running {trials} trials of {training.problem.tasks} task(s)"):
        how: dict[str, Any] = {"smoothing_bins": smoothing_bins, "silence": silence}
        found = evaluate_training(training, trials, correlation_while_learning=learning, **how)
    with ranks.together():  # others wait until the results are written
        if ranks.rank == 0:
            _keep(console, training, found, saved, form)


def _keep(console: Console, training: Training, found: Evaluation, saved: SavedRun, form: str) -> None:
    """Write what was found, draw and print it."""
    from rlsbench.results import atomic_write, write_atomically

    run, table, silence = saved.path, found.neurons, "silenced" in found.neurons
    name = "silenced" if silence else "evaluation"
    if form == "csv":
        write_atomically(run / f"{name}.csv", table.to_csv(index=False, float_format="%.6g"))
    else:
        try:
            with atomic_write(run / f"{name}.parquet") as temporary:
                table.to_parquet(temporary)
        except ImportError:
            raise click.UsageError("--format parquet needs the package pyarrow: pip install pyarrow") from None
    summary = {"weights": saved.weights_from, **found.summary()}
    if silence:
        write_atomically(run / "silenced.json", json.dumps(summary, indent=2) + "\n")
    else:
        document = saved.document.model_copy(update={"evaluation": summary})
        write_atomically(run / "result.json", document.to_json())

    def picture() -> Path:
        from rlsbench.report.evaluation_figures import save_evaluation  # slow import

        return save_evaluation(training, found, run / f"{name}.png")

    told = drawn(picture)
    console.print(_table(summary), soft_wrap=False)
    if not training.problem.populations.published:
        console.print(_population_table(summary["populations"]), soft_wrap=False)
    console.print(f"{found.seconds_per_trial:.3g} s per trial; all neurons in {run / f'{name}.{form}'}")
    console.print(told)


def _population_table(populations: dict[str, dict[str, float | None]]) -> Table:
    """The means over the neurons of each population and over tasks."""
    names = list(next(iter(populations.values())))
    table = new_table("population", *(number(name.replace("_", " ")) for name in names))
    for population, means in populations.items():
        table.add_row(population, *["-" if value is None else f"{value:.3f}" for value in means.values()])
    return table


def _table(summary: dict[str, Any]) -> Table:
    """The means over neurons, with a column for each task."""
    tasks = summary["tasks"]
    silenced = f", {sum(summary['silenced'].values()):,} silenced" if "silenced" in summary else ""
    heading = f"mean over neurons, {summary['trials']} frozen trials ({summary['weights']}){silenced}"
    table = new_table(heading, *(number(f"task {task['task']}") for task in tasks))
    for name in tasks[0]:
        values = [task[name] for task in tasks]
        if name != "task" and any(value is not None for value in values):
            table.add_row(name.replace("_", " "), *["-" if value is None else f"{value:.3f}" for value in values])
    learning = summary["correlation_while_learning"]
    if learning is not None:
        table.add_row("correlation while learning (published measure)", f"{learning:.3f}")
    return table
