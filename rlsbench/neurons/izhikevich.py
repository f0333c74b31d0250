"""The neuron of Izhikevich (2003)."""

from __future__ import annotations

from typing import Any

from rlsbench.neurons.definition import NeuronModel, Parameter


class Izhikevich(NeuronModel):
    """Izhikevich's neuron, a regularly spiking one by default.

    The published equations, V' = 0.04 V^2 + 5 V + 140 - u + I and u' = a (b V - u), with V relative
    to c = -65 mV in units of 15 mV, so that the threshold without input, -50 mV, is 1, and with w =
    (u - b V_rest)/15 mV, V_rest = -70 mV, are

        dv/dt = (v - rest) (k (v - threshold) + b) - w + I/tau_m
        dw/dt = a (b (v - rest) - w)
        v > peak: a spike, v = reset_voltage, w <- w + d

    with k = 0.04 * 15, peak = (30 + 65)/15 and d = 8/15 per ms. Here tau_m only scales the input: 1
    is a published current of 15 ms/tau_m.
    """

    variables = ("v", "w")

    rest = Parameter(-1 / 3, "", "resting voltage")
    peak = Parameter(19 / 3, "", "voltage above which a spike is counted")
    k = Parameter(0.6, "1/ms", "curvature", 0)
    a = Parameter(0.02, "1/ms", "rate of the recovery", 0)
    b = Parameter(0.2, "1/ms", "recovery by the voltage")
    d = Parameter(8 / 15, "1/ms", "what a spike adds to the recovery")

    @staticmethod
    def step(s: Any, I: Any, p: Any, dt_ms: Any) -> tuple[Any, ...]:
        """Advance v and w."""
        return (
            s.v + dt_ms * ((s.v - p.rest) * (p.k * (s.v - p.threshold) + p.b) - s.w + I / p.tau_m_ms),
            s.w + dt_ms * p.a * (p.b * (s.v - p.rest) - s.w),
        )

    @staticmethod
    def refractory(s: Any, I: Any, p: Any, dt_ms: Any) -> tuple[Any, ...]:
        """The recovery goes on."""
        return s.v, s.w + dt_ms * p.a * (p.b * (s.v - p.rest) - s.w)

    @staticmethod
    def spikes(s: Any, p: Any) -> Any:
        """v > peak."""
        return s.v > p.peak

    @staticmethod
    def reset(s: Any, p: Any) -> tuple[Any, ...]:
        """v = reset_voltage; w jumps."""
        return p.reset_voltage, s.w + p.d
