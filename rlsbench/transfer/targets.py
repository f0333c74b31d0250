"""Target currents for recorded rates.

In: rates (Hz), the noise and the choice of a transfer function.  Out: currents.  Knows no file or
network.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlsbench.errors import ConfigurationError
from rlsbench.transfer.simulated import SteppedNoise, max_simulated_rate, simulated_current
from rlsbench.transfer.stationary import MAX_RATE_HZ, stationary_current

__all__ = ["Transfer", "targets_from_rates"]

Transfer = Literal["stationary", "simulated"]


def targets_from_rates(
    rates_hz: ArrayLike,
    sigma: ArrayLike,
    *,
    transfer: Transfer = "stationary",
    minimum_rate_hz: float = 0.1,
    dt_ms: float = 0.1,
    refractory_ms: float = 0.1,
    noise: SteppedNoise = "voltage",
    tau_m_ms: float = 10.0,
    threshold: float = 1.0,
    reset: float = 0.0,
) -> NDArray[np.float64]:
    """Replace rates of exactly 0 by `minimum_rate_hz`, and convert each rate to a current.

    The published rule (Arthur et al. 2023, Front. Neuroinform. 17:1099510) is "stationary", with
    0.1 Hz for 0. Simulated neurons fire 10 to 34 % less at these currents; at those of "simulated"
    they fire at the recorded rates.

    Parameters
    ----------
    rates_hz : array_like
        Recorded rates in Hz, (bins, neurons), at least 0.
    sigma : array_like
        Noise: one number, or one per neuron.
    transfer : {"stationary", "simulated"}
        Use `stationary_current` or `simulated_current`.
    minimum_rate_hz : float
        Replacement for rates of 0, Hz.
    dt_ms, refractory_ms, noise
        As in `simulated_current`; not used by "stationary".
    tau_m_ms, threshold, reset : float
        As in `stationary_current`.

    Returns
    -------
    ndarray
        Currents, (bins, neurons), in units of the voltages.

    Raises
    ------
    ConfigurationError
        If `transfer` is unknown, or a parameter is out of range.
    RecordingError
        If a rate is negative, not finite, or cannot be reached by any current.
    """
    if transfer not in get_args(Transfer):
        raise ConfigurationError(f"transfer = {transfer!r}: should be {' or '.join(get_args(Transfer))}")
    stepped = transfer == "simulated"
    highest = max_simulated_rate(dt_ms=dt_ms, refractory_ms=refractory_ms) if stepped else MAX_RATE_HZ
    if not 0 < minimum_rate_hz <= highest:
        raise ConfigurationError(f"minimum_rate_hz = {minimum_rate_hz:g}: should be above 0 and at most {highest:g}")
    rates = np.asarray(rates_hz, dtype=np.float64)
    rates = np.where(rates == 0, minimum_rate_hz, rates)
    if not stepped:
        return stationary_current(rates, sigma, tau_m_ms=tau_m_ms, threshold=threshold, reset=reset)
    return simulated_current(
        rates,
        sigma,
        dt_ms=dt_ms,
        refractory_ms=refractory_ms,
        noise=noise,
        tau_m_ms=tau_m_ms,
        threshold=threshold,
        reset=reset,
    )
