"""The records of one trial and of one iteration.

In: what `run_trial` and `Training` measured.  Out: frozen data.  Knows no trainer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import SpikeTrain


@dataclass(frozen=True)
class TrialRecord:
    """Measurements of one trial.

    Parameters
    ----------
    trial, task : int
    seconds : float
        Wall time of the trial, excluding measurement.
    rls_seconds : float
        Part of `seconds` spent in RLS updates.
    update_seconds : tuple of float
        Wall time of each RLS update.
    measuring_seconds : float
        Wall time spent on measurement, not part of `seconds`.
    spike_counts : ndarray, shape (N,)
    firing_rate_hz : float
        Spikes per neuron and second over the whole trial.
    spikes : SpikeTrain
        Spikes of the recorded neurons.
    """

    trial: int
    task: int
    seconds: float
    rls_seconds: float
    update_seconds: tuple[float, ...]
    measuring_seconds: float
    spike_counts: NDArray[np.int64]
    firing_rate_hz: float
    spikes: SpikeTrain


@dataclass(frozen=True)
class Iteration:
    """One trial with learning, as a row of the learning curve.

    Parameters
    ----------
    iteration : int
        1, 2, ...
    task : int
    seconds, rls_seconds, measuring_seconds, firing_rate_hz : float
        As in `TrialRecord`.
    correlation : float or None
        Mean over neurons; None if it was not measured or is undefined for every neuron.
    undefined_correlations : int
        Number of neurons excluded from that mean.
    neurons_above_maxrate : int
        Number of neurons that fired faster than `training.maxrate_hz`; all their spikes count.
    target_offset_excitatory, target_offset_inhibitory : float or None
        Mean offset of the targets after the iteration; None if `learning.target_mean` is fixed, or
        no neuron of the population has a target.
    """

    iteration: int
    task: int
    seconds: float
    rls_seconds: float
    measuring_seconds: float
    firing_rate_hz: float
    correlation: float | None
    undefined_correlations: int
    neurons_above_maxrate: int = 0
    target_offset_excitatory: float | None = None
    target_offset_inhibitory: float | None = None
