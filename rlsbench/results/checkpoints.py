"""The checkpoints of a run: when they are saved, which are kept, and the last valid one.

In: a training after each iteration. Out: iteration-000010.h5, ..., and best.h5 in RUN/checkpoints.
Ranks of a network that is spread have one each, and call its methods together; rank 0 says where
the run is, creates folders and removes files.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from time import monotonic

from rlsbench.configuration import CheckpointsSection
from rlsbench.errors import OutputError, ResultError
from rlsbench.plugins import blamed
from rlsbench.ranks import ALONE, Communicator
from rlsbench.results.checkpoint import Checkpoint, read_checkpoint, remove_shards, save_checkpoint, shard_files
from rlsbench.results.checkpoint_file import SHARD
from rlsbench.results.directory import RunDirectory, remove_parts
from rlsbench.results.lock import DirectoryLock
from rlsbench.training import Training

FOLDER, BEST = "checkpoints", "best.h5"
_NAME = re.compile(r"iteration-(\d{6,10})\.h5")


class Checkpoints:
    """Saves checkpoints as configured, in the directory of a run.

    Its `with` block locks the directory, unless it is a `RunDirectory`, which is locked already; an
    `OutputError` if another process works in it. Several `ranks` make one
    each, and rank 0 says where the run is.
    """

    def __init__(
        self, run: str | Path | RunDirectory, section: CheckpointsSection, ranks: Communicator = ALONE
    ) -> None:
        self._to_lock = not isinstance(run, RunDirectory) and ranks.rank == 0
        self.run, self.section = run.path if isinstance(run, RunDirectory) else Path(run), section
        self.ranks = ranks
        self.longest_s: float | None = None  #: that saving a checkpoint has taken so far
        self._last_iteration = -1
        self._lock: DirectoryLock | None = None

    def __enter__(self) -> Checkpoints:
        self.run = self.ranks.collect(self.run)[0]
        with self.ranks.together():
            if self._to_lock:
                self._lock = DirectoryLock(self.run)
            if self.ranks.rank == 0 and self.folder.is_dir():
                remove_parts(self.folder)
                for name in {match[1] for file in self.folder.iterdir() if (match := SHARD.fullmatch(file.name))}:
                    if name == BEST or _NAME.fullmatch(name):
                        remove_shards(self.folder / name)
        return self

    def __exit__(self, *error: object) -> None:
        if self._lock is not None:
            self._lock.release()

    @property
    def folder(self) -> Path:
        """Where they are."""
        return self.run / FOLDER

    def resumed(self, checkpoint: Checkpoint) -> None:
        """Continue after this checkpoint; later files are damaged and get the suffix .damaged."""
        if checkpoint.path.parent.resolve() == self.folder.resolve() and _NAME.fullmatch(checkpoint.path.name):
            self._last_iteration = checkpoint.iteration
        for number, path in self._found():
            if number > checkpoint.iteration:
                for file in (path, *shard_files(path)):
                    with suppress(OSError):
                        file.rename(file.with_name(file.name + ".damaged"))

    def after(self, training: Training) -> None:
        """Save what is due after an iteration; see `save` for errors."""
        if self.section.best != "none" and training.progress.is_best:
            self._save(BEST, training, weights_only=self.section.best == "weights")
        if self.section.every and len(training.iterations) % self.section.every == 0:
            self.save(training)

    def save(self, training: Training) -> Path:
        """Save the current state unless it is saved already, and remove the oldest surplus files.

        If it cannot be written, there is an `OutputError`, and earlier files are left untouched.
        """
        number = len(training.iterations)
        name = f"iteration-{number:06d}.h5"
        if number != self._last_iteration:
            self._save(name, training)
            self._last_iteration = number
            earlier = [path for n, path in self._found() if n <= number]
            for path in earlier[: -self.section.keep]:
                with suppress(OSError):
                    path.unlink()
                    remove_shards(path)
        return self.folder / name

    def _found(self) -> list[tuple[int, Path]]:
        """The checkpoints whose files this rank may rename or remove."""
        return checkpoint_files(self.run) if self.ranks.rank == 0 else []

    def _save(self, name: str, training: Training, *, weights_only: bool = False) -> None:
        with self.ranks.together():
            try:
                if self.ranks.rank == 0:
                    self.folder.mkdir(exist_ok=True)
            except OSError as error:
                raise OutputError(f"cannot create the folder {self.folder}: {error.strerror}") from None
        begun = monotonic()
        with blamed(f"backend {training.backend.name}"):
            save_checkpoint(self.folder / name, training, weights_only=weights_only)
        if not weights_only:
            self.longest_s = max(self.longest_s or 0.0, monotonic() - begun)


def checkpoint_files(run: str | Path) -> list[tuple[int, Path]]:
    """Return the numbered checkpoints of a run in ascending order: (iteration, file)."""
    paths = (Path(run) / FOLDER).glob("iteration-*.h5")
    return sorted((int(match[1]), path) for path in paths if (match := _NAME.fullmatch(path.name)))


def last_checkpoint(run: str | Path, ranks: Communicator = ALONE) -> tuple[Checkpoint, list[str]]:
    """Return the last checkpoint that is valid to the last byte, and what is wrong with later ones.

    If there is none, a `ResultError` is raised. Several ranks share the reading.
    """
    damaged: list[str] = []
    found = [path for _, path in reversed(checkpoint_files(run))], best_checkpoint(run)
    numbered, best = ranks.collect(found)[0]
    for path in numbered + ([best] if best else []):
        try:
            with ranks.together():
                checkpoint = read_checkpoint(path)
            if path != best or checkpoint.resumable:
                checkpoint.verify(ranks)
                return checkpoint, damaged
        except ResultError as error:
            damaged.append(str(error))
    reason = damaged[0] if damaged else "--checkpoint-every was not given or not reached"
    raise ResultError(f"{run} has no checkpoint to resume from: {reason}")


def best_checkpoint(run: str | Path) -> Path | None:
    """Return the best checkpoint of a run if it was kept."""
    path = Path(run) / FOLDER / BEST
    return path if path.is_file() else None
