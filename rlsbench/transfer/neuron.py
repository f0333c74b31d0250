"""The parameters of the LIF neuron that determine its transfer function, and checks of arguments.

In: numbers.  Out: validated `NeuronParameters`, noise and rates.  Knows no configuration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlsbench.errors import ConfigurationError, RecordingError

Array = NDArray[np.float64]
SteppedNoise = Literal["voltage", "current"]

SIGMA_RANGE = (1e-6, 1e6)  # in units of (threshold - reset); the inverse is inaccurate outside


@dataclass(frozen=True)
class NeuronParameters:
    """A leaky integrate-and-fire neuron; the stationary functions ignore the last three fields.

    Raises ConfigurationError if a value is out of range.
    """

    tau_m_ms: float = 10.0  #: membrane time constant
    threshold: float = 1.0  #: in any unit, which is also that of reset, currents and sigma
    reset: float = 0.0
    dt_ms: float = 0.1  #: time step of the simulation
    refractory_ms: float = 0.1  #: rounded to whole steps, as in the simulation
    noise: SteppedNoise = "voltage"  #: what the simulation adds noise to; see `rlsbench.transfer.simulated`

    def __post_init__(self) -> None:
        """Validate all fields."""
        for name in ("tau_m_ms", "dt_ms"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigurationError(f"{name} = {getattr(self, name):g}: should be a positive number")
        if not -math.inf < self.reset < self.threshold < math.inf:
            raise ConfigurationError(f"threshold = {self.threshold:g}: should be finite, above reset = {self.reset:g}")
        if not 0 <= self.refractory_ms < math.inf:
            raise ConfigurationError(f"refractory_ms = {self.refractory_ms:g}: should be 0 or a positive number")
        if self.noise not in get_args(SteppedNoise):
            raise ConfigurationError(f"noise = {self.noise!r}: should be {' or '.join(get_args(SteppedNoise))}")

    @property
    def refractory_s(self) -> float:
        """Duration of the refractory steps, s."""
        return round(self.refractory_ms / self.dt_ms) * self.dt_ms / 1000


DEFAULT = NeuronParameters()


def checked_sigma(sigma: ArrayLike, neuron: NeuronParameters) -> Array:
    """Sigma as an array; raises ConfigurationError unless it is in `SIGMA_RANGE`."""
    values = np.asarray(sigma, dtype=np.float64)
    low, high = (limit * (neuron.threshold - neuron.reset) for limit in SIGMA_RANGE)
    if (wrong := ~((values >= low) & (values <= high))).any():
        raise ConfigurationError(f"sigma = {values[wrong][0]:g}: should be from {low:g} to {high:g}")
    return values


def checked_rates(rates_hz: ArrayLike, noise: Array, highest_hz: float) -> Array:
    """Rates as an array: above 0, at most `highest_hz`, and with one noise or one per neuron."""
    rates = np.asarray(rates_hz, dtype=np.float64)
    if (wrong := ~((rates > 0) & (rates <= highest_hz))).any():
        found = f"{rates[wrong][0]:g} Hz ({wrong.sum()} of {rates.size} values)"
        raise RecordingError(f"no current gives a rate of {found}: rates should be above 0, up to {highest_hz:g} Hz")
    if noise.ndim and noise.shape != rates.shape[-1:]:
        raise ConfigurationError(
            f"sigma has the shape {noise.shape}: for rates of shape {rates.shape} it should be a number or (neurons,)"
        )
    return rates
