"""An experiment as data: every parameter of the model, the training rule and the measurement, validated and immutable.

In: plain values (from TOML or Python).  Out: an `Experiment`.  Knows units and limits; knows no backend and no file.

Symbols are those of Arthur, Kim, Chen, Preibisch and Darshan (2023), Front. Neuroinform. 17:1099510. Times end in _ms,
rates in _hz; voltages and currents are in units of (threshold - reset).
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

__all__ = [
    "Experiment",
    "ExternalSection",
    "FeedforwardSection",
    "LearningSection",
    "NetworkSection",
    "NeuronSection",
    "NoiseSection",
    "NumericsSection",
    "StimulusSection",
    "SynapseSection",
    "TargetsSection",
    "TimeSection",
    "TrainingSection",
]

MAX_NEURONS = 2**31 - 1  # indices of neurons are 32-bit


def _whole(value: Any) -> Any:
    """Take 1e4 for 10000: a float without a fraction is an integer that TOML wrote with an exponent."""
    if isinstance(value, bool):
        raise ValueError("should be a number, not true or false")  # what pydantic expects of a validator
    return int(value) if isinstance(value, float) and value.is_integer() else value


Count = Annotated[int, BeforeValidator(_whole)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Texts = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]


class Section(BaseModel):
    """A table of the configuration: no unknown keys, no change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, use_attribute_docstrings=True)


class NetworkSection(Section):
    """Who is connected to whom (model section 1)."""

    neurons: Annotated[Count, Field(ge=2, le=MAX_NEURONS)]
    """N; the first N // 2 are excitatory, the rest inhibitory."""
    K: Annotated[Count, Field(ge=0)] = 512
    """Static synapses: each neuron projects to exactly 2 K others. 0: no static synapses."""
    L: Annotated[Count, Field(ge=0)] | None = None
    """Plastic inputs from each of the two populations. Left out: round(2 sqrt(K))."""
    frac: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Fraction of each population, highest spontaneous rate first, from which plastic inputs are drawn."""
    g: Positive = 1.0
    """Gain of all recurrent weights."""
    weight_EE: Finite = 0.15
    """Static weight excitatory -> excitatory, in units of tau_m g 2/sqrt(K)."""
    weight_EI: Finite = 1.0
    """Static weight excitatory -> inhibitory, same units."""
    weight_IE: Finite = -0.75
    """Static weight inhibitory -> excitatory, same units."""
    weight_II: Finite = -1.0
    """Static weight inhibitory -> inhibitory, same units."""

    @property
    def excitatory(self) -> int:
        """Ne: the first half of the neurons, rounded down."""
        return self.neurons // 2

    @property
    def plastic_per_population(self) -> int:
        """L, resolved."""
        return round(2 * math.sqrt(self.K)) if self.L is None else self.L


class NeuronSection(Section):
    """The neuron model; `lif` is the leaky integrate-and-fire neuron."""

    model: Literal["lif"] = "lif"
    """Name of the neuron model."""
    tau_m_ms: Positive = 10.0
    """Membrane time constant, ms."""
    threshold: Finite = 1.0
    """Voltage above which the neuron spikes."""
    reset: Finite = 0.0
    """Voltage after a spike."""
    refractory_ms: NonNegative = 0.1
    """Refractory period, ms; rounded to whole steps."""


class SynapseSection(Section):
    """Synaptic time constants."""

    tau_E_ms: Positive = 3.0
    """Decay of the static excitatory current, ms."""
    tau_I_ms: Positive = 3.0
    """Decay of the static inhibitory current, ms."""
    tau_plas_ms: Positive | tuple[Positive, Positive] = 150.0
    """Decay of plastic currents and filtered spikes, ms; [low, high] draws one per neuron, uniformly."""


class ExternalSection(Section):
    """The constant external current X_bal = factor * jx with jx = scale sqrt(K) g."""

    scale: Finite = 0.08
    """jx / (sqrt(K) g)."""
    excitatory: Finite = 1.5
    """Factor of the excitatory neurons."""
    inhibitory: Finite = 1.0
    """Factor of the inhibitory neurons."""


class StimulusSection(Section):
    """The stimulus that triggers the learned response: an Ornstein-Uhlenbeck path per neuron and task."""

    on_ms: NonNegative = 800.0
    """Start, ms."""
    off_ms: NonNegative = 1000.0
    """End, ms; the learned response begins here."""
    mu: Finite = 0.0
    """Mean of the path."""
    b_per_ms: NonNegative = 0.05
    """Rate of return to the mean, 1/ms."""
    sigma: NonNegative = 0.2
    """Standard deviation of the increments, 1/sqrt(ms)."""


class FeedforwardSection(Section):
    """Feed-forward Poisson inputs shared by all neurons, with plastic weights that start at 0."""

    LX: Annotated[Count, Field(ge=0)] = 0
    """Number of inputs."""
    mu_hz: NonNegative = 5.0
    """Mean rate, Hz."""
    b_per_ms: NonNegative = 0.0025
    """Rate of return of the rate to its mean, 1/ms."""
    sigma: NonNegative = 0.2
    """Standard deviation of the increments of the rate, Hz/sqrt(ms)."""
    half_window_ms: NonNegative = 50.0
    """The rate is averaged over +- this much, ms."""
    tau_ms: Positive | None = None
    """Filter of these spikes, ms. Left out: tau_plas, or the middle of its range."""


class NoiseSection(Section):
    """Gaussian noise."""

    kind: Literal["none", "voltage", "current"] = "none"
    """Where it enters: v += sigma sqrt(dt/tau_m) xi, or u_bal += sigma sqrt(tau_m/dt) xi."""
    sigma: NonNegative = 0.0
    """Standard deviation."""


class TimeSection(Section):
    """The clock of a trial."""

    dt_ms: Positive = 0.1
    """Time step, ms."""
    train_duration_ms: Positive = 1000.0
    """Length of the learned response, ms: the trial ends at stimulus.off_ms + this."""
    learn_every_ms: Positive = 10.0
    """Interval between weight updates, and width of a bin of the targets, ms."""


class LearningSection(Section):
    """The RLS rule (model section 3)."""

    lambda_plastic: Positive = 0.8
    """lambda: penalty on a change of each recurrent plastic weight."""
    lambda_feedforward: Positive = 0.8
    """lambda_FF: penalty on a change of each feed-forward weight."""
    mu: NonNegative = 0.01
    """Penalty on a change of the summed weights of one sign."""
    benchmark: bool = False
    """Do all the work of learning but leave w unchanged, so that the firing rate stays put."""


class TargetsSection(Section):
    """The synaptic currents that neurons learn to produce."""

    kind: Literal["sinusoid", "recording", "surrogate"] = "sinusoid"
    """Sinusoids around the mean static current; the currents behind recorded rates; or those behind rates that are
    drawn with the statistics of recorded ones."""
    tasks: Annotated[Count, Field(ge=1, le=2**16)] = 1
    """Number of tasks, but those of a recording are its conditions; iteration i trains task (i - 1) mod tasks."""
    amplitude: Finite = 0.5
    """Amplitude of the sinusoids."""
    period_ms: Positive = 1000.0
    """Period of the sinusoids, ms."""
    transfer: Literal["stationary", "simulated"] = "stationary"
    """From rates to currents: `stationary`, the published formula, exact in continuous time; `simulated`, the same
    corrected for the time step, at which neurons fire less."""
    minimum_rate_hz: Positive = 0.1
    """Rates of 0 are replaced by this, Hz."""
    untrained: Annotated[Count, Field(ge=0)] = 0
    """Neurons beyond those of the recording: they have no target, and keep their weights."""


class RecordingSection(Section):
    """Recorded rates: files, and how spike times become rates; see `rlsbench.recordings.ReadOptions`.

    Bins are as wide as `time.learn_every_ms`.
    """

    files: Texts = ()
    """Spikes of units (NWB, CSV, Parquet) or rates in Hz (HDF5, JLD, NPY, NPZ, CSV, Parquet); several files, of the
    same neurons, are several conditions."""
    dataset: str | None = None
    """Name of the matrix in a file that holds several."""
    time_axis: Literal["rows", "columns"] | None = None
    """Which axis of a matrix is time. Left out: inferred from the number of bins."""
    event: str | None = None
    """What is at time 0: a column of trials, an event series or a file of times. Left out: the go cue."""
    occurrence: Literal["only", "first", "last"] = "only"
    """Which time of an event series to take in each trial."""
    window_s: tuple[Finite, Finite] = (-2.0, 1.0)
    """Start and stop of the rates, s from the event."""
    smoothing: Literal["boxcar", "gaussian", "none"] = "boxcar"
    """Of the rates over bins."""
    smoothing_bins: Positive | None = None
    """Width of the boxcar, 15 if left out, or standard deviation of the Gaussian, bins."""
    trials: Texts = ("",)
    """Selections of trials, each one a condition; "" takes all."""
    quality: Texts = ("good",)
    """Accepted values of the units' quality column; none: every unit."""
    regions: Texts = ()
    """Brain regions, or how their names begin; none: all."""
    minimum_rate_hz: NonNegative = 0.0
    """Units with a lower mean rate are left out, Hz."""


class TrainingSection(Section):
    """How long to train, and what to measure."""

    iterations: Annotated[Count, Field(ge=0, le=2**31)] = 100
    """Number of trials with learning."""
    seed: Annotated[Count, Field(ge=0, le=2**63 - 1)] = 1
    """Seed of every random stream."""
    window_ms: Positive = 50.0
    """wid: half-width of the window over which the learned current is averaged, ms."""
    average_from_ms: NonNegative = 1000.0
    """Static currents of the initial trial are averaged over t > this, ms."""
    patience: Annotated[Count, Field(ge=0, le=2**31)] = 0
    """Iterations for which the smoothed correlation may stay below its best before training stops; 0: any number."""
    maxrate_hz: Positive = 100.0
    """Neurons that fire faster in a trial are counted and reported, Hz; none of their spikes is left out."""


class CheckpointsSection(Section):
    """What a run saves of itself on the way; nothing here changes what is computed."""

    every: Annotated[Count, Field(ge=0, le=2**31)] = 0
    """Iterations between checkpoints; 0: only when it is interrupted."""
    keep: Annotated[Count, Field(ge=1, le=2**31)] = 2
    """How many of them are kept, the latest."""
    best: Literal["none", "weights", "whole"] = "none"
    """Whether the best by correlation is kept as well: weights alone, or P too, so that it can be resumed."""


class NumericsSection(Section):
    """How to compute; nothing here changes what is computed. `auto` and 0 leave the choice to the backend."""

    precision: Literal["auto", "float64", "float32"] = "auto"
    """Floating-point type of currents, voltages and weights."""
    p_precision: Literal["auto", "float64", "float32", "float16", "bfloat16", "int16"] = "auto"
    """Type of P as it is stored; auto: that of the rest, or one of 16 bits where that does not fit into memory."""
    storage: Literal["auto", "full", "packed"] = "auto"
    """P as n x n matrices, or as lower triangles of n (n + 1) / 2; auto: the backend's first that fits into memory."""
    algorithm: Literal["auto", "plain", "event"] = "auto"
    """Form of the RLS update: `plain` reads all of P, `event` only the columns of inputs that spiked; same result."""
    threads: Annotated[Count, Field(ge=0, le=4096)] = 0
    """Threads; 0: as many as this process may use."""
    device: Annotated[str, Field(pattern=r"^[a-z]+(:\d+)?$")] = "auto"
    """Where to compute: auto, cpu, cuda:0, ..."""
    compile: bool = False
    """Let the backend's library compile what it can; for backends that have such a library."""


class Experiment(Section):
    """A whole experiment; build it with `load_experiment` or from keyword arguments.

    Raises
    ------
    pydantic.ValidationError
        For an impossible value or combination; `load_experiment` turns it into a `ConfigurationError`.
    """

    preset: str = "custom"
    """Name of the preset that it started from."""
    description: str = ""
    """One line about it."""
    network: NetworkSection
    neuron: NeuronSection = NeuronSection()
    synapse: SynapseSection = SynapseSection()
    external: ExternalSection = ExternalSection()
    stimulus: StimulusSection = StimulusSection()
    feedforward: FeedforwardSection = FeedforwardSection()
    noise: NoiseSection = NoiseSection()
    time: TimeSection = TimeSection()
    learning: LearningSection = LearningSection()
    targets: TargetsSection = TargetsSection()
    recording: RecordingSection = RecordingSection()
    training: TrainingSection = TrainingSection()
    checkpoints: CheckpointsSection = CheckpointsSection()
    numerics: NumericsSection = NumericsSection()

    @property
    def plastic_inputs(self) -> int:
        """n, plastic inputs a neuron: LX + 2 L."""
        return self.feedforward.LX + 2 * self.network.plastic_per_population

    @model_validator(mode="after")
    def _combinations(self) -> Experiment:
        _check_network(self.network)
        _check_clock(self)
        _check_rest(self)
        return self


class Impossible(ValueError):
    """A combination of values that cannot be: carries the key that is named in the message."""

    def __init__(self, key: str, value: object, accepted: str) -> None:
        super().__init__(f"{key} = {value}: {accepted}")


def _check_network(network: NetworkSection) -> None:
    N, K, L = network.neurons, network.K, network.plastic_per_population
    if K and 2 * K >= N:
        raise Impossible(
            "network.K", K, f"2 K must be less than network.neurons = {N}, so K at most {max((N - 1) // 2, 0)}"
        )
    pool = math.floor(network.frac * (N // 2))
    if pool < L:
        where = f"N/2 = {N // 2}" if network.frac == 1 else f"frac N/2 = {pool}"
        raise Impossible("network.L", L, f"must be at most {where}, the neurons that plastic inputs are drawn from")


def _multiple(key: str, value: float, unit_key: str, unit: float) -> None:
    quotient = value / unit
    if not math.isfinite(quotient) or abs(quotient - round(quotient)) > 1e-6 * max(1.0, quotient):
        raise Impossible(key, f"{value:g}", f"must be a multiple of {unit_key} = {unit:g}")


def _check_clock(e: Experiment) -> None:
    dt, learn_every = e.time.dt_ms, e.time.learn_every_ms
    _multiple("time.learn_every_ms", learn_every, "time.dt_ms", dt)
    if learn_every < dt:
        raise Impossible("time.learn_every_ms", f"{learn_every:g}", f"must be at least time.dt_ms = {dt:g}")
    _multiple("stimulus.on_ms", e.stimulus.on_ms, "time.dt_ms", dt)
    _multiple("stimulus.off_ms", e.stimulus.off_ms, "time.learn_every_ms", learn_every)
    _multiple("time.train_duration_ms", e.time.train_duration_ms, "time.learn_every_ms", learn_every)
    if e.time.train_duration_ms < learn_every:
        raise Impossible(
            "time.train_duration_ms",
            f"{e.time.train_duration_ms:g}",
            f"must be at least time.learn_every_ms = {learn_every:g}",
        )
    if e.stimulus.on_ms > e.stimulus.off_ms:
        raise Impossible(
            "stimulus.on_ms", f"{e.stimulus.on_ms:g}", f"must be at most stimulus.off_ms = {e.stimulus.off_ms:g}"
        )
    end = e.stimulus.off_ms + e.time.train_duration_ms
    if end / dt > 2**31 - 1:
        raise Impossible("time.dt_ms", f"{dt:g}", "gives more than 2^31 steps a trial; take a longer step")
    if e.training.average_from_ms >= end:
        raise Impossible(
            "training.average_from_ms", f"{e.training.average_from_ms:g}", f"must be less than the trial's {end:g} ms"
        )
    constants = [e.neuron.tau_m_ms, e.synapse.tau_E_ms, e.synapse.tau_I_ms, *_range(e.synapse.tau_plas_ms)]
    if e.feedforward.LX and e.feedforward.tau_ms is not None:
        constants.append(e.feedforward.tau_ms)
    if dt >= min(constants):
        raise Impossible("time.dt_ms", f"{dt:g}", f"must be below the shortest time constant, {min(constants):g} ms")
    for key, rate in (("stimulus", e.stimulus.b_per_ms), ("feedforward", e.feedforward.b_per_ms)):
        if rate * dt > 1:
            raise Impossible(f"{key}.b_per_ms", f"{rate:g}", f"must be at most 1/time.dt_ms = {1 / dt:g}")


def _check_rest(e: Experiment) -> None:
    if e.neuron.threshold <= e.neuron.reset:
        raise Impossible("neuron.threshold", e.neuron.threshold, f"must exceed neuron.reset = {e.neuron.reset:g}")
    low, high = _range(e.synapse.tau_plas_ms)
    if low > high:
        raise Impossible("synapse.tau_plas_ms", [low, high], "must be one number or [low, high] with low <= high")
    if e.noise.kind == "none" and e.noise.sigma > 0:
        raise Impossible("noise.sigma", e.noise.sigma, "needs noise.kind = voltage or current")
    if e.targets.transfer == "simulated" and e.network.K > 0:
        raise Impossible("targets.transfer", "'simulated'", "holds for white noise, so for network.K = 0 alone")
    if e.targets.kind != "sinusoid" and e.network.K == 0 and e.noise.sigma == 0:
        raise Impossible(
            "noise.sigma",
            e.noise.sigma,
            "must be positive to turn recorded rates into currents without static synapses",
        )


def _range(value: float | tuple[float, float]) -> tuple[float, float]:
    """One number as a range of that number."""
    return value if isinstance(value, tuple) else (value, value)
