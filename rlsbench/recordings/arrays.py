"""Arrays in files: what they announce, which one is meant, and reading it.

In: the arrays that a file lists.  Out: one of them, in memory.  Knows no file format.  The size that a header
announces is checked before memory is taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
    "check_size",
    "check_taken",
    "choose_matrix",
    "load",
    "names",
]

MAX_VALUES = 10**9  # 8 GB as float64; the largest published recording has 10^7
COPIES = 3  # of an array at once: as it is stored, as float64, and turned round
MAX_COMPRESSION = 1100  # deflate makes nothing smaller than 1/1032
_LISTED = 8  # names that a message lists before it only counts


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
        """Whether it may be a matrix of rates."""
        return len(self.shape) == 2 and self.kind in "iuf"

    def __str__(self) -> str:
        return f"{self.name or 'the array'} {self.shape} {self.dtype}"


def brief(error: Exception) -> str:
    """First line of an error of a library, to be quoted."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".") or type(error).__name__


def check_size(entry: Entry, file: str, limit: int) -> None:
    """RecordingError if an array announces more than `limit` bytes, `MAX_VALUES` values, or more than memory takes."""
    count = math.prod(entry.shape)
    check_taken(COPIES * count * max(entry.itemsize, 8), f"{entry} in {file}")
    if count > MAX_VALUES or count * entry.itemsize > limit:
        accepted = f"at most {MAX_VALUES:,} values and the {limit:,} bytes that the file can hold are accepted"
        raise RecordingError(f"{entry} in {file} is too large: {accepted}")


def check_taken(size: int, what: str) -> None:
    """RecordingError if reading something takes more bytes than this process can still have."""
    free = available_bytes()
    if size > free:
        raise RecordingError(
            f"{what} is too large: reading it takes {size / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB are free"
        )


def load(entry: Entry, file: str, limit: int) -> NDArray[Any]:
    """Check what an array announces, and read it.

    Raises
    ------
    RecordingError
        If it is too large, or cannot be read.
    """
    check_size(entry, file, limit)
    try:
        return np.asarray(entry.read())
    except RecordingError:
        raise
    except Exception as error:  # a damaged file may raise nearly anything
        raise RecordingError(f"{entry} in {file} cannot be read ({brief(error)}): the file may be damaged") from error


def choose_matrix(entries: Sequence[Entry], file: str, dataset: str | None) -> Entry:
    """The only matrix of a file, or the one of the given name.

    Raises
    ------
    RecordingError
        If there is none, or which one is meant is unclear.
    """
    matrices = [entry for entry in entries if entry.is_matrix]
    if dataset is not None:
        named = [entry for entry in entries if (entry.name or "").strip("/") == dataset.strip("/")]
        if not named:
            raise RecordingError(f"{file} has no dataset {dataset!r}: its numeric 2-D datasets are {names(matrices)}")
        if not named[0].is_matrix:
            raise RecordingError(f"{named[0]} in {file} is not a 2-D matrix of real numbers: give {names(matrices)}")
        return named[0]
    if not matrices:
        raise RecordingError(f"{file} holds no 2-D dataset of real numbers (found: {names(entries)})")
    if len(matrices) > 1:
        raise RecordingError(
            f"{file} holds several 2-D datasets, {names(matrices)}: give one of them with dataset=NAME or --dataset "
            "NAME"
        )
    return matrices[0]


def names(entries: Sequence[Entry]) -> str:
    """Names, shapes and types for a message."""
    more = [f"and {len(entries) - _LISTED} more"] if len(entries) > _LISTED else []
    return ", ".join([str(entry) for entry in entries[:_LISTED]] + more) or "none"
