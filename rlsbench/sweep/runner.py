"""Running a plan: one process after another, skipping completed runs and recording failures.

In: a `SweepPlan` and a `Store`. Out: documents in the store, and a `SweepSummary`.

Every point runs in its own process, so that it starts with fresh memory, and with the numbers of
threads set before libraries are loaded. Each repetition traverses the whole grid, with backends
varying fastest, so that a temporary disturbance of the machine affects all backends alike.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any

from rlsbench.available import available_threads
from rlsbench.errors import ResultError
from rlsbench.results import AttemptDocument, MachineLimits, Repetition, RunDocument, Store, machine_id, parse_document
from rlsbench.results.table import software_hash
from rlsbench.sweep.measure import Verdict, attempt, verdict_key
from rlsbench.sweep.plan import Point, SweepPlan

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")
"""Variables that libraries read once, when they are loaded."""


@dataclass(frozen=True)
class Progress:
    """A run that starts or has ended."""

    number: int  #: position among the remaining runs, from 1
    total: int
    point: Point
    repetition: int
    document: RunDocument | AttemptDocument | None = None  #: None at the start


@dataclass
class SweepSummary:
    """Summary of a sweep."""

    total: int  #: number of runs in the plan
    before: int = 0  #: runs that the store already contained
    completed: int = 0
    not_made: Counter[str] = field(default_factory=Counter)
    """Outcome to number of runs, for those that did not complete."""
    failed_checks: int = 0  #: completed runs of backends that fail the conformance suite
    stopped: str = ""  #: why it stopped early; empty otherwise
    problems: list[str] = field(default_factory=list)  #: unreadable files in the store

    @property
    def left(self) -> int:
        """Number of remaining runs."""
        return self.total - self.before - self.completed - self.not_made.total()


def run_sweep(
    plan: SweepPlan,
    store: Store,
    *,
    budget_s: float | None = None,
    retry: bool = False,
    show: Callable[[Progress], None] = lambda progress: None,
) -> SweepSummary:
    """Make the runs of a plan that are not in the store yet.

    After `budget_s` seconds, or control-C, the current run is abandoned and repeated next time; all
    others are in the store. `retry` repeats runs that did not complete, and `show` is called when
    each run starts and ends.
    """
    deadline = monotonic() + (inf if budget_s is None else budget_s)
    points, known = plan.points(), store.read()
    summary = SweepSummary(total=len(points) * plan.repetitions, problems=known.problems)
    done = {
        (d.repetition.point, d.repetition.repetition, machine_id(d.machine), software_hash(d))
        for _, d in known.documents
        if d.repetition is not None and (isinstance(d, RunDocument) or not retry)
    }
    verdicts: dict[tuple[str, str], dict[str, Verdict]] = {}  # by software: new versions must be checked again
    for run in known.runs:
        _remember(verdicts.setdefault((run.backend, software_hash(run)), {}), run)
    todo = []
    for repetition, point in product(range(1, plan.repetitions + 1), points):
        blank = attempt(point.experiment(), point.backend, "failed", "")
        software = software_hash(blank)
        if (point.hash(), repetition, machine_id(blank.machine), software) in done:
            summary.before += 1
        else:
            todo.append((point, repetition, verdicts.setdefault((point.backend, software), {})))
    limits: dict[int, MachineLimits | None] = {}
    with tempfile.TemporaryDirectory(prefix="rlsbench-") as folder:
        for number, (point, repetition, verdict_of) in enumerate(todo, start=1):
            if deadline <= monotonic():
                summary.stopped = "the time budget is used up"
                break
            show(Progress(number, len(todo), point, repetition))
            threads = point.experiment().numerics.threads or available_threads()
            if threads not in limits:
                text, _, _ = _process({"threads": threads}, Path(folder), threads, min(120.0, deadline - monotonic()))
                limits[threads] = None if text is None else MachineLimits.model_validate_json(text)
            document = _run(point, verdict_of, Path(folder), threads, plan.time_limit_s, deadline - monotonic())
            if document is None:
                summary.stopped = f"the time budget was used up during {point}, which was abandoned"
                break
            place = Repetition(sweep=plan.hash(), point=point.hash(), repetition=repetition, warm_up=plan.warm_up)
            document = document.model_copy(update={"repetition": place})
            if isinstance(document, AttemptDocument):
                summary.not_made[document.outcome] += 1
            else:
                document = document.model_copy(update={"limits": limits[threads]})
                summary.completed += 1
                summary.failed_checks += document.validity == "failed"
                _remember(verdict_of, document)
            store.add(document)
            show(Progress(number, len(todo), point, repetition, document))
    return summary


def _remember(verdicts: dict[str, Verdict], run: RunDocument) -> None:
    if run.validity != "not checked":
        verdicts[verdict_key(run)] = (run.validity, run.validity_reason)


def _run(
    point: Point, verdicts: dict[str, Verdict], folder: Path, threads: int, limit: float, left: float
) -> RunDocument | AttemptDocument | None:
    """Run a point in its own process; None if that used up the budget."""
    job = {"point": point.model_dump(mode="json"), "verdicts": verdicts}
    text, status, error = _process(job, folder, threads, min(limit, left))
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
    if status < 0:
        name = signal.Signals(-status).name
        error = f"its process was ended by {name}" + (", possibly out of memory" if name == "SIGKILL" else "")
    return attempt(experiment, point.backend, "failed", error or f"its process exited with status {status}")


def _process(job: dict[str, Any], folder: Path, threads: int, patience: float) -> tuple[str | None, int | None, str]:
    """Run the worker: its output, its status (None if it was stopped), and its last log line."""
    job_file, result_file, log_file = folder / "job.json", folder / "result.json", folder / "log.txt"
    result_file.unlink(missing_ok=True)
    job_file.write_text(json.dumps(job), encoding="utf-8")
    environment = os.environ | {name: str(threads) for name in THREAD_VARIABLES}
    command = [sys.executable, "-m", "rlsbench.sweep", str(job_file), str(result_file)]
    with log_file.open("w") as log:
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
        # In a new session, control-C reaches only this process, which then ends the worker.
        process = subprocess.Popen(command, env=environment, start_new_session=True, **streams)
        try:
            status: int | None = process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    lines = log_file.read_text(errors="replace").strip().splitlines()
    text = result_file.read_text(encoding="utf-8") if status == 0 and result_file.exists() else None
    return text, status, lines[-1] if lines else ""
