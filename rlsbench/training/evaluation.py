"""Evaluation of a trained network: many trials with frozen weights, compared with the targets.

In: a `Training`. Out: an `Evaluation`, with a row for each neuron and task. Knows the backend
contract, but no files.

Correlations measured while learning are optimistic, because each update moves the current towards
the target of its own bin. Here nothing is learned; trials differ in initial voltages, noise and
feed-forward spikes.

A neuron is silenced by an external current that is not a number (NaN). Then nor is its voltage
after the first step, and v > threshold is false in every step, with any neuron model, precision and
input. Its synaptic currents are still computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlsbench.backend import SpikeTrain, Trainer, make_trainer
from rlsbench.clock import Clock
from rlsbench.configuration.section import neuron_names
from rlsbench.errors import ConfigurationError
from rlsbench.plugins import ContractError, blamed
from rlsbench.recordings import smooth
from rlsbench.training import Training
from rlsbench.training.learned_current import LearnedCurrent, pearson
from rlsbench.training.objects import PynappleObjects, neo_block, pynapple_objects
from rlsbench.training.progress import final_correlation
from rlsbench.training.trial import run_trial

if TYPE_CHECKING:
    import pandas as pd

FIRST_TRIAL = 1_000_000  # number of the first frozen trial, beyond those of any training
SPREAD_BELOW = 20_000  # neurons; smaller networks run one trial per thread, larger ones use all
BY_POPULATION = ("current_correlation", "psth_correlation", "rate_hz", "data_rate_hz")
BLOCK = 8192  # neurons that are correlated at once

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """Trials of a trained network with frozen weights."""

    trials: int  #: number of trials of each task
    neurons: pd.DataFrame  #: a row for each task and neuron; see `COLUMNS`
    rates_hz: Array  #: smoothed PSTHs, Hz, (tasks, bins, N)
    currents: Array  #: mean learned current over trials, (tasks, bins, N)
    spread: Array  #: standard deviation of the learned current over trials, (tasks, bins, N)
    single: Array  #: the learned current of the first trial, (tasks, bins, N)
    #: spikes of all neurons, by task and trial: of the first trial, or of all if they were kept
    trial_spikes: list[list[SpikeTrain]]
    #: the published measure: the mean over the last ten iterations of the training
    correlation_while_learning: float | None
    seconds_per_trial: float  #: wall time
    silenced: NDArray[np.bool_]  #: neurons that were kept from spiking, (N,)
    clock: Clock

    @property
    def spikes(self) -> list[SpikeTrain]:
        """Spikes of all neurons in the first trial of each task."""
        return [trials[0] for trials in self.trial_spikes]

    def to_pynapple(self, task: int = 0) -> PynappleObjects:
        """The trials of a task as objects of Pynapple; needs the extra `analysis`.

        The trials are those whose spikes were kept; they follow one another, 1 s apart.

        Raises
        ------
        RlsbenchError
            If Pynapple is not installed.
        """
        spikes, rates, currents = self.trial_spikes[task], self.rates_hz[task], self.currents[task]
        return pynapple_objects(spikes, rates, currents, self._labels(), self.clock, task)

    def to_neo(self) -> Any:
        """A `neo.Block` with a segment for each trial whose spikes were kept.

        Each segment has a spike train of each neuron, annotated with its number and labels, and an
        epoch in which the neurons follow the targets. Elephant analyses such spike trains. Needs
        the extra `analysis`.

        Raises
        ------
        RlsbenchError
            If Neo is not installed.
        """
        return neo_block(self.trial_spikes, self._labels(), self.clock)

    def _labels(self) -> pd.DataFrame:
        """What is known of each neuron besides scores, a row for each."""
        names = ["population", "id", "region", "has_target", "silenced"]
        rows = self.neurons[self.neurons.task == 0]
        return rows[[name for name in names if name in rows]].reset_index(drop=True)

    def summary(self) -> dict[str, Any]:
        """Return means by task (of neurons with a target), by population, and the published one.

        Silenced neurons count in no mean. If there are any, "silenced" has their numbers by
        population.
        """
        tasks = []
        everyone = self.neurons if not self.silenced.any() else self.neurons[~self.neurons.silenced]
        for task in range(len(self.rates_hz)):
            rows = everyone[(everyone.task == task) & everyone.has_target]
            values = rows[[name for name in COLUMNS if name in rows]].mean(skipna=True)
            spread = (rows.rate_hz - rows.data_rate_hz).abs()
            told = _told(values)
            told["absolute_rate_error_hz"] = None if spread.isna().all() else float(spread.mean())
            tasks.append({"task": task, **told})
        by_population = everyone.groupby("population", sort=False)[list(BY_POPULATION)].mean()
        silent = self.neurons.population[: len(self.silenced)][self.silenced].value_counts(sort=False)
        return {
            "trials": self.trials,
            "correlation_while_learning": self.correlation_while_learning,
            "seconds_per_trial": self.seconds_per_trial,
            "tasks": tasks,
            "populations": {str(name): _told(row) for name, row in by_population.iterrows()},
        } | ({"silenced": {str(name): int(count) for name, count in silent.items()}} if len(silent) else {})


def _told(values: pd.Series[float]) -> dict[str, float | None]:
    """Numbers by name, None for NaN."""
    return {str(name): None if np.isnan(value) else float(value) for name, value in values.items()}


COLUMNS = {
    "current_correlation": "target and mean learned current over trials",
    "single_trial_current_correlation": "target and learned current of one trial, mean over trials",
    "psth_correlation": "recorded PSTH and PSTH of the network",
    "current_correlation_shuffled": "control: current_correlation with the target of another neuron",
    "psth_correlation_shuffled": "control: psth_correlation with the recorded rate of another neuron",
    "current_correlation_other_task": "control: current_correlation with the neuron's target in the next task",
    "psth_correlation_other_task": "control: psth_correlation with the neuron's recorded rate in the next task",
    "rate_hz": "mean rate during the target",
    "data_rate_hz": "recorded mean rate",
    "rate_error_hz": "rate_hz - data_rate_hz",
    "fano_factor": "variance / mean over trials of the number of spikes during the target",
}
"""Measures of a neuron in one task; correlations are Pearson's, over bins."""


class _Trial(NamedTuple):
    current: Array
    counts: NDArray[np.int32]
    correlation: Array
    spikes: SpikeTrain
    seconds: float


def evaluate(
    training: Training,
    trials: int = 100,
    *,
    smoothing_bins: int = 15,
    threads: int | None = None,
    correlation_while_learning: float | None = None,
    silence: ArrayLike | Sequence[str] = (),
    keep_spikes: bool = False,
) -> Evaluation:
    """Run trials with frozen weights and compare them with the targets and any recorded rates.

    Parameters
    ----------
    training : Training
    trials : int
        Number of trials of each task, at least 2.
    smoothing_bins : int
        Odd width of the moving average that smooths PSTHs, in bins; it shrinks at the ends.
    threads : int, optional
        By default those of the training.
    correlation_while_learning : float, optional
        The published measure of a training that is not part of `training`.
    silence : array_like of bool, shape (N,), or of int, or sequence of str, optional
        Neurons that do not spike in these trials, as a mask, by number or by name of the
        population, in the notation of `learning.neurons`. The synapses onto them stay.
    keep_spikes : bool
        Keep the spikes of all trials, 8 bytes each, and not only those of the first of each task.

    Returns
    -------
    Evaluation
        Independent of the number of threads. Several ranks call this together, and each gets that
        of all neurons.

    Raises
    ------
    ConfigurationError
        For fewer than two trials, a width that is not odd and positive, or if `silence` names
        neurons that the network lacks, or all of them.
    BackendError
        If a silenced neuron spikes.
    """
    if trials < 2:
        raise ConfigurationError(f"trials = {trials}: at least 2 are needed")
    if smoothing_bins < 1 or smoothing_bins % 2 == 0:
        raise ConfigurationError(f"smoothing_bins = {smoothing_bins}: must be odd and at least 1")
    problem, targets = training.problem, training.problem.targets
    assert targets is not None
    silenced = problem.populations.named(map(str, neuron_names(silence)), "silence")
    if silenced.all():
        raise ConfigurationError(f"silence names all {problem.neurons} neurons: at least one must be left")
    shape = (targets.tasks, targets.bins, problem.neurons)
    total, square = np.zeros(shape), np.zeros(shape)
    single, psth = np.zeros(shape), np.zeros(shape)
    kept: list[list[SpikeTrain]] = [[] for _ in range(targets.tasks)]
    count, count_square, correlation = (np.zeros((targets.tasks, problem.neurons)) for _ in range(3))
    seconds = 0.0
    for task in range(targets.tasks):
        for i, trial in enumerate(_trials(training, task, trials, threads or training.options.threads, silenced)):
            total[task] += trial.current
            square[task] += np.square(trial.current)
            psth[task] += trial.counts
            spikes = trial.counts.sum(axis=0)
            count[task] += spikes
            count_square[task] += np.square(spikes, dtype=np.float64)
            correlation[task] += trial.correlation
            seconds += trial.seconds
            if i == 0:
                single[task] = trial.current
            if i == 0 or keep_spikes:
                kept[task].append(trial.spikes)
    mean = total / trials
    spread = np.sqrt(np.maximum(square / trials - mean**2, 0.0))
    bin_s = problem.clock.learn_every * problem.clock.dt_ms / 1000.0
    rates = np.stack([smooth(counts / (trials * bin_s), "boxcar", smoothing_bins) for counts in psth])
    variance = (count_square - count**2 / trials) / (trials - 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        fano = np.where(count > 0, variance / (count / trials), np.nan)
    table = _table(training, mean, rates, correlation / trials, count / (trials * targets.bins * bin_s), fano)
    if np.size(silence):  # also a mask that names none
        table.insert(list(table.columns).index("has_target") + 1, "silenced", np.tile(silenced, targets.tasks))
    learned = final_correlation([i.correlation for i in training.iterations], minimum=1)
    return Evaluation(
        trials,
        table,
        rates,
        mean,
        spread,
        single,
        kept,
        correlation_while_learning if learned is None else learned,
        seconds / (trials * targets.tasks),
        silenced,
        problem.clock,
    )


def _trials(training: Training, task: int, trials: int, threads: int, silenced: NDArray[np.bool_]) -> Iterator[_Trial]:
    """The trials of one task in order, several in parallel."""
    problem, targets = training.problem, training.problem.targets
    assert targets is not None
    ranks = problem.ranks
    plastic = replace(problem.own_part.plastic, own_weights=training.own_weights())
    external = np.where(silenced, np.nan, problem.external_current)
    frozen = replace(problem, plastic=plastic, external_current=external, targets=None)
    at_once = min(threads, trials) if problem.neurons < SPREAD_BELOW and not ranks.spread else 1
    options = replace(training.options, threads=max(1, threads // at_once))
    trainers = [make_trainer(training.backend, frozen, options) for _ in range(at_once)]
    target = targets.matrix(task)
    everyone = np.arange(problem.neurons)

    def run(trainer: Trainer, number: int) -> _Trial:
        learned = LearnedCurrent(
            problem.clock,
            trainer.neurons,
            training.experiment.training.window_ms,
            plastic_only=not problem.has_static,
            dtype=training.options.precision,
        )
        trial = FIRST_TRIAL + number
        with blamed(f"backend {training.backend.name}"):
            record = run_trial(trainer, trial, task=task, learn=False, sampler=learned, record=everyone)
            if record.spike_counts[silenced].any():
                raise ContractError("a neuron with an external current of NaN, which is silenced, has spiked")
        current = learned.matrix()
        if ranks.spread:
            current = np.ascontiguousarray(ranks.gather(current.T).T)
        counts = binned_counts(record.spikes, problem.clock, problem.neurons)
        return _Trial(current, counts, _correlated(current, target), record.spikes, record.seconds / at_once)

    if at_once == 1:  # in this thread: Numba's threading layer workqueue serves no other
        yield from map(run, trainers * trials, range(trials))
        return
    with ThreadPoolExecutor(at_once) as pool:
        for first in range(0, trials, at_once):
            numbers = range(first, min(first + at_once, trials))
            yield from pool.map(run, trainers[: len(numbers)], numbers)


def binned_counts(spikes: SpikeTrain, clock: Clock, neurons: int) -> NDArray[np.int32]:
    """Count spikes in each learning bin, (bins, N).

    Bin b covers the steps up to and including the update that learns row b of the targets.
    """
    after = spikes.step - clock.stimulus_off
    bins = (after - 1) // clock.learn_every
    inside = (after > 0) & (bins < clock.bins)
    flat = bins[inside].astype(np.int64) * neurons + spikes.neuron[inside]
    return np.bincount(flat, minlength=clock.bins * neurons).astype(np.int32).reshape(clock.bins, neurons)


def _correlated(a: Array, b: Array) -> Array:
    """Pearson's correlation of columns, a block of neurons at a time."""
    return np.concatenate([pearson(a[:, i : i + BLOCK], b[:, i : i + BLOCK]) for i in range(0, a.shape[1], BLOCK)])


def _table(
    training: Training, currents: Array, rates: Array, single: Array, rate_hz: Array, fano: Array
) -> pd.DataFrame:
    """A row for each task and neuron."""
    import pandas as pd  # slow import

    problem, targets = training.problem, training.problem.targets
    assert targets is not None
    N = problem.neurons
    with_target = np.flatnonzero(~np.isnan(targets.row(0, 0)))
    order = np.random.default_rng(problem.seed).permutation(with_target)
    other = np.arange(N)  # another neuron with a target, by a random cycle through all of them
    other[order] = np.roll(order, 1)

    def correlated(rates: Array, data: Array | None) -> Array:
        return np.full(N, np.nan) if data is None else _correlated(rates, data)

    frames = []
    for task in range(targets.tasks):
        target, data = targets.matrix(task), training.recorded_rates(task)
        columns: dict[str, Any] = {
            "task": task,
            "neuron": np.arange(N),
            "population": np.array([p.name for p in problem.populations])[problem.populations.index(np.arange(N))],
            "id": training.labels("ids"),
            "region": training.labels("regions"),
            "has_target": np.isin(np.arange(N), with_target),
            "current_correlation": _correlated(currents[task], target),
            "single_trial_current_correlation": single[task],
            "psth_correlation": correlated(rates[task], data),
            "current_correlation_shuffled": _correlated(currents[task], target[:, other]),
            "psth_correlation_shuffled": correlated(rates[task], None if data is None else data[:, other]),
        }
        if targets.tasks > 1:
            following = (task + 1) % targets.tasks
            columns["current_correlation_other_task"] = _correlated(currents[task], targets.matrix(following))
            columns["psth_correlation_other_task"] = correlated(rates[task], training.recorded_rates(following))
        columns["rate_hz"] = rate_hz[task]
        columns["data_rate_hz"] = np.nan if data is None else data.mean(axis=0)
        columns["rate_error_hz"] = columns["rate_hz"] - columns["data_rate_hz"]
        columns["fano_factor"] = fano[task]
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)
