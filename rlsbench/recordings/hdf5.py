"""HDF5 files, including JLD, JLD2 and NWB: lists and reads what is stored in the file itself.

In: a path.  Out: groups and arrays by name.  Knows no rates and no spikes.  Soft and external
links, virtual datasets and external storage are not followed; attributes (such as those of
committed types) are never read; any error of h5py for a damaged file becomes a `RecordingError`.

A small file can describe large arrays, many objects, and the same object many times: arrays take
together no more than the file can hold compressed, and the number of objects is limited.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped,unused-ignore]
import numpy as np
from numpy.typing import NDArray

from rlsbench.errors import RecordingError
from rlsbench.recordings.arrays import MAX_COMPRESSION, MAX_ROWS, Entry, any_error_as, load

JULIA_GROUPS = {"_types", "_creator", "_refs", "_require"}  # internal to JLD and JLD2
_MAX_OBJECTS = 20_000  # of which HDF5 lists about 20,000 a second
_DEPTH = 32  # nested groups
_CHUNK = 2**26  # bytes of a chunk that may exceed its array, and of chunks that are kept while texts are read
_VECTOR = 64  # bytes that a vector takes in a file, at least
_TEXT = 200  # characters of a single text
_TEXT_ROWS = 1024  # texts read at a time, since many may refer to one long text
_MAX_TEXT = 10**8  # characters in a column


class HDF5File:
    """An open `h5py.File`, its name for messages, and the bytes that may still be read."""

    def __init__(self, handle: Any, name: str, limit: int) -> None:
        self._handle, self.name, self.limit, self._size = handle, name, limit, limit // MAX_COMPRESSION
        self._objects = 0

    def entries(self) -> list[Entry]:
        """All arrays, except the internal ones of JLD; those of a group under one of its names."""
        seen = set()

        def walk(group: Any, path: str) -> Iterator[Entry]:
            for name in self._members(group):
                item = group[name]
                place = f"{path}{name}"
                if isinstance(item, h5py.Dataset):
                    yield self._entry(place, item)
                address = h5py.h5o.get_info(item.id).addr
                if isinstance(item, h5py.Group) and address not in seen and place not in JULIA_GROUPS:
                    seen.add(address)
                    if place.count("/") == _DEPTH:
                        raise RecordingError(f"{self.name} has more than {_DEPTH} nested groups")
                    yield from walk(item, f"{place}/")

        with self._readable():
            return list(walk(self._handle, ""))

    def children(self, path: str) -> dict[str, str]:
        """Members of a group: name -> "group" or "dataset"; empty if there is no such group."""
        with self._readable():
            group = self._find(path)
            if not isinstance(group, h5py.Group):
                return {}
            kinds = {h5py.Group: "group", h5py.Dataset: "dataset"}
            classes = {name: group.get(name, getclass=True) for name in self._members(group)}
            return {name: kinds[kind] for name, kind in classes.items() if kind in kinds}

    def entry(self, path: str) -> Entry | None:
        """The array at a path, if there is one."""
        with self._readable():
            item = self._find(path)
            return self._entry(path, item) if hasattr(item, "dtype") else None

    def _members(self, group: Any) -> Iterator[str]:
        """Names of the objects of a group, without links."""
        for name in group:
            self._objects += 1
            if self._objects > _MAX_OBJECTS:
                raise RecordingError(f"{self.name} has more than {_MAX_OBJECTS:,} groups and arrays")
            if isinstance(group.get(name, getlink=True), h5py.HardLink):
                yield name

    def numbers(self, path: str) -> NDArray[Any] | None:
        """The array of numbers or booleans at a path, or None."""
        entry = self.entry(path)
        return self._load(entry) if entry is not None and entry.kind in "biuf" else None

    def column(self, path: str) -> NDArray[Any] | None:
        """The 1-D array of numbers, booleans or (object) texts at a path, or None."""
        entry = self.entry(path)
        usable = entry is not None and len(entry.shape) == 1 and entry.kind in "biufT"
        return self._load(entry) if entry is not None and usable else None

    def text(self, path: str) -> str:
        """The single text at a path, or its beginning; empty if there is none."""
        with self._readable():
            item = self._find(path)
            kind = h5py.check_string_dtype(item.dtype) if isinstance(item, h5py.Dataset) else None
            if kind is None or item.shape != () or (kind.length or 0) > _TEXT:
                return ""
            return str(item.asstr(errors="replace")[()]).strip()[:_TEXT]

    def _load(self, entry: Entry) -> NDArray[Any]:
        """Read an array, of which several names may tell."""
        values = load(entry, self.name, self.limit)
        self.limit -= prod(entry.shape) * entry.itemsize
        return values

    def _readable(self) -> AbstractContextManager[None]:
        return any_error_as(f"{self.name} is not a readable HDF5 file")

    def _find(self, path: str) -> Any:
        """Follow hard links only."""
        item: Any = self._handle
        for name in filter(None, path.split("/")):
            found = isinstance(item, h5py.Group) and name in item
            if not (found and isinstance(item.get(name, getlink=True), h5py.HardLink)):
                return None
            item = item[name]
        return item

    def _entry(self, name: str, item: Any) -> Entry:
        """Describe a dataset; a type or shape that NumPy does not support is listed as kind V."""
        try:
            dtype, shape, text = item.dtype, item.shape or (), h5py.check_string_dtype(item.dtype)
            labels = h5py.check_enum_dtype(dtype)
        except (TypeError, ValueError):
            return Entry(name, (), "V", "V", 0, partial(self._values, item))
        if h5py.check_ref_dtype(dtype) is h5py.Reference:
            return self._references(name, item, dtype)
        if text is not None:
            return Entry(name, shape, str(dtype), "T", dtype.itemsize, partial(self._texts, item))
        if labels is not None:
            return Entry(name, shape, "enumeration", "T", dtype.itemsize, partial(self._labels, item, labels))
        return Entry(name, shape, str(dtype), dtype.kind, dtype.itemsize, partial(self._values, item))

    def _values(self, item: Any) -> Any:
        self._check_storage(item)
        return item[()]

    def _check_storage(self, item: Any) -> None:
        """Refuse arrays in other files, and chunks out of proportion: each is read whole."""
        if item.is_virtual or item.external:
            raise RecordingError(f"{item.name} in {self.name} is stored in other files, which are not read")
        chunk, size = (prod(shape or ()) * item.dtype.itemsize for shape in (item.chunks, item.shape))
        if chunk > max(_CHUNK, size):
            raise RecordingError(
                f"{item.name} in {self.name} is stored in chunks of {chunk:,} bytes, for an array of {size:,}"
            )

    def _labels(self, item: Any, labels: dict[str, int]) -> NDArray[Any]:
        """The names of the values of an enumeration."""
        names = {value: name.strip() for name, value in labels.items()}
        texts = np.empty(item.shape, dtype=object)
        texts[:] = [names.get(value, str(value)) for value in self._rows(item)[()].tolist()]
        return texts

    def _rows(self, item: Any) -> Any:
        """A column of texts, whose number is limited."""
        self._check_storage(item)
        if item.ndim != 1 or len(item) > MAX_ROWS:
            raise ValueError(f"it is not a column of at most {MAX_ROWS:,} texts")
        return item

    def _texts(self, item: Any) -> NDArray[Any]:
        texts = np.empty(self._rows(item).shape, dtype=object)
        length = 0
        for first in range(0, len(texts), _TEXT_ROWS):
            block = item[first : first + _TEXT_ROWS]
            length += sum(map(len, block))
            if length > _MAX_TEXT:
                raise ValueError(f"its texts have more than {_MAX_TEXT:,} characters")
            decoded = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in block]
            texts[first : first + _TEXT_ROWS] = [text.strip() for text in decoded]  # Fortran and MATLAB pad them
        return texts

    def _references(self, name: str, item: Any, dtype: Any) -> Entry:
        """A Julia vector of vectors of equal length, as a matrix with one vector per row."""
        unresolved = Entry(name, item.shape or (), str(dtype), "O", dtype.itemsize, partial(self._values, item))
        if len(unresolved.shape) != 1 or not 0 < _VECTOR * unresolved.shape[0] <= self._size:
            return unresolved
        try:
            self._check_storage(item)
        except RecordingError:
            return unresolved
        first = self._referred(item[0])
        if first is None:
            return unresolved
        rows, columns = unresolved.shape[0], first.shape[0]

        def read() -> NDArray[np.float64]:
            matrix = np.empty((rows, columns))
            for row, reference in enumerate(item[()]):
                vector = self._referred(reference)
                if vector is None or vector.shape != (columns,):
                    raise RecordingError(
                        f"{name} in {self.name} is a vector of vectors, and vector {row} (counted from 0) does not "
                        f"have {columns} numbers: all vectors must have the same length"
                    )
                matrix[row] = self._values(vector)
            return matrix

        return Entry(name, (rows, columns), f"vectors of {first.dtype}", "f", 8, read)

    def _referred(self, reference: Any) -> Any:
        """The vector of numbers that a reference refers to, or None."""
        try:
            item: Any = self._handle[reference] if reference else None
            if not isinstance(item, h5py.Dataset) or item.ndim != 1 or item.dtype.kind not in "iuf":
                return None
            return item if item.size * item.dtype.itemsize <= self.limit else None
        except (OSError, RuntimeError, KeyError, ValueError, TypeError):  # damage, or an unsupported type
            return None


@contextmanager
def open_hdf5(path: Path) -> Iterator[HDF5File]:
    """Open an HDF5 file for reading; raises RecordingError if it is not a readable one."""
    with any_error_as(f"{path.name} is not a readable HDF5 file"):
        handle = h5py.File(path, "r", rdcc_nbytes=_CHUNK)
    try:
        yield HDF5File(handle, path.name, MAX_COMPRESSION * path.stat().st_size)
    finally:
        with suppress(Exception):  # closing a damaged file may fail too
            handle.close()
