"""What columns and arrays are called: units, trials, times, and the units of times.

In: names, as Brian, NEST, phy, pandas and others write them.  Out: what they stand for.  Knows no
values.
"""

from __future__ import annotations

import re

UNITS = ("unit", "neuron", "cell", "cluster", "sender", "spike_cluster", "gid", "i", "id")
TRIALS = ("trial", "trial_index", "trial_number", "trial_num")
RATES = ("rate", "rate_hz", "firing_rate", "firing_rate_hz", "fr", "count", "spike_count", "n_spike")
_UNITS_OF_TIME = {"s": "s", "sec": "s", "second": "s", "ms": "ms", "msec": "ms", "millisecond": "ms"}
_UNITS_OF_TIME |= {"us": "us", "usec": "us", "\u03bcs": "us", "microsecond": "us"}
_TIME = re.compile(
    r"(?:(?:spike|bin|relative|event|frame|trial)_)?(?:t|ts|time|times|timestamp|timestamps|timebase|tvec)"
    rf"(?:_(?:in_)?({'|'.join(_UNITS_OF_TIME)})s?)?"
)
_OF_BINS = re.compile(r"(?:bin_)?(?:edge|center|centre|start)s?|time_?(?:bin|point|axi)s?")
_COUNTER = re.compile(r"(?:unnamed_0|index|level_0|row)?")
_NUMBERED_TIME = re.compile(r"(?:t|time|bin|frame|ms)_?-?\d+(?:_\d+)?(?:_?m?s)?")


def plain(name: str) -> str:
    """A name in lower case, with _ for spaces, brackets and other marks."""
    return re.sub(r"[^\w]+|_+", "_", name.strip().casefold()).strip("_")


def is_any_of(name: str, names: tuple[str, ...]) -> bool:
    """Whether a column has one of the names, as such, as a plural or with _id."""
    return plain(name).removesuffix("s").removesuffix("_id") in names


def time_unit(name: str) -> str | None:
    """The unit that a name of times states: s, ms, us, samples or ""; None for any other name."""
    match = _TIME.fullmatch(plain(name))
    if match is None:
        return "samples" if plain(name).removeprefix("spike_") in ("sample", "samples") else None
    return _UNITS_OF_TIME[match[1]] if match[1] else ""


def time_unit_of_bins(name: str) -> str | None:
    """The same for the times of bins, which have more names."""
    return "" if _OF_BINS.fullmatch(plain(name)) else time_unit(name)


def counts_rows(name: str) -> bool:
    """Whether a column of this name only numbers the rows, as pandas writes an index."""
    return _COUNTER.fullmatch(plain(name)) is not None


def counts_bins(name: str) -> bool:
    """Whether a column of this name numbers bins."""
    return plain(name) in ("bin", "bins", "frame", "frames", "time_bin", "bin_index")


def are_numbered_times(names: tuple[str, ...]) -> bool:
    """Whether names count bins or times, such as t0, t1, ... or bin_0, bin_1, ..."""
    return all(_NUMBERED_TIME.fullmatch(plain(name)) for name in names)
