"""Checkpoints: everything a training needs to continue bit for bit, in one HDF5 file.

In: a `Training` between two iterations. Out: a file, and from a file a `Checkpoint`. Knows the
blocks of the backend contract, but no backend. A checkpoint is untrusted input: nothing is
unpickled, every size is compared with the size of the file before memory is allocated, and every
number that is used has been verified against its checksum.

Layout: contiguous datasets in HDF5's latest format, whose own metadata carry checksums.

    manifest       (M,) uint8       JSON: learning curve, configuration, options, versions
    checksums      (S,) uint32      CRC-32 of the manifest, of each block of each array, of the CRCs
    w              (N, n)
    P              (N, n, n) or (N, n (n + 1)/2), as stored (bfloat16 as bits); not if weights only
    P_unit         (N,)             value of a stored 1 of P; int16 only
    initial_rates_hz, initial_mean_current, initial_std_current    (N,) of the initial trial
    first_learned  (bins, neurons)  learned currents of the first iteration that the figure shows
    target_offset  (N,)             offset of the targets, if their mean is free

HDF5 creates the datasets and all disk space is reserved; then two threads write blocks of neurons
at their offsets and compute the checksums. The file keeps a temporary name until it is on disk.

Why not HDF5's chunks with its Fletcher-32 filter: that checksum misses a chunk that reads back as
zeros and a word that changes from 0x0000 to 0xFFFF (0 becomes NaN), and h5py copies and checks
chunks in one thread, under a global lock (`benchmarks/checkpoint.py --chunked` measures it).
"""

from __future__ import annotations

import errno
import json
import os
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import accumulate, chain
from math import prod
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from rlsbench.available import available_bytes
from rlsbench.backend import Block, Options, Trainer
from rlsbench.configuration import Experiment
from rlsbench.errors import ResultError
from rlsbench.precision import PRECISIONS, STORAGES
from rlsbench.problem import InitialTrial
from rlsbench.results.directory import atomic_write
from rlsbench.results.document import check_json_memory, configuration_hash
from rlsbench.results.machine import version_record
from rlsbench.training import Iteration, Training

FORMAT_VERSION = 1
BLOCK_BYTES = 1 << 24  # of P in a block, the unit of copying, checking and writing
THREADS = 2  # that read or write blocks and compute checksums
LARGEST_MANIFEST = 1 << 26  # bytes; the limit holds for the table of checksums, too
SIGNATURE = b"\x89HDF\r\n\x1a\n"
UNSUPPORTED = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}  # fallocate on some file systems

_INITIAL: Final = ("initial_rates_hz", "initial_mean_current", "initial_std_current")
_NAMES: Final = ("w", "P", "P_unit", *_INITIAL, "first_learned", "target_offset")

_Kinds = dict[str, tuple[str, tuple[int, ...]]]


class _Array(BaseModel):
    """One array: its type (a key of `PRECISIONS`), its shape, and the rows of a block."""

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
        return prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def blocks(self) -> int:
        return -(-self.shape[0] // self.rows)


class _Manifest(BaseModel):
    """The description of a checkpoint that is stored in it."""

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
    arrays: Annotated[list[_Array], Field(max_length=len(_NAMES))]

    @field_validator("configuration", mode="before")
    @classmethod
    def _earlier(cls, configuration: Any) -> Any:
        """Version 0.2 and before did not subtract the external current from targets."""
        if isinstance(configuration, dict) and isinstance(configuration.get("targets"), dict):
            configuration["targets"].setdefault("subtract_external", False)
        return configuration


class Checkpoint:
    """A checkpoint file whose structure has been verified; returned by `read_checkpoint`.

    Attributes
    ----------
    path : Path
    iteration : int
        The iteration after which it was saved.
    iterations : list of Iteration
        The learning curve up to there.
    experiment : Experiment
    backend : str
    options : Options
        The resolved options of the run.
    versions : dict
        Of the software that wrote it.
    resumptions : list of str
        Where the run was resumed before.
    resumable : bool
        Whether it contains P, without which training cannot continue.
    """

    def __init__(self, path: Path, manifest: _Manifest, offsets: dict[str, int], checksums: NDArray[np.uint32]) -> None:
        self.path = path
        self.iteration = manifest.iteration
        self.iterations = manifest.iterations
        self.experiment = manifest.configuration
        self.backend = manifest.backend
        self.options = manifest.options
        self.versions = manifest.versions
        self.resumptions = manifest.resumptions
        self.recording_digest = manifest.recording_digest
        self._arrays = {array.name: array for array in manifest.arrays}
        self._offsets = offsets
        self._checksums = checksums
        self._first_checksum = _first_checksums(manifest.arrays)
        self.resumable = "P" in self._arrays

    def initial(self) -> InitialTrial:
        """Return the measurements of the initial trial."""
        return InitialTrial(*map(self.array, _INITIAL))

    def first_learned(self) -> NDArray[np.float64] | None:
        """Return the learned currents of the first iteration that a figure shows, if measured."""
        return self.array("first_learned") if "first_learned" in self._arrays else None

    def target_offset(self) -> NDArray[np.float64] | None:
        """Return the offset of the targets, (N,), if their mean is free."""
        return self.array("target_offset") if "target_offset" in self._arrays else None

    def weights(self) -> NDArray[np.floating[Any]]:
        """Return the plastic weights, (N, n)."""
        return self.array("w")

    def load(self, trainer: Trainer) -> None:
        """Load weights and P into a trainer.

        Raises
        ------
        ResultError
            If the file is damaged or contains no P. The trainer is then in an undefined state.
        """
        if not self.resumable:
            raise ResultError(f"{self.path} contains only weights, so training cannot be resumed from it")
        trainer.load_blocks(self._blocks())

    def verify(self) -> None:
        """Read the whole file and compare it with its checksums.

        Raises
        ------
        ResultError
        """
        for name, array in self._arrays.items():
            for index in range(array.blocks):
                self._block(name, index)

    def array(self, name: str) -> NDArray[Any]:
        """Return one array of the file.

        Raises
        ------
        ResultError
            If it is damaged, or larger than the available memory.
        """
        array = self._arrays[name]
        values = self._allocated(array, array.shape[0])
        for index, first in enumerate(range(0, len(values), array.rows)):
            self._block(name, index, values[first : first + array.rows])
        return values

    def _blocks(self) -> Iterator[tuple[int, Block]]:
        """All blocks in order; threads prefetch and verify the next ones."""
        P = self._arrays["P"]

        def read(index: int) -> Block:
            values = self._block("P", index)
            unit = self._block("P_unit", index) if "P_unit" in self._arrays else np.ones(len(values), np.float32)
            return Block(self._block("w", index), values, unit, P.type)

        with ThreadPoolExecutor(THREADS) as pool:
            pending: deque[Future[Block]] = deque()
            for index in range(P.blocks + THREADS):
                if index < P.blocks:
                    pending.append(pool.submit(read, index))
                if index >= THREADS:
                    yield (index - THREADS) * P.rows, pending.popleft().result()

    def _allocated(self, array: _Array, rows: int) -> NDArray[Any]:
        """An array for some rows. The size of a sparse file says nothing about what it contains."""
        size = rows * array.row_bytes
        if size > 2 * BLOCK_BYTES and size > available_bytes():
            raise ResultError(f"{self.path}: {size:,} bytes of {array.name} exceed the available memory")
        return np.empty((rows, *array.shape[1:]), array.dtype)

    def _block(self, name: str, index: int, into: NDArray[Any] | None = None) -> NDArray[Any]:
        """One block, verified."""
        array = self._arrays[name]
        first = index * array.rows
        if into is None:
            into = self._allocated(array, min(array.rows, array.shape[0] - first))
        try:
            complete = _read_into(self.path, self._offsets[name] + first * array.row_bytes, into)
        except OSError as error:
            raise ResultError(f"cannot read {self.path}: {error.strerror}") from None
        if not complete or zlib.crc32(_bytes(into)) != self._checksums[self._first_checksum[name] + index]:
            raise _damaged(self.path, f"the checksum of {name}, block {index + 1} of {array.blocks}, does not match")
        return into


def _first_checksums(arrays: list[_Array]) -> dict[str, int]:
    """Position of the checksum of each array's first block; the first of all is the manifest's."""
    counts = accumulate((array.blocks for array in arrays), initial=1)
    return {array.name: position for array, position in zip(arrays, counts, strict=False)}


def _bytes(values: NDArray[Any]) -> memoryview:
    """The bytes of a contiguous array."""
    return values.reshape(-1).view(np.uint8).data


def _read_into(path: Path, offset: int, into: NDArray[Any]) -> bool:
    """Fill an array from an offset in a file; False at a premature end of the file."""
    with path.open("rb") as file:
        file.seek(offset)
        return file.readinto(_bytes(into)) == into.nbytes


# Writing


def save_checkpoint(path: str | Path, training: Training, *, weights_only: bool = False) -> Path:
    """Save the state of a training between two iterations.

    Parameters
    ----------
    path : path
        An existing file is replaced once the new one is on disk.
    training : Training
    weights_only : bool
        Leave P out: the result can be evaluated, but training cannot continue from it.

    Returns
    -------
    Path

    Raises
    ------
    OutputError
        If the disk is full or the file cannot be written; an existing file is left untouched.

    Notes
    -----
    Needs the memory of a few blocks of 16 MiB, and does not alter the results of the training.
    """
    with atomic_write(Path(path), sync=True) as temporary:
        _write(temporary, training, weights_only)
    return Path(path)


def _write(path: Path, training: Training, weights_only: bool) -> None:
    N, options = training.problem.neurons, training.options
    entries = STORAGES[options.storage].entries(training.problem.n)
    rows = max(1, min(N, BLOCK_BYTES // (entries * PRECISIONS[options.p_precision].bytes)))
    blocks = _weight_blocks(training, rows) if weights_only else training.trainer.blocks(rows)
    first = next(blocks)
    small = {name: getattr(training.initial, name.removeprefix("initial_")) for name in _INITIAL}
    if training.first_learned is not None and training.first_learned.size:
        small["first_learned"] = training.first_learned
    if training.target_mean is not None and training.target_mean.adapts:
        small["target_offset"] = training.target_mean.offset
    arrays = [_Array(name="w", type=first.w.dtype.name, shape=(N, *first.w.shape[1:]), rows=rows)]
    if not weights_only:
        arrays.append(_Array(name="P", type=first.p_precision, shape=(N, *first.P.shape[1:]), rows=rows))
        if first.p_precision == "int16":
            arrays.append(_Array(name="P_unit", type=first.unit.dtype.name, shape=(N,), rows=rows))
    arrays += [_Array(name=name, type="float64", shape=a.shape, rows=len(a)) for name, a in small.items()]
    by_name = {array.name: array for array in arrays}
    positions = _first_checksums(arrays)
    manifest = np.frombuffer(_manifest(training, arrays).model_dump_json().encode(), np.uint8)
    checksums = np.zeros(2 + sum(array.blocks for array in arrays), "<u4")
    offsets, size = _create_datasets(path, len(manifest), len(checksums), arrays)

    with path.open("r+b", buffering=0) as file, ThreadPoolExecutor(THREADS) as pool:
        descriptor = file.fileno()
        _reserve(descriptor, size)
        checksums[0] = _write_at(descriptor, offsets["manifest"], manifest)

        def put(name: str, index: int, values: NDArray[Any]) -> None:
            array = by_name[name]
            offset = offsets[name] + index * array.rows * array.row_bytes
            contiguous = np.ascontiguousarray(values, array.dtype)
            checksums[positions[name] + index] = _write_at(descriptor, offset, contiguous)

        def put_block(index: int, block: Block) -> None:
            for name, values in (("w", block.w), ("P", block.P), ("P_unit", block.unit)):
                if name in by_name:
                    put(name, index, values)

        pending: deque[Future[None]] = deque()
        for index, block in enumerate(chain([first], blocks)):
            if len(pending) > THREADS:
                pending.popleft().result()
            pending.append(pool.submit(put_block, index, block))
        for future in pending:
            future.result()
        for name, values in small.items():
            put(name, 0, values)
        checksums[-1] = zlib.crc32(_bytes(checksums[:-1]))
        _write_at(descriptor, offsets["checksums"], checksums)
        os.fsync(descriptor)


def _weight_blocks(training: Training, rows: int) -> Iterator[Block]:
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


def _create_datasets(path: Path, manifest: int, checksums: int, arrays: list[_Array]) -> tuple[dict[str, int], int]:
    """Create the file with all its datasets; the offset of each, and the size of the file.

    Space is reserved before HDF5 opens the file, because HDF5 does not handle a full disk well.
    """
    import h5py  # slow import

    datasets: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {
        "manifest": (np.dtype("u1"), (manifest,)),
        "checksums": (np.dtype("<u4"), (checksums,)),
    }
    datasets |= {array.name: (array.dtype, array.shape) for array in arrays}
    with path.open("xb", buffering=0) as empty:
        total = sum(dtype.itemsize * prod(shape) for dtype, shape in datasets.values())
        _reserve(empty.fileno(), total + (1 << 18))
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    offsets = {}
    with h5py.File(
        path, "w", libver="latest", locking=False, alignment_threshold=1 << 16, alignment_interval=1 << 12
    ) as file:
        file.attrs.create("format", np.bytes_("rlsbench checkpoint"))
        file.attrs.create("version", FORMAT_VERSION, dtype=np.int64)
        for name, (dtype, shape) in datasets.items():
            space = h5py.h5s.create_simple(shape)
            dataset = h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(dtype), space, dcpl=properties)
            offsets[name] = int(dataset.get_offset())
    return offsets, path.stat().st_size


def _reserve(descriptor: int, size: int) -> None:
    """Reserve disk space, so that a full disk is detected before anything is written."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except AttributeError:  # not on this system
        return
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def _write_at(descriptor: int, offset: int, values: NDArray[Any]) -> int:
    """Write an array at an offset; its checksum."""
    view = _bytes(values)
    done = 0
    while done < len(view):
        done += os.pwrite(descriptor, view[done:], offset + done)
    return zlib.crc32(view)


# Reading


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Open a checkpoint. Structure and manifest are verified now, the arrays when they are read.

    Raises
    ------
    ResultError
        If it is missing, damaged, of a later format or not a checkpoint.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if not path.is_file():  # reading a pipe would block
            raise _invalid(path, "not a regular file")
        signature = np.empty(len(SIGNATURE), np.uint8)
        if not _read_into(path, 0, signature) or signature.tobytes() != SIGNATURE:
            raise _invalid(path, "not an HDF5 file")
        offsets, kinds = _datasets(path, size)
        return _verified(path, offsets, kinds)
    except OSError as error:
        raise ResultError(f"cannot read {path}: {error.strerror or _one_line(error)}") from None


def _datasets(path: Path, size: int) -> tuple[dict[str, int], _Kinds]:
    """Offset, type and shape of each dataset: all contiguous, and inside this file."""
    import h5py  # slow import

    offsets: dict[str, int] = {}
    kinds: _Kinds = {}
    try:
        with h5py.File(path, "r", locking=False) as file:
            version = file.attrs.get("version")
            if file.attrs.get("format") != b"rlsbench checkpoint" or not isinstance(version, np.integer):
                raise _invalid(path, "no format and version of rlsbench")
            if version != FORMAT_VERSION:
                raise ResultError(f"{path} has format version {int(version)}; this release reads {FORMAT_VERSION}")
            if len(file) > len(_NAMES) + 2:
                raise _invalid(path, f"{len(file)} datasets")
            for name in file:
                if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                    raise _invalid(path, f"{name[:40]!r} is a link")
                dataset = file[name]
                offset = dataset.id.get_offset() if isinstance(dataset, h5py.Dataset) else None
                if offset is None or dataset.chunks is not None or dataset.is_virtual or dataset.external:
                    raise _invalid(path, f"{name[:40]!r} is not a contiguous dataset")
                if dataset.dtype.hasobject or offset < 0 or offset + dataset.size * dataset.dtype.itemsize > size:
                    raise _damaged(path, f"{name[:40]!r} extends beyond the end of the file")
                offsets[name] = int(offset)
                kinds[name] = (dataset.dtype.str, tuple(map(int, dataset.shape)))
    except ResultError:
        raise
    except Exception as error:  # HDF5 and h5py raise many kinds of errors for broken files
        raise _invalid(path, _one_line(error)) from None
    return offsets, kinds


def _verified(path: Path, offsets: dict[str, int], kinds: _Kinds) -> Checkpoint:
    """Read and verify checksums and manifest, and compare the manifest with the datasets."""
    text = _header(path, "manifest", "|u1", offsets, kinds)
    checksums = _header(path, "checksums", "<u4", offsets, kinds)
    if len(checksums) < 2 or zlib.crc32(_bytes(checksums[:-1])) != checksums[-1]:
        raise _damaged(path, "the checksum of checksums does not match")
    if zlib.crc32(_bytes(text)) != checksums[0]:
        raise _damaged(path, "the checksum of manifest does not match")
    manifest = _parsed(path, text.tobytes())
    expected = {array.name: (array.dtype.str, array.shape) for array in manifest.arrays}
    expected |= {name: kinds[name] for name in ("manifest", "checksums")}
    if len(expected) != len(manifest.arrays) + 2 or expected != kinds:
        raise _damaged(path, "its datasets are not the arrays in its manifest")
    if len(checksums) != 2 + sum(array.blocks for array in manifest.arrays):
        raise _damaged(path, f"{len(checksums)} checksums do not match the number of blocks")
    _check_arrays(path, manifest)
    return Checkpoint(path, manifest, offsets, checksums)


def _header(path: Path, name: str, dtype: str, offsets: dict[str, int], kinds: _Kinds) -> NDArray[Any]:
    """The manifest or the table of checksums."""
    kind, shape = kinds.get(name, ("", ()))
    if kind != dtype or len(shape) != 1:
        raise _invalid(path, f"no {name}")
    values_bytes = shape[0] * np.dtype(dtype).itemsize
    if values_bytes > LARGEST_MANIFEST:
        raise _invalid(path, f"{values_bytes:,} bytes of {name}")
    values = np.empty(shape, dtype)
    if not _read_into(path, offsets[name], values):
        raise _damaged(path, f"{name} is truncated")
    return values


def _parsed(path: Path, text: bytes) -> _Manifest:
    try:
        check_json_memory(len(text))
        manifest = _Manifest.model_validate(json.loads(text, parse_constant=_refuse))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise _invalid(path, f"manifest: {'.'.join(map(str, first['loc']))}: {first['msg']}"[:300]) from None
    except (ValueError, RecursionError, ResultError) as error:
        raise _invalid(path, f"manifest: {_one_line(error)}") from None
    if [i.iteration for i in manifest.iterations] != list(range(1, manifest.iteration + 1)):
        raise _invalid(path, f"the learning curve does not have {manifest.iteration} iterations")
    if manifest.seed != manifest.configuration.training.seed:
        raise _invalid(path, "seed and configuration do not match")
    if manifest.configuration_hash != configuration_hash(manifest.configuration):
        raise _invalid(path, "configuration_hash and configuration do not match")
    return manifest


def _check_arrays(path: Path, manifest: _Manifest) -> None:
    """Check that every array has the type and shape that follow from the configuration."""
    arrays = {array.name: array for array in manifest.arrays}
    N, n = manifest.configuration.network.neurons, manifest.configuration.plastic_inputs
    real = {"float64", "float32"}
    allowed: dict[str, tuple[set[str], set[tuple[int, ...]]]] = {
        "w": (real, {(N, n)}),
        "P": (set(PRECISIONS), {(N, n, n), (N, STORAGES["packed"].entries(n))}),
        "P_unit": (real, {(N,)}),
        **dict.fromkeys((*_INITIAL, "target_offset"), ({"float64"}, {(N,)})),
    }
    for name, array in arrays.items():
        types, shapes = allowed.get(name, ({"float64"}, {array.shape} if len(array.shape) == 2 else set()))
        if array.type not in types or array.shape not in shapes:
            raise _invalid(path, f"{name} is {array.type} {array.shape}, for {N} neurons with {n} inputs")
    if missing := {"w", *_INITIAL} - arrays.keys():
        raise _invalid(path, f"no {min(missing)}")
    rows = {arrays[name].rows for name in ("w", "P", "P_unit") if name in arrays}
    scaled = "P" in arrays and arrays["P"].type == "int16"
    if len(rows) != 1 or scaled != ("P_unit" in arrays):
        raise _invalid(path, "the blocks of w, P and P_unit do not match")


def _invalid(path: Path, reason: str) -> ResultError:
    return ResultError(f"not a valid checkpoint: {path}: {reason}")


def _damaged(path: Path, reason: str) -> ResultError:
    return ResultError(f"{path} is damaged: {reason}")


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a number of JSON")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
