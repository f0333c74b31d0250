"""Zarr stores of version 2, in which hdmf-zarr writes NWB: lists and reads what is stored in them.

In: a folder.  Out: groups and arrays by path.  Knows no rates and no spikes.  NWBZarrIO of
hdmf-zarr would run code in pickled objects, and believe declared sizes; numcodecs is enough.
"""

from __future__ import annotations

import json
import re
import sys
from functools import cache, partial
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.errors import RecordingError
from rlsbench.recordings.arrays import MAX_COMPRESSION, MAX_ROWS, MAX_TEXT, Entry, Tree, any_error_as

_KINDS = {".zarray": "dataset", ".zgroup": "group"}
_CODECS = ("blosc", "lz4", "zstd")  # they compare the size of their output with that of the buffer
_TEXTS = ("vlen-utf8", "vlen-bytes")
_CHUNK = 2**26  # bytes or texts of a chunk that may exceed its array
_LINKS = 16  # that a path may lead through


class ZarrStore(Tree):
    """A folder with a Zarr store; raises RecordingError if it cannot be read."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._links, parts = folder, cache(_links), [*folder.rglob("*")]
        odd = [part for part in parts if part.is_symlink() or not (part.is_file() or part.is_dir())]
        if odd:
            raise RecordingError(f"{odd[0]} is neither a file nor a folder: a Zarr store must consist of these")
        if not (folder / ".zgroup").is_file():
            raise RecordingError(f"{folder} is not a Zarr store of version 2: write it with hdmf-zarr")
        if find_spec("numcodecs") is None:
            needed = "reading it needs numcodecs, which comes with hdmf-zarr: pip install 'rlsbench[zarr]'"
            raise RecordingError(f"{folder} is a Zarr store: {needed}")
        self.size = sum(part.stat().st_size for part in parts if part.is_file())
        super().__init__(folder.name, MAX_COMPRESSION * self.size)

    def children(self, path: str) -> dict[str, str]:
        """As `Tree.children`; links count as what they lead to."""
        folder = self._find(path)
        if folder is None or not (folder / ".zgroup").is_file():
            return {}
        names = sorted({*self._links(folder), *(part.name for part in folder.iterdir() if part.is_dir())})
        self.count(len(names))
        found = [(name, at) for name in names if (at := self._find(f"{path}/{name}")) is not None]
        return {name: kind for name, at in found for file, kind in _KINDS.items() if (at / file).is_file()}

    def entry(self, path: str) -> Entry | None:
        """As `Tree.entry`; arrays of neither numbers nor texts have kind V."""
        folder, path = self._find(path), path.strip("/")
        if folder is None or not (folder / ".zarray").is_file():
            return None
        with any_error_as(f"{path} in {self.name} is not readable", ": the store may be damaged"):
            how = json.loads((folder / ".zarray").read_text())
            shape, chunks = (tuple(map(int, how[key])) for key in ("shape", "chunks"))
            filters = [each["id"] for each in how["filters"] or ()]
            if "pickle" in filters:
                self.unread[path] = "pickled objects"
            texts = how["dtype"] == "|O" and len(filters) == 1 and filters[0] in _TEXTS
            usable = texts or (isinstance(how["dtype"], str) and how["dtype"] != "|O" and not filters)
            dtype = np.dtype(how["dtype"] if usable and shape else "V")
            if len(shape) != len(chunks) or min(chunks, default=1) < 1 or prod(shape) > sys.maxsize:
                raise ValueError(f"shape {shape} in chunks {chunks}")
            if prod(chunks) * dtype.itemsize > max(_CHUNK, prod(shape) * dtype.itemsize):
                raise ValueError(f"shape {shape} in chunks {chunks}")
        read = partial(_read, folder, how, shape, chunks, dtype)
        return Entry(path, shape, str(dtype), "T" if dtype.kind == "O" else dtype.kind, dtype.itemsize, read)

    def text(self, path: str) -> str:
        """As `Tree.text`; hdmf-zarr stores it as an array of one."""
        entry = self.entry(path)
        return str(self.load(entry)[0]) if entry is not None and (entry.kind, entry.shape) == ("T", (1,)) else ""

    def _find(self, path: str) -> Path | None:
        """The folder at a path, if there is one in the store."""
        folder, names, links = self._folder, path.split("/")[::-1], 0
        while names:
            name = names.pop()
            link = self._links(folder).get(name)
            if name in ("", ".", ".."):
                continue
            if link is None and not (folder / name).is_dir():
                return None
            if link is None:
                folder /= name
            elif link["source"] == "." and links < _LINKS:
                folder, names, links = self._folder, names + link["path"].split("/")[::-1], links + 1
            else:
                self.unread[path.strip("/")] = f"a link to {link['source']}"
                return None
        return folder


def _links(folder: Path) -> dict[str, dict[str, str]]:
    """The links of a group, by name."""
    file = folder / ".zattrs"
    with any_error_as(f"{file} is not readable", ": the store may be damaged"):
        links = json.loads(file.read_text()).get("zarr_link", ()) if file.is_file() else ()
        return {str(link["name"]): {key: str(link[key]) for key in ("source", "path")} for link in links}


def _read(folder: Path, how: Any, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """The values of an array; chunks that are not stored have the fill value."""
    from numcodecs import get_codec

    texts, count = dtype.kind == "O", prod(chunks)
    if texts and not (len(shape) == 1 and shape[0] <= MAX_ROWS):
        raise ValueError(f"it is not a column of at most {MAX_ROWS:,} texts")
    values = np.full(shape, "" if texts else how["fill_value"] or 0, dtype=dtype)
    for file in folder.rglob("[0-9]*"):
        place = [int(number) for number in re.findall(r"\d+", file.relative_to(folder).as_posix())]
        if not file.is_file() or len(place) != len(shape):
            continue
        part = values[tuple(slice(i * n, (i + 1) * n) for i, n in zip(place, chunks, strict=True))]
        content = file.read_bytes()
        if how["compressor"] is not None:
            most = min(MAX_COMPRESSION * len(content), MAX_TEXT) if texts else count * dtype.itemsize
            content = _decompressed(content, how["compressor"], most)
        if texts and int.from_bytes(content[:4], "little") != count:
            raise ValueError(f"a chunk does not hold {count:,} texts")
        block = get_codec(how["filters"][0]).decode(content) if texts else np.frombuffer(content, dtype, count)
        part[...] = block.reshape(chunks, order=how["order"])[tuple(map(slice, part.shape))]
    if texts:
        values[:] = [(v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v)).strip() for v in values]
    return values


def _decompressed(content: bytes, compressor: Any, size: int) -> Any:
    """The bytes of a chunk, `size` at most."""
    from numcodecs import get_codec

    if compressor["id"] not in _CODECS:
        raise ValueError(f"its chunks are compressed with {compressor['id']}, and {', '.join(_CODECS)} are read")
    if compressor["id"] == "blosc" and int.from_bytes(content[12:16], "little") != len(content):
        raise ValueError("a chunk is truncated")  # which Blosc does not check
    buffer = np.zeros(size, dtype=np.uint8)
    get_codec(compressor).decode(content, out=buffer)
    return buffer.data
