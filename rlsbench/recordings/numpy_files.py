"""Arrays of NPY and NPZ files.

In: an open file.  Out: its arrays, as `Entry`.  Knows no rates.  Pickled objects are never loaded.
"""

from __future__ import annotations

import math
import zipfile
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import ArrayLike

from rlsbench.errors import RecordingError
from rlsbench.recordings.arrays import Entry, brief

__all__ = ["npy_entry", "npz_entries"]


def npy_entry(stream: IO[bytes], name: str | None, file: str) -> Entry:
    """Read the header of an NPY stream; the entry reads the values.

    Raises
    ------
    RecordingError
        If the header is not valid.
    """
    try:
        version = npy.read_magic(stream)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read_header(stream)
        if min(shape, default=0) < 0:
            raise ValueError("a negative length")
    except Exception as error:  # the header is Python text: a damaged one may raise almost any error
        where = f"{name} in {file}" if name else file
        raise RecordingError(f"{where} has no valid NPY header ({brief(error)}): it may be damaged") from error
    count = math.prod(shape)

    def read() -> ArrayLike:
        if dtype.hasobject:
            raise ValueError("it holds pickled objects, which are never loaded")
        content = stream.read(count * dtype.itemsize)
        return np.frombuffer(content, dtype, count).reshape(shape, order="F" if fortran else "C")

    return Entry(name, shape, str(dtype), dtype.kind, dtype.itemsize, read)


def npz_entries(stream: IO[bytes], file: str) -> list[Entry]:
    """The arrays of an NPZ file (a ZIP of NPY files); the stream must remain open to read them.

    Raises
    ------
    RecordingError
        If it is not a readable NPZ file.
    """
    try:
        archive = zipfile.ZipFile(stream)
        members = [name for name in archive.namelist() if name.endswith(".npy")]
        return [npy_entry(archive.open(name), name.removesuffix(".npy"), file) for name in members]
    except RecordingError:
        raise
    except Exception as error:  # a damaged archive may raise almost any error
        raise RecordingError(f"{file} is not a readable NPZ file ({brief(error)}): it may be damaged") from error
