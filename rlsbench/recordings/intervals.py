"""Time intervals: unions, coverage and membership.

In: starts and stops in seconds.  Out: unions, masks and indices.  Knows nothing about recordings.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MARGIN_S = 1e-6  # equal times in a file may differ by rounding


def union(intervals: NDArray[np.float64]) -> NDArray[np.float64]:
    """The union of intervals, (n, 2), as sorted disjoint intervals; adjacent ones are merged."""
    intervals = intervals[np.isfinite(intervals).all(axis=1)]
    if not len(intervals):
        return intervals
    ordered = intervals[np.argsort(intervals[:, 0], kind="stable")]
    ends = np.maximum.accumulate(ordered[:, 1])
    first = np.concatenate([[True], ordered[1:, 0] > ends[:-1] + MARGIN_S])
    last = np.concatenate([first[1:], [True]])
    return np.stack([ordered[first, 0], ends[last]], axis=1)


def covers(
    disjoint: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64], margin: float = MARGIN_S
) -> NDArray[np.bool_]:
    """Whether each span from `low` to `high` lies in one of the sorted disjoint intervals."""
    if not len(disjoint):
        return np.zeros(len(low), dtype=bool)
    place = np.searchsorted(disjoint[:, 0], low + margin, side="right") - 1
    return np.asarray((place >= 0) & (high <= disjoint[place, 1] + margin))


def interval_of(times: NDArray[np.float64], start: NDArray[np.float64], stop: NDArray[np.float64]) -> NDArray[np.int64]:
    """The row of the latest-starting interval that contains each time, or -1."""
    order = np.argsort(start, kind="stable")
    place = np.searchsorted(start[order], times + MARGIN_S, side="right") - 1
    row = order[place.clip(min=0)]
    return np.where((place >= 0) & (times <= stop[row] + MARGIN_S), row, -1)
