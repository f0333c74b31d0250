"""`rlsbench data`: public recordings, fetched by checksum."""

from __future__ import annotations

import click

from rlsbench.datasets import DATASETS, LICENCE_FILE, dataset_named, dataset_path, fetch_dataset
from rlsbench.errors import RlsbenchError

__all__ = ["data"]


@click.group(short_help="Public recordings: list, fetch, and where they are.")
def data() -> None:
    """Fetch public recordings by checksum, and say where they are kept.

    They are kept in the system's folder for caches, or in RLSBENCH_DATA_DIR.
    """


@data.command(name="list")
def list_datasets() -> None:
    """List the datasets, and which of them were fetched."""
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
    help="Where the files are: http(s)://, file:// or a folder. By default RLSBENCH_DATA_URL, or the dataset's own.",
)
def fetch(name: str, base_url: str | None) -> None:
    """Fetch the dataset NAME; files that are there already are not fetched again."""
    folder = fetch_dataset(name, base_url=base_url)
    click.echo(dataset_named(name).notice)
    click.echo(f"{len(DATASETS[name].files)} files in {folder}, with their licence in {LICENCE_FILE}")


@data.command(short_help="Print the folder of a dataset.")
@click.argument("name")
def path(name: str) -> None:
    """Print the folder of the dataset NAME; the exit status is 1 if a file is missing or altered."""
    click.echo(str(dataset_path(name)))
