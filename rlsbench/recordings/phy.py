"""Folders of phy and Kilosort: sorted spikes in NPY files, and labels of clusters in text tables.

In: a path.  Out: a `Session`.  Knows no options and no rates.  `params.py` is parsed, never run.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.configuration.recording import seconds_per
from rlsbench.errors import RecordingError
from rlsbench.recordings.arrays import any_error_as, load, npy_entry
from rlsbench.recordings.sessions import Session
from rlsbench.recordings.tables import Table, read_csv, session_of_table

TIMES = "spike_times.npy"
_CLUSTERS = ("spike_clusters.npy", "spike_templates.npy")  # after curation, and as Kilosort sorted
_LONGEST = 10**5  # characters of params.py


def is_phy(folder: Path) -> bool:
    """Whether a folder has sorted spikes of phy or Kilosort."""
    return (folder / TIMES).is_file()


def read_phy(folder: Path, unit: str | None = None) -> Session:
    """Read the spike times of each cluster, and its labels as columns of units.

    Times are samples at the rate in params.py, or in the unit that is given.
    Raises RecordingError if a file or the sample rate is missing, or files are inconsistent.
    """
    rate = _sample_rate(folder) if unit is None else 1.0 / seconds_per(unit)
    times = _numbers(folder / TIMES, whole=unit is None)
    name = next((name for name in _CLUSTERS if (folder / name).is_file()), None)
    if name is None:
        raise RecordingError(f"{folder} has neither {' nor '.join(_CLUSTERS)}: the cluster of each spike is required")
    clusters = _numbers(folder / name)
    if len(times) != len(clusters):
        raise RecordingError(f"{folder} has {len(times):,} spikes in {TIMES}, and {len(clusters):,} in {name}")
    session = session_of_table(Table(folder.name, ("unit", "time"), [clusters, times / rate]), "phy")
    assert session is not None
    notes = [f"spikes: {name}, {f'at {rate:g} samples per second' if unit is None else f'times in {unit}'}"]
    labels = np.unique(clusters)
    columns: dict[str, NDArray[Any]] = {"id": labels}
    for path in sorted(folder.glob("cluster_*.[tc]sv"), key=lambda path: path.stem != "cluster_info"):
        try:
            columns |= _columns(path, labels)
        except RecordingError as error:
            notes.append(f"{path.name} was ignored: {error}")
    units = replace(session.units, columns=columns)
    return replace(session, units=units, notes=tuple(notes))


def _sample_rate(folder: Path) -> float:
    """`sample_rate` in params.py."""
    path = folder / "params.py"
    if not path.is_file():
        raise RecordingError(f"{folder} has no params.py with sample_rate: give the rate, such as --time-unit 30kHz")
    with any_error_as(f"{path} is not readable"), path.open(encoding="utf-8") as stream:
        lines = ast.parse(stream.read(_LONGEST)).body
        named = {
            target.id: line.value
            for line in lines
            if isinstance(line, ast.Assign)
            for target in line.targets
            if isinstance(target, ast.Name)
        }
        rate = ast.literal_eval(named["sample_rate"]) if "sample_rate" in named else None
    if not isinstance(rate, int | float) or not 0 < rate < 1e9:
        raise RecordingError(f"{path} has sample_rate = {str(rate)[:40]}: samples per second are required")
    return float(rate)


def _numbers(path: Path, whole: bool = True) -> NDArray[Any]:
    """A vector of numbers, which MATLAB writes as a column and perhaps as float64."""
    with path.open("rb") as stream:
        entry = npy_entry(stream, None, path.name)
        values = load(entry, path.name, path.stat().st_size).reshape(-1) if entry.kind in "iuf" else None
    if values is None or len(values) != max(entry.shape, default=0):
        raise RecordingError(f"{path} is not a vector of numbers, but {entry}")
    if whole and (values != np.floor(values)).any():
        advice = "; if they are times in s, give --time-unit s" if path.name == TIMES else ""
        raise RecordingError(f"{path} holds numbers that are not whole numbers{advice}")
    return values


def _columns(path: Path, labels: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The columns of a table of clusters, for the clusters that have spikes."""
    table = read_csv(path)
    ids = table.find("cluster_id") if table.find("cluster_id") is not None else table.find("id")
    if ids is None or table.names is None or ids.dtype.kind not in "iuf":
        raise RecordingError("it has no column cluster_id of numbers")
    place = {label: row for row, label in enumerate(ids.tolist())}
    rows = np.array([place.get(label, -1) for label in labels.tolist()])
    columns = {}
    for name, values in zip(table.names, table.columns, strict=True):
        if values is not ids:
            unknown: Any = "" if values.dtype == object else np.nan
            known = values[rows] if (rows >= 0).all() else np.where(rows >= 0, values[rows], unknown)
            columns[name] = known
    return columns
