"""Common part of `rlsbench run` and `rlsbench resume`: iterations, checkpoints, warnings, results.

In: a `Training`, its directory and checkpoints.  Out: lines on the terminal, files, or one error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rlsbench.capacity import readable
from rlsbench.cli.interruption import ImmediateExit, Interruption
from rlsbench.errors import InterruptedRunError, NumericsError, OutputError, RlsbenchError
from rlsbench.monitor import Monitor, Sample
from rlsbench.results import Checkpoints, ResourceRecord, RunDirectory, checkpoint_files, run_document, write_atomically
from rlsbench.results.document import resource_record
from rlsbench.training import Iteration, Training


class Outputs(NamedTuple):
    """What to write beside the files that every run writes."""

    document: Path | None  #: A copy of the document
    weights: bool
    monitor: float | None  #: seconds between samples of resources


@dataclass
class Run:
    """A training with its terminal and directory, inside the `with` blocks of the last three."""

    console: Console
    training: Training
    directory: RunDirectory
    checkpoints: Checkpoints
    interruption: Interruption

    def complete(self, correlate: bool, outputs: Outputs) -> None:
        """Perform the remaining iterations and write the results.

        Raises
        ------
        InterruptedRunError
            After a signal; the results are written, except after a second one.
        NumericsError, OutputError
            With the checkpoint from which the run can be resumed.
        """
        training, directory, interruption = self.training, self.directory, self.interruption
        for note in training.notes:
            self.console.print(note)
        directory.begin(training)
        watch = _Watch(outputs.monitor, training.options.device, directory)
        failure: RlsbenchError | None = None
        before = len(training.iterations)
        try:
            with watch, interruption.finishing():
                try:
                    self._iterate(correlate)
                    if training.out_of_patience():
                        self._say_patience()
                    if training.iterations and (interruption.number is not None or self.checkpoints.section.every):
                        interruption.tell("a checkpoint")
                        self.checkpoints.save(training)
                except (NumericsError, OutputError) as error:
                    failure = error
        except ImmediateExit as signal:
            raise InterruptedRunError(f"exited immediately; {self._how_to_resume()}", signal.number) from None
        resources = watch.record(len(training.iterations) - before)
        document = run_document(training).model_copy(update={"resources": resources})
        if failure is not None:
            with suppress(OutputError):  # report the first error
                directory.finish(document)
            raise type(failure)(f"{failure}; {self._how_to_resume()}")
        directory.finish(document, training.weights() if outputs.weights else None)
        if outputs.document is not None:
            write_atomically(outputs.document, document.to_json())
        self._say_results()
        for line in watch.told(resources):
            self.console.print(line)
        if interruption.number is not None:
            where = f"interrupted after iteration {len(training.iterations)}"
            raise InterruptedRunError(f"{where}; {self._how_to_resume()}", interruption.number)

    def _iterate(self, correlate: bool) -> None:
        training, done, warned = self.training, len(self.training.iterations), False
        maxrate_hz = training.experiment.training.maxrate_hz
        with _display(self.console, training.experiment.training.iterations, done) as show:
            self.interruption.tell(f"iteration {done + 1}")
            for iteration in training.run(correlate=correlate):
                self.directory.append(iteration)
                show(iteration, training.progress.drift_hz)
                warning = training.progress.warning()
                if warning is not None:
                    self.console.print(f"warning: iteration {iteration.iteration}: {warning}")
                if iteration.neurons_above_maxrate and not warned:
                    warned = True
                    self.console.print(
                        f"warning: iteration {iteration.iteration}: {iteration.neurons_above_maxrate} neuron(s) fire "
                        f"faster than training.maxrate_hz = {maxrate_hz:g}, the fastest at "
                        f"{training.fastest_rate_hz():.0f} Hz; all spikes count, and the learning curve gives the "
                        "number of these neurons in each iteration"
                    )
                self.checkpoints.after(training)
                if self.interruption.number is not None:
                    return
                self.interruption.tell(f"iteration {iteration.iteration + 1}")

    def _say_patience(self) -> None:
        progress, notes = self.training.progress, self.training.notes
        line = (
            f"stopped early after iteration {len(self.training.iterations)}: the smoothed correlation has not exceeded "
            f"{progress.peak:.3f}, reached in iteration {progress.peak_iteration}, for {progress.since_peak()} "
            "iterations (--patience)"
        )
        if line not in notes:
            notes.append(line)
        self.console.print(line)

    def _say_results(self) -> None:
        training, progress, path = self.training, self.training.progress, self.directory.path
        if training.iterations:
            last = training.iterations[-1]
            reached = "not measured" if last.correlation is None else f"{last.correlation:.3f}"
            best = (
                f"; best {progress.best_score:.3f} in iteration {progress.best_iteration}"
                if progress.best_score
                else ""
            )
            self.console.print(
                f"correlation {reached} and {last.firing_rate_hz:.2f} Hz in iteration {last.iteration}{best}; "
                f"{training.seconds_per_iteration():.3g} s per iteration (median)"
            )
        self.console.print(f"results in {path}")
        if training.last_record is not None:
            from rlsbench.report.figures import save_summary  # imports Matplotlib

            self.console.print(f"picture in {save_summary(training, path)}")

    def _how_to_resume(self) -> str:
        run = self.directory.path
        if not (found := checkpoint_files(run)):
            return "there is no checkpoint to resume from"
        return f"the checkpoint of iteration {found[-1][0]} is complete; to continue: rlsbench resume {run}"


@contextmanager
def _display(console: Console, total: int, done: int) -> Iterator[Callable[[Iteration, float | None], None]]:
    """Show each iteration and the drift of the rate: a bar on a terminal, else one line each."""
    texts = [TextColumn(f"{{task.fields[{name}]}}") for name in ("seconds", "rate", "correlation")]
    progress = (TextColumn("iteration"), MofNCompleteColumn(), BarColumn(bar_width=None))
    bar = Progress(*progress, *texts, TimeRemainingColumn(), console=console)
    task = bar.add_task("", total=total, completed=done, seconds="", rate="", correlation="")

    def show(iteration: Iteration, drift_hz: float | None) -> None:
        drift = "" if drift_hz is None else f" ({drift_hz:+.1f} Hz in 100)"
        rate = f"{iteration.firing_rate_hz:.2f} Hz{drift}"
        correlation = f"correlation {'-' if iteration.correlation is None else f'{iteration.correlation:.3f}'}"
        if console.is_terminal:
            bar.update(task, advance=1, seconds=f"{iteration.seconds:.3g} s", rate=rate, correlation=correlation)
        else:
            click.echo(f"iteration {iteration.iteration}/{total}  {iteration.seconds:.3f} s  {rate}  {correlation}")

    with bar if console.is_terminal else nullcontext():
        yield show


class _Watch:
    """A monitor of the iterations of a run, or none if `seconds` between samples is None."""

    def __init__(self, seconds: float | None, device: str, directory: RunDirectory) -> None:
        self.monitor = None if seconds is None else Monitor(seconds, device=device, sink=directory.append_resources)
        self._last: Sample | None = None

    def __enter__(self) -> None:
        if self.monitor is not None:
            self.monitor.__enter__()

    def __exit__(self, *error: object) -> None:
        if self.monitor is not None:
            self.monitor.stop()  # the last sample is then the last row of resources.csv
            self._last = self.monitor.sample()
            self.monitor.__exit__(*error)

    def record(self, iterations: int) -> ResourceRecord | None:
        """Summarise the `with` block, which contained so many iterations; None if not monitored."""
        if self.monitor is None or self._last is None:
            return None
        used = self.monitor.between(self.monitor.samples[0], self._last)
        return resource_record(self.monitor.interval, used, iterations)

    def told(self, record: ResourceRecord | None) -> Iterator[str]:
        """Yield the lines of a summary."""
        if self.monitor is None or record is None:
            return
        cpu = "" if record.cpu_percent is None else f"{record.cpu_percent:.0f} % of one processor, "
        yield f"{cpu}peak resident memory {readable(record.peak_resident_bytes)}, {record.samples} samples"
        for name, kind in (("processor", "cpu"), ("GPU", "gpu")):
            joules = getattr(record, f"{kind}_energy_per_iteration_j")
            reason = record.unreadable.get(f"{kind}_energy_j", "no iterations")
            yield f"{name} energy: {f'not readable: {reason}' if joules is None else f'{joules:.3g} J per iteration'}"
        if self.monitor.sink_error is not None:
            yield f"resources.csv is incomplete: {self.monitor.sink_error}"
