"""Spontaneous activity: what is measured before learning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class InitialTrial:
    """Measurements of the initial trial, without plastic synapses and stimulus.

    Parameters
    ----------
    rates_hz : ndarray, shape (N,)
        Spontaneous rates over the whole trial, Hz.
    mean_current, std_current : ndarray, shape (N,)
        Temporal mean and standard deviation of each neuron's static current over t > average_from.
    """

    rates_hz: NDArray[np.float64]
    mean_current: NDArray[np.float64]
    std_current: NDArray[np.float64]
