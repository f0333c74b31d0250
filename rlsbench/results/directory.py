"""The directory of a run: configuration, machine, learning curve, document and figures.

In: a `Training` as it proceeds. Out: files. Every file but the growing tables is written
atomically, and a new run never overwrites an existing one.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.configuration import to_toml
from rlsbench.errors import OutputError
from rlsbench.monitor import Sample
from rlsbench.results.document import RunDocument
from rlsbench.training import Iteration, Training


class RunDirectory:
    """The directory of one run. An error in its `with` block removes it if it is new and empty.

    It must not exist or be empty, unless the run is `resumed`: files are then kept or replaced.
    There is an `OutputError` if it is not, or cannot be created.
    """

    def __init__(self, path: str | Path, *, resumed: bool = False) -> None:
        self.path = Path(path)
        self._previous: dict[str, float] | None = None
        self._created: list[Path] = []
        if resumed:
            check_writable(self.path / "result.json")
            return
        try:
            self._created = [p for p in (self.path, *self.path.parents) if not p.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            occupied = any(self.path.iterdir())
        except OSError as error:
            raise OutputError(f"cannot create the output directory {self.path}: {error.strerror}") from None
        if occupied:
            raise OutputError(f"the output directory {self.path} is not empty; choose a new one with --output")
        check_writable(self.path / "configuration.toml")

    def __enter__(self) -> RunDirectory:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            for folder in self._created:
                if not any(folder.iterdir()):
                    folder.rmdir()

    def begin(self, training: Training) -> None:
        """Write the resolved configuration and the learning curve so far."""
        write_atomically(self.path / "configuration.toml", to_toml(training.experiment))
        rows = [",".join(Iteration.__dataclass_fields__) + "\n", *map(_row, training.iterations)]
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
        try:
            with (self.path / name).open("a", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise OutputError(f"cannot write {self.path / name}: {error.strerror}") from None

    def finish(self, document: RunDocument, weights: NDArray[Any] | None = None) -> None:
        """Write the document, the description of the machine and the weights, (N, n)."""
        if weights is not None:
            write_atomically(self.path / "weights.npy", weights)
        write_atomically(self.path / "result.json", document.to_json())
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
    return ",".join("" if v is None else repr(v) for v in vars(iteration).values()) + "\n"


def check_writable(path: Path) -> None:
    """Raise an `OutputError` if no file can be written at `path`; none is created."""
    try:
        if path.is_dir():  # fails if the name is too long
            raise OutputError(f"cannot write {path}: it is a directory")
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".rlsbench-"):
            pass
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from None


@contextmanager
def atomic_write(path: Path, *, sync: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`, and rename it to `path` if the block succeeds.

    Readers see the previous file or the complete new one, never a part. With `sync`, the directory
    is flushed to disk as well, so that the new name survives a power failure. An `OSError` in the
    block becomes an `OutputError`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            yield temporary
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


def write_atomically(path: Path, content: str | bytes | NDArray[Any]) -> None:
    """Write text (as UTF-8), bytes or an array (as NPY) atomically, or raise an `OutputError`."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        if isinstance(content, np.ndarray):
            np.save(file, content, allow_pickle=False)
        else:
            file.write(content.encode("utf-8") if isinstance(content, str) else content)
