"""From an experiment to a trained network: set-up, warm-up, the loop over iterations and the learning curve.

In: an `Experiment` and the name of a backend.  Out: a `Training` that yields iterations and keeps the learning curve.
Knows the protocol; knows no command line and no file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import (
    Backend,
    Options,
    SpikeTrain,
    Trainer,
    get_backend,
    require,
    require_usable,
    resolve_options,
)
from rlsbench.capacity import check_room, fitting_options
from rlsbench.configuration import Experiment
from rlsbench.errors import ConfigurationError, RlsbenchError
from rlsbench.problem import InitialTrial, Problem, build_problem, initial_problem
from rlsbench.recordings import Recording
from rlsbench.targets.making import fit_to_recording, make_targets, target_neurons
from rlsbench.training.health import Watch, check_problem
from rlsbench.training.progress import Course
from rlsbench.training.trial import LearnedCurrent, TrialRecord, correlation, measure_initial_trial, run_trial

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Iteration", "Training", "prepare"]

SHOWN_CURRENTS = 4  # neurons whose targets and learned currents are kept for a picture
SHOWN_SPIKES = 100  # neurons whose spikes are kept for a picture, half of them excitatory


@dataclass(frozen=True)
class Iteration:
    """One trial with learning.

    Parameters
    ----------
    iteration : int
        1, 2, ...
    task : int
    seconds : float
        Wall time of the trial, measuring apart.
    rls_seconds : float
        Part of it spent in the RLS updates.
    measuring_seconds : float
        Wall time of measuring the correlation, not part of `seconds`.
    firing_rate_hz : float
    correlation : float or None
        Mean over neurons; None where it was not measured or no neuron's is defined.
    undefined_correlations : int
        Neurons left out of that mean.
    neurons_above_maxrate : int
        Neurons that fired faster than `training.maxrate_hz`; their spikes count like all others.
    """

    iteration: int
    task: int
    seconds: float
    rls_seconds: float
    measuring_seconds: float
    firing_rate_hz: float
    correlation: float | None
    undefined_correlations: int
    neurons_above_maxrate: int = 0


@dataclass
class Training:
    """A network that is being trained; made by `prepare`.

    Parameters
    ----------
    experiment : Experiment
    backend : Backend
    options : Options
    problem : Problem
    trainer : Trainer
    initial : InitialTrial
    setup_seconds : float
        Drawing the network, the initial trial and filling the trainer.
    compile_seconds : float
        Compiling, or loading what was compiled before: a miniature of the same experiment, run once.
    notes : list of str
        What was inferred on the way.
    recording : Recording or None
        Whose rates became the targets.
    done_before : int
        Iterations that were made before this training was resumed.
    resumptions : list of str
        Where it was resumed, and what changed then.
    course : Course
        What the iterations so far say: the best one, the drift of the rate.

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
    setup_seconds: float
    compile_seconds: float
    notes: list[str] = field(default_factory=list)
    recording: Recording | None = None
    iterations: list[Iteration] = field(default_factory=list)
    last_record: TrialRecord | None = None
    last_learned: LearnedCurrent | None = None
    first_learned: NDArray[np.float64] | None = None
    done_before: int = 0
    resumptions: list[str] = field(default_factory=list)
    course: Course = field(init=False)
    _digest: str | None = field(default=None, init=False)
    _watch: Watch | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.course = Course(self.problem.tasks)

    def run(self, iterations: int | None = None, *, correlate: bool = True) -> Iterator[Iteration]:
        """Train for some iterations, one for each item that is asked of the iterator.

        Parameters
        ----------
        iterations : int, optional
            Number of trials; by default those of the experiment.
        correlate : bool
            Measure the correlation in each.

        Raises
        ------
        NumericsError
            If a number is no longer finite, or a P no longer positive definite; with the neuron and the step.

        Notes
        -----
        By default those of the experiment that are left are run, and `training.patience` may end them earlier.
        """
        left = max(0, self.experiment.training.iterations - self.done_before)
        for _ in range(left if iterations is None else iterations):
            if iterations is None and self.out_of_patience():
                return
            yield self._iterate(correlate)

    def out_of_patience(self) -> bool:
        """Whether the smoothed correlation has been below its best for as long as `training.patience` allows."""
        patience = self.experiment.training.patience
        return 0 < patience <= self.course.since_peak()

    def _iterate(self, correlate: bool) -> Iteration:
        problem, number = self.problem, len(self.iterations) + 1
        task = (number - 1) % problem.tasks
        learned = self._learned_current() if correlate else None
        if self._watch is None:
            check_problem(problem)
            self._watch = Watch(self.trainer)
        watch = partial(self._watch.learned, number)
        record = run_trial(
            self.trainer, number, task=task, sampler=learned, record=self.recorded_neurons(), watch=watch
        )
        before = perf_counter()
        self._watch.ended(number)
        mean, undefined = None, 0
        if learned is not None and problem.targets is not None:
            mean, undefined, _ = correlation(learned, problem.targets, task)
            if self.first_learned is None:
                self.first_learned = learned.matrix(self.shown_neurons())
        iteration = Iteration(
            number,
            task,
            record.seconds,
            record.rls_seconds,
            record.measuring_seconds + perf_counter() - before,
            record.firing_rate_hz,
            mean,
            undefined,
            int((record.spike_counts > self.experiment.training.maxrate_hz * problem.clock.seconds).sum()),
        )
        self.last_record, self.last_learned = record, learned
        self.iterations.append(iteration)
        self.course.add(iteration)
        return iteration

    def resume_from(self, iterations: Sequence[Iteration], first_learned: NDArray[np.float64] | None = None) -> None:
        """Go on after these iterations; the trainer has been given the weights and P that they left."""
        self.iterations, self.first_learned = list(iterations), first_learned
        self.done_before, self.course = len(self.iterations), Course(self.problem.tasks)
        for iteration in self.iterations:
            self.course.add(iteration)
        self.course.warning()  # given already

    def _learned_current(self) -> LearnedCurrent:
        p = self.problem
        return LearnedCurrent(
            p.clock,
            p.neurons,
            self.experiment.training.window_ms,
            plastic_only=p.static is None,
            dtype=self.options.precision,
        )

    def learning_curve(self) -> pd.DataFrame:
        """The iterations so far, one a row, with the attributes of `Iteration` as columns."""
        import pandas as pd  # takes long to import

        columns = list(Iteration.__dataclass_fields__)
        frame = pd.DataFrame([[getattr(i, c) for c in columns] for i in self.iterations], columns=columns)
        return frame.astype({"correlation": "float64"})

    def learned_current(self, neurons: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float64]:
        """Learned current of the last iteration, (bins, neurons), in units of (threshold - reset)."""
        if self.last_learned is None:
            raise RlsbenchError("no learned current: no iteration has measured the correlation yet")
        return self.last_learned.matrix(neurons)

    def target_current(self, neurons: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float64]:
        """Target current of the last iteration's task, (bins, neurons), in units of (threshold - reset)."""
        assert self.problem.targets is not None
        task = self.iterations[-1].task if self.iterations else 0
        return self.problem.targets.matrix(task, neurons)

    def spikes(self) -> SpikeTrain:
        """Spikes of `recorded_neurons` in the last iteration."""
        return self.last_record.spikes if self.last_record is not None else SpikeTrain.empty()

    def weights(self) -> NDArray[np.floating[Any]]:
        """A copy of the plastic weights as they are now, (N, n)."""
        return self.trainer.weights()

    def recorded_rates(self, task: int) -> NDArray[np.float64] | None:
        """Recorded rates of a task, Hz, (bins, N), NaN for neurons without; None without a recording."""
        if self.recording is None:
            return None
        rates = np.full((self.recording.rates_hz.shape[0], self.problem.neurons), np.nan)
        rates[:, self._recorded()] = self.recording.rates_hz[:, :, task]
        return rates

    def labels(self, kind: Literal["ids", "regions"]) -> list[str]:
        """Name or region of the recorded neuron that each neuron follows; empty where there is none."""
        labels = [""] * self.problem.neurons
        known = None if self.recording is None else getattr(self.recording, kind)
        if known is not None:
            for neuron, label in zip(self._recorded(), known, strict=True):
                labels[neuron] = label
        return labels

    def recording_digest(self) -> str | None:
        """SHA-256 of the recorded rates, which a training that is resumed must find again; None without."""
        if self.recording is None:
            return None
        if self._digest is None:
            self._digest = sha256(np.ascontiguousarray(self.recording.rates_hz).data).hexdigest()
        return self._digest

    def _recorded(self) -> NDArray[np.int64]:
        assert self.recording is not None
        return target_neurons(self.problem.populations, self.recording.rates_hz.shape[1])

    def shown_neurons(self) -> NDArray[np.int64]:
        """A few neurons, spread over both populations, whose currents are drawn."""
        return np.unique(np.linspace(0, self.problem.neurons - 1, SHOWN_CURRENTS + 2).astype(np.int64)[1:-1])

    def recorded_neurons(self) -> NDArray[np.int64]:
        """The neurons whose spikes are recorded, half of them excitatory."""
        N, Ne, half = self.problem.neurons, self.problem.excitatory, SHOWN_SPIKES // 2
        return np.concatenate([np.arange(min(half, Ne)), np.arange(Ne, min(Ne + half, N))])

    def seconds_per_iteration(self) -> float | None:
        """Median wall time of an iteration without the first, or of the only one."""
        seconds = [i.seconds for i in self.iterations]
        return float(np.median(seconds[1:] or seconds)) if seconds else None


def prepare(
    experiment: Experiment,
    backend: str | Backend,
    *,
    weights: NDArray[np.floating[Any]] | None = None,
    learn: bool = True,
    force: bool = False,
    before: Callable[[Experiment, Options], None] | None = None,
    options: Options | None = None,
    initial: InitialTrial | None = None,
) -> Training:
    """Draw the network, measure its spontaneous activity, and make a trainer.

    Parameters
    ----------
    experiment : Experiment
    backend : str or Backend
        A backend, or the name of a registered one.
    weights : ndarray, shape (N, n), optional
        Plastic weights to start from, as of a trained network; P starts anew.
    learn : bool
        Whether it is to be trained: if not, its trainer keeps no P, and `evaluate` is what is left to do.
    force : bool
        Start even what memory is too small for.
    before : callable, optional
        Called with the experiment, as its recording makes it, and the options, before anything is allocated; it may
        refuse by an error.
    options : Options, optional
        Numeric options, resolved, in place of those that the experiment leads to.
    initial : InitialTrial, optional
        What an initial trial has measured already.

    Returns
    -------
    Training

    Raises
    ------
    UnknownBackendError, UnavailableBackendError, UnsupportedError
        If the backend cannot be had, or cannot do this.
    InsufficientMemoryError
        If it would not fit into memory.
    RecordingError, ConfigurationError
        If the targets cannot be made.
    """
    if isinstance(backend, str):
        backend = get_backend(backend)
    require_usable(backend, options or resolve_options(backend, experiment.numerics))  # refused before a file is read
    recording: Recording | None = None
    notes: list[str] = []
    if experiment.targets.kind != "sinusoid":
        experiment, recording = fit_to_recording(experiment)
        notes += recording.notes
    if options is None:
        options, why = fitting_options(backend, experiment)
        notes += why
    if weights is not None and weights.shape != (experiment.network.neurons, experiment.plastic_inputs):
        raise ConfigurationError(
            f"weights of shape {weights.shape} do not fit: the network has {experiment.network.neurons} neurons with "
            f"{experiment.plastic_inputs} plastic inputs each"
        )
    if not force:
        check_room(backend, experiment, options, learn=learn)
    if before is not None:
        before(experiment, options)
    start = perf_counter()
    _warm_up(backend, experiment, options)
    compiled = perf_counter()
    spontaneous = initial_problem(experiment)
    require(backend, spontaneous)
    if initial is None:
        initial = measure_initial_trial(backend.trainer(spontaneous, options), experiment.training.average_from_ms)
    problem = build_problem(experiment, initial, make_targets(experiment, initial, recording))
    require(backend, problem)
    if weights is not None:
        problem = replace(problem, plastic=replace(problem.plastic, own_weights=weights))
    trainer = backend.trainer(problem if learn else replace(problem, targets=None), options)
    return Training(
        experiment,
        backend,
        trainer.options,
        problem,
        trainer,
        initial,
        setup_seconds=perf_counter() - compiled,
        compile_seconds=compiled - start,
        notes=[*notes, *trainer.notes],
        recording=recording,
    )


def _warm_up(backend: Backend, experiment: Experiment, options: Options) -> None:
    """Run a miniature with the same features, so that whatever is compiled on first use is compiled."""
    tables = experiment.model_dump()
    tables["network"] |= {"neurons": 16, "K": min(experiment.network.K, 2), "L": min(tables["network"]["L"] or 2, 2)}
    tables["network"]["frac"] = 1.0
    dt = experiment.time.dt_ms
    tables["stimulus"] |= {"on_ms": 0.0, "off_ms": 20 * dt}
    tables["time"] |= {"learn_every_ms": 10 * dt, "train_duration_ms": 20 * dt}
    tables["feedforward"]["LX"] = min(experiment.feedforward.LX, 1)
    tables["training"]["average_from_ms"] = 0.0
    tables["targets"] |= {"kind": "sinusoid", "tasks": 1}
    miniature = Experiment.model_validate(tables)
    initial = InitialTrial(np.zeros(16), np.zeros(16), np.zeros(16))
    targets = make_targets(miniature, initial)
    for problem in (initial_problem(miniature), build_problem(miniature, initial, targets)):
        require(backend, problem)
        trainer = backend.trainer(problem, options)
        run_trial(trainer, 0, learn=problem.targets is not None, record=np.arange(2))
