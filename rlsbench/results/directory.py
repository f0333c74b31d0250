"""The directory of a run: configuration, machine, learning curve, document and pictures.

In: a `Training` as it goes.  Out: files.  Nothing is overwritten, and a file is either whole or not there.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from rlsbench.configuration import to_toml
from rlsbench.errors import OutputError
from rlsbench.monitor import Sample
from rlsbench.results.document import RunDocument
from rlsbench.training import Iteration, Training

__all__ = ["RunDirectory", "check_writable", "write_array", "write_bytes", "write_whole"]


class RunDirectory:
    """A new directory that takes the results of one run.

    Leaving the `with` block on an error removes the directory again if nothing was written into it.

    Parameters
    ----------
    path : path
        Must not exist, or be an empty directory, unless it is resumed.

    resumed : bool
        It is that of a run which is to go on: what is there is kept, or replaced.

    Raises
    ------
    OutputError
        If it holds something, or cannot be made.
    """

    def __init__(self, path: str | Path, *, resumed: bool = False) -> None:
        self.path = Path(path)
        self._sums: dict[str, float] | None = None
        if resumed:
            check_writable(self.path / "result.json")
            return
        try:
            self._made = [p for p in (self.path, *self.path.parents) if not p.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            occupied = any(self.path.iterdir())
        except OSError as error:
            raise OutputError(f"cannot make the output directory {self.path}: {error.strerror}") from None
        if occupied:
            raise OutputError(f"the output directory {self.path} is not empty; name a new one by --output")
        check_writable(self.path / "configuration.toml")

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not any(self.path.iterdir()):
            for made in self._made:
                if not any(made.iterdir()):
                    made.rmdir()

    def begin(self, training: Training) -> None:
        """Write the resolved configuration and the head of the learning curve."""
        write_whole(self.path / "configuration.toml", to_toml(training.experiment))
        head = ",".join(Iteration.__dataclass_fields__) + "\n"
        write_whole(self.path / "learning_curve.csv", head + "".join(map(_row, training.iterations)))

    def append(self, iteration: Iteration) -> None:
        """Add one row to the learning curve, at once, so that a run that dies leaves what it had."""
        try:
            with (self.path / "learning_curve.csv").open("a", encoding="utf-8") as file:
                file.write(_row(iteration))
        except OSError as error:
            raise OutputError(f"cannot write {file.name}: {error.strerror}") from None

    def append_resources(self, sample: Sample) -> None:
        """Add one row to the record of resources, at once; in a run that is resumed, time and energy go on.

        So the time is that in which the run was watched, without what passed between its stretches.
        """
        path = self.path / "resources.csv"
        try:
            if self._sums is None:
                self._sums = _last_sums(path)
            head = "" if path.exists() and path.stat().st_size else Sample.header() + "\n"
            taken = {k: v if v is None or k not in self._sums else v + self._sums[k] for k, v in vars(sample).items()}
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{head}{Sample(**taken).line()}\n")
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}") from None

    def finish(self, document: RunDocument, weights: NDArray[Any] | None = None) -> None:
        """Write the document, the record of the machine and the weights (N, n)."""
        if weights is not None:
            write_array(self.path / "weights.npy", weights)
        write_whole(self.path / "result.json", document.to_json())
        machine = {"machine": document.machine, "versions": document.versions}
        write_whole(self.path / "machine.json", json.dumps(machine, indent=2) + "\n")


def _last_sums(path: Path) -> dict[str, float]:
    """Seconds and joules with which a record of resources ends; a last row that a crash cut short is taken off."""
    if not path.exists():
        return {}
    with path.open("r+b") as file:
        start = max(0, file.seek(0, os.SEEK_END) - 4096)
        file.seek(start)
        tail = file.read()
        whole = tail[: tail.rfind(b"\n") + 1]
        file.truncate(start + len(whole))
    last = whole.decode("utf-8", "replace").splitlines()[-1:]
    values = dict(zip(Sample.header().split(","), last[0].split(",") if last else (), strict=False))
    sums = {}
    for name in ("seconds", "cpu_energy_j", "gpu_energy_j"):
        with suppress(ValueError):  # nothing was read, or it is the head
            sums[name] = float(values.get(name, ""))
    return sums


def _row(iteration: Iteration) -> str:
    return ",".join("" if v is None else repr(v) for v in vars(iteration).values()) + "\n"


def check_writable(path: Path) -> None:
    """Make sure that a file can be written there, without leaving one.

    Raises
    ------
    OutputError
    """
    try:
        if path.is_dir():
            raise OutputError(f"cannot write {path}: it is a directory")
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".rlsbench-"):
            pass
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from None


def write_whole(path: Path, content: str) -> None:
    """Write a text file beside its place and move it there, so that no reader sees half of it.

    Raises
    ------
    OutputError
    """
    _write(path, lambda file: file.write(content.encode("utf-8")))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in the same way.

    Raises
    ------
    OutputError
    """
    _write(path, lambda file: file.write(content))


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array as NPY, in the same way.

    Raises
    ------
    OutputError
    """
    _write(path, lambda file: np.save(file, array, allow_pickle=False))


def _write(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            fill(file)
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        raise OutputError(f"cannot write {path}: {error.strerror}") from None
