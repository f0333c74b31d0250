"""Text (CSV) and Parquet files: tables of spikes, and matrices of rates.

In: a path.  Out: columns by name; from them a `Session` or an `Entry`.  Knows no options.
"""

from __future__ import annotations

import codecs
import gzip
import io
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO, cast

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
    listed,
    spacing,
)
from rlsbench.recordings.names import (
    RATES,
    TRIALS,
    UNITS,
    are_numbered_times,
    counts_bins,
    counts_rows,
    is_any_of,
    plain,
    time_unit,
    time_unit_of_bins,
)
from rlsbench.recordings.sessions import Session, Trials, Units, as_vector, check_units

PYARROW = "Parquet needs pyarrow 14.0.1 or newer: pip install 'rlsbench[parquet]'"
_ROWS = 5  # of a column that alone increases in equal steps: then it is no neuron
MAX_COLUMNS = 200_000  # the largest published recording has 66,002 neurons; pandas takes seconds for so many
_TEXT_MEMORY = 8  # approximate bytes of memory for each byte of a text table
_LIST_MEMORY = 32  # the same for a list of numbers
_LONGEST = 2**26  # characters in a line
_SNIFFED = 20  # lines from which separators are told
_DECIMAL_COMMA = re.compile(r"(?<![\w.,])-?\d+,\d+(?![\w.,])")
GZIP_MAGIC = b"\x1f\x8b"


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

    The text is UTF-8 or UTF-16, and may be compressed by gzip. Decimals may have a comma, unless
    commas separate columns. Lines that start with # are ignored. Raises RecordingError if it is not
    a table.
    """
    import pandas as pd

    with any_error_as(f"{path.name} is not a readable text table"), _opened(path) as stream:
        lines = _first_lines(stream, path.name)
    line = lines[0]
    separator = max(",;\t", key=line.count)
    for other in ";\t":  # commas may be decimal
        if line.count(other) and len({text.count(other) for text in lines}) == 1:
            separator = other
    if not line.count(separator):
        separator = r"\s+"
    if line.count(separator) > MAX_COLUMNS:
        raise RecordingError(
            f"{path.name} has a line of {line.count(separator) + 1:,} values: at most {MAX_COLUMNS:,} columns are "
            "supported; store the matrix as NPY or HDF5"
        )
    decimal = "," if separator != "," and any(_DECIMAL_COMMA.search(text) for text in lines) else "."
    cells = [cell.strip().replace(decimal, ".") for cell in re.split(separator, line.strip())]
    header = None if as_vector(cells) is not None and not _are_positions(cells) else 0
    counts = sorted({len(re.split(separator, text.partition("#")[0].strip(" \r\n"))) for text in lines})
    if header is None and len(counts) > 1:
        raise RecordingError(
            f"{path.name} has lines of {counts[0]} to {counts[-1]} values, without a header: a matrix has as many in "
            "each; if a line holds the spike times of a unit, write unit,spike_times as the first line, and lines such "
            "as 7,0.1 0.25"
        )
    how: dict[str, Any] = {"comment": "#", "encoding": stream.encoding, "low_memory": False, "decimal": decimal}
    how["compression"] = "gzip" if _is_gzip(path) else None
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
        texts, plain, lists = list[str](), list[str](), list[str]()
        for field in fields:
            kind = field.type.value_type if types.is_dictionary(field.type) else field.type
            is_text = types.is_string(kind) or types.is_large_string(kind)
            if is_text or types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
                (texts if is_text else plain).append(field.name)
            elif (types.is_list(kind) or types.is_large_list(kind)) and time_unit(field.name) is not None:
                lists.append(field.name)
        # Others, such as waveforms, are never read. Texts stay as they are stored, each once, since
        # many rows may refer to one long text.
        with parquet.ParquetFile(path, read_dictionary=texts) as file:
            kept = [field.name for field in fields if field.name in {*texts, *plain, *lists}]
            rows, groups = file.metadata.num_rows, map(file.metadata.row_group, range(file.metadata.num_row_groups))
            parts = [group.column(i) for group in groups for i in range(group.num_columns)]
            stored = sum(part.total_uncompressed_size for part in parts if part.path_in_schema in kept)
            times = sum(part.num_values for part in parts if part.path_in_schema.partition(".")[0] in lists)
            what = f"{path.name}, of {rows:,} rows of {len(kept)} columns,"
            check_size(max(rows * len(kept), stored // 8, times), 8, limit, what)
            table = file.read(kept)
        read = dict(zip(table.column_names, map(_of_arrow, table.columns), strict=True))
        unread = np.broadcast_to(np.array("", dtype=object), (rows,))
        columns = [read.get(field.name, unread) for field in fields]
    names = [re.sub(r"^__index_level_\d+__$", "", field.name) for field in fields]  # an index without name
    return Table(path.name, tuple(names), columns)


def session_of_table(table: Table, format: str, given: Mapping[Any, str] | None = None) -> Session | None:
    """A session from columns of units, times and, if each trial has a separate clock, trials.

    Each line holds one time, or a list of them. None if it is no table of spikes. Raises
    RecordingError if a column that is `given` for unit, time or trial does not exist, times are not
    numbers, or values are missing.
    """
    found = {role: _column_of(table, role, (given or {}).get(role)) for role in ("unit", "time", "trial")}
    if found["unit"] is None or found["time"] is None:
        if given:
            missing = " and ".join(role for role in ("unit", "time") if found[role] is None)
            raise RecordingError(f"{table.source} has no column of {missing}: {_all_columns(table)}")
        return None
    names = table.names or tuple(map(str, range(len(table.columns))))
    extra = [name for i, name in enumerate(names) if i not in found.values() and name.strip()]
    if rates := [name for name in extra if is_any_of(name, RATES)]:
        raise RecordingError(
            f"{table.source} has a line for each unit and time with a column {rates[0]!r}: this is neither a table of "
            "spikes nor a matrix; with pandas, table.pivot(index=TIME, columns=UNIT, values=RATE) makes a matrix of it"
        )
    columns = {role: table.columns[i] for role, i in found.items() if i is not None}
    for role in columns.keys() - {"time"}:
        if columns[role].dtype.kind == "f" and np.isnan(columns[role]).any():
            empty = f"{np.isnan(columns[role]).sum()} empty values"
            raise RecordingError(f"the column {names[found[role] or 0]} of {table.source} has {empty}")
    name, lines = names[found["time"]], np.arange(len(columns["time"]))
    times, lengths = _times(columns["time"], name, table.source)
    labels, members = np.unique(columns["unit"], return_inverse=True)
    check_units(len(labels), table.source)
    members, lines = np.repeat(members, lengths), np.repeat(lines, lengths)
    order = np.lexsort((times, members))
    ends = np.cumsum(np.bincount(members, minlength=len(labels)))[:-1]
    spike_trials, trials = None, None
    if "trial" in columns:
        trial_labels, rows = np.unique(columns["trial"], return_inverse=True)
        trials = Trials(rows=len(trial_labels), columns={"trial": trial_labels})
        spike_trials = np.split(rows[lines][order].astype(np.int64), ends)
    ids = tuple(f"{label:g}" if isinstance(label, np.floating) else str(label) for label in labels)
    spike_times = np.split(times[order], ends) if len(labels) else []
    units = Units(ids=ids, spike_times=spike_times, spike_trials=spike_trials)
    notes = [f"unused columns of the spike table: {', '.join(extra)}"] if extra else []
    if any(plain(names[i]) != role for role, i in found.items() if i is not None):
        used = ", ".join(f"{role} {names[i]!r}" for role, i in found.items() if i is not None)
        notes.append(f"columns of the spike table: {used}")
    unit = time_unit(name) or "s"
    return Session(source=table.source, format=format, units=units, trials=trials, time_unit=unit, notes=tuple(notes))


def _column_of(table: Table, role: str, given: str | None) -> int | None:
    """The number of the column that is given for a role, or else has a usual name for it."""
    names = table.names or ()
    if given is not None:
        for i, name in enumerate(names):
            if name.strip().casefold() == given.casefold():
                return i
        if given.isdecimal() and int(given) < len(table.columns):
            return int(given)
        raise RecordingError(f"{table.source} has no column {given!r} for {role}: {_all_columns(table)}")
    if role == "time":
        named = [i for i, name in enumerate(names) if time_unit(name) is not None]
        return min(named, key=lambda i: plain(names[i]) != "time", default=None)
    wanted = UNITS if role == "unit" else TRIALS
    named = [i for name in wanted for i, found in enumerate(names) if is_any_of(found, (name,))]
    return next(iter(named), None)


def _all_columns(table: Table) -> str:
    if table.names is None:
        return f"its {len(table.columns)} columns have no names: give numbers from 0, such as --columns unit=0,time=1"
    return f"its columns are {listed(table.names)}; name them with --columns unit=NAME,time=NAME"


def _times(column: NDArray[Any], name: str, source: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """All times of a column, and how many are in each line."""
    if column.dtype.kind in "iuf":
        return column.astype(np.float64), np.ones(len(column), dtype=np.int64)
    texts = [text.strip("[]() ") for text in column.astype(str)]
    check_memory(_LIST_MEMORY * sum(map(len, texts)), source)  # which may share one long text
    lists = [re.split(r"[\s,;]+", text) if text else [] for text in texts]
    times = as_vector([number for numbers in lists for number in numbers])
    if times is None:
        raise RecordingError(
            f"the column {name} of {source} has values that are neither numbers nor lists of numbers: give times"
        )
    return times, np.array([len(numbers) for numbers in lists], dtype=np.int64)


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
        if time_unit_of_bins(name) is not None and columns[i].dtype.kind in "iuf":
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


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == GZIP_MAGIC


def _opened(path: Path) -> TextIO:
    """A text, perhaps compressed, after checking that it fits into memory."""
    packed = _is_gzip(path)
    stream = cast(BinaryIO, (gzip.open if packed else open)(path, "rb"))
    if packed:
        size = 0
        while part := len(stream.read(2**24)):
            size += part
            check_memory(_TEXT_MEMORY * size, path.name)
        stream.seek(0)
    else:
        check_memory(_TEXT_MEMORY * path.stat().st_size, path.name)
    wide = stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    stream.seek(0)
    return io.TextIOWrapper(stream, encoding="utf-16" if wide else "utf-8-sig")


def _first_lines(stream: TextIO, name: str) -> list[str]:
    """The first lines that are neither blank nor a comment, at least one."""
    lines = list[str]()
    try:
        while len(lines) < _SNIFFED and (line := stream.readline(_LONGEST)):
            if line.strip() and not line.startswith("#"):
                lines.append(line)
    except UnicodeDecodeError:
        if not lines:
            raise RecordingError(f"{name} is neither UTF-8 nor UTF-16 text") from None
    if not lines:
        raise RecordingError(f"{name} is text without a line of values")
    return lines


def _of_arrow(column: Any) -> NDArray[Any]:
    """A column of Arrow; texts, which are read as a dictionary, are shared by their rows."""
    if not hasattr(column.type, "index_type"):
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
    texts[:] = [str(value.tolist() if isinstance(value, np.ndarray) else value).strip() for value in none]
    return texts


def _are_positions(cells: list[str]) -> bool:
    """Whether a line counts 0, 1, 2, ... or 1, 2, 3, ...: column names rather than values."""
    return len(cells) > 2 and cells in [[str(i + first) for i in range(len(cells))] for first in (0, 1)]
