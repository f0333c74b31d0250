"""Running a plan: one process after another, skipping completed runs and recording failures.

In: a `SweepPlan` and a `Store`. Out: documents in the store, and a `SweepSummary`.

Sweeps in one store, perhaps on several machines, share the work: each locks the run that it makes.

Every point runs in its own process, so that it starts with fresh memory, and with the numbers of
threads set before libraries are loaded; a launcher of MPI starts a process for each rank of a
network that is spread over several. Each repetition traverses the whole grid, with backends
varying fastest, so that a temporary disturbance of the machine affects all backends alike.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import product
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any

from rlsbench.available import available_threads
from rlsbench.errors import ResultError
from rlsbench.results import (
    AttemptDocument,
    Document,
    MachineLimits,
    Repetition,
    ResultSet,
    RunDocument,
    Store,
    machine_id,
    parse_document,
    read_results,
)
from rlsbench.results.document import digest
from rlsbench.results.lock import FileLock
from rlsbench.results.table import software_hash
from rlsbench.sweep.measure import Verdict, attempt, verdict_key
from rlsbench.sweep.plan import Point, SweepPlan

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
"""Variables that libraries read once, when they are loaded."""
LAUNCHER_S = 10.0  # that a launcher has to end its ranks, which may be on other nodes


@dataclass(frozen=True)
class Progress:
    """A run that starts or has ended."""

    number: int  #: position among the remaining runs, from 1
    total: int
    point: Point
    repetition: int
    document: Document | None = None  #: None at the start


@dataclass
class SweepSummary:
    """Summary of a sweep."""

    total: int  #: number of runs in the plan, or in its shard
    before: int = 0  #: runs that the store already contained
    completed: int = 0
    not_made: Counter[str] = field(default_factory=Counter)
    """Outcome to number of runs, for those that did not complete."""
    elsewhere: int = 0  #: runs that another sweep is making
    failed_checks: int = 0  #: completed runs of backends that fail the conformance suite
    stopped: str = ""  #: why it stopped early; empty otherwise
    problems: list[str] = field(default_factory=list)  #: unreadable files in the store

    @property
    def left(self) -> int:
        """Number of remaining runs."""
        return self.total - self.before - self.completed - self.not_made.total() - self.elsewhere


Place = tuple[str, int, str, str]  #: point, repetition, machine and software


class _Present:
    """What a store contains; other sweeps may add to it at any time."""

    def __init__(self, store: Store, *, retry: bool) -> None:
        self.folder = store.path
        self.done: set[Place] = set()
        self.verdicts: dict[tuple[str, str], dict[str, Verdict]] = {}
        """By backend and software: new versions must be checked again."""
        self._files = set(self.folder.glob("*.json"))
        known = store.read()
        self.problems = known.problems
        self._add(known, attempts=not retry)

    def update(self) -> None:
        """Read the documents that have been added since the last time."""
        new = set(self.folder.glob("*.json")) - self._files
        self._files |= new
        if new:
            with suppress(ResultError):  # removed in the meantime
                self._add(read_results(list(new)), attempts=True)

    def verdicts_of(self, backend: str, software: str) -> dict[str, Verdict]:
        """The verdicts of the conformance suite on a backend."""
        return self.verdicts.setdefault((backend, software), {})

    def _add(self, found: ResultSet, *, attempts: bool) -> None:
        for _, d in found.documents:
            software = software_hash(d)
            if d.repetition is not None and (attempts or not isinstance(d, AttemptDocument)):
                self.done.add((d.repetition.point, d.repetition.repetition, machine_id(d.machine), software))
            if isinstance(d, RunDocument) and d.validity != "not checked":
                self.verdicts_of(d.backend, software)[verdict_key(d)] = (d.validity, d.validity_reason)


def run_sweep(
    plan: SweepPlan,
    store: Store,
    *,
    budget_s: float | None = None,
    retry: bool = False,
    shard: tuple[int, int] = (1, 1),
    show: Callable[[Progress], None] = lambda progress: None,
) -> SweepSummary:
    """Make the runs of a plan that are not in the store yet.

    Of the whole plan, or of one `shard`: with (3, 16), the third run and every sixteenth after it,
    whether they are in the store or not.

    After `budget_s` seconds, or control-C, the current run is abandoned and repeated next time; all
    others are in the store. `retry` repeats runs that did not complete, and `show` is called when
    each run starts and ends. A run that another sweep is making in the same store is left to that
    one.
    """
    deadline = monotonic() + (inf if budget_s is None else budget_s)
    for path in store.path.glob(".*.lock"):  # of sweeps that were killed
        with suppress(OSError):
            FileLock(path).release()
    points, present = plan.points(), _Present(store, retry=retry)
    blanks = {p.backend: attempt(p.experiment(), p.backend, "failed", "") for p in points}
    here = {name: (machine_id(blank.machine), software_hash(blank)) for name, blank in blanks.items()}
    named = [(point, point.hash()) for point in points]
    runs = [*product(range(1, plan.repetitions + 1), named)][shard[0] - 1 :: shard[1]]
    summary = SweepSummary(total=len(runs), problems=present.problems)
    todo: list[tuple[Point, Place]] = []
    for repetition, (point, name) in runs:
        place = (name, repetition, *here[point.backend])
        if place in present.done:
            summary.before += 1
        else:
            todo.append((point, place))
    total = len(todo)
    limits: dict[int, MachineLimits | None] = {}
    for number, (point, place) in enumerate(todo, start=1):
        if deadline <= monotonic():
            summary.stopped = "the time budget is used up"
            break
        with _claimed(store.path, place) as mine:
            present.update()
            if place in present.done:
                summary.before += 1
                continue
            if not mine:
                if number <= total:
                    todo.append((point, place))  # in case that the other sweep is stopped
                else:
                    summary.elsewhere += 1
                continue
            repetition, software = place[1], place[3]
            show(Progress(number, total, point, repetition))
            # Several ranks divide the processors of their node, which need not be this one.
            threads = point.experiment().numerics.threads or (0 if point.ranks > 1 else available_threads())
            if threads not in limits and point.ranks <= 1:
                text, _, _ = _process({"threads": threads}, threads, min(120.0, deadline - monotonic()))
                limits[threads] = None if text is None else MachineLimits.model_validate_json(text)
            verdicts = present.verdicts_of(point.backend, software)
            launcher = [word.replace("{ranks}", f"{point.ranks}") for word in shlex.split(plan.launcher) if point.ranks]
            document = _run(point, verdicts, threads, plan.time_limit_s, deadline - monotonic(), launcher)
            if document is None:
                summary.stopped = f"the time budget was used up during {point}, which was abandoned"
                break
            at = Repetition(sweep=plan.hash(), point=place[0], repetition=repetition, warm_up=plan.warm_up)
            # The run itself could use no more threads than it was given.
            machine = document.machine | {"usable_threads": available_threads()}
            found = {"repetition": at, "machine": machine, "ranks": max(1, point.ranks)}
            document = document.model_copy(update=found)
            if isinstance(document, AttemptDocument):
                summary.not_made[document.outcome] += 1
            else:
                summary.completed += 1
            if isinstance(document, RunDocument):
                document = document.model_copy(update={"limits": limits[threads] if point.ranks <= 1 else None})
                summary.failed_checks += document.validity == "failed"
            store.add(document)
            show(Progress(number, total, point, repetition, document))
    return summary


@contextmanager
def _claimed(folder: Path, place: Place) -> Iterator[bool]:
    """Whether no other sweep is making a run; if so, this one is, until the end of the block."""
    try:
        lock = FileLock(folder / f".{digest(place)}.lock")
    except BlockingIOError:
        yield False
        return
    except OSError:  # where no lock can be made, the run is made
        yield True
        return
    try:
        yield True
    finally:
        lock.release()


def _run(
    point: Point, verdicts: dict[str, Verdict], threads: int, limit: float, left: float, launcher: Sequence[str]
) -> Document | None:
    """Run a point in processes of its own; None if that used up the budget."""
    if launcher and shutil.which(launcher[0]) is None:
        why = f"{launcher[0]}: no such command; --launcher names another that starts ranks, such as 'srun -n {{ranks}}'"
        return attempt(point.experiment(), point.backend, "unavailable", why)
    job = {"point": point.model_dump(mode="json"), "verdicts": verdicts}
    text, status, error = _process(job, threads, min(limit, left), launcher)
    if text is not None:
        try:
            return parse_document(text)
        except ResultError as problem:
            error = str(problem)
    if status is None and left < limit:
        return None
    experiment = point.experiment()
    if status is None:
        return attempt(experiment, point.backend, "timed out", f"it took more than {limit:g} s")
    if launcher:
        error = f"{launcher[0]} ended with status {status}" + (f": {error}" if error else "")
    elif status < 0:
        name = signal.Signals(-status).name
        error = f"its process was ended by {name}" + (", possibly out of memory" if name == "SIGKILL" else "")
    return attempt(experiment, point.backend, "failed", error or f"its process exited with status {status}")


def _process(
    job: dict[str, Any], threads: int, patience: float, launcher: Sequence[str] = ()
) -> tuple[str | None, int | None, str]:
    """Run the worker: its answer, its status (None if it was stopped), and its last log line.

    With 0 threads, those of libraries are left as they are. The answer is the last line that is
    JSON, because launchers may print others; of several ranks, also one that failed may answer.
    """
    environment = os.environ | {name: str(threads) for name in THREAD_VARIABLES if threads}
    command = [*launcher, sys.executable, "-m", "rlsbench.sweep"]
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as log:  # nothing is left if this is killed
        streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": answer, "stderr": log}
        # In a new session, control-C reaches only this process, which then ends the worker.
        process = subprocess.Popen(command, env=environment, start_new_session=True, **streams)
        assert process.stdin is not None
        try:
            with suppress(BrokenPipeError):  # it has ended; its log says why
                process.stdin.write(json.dumps(job).encode() + b"\n")
                process.stdin.flush()
            status: int | None = process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            if process.poll() is None and launcher:
                os.killpg(process.pid, signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(LAUNCHER_S)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            with suppress(BrokenPipeError):
                process.stdin.close()
        answer.seek(0)
        log.seek(0)
        lines = log.read().decode(errors="replace").strip().splitlines()
        answers = [line for line in answer.read().decode(errors="replace").splitlines() if line.startswith("{")]
    text = answers[-1] if answers and (status == 0 or launcher) else None
    return text, status, lines[-1] if lines else ""
