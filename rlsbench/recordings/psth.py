"""Peri-stimulus time histograms: spike counts around events, and smoothed rates.

In: spike times and event times in seconds.  Out: counts, and rates in Hz, (bins, units).  Knows no
file and no options.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlsbench.errors import RecordingError
from rlsbench.recordings.options import Smoothing

MAX_COUNTED = 10**8  # spikes of a unit, each as often as windows contain it


def spike_counts(
    spike_times: Sequence[NDArray[np.float64]],
    events_s: NDArray[np.float64],
    edges_s: NDArray[np.float64],
    *,
    spike_trials: Sequence[NDArray[np.int64]] | None = None,
    observed: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Count the spikes in each bin around the events, summed over events.

    Parameters
    ----------
    spike_times : sequence of ndarray
        Spike times of each unit in seconds, increasing (in any order if `spike_trials` is given).
    events_s : ndarray, shape (events,)
        Times of the events in seconds, on the same clock.
    edges_s : ndarray, shape (bins + 1,)
        Edges of the bins relative to the event; a bin includes its lower edge only.
    spike_trials : sequence of ndarray, optional
        The event that each spike belongs to, if each trial has a separate clock; -1 omits a spike.
        Without it, a spike counts for every event in whose window it lies.
    observed : ndarray of bool, shape (units, events), optional
        Which events count for which unit; all by default.

    Returns
    -------
    ndarray of int64, shape (bins, units)
    """
    bins, margin = len(edges_s) - 1, 1e-6
    counts = np.zeros((bins, len(spike_times)), dtype=np.int64)
    for unit, times in enumerate(spike_times):
        if spike_trials is None:
            events = events_s if observed is None else events_s[observed[unit]]
            first = np.searchsorted(times, events + (edges_s[0] - margin))
            number = np.searchsorted(times, events + (edges_s[-1] + margin)) - first
            ends = np.cumsum(number)
            if len(ends) and ends[-1] > MAX_COUNTED:
                raise RecordingError(f"windows overlap so that spikes of unit {unit} count {ends[-1]:,} times")
            taken = np.arange(ends[-1] if len(ends) else 0) + np.repeat(first - ends + number, number)
            relative = times[taken] - np.repeat(events, number)
        else:
            trial = spike_trials[unit]
            kept = trial >= 0
            if observed is not None and observed.shape[1]:
                kept &= observed[unit][np.maximum(trial, 0)]
            relative = times[kept] - events_s[trial[kept]]
        bin = np.searchsorted(edges_s, relative, side="right") - 1
        counts[:, unit] = np.bincount(bin[(bin >= 0) & (bin < bins)], minlength=bins)
    return counts


def psth(
    counts: NDArray[np.int64],
    trials: ArrayLike,
    bin_s: float,
    *,
    smoothing: Smoothing = "boxcar",
    smoothing_bins: float = 15,
) -> NDArray[np.float64]:
    """Smoothed rates in Hz, counts / (trials x bin width), (bins, units).

    Without smoothing, rate x trials x bin width is again the integer number of spikes.

    Parameters
    ----------
    counts : ndarray of int, shape (bins, units)
        Spikes summed over trials.
    trials : int or array_like of int, shape (units,)
        Number of trials in which each unit was observed, at least 1.
    bin_s : float
        Width of a bin in seconds; `smoothing` and `smoothing_bins` are arguments of `smooth`.
    """
    return smooth(counts, smoothing, smoothing_bins) / (np.asarray(trials) * bin_s)


def smooth(counts: NDArray[Any], smoothing: Smoothing, bins: float) -> NDArray[np.float64]:
    """Smooth counts along time with a kernel that is truncated at the ends and renormalized there.

    Parameters
    ----------
    counts : ndarray, shape (bins, ...)
        Counts or rates, with time as the first axis.
    smoothing : {"boxcar", "gaussian", "none"}
    bins : float
        Boxcar: width, an odd number of bins. Sums of integer counts are exact. The published rates
        use 15 bins (Kim, Finkelstein, Chow, Svoboda and Darshan 2023, Nat Commun 14:2851).
        Gaussian: standard deviation in bins; the kernel ends at 4 standard deviations.

    Returns
    -------
    ndarray of float64, same shape as `counts`
    """
    if smoothing == "none":
        return counts.astype(np.float64)
    length = len(counts)
    if smoothing == "boxcar":
        half = (int(bins) - 1) // 2
        total = np.concatenate([np.zeros_like(counts[:1]), np.cumsum(counts, axis=0)])
        last = np.minimum(np.arange(length) + half + 1, length)
        first = np.maximum(np.arange(length) - half, 0)
        weight = (last - first).astype(np.float64)
        sums = (total[last] - total[first]).astype(np.float64)
    else:
        from scipy.ndimage import gaussian_filter1d

        weight = gaussian_filter1d(np.ones(length), bins, mode="constant", truncate=4.0)
        sums = gaussian_filter1d(counts.astype(np.float64), bins, axis=0, mode="constant", truncate=4.0)
    return np.asarray(sums / weight.reshape(-1, *[1] * (counts.ndim - 1)))
