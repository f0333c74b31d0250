"""Peri-stimulus time histograms: spikes around events to counts, counts to smoothed rates.

In: spike times and event times in seconds.  Out: counts, and rates in Hz, (bins, units).  Knows no file and no options.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlsbench.recordings.options import Smoothing

__all__ = ["psth", "smooth", "spike_counts"]


def spike_counts(
    spike_times: Sequence[NDArray[np.float64]],
    events_s: NDArray[np.float64],
    edges_s: NDArray[np.float64],
    *,
    spike_trials: Sequence[NDArray[np.int64]] | None = None,
    observed: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Spikes in each bin around the events, summed over events.

    Parameters
    ----------
    spike_times : sequence of ndarray
        Spike times of each unit in seconds, increasing (in any order where `spike_trials` is given).
    events_s : ndarray, shape (events,)
        Times of the events, in seconds of the same clock.
    edges_s : ndarray, shape (bins + 1,)
        Edges of the bins relative to the event; a bin holds its lower edge and not its upper one.
    spike_trials : sequence of ndarray, optional
        For each spike the event that it belongs to, where each trial has a clock of its own; others, as -1, are left
        out. Without it, a spike counts for every event that it is near to.
    observed : ndarray of bool, shape (units, events), optional
        Which events count for which unit; left out: all.

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
    """Rates of spike counts: counts / (trials x bin width), smoothed.

    Without smoothing, rate x trials x bin width is the whole number of spikes again.

    Parameters
    ----------
    counts : ndarray of int, shape (bins, units)
        Spikes summed over trials.
    trials : int or array_like of int, shape (units,)
        Number of trials that each unit was observed in, from 1 up.
    bin_s : float
        Width of a bin in seconds.
    smoothing, smoothing_bins
        As in `smooth`.

    Returns
    -------
    ndarray, shape (bins, units)
        Rates in Hz.
    """
    return smooth(counts, smoothing, smoothing_bins) / (np.asarray(trials) * bin_s)


def smooth(counts: NDArray[Any], smoothing: Smoothing, bins: float) -> NDArray[np.float64]:
    """Smooth counts along time by a kernel that is cut at the ends and weighs 1 in all there too.

    Parameters
    ----------
    counts : ndarray, shape (bins, ...)
        Counts, or rates. Time comes first.
    smoothing : {"boxcar", "gaussian", "none"}
    bins : float
        Boxcar: width, an odd number of bins; its sums are of whole numbers, so exact. The published recordings were
        made with 15 bins (Kim, Finkelstein, Chow, Svoboda and Darshan 2023). Gaussian: standard deviation in bins, cut
        at 4.

    Returns
    -------
    ndarray of float64, of the shape of `counts`
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
