"""One trial: the loop over steps and learning bins, its clock, and what is measured on the way.

In: a `Trainer`.  Out: a `TrialRecord`.  Knows the protocol; knows no backend and no file.

The clock stops while anything is measured, so `seconds` is the time of the trial alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rlsbench.backend import SpikeTrain, Trainer
from rlsbench.clock import Clock
from rlsbench.errors import ConfigurationError
from rlsbench.problem import InitialTrial
from rlsbench.targets import Targets

__all__ = [
    "Correlation",
    "CurrentMoments",
    "LearnedCurrent",
    "Sampler",
    "Segment",
    "TrialRecord",
    "correlation",
    "measure_initial_trial",
    "pearson",
    "run_trial",
    "segments",
]

Floats = NDArray[np.floating[Any]]
BLOCK = 1024  # neurons whose correlation is computed at once: temporaries stay in the second-level cache


class Sampler(Protocol):
    """Samples the currents at whole milliseconds."""

    @property
    def after(self) -> int:
        """Samples are taken at steps later than this."""

    def sample(self, step: int, trainer: Trainer) -> None:
        """Sample the currents (N,) of a trainer after a step."""

    def collect(self, trainer: Trainer) -> None:
        """Take over, after the last step, what the trainer has summed."""


class Segment(NamedTuple):
    """Consecutive steps that a trainer runs without interruption."""

    learning_bin: int | None
    """Bin that is learned just before the first step, or None."""
    first: int
    last: int
    sampled: bool
    """Whether the currents are sampled after the last step."""


def segments(clock: Clock, sample_after: int | None = None) -> Iterator[Segment]:
    """Cut a trial at learning steps and, later than the step `sample_after`, after each whole millisecond."""
    first = 1
    while first <= clock.steps:
        next_learning = (first // clock.learn_every + 1) * clock.learn_every
        last = min(next_learning - 1, clock.steps)
        sampled = False
        if sample_after is not None:
            next_sample = -(-max(first, sample_after + 1) // clock.sample_every) * clock.sample_every
            sampled = next_sample <= last
            last = min(last, next_sample)
        yield Segment(clock.learning_bin(first), first, last, sampled)
        first = last + 1


@dataclass(frozen=True)
class TrialRecord:
    """What one trial recorded.

    Parameters
    ----------
    trial, task : int
    seconds : float
        Wall time of the trial, measuring apart.
    rls_seconds : float
        Part of it spent in the RLS updates.
    update_seconds : tuple of float
        Wall time of each of them.
    measuring_seconds : float
        Wall time spent in measuring, not part of `seconds`.
    spike_counts : ndarray, shape (N,)
    firing_rate_hz : float
        Spikes per neuron and second over the whole trial.
    spikes : SpikeTrain
        Spikes of the neurons that were recorded.
    """

    trial: int
    task: int
    seconds: float
    rls_seconds: float
    update_seconds: tuple[float, ...]
    measuring_seconds: float
    spike_counts: NDArray[np.int64]
    firing_rate_hz: float
    spikes: SpikeTrain


def run_trial(
    trainer: Trainer,
    trial: int,
    *,
    task: int = 0,
    learn: bool = True,
    sampler: Sampler | None = None,
    record: NDArray[np.int64] | None = None,
    replay: SpikeTrain | None = None,
    watch: Callable[[int], None] | None = None,
) -> TrialRecord:
    """Run one trial, with learning on or off, free or replayed on given spikes.

    Parameters
    ----------
    trainer : Trainer
    trial : int
        Number of the trial, which addresses its random numbers.
    task : int
        Which task's stimulus and targets.
    learn : bool
        Whether to update w and P.
    sampler : Sampler, optional
        Gets the currents at whole milliseconds.
    record : ndarray of int, optional
        Neurons whose spikes are kept, in rising order.
    replay : SpikeTrain, optional
        Spikes that take the place of the network's own.
    watch : callable, optional
        Called with each learning bin after its update; counts as measuring.

    Returns
    -------
    TrialRecord
    """
    clock = trainer.problem.clock
    measuring = 0.0
    updates: list[float] = []
    start = perf_counter()
    trainer.begin_trial(trial, task, np.empty(0, np.int64) if record is None else record)
    for segment in segments(clock, None if sampler is None else sampler.after):
        if learn and segment.learning_bin is not None:
            trainer.synchronize()
            before = perf_counter()
            trainer.learn(segment.learning_bin)
            trainer.synchronize()
            updates.append(perf_counter() - before)
            if watch is not None:
                before = perf_counter()
                watch(segment.learning_bin)
                measuring += perf_counter() - before
        trainer.advance(segment.first, segment.last, replay)
        if sampler is not None and segment.sampled:
            trainer.synchronize()
            before = perf_counter()
            sampler.sample(segment.last, trainer)
            trainer.synchronize()
            measuring += perf_counter() - before
    trainer.synchronize()
    seconds = perf_counter() - start - measuring
    if sampler is not None:
        before = perf_counter()
        sampler.collect(trainer)
        measuring += perf_counter() - before
    counts = trainer.spike_counts()
    return TrialRecord(
        trial,
        task,
        seconds,
        sum(updates),
        tuple(updates),
        measuring,
        counts,
        float(counts.sum() / (len(counts) * clock.seconds)),
        trainer.recorded_spikes(),
    )


class LearnedCurrent:
    """The learned current: u (u_P where K = 0) averaged around each learning bin (model section 4).

    The sample at step i belongs to the bins q .. q + width - 1 with q = floor((i - stim_off - wid)/learn_every), all in
    steps, and width = round(2 wid/learn_every).  Samples with the same q are summed as they come; a bin's mean is a
    sum over `width` neighbouring q.

    Parameters
    ----------
    clock : Clock
    neurons : int
        N.
    window_ms : float
        wid, ms.
    plastic_only : bool
        Take u_P in place of u.
    dtype : numpy dtype
        Of the sums.
    """

    def __init__(
        self, clock: Clock, neurons: int, window_ms: float, *, plastic_only: bool, dtype: str = "float64"
    ) -> None:
        self.clock, self.plastic_only = clock, plastic_only
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
            self.sums = trainer.current_sums()

    def matrix(self, neurons: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float64]:
        """Learned current of some neurons, (bins, neurons); NaN in a bin that no sample fell into."""
        # Running sums with a row of zeros on top: a bin b sums the q in b - width + 1 .. b.
        running = np.cumsum(self.sums[:, neurons], axis=0, dtype=np.float64)
        running = np.concatenate([np.zeros((1, running.shape[1])), running])
        low, high = self._bounds()
        samples = self.samples()[:, None]
        return np.where(samples > 0, (running[high] - running[low]) / np.maximum(samples, 1), np.nan)

    def samples(self) -> NDArray[np.int64]:
        """Samples that fell into each bin, (bins,)."""
        low, high = self._bounds()
        seen = np.concatenate([[0], np.cumsum(self.counts)])
        return np.asarray(seen[high] - seen[low])

    def _bounds(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The half-open range of sums that make up each bin."""
        high = np.arange(self.clock.bins) - self.lowest + 1
        return np.clip(high - self.width, 0, len(self.counts)), np.clip(high, 0, len(self.counts))

    def _group(self, step: int) -> int:
        return (step - self.clock.stimulus_off - self.half) // self.clock.learn_every


class Correlation(NamedTuple):
    """Agreement of learned and target currents."""

    mean: float | None
    """Mean over neurons, None where no neuron's is defined."""
    undefined: int
    """Neurons with a target whose correlation is undefined: a constant trace."""
    per_neuron: NDArray[np.float64]
    """(N,), NaN where undefined."""


def pearson(a: Floats, b: Floats, dtype: DTypeLike = np.float64) -> NDArray[np.float64]:
    """Pearson's correlation of the columns of two matrices, (neurons,); NaN where a column is constant.

    Parameters
    ----------
    a, b : ndarrays, shape (bins, neurons)
    dtype : numpy dtype
        In which `a` was summed: deviations that are no more than its rounding count as none.
    """
    r = np.full(a.shape[1], np.nan)
    scale_a, scale_b = (
        8 * np.sqrt(len(m)) * np.finfo(kind).eps * np.abs(m).max(axis=0, initial=0.0)
        for m, kind in ((a, dtype), (b, b.dtype))
    )
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    norm_a, norm_b = (np.sqrt(np.einsum("bc,bc->c", m, m)) for m in (a, b))
    defined = (norm_a > scale_a) & (norm_b > scale_b) & np.isfinite(norm_a) & np.isfinite(norm_b)
    product = np.einsum("bc,bc->c", a, b)
    r[defined] = product[defined] / (norm_a[defined] * norm_b[defined])
    return r


def correlation(learned: LearnedCurrent, targets: Targets, task: int) -> Correlation:
    """Pearson correlation over bins between target and learned current, per neuron, and its mean over neurons.

    Bins that no sample fell into are left out.
    """
    N = learned.sums.shape[1]
    r = np.full(N, np.nan)
    sampled = learned.samples() > 0
    if not sampled.any():
        return Correlation(None, N, r)
    for first in range(0, N, BLOCK):
        block = slice(first, min(first + BLOCK, N))
        a, b = learned.matrix(block)[sampled], targets.matrix(task, block)[sampled]
        r[block] = pearson(a, b, learned.sums.dtype)
    defined, wanted = np.isfinite(r), ~np.isnan(targets.row(task, 0))
    return Correlation(float(r[defined].mean()) if defined.any() else None, int((wanted & ~defined).sum()), r)


class CurrentMoments:
    """Temporal mean and standard deviation of each neuron's static current after a time.

    Parameters
    ----------
    after : int
        Step after which samples are taken.
    neurons : int
        N.
    """

    def __init__(self, after: int, neurons: int) -> None:
        self.after, self.count = after, 0
        self.first = np.zeros(neurons)
        self.second = np.zeros(neurons)

    def sample(self, step: int, trainer: Trainer) -> None:
        """Add the static current (N,) of one step."""
        self.count += 1
        u = trainer.currents()[0].astype(np.float64)
        self.first += u
        self.second += u * u

    def collect(self, trainer: Trainer) -> None:
        """Nothing: all of it is summed here."""

    def mean(self) -> NDArray[np.float64]:
        """Temporal mean, (N,)."""
        return self.first / max(self.count, 1)

    def std(self) -> NDArray[np.float64]:
        """Temporal standard deviation, (N,)."""
        return np.sqrt(np.maximum(self.second / max(self.count, 1) - self.mean() ** 2, 0.0))


def measure_initial_trial(trainer: Trainer, average_from_ms: float) -> InitialTrial:
    """Run trial 0 without plastic synapses and measure spontaneous rates and static currents.

    Parameters
    ----------
    trainer : Trainer
        Of `initial_problem`.
    average_from_ms : float
        Currents are averaged over t > this, ms.

    Raises
    ------
    ConfigurationError
        If no sample follows that time.
    """
    clock = trainer.problem.clock
    moments = CurrentMoments(round(average_from_ms / clock.dt_ms), trainer.problem.neurons)
    record = run_trial(trainer, 0, learn=False, sampler=moments)
    if not moments.count:
        raise ConfigurationError(
            f"training.average_from_ms = {average_from_ms:g}: no whole millisecond follows it in a trial of "
            f"{1000 * clock.seconds:g} ms"
        )
    return InitialTrial(record.spike_counts / clock.seconds, moments.mean(), moments.std())
