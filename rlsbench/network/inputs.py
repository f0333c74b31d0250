"""What drives the network from outside: the constant current, the stimulus, noise and feed-forward Poisson inputs.

In: their parameters and a seed.  Out: values for any trial, step and neuron.  Knows the configuration and the streams;
knows no backend.  Nothing here is stored as steps x N.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlsbench.streams import Purpose, normal, uniform

__all__ = ["Feedforward", "Noise", "Stimulus"]


@dataclass(frozen=True)
class Stimulus:
    """The stimulus X_stim: one frozen Ornstein-Uhlenbeck path per task and neuron, the same in every trial.

    x(on) = mu;  x += b (mu - x) dt + sigma sqrt(dt) xi  at each step on < i < off  (Euler and Maruyama).

    Parameters
    ----------
    on, off : int
        Steps.
    mu, b_per_ms, sigma : float
        Mean, rate of return (1/ms), standard deviation of the increments (1/sqrt(ms)).
    dt_ms : float
    seed : int
    """

    on: int
    off: int
    mu: float
    b_per_ms: float
    sigma: float
    dt_ms: float
    seed: int

    def active(self, step: int) -> bool:
        """Whether stim_on < t < stim_off at this step."""
        return self.on < step < self.off

    def normals(self, task: int, step: ArrayLike, first: int, last: int) -> NDArray[np.float64]:
        """The xi of a step for the neurons first .. last-1."""
        return normal(self.seed, Purpose.STIMULUS, trial=task, step=np.asarray(step) - self.on, first=first, last=last)

    @property
    def decay(self) -> float:
        """b dt."""
        return self.b_per_ms * self.dt_ms

    @property
    def scale(self) -> float:
        """sigma sqrt(dt)."""
        return self.sigma * float(np.sqrt(self.dt_ms))

    def advance(self, x: NDArray[np.floating], task: int, step: int) -> None:
        """Advance the path x (N,) in place to an active step."""
        x += (self.mu - x) * self.decay + self.scale * self.normals(task, step, 0, len(x)).astype(x.dtype, copy=False)


@dataclass(frozen=True)
class Noise:
    """Gaussian noise on the voltage, v += scale xi, or on the current, u_bal += scale xi (model section 2).

    Parameters
    ----------
    kind : {"none", "voltage", "current"}
    sigma : float
        Standard deviation.
    dt_ms, tau_m_ms : float
    seed : int
    """

    kind: Literal["none", "voltage", "current"]
    sigma: float
    dt_ms: float
    tau_m_ms: float
    seed: int

    @property
    def scale(self) -> float:
        """Sigma sqrt(dt/tau_m) on the voltage, sigma sqrt(tau_m/dt) on the current."""
        ratio = float(np.sqrt(self.dt_ms / self.tau_m_ms))
        return {"none": 0.0, "voltage": self.sigma * ratio, "current": self.sigma / ratio}[self.kind]

    def normals(self, trial: int, step: ArrayLike, first: int, last: int) -> NDArray[np.float64]:
        """The xi of a step for the neurons first .. last-1."""
        return normal(self.seed, Purpose.NOISE, trial=trial, step=step, first=first, last=last)


@dataclass(frozen=True)
class Feedforward:
    """Feed-forward Poisson inputs shared by all neurons (model section 2, step 8).

    Parameters
    ----------
    inputs : int
        LX.
    steps, stimulus_off : int
        Steps of a trial; inputs spike after `stimulus_off`.
    mu_hz, b_per_ms, sigma : float
        Mean (Hz), rate of return (1/ms), standard deviation of the increments (Hz/sqrt(ms)) of the rates.
    half_window : int
        The rate is averaged over +- this many steps; the window shrinks at the ends.
    dt_ms, tau_ms : float
        Time step; filter of the spikes.
    seed : int
    """

    inputs: int
    steps: int
    stimulus_off: int
    mu_hz: float
    b_per_ms: float
    sigma: float
    half_window: int
    dt_ms: float
    tau_ms: float
    seed: int

    def rates_hz(self, task: int) -> NDArray[np.float64]:
        """Rates of a task, (steps + 1, LX), Hz: row i is step i."""
        return _feedforward_rates(self, task)

    def spikes(self, trial: int, task: int, first: int, last: int) -> NDArray[np.bool_]:
        """Which inputs spike at the steps first .. last: (last - first + 1, LX)."""
        steps = np.arange(first, last + 1)
        u = uniform(self.seed, Purpose.FEEDFORWARD_SPIKE, trial=trial, step=steps, first=0, last=self.inputs)
        probability = self.rates_hz(task)[first : last + 1] * (self.dt_ms / 1000.0)
        return (u < probability) & (steps > self.stimulus_off)[:, None]


@lru_cache(maxsize=8)
def _feedforward_rates(f: Feedforward, task: int) -> NDArray[np.float64]:
    from scipy.signal import lfilter  # takes long to import, and few experiments need it

    xi = normal(f.seed, Purpose.FEEDFORWARD_RATE, trial=task, step=np.arange(f.steps + 1), first=0, last=f.inputs)
    # The path minus its mean is a first-order filter of the increments: y_i = (1 - b dt) y_(i-1) + sigma sqrt(dt) xi_i.
    increments = f.sigma * np.sqrt(f.dt_ms) * xi
    increments[0] = 0.0
    path = f.mu_hz + lfilter([1.0], [1.0, f.b_per_ms * f.dt_ms - 1.0], increments, axis=0)
    total = np.concatenate([np.zeros((1, f.inputs)), np.cumsum(path, axis=0)])
    i = np.arange(f.steps + 1)
    low, high = np.maximum(i - f.half_window, 0), np.minimum(i + f.half_window, f.steps) + 1
    rates: NDArray[np.float64] = np.maximum((total[high] - total[low]) / (high - low)[:, None], 0.0)
    rates.flags.writeable = False
    return rates
