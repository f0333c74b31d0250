"""Files of edges, read in parts: CSV, Parquet, sparse matrices of SciPy, and SONATA.

In: a table of `[[connectivity]]` that names a file.  Out: its edges, as the file numbers neurons,
and how many there are.  Knows neither populations nor backends.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench.configuration.connectivity import ConnectivitySection
from rlsbench.errors import ConnectivityError, RecordingError
from rlsbench.recordings.arrays import MAX_COMPRESSION, Entry, any_error_as, check_memory, listed, load, npz_entries

if TYPE_CHECKING:
    from rlsbench.recordings.hdf5 import HDF5File  # slow import

__all__ = ["EdgeFile", "Rows", "digest_of", "open_edges", "told"]

ROWS = 2**20  # edges that are read at once
LEAST = 4  # bytes of an edge before it is compressed
IN_MEMORY = 13  # bytes of an edge
COLUMNS = ("pre", "post", "weight", "delay_ms", "kind")
MISNAMED = {"delay": "delay_ms", "type": "kind", "syn_weight": "weight", "weights": "weight"}  # in tables
NAMES = {  # what SONATA calls them
    "pre": "source_node_id",
    "post": "target_node_id",
    "weight": "syn_weight",
    "delay_ms": "delay",
}

Numbers = NDArray[Any]


class Rows(NamedTuple):
    """Consecutive edges of a file, as it states them."""

    first: int  #: number of the first one in the file, from 1 on
    values: dict[str, Numbers]  #: by name, some or all of `COLUMNS`


@dataclass(frozen=True)
class EdgeFile:
    """A file of edges."""

    name: str
    columns: tuple[str, ...]  #: those of `COLUMNS` that it has
    count: int  #: edges
    read: Callable[[Sequence[str]], Iterator[Rows]]  #: reads some of the columns, in parts
    populations: tuple[str, str] = ("", "")  #: of its pre- and postsynaptic nodes, if it names them
    shape: tuple[int, int] | None = None  #: of a matrix: numbers of pre- and postsynaptic neurons
    table: bool = False  #: whether a cell may be empty, which then is NaN


def digest_of(file: str, types: str = "") -> str:
    """SHA-256 of a file, followed by its edge types if there are any, as hexadecimal digits."""
    with told(file), Path(file).open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
    if types:
        with told(types):
            digest.update(Path(types).read_bytes())
    return digest.hexdigest()


def open_edges(table: ConnectivitySection) -> EdgeFile:
    """What is known about the file of a table before its edges are read.

    Raises
    ------
    ConnectivityError
        If it cannot be read, or lacks what is needed.
    """
    with told(table.file):
        state = Path(table.file).stat()
        types = table.edge_types
        changed = Path(types).stat().st_mtime_ns if types else 0
        found = _opened(table.file, table.rows, table.edges, types, (state.st_mtime_ns, state.st_size, changed))
        if found.count * LEAST > MAX_COMPRESSION * state.st_size:
            raise ValueError(f"a file of {state.st_size:,} bytes cannot hold {found.count:,} edges")
        check_memory(found.count * IN_MEMORY, f"{found.name}, of {found.count:,} edges,")
        return found


@contextmanager
def told(file: str) -> Iterator[None]:
    """Turn what readers raise into a `ConnectivityError`."""
    try:
        with any_error_as(f"{Path(file).name} is not a readable file of edges"):
            yield
    except RecordingError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.strerror:
            raise ConnectivityError(f"cannot read the edges {file}: {cause.strerror}") from None
        if isinstance(cause, ConnectivityError):
            raise cause from None
        raise ConnectivityError(str(error)) from None


@lru_cache(maxsize=64)
def _opened(file: str, rows: str | None, edges: str, types: str, state: tuple[int, int, int]) -> EdgeFile:
    path = Path(file)
    with path.open("rb") as stream:
        magic = stream.read(4)
    if rows is not None and magic != b"PK\x03\x04":
        raise ConnectivityError(f"{path.name}: rows = {rows} is for NPZ files of sparse matrices")
    for key, value in (("edges", edges), ("edge_types", types)):
        if value and magic != b"\x89HDF":
            raise ConnectivityError(f"{path.name}: {key} = {value} is for SONATA files")
    if magic == b"PAR1":
        return _parquet(path)
    if magic == b"PK\x03\x04":
        return _sparse(path, rows)
    return _sonata(path, edges, types) if magic == b"\x89HDF" else _text(path)


def _known(path: Path, found: Sequence[str]) -> tuple[str, ...]:
    """The columns that are used, or a `ConnectivityError` if one is missing."""
    for name in ("pre", "post"):
        if name not in found:
            if found and all(re.fullmatch(r"[-+]?\d[-+.\deE]*", column) for column in found):
                raise ConnectivityError(f"{path.name} has no header: its first line should be such as pre,post,weight")
            raise ConnectivityError(f"{path.name} has no column {name}; its columns are {listed(map(repr, found))}")
    for name, ours in MISNAMED.items():
        if name in found and ours not in found:
            raise ConnectivityError(f"{path.name} has a column {name}, which is not read: rename it to {ours}")
    return tuple(name for name in COLUMNS if name in found)


def _text(path: Path) -> EdgeFile:
    import gzip

    import pandas as pd

    with path.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
    with gzip.open(path) if zipped else path.open("rb") as stream:
        lines = io.TextIOWrapper(stream, encoding="utf-8-sig")  # type: ignore[type-var,arg-type,unused-ignore]
        line = next((text for text in lines if text.strip() and not text.startswith("#")), "").strip()
    separator = max(",;\t", key=line.count)
    found = [name.strip() for name in (line.split(separator) if separator in line else line.split())]
    columns = _known(path, found)

    def read(wanted: Sequence[str]) -> Iterator[Rows]:
        how: dict[str, Any] = {
            "sep": separator if separator in line else r"\s+",
            "usecols": [found.index(name) for name in wanted],
            "names": found,
            "header": 0,
            "comment": "#",
            "skipinitialspace": True,
            "compression": "gzip" if zipped else None,
        }
        first = 1
        with told(str(path)), pd.read_csv(path, chunksize=ROWS, **how) as frames:
            for frame in frames:
                yield Rows(first, {name: frame[name].to_numpy() for name in wanted})
                first += len(frame)

    return EdgeFile(path.name, columns, sum(len(part.values["pre"]) for part in read(["pre"])), read, table=True)


def _parquet(path: Path) -> EdgeFile:
    try:
        from pyarrow import parquet
    except ImportError:
        raise ConnectivityError(f"{path.name} is a Parquet file: pip install 'rlsbench[parquet]'") from None
    with parquet.ParquetFile(path) as file:
        columns, count = _known(path, file.schema_arrow.names), file.metadata.num_rows

    def read(wanted: Sequence[str]) -> Iterator[Rows]:
        first = 1
        with told(str(path)), parquet.ParquetFile(path, pre_buffer=False) as file:  # or all of it is held
            for batch in file.iter_batches(ROWS, columns=list(wanted)):
                yield Rows(first, {name: batch[name].to_numpy(zero_copy_only=False) for name in wanted})
                first += len(batch)

    return EdgeFile(path.name, columns, count, read, table=True)


def _sparse(path: Path, rows: str | None) -> EdgeFile:
    """A matrix of weights that `scipy.sparse.save_npz` wrote; its arrays are read whole."""
    if rows is None:
        raise ConnectivityError(f"{path.name} is a sparse matrix: rows = pre or rows = post must say what its rows are")
    columns = ("post", "pre") if rows == "post" else ("pre", "post")
    with path.open("rb") as stream:
        entries = {entry.name or "": entry for entry in npz_entries(stream, path.name)}
        kind = _format(entries, path)
        count = int(np.prod(entries["data"].shape))
        shape = load(entries["shape"], path.name, 1 << 10).tolist()
    names = {"csr": ("indptr", "indices"), "csc": ("indptr", "indices"), "coo": ("row", "col")}[kind]
    if missing := [name for name in (*names, "data") if name not in entries]:
        raise ConnectivityError(f"{path.name} has no array {missing[0]}: write it with scipy.sparse.save_npz")

    def read(wanted: Sequence[str]) -> Iterator[Rows]:
        with told(str(path)), path.open("rb") as stream:
            found = {entry.name: entry for entry in npz_entries(stream, path.name)}
            one, two, data = (load(found[name], path.name, 1 << 40) for name in (*names, "data"))
            if kind != "coo" and (
                len(one) != shape[kind == "csc"] + 1 or one[-1] != len(two) or np.diff(one).min() < 0
            ):
                raise ValueError("its array indptr does not fit")
            for first in range(0, count, ROWS):
                some = slice(first, min(first + ROWS, count))
                major = one[some]
                if kind != "coo":
                    major = np.searchsorted(one, np.arange(some.start, some.stop), side="right") - 1
                pair = (two[some], major) if kind == "csc" else (major, two[some])
                values = dict(zip(columns, pair, strict=True)) | {"weight": data[some]}
                yield Rows(first + 1, {name: values[name] for name in wanted})

    sizes = (shape[1], shape[0]) if rows == "post" else (shape[0], shape[1])
    return EdgeFile(path.name, ("pre", "post", "weight"), count, read, shape=sizes)


def _format(entries: dict[str, Entry], path: Path) -> str:
    """How a sparse matrix is stored."""
    if not {"format", "shape", "data"} <= entries.keys():
        raise ConnectivityError(f"{path.name} is no sparse matrix: write it with scipy.sparse.save_npz")
    text = load(entries["format"], path.name, 1 << 10).item()
    kind = text.decode("ascii", "replace") if isinstance(text, bytes) else str(text)
    if kind not in ("csr", "csc", "coo"):
        raise ConnectivityError(f"{path.name} is stored as {kind}; csr, csc and coo are read")
    return kind


def _sonata(path: Path, edges: str, types: str) -> EdgeFile:
    """The edge population `edges` of a SONATA file; its attributes may be in several groups.

    What the groups do not have is looked up in the table of edge types, if one is given.
    """
    from rlsbench.recordings.hdf5 import open_hdf5

    of_types = _edge_types(Path(types)) if types else {}
    with open_hdf5(path) as file:
        population = _population(file, edges)
        members = dict(file.objects(population))
        for name in ("source_node_id", "target_node_id"):
            if name not in members:
                raise ConnectivityError(f"{path.name}: the edge population has no data set {name}")
        nodes = [_text_of(members[NAMES[side]].attrs.get("node_population", "")) for side in ("pre", "post")]
        groups = {name: dict(file.objects(group)) for name, group in members.items() if name.isdecimal()}
        count = len(members["source_node_id"])
        has = [name for name in ("weight", "delay_ms") if groups and all(NAMES[name] in g for g in groups.values())]
        typed = [name for name in ("weight", "delay_ms") if name not in has and name in of_types]
        if typed and "edge_type_id" not in members:
            raise ConnectivityError(f"{path.name}: the edge population has no data set edge_type_id")

    def read(wanted: Sequence[str]) -> Iterator[Rows]:
        from rlsbench.recordings.hdf5 import open_hdf5

        with told(str(path)), open_hdf5(path) as file:
            members = dict(file.objects(_population(file, edges)))
            groups = {int(name): dict(file.objects(group)) for name, group in members.items() if name.isdecimal()}
            for first in range(0, count, ROWS):
                some = slice(first, min(first + ROWS, count))
                values = {name: file.part(members[NAMES[name]], some) for name in wanted if name in ("pre", "post")}
                for name in set(wanted) & set(typed):
                    values[name] = _of_types(of_types[name], file.part(members["edge_type_id"], some), types)
                for name in set(wanted) - values.keys():
                    values[name] = _attribute(file, members, groups, NAMES[name], some)
                yield Rows(first + 1, values)

    return EdgeFile(path.name, ("pre", "post", *has, *typed), count, read, (nodes[0], nodes[1]))


def _edge_types(path: Path) -> dict[str, dict[int, float]]:
    """Weight and delay by edge type, as far as a CSV of SONATA has them: separated by spaces."""
    import pandas as pd

    with told(str(path)):
        frame = pd.read_csv(path, sep=r"\s+")
        if "edge_type_id" not in frame:
            raise ConnectivityError(
                f"{path.name} has no column edge_type_id; its columns are {listed(map(repr, frame))}"
            )
        found = {}
        for name in ("weight", "delay_ms"):
            if NAMES[name] in frame:
                numbers = pd.to_numeric(frame[NAMES[name]], errors="coerce")
                found[name] = dict(zip(frame["edge_type_id"].astype(int), numbers.astype(float), strict=True))
        return found


def _of_types(values: dict[int, float], types: Numbers, file: str) -> Numbers:
    """The value of each edge by its type; a `ConnectivityError` for a type without one."""
    each, which = np.unique(types, return_inverse=True)
    for number in each.tolist():
        if not np.isfinite(values.get(number, np.nan)):
            raise ConnectivityError(f"{Path(file).name} has no number for edge_type_id = {number}")
    found: Numbers = np.array([values[number] for number in each.tolist()], np.float64)[which]
    return found


def _population(file: HDF5File, wanted: str) -> Any:
    """The group of an edge population, of which there must be one unless it is named."""
    found = dict(file.objects(dict(file.objects()).get("edges", {})))
    names = listed(map(repr, found))
    if wanted and wanted not in found:
        raise ConnectivityError(f"{file.name} has no edge population {wanted}; its edge populations are {names}")
    if not wanted and len(found) != 1:
        raise ConnectivityError(f"{file.name}: edges must name one of its edge populations: {names}")
    return found[wanted or next(iter(found))]


def _attribute(file: HDF5File, members: Any, groups: Any, name: str, some: slice) -> Numbers:
    """An attribute of some edges: each is in one group, at an index there."""
    if "edge_group_id" not in members:
        return file.part(groups[min(groups)][name], some)
    group, at = (file.part(members[key], some) for key in ("edge_group_id", "edge_group_index"))
    values = np.empty(len(group))
    for number in np.unique(group):
        those = group == number
        low, high = int(at[those].min()), int(at[those].max()) + 1
        values[those] = file.part(groups[int(number)][name], slice(low, high))[at[those] - low]
    return values


def _text_of(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
