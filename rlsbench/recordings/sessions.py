"""A recording session as a file tells it: units and their spike times, trials, events.

In: arrays of a reader.  Out: a validated `Session`.  Knows no file format, no options and no rates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlsbench.errors import RecordingError

__all__ = ["MAX_EVENTS", "Session", "Trials", "Units", "session_from_mapping"]

MAX_EVENTS = 10**6  # of one series: what has more is a signal


@dataclass(frozen=True, eq=False, kw_only=True)
class Units:
    """Sorted units.

    Parameters
    ----------
    ids : tuple of str
    spike_times : list of ndarray
        Of each unit, in seconds; increasing.
    spike_trials : list of ndarray, optional
        For each spike the row of its trial, where each trial has a clock of its own.
    quality : dict of str to ndarray
        Columns that tell how well a unit is isolated, in the order in which they are to be asked: texts, (units,).
    regions : ndarray of str, optional
        Brain region of each unit, "" where it is not known.
    target_regions : ndarray of str, optional
        The region that the unit's electrode was aimed at.
    observed_s : list of ndarray, optional
        Of each unit the intervals in which its spikes were looked for, (intervals, 2).
    good_trials : ndarray of bool, optional, shape (units, trials)
        Whether a unit was well recorded in a trial.
    """

    ids: tuple[str, ...]
    spike_times: list[NDArray[np.float64]]
    spike_trials: list[NDArray[np.int64]] | None = None
    quality: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    regions: NDArray[Any] | None = None
    target_regions: NDArray[Any] | None = None
    observed_s: list[NDArray[np.float64]] | None = None
    good_trials: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> NDArray[Any] | None:
        """Region of each unit, or the region that its electrode was aimed at where that is all there is."""
        if self.regions is None or self.target_regions is None:
            return self.regions if self.target_regions is None else self.target_regions
        return np.where(self.regions == "", self.target_regions, self.regions)


@dataclass(frozen=True, eq=False, kw_only=True)
class Trials:
    """A table of trials.

    Parameters
    ----------
    rows : int
    columns : dict of str to ndarray
        Numbers, booleans or (object) texts, each (rows,).
    start_s, stop_s : ndarray, optional, shape (rows,)
        When each trial begins and ends, in the clock of the spikes; None where each trial has a clock of its own.
    """

    rows: int
    columns: Mapping[str, NDArray[Any]]
    start_s: NDArray[np.float64] | None = None
    stop_s: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Session:
    """Units, trials and events of a recording.

    Parameters
    ----------
    source : str
        Name of the file, without its folder.
    format : str
    units : Units
    trials : Trials, optional
    events : dict of str to ndarray
        Named series of times in seconds.
    notes : tuple of str
        What a reader had to choose or leave out.

    Raises
    ------
    RecordingError
        If there are no units, or spike times are not finite.
    """

    source: str
    format: str
    units: Units
    trials: Trials | None = None
    events: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Sort each unit's spikes, and refuse times that are none."""
        if not len(self.units):
            raise RecordingError(f"{self.source} holds no units: a recording of sorted spikes is needed")
        for unit, times in enumerate(self.units.spike_times):
            if not np.isfinite(times).all():
                raise RecordingError(
                    f"{self.source} has spike times of unit {self.units.ids[unit]} that are NaN or infinite: "
                    "give times in seconds"
                )
            if self.units.spike_trials is None and (np.diff(times) < 0).any():
                self.units.spike_times[unit] = np.sort(times)

    @property
    def spikes(self) -> int:
        """Number of spikes of all units."""
        return sum(map(len, self.units.spike_times))


def session_from_mapping(spike_times: Mapping[Any, ArrayLike]) -> Session:
    """A session from unit -> spike times in seconds.

    Raises
    ------
    RecordingError
        If a unit's spike times are not a list of numbers.
    """
    times: list[NDArray[np.float64]] = []
    for unit, values in spike_times.items():
        try:
            array = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError):
            array = np.empty((0, 0))
        if array.ndim != 1:
            raise RecordingError(f"the spike times of unit {unit!r} are no list of numbers: give times in seconds")
        times.append(array)
    return Session(source="spike times", format="mapping", units=Units(ids=_texts(spike_times), spike_times=times))


def _texts(values: Sequence[Any] | Mapping[Any, Any]) -> tuple[str, ...]:
    return tuple(str(value) for value in values)
