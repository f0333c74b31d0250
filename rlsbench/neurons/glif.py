"""Generalized leaky integrate-and-fire neurons, GLIF1 to GLIF5 (Teeter et al. 2018).

With V relative to rest, in units of the threshold at infinity above it (U, mV), and currents in
units of G U, the published equations are

    tau_m dv/dt = I + a1 + a2 - v          tau_m = C/G
    da_j/dt     = -k_j a_j                 after-spike currents, GLIF3 to GLIF5
    dtheta/dt   = -b theta                 what spikes add to the threshold, GLIF2, GLIF4 and GLIF5
    dphi/dt     = a v - b_phi phi          what the voltage adds to it, GLIF5
    v > threshold + theta + phi: a spike, v <- f v + delta_v (GLIF2, GLIF4, GLIF5),
    a_j <- r_j a_j + delta_j, theta <- theta + delta

Defaults are those of the mouse neuron in NEST's `glif_psc`, from the Allen Cell Types Database:
G = 9.43 nS, C = 58.72 pF (tau_m = 6.227 ms), E_L = -78.85 mV, V_th = -51.68 mV, so U = 27.17 mV and
G U = 256.2 pA. In the refractory period the voltage is held; currents and thresholds go on
(docs/neurons.md: what NEST does differently).
"""

from __future__ import annotations

from typing import Any

from rlsbench.neurons.definition import NeuronModel, Parameter, muladd
from rlsbench.neurons.lif import LIF

U, GU = 27.17, 9.43e-3 * 27.17 * 1000  # mV, pA


class GLIF1(LIF):
    """GLIF1: leaky integrate-and-fire."""


class _Reset(NeuronModel):
    """Parameters of the reset rules (R)."""

    fraction = Parameter(0.2, "", "f, part of the voltage that a spike leaves", 0, 1)
    jump_v = Parameter(18.51 / U, "", "delta_v, voltage after a spike besides")
    decay_theta_per_ms = Parameter(0.009, "1/ms", "b, rate at which theta decays", 0)
    jump_theta = Parameter(0.37 / U, "", "delta, what a spike adds to theta")


class _Currents(NeuronModel):
    """Parameters of the after-spike currents (ASC)."""

    decay1_per_ms = Parameter(0.003, "1/ms", "k_1, rate at which a1 decays", 0)
    decay2_per_ms = Parameter(0.1, "1/ms", "k_2, rate at which a2 decays", 0)
    keep1 = Parameter(1.0, "", "r_1, part of a1 that a spike leaves", 0, 1)
    keep2 = Parameter(1.0, "", "r_2, part of a2 that a spike leaves", 0, 1)
    jump1 = Parameter(-9.18 / GU, "", "delta_1, what a spike adds to a1")
    jump2 = Parameter(-198.94 / GU, "", "delta_2, what a spike adds to a2")


class GLIF2(_Reset):
    """GLIF2: with biologically defined reset rules."""

    variables = ("v", "theta")

    @staticmethod
    def step(s: Any, I: Any, p: Any, dt_ms: Any) -> tuple[Any, ...]:
        """Advance v and theta."""
        return muladd(dt_ms / p.tau_m_ms, I - s.v, s.v), s.theta * (1 - dt_ms * p.decay_theta_per_ms)

    @staticmethod
    def refractory(s: Any, I: Any, p: Any, dt_ms: Any) -> tuple[Any, ...]:
        """Theta decays."""
        return s.v, s.theta * (1 - dt_ms * p.decay_theta_per_ms)

    @staticmethod
    def spikes(s: Any, p: Any) -> Any:
        """v > threshold + theta."""
        return s.v > s.theta + p.threshold

    @staticmethod
    def reset(s: Any, p: Any) -> tuple[Any, ...]:
        """Part of v stays; theta jumps."""
        return p.fraction * s.v + p.jump_v, s.theta + p.jump_theta


class GLIF3(_Currents):
    """GLIF3: with after-spike currents."""

    variables = ("v", "a1", "a2")

    @staticmethod
    def step(s: Any, I: Any, p: Any, dt_ms: Any) -> tuple[Any, ...]:
        """Advance v, a1 and a2."""
        return (
            muladd(dt_ms / p.tau_m_ms, I + s.a1 + s.a2 - s.v, s.v),
            s.a1 * (1 - dt_ms * p.decay1_per_ms),
            s.a2 * (1 - dt_ms * p.decay2_per_ms),
        )

    @staticmethod
    def refractory(s: Any, I: Any, p: Any, dt_ms: Any) -> tuple[Any, ...]:
        """The currents decay."""
        return s.v, s.a1 * (1 - dt_ms * p.decay1_per_ms), s.a2 * (1 - dt_ms * p.decay2_per_ms)

    @staticmethod
    def spikes(s: Any, p: Any) -> Any:
        """v > threshold."""
        return s.v > p.threshold

    @staticmethod
    def reset(s: Any, p: Any) -> tuple[Any, ...]:
        """v = reset_voltage; the currents jump."""
        return p.reset_voltage, p.keep1 * s.a1 + p.jump1, p.keep2 * s.a2 + p.jump2


class GLIF4(_Reset, _Currents):
    """GLIF4: with reset rules and after-spike currents."""

    variables = ("v", "theta", "a1", "a2")

    @staticmethod
    def step(s: Any, I: Any, p: Any, dt_ms: Any) -> tuple[Any, ...]:
        """Advance all variables."""
        return (
            muladd(dt_ms / p.tau_m_ms, I + s.a1 + s.a2 - s.v, s.v),
            s.theta * (1 - dt_ms * p.decay_theta_per_ms),
            s.a1 * (1 - dt_ms * p.decay1_per_ms),
            s.a2 * (1 - dt_ms * p.decay2_per_ms),
        )

    @staticmethod
    def refractory(s: Any, I: Any, p: Any, dt_ms: Any) -> tuple[Any, ...]:
        """Theta and the currents decay."""
        return (
            s.v,
            s.theta * (1 - dt_ms * p.decay_theta_per_ms),
            s.a1 * (1 - dt_ms * p.decay1_per_ms),
            s.a2 * (1 - dt_ms * p.decay2_per_ms),
        )

    @staticmethod
    def spikes(s: Any, p: Any) -> Any:
        """v > threshold + theta."""
        return s.v > s.theta + p.threshold

    @staticmethod
    def reset(s: Any, p: Any) -> tuple[Any, ...]:
        """Part of v stays; theta and the currents jump."""
        return (
            p.fraction * s.v + p.jump_v,
            s.theta + p.jump_theta,
            p.keep1 * s.a1 + p.jump1,
            p.keep2 * s.a2 + p.jump2,
        )


class GLIF5(_Reset, _Currents):
    """GLIF5: with reset rules, after-spike currents and a threshold that follows the voltage."""

    variables = ("v", "theta", "a1", "a2", "phi")

    growth_phi_per_ms = Parameter(0.005, "1/ms", "a, rate at which phi follows the voltage")
    decay_phi_per_ms = Parameter(0.09, "1/ms", "b_phi, rate at which phi decays", 0)

    @staticmethod
    def step(s: Any, I: Any, p: Any, dt_ms: Any) -> tuple[Any, ...]:
        """Advance all variables."""
        return (
            muladd(dt_ms / p.tau_m_ms, I + s.a1 + s.a2 - s.v, s.v),
            s.theta * (1 - dt_ms * p.decay_theta_per_ms),
            s.a1 * (1 - dt_ms * p.decay1_per_ms),
            s.a2 * (1 - dt_ms * p.decay2_per_ms),
            s.phi + dt_ms * (p.growth_phi_per_ms * s.v - p.decay_phi_per_ms * s.phi),
        )

    @staticmethod
    def refractory(s: Any, I: Any, p: Any, dt_ms: Any) -> tuple[Any, ...]:
        """All but the voltage go on."""
        return (
            s.v,
            s.theta * (1 - dt_ms * p.decay_theta_per_ms),
            s.a1 * (1 - dt_ms * p.decay1_per_ms),
            s.a2 * (1 - dt_ms * p.decay2_per_ms),
            s.phi + dt_ms * (p.growth_phi_per_ms * s.v - p.decay_phi_per_ms * s.phi),
        )

    @staticmethod
    def spikes(s: Any, p: Any) -> Any:
        """v > threshold + theta + phi."""
        return s.v > s.theta + s.phi + p.threshold

    @staticmethod
    def reset(s: Any, p: Any) -> tuple[Any, ...]:
        """Part of v stays; theta and the currents jump."""
        return (
            p.fraction * s.v + p.jump_v,
            s.theta + p.jump_theta,
            p.keep1 * s.a1 + p.jump1,
            p.keep2 * s.a2 + p.jump2,
            s.phi,
        )
