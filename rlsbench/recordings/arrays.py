"""Arrays in files: selecting one and reading it.

In: the arrays that a file lists.  Out: one of them, in memory.  Knows no file format.  The size
that a header declares is checked before memory is allocated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlsbench.available import available_bytes
from rlsbench.errors import RecordingError

__all__ = [
    "MAX_COMPRESSION",
    "MAX_VALUES",
    "Entry",
    "brief",
    "check_memory",
    "choose_matrix",
    "listed",
    "load",
]

MAX_VALUES = 10**9  # 8 GB as float64; the largest published recording has 10^7
COPIES = 3  # of an array at once: as stored, as float64, and transposed
MAX_COMPRESSION = 1100  # the maximum ratio of deflate is 1032
_LISTED = 8  # names in a message; the others are only counted


class Entry(NamedTuple):
    """An array in a file; `read` loads it."""

    name: str | None
    shape: tuple[int, ...]
    dtype: str
    kind: str
    itemsize: int
    read: Callable[[], ArrayLike]

    @property
    def is_matrix(self) -> bool:
        """Whether it may hold rates."""
        return len(self.shape) == 2 and self.kind in "iuf"

    def __str__(self) -> str:
        return f"{self.name or 'the array'} {self.shape} {self.dtype}"


def brief(error: Exception) -> str:
    """The first line of a library's error message."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".") or type(error).__name__


def check_memory(size: int, what: str) -> None:
    """Raise RecordingError if reading needs more bytes than are available to this process."""
    free = available_bytes()
    if size > free:
        raise RecordingError(
            f"{what} is too large: reading it needs {size / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB are available"
        )


def load(entry: Entry, file: str, limit: int) -> NDArray[Any]:
    """Read an array, after checking its declared size.

    Raises
    ------
    RecordingError
        If it has more than `limit` bytes or `MAX_VALUES` values, does not fit into memory, or
        cannot be read.
    """
    count = math.prod(entry.shape)
    check_memory(COPIES * count * max(entry.itemsize, 8), f"{entry} in {file}")
    if count > MAX_VALUES or count * entry.itemsize > limit:
        raise RecordingError(
            f"{entry} in {file} is too large: the limits are {MAX_VALUES:,} values, and {limit:,} bytes for a file of "
            "this size"
        )
    try:
        return np.asarray(entry.read())
    except RecordingError:
        raise
    except Exception as error:  # a damaged file may raise almost any error
        raise RecordingError(f"{entry} in {file} cannot be read ({brief(error)}): the file may be damaged") from error


def choose_matrix(entries: Sequence[Entry], file: str, dataset: str | None) -> Entry:
    """The only matrix of a file, or the named one.

    Raises
    ------
    RecordingError
        If there is none, or several and no name.
    """
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


def listed(items: Iterable[object]) -> str:
    """Names, or names, shapes and types, for a message."""
    names = list(map(str, items))
    more = [f"and {len(names) - _LISTED} more"] if len(names) > _LISTED else []
    return ", ".join(names[:_LISTED] + more) or "none"
