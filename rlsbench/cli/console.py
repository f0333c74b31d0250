"""The console of a command: text is printed as given, and tables are not squeezed into a pipe."""

from __future__ import annotations

from rich.console import Console
from rich.table import Column, Table

PIPE_WIDTH = 200  # columns, where there is no terminal to fit


def new_console() -> Console:
    """Make a console that does not highlight, wrap or interpret text."""
    width = None if Console().is_terminal else PIPE_WIDTH
    return Console(highlight=False, markup=False, soft_wrap=True, width=width)


def new_table(*columns: str | Column) -> Table:
    """Make a table without lines, whose columns are text unless given as a `number`."""
    table = Table(*columns, box=None, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    return table


def number(heading: str) -> Column:
    """Make a column that is aligned to the right."""
    return Column(heading, justify="right")
