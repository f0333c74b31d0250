"""What a run will take, in memory and time, before it is started.

In: an experiment and a backend.  Out: an `Estimate`.  Knows the protocol; knows no backend.

Memory is counted by array, without allocating any of it.  Time is scaled from a small network of the same kind, with
the same synapses a neuron, that is trained here for a moment: simulation and updates take time in proportion to the
number of neurons once their arrays exceed the caches.  That time is of this machine.  For a backend that cannot be used
here it is a bound by count instead: the bytes that updates and steps move at least, over the bandwidth of the memory,
with launches, latency and arithmetic left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rlsbench.backend import Backend, Options, plain_cost, require, resolve_options, why_unusable
from rlsbench.capacity import disk_bytes, fitting_options, known_free_bytes, needed_bytes
from rlsbench.clock import Clock
from rlsbench.configuration import Experiment
from rlsbench.training.initial_trial import problem_without_initial_trial
from rlsbench.training.trial import run_trial

__all__ = ["Estimate", "estimate"]

SMALL = 10_000  # neurons that are timed: their P exceeds the caches
STIMULUS_MS, TRAIN_BINS = 20.0, 20  # of the trial that is timed
STATE_MOVED = 8  # numbers of a neuron's state that a step reads or writes: currents, voltage, filtered spikes, input
BANDWIDTH = {
    "cpu": 20e9,
    "device": 1000e9,
}  # bytes/s: half of two channels of DDR4-2666; an RTX 4090


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Parameters
    ----------
    options : Options
        As they would be chosen.
    notes : list of str
        What a user should know of the choice.
    bytes : dict
        Name of each array to its size.
    disk : dict
        Name of each file of a run to its size.
    free_bytes : int or None
        Memory that could be had now; None where it would be that of a device which cannot be asked here.
    simulation_seconds, rls_seconds : float or None
        Of one iteration; None where no time was asked for.
    timed_neurons : int
        Size of the network that was timed; 0 where the time is by count.
    bandwidth : float
        Bytes per second that a time by count assumes.
    why_no_time : str or None
        Why nothing was timed.
    """

    options: Options
    notes: list[str]
    bytes: dict[str, int]
    disk: dict[str, int]
    free_bytes: int | None
    simulation_seconds: float | None
    rls_seconds: float | None
    timed_neurons: int
    bandwidth: float
    why_no_time: str | None

    @property
    def total_bytes(self) -> int:
        """All arrays together."""
        return sum(self.bytes.values())

    @property
    def seconds(self) -> float | None:
        """Of one iteration."""
        if self.simulation_seconds is None or self.rls_seconds is None:
            return None
        return self.simulation_seconds + self.rls_seconds


def estimate(
    experiment: Experiment, backend: Backend, *, time: bool = True, bandwidth: float | None = None
) -> Estimate:
    """Estimate memory and time of a run.

    Parameters
    ----------
    experiment : Experiment
    backend : Backend
        Need not be available here; its time is a bound by count then.
    time : bool
        Whether to train a small network for a moment, or count.
    bandwidth : float, optional
        Bytes per second that the memory is assumed to move where time is by count; by default 20e9 in a processor's
        memory and 1000e9 on a device.

    Returns
    -------
    Estimate

    Raises
    ------
    UnsupportedError
        If the backend lacks what is asked for.
    """
    why = why_unusable(backend, resolve_options(backend, experiment.numerics))
    options, notes = fitting_options(backend, experiment)
    needed = needed_bytes(backend, experiment, options)
    assumed = bandwidth or BANDWIDTH["cpu" if options.device == "cpu" else "device"]
    small = min(SMALL, experiment.network.neurons)
    simulation = rls = None
    if time and why is None:
        simulation, rls = _timed(experiment, backend, options, small)
    elif time:
        small, (simulation, rls) = 0, _counted(experiment, options, assumed)
    return Estimate(
        options,
        notes,
        needed,
        disk_bytes(experiment, options),
        known_free_bytes(backend, options),
        simulation,
        rls,
        small,
        assumed,
        why,
    )


def _counted(e: Experiment, options: Options, bandwidth: float) -> tuple[float, float]:
    """Seconds of simulation and of updates in one iteration at least, at so many bytes per second.

    A step reads or writes `STATE_MOVED` numbers of each neuron's state; spikes add little to that at the rates of
    cortex, and are left out.
    """
    clock, N = Clock.from_experiment(e), e.network.neurons
    steps = clock.steps * N * STATE_MOVED * np.dtype(options.precision).itemsize
    updates = clock.bins * N * plain_cost(e.plastic_inputs, options).bytes
    return steps / bandwidth, updates / bandwidth


def _timed(experiment: Experiment, backend: Backend, options: Options, neurons: int) -> tuple[float, float]:
    """Seconds of simulation and of updates in one iteration, scaled from that many neurons."""
    e = experiment
    tables = e.model_dump()
    tables["network"]["neurons"] = neurons
    short = round(STIMULUS_MS / e.time.learn_every_ms + 0.5) * e.time.learn_every_ms
    tables["stimulus"] |= {"on_ms": 0.0, "off_ms": short}
    tables["time"]["train_duration_ms"] = TRAIN_BINS * e.time.learn_every_ms
    tables["training"]["average_from_ms"] = 0.0
    tables["targets"] |= {"kind": "sinusoid", "tasks": 1}
    small = Experiment.model_validate(tables)
    problem = problem_without_initial_trial(small, current=-1.0, spread=1.0)
    require(backend, problem)
    trainer = backend.trainer(problem, options)
    run_trial(trainer, 0)  # compiles, and touches every page
    record = run_trial(trainer, 1)
    clock, timed = Clock.from_experiment(e), problem.clock
    factor = e.network.neurons / neurons
    simulation = (record.seconds - record.rls_seconds) / timed.steps * clock.steps * factor
    return simulation, record.rls_seconds / timed.bins * clock.bins * factor
