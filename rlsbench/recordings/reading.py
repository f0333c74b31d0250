"""A recording from a file of any known format, told apart by its content.

In: a path, or unit -> spike times, and `ReadOptions`.  Out: a `Recording`, or the `Contents` of a file.  Knows no
experiment.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import ArrayLike, NDArray

from rlsbench.errors import RecordingError
from rlsbench.recordings.alignment import align
from rlsbench.recordings.arrays import MAX_COMPRESSION, Entry, brief, choose_matrix, load
from rlsbench.recordings.hdf5 import open_hdf5
from rlsbench.recordings.matrices import recording_of_matrix
from rlsbench.recordings.numpy_files import npy_entry, npz_entries
from rlsbench.recordings.nwb import is_nwb, read_nwb
from rlsbench.recordings.options import ReadOptions
from rlsbench.recordings.recording import Recording
from rlsbench.recordings.sessions import Session, session_from_mapping
from rlsbench.recordings.tables import (
    is_spike_table,
    matrix_of_table,
    read_csv,
    read_parquet,
    session_of_table,
)

__all__ = ["Contents", "read_contents", "read_recording"]

FORMATS = "NWB, HDF5, JLD, JLD2, NPY, NPZ, CSV or Parquet"
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_USUAL = ReadOptions()


@dataclass(frozen=True, eq=False)
class Contents:
    """What is in a file.

    Parameters
    ----------
    source : str
        Name of the file, without its folder.
    format : str
    size : int
        Bytes.
    session : Session or None
        Units, trials and events, where the file holds spike times.
    matrices : tuple of str
        Name, shape and type of the matrices that may be rates, where it holds no spike times.
    """

    source: str
    format: str
    size: int
    session: Session | None = None
    matrices: tuple[str, ...] = ()


def read_recording(
    source: str | Path | Mapping[Any, ArrayLike] | Session,
    options: ReadOptions = _USUAL,
    *,
    bins: int | None = None,
    minimum_bins: int | None = None,
    events: ArrayLike | None = None,
) -> Recording:
    """Read recorded rates, or the spikes of single neurons around an event as rates.

    Parameters
    ----------
    source : str, Path, mapping or Session
        A file (NWB, HDF5, JLD, JLD2, NPY, NPZ, CSV or Parquet, told apart by content); or unit -> spike times in
        seconds; or the session of `read_contents`.
    options : ReadOptions
    bins : int, optional
        Bins of the experiment: an axis of a bare matrix that has as many, if only one has, is time.
    minimum_bins : int, optional
        Refuse a recording with fewer bins.
    events : array_like, optional
        Event times in seconds, for spike times; in place of `options.event`.

    Returns
    -------
    Recording

    Raises
    ------
    RecordingError
        If the file cannot be read, what is meant is unclear, values are not rates, or nothing is left.
    """
    if isinstance(source, Mapping):
        source = session_from_mapping(source)
    if isinstance(source, Session):
        recording = align(source, options, events)
    else:
        recording = _read_file(Path(source), options, bins, events)
    if minimum_bins is not None and recording.bins < minimum_bins:
        raise RecordingError(
            f"{recording.source} gives {recording.bins} bins, fewer than the {minimum_bins} of the experiment: give a "
            "longer window (--window), or a shorter experiment"
        )
    return _without_quiet(recording, options.minimum_rate_hz)


def read_contents(path: str | Path) -> Contents:
    """What is in a file.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Contents

    Raises
    ------
    RecordingError
        If the file cannot be read.
    """
    path = Path(path)
    with _Opened(path) as (format, stream, size):
        if format == "HDF5":
            with open_hdf5(path) as file:
                if is_nwb(file):
                    return Contents(path.name, "NWB", size, session=read_nwb(file))
                entries = file.entries()
        elif format in ("CSV", "Parquet"):
            table = read_csv(path) if format == "CSV" else read_parquet(path)
            if is_spike_table(table):
                return Contents(path.name, f"{format}, spikes", size, session=session_of_table(table, format))
            entries = [matrix_of_table(table)[0]]
        else:
            entries = npz_entries(stream, path.name) if format == "NPZ" else [npy_entry(stream, None, path.name)]
        matrices = tuple(str(entry) for entry in entries if entry.is_matrix)
        return Contents(path.name, format, size, matrices=matrices)


class _Opened:
    """An open file and its format; errors of the operating system in words."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> tuple[str, IO[bytes], int]:
        path = self.path
        try:
            if path.is_dir():
                raise RecordingError(f"{path} is a folder: give a file ({FORMATS})")
            if not path.is_file():
                raise RecordingError(f"{path} is not an existing file: give a file ({FORMATS})")
            size = path.stat().st_size
            self.stream = path.open("rb")
            format = _format(self.stream, size)
            self.stream.seek(0)
        except OSError as error:
            raise self._told(error) from error
        if format is None:
            self.stream.close()
            raise RecordingError(f"{path.name} is not a file of a known format: give one of {FORMATS}")
        return format, self.stream, size

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.stream.close()
        if isinstance(error, OSError):
            raise self._told(error) from error

    def _told(self, error: OSError) -> RecordingError:
        return RecordingError(f"{self.path} cannot be read ({error.strerror or brief(error)})")


def _format(stream: IO[bytes], size: int) -> str | None:
    """Format by content. An HDF5 signature stands at byte 0 or, after a user block, at 512, 1024, 2048, ..."""
    start = stream.read(4096)
    if start.startswith(npy.MAGIC_PREFIX):
        return "NPY"
    if start.startswith(b"PK"):
        return "NPZ"
    if start.startswith(b"PAR1"):
        return "Parquet"
    offset = 0
    while offset < size:
        stream.seek(offset)
        if stream.read(8) == _HDF5_MAGIC:
            return "HDF5"
        offset = max(512, 2 * offset)
    return "CSV" if _is_text(start) else None


def _is_text(start: bytes) -> bool:
    """Whether a file begins with printed lines in UTF-8."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(start)  # a cut character at the end is no error
    except UnicodeDecodeError:
        return False
    return bool(text.strip()) and all(character.isprintable() or character in "\t\r\n" for character in text)


def _read_file(path: Path, options: ReadOptions, bins: int | None, events: ArrayLike | None) -> Recording:
    columns: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    with _Opened(path) as (format, stream, size):
        limit = MAX_COMPRESSION * size
        if format == "HDF5":
            with open_hdf5(path) as file:
                if options.dataset is None and is_nwb(file):
                    return align(read_nwb(file), options, events)
                entry, matrix = _matrix(file.entries(), path.name, options, limit)
        elif format in ("CSV", "Parquet"):
            table = read_csv(path) if format == "CSV" else read_parquet(path)
            if is_spike_table(table):
                return align(session_of_table(table, format), options, events)
            entry, columns, notes = matrix_of_table(table)
            entry, matrix = _matrix([entry], path.name, options, limit)
        elif format == "NPZ":
            entry, matrix = _matrix(npz_entries(stream, path.name), path.name, options, limit)
        else:
            entry, matrix = _matrix([npy_entry(stream, None, path.name)], path.name, options, size)
    if events is not None:
        raise RecordingError(f"{path.name} holds rates and no spike times: leave the events out")
    return recording_of_matrix(matrix, path.name, format, entry.name, options, bins=bins, columns=columns, notes=notes)


def _matrix(entries: list[Entry], file: str, options: ReadOptions, limit: int) -> tuple[Entry, NDArray[Any]]:
    entry = choose_matrix(entries, file, options.dataset)
    return entry, load(entry, file, limit)


def _without_quiet(recording: Recording, minimum_rate_hz: float) -> Recording:
    """Leave out the neurons with a lower mean rate."""
    rates = recording.mean_rates_hz
    kept = np.flatnonzero(rates >= minimum_rate_hz)
    if not len(kept):
        raise RecordingError(
            f"0 of {recording.neurons} neurons of {recording.source} have a mean rate of {minimum_rate_hz:g} Hz or "
            f"more: the highest is {rates.max():.3g} Hz; give a lower minimum rate"
        )
    dropped = recording.neurons - len(kept)
    if dropped:
        recording = recording.take(kept)
    notes = (
        (f"{dropped} of {dropped + len(kept)} neurons were left out: their mean rate is below {minimum_rate_hz:g} Hz",)
        if dropped
        else ()
    )
    told = {"minimum_rate_hz": minimum_rate_hz, "units_dropped_by_rate": dropped, "units": len(kept)}
    return replace(recording, provenance={**recording.provenance, **told}, notes=(*recording.notes, *notes))
