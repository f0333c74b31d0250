"""From an experiment to a training that is ready to run: checks, warm-up, initial trial, trainer.

In: an `Experiment` and a backend.  Out: a `Training`.  Knows the backend contract, no command line.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import Backend, Options, get_backend, make_trainer, require, require_usable, resolve_options
from rlsbench.capacity import check_fits, fitting_options
from rlsbench.configuration import Experiment
from rlsbench.errors import ConfigurationError
from rlsbench.plugins import blamed
from rlsbench.problem import InitialTrial, build_problem, initial_problem
from rlsbench.recordings import Recording
from rlsbench.targets.making import fit_to_recording, make_targets, out_of_reach
from rlsbench.training.health import check_penalties
from rlsbench.training.initial_trial import measure_initial_trial, problem_without_initial_trial
from rlsbench.training.training import Training
from rlsbench.training.trial import run_trial


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
        Initial plastic weights, such as those of a trained network; P has its initial value.
    learn : bool
        If false, the trainer holds no P: the network can be evaluated, not trained.
    force : bool
        Skip the check for enough memory.
    before : callable, optional
        Called with the experiment, as completed by its recording, and the options, before anything
        is allocated; may raise an error to refuse the run.
    options : Options, optional
        Resolved numeric options; by default those that follow from the experiment.
    initial : InitialTrial, optional
        Result of an earlier initial trial, which is then not run again.

    Returns
    -------
    Training

    Raises
    ------
    UnknownBackendError, UnavailableBackendError, UnsupportedError
        If there is no such backend, or it cannot be used here, or lacks a feature.
    InsufficientMemoryError
        If the run does not fit into memory.
    RecordingError, ConfigurationError
        If the targets cannot be made.
    """
    if isinstance(backend, str):
        backend = get_backend(backend)
    require_usable(backend, options or resolve_options(backend, experiment.numerics))  # before a file is read
    recording: Recording | None = None
    notes: list[str] = []
    if experiment.targets.kind != "sinusoid":
        experiment, recording = fit_to_recording(experiment)
        notes += recording.notes
    if options is None:
        options, why = fitting_options(backend, experiment)
        notes += why
    shape = (experiment.network.neurons, experiment.plastic_inputs)
    if weights is not None and weights.shape != shape:
        raise ConfigurationError(f"weights have shape {weights.shape}; this network needs {shape}: (neurons, inputs)")
    if not force:
        check_fits(backend, experiment, options, learn=learn)
    if before is not None:
        before(experiment, options)
    if learn:
        check_penalties(experiment, options)
    start = perf_counter()
    with blamed(f"backend {backend.name}"):
        _warm_up(backend, experiment, options)
    compiled = perf_counter()
    spontaneous = initial_problem(experiment)
    require(backend, spontaneous)
    if initial is None:
        with blamed(f"backend {backend.name}"):
            trainer = make_trainer(backend, spontaneous, options)
            initial = measure_initial_trial(trainer, experiment.training.average_from_ms)
    problem = build_problem(experiment, initial, make_targets(experiment, initial, recording))
    if problem.static is not None and problem.targets is not None:
        notes += out_of_reach(problem.targets, initial, problem.populations)
    require(backend, problem)
    if weights is not None:
        problem = replace(problem, plastic=replace(problem.plastic, own_weights=weights))
    trainer = make_trainer(backend, problem if learn else replace(problem, targets=None), options)
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
    """Run a tiny network with the same features, which compiles all that it needs."""
    tables = experiment.model_dump()
    tables["network"] |= {"neurons": 16, "K": min(experiment.network.K, 2), "L": min(tables["network"]["L"] or 2, 2)}
    tables["network"]["frac"] = 1.0
    dt = experiment.time.dt_ms
    tables["stimulus"] |= {"on_ms": 0.0, "off_ms": 20 * dt}
    tables["time"] |= {"learn_every_ms": 10 * dt, "train_duration_ms": 20 * dt}
    tables["feedforward"]["LX"] = min(experiment.feedforward.LX, 1)
    tables["training"]["average_from_ms"] = 0.0
    tables["targets"] |= {"kind": "sinusoid", "tasks": 1}
    tables["learning"]["neurons"] = ("excitatory", "inhibitory")
    tiny = Experiment.model_validate(tables)
    for problem in (initial_problem(tiny), problem_without_initial_trial(tiny)):
        require(backend, problem)
        trainer = make_trainer(backend, problem, options)
        run_trial(trainer, 0, learn=problem.targets is not None, record=np.arange(2))
