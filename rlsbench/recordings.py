"""A matrix of recorded rates from a file.

In: a path to an HDF5, JLD, JLD2, NPY or NPZ file and, where it is left open, which dataset and which axis is time.
Out: a `Recording` with rates in Hz, (bins, neurons).  Knows no experiment and no target currents.

JLD and JLD2 files are HDF5 with a user block. The size that a header announces is checked before memory is taken,
pickled objects are never loaded, and attributes (of committed types, say) are never read.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import ArrayLike, NDArray

from rlsbench.errors import ConfigurationError, RecordingError

__all__ = ["Recording", "TimeAxis", "read_rates"]

TimeAxis = Literal["rows", "columns"]

MAX_VALUES = 10**9  # 8 GB as float64; the largest published recording has 10^7
MAX_COMPRESSION = 1100  # deflate makes nothing smaller than 1/1032
FORMATS = "HDF5, JLD, JLD2, NPY or NPZ"
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_JULIA_GROUPS = {"_types", "_creator", "_refs", "_require"}  # bookkeeping of JLD and JLD2
_LISTED = 8  # names that a message lists before it only counts


@dataclass(frozen=True, eq=False)
class Recording:
    """Recorded rates and how they were read.

    Attributes
    ----------
    rates_hz : ndarray
        Rates in Hz, float64, (bins, neurons), all finite and at least 0; read-only.
    source : str
        Name of the file, without its folder.
    dataset : str or None
        Name of the dataset within the file; None for NPY.
    orientation_note : str
        One sentence: which axis was taken for time, and why.
    """

    rates_hz: NDArray[np.float64]
    source: str
    dataset: str | None
    orientation_note: str


class _Entry(NamedTuple):
    """An array in a file; `read` loads it."""

    name: str | None
    shape: tuple[int, ...]
    dtype: str
    kind: str
    itemsize: int
    read: Callable[[], ArrayLike]

    @property
    def usable(self) -> bool:
        return len(self.shape) == 2 and self.kind in "iuf"

    def __str__(self) -> str:
        return f"{self.name or 'the array'} {self.shape} {self.dtype}"


def read_rates(
    path: str | Path, *, bins: int | None = None, time_axis: TimeAxis | None = None, dataset: str | None = None
) -> Recording:
    """Read a matrix of rates.

    Parameters
    ----------
    path : str or Path
        An HDF5, JLD, JLD2, NPY or NPZ file, told apart by content.
    bins : int, optional
        Bins of the experiment: an axis of this length, if only one has it, is time.
    time_axis : {"rows", "columns"}, optional
        Which axis of the matrix, as h5py or numpy reads it, is time. Left out: see `bins`; failing that, the shorter
        axis if the other is at least twice as long.
    dataset : str, optional
        Name of the dataset, needed if the file holds several numeric 2-D ones.

    Returns
    -------
    Recording
        Rates in Hz, (bins, neurons).

    Raises
    ------
    RecordingError
        If the file cannot be read, which matrix or axis is meant is unclear, or values are not rates.
    ConfigurationError
        If `time_axis` is neither of its two values.
    """
    if time_axis not in (None, "rows", "columns"):
        raise ConfigurationError(f"time axis {time_axis!r} is not known: give rows or columns")
    path = Path(path)
    try:
        if path.is_dir():
            raise RecordingError(f"{path} is a folder: give an {FORMATS} file")
        if not path.is_file():
            raise RecordingError(f"{path} is not an existing file: give an {FORMATS} file")
        size = path.stat().st_size
        with path.open("rb") as stream:
            magic = _magic(stream, size)
            if magic == "HDF5":
                entry, matrix = _read_hdf5(path, size, dataset)
            elif magic == "NPZ":
                entry, matrix = _read_npz(stream, path.name, size, dataset)
            elif magic == "NPY":
                if dataset is not None:
                    raise RecordingError(f"{path.name} is an NPY file, which has no dataset {dataset!r}: leave it out")
                entry, matrix = _load(path.name, [_npy_entry(stream, None, path.name)], None, size)
            else:
                raise RecordingError(f"{path.name} is not a file of a known format: give an {FORMATS} file")
    except OSError as error:
        raise RecordingError(f"{path} cannot be read ({error.strerror or _brief(error)})") from error
    rates, note = _orient(matrix, path.name, bins, time_axis)
    _check_values(rates, path.name)
    return Recording(rates, path.name, entry.name, note)


def _brief(error: Exception) -> str:
    """First line of an error of a library, to be quoted."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _magic(stream: IO[bytes], size: int) -> str | None:
    """Format by content. An HDF5 signature stands at byte 0 or, after a user block, at 512, 1024, 2048, ..."""
    start = stream.read(8)
    stream.seek(0)
    if start.startswith(npy.MAGIC_PREFIX):
        return "NPY"
    if start.startswith(b"PK"):
        return "NPZ"
    offset = 0
    while offset < size:
        stream.seek(offset)
        if stream.read(8) == _HDF5_MAGIC:
            return "HDF5"
        offset = max(512, 2 * offset)
    return None


def _load(file: str, entries: list[_Entry], dataset: str | None, limit: int) -> tuple[_Entry, NDArray[np.generic]]:
    """Choose the entry, check that it announces at most `limit` bytes, and read it."""
    usable = [entry for entry in entries if entry.usable]
    if dataset is not None:
        chosen = [entry for entry in entries if (entry.name or "").strip("/") == dataset.strip("/")]
        if not chosen:
            raise RecordingError(f"{file} has no dataset {dataset!r}: its numeric 2-D datasets are {_names(usable)}")
        if not chosen[0].usable:
            raise RecordingError(f"{chosen[0]} in {file} is not a 2-D matrix of real numbers: give {_names(usable)}")
    else:
        chosen = usable
    if not chosen:
        raise RecordingError(f"{file} holds no 2-D dataset of real numbers (found: {_names(entries)})")
    if len(chosen) > 1:
        raise RecordingError(f"{file} holds several 2-D datasets, {_names(chosen)}: give one of them with dataset=NAME")
    entry = chosen[0]
    count = math.prod(entry.shape)
    if count > MAX_VALUES or count * entry.itemsize > limit:
        accepted = f"at most {MAX_VALUES:,} values and the {limit:,} bytes that the file can hold are accepted"
        raise RecordingError(f"{entry} in {file} is too large: {accepted}")
    try:
        return entry, np.asarray(entry.read())
    except Exception as error:  # a damaged file may raise nearly anything
        raise RecordingError(f"{entry} in {file} cannot be read ({_brief(error)}): the file may be damaged") from error


def _names(entries: list[_Entry]) -> str:
    """Names, shapes and types for a message."""
    more = [f"and {len(entries) - _LISTED} more"] if len(entries) > _LISTED else []
    return ", ".join([str(entry) for entry in entries[:_LISTED]] + more) or "none"


def _npy_entry(stream: IO[bytes], name: str | None, file: str) -> _Entry:
    """Read the header of an NPY stream; its values are only read by the entry."""
    try:
        version = npy.read_magic(stream)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
        if min(shape, default=0) < 0:
            raise ValueError("a negative length")
    except Exception as error:  # the header is Python text: a damaged one may raise nearly anything
        where = f"{name} in {file}" if name else file
        raise RecordingError(f"{where} has no valid NPY header ({_brief(error)}): it may be damaged") from error
    count = math.prod(shape)

    def read() -> ArrayLike:
        content = stream.read(count * dtype.itemsize)
        return np.frombuffer(content, dtype, count).reshape(shape, order="F" if fortran else "C")

    return _Entry(name, shape, str(dtype), dtype.kind, dtype.itemsize, read)


def _read_npz(stream: IO[bytes], file: str, size: int, dataset: str | None) -> tuple[_Entry, NDArray[np.generic]]:
    """Read an array of an NPZ file (a ZIP of NPY files)."""
    try:
        archive = zipfile.ZipFile(stream)
        members = [name for name in archive.namelist() if name.endswith(".npy")]
        entries = [_npy_entry(archive.open(name), name.removesuffix(".npy"), file) for name in members]
    except (zipfile.BadZipFile, ValueError, RuntimeError, NotImplementedError) as error:
        raise RecordingError(f"{file} is not a readable NPZ file ({_brief(error)}): it may be damaged") from error
    return _load(file, entries, dataset, MAX_COMPRESSION * size)


def _read_hdf5(path: Path, size: int, dataset: str | None) -> tuple[_Entry, NDArray[np.generic]]:
    """Read a dataset, at any depth, of an HDF5, JLD or JLD2 file; soft and external links are not followed."""
    import h5py  # type: ignore[import-untyped,unused-ignore]

    try:
        with h5py.File(path, "r") as handle:
            if dataset is None and "session_start_time" in handle:  # else observation intervals pass for rates
                raise RecordingError(f"{path.name} is an NWB file, of spikes: give dataset=NAME if it also holds rates")
            found: list[str] = []
            handle.visit(found.append)
            names = [name for name in found if name.split("/", 1)[0] not in _JULIA_GROUPS]
            items = [(name, handle[name]) for name in names if handle.get(name, getclass=True) is h5py.Dataset]
            return _load(path.name, [_hdf5_entry(name, item) for name, item in items], dataset, MAX_COMPRESSION * size)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise RecordingError(f"{path.name} is not a readable HDF5 file ({_brief(error)})") from error


def _hdf5_entry(name: str, item: Any) -> _Entry:
    """Describe an h5py dataset; one of a type or shape that numpy lacks is listed as such."""
    try:
        dtype, shape = item.dtype, item.shape or ()
    except (TypeError, ValueError):
        dtype, shape = np.dtype("V"), ()
    return _Entry(name, shape, str(dtype), dtype.kind, dtype.itemsize, partial(item.__getitem__, ()))


def _orient(
    matrix: NDArray[np.generic], file: str, bins: int | None, time_axis: TimeAxis | None
) -> tuple[NDArray[np.float64], str]:
    """Turn the matrix to (bins, neurons), and say why."""
    rows, columns = matrix.shape
    override = "give --time-axis rows or --time-axis columns"
    if time_axis is not None:
        axis, why = time_axis, "as requested"
    elif (rows == bins) != (columns == bins):
        axis, why = ("rows" if rows == bins else "columns"), f"the only axis with the {bins} bins of the experiment"
    elif max(rows, columns) >= 2 * min(rows, columns):
        axis = "rows" if rows < columns else "columns"
        why = f"inferred because it is the shorter axis; to override, {override}"
    else:
        raise RecordingError(f"{file} is {rows} x {columns}, and which axis is time is ambiguous: {override}")
    with np.errstate(over="ignore"):
        rates = np.ascontiguousarray(matrix if axis == "rows" else matrix.T, dtype=np.float64)
    if min(rates.shape) < 2:
        raise RecordingError(f"{file} has {rates.shape[0]} bins of {rates.shape[1]} neurons: at least 2 x 2 are needed")
    rates.setflags(write=False)
    return rates, f"{axis} of {rows} x {columns} are time: {why}"


def _check_values(rates: NDArray[np.float64], file: str) -> None:
    """RecordingError unless every rate is finite and at least 0."""
    wrong = ~((rates >= 0) & (rates < np.inf))
    if wrong.any():
        row, column = np.unravel_index(int(wrong.argmax()), rates.shape)
        raise RecordingError(
            f"{file} has {wrong.sum()} of {rates.size} values that are NaN, infinite or negative, the first "
            f"({rates[row, column]:g}) at bin {row} of neuron {column} counted from 0: rates must be numbers from 0 up"
        )
