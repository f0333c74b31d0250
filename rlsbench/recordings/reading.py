"""Read a recording from a file in any known format, which is detected from the content.

In: a path or a Python object, and `ReadOptions`.  Out: a `Recording`, or the
`Contents` of a file.  Knows no experiment.
"""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import ArrayLike

from rlsbench.configuration.recording import seconds_per
from rlsbench.errors import RecordingError
from rlsbench.recordings.alignment import align
from rlsbench.recordings.arrays import MAX_COMPRESSION, Entry, brief, load, matrices_of, npy_entry, npz_entries
from rlsbench.recordings.matrices import read_matrix
from rlsbench.recordings.objects import read_rates, session_or_rates
from rlsbench.recordings.options import ReadOptions
from rlsbench.recordings.recording import Recording, stack_conditions
from rlsbench.recordings.sessions import Session
from rlsbench.recordings.stored import is_stored, stored_recording
from rlsbench.recordings.tables import GZIP_MAGIC, matrix_of_table, read_csv, read_parquet, session_of_table
from rlsbench.recordings.variables import Read, entries_of, session_of_variables

FORMATS = "NWB, MATLAB, HDF5, JLD, JLD2, NPY, NPZ, CSV or Parquet"
_MAGIC = {npy.MAGIC_PREFIX: "NPY", b"PK": "NPZ", b"PAR1": "Parquet", b"MATLAB 5": "MATLAB"}
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_START = 4096  # bytes of a file that tell its format
_DEFAULT = ReadOptions()


@dataclass(frozen=True, eq=False)
class Contents:
    """The contents of a file."""

    source: str  #: name of the file, without its folder
    format: str
    size: int  #: in bytes
    session: Session | None  #: units, trials and events, if the file holds spike times
    matrices: tuple[str, ...]  #: name, shape and type of those that may hold rates, if it holds no spike times


def read_recording(
    source: str | Path | Session | Recording | Any,
    options: ReadOptions = _DEFAULT,
    *,
    experiment: tuple[int, int] | None = None,
    events: ArrayLike | Mapping[Any, ArrayLike] | None = None,
) -> Recording:
    """Read recorded rates, or compute the rates of recorded spikes around an event.

    Parameters
    ----------
    source : path, Session, Recording, array_like, mapping, Series or DataFrame
        A file (NWB, MATLAB, HDF5, JLD, JLD2, NPY, NPZ, CSV or Parquet, detected from the content,
        or one that `save_recording` wrote), or what `read_contents` returns as its session.

        Spike times in seconds: of each unit, in a mapping, a list, a Series or a pynapple.TsGroup;
        a Series with the unit of each spike as its index; or a DataFrame with a row for each spike.

        Rates in Hz: an array of shape (bins, neurons) or (bins, neurons, conditions); or a
        DataFrame, or pynapple.TsdFrame, with a row for each bin. A `Recording` is returned
        unchanged.
    options : ReadOptions
    experiment : (int, int), optional
        Numbers of bins and neurons of the experiment. If nothing else tells the axes of a matrix,
        lengths that are these in one order only do.
    events : array_like or mapping of str to array_like, optional
        Event times in seconds, used for spike times in place of `options.event`; a mapping has
        those of each condition.

    Raises
    ------
    RecordingError
        If the file cannot be read, the request is ambiguous, values are not rates, or no neurons
        remain.
    """
    if isinstance(source, Recording):
        if events is not None:
            raise RecordingError(f"{source.source} holds rates, not spike times: omit the events")
        return source
    with _opened(Path(source), options) if isinstance(source, str | Path) else _given(source, options) as opened:
        file, entries = opened
        stored = stored_recording(entries, file.source, file.size)
        if file.session is not None:
            recording = _aligned(file.session, options, events)
        elif events is not None:
            raise RecordingError(f"{file.source} holds rates, not spike times: omit the events")
        elif stored is not None:
            recording = stored
            if unused := [name for name in options.changed() if name not in ("bin_s", "minimum_rate_hz")]:
                note = f"{file.source} is a saved recording, to which these options do not apply: {', '.join(unused)}"
                recording = replace(stored, notes=(*stored.notes, note))
        elif isinstance(source, str | Path):
            recording = read_matrix(entries, file.source, file.format, file.size, options, experiment)
        else:
            recording = read_rates(entries[0], file.source, options, experiment)
    return _without_low_rates(recording, options.minimum_rate_hz)


def _aligned(session: Session, options: ReadOptions, events: ArrayLike | Mapping[Any, ArrayLike] | None) -> Recording:
    """The rates of a session around events, of which a mapping has those of each condition."""
    if not isinstance(events, Mapping):
        return align(session, options, events)
    parts = [align(session, options, times) for times in events.values()]
    return stack_conditions(parts, [str(name) for name in events], same_neurons=True)


def read_contents(path: str | Path, options: ReadOptions = _DEFAULT) -> Contents:
    """What a file holds, with `dataset`, `columns` and `time_unit` as the options say.

    Raises RecordingError if it cannot be read.
    """
    with _opened(Path(path), options) as (contents, _):
        return contents


def _in_seconds(session: Session, unit: str | None) -> Session:
    """The session with its spike times in seconds: from the unit that is given, or else its own."""
    unit = unit or session.time_unit
    if unit == "samples":
        raise RecordingError(f"the times of {session.source} are samples: give their rate, such as --time-unit 30kHz")
    if unit == "s":
        return session
    times = [part * seconds_per(unit) for part in session.units.spike_times]
    notes = (*session.notes, f"spike times were converted from {unit} to s")
    return replace(session, units=replace(session.units, spike_times=times), time_unit="s", notes=notes)


@contextmanager
def _opened(path: Path, options: ReadOptions) -> Iterator[tuple[Contents, Sequence[Entry]]]:
    """The contents and arrays of a file; naming a dataset asks for the matrices of an NWB file."""
    dataset = options.dataset
    name, session, entries, variables = path.name, None, [], None
    try:
        if path.is_dir():
            session, size = _session_of_folder(path, options)
            yield Contents(session.source, session.format, size, session, ()), ()
            return
        if not path.is_file():
            raise RecordingError(f"{path} is not an existing file: give a file ({FORMATS})")
        size = path.stat().st_size
        read_entry: Read = partial(load, file=name, limit=MAX_COMPRESSION * size)
        with path.open("rb") as stream, ExitStack() as opened:
            format = _format(stream, size)
            stream.seek(0)
            if format == "HDF5":
                from rlsbench.recordings.hdf5 import open_hdf5  # slow import: h5py
                from rlsbench.recordings.matlab import is_matlab73, variables_of_hdf5
                from rlsbench.recordings.nwb import is_nwb, is_units, read_nwb

                file = opened.enter_context(open_hdf5(path))
                if is_nwb(file) and (dataset is None or is_units(file, dataset)):
                    format, session = "NWB", read_nwb(file, dataset)
                elif is_matlab73(file):
                    format, variables, read_entry = "MATLAB 7.3", variables_of_hdf5(file), file.load
                else:
                    entries = file.entries(dataset)
            elif format in ("CSV", "Parquet"):
                table = read_csv(path) if format == "CSV" else read_parquet(path)
                session = session_of_table(table, format, options.columns)
                if session is None:
                    entries = [matrix_of_table(table)]
                else:
                    format += ", spikes"
            elif format == "MATLAB":
                from rlsbench.recordings.matlab import read_mat5

                variables = read_mat5(path)
            elif format == "NPZ":
                entries = npz_entries(stream, name)
                format += ", a saved recording" if is_stored(entries) else ""
                variables = None if is_stored(entries) else {str(entry.name): entry for entry in entries}
            elif format == "NPY":
                entries = [npy_entry(stream, None, name)]
            else:
                raise RecordingError(f"{name} is not in a known format: give a file in one of {FORMATS}")
            if variables is not None:
                entries = entries_of(variables)
                session = session_of_variables(variables, name, format, read_entry, dataset)
            if session is not None:
                session = _in_seconds(session, options.time_unit)
            rates = [e for e in entries if e.name == "rates_hz"] if is_stored(entries) else matrices_of(entries)
            matrices = tuple(map(str, rates))
            yield Contents(name, format, size, session, matrices), entries
    except OSError as error:
        raise RecordingError(f"{path} cannot be read ({error.strerror or brief(error)})") from error


def _session_of_folder(folder: Path, options: ReadOptions) -> tuple[Session, int]:
    """The session in a folder of phy or Kilosort, or an NWB file in a Zarr store; and its bytes."""
    from rlsbench.recordings.phy import TIMES, is_phy, read_phy

    if is_phy(folder):
        return read_phy(folder, options.time_unit), sum(part.stat().st_size for part in folder.glob("spike_*.npy"))
    if (folder / ".zgroup").exists() or (folder / "zarr.json").exists():
        from rlsbench.recordings.nwb import read_nwb
        from rlsbench.recordings.zarr import ZarrStore

        store = ZarrStore(folder)
        session = replace(read_nwb(store, options.dataset), format="NWB Zarr")
        return _in_seconds(session, options.time_unit), store.size
    raise RecordingError(
        f"{folder} is a folder without {TIMES} of phy or Kilosort, or .zgroup of Zarr: give such a folder, or a file "
        f"({FORMATS})"
    )


@contextmanager
def _given(source: Any, options: ReadOptions) -> Iterator[tuple[Contents, Sequence[Entry]]]:
    """The same for a session or another object."""
    found = source if isinstance(source, Session) else session_or_rates(source)
    if isinstance(found, Session):
        found = _in_seconds(found, None if isinstance(source, Session) else options.time_unit)
        yield Contents(found.source, found.format, 0, found, ()), []
    else:
        yield Contents("the recording", "array", 0, None, ()), [found]


def _format(stream: IO[bytes], size: int) -> str | None:
    """Detect the format; an HDF5 signature is at byte 0 or after a user block, at 512, 1024, ..."""
    start = stream.read(_START)
    for magic, format in _MAGIC.items():
        if start.startswith(magic):
            return format
    for offset in (0, *(2**power for power in range(9, size.bit_length()))):
        stream.seek(offset)
        if stream.read(8) == _HDF5_MAGIC:
            return "HDF5"
    return "CSV" if _is_text(start) else None


def _is_text(start: bytes) -> bool:
    """Whether a file starts with printable text in UTF-8 or UTF-16, perhaps compressed by gzip."""
    try:
        if start.startswith(GZIP_MAGIC):
            start = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(start, _START)
        wide = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        decoder = codecs.getincrementaldecoder("utf-16" if wide else "utf-8-sig")
        text = decoder().decode(start)  # ignores a character cut off at the end
    except (UnicodeDecodeError, zlib.error):
        return False
    return bool(text.strip()) and all(character.isprintable() or character in "\t\r\n" for character in text)


def _without_low_rates(recording: Recording, minimum_rate_hz: float) -> Recording:
    """Drop the neurons with a lower mean rate."""
    rates, notes = recording.mean_rates_hz, recording.notes
    kept = np.flatnonzero(rates >= minimum_rate_hz)
    if not len(kept):
        raise RecordingError(
            f"none of the {recording.neurons} neurons of {recording.source} has a mean rate of at least "
            f"{minimum_rate_hz:g} Hz: the highest is {rates.max():.3g} Hz; give a lower minimum rate"
        )
    if dropped := len(rates) - len(kept):
        recording = recording.take(kept)
        notes += (f"{dropped} of {len(rates)} neurons were omitted: mean rate below {minimum_rate_hz:g} Hz",)
    counts = {"minimum_rate_hz": minimum_rate_hz, "units_dropped_by_rate": dropped, "units": len(kept)}
    return replace(recording, provenance={**recording.provenance, **counts}, notes=notes)
