"""The console of a command: text is printed as given, and tables are not squeezed into a pipe.

What cannot be printed is left out, and ends nothing.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from rlsbench.errors import RlsbenchError

PIPE_WIDTH = 200  # columns, where there is no terminal to fit


class Output:
    """Standard output and error that can be printed to whatever happens to them.

    In its `with` block, a character that the encoding lacks is replaced. `error` is the first that
    writing to standard output met, and is reported at once. If the reader of a pipe has left,
    `closed` is called instead.
    """

    def __init__(self, closed: Callable[[], None]) -> None:
        self.error: OSError | None = None
        self._closed: Callable[[], None] | None = closed
        self._previous = (sys.stdout, sys.stderr)

    def __enter__(self) -> Output:
        for number in range(3):
            try:
                os.fstat(number)
            except OSError:  # closed: a file that is opened later would get its number, and messages
                os.open(os.devnull, os.O_RDWR)
        sys.stdout = _unfailing(sys.stdout, sys.__stdout__, self._lost)
        sys.stderr = _unfailing(sys.stderr, sys.__stderr__, lambda error: None)
        return self

    def __exit__(self, *error: object) -> None:
        self._closed = None
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = self._previous

    def _lost(self, error: OSError) -> None:
        if error.errno == errno.EPIPE:
            if self._closed is not None:
                self._closed()
        elif self.error is None:
            self.error = error
            click.echo(f"rlsbench: standard output cannot be written: {error.strerror}", err=True)


class _Raw(io.RawIOBase):
    """Writes to another stream; what that refuses is dropped after a call of `lost`."""

    def __init__(self, raw: Any, lost: Callable[[OSError], None]) -> None:
        self._raw, self._lost = raw, lost

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return bool(self._raw.isatty())

    def fileno(self) -> int:
        return int(self._raw.fileno())

    def write(self, data: Any) -> int:
        try:
            while (written := self._raw.write(data)) is None:  # another program made it non-blocking
                select.select([], [self._raw], [])
            return int(written)
        except OSError as error:
            self._lost(error)
            return len(data)


def _unfailing(stream: TextIO, original: TextIO | None, lost: Callable[[OSError], None]) -> TextIO:
    """The stream with errors left out, unless it is None, or a program has replaced it."""
    if stream is None or stream is not original:
        return stream
    with suppress(OSError):
        stream.flush()
    raw = _Raw(getattr(stream.buffer, "raw", stream.buffer), lost)
    lines = bool(stream.line_buffering)
    return io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, errors="replace", line_buffering=lines)


def printable(text: str) -> str:
    """Text with control characters and lone surrogates as escapes: names in files may hold any."""
    return "".join(c if c.isprintable() or c in "\n\t\xa0" else ascii(c)[1:-1] for c in text)


def echo(text: str, *, err: bool = False) -> None:
    """Print a line that may contain names from files or plug-ins."""
    click.echo(printable(text), err=err)


def drawn(draw: Callable[[], Path]) -> str:
    """Draw a picture, and say where it is, or why there is none: no result depends on it."""
    try:
        return f"picture in {draw()}"
    except RlsbenchError:
        raise
    except Exception as error:  # of Matplotlib, its settings or its fonts
        return f"no picture could be drawn: {type(error).__name__}: {' '.join(str(error).split())[:300]}"


class _Console(Console):
    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(printable(text), **how)


def new_console(*, quiet: bool = False) -> Console:
    """Make a console that does not highlight, wrap or interpret text; `quiet` prints nothing."""
    width = None if Console().is_terminal else PIPE_WIDTH
    return _Console(highlight=False, markup=False, emoji=False, soft_wrap=True, width=width, quiet=quiet)


def new_table(*columns: str | Column) -> Table:
    """Make a table without lines, whose columns are text unless given as a `number`."""
    table = Table(*columns, box=None, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    return table


def number(heading: str) -> Column:
    """Make a column that is aligned to the right."""
    return Column(heading, justify="right")
