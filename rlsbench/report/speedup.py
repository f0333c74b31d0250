"""Speed-ups: ratios of the times of interleaved runs, with their spread.

In: a `Study`.  Out: a `Ratio`, or None if two lines must not be compared.

Runs are paired by repetition and seed: within a repetition of a sweep all backends run one after
another, so that a temporary disturbance of the machine affects both.
"""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import NamedTuple

from rlsbench.report.series import Line, Spread, Study
from rlsbench.results import RunDocument
from rlsbench.results.table import counted_seconds


class Ratio(NamedTuple):
    """The ratio of the times of two lines."""

    spread: Spread
    """Over pairs of runs."""
    interleaved: bool
    """Whether both runs of each pair belong to one sweep."""

    @property
    def is_clear(self) -> bool:
        """Whether all pairs agree on which line is faster."""
        return self.spread.low > 1 or self.spread.high < 1


def speedup(fast: Line, slow: Line, neurons: int) -> Ratio | None:
    """Seconds of `slow` over seconds of `fast`; None if repetition or software differ."""
    one, other = _by_repetition(fast, neurons), _by_repetition(slow, neurons)
    common = sorted(one.keys() & other.keys())
    if not common or not _same_software(fast.runs[0], slow.runs[0]):
        return None
    ratios = [_seconds(other[place]) / _seconds(one[place]) for place in common]
    interleaved = all(_sweeps(one[place]) & _sweeps(other[place]) for place in common)
    return Ratio(Spread.of(ratios), interleaved)


def baseline(study: Study, backend: str | None = None) -> Line | None:
    """The baseline of speed-ups: the slowest line (of a backend) at the size of the comparison."""
    size = study.compared_size(backend)
    if size is None:
        return None
    lines = [line for line in study.at(size) if backend in (None, line.contender.backend)]
    return lines[-1] if lines else None


def _by_repetition(line: Line, neurons: int) -> dict[tuple[int, int], list[RunDocument]]:
    found = defaultdict(list)
    for run in line.at(neurons):
        found[run.repetition.repetition if run.repetition else 0, run.seed].append(run)
    return found


def _seconds(runs: list[RunDocument]) -> float:
    return median(median(counted_seconds(run)) for run in runs)


def _sweeps(runs: list[RunDocument]) -> set[str]:
    return {run.repetition.sweep for run in runs if run.repetition is not None}


def _same_software(a: RunDocument, b: RunDocument) -> bool:
    """Whether commit and shared versions agree; plug-ins may record further packages."""
    shared = a.versions.keys() & b.versions.keys()
    return (a.commit, a.dirty) == (b.commit, b.dirty) and all(a.versions[k] == b.versions[k] for k in shared)
