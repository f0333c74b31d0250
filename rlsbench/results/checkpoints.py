"""The checkpoints of a run: which are saved when, which are kept, and which is the last that is whole.

In: a training after each iteration.  Out: files in RUN/checkpoints, `iteration-000010.h5` and so on, and `best.h5`.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from rlsbench.configuration import CheckpointsSection
from rlsbench.errors import OutputError, ResultError
from rlsbench.results.checkpoint import Checkpoint, read_checkpoint, save_checkpoint
from rlsbench.training import Training

__all__ = ["BEST", "Checkpoints", "best_checkpoint", "checkpoint_files", "last_checkpoint"]

FOLDER, BEST = "checkpoints", "best.h5"
_NAME = re.compile(r"iteration-(\d{6,10})\.h5")
_PART = re.compile(r"\..*\.h5\.\d+\.part")


class Checkpoints:
    """Saves what is asked for; one process at a time, which the `with` block makes sure of.

    Parameters
    ----------
    run : path
        Directory of the run.
    section : CheckpointsSection
        What is saved and kept.

    Raises
    ------
    OutputError
        If another process is training in this directory.
    """

    def __init__(self, run: str | Path, section: CheckpointsSection) -> None:
        self.run, self.section = Path(run), section
        self.folder = self.run / FOLDER
        self.last: Path | None = None
        self._last_iteration = -1
        self._lock: int | None = None

    def __enter__(self) -> Checkpoints:
        self._lock = _locked(self.run)
        if self.folder.is_dir():
            for part in self.folder.iterdir():
                if _PART.fullmatch(part.name):  # of a process that was killed
                    with suppress(OSError):
                        part.unlink()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            os.close(self._lock)

    def resumed(self, checkpoint: Checkpoint) -> None:
        """A training has been taken up from this checkpoint; later ones are put aside as damaged."""
        if checkpoint.path.parent.resolve() == self.folder.resolve() and _NAME.fullmatch(checkpoint.path.name):
            self.last, self._last_iteration = checkpoint.path, checkpoint.iteration
        for number, path in checkpoint_files(self.run):
            if number > checkpoint.iteration:  # it is damaged, or it would have been taken
                with suppress(OSError):
                    path.rename(path.with_name(path.name + ".damaged"))

    def after(self, training: Training) -> None:
        """Save what is due after an iteration.

        Raises
        ------
        OutputError
            If it cannot be written; what was saved before is still there.
        """
        if self.section.best != "none" and training.progress.is_best:
            self._made()
            save_checkpoint(self.folder / BEST, training, whole=self.section.best == "whole")
        if self.section.every and len(training.iterations) % self.section.every == 0:
            self.save(training)

    def save(self, training: Training) -> Path:
        """Save the training as it stands, unless it has been saved, and remove the oldest beyond those that are kept.

        Raises
        ------
        OutputError
        """
        number = len(training.iterations)
        if number != self._last_iteration or self.last is None:
            self._made()
            self.last = save_checkpoint(self.folder / f"iteration-{number:06d}.h5", training)
            self._last_iteration = number
            earlier = [(n, path) for n, path in checkpoint_files(self.run) if n <= number]
            for _, path in earlier[: -self.section.keep]:
                with suppress(OSError):
                    path.unlink()
        return self.last

    def _made(self) -> None:
        try:
            self.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make the folder {self.folder}: {error.strerror}") from None


def checkpoint_files(run: str | Path) -> list[tuple[int, Path]]:
    """The numbered checkpoints of a run, the last one at the end: (iteration, file)."""
    folder = Path(run) / FOLDER
    names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    found = [(int(match[1]), folder / name) for name in names if (match := _NAME.fullmatch(name))]
    return sorted(found)


def last_checkpoint(run: str | Path) -> tuple[Checkpoint, list[str]]:
    """The last checkpoint of a run that is whole, to the last byte; damaged ones are named.

    Returns
    -------
    Checkpoint
    list of str
        What is wrong with those after it.

    Raises
    ------
    ResultError
        If there is none.
    """
    damaged: list[str] = []
    best = Path(run) / FOLDER / BEST
    candidates = [path for _, path in reversed(checkpoint_files(run))] + ([best] if best.is_file() else [])
    for path in candidates:
        try:
            checkpoint = read_checkpoint(path)
            if path != best or checkpoint.whole:
                checkpoint.verify()
                return checkpoint, damaged
        except ResultError as error:
            damaged.append(str(error))
    why = f": {damaged[0]}" if damaged else ", and --checkpoint-every was not given or not reached"
    raise ResultError(f"{run} has no checkpoint that training could go on from{why}")


def best_checkpoint(run: str | Path) -> Path | None:
    """The best checkpoint of a run, where one was kept."""
    path = Path(run) / FOLDER / BEST
    return path if path.is_file() else None


def _locked(folder: Path) -> int | None:
    """Hold the folder until it is closed; None where locks are not to be had."""
    try:
        import fcntl
    except ImportError:
        return None
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise OutputError(f"another process is training in {folder}; wait for it to end") from None
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
