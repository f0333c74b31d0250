"""The transfer function of any neuron model, measured: rates of simulated neurons at many currents.

In: a neuron model, its noise, and rates (Hz).  Out: the constant currents at which simulated
neurons have these rates on average.  Knows no file or network.

Neurons at GRID currents, REPLICAS of each, are simulated for WARM_UP + DURATION. Spikes are counted
after WARM_UP, when adaptation has settled. Counts are Poisson-like, so the rate as a function of
the current is their isotonic regression, and a model is refused whose counts differ from it by more
than chance. Between currents, the logarithm of the rate is interpolated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlsbench.errors import ConfigurationError, RecordingError
from rlsbench.neurons import Neurons

Array = NDArray[np.float64]

GRID, REPLICAS, FEW = 48, 128, 8
WARM_UP_MS, DURATION_MS = 500.0, 1500.0
SPIKES = 15  # at the lowest rate that is told from 0
DEVIATIONS = 6.0  # of a count from a monotonic curve, beyond which it is no chance
RANGE = (-8.0, 32.0)  # currents, (threshold - reset)


@dataclass(frozen=True)
class InputNoise:
    """Noise of a simulated neuron, in units of (threshold - reset)."""

    voltage: float = 0.0  #: standard deviation of what is added to v in each step
    current: float = 0.0  #: of what is added to the current, independently in each step
    filtered: float = 0.0  #: of an Ornstein-Uhlenbeck process that is added to the current
    tau_ms: float = 1.0  #: its time constant


def measured_rate(
    currents: ArrayLike, neurons: Neurons, noise: InputNoise, dt_ms: float, replicas: int = REPLICAS
) -> Array:
    """Rates of simulated neurons with constant currents, Hz.

    Parameters
    ----------
    currents : array_like, shape (G,)
    neurons : Neurons
        All with the same parameters.
    noise : InputNoise
    dt_ms : float
        Time step, ms.
    replicas : int
        Neurons with each current.

    Returns
    -------
    ndarray, shape (G,)
        Means over neurons and DURATION_MS.
    """
    values = np.repeat(np.asarray(currents, np.float32), replicas)
    rng, N = np.random.default_rng(1), len(values)
    state = neurons.initial_state(rng.standard_normal(N, np.float32))
    rest, refractory = round(neurons.refractory_ms / dt_ms), np.zeros(N, np.int32)
    slow, counts = np.zeros(N, np.float32), np.zeros(N, np.int64)
    decay, p = math.exp(-dt_ms / noise.tau_ms), neurons.parameters(np.float32)
    increment = np.float32(noise.filtered * math.sqrt(1 - decay * decay))
    warm_up = round(WARM_UP_MS / dt_ms)
    for step in range(warm_up + round(DURATION_MS / dt_ms)):
        drive = values
        if noise.filtered:
            slow = np.float32(decay) * slow + increment * rng.standard_normal(N, np.float32)
            drive = drive + slow
        if noise.current:
            drive = drive + np.float32(noise.current) * rng.standard_normal(N, np.float32)
        if noise.voltage:
            state[0] += np.float32(noise.voltage) * rng.standard_normal(N, np.float32)
        spiked = neurons.advance(state, drive, refractory == 0, dt_ms, p)
        refractory = np.where(spiked, rest, np.maximum(refractory - 1, 0))
        if step >= warm_up:
            counts += spiked
    if not np.isfinite(state).all():
        worst = values[np.argmax(~np.isfinite(state).all(axis=0))]
        raise ConfigurationError(f"neuron.model = {neurons.name!r}: its state explodes with a current of {worst:g}")
    return np.asarray(counts.reshape(-1, replicas).mean(axis=1) / (DURATION_MS / 1000), np.float64)


def measured_current(rates_hz: ArrayLike, neurons: Neurons, noise: InputNoise, dt_ms: float) -> Array:
    """Constant currents at which simulated neurons have given rates.

    Parameters
    ----------
    rates_hz : array_like
        Rates in Hz.
    neurons, noise, dt_ms
        As in `measured_rate`.

    Returns
    -------
    ndarray
        Currents, with the shape of `rates_hz`. Rates have a relative error of some 10 % at 0.1 Hz
        and 1 % at 10 Hz, from the number of spikes.

    Raises
    ------
    ConfigurationError
        If parameters vary from neuron to neuron, or the rate does not rise with the current.
    RecordingError
        If no current gives a rate.
    """
    from scipy.optimize import isotonic_regression  # slow import

    told = f"targets.transfer = 'simulated': neuron.model = {neurons.name!r}"
    if neurons.varying:
        raise ConfigurationError(f"{told} has parameters that vary from neuron to neuron, {neurons.varying[0]}")
    rates = np.asarray(rates_hz, np.float64)
    exposure = REPLICAS * DURATION_MS / 1000
    lowest, highest = float(rates.min()), float(rates.max())
    if not lowest >= SPIKES / exposure:
        raise RecordingError(
            f"{told}: a rate of {lowest:g} Hz is too low to be measured: at least {SPIKES / exposure:.2g}"
        )
    currents = np.linspace(*RANGE, GRID)
    for replicas in (FEW, REPLICAS):  # everywhere, then where the rates are
        found = measured_rate(currents, neurons, noise, dt_ms, replicas)
        if replicas == FEW:
            first = max(0, int(np.argmax(found > lowest)) - 3)
            last = GRID - 1 if found.max() <= highest else min(GRID - 1, int(np.argmax(found > highest)) + 1)
            currents = np.linspace(currents[first], currents[last], GRID)
    smooth = np.asarray(isotonic_regression(found).x)
    error = np.sqrt(np.maximum(smooth, 1 / exposure) / exposure)
    reached = smooth[-1] >= highest
    used = int(np.argmax(smooth >= highest)) + 1 if reached else GRID
    off = (np.abs(found - smooth) / error)[:used]
    if off.max(initial=0) > DEVIATIONS:
        at = int(off.argmax())
        raise ConfigurationError(f"{told}: its rate does not rise with the current near {currents[at]:.3g}")
    if not reached:
        raise RecordingError(f"{told}: no current gives a rate of {highest:g} Hz; it reaches {smooth[-1]:.3g} Hz")
    rising = np.flatnonzero(np.diff(smooth, prepend=0.0) > 0)
    return np.interp(np.log(rates), np.log(smooth[rising]), currents[rising])
