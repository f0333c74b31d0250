"""A network in training: the loop over iterations and the learning curve.

In: what `prepare` made.  Out: iterations, one at a time, and what is known after them.
Knows the backend contract; knows no command line and no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rlsbench.available import available_bytes
from rlsbench.backend import Backend, Block, Options, SpikeTrain, Trainer
from rlsbench.configuration import Experiment
from rlsbench.errors import ConfigurationError, RlsbenchError, UnsupportedError
from rlsbench.plugins import ContractError, blamed, check_shape
from rlsbench.problem import InitialTrial, Problem
from rlsbench.recordings import Recording
from rlsbench.recordings.arrays import array_digest
from rlsbench.targets import ShiftedTargets, Targets
from rlsbench.targets.making import recorded_neurons
from rlsbench.training.display import line, told
from rlsbench.training.external_current import adapted
from rlsbench.training.health import Watch, check_problem
from rlsbench.training.learned_current import LearnedCurrent, correlation
from rlsbench.training.progress import Progress
from rlsbench.training.records import Iteration, TrialRecord
from rlsbench.training.target_mean import TargetMean
from rlsbench.training.task_order import TaskOrder, task_order
from rlsbench.training.trial import run_trial

if TYPE_CHECKING:
    import pandas as pd

SHOWN_CURRENTS = 4  # neurons whose target and learned currents are kept for a figure
COPIED = 1024  # neurons whose w and P are copied at once
SHOWN_SPIKES = 100  # neurons whose spikes are kept for a figure, as many of each population


@dataclass(repr=False)
class Training:
    """A network in training; made by `prepare`.

    Examples
    --------
    >>> training = prepare(load_experiment("smoke"), "numpy-packed")
    >>> for iteration in training.run(3):
    ...     print(iteration.firing_rate_hz)
    >>> training.learning_curve()
    """

    experiment: Experiment
    backend: Backend
    options: Options
    problem: Problem
    trainer: Trainer
    initial: InitialTrial
    setup_seconds: float  #: time to draw the network, run the initial trial and fill the trainer
    compile_seconds: float  #: time to compile kernels, or to load compiled ones, by running a tiny network
    notes: list[str] = field(default_factory=list)  #: choices that were made along the way
    recording: Recording | None = None  #: source of the target rates
    iterations: list[Iteration] = field(default_factory=list)
    last_record: TrialRecord | None = None
    last_learned: LearnedCurrent | None = None
    first_learned: NDArray[np.float64] | None = None
    resumptions: list[str] = field(default_factory=list)  #: where it was resumed, and what changed then
    progress: Progress = field(init=False)  #: best iteration, smoothed correlation and drift of the rate
    #: the offset of the targets; None without targets
    target_mean: TargetMean | None = field(default=None, init=False)
    #: From the number of an iteration, 1, 2, ..., to its task, 0, 1, ...; by default that which
    #: `training.task_order` names. May be replaced, also after `resume`.
    task_order: TaskOrder = field(init=False)
    _digest: str | None = field(default=None, init=False)
    _watch: Watch | None = field(default=None, init=False)
    _last_shown: NDArray[np.float64] | None = field(default=None, init=False)
    _cut_short: int | None = field(default=None, init=False)  # iteration that an exception ended

    def __post_init__(self) -> None:
        self.progress = Progress(self.problem.tasks)
        e = self.experiment.training
        self.task_order = task_order(e.task_order, self.problem.tasks, e.seed)
        if self.problem.targets is not None:
            how = self.experiment.learning
            self.target_mean = TargetMean(
                how.target_mean, how.target_mean_rate, self.problem.populations, self.problem.targets
            )

    def __repr__(self) -> str:
        done, total = len(self.iterations), self.experiment.training.iterations
        size = f"{self.problem.neurons:,} neurons with {self.problem.n:,} plastic inputs"
        return f"<Training of {size} on {self.backend.name}: {done} of {total} iterations>"

    @property
    def targets(self) -> Targets | None:
        """The target currents, with the offset that they have now."""
        if self.target_mean is None or not self.target_mean.adapts or self.problem.targets is None:
            return self.problem.targets
        return ShiftedTargets(self.problem.targets, self.target_mean.offset)

    def run(
        self, iterations: int | None = None, *, correlate: bool = True, progress: bool = False, undo: bool = True
    ) -> Iterator[Iteration]:
        """Train, one iteration for each item taken from the iterator.

        Parameters
        ----------
        iterations : int, optional
            By default the remaining ones, or fewer if `training.patience` runs out.
        correlate : bool
            Measure the correlation in each iteration.
        progress : bool
            Show each iteration: in the output of a notebook, or else on standard error.
        undo : bool
            Undo an iteration that an exception ends, such as that of control-C or of the stop
            button of a notebook. This takes a copy of w and P during each iteration; if that is
            more than a quarter of the free memory, nothing is undone.

        Yields
        ------
        Iteration

        Raises
        ------
        NumericsError
            If a number is not finite, or P is not positive definite; names the neuron and the step.
        RlsbenchError
            If an earlier iteration was cut short and could not be undone.
        BackendError
            If the backend fails, or returns what its contract does not allow.
        """
        left = max(0, self.experiment.training.iterations - len(self.iterations))
        number = left if iterations is None else iterations
        total, show = len(self.iterations) + number, line() if progress else None
        for _ in range(number):
            if iterations is None and self.out_of_patience():
                return
            self.check_whole()
            with blamed(f"backend {self.backend.name}"):
                iteration = self._undoable(correlate) if undo else self._iterate(correlate)
            if show is not None:
                show(told(iteration, total, self.progress.drift_hz))
            yield iteration

    def out_of_patience(self) -> bool:
        """Whether the smoothed correlation was below its peak for `training.patience` trials."""
        patience = self.experiment.training.patience
        return 0 < patience <= self.progress.since_peak()

    def check_whole(self) -> None:
        """Raise an `RlsbenchError` if an iteration was cut short, for example by control-C."""
        if self._cut_short is not None:
            raise RlsbenchError(
                f"iteration {self._cut_short} was cut short, so weights and P are not those of a whole iteration; "
                "continue from a checkpoint with rlsbench.resume, or start again with rlsbench.prepare"
            )

    def _undoable(self, correlate: bool) -> Iteration:
        """Perform an iteration; an exception leaves the state before it, if a copy of that fits."""
        blocks = self._copies()
        iterations, first_learned = list(self.iterations), self.first_learned
        last_learned = None if blocks is None else self.last_learned
        offset = self.target_mean.offset.copy() if self.target_mean is not None and self.target_mean.adapts else None
        external = self.problem.external_current
        try:
            return self._iterate(correlate)
        except BaseException:
            if blocks is not None and self._cut_short is not None:
                with suppress(Exception):  # a backend that has failed; the iteration then stays cut short
                    self.trainer.load_blocks(blocks)
                    self.resume_from(iterations, first_learned, offset)
                    self.last_learned = last_learned
                    if self.adapts_external:
                        self._set_external(external)
                    self._cut_short = None
            raise

    def _copies(self) -> list[tuple[int, Block]] | None:
        """Copies of w and what the rule keeps, or None if they are too large."""
        ranks = self.problem.ranks
        large = self.trainer.neurons * self.trainer.block(0, 1).nbytes > available_bytes() / 4 / ranks.here
        if any(ranks.collect(large)):
            return None
        return [(i * COPIED, block.copy()) for i, block in enumerate(self.trainer.blocks(COPIED))]

    def _iterate(self, correlate: bool) -> Iteration:
        problem = self.problem
        number = len(self.iterations) + 1
        with blamed("task_order"):
            task = self.task_order(number)
        if not 0 <= task < problem.tasks:
            raise ConfigurationError(f"task {task} of iteration {number}: must be from 0 to {problem.tasks - 1}")
        learned = None
        adapts = self.target_mean is not None and self.target_mean.adapts
        if correlate or adapts:
            window_ms, dtype = self.experiment.training.window_ms, self.options.precision
            only = not problem.has_static
            self.last_learned = None  # whose memory is needed
            learned = LearnedCurrent(problem.clock, self.trainer.neurons, window_ms, plastic_only=only, dtype=dtype)
        if self._watch is None:
            with problem.ranks.together():
                check_problem(problem)
            self._watch = Watch(self.trainer)
        watch = partial(self._watch.learned, number)
        self._cut_short = number
        record = run_trial(
            self.trainer, number, task=task, sampler=learned, record=self.recorded_neurons(), watch=watch
        )
        renewing = 0.0
        if problem.targets is not None and (renewal := problem.learning.renewal(number, problem.plastic)):
            before = perf_counter()
            self.trainer.renew(*renewal)
            self.trainer.synchronize()
            renewing = perf_counter() - before
        before = perf_counter()
        with problem.ranks.together():
            self._watch.ended(number)
        mean, undefined = None, 0
        offsets: tuple[float | None, float | None] = (None, None)
        external: tuple[float | None, float | None] = (None, None)
        if learned is not None and self.targets is not None:
            mean, undefined, _, error = correlation(learned, problem.own_targets(self.targets), task, problem.ranks)
            if self.target_mean is not None and adapts:
                self.target_mean.adapt(error)
                self.trainer.shift_targets(self.target_mean.offset)
                offsets = self.target_mean.means()
            if self.first_learned is None:
                self.first_learned = self._shown(learned)
        if self.adapts_external and self.target_mean is not None:
            self._adapt_external(task, record.late_counts)
            external = self.target_mean.means(self.problem.external_current)
        fast = int((record.spike_counts > self.experiment.training.maxrate_hz * problem.clock.seconds).sum())
        measuring = record.measuring_seconds + perf_counter() - before
        seconds = (record.seconds + renewing, record.rls_seconds + renewing, measuring)
        rate = record.firing_rate_hz
        iteration = Iteration(
            number,
            task,
            *seconds,
            rate,
            mean,
            undefined,
            fast,
            *offsets,
            *external,
            self.population_rates_hz(record.spike_counts / problem.clock.seconds),
            record.exchange_seconds,
        )
        self.last_record = record
        self.last_learned = learned
        if problem.ranks.spread and learned is not None:
            self._last_shown = self._shown(learned)
        self.iterations.append(iteration)
        self.progress.add(iteration)
        self._cut_short = None
        return iteration

    @property
    def adapts_external(self) -> bool:
        """Whether the external current follows the firing rates."""
        return self.experiment.learning.external != "fixed" and self.problem.targets is not None

    def _adapt_external(self, task: int, counts: NDArray[np.int64]) -> None:
        clock, gain = self.problem.clock, self.experiment.learning.external_gain
        seconds = clock.bins * clock.learn_every * clock.dt_ms / 1000.0
        self._set_external(adapted(self.problem.external_current, counts, self._mean_rates_hz[task], seconds, gain))

    def _set_external(self, current: NDArray[np.float64]) -> None:
        self.problem = replace(self.problem, external_current=current)
        self.trainer.set_external(current)

    @cached_property
    def _mean_rates_hz(self) -> NDArray[np.float64]:
        """Recorded mean rates, (tasks, N); NaN for a neuron without a target."""
        assert self.problem.targets is not None
        without = np.isnan(self.problem.targets.row(0, 0))
        rates = [self.recorded_rates(task) for task in range(self.problem.tasks)]
        return np.stack([np.where(without, np.nan, np.mean(r, axis=0)) for r in rates if r is not None])

    def resume_from(
        self,
        iterations: Sequence[Iteration],
        first_learned: NDArray[np.float64] | None = None,
        target_offset: NDArray[np.float64] | None = None,
    ) -> None:
        """Continue after these iterations, whose weights and P the trainer already holds."""
        if target_offset is not None and self.target_mean is not None:
            self.target_mean.offset[:] = target_offset
            self.trainer.shift_targets(self.target_mean.offset)
        self.iterations = list(iterations)
        self.first_learned = first_learned
        self.progress = Progress(self.problem.tasks)
        for iteration in self.iterations:
            self.progress.add(iteration)
        self.progress.warning()  # it was given in the run that is resumed

    def learning_curve(self) -> pd.DataFrame:
        """One row for each iteration so far; see `Iteration`.

        Of populations other than the published two, each has a column firing_rate_hz_NAME.
        """
        import pandas as pd  # slow import

        frame = pd.DataFrame([iteration.row() for iteration in self.iterations], columns=self.columns())
        return frame.astype({"correlation": "float64"})

    def learned_current(self, neurons: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float64]:
        """Learned current of the last iteration, (bins, neurons); unit: threshold - reset.

        With several ranks, that of `shown_neurons()` only.
        """
        if self.last_learned is None:
            raise RlsbenchError("no learned current: no iteration has measured the correlation yet")
        if self.problem.ranks.spread:
            given = np.arange(self.problem.neurons)[neurons]
            if self._last_shown is None or not np.array_equal(given, self.shown_neurons()):
                raise UnsupportedError("several ranks keep the learned currents of shown_neurons() only")
            return self._last_shown
        return self.last_learned.matrix(neurons)

    def _shown(self, learned: LearnedCurrent) -> NDArray[np.float64]:
        """Learned currents of `shown_neurons`, (bins, neurons), of whatever rank they are."""
        shown, own = self.shown_neurons(), self.trainer.own
        few = learned.matrix(shown[(shown >= own.start) & (shown < own.stop)] - own.start)
        return np.ascontiguousarray(self.problem.ranks.gather(few.T).T) if self.problem.ranks.spread else few

    def target_current(self, neurons: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float64]:
        """Target current in the last iteration, (bins, neurons); unit: threshold - reset."""
        assert self.targets is not None
        task = self.iterations[-1].task if self.iterations else 0
        return self.targets.matrix(task, neurons)

    def spikes(self) -> SpikeTrain:
        """Spikes of `recorded_neurons` in the last iteration."""
        return self.last_record.spikes if self.last_record is not None else SpikeTrain.empty()

    def fastest_rate_hz(self) -> float:
        """Firing rate of the most active neuron in the last iteration, Hz; 0 before the first."""
        if self.last_record is None:
            return 0.0
        return float(self.last_record.spike_counts.max() / self.problem.clock.seconds)

    def weights(self) -> NDArray[np.floating[Any]]:
        """A copy of the current plastic weights, (N, n).

        With several ranks, all call this; others than rank 0 get those of their own neurons.
        """
        return self.problem.ranks.gather_first(self.own_weights())

    def own_weights(self) -> NDArray[np.floating[Any]]:
        """A copy of the weights of the neurons of this rank, which are all in one process."""
        with blamed(f"backend {self.backend.name}"):
            w = self.trainer.weights()
            check_shape("weights()", w, (self.trainer.neurons, self.problem.n))
            if not np.isfinite(w.sum(dtype=np.float64)):  # without an array of N x n truth values
                raise ContractError("weights() has entries that are not finite")
        return w

    def recorded_rates(self, task: int) -> NDArray[np.float64] | None:
        """Recorded rates in a task, Hz, (bins, N), NaN without target; None without a recording."""
        if self.recording is None:
            return None
        rates = np.full((self.recording.rates_hz.shape[0], self.problem.neurons), np.nan)
        rates[:, self._recorded()] = self.recording.rates_hz[:, :, task]
        return rates

    def labels(self, kind: Literal["ids", "regions"]) -> list[str]:
        """Name or region of the recorded neuron that each neuron follows, or an empty string."""
        labels = [""] * self.problem.neurons
        known = None if self.recording is None else getattr(self.recording, kind)
        if known is not None:
            for neuron, label in zip(self._recorded(), known, strict=True):
                labels[neuron] = label
        return labels

    def recording_digest(self) -> str | None:
        """SHA-256 of the recorded rates, checked on resumption; None without a recording."""
        if self._digest is None and self.recording is not None:
            self._digest = array_digest(self.recording.rates_hz)
        return self._digest

    def _recorded(self) -> NDArray[np.int64]:
        assert self.recording is not None
        return recorded_neurons(self.experiment, self.recording.rates_hz.shape[1])

    def columns(self) -> list[str]:
        """Names of the columns of the learning curve."""
        own = self.population_rates_hz(self.initial.rates_hz)
        return list(Iteration(0, 0, 0.0, 0.0, 0.0, 0.0, None, 0, population_rates_hz=own).row())

    def population_rates_hz(self, rates_hz: NDArray[np.float64]) -> dict[str, float]:
        """Means of rates (N,) over each population; empty for the published two."""
        populations = self.problem.populations
        if populations.published:
            return {}
        return {p.name: float(rates_hz[p.first : p.last].mean()) for p in populations}

    def shown_neurons(self) -> NDArray[np.int64]:
        """A few neurons of all populations, whose currents appear in figures."""
        return np.unique(np.linspace(0, self.problem.neurons - 1, SHOWN_CURRENTS + 2).astype(np.int64)[1:-1])

    def recorded_neurons(self) -> NDArray[np.int64]:
        """The neurons whose spikes are recorded, the first ones of each population."""
        most = SHOWN_SPIKES // len(self.problem.populations)
        return np.concatenate([p.members()[:most].astype(np.int64) for p in self.problem.populations])

    def seconds_per_iteration(self) -> float | None:
        """Median wall time of the iterations after the first, or of the only one, if any."""
        seconds = [i.seconds for i in self.iterations]
        return float(np.median(seconds[1:] or seconds)) if seconds else None
