"""Common part of `rlsbench run` and `rlsbench resume`: iterations, checkpoints, warnings, results.

In: a `Training`, its directory and checkpoints.  Out: lines on the terminal, files, or one error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rlsbench.cli.interruption import ImmediateExit, Interruption
from rlsbench.cli.watch import Watch
from rlsbench.errors import InterruptedRunError, NumericsError, OutputError, RlsbenchError
from rlsbench.results import Checkpoints, RunDirectory, checkpoint_files, run_document, write_atomically
from rlsbench.training import Iteration, Training


def result_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options for additional results."""
    document = click.option(
        "--json", "json_file", type=click.Path(path_type=Path), help="Also write the results as one JSON document."
    )
    weights = click.option("--save-weights/--no-save-weights", default=True, help="Keep the weights, for `evaluate`.")
    return document(weights(command))


def train(
    console: Console,
    training: Training,
    directory: RunDirectory,
    checkpoints: Checkpoints,
    interruption: Interruption,
    *,
    correlate: bool,
    save_weights: bool,
    json_file: Path | None,
    monitor: float | None,
) -> None:
    """Perform the remaining iterations and write the results; `monitor` is in seconds.

    Raises
    ------
    InterruptedRunError
        After a signal; the results are written, except after a second one.
    NumericsError, OutputError
        With the checkpoint from which the run can be resumed.
    """
    for note in training.notes:
        console.print(note)
    directory.begin(training)
    watch = Watch(monitor, training.options.device, directory)
    failure: RlsbenchError | None = None
    before = len(training.iterations)
    try:
        with watch, interruption.finishing():
            try:
                _iterate(console, training, directory, checkpoints, interruption, correlate)
                if training.out_of_patience():
                    _say_patience(console, training)
                if training.iterations and (interruption.number is not None or checkpoints.section.every):
                    interruption.tell("a checkpoint")
                    checkpoints.save(training)
            except (NumericsError, OutputError) as error:
                failure = error
    except ImmediateExit as signal:
        raise InterruptedRunError(f"exited immediately; {_how_to_resume(directory.path)}", signal.number) from None
    resources = watch.record(len(training.iterations) - before)
    document = run_document(training).model_copy(update={"resources": resources})
    if failure is not None:
        with suppress(OutputError):  # report the first error
            directory.finish(document)
        raise type(failure)(f"{failure}; {_how_to_resume(directory.path)}")
    directory.finish(document, training.weights() if save_weights else None)
    if json_file is not None:
        write_atomically(json_file, document.to_json())
    _say_results(console, training, directory.path)
    for line in watch.told(resources):
        console.print(line)
    if interruption.number is not None:
        raise InterruptedRunError(
            f"interrupted after iteration {len(training.iterations)}; {_how_to_resume(directory.path)}",
            interruption.number,
        )


def _iterate(
    console: Console,
    training: Training,
    directory: RunDirectory,
    checkpoints: Checkpoints,
    interruption: Interruption,
    correlate: bool,
) -> None:
    done = len(training.iterations)
    warned = False
    with _display(console, training.experiment.training.iterations, done) as show:
        interruption.tell(f"iteration {done + 1}")
        for iteration in training.run(correlate=correlate):
            directory.append(iteration)
            show(iteration, training.progress.drift_hz)
            warning = training.progress.warning()
            if warning is not None:
                console.print(f"warning: iteration {iteration.iteration}: {warning}")
            if iteration.neurons_above_maxrate and not warned:
                warned = True
                console.print(
                    f"warning: iteration {iteration.iteration}: {iteration.neurons_above_maxrate} neuron(s) fire "
                    f"faster than training.maxrate_hz = {training.experiment.training.maxrate_hz:g}, the fastest at "
                    f"{training.fastest_rate_hz():.0f} Hz; all spikes count, and the learning curve gives the number "
                    "of these neurons in each iteration",
                )
            checkpoints.after(training)
            if interruption.number is not None:
                return
            interruption.tell(f"iteration {iteration.iteration + 1}")


def _say_patience(console: Console, training: Training) -> None:
    progress = training.progress
    line = (
        f"stopped early after iteration {len(training.iterations)}: the smoothed correlation has not exceeded "
        f"{progress.peak:.3f}, reached in iteration {progress.peak_iteration}, for {progress.since_peak()} iterations "
        "(--patience)"
    )
    if line not in training.notes:
        training.notes.append(line)
    console.print(line)


def _say_results(console: Console, training: Training, path: Path) -> None:
    if training.iterations:
        last, progress = training.iterations[-1], training.progress
        reached = "not measured" if last.correlation is None else f"{last.correlation:.3f}"
        best = f"; best {progress.best_score:.3f} in iteration {progress.best_iteration}" if progress.best_score else ""
        console.print(
            f"correlation {reached} and {last.firing_rate_hz:.2f} Hz in iteration {last.iteration}{best}; "
            f"{training.seconds_per_iteration():.3g} s per iteration (median)",
        )
    console.print(f"results in {path}")
    if training.last_record is not None:
        from rlsbench.report.figures import save_summary  # imports Matplotlib

        console.print(f"picture in {save_summary(training, path)}")


def _how_to_resume(run: Path) -> str:
    """How to continue, if there is a checkpoint."""
    found = checkpoint_files(run)
    if not found:
        return "there is no checkpoint to resume from"
    return f"the checkpoint of iteration {found[-1][0]} is complete; to continue: rlsbench resume {run}"


@contextmanager
def _display(console: Console, total: int, done: int) -> Iterator[Callable[[Iteration, float | None], None]]:
    """Show each iteration and the drift of the rate: a bar on a terminal, else one line each."""
    columns = ("{task.fields[seconds]}", "{task.fields[rate]}", "{task.fields[correlation]}")
    bar = Progress(
        TextColumn("iteration"),
        MofNCompleteColumn(),
        BarColumn(bar_width=None),
        *map(TextColumn, columns),
        TimeRemainingColumn(),
        console=console,
    )
    task = bar.add_task("", total=total, completed=done, seconds="", rate="", correlation="")

    def show(iteration: Iteration, drift_hz: float | None) -> None:
        drift = "" if drift_hz is None else f" ({drift_hz:+.1f} Hz in 100)"
        rate = f"{iteration.firing_rate_hz:.2f} Hz{drift}"
        correlation = f"correlation {'-' if iteration.correlation is None else f'{iteration.correlation:.3f}'}"
        if console.is_terminal:
            bar.update(task, advance=1, seconds=f"{iteration.seconds:.3g} s", rate=rate, correlation=correlation)
        else:
            click.echo(f"iteration {iteration.iteration}/{total}  {iteration.seconds:.3f} s  {rate}  {correlation}")

    if console.is_terminal:
        with bar:
            yield show
    else:
        yield show
