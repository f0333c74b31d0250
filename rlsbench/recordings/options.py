"""How a recording is to be read.

In: names and numbers.  Out: validated `ReadOptions`.  Knows no file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rlsbench.errors import ConfigurationError

__all__ = ["Occurrence", "ReadOptions", "Smoothing", "TimeAxis"]

TimeAxis = Literal["rows", "columns"]
Smoothing = Literal["boxcar", "gaussian", "none"]
Occurrence = Literal["only", "first", "last"]

MAX_BINS = 10**6
BOXCAR_BINS = 15  # as in the published data


@dataclass(frozen=True)
class ReadOptions:
    """How to read a recording. `dataset` and `time_axis` are for matrices of rates, what follows is for spike times.

    Parameters
    ----------
    dataset : str, optional
        Name of the matrix, where the file holds several.
    time_axis : {"rows", "columns"}, optional
        Which axis of a matrix is time. Left out: the only one with the bins of the experiment, or the much shorter one.
    event : str, optional
        What is at time 0: a column of the trials table, a named event series, or a file of times in seconds (text, CSV
        or NPY). Left out: the go cue, where the file has one.
    occurrence : {"only", "first", "last"}
        Which time of the event series to take in each trial; "only" asks for exactly one in each selected trial.
    window_s : tuple of float
        Start and stop of the rates in seconds relative to the event.
    bin_s : float
        Width of a bin in seconds; the window must be a whole number of bins.
    smoothing : {"boxcar", "gaussian", "none"}
        Centred moving average, Gaussian, or none. At the ends of the window, the part of the kernel that lies within.
    smoothing_bins : float, optional
        Boxcar: its width, an odd number of bins (left out: 15). Gaussian: its standard deviation in bins.
    trials : tuple of str
        Selections of trials, one a condition: ``trial_instruction == 'left' and outcome == 'hit'``; "" takes all.
    quality : tuple of str
        Accepted values of the units' quality column, where there is one; () takes every unit.
    regions : tuple of str
        Names of brain regions, or how they begin; () takes every unit.
    minimum_rate_hz : float
        Neurons with a lower mean rate, over bins and conditions, are left out. Also for matrices.

    Raises
    ------
    ConfigurationError
        For a value that cannot be.
    """

    dataset: str | None = None
    time_axis: TimeAxis | None = None
    event: str | None = None
    occurrence: Occurrence = "only"
    window_s: tuple[float, float] = (-2.0, 1.0)
    bin_s: float = 0.02
    smoothing: Smoothing = "boxcar"
    smoothing_bins: float | None = None
    trials: tuple[str, ...] = ("",)
    quality: tuple[str, ...] = ("good",)
    regions: tuple[str, ...] = ()
    minimum_rate_hz: float = 0.0

    def __post_init__(self) -> None:
        """Validate, and turn a single text into a tuple of one."""
        for name in ("trials", "quality", "regions"):
            value = getattr(self, name)
            object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
            if any(not isinstance(item, str) for item in getattr(self, name)):
                raise ConfigurationError(f"{name} = {value!r}: give texts")
        if self.time_axis not in (None, *get_args(TimeAxis)):
            raise ConfigurationError(f"time axis {self.time_axis!r} is not known: give rows or columns")
        _one_of("smoothing", self.smoothing, get_args(Smoothing))
        _one_of("occurrence", self.occurrence, get_args(Occurrence))
        self._check_window()
        self._check_smoothing()
        if not self.trials:
            raise ConfigurationError("trials = (): give at least one selection, '' for all trials")
        if len(set(self.trials)) < len(self.trials):
            raise ConfigurationError(f"trials = {self.trials}: one selection is given twice")
        if not (_is_number(self.minimum_rate_hz) and self.minimum_rate_hz >= 0):
            raise ConfigurationError(f"minimum_rate_hz = {self.minimum_rate_hz!r}: give a rate in Hz from 0 up")

    def _check_window(self) -> None:
        try:
            start, stop = (float(limit) for limit in self.window_s)
        except (TypeError, ValueError):
            raise ConfigurationError(f"window_s = {self.window_s!r}: give start and stop in seconds") from None
        if not (math.isfinite(start) and math.isfinite(stop) and start < stop):
            raise ConfigurationError(f"window_s = ({start:g}, {stop:g}): give a start before the stop, in seconds")
        object.__setattr__(self, "window_s", (start, stop))
        if not (_is_number(self.bin_s) and self.bin_s > 0):
            raise ConfigurationError(f"bin_s = {self.bin_s!r}: give a width in seconds above 0")
        bins = (stop - start) / self.bin_s
        if bins > MAX_BINS:
            raise ConfigurationError(
                f"bin_s = {self.bin_s:g}: more than {MAX_BINS:,} bins in the window; take wider bins"
            )
        if round(bins) < 2 or abs(bins - round(bins)) > 1e-6 * bins:
            raise ConfigurationError(
                f"bin_s = {self.bin_s:g}: the window from {start:g} to {stop:g} s must be 2 or more whole bins, and is "
                f"{bins:g}"
            )

    def _check_smoothing(self) -> None:
        width = self.smoothing_bins
        if self.smoothing == "boxcar":
            width = BOXCAR_BINS if width is None else width
            if not (_is_number(width) and 1 <= width <= 2 * MAX_BINS and width % 2 == 1):
                raise ConfigurationError(f"smoothing_bins = {width!r}: a boxcar needs an odd number of bins from 1 up")
            width = int(width)
        elif self.smoothing == "gaussian":
            if width is None:
                raise ConfigurationError(
                    "smoothing_bins is missing: give the standard deviation of the Gaussian in bins"
                )
            if not (_is_number(width) and 0 < width <= self.bins):
                raise ConfigurationError(
                    f"smoothing_bins = {width!r}: a Gaussian needs a standard deviation above 0 and up to the "
                    f"{self.bins} bins of the window"
                )
        elif width is not None:
            raise ConfigurationError(f"smoothing_bins = {width!r}: leave it out where smoothing is 'none'")
        object.__setattr__(self, "smoothing_bins", width)

    @property
    def bins(self) -> int:
        """Number of bins of the window."""
        return round((self.window_s[1] - self.window_s[0]) / self.bin_s)

    @property
    def edges_s(self) -> NDArray[np.float64]:
        """Edges of the bins in seconds relative to the event, (bins + 1,)."""
        edges = self.window_s[0] + self.bin_s * np.arange(self.bins + 1)
        return np.round(edges, 12)  # so that the event itself is at 0

    def changed(self) -> tuple[str, ...]:
        """Names of the options that differ from their defaults."""
        usual = ReadOptions()
        return tuple(f.name for f in fields(self) if getattr(self, f.name) != getattr(usual, f.name))


def _one_of(name: str, value: Any, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        raise ConfigurationError(f"{name} = {value!r}: give {', '.join(accepted[:-1])} or {accepted[-1]}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
