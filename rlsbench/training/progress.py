"""The progress of a training: its best iteration, and whether the firing rate is running away.

In: iterations, one after another.  Out: the best so far, smoothed correlation and rate, a warning.
Knows no network.

A network with static synapses that is trained too long towards targets with a fixed mean loses
what it learned: the firing rate climbs, and then the correlation falls (docs/lasting.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlsbench.training.records import Iteration

WINDOW = 10  # iterations over which correlation and rate are smoothed, rounded up to a multiple of the tasks
FALL = 0.05  # fall of the smoothed correlation that causes a warning, if the rate has climbed
CLIMB = 1.02  # factor by which the rate must have climbed


def final_correlation(
    correlations: Sequence[float | None], window: int = WINDOW, minimum: int | None = None
) -> float | None:
    """The correlation that a training reached: the mean over its last iterations.

    Parameters
    ----------
    correlations : sequence of (float or None)
        Mean correlation of target and learned current in each iteration, None where not measured.
    window : int
        Number of iterations.
    minimum : int, optional
        Fewest of these that must have been measured; all of them by default.

    Returns
    -------
    float or None
        None if fewer were measured.
    """
    last = [value for value in correlations[-window:] if value is not None]
    return float(np.mean(last)) if len(last) >= (window if minimum is None else minimum) else None


class Progress:
    """Statistics of the iterations so far; iterations without correlation count for the rate only.

    Parameters
    ----------
    tasks : int
        Number of tasks. Tasks differ in difficulty, so a score is the mean over as many iterations.

    Attributes
    ----------
    best_iteration, best_score : int or None, float or None
        Iteration with the highest score, and that score.
    peak_iteration, peak, peak_rate_hz : int or None, float or None, float or None
        Iteration with the highest smoothed correlation, its value, and the smoothed rate there.
    """

    def __init__(self, tasks: int = 1) -> None:
        self.tasks = tasks
        self.window = -(-WINDOW // tasks) * tasks
        self._correlations: list[float] = []
        self._rates: list[float] = []
        self._latest = 0
        self._warned = False
        self.best_iteration: int | None = None
        self.best_score: float | None = None
        self.peak_iteration: int | None = None
        self.peak: float | None = None
        self.peak_rate_hz: float | None = None

    def add(self, iteration: Iteration) -> None:
        """Add the next iteration."""
        self._latest = iteration.iteration
        self._rates.append(iteration.firing_rate_hz)
        if iteration.correlation is None:
            return
        self._correlations.append(iteration.correlation)
        score = float(np.mean(self._correlations[-self.tasks :]))
        if len(self._correlations) >= self.tasks and (self.best_score is None or score > self.best_score):
            self.best_iteration, self.best_score = self._latest, score
        smoothed = self.correlation
        if smoothed is not None and (self.peak is None or smoothed > self.peak):
            self.peak_iteration, self.peak, self.peak_rate_hz = self._latest, smoothed, self.rate_hz

    @property
    def correlation(self) -> float | None:
        """Smoothed correlation; None until there are enough iterations."""
        return final_correlation(self._correlations, self.window)

    @property
    def rate_hz(self) -> float:
        """Smoothed firing rate, Hz."""
        return float(np.mean(self._rates[-self.window :])) if self._rates else 0.0

    @property
    def drift_hz(self) -> float | None:
        """Change of the smoothed rate, Hz in 100 iterations; None before there are enough."""
        if len(self._rates) < 2 * self.window:
            return None
        before = float(np.mean(self._rates[-2 * self.window : -self.window]))
        return 100 * (self.rate_hz - before) / self.window

    @property
    def is_best(self) -> bool:
        """Whether the last iteration is the best so far."""
        return self.best_iteration is not None and self.best_iteration == self._latest

    def since_peak(self) -> int:
        """Number of iterations since the smoothed correlation was highest."""
        return 0 if self.peak_iteration is None else self._latest - self.peak_iteration

    def warning(self) -> str | None:
        """Return a warning, once, if the correlation fell from its peak while the rate climbed."""
        now, peak, rate = self.correlation, self.peak, self.peak_rate_hz
        if self._warned or now is None or peak is None or rate is None:
            return None
        if now > peak - FALL or self.rate_hz < CLIMB * rate:
            return None
        self._warned = True
        return (
            f"the smoothed correlation has fallen from {peak:.3f} (iteration {self.peak_iteration}) to {now:.3f} "
            f"while the firing rate has climbed from {rate:.2f} to {self.rate_hz:.2f} Hz: with more training the "
            "network loses what it learned; learning.target_mean = population prevents that, --patience stops in "
            "time, --save-best keeps the best weights"
        )
