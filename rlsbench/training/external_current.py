"""The external current, where it follows the firing rates (docs/model.md section 3.8).

In: the external current of a trial, and the spikes in it.  Out: the current of the next trial.
Knows no trainer and no network.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def adapted(current: Array, counts: NDArray[np.int64], recorded_hz: Array, seconds: float, gain: float) -> Array:
    """The external current after a trial.

        X <- X + gain (nu* - nu)/(nu* + 1/T)

    Rates below one spike in a trial are not told apart, hence 1/T.

    Parameters
    ----------
    current : ndarray, shape (N,)
        X, in units of (threshold - reset).
    counts : ndarray of int, shape (N,)
        Spikes during the targets, so that nu = counts/T.
    recorded_hz : ndarray, shape (N,)
        nu*, Hz; the current of a neuron stays where it is NaN.
    seconds : float
        T.
    gain : float
    """
    wanted = recorded_hz * seconds
    return current + gain * np.nan_to_num((wanted - counts) / (wanted + 1.0))
