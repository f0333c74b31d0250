"""HDF5 files, including JLD, JLD2 and NWB: lists and reads what is stored in the file itself.

In: a path.  Out: groups and arrays by name.  Knows no rates and no spikes.  Soft links are followed
within the file; external links, virtual datasets and external storage are not.  Attributes (such as
those of committed types) are never read; any error of h5py for a damaged file becomes a
`RecordingError`.

A small file can describe large arrays, many objects, and the same object many times: arrays take
together no more than the file can hold compressed, and the number of objects is limited.
"""

from __future__ import annotations

import sys
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
from rlsbench.recordings.arrays import MAX_COMPRESSION, MAX_ROWS, MAX_TEXT, Entry, Tree, any_error_as

JULIA_GROUPS = {"_types", "_creator", "_refs", "_require"}  # internal to JLD and JLD2
_DEPTH = 32  # nested groups
_LINKS = 16  # soft links that a path may lead through
_CHUNK = 2**26  # bytes of a chunk that may exceed its array, and of chunks that are kept while texts are read
_VECTOR = 64  # bytes that a vector takes in a file, at least
_TEXT = 200  # characters of a single text
_TEXT_ROWS = 1024  # texts read at a time, since many may refer to one long text


class HDF5File(Tree):
    """An open `h5py.File`."""

    def __init__(self, handle: Any, name: str, limit: int) -> None:
        super().__init__(name, limit)
        self._handle, self._size = handle, limit // MAX_COMPRESSION

    def entries(self, dataset: str | None = None) -> list[Entry]:
        """All arrays, except the internal ones of JLD; those of a group under one of its names.

        If no array has the name `dataset`, the one to which this name is a link is the last.
        """
        seen = set()

        def walk(group: Any, path: str) -> Iterator[Entry]:
            for name, link in self._members(group):
                place = f"{path}{name}"
                if isinstance(link, h5py.ExternalLink):
                    yield Entry(place, (), f"link to {link.filename}", "V", 0, partial(self._find, place))
                if not isinstance(link, h5py.HardLink):
                    continue
                item = group[name]
                if isinstance(item, h5py.Dataset):
                    yield self.described(place, item)
                address = h5py.h5o.get_info(item.id).addr
                if isinstance(item, h5py.Group) and address not in seen and place not in JULIA_GROUPS:
                    seen.add(address)
                    if place.count("/") == _DEPTH:
                        raise RecordingError(f"{self.name} has more than {_DEPTH} nested groups")
                    yield from walk(item, f"{place}/")

        with self._readable():
            found = list(walk(self._handle, ""))
        missing = dataset is not None and all(entry.name != dataset.strip("/") for entry in found)
        linked = self.entry(dataset.strip("/")) if dataset is not None and missing else None
        return found if linked is None else [*found, linked]

    def children(self, path: str) -> dict[str, str]:
        """Members of a group: name -> "group" or "dataset"; empty if there is no such group."""
        with self._readable():
            group = self._find(path)
            if not isinstance(group, h5py.Group):
                return {}
            kinds = {h5py.Group: "group", h5py.Dataset: "dataset"}
            classes: dict[str, type | None] = {}
            for name, link in self._members(group):
                if isinstance(link, h5py.HardLink):
                    classes[name] = group.get(name, getclass=True)
                else:
                    with suppress(_OutsideError):
                        classes[name] = type(self._find(f"{path}/{name}"))
            return {name: kinds[kind] for name, kind in classes.items() if kind in kinds}

    def entry(self, path: str) -> Entry | None:
        """The array at a path, if there is one."""
        with self._readable():
            item = self._find(path)
            return self.described(path, item) if hasattr(item, "dtype") else None

    def objects(self, group: Any = None) -> Iterator[tuple[str, Any]]:
        """Names and h5py objects of a group, or of the file, without links."""
        group = self._handle if group is None else group
        return ((name, group[name]) for name, link in self._members(group) if isinstance(link, h5py.HardLink))

    def part(self, item: Any, some: slice) -> NDArray[Any]:
        """Some rows of an h5py array of numbers."""
        if not isinstance(item, h5py.Dataset) or item.ndim != 1 or item.dtype.kind not in "iuf":
            raise RecordingError(f"{item.name} in {self.name} is no list of numbers")
        with self._reading(item):
            return np.asarray(item[some])

    def referred(self, item: Any) -> list[Any] | None:
        """The h5py objects that an array refers to, None for no object; None for another array."""
        try:
            if not isinstance(item, h5py.Dataset) or h5py.check_ref_dtype(item.dtype) is not h5py.Reference:
                return None
        except (TypeError, ValueError):  # a type that NumPy does not support
            return None
        self.count(item.size or 0)
        return [self._handle[reference] if reference else None for reference in self._values(item).flat]

    def _members(self, group: Any) -> Iterator[tuple[str, Any]]:
        """Names and links of a group."""
        for name in group:
            self.count(1)
            yield name, group.get(name, getlink=True)

    def text(self, path: str) -> str:
        """The single text at a path, or its beginning; empty if there is none."""
        with self._readable():
            item = self._find(path)
            kind = h5py.check_string_dtype(item.dtype) if isinstance(item, h5py.Dataset) else None
            if kind is None or item.shape != () or (kind.length or 0) > _TEXT:
                return ""
            return str(item.asstr(errors="replace")[()]).strip()[:_TEXT]

    def _readable(self) -> AbstractContextManager[None]:
        return any_error_as(f"{self.name} is not a readable HDF5 file")

    def _find(self, path: str) -> Any:
        """The object at a path, or None; h5py itself would follow links into other files."""
        item: Any = self._handle
        names, links = path.split("/")[::-1], 0
        while names:
            name = names.pop()
            if name in ("", "."):
                continue
            link = item.get(name, getlink=True) if isinstance(item, h5py.Group) else None
            if isinstance(link, h5py.HardLink):
                item = item[name]
            elif isinstance(link, h5py.SoftLink) and links < _LINKS:
                item = self._handle if link.path.startswith("/") else item
                names += link.path.split("/")[::-1]
                links += 1
            elif isinstance(link, h5py.ExternalLink):
                self.unread[path.strip("/")] = f"a link to {link.filename}"
                raise _OutsideError(
                    f"{path.strip('/')!r} in {self.name} is a link to another file, {link.filename!r}, which is not "
                    "read: give that file, or copy the data into this one"
                )
            else:
                return None
        return item

    def described(self, name: str, item: Any) -> Entry:
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
        with self._reading(item):
            return item[()]

    @contextmanager
    def _reading(self, item: Any) -> Iterator[None]:
        """Check how an array is stored before reading it; if that fails, name missing filters."""
        self._check_storage(item)
        missing = _missing_filters(item)
        try:
            yield
        except Exception as error:
            if not missing:
                raise
            tried = sys.modules.get("hdf5plugin") is not None
            install = ": install hdf5plugin (pip install 'rlsbench[filters]')"
            raise RecordingError(
                f"{item.name} in {self.name} is compressed with {', '.join(missing)}"
                f"{', which hdf5plugin lacks: store it with gzip' if tried else install}"
            ) from error

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
        texts[:] = [names.get(value, str(value)) for value in self._values(self._rows(item)).tolist()]
        return texts

    def _rows(self, item: Any) -> Any:
        """A column of texts, whose number is limited."""
        if item.ndim != 1 or len(item) > MAX_ROWS:
            raise ValueError(f"it is not a column of at most {MAX_ROWS:,} texts")
        return item

    def _texts(self, item: Any) -> NDArray[Any]:
        texts = np.empty(self._rows(item).shape, dtype=object)
        length = 0
        for first in range(0, len(texts), _TEXT_ROWS):
            with self._reading(item):
                block = item[first : first + _TEXT_ROWS]
            length += sum(map(len, block))
            if length > MAX_TEXT:
                raise ValueError(f"its texts have more than {MAX_TEXT:,} characters")
            decoded = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in block]
            texts[first : first + _TEXT_ROWS] = [text.strip() for text in decoded]  # Fortran and MATLAB pad them
        return texts

    def _references(self, name: str, item: Any, dtype: Any) -> Entry:
        """A Julia vector of vectors of equal length, as a matrix with one vector per row."""
        unresolved = Entry(name, item.shape or (), str(dtype), "O", dtype.itemsize, partial(self._values, item))
        if len(unresolved.shape) != 1 or not 0 < _VECTOR * unresolved.shape[0] <= self._size:
            return unresolved
        try:
            with self._reading(item):
                first = self._referred(item[0])
        except RecordingError:
            return unresolved
        if first is None:
            return unresolved
        rows, columns = unresolved.shape[0], first.shape[0]

        def read() -> NDArray[np.float64]:
            matrix = np.empty((rows, columns))
            for row, reference in enumerate(self._values(item)):
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


class _OutsideError(RecordingError):
    """A link leaves the file."""


def _missing_filters(item: Any) -> list[str]:
    """The filters of an array that neither HDF5 nor hdf5plugin has."""
    properties = item.id.get_create_plist()
    filters = [properties.get_filter(i) for i in range(properties.get_nfilters())]
    if not all(h5py.h5z.filter_avail(code) for code, *_ in filters):
        with suppress(ImportError):
            import hdf5plugin  # noqa: F401 - registers its filters
    names = {code: ascii(name.decode("latin-1"))[1:41].rstrip("'") for code, _, _, name in filters}
    return [f"{names[code] or 'a'} (HDF5 filter {code})" for code in names if not h5py.h5z.filter_avail(code)]


@contextmanager
def open_hdf5(path: Path) -> Iterator[HDF5File]:
    """Open an HDF5 file for reading; raises RecordingError if it is not a readable one."""
    with any_error_as(f"{path.name} is not a readable HDF5 file"):
        try:
            handle = h5py.File(path, "r", rdcc_nbytes=_CHUNK)
        except OSError as error:
            if "lock" not in str(error):
                raise
            raise RecordingError(
                f"{path.name} is locked: close it in the program that writes it; if there is none, its file system "
                "may lack locks: set the environment variable HDF5_USE_FILE_LOCKING=FALSE"
            ) from error
    try:
        yield HDF5File(handle, path.name, MAX_COMPRESSION * path.stat().st_size)
    finally:
        with suppress(Exception):  # closing a damaged file may fail too
            handle.close()
