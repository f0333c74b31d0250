"""The event at time 0 of each trial.

In: a `Session`, and the name of a column of trials, an event series, or a file of times.  Out:
`Events`, one row per trial.  Knows no units and no rates.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlsbench.errors import RecordingError
from rlsbench.recordings.arrays import listed
from rlsbench.recordings.intervals import MARGIN_S, interval_of
from rlsbench.recordings.options import Occurrence, ReadOptions
from rlsbench.recordings.selection import column_values
from rlsbench.recordings.sessions import Session, Trials, as_vector
from rlsbench.recordings.tables import EventTable, read_event_file

GO_CUES = ("go_start_times", "go_cue_times", "gocue_times", "go_times", "go_cue", "gocue", "go_cue_time", "go_time")
GIVE_TIMES = "give the event times with --event FILE (text, CSV or NPY, in seconds, one per line)"
_LISTED = 8  # missing trials in a message


@dataclass(frozen=True, eq=False)
class Events:
    """The event of each trial; without a trials table, each event defines a trial."""

    name: str
    times_s: NDArray[np.float64]  # on the clock of the session, or of the trial; NaN if there is none
    columns: Mapping[str, NDArray[Any]]  # for selections, each (trials,)
    given: int  # number of times in the series or file
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
        return _from_table(session, EventTable("events", times, {}), options.occurrence)
    name = _go_cue(session) if options.event is None else options.event
    if name is None:
        return _own_zero(session)
    found = _named(session, name, options.occurrence)
    if found is not None:
        notes = (f"time 0 is {name}, the default event",) if options.event is None else ()
        return replace(found, notes=notes)
    if not os.path.isfile(name):  # False for a text that cannot be a path
        columns = [] if session.trials is None else list(session.trials.columns)
        raise RecordingError(
            f"event {name!r} is neither a column of the trials of {session.source} ({', '.join(columns) or 'none'}), "
            f"nor an event series ({listed(session.events)}), nor a file of times"
        )
    return _from_table(session, read_event_file(Path(name)), options.occurrence)


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
        return Events("time 0 of each trial", np.zeros(trials.rows), trials.columns, trials.rows)
    if trials is None and not session.events:
        raise RecordingError(f"{session.source} has no trials table and no event series: {GIVE_TIMES}")
    if trials is None:
        raise RecordingError(
            f"{session.source} has no trials table, and no default event: give one of "
            f"{listed(session.events)} with --event NAME, or {GIVE_TIMES}"
        )
    columns = [name for name, values in trials.columns.items() if values.dtype.kind in "iuf"]
    raise RecordingError(
        f"{session.source} has no default event: give an event series ({listed(session.events)}) or a "
        f"column of trials ({', '.join(columns) or 'none'}) with --event NAME, or {GIVE_TIMES}"
    )


def _named(session: Session, name: str, occurrence: Occurrence) -> Events | None:
    if session.trials is not None and name in session.trials.columns:
        return _from_column(session, name, session.trials)
    if name in session.events:
        return _from_series(session, name, session.events[name], occurrence)
    return None


def _from_column(session: Session, name: str, trials: Trials) -> Events:
    """A column of the trials table; a value that is not a number means no event."""
    values = numbers = trials.columns[name]
    if values.dtype == object:
        import pandas as pd  # slow import

        numbers = pd.to_numeric(values, errors="coerce")
    times = np.where(np.isfinite(numbers), numbers, np.nan).astype(np.float64)
    if not np.isfinite(times).any():
        raise RecordingError(f"the column {name} of {session.source} holds no times: {column_values(values)}")
    if trials.start_s is not None and trials.stop_s is not None:
        inside = (times >= trials.start_s - MARGIN_S) & (times <= trials.stop_s + MARGIN_S)
        if not inside.any():
            raise RecordingError(
                f"none of the times in the column {name} of {session.source} lies in its trial: "
                f"{column_values(values)}; times must be in seconds on the session's clock, like start_time"
            )
    return Events(name, times, trials.columns, int(np.isfinite(times).sum()))


def _from_series(session: Session, name: str, times: NDArray[np.float64], occurrence: Occurrence) -> Events:
    """Times on the session's clock: those that lie in a trial, or all if there are no trials."""
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
            "times must be in seconds on the session's clock"
        )
    chosen = np.full(trials.rows, np.nan)
    order = np.argsort(-times if occurrence == "first" else times, kind="stable")
    order = order[row[order] >= 0]
    chosen[row[order]] = times[order]  # the last value assigned remains
    return Events(name, chosen, trials.columns, len(times), several=number > 1)


def _from_table(session: Session, table: EventTable, occurrence: Occurrence) -> Events:
    """Times given by the user."""
    trials = session.trials
    if trials is None:
        return Events(table.source, table.times_s, table.columns, len(table.times_s))
    if trials.start_s is None:
        return _of_labelled_trials(session, trials, table)
    return _from_series(session, table.source, table.times_s, occurrence)


def _of_labelled_trials(session: Session, trials: Trials, table: EventTable) -> Events:
    """One time per trial on the clock of the trial, matched by label or else in order of labels.

    Trials that occur only in the table, because no unit fired in them, come last.
    """
    times, columns = table.times_s, dict(table.columns)
    labels = [str(label) for label in trials.columns["trial"]]
    if "trial" in columns:
        known = {str(label): row for row, label in enumerate(columns["trial"])}
        missing = [label for label in labels if label not in known]
        if missing or len(known) < len(times):
            raise RecordingError(
                f"{table.source} does not name each trial of {session.source} once: it has {len(times)} lines for "
                f"{len(known)} trials, missing: {', '.join(missing[:_LISTED]) or 'none'}"
            )
        rows = np.array([known[label] for label in dict.fromkeys([*labels, *known])], dtype=np.int64)
        times, columns = times[rows], {name: values[rows] for name, values in columns.items()}
    elif len(times) != trials.rows:
        raise RecordingError(
            f"{table.source} has {len(times)} times for the {trials.rows} trials of {session.source}: give one "
            "time per trial, or add a column named trial"
        )
    else:
        columns = {**trials.columns, **columns}
    return Events(table.source, times, columns, len(times))
