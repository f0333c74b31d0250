"""The command line: modules of a few commands, which turn options into function calls.

Every error that a user can correct is printed as one line on stderr, followed by a table if it is
about sizes. The exit status is 2 for an invalid request, 1 for one that failed, 75 for a run that
stopped before its time limit, and 128 plus the number of a signal: 130 after control-C, 143 after
SIGTERM, 141 if the reader of the output left.
"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Sequence
from typing import Any

import click

from rlsbench.cli.backends import backends, verify
from rlsbench.cli.console import Output, echo
from rlsbench.cli.estimate import estimate, show
from rlsbench.cli.evaluate import evaluate
from rlsbench.cli.export import export
from rlsbench.cli.interruption import SIGPIPE, Interruption
from rlsbench.cli.recordings import data, inspect
from rlsbench.cli.report import report
from rlsbench.cli.run import resume, run
from rlsbench.cli.sweep import sweep
from rlsbench.errors import RlsbenchError

LONGEST_WORD = 1000  # of a message, which may quote an argument


class _Commands(click.Group):
    """A group of commands that leaves it to `main` to report a signal."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the requested command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:  # click would print an empty line first
            raise click.Abort from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="rlsbench")
def command() -> None:
    """Train spiking networks by recursive least squares, on any backend, and compare them."""


for _subcommand in (run, resume, evaluate, export, sweep, report, estimate, inspect, data, show, backends, verify):
    command.add_command(_subcommand)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    lost = None
    try:
        with Interruption() as interruption, Output(interruption.output_closed) as output:
            status = _status(arguments, interruption)
        lost = output.error
    except KeyboardInterrupt as error:  # before or after the command
        status = _interrupted(error)
    if status or lost is not None:
        sys.exit(status or 1)


def _status(arguments: list[str] | None, interruption: Interruption) -> int:
    """Run the command line, report its error, and return its exit status."""
    try:
        command.main(arguments, prog_name="rlsbench", standalone_mode=False, obj=interruption)
    except click.ClickException as error:
        return _failed(error.format_message(), error.exit_code)
    except RlsbenchError as error:
        return _failed(str(error), error.exit_code, error.details)
    except (KeyboardInterrupt, click.Abort) as error:
        return _interrupted(error.__cause__ or error)
    except OSError as error:  # such as a name too long, or a folder that must not be searched
        if error.filename is None:
            raise
        return _failed(f"{error.filename}: {error.strerror}", 1)
    except MemoryError:
        return _failed("out of memory; use fewer --neurons, --storage packed or a narrower --p-precision", 1)
    return 0


def _interrupted(error: BaseException) -> int:
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
