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

MARGIN_S = 1e-6  # equal times in a file may differ by rounding
MAX_EVENTS = 10**6  # in one series; a longer series is a signal
MAX_UNITS = 100_000  # published sessions have some thousands of units and trials
MAX_UNIT_TRIALS = 2 * 10**8
REGIONS = ("anno_name", "brain_region", "brain_area", "region", "area", "acronym", "location")
QUALITY = ("classification", "quality", "unit_quality", "group", "kslabel", "ks_label", "label")
#: A column that has none of these may number shanks, tetrodes or probes, as `group` often does.
QUALITY_LABELS = {"good", "mua", "noise", "unsorted", "unlabelled", "unlabeled", "bad", "poor", "fair", "ok"}
QUALITY_LABELS |= {"excellent", "sua", "su", "mu", "single", "multi", "single unit", "multi unit", "multiunit"}


def check_units(units: int, source: str, trials: int = 0) -> None:
    """Raise RecordingError if there are more units and trials than a recording can have."""
    if units > MAX_UNITS or trials > MAX_EVENTS or units * trials > MAX_UNIT_TRIALS:
        raise RecordingError(
            f"{source} holds {units:,} units in {trials:,} trials: at most {MAX_UNITS:,} units, {MAX_EVENTS:,} trials "
            f"and {MAX_UNIT_TRIALS:,} pairs of both are supported"
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Units:
    """Sorted units."""

    ids: tuple[str, ...]
    spike_times: list[NDArray[np.float64]]  #: of each unit in seconds, increasing
    spike_trials: list[NDArray[np.int64]] | None = None  #: the trial row of each spike, if each trial has a clock
    #: Columns with a value for each unit: numbers, booleans or (object) texts, each (units,).
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    target_regions: NDArray[Any] | None = None  #: the target region of each unit's electrode
    observed_s: list[NDArray[np.float64]] | None = None  #: observation intervals of each unit, (intervals, 2)
    good_trials: NDArray[np.bool_] | None = None  #: whether a unit was recorded well in a trial, (units, trials)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def quality(self) -> str | None:
        """The preferred column that holds labels of unit quality, such as good and mua."""
        known = {name.casefold(): name for name in self.columns}
        named = (known[name] for name in QUALITY if name in known)
        texts = (name for name in named if self.columns[name].dtype == object)
        return next((n for n in texts if QUALITY_LABELS & {str(v).casefold() for v in self.columns[n]}), None)

    @property
    def regions(self) -> NDArray[Any] | None:
        """The preferred column that holds names of brain regions, "" if unknown."""
        found = (self.columns[name] for name in REGIONS if name in self.columns)
        return next((values for values in found if values.dtype == object and (values != "").any()), None)

    @property
    def labels(self) -> NDArray[Any] | None:
        """Region of each unit, or the target region of its electrode if that is unknown."""
        regions = self.regions
        if regions is None or self.target_regions is None:
            return regions if self.target_regions is None else self.target_regions
        return np.where(regions == "", self.target_regions, regions)


@dataclass(frozen=True, eq=False)
class Trials:
    """A table of trials."""

    rows: int
    columns: Mapping[str, NDArray[Any]]  #: numbers, booleans or (object) texts, each (rows,)
    #: Start of each trial on the clock of the spikes, (rows,); None if each trial has a clock.
    start_s: NDArray[np.float64] | None = None
    stop_s: NDArray[np.float64] | None = None  #: its stop


@dataclass(frozen=True, eq=False, kw_only=True)
class Session:
    """Units, trials and events of a recording.

    Spike times of NaN are omitted, and a note counts them. Raises RecordingError if there are no
    units, too many units and trials, or spike times are infinite.
    """

    source: str  #: name of the file, without its folder
    format: str
    units: Units
    trials: Trials | None = None
    tables: Mapping[str, Trials] = field(default_factory=dict)  #: other tables of intervals, by name
    events: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)  #: named series of times in seconds
    time_unit: str = "s"  #: unit of the spike times: s; while a file is read, also ms, us or samples
    notes: tuple[str, ...] = ()  #: what a reader chose or omitted
    identity: str = ""  #: what identifies the session among others; empty if that is unknown

    def __post_init__(self) -> None:
        """Sort the spikes of each unit, omit NaN, and reject invalid times."""
        units, trials = self.units, 0 if self.trials is None else self.trials.rows
        if not len(units):
            raise RecordingError(f"{self.source} holds no units: sorted spikes are required")
        check_units(len(units), self.source, trials)
        spikes, missing, where = self.spikes, 0, 0
        for unit, times in enumerate(units.spike_times):
            if np.isinf(times).any():
                raise RecordingError(
                    f"{self.source} has {np.isinf(times).sum()} infinite spike times of unit {units.ids[unit]}: times "
                    "must be in seconds"
                )
            known = ~np.isnan(times)
            if not known.all():
                missing, where = missing + int((~known).sum()), where + 1
                units.spike_times[unit] = times = times[known]
                if units.spike_trials is not None:
                    units.spike_trials[unit] = units.spike_trials[unit][known]
            if units.spike_trials is None and (np.diff(times) < 0).any():
                units.spike_times[unit] = np.sort(times)
        if missing:
            what = f"{missing} of {spikes} spike times, of {where} units,"
            if missing == spikes:
                raise RecordingError(f"{self.source}: {what} are NaN: times must be in seconds")
            object.__setattr__(self, "notes", (*self.notes, f"{what} were omitted: they are NaN"))

    @property
    def spans_s(self) -> NDArray[np.float64] | None:
        """Start and stop of each trial on the clock of the spikes, (trials, 2), if it has them."""
        trials = self.trials
        if trials is None or trials.start_s is None or trials.stop_s is None:
            return None
        return np.stack([trials.start_s, trials.stop_s], axis=1)

    @property
    def spikes(self) -> int:
        """Number of spikes of all units."""
        return sum(map(len, self.units.spike_times))


def as_vector(values: ArrayLike) -> NDArray[np.float64] | None:
    """The values as (n,) float64, or None if they are not a list of numbers."""
    try:
        vector = np.asarray(getattr(values, "t", values), dtype=np.float64)  # t: times of pynapple.Ts
    except (TypeError, ValueError):
        return None
    return vector if vector.ndim == 1 else None
