"""`rlsbench show`: the resolved configuration of a preset."""

from __future__ import annotations

from typing import Any

import click

from rlsbench.cli.options import experiment_options, resolve_experiment
from rlsbench.configuration import to_toml

__all__ = ["show"]


@click.command(short_help="Print the resolved configuration of a preset.")
@click.argument("preset")
@experiment_options
def show(preset: str, **options: Any) -> None:
    """Print the resolved configuration of PRESET as TOML; `--config` takes it back."""
    click.echo(to_toml(resolve_experiment(preset, options)), nl=False)
