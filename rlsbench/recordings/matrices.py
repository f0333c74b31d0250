"""Matrices of rates: finding the time axis.

In: a matrix and what is known about it.  Out: a `Recording` with one condition.  Knows no
file format.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.errors import RecordingError
from rlsbench.recordings.options import ReadOptions, TimeAxis
from rlsbench.recordings.recording import Recording

__all__ = ["recording_of_matrix"]

_FOR_MATRICES = {"dataset", "time_axis", "minimum_rate_hz"}


def recording_of_matrix(
    matrix: NDArray[Any],
    source: str,
    format: str,
    dataset: str | None,
    options: ReadOptions,
    *,
    bins: int | None = None,
    columns: tuple[str, ...] | None = None,
    notes: tuple[str, ...] = (),
) -> Recording:
    """The recording in a matrix of rates.

    Parameters
    ----------
    matrix : ndarray, 2-D
        Rates in Hz.
    source, format : str
        Name and format of the file.
    dataset : str or None
        Name of the matrix in the file.
    options : ReadOptions
        `time_axis` is used; options for spike times are rejected.
    bins : int, optional
        Number of bins in the experiment. If exactly one axis has this length, it is the time axis.
    columns : tuple of str, optional
        Names of the columns, which are neurons if the rows are time.
    notes : tuple of str

    Raises
    ------
    RecordingError
        If the time axis is ambiguous, or values are not rates.
    """
    inapplicable = [name for name in options.changed() if name not in _FOR_MATRICES]
    if inapplicable:
        raise RecordingError(f"{source} holds rates, not spike times: omit {', '.join(inapplicable)}")
    rows, other = matrix.shape
    axis, why = _time_axis(rows, other, source, bins, options.time_axis)
    with np.errstate(over="ignore"):
        rates = np.ascontiguousarray(matrix if axis == "rows" else matrix.T, dtype=np.float64)
    if min(rates.shape) < 2:
        raise RecordingError(
            f"{source} has {rates.shape[0]} bins of {rates.shape[1]} neurons: at least 2 x 2 are required"
        )
    return Recording(
        rates_hz=rates[:, :, None],
        conditions=(dataset or "rates",),
        ids=columns if axis == "rows" else None,
        source=source,
        provenance={"format": format, "dataset": dataset or "", "time_axis": axis, "units_in_file": rates.shape[1]},
        notes=(f"time axis: the {axis} of {rows} x {other}, {why}", *notes),
    )


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
