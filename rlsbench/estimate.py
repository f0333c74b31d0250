"""Estimates of a run's memory, disk space and time.

In: an experiment and a backend.  Out: an `Estimate`.  Allocates nothing of the requested size.

Memory is the sum of the declared arrays. Time is extrapolated from a short training of a smaller
network with the same number of synapses per neuron on this machine: once arrays exceed the caches,
the time of simulation and updates is proportional to the number of neurons. If the backend is not
usable on this machine, the time is a lower bound instead: the bytes that steps and updates must
move, divided by the memory bandwidth; launches, latency and arithmetic are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlsbench.backend import Backend, Options, Sizes, plain_cost, require, resolve_options, why_unusable
from rlsbench.capacity import disk_bytes, fitting_options, known_free_bytes, needed_bytes
from rlsbench.clock import Clock
from rlsbench.configuration import Experiment, changed, preset_of
from rlsbench.errors import RecordingError
from rlsbench.targets.making import fit_to_recording
from rlsbench.training.initial_trial import problem_without_initial_trial
from rlsbench.training.trial import run_trial

SMALL = 10_000  # neurons of the timed network: its P exceeds the caches
STIMULUS_MS = 20.0  # of the timed trial
TRAIN_BINS = 20
STATE_MOVED = 8  # numbers per neuron that a step moves: currents, voltage, filtered spikes, input
CPU_BANDWIDTH = 20e9  # bytes/s: half of two channels of DDR4-2666
DEVICE_BANDWIDTH = 1000e9  # bytes/s: an RTX 4090


@dataclass(frozen=True)
class Estimate:
    """The expected memory, disk space and time of a run."""

    experiment: Experiment  #: with the size of its recording
    options: Options  #: the options that the run would use
    notes: list[str]  #: remarks for the user about them
    bytes: dict[str, int]  #: size of each array in memory
    disk: dict[str, int]  #: size of each file
    free_bytes: int | None  #: memory available now; None for a device that this machine does not have
    simulation_seconds: float | None  #: per iteration, as `rls_seconds`; None if no time was requested
    rls_seconds: float | None
    timed_neurons: int  #: size of the timed network; 0 if the time is a lower bound
    bandwidth: float  #: bytes per second that the lower bound assumes
    why_no_time: str | None  #: why nothing could be timed

    @property
    def total_bytes(self) -> int:
        """Total size of all arrays."""
        return sum(self.bytes.values())

    @property
    def seconds(self) -> float | None:
        """Time of one iteration; None if no time was requested."""
        if self.simulation_seconds is None or self.rls_seconds is None:
            return None
        return self.simulation_seconds + self.rls_seconds


def estimate(
    experiment: Experiment, backend: Backend, *, time: bool = True, bandwidth: float | None = None
) -> Estimate:
    """Estimate the memory, disk space and, if `time` is set, the time of a run.

    If the backend is not usable on this machine, the time is a lower bound for a memory bandwidth
    in bytes per second; by default 20e9 for a CPU and 1000e9 for a device. A recording is read for
    its size, except one that is not fetched and of which the preset states the size.

    Raises UnsupportedError if the backend does not support the requested options, and
    RecordingError or ConfigurationError as the run would for its recording.
    """
    why = why_unusable(backend, resolve_options(backend, experiment.numerics))
    experiment, read = _of_recorded_size(experiment)
    options, notes = fitting_options(backend, experiment)
    needed = needed_bytes(backend, experiment, options)
    assumed = bandwidth or (CPU_BANDWIDTH if options.device == "cpu" else DEVICE_BANDWIDTH)
    small = experiment.network.neurons  # which connectivity of one's own is for
    if not experiment.connectivity:
        small = min(SMALL, small)
    simulation = rls = None
    if time and why is None:
        simulation, rls = _timed(experiment, backend, options, small)
    elif time:
        small = 0
        simulation, rls = _lower_bound(experiment, options, assumed)
    disk, free = disk_bytes(experiment, options), known_free_bytes(backend, options)
    notes = [*read, *notes]
    return Estimate(experiment, options, notes, needed, disk, free, simulation, rls, small, assumed, why)


def _of_recorded_size(e: Experiment) -> tuple[Experiment, list[str]]:
    """The experiment with the size of its recording, and the notes of that."""
    if e.targets.kind != "recording":
        return e, []
    try:
        e, recording = fit_to_recording(e)
    except RecordingError as error:
        preset = preset_of(e)
        if preset is None or preset.recording.files != e.recording.files:
            raise
        return e, [f"{error}; the size is that of the preset {e.preset}"]
    return e, list(recording.notes)


def _lower_bound(e: Experiment, options: Options, bandwidth: float) -> tuple[float, float]:
    """Least seconds of simulation (spikes add little traffic) and of updates per iteration."""
    clock, N = Clock.from_experiment(e), e.network.neurons
    steps = clock.steps * N * STATE_MOVED * np.dtype(options.precision).itemsize
    updates = clock.bins * N * plain_cost(Sizes.of_experiment(e).typical, options).bytes
    return steps / bandwidth, updates / bandwidth


def _timed(e: Experiment, backend: Backend, options: Options, neurons: int) -> tuple[float, float]:
    """Seconds of simulation and of updates per iteration, extrapolated from that many neurons."""
    every = e.time.learn_every_ms
    stimulus = {"stimulus.on_ms": 0.0, "stimulus.off_ms": round(STIMULUS_MS / every + 0.5) * every}
    targets = {"targets.kind": "sinusoid", "targets.tasks": 1, "training.average_from_ms": 0.0}
    sizes = {"network.neurons": neurons, "time.train_duration_ms": TRAIN_BINS * every}
    problem = problem_without_initial_trial(changed(e, stimulus | targets | sizes), current=-1.0, spread=1.0)
    require(backend, problem)
    trainer = backend.trainer(problem, options)
    run_trial(trainer, 0)  # compile, and touch every page of memory
    record = run_trial(trainer, 1)
    clock, timed, factor = Clock.from_experiment(e), problem.clock, e.network.neurons / neurons
    simulation = (record.seconds - record.rls_seconds) / timed.steps * clock.steps * factor
    return simulation, record.rls_seconds / timed.bins * clock.bins * factor
