"""The adaptive exponential integrate-and-fire neuron (Brette and Gerstner 2005)."""

from __future__ import annotations

from typing import Any

from rlsbench.neurons.definition import NeuronModel, Parameter, exp


class AdEx(NeuronModel):
    """Adaptive exponential integrate-and-fire neuron.

    With V relative to E_L = -70.6 mV in units of V_T - E_L = 20.2 mV, and currents in units of g_L
    (V_T - E_L) = 606 pA, the published equations are

        tau_m dv/dt = I - v + slope exp((v - threshold)/slope) - w        tau_m = C/g_L
        tau_w dw/dt = a v - w
        v > peak: a spike, v = reset_voltage, w <- w + b

    Defaults are the published ones: Delta_T = 2 mV, a = 4 nS, b = 80.5 pA, g_L = 30 nS, C = 281 pF
    (tau_m = 9.37 ms), detection of spikes at 20 mV.
    """

    variables = ("v", "w")

    slope = Parameter(2 / 20.2, "", "Delta_T, slope of the exponential", 1e-3)
    peak = Parameter(90.6 / 20.2, "", "voltage above which a spike is counted")
    tau_w_ms = Parameter(144.0, "ms", "time constant of the adaptation", 1e-3)
    a = Parameter(4 / 30, "", "adaptation by the voltage")
    b = Parameter(80.5 / 606, "", "what a spike adds to the adaptation")

    @staticmethod
    def step(s: Any, I: Any, p: Any, dt_ms: Any) -> tuple[Any, ...]:
        """Advance v and w."""
        return (
            s.v + dt_ms / p.tau_m_ms * (I - s.v + p.slope * exp((s.v - p.threshold) / p.slope) - s.w),
            s.w + dt_ms / p.tau_w_ms * (p.a * s.v - s.w),
        )

    @staticmethod
    def refractory(s: Any, I: Any, p: Any, dt_ms: Any) -> tuple[Any, ...]:
        """The adaptation goes on."""
        return s.v, s.w + dt_ms / p.tau_w_ms * (p.a * s.v - s.w)

    @staticmethod
    def spikes(s: Any, p: Any) -> Any:
        """v > peak."""
        return s.v > p.peak

    @staticmethod
    def reset(s: Any, p: Any) -> tuple[Any, ...]:
        """v = reset_voltage; w jumps."""
        return p.reset_voltage, s.w + p.b
