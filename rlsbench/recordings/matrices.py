"""Matrices of rates: choosing the one of a file, and finding its time axis.

In: the arrays of a file and what is known about it.  Out: a `Recording` with one condition.  Knows
no file format.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlsbench.errors import RecordingError
from rlsbench.recordings.arrays import MAX_COMPRESSION, Entry, listed, load
from rlsbench.recordings.options import ReadOptions, TimeAxis
from rlsbench.recordings.recording import Recording

__all__ = ["read_matrix"]

_FOR_MATRICES = {"dataset", "time_axis", "minimum_rate_hz"}


def read_matrix(
    entries: Sequence[Entry], source: str, format: str, size: int, options: ReadOptions, bins: int | None
) -> Recording:
    """The recording in the matrix of rates (Hz) of a file of `size` bytes.

    If exactly one axis has the number of bins of the experiment, `bins`, it is the time axis.
    Raises RecordingError if the matrix or its time axis is ambiguous, an option is for spikes, or
    values are not rates.
    """
    entry = _choose(entries, source, options.dataset)
    matrix = load(entry, source, size if format == "NPY" else MAX_COMPRESSION * size)
    inapplicable = [name for name in options.changed() if name not in _FOR_MATRICES]
    if inapplicable:
        raise RecordingError(f"{source} holds rates, not spike times: omit {', '.join(inapplicable)}")
    rows, columns = matrix.shape
    axis, why = _time_axis(rows, columns, source, bins, options.time_axis)
    with np.errstate(over="ignore"):
        rates = np.ascontiguousarray(matrix if axis == "rows" else matrix.T, dtype=np.float64)
    if min(rates.shape) < 2:
        raise RecordingError(
            f"{source} has {rates.shape[0]} bins of {rates.shape[1]} neurons: at least 2 x 2 are required"
        )
    return Recording(
        rates_hz=rates[:, :, None],
        conditions=(entry.name or "rates",),
        ids=entry.columns if axis == "rows" else None,
        source=source,
        provenance={
            "format": format,
            "dataset": entry.name or "",
            "time_axis": axis,
            "units_in_file": rates.shape[1],
        },
        notes=(f"time axis: the {axis} of {rows} x {columns}, {why}", *entry.notes),
    )


def _choose(entries: Sequence[Entry], file: str, dataset: str | None) -> Entry:
    """The only matrix of a file, or the named one."""
    matrices = [entry for entry in entries if entry.is_matrix]
    if dataset is not None:
        named = [entry for entry in entries if (entry.name or "").strip("/") == dataset.strip("/")]
        if not named:
            raise RecordingError(f"{file} has no dataset {dataset!r}: its numeric 2-D datasets are {listed(matrices)}")
        if not named[0].is_matrix:
            raise RecordingError(f"{named[0]} in {file} is not a 2-D matrix of real numbers: give {listed(matrices)}")
        return named[0]
    if not matrices:
        raise RecordingError(f"{file} holds no 2-D dataset of real numbers (found: {listed(entries)})")
    if len(matrices) > 1:
        raise RecordingError(
            f"{file} holds several 2-D datasets, {listed(matrices)}: choose one with dataset=NAME or --dataset NAME"
        )
    return matrices[0]


def _time_axis(
    rows: int, columns: int, source: str, bins: int | None, time_axis: TimeAxis | None
) -> tuple[TimeAxis, str]:
    """The time axis, and why."""
    override = "give --time-axis rows or --time-axis columns"
    if time_axis is not None:
        return time_axis, "as requested"
    if (rows == bins) != (columns == bins):
        return ("rows" if rows == bins else "columns"), f"the only axis with the {bins} bins of the experiment"
    if max(rows, columns) >= 2 * min(rows, columns):
        why = f"inferred as the shorter axis; to override, {override}"
        return ("rows" if rows < columns else "columns"), why
    raise RecordingError(f"{source} is {rows} x {columns}, so the time axis is ambiguous: {override}")
