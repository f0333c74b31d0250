"""What a command says when it fails: one line, and an exit status.

Of several ranks, one says it. If all fail alike, they end; otherwise the one that fails ends all.
"""

from __future__ import annotations

import re
import signal
import traceback
from collections.abc import Sequence

import click

from rlsbench.cli.console import echo
from rlsbench.cli.interruption import SIGPIPE
from rlsbench.errors import RlsbenchError
from rlsbench.ranks import Communicator

LONGEST_WORD = 1000  # of a message, which may quote an argument


def reported(error: BaseException) -> int:
    """Report an error that a user can correct, and return its exit status; raise any other."""
    if isinstance(error, click.ClickException):
        return _failed(error.format_message(), error.exit_code)
    if isinstance(error, RlsbenchError):
        return _failed(str(error), error.exit_code, error.details)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return interrupted(error.__cause__ or error)
    if isinstance(error, OSError) and error.filename is not None:  # such as a name too long
        return _failed(f"{error.filename}: {error.strerror}", 1)
    if isinstance(error, MemoryError):
        return _failed("out of memory; use fewer --neurons, --storage packed or a narrower --p-precision", 1)
    raise error


def reported_once(error: BaseException, ranks: Communicator) -> int:
    """The same for several ranks, of which each calls this that fails."""
    alike = ranks.alike()
    if alike and ranks.rank:
        return int(getattr(error, "exit_code", 1))
    try:
        status = reported(error)
    except BaseException:
        traceback.print_exception(error)
        status = 1
    if not alike:
        ranks.abort(status)
    return status


def interrupted(error: BaseException) -> int:
    """Report a signal, and return its exit status."""
    number = getattr(error, "number", signal.SIGINT)
    if number == SIGPIPE:  # the reader has seen enough, such as `head`
        return 128 + SIGPIPE
    return _failed("interrupted", 128 + number)


def _failed(message: str, status: int, details: Sequence[str] = ()) -> int:
    message = re.sub(rf"(\S{{{LONGEST_WORD - 3}}})\S{{4,}}", r"\1...", " ".join(message.split()))
    echo(f"rlsbench: {message}", err=True)
    for line in details:
        echo(line, err=True)
    return status
