"""`rlsbench backends` and `rlsbench verify`: the backends, and whether they are right."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

import click

from rlsbench.backend import FEATURES, backend_entries, get_backend, require_usable, resolve_options
from rlsbench.cli.console import echo, new_console, new_table
from rlsbench.configuration import load_experiment
from rlsbench.rules import NumpyRule, make_rule, rule_names

if TYPE_CHECKING:
    from rlsbench.conformance import Outcome


@click.command(short_help="List the backends, and why some cannot be used here.")
def backends() -> None:
    """List the backends: what they offer, their origin, and the reason if one cannot be used."""
    console = new_console()
    table = new_table("backend", "precision", "P", "storage", "algorithm", "device", "origin", "available")
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


@click.command(short_help="Check a backend or a learning rule.")
@click.argument("name")
@click.option("--device", default="auto", show_default=True, help="Device, such as cpu or cuda:0.")
@click.option("--compile", "compiled", is_flag=True, help="Compile with the backend's library.")
def verify(name: str, device: str, compiled: bool) -> None:
    """Check the backend NAME against the reference in every precision and storage that it offers.

    NAME may also be a learning rule that is written in NumPy. Each check passes, fails, or is not
    checked for a stated reason. The exit status is 1 if any check fails.
    """
    found: Iterator[Outcome]
    if name in rule_names():
        rule = make_rule(load_experiment("smoke", overrides={"learning.rule": name}))
        if not isinstance(rule, NumpyRule):
            raise click.UsageError(f"rule {name} is part of every backend: verify a backend")
        from rlsbench.conformance import Validity, verify_rule

        found = verify_rule(rule)
    else:
        backend = get_backend(name)
        options = {"numerics.device": device, "numerics.compile": compiled}
        require_usable(backend, resolve_options(backend, load_experiment("smoke", overrides=options).numerics))
        from rlsbench.conformance import Validity, verify_backend

        found = verify_backend(backend, device, compile=compiled)
    totals = dict.fromkeys(Validity, 0)
    for configuration, outcomes in groupby(found, key=lambda outcome: outcome.configuration):
        echo(f"{name}, {configuration}")
        unchecked: dict[str, list[str]] = {}
        for outcome in outcomes:
            totals[outcome.validity] += 1
            if outcome.validity is Validity.NOT_CHECKED:
                unchecked.setdefault(outcome.reason, []).append(outcome.check)
            else:
                reason = f": {outcome.reason}" if outcome.reason else ""
                echo(f"  {outcome.validity.value}  {outcome.check}{reason}")
        for reason, checks in unchecked.items():
            echo(f"  not checked  {checks[0]}{f' (and {len(checks) - 1} more)' if checks[1:] else ''}: {reason}")
    told = ", ".join(f"{count} {validity.value.lower()}" for validity, count in totals.items())
    echo(f"{name}: {told}")
    if totals[Validity.FAILED]:
        sys.exit(1)
