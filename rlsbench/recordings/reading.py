"""Read a recording from a file in any known format, which is detected from the content.

In: a path or a mapping of units to spike times, and `ReadOptions`.  Out: a `Recording`, or the
`Contents` of a file.  Knows no experiment.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import ArrayLike

from rlsbench.errors import RecordingError
from rlsbench.recordings.alignment import align
from rlsbench.recordings.arrays import Entry, brief, npy_entry, npz_entries
from rlsbench.recordings.matrices import read_matrix
from rlsbench.recordings.options import ReadOptions
from rlsbench.recordings.recording import Recording
from rlsbench.recordings.sessions import Session, session_from_mapping
from rlsbench.recordings.tables import matrix_of_table, read_csv, read_parquet, session_of_table

__all__ = ["Contents", "read_contents", "read_recording"]

FORMATS = "NWB, HDF5, JLD, JLD2, NPY, NPZ, CSV or Parquet"
_MAGIC = {npy.MAGIC_PREFIX: "NPY", b"PK": "NPZ", b"PAR1": "Parquet"}
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_DEFAULT = ReadOptions()


@dataclass(frozen=True, eq=False)
class Contents:
    """The contents of a file.

    Parameters
    ----------
    source : str
        Name of the file, without its folder.
    format : str
    size : int
        Size in bytes.
    session : Session or None
        Units, trials and events, if the file holds spike times.
    matrices : tuple of str
        Name, shape and type of the matrices that may hold rates, if it holds no spike times.
    """

    source: str
    format: str
    size: int
    session: Session | None = None
    matrices: tuple[str, ...] = ()


def read_recording(
    source: str | Path | Mapping[Any, ArrayLike] | Session,
    options: ReadOptions = _DEFAULT,
    *,
    bins: int | None = None,
    minimum_bins: int | None = None,
    events: ArrayLike | None = None,
) -> Recording:
    """Read recorded rates, or compute the rates of recorded spikes around an event.

    Parameters
    ----------
    source : str, Path, mapping or Session
        A file (NWB, HDF5, JLD, JLD2, NPY, NPZ, CSV or Parquet, detected from the content); a
        mapping of units to spike times in seconds; or the session that `read_contents` returns.
    options : ReadOptions
    bins : int, optional
        Number of bins in the experiment. If exactly one axis of a matrix has this length, it is the
        time axis.
    minimum_bins : int, optional
        Reject a recording with fewer bins.
    events : array_like, optional
        Event times in seconds, used for spike times in place of `options.event`.

    Returns
    -------
    Recording

    Raises
    ------
    RecordingError
        If the file cannot be read, the request is ambiguous, values are not rates, or no neurons
        remain.
    """
    if isinstance(source, Mapping):
        source = session_from_mapping(source)
    if isinstance(source, Session):
        recording = align(source, options, events)
    else:
        recording = _read_file(Path(source), options, bins, events)
    if minimum_bins is not None and recording.bins < minimum_bins:
        raise RecordingError(
            f"{recording.source} gives {recording.bins} bins, but the experiment has {minimum_bins}: give a "
            "longer window (--window) or shorten the experiment"
        )
    return _without_low_rates(recording, options.minimum_rate_hz)


def read_contents(path: str | Path) -> Contents:
    """Read what a file holds.

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
    with _opened(Path(path)) as file:
        session = file.session
        format = file.format if session is None or file.format == "NWB" else f"{file.format}, spikes"
        matrices = tuple(str(entry) for entry in file.entries if entry.is_matrix)
        return Contents(file.name, format, file.size, session, matrices)


class _File(NamedTuple):
    """An open file: the session that it holds, or the arrays among which its matrix of rates is."""

    name: str
    format: str
    size: int
    session: Session | None = None
    entries: Sequence[Entry] = ()


@contextmanager
def _opened(path: Path, dataset: str | None = None) -> Iterator[_File]:
    """Open a file of any format; naming a dataset asks for the matrices of an NWB file."""
    name = path.name
    try:
        if path.is_dir():
            raise RecordingError(f"{path} is a folder: give a file ({FORMATS})")
        if not path.is_file():
            raise RecordingError(f"{path} is not an existing file: give a file ({FORMATS})")
        size = path.stat().st_size
        with path.open("rb") as stream:
            format = _format(stream, size)
            stream.seek(0)
            if format == "HDF5":
                from rlsbench.recordings.hdf5 import open_hdf5  # slow import: h5py
                from rlsbench.recordings.nwb import is_nwb, read_nwb

                with open_hdf5(path) as file:
                    if dataset is None and is_nwb(file):
                        yield _File(name, "NWB", size, read_nwb(file))
                    else:
                        yield _File(name, format, size, entries=file.entries())
            elif format in ("CSV", "Parquet"):
                table = read_csv(path) if format == "CSV" else read_parquet(path)
                session = session_of_table(table, format)
                entries = [matrix_of_table(table)] if session is None else []
                yield _File(name, format, size, session, entries)
            elif format == "NPZ":
                yield _File(name, format, size, entries=npz_entries(stream, name))
            elif format == "NPY":
                yield _File(name, format, size, entries=[npy_entry(stream, None, name)])
            else:
                raise RecordingError(f"{name} is not in a known format: give a file in one of {FORMATS}")
    except OSError as error:
        raise RecordingError(f"{path} cannot be read ({error.strerror or brief(error)})") from error


def _format(stream: IO[bytes], size: int) -> str | None:
    """Detect the format; an HDF5 signature is at byte 0 or after a user block, at 512, 1024, ..."""
    start = stream.read(4096)
    for magic, format in _MAGIC.items():
        if start.startswith(magic):
            return format
    offset = 0
    while offset < size:
        stream.seek(offset)
        if stream.read(8) == _HDF5_MAGIC:
            return "HDF5"
        offset = max(512, 2 * offset)
    return "CSV" if _is_text(start) else None


def _is_text(start: bytes) -> bool:
    """Whether a file starts with printable UTF-8 text."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(start)  # ignores a character cut off at the end
    except UnicodeDecodeError:
        return False
    return bool(text.strip()) and all(character.isprintable() or character in "\t\r\n" for character in text)


def _read_file(path: Path, options: ReadOptions, bins: int | None, events: ArrayLike | None) -> Recording:
    with _opened(path, options.dataset) as file:
        if file.session is not None:
            return align(file.session, options, events)
        if events is not None:
            raise RecordingError(f"{file.name} holds rates, not spike times: omit the events")
        return read_matrix(file.entries, file.name, file.format, file.size, options, bins)


def _without_low_rates(recording: Recording, minimum_rate_hz: float) -> Recording:
    """Drop the neurons with a lower mean rate."""
    rates = recording.mean_rates_hz
    kept = np.flatnonzero(rates >= minimum_rate_hz)
    if not len(kept):
        raise RecordingError(
            f"none of the {recording.neurons} neurons of {recording.source} has a mean rate of at least "
            f"{minimum_rate_hz:g} Hz: the highest is {rates.max():.3g} Hz; give a lower minimum rate"
        )
    dropped = len(rates) - len(kept)
    notes = list(recording.notes)
    if dropped:
        recording = recording.take(kept)
        notes.append(f"{dropped} of {len(rates)} neurons were omitted: mean rate below {minimum_rate_hz:g} Hz")
    counts = {"minimum_rate_hz": minimum_rate_hz, "units_dropped_by_rate": dropped, "units": len(kept)}
    return replace(recording, provenance={**recording.provenance, **counts}, notes=tuple(notes))
