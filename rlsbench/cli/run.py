"""`rlsbench run` and `rlsbench resume`: train a network and keep the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rlsbench.backend import Options, get_backend, require_usable, resolve_options
from rlsbench.capacity import check_disk, checkpoint_bytes, disk_bytes, readable
from rlsbench.cli.console import drawn, new_console
from rlsbench.cli.deadline import Deadline
from rlsbench.cli.interruption import ImmediateExit, Interruption
from rlsbench.cli.options import (
    COUNT,
    experiment_options,
    given_overrides,
    numerics_options,
    resolve_experiment,
    run_options,
    subject_options,
)
from rlsbench.configuration import Experiment, preset_of
from rlsbench.errors import (
    BackendError,
    InterruptedRunError,
    NumericsError,
    OutputError,
    RlsbenchError,
    TimeLimitError,
)
from rlsbench.monitor import Monitor, Rapl, Resources, Sample, not_read
from rlsbench.ranks import ALONE, Communicator, communicator
from rlsbench.results import (
    Checkpoints,
    RankRecord,
    ResourceRecord,
    RunDirectory,
    RunDocument,
    check_new,
    checkpoint_files,
    iterations_in,
    last_checkpoint,
    rank_records,
    requested_settings,
    run_document,
    write_atomically,
)
from rlsbench.results import resume as resume_training
from rlsbench.results.document import resource_record
from rlsbench.results.table import counted_exchange, counted_seconds, rank_memory
from rlsbench.training import Iteration, Training, prepare
from rlsbench.training.display import told


@click.command(short_help="Train a network and keep the results.")
@subject_options
@experiment_options
@click.option("--output", type=click.Path(path_type=Path), help="New directory for the results; by default in runs/.")
@click.option("--correlate/--no-correlate", default=True, help="Measure the correlation in each iteration.")
@run_options
@click.pass_obj
def run(
    interruption: Interruption,
    /,
    preset: str,
    backend_name: str,
    output: Path | None,
    correlate: bool,
    force: bool,
    **options: Any,
) -> None:
    """Train a network and keep configuration, learning curve, results and pictures in a directory.

    Control-C, another signal or --time-limit stops the run after an iteration, with a checkpoint
    for `rlsbench resume`.
    """
    deadline, ranks = Deadline(options["time_limit"]), communicator()
    backend = get_backend(backend_name)
    experiment = resolve_experiment(preset, options)
    if not correlate and (experiment.training.patience or experiment.checkpoints.best != "none"):
        raise click.UsageError("--patience and --save-best need the correlation: omit --no-correlate")
    require_usable(backend, resolve_options(backend, experiment.numerics))
    if options["json_file"] is not None:
        check_new(options["json_file"])
    if ranks.rank:
        training = prepare(experiment, backend, force=force, ranks=ranks)
        with Checkpoints("", training.experiment.checkpoints, ranks) as checkpoints:
            _follow(training, checkpoints, interruption, correlate, options)
        return
    place = output or Path("runs") / f"{preset}-{backend_name}-{datetime.now():%Y%m%d-%H%M%S}"
    with RunDirectory(place, numbered=output is None) as directory:
        console = new_console()
        console.print(_subject(experiment))

        def check(e: Experiment, o: Options) -> None:
            if not force:
                check_disk(disk_bytes(e, o, weights=options["save_weights"]), directory.path)

        with console.status("drawing the network and measuring its spontaneous activity"):
            training = prepare(experiment, backend, force=force, before=check, ranks=ranks)
        document = run_document(training)
        spontaneous = document.spontaneous_rate_hz
        signs = {"E": spontaneous.excitatory, "I": spontaneous.inhibitory}
        rates = spontaneous.populations or {name: rate for name, rate in signs.items() if rate is not None}
        console.print(
            f"{document.neurons:,} neurons, each with {document.static_outputs:,} static and "
            f"{document.plastic_inputs:,} plastic synapses; {backend_name}, {document.precision}, "
            f"P {document.p_precision} {document.storage}, {document.algorithm} updates, "
            f"{f'{ranks.size} ranks, ' if ranks.spread else ''}{document.threads} threads\n"
            f"set up in {document.setup_seconds:.1f} s, compiled in {document.compile_seconds:.1f} s; "
            f"spontaneous {', '.join(f'{rate:.2f} Hz ({name})' for name, rate in rates.items())}"
        )
        with Checkpoints(directory, training.experiment.checkpoints, ranks) as checkpoints:
            _Run(console, training, directory, checkpoints, interruption, deadline).complete(correlate, options)


def _monitor(training: Training, seconds: float | None, sink: Callable[[Sample], None] | None = None) -> Monitor | None:
    """What measures the resources of this rank; the first of a node reads the energy of it."""
    if seconds is None:
        return None
    meter = Rapl if training.problem.ranks.leads else not_read
    return Monitor(seconds, device=training.options.device, sink=sink, cpu=meter)


def _used(monitor: Monitor | None, ranks: Communicator) -> Resources | None:
    """The resources of all ranks since their monitors started."""
    if monitor is None:
        return None
    monitor.stop()  # the last sample is then the last row of resources.csv
    monitor.sample()
    return Resources.of_ranks(ranks.collect((ranks.leads, monitor.between(monitor.samples[0], monitor.samples[-1]))))


def _follow(
    training: Training, checkpoints: Checkpoints, interruption: Interruption, correlate: bool, options: dict[str, Any]
) -> None:
    """Do on another rank what `_Run` does on rank 0, which writes the results."""
    ranks, number, out_of_time, whole = training.problem.ranks, None, False, False
    monitor = _monitor(training, options["monitor"])
    try:
        with interruption.finishing(), monitor or nullcontext():
            with suppress(NumericsError, OutputError):  # of all: rank 0 tells it after it has written the results
                for _ in training.run(correlate=correlate, undo=False):
                    with ranks.together():  # rank 0 appends to the learning curve
                        pass
                    checkpoints.after(training)
                    out_of_time, number = _agreed(training, interruption, out_of_time=False)
                    if out_of_time or number is not None:
                        break
                out_of_time, number = _agreed(training, interruption, out_of_time=False)
                if training.iterations and (out_of_time or number is not None or checkpoints.section.every):
                    checkpoints.save(training)
                if options["save_weights"]:
                    training.weights()
                whole = True
            _used(monitor, ranks)
            if whole:
                rank_records(training)
            with ranks.together():  # rank 0 writes the results
                pass
            _, number = _agreed(training, interruption, out_of_time=False)
    except ImmediateExit as signal:
        raise InterruptedRunError("exited immediately", signal.number) from None
    if number is not None:
        raise InterruptedRunError("interrupted", number)
    if out_of_time:
        raise TimeLimitError("stopped in time")


def _agreed(training: Training, interruption: Interruption, *, out_of_time: bool) -> tuple[bool, int | None]:
    """Whether rank 0 is out of time, and a signal that any rank had received: the same for all.

    One that arrives meanwhile counts the next time.
    """
    told = training.problem.ranks.collect((out_of_time, interruption.number))
    number = next((number for _, number in told if number is not None), None)
    if number is not None:
        interruption.number = number
    return bool(told[0][0]), number


@click.command(short_help="Continue a run from its last checkpoint.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="RUN")
@click.option("--backend", "backend_name", metavar="NAME", help="By default the one that started the run.")
@click.option("--iterations", type=COUNT, help="Total number of iterations; by default unchanged.")
@numerics_options
@click.option("--recording", multiple=True, metavar="FILE", help="Current path of the recording.")
@click.option("--correlate/--no-correlate", default=None, help="Measure the correlation; by default as before.")
@run_options
@click.pass_obj
def resume(
    interruption: Interruption,
    /,
    folder: Path,
    backend_name: str | None,
    correlate: bool | None,
    force: bool,
    **options: Any,
) -> None:
    """Continue the run in the directory RUN as if it had never stopped.

    With the same backend, precisions and storage the result is identical to the last bit. With
    others it is the same within rounding, and the run says so. What no option sets is unchanged.
    """
    deadline, ranks, json_file = Deadline(options["time_limit"]), communicator(), options["json_file"]
    console = new_console(quiet=ranks.rank > 0)
    with ExitStack() as held:
        with ranks.together():
            directory = None if ranks.rank else held.enter_context(RunDirectory(folder, resumed=True))
        checkpoint, damaged = last_checkpoint(folder, ranks)
        for problem in damaged:
            console.print(f"warning: {problem}")
        with ranks.together():
            if ranks.rank == 0 and json_file is not None and iterations_in(json_file, checkpoint) is None:
                check_new(json_file)
        overrides = requested_settings(folder) | given_overrides(options)
        total = overrides.get("training.iterations", checkpoint.experiment.training.iterations)
        finished = ranks.collect(iterations_in(folder / "result.json", checkpoint) == checkpoint.iteration)[0]
        if finished and checkpoint.iteration >= total:
            console.print(f"all {checkpoint.iteration} iterations are done; use --iterations to add more")
            return
        with Checkpoints(directory or folder, checkpoint.experiment.checkpoints, ranks) as checkpoints:
            with console.status("creating the network and reading the checkpoint"):
                training = resume_training(
                    checkpoint, backend=backend_name, overrides=overrides, force=force, ranks=ranks
                )
            if finished and training.out_of_patience():
                early = f"stopped early after iteration {checkpoint.iteration}"
                console.print(f"{early}; raise --patience or set it to 0 to go on")
                return
            checkpoints.section = training.experiment.checkpoints
            checkpoints.resumed(checkpoint)
            if correlate is None:
                correlate = not training.iterations or training.iterations[-1].correlation is not None
            if directory is None:
                _follow(training, checkpoints, interruption, correlate, options)
                return
            options["replace_json"] = json_file is not None and json_file.exists()
            _Run(console, training, directory, checkpoints, interruption, deadline).complete(correlate, options)


def _subject(e: Experiment) -> str:
    """What is trained: the description of the preset, unless it is another network."""
    preset = preset_of(e)
    if preset is None or e.description != preset.description:
        return e.description or e.preset
    sections = ("network", "populations", "connectivity", "neuron", "recording", "targets")
    other = [section for section in sections if getattr(e, section) != getattr(preset, section)]
    return f"preset {e.preset} with other settings of {', '.join(other)}" if other else e.description


@dataclass
class _Run:
    """A training with its terminal and directory, inside the `with` blocks of the last."""

    console: Console
    training: Training
    directory: RunDirectory
    checkpoints: Checkpoints
    interruption: Interruption
    deadline: Deadline
    out_of_time: bool = False

    def complete(self, correlate: bool, options: dict[str, Any]) -> None:
        """Perform the remaining iterations and write the results.

        An `InterruptedRunError` is raised after a signal; the results are written, except after a
        second one. Any other error says how the run can be resumed.
        """
        try:
            with self.interruption.finishing():
                self._complete(correlate, options)
        except ImmediateExit as signal:
            raise InterruptedRunError(f"exited immediately; {self._how_to_go_on()}", signal.number) from None

    def _complete(self, correlate: bool, options: dict[str, Any]) -> None:
        training, directory, interruption = self.training, self.directory, self.interruption
        ranks = training.problem.ranks
        if self.deadline.source:
            limit = timedelta(seconds=round(self.deadline.seconds))
            self.console.print(f"{limit} until {self.deadline.source}; a run that is not complete stops in time")
        for note in training.notes:
            self.console.print(note)
        directory.begin(training)
        monitor = _monitor(training, options["monitor"], directory.append_resources)
        failure: RlsbenchError | None = None
        arrays = {}
        records: list[RankRecord] = []
        before, stopped = len(training.iterations), False
        with monitor or nullcontext():
            try:
                self._iterate(correlate)
                if training.out_of_patience():
                    self._say_patience()
                self.out_of_time, number = _agreed(training, interruption, out_of_time=self.out_of_time)
                stopped = self.out_of_time or number is not None
                if training.iterations and (stopped or self.checkpoints.section.every):
                    interruption.tell("a checkpoint")
                    self.checkpoints.save(training)
                if options["save_weights"]:
                    arrays["weights"] = training.weights()
                    if training.adapts_external:
                        arrays["external_current"] = training.problem.external_current
            except (NumericsError, OutputError) as error:
                failure = error
            except BackendError as error:
                failure, ranks = error, ALONE  # of this rank, which no other waits for
            interruption.tell("the results")
            used = _used(monitor, ranks)
            if failure is None:
                records = rank_records(training)  # after the last sample: peaks are not below it
        resources = None
        if monitor is not None and used is not None:
            resources = resource_record(monitor.interval, used, len(training.iterations) - before)
        document = run_document(training).model_copy(update={"resources": resources, "rank_records": records})
        with ranks.together():
            try:
                directory.finish(document, arrays)
            except OutputError as error:
                failure = failure or error  # report the first
            if failure is not None:
                raise type(failure)(f"{failure}; {self._how_to_go_on()}")
            if options["json_file"] is not None:
                write_atomically(options["json_file"], document.to_json(), new=not options.get("replace_json"))
        self._say_results()
        if records:
            self._say_ranks(document)
        if resources is not None:
            self._say_resources(resources)
        if monitor is not None and monitor.sink_error is not None:
            self.console.print(f"resources.csv is incomplete: {monitor.sink_error}")
        _, number = _agreed(training, interruption, out_of_time=False)
        after = f"after iteration {len(training.iterations)}"
        if number is not None:
            rest = self._how_to_go_on() if stopped else "the results are complete"
            raise InterruptedRunError(f"interrupted {after}; {rest}", number)
        if self.out_of_time:
            raise TimeLimitError(f"stopped {after}, in time for {self.deadline.source}; {self._how_to_go_on()}")

    def _iterate(self, correlate: bool) -> None:
        training, done, warned = self.training, len(self.training.iterations), False
        total, longest, begun = training.experiment.training.iterations, 0.0, monotonic()
        maxrate_hz = training.experiment.training.maxrate_hz
        with _display(self.console, total, done) as show:
            self.interruption.tell(f"iteration {done + 1}")
            for iteration in training.run(correlate=correlate, undo=False):
                with training.problem.ranks.together():
                    self.directory.append(iteration)
                show(iteration, training.progress.drift_hz)
                warnings = [training.progress.warning()]
                if iteration.neurons_above_maxrate and not warned:
                    warned = True
                    warnings.append(
                        f"{iteration.neurons_above_maxrate} neuron(s) fire faster than training.maxrate_hz = "
                        f"{maxrate_hz:g}, the fastest at {training.fastest_rate_hz():.0f} Hz; all spikes count, and "
                        "the learning curve gives the number of these neurons in each iteration"
                    )
                for warning in filter(None, warnings):
                    self.console.print(f"warning: iteration {iteration.iteration}: {warning}")
                self.checkpoints.after(training)
                longest, begun = max(longest, monotonic() - begun), monotonic()
                late = False
                if self.interruption.number is None and iteration.iteration < total and not training.out_of_patience():
                    # Never before the first iteration: a job that is requeued makes progress.
                    size = checkpoint_bytes(training.experiment, training.options) // training.problem.ranks.size
                    late = not self.deadline.leaves_time(longest, self.checkpoints.longest_s, size)
                self.out_of_time, number = _agreed(training, self.interruption, out_of_time=late)
                if self.out_of_time or number is not None:
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
            score, at = progress.best_score, progress.best_iteration
            best = f"best {score:.3f} in iteration {at}; " if score else ""
            self.console.print(
                f"correlation {reached} and {last.firing_rate_hz:.2f} Hz in iteration {last.iteration}; {best}"
                f"{training.seconds_per_iteration():.3g} s per iteration (median)"
            )
        self.console.print(f"results in {path}")
        if training.iterations:

            def picture() -> Path:
                from rlsbench.report.figures import save_summary  # imports Matplotlib

                return save_summary(training, path)

            self.console.print(drawn(picture))

    def _say_ranks(self, run: RunDocument) -> None:
        of_nodes = rank_memory(run).values()
        most, node = max(map(max, of_nodes)), max(map(sum, of_nodes))
        told = f"peak memory of a rank {readable(most)}, of a node {readable(node)} (nodes: {run.nodes})"
        if seconds := counted_exchange(run):
            share = sum(seconds) / sum(counted_seconds(run))
            told += f"; exchange of spikes, with waiting: {share:.1%} of an iteration of rank 0"
        self.console.print(told)

    def _say_resources(self, used: ResourceRecord) -> None:
        cpu = "" if used.cpu_percent is None else f"{used.cpu_percent:.0f} % of one processor, "
        memory = f"peak resident memory {readable(used.peak_resident_bytes)}"
        self.console.print(f"{cpu}{memory}, {used.samples} samples")
        for name, kind in (("processor", "cpu"), ("GPU", "gpu")):
            joules = getattr(used, f"{kind}_energy_per_iteration_j")
            reason = used.unreadable.get(f"{kind}_energy_j", "no iterations")
            told = f"not readable: {reason}" if joules is None else f"{joules:.3g} J per iteration"
            self.console.print(f"{name} energy: {told}")

    def _how_to_go_on(self) -> str:
        run, total = self.directory.path, self.training.experiment.training.iterations
        if not self.directory.held():
            return "if it was renamed, continue with: rlsbench resume and its new name"
        if not (found := checkpoint_files(run)):
            return "there is no checkpoint to resume from"
        last = found[-1][0]
        how = "to add more" if last >= total else "to continue"
        return f"the checkpoint of iteration {last} is complete; {how}: rlsbench resume {run}"


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
            click.echo(told(iteration, total, drift_hz))

    with bar if console.is_terminal else nullcontext():
        yield show
