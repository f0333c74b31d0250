"""Neuron models: initial state, time step, spikes and reset.

In: standard normals and input currents.  Out: states, an array (variables, N) whose row 0 is the
voltage; a model with adaptation adds rows.  Knows a single time step; knows neither synapses nor
backends.

NumPy backends call these methods. Compiled backends implement the same equations and declare the
models that they support as features (`neuron:lif`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rlsbench.configuration.experiment import NeuronSection

Floats = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]


class NeuronModel(Protocol):
    """Interface of a neuron model."""

    @property
    def name(self) -> str:
        """Name in the configuration (`neuron.model`)."""

    @property
    def refractory_ms(self) -> float:
        """Refractory period, ms."""

    @property
    def tau_m_ms(self) -> float:
        """Membrane time constant, ms, which also scales noise and static weights."""

    def initial_state(self, normals: Floats) -> Floats:
        """State (variables, N) at the start of a trial, from standard normals (N,)."""

    def step(self, state: Floats, drive: Floats, active: Mask, dt_ms: float) -> None:
        """Advance the neurons in `active` (N,), in place, by a step with input `drive` = X + u."""

    def spikes(self, state: Floats, active: Mask) -> Mask:
        """Which of the `active` neurons spike in this step, (N,)."""

    def reset(self, state: Floats, spiked: Mask) -> None:
        """Reset the neurons that spiked, in place."""


@dataclass(frozen=True)
class LIF:
    """Leaky integrate-and-fire neuron with input X + u (docs/model.md section 2, step 6).

        tau_m dv/dt = X + u - v         between spikes, by forward Euler
        v <- v_reset                    where v > v_threshold: a spike

    The voltage is constant in the refractory period.
    """

    tau_m_ms: float = 10.0  #: membrane time constant
    threshold: float = 1.0  #: v_threshold
    reset_voltage: float = 0.0  #: v_reset
    refractory_ms: float = 0.1  #: refractory period
    name: str = "lif"

    def initial_state(self, normals: Floats) -> Floats:
        """v ~ N(0, 1) (v_threshold - v_reset) + v_reset."""
        return (normals * (self.threshold - self.reset_voltage) + self.reset_voltage)[None, :]

    def step(self, state: Floats, drive: Floats, active: Mask, dt_ms: float) -> None:
        """v += dt/tau_m (X + u - v)."""
        v = state[0]
        change = (drive - v) * (dt_ms / self.tau_m_ms)
        v += np.where(active, change, 0.0).astype(v.dtype, copy=False)

    def spikes(self, state: Floats, active: Mask) -> Mask:
        """v > v_threshold."""
        return np.asarray((state[0] > self.threshold) & active)

    def reset(self, state: Floats, spiked: Mask) -> None:
        """v = v_reset."""
        state[0, spiked] = self.reset_voltage


def neuron_model(section: NeuronSection) -> NeuronModel:
    """The neuron model with the name and parameters of a configuration."""
    return LIF(section.tau_m_ms, section.threshold, section.reset, section.refractory_ms)
