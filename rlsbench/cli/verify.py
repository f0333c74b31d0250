"""`rlsbench verify`: run the conformance suite on a backend."""

from __future__ import annotations

import sys
from itertools import groupby

import click

from rlsbench.backend import get_backend, require_usable, resolve_options
from rlsbench.configuration import load_experiment


@click.command(short_help="Check a backend against the reference.")
@click.argument("backend_name", metavar="BACKEND")
@click.option("--device", default="auto", show_default=True, help="Device, such as cpu or cuda:0.")
@click.option("--compile", "compiled", is_flag=True, help="Compile with the backend's library.")
def verify(backend_name: str, device: str, compiled: bool) -> None:
    """Check BACKEND against the reference in every precision and storage that it offers.

    Each check passes, fails, or is not checked for a stated reason. The exit status is 1 if any
    check fails.
    """
    backend = get_backend(backend_name)
    numerics = load_experiment("smoke", overrides={"numerics.device": device, "numerics.compile": compiled}).numerics
    require_usable(backend, resolve_options(backend, numerics))
    from rlsbench.conformance import Validity, verify_backend

    totals = dict.fromkeys(Validity, 0)
    found = verify_backend(backend, device, compile=compiled)
    for configuration, outcomes in groupby(found, key=lambda outcome: outcome.configuration):
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
