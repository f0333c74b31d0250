"""Whether a benchmark became slower.

In: ratios of time, new to old, one from each pair of fresh processes.  Out: their median with an interval, and a
verdict.  Knows nothing of how they were measured.

Two processes that run the same code differ: memory lies elsewhere, and the machine is never still.  That noise is not
normal, so nothing is assumed of it: the interval is that of the median by order statistics, which hold for any
distribution.  A benchmark is suspected when the median of its first ratios exceeds the factor, and measured again,
longer; what it was suspected for does not count any more.  It is slower if the new median exceeds the factor as well
and the interval excludes 1.  The interval's confidence allows for the number of benchmarks (Bonferroni): were all of
them unchanged, then not even one in 20 comparisons would get past the interval, and few of these past the factor twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

FALSE_ALARMS = 0.05
"""Of all comparisons, the fraction in which noise may get past the interval."""


class Estimate(NamedTuple):
    """Median of ratios, and its interval."""

    ratio: float
    low: float
    high: float


def estimate(ratios: Sequence[float], comparisons: int = 1) -> Estimate:
    """Median, and the interval in which it lies but for `FALSE_ALARMS` / `comparisons` on either side.

    Of fewer ratios than such an interval needs, the least and the greatest: see `ratios_needed`.
    """
    from scipy.stats import quantile_test

    test = quantile_test(ratios, p=0.5)
    low, high = test.confidence_interval(1 - 2 * FALSE_ALARMS / comparisons)
    return Estimate(
        float(np.median(ratios)),
        min(ratios) if np.isnan(low) else float(low),
        max(ratios) if np.isnan(high) else float(high),
    )


def ratios_needed(comparisons: int) -> int:
    """Ratios without which no median of theirs could be told from 1."""
    return int(np.ceil(np.log2(comparisons / FALSE_ALARMS)))


def is_suspect(ratios: Sequence[float], factor: float) -> bool:
    """Whether to measure again."""
    return float(np.median(ratios)) > factor


def is_slower(ratios: Sequence[float], factor: float, comparisons: int) -> bool:
    """Whether the ratios, measured after a suspicion, confirm it."""
    found = estimate(ratios, comparisons)
    return len(ratios) >= ratios_needed(comparisons) and found.ratio > factor and found.low > 1
