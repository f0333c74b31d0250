"""`rlsbench inspect`: show the contents of a recording.

In: a file and options.  Out: tables on standard output, and a figure.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from rlsbench.cli.recording_options import read_options_from, recording_options
from rlsbench.errors import RecordingError
from rlsbench.recordings import Contents, Recording, Session, column_values, read_contents, read_recording
from rlsbench.results import check_writable

__all__ = ["inspect"]

_LONG = 16  # the longest condition, in characters, that a table shows


@click.command(short_help="Show the contents of a recording, and draw its PSTHs.")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@recording_options
@click.option(
    "--figure",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw the PSTHs into a new .png, .pdf or .svg file.",
)
def inspect(file: Path, figure: Path | None, **options: Any) -> None:
    """Print the contents of the recording FILE: units, trials, events and the resulting rates."""
    how = read_options_from(options)
    if figure is not None:
        check_writable(figure)
    console = Console()
    contents = read_contents(file)
    _print_contents(console, contents)
    try:
        recording = read_recording(contents.session if contents.session is not None else file, how)
    except RecordingError as error:
        if how.changed() or figure is not None:
            raise
        _say(console, f"no rates: {error}")
        return
    _print_rates(console, recording)
    if figure is None:
        _say(console, "no figure drawn: give --figure FILE for a heat map of the PSTHs")
        return
    from rlsbench.report.heatmaps import save_psth_heatmap  # imports Matplotlib

    _say(console, f"figure: {save_psth_heatmap(recording, figure)}")


def _print_contents(console: Console, contents: Contents) -> None:
    size = f"{contents.size / 2**20:.1f} MiB" if contents.size >= 2**20 else f"{contents.size / 2**10:.1f} KiB"
    _say(console, f"{contents.source}: {contents.format}, {size}")
    session = contents.session
    if session is None:
        _say(console, f"matrices that may hold rates: {', '.join(contents.matrices) or 'none'}")
        return
    times = [(part.min(), part.max()) for part in session.units.spike_times if len(part)]
    first, last = (min(low for low, _ in times), max(high for _, high in times)) if times else (0.0, 0.0)
    _say(console, f"{len(session.units):,} units, {session.spikes:,} spikes, from {first:.2f} to {last:.2f} s")
    _print_units(console, session)
    _print_trials(console, session)
    for note in session.notes:
        _say(console, note)


def _print_units(console: Console, session: Session) -> None:
    """Number of units by quality and region."""
    units = session.units
    quality = next(iter(units.quality.items()), None)
    if quality is None and units.labels is None:
        _say(console, "the file has neither quality nor regions of units")
        return
    regions = units.labels if units.labels is not None else np.full(len(units), "units", dtype=object)
    labels = quality[1] if quality is not None else np.full(len(units), "units", dtype=object)
    columns = sorted(set(labels), key=lambda label: (-int((labels == label).sum()), label))
    table = _table(f"region by {quality[0]}" if quality is not None else "region", *columns, "total")
    rows = sorted(set(regions), key=lambda region: (-int((regions == region).sum()), region))
    for region in rows:
        counts = [int(((regions == region) & (labels == column)).sum()) for column in columns]
        table.add_row(region or "unknown", *map(str, counts), str(sum(counts)))
    if len(rows) > 1:
        table.add_row("total", *(str(int((labels == column).sum())) for column in columns), str(len(units)))
    console.print(table)


def _print_trials(console: Console, session: Session) -> None:
    trials = session.trials
    if trials is None:
        _say(console, "no trials table")
    else:
        _say(console, f"{trials.rows:,} trials")
        table = _table("column of trials", "values")
        table.columns[1].justify = "left"
        for name, values in trials.columns.items():
            table.add_row(name, column_values(values))
        console.print(table)
    if session.events:
        table = _table("event series", "times", "first (s)", "last (s)")
        for name, times in session.events.items():
            ends = [f"{times.min():.2f}", f"{times.max():.2f}"] if len(times) else ["", ""]
            table.add_row(name, str(len(times)), *ends)
        console.print(table)
    else:
        _say(console, "no event series")


def _print_rates(console: Console, recording: Recording) -> None:
    for note in recording.notes:
        _say(console, note)
    edges = recording.edges_s
    if edges is None or recording.bin_s is None:
        _say(console, f"{recording.bins} bins of {recording.neurons:,} neurons; unknown bin width")
    else:
        _say(
            console,
            f"{recording.bins} bins of {1000 * recording.bin_s:g} ms from {edges[0]:g} to {edges[-1]:g} s, "
            f"{recording.neurons:,} neurons",
        )
    names = recording.conditions
    if max(map(len, names)) > _LONG:
        for number, name in enumerate(names, start=1):
            _say(console, f"condition {number}: {name}")
        names = tuple(f"condition {number}" for number in range(1, len(names) + 1))
    table = _table("rates (Hz)", "trials", "mean", "lowest", "1st quartile", "median", "3rd quartile", "highest")
    for i, condition in enumerate(names):
        means = recording.rates_hz[:, :, i].mean(axis=0)
        numbers = (means.mean(), *np.quantile(means, [0, 0.25, 0.5, 0.75, 1]))
        trials = "" if recording.trials is None else str(recording.trials[i])
        table.add_row(condition, trials, *(f"{number:.2f}" for number in numbers))
    console.print(table)
    silent = int((recording.mean_rates_hz == 0).sum())
    if silent:
        _say(console, f"{silent} of {recording.neurons} neurons fire no spikes")


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right", overflow="fold")
    return table


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
