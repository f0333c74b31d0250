"""What the benchmarks share: their constant parameters, and trainers, or a skip with the reason."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np

from rlsbench import Experiment, load_experiment
from rlsbench.backend import Backend, SpikeTrain, Trainer, get_backend, require, resolve_options
from rlsbench.errors import UnavailableBackendError, UnknownBackendError, UnsupportedError
from rlsbench.problem import InitialTrial, Problem, build_problem
from rlsbench.targets.making import make_targets

# Constant, whatever is installed and however many processors there are: what is missing is skipped, so histories stay
# comparable.
BACKENDS = ["numba", "numba-blas", "numpy-full", "numpy-packed", "torch"]
SIMULATIONS = ["numba", "numpy-packed", "torch"]  # those above have three simulations among them
PRECISIONS = ["float32", "float64"]
STORAGES = ["full", "packed"]
INPUTS = [32, 90]
NEURONS = 2000
THREADS = 2


def usable(name: str) -> Backend:
    """The backend, or a skip that says why not; a failure where it is required, as in continuous integration."""
    try:
        return get_backend(name)
    except (UnknownBackendError, UnavailableBackendError) as error:
        if name in os.environ.get("RLSBENCH_REQUIRE_BACKENDS", "").split():
            raise
        raise NotImplementedError(str(error)) from None  # which asv takes for a skip


def sinusoid(neurons: int = NEURONS, **overrides: object) -> Experiment:
    """The scaling experiment at a small size, in a number of threads that is constant, too."""
    constant = {"network.neurons": neurons, "numerics.threads": THREADS, "training.average_from_ms": 0.0}
    return load_experiment("sinusoid", overrides=constant | overrides)


def made_up(experiment: Experiment) -> Problem:
    """The problem with made-up spontaneous activity, so that nothing is simulated in set-up."""
    N = experiment.network.neurons
    initial = InitialTrial(np.ones(N), np.full(N, -1.0), np.ones(N))
    return build_problem(experiment, initial, make_targets(experiment, initial))


def trainer(backend: str, experiment: Experiment, *, learns: bool = True) -> Trainer:
    """A trainer, which keeps no P unless it learns, or a skip that says what the backend lacks."""
    chosen, problem = usable(backend), made_up(experiment)
    try:
        require(chosen, problem)
        options = resolve_options(chosen, experiment.numerics)
    except UnsupportedError as error:
        raise NotImplementedError(str(error)) from None
    return chosen.trainer(problem if learns else replace(problem, targets=None), options)


def poisson_spikes(problem: Problem, rate_hz: float) -> SpikeTrain:
    """Spikes of a whole trial, at one rate in all neurons."""
    steps, N = problem.clock.steps, problem.neurons
    rng = np.random.default_rng(0)
    at = np.unique(rng.integers(0, steps * N, round(rate_hz * problem.clock.seconds * N)))
    return SpikeTrain((at // N + 1).astype(np.int32), (at % N).astype(np.int32))
