"""`rlsbench run`: train a network and keep the results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from rlsbench.backend import get_backend, require_usable, resolve_options
from rlsbench.cli.options import experiment_options, preset_help, resolve_experiment
from rlsbench.cli.watch import Watch
from rlsbench.monitor import LEAST_SECONDS
from rlsbench.results import RunDirectory, check_disk, check_writable, disk_bytes, run_document, write_whole
from rlsbench.training import prepare

__all__ = ["run"]


@click.command(short_help="Train a network and keep the results.")
@click.option("--preset", default="smoke", show_default=True, metavar="NAME", help=f"One of {preset_help()}.")
@click.option("--backend", "backend_name", required=True, metavar="NAME", help="See `rlsbench backends`.")
@experiment_options
@click.option("--output", type=click.Path(path_type=Path), help="New directory for the results; by default in runs/.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Also write the results as one document.")
@click.option("--save-weights/--no-save-weights", default=True, help="Keep the trained weights, for `evaluate`.")
@click.option("--correlate/--no-correlate", default=True, help="Measure the correlation in each iteration.")
@click.option(
    "--monitor",
    type=click.FloatRange(min=LEAST_SECONDS),
    metavar="SECONDS",
    help="Record processor, memory and energy so often, into resources.csv and the results.",
)
@click.option("--force", is_flag=True, help="Start even what memory or disk is too small for.")
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
    """Train a network and keep configuration, learning curve, machine and pictures in a directory."""
    backend = get_backend(backend_name)
    experiment = resolve_experiment(preset, options)
    require_usable(backend, resolve_options(backend, experiment.numerics))
    if json_file is not None:
        check_writable(json_file)
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    with RunDirectory(output or Path("runs") / f"{preset}-{backend_name}-{stamp}") as directory:
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
        for note in training.notes:
            console.print(note, highlight=False, soft_wrap=True)
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
        directory.begin(training)
        total = training.experiment.training.iterations
        interrupted = False
        watch = Watch(monitor, training.options.device, directory)
        with watch, _progress(console, total) as progress:
            try:
                for iteration in training.run(correlate=correlate):
                    directory.append(iteration)
                    progress.show(iteration)
            except KeyboardInterrupt:
                interrupted = True
        document = run_document(training).model_copy(update={"resources": watch.record(len(training.iterations))})
        directory.finish(document, training.weights() if save_weights else None)
        if json_file is not None:
            write_whole(json_file, document.to_json())
        picture = None
        if training.iterations:
            from rlsbench.report import save_summary  # imports Matplotlib

            picture = save_summary(training, directory.path)
        if training.iterations:
            last = training.iterations[-1]
            seconds = training.seconds_per_iteration()
            reached = "not measured" if last.correlation is None else f"{last.correlation:.3f}"
            console.print(
                f"correlation {reached} and {last.firing_rate_hz:.2f} Hz in iteration {last.iteration}; "
                f"{seconds:.3g} s per iteration (median)",
                highlight=False,
                soft_wrap=True,
            )
        console.print(f"results in {directory.path}", highlight=False, soft_wrap=True)
        if picture is not None:
            console.print(f"picture in {picture}", highlight=False, soft_wrap=True)
        for line in watch.told(document.resources):
            console.print(line, highlight=False, soft_wrap=True)
    if interrupted:
        raise KeyboardInterrupt


class _Display(Protocol):
    def show(self, iteration: Any) -> None:
        """Show an iteration that has just ended."""


class _Lines:
    """One plain line an iteration, for pipes and files."""

    def __init__(self, total: int) -> None:
        self.total = total

    def show(self, iteration: Any) -> None:
        click.echo(
            f"iteration {iteration.iteration}/{self.total}  {iteration.seconds:.3f} s  "
            f"{iteration.firing_rate_hz:.2f} Hz  correlation {_correlation(iteration)}"
        )


class _Bar:
    """A live bar for a terminal."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self.progress, self.task = progress, task

    def show(self, iteration: Any) -> None:
        self.progress.update(
            self.task,
            advance=1,
            seconds=f"{iteration.seconds:.3g} s",
            rate=f"{iteration.firing_rate_hz:.2f} Hz",
            correlation=f"correlation {_correlation(iteration)}",
        )


@contextmanager
def _progress(console: Console, total: int) -> Iterator[_Display]:
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
        yield _Bar(progress, progress.add_task("", total=total, seconds="", rate="", correlation=""))


def _correlation(iteration: Any) -> str:
    return "-" if iteration.correlation is None else f"{iteration.correlation:.3f}"
