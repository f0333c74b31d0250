"""The directory of a run: configuration, machine, learning curve, document and figures.

In: a `Training` as it proceeds. Out: files. Every file but the growing tables is written
atomically, and a new run never overwrites an existing one.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.configuration import to_toml
from rlsbench.errors import OutputError, ResultError
from rlsbench.monitor import Sample
from rlsbench.results.document import RunDocument
from rlsbench.results.given import FILE, given_file
from rlsbench.results.lock import LOCK_FILE, DirectoryLock
from rlsbench.training import Iteration, Training

ARRAYS = ("weights", "external_current")  # that a run may leave, as NAME.npy
MOST_OF_A_NAME = 10_000  # default names that differ in a suffix


class RunDirectory:
    """The directory of one run, locked in its `with` block.

    It must not exist or be empty, unless the run is `resumed`: files are then kept or replaced.
    With `numbered`, a name that is taken gets a suffix -2, -3, ... There is an `OutputError` if it
    is not empty, cannot be created, or another process works in it. An error in the block removes
    it if it is new and empty.
    """

    def __init__(self, path: str | Path, *, resumed: bool = False, numbered: bool = False) -> None:
        self.path = Path(path)
        self._resumed, self._numbered = resumed, numbered
        self._previous: dict[str, float] | None = None
        self._created: list[Path] = []
        self._lock: DirectoryLock | None = None

    def __enter__(self) -> RunDirectory:
        if not self._resumed:
            self._create()
        elif not self.path.is_dir():
            raise ResultError(f"{self.path} is not the directory of a run")
        try:
            self._lock = DirectoryLock(self.path)
            if self._resumed:
                check_writable(self.path / "result.json")
            elif any(path.name != LOCK_FILE for path in self.path.iterdir()):
                raise OutputError(f"the output directory {self.path} is not empty; choose a new one with --output")
            remove_parts(self.path)
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        held = self.held()
        if self._lock is not None:
            self._lock.release()
        if error is not None and held:
            with suppress(OSError):  # the first that is not empty keeps those above it
                for folder in self._created:
                    folder.rmdir()

    def _create(self) -> None:
        wanted = self.path
        for number in range(2, MOST_OF_A_NAME):
            try:
                self._created = [p for p in (self.path, *self.path.parents) if not p.exists()]
                self.path.mkdir(parents=True, exist_ok=not self._numbered)
                return
            except OSError as error:
                # Another run has this name, or failed, and removed the folder above.
                taken = isinstance(error, FileExistsError | FileNotFoundError) and number < MOST_OF_A_NAME - 1
                if not (self._numbered and taken):
                    raise OutputError(f"cannot create the output directory {self.path}: {error.strerror}") from None
            self.path = wanted.with_name(f"{wanted.name}-{number}")

    def held(self) -> bool:
        """Whether this is still the directory that was locked, not renamed, deleted or replaced."""
        return self._lock is None or self._lock.held()

    def _check_held(self) -> None:
        if not self.held():
            raise OutputError(f"{self.path} is no longer the directory of this run: renamed, deleted or replaced")

    def begin(self, training: Training) -> None:
        """Write the resolved configuration and the learning curve so far."""
        self._check_held()
        write_atomically(self.path / "configuration.toml", to_toml(training.experiment))
        if given := given_file(training):
            write_atomically(self.path / FILE, given)
        rows = [",".join(training.columns()) + "\n", *map(_row, training.iterations)]
        write_atomically(self.path / "learning_curve.csv", "".join(rows))

    def append(self, iteration: Iteration) -> None:
        """Append a row to the learning curve immediately, so that it survives a crash."""
        self._append("learning_curve.csv", _row(iteration))

    def append_resources(self, sample: Sample) -> None:
        """Append a row to resources.csv; time (while monitored) and energy add up when resumed."""
        path = self.path / "resources.csv"
        if self._previous is None:
            self._previous = _previous_sums(path)
        header = "" if path.exists() and path.stat().st_size else Sample.header() + "\n"
        previous = self._previous
        values = {k: v if v is None or k not in previous else v + previous[k] for k, v in vars(sample).items()}
        self._append(path.name, f"{header}{Sample(**values).line()}\n")

    def _append(self, name: str, text: str) -> None:
        self._check_held()
        try:
            with (self.path / name).open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise OutputError(f"cannot write {self.path / name}: {error.strerror}") from None

    def finish(self, document: RunDocument, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write the document, the description of the machine, and some of `ARRAYS` by name.

        Earlier ones are replaced together, and not before the new ones are on disk.
        """
        self._check_held()
        result = self.path / "result.json"
        with ExitStack() as written:
            written.enter_context(atomic_write(result)).write_text(document.to_json(), encoding="utf-8")
            for name, array in arrays.items():
                with written.enter_context(atomic_write(self.path / f"{name}.npy")).open("wb") as file:
                    np.save(file, array, allow_pickle=False)
            # If it is killed from here on, it has no results, rather than those of two different
            # iterations, and `resume` writes them.
            for saved in (result, *(self.path / f"{name}.npy" for name in ARRAYS)):
                saved.unlink(missing_ok=True)
        machine = {"machine": document.machine, "versions": document.versions}
        write_atomically(self.path / "machine.json", json.dumps(machine, indent=2) + "\n")


def _previous_sums(path: Path) -> dict[str, float]:
    """Seconds and joules in the last row of resources.csv; an incomplete last row is removed."""
    if not path.exists():
        return {}
    content = path.read_bytes()
    complete = content[: content.rfind(b"\n") + 1]
    if complete != content:
        os.truncate(path, len(complete))
    last = complete.decode("utf-8", "replace").splitlines()[-1:]
    values = dict(zip(Sample.header().split(","), last[0].split(",") if last else (), strict=False))
    sums = {}
    for name in ("seconds", "cpu_energy_j", "gpu_energy_j"):
        with suppress(ValueError):  # not readable then, or the header
            sums[name] = float(values.get(name, ""))
    return sums


def _row(iteration: Iteration) -> str:
    return ",".join("" if v is None else repr(v) for v in iteration.row().values()) + "\n"


def check_writable(path: Path) -> None:
    """Raise an `OutputError` if no file can be written at `path`; none is created."""
    try:
        if path.is_dir():  # fails if the name is too long
            raise OutputError(f"cannot write {path}: it is a directory")
        with tempfile.TemporaryFile(dir=path.parent):  # without a name: nothing is left if this is killed
            pass
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from None


def check_new(path: Path) -> None:
    """Raise an `OutputError` if there is something at `path`, or no file can be written there."""
    if os.path.lexists(path):
        kind = "as a directory " if path.is_dir() else ""
        raise OutputError(f"{path} exists {kind}and is not replaced; choose another name, or remove it")
    check_writable(path)


@contextmanager
def atomic_write(path: Path, *, sync: bool = False, new: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`, and rename it to `path` if the block succeeds.

    Readers see the previous file or the complete new one, never a part. With `sync`, the directory
    is flushed to disk as well, so that the new name survives a power failure. With `new`, a file
    that is there is not replaced. An `OSError` in the block becomes an `OutputError`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            yield temporary
            if new and os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, "it exists by now, and is not replaced")
            os.replace(temporary, path)
            if sync:
                descriptor = os.open(path.parent, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from None


def remove_parts(folder: Path, *, older_s: float = -inf) -> None:
    """Remove the temporary files of `atomic_write` that a process left when it was killed.

    Where others may be writing at this moment, only those that are older, in seconds.
    """
    for part in folder.glob(".*.part"):
        with suppress(OSError):
            if time.time() - part.lstat().st_mtime > older_s:
                part.unlink()


def write_atomically(path: Path, content: str | bytes | NDArray[Any], *, new: bool = False) -> None:
    """Write text (as UTF-8), bytes or an array (as NPY) as `atomic_write` does."""
    with atomic_write(path, new=new) as temporary, temporary.open("wb") as file:
        if isinstance(content, np.ndarray):
            np.save(file, content, allow_pickle=False)
        else:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
