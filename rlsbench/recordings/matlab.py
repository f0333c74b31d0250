"""MATLAB files: the variables of those of version 5 to 7, by SciPy, and of version 7.3, by h5py.

In: a path, or an open HDF5 file.  Out: variables, as `variables` describes them.  Knows no spikes.

A small file can describe large arrays. SciPy allocates what the headers of version 5 declare, so
they are compared with the bytes that are there before it reads them.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped,unused-ignore]
import numpy as np
from numpy.typing import NDArray

from rlsbench.available import available_bytes
from rlsbench.errors import RecordingError
from rlsbench.recordings.arrays import MAX_COMPRESSION, Entry, any_error_as, check_memory
from rlsbench.recordings.hdf5 import HDF5File

_DEPTH = 32  # nested structs and cells
_MAX_ARRAYS = 200_000
_MAX_TEXT = 10_000  # characters
_GROWTH = 16  # bytes of memory for each uncompressed byte: SciPy's copy, and uint8 stored for double
_MATRIX, _COMPRESSED = 14, 15  # types of elements of a file
_STRUCT, _OBJECT, _SPARSE, _OPAQUE = 2, 3, 5, 17  # classes of arrays
_NUMERIC = range(_SPARSE, 16)  # also classes, with as many parts as SciPy takes for granted
_VALUES = (*range(1, 8), 9, 12, 13)  # types of elements of numbers
_NUMBERS = {"double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}


def _cells(parts: list[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """An object array of variables."""
    cells = np.empty(len(parts), dtype=object)
    for i, part in enumerate(parts):  # one by one: NumPy would take some of them for arrays
        cells[i] = part
    return cells.reshape(shape)


def _numbers(entry: Entry, shape: tuple[int, ...], kind: str, read: Callable[[], NDArray[Any]]) -> Entry:
    """An entry of other shape; what MATLAB stores as a row or column of a matrix is a vector."""
    length = math.prod(shape)
    if length > max(shape, default=1):
        return entry._replace(shape=shape, kind=kind, read=read)
    return entry._replace(shape=(length,), kind=kind, read=lambda: read().reshape(-1))


def _other(name: str, kind: str) -> Entry:
    """A variable that is not read, for messages."""
    return Entry(name, (), f"{kind}, which only MATLAB reads", "V", 0, lambda: np.empty(0))


# --- version 7.3


def is_matlab73(file: HDF5File) -> bool:
    """Whether MATLAB wrote an HDF5 file."""
    with any_error_as(f"{file.name} is not a readable HDF5 file"):
        return any(name == "#refs#" or _class(item) for name, item in file.objects())


def variables_of_hdf5(file: HDF5File) -> dict[str, Any]:
    """The variables of a file of version 7.3; raises RecordingError if it is damaged."""
    with any_error_as(f"{file.name} is not a readable MATLAB file"):
        return {name: _of_hdf5(file, name, item, 0) for name, item in file.objects() if not name.startswith("#")}


def _of_hdf5(file: HDF5File, name: str, item: Any, depth: int) -> Any:
    """A variable; MATLAB stores arrays by columns, which transposes them."""
    if depth > _DEPTH:
        raise RecordingError(f"{name} in {file.name} has more than {_DEPTH} nested structs and cells")
    kind = _class(item)
    if isinstance(item, h5py.Group):
        if kind not in ("", "struct"):
            return _other(name, f"sparse {kind}")
        return {field: _of_hdf5(file, field, part, depth + 1) for field, part in file.objects(item)}
    referred = file.referred(item)
    if referred is not None:
        parts = ["" if part is None else _of_hdf5(file, name, part, depth + 1) for part in referred]
        return _cells(parts, item.shape).T
    entry = file.described(name, item)
    if _attribute(item, b"MATLAB_empty"):
        return "" if kind == "char" else Entry(name, (0, 0), kind, "f", 8, lambda: np.empty((0, 0)))
    if kind == "char" and entry.kind == "u" and math.prod(entry.shape) <= _MAX_TEXT:
        first_row = file.load(entry).T[:1].astype("<u2")
        return first_row.tobytes().decode("utf-16-le", "replace").strip()
    if kind == "logical":
        return _numbers(entry, entry.shape[::-1], "b", lambda: np.asarray(entry.read()).T.astype(bool))
    if kind in _NUMBERS:
        return _numbers(entry, entry.shape[::-1], entry.kind, lambda: np.asarray(entry.read()).T)
    return entry if kind == "" else _other(name, kind)


def _class(item: Any) -> str:
    """The class that MATLAB gives an object, or ""."""
    found = _attribute(item, b"MATLAB_class")
    return found.decode("ascii", "replace") if isinstance(found, bytes) else ""


def _attribute(item: Any, name: bytes) -> bytes | int:
    """A text or whole number that is an attribute, or 0; others are not read."""
    if not h5py.h5a.exists(item.id, name):
        return 0
    attribute = h5py.h5a.open(item.id, name)
    kind = attribute.get_type()
    text = isinstance(kind, h5py.h5t.TypeStringID) and not kind.is_variable_str() and kind.get_size() <= _DEPTH
    if attribute.shape != () or not (text or isinstance(kind, h5py.h5t.TypeIntegerID)):
        return 0
    value = np.zeros((), dtype=f"S{kind.get_size()}" if text else np.int64)
    attribute.read(value)
    found: bytes | int = value.item()
    return found


# --- version 5 to 7


def read_mat5(path: Path) -> dict[str, Any]:
    """The variables of a file of version 5 to 7; raises RecordingError if it is damaged."""
    from scipy.io import loadmat

    with any_error_as(f"{path.name} is not a readable MATLAB file"):
        content = _Headers(path).checked()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = loadmat(io.BytesIO(content))  # type: ignore[arg-type]  # which takes streams too
    return {name: _of_scipy(name, value) for name, value in found.items() if not name.startswith("__")}


def _of_scipy(name: str, value: Any) -> Any:
    """A variable that SciPy read."""
    if type(value) is not np.ndarray:
        return _other(name, "sparse" if hasattr(value, "tocsc") else "an object")
    if value.dtype.names is not None:
        if value.size == 1:
            return {field: _of_scipy(field, value[field].flat[0]) for field in value.dtype.names}
        fields = {field: value[field] for field in value.dtype.names}
        return {field: _cells([_of_scipy(field, v) for v in c.flat], c.shape) for field, c in fields.items()}
    if value.dtype.kind == "O":
        return _cells([_of_scipy(name, cell) for cell in value.flat], value.shape)
    if value.dtype.kind == "U":
        return str(value.flat[0]).strip()[:_MAX_TEXT] if value.size else ""
    kind = value.dtype.kind
    entry = Entry(name, value.shape, str(value.dtype), kind, value.dtype.itemsize, lambda: value)
    return _numbers(entry, value.shape, kind, lambda: value)


class _Headers:
    """The headers of a file: each array within an array must be within its bytes."""

    def __init__(self, path: Path) -> None:
        self.name, self.content, self.arrays = path.name, path.read_bytes(), 0
        self.order = {b"IM": "<", b"MI": ">"}[self.content[126:128]]

    def checked(self) -> bytearray:
        """The file, uncompressed; raises ValueError if sizes are inconsistent."""
        content, at = self.content, 128
        whole = bytearray(content[:at])
        most = min(available_bytes() // _GROWTH, MAX_COMPRESSION * len(content))
        while at + 8 <= len(content):
            kind, size = self._tag(content, at)
            if at + 8 + size > len(content):
                raise ValueError("it is truncated")
            element = content[at : at + 8 + size]
            if kind == _COMPRESSED:
                element = zlib.decompressobj().decompress(element[8:], most + 1 - len(whole))
            if len(whole) + len(element) > most:
                check_memory(_GROWTH * (len(whole) + len(element)), self.name)
                raise ValueError("it is too large")
            kind, inside = self._tag(element, 0)
            if kind != _MATRIX or 8 + inside != len(element):
                raise ValueError("it does not consist of arrays")
            self._check(element, 8, len(element), 0)
            whole += element
            at += 8 + size
        return whole

    def _tag(self, data: bytes, at: int) -> tuple[int, int]:
        kind, size = struct.unpack_from(f"{self.order}II", data, at)
        return kind, size

    def _check(self, data: bytes, start: int, end: int, depth: int) -> None:
        """Compare the sizes in an array with its bytes, from `start` to `end`."""
        self.arrays += 1
        if depth > _DEPTH or self.arrays > _MAX_ARRAYS:
            raise ValueError(f"it has more than {_MAX_ARRAYS:,} arrays, or {_DEPTH} nested ones")
        at, part, array, parts, count, length = start, 0, 0, 0, 0, 1
        while at < end:
            kind, size = self._tag(data, at)
            body, following = at + 8, at + 8 + size + -size % 8
            if kind >> 16:  # up to four bytes, in the tag itself
                kind, size, body, following = kind & 0xFFFF, kind >> 16, at + 4, at + 8
            if body + size > end:
                raise ValueError("an array is larger than what holds it")
            if kind == _MATRIX:
                self._check(data, body, body + size, depth + 1)
            numbers = struct.unpack_from(f"{self.order}{min(size, 128) // 4}i", data, body)
            if part == 0:
                array, parts = numbers[0] & 0xFF, 4 + (numbers[0] >> 11 & 1)  # another one if it is complex
            elif part > 2 and array in _NUMERIC and kind not in _VALUES:
                raise ValueError("an array of numbers holds something else")
            elif part == 1 and array != _OPAQUE:
                count = math.prod(numbers)
                if min(numbers) < 0 or (count > end - start and array != _SPARSE):
                    raise ValueError("an array is larger than what holds it")
            elif array in (_STRUCT, _OBJECT) and part == array + 1:
                length = max(1, numbers[0])
            elif array in (_STRUCT, _OBJECT) and part == array + 2 and count * size // length > end - start:
                raise ValueError("a struct is larger than what holds it")
            at, part = following, part + 1
        if array in _NUMERIC and part != parts + 2 * (array == _SPARSE):
            raise ValueError("an array of numbers lacks a part")
