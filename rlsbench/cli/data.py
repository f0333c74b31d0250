"""`rlsbench data`: fetch public recordings and verify their checksums.

In: the name of a dataset.  Out: its files in a local folder.
"""

from __future__ import annotations

import click

from rlsbench.datasets import DATASETS, LICENCE_FILE, dataset_named, dataset_path, fetch_dataset
from rlsbench.errors import RlsbenchError

__all__ = ["data"]


@click.group(short_help="List, fetch and locate public recordings.")
def data() -> None:
    """List, fetch and locate public recordings; checksums are verified.

    Files are stored in the cache folder of the system, or in RLSBENCH_DATA_DIR.
    """


@data.command(name="list")
def list_datasets() -> None:
    """List the datasets, and show which are fetched."""
    for name, dataset in sorted(DATASETS.items()):
        try:
            state = f"in {dataset_path(name)}"
        except RlsbenchError:
            state = "not fetched"
        click.echo(f"{name}  {dataset.description} ({len(dataset.files)} files); {state}")


@data.command(short_help="Fetch a dataset.")
@click.argument("name")
@click.option(
    "--base-url",
    metavar="URL",
    help="Source: http(s)://, file:// or a folder; by default RLSBENCH_DATA_URL, or the published address.",
)
def fetch(name: str, base_url: str | None) -> None:
    """Fetch the dataset NAME, except files that exist already."""
    folder = fetch_dataset(name, base_url=base_url)
    click.echo(dataset_named(name).notice)
    click.echo(f"{len(DATASETS[name].files)} files in {folder}, with their licence in {LICENCE_FILE}")


@data.command(short_help="Print the folder of a dataset.")
@click.argument("name")
def path(name: str) -> None:
    """Print the folder of the dataset NAME; exit status 1 if a file is missing or modified."""
    click.echo(str(dataset_path(name)))
