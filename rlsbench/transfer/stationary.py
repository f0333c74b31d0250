"""The transfer function of the leaky integrate-and-fire (LIF) neuron in continuous time.

In: mean currents, or rates (Hz), and the noise.  Out: stationary rates (Hz), or the constant
currents at which a neuron has them.  Knows no time step, file or network.

The formula is that of Siegert (1951), as in Brunel (2000), J. Comput. Neurosci. 8:183, without a
refractory period (docs/model.md section 5):

    nu = 1000 / (tau_m sqrt(pi) I),  I = integral from a to b of exp(x^2) (1 + erf x) dx
    a = (reset - mu)/sigma,  b = (threshold - mu)/sigma,  exp(x^2) (1 + erf x) = erfcx(-x)

Currents and voltages have the same units.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import erfc, erfcx

from rlsbench.errors import ConfigurationError
from rlsbench.transfer.neuron import DEFAULT, Array, NeuronParameters, checked_rates, checked_sigma

if TYPE_CHECKING:
    from scipy.interpolate import CubicSpline

MAX_RATE_HZ = 10_000.0  # one spike per refractory period of 0.1 ms
_TABLE_HZ = (5e-4, 1000.0)  # range of the table for a scalar sigma; the rest is solved one by one
_TABLE_SIZES = (2049, 4097, 8193)
_TABLE_ERROR = 2e-10  # of the log rate, at the midpoints of the table
_CHUNK = 16_384  # values evaluated together; times the number of nodes, a few MB
_NODES, _WEIGHTS = ((v / 2) for v in np.polynomial.legendre.leggauss(16))  # nodes + 1/2 are in (0, 1)
_B_PANELS = 3
_B_DROP = 42.0  # the integrand is neglected below exp(-42) of its maximum
_B_MAX = 1e6  # the rate underflows for any larger b


def _panels(count: int) -> tuple[Array, Array]:
    """Nodes and weights of composite 16-point Gauss-Legendre quadrature on [0, 1]."""
    nodes = (np.arange(count)[:, None] + _NODES + 0.5) / count
    return nodes.ravel(), np.tile(_WEIGHTS / count, count)


def _log_rate(mu: Array, sigma: Array, neuron: NeuronParameters) -> tuple[Array, Array]:
    """Log of the rate in Hz and its derivative with respect to mu, for mu and sigma of shape (n,).

    The integral is scaled by exp(-b^2) if b > 0 and split at x = 0. Below 0, x = -sinh t makes the
    integrand nearly constant for large t, so panels of length 2 suffice for any range. Above 0,
    exp((x-b)(x+b)) decays from x = b. Lengths are computed from w = b - a, so that nothing cancels
    if mu is far from both voltages.
    """
    a = (neuron.reset - mu) / sigma
    b = (neuron.threshold - mu) / sigma
    w = (neuron.threshold - neuron.reset) / sigma
    top = np.clip(b, 0.0, _B_MAX)
    square = top * top
    near, far = np.maximum(-b, 0.0), np.maximum(-a, 0.0)
    ratio = near / np.where(far > 0, far, 1.0)
    span = np.where(b < 0, w, far) * (1 + ratio) / (np.hypot(1.0, near) + ratio * np.hypot(1.0, far))
    length = np.arcsinh(span)  # = asinh(far) - asinh(near)
    nodes, weights = _panels(max(1, math.ceil(float(length.max(initial=0.0)) / 2)))
    t = np.arcsinh(near)[:, None] + length[:, None] * nodes
    below = length * ((erfcx(np.sinh(t)) * np.cosh(t)) @ weights)
    drop = _B_DROP / np.maximum(top + np.sqrt(np.maximum(square - _B_DROP, 0.0)), math.sqrt(_B_DROP))
    depth = np.where(b > 0, np.minimum(np.where(a > 0, w, top), drop), 0.0)
    nodes, weights = _panels(_B_PANELS)
    s = depth[:, None] * nodes
    above = depth * ((np.exp(-s * (2 * top[:, None] - s)) * erfc(s - top[:, None])) @ weights)
    scale = np.exp(-square)
    integral = below * scale + above
    at_b = np.where(b > 0, erfc(-top), erfcx(near))
    in_a = np.clip(a, 0.0, top)
    at_a = np.where(a > 0, np.exp((in_a - top) * (in_a + top)) * erfc(-in_a), erfcx(far) * scale)
    log_rate = math.log(1000 / (neuron.tau_m_ms * math.sqrt(math.pi))) - square - np.log(integral)
    return log_rate, (at_b - at_a) / (sigma * integral)


def _solve(log_rate: Array, sigma: Array, neuron: NeuronParameters) -> Array:
    """Find mu for each log rate (n,) and sigma (n,), by Newton steps that stay inside a bracket.

    The bracket is rigorous. Upper end: erfcx(y) < 1/(sqrt(pi) y), so noise only adds to the rate of
    the noiseless neuron. Lower end: the integrand increases, so I >= w erfcx(-a) >= w exp(a^2) for
    a >= 0.
    """
    reset, span = neuron.reset, neuron.threshold - neuron.reset
    log_integral = math.log(1000 / (neuron.tau_m_ms * math.sqrt(math.pi))) - log_rate
    excess = np.maximum(log_integral - np.log(span / sigma), 0.0)
    low = reset - sigma * np.sqrt(excess) * (1 + 1e-12)
    with np.errstate(over="ignore"):
        high = reset - span / np.expm1(-np.exp(log_integral) * math.sqrt(math.pi)) * (1 + 1e-12)
    mu, todo = low.copy(), np.arange(low.size)
    for _ in range(200):
        value, slope = _log_rate(mu[todo], sigma[todo], neuron)
        error, here = value - log_rate[todo], mu[todo]
        low[todo] = np.where(error < 0, here, low[todo])
        high[todo] = np.where(error > 0, here, high[todo])
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.where(error == 0, here, here - error / slope)
        inside = (step >= low[todo]) & (step <= high[todo])
        mu[todo] = step = np.where(inside, step, (low[todo] + high[todo]) / 2)
        # A Newton step squares such a small error; steps below 4 ulp improve nothing.
        done = (np.abs(error) < 1e-7) & inside | (np.abs(step - here) <= 4 * np.spacing(np.abs(here)))
        todo = todo[~done]
        if not todo.size:
            break
    return mu


@lru_cache(maxsize=8)
def _table(sigma: float, neuron: NeuronParameters) -> CubicSpline | None:
    """Cubic spline of mu over the log rate, refined until accurate; None if it never is."""
    from scipy.interpolate import CubicSpline  # slow import

    start, stop = math.log(_TABLE_HZ[0]), math.log(_TABLE_HZ[1])
    for size in _TABLE_SIZES:
        pad = 8 * (stop - start) / size  # a spline is least accurate at its ends
        knots = np.linspace(start - pad, stop + pad, size)
        mu = _solve(knots, np.full(size, sigma), neuron)
        spline = CubicSpline(knots, mu)
        middle = (knots[8:-8] + knots[7:-9]) / 2
        back, _ = _log_rate(spline(middle), np.full(middle.size, sigma), neuron)
        if np.abs(back - middle).max() < _TABLE_ERROR:
            return spline
    return None


def stationary_rate(mu: ArrayLike, sigma: ArrayLike, neuron: NeuronParameters = DEFAULT) -> Array:
    """Stationary rate of the LIF neuron without a refractory period, Hz.

    Parameters
    ----------
    mu, sigma : array_like
        Mean current and noise, in units of the voltages; they broadcast. Without a threshold, the
        standard deviation of the voltage would be sigma/sqrt(2).

    Returns
    -------
    ndarray
        Rates in Hz, of the broadcast shape, with a relative error below 1e-11; 0 on underflow.

    Raises
    ------
    ConfigurationError
        If a current is not finite, or a parameter is out of range.
    """
    currents, noise = np.broadcast_arrays(np.asarray(mu, dtype=np.float64), checked_sigma(sigma, neuron))
    if not np.isfinite(currents).all():
        raise ConfigurationError("a mean current is NaN or infinite: all should be finite")
    flat_mu, flat_sigma, rates = currents.ravel(), noise.ravel(), np.empty(currents.size)
    for i in range(0, rates.size, _CHUNK):
        part = slice(i, i + _CHUNK)
        rates[part] = np.exp(_log_rate(flat_mu[part], flat_sigma[part], neuron)[0])
    return rates.reshape(currents.shape)


def stationary_current(rate_hz: ArrayLike, sigma: ArrayLike, neuron: NeuronParameters = DEFAULT) -> Array:
    """Mean current at which the LIF neuron has a given rate: the inverse of `stationary_rate`.

    Parameters
    ----------
    rate_hz : array_like
        Rates in Hz, above 0 and up to `MAX_RATE_HZ`, usually (bins, neurons).
    sigma : array_like
        Noise: one number (fast, by a table), or one per neuron, (neurons,).

    Returns
    -------
    ndarray
        Currents, with the shape of `rate_hz`. `stationary_rate` reproduces rates from 0.001 to 400
        Hz from them with a relative error of 1e-9. A current depends only on its rate and sigma.

    Raises
    ------
    ConfigurationError
        If a parameter is out of range, or `sigma` has another shape.
    RecordingError
        If a rate is not finite, not above 0, or above `MAX_RATE_HZ`.
    """
    noise = checked_sigma(sigma, neuron)
    rates = checked_rates(rate_hz, noise, MAX_RATE_HZ)
    log_rate = np.log(rates).ravel()
    current, todo = np.empty(log_rate.size), np.arange(log_rate.size)
    if noise.ndim == 0 and (spline := _table(float(noise), neuron)) is not None:
        covered = (log_rate >= math.log(_TABLE_HZ[0])) & (log_rate <= math.log(_TABLE_HZ[1]))
        current[covered] = spline(log_rate[covered])
        todo = np.flatnonzero(~covered)
    for i in range(0, todo.size, _CHUNK):
        part = todo[i : i + _CHUNK]
        here = np.full(part.size, float(noise)) if noise.ndim == 0 else noise[part % noise.size]
        current[part] = _solve(log_rate[part], here, neuron)
    return current.reshape(rates.shape)
