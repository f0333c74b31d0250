"""Recordings that were saved: NPZ files from which they can be read again.

In: a `Recording`.  Out: an NPZ file, and from its arrays the `Recording`.  They may be untrusted.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from rlsbench.errors import OutputError, RecordingError
from rlsbench.recordings.arrays import MAX_COMPRESSION, Entry, any_error_as, load, npz_entries
from rlsbench.recordings.recording import Recording

_ARRAYS = ("rates_hz", "edges_s", "unit_trials")
_TEXT = "recording"  # the other fields


class _Fields(BaseModel):
    """All but the arrays of a `Recording`."""

    model_config = ConfigDict(extra="forbid")

    conditions: tuple[str, ...]
    regions: tuple[str, ...] | None
    ids: tuple[str, ...] | None
    trials: tuple[int, ...] | None
    source: str
    session: str
    provenance: dict[str, str | int | float]
    notes: tuple[str, ...]


def save_recording(path: str | Path | IO[bytes], recording: Recording) -> None:
    """Save a recording as an NPZ file, which `read_recording` and `--recording` read.

    Parameters
    ----------
    path : path or binary stream
        An existing file is replaced.
    recording : Recording

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    arrays: dict[str, Any] = {name: values for name in _ARRAYS if (values := getattr(recording, name)) is not None}
    rest = _Fields(**{name: getattr(recording, name) for name in _Fields.model_fields})
    arrays[_TEXT] = np.frombuffer(rest.model_dump_json().encode(), np.uint8)
    try:
        with Path(path).open("wb") if isinstance(path, str | Path) else nullcontext(path) as stream:
            np.savez_compressed(stream, **arrays)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from None


def is_stored(entries: Sequence[Entry]) -> bool:
    """Whether these are the arrays of a file that `save_recording` wrote."""
    return {("rates_hz", "f"), (_TEXT, "u")} <= {(entry.name, entry.kind) for entry in entries}


def stored_recording(entries: Sequence[Entry], file: str, size: int) -> Recording | None:
    """The recording that the arrays of a file of `size` bytes are, or None.

    Raises RecordingError if it is damaged.
    """
    found = {entry.name: entry for entry in entries if entry.name in (*_ARRAYS, _TEXT)}
    if not is_stored(entries):
        return None
    values: dict[str, Any] = {name: load(entry, file, MAX_COMPRESSION * size) for name, entry in found.items()}
    with any_error_as(f"{file} is not a valid saved recording", ": it may be damaged"):
        rest = _Fields.model_validate_json(values.pop(_TEXT).tobytes())
        return Recording(**values, **rest.model_dump())


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an NPZ file; RecordingError if it is missing, damaged or too large."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordingError(f"{path} cannot be read ({error.strerror})") from None
    entries = npz_entries(BytesIO(content), path.name)
    return {entry.name or "": load(entry, path.name, MAX_COMPRESSION * len(content)) for entry in entries}


def read_saved(content: bytes, name: str) -> Recording:
    """The recording in the bytes of a file that `save_recording` wrote; else RecordingError."""
    with any_error_as(f"{name} is not a valid saved recording"):
        found = stored_recording(npz_entries(BytesIO(content), name), name, len(content))
    if found is None:
        raise RecordingError(f"{name} holds no saved recording")
    return found
