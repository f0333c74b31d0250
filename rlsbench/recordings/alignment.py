"""Rates of a session's units around an event: selecting units, trials and times.

In: a `Session` and `ReadOptions`.  Out: a `Recording`.  Knows no file format.

A trial counts for a unit only if the unit was observed throughout the window: within its
observation intervals, within a trial if spikes exist only inside trials, and in a trial in which it
was recorded well. Otherwise the whole trial is omitted for the unit, rather than some bins: trials
that end early are of one kind (such as misses), and rates would jump where they drop out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlsbench.errors import RecordingError
from rlsbench.recordings.arrays import COPIES, check_memory, listed
from rlsbench.recordings.events import Events, check_occurrence, find_events
from rlsbench.recordings.options import ReadOptions
from rlsbench.recordings.psth import psth, spike_counts
from rlsbench.recordings.recording import Recording
from rlsbench.recordings.selection import column_values, select_rows
from rlsbench.recordings.sessions import MARGIN_S, Session, Units, check_units

Rows = NDArray[np.bool_]  # a mask of trials
_OUTSIDE = 1e-3  # spikes exist only inside trials if a smaller fraction lies outside ...
_OUTSIDE_S = 1e-3  # ... by more than this, in seconds
_MOST, _FAR, _FAR_IN_MS = 0.9, 100.0, 5000.0  # spikes out of reach of events, and by which factor
_TYPICAL_SPIKES = 20  # an empty trial or bin is a gap if the median number of spikes is larger


def align(session: Session, options: ReadOptions, events: ArrayLike | None = None) -> Recording:
    """Compute the rates of a session's units around an event; times that are given replace it.

    Raises RecordingError if the requested events, trials or units do not exist, or none remain.
    """
    session = _with_table(session, options.trials_table)
    event = find_events(session, options, events)
    check_units(len(session.units), session.source, len(event))
    size = len(session.units) * options.bins * len(options.trials)
    check_memory(COPIES * 8 * size, f"the rates of {session.source}, in {options.bins:,} bins,")
    conditions = _conditions(session, event, options)
    masks = np.stack(list(conditions.values()))
    selected = np.asarray(masks.any(axis=0))
    check_occurrence(session, event, selected, options.occurrence)
    if options.time_unit is None:
        _check_unit_of_times(session, event, options)
    notes = [*session.notes, *event.notes]
    units, provenance = _units(session, options, notes)
    observed, omitted = _observed(session, units, event, options)
    left_out = selected & ~observed.any(axis=0)
    _check_trials(session, event, options, conditions, omitted)
    unit_trials = np.stack([observed[:, rows].sum(axis=1) for rows in masks], axis=1)
    seen = np.asarray((unit_trials > 0).all(axis=1))
    if not seen.any():
        raise RecordingError(f"no unit of {session.source} was observed in every condition: select fewer conditions")
    units, observed, unit_trials = units[seen], observed[seen], unit_trials[seen]
    trials = tuple((masks & observed.any(axis=0)).sum(axis=1).tolist())
    notes += _notes(masks, omitted, ~seen, np.asarray((unit_trials < trials).any(axis=1)))
    clocks, times = session.units.spike_trials, [session.units.spike_times[unit] for unit in units]
    clocks = clocks and [clocks[unit] for unit in units]
    counts = [
        spike_counts(times, event.times_s, options.edges_s, spike_trials=clocks, observed=observed & rows)
        for rows in masks
    ]
    if not any(count.any() for count in counts):
        low, high = options.window_s
        raise RecordingError(
            f"no spike of {session.source} lies from {low:g} to {high:g} s around {event.name}: spikes and events must "
            "be in seconds on the same clock"
        )
    notes += _silent_ends(counts, options)
    smoothing: dict[str, Any] = {"smoothing": options.smoothing, "smoothing_bins": options.smoothing_bins or 0}
    rates = [psth(count, n, options.bin_s, **smoothing) for count, n in zip(counts, unit_trials.T, strict=True)]
    regions = session.units.labels
    return Recording(
        rates_hz=np.stack(rates, axis=2),
        edges_s=options.edges_s,
        conditions=tuple(conditions),
        regions=None if regions is None else tuple(str(regions[unit]) for unit in units),
        ids=tuple(session.units.ids[unit] for unit in units),
        trials=trials,
        unit_trials=unit_trials,
        source=session.source,
        session=session.identity,
        provenance={
            "format": session.format,
            "event": event.name,
            "occurrence": options.occurrence,
            "window_start_s": options.window_s[0],
            "window_stop_s": options.window_s[1],
            "bin_s": options.bin_s,
            **smoothing,
            "trials_table": options.trials_table or "",
            "trials_in_file": len(event),
            "trials_selected": int(selected.sum()),
            "trials_left_out": int(left_out.sum()),
            **provenance,
            "units_not_observed": int((~seen).sum()),
            "spikes": int(sum(count.sum() for count in counts)),
        },
        notes=tuple(notes),
    )


def _with_table(session: Session, name: str | None) -> Session:
    """The session with a table of intervals as its trials."""
    if name is None or (name == "trials" and session.trials is not None):
        return session
    if name not in session.tables:
        raise RecordingError(
            f"{session.source} has no table of trials {name!r}: its other tables of intervals are "
            f"{listed(session.tables)}"
        )
    return replace(session, trials=session.tables[name], units=replace(session.units, good_trials=None))


def _conditions(session: Session, event: Events, options: ReadOptions) -> dict[str, Rows]:
    """The trials of each condition, by name."""
    if not event.columns and any(text.strip() for text in options.trials):
        raise RecordingError(
            f"{session.source} has no trials table to select from: omit the selection, or give a CSV of events with "
            "a column time and columns to select by with --event FILE"
        )
    return {
        text.strip() or "all trials": select_rows(text, event.columns, len(event), session.source)
        for text in options.trials
    }


def _check_unit_of_times(session: Session, event: Events, options: ReadOptions) -> None:
    """Raise RecordingError if most spikes are too far from all events to be in seconds."""
    trains, (low, high) = session.units.spike_times, options.window_s
    if session.units.spike_trials is None:
        known = event.times_s[np.isfinite(event.times_s)]
        reach = float(known.max(initial=0.0)) + high
        where = f"later than the last window, which ends at {reach:g} s"
        far = sum(int((times > max(reach, 0.0)).sum()) for times in trains)
    else:
        reach = max(abs(low), abs(high))
        where = f"outside the window from {low:g} to {high:g} s of trials, each with its own clock,"
        far = sum(int((abs(times) > reach).sum()) for times in trains)
    extents = [float(abs(times).max()) for times in trains if len(times)]
    if reach > 0 and far > _MOST * session.spikes and max(extents) > _FAR * reach:
        unit = "ms" if max(extents) < _FAR_IN_MS * reach else "30kHz"
        raise RecordingError(
            f"{far} of {session.spikes} spikes of {session.source} are {where} up to {max(extents):.6g} s from 0: if "
            f"spikes and events are on the same clock, give the unit of the spike times, such as --time-unit {unit} "
            "(s, ms, us, or for samples their rate)"
        )


# --- units


def _units(session: Session, options: ReadOptions, notes: list[str]) -> tuple[NDArray[np.int64], dict[str, str | int]]:
    """The selected units of the accepted quality and regions, and their provenance."""
    selection, regions = options.units.strip(), ", ".join(options.regions)
    units, accepted = session.units, " or ".join(options.quality)
    selected = select_rows(selection, units.columns, len(units), session.source, "units")
    (column, good), there = _of_quality(session, options), _of_regions(session, options)
    chosen = selected & good & there
    by_selection, by_quality, by_region = (
        int(mask.sum()) for mask in (~selected, selected & ~good, selected & good & ~there)
    )
    reasons = (
        (by_selection, f"{selection} does not hold"),
        (by_quality, f"their {column} is not {accepted}"),
        (by_region, f"they do not lie in {regions}"),
    )
    omissions = [f"{number} of {len(units)} units were omitted: {why}" for number, why in reasons if number]
    if not chosen.any():
        raise RecordingError(f"no unit of {session.source} remains: {'; '.join(omissions)}")
    notes += omissions
    return np.flatnonzero(chosen), {
        "units_in_file": len(units),
        "units_selection": selection,
        "units_dropped_by_selection": by_selection,
        "quality": ", ".join(options.quality) if column else "",
        "quality_column": column,
        "units_dropped_by_quality": by_quality,
        "regions": regions,
        "units_dropped_by_region": by_region,
    }


def _of_quality(session: Session, options: ReadOptions) -> tuple[str, NDArray[np.bool_]]:
    """The column of unit quality, and which units have an accepted one."""
    units, column = session.units, session.units.quality
    if not options.quality or column is None:
        if "quality" in options.changed() and options.quality:
            raise RecordingError(
                f"{session.source} has no column with labels of unit quality: omit the quality, or select units by "
                f"another column with --units (columns: {listed(units.columns)})"
            )
        return "", np.ones(len(units), dtype=bool)
    labels = units.columns[column]
    accepted = np.isin(labels, options.quality)
    if not accepted.any():
        raise RecordingError(
            f"no unit of {session.source} has a {column} of {' or '.join(map(repr, options.quality))}: the values are "
            f"{column_values(labels)}; choose with --quality, or give --quality any"
        )
    return column, accepted


def _of_regions(session: Session, options: ReadOptions) -> NDArray[np.bool_]:
    """Which units have a region, or an electrode's region, that starts with one of the names."""
    units = session.units
    there = np.zeros(len(units), dtype=bool)
    if not options.regions:
        return ~there
    known = [labels for labels in (units.regions, units.target_regions) if labels is not None]
    if not known:
        raise RecordingError(f"{session.source} has no regions of units: omit the regions")
    for name in options.regions:
        begins = [[label.casefold().startswith(name.casefold()) for label in labels] for labels in known]
        found = np.any(begins, axis=0)
        if not found.any():
            held = "; ".join(column_values(labels) for labels in known)
            raise RecordingError(f"no unit of {session.source} lies in {name!r}: the regions are {held}")
        there |= found
    return there


# --- trials


def _observed(
    session: Session, chosen: NDArray[np.int64], event: Events, options: ReadOptions
) -> tuple[Rows, dict[str, Rows]]:
    """Whether each unit was observed throughout the window of each trial, (units, trials).

    Also the trials in which none was, by reason; each trial has only its first reason.
    """
    units, spans = session.units, session.spans_s
    low, high = (event.times_s + limit for limit in options.window_s)
    observed = np.ones((len(chosen), len(event)), dtype=bool)
    if units.observed_s is not None:
        for row, unit in enumerate(chosen):
            observed[row] = _covers(_union(units.observed_s[unit]), low, high)
    if units.good_trials is not None and units.good_trials.shape[1] == len(event):
        observed &= units.good_trials[chosen]
    omitted: dict[str, Rows] = {f"no {event.name}": np.isnan(event.times_s)}
    if spans is not None:
        inside = _union(spans)
        if _only_inside(units, inside):
            omitted["start or end within the window, and spikes exist only inside trials"] = ~_covers(inside, low, high)
    omitted["no unit observed throughout the window"] = np.asarray(~observed.any(axis=0))
    if units.spike_trials is None:
        usable = ~np.any(list(omitted.values()), axis=0)
        omitted["no spike of any unit, a gap in the recording"] = _gaps(units, low, high, usable)
    masks = np.stack(list(omitted.values()))
    return observed & ~masks.any(axis=0), dict(zip(omitted, masks & (masks.cumsum(axis=0) == 1), strict=True))


def _union(intervals: NDArray[np.float64]) -> NDArray[np.float64]:
    """The union of intervals, (n, 2), as sorted disjoint intervals; adjacent ones are merged."""
    intervals = intervals[np.isfinite(intervals).all(axis=1)]
    if not len(intervals):
        return intervals
    ordered = intervals[np.argsort(intervals[:, 0], kind="stable")]
    ends = np.maximum.accumulate(ordered[:, 1])
    first = np.concatenate([[True], ordered[1:, 0] > ends[:-1] + MARGIN_S])
    last = np.concatenate([first[1:], [True]])
    return np.stack([ordered[first, 0], ends[last]], axis=1)


def _covers(
    disjoint: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64], margin: float = MARGIN_S
) -> NDArray[np.bool_]:
    """Whether each span from `low` to `high` lies in one of the sorted disjoint intervals."""
    if not len(disjoint):
        return np.zeros(len(low), dtype=bool)
    place = np.searchsorted(disjoint[:, 0], low + margin, side="right") - 1
    return np.asarray((place >= 0) & (high <= disjoint[place, 1] + margin))


def _only_inside(units: Units, inside: NDArray[np.float64]) -> bool:
    """Whether spikes exist only within these disjoint intervals."""
    outside = sum(int((~_covers(inside, times, times, _OUTSIDE_S)).sum()) for times in units.spike_times)
    return outside < _OUTSIDE * sum(map(len, units.spike_times))


def _gaps(units: Units, low: NDArray[np.float64], high: NDArray[np.float64], known: Rows) -> Rows:
    """Trials in which no unit of the file fires although trials typically have many spikes."""
    spikes = np.zeros(len(low), dtype=np.int64)
    for times in units.spike_times:
        spikes += np.searchsorted(times, high) - np.searchsorted(times, low)
    active = known & (spikes > 0)
    usual = np.median(spikes[active]) if active.any() else 0
    return spikes == 0 if usual > _TYPICAL_SPIKES else np.zeros(len(low), dtype=bool)


def _check_trials(
    session: Session, event: Events, options: ReadOptions, conditions: Mapping[str, Rows], omitted: Mapping[str, Rows]
) -> None:
    """Raise RecordingError unless every condition has a trial."""
    low, high = options.window_s
    for name, rows in conditions.items():
        counted = {reason: (rows & some).sum() for reason, some in omitted.items()}
        if sum(counted.values()) == rows.sum():
            why = [f"{number}: {reason}" for reason, number in counted.items() if number]
            raise RecordingError(
                f"none of the {rows.sum()} trials of {name!r} in {session.source} can be used from {low:g} to "
                f"{high:g} s around {event.name}: {'; '.join(why)}{_reach(session, event, rows)}"
            )


def _reach(session: Session, event: Events, rows: Rows) -> str:
    """The extent of the median trial around the event."""
    known = rows & np.isfinite(event.times_s)
    if session.spans_s is None or not known.any():
        return ""
    low, high = np.median((session.spans_s - event.times_s[:, None])[known], axis=0)
    return f"; the median trial extends from {low:.3g} to {high:.3g} s"


def _notes(masks: Rows, omitted: Mapping[str, Rows], unseen: Rows, fewer: Rows) -> list[str]:
    """What was omitted, counted twice or observed only in part; masks are (conditions, trials)."""
    selected = np.asarray(masks.any(axis=0))
    of_trials = f"of {selected.sum()} selected trials were omitted"
    said = [(f"{of_trials}: {why}", selected & rows) for why, rows in omitted.items()]
    said += [
        ("trials belong to more than one condition", masks.sum(axis=0) > 1),
        ("units were omitted: not observed in any trial of a condition", unseen),
        (f"of {len(fewer)} units were observed only in some trials: their rates are means over those", fewer),
    ]
    return [f"{mask.sum()} {what}" for what, mask in said if mask.any()]


def _silent_ends(counts: Sequence[NDArray[np.int64]], options: ReadOptions) -> list[str]:
    """Notes on ends of the window without any spike, which the recording may not cover."""
    spikes = np.sum([count.sum(axis=1) for count in counts], axis=0)
    active = np.flatnonzero(spikes)
    if np.median(spikes[active]) <= _TYPICAL_SPIKES:
        return []
    edges = options.edges_s
    ends = [(edges[0], edges[active[0]]), (edges[active[-1] + 1], edges[-1])]
    return [
        f"no unit fires from {low:g} to {high:g} s: if the recording does not cover this, use a shorter --window"
        for low, high in ends
        if low < high
    ]
