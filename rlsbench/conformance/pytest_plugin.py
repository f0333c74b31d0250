"""Options of pytest for authors of backends: which backend, on which device. Imports nothing until it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("rlsbench")
    group.addoption(
        "--rlsbench-backend",
        action="append",
        default=[],
        metavar="NAME",
        help="backend that `--pyargs rlsbench.conformance` checks; may be given again",
    )
    group.addoption("--rlsbench-device", default="auto", metavar="DEVICE", help="where they compute, as cuda:0")
