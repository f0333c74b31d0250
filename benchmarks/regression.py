"""Whether the working tree is slower than a commit, by default the parent of the current one.

    python -m benchmarks.regression
    python -m benchmarks.regression --base v1.0 --factor 1.05 --repeats 10

Both trees are timed side by side with the same benchmarks, a few of those that asv tracks
(`benchmarks.worker`).  In each round, two fresh processes, one per tree, prepare one benchmark
after the other and time it in turns, so that disturbances affect both.  The median over turns is
one ratio. Suspect benchmarks (`benchmarks.decision`) are measured again in twice as many rounds.

The benchmarks of the working tree run in both trees. The base must therefore have the modules that
they import, as every commit from 0ea7d05 on does.

Exit status: 0 if nothing became slower, 1 if something did, 2 if it could not be measured.
Benchmarks that only the working tree has are listed and left out.  Kernels are compiled before the
timing, into a separate cache per tree.  Files kept between runs are in .asv/regression and may be
deleted at any time.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import click
import numpy as np

from benchmarks.decision import Estimate, estimate, is_slower, is_suspect, ratios_needed
from benchmarks.worker import SUBJECTS

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / ".asv" / "regression"

OLDEST = "0ea7d05"  # commit with all that today's benchmarks import
TURN_SECONDS = 0.05  # a turn has as many calls as fit into this time, at least one
TURNS = 6  # per tree and round
CONFIRMING = 2  # rounds of the second measurement relative to the first


class CannotMeasureError(click.ClickException):
    """Exit status 2."""

    exit_code = 2


class Worker(Protocol):
    """The process of one tree."""

    def prepare(self, name: str) -> float | str:
        """Set up a benchmark; returns the seconds of one call, or the reason why there are none."""

    def seconds(self, calls: int) -> float:
        """Time some calls of the prepared benchmark; returns the mean seconds of one."""

    def close(self) -> None:
        """End the process."""


Start = Callable[[str], Worker]
"""Starts a process for the tree `base` or `head`."""


class Timings(NamedTuple):
    """Timings of one benchmark."""

    base: list[float]
    """Seconds of one call, the median of each round."""
    head: list[float]
    ratios: list[float]
    """head to base, the median of each round."""


class Row(NamedTuple):
    """A line of the table."""

    name: str
    base: float
    head: float
    found: Estimate
    verdict: str


class Process:
    """A `benchmarks.worker` with the sources of one tree."""

    def __init__(self, tree: Path, cache: Path, log: Path) -> None:
        environment = {
            k: v for k, v in os.environ.items() if k != "OPENBLAS_CORETYPE"
        }  # a wrong value slows NumPy down
        environment |= {
            "PYTHONPATH": os.pathsep.join(str(tree / part) for part in ("", "backends", "reference")),
            "PYTHONHASHSEED": "0",
            "NUMBA_CACHE_DIR": str(cache),
        }
        self.log = log
        with log.open("a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-P", str(ROOT / "benchmarks" / "worker.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
                cwd=log.parent,
            )
        found = Path(self._answer()["rlsbench"])
        if not found.is_relative_to(tree):
            self.close()
            raise CannotMeasureError(f"rlsbench was imported from {found.parent}, not from {tree}")

    def _ask(self, **what: object) -> dict[str, Any]:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # the process has ended; reading the answer tells why
            print(json.dumps(what), file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            said = self.log.read_text(errors="replace").split("\n")
            raise CannotMeasureError(
                f"a process ended with status {self.process.wait()}: {' '.join(said[-2:]).strip() or 'no output'}"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer

    def prepare(self, name: str) -> float | str:
        answer = self._ask(prepare=name)
        return answer["reason"] if "reason" in answer else float(answer["seconds"])

    def seconds(self, calls: int) -> float:
        return float(self._ask(calls=calls)["seconds"])

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


class Pair:
    """Two fresh processes, one per tree."""

    def __init__(self, start: Start) -> None:
        with ThreadPoolExecutor(2) as pool:
            starting = [pool.submit(start, tree) for tree in ("base", "head")]
        self.started = [future.result() for future in starting if future.exception() is None]
        try:
            self.base, self.head = (future.result() for future in starting)
        except CannotMeasureError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End both processes."""
        for worker in self.started:
            worker.close()

    def prepare(self, name: str) -> tuple[float | str, float | str]:
        """Prepare both at once, since this is not timed."""
        with ThreadPoolExecutor(2) as pool:
            base, head = pool.map(lambda worker: worker.prepare(name), (self.base, self.head))
        return base, head


def call_counts(names: Sequence[str], start: Start) -> tuple[dict[str, int], dict[str, str]]:
    """Compile everything, and find out which benchmarks run.

    Returns
    -------
    dict
        Calls per turn, by benchmark.
    dict
        Benchmarks that the base lacks, with the reason.

    Raises
    ------
    CannotMeasureError
        If the working tree lacks a benchmark, or the base lacks all of them.
    """
    with Pair(start) as pair:
        found = {name: pair.prepare(name) for name in names}
    counts: dict[str, int] = {}
    lacking: dict[str, str] = {}
    for name, (base, head) in found.items():
        if isinstance(head, str):
            raise CannotMeasureError(f"{name}: {head}")
        if isinstance(base, str):
            lacking[name] = base
        else:
            counts[name] = max(1, ceil(TURN_SECONDS / max(base, head)))
    if not counts:
        why = f"no benchmark runs in the base, which must be {OLDEST} or later: {lacking[names[0]]}"
        raise CannotMeasureError(why)
    return counts, lacking


def measure(counts: dict[str, int], rounds: int, start: Start, say: Callable[[str], None]) -> dict[str, Timings]:
    """Time benchmarks in several rounds of fresh processes."""
    timings = {name: Timings([], [], []) for name in counts}
    for index in range(rounds):
        with Pair(start) as pair:
            for name, calls in counts.items():
                say(f"round {index + 1} of {rounds}: {name}")
                if any(isinstance(seconds, str) for seconds in pair.prepare(name)):
                    raise CannotMeasureError(f"{name}: it could be prepared at first, but not again")
                base, head = take_turns(pair, calls, first=index % 2)
                timings[name].base.append(float(np.median(base)))
                timings[name].head.append(float(np.median(head)))
                timings[name].ratios.append(float(np.median(np.divide(head, base))))
    return timings


def take_turns(pair: Pair, calls: int, first: int) -> tuple[list[float], list[float]]:
    """Seconds of the turns of base and head, in the order base head, head base, base head, ..."""
    base: list[float] = []
    head: list[float] = []
    for turn in range(first, first + TURNS):
        order = [(pair.base, base), (pair.head, head)]
        for worker, seconds in order if turn % 2 == 0 else reversed(order):
            seconds.append(worker.seconds(calls))
    return base, head


def compare(
    names: Sequence[str], factor: float, repeats: int, start: Start, say: Callable[[str], None]
) -> tuple[list[Row], dict[str, str]]:
    """Measure, measure suspect benchmarks again, and decide.

    Returns
    -------
    list of Row
    dict
        Benchmarks that the base lacks, with the reason.
    """
    say("compiling")
    counts, lacking = call_counts(names, start)
    timings = measure(counts, repeats, start, say)
    suspected = {name: calls for name, calls in counts.items() if is_suspect(timings[name].ratios, factor)}
    confirming = max(CONFIRMING * repeats, ratios_needed(len(counts)))
    again = measure(suspected, confirming, start, say) if suspected else {}
    rows = []
    for name in counts:
        last = again.get(name, timings[name])
        verdict = "ok"
        if name in again:
            verdict = "SLOWER" if is_slower(last.ratios, factor, len(counts)) else "ok, measured again"
        found = estimate(last.ratios, len(counts))
        rows.append(Row(name, float(np.median(last.base)), float(np.median(last.head)), found, verdict))
    return rows, lacking


def table(rows: Sequence[Row]) -> str:
    """The results as text."""
    lines = [f"{'':28} {'base':>10} {'head':>10} {'ratio':>6} {'interval':>13}  verdict"]
    lines += [
        f"{row.name:28} {1e3 * row.base:7.2f} ms {1e3 * row.head:7.2f} ms {row.found.ratio:6.3f} "
        f"{row.found.low:6.3f}-{row.found.high:.3f}  {row.verdict}"
        for row in rows
    ]
    return "\n".join(lines)


def git(*arguments: str) -> bytes:
    """Output of git."""
    try:
        return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise CannotMeasureError("git is not installed") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().split("\n")[-1]
        raise CannotMeasureError(f"git {' '.join(arguments)}: {said}") from None


def take_base(revision: str) -> tuple[Path, str]:
    """Extract the sources of a commit, and remove those of other commits."""
    try:
        commit = git("rev-parse", "--verify", f"{revision}^{{commit}}").decode().strip()
    except CannotMeasureError as error:
        raise CannotMeasureError(
            f"there is no commit {revision!r} here ({error.message}); try git fetch --deepen 1"
        ) from None
    folder = KEPT / f"base-{commit[:12]}"
    for other in KEPT.glob("base-*"):
        if other != folder:
            shutil.rmtree(other)
    with tarfile.open(fileobj=io.BytesIO(git("archive", commit))) as archive:
        safely: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # from Python 3.11.4 on
        archive.extractall(folder / "tree", **safely)  # keeps times, so the cache stays valid
    return folder, commit


@click.command()
@click.option("--base", default="HEAD^", show_default=True, help=f"The commit to compare with, {OLDEST} or later.")
@click.option("--factor", type=click.FloatRange(min=1.0), default=1.1, show_default=True, help="Accepted slow-down.")
@click.option("--repeats", type=click.IntRange(min=1), default=6, show_default=True, help="Rounds of fresh processes.")
def main(base: str, factor: float, repeats: int) -> None:
    """Compare the working tree with a commit; fail if something became slower."""
    folder, commit = take_base(base)
    trees = {"base": (folder / "tree", folder / "numba"), "head": (ROOT, KEPT / "head")}
    logs = {tree: KEPT / f"{tree}.log" for tree in trees}
    for log in logs.values():
        log.write_text("")

    def start(tree: str) -> Worker:
        return Process(*trees[tree], logs[tree])

    def say(what: str) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{what:72}\r", nl=False, err=True)

    rows, lacking = compare(list(SUBJECTS), factor, repeats, start, say)
    current = git("rev-parse", "--short=12", "HEAD").decode().strip()
    changed = " and changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    click.echo(f"base {commit[:12]}, head {current}{changed}; {repeats} rounds, slower means by more than {factor:g}")
    click.echo(table(rows))
    for name, reason in lacking.items():
        click.echo(f"{name:28} left out: the base has none; {reason}")
    slower = [row.name for row in rows if row.verdict == "SLOWER"]
    click.echo(f"SLOWER: {'; '.join(slower)}" if slower else "nothing became slower")
    sys.exit(1 if slower else 0)


if __name__ == "__main__":
    main()
