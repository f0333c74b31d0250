"""Options that tell how to read a recording, for every command that reads one.

In: strings.  Out: `ReadOptions`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from rlsbench.recordings import ReadOptions

__all__ = ["read_options_from", "recording_options"]

_RECORDING_OPTIONS = [
    click.option(
        "--event",
        metavar="EVENT",
        help="What is at time 0: a column of trials, an event series, or a FILE of times in s.",
    ),
    click.option("--occurrence", metavar="WHICH", help="only, first or last: which time of a series in each trial."),
    click.option(
        "--window", type=float, nargs=2, metavar="START STOP", help="Seconds around the event; by default -2 1."
    ),
    click.option("--bin-ms", type=float, metavar="MS", help="Width of a bin; by default 20."),
    click.option("--smoothing", metavar="KIND", help="boxcar, gaussian or none; by default boxcar."),
    click.option(
        "--smoothing-bins", type=float, metavar="N", help="Width of the boxcar, by default 15, or sd of the Gaussian."
    ),
    click.option(
        "--trials",
        multiple=True,
        metavar="SELECTION",
        help="As \"trial_instruction == 'left' and outcome == 'hit'\"; each one given is a condition.",
    ),
    click.option(
        "--quality", multiple=True, metavar="LABEL", help="Accepted unit quality; by default good. any: every unit."
    ),
    click.option("--region", multiple=True, metavar="NAME", help="Brain region, or how its name begins."),
    click.option("--minimum-rate", type=float, metavar="HZ", help="Leave out neurons with a lower mean rate."),
    click.option("--dataset", metavar="NAME", help="Which matrix of rates, where the file holds several."),
    click.option("--time-axis", metavar="AXIS", help="rows or columns: which axis of a matrix is time."),
]

# Option of the command line -> field of ReadOptions
_FIELDS = {
    "event": "event",
    "occurrence": "occurrence",
    "window": "window_s",
    "bin_ms": "bin_s",
    "smoothing": "smoothing",
    "smoothing_bins": "smoothing_bins",
    "trials": "trials",
    "quality": "quality",
    "region": "regions",
    "minimum_rate": "minimum_rate_hz",
    "dataset": "dataset",
    "time_axis": "time_axis",
}


def recording_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that make up `ReadOptions` to a command."""
    for option in reversed(_RECORDING_OPTIONS):
        command = option(command)
    return command


def read_options_from(options: dict[str, Any]) -> ReadOptions:
    """The `ReadOptions` of a command's options; others among them are left alone.

    Raises
    ------
    ConfigurationError
        For a value that cannot be.
    """
    given = {name: options[name] for name in _FIELDS if options.get(name) not in (None, ())}
    if "bin_ms" in given:
        given["bin_ms"] /= 1000.0
    if "any" in given.get("quality", ()):
        given["quality"] = ()
    return ReadOptions(**{_FIELDS[name]: value for name, value in given.items()})
