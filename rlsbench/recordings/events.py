"""What is at time 0: one event a trial, by the name that the user gives.

In: a `Session`, and the name of a column of trials, of an event series, or of a file of times.  Out: `Events`, one row
a trial.  Knows no units and no rates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlsbench.errors import RecordingError
from rlsbench.recordings.intervals import MARGIN_S, interval_of
from rlsbench.recordings.options import Occurrence, ReadOptions
from rlsbench.recordings.selection import column_values
from rlsbench.recordings.sessions import Session, Trials
from rlsbench.recordings.tables import EventTable, read_event_file

__all__ = ["Events", "check_occurrence", "find_events"]

GO_CUES = ("go_start_times", "go_cue_times", "gocue_times", "go_times", "go_cue", "gocue", "go_cue_time", "go_time")
GIVE_TIMES = "give the times of the event with --event FILE (text, CSV or NPY: one time in seconds a line)"
_LISTED = 8


@dataclass(frozen=True, eq=False)
class Events:
    """The event of each trial; where there are no trials, each event makes one.

    Parameters
    ----------
    name : str
    times_s : ndarray, shape (trials,)
        In the clock of the session or, where it has one, of the trial; NaN where there is none.
    columns : dict of str to ndarray
        What selections may name, each (trials,).
    given : int
        Times in the series or file that they were taken from.
    several : ndarray of bool, shape (trials,), optional
        Trials in which a series has several times; None where the trials are not those of a table with start and stop.
    notes : tuple of str
    """

    name: str
    times_s: NDArray[np.float64]
    columns: Mapping[str, NDArray[Any]]
    given: int
    several: NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.times_s)


def find_events(session: Session, options: ReadOptions, given: ArrayLike | None = None) -> Events:
    """Find the event that is asked for, and its time in each trial.

    Parameters
    ----------
    session : Session
    options : ReadOptions
        `event` and `occurrence` are used.
    given : array_like, optional
        Times in seconds, in place of `options.event`.

    Raises
    ------
    RecordingError
        If there is no such event, or its times do not fit the trials.
    """
    name = options.event
    if given is not None:
        if name is not None:
            raise RecordingError(f"events are given twice: as times, and by event = {name!r}; give one of them")
        return _from_table(session, _table(given), options.occurrence)
    if name is None:
        name = _go_cue(session)
        if name is None:
            return _own_zero(session)
        found = _named(session, name, options.occurrence)
        assert found is not None
        return replace(found, notes=(f"time 0 is {name}, as no other event was asked for", *found.notes))
    found = _named(session, name, options.occurrence)
    if found is not None:
        return found
    path = Path(name)
    if not _is_file(path):
        columns = [] if session.trials is None else list(session.trials.columns)
        raise RecordingError(
            f"event {name!r} is no column of trials of {session.source} (they are {', '.join(columns) or 'none'}), no "
            f"event series (they are {_listed(session.events)}) and no file of times"
        )
    return _from_table(session, read_event_file(path), options.occurrence)


def check_occurrence(session: Session, events: Events, selected: NDArray[np.bool_], occurrence: Occurrence) -> None:
    """Refuse selected trials with several times or none of a series, unless told which one to take.

    Raises
    ------
    RecordingError
    """
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
    """Time 0 of each trial's own clock, where it has one; else ask."""
    trials = session.trials
    if session.units.spike_trials is not None and trials is not None:
        return Events("time 0 of each trial", np.zeros(trials.rows), trials.columns, trials.rows)
    if trials is None and not session.events:
        raise RecordingError(f"{session.source} has no trials table and no event series: {GIVE_TIMES}")
    if trials is None:
        raise RecordingError(
            f"{session.source} has no trials table, and which event to take is unclear: give one of "
            f"{_listed(session.events)} with --event NAME, or {GIVE_TIMES}"
        )
    columns = [name for name, values in trials.columns.items() if values.dtype.kind in "iuf"]
    raise RecordingError(
        f"which event of {session.source} to take is unclear: give an event series ({_listed(session.events)}) or a "
        f"column of trials ({', '.join(columns) or 'none'}) with --event NAME, or {GIVE_TIMES}"
    )


def _named(session: Session, name: str, occurrence: Occurrence) -> Events | None:
    if session.trials is not None and name in session.trials.columns:
        return _from_column(session, name, session.trials)
    if name in session.events:
        return _from_series(session, name, session.events[name], occurrence)
    return None


def _from_column(session: Session, name: str, trials: Trials) -> Events:
    """A column of the trials table; what is no number there means no event."""
    values = trials.columns[name]
    if values.dtype == object:
        times = np.array([_time(text) for text in values], dtype=np.float64)
    else:
        times = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    if not np.isfinite(times).any():
        raise RecordingError(f"the column {name} of {session.source} holds no times: {column_values(values)}")
    if trials.start_s is not None and trials.stop_s is not None:
        inside = (times >= trials.start_s - MARGIN_S) & (times <= trials.stop_s + MARGIN_S)
        if not inside.any():
            raise RecordingError(
                f"none of the times in the column {name} of {session.source} lies in its trial: "
                f"{column_values(values)}; an event is given in seconds of the session's clock, as start_time is"
            )
    return Events(name, times, trials.columns, int(np.isfinite(times).sum()))


def _from_series(session: Session, name: str, times: NDArray[np.float64], occurrence: Occurrence) -> Events:
    """Times in the clock of the session: those that lie in a trial or, without trials, each an event of its own."""
    times = times[np.isfinite(times)]
    if not len(times):
        raise RecordingError(f"the event series {name} of {session.source} holds no times")
    trials = session.trials
    if trials is None or trials.start_s is None or trials.stop_s is None:
        return Events(name, times, {}, len(times))
    row = interval_of(times, trials.start_s, trials.stop_s)
    number = np.bincount(row[row >= 0], minlength=trials.rows)
    if not number.any():
        raise RecordingError(
            f"none of the {len(times)} times of {name} lies in one of the {trials.rows} trials of {session.source}: "
            "give seconds of the session's clock"
        )
    chosen = np.full(trials.rows, np.nan)
    order = np.argsort(-times if occurrence == "first" else times, kind="stable")
    order = order[row[order] >= 0]
    chosen[row[order]] = times[order]  # the last one written stays
    return Events(name, chosen, trials.columns, len(times), several=number > 1)


def _from_table(session: Session, table: EventTable, occurrence: Occurrence) -> Events:
    """Times that the user gives."""
    trials = session.trials
    if trials is None:
        return Events(table.source, table.times_s, table.columns, len(table.times_s))
    if trials.start_s is None:
        return _of_labelled_trials(session, trials, table)
    return _from_series(session, table.source, table.times_s, occurrence)


def _of_labelled_trials(session: Session, trials: Trials, table: EventTable) -> Events:
    """One time a trial, each in the trial's own clock: by the trial's label, or in the order of the labels.

    Trials that only the table knows, in which no unit fired, come last.
    """
    times, columns = table.times_s, dict(table.columns)
    labels = [str(label) for label in trials.columns["trial"]]
    if "trial" in columns:
        known = {str(label): row for row, label in enumerate(columns["trial"])}
        missing = [label for label in labels if label not in known]
        if missing or len(known) < len(times):
            raise RecordingError(
                f"{table.source} does not name each trial of {session.source} once: it has {len(times)} lines for "
                f"{len(known)} trials, and lacks {', '.join(missing[:_LISTED]) or 'none'}"
            )
        rows = np.array([known[label] for label in dict.fromkeys([*labels, *known])], dtype=np.int64)
        times, columns = times[rows], {name: values[rows] for name, values in columns.items()}
    elif len(times) != trials.rows:
        raise RecordingError(
            f"{table.source} has {len(times)} times for the {trials.rows} trials of {session.source}: give one time a "
            "trial, or a column trial that tells which is which"
        )
    else:
        columns = {**trials.columns, **columns}
    return Events(table.source, times, columns, len(times))


def _table(events: ArrayLike) -> EventTable:
    try:
        times = np.asarray(events, dtype=np.float64)
    except (TypeError, ValueError):
        times = np.empty((0, 0))
    if times.ndim != 1 or not len(times) or not np.isfinite(times).all():
        raise RecordingError("events are no list of finite times in seconds")
    return EventTable("events", times, {})


def _time(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return np.nan
    return value if np.isfinite(value) else np.nan


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _listed(names: Mapping[str, Any]) -> str:
    shown = list(names)[:_LISTED]
    more = [f"and {len(names) - _LISTED} more"] if len(names) > _LISTED else []
    return ", ".join(shown + more) or "none"
