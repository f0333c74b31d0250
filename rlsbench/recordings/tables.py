"""Text (CSV) and Parquet files: tables of spikes, and matrices of rates.

In: a path.  Out: columns by name; from them a `Session` or an `Entry`.  Knows no options.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench.errors import RecordingError
from rlsbench.recordings.arrays import (
    FEW_COLUMNS,
    MAX_COMPRESSION,
    Entry,
    Evidence,
    any_error_as,
    check_memory,
    check_size,
    spacing,
)
from rlsbench.recordings.names import UNITS, are_numbered_times, counts_bins, counts_rows, is_any_of, time_unit
from rlsbench.recordings.sessions import Session, Trials, Units, as_vector, check_units

PYARROW = "Parquet needs pyarrow 14.0.1 or newer: pip install 'rlsbench[parquet]'"
_ROWS = 5  # of a column that alone increases in equal steps: then it is no neuron
MAX_COLUMNS = 200_000  # the largest published recording has 66,002 neurons; pandas takes seconds for so many
_TEXT_MEMORY = 8  # approximate bytes of memory for each byte of a text table
_LONGEST = 2**26  # characters in a line


class Table(NamedTuple):
    """Columns of numbers or (object) texts of a file; `names` is None if it has no header."""

    source: str
    names: tuple[str, ...] | None
    columns: list[NDArray[Any]]

    def find(self, name: str) -> NDArray[Any] | None:
        """The column with a name, ignoring case."""
        known = [known.strip().casefold() for known in self.names or ()]
        return self.columns[known.index(name)] if name in known else None


def read_csv(path: Path) -> Table:
    """Read a text table with or without a header; columns are separated by `,`, `;`, tab or space.

    Lines that start with # are ignored. Raises RecordingError if it is not a table.
    """
    import pandas as pd

    check_memory(_TEXT_MEMORY * path.stat().st_size, path.name)
    line = _first_line(path)
    separator = max(",;\t", key=line.count)
    if not line.count(separator):
        separator = r"\s+"
    if line.count(separator) > MAX_COLUMNS:
        raise RecordingError(
            f"{path.name} has a line of {line.count(separator) + 1:,} values: at most {MAX_COLUMNS:,} columns are "
            "supported; store the matrix as NPY or HDF5"
        )
    cells = [cell.strip() for cell in re.split(separator, line.strip())]
    header = None if as_vector(cells) is not None and not _are_positions(cells) else 0
    how: dict[str, Any] = {"comment": "#", "encoding": "utf-8-sig", "compression": None, "low_memory": False}
    with any_error_as(f"{path.name} is not a readable text table"):
        frame = pd.read_csv(path, sep=separator, header=header, skipinitialspace=True, **how)
    if not frame.index.equals(pd.RangeIndex(len(frame))):
        raise RecordingError(f"{path.name} has lines with more values than names in its header")
    if not len(frame):
        raise RecordingError(f"{path.name} is text without a line of values below {line.strip()[:60]!r}")
    columns = [as_column(frame.iloc[:, i].to_numpy()) for i in range(frame.shape[1])]
    return Table(path.name, None if header is None else tuple(map(str, frame.columns)), columns)


def read_parquet(path: Path) -> Table:
    """Read a Parquet file; raises RecordingError if pyarrow is missing or old, or it is damaged."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise RecordingError(f"{path.name} is a Parquet file. {PYARROW}") from None
    version = tuple(int(part) for part in re.findall(r"\d+", pyarrow.__version__)[:3])
    if version < (14, 0, 1):  # older versions could run pickles
        raise RecordingError(f"{path.name} is a Parquet file. {PYARROW}; found {pyarrow.__version__}")
    limit, types = MAX_COMPRESSION * path.stat().st_size, pyarrow.types
    with any_error_as(f"{path.name} is not a readable Parquet file"):
        with parquet.ParquetFile(path) as file:
            index = (file.schema_arrow.pandas_metadata or {}).get("index_columns", [])
            fields = sorted(file.schema_arrow, key=lambda field: field.name not in index)  # pandas stores it last
        texts, plain = list[str](), list[str]()
        for field in fields:
            kind = field.type.value_type if types.is_dictionary(field.type) else field.type
            is_text = types.is_string(kind) or types.is_large_string(kind)
            if is_text or types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
                (texts if is_text else plain).append(field.name)
        # Others, such as lists, may hold any number of values a row, and are never read. Texts stay
        # as they are stored, each once, since many rows may refer to one long text.
        with parquet.ParquetFile(path, read_dictionary=texts) as file:
            rows, kept = file.metadata.num_rows, [field.name for field in fields if field.name in {*texts, *plain}]
            groups = (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups))
            parts = (group.column(i) for group in groups for i in range(group.num_columns))
            stored = sum(part.total_uncompressed_size for part in parts if part.path_in_schema in kept)
            what = f"{path.name}, of {rows:,} rows of {len(kept)} columns,"
            check_size(max(rows * len(kept), stored // 8), 8, limit, what)
            table = file.read(kept)
        read = dict(zip(table.column_names, map(_of_arrow, table.columns), strict=True))
        unread = np.broadcast_to(np.array("", dtype=object), (rows,))
        columns = [read.get(field.name, unread) for field in fields]
    names = [re.sub(r"^__index_level_\d+__$", "", field.name) for field in fields]  # an index without name
    return Table(path.name, tuple(names), columns)


def session_of_table(table: Table, format: str) -> Session | None:
    """A session from columns unit, time and, if each trial has a separate clock, trial; or None.

    Raises RecordingError if times are not numbers, or values are missing.
    """
    unit, time, trial = table.find("unit"), table.find("time"), table.find("trial")
    if unit is None or time is None:
        return None
    if time.dtype.kind not in "iuf":
        raise RecordingError(f"the column time of {table.source} has values that are not numbers: give seconds")
    times = time.astype(np.float64)
    for name, column in (("unit", unit), ("trial", trial)):
        if column is not None and column.dtype.kind == "f" and np.isnan(column).any():
            raise RecordingError(f"the column {name} of {table.source} has {np.isnan(column).sum()} empty values")
    labels, members = np.unique(unit, return_inverse=True)
    check_units(len(labels), table.source)
    order = np.lexsort((times, members))
    ends = np.cumsum(np.bincount(members, minlength=len(labels)))[:-1]
    spike_trials, trials = None, None
    if trial is not None:
        trial_labels, rows = np.unique(trial, return_inverse=True)
        trials = Trials(rows=len(trial_labels), columns={"trial": trial_labels})
        spike_trials = np.split(rows[order].astype(np.int64), ends)
    ids = tuple(f"{label:g}" if isinstance(label, np.floating) else str(label) for label in labels)
    spike_times = np.split(times[order], ends) if len(labels) else []
    units = Units(ids=ids, spike_times=spike_times, spike_trials=spike_trials)
    extra = [name for name in table.names or () if name.strip().casefold() not in ("unit", "time", "trial", "")]
    notes = (f"unused columns of the spike table: {', '.join(extra)}",) if extra else ()
    return Session(source=table.source, format=format, units=units, trials=trials, notes=notes)


def matrix_of_table(table: Table) -> Entry:
    """A table as a matrix, without columns that hold times, or numbers or names of the rows.

    What they and the header tell about the axes is kept as evidence. Raises RecordingError if
    another column does not hold numbers.
    """
    names, columns, source = table.names, table.columns, table.source
    evidence, notes = list[Evidence](), list[str]()
    apart = _not_neurons(names, columns)
    for i, why in apart.items():
        name = str(i) if names is None else names[i]
        notes.append(f"the column {name!r} of {source} {why} and is not a neuron: it was omitted")
        if why == _NAMES:
            evidence.append(Evidence("unit", 0, f"each has a name in {name!r}", name, columns[i]))
        elif why != _NUMBERS:
            evidence.append(Evidence("time", 0, f"{name!r} {why}", name if names else "", columns[i]))
    kept = [i for i in range(len(columns)) if i not in apart]
    columns = [columns[i] for i in kept]
    names = None if names is None else tuple(names[i] for i in kept)
    if names is not None and _are_positions(list(names)):
        line = f"{names[0]}, {names[1]}, ... {names[-1]}"
        notes.append(f"the first line of {source}, {line}, was read as column names")
    elif names is not None:
        evidence += _of_header(names)
    for number, column in enumerate(columns):
        if column.dtype.kind not in "biuf":
            which = f"column {names[number]!r}" if names is not None else f"column {number}"
            raise RecordingError(
                f"{source} is neither a table of spikes (columns unit,time[,trial]) nor a matrix of rates: its "
                f"{which} holds values that are not numbers"
            )
    shape, boolean = (len(columns[0]), len(columns)), all(column.dtype.kind == "b" for column in columns)
    dtype, kind = ("bool", "b") if boolean else ("float64", "f")
    stack = partial(np.stack, columns, axis=1, dtype=dtype, casting="unsafe")
    return Entry(None, shape, dtype, kind, 8, stack, names, tuple(notes), tuple(evidence))


_TIMES, _BINS, _NUMBERS, _NAMES = "holds times", "numbers bins", "numbers the rows", "names the rows"


def _not_neurons(names: tuple[str, ...] | None, columns: list[NDArray[Any]]) -> dict[int, str]:
    """Columns other than neurons, and what they are; at least one column remains."""
    found = dict[int, str]()
    for i, name in enumerate(names or ()):
        if time_unit(name) is not None and columns[i].dtype.kind in "iuf":
            found[i] = _TIMES
        elif counts_bins(name):
            found[i] = _BINS
    if not found and len(columns) > 1:
        step = spacing(columns[0])
        if columns[0].dtype.kind == "O" or (names and is_any_of(names[0], UNITS)):
            found[0] = _NAMES
        elif names and counts_rows(names[0]) and step in (None, 1):
            found[0] = _NUMBERS
        elif step is not None and len(columns[0]) >= _ROWS and spacing(columns[1]) is None:
            found[0] = _NUMBERS if step == 1 else _TIMES
    return found if len(found) < len(columns) else {}


def _of_header(names: tuple[str, ...]) -> list[Evidence]:
    """What names of columns tell: times, or the names of units."""
    first = f"its first line ({names[0]}, ...)"
    numbers = as_vector(names)
    if (numbers is not None and (spacing(numbers) or 1) != 1) or (numbers is None and are_numbered_times(names)):
        return [Evidence("time", 1, f"{first} holds times", "", numbers)]
    if len(names) <= FEW_COLUMNS or (numbers is not None and spacing(numbers) == 1):
        return []
    return [Evidence("unit", 1, f"{first} names neurons")]


def _first_line(path: Path) -> str:
    """The first line that is neither blank nor a comment."""
    try:
        with path.open(encoding="utf-8-sig") as stream:
            while line := stream.readline(_LONGEST):
                if line.strip() and not line.startswith("#"):
                    return line
    except UnicodeDecodeError:
        raise RecordingError(f"{path.name} is not UTF-8 text") from None
    raise RecordingError(f"{path.name} is text without a line of values")


def _of_arrow(column: Any) -> NDArray[Any]:
    """A column of Arrow; texts, which are read as a dictionary, are shared by their rows."""
    if not hasattr(column.type, "value_type"):
        return as_column(column.to_numpy())
    parts = [np.empty(0, dtype=object)]
    for chunk in column.chunks:
        texts = as_column(np.array([*chunk.dictionary.to_pylist(), None], dtype=object))
        parts.append(texts[chunk.indices.fill_null(len(texts) - 1).to_numpy()])
    return np.concatenate(parts)


def as_column(values: Any) -> NDArray[Any]:
    """Numbers and booleans unchanged, anything else as texts without the spaces that pad them."""
    array = np.asarray(values)
    if array.dtype.kind in "biuf":
        return array
    texts = np.empty(len(array), dtype=object)
    none = ("" if value is None or (isinstance(value, float) and value != value) else value for value in array)
    texts[:] = [str(value).strip() for value in none]
    return texts


def _are_positions(cells: list[str]) -> bool:
    """Whether a line counts 0, 1, 2, ... or 1, 2, 3, ...: column names rather than values."""
    return len(cells) > 2 and cells in [[str(i + first) for i in range(len(cells))] for first in (0, 1)]
