"""Arrays in files: reading one after checking its size, and the arrays of NPY and NPZ files.

In: an open file, or the arrays that a reader lists.  Out: arrays in memory.  Knows no rates.  The
size that a header declares is checked before memory is allocated; pickled objects are never loaded.
"""

from __future__ import annotations

import hashlib
import math
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, Literal, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import ArrayLike, NDArray

from rlsbench.available import available_bytes
from rlsbench.errors import RecordingError

MAX_VALUES = 10**9  # 8 GB as float64; the largest published recording has 10^7
MAX_MEMBERS = 10_000  # arrays of an NPZ file
MAX_ROWS = 10**6  # of a table of trials, events or units
MAX_TEXT = 10**8  # characters in a column
COPIES = 3  # of an array at once: as stored, as float64, and transposed
MAX_COMPRESSION = 1100  # the maximum ratio of deflate is 1032
FEW_COLUMNS = 3  # a table of so few may be one of spikes
_MAX_OBJECTS = 20_000  # of which HDF5 lists about 20,000 a second
_LONGEST = 300  # characters of an error message
_LISTED = 8  # names in a message; the others are only counted


class Evidence(NamedTuple):
    """What an axis of an array is, according to its file."""

    quantity: Literal["time", "unit"]
    axis: int
    why: str
    name: str = ""  # of the values
    values: NDArray[Any] | None = None  # times, or names of units


class Entry(NamedTuple):
    """An array in a file; `read` loads it."""

    name: str | None
    shape: tuple[int, ...]
    dtype: str
    kind: str
    itemsize: int
    read: Callable[[], ArrayLike]
    columns: tuple[str, ...] | None = None  # names of the columns of a table
    notes: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()

    @property
    def is_matrix(self) -> bool:
        """Whether it may hold rates or counts, perhaps by trial and condition."""
        return 2 <= len(self.shape) <= 4 and self.kind in "biuf"

    def __str__(self) -> str:
        return f"{self.name or 'the array'} {self.shape} {self.dtype}"


def spacing(values: ArrayLike) -> float | None:
    """The spacing of numbers that increase in equal steps, within rounding; or None."""
    numbers = np.asarray(values)
    if numbers.ndim != 1 or len(numbers) < 2 or numbers.dtype.kind not in "iuf" or not np.isfinite(numbers).all():
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        steps = numbers.astype(np.float64) - float(numbers[0])
        step = float(steps[-1]) / (len(steps) - 1)
        equal = (np.abs(steps - step * np.arange(len(steps))) <= 0.1 * step).all()
    return step if 0 < step < np.inf and equal else None


def array_digest(values: NDArray[Any]) -> str:
    """SHA-256 of the numbers of an array, as hexadecimal digits."""
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()


def brief(error: Exception) -> str:
    """The first line of a library's error message, or its start: some quote what they read."""
    return (str(error).splitlines() or [""])[0][:_LONGEST].rstrip(".") or type(error).__name__


@contextmanager
def any_error_as(problem: str, advice: str = "") -> Iterator[None]:
    """Turn any error into a RecordingError: for a damaged file, libraries may raise almost any."""
    try:
        yield
    except RecordingError:
        raise
    except Exception as error:
        raise RecordingError(f"{problem} ({brief(error)}){advice}") from error


def check_memory(size: int, what: str) -> None:
    """Raise RecordingError if reading needs more bytes than are available to this process."""
    free = available_bytes()
    if size > free:
        raise RecordingError(
            f"{what} is too large: reading it needs {size / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB are available"
        )


def check_size(count: int, itemsize: int, limit: int, what: str) -> None:
    """Raise RecordingError if an array exceeds `MAX_VALUES`, `limit` bytes or the free memory."""
    check_memory(COPIES * count * max(itemsize, 8), what)
    if not (0 <= count <= MAX_VALUES and count * itemsize <= limit):
        raise RecordingError(
            f"{what} is too large: the limits are {MAX_VALUES:,} values, and {limit:,} bytes for a file of this size"
        )


def load(entry: Entry, file: str, limit: int) -> NDArray[Any]:
    """Read an array; raises RecordingError if it is damaged, or larger than `limit` or memory."""
    check_size(math.prod(entry.shape), entry.itemsize, limit, f"{entry} in {file}")
    with any_error_as(f"{entry} in {file} cannot be read", ": the file may be damaged"):
        return np.asarray(entry.read())


class Tree(ABC):
    """Groups and arrays of a file by path, and the bytes that may still be read."""

    def __init__(self, name: str, limit: int) -> None:
        self.name, self.limit = name, limit
        self.unread: dict[str, str] = {}  # path -> why it is never read, such as a link to another file
        self._objects = 0

    @abstractmethod
    def children(self, path: str) -> dict[str, str]:
        """Members of a group: name -> "group" or "dataset"; empty if there is no such group."""

    @abstractmethod
    def entry(self, path: str) -> Entry | None:
        """The array at a path, if there is one."""

    @abstractmethod
    def text(self, path: str) -> str:
        """The single text at a path, or its beginning; empty if there is none."""

    def count(self, objects: int) -> None:
        """Raise RecordingError if more objects were listed than files have."""
        self._objects += objects
        if self._objects > _MAX_OBJECTS:
            raise RecordingError(f"{self.name} has more than {_MAX_OBJECTS:,} groups and arrays")

    def numbers(self, path: str) -> NDArray[Any] | None:
        """The array of numbers or booleans at a path, or None."""
        entry = self.entry(path)
        return self.load(entry) if entry is not None and entry.kind in "biuf" else None

    def column(self, path: str) -> NDArray[Any] | None:
        """The 1-D array of numbers, booleans or (object) texts at a path, or None."""
        entry = self.entry(path)
        usable = entry is not None and len(entry.shape) == 1 and entry.kind in "biufT"
        return self.load(entry) if entry is not None and usable else None

    def load(self, entry: Entry) -> NDArray[Any]:
        """Read an array, of which several names may tell."""
        values = load(entry, self.name, self.limit)
        self.limit -= math.prod(entry.shape) * entry.itemsize
        return values


def npy_entry(stream: IO[bytes], name: str | None, file: str) -> Entry:
    """Read the header of an NPY stream; the entry reads the values."""
    with any_error_as(f"{f'{name} in ' if name else ''}{file} has no valid NPY header", ": it may be damaged"):
        version = npy.read_magic(stream)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
        if min(shape, default=0) < 0:
            raise ValueError("a negative length")
    count = math.prod(shape)

    def read() -> ArrayLike:
        if dtype.hasobject:
            raise ValueError("it holds pickled objects, which are never loaded")
        content = stream.read(count * dtype.itemsize)
        return np.frombuffer(content, dtype, count).reshape(shape, order="F" if fortran else "C")

    return Entry(name, shape, str(dtype), dtype.kind, dtype.itemsize, read)


def npz_entries(stream: IO[bytes], file: str) -> list[Entry]:
    """The arrays of an NPZ file (a ZIP of NPY files); the stream must remain open to read them."""
    with any_error_as(f"{file} is not a readable NPZ file", ": it may be damaged"):
        archive = zipfile.ZipFile(stream)
        members = [name for name in archive.namelist() if name.endswith(".npy")]
        if len(members) > MAX_MEMBERS:
            raise ValueError(f"it holds {len(members):,} arrays, of at most {MAX_MEMBERS:,}")
        return [npy_entry(archive.open(name), name.removesuffix(".npy"), file) for name in members]


def matrices_of(entries: Iterable[Entry]) -> list[Entry]:
    """Those that may hold rates: 2-D ones of numbers, or else booleans, or else of more dimensions.

    Vectors and single numbers, as MATLAB stores them, only if there is no other.
    """

    def rank(entry: Entry) -> tuple[bool, bool, bool]:
        return min(entry.shape) <= 1, len(entry.shape) > 2, entry.kind == "b"

    matrices = [entry for entry in entries if entry.is_matrix]
    best = min(map(rank, matrices), default=None)
    return [entry for entry in matrices if rank(entry) == best]


def listed(items: Iterable[object]) -> str:
    """Names, or names, shapes and types, for a message."""
    names = list(map(str, items))
    more = [f"and {len(names) - _LISTED} more"] if len(names) > _LISTED else []
    return ", ".join(names[:_LISTED] + more) or "none"
