"""One file of a checkpoint: arrays in blocks, each with a checksum, and a manifest.

In: a `Manifest` and its arrays, or a path.  Out: a file, or a `CheckpointFile`, which is untrusted
input: nothing is unpickled, every size is compared with the size of the file before memory is
allocated, and every number that is used has been verified against its checksum.

Layout: contiguous datasets in HDF5's latest format, whose own metadata carry checksums.

    manifest       (M,) uint8       JSON: learning curve, configuration, options, versions
    checksums      (S,) uint32      CRC-32 of the manifest, of each block of each array, of the CRCs
    w              (N, n)
    P              (N, n, n) or (N, n (n + 1)/2), the matrix of RLS, as stored (bfloat16 as bits);
                                    not if weights only. Where numbers of inputs vary, flat: one
                                    neuron after another, in blocks that do not begin with neurons
    inputs         (N,) int64       plastic inputs of each neuron, where they vary; n is the most
    P_unit         (N,)             value of a stored 1 of P; int16 only
    rule.NAME      (N, ...)         other arrays that the rule keeps; not if weights only
    initial_rates_hz, initial_mean_current, initial_std_current    (N,) of the initial trial
    first_learned  (bins, neurons)  learned currents of the first iteration that the figure shows
    target_offset  (N,)             offset of the targets, if their mean is free
    targets        (tasks, bins, N) currents that `prepare` was given, if they are not too large
    recording      (M,) uint8       NPZ file of the recording that `prepare` was given, likewise
    external_current  (N,)          external current, if it is adapted

HDF5 creates the datasets and all disk space is reserved; then two threads write blocks of neurons
at their offsets and compute the checksums. The file keeps a temporary name until it is on disk.

Why not HDF5's chunks with its Fletcher-32 filter: that checksum misses a chunk that reads back as
zeros and a word that changes from 0x0000 to 0xFFFF (0 becomes NaN), and h5py copies and checks
chunks in one thread, under a global lock (`benchmarks/checkpoint.py --chunked` measures it).
"""

from __future__ import annotations

import errno
import os
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import accumulate, chain
from math import prod
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from rlsbench.available import available_bytes
from rlsbench.backend import Block, Kept, Options
from rlsbench.clock import Clock
from rlsbench.configuration import Experiment
from rlsbench.errors import ConfigurationError, ResultError
from rlsbench.precision import PRECISIONS, STORAGES
from rlsbench.results.document import configuration_hash, first_error, parsed_json
from rlsbench.rules import Rule, StateArray, make_rule
from rlsbench.training import Iteration

FORMAT_VERSION = 1
BLOCK_BYTES = 1 << 24  # of the largest array in a block, the unit of copying, checking and writing
THREADS = 2  # that read or write blocks and compute checksums
LARGEST_MANIFEST = 1 << 26  # bytes; the limit holds for the table of checksums, too
SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Name of a shard: that of the checkpoint, a token, and the rank.
SHARD: Final = re.compile(r"([^/\\\x00]+)\.[0-9a-f]{8}\.\d{1,6}")
UNSUPPORTED = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}  # fallocate on some file systems

INITIAL: Final = ("initial_rates_hz", "initial_mean_current", "initial_std_current")
_HEADERS: Final = ("manifest", "checksums")
_ADAPTED: Final = ("target_offset", "external_current")
WHOLE: Final = (*INITIAL, *_ADAPTED, "first_learned", "targets", "recording")  # in no shard
_NAMES: Final = ("w", "P", "P_unit", "inputs", *WHOLE)
_ARRAYS: Final = len(_NAMES) + len(_HEADERS) + 8  # in a file, at most; eight of a rule


class _Dataset(NamedTuple):
    """What HDF5 says about a dataset: its offset in the file, its type and its shape."""

    offset: int
    type: str
    shape: tuple[int, ...]


class Array(BaseModel):
    """One array: its type (a key of `PRECISIONS`), its shape, and the rows of a block."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=rf"^({'|'.join(_NAMES)}|rule\.[a-zA-Z_]\w{{0,63}})$")]
    type: Annotated[str, Field(pattern=f"^({'|'.join(PRECISIONS)}|u?int(8|16|32|64)|bool)$")]
    shape: Annotated[tuple[Annotated[int, Field(ge=0, le=2**40)], ...], Field(min_length=1, max_length=6)]
    rows: Annotated[int, Field(ge=1, le=2**40)]

    @property
    def dtype(self) -> np.dtype[Any]:
        """As stored."""
        return PRECISIONS[self.type].stored if self.type in PRECISIONS else np.dtype(self.type)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.shape[0] // self.rows)


class Shard(BaseModel):
    """The file of one rank."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Annotated[str, Field(pattern=f"^{SHARD.pattern}$", max_length=255)]
    neurons: tuple[int, int]  # the first, and the one after the last
    checksum: int  # the last one in the file


class Manifest(BaseModel):
    """The description of a checkpoint that is stored in it, and in each of its shards."""

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
    arrays: Annotated[list[Array], Field(max_length=_ARRAYS)]
    neurons: tuple[int, int] | None = None  # those of a shard
    shards: list[Shard] = []

    @field_validator("configuration", mode="before")
    @classmethod
    def _earlier(cls, configuration: Any) -> Any:
        """Version 0.2 and before did not subtract the external current from targets."""
        if isinstance(configuration, dict) and isinstance(configuration.get("targets"), dict):
            configuration["targets"].setdefault("subtract_external", False)
        return configuration


class CheckpointFile:
    """One file, whose structure has been verified."""

    def __init__(
        self, path: Path, manifest: Manifest, datasets: dict[str, _Dataset], checksums: NDArray[np.uint32]
    ) -> None:
        self.path, self.manifest, self.checksums = path, manifest, checksums
        self.arrays = {array.name: array for array in manifest.arrays}
        self.kept = _declared(path, manifest)
        self._datasets, self._first_checksum = datasets, _first_checksums(manifest.arrays)

    def all_blocks(self) -> list[tuple[str, int]]:
        """The array and the number of each block."""
        return [(name, index) for name, array in self.arrays.items() for index in range(array.blocks)]

    def read(self, name: str, into: NDArray[Any]) -> None:
        """Fill an array of the size of one in the file."""
        rows = self.arrays[name].rows
        for index, first in enumerate(range(0, len(into), rows)):
            self.block(name, index, into[first : first + rows])

    def some_rows(self, name: str, first: int, last: int) -> NDArray[Any]:
        """The rows first .. last-1 of an array."""
        size = self.arrays[name].rows
        start = first // size
        blocks = [self.block(name, index) for index in range(start, -(-last // size))]
        return np.concatenate(blocks)[first - start * size : last - start * size]

    def inputs(self) -> NDArray[np.int64] | None:
        """Plastic inputs of the neurons of the file, if they vary."""
        if "inputs" not in self.arrays:
            return None
        inputs: NDArray[np.int64] = self.allocated("inputs", self.arrays["inputs"].shape[0])
        self.read("inputs", inputs)
        if inputs.min(initial=0) < 0 or inputs.max(initial=0) > self.arrays["w"].shape[1]:
            raise invalid(self.path, "the numbers of inputs are not those of w")
        return inputs

    def even_blocks(self, first: int, last: int) -> Iterator[tuple[int, Block]]:
        """Blocks with the neurons first .. last-1 of the file, each with the number of its first.

        Threads prefetch and verify the next ones.
        """
        w = self.arrays["w"]
        numbers = range(first // w.rows, -(-last // w.rows))

        def read(index: int) -> Block:
            kept = {}
            for name, declared in self.kept.items():
                unit = self.block(f"{name}_unit", index) if f"{name}_unit" in self.arrays else None
                precision = self.arrays[name].type if declared.dtype is None else None
                kept[declared.name] = Kept(self.block(name, index), precision, unit)
            return Block(self.block("w", index), kept)

        with ThreadPoolExecutor(THREADS) as pool:
            for index, block in zip(numbers, _ahead(pool, read, numbers), strict=True):
                yield index * w.rows, block

    def uneven_blocks(self, inputs: NDArray[np.int64], first: int, last: int) -> Iterator[tuple[int, Block]]:
        """As `even_blocks`, with matrices of these sizes (neurons,) cut out of flat numbers."""
        w, P = self.arrays["w"], self.arrays["P"]
        precision, scaled = P.type, "P_unit" in self.arrays
        layouts = (np.cumsum([0, *map(storage.entries, inputs.tolist())]) for storage in STORAGES.values())
        start = next((start for start in layouts if start[-1] == P.shape[0]), None)
        if start is None:
            raise invalid(self.path, "P is not of the numbers of inputs")
        begin, end = first // w.rows * w.rows, min(-(-last // w.rows) * w.rows, len(inputs))
        skipped, within = divmod(int(start[begin]), P.rows)
        with ThreadPoolExecutor(THREADS) as pool:
            numbers = _ahead(pool, partial(self.block, "P"), range(skipped, -(-int(start[end]) // P.rows)))
            rest = np.empty(0, P.dtype)
            for row in range(begin, end, w.rows):
                sizes = inputs[row : row + w.rows]
                length = start[row + len(sizes)] - start[row]
                while len(rest) < within + length:
                    rest = np.concatenate([rest, next(numbers)])
                unit = self.block("P_unit", row // w.rows) if scaled else None
                flat = Kept(rest[within : within + length], precision, unit, sizes)
                yield row, Block(self.block("w", row // w.rows), {"P": flat})
                rest, within = rest[within + length :], 0

    def allocated(self, name: str, rows: int) -> NDArray[Any]:
        """An array for some rows. The size of a sparse file says nothing about what it contains."""
        array = self.arrays[name]
        size = rows * array.row_bytes
        if size > 2 * BLOCK_BYTES and size > available_bytes():
            raise ResultError(f"{self.path}: {size:,} bytes of {name} exceed the available memory")
        return np.empty((rows, *array.shape[1:]), array.dtype)

    def block(self, name: str, index: int, into: NDArray[Any] | None = None) -> NDArray[Any]:
        """One block, verified."""
        array = self.arrays[name]
        first = index * array.rows
        if into is None:
            into = self.allocated(name, min(array.rows, array.shape[0] - first))
        try:
            complete = _read_into(self.path, self._datasets[name].offset + first * array.row_bytes, into)
        except OSError as error:
            raise ResultError(f"cannot read {self.path}: {error.strerror}") from None
        if not complete or zlib.crc32(_bytes(into)) != self.checksums[self._first_checksum[name] + index]:
            raise _damaged(self.path, f"the checksum of {name}, block {index + 1} of {array.blocks}, does not match")
        return into


def open_file(path: Path) -> CheckpointFile:
    """Open a file of a checkpoint, and verify its structure and manifest."""
    try:
        size = path.stat().st_size
        if not path.is_file():  # reading a pipe would block
            raise invalid(path, "not a regular file")
        signature = np.empty(len(SIGNATURE), np.uint8)
        if not _read_into(path, 0, signature) or signature.tobytes() != SIGNATURE:
            raise invalid(path, "not an HDF5 file")
        datasets = _datasets(path, size)
        text = _header(path, "manifest", "|u1", datasets)
        checksums = _header(path, "checksums", "<u4", datasets)
    except OSError as error:
        raise ResultError(f"cannot read {path}: {error.strerror or _one_line(error)}") from None
    if len(checksums) < 2 or zlib.crc32(_bytes(checksums[:-1])) != checksums[-1]:
        raise _damaged(path, "the checksum of checksums does not match")
    if zlib.crc32(_bytes(text)) != checksums[0]:
        raise _damaged(path, "the checksum of manifest does not match")
    manifest = _parsed(path, text.tobytes())
    expected = [(array.name, array.dtype.str, array.shape) for array in manifest.arrays]
    if sorted(expected) != sorted((n, d.type, d.shape) for n, d in datasets.items() if n not in _HEADERS):
        raise _damaged(path, "its datasets are not the arrays in its manifest")
    if len(checksums) != 2 + sum(array.blocks for array in manifest.arrays):
        raise _damaged(path, f"{len(checksums)} checksums do not match the number of blocks")
    _check_arrays(path, manifest)
    return CheckpointFile(path, manifest, datasets, checksums)


def _datasets(path: Path, size: int) -> dict[str, _Dataset]:
    """The datasets of a file: all contiguous, and inside this file."""
    import h5py  # slow import

    found: dict[str, _Dataset] = {}
    try:
        with h5py.File(path, "r", locking=False) as file:
            version = file.attrs.get("version")
            if file.attrs.get("format") != b"rlsbench checkpoint" or not isinstance(version, np.integer):
                raise invalid(path, "no format and version of rlsbench")
            if version != FORMAT_VERSION:
                raise ResultError(f"{path} has format version {int(version)}; this release reads {FORMAT_VERSION}")
            if len(file) > _ARRAYS:
                raise invalid(path, f"{len(file)} datasets")
            for name in file:
                if not isinstance(file.get(name, getlink=True), h5py.HardLink):
                    raise invalid(path, f"{name[:40]!r} is a link")
                dataset = file[name]
                offset = dataset.id.get_offset() if isinstance(dataset, h5py.Dataset) else None
                if isinstance(dataset, h5py.Dataset) and not dataset.size:
                    offset = 0  # without plastic inputs, w is empty
                if offset is None or dataset.chunks is not None or dataset.is_virtual or dataset.external:
                    raise invalid(path, f"{name[:40]!r} is not a contiguous dataset")
                if dataset.dtype.hasobject or offset < 0 or offset + dataset.size * dataset.dtype.itemsize > size:
                    raise _damaged(path, f"{name[:40]!r} extends beyond the end of the file")
                found[name] = _Dataset(int(offset), dataset.dtype.str, tuple(map(int, dataset.shape)))
    except ResultError:
        raise
    except Exception as error:  # HDF5 and h5py raise many kinds of errors for broken files
        raise invalid(path, _one_line(error)) from None
    return found


def _header(path: Path, name: str, dtype: str, datasets: dict[str, _Dataset]) -> NDArray[Any]:
    """The manifest or the table of checksums."""
    offset, kind, shape = datasets.get(name, _Dataset(0, "", ()))
    if kind != dtype or len(shape) != 1:
        raise invalid(path, f"no {name}")
    size = shape[0] * np.dtype(dtype).itemsize
    if size > LARGEST_MANIFEST:
        raise invalid(path, f"{size:,} bytes of {name}")
    values = np.empty(shape, dtype)
    if not _read_into(path, offset, values):
        raise _damaged(path, f"{name} is truncated")
    return values


def _parsed(path: Path, text: bytes) -> Manifest:
    try:
        manifest = Manifest.model_validate(parsed_json(text.decode("utf-8")))
    except ValidationError as error:
        raise invalid(path, f"manifest: {first_error(error)}"[:300]) from None
    except (ValueError, ResultError) as error:
        raise invalid(path, f"manifest: {_one_line(error)}") from None
    if [i.iteration for i in manifest.iterations] != list(range(1, manifest.iteration + 1)):
        raise invalid(path, f"the learning curve does not have {manifest.iteration} iterations")
    if manifest.seed != manifest.configuration.training.seed:
        raise invalid(path, "seed and configuration do not match")
    if manifest.configuration_hash != configuration_hash(manifest.configuration):
        raise invalid(path, "configuration_hash and configuration do not match")
    N, neurons = manifest.configuration.network.neurons, [shard.neurons for shard in manifest.shards]
    if neurons and [first for first, _ in neurons] + [N] != [0] + [last for _, last in neurons]:
        raise invalid(path, f"its shards do not have the {N} neurons of the network, one after another")
    if any(not 0 <= first < last <= N for first, last in filter(None, [manifest.neurons, *neurons])):
        raise invalid(path, f"a shard has neurons that a network of {N} lacks")
    if neurons and manifest.neurons is not None:
        raise invalid(path, "a shard that consists of shards")
    return manifest


def _check_arrays(path: Path, manifest: Manifest) -> None:
    """Check that every array has the type and shape that follow from the configuration."""
    arrays = {array.name: array for array in manifest.arrays}
    e = manifest.configuration
    N, n = e.network.neurons, _inputs(manifest)
    first, last = manifest.neurons or (0, N)
    real, own = {"float64", "float32"}, last - first
    allowed: dict[str, tuple[set[str], set[tuple[int, ...]]]] = {}
    kept = _declared(path, manifest)
    if manifest.neurons is None:
        allowed |= {
            **dict.fromkeys((*INITIAL, *_ADAPTED), ({"float64"}, {(N,)})),
            "first_learned": ({"float64"}, {array.shape for array in manifest.arrays if len(array.shape) == 2}),
            "targets": ({"float64"}, {(e.targets.tasks, Clock.from_experiment(e).bins, N)}),
            "recording": ({"uint8"}, {array.shape for array in manifest.arrays if len(array.shape) == 1}),
        }
    if not manifest.shards:
        allowed |= {"w": (real, {(own, n)}), "P_unit": (real, {(own,)}), "inputs": ({"int64"}, {(own,)})}
        for name, declared in kept.items():
            allowed[name] = {np.dtype(declared.dtype).name}, {(own, *declared.shape)}
            if declared.dtype is None:
                even: set[tuple[int, ...]] = {(own, *storage.shape(n)) for storage in STORAGES.values()}
                flat: set[tuple[int, ...]] = {array.shape for array in manifest.arrays if len(array.shape) == 1}
                allowed[name] = set(PRECISIONS), flat if "inputs" in arrays else even
    for name, array in arrays.items():
        if name not in allowed:
            raise invalid(path, f"{name} is not kept by rule {manifest.configuration.learning.rule}")
        types, shapes = allowed[name]
        if array.type not in types or array.shape not in shapes:
            raise invalid(path, f"{name} is {array.type} {array.shape}, for {own} neurons with {n} inputs")
    adapted = {"external_current"} if e.learning.external != "fixed" else set()
    needed = {*INITIAL, *adapted} if manifest.neurons is None else set()
    if missing := needed - arrays.keys() | ({"w"} if not manifest.shards else set()) - arrays.keys():
        raise invalid(path, f"no {min(missing)}")
    if manifest.shards:
        return
    in_rows = ("w", "P_unit", *(() if "inputs" in arrays else kept))
    rows = {arrays[name].rows for name in arrays if name in in_rows}
    scaled = "P" in arrays and arrays["P"].type == "int16"
    if len(rows) != 1 or scaled != ("P_unit" in arrays):
        raise invalid(path, "the blocks of w, P_unit and what the rule keeps do not match")


def _declared(path: Path, manifest: Manifest) -> dict[str, StateArray]:
    """What the learning rule keeps, by the name of the dataset."""
    e = manifest.configuration
    try:
        return kept_arrays(make_rule(e), _inputs(manifest), e, manifest.options)
    except ConfigurationError as error:
        raise ResultError(f"{path}: {error}") from None


def _inputs(manifest: Manifest) -> int:
    """n; where it varies, w has as many columns as the most."""
    shapes = {array.name: array.shape for array in manifest.arrays}
    return shapes["w"][-1] if "inputs" in shapes and "w" in shapes else manifest.configuration.plastic_inputs


def kept_arrays(rule: Rule, n: int, e: Experiment, options: Options) -> dict[str, StateArray]:
    """What a rule keeps, by the name of the dataset; no arrays that are empty without inputs."""
    kept = rule.arrays(n, e.time.learn_every_ms, options.precision)
    return {"P" if array.dtype is None else f"rule.{array.name}": array for array in kept if prod(array.shape)}


def write_file(
    path: Path, manifest: Manifest, whole: dict[str, NDArray[Any]], items: Iterable[tuple[int, dict[str, Kept]]]
) -> int:
    """Write the arrays of a manifest; returns the last checksum, which differs for other contents.

    Parameters
    ----------
    path : path
        Must not exist.
    manifest : Manifest
    whole : dict of str to ndarray
        Arrays that are written at once.
    items : iterable of (int, dict of str to Kept)
        The number of a block, and the block of some other arrays.
    """
    arrays = manifest.arrays
    by_name = {array.name: array for array in arrays}
    positions = _first_checksums(arrays)
    alone = manifest.neurons is None and not manifest.shards
    later = {"neurons", "shards"} if alone else None  # which earlier releases do not know
    text = np.frombuffer(manifest.model_dump_json(exclude=later).encode(), np.uint8)
    checksums = np.zeros(2 + sum(array.blocks for array in arrays), "<u4")
    headers = [(name, a.dtype, a.shape) for name, a in zip(_HEADERS, (text, checksums), strict=True)]
    offsets = _create_datasets(path, headers + [(array.name, array.dtype, array.shape) for array in arrays])

    with path.open("r+b", buffering=0) as file, ThreadPoolExecutor(THREADS) as pool:
        descriptor = file.fileno()
        _reserve(descriptor, path.stat().st_size)
        checksums[0] = _write_at(descriptor, offsets["manifest"], text)

        def put(item: tuple[int, dict[str, Kept]]) -> None:
            index, parts = item
            for name, part in parts.items():
                array = by_name[name]
                offset = offsets[name] + index * array.rows * array.row_bytes
                contiguous = np.ascontiguousarray(part.values, array.dtype)
                checksums[positions[name] + index] = _write_at(descriptor, offset, contiguous)

        at_once = {name: Kept(values) for name, values in whole.items()}
        for _ in _ahead(pool, put, chain([(0, at_once)], items)):
            pass
        checksums[-1] = zlib.crc32(_bytes(checksums[:-1]))
        _write_at(descriptor, offsets["checksums"], checksums)
        os.fsync(descriptor)
    return int(checksums[-1])


def _create_datasets(path: Path, datasets: list[tuple[str, np.dtype[Any], tuple[int, ...]]]) -> dict[str, int]:
    """Create the file with all its datasets; the offset of each."""
    import h5py  # slow import

    with path.open("xb", buffering=0) as empty:  # HDF5 does not handle a full disk well
        total = sum(dtype.itemsize * prod(shape) for _, dtype, shape in datasets)
        _reserve(empty.fileno(), total + (1 << 18))
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    offsets = {}
    alignment = {"alignment_threshold": 1 << 16, "alignment_interval": 1 << 12}
    with h5py.File(path, "w", libver="latest", locking=False, **alignment) as file:
        file.attrs.create("format", np.bytes_("rlsbench checkpoint"))
        file.attrs.create("version", FORMAT_VERSION, dtype=np.int64)
        for name, dtype, shape in datasets:
            space = h5py.h5s.create_simple(shape)
            dataset = h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(dtype), space, dcpl=properties)
            offsets[name] = int(dataset.get_offset() or 0)  # None for an empty one
    return offsets


def _reserve(descriptor: int, size: int) -> None:
    """Reserve disk space, so that a full disk is detected before anything is written."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except (AttributeError, OSError) as error:  # AttributeError: not on this system
        if isinstance(error, OSError) and error.errno not in UNSUPPORTED:
            raise


def _write_at(descriptor: int, offset: int, values: NDArray[Any]) -> int:
    """Write an array at an offset; its checksum."""
    view, done = _bytes(values), 0
    while done < len(view):
        done += os.pwrite(descriptor, view[done:], offset + done)
    return zlib.crc32(view)


def _first_checksums(arrays: list[Array]) -> dict[str, int]:
    """Position of the checksum of each array's first block; that of the manifest is at 0."""
    counts = accumulate((array.blocks for array in arrays), initial=1)
    return {array.name: position for array, position in zip(arrays, counts, strict=False)}


def _ahead(pool: ThreadPoolExecutor, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """The results of a function in order, of which threads compute the next ones already."""
    pending: deque[Future[Any]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) > THREADS:
            yield pending.popleft().result()
    for future in pending:
        yield future.result()


def _bytes(values: NDArray[Any]) -> memoryview:
    """The bytes of a contiguous array."""
    return values.reshape(-1).view(np.uint8).data


def _read_into(path: Path, offset: int, into: NDArray[Any]) -> bool:
    """Fill an array from an offset in a file; False at a premature end of the file."""
    with path.open("rb") as file:
        file.seek(offset)
        return file.readinto(_bytes(into)) == into.nbytes


def invalid(path: Path, reason: str) -> ResultError:
    """The error for a file that is no checkpoint of this format."""
    return ResultError(f"not a valid checkpoint: {path}: {reason}")


def _damaged(path: Path, reason: str) -> ResultError:
    return ResultError(f"{path} is damaged: {reason}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
