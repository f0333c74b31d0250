"""The contract between the core and a backend: two small protocols and the data that passes between them.

In: a `Problem` and `Options`.  Out: a `Trainer`, driven by `rlsbench.training.trial`.  Knows no backend by name.

A backend is an object that conforms to `Backend`, named in the entry-point group `rlsbench.backends`.  Its trainer
holds the arrays, wherever they live, and offers a handful of operations; the core owns the loop over steps, learning
bins and trials, the clock, warm-up and every measurement.  `backends/README.md` is the recipe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rlsbench.configuration import Experiment
from rlsbench.problem import Problem

__all__ = [
    "FEATURES",
    "Backend",
    "Options",
    "OwnDevices",
    "SpikeTrain",
    "State",
    "SumsCurrents",
    "Trainer",
    "pack",
    "unpack",
]

FEATURES: Final = {
    "neuron:lif": "leaky integrate-and-fire neurons",
    "voltage-noise": "Gaussian noise on the voltage",
    "current-noise": "Gaussian noise on the current",
    "feedforward": "feed-forward Poisson inputs with plastic weights",
    "tau-plas-per-neuron": "a plastic time constant of each neuron's own",
    "partial-targets": "neurons without target, which keep their weights",
    "static-weights": "a weight of each static synapse's own",
    "benchmark": "learning that leaves the weights unchanged",
}
"""What a problem may need and a backend may lack, with a description of each."""


@dataclass(frozen=True)
class Options:
    """Numeric options, resolved: how to compute, not what.

    Parameters
    ----------
    precision : {"float64", "float32"}
        Of currents, voltages and weights.
    p_precision : {"float64", "float32", "float16", "bfloat16", "int16"}
        In which P is stored; with 16 bits it is computed in float32, and int16 has a scale for each neuron.
    storage : {"full", "packed"}
        P as n x n matrices or as lower triangles.
    threads : int
        At least 1.
    device : str
        As "cpu" or "cuda:0".
    algorithm : {"auto", "plain", "event"}
        Form of the update. With auto the trainer picks, and also where the one asked for does not apply; its own
        `options` then say which it took, and its `notes` why.
    compile : bool
        Let the backend's library compile what it can; only a backend that says `compiles = True` is asked to.
    """

    precision: str
    p_precision: str
    storage: str
    threads: int = 1
    device: str = "cpu"
    algorithm: str = "auto"
    compile: bool = False


class SpikeTrain(NamedTuple):
    """Spikes in order of step, then neuron."""

    step: NDArray[np.int32]
    """(S,), 1-based step of each spike."""
    neuron: NDArray[np.int32]
    """(S,)"""

    @classmethod
    def empty(cls) -> SpikeTrain:
        """No spikes."""
        return cls(np.empty(0, np.int32), np.empty(0, np.int32))

    @classmethod
    def join(cls, parts: list[SpikeTrain]) -> SpikeTrain:
        """The spikes of several trains, put in order."""
        step = np.concatenate([p.step for p in parts] or [np.empty(0, np.int32)])
        neuron = np.concatenate([p.neuron for p in parts] or [np.empty(0, np.int32)])
        order = np.lexsort((neuron, step))
        return cls(step[order], neuron[order])

    def bounds(self, first: int, last: int) -> NDArray[np.int64]:
        """(last - first + 2,): the spikes of step first + k are at bounds[k] .. bounds[k+1]-1."""
        return np.searchsorted(self.step, np.arange(first, last + 2)).astype(np.int64)


class State(NamedTuple):
    """What is learned, as host arrays."""

    w: NDArray[np.floating[Any]]
    """(N, n), in the precision of the rest."""
    P: NDArray[np.floating[Any]]
    """(N, n, n) for full storage, (N, n(n+1)/2) for packed, in the precision in which it is computed: its own, or
    float32 where it is stored in 16 bits."""

    def full(self) -> NDArray[np.floating[Any]]:
        """P as (N, n, n), whatever its storage."""
        return self.P if self.P.ndim == 3 else unpack(self.P, self.w.shape[1])

    def packed(self) -> NDArray[np.floating[Any]]:
        """P as (N, n(n+1)/2), whatever its storage."""
        return self.P if self.P.ndim == 2 else pack(self.P)


def pack(P: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Lower triangles of (..., n, n), row by row: entry (i, j <= i) at i (i + 1)/2 + j."""
    i, j = np.tril_indices(P.shape[-1])
    return np.ascontiguousarray(P[..., i, j])


def unpack(packed: NDArray[np.floating[Any]], n: int) -> NDArray[np.floating[Any]]:
    """Symmetric matrices (..., n, n) from their packed lower triangles (..., n(n+1)/2)."""
    P = np.empty((*packed.shape[:-1], n, n), packed.dtype)
    i, j = np.tril_indices(n)
    P[..., i, j] = packed
    P[..., j, i] = packed
    return P


class Trainer(Protocol):
    """A network in memory, ready to run and to learn.

    The core calls, for each trial: `begin_trial`; then `advance` over consecutive ranges of steps that cover the trial,
    with `learn` between two of them wherever a learning step begins (model section 2, step 1); `currents`,
    `spike_counts` and `recorded_spikes` at any time.  Weights and P carry over from trial to trial.
    """

    @property
    def problem(self) -> Problem:
        """What it was made from."""

    @property
    def options(self) -> Options:
        """How it computes, with the algorithm that it took."""

    @property
    def notes(self) -> Sequence[str]:
        """What a user should know of the choices that it made; often empty."""

    def begin_trial(self, trial: int, task: int, record: NDArray[np.int64]) -> None:
        """Put the network into its state at t = 0 of a trial.

        Parameters
        ----------
        trial : int
            Number of the trial: 0 for the initial one; addresses voltages, noise and feed-forward spikes.
        task : int
            Row of the stimulus, the feed-forward rates and the targets.
        record : ndarray of int, shape (R,), rising
            Neurons whose spikes are to be kept for `recorded_spikes`.
        """

    def advance(self, first: int, last: int, spikes: SpikeTrain | None = None) -> None:
        """Run the steps first .. last (1-based, both included) without learning: model section 2, steps 2 to 8.

        Parameters
        ----------
        first, last : int
        spikes : SpikeTrain, optional
            Replay: these spikes take the place of those that the voltages would give (steps 5 and 6 are left out).
        """

    def learn(self, bin: int) -> None:
        """Update w and P from the current r and u_bal towards row `bin` of the targets (model section 3)."""

    def rls_update(
        self, x: NDArray[np.floating[Any]], u_bal: NDArray[np.floating[Any]], f: NDArray[np.floating[Any]]
    ) -> None:
        """The same update from given inputs x (N, n), static currents u_bal (N,) and targets f (N,)."""

    def currents(self) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        """u_bal and u_P after the last step, each (N,), on the host; valid until the next call of `advance`."""

    def spike_counts(self) -> NDArray[np.int64]:
        """Spikes of each neuron in this trial so far, (N,)."""

    def recorded_spikes(self) -> SpikeTrain:
        """Spikes in this trial so far of the neurons named in `begin_trial`."""

    def weights(self) -> NDArray[np.floating[Any]]:
        """A copy of w, (N, n)."""

    def state(self) -> State:
        """Copies of w and P."""

    def restore(self, state: State) -> None:
        """Take w and P from a state in any storage and precision."""

    def synchronize(self) -> None:
        """Wait until everything asked for so far has been done."""


@runtime_checkable
class SumsCurrents(Protocol):
    """What a trainer adds that can add up its currents where they are: then they are not copied at each sample."""

    def clear_sums(self, rows: int) -> None:
        """Set so many rows of sums (rows, N) to zero."""

    def add_currents(self, row: int, *, plastic_only: bool) -> None:
        """Add u_bal + u_P after the last step, or u_P alone, to a row."""

    def current_sums(self) -> NDArray[np.floating[Any]]:
        """A copy of the sums on the host, (rows, N)."""


class Backend(Protocol):
    """A way of computing: what it offers, whether it can be used here, and its trainers."""

    @property
    def name(self) -> str:
        """Name under which it is asked for."""

    @property
    def description(self) -> str:
        """One line: how it computes."""

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions of currents, voltages and weights, the preferred one first."""

    @property
    def p_precisions(self) -> tuple[str, ...]:
        """Precisions of P.

        `auto` takes that of the rest, and where that does not fit into memory, the first one here that takes 16 bits.
        """

    @property
    def storages(self) -> tuple[str, ...]:
        """Storages of P, the preferred one first; `auto` takes the first that fits into memory."""

    @property
    def algorithms(self) -> tuple[str, ...]:
        """Forms of the update that can be asked for."""

    @property
    def devices(self) -> tuple[str, ...]:
        """Kinds of devices, the preferred one first; "cuda" stands for cuda:0, cuda:1, ..."""

    @property
    def features(self) -> frozenset[str]:
        """Which of `FEATURES` it has."""

    def unavailable(self) -> str | None:
        """Why it cannot be used on this machine, or None; must not import an optional library."""

    def trainer(self, problem: Problem, options: Options) -> Trainer:
        """Allocate and fill a trainer: weights at their initial values, P = inv(P_inv0)."""

    def memory_bytes(self, experiment: Experiment, options: Options) -> Mapping[str, int]:
        """Bytes that a trainer will hold, by array, without allocating any.

        What is let go of before other scratch is taken is called "scratch for ..."; "scratch for drawing" is there
        while the network is drawn, before P.  A backend may tell in an attribute `library_bytes` how much its process
        takes before any array.
        """


@runtime_checkable
class OwnDevices(Protocol):
    """What a backend adds that can compute elsewhere than on the processor; the core asks it where it is there."""

    def unusable(self, options: Options) -> str | None:
        """Why these options, which it declares, cannot be used on this machine, or None; may import its library.

        One clause that names what there is, as "there is no cuda:1 here; there are cpu and cuda:0".
        """

    def free_bytes(self, options: Options) -> int:
        """Memory that can still be taken on the device of these options, which can be used."""
