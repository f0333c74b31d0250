"""A process that times benchmarks of one source tree on request: see `benchmarks.regression`.

    PYTHONPATH=TREE:TREE/backends:TREE/reference python -P benchmarks/worker.py

In: requests, one line of JSON each: {"prepare": SUBJECT} or {"calls": N}.  Out: one line of JSON
for each, with the seconds of one call, or the reason why there are none; the first line tells where
`rlsbench` was found.  The benchmarks are those beside this file, so both trees run the same ones.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple


class Subject(NamedTuple):
    """An asv benchmark with its parameters."""

    module: str
    benchmark: str
    function: str
    parameters: tuple[Any, ...] = ()


PLAIN, EVENT = ("rls_update", "PlainUpdate", "time_update"), ("rls_update", "EventUpdate", "time_updates")
SUBJECTS = {
    "update: numba, event, full": Subject(*EVENT, ("numba", 90, "float32", "full")),
    "update: numba, event, packed": Subject(*EVENT, ("numba", 90, "float32", "packed")),
    "update: numba, plain, full": Subject(*PLAIN, ("numba", 90, "float32", "full")),
    "update: numba, plain, packed": Subject(*PLAIN, ("numba", 90, "float32", "packed")),
    "update: numpy-packed": Subject(*PLAIN, ("numpy-packed", 90, "float32", "packed")),
    "simulation: numba": Subject("trial", "Simulation", "time_simulation", ("numba",)),
    "delivery: numba": Subject("trial", "Delivery", "time_delivery", ("numba",)),
    "iteration: numba": Subject("trial", "Iteration", "time_iteration", ("numba",)),
    "building: numba": Subject("building", "Building", "time_trainer", ("numba",)),
    "inversion of rates": Subject("building", "RateInversion", "time_stationary_current"),
}
"""The compared benchmarks by name; each call takes milliseconds."""


class Prepared:
    """A benchmark after its `setup`."""

    def __init__(self, subject: Subject) -> None:
        module = importlib.import_module(f"benchmarks.{subject.module}")
        benchmark = getattr(module, subject.benchmark)()
        benchmark.setup(*subject.parameters)
        self.function, self.parameters = getattr(benchmark, subject.function), subject.parameters
        self.timer = getattr(benchmark, "timer", perf_counter)

    def seconds(self, calls: int) -> float:
        """Mean time of some calls."""
        start = self.timer()
        for _ in range(calls):
            self.function(*self.parameters)
        return float(self.timer() - start) / calls


def main() -> None:
    """Answer requests until the input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # output of libraries must not mix with answers

    def answer(**what: object) -> None:
        print(json.dumps(what), file=answers, flush=True)

    _take_benchmarks_from_here()
    import rlsbench

    answer(rlsbench=rlsbench.__file__)
    prepared: Prepared | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if "calls" in request:
            assert prepared is not None
            answer(seconds=prepared.seconds(request["calls"]))
            continue
        prepared = None
        gc.collect()  # frees the previous benchmark
        try:
            prepared = Prepared(SUBJECTS[request["prepare"]])
            answer(seconds=prepared.seconds(1))
        except Exception as error:  # a tree may lack a feature
            answer(reason=f"{type(error).__name__}: {' '.join(str(error).split())}")


def _take_benchmarks_from_here() -> None:
    folder = Path(__file__).resolve().parent
    spec = spec_from_file_location("benchmarks", folder / "__init__.py", submodule_search_locations=[str(folder)])
    assert spec is not None
    assert spec.loader is not None
    sys.modules["benchmarks"] = module_from_spec(spec)
    spec.loader.exec_module(sys.modules["benchmarks"])


if __name__ == "__main__":
    main()
