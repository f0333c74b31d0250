"""Shared by the benchmarks: constant parameters, problems, trainers, subjects and their table."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

import click
import numpy as np
from numpy.typing import NDArray

from rlsbench import Experiment, load_experiment
from rlsbench.backend import Backend, Options, SpikeTrain, Trainer, get_backend, require, resolve_options
from rlsbench.errors import UnavailableBackendError, UnknownBackendError, UnsupportedError
from rlsbench.problem import Problem
from rlsbench.training.initial_trial import problem_without_initial_trial

# Constant for every machine, so that histories stay comparable: a missing backend is skipped.
BACKENDS = ["numba", "numba-blas", "numpy-full", "numpy-packed", "torch"]
SIMULATIONS = ["numba", "numpy-packed", "torch"]  # one for each of the three simulations
PRECISIONS = ["float32", "float64"]
STORAGES = ["full", "packed"]
INPUTS = [32, 90]
NEURONS = 2000
THREADS = 2


def usable(name: str) -> Backend:
    """The backend, or a skip with the reason; a failure if RLSBENCH_REQUIRE_BACKENDS names it."""
    try:
        return get_backend(name)
    except (UnknownBackendError, UnavailableBackendError) as error:
        if name in os.environ.get("RLSBENCH_REQUIRE_BACKENDS", "").split():
            raise
        raise NotImplementedError(str(error)) from None  # asv skips the benchmark


def sinusoid(neurons: int = NEURONS, **overrides: object) -> Experiment:
    """The scaling experiment at a small size, with a constant number of threads."""
    constant = {"network.neurons": neurons, "numerics.threads": THREADS, "training.average_from_ms": 0.0}
    return load_experiment("sinusoid", overrides=constant | overrides)


def made_up(experiment: Experiment) -> Problem:
    """The problem with invented spontaneous activity, so that set-up simulates nothing."""
    return problem_without_initial_trial(experiment, current=-1.0, spread=1.0)


def trainer(backend: str, experiment: Experiment, *, learns: bool = True) -> Trainer:
    """A trainer, without P unless it learns, or a skip that names what the backend lacks."""
    chosen, problem = usable(backend), made_up(experiment)
    try:
        require(chosen, problem)
        options = resolve_options(chosen, experiment.numerics)
    except UnsupportedError as error:
        raise NotImplementedError(str(error)) from None
    return chosen.trainer(problem if learns else replace(problem, targets=None), options)


def poisson_spikes(problem: Problem, rate_hz: float) -> SpikeTrain:
    """Poisson spikes of a whole trial, at the same rate in all neurons."""
    steps, N = problem.clock.steps, problem.neurons
    rng = np.random.default_rng(0)
    at = np.unique(rng.integers(0, steps * N, round(rate_hz * problem.clock.seconds * N)))
    return SpikeTrain((at // N + 1).astype(np.int32), (at % N).astype(np.int32))


def subject(name: str, preset: str, overrides: Mapping[str, object]) -> tuple[str, Experiment]:
    """Backend and experiment of a subject, backend[:storage[:algorithm[:p_precision]]]."""
    backend, *parts = name.split(":")
    numerics = dict(zip(("numerics.storage", "numerics.algorithm", "numerics.p_precision"), parts, strict=False))
    given = {key: value for key, value in overrides.items() if value is not None}
    return backend, load_experiment(preset, overrides=given | numerics)


def print_table(
    names: Sequence[str],
    options: Sequence[Options],
    samples: NDArray[np.float64],
    further: Mapping[str, NDArray[np.float64]] | None = None,
) -> None:
    """Print quartiles of samples (subjects, rounds), ratios to the first, and further columns."""
    further = further or {}
    click.echo(f"{'':44} {'median':>8} {'quartiles':>17} {'to first':>9}" + "".join(f" {key:>8}" for key in further))
    for i, (name, o, row) in enumerate(zip(names, options, samples, strict=True)):
        low, middle, high = np.percentile(row, (25, 50, 75))
        ratio = np.median(row / samples[0])
        label = f"{name} ({o.p_precision} {o.storage}, {o.algorithm})"
        rest = "".join(f" {column[i]:8.4g}" for column in further.values())
        click.echo(f"{label:44} {middle:8.4g} {low:8.4g} {high:8.4g} {ratio:9.2f}{rest}")
