"""Neurodata Without Borders: units, trials and events of an NWB file, in HDF5 or Zarr.

In: their arrays by path.  Out: a `Session`.  Knows no options and no rates.

The names follow the NWB schema (units, intervals/trials, general/extracellular_ephys/electrodes and
time series) and, for columns added by a laboratory, the layout of DANDI:000363 (Chen et al. 2024).

pynwb is not a dependency, although tests compare with it. It builds Python classes from the schema
stored in the file, follows links to other files, and rejects files that deviate from the schema.
This reader needs a dozen arrays, checks their declared sizes before it allocates memory, and must
report damaged or untrusted files in one line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from rlsbench.errors import RecordingError
from rlsbench.recordings.arrays import Tree, listed
from rlsbench.recordings.sessions import MAX_EVENTS, Session, Trials, Units, check_units

T = TypeVar("T")
_ELECTRODES = "general/extracellular_ephys/electrodes"
_ROOTS = ("acquisition", "processing", "stimulus/presentation", "analysis", "intervals", "events")
_DEPTH = 5  # nested groups searched for events and tables
_LABELS = 20  # an annotation with more different texts is not one of a few events
_SAME_S = 1e-3  # tolerance for the same moment in two tables


def is_nwb(file: Tree) -> bool:
    """Whether these are the arrays of an NWB file."""
    top = file.children("")
    return "session_start_time" in top or "spike_times" in file.children("units")


def is_units(file: Tree, path: str) -> bool:
    """Whether a table of units is at a path."""
    return {"spike_times", "spike_times_index"} <= file.children(path).keys()


def read_nwb(file: Tree, path: str | None = None) -> Session:
    """Read the spike times, trials and events of an NWB file.

    The units are in the table at `path`; by default in `units`, or in the only one elsewhere.
    Raises RecordingError if it has no units with spike times, or its tables are inconsistent.
    """
    notes: list[str] = []
    groups = _groups(file)
    path = _units_path(file, groups, notes) if path is None else path.strip("/")
    times, index = file.numbers(f"{path}/spike_times"), file.numbers(f"{path}/spike_times_index")
    if times is None or index is None:
        raise RecordingError(f"{file.name} lacks units' spike_times or spike_times_index: sorted spikes are required")
    trials = _trials(file, "intervals/trials", groups.get("intervals/trials", {}))
    spikes = _ragged(times.astype(np.float64, copy=False), index, f"{path}/spike_times", file.name)
    table = _Table(file, path, len(spikes))
    check_units(table.rows, file.name, 0 if trials is None else trials.rows)
    columns, observed = table.columns(), _intervals(table, notes)
    units = Units(
        ids=tuple(map(str, columns.get("id", range(table.rows)))),
        spike_times=spikes,
        columns=columns,
        target_regions=_target_regions(table, notes),
        observed_s=observed,
        good_trials=_good_trials(table, trials, observed, notes),
    )
    tables = _tables(file, groups, notes)
    events = _events(file, groups, tables)
    if file.unread:
        notes.append(f"not read: {listed(f'{place} ({why})' for place, why in file.unread.items())}")
    identity = ", ".join(filter(None, (file.text(name) for name in ("identifier", "session_start_time"))))
    return Session(
        source=file.name,
        format="NWB",
        units=units,
        trials=trials,
        tables=tables,
        events=events,
        notes=tuple(notes),
        identity=identity,
    )


def _groups(file: Tree) -> dict[str, dict[str, str]]:
    """The groups that may be events or tables, with their members."""

    def search(path: str, depth: int) -> Iterator[tuple[str, dict[str, str]]]:
        found = file.children(path)
        yield path, found
        for name in sorted(found) if depth else ():
            if found[name] == "group":
                yield from search(f"{path}/{name}", depth - 1)

    return {path: found for root in _ROOTS for path, found in search(root, _DEPTH)}


def _units_path(file: Tree, groups: Mapping[str, Mapping[str, str]], notes: list[str]) -> str:
    others = [path for path, found in groups.items() if {"spike_times", "spike_times_index"} <= found.keys()]
    if file.children("units"):
        if others:
            notes.append(f"other tables of units, for --dataset: {listed(others)}")
        return "units"
    if len(others) > 1:
        raise RecordingError(f"{file.name} has several tables of units, {listed(others)}: choose one with --dataset")
    if not others:
        raise RecordingError(f"{file.name} is an NWB file without units: sorted spikes are required")
    notes.append(f"the units are those of {others[0]}")
    return others[0]


class _Table(NamedTuple):
    """The table of units."""

    file: Tree
    path: str
    rows: int

    def column(self, name: str) -> NDArray[Any] | None:
        """A column; None if it is missing or has another length."""
        values = _column(self.file, f"{self.path}/{name}")
        return values if values is not None and len(values) == self.rows else None

    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns with one value per unit."""
        columns = {name: self.column(name) for name in _single(self.file.children(self.path)) if name != "electrodes"}
        return {name: values for name, values in columns.items() if values is not None}

    def lists(self, name: str) -> list[NDArray[Any]] | None:
        """A column with several values per unit; None if missing or inconsistent."""
        values, index = (self.file.numbers(f"{self.path}/{name}{suffix}") for suffix in ("", "_index"))
        if values is None:
            return None
        if index is None:
            if values.ndim < 1 or len(values) != self.rows:
                return None
            return [values[i] if values.ndim > 1 else values[i : i + 1] for i in range(self.rows)]
        rows = _ragged(values, index, f"{self.path}/{name}", self.file.name)
        return rows if len(rows) == self.rows else None


def _single(found: Mapping[str, str]) -> list[str]:
    """The columns of a table with one value per row."""
    return [n for n in found if f"{n}_index" not in found and not n.endswith(("_index", "_elements"))]


def _ragged(values: NDArray[Any], index: NDArray[Any], name: str, file: str) -> list[NDArray[Any]]:
    """Split a column at its cumulative ends, stored in the smallest unsigned type."""
    check_units(index.size, file)
    ends = np.concatenate([[0], index.astype(np.int64)]) if index.ndim == 1 else np.array([-1])
    if (np.diff(ends) < 0).any() or ends[0] != 0 or ends[-1] > len(values) or values.ndim < 1:
        raise RecordingError(f"{name}_index in {file} does not match {name}: the file may be damaged")
    return [values[first:last] for first, last in pairwise(ends)]


def _column(file: Tree, path: str) -> NDArray[Any] | None:
    """A column; numbers that stand for the texts of a column `..._elements` as those texts."""
    values, elements = file.column(path), file.column(f"{path}_elements")
    if values is None or elements is None or values.dtype.kind not in "iu":
        return values
    known = (values >= 0) & (values < len(elements))
    return elements[values] if known.all() else values


def _target_regions(table: _Table, notes: list[str]) -> NDArray[Any] | None:
    """The location of each unit's first electrode."""
    locations = table.file.column(f"{_ELECTRODES}/location")
    if locations is None or locations.dtype != object:
        return None
    rows = table.lists("electrodes")
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


def _intervals(table: _Table, notes: list[str]) -> list[NDArray[np.float64]] | None:
    """Observation intervals of each unit."""
    rows = table.lists("obs_intervals")
    if rows is None:
        return None
    rows = [row.reshape(1, 2) if row.shape == (2,) else row for row in rows]
    if any(row.ndim != 2 or row.shape[1] != 2 or not np.isfinite(row).all() for row in rows):
        notes.append("units/obs_intervals was ignored: it does not hold pairs of times")
        return None
    return [row.astype(np.float64) for row in rows]


def _good_trials(
    table: _Table, trials: Trials | None, observed: list[NDArray[np.float64]] | None, notes: list[str]
) -> NDArray[np.bool_] | None:
    """Whether each unit was recorded well in each trial, (units, trials); True where unknown.

    If there are fewer flags than trials, only recorded trials have flags: flag i belongs to the
    trial of the unit's observation interval i.
    """
    if trials is None or trials.start_s is None or "is_good_trials" not in table.file.children(table.path):
        return None
    flags = table.lists("is_good_trials")
    if flags is None:
        notes.append("units/is_good_trials was ignored: it does not match the units")
        return None
    good = np.ones((table.rows, trials.rows), dtype=bool)
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
            f"units/is_good_trials was ignored for {unknown} of {table.rows} units: it matches neither their trials "
            "nor their observation intervals"
        )
    return good


def _trials_of(intervals: NDArray[np.float64], start_s: NDArray[np.float64]) -> NDArray[np.int64] | None:
    """The row of the trial that starts with each interval; None unless every interval has one."""
    order = np.argsort(start_s, kind="stable")
    starts = start_s[order]
    place = np.searchsorted(starts, intervals[:, 0] - _SAME_S).clip(max=len(starts) - 1)
    same = np.abs(starts[place] - intervals[:, 0]) <= _SAME_S
    return order[place] if same.all() and len(np.unique(place)) == len(place) else None


def _trials(file: Tree, path: str, found: Mapping[str, str]) -> Trials | None:
    """A table of intervals, without columns that have several values per row."""
    columns = {name: v for name in _single(found) if (v := _column(file, f"{path}/{name}")) is not None}
    if not columns:
        return None
    start = columns.get("start_time", columns.get("timestamp"))
    stop = columns.get("stop_time", columns.get("timestamp"))
    if start is None or stop is None or "O" in (start.dtype.kind, stop.dtype.kind):
        raise RecordingError(f"{path} in {file.name} has no numeric start_time and stop_time")
    if any(len(values) != len(start) for values in columns.values()):
        shown = ", ".join(f"{name} {len(values)}" for name, values in columns.items())
        raise RecordingError(f"the columns of {path} in {file.name} have different lengths: {shown}")
    columns.pop("id", None)
    return Trials(len(start), columns, start.astype(np.float64), stop.astype(np.float64)) if len(start) else None


def _tables(file: Tree, groups: Mapping[str, Mapping[str, str]], notes: list[str]) -> dict[str, Trials]:
    """The tables of intervals or events other than the trials, by name."""
    tables: dict[str, Trials] = {}
    for path, found in groups.items():
        if path != "intervals/trials" and ({"start_time", "stop_time"} <= found.keys() or "timestamp" in found):
            try:
                table = _trials(file, path, found)
            except RecordingError as error:
                notes.append(f"{path} was ignored: {error}")
            else:
                tables |= {} if table is None else {path: table}
    return _by_name(tables)


def _by_name(values: Mapping[str, T]) -> dict[str, T]:
    """Values by the last part of their path, or by the path if two share that."""
    names = [path.rsplit("/", 1)[-1] for path in values]
    return {
        name if names.count(name) == 1 else path: value
        for (path, value), name in zip(values.items(), names, strict=True)
    }


def _events(
    file: Tree, groups: Mapping[str, Mapping[str, str]], tables: Mapping[str, Trials]
) -> dict[str, NDArray[np.float64]]:
    """Time series with timestamps, and starts of tables, by name; those with a label too.

    Signals are omitted: series that are long or have several values per time.
    """
    series, labels = {}, {}
    for path, found in groups.items():
        if found.get("timestamps") != "dataset":
            continue
        entry, data = file.entry(f"{path}/timestamps"), file.entry(f"{path}/data")
        short = entry is not None and len(entry.shape) == 1 and entry.shape[0] <= MAX_EVENTS
        if short and (data is None or len(data.shape) < 2):
            times = file.column(f"{path}/timestamps")
            if times is not None and times.dtype.kind in "iuf":
                series[path] = times.astype(np.float64)
                labels[path] = file.column(f"{path}/data") if data is not None and data.kind == "T" else None
    events = _by_name(series)
    texts = [(name, column) for name, column in zip(events, labels.values(), strict=True)]
    for name, table in tables.items():
        if name not in events and table.start_s is not None:
            events[name] = table.start_s
            if "timestamp" in table.columns:
                texts += [(name, column) for column in table.columns.values() if column.dtype == object]
    for name, column in texts:
        if column is not None and column.dtype == object and len(column) == len(events[name]):
            different = np.unique(column)
            if len(different) <= _LABELS:
                events |= {f"{name}: {label}": events[name][column == label] for label in different}
    return events
