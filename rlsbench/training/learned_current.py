"""The learned current, and its correlation with the target.

In: currents sampled during a trial, and `Targets`.  Out: matrices (bins, neurons) and correlations.
Knows the clock of a trial; does not run one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rlsbench.backend import Trainer
from rlsbench.clock import Clock
from rlsbench.plugins import check_shape
from rlsbench.ranks import ALONE, Communicator
from rlsbench.targets import Targets

Floats = NDArray[np.floating[Any]]
BLOCK = 1024  # neurons that are correlated at a time, so that temporaries stay in the second-level cache


class LearnedCurrent:
    """Mean of u (u_P if K = 0) around each learning bin (docs/model.md section 4).

    The sample at step i belongs to the bins q .. q + width - 1 with
    q = floor((i - stim_off - wid)/learn_every), all in steps, and width = round(2 wid/learn_every).
    Samples with the same q are added as they arrive; the mean of a bin is a sum over `width`
    neighbouring q.

    Parameters
    ----------
    clock : Clock
    neurons : int
        N.
    window_ms : float
        wid, ms.
    plastic_only : bool
        Use u_P in place of u.
    dtype : numpy dtype
        Type of the sums.
    """

    def __init__(
        self, clock: Clock, neurons: int, window_ms: float, *, plastic_only: bool, dtype: str = "float64"
    ) -> None:
        self.clock = clock
        self.plastic_only = plastic_only
        self.half = round(window_ms / clock.dt_ms)
        self.width = max(1, round(2 * self.half / clock.learn_every))
        first_sample = (clock.stimulus_off // clock.sample_every + 1) * clock.sample_every
        self.lowest = self._group(first_sample)
        groups = max(0, self._group(clock.steps) - self.lowest + 1)
        self.sums = np.zeros((groups, neurons), dtype)
        self.counts = np.zeros(groups, np.int64)

    @property
    def after(self) -> int:
        """Samples are taken after the stimulus."""
        return self.clock.stimulus_off

    def begin(self, trainer: Trainer) -> bool:
        """Let the trainer add its currents to sums while it advances, if it can."""
        every = self.clock.sample_every
        step = every * np.arange(self.clock.steps // every + 1)
        rows = np.where(step > self.after, self._group(step) - self.lowest, -1)
        alone = trainer.sum_currents(rows, every, plastic_only=self.plastic_only)
        if alone:
            self.counts = np.bincount(rows[rows >= 0], minlength=len(self.counts))
        return alone

    def sample(self, step: int, trainer: Trainer) -> None:
        """Let the trainer add its currents to the sums, which it keeps until `collect`."""
        q = self._group(step) - self.lowest
        if not self.counts.any():
            trainer.clear_sums(len(self.sums))
        trainer.add_currents(q, plastic_only=self.plastic_only)
        self.counts[q] += 1

    def collect(self, trainer: Trainer) -> None:
        """Take over the sums that the trainer kept."""
        if self.counts.any():
            sums = trainer.current_sums()
            check_shape("current_sums()", sums, self.sums.shape)
            self.sums = sums

    def matrix(self, neurons: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float64]:
        """Learned current of some neurons, (bins, neurons); NaN in a bin without samples."""
        # Running sums below a row of zeros: bin b sums the q in b - width + 1 .. b.
        running = np.cumsum(self.sums[:, neurons], axis=0, dtype=np.float64)
        running = np.concatenate([np.zeros((1, running.shape[1])), running])
        low, high = self._bounds()
        samples = self.samples()[:, None]
        return np.where(samples > 0, (running[high] - running[low]) / np.maximum(samples, 1), np.nan)

    def samples(self) -> NDArray[np.int64]:
        """Number of samples in each bin, (bins,)."""
        low, high = self._bounds()
        running = np.concatenate([[0], np.cumsum(self.counts)])
        return np.asarray(running[high] - running[low])

    def _bounds(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The half-open range of sums that make up each bin."""
        high = np.arange(self.clock.bins) - self.lowest + 1
        return np.clip(high - self.width, 0, len(self.counts)), np.clip(high, 0, len(self.counts))

    def _group(self, step: Any) -> Any:
        return (step - self.clock.stimulus_off - self.half) // self.clock.learn_every


class Correlation(NamedTuple):
    """Agreement of learned and target currents."""

    mean: float | None  #: mean over neurons; None if it is undefined for every neuron
    undefined: int  #: number of neurons with a target whose correlation is undefined: a constant trace
    per_neuron: NDArray[np.float64]  #: (N,), NaN where undefined
    mean_error: NDArray[np.float64]
    """(N,), mean over bins of learned current - target; NaN for a neuron without a target."""


def pearson(a: Floats, b: Floats, dtype: DTypeLike = np.float64) -> NDArray[np.float64]:
    """Pearson's correlation of the columns of two matrices, (neurons,); NaN for constant columns.

    Parameters
    ----------
    a, b : ndarray, shape (bins, neurons)
    dtype : numpy dtype
        Type in which `a` was summed: deviations within its rounding error count as zero.
    """
    r = np.full(a.shape[1], np.nan)
    scale_a, scale_b = (
        8 * np.sqrt(len(m)) * np.finfo(kind).eps * np.abs(m).max(axis=0, initial=0.0)
        for m, kind in ((a, dtype), (b, b.dtype))
    )
    a = a - a.mean(axis=0)
    b = b - b.mean(axis=0)
    norm_a, norm_b = (np.sqrt(np.einsum("bc,bc->c", m, m)) for m in (a, b))
    defined = (norm_a > scale_a) & (norm_b > scale_b) & np.isfinite(norm_a) & np.isfinite(norm_b)
    product = np.einsum("bc,bc->c", a, b)
    r[defined] = product[defined] / (norm_a[defined] * norm_b[defined])
    return r


def correlation(learned: LearnedCurrent, targets: Targets, task: int, ranks: Communicator = ALONE) -> Correlation:
    """Pearson's correlation over bins of target and learned current, and their mean difference.

    Bins without samples are excluded. Currents and targets are those of a rank's own neurons; the
    result is that of all.
    """
    N = learned.sums.shape[1]
    r, error = np.full(N, np.nan), np.full(N, np.nan)
    sampled = learned.samples() > 0
    if not sampled.any():
        r = ranks.gather(r)
        return Correlation(None, len(r), r, np.zeros(len(r)))
    for first in range(0, N, BLOCK):
        block = slice(first, min(first + BLOCK, N))
        a, b = learned.matrix(block)[sampled], targets.matrix(task, block)[sampled]
        r[block] = pearson(a, b, learned.sums.dtype)
        error[block] = a.mean(axis=0) - b.mean(axis=0)
    has_target = ~np.isnan(targets.row(task, 0))
    r, error, has_target = ranks.gather(r), ranks.gather(error), ranks.gather(has_target)
    defined = np.isfinite(r)
    mean = float(r[defined].mean()) if defined.any() else None
    return Correlation(mean, int((has_target & ~defined).sum()), r, error)
