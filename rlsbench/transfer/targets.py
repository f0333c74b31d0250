"""Target currents for recorded rates.

In: rates (Hz), the noise and the choice of a transfer function.  Out: currents.  Knows no file or
network.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlsbench.errors import ConfigurationError
from rlsbench.transfer.neuron import DEFAULT, NeuronParameters
from rlsbench.transfer.simulated import max_simulated_rate, simulated_current
from rlsbench.transfer.stationary import MAX_RATE_HZ, stationary_current

Transfer = Literal["stationary", "simulated"]


def targets_from_rates(
    rates_hz: ArrayLike,
    sigma: ArrayLike,
    neuron: NeuronParameters = DEFAULT,
    *,
    transfer: Transfer = "stationary",
    minimum_rate_hz: float = 0.1,
) -> NDArray[np.float64]:
    """Replace rates of exactly 0 by `minimum_rate_hz`, and convert each rate to a current.

    The published rule (Arthur et al. 2023, Front. Neuroinform. 17:1099510) is "stationary", with
    0.1 Hz for 0. Simulated neurons fire 10 to 34 % less at these currents; at those of "simulated"
    they fire at the recorded rates.

    Parameters
    ----------
    rates_hz : array_like
        Recorded rates in Hz, (bins, neurons), at least 0.
    sigma, neuron
        As in `stationary_current`, or in `simulated_current` if `transfer` is "simulated".

    Returns
    -------
    ndarray
        Currents, (bins, neurons), in units of the voltages; errors are those of these functions.
    """
    if transfer not in get_args(Transfer):
        raise ConfigurationError(f"transfer = {transfer!r}: should be {' or '.join(get_args(Transfer))}")
    convert = simulated_current if transfer == "simulated" else stationary_current
    highest = max_simulated_rate(neuron) if transfer == "simulated" else MAX_RATE_HZ
    if not 0 < minimum_rate_hz <= highest:
        raise ConfigurationError(f"minimum_rate_hz = {minimum_rate_hz:g}: should be above 0 and at most {highest:g}")
    rates = np.asarray(rates_hz, dtype=np.float64)
    return convert(np.where(rates == 0, minimum_rate_hz, rates), sigma, neuron)
