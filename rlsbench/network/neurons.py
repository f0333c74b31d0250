"""The neuron model behind a small interface: initial state, step, spikes, reset.

In: standard normals, input currents.  Out: states.  Knows nothing of synapses, of time beyond one step, or of backends.

A state is an array (variables, N) whose row 0 is the voltage; a model with adaptation adds rows.  NumPy backends call
these methods; compiled backends mirror them and name the models that they have in their features (`neuron:lif`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rlsbench.configuration.experiment import NeuronSection

__all__ = ["LIF", "NeuronModel", "neuron_model"]

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]


class NeuronModel(Protocol):
    """What a trial asks of a neuron model."""

    @property
    def name(self) -> str:
        """Name in the configuration (`neuron.model`)."""

    @property
    def refractory_ms(self) -> float:
        """Refractory period, ms."""

    @property
    def tau_m_ms(self) -> float:
        """Membrane time constant, ms: the scale of noise and of static weights."""

    def initial_state(self, normals: Floats) -> Floats:
        """State (variables, N) at the start of a trial from standard normals (N,)."""

    def step(self, state: Floats, drive: Floats, active: Mask, dt_ms: float) -> None:
        """Advance, in place, the neurons in `active` (N,) by one step under the input `drive` (N,)."""

    def spikes(self, state: Floats, active: Mask) -> Mask:
        """Which of the `active` neurons spike now (N,)."""

    def reset(self, state: Floats, spiked: Mask) -> None:
        """Reset, in place, the neurons that spiked."""


@dataclass(frozen=True)
class LIF:
    """Leaky integrate-and-fire neuron: tau_m dv/dt = drive - v; a spike and v = reset where v > threshold.

    Parameters
    ----------
    tau_m_ms : float
        Membrane time constant, ms.
    threshold, reset : float
        Voltages.
    refractory_ms : float
        Refractory period, ms.
    """

    tau_m_ms: float = 10.0
    threshold: float = 1.0
    reset_voltage: float = 0.0
    refractory_ms: float = 0.1
    name: str = "lif"

    def initial_state(self, normals: Floats) -> Floats:
        """v ~ N(0, 1) (threshold - reset) + reset."""
        return (normals * (self.threshold - self.reset_voltage) + self.reset_voltage)[None, :]

    def step(self, state: Floats, drive: Floats, active: Mask, dt_ms: float) -> None:
        """v += dt/tau_m (drive - v), forward Euler."""
        v = state[0]
        v += np.where(active, (drive - v) * (dt_ms / self.tau_m_ms), 0.0).astype(v.dtype, copy=False)

    def spikes(self, state: Floats, active: Mask) -> Mask:
        """v > threshold."""
        return np.asarray((state[0] > self.threshold) & active)

    def reset(self, state: Floats, spiked: Mask) -> None:
        """v = reset."""
        state[0, spiked] = self.reset_voltage


def neuron_model(section: NeuronSection) -> NeuronModel:
    """Make the model that the configuration names."""
    return LIF(section.tau_m_ms, section.threshold, section.reset, section.refractory_ms)
