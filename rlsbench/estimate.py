"""Estimates of a run's memory, disk space and time.

In: an experiment and a backend.  Out: an `Estimate`.  Allocates nothing of the requested size.

Memory is the sum of the declared arrays. Time is extrapolated from a short training of a smaller
network with the same number of synapses per neuron on this machine: once arrays exceed the caches,
the time of simulation and updates is proportional to the number of neurons. If the backend is not
usable on this machine, the time is a lower bound instead: the bytes that steps and updates must
move, divided by the memory bandwidth; launches, latency and arithmetic are ignored.

Of several ranks, time is that of the rank with the most neurons: all of the above for its own, with
threads that this machine lacks assumed to share the work equally, but no less than the lower bound
with the memory bandwidth of a node, and what `rlsbench.spread` adds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rlsbench.available import available_threads
from rlsbench.backend import Backend, Options, Sizes, plain_cost, require, resolve_options, why_unusable
from rlsbench.capacity import disk_bytes, fitting_options, known_free_bytes, needed_bytes
from rlsbench.clock import Clock
from rlsbench.configuration import Experiment, changed, preset_of
from rlsbench.errors import RecordingError
from rlsbench.problem import initial_problem
from rlsbench.ranks import ALONE, Planned
from rlsbench.spread import RATE_HZ, Links, Spread, spread_over
from rlsbench.targets.making import fit_to_recording
from rlsbench.training.initial_trial import problem_without_initial_trial
from rlsbench.training.trial import run_trial

SMALL = 10_000  # neurons of the timed network: its P exceeds the caches
STIMULUS_MS = 20.0  # of the timed trial
TRAIN_BINS = 20
STATE_MOVED = 8  # numbers per neuron that a step moves: currents, voltage, filtered spikes, input
CPU_BANDWIDTH = 20e9  # bytes/s: half of two channels of DDR4-2666
NODE_BANDWIDTH = 200e9  # bytes/s: 0.8 of two sockets with six channels of DDR4-2666
DEVICE_BANDWIDTH = 1000e9  # bytes/s: an RTX 4090


@dataclass(frozen=True)
class Estimate:
    """The expected memory, disk space and time of a run."""

    experiment: Experiment  #: with the size of its recording
    options: Options  #: the options that the run would use
    notes: list[str]  #: remarks for the user about them
    bytes: dict[str, int]  #: size of each array in memory
    disk: dict[str, int]  #: size of each file
    #: memory available now, of a node or device; None for a device that this machine does not have
    free_bytes: int | None
    simulation_seconds: float | None  #: per iteration, as `rls_seconds`; None if no time was requested
    rls_seconds: float | None
    timed_neurons: int  #: size of the timed network; 0 if the time is a lower bound
    bandwidth: float  #: bytes per second that the lower bound assumes
    why_no_time: str | None  #: why nothing could be timed
    spread: Spread | None = None  #: of several ranks; sizes of arrays are then those of rank 0

    @property
    def total_bytes(self) -> int:
        """Total size of all arrays."""
        return sum(self.bytes.values())

    @property
    def node_bytes(self) -> int:
        """Total size on the node that needs most, or on the device: ranks have one each."""
        if self.spread is None:
            return self.total_bytes
        if self.options.device != "cpu":
            return max(self.total_bytes, sum(self.spread.others.values()))
        return self.spread.node_bytes(self.total_bytes)

    @property
    def parts(self) -> dict[str, float]:
        """Time of one iteration by what takes it; empty if no time was requested."""
        if self.simulation_seconds is None or self.rls_seconds is None:
            return {}
        parts = {"simulation": self.simulation_seconds, "updates": self.rls_seconds}
        if self.spread:
            parts |= {"other ranks' neurons": self.spread.others_seconds, "exchange": self.spread.exchange_seconds}
        return parts

    @property
    def seconds(self) -> float | None:
        """Time of one iteration; None if no time was requested."""
        return sum(self.parts.values()) if self.parts else None


def estimate(
    experiment: Experiment,
    backend: Backend,
    *,
    time: bool = True,
    bandwidth: float | None = None,
    ranks: Planned | None = None,
    links: Links | None = None,
    free: int | None = None,
    rate_hz: float = RATE_HZ,
) -> Estimate:
    """Estimate the memory, disk space and, if `time` is set, the time of a run.

    If the backend is not usable on this machine, the time is a lower bound for a memory bandwidth
    in bytes per second; by default 20e9 for a CPU, 200e9 for a node with several ranks, and 1000e9
    for a device. A recording is read for its size, except one that is not fetched and of which the
    preset states the size. With at least two `ranks`, of which each has `numerics.threads`, `links`
    connect their nodes and neurons fire at `rate_hz`. `free` bytes are those of a node, by default
    of this machine.

    Raises UnsupportedError if the backend does not support the requested options, and
    RecordingError or ConfigurationError as the run would for its recording or ranks.
    """
    why = why_unusable(backend, resolve_options(backend, experiment.numerics))
    experiment, read = _of_recorded_size(experiment)
    N, here, spread = experiment.network.neurons, 1, None
    if ranks is not None:
        ranks.bounds(N)
        require(backend, initial_problem(changed(experiment, {"network.neurons": min(SMALL, N)}), ranks))
    options, notes = fitting_options(backend, experiment, ranks or ALONE, free)
    usual = CPU_BANDWIDTH
    if ranks is not None:
        usual, here = NODE_BANDWIDTH, ranks.here if options.device == "cpu" else 1
        spread = spread_over(ranks, backend, experiment, options, links or Links(), rate_hz)
    own = spread.neurons if spread else N
    assumed = bandwidth or (usual if options.device == "cpu" else DEVICE_BANDWIDTH)
    small = own  # which connectivity of one's own is for
    if not experiment.connectivity:
        small = min(SMALL, own)
    simulation = rls = None
    if time and why is None:
        threads = options.threads if spread is None else min(options.threads, available_threads())
        timed, update_bytes = _timed(experiment, backend, replace(options, threads=threads), small, rate_hz)
        times = [seconds * own / small * threads / options.threads for seconds in timed]
        if spread:
            floors = _lower_bound(experiment, options, assumed, own * here, update_bytes)
            times = [max(both) for both in zip(times, floors, strict=True)]
        simulation, rls = times
    elif time:
        small = 0
        simulation, rls = _lower_bound(experiment, options, assumed, own * here)
    needed = needed_bytes(backend, experiment, options, ranks=ranks or ALONE)
    disk = disk_bytes(experiment, options)
    if free is None:
        sharing = ALONE if ranks is None or options.device == "cpu" else ranks  # of a node, all is counted
        free = known_free_bytes(backend, options, sharing)
    notes = [*read, *notes]
    return Estimate(experiment, options, notes, needed, disk, free, simulation, rls, small, assumed, why, spread)


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


def _lower_bound(
    e: Experiment, options: Options, bandwidth: float, neurons: int, update_bytes: float | None = None
) -> tuple[float, float]:
    """Least seconds of simulation (spikes add little traffic) and of updates per iteration.

    `update_bytes` are those that the update of a neuron moves; by default, of a plain update.
    """
    clock = Clock.from_experiment(e)
    if update_bytes is None:
        update_bytes = plain_cost(Sizes.of_experiment(e).typical, options).bytes
    steps = clock.steps * neurons * STATE_MOVED * np.dtype(options.precision).itemsize
    return steps / bandwidth, clock.bins * neurons * update_bytes / bandwidth


def _timed(
    e: Experiment, backend: Backend, options: Options, neurons: int, rate_hz: float
) -> tuple[tuple[float, float], float | None]:
    """Seconds of simulation and of updates per iteration of that many neurons.

    Also the bytes that the update of a neuron moves, if neurons fire at a rate and it is known.
    """
    every = e.time.learn_every_ms
    stimulus = {"stimulus.on_ms": 0.0, "stimulus.off_ms": round(STIMULUS_MS / every + 0.5) * every}
    targets = {"targets.kind": "sinusoid", "targets.tasks": 1, "training.average_from_ms": 0.0}
    sizes = {"network.neurons": neurons, "time.train_duration_ms": TRAIN_BINS * every}
    problem = problem_without_initial_trial(changed(e, stimulus | targets | sizes), current=-1.0, spread=1.0)
    require(backend, problem)
    trainer = backend.trainer(problem, options)
    run_trial(trainer, 0)  # compile, and touch every page of memory
    record = run_trial(trainer, 1)
    clock, timed = Clock.from_experiment(e), problem.clock
    simulation = (record.seconds - record.rls_seconds) / timed.steps * clock.steps
    cost = trainer.update_cost(problem.n * rate_hz * every / 1000.0)
    return (simulation, record.rls_seconds / timed.bins * clock.bins), cost and cost.bytes
