"""`rlsbench backends`: the backends, and why some cannot be used here."""

from __future__ import annotations

import click
from rich.table import Table

from rlsbench.backend import FEATURES, backend_entries
from rlsbench.cli.console import new_console

HEADINGS = ("backend", "precision", "P", "storage", "algorithm", "device", "origin", "available")


@click.command(short_help="List the backends, and why some cannot be used here.")
def backends() -> None:
    """List the backends: what they offer, their origin, and the reason if one cannot be used."""
    console = new_console()
    table = Table(box=None, pad_edge=False)
    for heading in HEADINGS:
        table.add_column(heading, overflow="fold")
    limits = []
    for entry in backend_entries():
        c = entry.backend.capabilities if entry.backend else None
        offers = (c.precisions, c.p_precisions, c.storages, c.algorithms, c.devices) if c else [["?"]] * 5
        available = "yes" if entry.reason is None else f"no: {entry.reason}"
        table.add_row(entry.name, *map(" ".join, offers), entry.origin, available)
        if c and c.caveat:
            limits.append(f"{entry.name}: {c.caveat}")
        if c and (missing := sorted(set(FEATURES) - c.features)):
            limits.append(f"{entry.name} lacks {', '.join(missing)}")
    console.print(table, soft_wrap=False)
    for line in limits:
        console.print(line)
