"""`rlsbench data` and `rlsbench inspect`: public recordings, and what a recording contains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console

from rlsbench.cli.console import new_console, new_table, number
from rlsbench.cli.options import read_options_from, recording_options
from rlsbench.datasets import DATASETS, LICENCE_FILE, dataset_named, dataset_path, fetch_dataset, located
from rlsbench.errors import RecordingError, RlsbenchError
from rlsbench.recordings import (
    Contents,
    Recording,
    Session,
    check_trainable,
    column_values,
    read_contents,
    read_recording,
)
from rlsbench.results import check_writable

_LONG = 16  # the longest condition, in characters, that a table shows
_FIGURE = "Draw the PSTHs into a new .png, .pdf or .svg file."
_SOURCE = "Source: http(s)://, file:// or a folder; by default RLSBENCH_DATA_URL, or the published address."


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
@click.option("--base-url", metavar="URL", help=_SOURCE)
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


@click.command(short_help="Show the contents of a recording, and draw its PSTHs.")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@recording_options
@click.option("--figure", type=click.Path(path_type=Path), metavar="FILE", help=_FIGURE)
def inspect(file: Path, figure: Path | None, **options: Any) -> None:
    """Print the contents of the recording FILE: units, trials, events and the resulting rates.

    FILE may also be a data set, such as alm:left.
    """
    given = read_options_from(options)
    file, how = located(file, given)
    if figure is not None:
        check_writable(figure)
    console = new_console()
    contents = read_contents(file, how)
    _print_contents(console, contents)
    try:
        recording = read_recording(contents.session if contents.session is not None else file, how)
    except RecordingError as error:
        if given.changed() or figure is not None:
            raise
        console.print(f"no rates: {error}")
        return
    _print_rates(console, recording, () if contents.session is None else contents.session.notes)
    try:
        check_trainable(recording)
    except RecordingError as error:
        console.print(f"a run refuses these rates: {error}")
    if figure is None:
        console.print("no figure drawn: give --figure FILE for a heat map of the PSTHs")
        return
    from rlsbench.report.heatmaps import save_psth_heatmap  # imports Matplotlib

    console.print(f"figure: {save_psth_heatmap(recording, figure)}")


def _print_contents(console: Console, contents: Contents) -> None:
    size = f"{contents.size / 2**20:.1f} MiB" if contents.size >= 2**20 else f"{contents.size / 2**10:.1f} KiB"
    console.print(f"{contents.source}: {contents.format}, {size}")
    session = contents.session
    if session is None:
        console.print(f"matrices that may hold rates: {', '.join(contents.matrices) or 'none'}")
        return
    times = [(part.min(), part.max()) for part in session.units.spike_times if len(part)]
    first, last = (min(low for low, _ in times), max(high for _, high in times)) if times else (0.0, 0.0)
    console.print(f"{len(session.units):,} units, {session.spikes:,} spikes, from {first:.2f} to {last:.2f} s")
    _print_units(console, session)
    _print_trials(console, session)
    for note in session.notes:
        console.print(note)


def _print_units(console: Console, session: Session) -> None:
    """Columns of the units, and their number by quality and region."""
    units = session.units
    if columns := {name: values for name, values in units.columns.items() if name != "id"}:
        table = new_table("column of units", "values")
        for name, values in columns.items():
            table.add_row(name, column_values(values))
        console.print(table, soft_wrap=False)
    if units.quality is None and units.labels is None:
        console.print("the file has neither quality nor regions of units")
        return
    heading, labels = "region", ["units"] * len(units)
    if units.quality is not None:
        heading, labels = f"region by {units.quality}", list(units.columns[units.quality])
    regions = ["units"] * len(units) if units.labels is None else units.labels
    by_label, by_region, both = Counter(labels), Counter(regions), Counter(zip(regions, labels, strict=True))
    names = sorted(by_label, key=lambda label: (-by_label[label], label))
    table = new_table(heading, *map(number, (*names, "total")))
    for region in sorted(by_region, key=lambda region: (-by_region[region], region)):
        counts = [both[region, name] for name in names]
        table.add_row(region or "unknown", *map(str, (*counts, by_region[region])))
    if len(by_region) > 1:
        table.add_row("total", *(str(by_label[name]) for name in names), str(len(units)))
    console.print(table, soft_wrap=False)


def _print_trials(console: Console, session: Session) -> None:
    trials = session.trials
    if trials is None:
        console.print("no trials table")
    else:
        console.print(f"{trials.rows:,} trials")
        table = new_table("column of trials", "values")
        for name, values in trials.columns.items():
            table.add_row(name, column_values(values))
        console.print(table, soft_wrap=False)
    for name, other in session.tables.items():
        console.print(f"table {name}, for --trials-table: {other.rows:,} rows of {', '.join(other.columns)}")
    if not session.events:
        console.print("no event series")
        return
    table = new_table("event series", *map(number, ("times", "first (s)", "last (s)")))
    for name, times in session.events.items():
        ends = [f"{times.min():.2f}", f"{times.max():.2f}"] if len(times) else ["", ""]
        table.add_row(name, str(len(times)), *ends)
    console.print(table, soft_wrap=False)


def _print_rates(console: Console, recording: Recording, printed: Sequence[str]) -> None:
    for note in recording.notes:
        if note not in printed:
            console.print(note)
    edges, names = recording.edges_s, recording.conditions
    if edges is None or recording.bin_s is None:
        console.print(f"{recording.bins} bins of {recording.neurons:,} neurons; unknown bin width")
    else:
        bins = f"{recording.bins} bins of {1000 * recording.bin_s:g} ms from {edges[0]:g} to {edges[-1]:g} s"
        console.print(f"{bins}, {recording.neurons:,} neurons")
    if max(map(len, names)) > _LONG:
        for i, name in enumerate(names, start=1):
            console.print(f"condition {i}: {name}")
        names = tuple(f"condition {i}" for i in range(1, len(names) + 1))
    quantiles = ("lowest", "1st quartile", "median", "3rd quartile", "highest")
    table = new_table("rates (Hz)", *map(number, ("trials", "mean", *quantiles)))
    for i, condition in enumerate(names):
        means = recording.rates_hz[:, :, i].mean(axis=0)
        numbers = (means.mean(), *np.quantile(means, [0, 0.25, 0.5, 0.75, 1]))
        trials = "" if recording.trials is None else str(recording.trials[i])
        table.add_row(condition, trials, *(f"{value:.2f}" for value in numbers))
    console.print(table, soft_wrap=False)
    silent = int((recording.mean_rates_hz == 0).sum())
    if silent:
        console.print(f"{silent} of {recording.neurons} neurons fire no spikes")
