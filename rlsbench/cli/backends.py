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
        b = entry.backend
        what = (
            [" ".join(values) for values in (b.precisions, b.p_precisions, b.storages, b.algorithms, b.devices)]
            if b
            else ["?"] * 5
        )
        state = "yes" if entry.reason is None else f"no: {entry.reason}"
        table.add_row(*(escape(cell) for cell in (entry.name, *what, entry.origin, state)))
        if caveat := getattr(b, "caveat", None):
            lacking.append(f"{entry.name}: {caveat}")
        if b and (missing := sorted(set(FEATURES) - b.features)):
            lacking.append(f"{entry.name} lacks {', '.join(missing)}")
    if not console.is_terminal:
        console = Console(width=200)  # a pipe has no width to fit
    console.print(table, highlight=False)
    for line in lacking:
        console.print(line, highlight=False)
