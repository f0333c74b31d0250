"""The immutable thing that a trainer is made from: network, inputs, targets, clock and learning rule.

In: an `Experiment`, and what the initial trial measured.  Out: a `Problem`.  Knows what is to be computed, not
how.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rlsbench.clock import Clock
from rlsbench.configuration import Experiment, validated
from rlsbench.datasets import locate
from rlsbench.errors import ConfigurationError, RecordingError
from rlsbench.network import (
    Feedforward,
    NeuronModel,
    Noise,
    PlasticInputs,
    StaticSynapses,
    Stimulus,
    neuron_model,
    plastic_pools,
)
from rlsbench.recordings import ReadOptions, Recording, read_recording, stack_conditions
from rlsbench.streams import Purpose, normal, uniform
from rlsbench.targets import MatrixTargets, SinusoidTargets, Targets

__all__ = [
    "InitialTrial",
    "LearningRule",
    "Problem",
    "build_problem",
    "fit_to_recording",
    "initial_problem",
    "target_neurons",
]


@dataclass(frozen=True)
class LearningRule:
    """Constants of the RLS rule (model section 3).

    Parameters
    ----------
    lambda_plastic, lambda_feedforward, mu : float
        Penalties that make up the initial inverse of P.
    benchmark : bool
        Leave w unchanged.
    """

    lambda_plastic: float
    lambda_feedforward: float
    mu: float
    benchmark: bool = False

    def initial_inverse(self, plastic: PlasticInputs) -> NDArray[np.float64]:
        """P_inv0 (n, n): diag(lambda) plus mu on every pair of recurrent inputs with initial weights of one sign."""
        n, LX, L = plastic.n, plastic.feedforward, plastic.per_population
        inverse = np.diag(np.where(np.arange(n) < LX, self.lambda_feedforward, self.lambda_plastic))
        for first in (LX, LX + L):
            inverse[first : first + L, first : first + L] += self.mu
        return inverse

    def initial_P(self, plastic: PlasticInputs) -> NDArray[np.float64]:
        """P = inv(P_inv0), (n, n), the same for each neuron."""
        P = np.linalg.inv(self.initial_inverse(plastic))
        return np.asarray((P + P.T) / 2)


@dataclass(frozen=True, eq=False)  # compared and hashed by identity: it holds arrays
class Problem:
    """Everything that a trainer needs to know; nothing of how to compute it.

    Parameters
    ----------
    neurons, excitatory : int
        N and Ne.
    clock : Clock
    neuron : NeuronModel
    tau_E_ms, tau_I_ms : float
    tau_plas_ms : float or ndarray, shape (N,)
    static : StaticSynapses or None
        None where K = 0.
    plastic : PlasticInputs
        With n = 0 in the initial trial.
    external_current : ndarray, shape (N,)
        X_bal.
    stimulus : Stimulus or None
        None in the initial trial.
    feedforward : Feedforward or None
        None where LX = 0.
    noise : Noise
    learning : LearningRule
    targets : Targets or None
        None in the initial trial.
    seed : int
    """

    neurons: int
    excitatory: int
    clock: Clock
    neuron: NeuronModel
    tau_E_ms: float
    tau_I_ms: float
    tau_plas_ms: float | NDArray[np.float64]
    static: StaticSynapses | None
    plastic: PlasticInputs
    external_current: NDArray[np.float64]
    stimulus: Stimulus | None
    feedforward: Feedforward | None
    noise: Noise
    learning: LearningRule
    targets: Targets | None
    seed: int

    @property
    def n(self) -> int:
        """Plastic inputs a neuron."""
        return self.plastic.n

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return 1 if self.targets is None else self.targets.tasks

    @property
    def refractory_steps(self) -> int:
        """Refractory period in whole steps."""
        return round(self.neuron.refractory_ms / self.clock.dt_ms)

    @cached_property
    def required_features(self) -> frozenset[str]:
        """What a backend must declare to take this problem; see `rlsbench.backend.FEATURES`."""
        wanted = {
            f"neuron:{self.neuron.name}": True,
            f"{self.noise.kind}-noise": self.noise.kind != "none",
            "feedforward": self.feedforward is not None,
            "tau-plas-per-neuron": isinstance(self.tau_plas_ms, np.ndarray),
            "partial-targets": self.targets is not None and self.targets.partial,
            "static-weights": self.static is not None and self.static.own_weights is not None,
            "benchmark": self.learning.benchmark,
        }
        return frozenset(name for name, needed in wanted.items() if needed)

    def initial_voltage_normals(self, trial: int) -> NDArray[np.float64]:
        """Standard normals that set the initial state of a trial, (N,)."""
        return normal(self.seed, Purpose.INITIAL_VOLTAGE, trial=trial, first=0, last=self.neurons)


@dataclass(frozen=True)
class InitialTrial:
    """What the trial without plastic synapses and stimulus measured.

    Parameters
    ----------
    rates_hz : ndarray, shape (N,)
        Spontaneous rates over the whole trial.
    mean_current, std_current : ndarray, shape (N,)
        Temporal mean and standard deviation of each neuron's static current over t > average_from.
    """

    rates_hz: NDArray[np.float64]
    mean_current: NDArray[np.float64]
    std_current: NDArray[np.float64]


def initial_problem(e: Experiment) -> Problem:
    """The problem of the initial trial: no plastic synapses, no stimulus, no targets."""
    N = e.network.neurons
    no_plastic = PlasticInputs(N, 0, 0, 0.0, plastic_pools(N, N // 2, 1.0, None), e.training.seed)
    return _problem(e, no_plastic, None, None)


def build_problem(e: Experiment, initial: InitialTrial, recording: Recording | None = None) -> Problem:
    """The problem of an experiment.

    Parameters
    ----------
    e : Experiment
    initial : InitialTrial
        Measured on `initial_problem(e)`.
    recording : Recording, optional
        Rates that become targets, where the experiment takes its targets from a recording; `fit_to_recording` gives it.

    Returns
    -------
    Problem
    """
    N, L = e.network.neurons, e.network.plastic_per_population
    weight = e.neuron.tau_m_ms * e.network.g / math.sqrt(L) if L else 0.0
    plastic = PlasticInputs(
        N,
        e.feedforward.LX,
        L,
        weight,
        plastic_pools(N, N // 2, e.network.frac, initial.rates_hz),
        e.training.seed,
    )
    clock = Clock.from_experiment(e)
    stimulus = Stimulus(
        round(e.stimulus.on_ms / clock.dt_ms),
        clock.stimulus_off,
        e.stimulus.mu,
        e.stimulus.b_per_ms,
        e.stimulus.sigma,
        clock.dt_ms,
        e.training.seed,
    )
    return _problem(e, plastic, stimulus, _targets(e, initial, recording))


def target_neurons(N: int, recorded: int) -> NDArray[np.int64]:
    """The neurons of a network of N that follow the `recorded` neurons of a recording, in its order, (recorded,).

    The first half of the recording goes to the excitatory population and the rest to the inhibitory one; neurons that
    are left at the end of either have no target.
    """
    half = min(-(-recorded // 2), N // 2) if recorded < N else N // 2
    return np.concatenate([np.arange(half), np.arange(recorded - half) + N // 2])


def fit_to_recording(e: Experiment) -> tuple[Experiment, Recording]:
    """Read the recording that an experiment names, or draw a surrogate, and set neurons and duration from it.

    Returns
    -------
    Experiment
        With `network.neurons`, `targets.tasks` and `time.train_duration_ms` of the recording. A surrogate follows the
        experiment.
    Recording

    Raises
    ------
    ConfigurationError
        If no recording is named.
    RecordingError
        If it cannot be read, or its bins are of another width than those of the experiment.
    """
    clock = Clock.from_experiment(e)
    if e.targets.kind == "surrogate":
        from rlsbench.surrogate import surrogate_recording  # imports scipy.special, which takes long

        return e, surrogate_recording(
            e.network.neurons - e.targets.untrained,
            seed=e.training.seed,
            bins=clock.bins,
            bin_s=e.time.learn_every_ms / 1000.0,
            conditions=e.targets.tasks,
        )
    if not e.recording.files:
        raise ConfigurationError(
            "recording.files is missing: name a file with recorded rates by --recording FILE "
            "(spikes: NWB, CSV, Parquet; rates in Hz, bins x neurons: HDF5, JLD, NPY, NPZ, CSV, Parquet)"
        )
    how = ReadOptions(bin_s=e.time.learn_every_ms / 1000.0, **e.recording.model_dump(exclude={"files"}))
    parts = [read_recording(locate(file), how, bins=clock.bins) for file in e.recording.files]
    recording = parts[0] if len(parts) == 1 else stack_conditions(parts)
    bins, neurons, learn_every = recording.bins, recording.neurons, e.time.learn_every_ms
    if recording.bin_s is not None and abs(1000 * recording.bin_s - learn_every) > 1e-6 * learn_every:
        raise RecordingError(
            f"{recording.source} was read in bins of {1000 * recording.bin_s:g} ms, and the experiment has bins of "
            f"time.learn_every_ms = {learn_every:g}: give both the same width"
        )
    tables = e.model_dump()
    tables["network"]["neurons"] = neurons + e.targets.untrained
    tables["targets"]["tasks"] = len(recording.conditions)
    tables["time"]["train_duration_ms"] = bins * learn_every
    try:
        return validated(tables), recording
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{recording.source} holds {bins} bins x {neurons} neurons, which does not fit: {error}"
        ) from None


def _problem(e: Experiment, plastic: PlasticInputs, stimulus: Stimulus | None, targets: Targets | None) -> Problem:
    network, neuron, clock, seed = e.network, e.neuron, Clock.from_experiment(e), e.training.seed
    N, K = network.neurons, network.K
    excitatory = N // 2
    jx = e.external.scale * math.sqrt(K) * network.g
    s = neuron.tau_m_ms * network.g * 2 / math.sqrt(K) if K else 0.0
    weights = (
        (network.weight_EE * s, network.weight_EI * s),
        (network.weight_IE * s, network.weight_II * s),
    )
    low_high = e.synapse.tau_plas_ms
    tau_plas: float | NDArray[np.float64]
    if isinstance(low_high, tuple):
        low, high = low_high
        tau_plas = low + (high - low) * uniform(seed, Purpose.TAU_PLAS, first=0, last=N)
        middle = (low + high) / 2
    else:
        tau_plas = middle = low_high
    feedforward = Feedforward(
        plastic.feedforward,
        clock.steps,
        clock.stimulus_off,
        e.feedforward.mu_hz,
        e.feedforward.b_per_ms,
        e.feedforward.sigma,
        round(e.feedforward.half_window_ms / clock.dt_ms),
        clock.dt_ms,
        e.feedforward.tau_ms or middle,
        seed,
    )
    return Problem(
        neurons=N,
        excitatory=excitatory,
        clock=clock,
        neuron=neuron_model(neuron),
        tau_E_ms=e.synapse.tau_E_ms,
        tau_I_ms=e.synapse.tau_I_ms,
        tau_plas_ms=tau_plas,
        static=StaticSynapses(N, excitatory, 2 * K, weights, seed) if K else None,
        plastic=plastic,
        external_current=np.where(np.arange(N) < excitatory, e.external.excitatory, e.external.inhibitory) * jx,
        stimulus=stimulus,
        feedforward=feedforward if plastic.feedforward else None,
        noise=Noise(e.noise.kind, e.noise.sigma, clock.dt_ms, neuron.tau_m_ms, seed),
        learning=LearningRule(
            e.learning.lambda_plastic, e.learning.lambda_feedforward, e.learning.mu, e.learning.benchmark
        ),
        targets=targets,
        seed=seed,
    )


def _targets(e: Experiment, initial: InitialTrial, recording: Recording | None) -> Targets:
    N, seed, tasks = e.network.neurons, e.training.seed, e.targets.tasks
    if e.targets.kind != "sinusoid":
        if recording is None:
            raise ValueError("the targets are a recording's, and none is given; use fit_to_recording")
        from rlsbench.transfer import targets_from_rates  # imports scipy.special, which takes long

        sigma = e.noise.sigma if e.network.K == 0 else _synaptic_sigma(e, initial)
        currents = targets_from_rates(
            np.ascontiguousarray(recording.rates_hz.transpose(2, 0, 1)),
            sigma,
            transfer=e.targets.transfer,
            noise="current" if e.noise.kind == "current" else "voltage",
            minimum_rate_hz=e.targets.minimum_rate_hz,
            dt_ms=e.time.dt_ms,
            refractory_ms=e.neuron.refractory_ms,
            tau_m_ms=e.neuron.tau_m_ms,
            threshold=e.neuron.threshold,
            reset=e.neuron.reset,
        )
        if recording.neurons < N:
            followed, currents = currents, np.full((*currents.shape[:2], N), np.nan)
            currents[:, :, target_neurons(N, recording.neurons)] = followed
        return MatrixTargets(currents)  # a task for each condition
    period = e.targets.period_ms
    bins = Clock.from_experiment(e).bins
    times = e.stimulus.off_ms + e.time.learn_every_ms * np.arange(1, bins + 1, dtype=np.float64)
    phases = np.stack([uniform(seed, Purpose.TARGET_PHASE, trial=task, first=0, last=N) for task in range(tasks)])
    return SinusoidTargets(e.targets.amplitude, period, times, phases * period, initial.mean_current)


def _synaptic_sigma(e: Experiment, initial: InitialTrial) -> float:
    """Sigma of the white noise that stands for the static current: its mean standard deviation / sqrt(1.3 tau_E)."""
    return float(np.mean(initial.std_current)) / math.sqrt(1.3 * e.synapse.tau_E_ms)
