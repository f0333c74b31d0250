"""The transfer function of a simulated LIF neuron, which compares v to threshold once per step.

In: mean currents, or rates (Hz), the noise and the time step.  Out: rates (Hz), or the constant
currents at which a simulated neuron has them.  Knows the formula for continuous time; knows no file
or network.

A simulated neuron fires less than `stationary_rate` says, since it misses crossings of the
threshold within a step. A step of the model is

    v += s xi,  v += dt/tau_m (mu - v),  then the comparison;  s = sigma sqrt(dt/tau_m)

With c = 1 - dt/tau_m, the compared voltage is c v + (1 - c) mu + c s xi; its stationary variance is

    V = (c s)^2 / (1 - c^2)        with noise on the voltage, as above
    V = s^2 / (1 - c^2)            with noise on the current, mu + sigma sqrt(tau_m/dt) xi

(for the published step of 0.1 ms, 2 V = 0.985 and 1.005 sigma^2). The process in continuous time
with this variance has sigma' = sqrt(2 V). A threshold that is monitored in steps acts as one that
is higher by 0.5826 standard deviations of a step, 0.5826 sigma' sqrt(dt/tau_m), with 0.5826 =
-zeta(1/2)/sqrt(2 pi) (Broadie, Glasserman and Kou 1997, Math. Finance 7:325). So the mean interval
is that of `stationary_rate` with sigma' and the raised threshold, plus the refractory steps.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from rlsbench.errors import ConfigurationError
from rlsbench.transfer.neuron import DEFAULT, SIGMA_RANGE, Array, NeuronParameters, checked_rates, checked_sigma
from rlsbench.transfer.stationary import MAX_RATE_HZ, stationary_current, stationary_rate

BARRIER_SHIFT = 0.5825971579390107  # -zeta(1/2)/sqrt(2 pi)


def _stepped(sigma: ArrayLike, neuron: NeuronParameters) -> tuple[Array, Array, NeuronParameters]:
    """sigma'/scale, the scale (raised threshold - reset), and the neuron in these units."""
    values = checked_sigma(sigma, neuron)
    if neuron.dt_ms >= neuron.tau_m_ms:
        raise ConfigurationError(f"dt_ms = {neuron.dt_ms:g}: should be less than tau_m_ms = {neuron.tau_m_ms:g}")
    step = neuron.dt_ms / neuron.tau_m_ms
    c = 1 - step
    stepped = values * math.sqrt(2 * step / (1 - c * c)) * (c if neuron.noise == "voltage" else 1.0)
    scale = neuron.threshold - neuron.reset + BARRIER_SHIFT * math.sqrt(step) * stepped
    scaled = stepped / scale
    if (wrong := scaled < SIGMA_RANGE[0]).any():
        raise ConfigurationError(f"sigma = {values[wrong][0]:g} is too small for dt_ms = {neuron.dt_ms:g}")
    return scaled, scale, NeuronParameters(tau_m_ms=neuron.tau_m_ms)


def max_simulated_rate(neuron: NeuronParameters = DEFAULT) -> float:
    """Highest rate that `simulated_current` inverts, Hz.

    Its intervals are the refractory steps and 0.1 ms.
    """
    return 1 / (1 / MAX_RATE_HZ + neuron.refractory_s)


def simulated_rate(mu: ArrayLike, sigma: ArrayLike, neuron: NeuronParameters = DEFAULT) -> Array:
    """Rate of a simulated LIF neuron in white noise, Hz.

    Unless the rate is nearly 0, it is 0.5 % below that of the model's neuron for dt = tau_m/100,
    2.4 % for tau_m/20 and 5 % for tau_m/10. The formula ignores that voltage noise also acts during
    the refractory period; for 2 ms it is up to 2.5 % too low.

    Arguments, result and errors are those of `stationary_rate`; `sigma` is the noise parameter of
    the simulation, and the time step must be shorter than the time constant.
    """
    scaled, scale, continuous = _stepped(sigma, neuron)
    currents = (np.asarray(mu, dtype=np.float64) - neuron.reset) / scale
    rates = stationary_rate(currents, scaled, continuous)
    return np.asarray(rates / (1 + rates * neuron.refractory_s))


def simulated_current(rates_hz: ArrayLike, sigma: ArrayLike, neuron: NeuronParameters = DEFAULT) -> Array:
    """Mean current at which a simulated neuron has a given rate, the inverse of `simulated_rate`.

    Arguments, result, accuracy and errors are those of `stationary_current`, but the highest rate
    is `max_simulated_rate`; `sigma` and the time step are those of `simulated_rate`.
    """
    scaled, scale, continuous = _stepped(sigma, neuron)
    rates = checked_rates(rates_hz, scaled, max_simulated_rate(neuron))
    # The minimum only matters for rounding errors at the highest rate.
    unrefractory = np.minimum(rates / (1 - rates * neuron.refractory_s), MAX_RATE_HZ)
    return np.asarray(neuron.reset + scale * stationary_current(unrefractory, scaled, continuous))
