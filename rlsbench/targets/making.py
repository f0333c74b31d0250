"""The targets of an experiment: sinusoids, or the currents for recorded or surrogate rates.

In: an `Experiment`, what the initial trial measured, and files of rates or spikes.  Out: the
experiment with the size and duration of its recording, the `Recording` and the `Targets`.  Knows
recordings and the transfer function; knows neither problems nor backends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlsbench.clock import Clock
from rlsbench.configuration import Experiment, changed, preset_of
from rlsbench.datasets import located
from rlsbench.errors import ConfigurationError, RecordingError
from rlsbench.network import InitialTrial, Noise, Populations, external_current, populations_of
from rlsbench.neurons import Neurons, make_neurons
from rlsbench.recordings import (
    ReadOptions,
    Recording,
    check_trainable,
    pool_neurons,
    read_recording,
    stack_conditions,
)
from rlsbench.recordings.arrays import array_digest
from rlsbench.streams import Purpose, uniform
from rlsbench.targets.kinds import MatrixTargets, SinusoidTargets, Targets

SAMPLED = 1000  # neurons of a population whose targets are averaged
SILENT = 1e-6  # of the white noise that is equivalent to static currents
REACH = 1.0  # threshold - reset: largest unremarkable distance of the targets' mean from the network's


def fit_to_recording(
    e: Experiment, given: Any = None, events: ArrayLike | Mapping[Any, ArrayLike] | None = None
) -> tuple[Experiment, Recording]:
    """Read the recording of an experiment, or draw a surrogate, and adapt the experiment to it.

    A recording that is `given` in Python, and `events`, are as for `read_recording`, and replace
    those of the experiment; the digest of the rates is then kept as `targets.digest`.

    The experiment returned has the `network.neurons`, `targets.tasks` and `time.train_duration_ms`
    of the recording, and fewer plastic inputs if it is too small for those of the preset; a note of
    the recording says so. A surrogate has the dimensions of the experiment, which then does not
    change.

    Raises ConfigurationError if no file is named or the network cannot have the size of the
    recording, and RecordingError if the recording cannot be read or its bins differ in width from
    those of the experiment.
    """
    learn_every, bin_s = e.time.learn_every_ms, e.time.learn_every_ms / 1000.0
    bins = Clock.from_experiment(e).bins
    if e.targets.kind == "surrogate" and given is None:
        from rlsbench.surrogate import surrogate_recording  # slow import: scipy.special

        neurons, seed, tasks = e.network.neurons - e.targets.untrained, e.training.seed, e.targets.tasks
        if e.populations:
            neurons = int(learning_neurons(e).sum())
        return e, surrogate_recording(neurons, seed=seed, bins=bins, bin_s=bin_s, conditions=tasks)
    if given is None and e.targets.kind == "given":
        raise ConfigurationError("targets.kind = given: give the currents to rlsbench.prepare, as targets")
    if given is None and not e.recording.files:
        if e.targets.digest:
            raise ConfigurationError("the rates were given to rlsbench.prepare: give them again, as recording")
        raise ConfigurationError(
            "recording.files is empty: name a file of recorded rates with --recording FILE "
            "(spikes: NWB, CSV, Parquet; rates in Hz, bins x neurons: HDF5, JLD, NPY, NPZ, CSV, Parquet)"
        )
    how = ReadOptions(bin_s=bin_s, **e.recording.model_dump(exclude={"files", "pool"}))
    preset, neurons = preset_of(e), e.network.neurons
    if preset is None or neurons != preset.network.neurons:  # those of a run that is resumed
        neurons -= e.targets.untrained
    sources = [(given, how)] if given is not None else [located(file, how) for file in e.recording.files]
    parts = [read_recording(source, how, experiment=(bins, neurons), events=events) for source, how in sources]
    pool = e.recording.pool
    several = pool_neurons if pool else partial(stack_conditions, same_neurons=pool is False)
    recording = parts[0] if len(parts) == 1 else several(parts)
    if recording.bin_s is not None and abs(1000 * recording.bin_s - learn_every) > 1e-6 * learn_every:
        raise RecordingError(
            f"{recording.source} has bins of {1000 * recording.bin_s:g} ms, which differs from the experiment's "
            f"time.learn_every_ms = {learn_every:g}"
        )
    check_trainable(recording)
    # Absolute, so that the run can be resumed and evaluated from another folder.
    files = [str(Path(file).absolute()) if Path(file).exists() else file for file in e.recording.files]
    if given is not None or events is not None:
        e = changed(e, {"targets.kind": "recording", "targets.digest": array_digest(recording.rates_hz)})
    e = changed(e, {"recording.files": files if given is None else ()})
    if e.populations:
        e = _room_for(e, recording)
    N, L = recording.neurons + e.targets.untrained, e.network.plastic_per_population
    sizes = {"network.neurons": N, "targets.tasks": len(recording.conditions)}
    most = math.floor(e.network.frac * (N // 2))
    if most < L and preset is not None and e.network.L == preset.network.L:
        sizes["network.L"] = most  # nobody asked for more
        LX = e.feedforward.LX
        note = (
            f"each neuron has {LX + 2 * most} plastic inputs instead of {LX + 2 * L}: {recording.source} has only "
            f"{recording.neurons} neurons; --untrained adds neurons without target, --plastic-inputs sets the number"
        )
        recording = replace(recording, notes=(*recording.notes, note))
    try:
        return changed(e, sizes | {"time.train_duration_ms": recording.bins * learn_every}), recording
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{recording.source} ({recording.bins} bins x {recording.neurons} neurons) does not fit the experiment: "
            f"{error}; --untrained adds neurons, --plastic-inputs sets the number of inputs"
        ) from None


def _room_for(e: Experiment, recording: Recording) -> Experiment:
    """An experiment with its own populations; neurons beyond those recorded are untrained."""
    learn, rest = int(learning_neurons(e).sum()), e.network.neurons - recording.neurons
    if recording.neurons > learn:
        raise ConfigurationError(
            f"{recording.source} has {recording.neurons} neurons, but only {learn} neurons of populations learn: "
            "raise their sizes, or change learning.neurons"
        )
    if e.targets.untrained not in (0, rest):
        raise ConfigurationError(
            f"targets.untrained = {e.targets.untrained}: must be {rest}, the {e.network.neurons} neurons of "
            f"populations without the {recording.neurons} recorded ones"
        )
    return changed(e, {"targets.untrained": rest})


def fit_to_targets(e: Experiment, given: Any) -> tuple[Experiment, NDArray[np.float64]]:
    """Check currents that are given in Python, and adapt the number of tasks to them.

    Parameters
    ----------
    e : Experiment
    given : Targets or array_like, shape (bins, N) or (tasks, bins, N)
        Target currents, in units of (threshold - reset); NaN in all bins of a neuron without.

    Returns
    -------
    Experiment
        With `targets.kind` = "given" and the digest of the currents.
    ndarray, shape (tasks, bins, N)

    Raises
    ------
    ConfigurationError
        If the shape is not that of the experiment, or a number is not finite.
    """
    if isinstance(given, Targets):
        given = [given.matrix(task) for task in range(given.tasks)]
    try:
        currents = np.array(given, dtype=np.float64, order="C")  # a copy: the caller may change theirs
    except (TypeError, ValueError):
        raise ConfigurationError("the targets are not an array of numbers") from None
    currents = currents[None] if currents.ndim == 2 else currents
    shape = (Clock.from_experiment(e).bins, e.network.neurons)
    if currents.shape[1:] != shape or not len(currents):
        raise ConfigurationError(
            f"the targets have shape {currents.shape}: give (bins, neurons) or (tasks, bins, neurons), here with "
            f"{shape[0]} bins (time.train_duration_ms / time.learn_every_ms) and network.neurons = {shape[1]}"
        )
    currents[:, :, ~learning_neurons(e)] = np.nan
    finite = np.isfinite(currents)
    wrong = ~(finite.all(axis=(0, 1)) | np.isnan(currents).all(axis=(0, 1)))
    if wrong.any() or not finite.any():
        which = f"of neuron {wrong.argmax()}" if wrong.any() else "of all neurons"
        raise ConfigurationError(
            f"the targets {which} are not finite: give numbers, or NaN in all bins and tasks of a neuron without target"
        )
    tables = {"targets.kind": "given", "targets.tasks": len(currents), "targets.digest": array_digest(currents)}
    return changed(e, tables), currents


def make_targets(e: Experiment, initial: InitialTrial, given: Recording | NDArray[np.float64] | None = None) -> Targets:
    """The targets of an experiment.

    `initial` was measured on the initial problem: the mean static currents are the offsets of
    sinusoids, and their standard deviations stand for noise where rates are converted to currents.
    `given` is from `fit_to_recording` or `fit_to_targets`, and required unless the targets are
    sinusoids; the conditions of a recording become tasks.

    Raises RecordingError if a recorded rate cannot be reached by any current.
    """
    populations = populations_of(e)
    untrained = ~learning_neurons(e)
    if e.targets.kind == "sinusoid":
        offset = initial.mean_current.copy()
        offset[untrained] = np.nan
        return _sinusoids(e, offset)
    if given is None:
        raise ValueError(f"targets.kind = {e.targets.kind} requires a recording; fit_to_recording returns one")
    if isinstance(given, Recording):
        given = _of_recording(e, initial, given, populations)
    currents = given.copy()
    currents[:, :, untrained] = np.nan
    return MatrixTargets(currents)


def _of_recording(
    e: Experiment, initial: InitialTrial, recording: Recording, populations: Populations
) -> NDArray[np.float64]:
    """The currents for recorded rates, (conditions, bins, N), NaN for a neuron without."""
    neurons = recorded_neurons(e, recording.neurons)
    currents = _currents(e, initial, recording, populations, neurons)
    if e.targets.subtract_external:
        currents = currents - external_current(e, populations)[neurons]
    if recording.neurons < populations.neurons:
        followed = currents
        currents = np.full((*followed.shape[:2], populations.neurons), np.nan)
        currents[:, :, neurons] = followed
    return currents


def learning_neurons(e: Experiment) -> NDArray[np.bool_]:
    """The neurons that `learning.neurons` names, (N,)."""
    learns = populations_of(e).named(e.learning.neurons, "learning.neurons")
    if not learns.any():
        raise ConfigurationError(f"learning.neurons = {', '.join(e.learning.neurons)}: no neuron learns")
    return learns


def out_of_reach(targets: Targets, initial: InitialTrial, populations: Populations) -> list[str]:
    """Warnings about populations whose targets have a mean that the network is far from.

    The static synapses of a balanced network hold the mean current where it was in the initial
    trial (docs/lasting.md). If the targets' mean is further from it than from reset to threshold,
    learning changes the firing rates instead, without limit.
    """
    warnings = []
    has_target = ~np.isnan(targets.row(0, 0))
    for population in populations:
        everyone = np.flatnonzero(has_target[population.first : population.last]) + population.first
        if not len(everyone):
            continue
        members = everyone[:: -(-len(everyone) // SAMPLED)]
        wanted = float(np.mean([targets.matrix(task, members).mean() for task in range(targets.tasks)]))
        own = float(initial.mean_current[members].mean())
        if abs(wanted - own) > REACH:
            warnings.append(
                f"warning: the targets of {population.name} neurons have a mean of {wanted:.2f}, but the network's "
                f"own mean current is {own:.2f}: if it stays fixed, expect the firing rate to drift"
            )
    return warnings


def target_neurons(
    populations: Populations, recorded: int, learns: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """The neurons that learn the rates of a recording, in the order of the recording, (recorded,).

    Populations get parts of it in proportion to their sizes: of the published two, the first half
    goes to the excitatory one. Neurons left over at the end of each population have no target. With
    `learns` (N,), only these neurons count.
    """
    able = np.arange(populations.neurons) if learns is None else np.flatnonzero(learns)
    bounds = np.searchsorted(able, populations.bounds)
    parts = np.diff(-(-recorded * bounds // bounds[-1]))  # rounded up, so that the first has no fewer
    taken = [able[first : first + size] for first, size in zip(bounds, parts, strict=False)]
    return np.concatenate(taken).astype(np.int64)


def recorded_neurons(e: Experiment, recorded: int) -> NDArray[np.int64]:
    """`target_neurons` of an experiment; with its own populations, of the neurons that learn."""
    return target_neurons(populations_of(e), recorded, learning_neurons(e) if e.populations else None)


def _sinusoids(e: Experiment, offset: NDArray[np.float64]) -> SinusoidTargets:
    bins = Clock.from_experiment(e).bins
    times = e.stimulus.off_ms + e.time.learn_every_ms * np.arange(1, bins + 1, dtype=np.float64)
    draw = partial(uniform, e.training.seed, Purpose.TARGET_PHASE, first=0, last=e.network.neurons)
    period = e.targets.period_ms
    phases_ms = np.stack([draw(trial=task) for task in range(e.targets.tasks)]) * period
    b = (2 * np.pi / period) * phases_ms
    return SinusoidTargets(e.targets.amplitude, period, times, np.cos(b), np.sin(b), offset)


def _currents(
    e: Experiment, initial: InitialTrial, recording: Recording, populations: Populations, neurons: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Currents for the rates of these neurons, (conditions, bins, recorded)."""
    rates_hz = np.ascontiguousarray(recording.rates_hz.transpose(2, 0, 1))
    if not e.populations:
        return _equivalent(e, initial.std_current, rates_hz, neurons)
    currents = np.empty_like(rates_hz)
    population = populations.index(neurons)
    for i, members in enumerate(populations):
        if (some := population == i).any():
            currents[:, :, some] = _equivalent(
                e, initial.std_current[members.first : members.last], rates_hz[:, :, some], neurons[some]
            )
    return currents


def _equivalent(
    e: Experiment, std_current: NDArray[np.float64], rates_hz: NDArray[np.float64], members: NDArray[Any]
) -> NDArray[np.float64]:
    """Currents for rates (conditions, bins, B) of members, given how static currents vary."""
    from rlsbench.transfer import NeuronParameters, SteppedNoise, targets_from_rates  # slow import: scipy.special

    sigma = e.noise.sigma
    if e.has_static:  # white noise that is equivalent to the static currents
        sigma = float(np.mean(std_current)) / math.sqrt(1.3 * e.synapse.tau_E_ms)
        if sigma < SILENT:
            raise ConfigurationError(
                f"external.scale = {e.external.scale:g}: the network is silent in the initial trial, so its static "
                "currents do not fluctuate and rates cannot be converted to currents; raise external.scale or network.K"
            )
    neurons = make_neurons(e).part(members)
    if not neurons.plain or (e.has_static and e.targets.transfer == "simulated"):
        return _measured(e, neurons, float(np.mean(std_current)), rates_hz)
    noise: SteppedNoise = "current" if e.noise.kind == "current" else "voltage"
    neuron = NeuronParameters(
        neurons.tau_m_ms, neurons.threshold, neurons.reset_voltage, e.time.dt_ms, e.neuron.refractory_ms, noise
    )
    how = e.targets.model_dump(include={"transfer", "minimum_rate_hz"})
    return targets_from_rates(rates_hz, sigma, neuron, **how)


def _measured(
    e: Experiment, neurons: Neurons, std_current: float, rates_hz: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Currents for rates of neurons that no formula describes, or whose noise is not white."""
    from rlsbench.transfer.measured import InputNoise, measured_current  # slow import: scipy

    if e.targets.transfer != "simulated":
        raise ConfigurationError(
            f"targets.transfer = {e.targets.transfer!r}: only leaky integrate-and-fire neurons that share their "
            f"parameters have a formula; for neuron.model = {neurons.name!r}, choose simulated"
        )
    scale = Noise(e.noise.kind, e.noise.sigma, e.time.dt_ms, e.neuron.tau_m_ms).scale
    noise = InputNoise(
        voltage=scale if e.noise.kind == "voltage" else 0.0,
        current=scale if e.noise.kind == "current" else 0.0,
        filtered=std_current if e.has_static else 0.0,
        tau_ms=e.synapse.tau_E_ms,
    )
    rates = np.maximum(rates_hz, e.targets.minimum_rate_hz)  # lower ones cannot be measured
    return measured_current(rates, neurons, noise, e.time.dt_ms)
