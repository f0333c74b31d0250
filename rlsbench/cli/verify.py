"""`rlsbench verify`: run the conformance suite on a backend."""

from __future__ import annotations

import sys
from itertools import groupby

import click

from rlsbench.backend import get_backend

__all__ = ["verify"]


@click.command(short_help="Check a backend against the reference.")
@click.argument("backend_name", metavar="BACKEND")
def verify(backend_name: str) -> None:
    """Check BACKEND against the reference in every precision and storage that it declares.

    Each check ends as passed, failed, or not checked with the reason. The exit status is 1 if any failed.
    """
    backend = get_backend(backend_name)
    from rlsbench.conformance import Validity, verify_backend

    totals = dict.fromkeys(Validity, 0)
    for configuration, outcomes in groupby(verify_backend(backend), key=lambda outcome: outcome.configuration):
        click.echo(f"{backend_name}, {configuration}")
        unchecked: dict[str, list[str]] = {}
        for outcome in outcomes:
            totals[outcome.validity] += 1
            if outcome.validity is Validity.NOT_CHECKED:
                unchecked.setdefault(outcome.reason, []).append(outcome.check)
            else:
                reason = f": {outcome.reason}" if outcome.reason else ""
                click.echo(f"  {outcome.validity.value}  {outcome.check}{reason}")
        for reason, checks in unchecked.items():
            click.echo(f"  not checked  {checks[0]}{f' (and {len(checks) - 1} more)' if checks[1:] else ''}: {reason}")
    click.echo(
        f"{backend_name}: {totals[Validity.PASSED]} passed, {totals[Validity.FAILED]} failed, "
        f"{totals[Validity.NOT_CHECKED]} not checked"
    )
    if totals[Validity.FAILED]:
        sys.exit(1)
