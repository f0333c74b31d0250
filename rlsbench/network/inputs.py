"""Inputs from outside the network: the stimulus, noise and feed-forward Poisson inputs.

In: parameters and, for each draw, a seed.  Out: values for any trial, step and range of neurons; no
array of steps x N is stored.  Knows the random streams; knows no backend.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlsbench.clock import Clock
from rlsbench.configuration import Experiment
from rlsbench.configuration.experiment import MOST_BACKGROUND
from rlsbench.network.populations import Populations
from rlsbench.streams import Purpose, normal, uniform, words


def external_current(e: Experiment, populations: Populations) -> NDArray[np.float64]:
    """X_bal of each neuron, (N,) (docs/model.md section 1.3)."""
    by_sign = {1: e.external.excitatory, -1: e.external.inhibitory}
    own = [p.external for p in e.populations] or [None] * len(populations)
    factors = [by_sign[p.sign] if factor is None else factor for p, factor in zip(populations, own, strict=True)]
    j_X = e.external.scale * math.sqrt(e.network.K) * e.network.g
    return populations.per_neuron(factors) * j_X


@dataclass(frozen=True)
class Stimulus:
    """The stimulus X_stim: an Ornstein-Uhlenbeck path per task and neuron, the same in every trial.

        x(on) = mu
        x    += b (mu - x) dt + sigma sqrt(dt) xi      in each step on < i < off (Euler-Maruyama)

    It acts strictly between the steps `on` and `off`.
    """

    on: int
    off: int
    mu: float  #: mean
    b_per_ms: float  #: reversion rate
    sigma: float  #: standard deviation of the increments, 1/sqrt(ms)
    dt_ms: float

    @classmethod
    def from_experiment(cls, e: Experiment, clock: Clock) -> Stimulus:
        """That of an experiment."""
        s, on = e.stimulus, round(e.stimulus.on_ms / clock.dt_ms)
        return cls(on, clock.stimulus_off, s.mu, s.b_per_ms, s.sigma, clock.dt_ms)

    @property
    def steps(self) -> int:
        """Number of steps in which it acts."""
        return max(0, self.off - self.on - 1)

    def active(self, step: int) -> bool:
        """Whether stim_on < t < stim_off in this step."""
        return self.on < step < self.off

    def normals(self, seed: int, task: int, step: ArrayLike, first: int, last: int) -> NDArray[np.float64]:
        """The xi of one step, (last - first,), or of several, (S, last - first)."""
        return normal(seed, Purpose.STIMULUS, trial=task, step=np.asarray(step) - self.on, first=first, last=last)

    @property
    def decay(self) -> float:
        """b dt."""
        return self.b_per_ms * self.dt_ms

    @property
    def scale(self) -> float:
        """sigma sqrt(dt)."""
        return self.sigma * float(np.sqrt(self.dt_ms))

    def advance(self, x: NDArray[np.floating], seed: int, task: int, step: int) -> None:
        """Advance the path x (N,), in place, to an active step."""
        xi = self.normals(seed, task, step, 0, len(x))
        x += (self.mu - x) * self.decay + self.scale * xi.astype(x.dtype, copy=False)


@dataclass(frozen=True)
class Noise:
    """Gaussian noise: v += scale xi, or u_bal += scale xi (docs/model.md section 2)."""

    kind: Literal["none", "voltage", "current"]
    sigma: float  #: standard deviation
    dt_ms: float
    tau_m_ms: float  #: membrane time constant

    @property
    def scale(self) -> float:
        """sigma sqrt(dt/tau_m) for voltage noise, sigma sqrt(tau_m/dt) for current noise."""
        ratio = float(np.sqrt(self.dt_ms / self.tau_m_ms))
        return {"none": 0.0, "voltage": self.sigma * ratio, "current": self.sigma / ratio}[self.kind]

    def normals(self, seed: int, trial: int, step: ArrayLike, first: int, last: int) -> NDArray[np.float64]:
        """The xi of one step, (last - first,), or of several, (S, last - first)."""
        return normal(seed, Purpose.NOISE, trial=trial, step=step, first=first, last=last)


@dataclass(frozen=True)
class Background:
    """Poisson spikes from outside the network (docs/model.md section 2, step 7).

    The number of spikes in a step is drawn by inversion of its cumulative distribution: it is the
    number of entries of the population's row of `table` that the neuron's random word reaches.
    """

    populations: Populations
    means: tuple[float, ...]  #: number of spikes of a neuron in a step, by population
    weights: tuple[float, ...]  #: of each spike, (threshold - reset) ms, by population

    @cached_property
    def table(self) -> NDArray[np.uint64]:
        """Entry k, of 2^32, is how many words stand for at most k spikes, (P, most + 1)."""
        from scipy.special import pdtr  # slow import, which few experiments need

        k = np.arange(MOST_BACKGROUND + 20 * math.isqrt(MOST_BACKGROUND))
        entries = np.ceil(2.0**32 * pdtr(k, np.array(self.means)[:, None])).astype(np.uint64)
        used = int((entries < 2**32).sum(axis=1).max())
        return np.ascontiguousarray(entries[:, : used + 1])

    def counts(self, seed: int, trial: int, step: ArrayLike, first: int, last: int) -> NDArray[np.int64]:
        """Spikes that reach each neuron in a step, (last - first,), or in several, (S, ..)."""
        word = words(seed, Purpose.BACKGROUND, trial=trial, step=step, first=first, last=last)
        counts = np.zeros(word.shape, np.int64)
        for population, mean, row in zip(self.populations, self.means, self.table, strict=True):
            a, b = np.clip((population.first, population.last), first, last) - first
            if mean:
                counts[..., a:b] = np.searchsorted(row, word[..., a:b], side="right")
        return counts

    def arriving(
        self, seed: int, trial: int, step: ArrayLike, first: int = 0, last: int | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What the spikes of a step add to in_E and to in_I, (N,) each, or of several, (S, N).

        Those of the neurons first .. last-1, or of all.
        """
        last = self.populations.neurons if last is None else last
        sums = self.populations.per_neuron(self.weights)[first:last] * self.counts(seed, trial, step, first, last)
        return np.maximum(sums, 0.0), np.minimum(sums, 0.0)


def background_of(e: Experiment, populations: Populations) -> Background | None:
    """The Poisson spikes from outside the network, if any population receives some."""
    if not any(p.background_hz for p in e.populations):
        return None
    means = tuple(p.background_hz * e.time.dt_ms / 1000.0 for p in e.populations)
    return Background(populations, means, tuple(p.background_weight for p in e.populations))


@dataclass(frozen=True)
class Feedforward:
    """Feed-forward Poisson inputs, shared by all neurons (docs/model.md section 2, step 8)."""

    inputs: int  #: LX
    steps: int  #: in a trial
    stimulus_off: int  #: inputs spike after this step
    mu_hz: float  #: mean of the rates
    b_per_ms: float  #: their reversion rate
    sigma: float  #: standard deviation of their increments, Hz/sqrt(ms)
    half_window: int  #: rates are means over +- this many steps; the window shrinks at both ends of the trial
    dt_ms: float
    tau_ms: float  #: time constant of the filtered spikes

    def rates_hz(self, seed: int, task: int) -> NDArray[np.float64]:
        """Rates in a task, Hz, (steps + 1, LX); row i is step i."""
        return _feedforward_rates(self, seed, task)

    def spikes(self, seed: int, trial: int, task: int, first: int, last: int) -> NDArray[np.bool_]:
        """Which inputs spike in the steps first .. last, (last - first + 1, LX)."""
        steps = np.arange(first, last + 1)
        u = uniform(seed, Purpose.FEEDFORWARD_SPIKE, trial=trial, step=steps, first=0, last=self.inputs)
        probability = self.rates_hz(seed, task)[first : last + 1] * (self.dt_ms / 1000.0)
        return (u < probability) & (steps > self.stimulus_off)[:, None]


@lru_cache(maxsize=8)
def _feedforward_rates(f: Feedforward, seed: int, task: int) -> NDArray[np.float64]:
    from scipy.signal import lfilter  # slow import, which few experiments need

    xi = normal(seed, Purpose.FEEDFORWARD_RATE, trial=task, step=np.arange(f.steps + 1), first=0, last=f.inputs)
    # Minus its mean, the path is a first-order filter:
    # y_i = (1 - b dt) y_(i-1) + sigma sqrt(dt) xi_i.
    increments = f.sigma * np.sqrt(f.dt_ms) * xi
    increments[0] = 0.0
    path = f.mu_hz + lfilter([1.0], [1.0, f.b_per_ms * f.dt_ms - 1.0], increments, axis=0)
    total = np.concatenate([np.zeros((1, f.inputs)), np.cumsum(path, axis=0)])
    i = np.arange(f.steps + 1)
    low = np.maximum(i - f.half_window, 0)
    high = np.minimum(i + f.half_window, f.steps) + 1
    rates: NDArray[np.float64] = np.maximum((total[high] - total[low]) / (high - low)[:, None], 0.0)
    rates.flags.writeable = False  # shared by every caller
    return rates
