"""Spike times among the variables of a file: which of them are units, trials and events.

In: named variables, as MATLAB and NPZ files hold them.  Out: a `Session`, or None if no variable
holds spike times.  Knows no file format and no options.

A variable is an `Entry` (numbers), a text, an object array (a cell array, or a field of a struct
array) of variables, or a dict of variables (a struct).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.errors import RecordingError
from rlsbench.recordings.arrays import Entry, listed, matrices_of
from rlsbench.recordings.names import time_unit
from rlsbench.recordings.sessions import MAX_EVENTS, Session, Trials, Units, check_units
from rlsbench.recordings.tables import Table, session_of_table

Variables = Mapping[str, Any]
Read = Callable[[Entry], NDArray[Any]]

_TRAINS = re.compile(r"(spikes?|spks?)(_?times?)?(_?[mu]?s(ec)?)?|ts|st|times|time_?stamps", re.IGNORECASE)
_NUMBERED = re.compile(r".*\d[a-z]?", re.IGNORECASE)  # unit_3, arr_0, SPK01a
_START = re.compile(r"(trial_?)?(t_?)?(start|begin|onset)(_?times?)?(_?s)?", re.IGNORECASE)
_STOP = re.compile(r"(trial_?)?(t_?)?(stop|end|offset)(_?times?)?(_?s)?", re.IGNORECASE)
_TSGROUP = ("t", "index", "keys", "start", "end")
_IDS = ("id", "ids", "unit_id", "unit_ids", "unit", "cluster_id", "cluster", "name", "keys")


def entries_of(variables: Variables) -> list[Entry]:
    """The numbers of all variables, each under its path."""
    return [
        value._replace(name=f"{path}{name}")
        for path, group in _groups(variables)
        for name, value in group.items()
        if isinstance(value, Entry)
    ]


def session_of_variables(
    variables: Variables, source: str, format: str, read: Read, dataset: str | None = None
) -> Session | None:
    """The session of a file, or None if no variable holds spike times in s.

    Units are a cell array, or a field of a struct array, with one vector for each unit, or for each
    unit and trial; or a vector of units and one of times; or vectors whose names end with a number.
    Trials are a struct with starts and stops, and events are vectors of increasing times.

    Raises RecordingError if several variables may hold the spike times, unless `dataset` names one.
    """
    read = cache(read)  # an entry of an NPZ file can be read once
    if dataset is None and all(_is_vector(variables.get(name)) for name in _TSGROUP):
        return _of_tsgroup(variables, source, read)
    groups = dict(_groups(variables))
    trains = {f"{path}{name}": (group, value) for path, group in groups.items() for name, value in group.items()}
    trains = {place: (group, value) for place, (group, value) in trains.items() if _is_trains(value)}
    shown = matrices_of(entries_of(variables))
    matrices = any(min(entry.shape) > 1 and len(entry.shape) == 2 and entry.kind != "b" for entry in shown)
    chosen = dataset.strip("/") if dataset is not None else _chosen([*trains], source, matrices)
    if chosen in trains:
        group, cells = trains[chosen]
        session: Session | None = _of_trains(group, cells, chosen, source, format, read)
    elif dataset is None and not matrices:
        found = (_of_vectors(path, group, source, format, read) for path, group in groups.items())
        session = next((s for s in found if s is not None), None)
    else:
        session = None
    if session is None:
        return None
    tables = {path.rstrip("/"): table for path, group in groups.items() if (table := _trials(group, read))}
    events = {}
    for path, group in groups.items():
        for name, value in group.items() if path.rstrip("/") not in tables else ():
            times = None if name in session.units.ids else _increasing(value, read)
            if times is not None:
                events[name if name not in events else f"{path}{name}"] = times
    chosen = next((name for name in ("trials", *tables) if name in tables), None)
    trials, own = None if chosen is None else tables[chosen], session.trials
    if own is not None and trials is not None and trials.rows == len(session.units) != own.rows:
        raise RecordingError(f"the spike times in {source} are {trials.rows} trials x {own.rows} units: transpose them")
    if own is not None:  # with clocks of their own
        further = trials.columns if trials is not None and trials.rows == own.rows else {}
        trials = Trials(own.rows, {**further, **own.columns})
    others = {name: table for name, table in tables.items() if name != chosen}
    return replace(session, trials=trials, tables=others, events=events)


def _groups(variables: Variables, path: str = "") -> Iterator[tuple[str, Variables]]:
    """The variables at each level: the path of its struct with a slash, and all in it."""
    yield path, variables
    for name, value in variables.items():
        if isinstance(value, dict):
            yield from _groups(value, f"{path}{name}/")


def _is_vector(value: Any) -> bool:
    return isinstance(value, Entry) and value.kind in "biuf" and math.prod(value.shape) <= max(value.shape, default=1)


def _is_trains(value: Any) -> bool:
    """Whether these may be the spike times of units, rather than numbers of units."""
    if not isinstance(value, np.ndarray) or not all(map(_is_vector, value.flat)):
        return False
    return any(math.prod(entry.shape) > 1 for entry in value.flat)


def _chosen(trains: list[str], source: str, matrices: bool) -> str | None:
    """The variable with spike times; beside matrices of rates, only one that is named so."""
    named = [place for place in trains if _TRAINS.fullmatch(place.rsplit("/", 1)[-1])]
    candidates = named or ([] if matrices else trains)
    if len(candidates) > 1:
        raise RecordingError(
            f"{source} holds several lists of vectors, {listed(candidates)}: choose the spike times with --dataset NAME"
        )
    return candidates[0] if candidates else None


def _of_trains(group: Variables, cells: NDArray[Any], name: str, source: str, format: str, read: Read) -> Session:
    by_trial = cells.ndim == 2 and min(cells.shape) > 1
    if not by_trial and cells.size != max(cells.shape):
        shape = " x ".join(map(str, cells.shape))
        raise RecordingError(
            f"{name} in {source} is a cell array of {shape}: give one with a cell for each unit, or each unit and trial"
        )
    rows = cells if by_trial else cells.reshape(-1, 1)
    what = f"units: the {len(rows)} {'rows' if by_trial else 'vectors'} of {name}"
    check_units(len(rows), source, rows.shape[1])
    parts = [[_vector(entry, read).astype(np.float64) for entry in row] for row in rows]
    columns = {key: column for key in group if (column := _column(group[key], len(rows), read)) is not None}
    ids = next((columns[key] for key in columns if key.casefold() in _IDS), np.arange(1, len(rows) + 1))
    units = Units(
        ids=tuple(map(str, ids)),
        spike_times=[np.concatenate(row) for row in parts],
        spike_trials=[np.repeat(np.arange(len(row)), [*map(len, row)]) for row in parts] if by_trial else None,
        columns=columns,
    )
    return Session(
        source=source,
        format=format,
        units=units,
        trials=Trials(rows.shape[1], {"trial": np.arange(1, rows.shape[1] + 1)}) if by_trial else None,
        time_unit=time_unit(name.rsplit("/", 1)[-1]) or "s",
        notes=(what + ", and trials its columns, each with the event at 0" * by_trial,),
    )


def _of_vectors(path: str, group: Variables, source: str, format: str, read: Read) -> Session | None:
    """Vectors of times and units, or a vector for each unit."""
    vectors = {name: value for name, value in group.items() if _is_vector(value) and math.prod(value.shape)}
    lengths = [math.prod(entry.shape) for entry in vectors.values()]
    for length in {n for n in lengths if lengths.count(n) > 1 and n > 1}:
        same = [name for name, entry in vectors.items() if math.prod(entry.shape) == length]
        table = Table(source, tuple(same), [_vector(vectors[name], read) for name in same])
        if (session := session_of_table(table, format)) is not None:
            return session
    numbered = [name for name in vectors if _NUMBERED.fullmatch(name)]
    times = [_increasing(vectors[name], read, shortest=1) for name in numbered]
    if not numbered or any(part is None for part in times):
        return None
    check_units(len(numbered), source)
    units = Units(ids=tuple(numbered), spike_times=[part for part in times if part is not None])
    where = f" of {path.rstrip('/')}" if path else ""
    return Session(source=source, format=format, units=units, notes=(f"units: {len(numbered)} vectors{where}",))


def _of_tsgroup(group: Variables, source: str, read: Read) -> Session:
    """A TsGroup of pynapple; its time support is when each unit was observed."""
    t, index, keys, start, end = (_vector(group[name], read) for name in _TSGROUP)
    if len(t) != len(index) or len(start) != len(end):
        raise RecordingError(f"{source} is a TsGroup with {len(t)} times of {len(index)} units: it may be damaged")
    check_units(len(keys), source)
    columns = {n: c for n in group if n not in _TSGROUP and (c := _column(group[n], len(keys), read)) is not None}
    order = np.argsort(index, kind="stable")
    ends = [np.searchsorted(index[order], keys, side) for side in ("left", "right")]
    units = Units(
        ids=tuple(map(str, keys)),
        spike_times=[t[order[low:high]].astype(np.float64) for low, high in zip(*ends, strict=True)],
        columns=columns,
        observed_s=[np.stack([start, end], axis=1).astype(np.float64)] * len(keys),
    )
    return Session(source=source, format="NPZ, TsGroup of pynapple", units=units)


def _trials(group: Variables, read: Read) -> Trials | None:
    """The table of trials that a struct holds: columns of equal length, with starts and stops."""
    named = {
        what: next((name for name in group if pattern.fullmatch(name)), None)
        for what, pattern in (("start", _START), ("stop", _STOP))
    }
    if named["start"] is None or named["stop"] is None:
        return None
    first = group[named["start"]]
    rows = first.size if isinstance(first, np.ndarray) else math.prod(getattr(first, "shape", ()))
    columns = {key: column for key in group if (column := _column(group[key], rows, read)) is not None}
    start, stop = (columns.get(name) for name in named.values() if name is not None)
    if not 0 < rows <= MAX_EVENTS or start is None or stop is None or "O" in (start.dtype.kind, stop.dtype.kind):
        return None
    return Trials(rows, columns, start.astype(np.float64), stop.astype(np.float64))


def _column(value: Any, rows: int, read: Read) -> NDArray[Any] | None:
    """A variable with one number or text for each row."""
    if isinstance(value, Entry):
        usable = value.kind in "biufU" and rows == math.prod(value.shape) == max(value.shape, default=1)
        return (_vector(value, read).astype(object) if value.kind == "U" else _vector(value, read)) if usable else None
    if not isinstance(value, np.ndarray) or value.size != rows:
        return None
    parts = list(value.flat)
    if all(isinstance(part, str) for part in parts):
        texts = np.empty(rows, dtype=object)
        texts[:] = parts
        return texts
    if all(_is_vector(part) and math.prod(part.shape) <= 1 for part in parts):
        numbers = [_vector(part, read) for part in parts]
        return np.array([part[0] if len(part) else np.nan for part in numbers])
    return None


def _increasing(value: Any, read: Read, shortest: int = 2) -> NDArray[np.float64] | None:
    """The times of a vector of increasing numbers."""
    if not _is_vector(value) or value.kind == "b" or not shortest <= math.prod(value.shape) <= MAX_EVENTS:
        return None
    times = _vector(value, read).astype(np.float64)
    return times if np.isfinite(times).all() and (np.diff(times) >= 0).all() else None


def _vector(entry: Entry, read: Read) -> NDArray[Any]:
    return read(entry).reshape(-1)
