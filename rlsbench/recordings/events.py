"""The event at time 0 of each trial.

In: a `Session`, and the name of a column of trials, an event series, or a file of times.  Out:
`Events`, one row per trial.  Knows no units and no rates.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlsbench.errors import RecordingError
from rlsbench.recordings.arrays import listed, load, npy_entry
from rlsbench.recordings.options import Occurrence, ReadOptions
from rlsbench.recordings.selection import column_values
from rlsbench.recordings.sessions import MARGIN_S, MAX_EVENTS, Session, Trials, as_vector
from rlsbench.recordings.tables import read_csv

GO_CUES = ("go_start_times", "go_cue_times", "gocue_times", "go_times", "go_cue", "gocue", "go_cue_time", "go_time")
GIVE_TIMES = (
    "give the times with --event FILE (text, CSV or NPY, in s, one per line), a single one such as --event 0, or in "
    "Python as events"
)


@dataclass(frozen=True, eq=False)
class Events:
    """The event of each trial; without a trials table, each event defines a trial."""

    name: str
    times_s: NDArray[np.float64]  # on the clock of the session, or of the trial; NaN if there is none
    given: int  # number of times in the series or file
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # for selections, each (trials,)
    several: NDArray[np.bool_] | None = None  # trials with several; None without start and stop
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.times_s)


def find_events(session: Session, options: ReadOptions, given: ArrayLike | None = None) -> Events:
    """The requested event in each trial; times that are given replace `options.event`.

    Raises RecordingError if there is no such event, or its times do not match the trials.
    """
    if given is not None:
        if options.event is not None:
            raise RecordingError(f"events are given twice: as times, and as event = {options.event!r}")
        times = as_vector(given)
        if times is None or not len(times) or not np.isfinite(times).all():
            raise RecordingError("events are not a list of finite times in seconds")
        return _of_user(session, Events("events", times, len(times)), options.occurrence)
    name = _go_cue(session) if options.event is None else options.event
    if name is None:
        return _own_zero(session)
    columns = {} if session.trials is None else session.trials.columns
    if name in columns:
        found = _from_column(session, name, columns)
    elif name in session.events:
        found = _from_series(session, name, session.events[name], options.occurrence)
    elif (number := as_vector([name])) is not None and np.isfinite(number).all():
        return _of_user(session, Events(f"{number[0]:g} s", number, 1), options.occurrence)
    elif os.path.isfile(name):  # False for a text that cannot be a path
        return _of_user(session, _from_file(Path(name)), options.occurrence)
    else:
        raise RecordingError(
            f"event {name!r} is neither a column of the trials of {session.source} ({', '.join(columns) or 'none'}), "
            f"nor an event series ({listed(session.events)}), nor a file of times"
        )
    return replace(found, notes=(f"time 0 is {name}, the default event",) if options.event is None else ())


def check_occurrence(session: Session, events: Events, selected: NDArray[np.bool_], occurrence: Occurrence) -> None:
    """Reject selected trials without exactly one time, unless `occurrence` chooses one."""
    if events.several is None or occurrence != "only":
        return
    none, several = int((selected & np.isnan(events.times_s)).sum()), int((selected & events.several).sum())
    if none or several:
        raise RecordingError(
            f"{events.name} has {events.given} times for the {len(events)} trials of {session.source}: of the "
            f"{selected.sum()} that are selected, {none} have none and {several} have several; give one time a trial, "
            "or --occurrence first or last to take that one in each trial that has one"
        )


def _go_cue(session: Session) -> str | None:
    """The go cue of a session, if something is named so."""
    columns = session.trials.columns if session.trials is not None and session.trials.start_s is not None else {}
    known = {name.casefold(): name for name in (*columns, *session.events)}
    return next((known[name] for name in GO_CUES if name in known), None)


def _own_zero(session: Session) -> Events:
    """Time 0 of each trial's clock, if trials have clocks; otherwise an event is required."""
    trials = session.trials
    if session.units.spike_trials is not None and trials is not None:
        return Events("time 0 of each trial", np.zeros(trials.rows), trials.rows, trials.columns)
    columns = [] if trials is None else [name for name, v in trials.columns.items() if v.dtype.kind in "iuf"]
    known = [("an event series", [*session.events]), ("a column of trials", columns)]
    tables = f"use a table ({listed(session.tables)}) with --trials-table NAME, " if session.tables else ""
    named = " or ".join(f"{what} ({listed(names)})" for what, names in known if names)
    raise RecordingError(
        f"{session.source} has {'no trials table and ' if trials is None else ''}no default event: "
        f"{tables}{f'give {named} with --event NAME, or ' if named else ''}{GIVE_TIMES}"
    )


def _from_column(session: Session, name: str, columns: Mapping[str, NDArray[Any]]) -> Events:
    """A column of the trials table; a value that is not a number means no event."""
    values = numbers = columns[name]
    if values.dtype == object:
        import pandas as pd  # slow import

        numbers = pd.to_numeric(values, errors="coerce")
    times = np.where(np.isfinite(numbers), numbers, np.nan).astype(np.float64)
    if not np.isfinite(times).any():
        raise RecordingError(f"the column {name} of {session.source} holds no times: {column_values(values)}")
    if session.spans_s is not None:
        start, stop = session.spans_s.T
        if not ((times >= start - MARGIN_S) & (times <= stop + MARGIN_S)).any():
            raise RecordingError(
                f"none of the times in the column {name} of {session.source} lies in its trial: "
                f"{column_values(values)}; times must be in seconds on the session's clock, like start_time"
            )
    return Events(name, times, int(np.isfinite(times).sum()), columns)


def _from_series(session: Session, name: str, times: NDArray[np.float64], occurrence: Occurrence) -> Events:
    """Times on the session's clock: those that lie in a trial, or all if there are no trials."""
    times = times[np.isfinite(times)]
    if not len(times):
        raise RecordingError(f"the event series {name} of {session.source} holds no times")
    trials, spans = session.trials, session.spans_s
    if trials is None or spans is None:
        return Events(name, times, len(times))
    row = _rows_of(times, spans)
    number = np.bincount(row[row >= 0], minlength=trials.rows)
    if not number.any():
        raise RecordingError(
            f"none of the {len(times)} times of {name} lies in one of the {trials.rows} trials of {session.source}: "
            "times must be in seconds on the session's clock"
        )
    chosen = np.full(trials.rows, np.nan)
    order = np.argsort(-times if occurrence == "first" else times, kind="stable")
    order = order[row[order] >= 0]
    chosen[row[order]] = times[order]  # the last value assigned remains
    return Events(name, chosen, len(times), trials.columns, several=number > 1)


def _rows_of(times: NDArray[np.float64], spans: NDArray[np.float64]) -> NDArray[np.int64]:
    """The row of the latest-starting trial that contains each time, or -1."""
    start, stop = spans.T
    order = np.argsort(start, kind="stable")
    place = np.searchsorted(start[order], times + MARGIN_S, side="right") - 1
    row = order[place.clip(min=0)]
    return np.where((place >= 0) & (times <= stop[row] + MARGIN_S), row, -1)


def _from_file(path: Path) -> Events:
    """Times in a text with one per line, a CSV with a column `time`, or an NPY vector."""
    with path.open("rb") as stream:
        if stream.read(6) == b"\x93NUMPY":
            stream.seek(0)
            entry = npy_entry(stream, None, path.name)
            if len(entry.shape) != 1 or entry.kind not in "iuf":
                raise RecordingError(f"{entry} in {path.name} is not a vector of event times in seconds")
            return _checked(path.name, load(entry, path.name, path.stat().st_size), {})
    table = read_csv(path)
    column = table.find("time")
    if column is None:
        if len(table.columns) > 1 and (table.names is not None or len(table.columns[0]) > 1):
            found = f"columns {', '.join(table.names)}" if table.names is not None else f"{len(table.columns)} columns"
            raise RecordingError(f"{path.name} has {found}: event times in seconds must be in a column named time")
        # All in one column, or all in one line.
        column = table.columns[0] if len(table.columns) == 1 else np.concatenate(table.columns)
    if column.dtype.kind not in "iuf":
        raise RecordingError(f"{path.name} holds event times that are not numbers: times must be in seconds")
    named = zip(table.names or (), table.columns, strict=False)
    return _checked(path.name, column, {name.strip(): values for name, values in named if values is not column})


def _checked(source: str, column: NDArray[Any], others: dict[str, NDArray[Any]]) -> Events:
    times = column.astype(np.float64)
    if not len(times):
        raise RecordingError(f"{source} holds no event times")
    if len(times) > MAX_EVENTS:
        raise RecordingError(f"{source} holds {len(times):,} event times: at most {MAX_EVENTS:,} are supported")
    if not np.isfinite(times).all():
        raise RecordingError(f"{source} holds {(~np.isfinite(times)).sum()} event times that are NaN or infinite")
    return Events(source, times, len(times), others)


def _of_user(session: Session, given: Events, occurrence: Occurrence) -> Events:
    """The event of each trial among the times that a user gives."""
    trials = session.trials
    if trials is None:
        return given
    if trials.start_s is None:
        return _of_labelled_trials(session, trials, given)
    return _from_series(session, given.name, given.times_s, occurrence)


def _of_labelled_trials(session: Session, trials: Trials, given: Events) -> Events:
    """One time per trial on the clock of the trial, matched by label or else in order of labels.

    Trials that occur only in the table, because no unit fired in them, come last.
    """
    times, columns = given.times_s, dict(given.columns)
    labels = [str(label) for label in trials.columns["trial"]]
    if "trial" in columns:
        known = {str(label): row for row, label in enumerate(columns["trial"])}
        missing = [label for label in labels if label not in known]
        if missing or len(known) < len(times):
            raise RecordingError(
                f"{given.name} does not name each trial of {session.source} once: it has {len(times)} lines for "
                f"{len(known)} trials, missing: {listed(missing)}"
            )
        rows = np.array([known[label] for label in dict.fromkeys([*labels, *known])], dtype=np.int64)
        times, columns = times[rows], {name: values[rows] for name, values in columns.items()}
    elif len(times) != trials.rows:
        raise RecordingError(
            f"{given.name} has {len(times)} times for the {trials.rows} trials of {session.source}: give one "
            "time per trial, or add a column named trial"
        )
    else:
        columns = {**trials.columns, **columns}
    return replace(given, times_s=times, columns=columns)
