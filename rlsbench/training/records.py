"""The records of one trial and of one iteration.

In: what `run_trial` and `Training` measured.  Out: frozen data.  Knows no trainer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import SpikeTrain


@dataclass(frozen=True)
class TrialRecord:
    """Measurements of one trial."""

    trial: int
    task: int
    seconds: float  #: wall time of the trial, excluding measurement
    rls_seconds: float  #: part of `seconds` spent in RLS updates
    update_seconds: tuple[float, ...]  #: wall time of each RLS update
    measuring_seconds: float  #: wall time spent on measurement, not part of `seconds`
    spike_counts: NDArray[np.int64]  #: (N,)
    late_counts: NDArray[np.int64]  #: (N,), those from the end of the stimulus on
    firing_rate_hz: float  #: spikes per neuron and second over the whole trial
    spikes: SpikeTrain  #: spikes of the recorded neurons
    #: part of `seconds` in which this rank exchanged spikes or waited for others; None without any
    exchange_seconds: float | None = None


@dataclass(frozen=True)
class Iteration:
    """One trial with learning, as a row of the learning curve."""

    iteration: int  #: 1, 2, ...
    task: int
    seconds: float  #: as in `TrialRecord`
    rls_seconds: float  #: as in `TrialRecord`
    measuring_seconds: float  #: as in `TrialRecord`
    firing_rate_hz: float  #: as in `TrialRecord`
    correlation: float | None  #: mean over neurons; None if it was not measured or is undefined for every neuron
    undefined_correlations: int  #: number of neurons excluded from that mean
    #: number of neurons that fired faster than `training.maxrate_hz`; all their spikes count
    neurons_above_maxrate: int = 0
    #: mean offset of the targets after the iteration; None if `learning.target_mean` is fixed, or
    #: no neuron of the population has a target
    target_offset_excitatory: float | None = None
    #: mean offset of the targets after the iteration; None if `learning.target_mean` is fixed, or
    #: no neuron of the population has a target
    target_offset_inhibitory: float | None = None
    #: mean external current after the iteration; None if `learning.external` is fixed, or no neuron
    #: of the population has a target
    external_excitatory: float | None = None
    external_inhibitory: float | None = None  #: the same for the inhibitory neurons
    #: spikes per neuron and second of each population; empty for the published two
    population_rates_hz: dict[str, float] = field(default_factory=dict)
    exchange_seconds: float | None = None  #: as in `TrialRecord`; in no learning curve

    def row(self) -> dict[str, float | None]:
        """Names and values of its columns in a learning curve; a column for each population."""
        values = vars(self).copy()
        del values["exchange_seconds"]
        rates = values.pop("population_rates_hz")
        return values | {f"firing_rate_hz_{name}": rate for name, rate in rates.items()}
