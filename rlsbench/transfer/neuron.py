"""The parameters of the LIF neuron that determine its transfer function.

In: numbers.  Out: validated `NeuronParameters`.  Knows no rates, currents or configuration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from rlsbench.errors import ConfigurationError

__all__ = ["NeuronParameters", "SteppedNoise"]

SteppedNoise = Literal["voltage", "current"]


@dataclass(frozen=True)
class NeuronParameters:
    """A leaky integrate-and-fire neuron; the stationary functions ignore the last three fields.

    Parameters
    ----------
    tau_m_ms : float
        Membrane time constant, ms.
    threshold, reset : float
        Threshold and reset voltage; any unit, which is also that of currents and sigma.
    dt_ms : float
        Time step of the simulation, ms.
    refractory_ms : float
        Refractory period, ms, which is rounded to whole steps as in the simulation.
    noise : {"voltage", "current"}
        What the simulation adds the noise to; see `rlsbench.transfer.simulated`.

    Raises
    ------
    ConfigurationError
        If a value is out of range.
    """

    tau_m_ms: float = 10.0
    threshold: float = 1.0
    reset: float = 0.0
    dt_ms: float = 0.1
    refractory_ms: float = 0.1
    noise: SteppedNoise = "voltage"

    def __post_init__(self) -> None:
        """Validate all fields."""
        for name in ("tau_m_ms", "dt_ms"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigurationError(f"{name} = {getattr(self, name):g}: should be a positive number")
        if not -math.inf < self.reset < self.threshold < math.inf:
            raise ConfigurationError(
                f"threshold = {self.threshold:g}: should be a finite number above reset = {self.reset:g}"
            )
        if not 0 <= self.refractory_ms < math.inf:
            raise ConfigurationError(f"refractory_ms = {self.refractory_ms:g}: should be 0 or a positive number")
        if self.noise not in get_args(SteppedNoise):
            raise ConfigurationError(f"noise = {self.noise!r}: should be {' or '.join(get_args(SteppedNoise))}")

    @property
    def refractory_s(self) -> float:
        """Duration of the refractory steps, s."""
        return round(self.refractory_ms / self.dt_ms) * self.dt_ms / 1000
