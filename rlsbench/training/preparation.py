"""From an experiment to a training that is ready to run: checks, warm-up, initial trial, trainer.

In: an `Experiment` and a backend.  Out: a `Training`.  Knows the backend contract, no command line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlsbench.backend import (
    Backend,
    Options,
    Sizes,
    get_backend,
    make_trainer,
    require,
    require_usable,
    resolve_options,
)
from rlsbench.capacity import check_fits, fitting_options
from rlsbench.configuration import Experiment, changed
from rlsbench.connectivity import in_degrees, plastic_edges, with_digests
from rlsbench.errors import ConfigurationError
from rlsbench.neurons import make_neurons
from rlsbench.plugins import blamed
from rlsbench.problem import InitialTrial, Problem, build_problem, initial_problem
from rlsbench.ranks import ALONE, Communicator, differing
from rlsbench.recordings import Recording
from rlsbench.targets.making import fit_to_recording, fit_to_targets, make_targets, out_of_reach
from rlsbench.training.health import check_penalties
from rlsbench.training.initial_trial import measure_initial_trial, problem_without_initial_trial
from rlsbench.training.training import Training
from rlsbench.training.trial import run_trial

FEW_EDGES = 10**7  # static edges that are read once more to count neurons without any: seconds


def prepare(
    experiment: Experiment,
    backend: str | Backend,
    *,
    recording: Any = None,
    events: ArrayLike | Mapping[Any, ArrayLike] | None = None,
    targets: Any = None,
    learns: ArrayLike | Sequence[str] | None = None,
    weights: NDArray[np.floating[Any]] | None = None,
    external_current: NDArray[np.floating[Any]] | None = None,
    learn: bool = True,
    force: bool = False,
    before: Callable[[Experiment, Options], None] | None = None,
    options: Options | None = None,
    initial: InitialTrial | None = None,
    ranks: Communicator = ALONE,
) -> Training:
    """Draw the network, measure its spontaneous activity, and make a trainer.

    Parameters
    ----------
    experiment : Experiment
    backend : str or Backend
        A backend, or the name of a registered one.
    recording : path, list of paths, Recording, array_like, mapping, Series or DataFrame, optional
        Recorded rates in Hz, or spike times in s, which the network learns to reproduce; see
        `rlsbench.recordings.read_recording`. By default the files of the experiment, if any.
        Replaces the kind of targets, and sets the number of neurons, tasks and bins.
    events : array_like or mapping of str to array_like, optional
        Times of the event in s, for spike times; a mapping has those of each condition.
    targets : Targets or array_like, shape (bins, N) or (tasks, bins, N), optional
        Synaptic currents that neurons learn to produce, in units of (threshold - reset), at the
        end of each bin of `time.learn_every_ms`; NaN in all bins of a neuron without target.
    learns : array_like of bool, shape (N,), or of int, or sequence of str, optional
        The neurons that learn, as a mask, by number or by name of the population; others have no
        target. The same as `learning.neurons`.
    weights : ndarray, shape (N, n), optional
        Initial plastic weights, such as those of a trained network; P has its initial value. With
        several ranks, of all neurons or of the rank's own, as `Training.weights` returns them.
    external_current : ndarray, shape (N,), optional
        External current that a training has adapted; by default that of the experiment.
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
    ranks : Communicator
        Those that the network is spread over, `rlsbench.ranks.communicator()`; all of them call
        this with the same arguments. By default, this process has all of the network.

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
    experiment = with_digests(experiment)
    require_usable(backend, options or resolve_options(backend, experiment.numerics))  # before a file is read
    if learns is not None:
        experiment = changed(experiment, {"learning.neurons": learns})
    if targets is not None and recording is not None:
        raise ConfigurationError("recording and targets are both given: neurons can follow only one of them")
    given: Recording | NDArray[np.float64] | None = None
    notes: list[str] = []
    if targets is not None:
        experiment, given = fit_to_targets(experiment, targets)
    elif recording is not None or experiment.targets.kind != "sinusoid":
        files = (recording,) if isinstance(recording, str | Path) else recording
        if isinstance(files, list | tuple) and files and all(isinstance(file, str | Path) for file in files):
            named = {"recording.files": tuple(map(str, files)), "targets.kind": "recording", "targets.digest": ""}
            experiment, recording = changed(experiment, named), None
        experiment, given = fit_to_recording(experiment, recording, events)
        notes += given.notes
    if experiment.learning.external != "fixed" and not isinstance(given, Recording):
        raise ConfigurationError("learning.external = 'rate': requires targets.kind = recording or surrogate")
    if ranks.spread:
        _compare(ranks, experiment, backend)
        plastic_edges(experiment, ranks)  # which others ask for only once they are there
    if options is None:
        options, why = fitting_options(backend, experiment, ranks)
        notes += why
    if ranks.spread:
        options = _agreed(ranks, experiment, options)
    shape, own = (experiment.network.neurons, Sizes.of_experiment(experiment).n), ranks.own(experiment.network.neurons)
    if weights is not None and len(weights) == shape[0]:
        weights = weights[own]
    if weights is not None and weights.shape != (own.stop - own.start, shape[1]):
        raise ConfigurationError(f"weights have shape {weights.shape}; this network needs {shape}: (neurons, inputs)")
    if external_current is not None and external_current.shape != shape[:1]:
        raise ConfigurationError(f"external_current has shape {external_current.shape}; this network needs {shape[:1]}")
    with ranks.together():
        if not force:
            check_fits(backend, experiment, options, learn=learn, ranks=ranks)
        if before is not None:
            before(experiment, options)
        if learn:
            check_penalties(experiment, options, ranks)
    start = perf_counter()
    spontaneous = initial_problem(experiment, ranks)
    require(backend, spontaneous)
    turns = () if backend.capabilities.specialized else (True, False) if ranks.spread else (True,)
    for turn in turns:  # rank 0 first: others find what it has compiled
        if turn is (ranks.rank == 0):
            with blamed(f"backend {backend.name}"):
                _warm_up(backend, experiment, options, ranks)
        ranks.collect(None)
    compiled = perf_counter()
    if initial is None:
        with blamed(f"backend {backend.name}"):
            # The trainer has no name, so that its memory is free before that of the next is needed.
            initial = measure_initial_trial(
                make_trainer(backend, spontaneous, options), experiment.training.average_from_ms
            )
    problem = build_problem(experiment, initial, make_targets(experiment, initial, given), ranks)
    notes += _unconnected(problem)
    if problem.has_static and problem.targets is not None:
        notes += out_of_reach(problem.targets, initial, problem.populations)
    require(backend, problem)
    if external_current is not None:
        problem = replace(problem, external_current=external_current.astype(np.float64))
    if weights is not None:
        problem = replace(problem, plastic=replace(problem.own_part.plastic, own_weights=weights))
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
        recording=given if isinstance(given, Recording) else None,
    )


def _unconnected(problem: Problem) -> list[str]:
    """Neurons that tables of connectivity leave without synapses, in a line for each kind."""
    N, plastic, static = problem.neurons, problem.plastic, problem.projections
    notes = []
    if plastic.given is not None and (alone := int((plastic.in_degrees.degree == 0).sum())):
        notes.append(f"{alone:,} of {N:,} neurons have no plastic synapse onto them, and learn nothing")
    if static is not None and static.expected <= FEW_EDGES:
        edges, connected = problem.static_edges(), np.zeros((1, N), np.bool_)
        connected[0, np.flatnonzero(np.diff(edges.start))] = True
        connected[0, problem.own.start + edges.index] = True
        alone = N - int(problem.ranks.gather(connected).any(axis=0).sum())
        notes += [f"{alone:,} of {N:,} neurons have no static synapse"] if alone else []
    return notes


def _compare(ranks: Communicator, experiment: Experiment, backend: Backend) -> None:
    """Check that all ranks are to compute the same.

    Raises
    ------
    ConfigurationError
        Names the rank that differs, and in what.
    """
    settings = experiment.model_dump_json(exclude={"numerics": {"threads"}})
    told = {
        "the version": version("rlsbench"),
        "the version of NumPy": np.__version__,
        "the backend": backend.name,
        "the digest of the configuration": sha256(settings.encode()).hexdigest()[:12],
    }
    if (what := differing(ranks.collect(told))) is not None:
        raise ConfigurationError(f"{what}: all ranks need the same")


def _agreed(ranks: Communicator, experiment: Experiment, options: Options) -> Options:
    """The options of rank 0, with threads of this one."""
    if not experiment.numerics.threads:
        options = replace(options, threads=ranks.threads())
    first: Options = ranks.collect(options)[0]
    return replace(first, threads=options.threads)


def _warm_up(backend: Backend, experiment: Experiment, options: Options, ranks: Communicator) -> None:
    """Run a tiny network with the same features, which compiles all that it needs."""
    tables = experiment.model_dump()
    tables["network"] |= {"neurons": 16, "K": min(experiment.network.K, 2), "L": min(tables["network"]["L"] or 2, 2)}
    tables["network"]["frac"] = 1.0
    if experiment.populations:
        size = max(2, 16 // len(experiment.populations))
        tables["populations"] = [p | {"size": size} for p in tables["populations"]]
        L = min(experiment.network.plastic_per_population, 2)
        tables["network"] |= {"neurons": size * len(experiment.populations), "L": L}
    if experiment.connectivity:
        tables["connectivity"] = _tiny_connectivity(experiment)
    dt = experiment.time.dt_ms
    tables["stimulus"] |= {"on_ms": 0.0, "off_ms": 20 * dt}
    tables["time"] |= {"learn_every_ms": 10 * dt, "train_duration_ms": 20 * dt}
    tables["feedforward"]["LX"] = min(experiment.feedforward.LX, 1)
    tables["training"]["average_from_ms"] = 0.0
    tables["targets"] |= {"digest": "", "kind": "sinusoid", "tasks": 1}
    tables["learning"]["neurons"] = ("excitatory", "inhibitory")
    neuron = make_neurons(experiment)
    tables["neuron"]["table"] = ""
    tiny = Experiment.model_validate(tables)
    for made in (initial_problem(tiny), problem_without_initial_trial(tiny)):
        few = {
            name: value if isinstance(value, float) else np.resize(value, made.neurons)
            for name, value in neuron.values.items()
        }
        problem = replace(made, neuron=replace(neuron, values=few), ranks=ranks.alone())
        require(backend, problem)
        trainer = make_trainer(backend, problem, options)
        run_trial(trainer, 0, learn=problem.targets is not None, record=np.arange(2))
        trainer.settle()


def _tiny_connectivity(experiment: Experiment) -> list[dict[str, Any]]:
    """Tables for the tiny network: the kinds of synapses and delays that the experiment has."""
    made, plastic = initial_problem(experiment), in_degrees(experiment)
    kinds = {"static": made.longest_delay} if made.projections else {}
    if plastic is not None:
        kinds["plastic"] = int(plastic.delays[-1])
    rule = {"rule": "fixed-in-degree", "parameters": {"degree": 2}, "weight": 0.0}
    dt = experiment.time.dt_ms
    return [rule | {"kind": kind, "delay_ms": min(longest, 2) * dt} for kind, longest in kinds.items()]
