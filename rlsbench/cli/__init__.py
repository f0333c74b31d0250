"""The command line: modules of a few commands, which turn options into function calls.

Every error that a user can correct is printed as one line on stderr, followed by a table if it is
about sizes. The exit status is 2 for an invalid request, 1 for one that failed, 130 after control-C
and 143 after SIGTERM.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Any

import click

from rlsbench.cli.backends import backends, verify
from rlsbench.cli.estimate import estimate, show
from rlsbench.cli.evaluate import evaluate
from rlsbench.cli.recordings import data, inspect
from rlsbench.cli.report import report
from rlsbench.cli.run import resume, run
from rlsbench.cli.sweep import sweep
from rlsbench.errors import InterruptedRunError, RlsbenchError


class _Commands(click.Group):
    """A group of commands that turns control-C into an `InterruptedRunError`."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the requested command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:  # click would print an empty line first
            raise InterruptedRunError("interrupted", getattr(error, "number", signal.SIGINT)) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="rlsbench")
def command() -> None:
    """Train spiking networks by recursive least squares, on any backend, and compare them."""


for _subcommand in (run, resume, evaluate, sweep, report, estimate, inspect, data, show, backends, verify):
    command.add_command(_subcommand)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    try:
        command.main(arguments, prog_name="rlsbench", standalone_mode=False)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except RlsbenchError as error:
        _fail(str(error), error.exit_code, error.details)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted", 130)
    except MemoryError:
        _fail("out of memory; use fewer --neurons, --storage packed or a narrower --p-precision", 1)
    except BrokenPipeError:  # the reader of the pipe has closed it
        sys.exit(1)


def _fail(message: str, status: int, details: Sequence[str] = ()) -> None:
    click.echo(f"rlsbench: {' '.join(message.split())}", err=True)
    for line in details:
        click.echo(line, err=True)
    sys.exit(status)
