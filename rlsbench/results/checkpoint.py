"""A checkpoint: all that a training needs to go on bit for bit, in one HDF5 file that is either whole or not there.

In: a `Training` between two iterations.  Out: a file; and from a file, a `Checkpoint`.  Knows the protocol's blocks, no
backend.  Whatever is read may be broken or made up: nothing is unpickled, every size is compared with the file's before
memory is taken, and every number that is used has been checked against its checksum.

Datasets, each of them contiguous, in HDF5's latest format, whose own structures have checksums:

    manifest       (M,) uint8       JSON: iteration, learning curve, configuration and its hash, options, versions
    checksums      (S,) uint32      CRC-32: of the manifest, of each block of each array in its order, of all these
    w              (N, n)
    P              (N, n, n) or (N, n (n + 1)/2), as it is stored, bfloat16 as bits; absent from one of weights alone
    P_unit         (N,)             what a stored 1 of P stands for; int16 alone
    initial_rates_hz, initial_mean_current, initial_std_current    (N,) of the initial trial
    first_learned  (bins, neurons)  learned currents of the first iteration that the picture shows

HDF5 lays the file out, and room for all of it is reserved; then blocks of neurons are written to their places by two
threads that also take the checksums.  The file has a name of its own until it is on the disk.
"""

from __future__ import annotations

import errno
import json
import os
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rlsbench.available import available_bytes
from rlsbench.backend import Block, Options, Trainer
from rlsbench.configuration import Experiment
from rlsbench.errors import OutputError, ResultError
from rlsbench.precision import PRECISIONS, STORAGES
from rlsbench.problem import InitialTrial
from rlsbench.results.document import check_json_room, configuration_hash
from rlsbench.results.machine import version_record
from rlsbench.training import Iteration, Training

__all__ = ["FORMAT_VERSION", "Checkpoint", "read_checkpoint", "save_checkpoint"]

FORMAT_VERSION = 1
BLOCK_BYTES = 1 << 24  # of P in a block: what is copied, checked and written at once
THREADS = 2  # that write, or read, and take checksums
MANIFEST_BYTES = 1 << 26  # at most, and of checksums as well
SIGNATURE = b"\x89HDF\r\n\x1a\n"
UNSUPPORTED = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}  # of reserving room, on some file systems

_NAMES: Final = (
    *("w", "P", "P_unit"),
    *("initial_rates_hz", "initial_mean_current", "initial_std_current", "first_learned"),
)
_REALS: Final = {"float64": np.dtype("<f8"), "float32": np.dtype("<f4")}


class _Array(BaseModel):
    """One array: its type by a key of `PRECISIONS`, its shape, and rows in a block that has a checksum."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=f"^({'|'.join(_NAMES)})$")]
    type: Annotated[str, Field(pattern=f"^({'|'.join(PRECISIONS)})$")]
    shape: Annotated[tuple[Annotated[int, Field(ge=1, le=2**40)], ...], Field(min_length=1, max_length=3)]
    rows: Annotated[int, Field(ge=1, le=2**40)]

    @property
    def dtype(self) -> np.dtype[Any]:
        return PRECISIONS[self.type].stored

    @property
    def row_bytes(self) -> int:
        size = self.dtype.itemsize
        for length in self.shape[1:]:
            size *= length
        return size

    @property
    def bytes(self) -> int:
        return self.shape[0] * self.row_bytes

    @property
    def blocks(self) -> int:
        return -(-self.shape[0] // self.rows)


class _Manifest(BaseModel):
    """What a checkpoint says about itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["rlsbench checkpoint"] = "rlsbench checkpoint"
    version: Literal[1] = 1
    created: str
    iteration: Annotated[int, Field(ge=0, le=2**31)]
    seed: int
    backend: str
    options: Options
    versions: dict[str, str]
    configuration: Experiment
    configuration_hash: str
    recording_digest: str | None
    resumptions: list[str]
    iterations: list[Iteration]
    arrays: Annotated[list[_Array], Field(max_length=7)]


class Checkpoint:
    """A checkpoint file whose structure has been checked; made by `read_checkpoint`.

    Attributes
    ----------
    path : Path
    iteration : int
        After which it was saved.
    iterations : list of Iteration
        The learning curve up to there.
    experiment : Experiment
    backend : str
    options : Options
        As they were resolved.
    versions : dict
        Of the software that wrote it.
    resumptions : list of str
        Where the run was resumed before.
    whole : bool
        Whether it holds P, without which training cannot go on.
    """

    def __init__(self, path: Path, manifest: _Manifest, offsets: dict[str, int], checksums: NDArray[np.uint32]) -> None:
        self.path, self._offsets, self._checksums = path, offsets, checksums
        self.iteration, self.iterations = manifest.iteration, manifest.iterations
        self.experiment, self.backend, self.options = manifest.configuration, manifest.backend, manifest.options
        self.versions, self.resumptions = manifest.versions, manifest.resumptions
        self.recording_digest = manifest.recording_digest
        self._arrays = {array.name: array for array in manifest.arrays}
        self._first_checksum: dict[str, int] = {}
        at = 1
        for array in manifest.arrays:
            self._first_checksum[array.name] = at
            at += array.blocks
        self.whole = "P" in self._arrays

    def initial(self) -> InitialTrial:
        """What the initial trial measured."""
        return InitialTrial(*(self._all(f"initial_{name}") for name in ("rates_hz", "mean_current", "std_current")))

    def first_learned(self) -> NDArray[np.float64] | None:
        """Learned currents of the first iteration that a picture shows, if any were measured."""
        return self._all("first_learned") if "first_learned" in self._arrays else None

    def weights(self) -> NDArray[np.floating[Any]]:
        """Plastic weights, (N, n)."""
        return self._all("w")

    def load(self, trainer: Trainer) -> None:
        """Fill a trainer with weights and P.

        Raises
        ------
        ResultError
            If the file is damaged, or holds no P; the trainer is of no use then.
        """
        if not self.whole:
            raise ResultError(
                f"{self.path} holds weights alone: it can be evaluated, and training cannot go on from it"
            )
        trainer.load_blocks(self._blocks())

    def verify(self) -> None:
        """Read everything and compare it with its checksums.

        Raises
        ------
        ResultError
        """
        for name, array in self._arrays.items():
            for index in range(array.blocks):
                self._block(name, index)

    def _blocks(self) -> Iterator[tuple[int, Block]]:
        """All blocks in order; the next ones are read and checked by threads while one is taken."""
        P, units = self._arrays["P"], self._arrays.get("P_unit")

        def read(index: int) -> Block:
            values = self._block("P", index)
            unit = np.ones(len(values), np.float32) if units is None else self._block("P_unit", index)
            return Block(self._block("w", index), values, unit, P.type)

        with ThreadPoolExecutor(THREADS) as pool:
            pending: deque[Future[Block]] = deque()
            for index in range(P.blocks + THREADS):
                if index < P.blocks:
                    pending.append(pool.submit(read, index))
                if index >= THREADS:
                    yield (index - THREADS) * P.rows, pending.popleft().result()

    def _all(self, name: str) -> NDArray[Any]:
        array = self._arrays[name]
        whole = self._empty(array.shape, array)
        for index in range(array.blocks):
            self._block(name, index, whole[index * array.rows : (index + 1) * array.rows])
        return whole

    def _empty(self, shape: tuple[int, ...], array: _Array) -> NDArray[Any]:
        """Room for some rows; a file with holes can be of any size, and so can what it holds."""
        size = shape[0] * array.row_bytes
        if size > 2 * BLOCK_BYTES and size > available_bytes():
            raise ResultError(f"{self.path} holds {size:,} bytes of {array.name} in one, more than memory has")
        return np.empty(shape, array.dtype)

    def _block(self, name: str, index: int, into: NDArray[Any] | None = None) -> NDArray[Any]:
        """One block, as its checksum says that it is."""
        array = self._arrays[name]
        first = index * array.rows
        if into is None:
            into = self._empty((min(array.rows, array.shape[0] - first), *array.shape[1:]), array)
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(self._offsets[name] + first * array.row_bytes)
                whole = _read_into(file, into)
        except OSError as error:
            raise ResultError(f"{self.path} cannot be read: {error.strerror}") from None
        wanted = self._checksums[self._first_checksum[name] + index]
        if not whole or zlib.crc32(_bytes(into)) != wanted:
            raise ResultError(f"{self.path} is damaged: block {index + 1} of {array.blocks} of {name} has changed")
        return into


def _bytes(values: NDArray[Any]) -> memoryview:
    """What a contiguous array holds."""
    return values.reshape(-1).view(np.uint8).data


def _read_into(file: Any, into: NDArray[Any]) -> bool:
    view, done = _bytes(into), 0
    while done < len(view):
        count = file.readinto(view[done:])
        if not count:
            return False
        done += count
    return True


# Writing


def save_checkpoint(path: str | Path, training: Training, *, whole: bool = True) -> Path:
    """Save a training as it stands between two iterations.

    Parameters
    ----------
    path : path
        A file there is replaced once the new one is on the disk.
    training : Training
    whole : bool
        With P. Without, it can be evaluated, but training cannot go on from it.

    Returns
    -------
    Path

    Raises
    ------
    OutputError
        If there is no room, or it cannot be written; what was there before is still there.

    Notes
    -----
    Takes the memory of a few blocks of 16 MiB. The numbers of a training that goes on are not changed by it.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            _write(beside, training, whole)
            os.replace(beside, path)
            _sync_folder(path.parent)
        except BaseException:
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"cannot write the checkpoint {path}: {error.strerror or error}") from None
    return path


def _write(path: Path, training: Training, whole: bool) -> None:
    problem = training.problem
    N = problem.neurons
    per_neuron = max(1, problem.n * problem.n * 8 if not whole else _bytes_of_P(training))
    rows = max(1, min(N, BLOCK_BYTES // per_neuron))
    blocks = training.trainer.blocks(rows) if whole else _weights(training, rows)
    first = next(blocks)
    small = {
        "initial_rates_hz": training.initial.rates_hz,
        "initial_mean_current": training.initial.mean_current,
        "initial_std_current": training.initial.std_current,
    }
    if training.first_learned is not None and training.first_learned.size:
        small["first_learned"] = training.first_learned
    arrays = [_Array(name="w", type=first.w.dtype.name, shape=(N, *first.w.shape[1:]), rows=rows)]
    if whole:
        arrays.append(_Array(name="P", type=first.p_precision, shape=(N, *first.P.shape[1:]), rows=rows))
        if first.p_precision == "int16":
            arrays.append(_Array(name="P_unit", type=first.unit.dtype.name, shape=(N,), rows=rows))
    arrays += [_Array(name=name, type="float64", shape=a.shape, rows=len(a)) for name, a in small.items()]
    manifest = _manifest(training, arrays).model_dump_json().encode()
    checksums = np.zeros(2 + sum(array.blocks for array in arrays), "<u4")
    offsets, size = _lay_out(path, len(manifest), len(checksums), arrays)

    with path.open("r+b", buffering=0) as file, ThreadPoolExecutor(THREADS) as pool:
        descriptor = file.fileno()
        _reserve(descriptor, size)
        checksums[0] = _put(descriptor, offsets["manifest"], np.frombuffer(manifest, np.uint8))
        streamed = [array for array in arrays if array.name not in small]

        def put(index: int, block: Block) -> None:
            at = 1
            for array in streamed:
                values = {"w": block.w, "P": block.P, "P_unit": block.unit}[array.name]
                where = offsets[array.name] + index * rows * array.row_bytes
                checksums[at + index] = _put(descriptor, where, np.ascontiguousarray(values, array.dtype))
                at += array.blocks

        pending: deque[Future[None]] = deque()
        for index, block in enumerate(chain([first], blocks)):
            if len(pending) > THREADS:
                pending.popleft().result()
            pending.append(pool.submit(put, index, block))
        for future in pending:
            future.result()
        at = 1 + sum(array.blocks for array in streamed)
        for name, values in small.items():
            checksums[at] = _put(descriptor, offsets[name], np.ascontiguousarray(values, "<f8"))
            at += 1
        checksums[-1] = zlib.crc32(_bytes(checksums[:-1]))
        _put(descriptor, offsets["checksums"], checksums)
        os.fsync(descriptor)


def _bytes_of_P(training: Training) -> int:
    n, options = training.problem.n, training.options
    return STORAGES[options.storage].entries(n) * PRECISIONS[options.p_precision].bytes


def _weights(training: Training, rows: int) -> Iterator[Block]:
    w = training.weights()
    for first in range(0, len(w), rows):
        part = w[first : first + rows]
        yield Block(part, np.empty((len(part), 0), np.float32), np.ones(len(part), np.float32), "float32")


def _manifest(training: Training, arrays: list[_Array]) -> _Manifest:
    return _Manifest(
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        iteration=len(training.iterations),
        seed=training.experiment.training.seed,
        backend=training.backend.name,
        options=Options(**asdict(training.options)),
        versions=version_record(training.backend.name),
        configuration=training.experiment,
        configuration_hash=configuration_hash(training.experiment),
        recording_digest=training.recording_digest(),
        resumptions=training.resumptions,
        iterations=training.iterations,
        arrays=arrays,
    )


def _lay_out(path: Path, manifest: int, checksums: int, arrays: list[_Array]) -> tuple[dict[str, int], int]:
    """Have HDF5 make the file with all its datasets, empty; where each of them begins, and the size of the file.

    Room is reserved before as well, in a file of no format: HDF5 itself does not take a full disk well.
    """
    import h5py

    with path.open("xb", buffering=0) as file:
        _reserve(file.fileno(), sum(array.bytes for array in arrays) + manifest + 4 * checksums + (1 << 18))
    datasets: list[tuple[str, Any, tuple[int, ...]]] = [
        ("manifest", np.dtype("u1"), (manifest,)),
        ("checksums", np.dtype("<u4"), (checksums,)),
        *((array.name, array.dtype, array.shape) for array in arrays),
    ]
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_layout(h5py.h5d.CONTIGUOUS)
    how.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    how.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    offsets = {}
    with h5py.File(
        path, "w", libver="latest", locking=False, alignment_threshold=1 << 16, alignment_interval=1 << 12
    ) as file:
        file.attrs.create("format", np.bytes_("rlsbench checkpoint"))
        file.attrs.create("version", FORMAT_VERSION, dtype=np.int64)
        for name, dtype, shape in datasets:
            space = h5py.h5s.create_simple(shape)
            made = h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(dtype), space, dcpl=how)
            offsets[name] = int(made.get_offset())
    return offsets, path.stat().st_size


def _reserve(descriptor: int, size: int) -> None:
    """Have the file system set room aside, so that a full disk is known before anything is written."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def _put(descriptor: int, offset: int, values: NDArray[Any]) -> int:
    """Write an array to its place; its checksum."""
    view, done = _bytes(values), 0
    while done < len(view):
        done += os.pwrite(descriptor, view[done:], offset + done)
    return zlib.crc32(view)


def _sync_folder(path: Path) -> None:
    """Put the new name on the disk, too."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Reading


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Open a checkpoint: its structure and manifest are checked, its arrays when they are taken.

    Raises
    ------
    ResultError
        If it is none, damaged, or of a later release.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if not path.is_file():  # a pipe would be waited for
            raise ResultError(f"{path} is no file")
        with path.open("rb") as file:
            signature = file.read(len(SIGNATURE))
        if signature != SIGNATURE:
            raise ResultError(f"{path} is no checkpoint: it is not HDF5")
        offsets, lengths = _datasets(path, size)
        return _opened(path, offsets, lengths)
    except FileNotFoundError:
        raise ResultError(f"{path} is missing") from None
    except ResultError:
        raise
    except OSError as error:
        raise ResultError(f"{path} cannot be read: {error.strerror or _line(error)}") from None


def _datasets(path: Path, size: int) -> tuple[dict[str, int], dict[str, tuple[str, tuple[int, ...]]]]:
    """Where HDF5 says that datasets are, and what they are: contiguous, and inside this file."""
    import h5py

    offsets, kinds = {}, {}
    try:
        with h5py.File(path, "r", locking=False) as file:
            version = file.attrs.get("version")
            if file.attrs.get("format") != b"rlsbench checkpoint" or not isinstance(version, np.integer):
                raise ResultError(f"{path} is no checkpoint of this program")
            if version != FORMAT_VERSION:
                raise ResultError(
                    f"{path} is of format {int(version)}, and this release reads {FORMAT_VERSION}: it needs another one"
                )
            if len(file) > 9:
                raise ResultError(f"{path} is no checkpoint: it holds {len(file)} things")
            for name in file:
                if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                    raise ResultError(f"{path} is no checkpoint: {name[:40]!r} is a link")
                dataset = file[name]
                offset = dataset.id.get_offset() if isinstance(dataset, h5py.Dataset) else None
                if offset is None or dataset.chunks is not None or dataset.is_virtual or dataset.external:
                    raise ResultError(f"{path} is no checkpoint: {name[:40]!r} is not contiguous")
                if dataset.dtype.hasobject or offset < 0 or offset + dataset.size * dataset.dtype.itemsize > size:
                    raise ResultError(f"{path} is damaged: {name[:40]!r} does not fit into it")
                offsets[name], kinds[name] = int(offset), (dataset.dtype.str, tuple(map(int, dataset.shape)))
    except ResultError:
        raise
    except Exception as error:  # what HDF5 and h5py raise from broken files is of many kinds
        raise ResultError(f"{path} is no checkpoint that can be read ({_line(error)})") from None
    return offsets, kinds


def _opened(path: Path, offsets: dict[str, int], kinds: dict[str, tuple[str, tuple[int, ...]]]) -> Checkpoint:
    damaged = f"{path} is damaged: "
    for name, dtype in (("manifest", "|u1"), ("checksums", "<u4")):
        if name not in kinds or kinds[name][0] != dtype or len(kinds[name][1]) != 1:
            raise ResultError(f"{path} is no checkpoint: it has no {name}")
    (length,), (count,) = kinds["manifest"][1], kinds["checksums"][1]
    if length > MANIFEST_BYTES or count < 2:
        raise ResultError(f"{path} is no checkpoint: its manifest is of {length:,} bytes")
    if 4 * count > MANIFEST_BYTES:
        raise ResultError(f"{path} is no checkpoint: it has {count:,} checksums")
    text, checksums = np.empty(length, np.uint8), np.empty(count, "<u4")
    with path.open("rb", buffering=0) as file:
        for name, into in (("manifest", text), ("checksums", checksums)):
            file.seek(offsets[name])
            if not _read_into(file, into):
                raise ResultError(damaged + f"{name} is not whole")
    if zlib.crc32(_bytes(checksums[:-1])) != checksums[-1]:
        raise ResultError(damaged + "its checksums have changed")
    if zlib.crc32(_bytes(text)) != checksums[0]:
        raise ResultError(damaged + "its manifest has changed")
    manifest = _parsed(path, text.tobytes())
    wanted = {array.name: (array.dtype.str, array.shape) for array in manifest.arrays}
    wanted |= {"manifest": kinds["manifest"], "checksums": kinds["checksums"]}
    if len(wanted) != len(manifest.arrays) + 2 or wanted != kinds:
        raise ResultError(damaged + "its arrays are not those that its manifest names")
    if count != 2 + sum(array.blocks for array in manifest.arrays):
        raise ResultError(damaged + f"it has {count} checksums")
    _check_arrays(path, manifest)
    return Checkpoint(path, manifest, offsets, checksums)


def _parsed(path: Path, text: bytes) -> _Manifest:
    try:
        check_json_room(len(text))
        content = json.loads(text, parse_constant=_refuse)
        manifest = _Manifest.model_validate(content)
    except (ValueError, RecursionError, ResultError) as error:  # a ValidationError is a ValueError
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        else:
            reason = _line(error)
        raise ResultError(f"{path} is no checkpoint: its manifest cannot be used ({reason[:300]})") from None
    done = [i.iteration for i in manifest.iterations]
    if done != list(range(1, manifest.iteration + 1)):
        raise ResultError(f"{path} is no checkpoint: its learning curve is not that of {manifest.iteration} iterations")
    if manifest.seed != manifest.configuration.training.seed:
        raise ResultError(f"{path} is no checkpoint: its seed is not that of its configuration")
    if manifest.configuration_hash != configuration_hash(manifest.configuration):
        raise ResultError(f"{path} is no checkpoint: its hash is not that of its configuration")
    return manifest


def _check_arrays(path: Path, manifest: _Manifest) -> None:
    """Every array has the shape that the configuration gives it."""
    arrays, e = {array.name: array for array in manifest.arrays}, manifest.configuration
    N, n = e.network.neurons, e.plastic_inputs
    initial = {f"initial_{name}": (N,) for name in ("rates_hz", "mean_current", "std_current")}
    shapes: dict[str, set[tuple[int, ...]]] = {
        "w": {(N, n)},
        "P": {(N, n, n), (N, n * (n + 1) // 2)},
        "P_unit": {(N,)},
        **{name: {shape} for name, shape in initial.items()},
    }
    for name, array in arrays.items():
        real = name != "P"
        if name in shapes and array.shape not in shapes[name]:
            raise ResultError(f"{path} is no checkpoint: its {name} is {array.shape}, and its network has {N} neurons")
        if (real and array.type not in _REALS) or (name in initial and array.type != "float64"):
            raise ResultError(f"{path} is no checkpoint: its {name} is of type {array.type}")
    lacking = sorted({"w", *initial} - set(arrays))
    if lacking:
        raise ResultError(f"{path} is no checkpoint: it has no {lacking[0]}")
    if "P" in arrays:
        streamed = [arrays[name] for name in ("w", "P", "P_unit") if name in arrays]
        if len({array.rows for array in streamed}) != 1 or (arrays["P"].type == "int16") != ("P_unit" in arrays):
            raise ResultError(f"{path} is no checkpoint: its blocks do not fit together")
    elif "P_unit" in arrays:
        raise ResultError(f"{path} is no checkpoint: it has units and no P")
    if "first_learned" in arrays and (
        len(arrays["first_learned"].shape) != 2 or arrays["first_learned"].type != "float64"
    ):
        raise ResultError(f"{path} is no checkpoint: its first_learned is no matrix")


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} in a manifest")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
