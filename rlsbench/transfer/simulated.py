"""Rate <-> current of the LIF neuron as it is simulated: in steps, with the threshold looked at once in each.

In: mean currents, or rates (Hz), the noise and the time step.  Out: rates (Hz), or the constant currents that give them
in a simulation.  Knows the formula of continuous time; knows no file and no network.

A simulated neuron fires less than `stationary_rate` says, since excursions above threshold between two looks are
missed. One step of the model is v += s xi, then v += dt/tau_m (mu - v), then the look; s = sigma sqrt(dt/tau_m). With
c = 1 - dt/tau_m the voltage at the look is v' = c v + (1 - c) mu + c s xi, so its stationary variance is

    V = (c s)^2 / (1 - c^2)        with noise on the voltage, as above
    V = s^2 / (1 - c^2)            with noise on the current, mu + sigma sqrt(tau_m/dt) xi

(the published 0.1 ms step: 2 V = 0.985 and 1.005 sigma^2). The process of continuous time that has this variance is
that of sigma' = sqrt(2 V). A threshold that is looked at in steps acts as one that is higher by 0.5826 standard
deviations of a step, 0.5826 sigma' sqrt(dt/tau_m), with 0.5826 = -zeta(1/2)/sqrt(2 pi) (Broadie, Glasserman and Kou
1997, Math. Finance 7:325). So the mean interval is that of `stationary_rate` with sigma' and the raised threshold, and
the steps of refractoriness.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlsbench.errors import ConfigurationError
from rlsbench.transfer.stationary import (
    MAX_RATE_HZ,
    SIGMA_RANGE,
    check_shapes,
    checked_rates,
    checked_sigma,
    stationary_current,
    stationary_rate,
)

__all__ = ["SteppedNoise", "max_simulated_rate", "simulated_current", "simulated_rate"]

Array = NDArray[np.float64]
SteppedNoise = Literal["voltage", "current"]

BARRIER_SHIFT = 0.5825971579390107  # -zeta(1/2)/sqrt(2 pi)


class _Stepped(NamedTuple):
    """The stepped neuron as one of continuous time, in units where its raised threshold is 1 and its reset 0."""

    sigma: Array
    """sigma' / scale; one number, or one per neuron."""
    scale: Array
    """Raised threshold - reset, in the units of the voltages."""
    refractory_s: float
    """Refractory steps, in seconds."""


def _refractory_s(dt_ms: float, refractory_ms: float) -> float:
    """Whole steps of refractoriness, in seconds; ConfigurationError unless both times make sense."""
    if not (math.isfinite(dt_ms) and dt_ms > 0):
        raise ConfigurationError(f"dt_ms = {dt_ms:g} is not accepted: give a positive number of ms")
    if not (math.isfinite(refractory_ms) and refractory_ms >= 0):
        raise ConfigurationError(f"refractory_ms = {refractory_ms:g} is not accepted: give 0 or a positive number")
    return round(refractory_ms / dt_ms) * dt_ms / 1000


def _stepped(
    sigma: ArrayLike,
    dt_ms: float,
    refractory_ms: float,
    noise: SteppedNoise,
    tau_m_ms: float,
    threshold: float,
    reset: float,
) -> _Stepped:
    """Check the parameters and derive sigma', the raised threshold and the refractory time."""
    values = checked_sigma(sigma, tau_m_ms, threshold, reset)
    refractory_s = _refractory_s(dt_ms, refractory_ms)
    if dt_ms >= tau_m_ms:
        raise ConfigurationError(f"dt_ms = {dt_ms:g} is not accepted: give a step below tau_m_ms = {tau_m_ms:g}")
    if noise not in get_args(SteppedNoise):
        raise ConfigurationError(f"noise {noise!r} is not known: give {' or '.join(get_args(SteppedNoise))}")
    step = dt_ms / tau_m_ms
    c = 1 - step
    stepped = values * math.sqrt(2 * step / (1 - c * c)) * (c if noise == "voltage" else 1.0)
    scale = threshold - reset + BARRIER_SHIFT * math.sqrt(step) * stepped
    scaled = stepped / scale
    if (wrong := scaled < SIGMA_RANGE[0]).any():
        found = f"sigma = {values[wrong][0]:g} is too small for dt_ms = {dt_ms:g}"
        raise ConfigurationError(f"{found}: at the looks at the threshold, less than {SIGMA_RANGE[0]:g} is left of it")
    return _Stepped(scaled, scale, refractory_s)


def max_simulated_rate(*, dt_ms: float, refractory_ms: float) -> float:
    """Highest rate that `simulated_current` inverts, in Hz: refractory steps and 0.1 ms between two spikes.

    Parameters
    ----------
    dt_ms, refractory_ms : float
        Time step and refractory period, ms.

    Returns
    -------
    float

    Raises
    ------
    ConfigurationError
        If a time is negative or not finite, or the step is 0.
    """
    return 1 / (1 / MAX_RATE_HZ + _refractory_s(dt_ms, refractory_ms))


def simulated_rate(
    mu: ArrayLike,
    sigma: ArrayLike,
    *,
    dt_ms: float = 0.1,
    refractory_ms: float = 0.1,
    noise: SteppedNoise = "voltage",
    tau_m_ms: float = 10.0,
    threshold: float = 1.0,
    reset: float = 0.0,
) -> Array:
    """Rate of the LIF neuron in white noise as it is simulated in steps, in Hz.

    Where neurons fire at all it is 0.5 % below the rate of the model's neuron at dt = tau_m/100, 2.4 % at tau_m/20 and
    5 % at tau_m/10. Noise on the voltage also enters while the neuron is refractory, which the formula leaves out: with
    a refractory period of 2 ms it gives up to 2.5 % less.

    Parameters
    ----------
    mu : array_like
        Mean current, any shape.
    sigma : array_like
        Noise as the simulation has it, in the same units; broadcast against `mu`.
    dt_ms : float
        Time step, ms; below `tau_m_ms`.
    refractory_ms : float
        Refractory period, ms; rounded to whole steps, as the simulation does.
    noise : {"voltage", "current"}
        Where the simulation adds it: see the module.
    tau_m_ms, threshold, reset : float
        Membrane time constant (ms), threshold and reset voltage.

    Returns
    -------
    ndarray
        Rates in Hz, of the broadcast shape.

    Raises
    ------
    ConfigurationError
        If a current is not finite, or a parameter is out of range.
    """
    stepped = _stepped(sigma, dt_ms, refractory_ms, noise, tau_m_ms, threshold, reset)
    currents = (np.asarray(mu, dtype=np.float64) - reset) / stepped.scale
    rates = stationary_rate(currents, stepped.sigma, tau_m_ms=tau_m_ms)
    return np.asarray(rates / (1 + rates * stepped.refractory_s))


def simulated_current(
    rates_hz: ArrayLike,
    sigma: ArrayLike,
    *,
    dt_ms: float = 0.1,
    refractory_ms: float = 0.1,
    noise: SteppedNoise = "voltage",
    tau_m_ms: float = 10.0,
    threshold: float = 1.0,
    reset: float = 0.0,
) -> Array:
    """Mean current at which the simulated LIF neuron fires at the given rates: the inverse of `simulated_rate`.

    Parameters
    ----------
    rates_hz : array_like
        Rates in Hz, above 0 and up to `max_simulated_rate`; usually (bins, neurons).
    sigma : array_like
        Noise: one number (fast: a table), or one per neuron, (neurons,).
    dt_ms, refractory_ms, noise, tau_m_ms, threshold, reset
        As in `simulated_rate`.

    Returns
    -------
    ndarray
        Currents of the shape of `rates_hz`; put back into `simulated_rate` they give the rates to 1e-9 of each (0.001
        to 400 Hz). Each value depends on its own rate and sigma only.

    Raises
    ------
    ConfigurationError
        If a parameter is out of range, or `sigma` of another shape.
    RecordingError
        If a rate is not finite, not above 0, or more than the refractory period allows.
    """
    stepped = _stepped(sigma, dt_ms, refractory_ms, noise, tau_m_ms, threshold, reset)
    rates = checked_rates(rates_hz, max_simulated_rate(dt_ms=dt_ms, refractory_ms=refractory_ms))
    check_shapes(stepped.sigma, rates)
    # The smaller of the two only matters for rounding at the highest rate.
    unrefractory = np.minimum(rates / (1 - rates * stepped.refractory_s), MAX_RATE_HZ)
    return np.asarray(reset + stepped.scale * stationary_current(unrefractory, stepped.sigma, tau_m_ms=tau_m_ms))
