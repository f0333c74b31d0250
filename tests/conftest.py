"""What the tests share: the command line in a process of its own, and distributions that exist only for a test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

COMMAND = "from rlsbench.cli import main; main()"

# The smoke preset cut down to 70 neurons and 50 ms, at a rate that gives each neuron some spikes.
TINY: dict[str, Any] = {
    "network.neurons": 70,
    "network.K": 8,
    "network.L": 6,
    "external.scale": 0.4,
    "stimulus.on_ms": 4.0,
    "stimulus.off_ms": 10.0,
    "time.learn_every_ms": 2.0,
    "time.train_duration_ms": 40.0,
    "targets.period_ms": 40.0,
    "training.average_from_ms": 0.0,
    "training.window_ms": 4.0,
    "training.iterations": 2,
}

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
Install = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    """Overrides that make any run of the smoke preset take a fraction of a second."""
    return dict(TINY)


@pytest.fixture(scope="session")
def tiny_options() -> list[str]:
    """The same for the command line."""
    return [part for key, value in TINY.items() for part in ("--set", f"{key}={value}")]


@pytest.fixture(scope="session")
def cli() -> Cli:
    """The command line in a new process: cli("run", "--backend", "numba", path=[folder], cwd=...)."""

    def run(
        *arguments: str,
        path: list[Path] | tuple[()] = (),
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        code: str = COMMAND,
    ) -> subprocess.CompletedProcess[str]:
        search = os.pathsep.join([*map(str, path), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = os.environ | {"PYTHONPATH": search, "COLUMNS": "240", "NO_COLOR": "1"} | (env or {})
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Install a distribution into a folder that a test may put on the path; returns the folder.

    install("example", "1.0", {"backend-name": "module:OBJECT"}, module="source text")
    """

    def make(name: str, version: str, entry_points: Mapping[str, str], **modules: str) -> Path:
        folder = tmp_path / "site"
        information = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = [f"{key} = {value}\n" for key, value in entry_points.items()]
        (information / "entry_points.txt").write_text("".join(["[rlsbench.backends]\n", *lines]))
        for module, source in modules.items():
            (folder / f"{module}.py").write_text(source)
        return folder

    return make


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes | None]]:
    """Every file below a folder with its content, and every folder with None."""

    def of(folder: Path) -> dict[str, bytes | None]:
        found = sorted(folder.rglob("*"))
        return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in found}

    return of
