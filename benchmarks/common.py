"""What the benchmarks share: their constant parameters, and trainers, or a skip with the reason."""

from __future__ import annotations

import numpy as np
from asv_runner.benchmarks.mark import SkipNotImplemented

from rlsbench import Experiment, load_experiment
from rlsbench.backend import Backend, Trainer, get_backend, require, resolve_options
from rlsbench.errors import RlsbenchError
from rlsbench.problem import InitialTrial, build_problem

# Constant, whatever is installed: a benchmark whose backend is missing is skipped, so histories stay comparable.
BACKENDS = ["numba", "numpy-full", "numpy-packed"]
PRECISIONS = ["float32", "float64"]
NEURONS = 2000


def usable(name: str) -> Backend:
    """The backend, or a skip that says why not."""
    try:
        return get_backend(name)
    except RlsbenchError as error:
        raise SkipNotImplemented(str(error)) from None


def sinusoid(neurons: int = NEURONS, **overrides: object) -> Experiment:
    """The scaling experiment at a small size."""
    return load_experiment("sinusoid", overrides={"network.neurons": neurons, **overrides})


def trainer(backend: str, experiment: Experiment) -> Trainer:
    """A trainer with made-up spontaneous activity, so that nothing is simulated in set-up."""
    chosen = usable(backend)
    N = experiment.network.neurons
    problem = build_problem(experiment, InitialTrial(np.ones(N), np.full(N, -1.0), np.ones(N)))
    require(chosen, problem)
    return chosen.trainer(problem, resolve_options(chosen, experiment.numerics))
