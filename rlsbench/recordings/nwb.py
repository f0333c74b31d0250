"""Neurodata Without Borders: units, trials and events of an NWB file, read with h5py.

In: an open HDF5 file.  Out: a `Session`.  Knows no options and no rates.

The names follow the NWB schema (units, intervals/trials, general/extracellular_ephys/electrodes and
time series) and, for columns added by a laboratory, the layout of DANDI:000363 (Chen et al. 2024).

pynwb is not a dependency, although tests compare with it. It builds Python classes from the schema
stored in the file, follows links to other files, and rejects files that deviate from the schema.
This reader needs a dozen arrays, checks their declared sizes before it allocates memory, and must
report damaged or untrusted files in one line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.errors import RecordingError
from rlsbench.recordings.arrays import listed
from rlsbench.recordings.hdf5 import HDF5File
from rlsbench.recordings.sessions import MAX_EVENTS, Session, Trials, Units, check_units, region_column

_ELECTRODES = "general/extracellular_ephys/electrodes"
_EVENT_ROOTS = ("acquisition", "processing", "stimulus/presentation", "analysis")
_DEPTH = 5  # nested groups searched for event series
_SAME_S = 1e-3  # tolerance for the same moment in two tables


def is_nwb(file: HDF5File) -> bool:
    """Whether an HDF5 file is an NWB file."""
    top = file.children("")
    return "session_start_time" in top or "spike_times" in file.children("units")


def read_nwb(file: HDF5File) -> Session:
    """Read the spike times, trials and events of an NWB file.

    Raises RecordingError if it has no units with spike times, or its tables are inconsistent.
    """
    if not file.children("units"):
        raise RecordingError(f"{file.name} is an NWB file without units: sorted spikes are required")
    times, index = file.numbers("units/spike_times"), file.numbers("units/spike_times_index")
    if times is None or index is None:
        raise RecordingError(f"{file.name} lacks units' spike_times or spike_times_index: sorted spikes are required")
    notes: list[str] = []
    trials, spikes = _trials(file), _ragged(times.astype(np.float64, copy=False), index, "spike_times", file.name)
    count = len(spikes)
    check_units(count, file.name, 0 if trials is None else trials.rows)
    columns, observed = _unit_columns(file, count), _intervals(file, count, notes)
    units = Units(
        ids=tuple(map(str, columns.get("id", range(count)))),
        spike_times=spikes,
        columns=columns,
        regions=region_column(columns),
        target_regions=_target_regions(file, count, notes),
        observed_s=observed,
        good_trials=_good_trials(file, count, trials, observed, notes),
    )
    events = _events(file)
    if file.outside:
        notes.append(f"links to other files were not followed: {listed(file.outside)}")
    identity = ", ".join(filter(None, (file.text(name) for name in ("identifier", "session_start_time"))))
    return Session(
        source=file.name,
        format="NWB",
        units=units,
        trials=trials,
        events=events,
        notes=tuple(notes),
        identity=identity,
    )


def _ragged(values: NDArray[Any], index: NDArray[Any], name: str, file: str) -> list[NDArray[Any]]:
    """Split a column at its cumulative ends, stored in the smallest unsigned type."""
    check_units(index.size, file)
    ends = np.concatenate([[0], index.astype(np.int64)]) if index.ndim == 1 else np.array([-1])
    if (np.diff(ends) < 0).any() or ends[0] != 0 or ends[-1] > len(values) or values.ndim < 1:
        raise RecordingError(f"units/{name}_index in {file} does not match units/{name}: the file may be damaged")
    return [values[first:last] for first, last in pairwise(ends)]


def _unit_column(file: HDF5File, name: str, count: int) -> NDArray[Any] | None:
    """A column of the units; None if it is missing or has another length."""
    values = _column(file, f"units/{name}")
    return values if values is not None and len(values) == count else None


def _column(file: HDF5File, path: str) -> NDArray[Any] | None:
    """A column; numbers that stand for the texts of a column `..._elements` as those texts."""
    values, elements = file.column(path), file.column(f"{path}_elements")
    if values is None or elements is None or values.dtype.kind not in "iu":
        return values
    known = (values >= 0) & (values < len(elements))
    return elements[values] if known.all() else values


def _unit_lists(file: HDF5File, name: str, count: int) -> list[NDArray[Any]] | None:
    """A column with several values per unit; None if it is missing or does not match the units."""
    values, index = file.numbers(f"units/{name}"), file.numbers(f"units/{name}_index")
    if values is None:
        return None
    if index is None:
        if values.ndim < 1 or len(values) != count:
            return None
        return [values[i] if values.ndim > 1 else values[i : i + 1] for i in range(count)]
    rows = _ragged(values, index, name, file.name)
    return rows if len(rows) == count else None


def _unit_columns(file: HDF5File, count: int) -> dict[str, NDArray[Any]]:
    """The columns with one value per unit."""
    found = file.children("units")
    single = [n for n in found if f"{n}_index" not in found and not n.endswith(("_index", "_elements"))]
    columns = ((name, _unit_column(file, name, count)) for name in single if name != "electrodes")
    return {name: values for name, values in columns if values is not None}


def _target_regions(file: HDF5File, count: int, notes: list[str]) -> NDArray[Any] | None:
    """The location of each unit's first electrode."""
    locations = file.column(f"{_ELECTRODES}/location")
    if locations is None or locations.dtype != object:
        return None
    rows = _unit_lists(file, "electrodes", count)
    if rows is None:
        return None
    names = [_brain_region(text) for text in locations]
    first = [int(row.flat[0]) if row.size and row.dtype.kind in "iu" else -1 for row in rows]
    if any(row >= len(names) for row in first):
        notes.append("regions of electrodes were ignored: units/electrodes refers to electrodes that do not exist")
        return None
    return np.array([names[row] if row >= 0 else "" for row in first], dtype=object)


def _brain_region(location: str) -> str:
    """The region of a location, which is a name, or JSON with `brain_regions`."""
    try:
        found = json.loads(location)
    except (ValueError, RecursionError):
        return location
    return str(found.get("brain_regions", location)) if isinstance(found, dict) else location


def _intervals(file: HDF5File, count: int, notes: list[str]) -> list[NDArray[np.float64]] | None:
    """Observation intervals of each unit."""
    rows = _unit_lists(file, "obs_intervals", count)
    if rows is None:
        return None
    rows = [row.reshape(1, 2) if row.shape == (2,) else row for row in rows]
    if any(row.ndim != 2 or row.shape[1] != 2 or not np.isfinite(row).all() for row in rows):
        notes.append("units/obs_intervals was ignored: it does not hold pairs of times")
        return None
    return [row.astype(np.float64) for row in rows]


def _good_trials(
    file: HDF5File, count: int, trials: Trials | None, observed: list[NDArray[np.float64]] | None, notes: list[str]
) -> NDArray[np.bool_] | None:
    """Whether each unit was recorded well in each trial, (units, trials); True where unknown.

    If there are fewer flags than trials, only recorded trials have flags: flag i belongs to the
    trial of the unit's observation interval i.
    """
    if trials is None or trials.start_s is None or file.entry("units/is_good_trials") is None:
        return None
    flags = _unit_lists(file, "is_good_trials", count)
    if flags is None:
        notes.append("units/is_good_trials was ignored: it does not match the units")
        return None
    good = np.ones((count, trials.rows), dtype=bool)
    unknown = 0
    for unit, row in enumerate(flags):
        at = None if observed is None else _trials_of(observed[unit], trials.start_s)
        if row.shape == (trials.rows,):
            good[unit] = row.astype(bool)
        elif at is not None and row.shape == at.shape:
            good[unit] = False
            good[unit, at] = row.astype(bool)
        else:
            unknown += 1
    if unknown:
        notes.append(
            f"units/is_good_trials was ignored for {unknown} of {count} units: it matches neither their trials nor "
            "their observation intervals"
        )
    return good


def _trials_of(intervals: NDArray[np.float64], start_s: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """The row of the trial that starts with each interval; None unless every interval has one."""
    order = np.argsort(start_s, kind="stable")
    starts = start_s[order]
    place = np.searchsorted(starts, intervals[:, 0] - _SAME_S).clip(max=len(starts) - 1)
    same = np.abs(starts[place] - intervals[:, 0]) <= _SAME_S
    return order[place] if same.all() and len(np.unique(place)) == len(place) else None


def _trials(file: HDF5File) -> Trials | None:
    """The trials table, without columns that have several values per trial."""
    found = file.children("intervals/trials")
    single = [n for n in found if f"{n}_index" not in found and not n.endswith(("_index", "_elements"))]
    columns = {name: v for name in single if (v := _column(file, f"intervals/trials/{name}")) is not None}
    if not columns:
        return None
    start, stop = columns.get("start_time"), columns.get("stop_time")
    if start is None or stop is None or "O" in (start.dtype.kind, stop.dtype.kind):
        raise RecordingError(f"intervals/trials in {file.name} has no numeric start_time and stop_time")
    if any(len(values) != len(start) for values in columns.values()):
        shown = ", ".join(f"{name} {len(values)}" for name, values in columns.items())
        raise RecordingError(f"the columns of intervals/trials in {file.name} have different lengths: {shown}")
    columns.pop("id", None)
    return Trials(len(start), columns, start.astype(np.float64), stop.astype(np.float64)) if len(start) else None


def _events(file: HDF5File) -> dict[str, NDArray[np.float64]]:
    """Time series with timestamps by name, or by path if two share a name.

    Signals are omitted: series that are long or have several values per time.
    """

    def search(path: str, depth: int) -> Iterator[str]:
        found = file.children(path)
        if found.get("timestamps") == "dataset":
            times, data = file.entry(f"{path}/timestamps"), file.entry(f"{path}/data")
            short = times is not None and len(times.shape) == 1 and times.shape[0] <= MAX_EVENTS
            if short and (data is None or len(data.shape) < 2):
                yield path
        for name in sorted(found) if depth else ():
            if found[name] == "group":
                yield from search(f"{path}/{name}", depth - 1)

    paths = [path for root in _EVENT_ROOTS for path in search(root, _DEPTH)]
    names = [path.rsplit("/", 1)[-1] for path in paths]
    events: dict[str, NDArray[np.float64]] = {}
    for path, name in zip(paths, names, strict=True):
        times = file.column(f"{path}/timestamps")
        if times is not None and times.dtype.kind in "iuf":
            events[name if names.count(name) == 1 else path] = times.astype(np.float64)
    return events
