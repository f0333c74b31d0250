"""Commands that are ended at any moment, and what they leave behind.

    python -m tests.killing FOLDER SEED BACKEND COMMAND=KILLS ...

One process imports everything and forks a child for each command, which costs a fraction of a
second. Half of the children are ended at a random time, the others just before a random one of
their operations on files. After each end, what is on disk must be whole, the exit status right, and
no process left. Each chain of ends is completed: its files must be those of a command that was
never ended, to the last bit, and no temporary file may be left. Counts are printed as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import re
import select
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from tests.conftest import TINY

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGPIPE)
OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.listdir", "os.scandir"}
ITERATIONS = 8
SECONDS = 300.0  # after which a command hangs
SETTINGS = TINY | {"time.dt_ms": 0.5, "training.iterations": ITERATIONS}
OPTIONS = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]

# The limits of the machine and the conformance suite take most of the time of a small sweep.
WORKER = """#!/bin/sh
exec {python} -c '
import functools, runpy
import rlsbench.conformance, rlsbench.sweep.limits as limits
limits.measure_limits = functools.partial(limits.measure_limits, passes=1, order=64, least_bytes=2**16)
rlsbench.conformance.CHECKS = {{}}
runpy.run_module("rlsbench.sweep", run_name="__main__")'
"""


def check(holds: object, what: str, *values: object) -> None:
    if not holds:
        raise AssertionError(" ".join([what, *map(str, values)]))


class Killer:
    """Starts commands, ends them, and counts."""

    def __init__(self, folder: Path, seed: int, backend: str) -> None:
        self.folder, self.work, self.backend = folder, folder / "work", backend
        self.random, self.counts = random.Random(seed), Counter[str]()
        self.spans: dict[str, tuple[float, int]] = {}  # of a command: seconds and operations on files
        self.worker, self.log, self.temporary = folder / "python", folder / "log", Path(tempfile.gettempdir())
        self.work.mkdir(parents=True)
        self.worker.write_text(WORKER.format(python=sys.executable))
        self.worker.chmod(0o755)

    def whole(self, *words: object, pictures: bool = True) -> None:
        """Run a command to its end, and remember how long that takes."""
        begun = time.monotonic()
        status, text = self._ended(*self._start(words, pictures=pictures))
        check(status == 0, "status", status, words, self.log.read_text())
        previous = self.spans.get(str(words[0]), (0.0, 0))
        self.spans[str(words[0])] = max(previous[0], time.monotonic() - begun), max(previous[1], int(text))

    def killed(self, *words: object, share: float = 1.0) -> int:
        """Begin a command, end it within a share of its span, and return its exit status."""
        name, number = str(words[0]), self.random.choice(SIGNALS)
        seconds, operations = self.spans[name]
        by_time = self.random.random() < 0.5
        at = None if by_time else (self.random.randrange(1, 2 + int(share * operations)), number)
        before = self._hidden()
        child, reader, pipe = self._start(words, pictures=self.random.random() < 0.1, at=at)
        if by_time:
            time.sleep(self.random.uniform(0.0, share * seconds))
            if number == signal.SIGPIPE:
                os.close(pipe)
                pipe = -1
            else:
                os.kill(child, number)
        elif number == signal.SIGPIPE:
            os.close(pipe)  # the child has the last one
            pipe = -1
        status, _ = self._ended(child, reader, pipe)
        told = self.log.read_text()
        check(status in (0, 128 + number) or (status == -number != -signal.SIGPIPE), "status", status, number, told)
        check("Traceback" not in told, told)
        self.counts["all"] += status != 0
        self.counts[f"{self.backend} {name} {signal.Signals(number).name}"] += status != 0
        # A signal may come just after a lock was made; the next command removes that.
        left = {path for path in self._hidden() - before if path.suffix != ".lock" and path.name != ".lock"}
        check(status < 0 or not left, "left behind:", number, left)
        return status

    def nothing_left(self) -> None:
        """Check that there is no temporary file and no lock."""
        check(not self._hidden(), "left behind:", self._hidden())

    def _hidden(self) -> set[Path]:
        found = {*self.work.rglob(".*"), *self.temporary.iterdir()}
        return {path for path in found if path.name != ".rlsbench-report"}

    def _start(
        self, words: Sequence[object], *, pictures: bool, at: tuple[int, int] | None = None
    ) -> tuple[int, int, int]:
        """Fork: the child, where its number of operations can be read, and its standard output."""
        reader, writer = os.pipe()
        pipe, out = os.pipe()
        if child := os.fork():
            os.close(writer)
            os.close(out)
            return child, reader, pipe
        os.close(reader)
        if at is None or at[1] != signal.SIGPIPE:
            os.close(pipe)
        os.dup2(out, 1)
        os.close(out)
        os.dup2(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        sys.executable = str(self.worker)
        if not pictures:
            import rlsbench.report.evaluation_figures as evaluations
            import rlsbench.report.figures as figures

            figures.save_summary = lambda training, folder: folder  # type: ignore[assignment]
            evaluations.save_evaluation = lambda training, found, folder: folder  # type: ignore[assignment]
        done = [0]

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if event in OPERATIONS and str(arguments[0]).startswith(str(self.work)):
                done[0] += 1
                if at is not None and done[0] == at[0]:
                    if at[1] == signal.SIGPIPE:
                        os.close(pipe)
                    else:
                        os.kill(os.getpid(), at[1])

        sys.addaudithook(hook)
        status = 99
        try:
            from rlsbench.cli import main

            main(list(map(str, words)))
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        except BaseException:
            import traceback

            os.write(2, traceback.format_exc().encode())
        finally:
            os.write(writer, str(done[0]).encode())
            os._exit(status)

    def _ended(self, child: int, reader: int, pipe: int) -> tuple[int, str]:
        """Wait for a child and for all that it started: its exit status and operations."""
        deadline = time.monotonic() + SECONDS
        watched, descriptor = [pipe] if pipe >= 0 else [], os.pidfd_open(child)
        while descriptor not in (ready := select.select([descriptor, *watched], [], [], SECONDS)[0]):
            check(time.monotonic() < deadline, "a command hangs")
            if ready and not os.read(pipe, 1 << 16):  # what is printed
                watched.clear()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        text = os.read(reader, 100).decode()
        for number in (descriptor, reader, *([pipe] if pipe >= 0 else [])):
            os.close(number)
        deadline = time.monotonic() + 30.0
        with suppress(ChildProcessError):
            while True:
                check(time.monotonic() < deadline, "a process was left behind")
                if not os.waitpid(-1, os.WNOHANG)[0]:
                    time.sleep(0.01)
        return status, text


# What is on disk


def png_is_whole(path: Path) -> bool:
    content = path.read_bytes()
    return content.startswith(b"\x89PNG") and b"IEND" in content[-12:]


def curve(run: Path) -> list[list[str]]:
    """The rows of a learning curve without the times, which differ."""
    text = (run / "learning_curve.csv").read_text()
    check(text.endswith("\n"), "an incomplete row", run)
    head, *rows = [line.split(",") for line in text.splitlines()]
    kept = [i for i, name in enumerate(head) if "seconds" not in name]
    return [[row[i] for i in kept] for row in rows]


def check_run(run: Path, whole: Path) -> int:
    """Compare each file of a run with the unbroken run; the iteration of its last checkpoint."""
    from rlsbench import load_experiment
    from rlsbench.results import checkpoint_files, parse_document, read_checkpoint

    wanted = dict(checkpoint_files(whole))
    found = checkpoint_files(run)
    for number, path in found:
        checkpoint, other = read_checkpoint(path), read_checkpoint(wanted[number])
        checkpoint.verify()
        for name in ("w", "P"):
            check(np.array_equal(checkpoint.array(name), other.array(name)), "other numbers:", name, path)
    check(not list(run.rglob("*.damaged")), "a whole checkpoint was put aside")
    if (best := run / "checkpoints" / "best.h5").exists():
        best_one = read_checkpoint(best)
        best_one.verify()
        if best_one.iteration in wanted:
            check(np.array_equal(best_one.weights(), read_checkpoint(wanted[best_one.iteration]).weights()), "best")
    if (run / "learning_curve.csv").exists():
        rows = curve(run)
        check(rows == curve(whole)[: len(rows)], "another learning curve", run)
    if (run / "configuration.toml").exists():
        load_experiment(config=run / "configuration.toml")
    if (run / "result.json").exists():
        document = parse_document((run / "result.json").read_text())
        iterations = document.iterations  # type: ignore[union-attr]
        reference = parse_document((whole / "result.json").read_text()).iterations  # type: ignore[union-attr]
        pairs = [(i.iteration, i.correlation, i.firing_rate_hz) for i in iterations]
        check(pairs == [(i.iteration, i.correlation, i.firing_rate_hz) for i in reference][: len(pairs)], "results")
        if iterations and (run / "weights.npy").exists():
            weights = read_checkpoint(wanted[iterations[-1].iteration]).weights()
            check(np.array_equal(np.load(run / "weights.npy"), weights), "weights of another iteration", run)
    for picture in run.glob("*.png"):
        check(png_is_whole(picture), "torn:", picture)
    return found[-1][0] if found else 0


# Commands


def trainings(killer: Killer, kills: int) -> None:
    """`run` and `resume`, in chains."""
    from rlsbench.results import checkpoint_files, parse_document

    fixed = ["--backend", killer.backend, "--threads", 1, *OPTIONS, "--checkpoint-every", 1, "--save-best"]
    whole, run = killer.folder / "whole", killer.work / "run"
    killer.whole("run", *fixed, "--keep", 99, "--output", whole)
    killer.spans["resume"] = killer.spans["run"]
    until = killer.counts["all"] + kills
    while killer.counts["all"] < until:
        last, ends = 0, 0
        while last < ITERATIONS and ends < 12:
            if run.exists() and not checkpoint_files(run):
                shutil.rmtree(run)
            words = ("resume", run) if run.exists() else ("run", *fixed, "--output", run)
            status = killer.killed(*words, share=0.5)
            ends += 1
            now = check_run(run, whole)
            check(now >= last, "a checkpoint was lost:", last)
            last = now
            check(status or now == ITERATIONS, "status 0 after iteration", now)
            told = re.search(r"interrupted after iteration (\d+)", killer.log.read_text())
            if told is not None:
                document = parse_document((run / "result.json").read_text())
                check(int(told[1]) == now == len(document.iterations), "not saved", told)  # type: ignore[union-attr]
        if not checkpoint_files(run):
            shutil.rmtree(run, ignore_errors=True)
        killer.whole(*(("resume", run) if run.exists() else ("run", *fixed, "--output", run)), pictures=False)
        check(check_run(run, whole) == ITERATIONS, "not all iterations")
        for name in ("weights.npy", "result.json", "learning_curve.csv", "machine.json"):
            check((run / name).exists(), "missing:", name)
        check(len(curve(run)) == ITERATIONS, "not all rows")
        killer.nothing_left()
        shutil.rmtree(run)
        killer.counts["chains"] += 1


def evaluations(killer: Killer, kills: int) -> None:
    """`evaluate` on a complete run, whose other files stay what they are."""
    fixed = ["--backend", killer.backend, "--threads", 1, *OPTIONS, "--checkpoint-every", 4, "--keep", 99]
    whole, run = killer.folder / "evaluated", killer.work / "evaluation"
    killer.whole("run", *fixed, "--output", whole)
    original = shutil.copytree(whole, killer.folder / "trained")
    how = ("--trials", 3, "--threads", 1)
    killer.whole("evaluate", whole, *how)
    wanted = (whole / "evaluation.csv").read_bytes()

    def check_evaluation() -> None:
        check_run(run, whole)
        for name in ("weights.npy", "configuration.toml", "learning_curve.csv"):
            check((run / name).read_bytes() == (original / name).read_bytes(), "changed:", name)
        check((run / "result.json").exists(), "no results")
        if (run / "evaluation.csv").exists():
            check((run / "evaluation.csv").read_bytes() == wanted, "another evaluation")

    until = killer.counts["all"] + kills
    while killer.counts["all"] < until:
        shutil.copytree(original, run)
        for _ in range(killer.random.randrange(1, 4)):
            killer.killed("evaluate", run, *how)
            check_evaluation()
        killer.whole("evaluate", run, *how, pictures=False)
        check_evaluation()
        check('"evaluation"' in (run / "result.json").read_text(), "no evaluation in the results")
        killer.nothing_left()
        shutil.rmtree(run)
        killer.counts["chains"] += 1


def content(folder: Path) -> dict[str, bytes]:
    files = [p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def reports(killer: Killer, kills: int) -> None:
    """`report` into new folders and over earlier reports: each file is of one of the two."""
    from tests.fuzzing import committed_result

    sources = []
    for neurons in (10_000, 100_000):
        sources.append(killer.folder / f"{neurons}.json")
        sources[-1].write_text(committed_result("sinusoid", neurons))
    given = [sources[:1], sources]
    wanted = []
    for i, paths in enumerate(given):
        killer.whole("report", *paths, "-o", killer.folder / f"report-{i}")
        wanted.append(content(killer.folder / f"report-{i}"))
    allowed = {name: {of[name] for of in wanted if name in of} for of in wanted for name in of}
    until, output = killer.counts["all"] + kills, killer.work / "report"
    while killer.counts["all"] < until:
        for _ in range(killer.random.randrange(1, 5)):
            killer.killed("report", *killer.random.choice(given), "-o", output)
            for name, found in content(output).items():
                check(found in allowed[name], "torn:", name)
        which = killer.random.randrange(2)
        killer.whole("report", *given[which], "-o", output)
        check(content(output) == wanted[which], "another report")
        killer.nothing_left()
        shutil.rmtree(output)
        killer.counts["chains"] += 1


def sweeps(killer: Killer, kills: int) -> None:
    """`sweep`, whose worker must end with it; repeated until all runs are in the store."""
    from rlsbench.results import RunDocument, read_results

    short = SETTINGS | {"training.iterations": 2}
    short = [part for key, value in short.items() for part in ("--set", f"{key}={value}")]
    words = ["sweep", "--preset", "smoke", "--backend", killer.backend, "--seed", "1,2", "--threads", 1, *short]
    words += ["--iterations", 1, "--warm-up", 1]

    def found(store: Path) -> dict[int, list[Any]]:
        results = read_results([store])
        check(not results.problems, "torn:", *results.problems)
        runs = [d for _, d in results.documents]
        check(all(isinstance(d, RunDocument) for d in runs), "a run that failed:", runs)
        seeds = {d.configuration["training"]["seed"]: d.iterations for d in results.runs}
        check(len(seeds) == len(runs), "a run was made twice")
        return {seed: [(i.correlation, i.firing_rate_hz) for i in its] for seed, its in seeds.items()}

    killer.whole(*words, "-o", killer.folder / "store")
    wanted, until, store = found(killer.folder / "store"), killer.counts["all"] + kills, killer.work / "store"
    while killer.counts["all"] < until:
        for _ in range(killer.random.randrange(1, 5)):
            killer.killed(*words, "-o", store)
            if store.exists():
                check(found(store).items() <= wanted.items(), "other results")
                for part in store.glob(".*.part"):  # which a later sweep removes if it is old
                    os.utime(part, (0, 0))
        killer.whole(*words, "-o", store)
        check(found(store) == wanted, "other results")
        killer.nothing_left()
        shutil.rmtree(store)
        killer.counts["chains"] += 1


COMMANDS: dict[str, Callable[[Killer, int], None]] = {
    "run": trainings,
    "evaluate": evaluations,
    "report": reports,
    "sweep": sweeps,
}


def main(folder: Path, seed: int, backend: str, kills: dict[str, int]) -> None:
    temporary = folder / "temporary"
    temporary.mkdir(parents=True)
    os.environ["MPLCONFIGDIR"] = str(folder / "matplotlib")
    tempfile.tempdir = os.environ["TMPDIR"] = str(temporary)
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphans become children of this process
    import h5py  # noqa: F401 - imported once, here

    import rlsbench.cli
    import rlsbench.conformance
    import rlsbench.report.evaluation_figures
    import rlsbench.report.figures
    import rlsbench.report.folder  # noqa: F401

    _prepare_to_fork(backend)
    killer = Killer(folder, seed, backend)
    try:
        for command, count in kills.items():
            COMMANDS[command](killer, count)
    finally:
        print(json.dumps(killer.counts))


def _prepare_to_fork(backend: str) -> None:
    """Import all that a training needs, and load kernels, with threads that survive a fork."""
    os.environ["NUMBA_THREADING_LAYER"] = "workqueue"
    from rlsbench import load_experiment, prepare
    from rlsbench.results.machine import version_record

    version_record(backend)
    list(prepare(load_experiment("smoke", overrides=SETTINGS | {"numerics.threads": 1}), backend).run(1))
    if backend.startswith("numba"):
        from rlsbench_numba import compiling

        compiling._started = None


if __name__ == "__main__":
    given = {name: int(count) for name, _, count in (word.partition("=") for word in sys.argv[4:])}
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], given)
