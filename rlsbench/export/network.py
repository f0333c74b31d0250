"""A trained network as one description, from which every format is written.

In: the directory of a run, or a `Training`.  Out: `TrainedNetwork`: arrays of one value for each
neuron, and blocks of synapses, of the stimulus and of targets.  Knows no format.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench.available import free_disk_bytes
from rlsbench.backend import get_backend
from rlsbench.capacity import readable
from rlsbench.configuration import Experiment
from rlsbench.errors import InsufficientDiskError, ResultError
from rlsbench.network.edges import ranges
from rlsbench.problem import Problem
from rlsbench.results import frozen, load_run
from rlsbench.training import Training
from rlsbench.training.evaluation import FIRST_TRIAL

__all__ = ["BLOCK", "SYNAPSES", "Kind", "Synapses", "TrainedNetwork", "described", "trained_network"]

Kind = Literal["static", "plastic", "feedforward"]
SYNAPSES: Final[tuple[Kind, ...]] = ("static", "plastic", "feedforward")
BLOCK: Final = 2**18  # synapses, or values of a path, that are made at once

Array = NDArray[np.float64]
Numbers = NDArray[Any]


class Synapses(NamedTuple):
    """Some synapses of one kind."""

    pre: NDArray[np.int32]  #: presynaptic neurons, or feed-forward inputs, from 0 on
    post: NDArray[np.int32]  #: postsynaptic neurons
    weight: Array  #: (threshold - reset) ms; a spike adds weight/tau to the current
    delay: NDArray[np.uint8]  #: steps


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network with its trained weights, in the units of docs/model.md."""

    problem: Problem  #: with the trained weights and external current
    experiment: Experiment
    precision: str  #: in which the run computed, "float64" or "float32"
    origin: dict[str, Any]  #: the source of the weights, and the correlations that the run reached
    correlation: Array | None = None  #: target and mean frozen current, (tasks, N), if it was evaluated
    recorded_hz: Array | None = None  #: recorded rates, Hz, (tasks, bins, N)

    def count(self, kind: Kind) -> int:
        """Number of synapses of a kind."""
        p = self.problem
        if kind == "feedforward":
            return p.neurons * p.plastic.feedforward
        if kind == "plastic":
            return int(p.plastic.degree.sum())
        return p.neurons * p.static.outputs if p.static else len(p.static_edges().index)

    def check_space(self, folder: Path, synapse_bytes: int) -> None:
        """Raise an `InsufficientDiskError` unless files of this network fit beside a new folder.

        Parameters
        ----------
        folder : path
            To which they will be written.
        synapse_bytes : int
            Size of one synapse; all else is counted as arrays of numbers.
        """
        p, item = self.problem, np.dtype(self.precision).itemsize
        values = [sum(column.nbytes for column in self.neurons().values())]
        values += [p.tasks * self.stimulus_steps * p.neurons * item]
        values += [p.tasks * (p.clock.steps + 1) * p.plastic.feedforward * 8]
        values += [p.targets.bins * p.tasks * p.neurons * 8] if p.targets else []
        values += [array.nbytes for array in (self.correlation, self.recorded_hz) if array is not None]
        static = p.projections.expected if p.projections else self.count("static")  # not read for this
        synapses = static + self.count("plastic") + self.count("feedforward")
        needed = synapse_bytes * synapses + sum(values)
        free = free_disk_bytes(folder.parent)
        if free is not None and needed > free:
            raise InsufficientDiskError(
                f"the files need {readable(needed)}, but {readable(free)} are free at {folder.parent.absolute()}"
            )

    def synapses(self, kind: Kind) -> Iterator[Synapses]:
        """All synapses of a kind in blocks: static ones by pre-, others by postsynaptic neuron."""
        p = self.problem
        if kind == "static" and p.static is None:
            yield from _given(p)
            return
        each = {"feedforward": p.plastic.feedforward, "plastic": p.n, "static": p.static.outputs if p.static else 0}
        if not each[kind]:
            return
        at_once = max(1, BLOCK // each[kind])
        for first in range(0, p.neurons, at_once):
            last = min(first + at_once, p.neurons)
            yield self._block(kind, first, last)

    def _block(self, kind: Kind, first: int, last: int) -> Synapses:
        """The synapses of some neurons, without those of `_given`."""
        p, own = self.problem, np.arange(first, last, dtype=np.int32)
        if kind == "static":
            assert p.static is not None
            targets = p.static.targets(p.seed, first, last)
            weights = p.static.target_weights(targets, first)
            one = np.ones(targets.size, np.uint8)
            return Synapses(np.repeat(own, targets.shape[1]), targets.ravel(), weights.ravel(), one)
        LX, initial = p.plastic.feedforward, p.plastic.initial_weights
        weights = np.broadcast_to(initial, (p.neurons, p.n))[first:last].astype(np.float64)
        if kind == "feedforward":
            inputs, one = np.tile(np.arange(LX, dtype=np.int32), len(own)), np.ones(LX * len(own), np.uint8)
            return Synapses(inputs, np.repeat(own, LX), weights[:, :LX].ravel(), one)
        lines = p.plastic.lines(p.seed, first, last)
        there = lines >= 0
        pre, number = np.divmod(lines[there], np.int32(len(p.plastic.delays)))
        delay = p.plastic.delays.astype(np.uint8)[number]
        return Synapses(pre, np.repeat(own, there.sum(axis=1)), weights[:, LX:][there], delay)

    def neurons(self) -> dict[str, Numbers]:
        """One value for each neuron by name, (N,): its population, its inputs and its parameters.

        `initial_v` is the voltage at the start of the first frozen trial of `rlsbench evaluate`.
        """
        p, N = self.problem, self.problem.neurons
        each = p.populations
        found: dict[str, Numbers] = {
            "population": each.index(np.arange(N)),
            "sign": each.signs[each.index(np.arange(N))],
            "external_current": p.external_current,
            "tau_plas_ms": np.broadcast_to(p.tau_plas_ms, N),
            "initial_v": p.neuron.initial_state(p.initial_voltage_normals(FIRST_TRIAL))[0],
        }
        if p.background:
            found["background_hz"] = each.per_neuron(p.background.means) / p.clock.dt_ms * 1000.0
            found["background_weight"] = each.per_neuron(p.background.weights)
        parameters = {name: np.broadcast_to(np.float64(value), N) for name, value in p.neuron.values.items()}
        return found | parameters

    def stimulus(self, task: int) -> Iterator[NDArray[np.floating[Any]]]:
        """The stimulus in the steps on + 1 .. off - 1 of a task, a row (N,) for each step."""
        p = self.problem
        if p.stimulus is None:
            return
        x = np.full(p.neurons, p.stimulus.mu, self.precision)
        for step in range(p.stimulus.on + 1, p.stimulus.off):
            p.stimulus.advance(x, p.seed, task, step)
            yield x

    @property
    def stimulus_steps(self) -> int:
        """Number of steps with a stimulus."""
        stimulus = self.problem.stimulus
        return 0 if stimulus is None else max(0, stimulus.off - stimulus.on - 1)

    def targets(self, task: int) -> Iterator[Array]:
        """The targets of a task, a row (N,) for each bin; NaN for a neuron without target."""
        targets = self.problem.targets
        assert targets is not None
        return (targets.row(task, bin) for bin in range(targets.bins))

    def settings(self) -> dict[str, Any]:
        """All that is one value for the network: numbers, texts, lists and tables of these."""
        p, e = self.problem, self.experiment
        targets = p.targets
        return {
            "rlsbench": version("rlsbench"),
            "origin": self.origin,
            "model": p.neuron.name,
            "neurons": p.neurons,
            "populations": [{"name": q.name, "first": q.first, "size": q.size, "sign": q.sign} for q in p.populations],
            "synapses": {kind: self.count(kind) for kind in SYNAPSES},
            "feedforward_inputs": p.plastic.feedforward,
            "tasks": p.tasks,
            "bins": 0 if targets is None else targets.bins,
            "dt_ms": p.clock.dt_ms,
            "steps": p.clock.steps,
            "stimulus_on_step": p.stimulus.on if p.stimulus else 0,
            "stimulus_off_step": p.clock.stimulus_off,
            "learn_every_steps": p.clock.learn_every,
            "window_ms": e.training.window_ms,
            "plastic_current_only": not p.has_static,
            "refractory_steps": p.refractory_steps,
            "tau_E_ms": p.tau_E_ms,
            "tau_I_ms": p.tau_I_ms,
            "noise": p.noise.kind,
            "noise_sigma": p.noise.sigma,
            "noise_per_step": p.noise.scale,
            "current_unit": "threshold - reset",
        }


def _given(p: Problem) -> Iterator[Synapses]:
    """The static synapses of tables, which are held as a whole."""
    edges = p.static_edges()
    assert edges.weight is not None
    for first, last in ranges(edges.start):
        some = slice(edges.start[first], edges.start[last])
        pre = np.repeat(np.arange(first, last, dtype=np.int32), np.diff(edges.start[first : last + 1]))
        delay = np.ones(len(pre), np.uint8) if edges.delay is None else edges.delay[some]
        yield Synapses(pre, edges.index[some], edges.weight[some], delay)


def trained_network(
    run: str | Path,
    checkpoint: str | Path | None = None,
    backend: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> TrainedNetwork:
    """The network in the directory of a run, with the weights that it learned.

    Parameters
    ----------
    run : path
    checkpoint : {"best", "last"} or path, optional
        Source of the weights: the best or last iteration, or a checkpoint file. By default the
        best if the run kept it, otherwise the last.
    backend : str, optional
        Runs the initial trial, on which targets depend; by default that of the training.
    settings : mapping, optional
        Dotted keys to values that differ from those of the run: `numerics.threads`, and
        `recording.files`, the current paths of the recording.

    Returns
    -------
    TrainedNetwork

    Raises
    ------
    ResultError
        If this is not a finished run, a file in it is missing or damaged, or nothing was learned.
    """
    saved = load_run(run, checkpoint)
    if not saved.iterations or saved.experiment.learning.benchmark:
        raise ResultError(f"{run} is not trained: its weights are the initial ones")
    training = frozen(saved, get_backend(backend or saved.document.backend), settings)
    curve = [i.correlation for i in saved.iterations if i.correlation is not None]
    origin = {
        "run": saved.path.absolute().name,
        "weights": saved.weights_from,
        "correlation_while_learning": float(np.mean(curve[-10:])) if curve else None,
        "evaluation": saved.document.evaluation,
    }
    return described(training, origin, _correlations(saved.path / "evaluation.csv", training.problem))


def described(
    training: Training, origin: dict[str, Any] | None = None, correlation: Array | None = None
) -> TrainedNetwork:
    """The network of a training, with the weights that it has now.

    Parameters
    ----------
    training : Training
    origin : dict, optional
        What files say about the source of the weights.
    correlation : ndarray, shape (tasks, N), optional
        Of target and mean frozen current.
    """
    problem = training.problem
    problem = replace(problem, plastic=replace(problem.plastic, own_weights=training.weights()))
    tasks = [training.recorded_rates(task) for task in range(problem.tasks)]
    recorded = np.stack([rates for rates in tasks if rates is not None]) if tasks[0] is not None else None
    return TrainedNetwork(problem, training.experiment, training.options.precision, origin or {}, correlation, recorded)


def _correlations(table: Path, problem: Problem) -> Array | None:
    """The correlations of an evaluation of the run, (tasks, N); None if there is none."""
    import pandas as pd  # slow import

    try:
        found = pd.read_csv(table, usecols=["task", "neuron", "current_correlation"])
        return found.current_correlation.to_numpy(np.float64).reshape(problem.tasks, problem.neurons)
    except (OSError, ValueError):
        return None
