"""Recordings in Python: spike times or rates in the containers in which users have them.

In: arrays, lists, mappings, or objects of pandas, polars, xarray or pynapple.  Out: a `Session`, or
an `Entry` that holds rates.  Knows no file; imports none of these libraries.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rlsbench.errors import RecordingError
from rlsbench.recordings.arrays import Entry, Evidence
from rlsbench.recordings.matrices import read_matrix
from rlsbench.recordings.options import ReadOptions
from rlsbench.recordings.recording import Recording
from rlsbench.recordings.sessions import Session, Units, as_vector, check_units
from rlsbench.recordings.tables import Table, as_column, matrix_of_table, session_of_table


def session_or_rates(source: Any) -> Session | Entry:
    """Spike times of units, or rates; raises RecordingError if it is neither.

    Spike times: a mapping, a list or a Series with those of each unit, a Series with the unit of
    each spike as its index, or a DataFrame with a row for each spike. Rates: an array, or a
    DataFrame with a column for each neuron.
    """
    if isinstance(source, Mapping):
        return _session(source, getattr(source, "metadata", None))  # which pynapple.TsGroup has
    if len(dims := getattr(source, "dims", ())) > 2:  # xarray
        order = " x ".join(map(str, dims))
        raise RecordingError(
            f"the recording has dimensions {order}: give its values, of shape (bins, neurons, conditions)"
        )
    source = source.transpose("time", ...) if "time" in dims else source
    for method in ("as_dataframe", "to_pandas"):  # pynapple.TsdFrame; polars and xarray
        if hasattr(source, method):
            source = getattr(source, method)()
    if hasattr(source, "iloc"):
        return _of_frame(source) if source.ndim == 2 else _session(_by_unit(source))
    if isinstance(source, list | tuple) or getattr(getattr(source, "dtype", None), "kind", "") == "O":
        return _session(dict(enumerate(source)))
    array = np.asarray(source)
    return Entry(None, array.shape, str(array.dtype), array.dtype.kind, array.itemsize, array.copy)


def read_rates(entry: Entry, source: str, options: ReadOptions, experiment: tuple[int, int] | None) -> Recording:
    """The recording in an array or a table of rates; (bins, neurons[, conditions]) unless told."""
    shape, said = entry.shape, options.time_axis is not None or options.axes or entry.evidence
    if len(shape) < 2:
        raise RecordingError(
            f"{source} has shape {shape} and type {entry.dtype}: give rates in Hz of shape (bins, neurons) or (bins, "
            "neurons, conditions), or a list of the spike times of each unit"
        )
    if len(shape) == 3 and not said:
        options = options.model_copy(update={"axes": ("time", "unit", "condition")})
    elif not said:
        if experiment is not None and shape[0] != experiment[0] == shape[1]:
            raise RecordingError(
                f"{source} has shape {shape}, which seems to be (neurons, bins), since the experiment has "
                f"{experiment[0]} bins: transpose it, or set recording.time_axis to rows if the first axis is time"
            )
        entry = entry._replace(evidence=(Evidence("time", 0, "as in Python"),))
    return read_matrix([entry], source, "array", math.prod(shape) * entry.itemsize, options, experiment)


def _session(spike_times: Mapping[Any, ArrayLike], metadata: Any = None) -> Session:
    """A session from the spike times (s) of each unit; RecordingError if they are not numbers."""
    check_units(len(spike_times), "the recording")
    times = []
    for unit, values in spike_times.items():
        if (vector := as_vector(values)) is None:
            raise RecordingError(f"the spike times of unit {unit!r} are not a list of numbers in seconds")
        times.append(vector)
    columns = {} if metadata is None else {str(name): as_column(metadata[name].to_numpy()) for name in metadata}
    units = Units(ids=tuple(map(str, spike_times)), spike_times=times, columns=columns)
    return Session(source="spike times", format="mapping", units=units)


def _by_unit(series: Any) -> Mapping[Any, ArrayLike]:
    """The spike times of each unit in a Series."""
    if series.dtype == object:
        return dict(series.items())
    if series.index.is_unique:
        raise RecordingError(
            f"a Series of {len(series)} spike times needs the unit of each as its index: 2 spikes of a unit have the "
            "same; for a single unit give a list of one array"
        )
    return {unit: group.to_numpy() for unit, group in series.groupby(level=0)}


def _of_frame(frame: Any) -> Session | Entry:
    """A table of spikes, or rates with a column for each neuron; a named or real index is one."""
    if list(frame.columns) == list(range(frame.shape[1])):
        frame = frame.add_prefix("neuron ")
    if frame.index.name is not None or frame.index.dtype.kind == "f":
        frame = frame.reset_index()
    columns = [as_column(frame.iloc[:, i].to_numpy()) for i in range(frame.shape[1])]
    table = Table("the DataFrame", tuple(map(str, frame.columns)), columns)
    return session_of_table(table, "DataFrame") or matrix_of_table(table)
