"""One trial: the loop over time steps and learning bins, and its clock.

In: a `Trainer`.  Out: a `TrialRecord`.  Knows the backend contract; knows no backend and no file.

The clock stops during measurements, so `TrialRecord.seconds` is the time of the trial alone, with
the sums of currents if the trainer adds them up while it advances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import SpikeTrain, Trainer
from rlsbench.clock import Clock
from rlsbench.plugins import ContractError, check_shape
from rlsbench.training.records import TrialRecord

Floats = NDArray[np.floating[Any]]


class Sampler(Protocol):
    """Receives the currents at whole milliseconds."""

    @property
    def after(self) -> int:
        """Only steps later than this are sampled."""

    def begin(self, trainer: Trainer) -> bool:
        """Whether the trainer takes the samples of this trial by itself, while it advances."""

    def sample(self, step: int, trainer: Trainer) -> None:
        """Process the currents (N,) of a trainer after a step."""

    def collect(self, trainer: Trainer) -> None:
        """Take over what the trainer has summed, after the last step."""


class Segment(NamedTuple):
    """Consecutive steps that a trainer runs without interruption."""

    learning_bin: int | None  #: bin that is learned just before the first step, or None
    first: int
    last: int
    sampled: bool  #: whether the currents are sampled after the last step


def segments(clock: Clock, sample_after: int | None = None) -> Iterator[Segment]:
    """Cut a trial at learning steps and, after step `sample_after`, at each whole millisecond."""
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
    """Run one trial, with or without learning, with the network's own spikes or with given ones.

    Parameters
    ----------
    trainer : Trainer
    trial : int
        Number of the trial, which selects its random numbers.
    task : int
        Task whose stimulus and targets are used.
    learn : bool
        Whether to update w and P.
    sampler : Sampler, optional
        Receives the currents at whole milliseconds.
    record : ndarray of int, optional
        Neurons whose spikes are recorded, in increasing order.
    replay : SpikeTrain, optional
        Spikes that replace those of the network.
    watch : callable, optional
        Called with each learning bin (0-based) after its update; its time counts as measurement.

    Returns
    -------
    TrialRecord
    """
    clock = trainer.problem.clock
    measuring = 0.0
    updates: list[float] = []
    early = np.zeros(trainer.neurons, np.int64)
    start = perf_counter()
    trainer.begin_trial(trial, task, np.empty(0, np.int64) if record is None else record)
    before = perf_counter()
    cuts = None if sampler is None or sampler.begin(trainer) else sampler.after
    measuring += perf_counter() - before
    for segment in segments(clock, cuts):
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
        if segment.first == clock.stimulus_off:
            trainer.synchronize()
            before = perf_counter()
            early = np.array(trainer.spike_counts())
            measuring += perf_counter() - before
        trainer.advance(segment.first, segment.last, replay)
        if sampler is not None and segment.sampled:
            trainer.synchronize()
            before = perf_counter()
            sampler.sample(segment.last, trainer)
            trainer.synchronize()
            measuring += perf_counter() - before
    trainer.synchronize()
    seconds, exchange = perf_counter() - start - measuring, trainer.exchange_seconds()
    if sampler is not None:
        before = perf_counter()
        sampler.collect(trainer)
        measuring += perf_counter() - before
    counts = trainer.spike_counts()
    check_shape("spike_counts()", counts, (trainer.neurons,), "iu")
    if counts.min(initial=0) < 0:
        raise ContractError(f"spike_counts() has the entry {counts.min()}")
    spikes = trainer.recorded_spikes()
    check_shape("step of recorded_spikes()", spikes.step, (len(spikes.neuron),), "iu")
    for what, values, first, last in (
        ("step", spikes.step, 1, clock.steps),
        ("neuron", spikes.neuron, trainer.own.start, trainer.own.stop - 1),
    ):
        if len(values) and not first <= values.min() <= values.max() <= last:
            raise ContractError(f"recorded_spikes() has a {what} outside of {first} to {last}")
    ranks, late = trainer.problem.ranks, counts - early
    if ranks.spread:
        counts, late, spikes = ranks.gather(counts), ranks.gather(late), SpikeTrain.join(ranks.collect(spikes))
    return TrialRecord(
        trial=trial,
        task=task,
        seconds=seconds,
        rls_seconds=sum(updates),
        update_seconds=tuple(updates),
        measuring_seconds=measuring,
        spike_counts=counts,
        late_counts=late,
        firing_rate_hz=float(counts.sum() / (len(counts) * clock.seconds)),
        spikes=spikes,
        exchange_seconds=exchange,
    )
