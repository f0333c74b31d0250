"""The process of one point, or of a rank of it: `python -m rlsbench.sweep`.

In: a job in one line of JSON, on stdin; of several ranks, rank 0 gets it.  Out: a document, or the
limits of the machine, in one line of JSON, on stdout: from rank 0, or from a rank that fails alone,
which then ends all.

The environment is set by the parent, which keeps stdin open: when the parent ends, however that may
be, this process and all that it started end, too, and so do other ranks.
"""

import json
import os
import signal
import sys
import threading
import traceback
from typing import Any, TextIO

from rlsbench.errors import RlsbenchError
from rlsbench.ranks import Communicator, communicator, launched
from rlsbench.results import AttemptDocument, Document, RunDocument
from rlsbench.sweep.limits import measure_limits
from rlsbench.sweep.measure import attempt, measure
from rlsbench.sweep.plan import Point


def _main(answer: TextIO) -> None:
    started = launched()
    first = started is None or started.rank == 0
    line = sys.stdin.readline() if first else ""
    if first and not line:  # the parent has ended, or a launcher started processes that know no MPI
        return
    if first:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        ranks = communicator()
    except RlsbenchError as error:
        if first:
            answer.write(_not_made(json.loads(line)["point"], "unsupported", str(error)).to_line())
        return
    job: dict[str, Any] = json.loads(ranks.collect(line)[0])
    if "threads" in job:
        answer.write(measure_limits(job["threads"]).model_dump_json() + "\n")
        return
    document = _document(job, ranks)
    alike = isinstance(document, RunDocument) or ranks.alike()
    if ranks.rank == 0 or not alike:
        answer.write(document.to_line())
        answer.flush()
    if not alike:
        ranks.abort(1)


def _document(job: dict[str, Any], ranks: Communicator) -> Document:
    """Measure a point; with several ranks, an error of any kind is an attempt."""
    wanted = max(1, job["point"]["ranks"])
    if ranks.size != wanted:
        found = f"the launcher started {ranks.size} rank(s) that know of each other, not {wanted}"
        return _not_made(job["point"], "failed", f"{found}: it must be that of the MPI which mpi4py uses")
    verdicts = {key: tuple(value) for key, value in job["verdicts"].items()}
    try:
        return measure(Point.model_validate(job["point"]), verdicts, ranks)
    except Exception as error:
        if not ranks.spread:
            raise
        traceback.print_exc()
        return _not_made(job["point"], "failed", f"{type(error).__name__}: {error}")


def _not_made(described: dict[str, Any], outcome: str, reason: str) -> AttemptDocument:
    point = Point.model_validate(described)
    return attempt(point.experiment(), point.backend, outcome, reason)


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as stream:
        os.dup2(2, 1)  # what a library prints is not part of the answer
        _main(stream)
