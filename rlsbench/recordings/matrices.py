"""Matrices of rates: choosing the one of a file, and finding its time axis.

In: the arrays of a file and what is known about it.  Out: a `Recording` with one condition.  Knows
no file format.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlsbench.errors import RecordingError
from rlsbench.recordings.arrays import MAX_COMPRESSION, Entry, listed, load, matrices_of
from rlsbench.recordings.options import ReadOptions, TimeAxis
from rlsbench.recordings.recording import Recording

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
    axis, why = options.time_axis, "as requested"
    if axis is None:
        axis, why = _time_axis(matrix.shape, source, bins)
    with np.errstate(over="ignore"):
        rates = np.ascontiguousarray(matrix if axis == "rows" else matrix.T, dtype=np.float64)
    found, neurons = rates.shape
    if min(found, neurons) < 2:
        raise RecordingError(f"{source} has {found} bins of {neurons} neurons: at least 2 x 2 are required")
    return Recording(
        rates_hz=rates[:, :, None],
        conditions=(entry.name or "rates",),
        ids=entry.columns if axis == "rows" else None,
        source=source,
        provenance={"format": format, "dataset": entry.name or "", "time_axis": axis, "units_in_file": neurons},
        notes=(f"time axis: the {axis} of {matrix.shape[0]} x {matrix.shape[1]}, {why}", *entry.notes),
    )


def _choose(entries: Sequence[Entry], file: str, dataset: str | None) -> Entry:
    """The only matrix of a file, or the named one."""
    matrices = matrices_of(entries)
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


def _time_axis(shape: tuple[int, ...], source: str, bins: int | None) -> tuple[TimeAxis, str]:
    """The time axis of a matrix, and why."""
    rows, columns = shape
    override = "give --time-axis rows or --time-axis columns"
    if (rows == bins) != (columns == bins):
        return ("rows" if rows == bins else "columns"), f"the only axis with the {bins} bins of the experiment"
    if max(shape) >= 2 * min(shape):
        return ("rows" if rows < columns else "columns"), f"inferred as the shorter axis; to override, {override}"
    raise RecordingError(f"{source} is {rows} x {columns}, so the time axis is ambiguous: {override}")
