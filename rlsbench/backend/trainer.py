"""The base class of every trainer: a few abstract operations, and defaults for the rest.

In: a `Problem` and `Options`.  Out: currents, spikes, w and P, as host arrays.  Knows no backend.

A trainer holds the arrays, wherever they are. The core owns the loop over steps, learning bins and
trials, the clock, the warm-up and every measurement.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend.capabilities import Options
from rlsbench.backend.cost import Cost, plain_cost
from rlsbench.backend.spikes import SpikeTrain
from rlsbench.backend.state import Block, State, diagonal, widened
from rlsbench.problem import Problem

__all__ = ["Trainer"]

Floats = NDArray[np.floating[Any]]

BLOCK = 1024  # neurons that `state` and `restore` copy at a time


class Trainer(ABC):
    """A network in memory, ready to run and to learn.

    For each trial the core calls `begin_trial`; then `advance` over consecutive ranges of steps that
    cover the trial, with `learn` between two of them wherever a learning step begins (docs/model.md
    section 2, step 1). `currents`, `spike_counts` and `recorded_spikes` may be called at any time.
    Weights and P carry over from trial to trial.

    Parameters
    ----------
    problem : Problem
        What it is made from.
    options : Options
        How it computes, with the form of the update that it takes; "auto" becomes "plain".
    notes : sequence of str
        What a user should know about the choices that it made; often empty.
    """

    def __init__(self, problem: Problem, options: Options, notes: Sequence[str] = ()) -> None:
        plain = options.algorithm == "auto"
        self.options = replace(options, algorithm="plain") if plain else options
        self.problem, self.notes = problem, notes
        self._sums: Floats = np.zeros((0, problem.neurons), options.precision)
        self._counts: NDArray[np.int64] = np.zeros(0, np.int64)
        self._recorded: list[SpikeTrain] = []

    # What every trainer does.

    @abstractmethod
    def begin_trial(self, trial: int, task: int, record: NDArray[np.int64]) -> None:
        """Put the network into its state at t = 0 of a trial.

        The base class stores the arguments as `trial`, `task` and `record`, and clears the spikes
        of `record_spikes`; an override that records with it calls this first.

        Parameters
        ----------
        trial : int
            Number of the trial, 0 for the initial one; selects voltages, noise and feed-forward
            spikes.
        task : int
            Row of the stimulus, the feed-forward rates and the targets.
        record : ndarray of int, shape (R,), sorted
            Neurons whose spikes are to be kept for `recorded_spikes`.
        """
        self.trial, self.task, self.record = trial, task, record
        self._counts = np.zeros(self.problem.neurons, np.int64)
        self._recorded = []

    @abstractmethod
    def advance(self, first: int, last: int, spikes: SpikeTrain | None = None) -> None:
        """Run the steps first .. last (from 1, both included) without learning.

        These are steps 2 to 8 of docs/model.md section 2.

        Parameters
        ----------
        first, last : int
        spikes : SpikeTrain, optional
            Replay: these spikes take the place of those that the voltages would give, and steps 5
            and 6 are left out.
        """

    @abstractmethod
    def learn(self, bin: int) -> None:
        """Update w and P from r and u_bal towards row `bin` of the targets (docs/model.md section 3)."""

    @abstractmethod
    def rls_update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        """The same update from given x (N, n), static currents u_bal (N,) and targets f (N,)."""

    @abstractmethod
    def currents(self) -> tuple[Floats, Floats]:
        """u_bal and u_P after the last step, (N,) each, on the host; valid until the next `advance`."""

    @abstractmethod
    def block(self, first: int, last: int) -> Block:
        """w and P of the neurons first .. last-1: views where possible, valid until it goes on.

        Unless `settle` has been called, P is as it was last written, and of a full matrix the lower
        triangle counts. A network without targets has no P; the block then has none.
        """

    @abstractmethod
    def load_block(self, first: int, block: Block) -> None:
        """Take w and P of the neurons from `first` on.

        Exactly, where the block has the trainer's storage and precision; otherwise rounded.
        """

    # Defaults: exact for a trainer that keeps nothing pending and computes on the host.

    def record_spikes(self, step: int, spiked: NDArray[np.bool_]) -> None:
        """Count the spikes of a step, and keep those of the neurons that are recorded.

        For a trainer that computes on the host: it calls this in each step, and overrides neither
        `spike_counts` nor `recorded_spikes`.

        Parameters
        ----------
        step : int
        spiked : ndarray of bool, shape (N,)
        """
        self._counts += spiked
        neurons = self.record[spiked[self.record]]
        if len(neurons):
            steps = np.full(len(neurons), step, np.int32)
            self._recorded.append(SpikeTrain(steps, neurons.astype(np.int32)))

    def spike_counts(self) -> NDArray[np.int64]:
        """Spikes of each neuron in this trial so far, (N,)."""
        return self._counts

    def recorded_spikes(self) -> SpikeTrain:
        """Spikes in this trial so far of the neurons named in `begin_trial`."""
        return SpikeTrain.join(self._recorded)

    def synchronize(self) -> None:  # noqa: B027
        """Wait until everything that was started has been done."""

    def settle(self) -> None:  # noqa: B027
        """Apply every pending update to P, and fill in entries that updates leave out."""

    def gain(self) -> Floats | None:
        """g of each neuron's last update in this trial, (N,), or None where it is not kept."""
        return None

    def diagonal(self, first: int, last: int) -> Floats:
        """Diagonal of P of the neurons first .. last-1, (B, n), as it was last written."""
        return diagonal(self.block(first, last))

    def weights(self) -> Floats:
        """A copy of w, (N, n)."""
        return self.block(0, self.problem.neurons).w.copy()

    def state(self) -> State:
        """Copies of w and P."""
        blocks = self.blocks(BLOCK)
        w, P = zip(*((block.w.copy(), widened(block).copy()) for block in blocks), strict=True)
        return State(np.concatenate(w), np.concatenate(P))

    def restore(self, state: State) -> None:
        """Take w and P from a state in any storage and precision."""
        for first in range(0, self.problem.neurons, BLOCK):
            part = slice(first, first + BLOCK)
            P = state.P[part]
            self.load_block(first, Block(state.w[part], P, np.ones(len(P), P.dtype), P.dtype.name))

    def blocks(self, size: int) -> Iterator[Block]:
        """The settled state in blocks of `size` neurons; each is valid until the next is requested."""
        self.settle()
        N = self.problem.neurons
        for first in range(0, N, size):
            yield self.block(first, min(first + size, N))

    def load_blocks(self, blocks: Iterable[tuple[int, Block]]) -> None:
        """Take w and P of all neurons from blocks: (first neuron, block)."""
        for first, block in blocks:
            self.load_block(first, block)

    def clear_sums(self, rows: int) -> None:
        """Start to sum currents in so many rows, (rows, N), in the precision of the currents."""
        self._sums = np.zeros((rows, self.problem.neurons), self.options.precision)

    def add_currents(self, row: int, *, plastic_only: bool) -> None:
        """Add u_bal + u_P after the last step, or u_P alone, to a row."""
        u_bal, u_P = self.currents()
        self._sums[row] += u_P
        if not plastic_only:
            self._sums[row] += u_bal

    def current_sums(self) -> Floats:
        """The sums on the host, (rows, N), which the caller may keep."""
        return self._sums

    def update_cost(self, spiked: float) -> Cost | None:
        """What one update of one neuron costs, by count; None where that is not known.

        Parameters
        ----------
        spiked : float
            Inputs that have spiked since the last update, on average.
        """
        return plain_cost(self.problem.n, self.options) if self.options.algorithm == "plain" else None
