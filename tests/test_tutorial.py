"""The backend that the documentation builds is short, complete, and passes the conformance suite.

It needs JAX, the extra `tutorial`. Without it the suite is skipped, or fails where
RLSBENCH_REQUIRE_BACKENDS names jax-tutorial.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rlsbench.backend import Backend, Capabilities
from rlsbench.conformance import CHECKS, Subject, Validity, run_check, subjects

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "tutorial" / "rlsbench-jax-tutorial"
SOURCE = FOLDER / "rlsbench_jax_tutorial.py"
REQUIRED = "jax-tutorial" in os.environ.get("RLSBENCH_REQUIRE_BACKENDS", "").split()
JAX = importlib.util.find_spec("jax") is not None
ONE_STORAGE = "all storages give the same result"
FREE = "a free run of 50 ms matches the reference spike for spike"


def tutorial() -> ModuleType:
    """The module, loaded from its file: it need not be installed."""
    name = SOURCE.stem
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, SOURCE)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def cases() -> list[Any]:
    """Each configuration with each check; one case without them where there is no JAX."""
    if not JAX:
        return [pytest.param(None, ONE_STORAGE, id="no JAX")]
    backend: Backend = tutorial().BACKEND
    return [pytest.param(s, check, id=f"{s}: {check}") for s in subjects(backend) for check in CHECKS]


@pytest.mark.parametrize(("subject", "check"), cases())
def test_tutorial_conforms(subject: Subject | None, check: str) -> None:
    if subject is None:
        message = "JAX is not installed; pip install -e '.[tutorial]'"
        pytest.fail(message) if REQUIRED else pytest.skip(message)
    outcome = run_check(check, subject)
    if outcome.validity is Validity.NOT_CHECKED:
        refused = ": " in check and subject.lacks(check.partition(": ")[2])
        rounded = check.startswith(FREE) and subject.coarsest != "float64"
        assert check == ONE_STORAGE or rounded or refused, outcome.reason
    else:
        assert outcome.validity is Validity.PASSED, outcome.reason


def test_tutorial_is_short() -> None:
    assert len(SOURCE.read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.skipif(not JAX, reason="JAX is not installed")
def test_tutorial_is_complete() -> None:
    """It offers every feature of RLS as published, in both precisions."""
    offered = tutorial().BACKEND.capabilities
    assert offered.features == Capabilities().features
    assert set(offered.precisions) == set(offered.p_precisions) == {"float32", "float64"}


def test_tutorial_registers_its_backend() -> None:
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    points = project["entry-points"]["rlsbench.backends"]
    assert points == {"jax-tutorial": f"{SOURCE.stem}:BACKEND"}
    assert 'name = "jax-tutorial"' in SOURCE.read_text(encoding="utf-8")
