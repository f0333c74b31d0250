"""The command `rlsbench show`: print the configuration of a preset."""

from __future__ import annotations

from typing import Any

import click

from rlsbench.cli.options import experiment_options, resolve_experiment
from rlsbench.configuration import to_toml


@click.command(short_help="Print the configuration of a preset.")
@click.argument("preset")
@experiment_options
def show(preset: str, **options: Any) -> None:
    """Print all settings of PRESET as TOML, which `--config` of other commands can read."""
    click.echo(to_toml(resolve_experiment(preset, options)), nl=False)
