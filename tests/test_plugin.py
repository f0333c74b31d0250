"""A third party's backend, in a wheel of its own, is found and passes without an edit here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("plug-in")  # so that its wheel is built once
PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "example-backend"
version = "1.2.3"
dependencies = ["rlsbench"]

[project.entry-points."rlsbench.backends"]
example = "example_backend:BACKEND"
"""

SOURCE = '''
"""The reference with an update of its own, written as one would who had only read the recipe."""

import numpy as np
from rlsbench_reference import Reference, ReferenceTrainer


class ExampleTrainer(ReferenceTrainer):
    def rls_update(self, x, u_bal, f):
        k = np.matmul(self.P, x[:, :, None])[:, :, 0]
        root = np.sqrt(1 / (1 + (x * k).sum(axis=1)))
        scaled = root[:, None] * k
        self.P -= scaled[:, :, None] * scaled[:, None, :]
        if not self.problem.learning.benchmark:
            error = np.where(np.isnan(f), 0, (self.w * x).sum(axis=1) + u_bal - f)
            self.w -= (root * error)[:, None] * scaled


class Example(Reference):
    name = "example"
    description = "an example"

    def trainer(self, problem, options):
        return ExampleTrainer(problem, options)


BACKEND = Example()
'''


def pip(*arguments: str, cwd: Path) -> None:
    options = ["--disable-pip-version-check", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *arguments, *options], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel of the plug-in was installed."""
    pytest.importorskip("hatchling")
    project = tmp_path_factory.mktemp("example")
    (project / "pyproject.toml").write_text(PYPROJECT)
    (project / "example_backend").mkdir()
    (project / "example_backend" / "__init__.py").write_text(SOURCE)
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", "dist", ".", cwd=project)
    (wheel,) = (project / "dist").glob("*.whl")
    target = project / "site"
    pip("install", "--no-deps", "--no-index", "--target", str(target), str(wheel), cwd=project)
    return target


@pytest.fixture
def run(site: Path, cli: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """The command line with the plug-in on the path, in an empty folder."""

    def go(*arguments: str, **options: Any) -> Any:
        done = cli(*arguments, path=[site], cwd=tmp_path, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return go


def test_plugin_is_listed_with_its_origin(run: Callable[..., Any], cli: Callable[..., Any]) -> None:
    lines = run("backends").stdout.splitlines()
    (line,) = [line for line in lines if line.startswith("example ") and " lacks " not in line]
    assert "example-backend 1.2.3" in line
    assert line.rstrip().endswith("yes")
    assert "example-backend" not in cli("backends").stdout


def test_plugin_passes_verify(run: Callable[..., Any]) -> None:
    *_, last = run("verify", "example").stdout.splitlines()
    assert last.startswith("example: ")
    assert ", 0 failed, 6 not checked" in last


def test_plugin_runs(run: Callable[..., Any], tmp_path: Path) -> None:
    run(
        "run", "--backend", "example", "--preset", "smoke", "--iterations", "1", "--output", "out", "--json", "run.json"
    )
    document = json.loads((tmp_path / "run.json").read_text())
    assert document["backend"] == "example"
    assert document["versions"]["example-backend"] == "1.2.3"
    assert len(document["iterations"]) == 1
    assert document["iterations"][0]["firing_rate_hz"] > 1


def test_plugin_passes_the_suite_under_pytest(run: Callable[..., Any]) -> None:
    code = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
    suite = ["--pyargs", "rlsbench.conformance", "--rlsbench-backend", "example", "-q", "-p", "no:cacheprovider"]
    out = run(*suite, "-k", "requested or closed or storages", code=code).stdout
    assert "2 passed, 1 skipped" in out
    assert "failed" not in out
    assert int(out.split(" deselected")[0].split()[-1]) >= 31
