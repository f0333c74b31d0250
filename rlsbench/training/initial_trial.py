"""The initial trial: spontaneous firing rates and static currents before training.

In: a `Trainer` of the initial problem.  Out: an `InitialTrial`, which weights and targets need.
Knows the backend contract; knows no backend and no file.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import Trainer
from rlsbench.configuration import Experiment
from rlsbench.errors import ConfigurationError
from rlsbench.problem import InitialTrial, Problem, build_problem
from rlsbench.targets.making import make_targets
from rlsbench.training.health import check_voltages
from rlsbench.training.trial import run_trial


class CurrentMoments:
    """Temporal mean and standard deviation of the static current of each neuron.

    Parameters
    ----------
    after : int
        Step after which samples are taken.
    neurons : int
        N.
    """

    def __init__(self, after: int, neurons: int) -> None:
        self.after = after
        self.count = 0
        self.first = np.zeros(neurons)
        self.second = np.zeros(neurons)

    def sample(self, step: int, trainer: Trainer) -> None:
        """Add the static current (N,) of one step."""
        self.count += 1
        u = trainer.currents()[0].astype(np.float64)
        self.first += u
        self.second += u * u

    def begin(self, trainer: Trainer) -> bool:
        """No trainer keeps these sums."""
        return False

    def collect(self, trainer: Trainer) -> None:
        """Do nothing: the sums are kept here."""

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
        Made from `initial_problem`.
    average_from_ms : float
        Currents are averaged over t > average_from_ms, ms.

    Returns
    -------
    InitialTrial

    Raises
    ------
    ConfigurationError
        If the trial has no whole millisecond after that time.
    """
    clock = trainer.problem.clock
    moments = CurrentMoments(round(average_from_ms / clock.dt_ms), trainer.neurons)
    record = run_trial(trainer, 0, learn=False, sampler=moments)
    check_voltages(trainer, "in the initial trial")
    if not moments.count:
        raise ConfigurationError(
            f"training.average_from_ms = {average_from_ms:g}: there is no whole millisecond after it in a trial of "
            f"{1000 * clock.seconds:g} ms"
        )
    gather = trainer.problem.ranks.gather
    return InitialTrial(record.spike_counts / clock.seconds, gather(moments.mean()), gather(moments.std()))


def problem_without_initial_trial(experiment: Experiment, current: float = 0.0, spread: float = 0.0) -> Problem:
    """The problem of an experiment with sinusoidal targets, without running its initial trial.

    Parameters
    ----------
    experiment : Experiment
    current, spread : float
        Assumed mean static current of every neuron, and its standard deviation, which is also
        taken as the spontaneous rate, Hz.
    """
    N = experiment.network.neurons
    assumed = InitialTrial(np.full(N, spread), np.full(N, current), np.full(N, spread))
    return build_problem(experiment, assumed, make_targets(experiment, assumed))
