"""How to read a recording: the options of the configuration with a bin width, validated together.

In: names and numbers.  Out: validated `ReadOptions`.  Knows no file.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, ValidationError

from rlsbench.configuration.recording import BIN_OPTION, Occurrence, RecordingOptions, Smoothing, TimeAxis
from rlsbench.configuration.section import Positive
from rlsbench.errors import ConfigurationError

__all__ = ["Occurrence", "ReadOptions", "Smoothing", "TimeAxis"]

MAX_BINS = 10**6
BOXCAR_BINS = 15  # as in the published data


class ReadOptions(RecordingOptions):
    """How to read a recording: `rlsbench.configuration.recording.RecordingOptions`, and `bin_s`.

    `dataset`, `time_axis`, `axes`, `values` and `matrix_bin_ms` apply to matrices, `bin_s`,
    `time_unit` and `minimum_rate_hz` to every recording, and the other options to spike times;
    smoothing also to counts. A text stands for a tuple of one text; an empty `quality` or `regions`
    accepts every unit, and an empty selection in `trials` every trial. Near an end of the window,
    the smoothing kernel is truncated.

    Raises ConfigurationError for an invalid value or combination.
    """

    model_config = ConfigDict(strict=True)

    bin_s: Annotated[Positive, BIN_OPTION] = 0.02
    """Bin width in seconds; the window of spike times must be a whole number of bins."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name, problem = str(first["loc"][0]), first["msg"].removeprefix("Value error, ")
            problem = problem.replace("Input should", "should")
            raise ConfigurationError(f"{name} = {values[name]!r}: {problem}") from None
        start, stop = self.window_s
        if start >= stop:
            raise ConfigurationError(f"window_s = ({start:g}, {stop:g}): the start must be before the stop")
        object.__setattr__(self, "smoothing_bins", self._smoothing_width())
        if not self.trials:
            raise ConfigurationError("trials = (): give at least one selection, '' for all trials")
        if len(set(self.trials)) < len(self.trials):
            raise ConfigurationError(f"trials = {self.trials}: a selection is given twice")

    def _smoothing_width(self) -> float | None:
        width = self.smoothing_bins
        if self.smoothing == "boxcar":
            width = BOXCAR_BINS if width is None else width
            if not (width <= 2 * MAX_BINS and width % 2 == 1):
                raise ConfigurationError(f"smoothing_bins = {width:g}: a boxcar needs an odd number of bins")
            return int(width)
        if self.smoothing == "gaussian":
            if width is None:
                raise ConfigurationError("smoothing_bins is missing: a Gaussian needs a standard deviation in bins")
            if width > self.bins:
                raise ConfigurationError(
                    f"smoothing_bins = {width:g}: the standard deviation of a Gaussian must be at most the "
                    f"{self.bins} bins of the window"
                )
        elif width is not None:
            raise ConfigurationError(f"smoothing_bins = {width:g}: must be omitted when smoothing is 'none'")
        return width

    @property
    def bins(self) -> int:
        """Number of bins of the window; raises ConfigurationError if it is not a whole one."""
        start, stop = self.window_s
        bins = (stop - start) / self.bin_s
        if bins > MAX_BINS:
            raise ConfigurationError(f"bin_s = {self.bin_s:g}: the window has more than {MAX_BINS:,} bins: widen them")
        if round(bins) < 2 or abs(bins - round(bins)) > 1e-6 * bins:
            raise ConfigurationError(
                f"bin_s = {self.bin_s:g}: the window from {start:g} to {stop:g} s must hold a whole number of bins, at "
                f"least 2, but holds {bins:g}"
            )
        return round(bins)

    @property
    def edges_s(self) -> NDArray[np.float64]:
        """Edges of the bins in seconds relative to the event, shape (bins + 1,)."""
        edges = self.window_s[0] + self.bin_s * np.arange(self.bins + 1)
        return np.round(edges, 12)  # so that the event itself is at 0

    def changed(self) -> tuple[str, ...]:
        """Names of the options that differ from their defaults."""
        defaults = ReadOptions()
        return tuple(name for name in type(self).model_fields if getattr(self, name) != getattr(defaults, name))
