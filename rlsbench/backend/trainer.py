"""The base class of trainers: a few abstract operations, and defaults for the rest.

In: a `Problem` and `Options`.  Out: currents, spikes, w and what the rule keeps, as host arrays.

A trainer owns the arrays of a network, on the host or on a device. The core owns the clock and the
loop over trials, learning bins and steps, and does all the timing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend.capabilities import Options
from rlsbench.backend.cost import Cost, mean_cost, plain_cost
from rlsbench.backend.spikes import SpikeTrain
from rlsbench.backend.state import Block, Kept, State
from rlsbench.problem import Problem
from rlsbench.rules import NumpyRule
from rlsbench.targets import ShiftedTargets, Targets

__all__ = ["Trainer"]

Floats = NDArray[np.floating[Any]]

BLOCK = 1024  # neurons that `state` and `restore` copy at once


class Trainer(ABC):
    """A network in memory that can run and learn.

    For each trial the core calls `begin_trial`, then `advance` for consecutive ranges of steps that
    cover the trial, and `learn` before each learning step (docs/model.md section 2, step 1).
    `currents`, `spike_counts` and `recorded_spikes` may be called at any time. Weights, and what
    the rule keeps, carry over from trial to trial.

    Parameters
    ----------
    problem : Problem
    options : Options
        The options in use, including the form of the update; "auto" becomes "plain".
    notes : sequence of str
        Remarks for the user about choices that the trainer made; usually empty.

    If the network is spread over ranks (feature "ranks"), the trainer has the arrays of
    `problem.own`, and takes what differs from neuron to neuron from `problem.own_part`. Numbers of
    sources, spikes and recorded neurons are those in the whole network, and so are the arguments of
    `shift_targets` and `set_external` of all neurons; every other number of a neuron below counts
    from the first of its own.
    """

    def __init__(self, problem: Problem, options: Options, notes: Sequence[str] = ()) -> None:
        plain = options.algorithm == "auto"
        self.options = replace(options, algorithm="plain") if plain else options
        self.problem = problem
        self.notes = notes
        self.own = problem.own  #: the neurons whose arrays the trainer has: all, or those of a rank
        self.neurons = self.own.stop - self.own.start  #: their number, N where shapes are given below
        self.targets: Targets | None = None if problem.targets is None else problem.own_targets(problem.targets)
        self._sums: Floats = np.zeros((0, self.neurons), options.precision)
        self._counts: NDArray[np.int64] = np.zeros(0, np.int64)
        self._recorded: list[SpikeTrain] = []

    @abstractmethod
    def begin_trial(self, trial: int, task: int, record: NDArray[np.int64]) -> None:
        """Reset the network to t = 0 of a trial.

        The base class stores the arguments as `trial`, `task` and `record`, and clears the spikes
        of `record_spikes`; an override that records with it calls this first.

        Parameters
        ----------
        trial : int
            Number of the trial, 0 for the initial one; selects initial voltages, noise and
            feed-forward spikes.
        task : int
            Row of the stimulus, the feed-forward rates and the targets.
        record : ndarray of int, shape (R,), sorted
            Neurons whose spikes `recorded_spikes` returns.
        """
        self.trial, self.task, self.record = trial, task, record
        self._counts = np.zeros(self.neurons, np.int64)
        self._recorded = []

    @abstractmethod
    def advance(self, first: int, last: int, spikes: SpikeTrain | None = None) -> None:
        """Run the time steps first .. last (1-based, inclusive) without learning.

        Each consists of steps 2 to 8 of docs/model.md section 2.

        Parameters
        ----------
        first, last : int
        spikes : SpikeTrain, optional
            Spikes to replay instead of steps 5 and 6.
        """

    @abstractmethod
    def learn(self, bin: int) -> None:
        """Update w and P towards `self.target_row(bin)` (docs/model.md section 3)."""

    @abstractmethod
    def rls_update(self, x: Floats, u_bal: Floats, f: Floats) -> None:
        """Update w and P from given x (N, n), static currents u_bal (N,) and targets f (N,)."""

    def penalize(self, column: int, strength: float) -> None:
        """Add strength (w_i - w0_i)^2, for i = `column`, to what each neuron's w minimizes.

        w0 are the initial weights. Called between two trials only.
        """
        x = np.zeros((self.neurons, self.problem.n), self.options.precision)
        plastic = self.problem.own_part.plastic
        x[:, column] = np.where(column < plastic.inputs, np.sqrt(strength), 0)
        w0 = np.broadcast_to(plastic.initial_weights, x.shape)[:, column]
        self.rls_update(x, np.zeros(len(x), x.dtype), (np.sqrt(strength) * w0).astype(x.dtype))

    def renew(self, forgetting: float, penalties: Sequence[tuple[int, float]]) -> None:
        """Forget, and add to the penalty of some inputs (docs/model.md section 3.5)."""
        if forgetting < 1:
            self.divide_P(forgetting)
        for column, strength in penalties:
            self.penalize(column, strength)

    def divide_P(self, factor: float) -> None:
        """Divide P by a factor: all data so far, and the initial penalty, count less.

        Called between two trials only.
        """
        for i, block in enumerate(self.blocks(BLOCK)):
            P = block.P.widened()
            divided = Kept(P / P.dtype.type(factor), sizes=block.P.sizes)
            self.load_block(i * BLOCK, Block(block.w.copy(), {"P": divided}))

    @abstractmethod
    def currents(self) -> tuple[Floats, Floats]:
        """u_bal and u_P after the last step, (N,) on the host; valid until the next `advance`."""

    @abstractmethod
    def block(self, first: int, last: int) -> Block:
        """w, and all that the rule declares, of the neurons first .. last-1.

        Views if possible; valid until the next call. Unless `settle` has been called, P lacks
        pending updates, and only the lower triangle of a full matrix is valid. Without targets,
        nothing but w is kept.
        """

    @abstractmethod
    def load_block(self, first: int, block: Block) -> None:
        """Load w and what the rule keeps of consecutive neurons, starting at neuron `first`.

        Exact if the block has the trainer's storage and precision; otherwise P is rounded.
        """

    # The defaults below suit a trainer on the host without pending updates.

    def shift_targets(self, offset: NDArray[np.float64]) -> None:
        """Add an offset (N,) to the targets of the problem in later updates (section 3.4).

        The offset replaces that of earlier calls. A trainer that keeps copies of targets overrides
        this, calls it first, and adds the offset to what it keeps.
        """
        assert self.problem.targets is not None
        self.targets = self.problem.own_targets(ShiftedTargets(self.problem.targets, np.array(offset, np.float64)))

    def set_external(self, current: NDArray[np.float64]) -> None:
        """Replace X_bal, (N,), the external current of the problem, in later trials (section 3.8).

        A trainer that keeps a copy of X_bal overrides this, calls it first, and replaces the copy.
        """
        self.problem = replace(self.problem, external_current=np.array(current, np.float64))

    def target_row(self, bin: int) -> NDArray[np.float64]:
        """Targets f of all neurons in a bin of the current task, (N,), including the offset."""
        assert self.targets is not None
        return self.targets.row(self.task, bin)

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

    def exchange_seconds(self) -> float | None:
        """Seconds of this trial so far in which a rank exchanged spikes, or waited for others to.

        None without ranks, or if it is not measured.
        """
        return None

    def synchronize(self) -> None:  # noqa: B027
        """Wait until all operations that were launched have completed."""

    def settle(self) -> None:  # noqa: B027
        """Apply all pending updates to P, and fill in the entries that updates skip."""

    def gain(self) -> Floats | None:
        """g of each neuron's last update in this trial, (N,), or None if it is not stored."""
        return None

    def voltages(self) -> Floats | None:
        """Membrane voltages after the last step, (N,) on the host, or None if they are not told."""
        return None

    def diagonal(self, first: int, last: int) -> Floats:
        """Diagonals of the rule's positive definite matrix, (B, n), without pending updates.

        Where sizes vary, n is the largest of these neurons, and rows end in zeros.
        """
        assert self.problem.definite is not None
        return self.block(first, last).kept[self.problem.definite].diagonal()

    def weights(self) -> Floats:
        """A copy of w, (N, n)."""
        return self.block(0, self.neurons).w.copy()

    def state(self) -> State:
        """Copies of w and what the rule keeps."""
        parts = [
            (block.w.copy(), {name: kept.widened().copy() for name, kept in block.kept.items()})
            for block in self.blocks(BLOCK)
        ]
        w, kept = zip(*parts, strict=True)
        joined = {name: np.concatenate([part[name] for part in kept]) for name in kept[0]}
        plastic = self.problem.own_part.plastic
        return State(np.concatenate(w), joined, plastic.inputs if plastic.varies else None)

    def restore(self, state: State) -> None:
        """Load w and what the rule keeps from a state in any storage and precision."""
        N = self.neurons
        for first in range(0, N, BLOCK):
            last = min(first + BLOCK, N)
            kept = {name: Kept(array, sizes=state.sizes).part(first, last) for name, array in state.kept.items()}
            self.load_block(first, Block(state.w[first:last], kept))

    def blocks(self, size: int) -> Iterator[Block]:
        """Settle and yield blocks of `size` neurons; each is valid until the next is requested."""
        self.settle()
        N = self.neurons
        for first in range(0, N, size):
            yield self.block(first, min(first + size, N))

    def load_blocks(self, blocks: Iterable[tuple[int, Block]]) -> None:
        """Load the state of all neurons from pairs of a first neuron and a block."""
        for first, block in blocks:
            self.load_block(first, block)

    def sum_currents(self, rows: NDArray[np.int64], every: int, *, plastic_only: bool) -> bool:
        """Add currents to sums while advancing, until the trial ends, if that is possible.

        Parameters
        ----------
        rows : ndarray of int
            The row that the currents after step i x every are added to, by i; negative for none.
        every : int
            Steps from one sample to the next.
        plastic_only : bool
            Add u_P alone, in place of u_bal + u_P.

        Returns
        -------
        bool
            False, as here, if trials are to be cut at each sample, with `add_currents` after each.
        """
        return False

    def clear_sums(self, rows: int) -> None:
        """Reset the sums of currents to zeros, (rows, N), in the precision of the currents."""
        self._sums = np.zeros((rows, self.neurons), self.options.precision)

    def add_currents(self, row: int, *, plastic_only: bool) -> None:
        """Add u_bal + u_P after the last step, or u_P alone, to a row of the sums."""
        u_bal, u_P = self.currents()
        self._sums[row] += u_P
        if not plastic_only:
            self._sums[row] += u_bal

    def current_sums(self) -> Floats:
        """The sums of currents, (rows, N), on the host; the caller may keep the array."""
        return self._sums

    def update_cost(self, spiked: float) -> Cost | None:
        """Counted cost of one RLS update of one neuron; None if unknown, or for another rule.

        Parameters
        ----------
        spiked : float
            Mean number of inputs of a neuron that have spiked since the last update.
        """
        plain = self.options.algorithm == "plain" and not isinstance(self.problem.learning, NumpyRule)
        return mean_cost(self.problem.own_part.plastic.inputs, lambda n: plain_cost(n, self.options)) if plain else None
