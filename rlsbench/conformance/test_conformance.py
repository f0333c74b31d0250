"""The suite as tests: `pytest --pyargs rlsbench.conformance --rlsbench-backend NAME`."""

from __future__ import annotations

import pytest

from rlsbench.backend import get_backend
from rlsbench.conformance import CHECKS, Subject, Validity, run_check, subjects


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test for each check in each configuration of the named backends."""
    cases = [
        pytest.param(subject, name, id=f"{backend}-{subject}-{name}")
        for backend in metafunc.config.getoption("--rlsbench-backend")
        for subject in subjects(get_backend(backend), metafunc.config.getoption("--rlsbench-device"))
        for name in CHECKS
    ]
    metafunc.parametrize(("subject", "name"), cases)


def test_conformance(subject: Subject, name: str) -> None:
    """The check passes; it is skipped, with the reason, if it does not apply."""
    outcome = run_check(name, subject)
    if outcome.validity is Validity.NOT_CHECKED:
        pytest.skip(outcome.reason)
    assert outcome.validity is Validity.PASSED, outcome.reason
