"""Checkpoints: everything a training needs to continue bit for bit, in one HDF5 file a rank.

In: a `Training` between two iterations. Out: files, and from these a `Checkpoint`. Knows the
blocks of the backend contract, but no backend. What is in a file, `checkpoint_file` says.

Of several ranks, each writes w, P, inputs, P_unit and rule.NAME of its own neurons, at once with
others, to a file of its own, a shard: NAME.TOKEN.RANK. Once all are on disk, rank 0 writes the rest
as NAME; its manifest has the name, the neurons and the last checksum of each shard. TOKEN differs
each time, so the shards of an earlier NAME are there until the new NAME has replaced it. One
process without ranks writes all to NAME. Any number of ranks can read either: each reads the blocks
that have its own neurons.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import Block, Kept, Options, Trainer
from rlsbench.errors import ResultError
from rlsbench.precision import STORAGES
from rlsbench.problem import InitialTrial
from rlsbench.ranks import ALONE, Communicator
from rlsbench.results.checkpoint_file import (
    BLOCK_BYTES,
    INITIAL,
    SHARD,
    WHOLE,
    Array,
    CheckpointFile,
    Manifest,
    Shard,
    invalid,
    kept_arrays,
    open_file,
    write_file,
)
from rlsbench.results.directory import atomic_write
from rlsbench.results.document import configuration_hash
from rlsbench.results.given import as_arguments, check_targets, given_arrays
from rlsbench.results.machine import version_record
from rlsbench.rules import StateArray
from rlsbench.training import Training


class Checkpoint:
    """A checkpoint whose structure has been verified; returned by `read_checkpoint`.

    Shards but the first are opened, and verified, when they are read.
    """

    def __init__(self, main: CheckpointFile) -> None:
        manifest = main.manifest
        self.path = main.path
        self.iteration = manifest.iteration  #: the iteration after which it was saved
        self.iterations = manifest.iterations  #: the learning curve up to there
        self.experiment = manifest.configuration
        self.recording_digest = manifest.recording_digest
        self.backend = manifest.backend
        self.options = manifest.options  #: the resolved options of the run
        self.versions = manifest.versions  #: of the software that wrote it
        self.resumptions = manifest.resumptions  #: where the run was resumed before
        self.ranks = max(1, len(manifest.shards))  #: that wrote it
        self._main, self._opened = main, dict[int, CheckpointFile]()
        first = self._part(0)
        self.size = (self.experiment.network.neurons, first.arrays["w"].shape[1])  #: N, n
        self.resumable = first.kept.keys() <= first.arrays.keys()  #: whether it has all that training needs to continue

    def initial(self) -> InitialTrial:
        """Return the measurements of the initial trial."""
        return InitialTrial(*map(self.array, INITIAL))

    def first_learned(self) -> NDArray[np.float64] | None:
        """Return the learned currents of the first iteration that a figure shows, if measured."""
        return self.array("first_learned") if "first_learned" in self._main.arrays else None

    def target_offset(self) -> NDArray[np.float64] | None:
        """Return the offset of the targets, (N,), if their mean is free."""
        return self.array("target_offset") if "target_offset" in self._main.arrays else None

    def given(self) -> dict[str, Any]:
        """Return the targets or the recording that `prepare` was given, as arguments for it."""
        names = [name for name in self._main.arrays if name in ("targets", "recording")]
        return as_arguments({name: self.array(name) for name in names}, str(self.path))

    def external_current(self) -> NDArray[np.float64] | None:
        """Return the external current, (N,), if it was adapted."""
        return self.array("external_current") if "external_current" in self._main.arrays else None

    def inputs(self) -> NDArray[np.int64] | None:
        """Return the number of plastic inputs of each neuron, (N,), if it varies."""
        found = [inputs for part in self._parts() if (inputs := part.inputs()) is not None]
        if not found:
            return None
        inputs = np.concatenate(found)
        if inputs.max(initial=0) != self.size[1]:
            raise invalid(self.path, "the numbers of inputs are not those of w")
        return inputs

    def weights(self, own: slice | None = None) -> NDArray[np.floating[Any]]:
        """Return the plastic weights, (N, n); where numbers of inputs vary, rows end in zeros.

        Those of the neurons of one of several ranks, if these are given.
        """
        if own is None:
            return self.array("w")
        return np.concatenate([part.some_rows("w", first, last) for part, _, first, last in self._with(own)])

    def load(self, trainer: Trainer) -> None:
        """Load weights and what the rule keeps; a `ResultError` leaves the trainer undefined.

        A trainer of one of several ranks reads what it needs for its own neurons.
        """
        if not self.resumable:
            raise ResultError(f"{self.path} contains only weights, so training cannot be resumed from it")
        trainer.load_blocks(self._blocks(trainer.own, trainer.problem.plastic.everyones_inputs))

    def verify(self, ranks: Communicator = ALONE) -> None:
        """Read all files; a `ResultError` is raised if a checksum does not match.

        Of several ranks, each reads a part, and all raise the error that one of them finds.
        """
        parts = len(self._main.manifest.shards) + 1 if self._main.manifest.shards else 1
        with ranks.together():
            for number in range(ranks.rank * parts // ranks.size, -(-(ranks.rank + 1) * parts // ranks.size)):
                file = self._part(number - 1) if number else self._main
                blocks = file.all_blocks()
                for index, block in enumerate(blocks):
                    place = (number * len(blocks) + index) * ranks.size // (parts * len(blocks))
                    if place == ranks.rank:  # each block is that of one rank
                        file.block(*block)

    def array(self, name: str) -> NDArray[Any]:
        """Return one array; a `ResultError` if it is damaged or exceeds the available memory."""
        parts = [self._main] if name in WHOLE else list(self._parts())
        lengths = [part.arrays[name].shape[0] for part in parts]
        values, at = parts[0].allocated(name, sum(lengths)), 0
        for part, length in zip(parts, lengths, strict=True):
            part.read(name, values[at : at + length])
            at += length
        return values

    def _blocks(self, own: slice, inputs: NDArray[np.int64]) -> Iterator[tuple[int, Block]]:
        """Blocks of the neurons of a rank in order, each with its first among them."""
        for part, low, first, last in self._with(own):
            sizes, rows = part.inputs(), part.arrays["w"].shape[0]
            if not np.array_equal(inputs[low : low + rows], np.full(rows, self.size[1]) if sizes is None else sizes):
                raise ResultError(f"{part.path}: its neurons have other numbers of plastic inputs than this network")
            found = part.even_blocks(first, last) if sizes is None else part.uneven_blocks(sizes, first, last)
            for start, block in found:
                a, b = max(first - start, 0), min(last - start, len(block.w))
                yield low + start + a - own.start, block.part(a, b)

    def _with(self, own: slice) -> Iterator[tuple[CheckpointFile, int, int, int]]:
        """The files with neurons of a rank, the first neuron of each, and the rank's rows in it."""
        ranges = [shard.neurons for shard in self._main.manifest.shards] or [(0, self.size[0])]
        for number, (low, high) in enumerate(ranges):
            first, last = max(own.start, low) - low, min(own.stop, high) - low
            if first < last:
                yield self._part(number), low, first, last

    def _parts(self) -> Iterator[CheckpointFile]:
        return map(self._part, range(self.ranks))

    def _part(self, number: int) -> CheckpointFile:
        """The file with the neurons of a rank that wrote the checkpoint."""
        manifest = self._main.manifest
        if not manifest.shards:
            return self._main
        if number not in self._opened:
            shard = manifest.shards[number]
            part = open_file(self.path.with_name(shard.file))
            same = part.manifest.neurons == shard.neurons and int(part.checksums[-1]) == shard.checksum
            if not same or (number and _layout(part) != _layout(self._part(0))):
                raise ResultError(f"{part.path} does not belong to {self.path}")
            self._opened[number] = part
        return self._opened[number]


def _layout(file: CheckpointFile) -> list[tuple[str, str, tuple[int, ...]]]:
    """What the shards of a checkpoint have in common."""
    return [(array.name, array.type, array.shape[1:]) for array in file.arrays.values()]


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Open a checkpoint. Structure and manifest are verified now, the arrays when they are read.

    Raises
    ------
    ResultError
        If it is missing, damaged, of a later format or not a checkpoint.
    """
    main = open_file(Path(path))
    if main.manifest.neurons is not None:
        raise invalid(main.path, "the file of one of several ranks; name the file without the last two suffixes")
    return Checkpoint(main)


def save_checkpoint(path: str | Path, training: Training, *, weights_only: bool = False) -> Path:
    """Save the state of a training between two iterations, in the memory of a few 16 MiB blocks.

    Parameters
    ----------
    path : path
        An existing file is replaced once the new one is on disk. All ranks call this with the same
        path, in a folder that all can write.
    training : Training
    weights_only : bool
        Leave out what the rule keeps: the result can be evaluated, but training cannot continue.

    Raises
    ------
    OutputError
        If the disk is full or a file cannot be written; an existing checkpoint is left untouched.
    RlsbenchError
        If an iteration was cut short, or the targets are not those of the experiment.
    """
    training.check_whole()
    check_targets(training)
    ranks, path = training.problem.ranks, Path(path)
    try:
        if ranks.spread:
            _write_shards(path, training, weights_only)
        else:
            with atomic_write(path, sync=True) as temporary:
                arrays = _whole(training) | _own(training, weights_only)
                _write(temporary, training, arrays, blocks=not weights_only)
    finally:
        if ranks.rank == 0:
            remove_shards(path)  # of an earlier checkpoint, or of this one if it is not complete
    return path


def _write_shards(path: Path, training: Training, weights_only: bool) -> None:
    ranks, own = training.problem.ranks, training.trainer.own
    token, neurons = ranks.collect(secrets.token_hex(4))[0], (own.start, own.stop)
    file = path.with_name(f"{path.name}.{token}.{ranks.rank}")
    with ranks.together(), atomic_write(file, sync=True) as temporary:
        arrays = _own(training, weights_only)
        checksum = _write(temporary, training, arrays, blocks=not weights_only, neurons=neurons)
    shards = ranks.collect(Shard(file=file.name, neurons=neurons, checksum=checksum))
    with ranks.together():
        if ranks.rank == 0:
            with atomic_write(path, sync=True) as temporary:
                _write(temporary, training, _whole(training), blocks=False, shards=shards)


def shard_files(path: Path) -> list[Path]:
    """The files beside a checkpoint that are called like its shards."""
    return [file for file in path.parent.iterdir() if (match := SHARD.fullmatch(file.name)) and match[1] == path.name]


def remove_shards(path: Path) -> None:
    """Remove shards that the checkpoint of this path does not name; none if it cannot be read."""
    with suppress(ResultError, OSError):
        files = shard_files(path)
        named = {shard.file for shard in open_file(path).manifest.shards} if files and path.exists() else set()
        for file in files:
            if file.name not in named:
                file.unlink()


def _whole(training: Training) -> dict[str, NDArray[Any]]:
    """Arrays that are in no shard."""
    whole = {name: np.asarray(getattr(training.initial, name.removeprefix("initial_")), float) for name in INITIAL}
    if training.first_learned is not None and training.first_learned.size:
        whole["first_learned"] = training.first_learned
    if training.target_mean is not None and training.target_mean.adapts:
        whole["target_offset"] = training.target_mean.offset
    if training.adapts_external:
        whole["external_current"] = training.problem.external_current
    return whole | given_arrays(training)


def _own(training: Training, weights_only: bool) -> dict[str, NDArray[Any]]:
    """Arrays of the neurons of this rank that are written at once, not by blocks."""
    plastic, own = training.problem.own_part.plastic, dict[str, NDArray[Any]]()
    if plastic.varies:
        own["inputs"] = plastic.inputs
    if weights_only:
        own["w"] = training.own_weights()
    return own


def _write(
    path: Path,
    training: Training,
    whole: dict[str, NDArray[Any]],
    *,
    blocks: bool,
    neurons: tuple[int, int] | None = None,
    shards: Sequence[Shard] = (),
) -> int:
    """Write whole arrays and, by blocks, w and what the rule keeps; returns the last checksum."""
    items: Iterator[tuple[int, dict[str, Kept]]] = iter(())
    arrays = []
    if blocks:
        trainer, plastic = training.trainer, training.problem.own_part.plastic
        N, inputs = trainer.neurons, plastic.inputs
        kept = kept_arrays(training.problem.learning, plastic.n, training.experiment, training.options)
        largest = int(np.argmax(inputs))
        one = _parts(trainer.block(largest, largest + 1), kept).values()
        rows = max(1, min(N, BLOCK_BYTES // max(1, *(part.values.nbytes for part in one))))
        later = (_parts(block, kept) for block in trainer.blocks(rows))
        first = next(later)
        every = chain([first], later)
        for name, part in first.items():
            shape, size = (N, *part.values.shape[1:]), rows
            if part.sizes is not None:
                entries = map(STORAGES[training.options.storage].entries, inputs.tolist())
                shape, size = (sum(entries),), BLOCK_BYTES // part.values.itemsize
            arrays.append(Array(name=name, type=part.type, shape=shape, rows=size))
        items = _recut(every, BLOCK_BYTES) if plastic.varies else enumerate(every)
    arrays += [Array(name=name, type=a.dtype.name, shape=a.shape, rows=len(a)) for name, a in whole.items()]
    manifest = Manifest(
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
        neurons=neurons,
        shards=list(shards),
    )
    return write_file(path, manifest, whole, items)


def _recut(blocks: Iterator[dict[str, Kept]], size: int) -> Iterator[tuple[int, dict[str, Kept]]]:
    """The same blocks without P, and the flat P in blocks of `size` bytes: each with its number."""
    rest, number = list[NDArray[Any]](), 0
    for index, parts in enumerate(blocks):
        P = parts.pop("P", None)
        yield index, parts
        if P is None:
            continue
        rest.append(P.values.copy())
        if sum(part.nbytes for part in rest) >= size:
            joined, length = np.concatenate(rest), size // P.values.itemsize
            whole = len(joined) // length
            for block in joined[: whole * length].reshape(whole, length):
                yield number, {"P": Kept(block)}
                number += 1
            rest = [joined[whole * length :]]
    if sum(map(len, rest)):
        yield number, {"P": Kept(np.concatenate(rest))}


def _parts(block: Block, kept: dict[str, StateArray]) -> dict[str, Kept]:
    """The arrays of a block that are stored, by the name of the dataset."""
    parts = {"w": Kept(block.w)} | {name: block.kept[declared.name] for name, declared in kept.items()}
    return parts | {f"{name}_unit": Kept(part.unit) for name, part in parts.items() if part.unit is not None}
