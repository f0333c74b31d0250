"""The update of a rule that is written in NumPy, for any trainer whose arrays are on the host.

In: filtered spikes and currents of the network, targets.  Out: w and what the rule keeps, updated
in place.  Knows `NumpyRule`, but no rule by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from rlsbench.backend.state import Block, Kept
from rlsbench.backend.update import Update
from rlsbench.errors import UnsupportedError
from rlsbench.plugins import blamed, check_shape
from rlsbench.problem import Problem
from rlsbench.rules import PAST, LearningStep, NumpyRule

__all__ = ["RuleUpdate", "keep_signs"]

Floats = NDArray[np.floating[Any]]

MOVED = 1024  # neurons whose past is moved by one step at once
BLOCK_NUMBERS = 2**18  # of the inputs, past inputs and n x n products of a block of neurons


def keep_signs(w: Floats, signs: NDArray[np.int8]) -> None:
    """Set weights w (B, n) to 0 whose sign is not that of `signs` (n,), unless that is 0."""
    w[w * signs < 0] = 0


class RuleUpdate(Update):
    """A rule and what it keeps for each neuron.

    Parameters
    ----------
    problem : Problem
        Its `learning` is a `NumpyRule`.
    w : ndarray, shape (N, n)
        The trainer's weights.
    sources : ndarray of int, shape (N, 2 L)
        Presynaptic neurons of the last 2 L columns of w, in the whole network.
    new : callable
        From the name of an array that `rule_arrays` declares to the array.
    threads : int
    """

    def __init__(
        self,
        problem: Problem,
        w: Floats,
        sources: NDArray[np.int32],
        new: Callable[[str], NDArray[Any]],
        threads: int,
    ) -> None:
        rule = problem.learning
        assert isinstance(rule, NumpyRule)
        self.rule, self.plastic, self.w, self.sources, self.threads = (
            rule,
            problem.own_part.plastic,
            w,
            sources,
            threads,
        )
        clock, n = problem.clock, problem.n
        kept = rule.arrays(n, clock.learn_every * clock.dt_ms, w.dtype)
        self.state = {array.name: new(f"rule.{array.name}") for array in kept}
        for array in self.state.values():
            array.fill(0)
        # A rank has the past of all neurons, and of those the state has its own.
        self.ranks, self.past, self.stale = problem.ranks, self.state.get(PAST), False
        if self.past is not None:
            self.state[PAST] = self.past[problem.own]
        h = 0 if self.past is None else self.past.shape[1]
        size = max(1, BLOCK_NUMBERS // max(1, n * max(h, n)))
        self.blocks = [slice(first, first + size) for first in range(0, len(w), size)]
        self.fixed = ~rule.learns(self.plastic)

    def learn(self, *inputs: Any) -> None:
        """Apply the rule, given r of all neurons, r_X (LX,), u_bal (N,) and targets f (N,)."""
        r, r_X, u_bal, f = inputs
        past = self.past
        if past is not None:
            if self.stale:
                past[:], self.stale = self.ranks.gather(self.state[PAST]), False
            for first in range(0, len(past), MOVED):  # each part is copied before it is moved
                part = past[first : first + MOVED]
                part[:, 1:] = part[:, :-1].copy()
            past[:, 0] = r
        self.change_weights(r, r_X, u_bal, f)

    def rls_update(self, x: Any, u_bal: Any, f: Any) -> None:
        """Not for this rule."""
        raise UnsupportedError(f"an update from given inputs is for RLS, not for {type(self.rule).__name__}")

    def change_weights(self, r: Floats, r_X: Floats, u_bal: Floats, f: Floats) -> None:
        """The rule itself, block by block, after the past has been updated."""
        past = self.past

        def update(block: slice) -> None:
            sources = self.sources[block]
            x = np.concatenate([np.broadcast_to(r_X, (len(sources), len(r_X))), r[sources]], axis=1)
            earlier = x[:, :, None] if past is None else past[sources]
            step = LearningStep(x, u_bal[block], f[block], earlier, self.plastic)
            w = self.w[block]
            with blamed(f"rule {type(self.rule).__name__}"):
                change = self.rule.change({name: array[block] for name, array in self.state.items()}, w, step)
                check_shape("change()", change, w.shape)
            if self.rule.benchmark:
                return
            w += np.where(np.isnan(step.f)[:, None] | self.fixed, 0, change).astype(w.dtype, copy=False)
            if self.rule.keeps_signs:
                keep_signs(w, self.plastic.signs)

        with threadpool_limits(1, "blas"), ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(update, self.blocks))

    def part(self, first: int, last: int) -> Mapping[str, Kept]:
        """The arrays of the rule, for the neurons first .. last-1."""
        return {name: Kept(array[first:last]) for name, array in self.state.items()}

    def set_part(self, first: int, block: Block) -> None:
        """Load the arrays of the rule of consecutive neurons, starting at neuron `first`."""
        for name, array in self.state.items():
            array[first : first + len(block.w)] = block.kept[name].values
        self.stale = self.past is not None and self.ranks.spread  # at the other ranks, too
