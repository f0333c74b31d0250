"""Whether a benchmark became slower.

In: ratios of new to old time, one from each pair of fresh processes.  Out: their median with a
confidence interval, and a verdict.  Does not know how they were measured.

Two processes that run the same code differ, because of the placement of their memory and other
activity of the machine.  This noise is not normal, so the interval of the median is based on order
statistics, which hold for any distribution.  A benchmark is suspect if the median of its first
ratios exceeds the factor.  It is then measured again, longer, and the first ratios are discarded.
It is slower if the new median exceeds the factor too and the interval excludes 1.  The confidence
level allows for the number of benchmarks (Bonferroni): if nothing changed, fewer than one in 20
comparisons would pass the interval, and few of these would exceed the factor twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

FALSE_ALARMS = 0.05
"""Fraction of comparisons in which noise may pass the interval."""


class Estimate(NamedTuple):
    """Median of ratios, and its confidence interval."""

    ratio: float
    low: float
    high: float


def estimate(ratios: Sequence[float], comparisons: int = 1) -> Estimate:
    """Median, with an interval that misses it on either side with `FALSE_ALARMS` / `comparisons`.

    With fewer ratios than that needs (see `ratios_needed`), the interval is their range.
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
    """Smallest number of ratios whose median can differ significantly from 1."""
    return int(np.ceil(np.log2(comparisons / FALSE_ALARMS)))


def is_suspect(ratios: Sequence[float], factor: float) -> bool:
    """Whether the benchmark has to be measured again."""
    return float(np.median(ratios)) > factor


def is_slower(ratios: Sequence[float], factor: float, comparisons: int) -> bool:
    """Whether the ratios of the second measurement confirm the suspicion."""
    found = estimate(ratios, comparisons)
    return len(ratios) >= ratios_needed(comparisons) and found.ratio > factor and found.low > 1
