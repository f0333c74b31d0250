"""The console of a command: text is printed as given, and tables are not squeezed into a pipe."""

from __future__ import annotations

from rich.console import Console

PIPE_WIDTH = 200  # columns, where there is no terminal to fit


def new_console() -> Console:
    """Make a console that does not highlight, wrap or interpret text."""
    width = None if Console().is_terminal else PIPE_WIDTH
    return Console(highlight=False, markup=False, soft_wrap=True, width=width)
