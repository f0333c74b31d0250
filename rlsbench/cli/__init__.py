"""The command line: modules of a few commands, which turn options into function calls.

Every error that a user can correct is printed as one line on stderr, followed by a table if it is
about sizes. The exit status is 2 for an invalid request, 1 for one that failed, 75 for a run that
stopped before its time limit, and 128 plus the number of a signal: 130 after control-C, 143 after
SIGTERM, 141 if the reader of the output left.
"""

from __future__ import annotations

import atexit
import gc
import sys
from typing import Any

import click

from rlsbench.cli.backends import backends, verify
from rlsbench.cli.console import Output
from rlsbench.cli.estimate import estimate, show
from rlsbench.cli.evaluate import evaluate
from rlsbench.cli.export import export
from rlsbench.cli.failure import interrupted, reported, reported_once
from rlsbench.cli.interruption import Interruption
from rlsbench.cli.recordings import data, inspect
from rlsbench.cli.report import report
from rlsbench.cli.run import resume, run
from rlsbench.cli.sweep import sweep
from rlsbench.errors import RlsbenchError
from rlsbench.ranks import communicator, launched

ON_RANKS = ("run", "resume", "evaluate")  # commands that several ranks can execute together


class _Commands(click.Group):
    """A group of commands that leaves it to `main` to report a signal."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the requested command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:  # click would print an empty line first
            raise click.Abort from error

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the requested command; several ranks can execute only some."""
        found = super().resolve_command(ctx, args)
        if communicator().spread and found[0] not in ON_RANKS:
            raise click.UsageError(f"{found[0]}: not with several ranks, which can {', '.join(ON_RANKS)}; omit mpirun")
        return found


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="rlsbench")
def command() -> None:
    """Train spiking networks by recursive least squares, on any backend, and compare them."""


for _subcommand in (run, resume, evaluate, export, sweep, report, estimate, inspect, data, show, backends, verify):
    command.add_command(_subcommand)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit; without arguments, that of this process."""
    if arguments is None:
        atexit.register(gc.freeze)  # a last search for garbage among all objects would take 0.4 s
    lost, started = None, launched()
    silent = started is not None and started.rank > 0
    try:
        with Interruption(silent=silent) as interruption, Output(interruption.output_closed) as output:
            status = _status(arguments, interruption)
        lost = output.error
    except KeyboardInterrupt as error:  # before or after the command
        status = interrupted(error)
    if status or lost is not None:
        sys.exit(status or 1)


def _status(arguments: list[str] | None, interruption: Interruption) -> int:
    """Run the command line, report its error, and return its exit status."""
    try:
        ranks = communicator()
    except RlsbenchError as error:
        return error.exit_code if interruption.silent else reported(error)
    try:
        command.main(arguments, prog_name="rlsbench", standalone_mode=False, obj=interruption)
    except SystemExit:
        raise
    except BaseException as error:
        return reported_once(error, ranks) if ranks.spread else reported(error)
    return 0
