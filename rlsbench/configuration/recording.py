"""The options for reading a recording, each defined once.

The `[recording]` table, `rlsbench.recordings.ReadOptions` and the command line share them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from rlsbench.configuration.section import Finite, NonNegative, Positive, Section, Texts

TimeAxis = Literal["rows", "columns"]
Axis = Literal["time", "unit", "trial", "condition"]
Smoothing = Literal["boxcar", "gaussian", "none"]
Occurrence = Literal["only", "first", "last"]
Interval = Annotated[tuple[Finite, Finite], BeforeValidator(lambda v: tuple(v) if isinstance(v, list) else v)]


_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


def seconds_per(unit: str) -> float:
    """Seconds in s, ms or us, or between samples at a rate such as 30kHz; else a ValueError."""
    rate = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) *(k?)hz", unit, re.IGNORECASE)
    if rate and float(rate[1]):
        return 1.0 / (float(rate[1]) * (1000.0 if rate[2] else 1.0))
    if unit not in _SECONDS:
        raise ValueError("should be s, ms, us, or a sampling rate such as 30kHz")
    return _SECONDS[unit]


def _time_unit(value: Any) -> Any:
    if isinstance(value, str):
        seconds_per(value)
    return value


def _columns(value: Any) -> Any:
    """Take "unit=sender,time=t" for {"unit": "sender", "time": "t"}."""
    if not isinstance(value, str):
        return value
    pairs = [pair.partition("=") for pair in value.split(",")]
    return {role.strip(): name.strip() for role, _, name in pairs}


Columns = Annotated[
    dict[Literal["unit", "time", "trial"], Annotated[str, Field(min_length=1)]], BeforeValidator(_columns)
]


def _axes(value: Any) -> Any:
    """Take "trials, time, units" for ("trial", "time", "unit")."""
    names = value.split(",") if isinstance(value, str) else value
    return tuple(str(name).strip().removesuffix("s") for name in names) if isinstance(names, list | tuple) else value


@dataclass(frozen=True)
class CommandOption:
    """How the command line spells a field; its help text is the field's description."""

    flag: str
    metavar: str
    click: dict[str, Any] = field(default_factory=dict)  #: further arguments of `click.option`


BIN_OPTION = CommandOption("--bin-ms", "MS", {"type": float, "help": "Bin width in ms; 20 by default."})


class RecordingOptions(Section):
    """How to read a recording; the docstring of each field is its help text on the command line."""

    dataset: Annotated[str | None, CommandOption("--dataset", "NAME")] = None
    """Name of the matrix of rates, if the file holds several."""
    time_axis: Annotated[TimeAxis | None, CommandOption("--time-axis", "AXIS")] = None
    """Time axis of a matrix: rows or columns; by default what the file says."""
    axes: Annotated[tuple[Axis, ...], BeforeValidator(_axes), CommandOption("--axes", "NAMES")] = ()
    """What the axes of an array are, such as condition,trial,time,unit; trials are averaged."""
    values: Annotated[Literal["rates", "counts"] | None, CommandOption("--values", "KIND")] = None
    """What a matrix holds: rates in Hz (the default) or counts of spikes."""
    matrix_bin_ms: Annotated[Positive | None, CommandOption("--matrix-bin-ms", "MS", {"type": float})] = None
    """Bin width of a matrix in ms; by default that of its times, or else that of the targets."""
    columns: Annotated[Columns, CommandOption("--columns", "ROLE=NAME,...")] = Field(default_factory=dict)
    """Columns of a table of spikes, such as unit=sender,time=time_ms; also trial. By default those
    with usual names; numbers from 0 for a table without header."""
    time_unit: Annotated[str | None, BeforeValidator(_time_unit), CommandOption("--time-unit", "UNIT")] = None
    """Unit of the times in the file: s, ms, us, or for samples their rate, such as 30kHz."""
    event: Annotated[str | None, CommandOption("--event", "EVENT")] = None
    """Event at time 0: a column of trials, an event series, a FILE of times in s, or a time; by
    default the go cue."""
    occurrence: Annotated[Occurrence, CommandOption("--occurrence", "WHICH")] = "only"
    """Which event of a series to use in each trial: first, last, or only (the default), which
    requires exactly one."""
    window_s: Annotated[Interval, CommandOption("--window", "START STOP", {"type": float, "nargs": 2})] = (-2.0, 1.0)
    """Start and stop of the rates in seconds from the event; -2 1 by default."""
    smoothing: Annotated[Smoothing, CommandOption("--smoothing", "KIND")] = "boxcar"
    """Smoothing over bins: boxcar (the default), gaussian or none."""
    smoothing_bins: Annotated[Positive | None, CommandOption("--smoothing-bins", "N", {"type": float})] = None
    """Width of the boxcar in bins (15 by default), or standard deviation of the Gaussian."""
    trials_table: Annotated[str | None, CommandOption("--trials-table", "NAME")] = None
    """Table of intervals or events to use as the trials; the trials table by default."""
    trials: Annotated[Texts, CommandOption("--trials", "SELECTION", {"multiple": True})] = ("",)
    """Selection of trials, such as "trial_instruction == 'left' and outcome == 'hit'"; each one
    given is a condition."""
    units: Annotated[str, CommandOption("--units", "SELECTION")] = ""
    """Selection of units by their columns, such as "snr > 2 and is_good"; all units by default."""
    quality: Annotated[Texts, CommandOption("--quality", "LABEL", {"multiple": True})] = ("good",)
    """Accepted unit quality; good by default, any for every unit."""
    regions: Annotated[Texts, CommandOption("--region", "NAME", {"multiple": True})] = ()
    """Brain region, or the beginning of its name; all regions by default."""
    minimum_rate_hz: Annotated[NonNegative, CommandOption("--minimum-rate", "HZ", {"type": float})] = 0.0
    """Leave out neurons with a lower mean rate."""


class RecordingSection(RecordingOptions):
    """The recorded files, and how to read them; bins are `time.learn_every_ms` wide."""

    files: Texts = ()
    """Spikes of units (NWB, MATLAB, NPZ, CSV, Parquet, a folder of phy) or rates in Hz (MATLAB,
    HDF5, JLD, NPY, NPZ, CSV, Parquet).
    Several files with the same neurons are several conditions, unless they are pooled."""
    pool: bool | None = None
    """Whether the neurons of several files form one population. By default, and if false, the files
    are conditions of the same neurons; by default, they must not be of different sessions."""
