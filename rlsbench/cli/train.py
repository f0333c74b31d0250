"""What `rlsbench run` and `rlsbench resume` share: iterations, checkpoints, warnings, and how a run ends.

In: a `Training`, its directory and its checkpoints.  Out: lines on the screen, files, or one error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from rlsbench.cli.interruption import Interruption, LeaveNow
from rlsbench.cli.watch import Watch
from rlsbench.errors import InterruptedRunError, NumericsError, OutputError, RlsbenchError
from rlsbench.results import Checkpoints, RunDirectory, checkpoint_files, run_document, write_whole
from rlsbench.training import Iteration, Training

__all__ = ["train"]


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
    watch: Watch,
) -> None:
    """Make the iterations that are left and write the results.

    Raises
    ------
    InterruptedRunError
        After a signal; all results are written, but after a second one.
    NumericsError, OutputError
        With what is left to go on from.
    """
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
    except LeaveNow as signal:
        raise InterruptedRunError(f"left at once; {_way_on(directory.path)}", signal.number) from None
    resources = watch.record(len(training.iterations) - before)
    document = run_document(training).model_copy(update={"resources": resources})
    if failure is not None:
        with suppress(OutputError):  # the first error is the one to tell
            directory.finish(document)
        raise type(failure)(f"{failure}; {_way_on(directory.path)}")
    directory.finish(document, training.weights() if save_weights else None)
    if json_file is not None:
        write_whole(json_file, document.to_json())
    _say_results(console, training, directory.path)
    for line in watch.told(resources):
        console.print(line, highlight=False, soft_wrap=True)
    if interruption.number is not None:
        raise InterruptedRunError(
            f"interrupted after iteration {len(training.iterations)}; {_way_on(directory.path)}", interruption.number
        )


def _iterate(
    console: Console,
    training: Training,
    directory: RunDirectory,
    checkpoints: Checkpoints,
    interruption: Interruption,
    correlate: bool,
) -> None:
    total, done = training.experiment.training.iterations, len(training.iterations)
    fast = False
    with _progress(console, total, done) as progress:
        interruption.tell(f"iteration {done + 1}")
        for iteration in training.run(correlate=correlate):
            directory.append(iteration)
            progress.show(iteration, training.progress.drift_hz)
            warning = training.progress.warning()
            if warning is not None:
                progress.say(f"warning: iteration {iteration.iteration}: {warning}")
            if iteration.neurons_above_maxrate and not fast:
                fast = True
                progress.say(_fast(training, iteration))
            checkpoints.after(training)
            if interruption.number is not None:
                return
            interruption.tell(f"iteration {iteration.iteration + 1}")


def _fast(training: Training, iteration: Iteration) -> str:
    assert training.last_record is not None
    fastest = training.last_record.spike_counts.max() / training.problem.clock.seconds
    return (
        f"warning: iteration {iteration.iteration}: {iteration.neurons_above_maxrate} neuron(s) fire faster than "
        f"training.maxrate_hz = {training.experiment.training.maxrate_hz:g}, the fastest at {fastest:.0f} Hz; every "
        "spike counts, and the learning curve has their number in each iteration"
    )


def _say_patience(console: Console, training: Training) -> None:
    course = training.progress
    told = (
        f"stopped after iteration {len(training.iterations)}: for {course.since_peak()} iterations (--patience) the "
        f"smoothed correlation has not passed the {course.peak:.3f} of iteration {course.peak_iteration}"
    )
    if told not in training.notes:
        training.notes.append(told)
    console.print(told, highlight=False, soft_wrap=True)


def _say_results(console: Console, training: Training, path: Path) -> None:
    picture = None
    if training.last_record is not None:
        from rlsbench.report import save_summary  # imports Matplotlib

        picture = save_summary(training, path)
    if training.iterations:
        last, course = training.iterations[-1], training.progress
        seconds = training.seconds_per_iteration()
        reached = "not measured" if last.correlation is None else f"{last.correlation:.3f}"
        best = f"; best {course.best_score:.3f} in iteration {course.best_iteration}" if course.best_score else ""
        console.print(
            f"correlation {reached} and {last.firing_rate_hz:.2f} Hz in iteration {last.iteration}{best}; "
            f"{seconds:.3g} s per iteration (median)",
            highlight=False,
            soft_wrap=True,
        )
    console.print(f"results in {path}", highlight=False, soft_wrap=True)
    if picture is not None:
        console.print(f"picture in {picture}", highlight=False, soft_wrap=True)


def _way_on(run: Path) -> str:
    """How to go on, as far as there is a checkpoint."""
    found = checkpoint_files(run)
    if not found:
        return "there is no checkpoint to go on from"
    return f"the checkpoint of iteration {found[-1][0]} is whole: go on with rlsbench resume {run}"


class _Display(Protocol):
    def show(self, iteration: Iteration, drift_hz: float | None) -> None:
        """Show an iteration that has just ended, and how fast the rate climbs, Hz in 100 iterations."""

    def say(self, message: str) -> None:
        """Show a line."""


class _Lines:
    """One plain line an iteration, for pipes and files."""

    def __init__(self, total: int) -> None:
        self.total = total

    def show(self, iteration: Iteration, drift_hz: float | None) -> None:
        click.echo(
            f"iteration {iteration.iteration}/{self.total}  {iteration.seconds:.3f} s  "
            f"{iteration.firing_rate_hz:.2f} Hz{_drift(drift_hz)}  correlation {_correlation(iteration)}"
        )

    def say(self, message: str) -> None:
        click.echo(message)


class _Bar:
    """A live bar for a terminal."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self.progress, self.task = progress, task

    def show(self, iteration: Iteration, drift_hz: float | None) -> None:
        self.progress.update(
            self.task,
            advance=1,
            seconds=f"{iteration.seconds:.3g} s",
            rate=f"{iteration.firing_rate_hz:.2f} Hz{_drift(drift_hz)}",
            correlation=f"correlation {_correlation(iteration)}",
        )

    def say(self, message: str) -> None:
        self.progress.console.print(message, highlight=False, soft_wrap=True)


@contextmanager
def _progress(console: Console, total: int, done: int) -> Iterator[_Display]:
    if not console.is_terminal:
        yield _Lines(total)
        return
    columns = (
        TextColumn("iteration"),
        MofNCompleteColumn(),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[seconds]}"),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[correlation]}", style="bold"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield _Bar(progress, progress.add_task("", total=total, completed=done, seconds="", rate="", correlation=""))


def _drift(hz: float | None) -> str:
    return "" if hz is None else f" ({hz:+.1f} Hz in 100)"


def _correlation(iteration: Iteration) -> str:
    return "-" if iteration.correlation is None else f"{iteration.correlation:.3f}"
