"""Command-line options of pytest that name the backend to check, and its device."""

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
        help="backend to check with `--pyargs rlsbench.conformance`; may be repeated",
    )
    group.addoption("--rlsbench-device", default="auto", metavar="DEVICE", help="device to check on, such as cuda:0")
