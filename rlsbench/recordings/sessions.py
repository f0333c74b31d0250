"""A recording session: units and their spike times, trials, events.

In: the arrays of a reader.  Out: a validated `Session`.  Knows no file format, options or rates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlsbench.errors import RecordingError

__all__ = ["MAX_EVENTS", "Session", "Trials", "Units", "session_from_mapping"]

MAX_EVENTS = 10**6  # in one series; a longer series is a signal


@dataclass(frozen=True, eq=False, kw_only=True)
class Units:
    """Sorted units.

    Parameters
    ----------
    ids : tuple of str
    spike_times : list of ndarray
        Spike times of each unit in seconds, increasing.
    spike_trials : list of ndarray, optional
        The trial row of each spike, if each trial has a separate clock.
    quality : dict of str to ndarray
        Columns of unit quality in order of preference: texts, each (units,).
    regions : ndarray of str, optional
        Brain region of each unit, "" if unknown.
    target_regions : ndarray of str, optional
        The target region of the unit's electrode.
    observed_s : list of ndarray, optional
        Observation intervals of each unit, (intervals, 2).
    good_trials : ndarray of bool, optional, shape (units, trials)
        Whether a unit was recorded well in a trial.
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
        """Region of each unit, or the target region of its electrode if that is unknown."""
        if self.regions is None or self.target_regions is None:
            return self.regions if self.target_regions is None else self.target_regions
        return np.where(self.regions == "", self.target_regions, self.regions)


@dataclass(frozen=True, eq=False)
class Trials:
    """A table of trials.

    Parameters
    ----------
    rows : int
    columns : dict of str to ndarray
        Numbers, booleans or (object) texts, each (rows,).
    start_s, stop_s : ndarray, optional, shape (rows,)
        Start and stop of each trial on the clock of the spikes; None if each trial has a separate
        clock.
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
        What a reader chose or omitted.

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
        """Sort the spikes of each unit, and reject invalid times."""
        if not len(self.units):
            raise RecordingError(f"{self.source} holds no units: sorted spikes are required")
        for unit, times in enumerate(self.units.spike_times):
            if not np.isfinite(times).all():
                raise RecordingError(
                    f"{self.source} has spike times of unit {self.units.ids[unit]} that are NaN or infinite: "
                    "times must be in seconds"
                )
            if self.units.spike_trials is None and (np.diff(times) < 0).any():
                self.units.spike_times[unit] = np.sort(times)

    @property
    def spikes(self) -> int:
        """Number of spikes of all units."""
        return sum(map(len, self.units.spike_times))


def session_from_mapping(spike_times: Mapping[Any, ArrayLike]) -> Session:
    """A session from a mapping of units to spike times (s); raises RecordingError if it is not."""
    times: list[NDArray[np.float64]] = []
    for unit, values in spike_times.items():
        try:
            array = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError):
            array = np.empty((0, 0))
        if array.ndim != 1:
            raise RecordingError(f"the spike times of unit {unit!r} are not a list of numbers in seconds")
        times.append(array)
    return Session(
        source="spike times", format="mapping", units=Units(ids=tuple(map(str, spike_times)), spike_times=times)
    )
