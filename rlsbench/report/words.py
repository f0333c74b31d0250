"""Numbers with their spread as text: few significant digits, units, no exponents."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from math import floor, isfinite, log10
from typing import NamedTuple


class Spread(NamedTuple):
    """Median (or mean) and range of a number of values."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float], middle: Callable[[Sequence[float]], float] = statistics.median) -> Spread:
        """The spread of at least one value."""
        return cls(float(middle(values)), min(values), max(values), len(values))


def number(value: float, digits: int = 3) -> str:
    """A number rounded to significant digits: 1,260 or 0.0426."""
    if not isfinite(value) or value == 0:
        return f"{value:g}"
    decimals = digits - 1 - floor(log10(abs(value)))
    return f"{round(value, decimals):,.{max(decimals, 0)}f}"


def seconds(value: float) -> str:
    """A time: 0.25 s, 1,260 s."""
    return f"{number(value, 2 if value < 10 else 3)} s"


def gib(count: float) -> str:
    """Bytes as GiB."""
    return f"{number(count / 2**30, 2 if count < 100 * 2**30 else 3)} GiB"


def times(ratio: float) -> str:
    """A ratio: 11, 2.2, 1.3."""
    return number(ratio, 2 if ratio < 100 else 3)


def spread(values: Spread, digits: int = 3) -> str:
    """Median and range: 0.25 (0.24–0.27); only the median if all values are equal."""
    if values.low == values.high:
        return number(values.median, digits)
    return f"{number(values.median, digits)} ({number(values.low, digits)}–{number(values.high, digits)})"


def several(count: int, noun: str) -> str:
    """One run, 3 runs."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
