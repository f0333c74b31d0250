"""Printed output of examples in one piece.

A command's output reaches the kernel in pieces that end anywhere. MyST-NB ends each of them with a
line break when it merges them, in the middle of words too. Here they are joined first.
"""

from __future__ import annotations

from itertools import groupby
from typing import Any

from myst_nb.core import render
from sphinx.application import Sphinx

_merge = render.coalesce_streams


def _joined(outputs: list[Any]) -> list[Any]:
    pieces: list[Any] = []
    for name, group in groupby(outputs, key=lambda output: output.get("name")):
        parts = list(group)
        if name in {"stdout", "stderr"}:
            parts[0]["text"] = "".join(part["text"] for part in parts)
            parts = parts[:1]
        pieces += parts
    return _merge(pieces)


def setup(app: Sphinx) -> dict[str, Any]:
    """Replace the function that merges pieces."""
    render.coalesce_streams = _joined
    return {"parallel_read_safe": True, "parallel_write_safe": True}
