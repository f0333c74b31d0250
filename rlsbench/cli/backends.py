"""`rlsbench backends`: what can compute here, and why the rest cannot."""

from __future__ import annotations

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rlsbench.backend import FEATURES, backend_entries

__all__ = ["backends"]


@click.command(short_help="List what can compute here, and why the rest cannot.")
def backends() -> None:
    """List the backends with their origin, precisions, storages, devices, and why one cannot be used."""
    console = Console()
    table = Table(box=None, pad_edge=False)
    for heading in ("backend", "precision", "P", "storage", "algorithm", "device", "origin", "available"):
        table.add_column(heading, overflow="fold")
    lacking = []
    for entry in backend_entries():
        c = entry.backend.capabilities if entry.backend else None
        what = (
            [" ".join(values) for values in (c.precisions, c.p_precisions, c.storages, c.algorithms, c.devices)]
            if c
            else ["?"] * 5
        )
        state = "yes" if entry.reason is None else f"no: {entry.reason}"
        table.add_row(*(escape(cell) for cell in (entry.name, *what, entry.origin, state)))
        if c and c.caveat:
            lacking.append(f"{entry.name}: {c.caveat}")
        if c and (missing := sorted(set(FEATURES) - c.features)):
            lacking.append(f"{entry.name} lacks {', '.join(missing)}")
    if not console.is_terminal:
        console = Console(width=200)  # a pipe has no width to fit
    console.print(table, highlight=False)
    for line in lacking:
        console.print(line, highlight=False)
