"""The leaky integrate-and-fire neuron (docs/model.md section 2, step 6)."""

from __future__ import annotations

from typing import Any

from rlsbench.neurons.definition import NeuronModel, muladd


class LIF(NeuronModel):
    """Leaky integrate-and-fire neuron, as published."""

    @staticmethod
    def step(s: Any, I: Any, p: Any, dt_ms: Any) -> tuple[Any, ...]:
        """tau_m dv/dt = I - v."""
        return (muladd(dt_ms / p.tau_m_ms, I - s.v, s.v),)

    @staticmethod
    def spikes(s: Any, p: Any) -> Any:
        """v > threshold."""
        return s.v > p.threshold

    @staticmethod
    def reset(s: Any, p: Any) -> tuple[Any, ...]:
        """v = reset_voltage."""
        return (p.reset_voltage,)
