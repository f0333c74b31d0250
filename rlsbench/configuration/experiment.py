"""An experiment as data: every parameter of the model, the training and the measurements.

Symbols are those of Arthur, Kim, Chen, Preibisch and Darshan (2023), Front. Neuroinform.
17:1099510. Names of times end in _ms, of rates in _hz; voltages and currents are in units of
(threshold - reset).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain
from typing import Annotated, Literal

from pydantic import Field, model_validator

from rlsbench.configuration.connectivity import Tables, checks
from rlsbench.configuration.recording import RecordingSection
from rlsbench.configuration.section import Count, Finite, Name, Neurons, NonNegative, Positive, Section, Sign

MAX_NEURONS = 2**31 - 1  # indices of neurons are 32-bit
MAX_STEPS = 2**31 - 1  # so are numbers of steps
MOST_BACKGROUND = 100  # mean number of Poisson spikes in a step; the search for a number takes as many


class NetworkSection(Section):
    """Neurons, synapses and their weights (docs/model.md section 1)."""

    neurons: Annotated[Count, Field(ge=2, le=MAX_NEURONS)]
    """N. The first half (rounded down) is excitatory, the rest inhibitory, unless there are
    `populations`; N is then the sum of their sizes, and another N changes these in proportion."""
    K: Annotated[Count, Field(ge=0)] = 512
    """Each neuron has static synapses onto exactly 2 K others; 0 for none."""
    L: Annotated[Count, Field(ge=0)] | None = None
    """Plastic inputs per neuron from the neurons of each sign; by default round(2 sqrt(K))."""
    frac: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Plastic inputs come from this fraction of each sign, by highest spontaneous rate."""
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
    weights: dict[Name, dict[Name, Finite]] | tuple[tuple[Finite, ...], ...] | None = None
    """Static weights by presynaptic, then postsynaptic population, same units: a table of names, in
    which pairs may be missing, or a matrix; the others are those above, by sign."""

    @property
    def plastic_per_population(self) -> int:
        """L, with its default resolved."""
        return round(2 * math.sqrt(self.K)) if self.L is None else self.L


class PopulationSection(Section):
    """One of the populations that make up the network, in the order of their neurons."""

    name: Name
    """Name; a letter, then letters, digits and _ / + . -"""
    size: Annotated[Count, Field(ge=1, le=MAX_NEURONS)]
    """Number of neurons."""
    sign: Sign
    """Sign of all of their synapses: 1 or "excitatory", -1 or "inhibitory"."""
    external: Finite | None = None
    """Factor of the external current; by default that of `external`, by sign."""
    background_hz: NonNegative = 0.0
    """Rate of the Poisson spikes that each neuron receives from outside the network, Hz."""
    background_weight: Finite = 0.0
    """Weight of these spikes, (threshold - reset) ms; excitatory if positive."""
    neuron: dict[str, Finite] = Field(default_factory=dict)
    """Parameters of its neurons, in place of those of all, such as tau_m_ms or jump1 of glif3."""


class NeuronSection(Section):
    """The neuron model and its parameters (docs/neurons.md)."""

    model: Annotated[str, Field(min_length=1, max_length=200)] = "lif"
    """Name of the model: lif, glif1 to glif5, adex, izhikevich, one that another package registers,
    or module:Name."""
    parameters: dict[str, Finite] = Field(default_factory=dict)
    """Parameters of the model that are not listed here, such as jump1 of glif3."""
    table: Annotated[str, Field(max_length=4096)] = ""
    """CSV or Parquet file: a row for each neuron, a column for each parameter that varies. Or nodes
    of SONATA (HDF5), whose attributes with the names of parameters are read."""
    node_types: Annotated[str, Field(max_length=4096)] = ""
    """CSV of the node types of SONATA nodes, for parameters that the nodes do not have."""
    tau_m_ms: Positive = 10.0
    """Membrane time constant, ms; it also scales weights and noise."""
    threshold: Finite = 1.0
    """Voltage above which the neuron spikes."""
    reset: Finite = 0.0
    """Voltage after a spike."""
    refractory_ms: NonNegative = 0.1
    """Refractory period, ms; rounded to whole steps."""


class SynapseSection(Section):
    """Synaptic time constants."""

    tau_E_ms: Positive = 3.0
    """Time constant of the static excitatory current, ms."""
    tau_I_ms: Positive = 3.0
    """Time constant of the static inhibitory current, ms."""
    tau_plas_ms: Positive | tuple[Positive, Positive] = 150.0
    """Time constant of plastic currents and filtered spikes, ms; [low, high]: uniform by neuron."""


class ExternalSection(Section):
    """The constant external current, X_bal = factor jx with jx = scale sqrt(K) g."""

    scale: Finite = 0.08
    """jx / (sqrt(K) g)."""
    excitatory: Finite = 1.5
    """Factor for excitatory neurons."""
    inhibitory: Finite = 1.0
    """Factor for inhibitory neurons."""


class StimulusSection(Section):
    """The stimulus that triggers the learned response, an Ornstein-Uhlenbeck path per neuron."""

    on_ms: NonNegative = 800.0
    """Start, ms."""
    off_ms: NonNegative = 1000.0
    """End, ms, and the start of the learned response."""
    mu: Finite = 0.0
    """Mean."""
    b_per_ms: NonNegative = 0.05
    """Reversion rate, 1/ms."""
    sigma: NonNegative = 0.2
    """Standard deviation of the increments, 1/sqrt(ms)."""


class FeedforwardSection(Section):
    """Feed-forward Poisson inputs, shared by all neurons; their plastic weights start at 0."""

    LX: Annotated[Count, Field(ge=0)] = 0
    """Number of inputs."""
    mu_hz: NonNegative = 5.0
    """Mean rate, Hz."""
    b_per_ms: NonNegative = 0.0025
    """Reversion rate of the rate, 1/ms."""
    sigma: NonNegative = 0.2
    """Standard deviation of the increments of the rate, Hz/sqrt(ms)."""
    half_window_ms: NonNegative = 50.0
    """Half-width of the window over which the rate is averaged, ms."""
    tau_ms: Positive | None = None
    """Time constant of their filtered spikes, ms; default: tau_plas, or the middle of its range."""


class NoiseSection(Section):
    """Gaussian noise."""

    kind: Literal["none", "voltage", "current"] = "none"
    """voltage: v += sigma sqrt(dt/tau_m) xi; current: u_bal += sigma sqrt(tau_m/dt) xi."""
    sigma: NonNegative = 0.0
    """Standard deviation."""


class TimeSection(Section):
    """Durations in a trial."""

    dt_ms: Positive = 0.1
    """Time step, ms."""
    train_duration_ms: Positive = 1000.0
    """Duration of the learned response, ms, from stimulus.off_ms to the end of the trial."""
    learn_every_ms: Positive = 10.0
    """Interval between weight updates, and bin width of the targets, ms."""


class LearningSection(Section):
    """The learning rule (docs/model.md section 3)."""

    rule: Annotated[str, Field(min_length=1, max_length=100)] = "rls"
    """Name of the rule: rls, rls-without-p, or one that another package registers."""
    parameters: dict[str, Finite] = Field(default_factory=dict)
    """Constants of the rule that are not listed here, such as history_ms of rls-without-p."""
    signs: Literal["free", "keep"] = "free"
    """keep: no recurrent weight changes its sign (Dale's law); free: as published."""
    lambda_plastic: Positive = 0.8
    """lambda: penalty on a change of each recurrent plastic weight."""
    lambda_feedforward: Positive = 0.8
    """lambda_FF: penalty on a change of each feed-forward weight."""
    mu: NonNegative = 0.01
    """mu: penalty on a change of the summed weights of one sign."""
    lambda_growth: NonNegative = 0.0
    """What is added to the penalty on a change of each plastic weight in every iteration."""
    forgetting: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor on the weight of all earlier data in every iteration; 1: nothing is forgotten."""
    benchmark: bool = False
    """Compute every update but leave w unchanged, so that the firing rate does not change."""
    neurons: Neurons = ("excitatory", "inhibitory")
    """The neurons that learn; others have no target. Populations (or excitatory, inhibitory: all of
    that sign), numbers and ranges (0:100), or in Python a mask, (N,) booleans."""
    inputs: tuple[Literal["feedforward", "excitatory", "inhibitory"], ...] = ("feedforward", "excitatory", "inhibitory")
    """The kinds of plastic inputs that learn; weights of others keep their initial values."""
    target_mean: Literal["fixed", "neuron", "population"] = "fixed"
    """Whether the mean of the targets follows the network (docs/model.md section 3.4). fixed: as
    published; neuron: each neuron's by itself; population: one offset for each population."""
    target_mean_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Part of the mean error of a trial by which the offset of the targets moves after it."""
    external: Literal["fixed", "rate"] = "fixed"
    """fixed: the external current stays as `external` sets it; rate: that of each neuron is adapted
    until it fires at its recorded rate (docs/model.md section 3.8)."""
    external_gain: Annotated[float, Field(gt=0, le=1)] = 0.02
    """Change of the external current after a trial for each unit of the relative rate error."""


class TargetsSection(Section):
    """The synaptic currents that neurons learn to produce."""

    kind: Literal["sinusoid", "recording", "surrogate", "given"] = "sinusoid"
    """sinusoid: around the mean static current; recording: the currents that correspond to recorded
    rates; surrogate: to random rates with the statistics of recorded ones; given: the currents that
    `rlsbench.prepare` was given."""
    digest: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    """SHA-256 of the currents or rates that `rlsbench.prepare` was given; empty for files."""
    tasks: Annotated[Count, Field(ge=1, le=2**16)] = 1
    """Number of tasks (see `training.task_order`); for a recording, its number of conditions."""
    amplitude: Finite = 0.5
    """Amplitude of the sinusoids."""
    period_ms: Positive = 1000.0
    """Period of the sinusoids, ms."""
    transfer: Literal["stationary", "simulated"] = "stationary"
    """How rates are converted to currents. stationary: the published formula, exact in continuous
    time; simulated: for neurons as they are simulated, in time steps (docs/transfer.md)."""
    minimum_rate_hz: Positive = 0.1
    """Replaces rates of 0, Hz."""
    subtract_external: bool = True
    """Subtract the external current from the currents for rates, because neurons receive it besides
    the synaptic current that they learn; false: as in version 0.2 and before."""
    untrained: Annotated[Count, Field(ge=0)] = 0
    """Neurons added to those of the recording, without targets; their weights do not change."""


class TrainingSection(Section):
    """Duration of training, seed and measurements."""

    iterations: Annotated[Count, Field(ge=0, le=2**31)] = 100
    """Number of trials with learning."""
    seed: Annotated[Count, Field(ge=0, le=2**63 - 1)] = 1
    """Seed of every random stream."""
    task_order: Literal["cyclic", "random"] | tuple[Positive, ...] = "cyclic"
    """cyclic: iteration i = 1, 2, ... trains task (i - 1) mod tasks; random: one that is drawn;
    numbers: the relative frequency of each task in a random order."""
    window_ms: Positive = 50.0
    """wid, the half-width of the window over which the learned current is averaged, ms."""
    average_from_ms: NonNegative = 1000.0
    """Time after which static currents are averaged in the initial trial, ms."""
    patience: Annotated[Count, Field(ge=0, le=2**31)] = 0
    """Iterations for which the smoothed correlation may stay below its best; 0: no such limit."""
    maxrate_hz: Positive = 100.0
    """Neurons with a higher rate in a trial are counted and reported, Hz; nothing is excluded."""


class CheckpointsSection(Section):
    """When a run saves checkpoints; these settings do not affect the results."""

    every: Annotated[Count, Field(ge=0, le=2**31)] = 0
    """Iterations between checkpoints; 0 to write one only when the run is interrupted."""
    keep: Annotated[Count, Field(ge=1, le=2**31)] = 2
    """Number of latest checkpoints to keep."""
    best: Literal["none", "weights", "whole"] = "none"
    """What to keep of the iteration with the best correlation. weights: the plastic weights;
    whole: a checkpoint from which training can resume."""


class NumericsSection(Section):
    """How the model is computed. `auto` and 0 leave a choice to the backend."""

    precision: Literal["auto", "float64", "float32"] = "auto"
    """Floating-point type of currents, voltages and weights."""
    p_precision: Literal["auto", "float64", "float32", "float16", "bfloat16", "int16"] = "auto"
    """Type in which P is stored; auto: `precision`, or 16 bits if that does not fit in memory."""
    storage: Literal["auto", "full", "packed"] = "auto"
    """full: P as n x n matrices; packed: as lower triangles of n (n + 1) / 2 entries; auto: the
    backend's first choice that fits in memory."""
    algorithm: Literal["auto", "plain", "event"] = "auto"
    """Form of the RLS update, with the same result. plain: reads all of P; event: reads only the
    columns of inputs that spiked."""
    threads: Annotated[Count, Field(ge=0, le=4096)] = 0
    """Number of threads; 0: as many as this process may use."""
    device: Annotated[str, Field(pattern=r"^[a-z]+(:\d+)?$")] = "auto"
    """Device to compute on: auto, cpu, cuda:0, ..."""
    compile: bool = False
    """Let the backend's library compile the model, for backends that support it."""


class Experiment(Section):
    """All settings of an experiment; usually made by `load_experiment`.

    Invalid values raise a `pydantic.ValidationError`, or a `ConfigurationError` there.
    """

    preset: str = "custom"
    """Name of the preset on which the experiment is based."""
    description: str = ""
    """One-line description."""
    populations: tuple[PopulationSection, ...] = ()
    """By default the two published halves, named excitatory and inhibitory."""
    network: NetworkSection
    connectivity: Tables = ()
    """Synapses by rule or from files, in place of those that `network` describes."""
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
        """n, plastic inputs per neuron: LX + 2 L."""
        return self.feedforward.LX + 2 * self.network.plastic_per_population

    @property
    def has_static(self) -> bool:
        """Whether neurons receive static currents; a file may turn out to have no synapses."""
        synapses = bool(self.network.K) or any(table.kind != "plastic" for table in self.connectivity)
        return synapses or any(p.background_hz for p in self.populations)

    @property
    def neurons_by_sign(self) -> tuple[int, int]:
        """Excitatory and inhibitory neurons; also if N is not, or not yet, the sum of the sizes."""
        N, total = self.network.neurons, sum(p.size for p in self.populations)
        Ne = N // 2 if not total else N * sum(p.size for p in self.populations if p.sign > 0) // total
        return Ne, N - Ne

    @model_validator(mode="after")
    def _combinations(self) -> Experiment:
        for holds, key, value, accepted in chain(
            _populations(self),
            _networks(self),
            _times(self),
            _rules(self),
            checks(self.connectivity, self.time.dt_ms),
        ):
            if not holds:  # pydantic turns the error into its own
                raise ValueError(f"{key} = {value}: {accepted}")
        return self


_Check = tuple[bool, str, object, str]  # whether it holds, key, value, what is accepted


def _populations(e: Experiment) -> Iterator[_Check]:
    signs = {p.name: p.sign for p in e.populations} or {"excitatory": 1, "inhibitory": -1}
    total = sum(p.size for p in e.populations)
    sizes = f"must be {total}, the sum of the sizes of populations"
    yield total in (0, e.network.neurons), "network.neurons", e.network.neurons, sizes
    for i, p in enumerate(e.populations):
        earlier = [other.name for other in e.populations[:i]]
        yield p.name not in earlier, f"populations.{i}.name", repr(p.name), "another population has this name"
        kind = {1: "excitatory", -1: "inhibitory"}[p.sign]
        alone = p.name == kind and sum(sign == p.sign for sign in signs.values()) == 1
        free = p.name not in ("excitatory", "inhibitory", "feedforward") or alone
        yield free, f"populations.{i}.name", repr(p.name), "stands for all neurons or inputs of that kind; use another"
        most = MOST_BACKGROUND / e.time.dt_ms * 1000
        limit = f"must be at most {most:g}, {MOST_BACKGROUND} spikes in a step"
        yield p.background_hz <= most, f"populations.{i}.background_hz", f"{p.background_hz:g}", limit
        weighs = (p.background_hz > 0) == (p.background_weight != 0)
        both = "background_hz and background_weight must both be 0, or neither"
        yield weighs, f"populations.{i}.background_weight", f"{p.background_weight:g}", both
    for item in e.learning.neurons:
        known = item in signs or item[0].isdigit() or item.startswith("of ") or item in ("excitatory", "inhibitory")
        names = f"must be one of {', '.join(signs)}, a number or a range"
        yield known, "learning.neurons", repr(item), names
    weights, rows = e.network.weights, list(signs)
    if isinstance(weights, tuple):
        square = len(weights) == len(rows) and all(len(row) == len(rows) for row in weights)
        shape = f"must have {len(rows)} rows of {len(rows)} weights, for {', '.join(rows)}"
        yield square, "network.weights", [len(row) for row in weights], shape
        weights = {pre: dict(zip(rows, row, strict=False)) for pre, row in zip(rows, weights, strict=False)}
    for pre, row in (weights or {}).items():
        for name in (pre, *row):
            yield name in signs, "network.weights", repr(name), f"the populations are {', '.join(rows)}"
        for post, weight in row.items():
            key, accepted = f"network.weights.{pre}.{post}", "must have the sign of the presynaptic population"
            yield weight * signs[pre] >= 0, key, f"{weight:g}", accepted


def _networks(e: Experiment) -> Iterator[_Check]:
    network = e.network
    N, K, L = network.neurons, network.K, network.plastic_per_population
    # Whether tables take their place; what a file without `kind` has, is seen when it is read.
    static = any(table.kind != "plastic" for table in e.connectivity)
    plastic = any(table.kind == "plastic" or (not table.kind and table.file) for table in e.connectivity)
    limit = f"2 K must be less than network.neurons = {N}, so K at most {(N - 1) // 2}"
    yield static or not K or 2 * K < N, "network.K", K, limit
    pool = math.floor(network.frac * min(e.neurons_by_sign))
    where = f"{'' if network.frac == 1 else 'frac '}{'neurons of one sign' if e.populations else 'N/2'} = {pool}"
    drawn = f"must be at most {where}, the number of neurons to draw inputs from"
    yield bool(plastic) or pool >= L, "network.L", L, drawn


def _times(e: Experiment) -> Iterator[_Check]:
    time, on, off = e.time, e.stimulus.on_ms, e.stimulus.off_ms
    dt, end = time.dt_ms, off + time.train_duration_ms
    step, update = ("time.dt_ms", dt), ("time.learn_every_ms", time.learn_every_ms)
    for key, value, (unit_key, unit), positive in (
        (*update, step, True),
        ("stimulus.on_ms", on, step, False),
        ("stimulus.off_ms", off, update, False),
        ("time.train_duration_ms", time.train_duration_ms, update, True),
    ):
        quotient = value / unit
        whole = math.isfinite(quotient) and abs(quotient - round(quotient)) <= 1e-6 * max(1.0, quotient)
        yield whole, key, f"{value:g}", f"must be a multiple of {unit_key} = {unit:g}"
        yield value >= unit or not positive, key, f"{value:g}", f"must be at least {unit_key} = {unit:g}"
    yield on <= off, "stimulus.on_ms", f"{on:g}", f"must be at most stimulus.off_ms = {off:g}"
    yield end / dt <= MAX_STEPS, "time.dt_ms", f"{dt:g}", "gives more than 2^31 steps per trial; use a longer step"
    for key, value in (
        ("neuron.refractory_ms", e.neuron.refractory_ms),
        ("feedforward.half_window_ms", e.feedforward.half_window_ms),
        ("training.window_ms", e.training.window_ms),
    ):
        yield value / dt <= MAX_STEPS, key, f"{value:g}", f"must be at most 2^31 steps, {MAX_STEPS * dt:g} ms"
    average_from, limit = e.training.average_from_ms, f"must be less than the duration of a trial, {end:g} ms"
    yield average_from < end, "training.average_from_ms", f"{average_from:g}", limit
    feedforward = [e.feedforward.tau_ms] if e.feedforward.LX and e.feedforward.tau_ms is not None else []
    shortest = min(
        e.neuron.tau_m_ms, e.synapse.tau_E_ms, e.synapse.tau_I_ms, *_range(e.synapse.tau_plas_ms), *feedforward
    )
    yield dt < shortest, "time.dt_ms", f"{dt:g}", f"must be below the shortest time constant, {shortest:g} ms"
    for key, rate in (("stimulus", e.stimulus.b_per_ms), ("feedforward", e.feedforward.b_per_ms)):
        yield rate * dt <= 1, f"{key}.b_per_ms", f"{rate:g}", f"must be at most 1/time.dt_ms = {1 / dt:g}"


def _rules(e: Experiment) -> Iterator[_Check]:
    threshold, reset, sigma = e.neuron.threshold, e.neuron.reset, e.noise.sigma
    yield threshold > reset, "neuron.threshold", threshold, f"must exceed neuron.reset = {reset:g}"
    neurons, inputs = e.learning.neurons, e.learning.inputs
    recurrent = e.network.plastic_per_population > 0 or bool(e.connectivity)  # which may be plastic
    yield bool(neurons), "learning.neurons", list(neurons), "must name a population that learns"
    present = [kind for kind in inputs if (e.feedforward.LX > 0 if kind == "feedforward" else recurrent)]
    learnable = bool(present) or e.plastic_inputs == 0
    yield learnable, "learning.inputs", list(inputs), "must name a kind of plastic inputs that the network has"
    least = e.learning.mu * e.network.plastic_per_population / 2**52
    yield (
        e.learning.lambda_plastic >= least,
        "learning.lambda_plastic",
        e.learning.lambda_plastic,
        (f"must be at least {least:.2g} with learning.mu = {e.learning.mu:g}: P could not be computed"),
    )
    low, high = _range(e.synapse.tau_plas_ms)
    yield low <= high, "synapse.tau_plas_ms", [low, high], "must be one number or [low, high] with low <= high"
    quiet = e.noise.kind != "none" or sigma == 0
    yield quiet, "noise.sigma", sigma, "requires noise.kind = voltage or current"
    noisy = e.targets.kind in ("sinusoid", "given") or e.has_static or sigma > 0
    yield noisy, "noise.sigma", sigma, "must be positive to convert rates to currents without static synapses"


def _range(value: float | tuple[float, float]) -> tuple[float, float]:
    """A range, or a number as a range that contains only it."""
    return value if isinstance(value, tuple) else (value, value)
