"""Synapses as tables by pre-synaptic neuron, and what spikes add through them.

In: a `Problem`, weights w.  Out: sums by post-synaptic neuron.  Knows nothing of time.

What arrives is added to one array of 3 N + 1 numbers: static input from excitatory neurons, static input from
inhibitory neurons, plastic input, and a last entry that nobody reads.  Static synapses add 1 (or a weight of their
own): their weight depends on the two populations alone, so it is multiplied in later.  All neurons have as many static
targets, so these are a rectangle; plastic outputs are padded to one with synapses of weight 0 onto the last entry.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlsbench.problem import Problem

__all__ = ["Synapses"]


class Synapses:
    """Static and plastic synapses of all neurons.

    Parameters
    ----------
    problem : Problem
    w : Tensor, shape (N n + 1,)
        The trainer's plastic weights, row by row, and a 0.
    sources : ndarray of int32, shape (N, 2 L)
        Pre-synaptic neurons of the recurrent plastic inputs.
    spare : bool
        Give tables a row for a neuron N, without synapses, that pads lists of spikes.
    """

    def __init__(self, problem: Problem, w: torch.Tensor, sources: NDArray[np.int32], *, spare: bool) -> None:
        N, Ne, n, device = problem.neurons, problem.excitatory, problem.n, w.device
        self.w, self.N = w, N
        nowhere = 3 * N
        self.static = self.own_weights = None
        if problem.static:
            targets = problem.static.targets(problem.seed)
            targets[Ne:] += N  # those of inhibitory neurons count apart
            self.static = _table(targets, nowhere, spare).to(device)
            self.ones = torch.ones(1, dtype=w.dtype, device=device)
            if problem.static.own_weights is not None:
                own = problem.static.own_weights.astype(str(w.dtype).removeprefix("torch."))
                self.own_weights = _table(own, 0, spare).to(device)
        self.post = None
        if sources.size:
            start, post, column = problem.plastic.outputs(sources)
            outputs = np.diff(start)
            there = np.arange(outputs.max()) < outputs[:, None]
            destination = np.full(there.shape, nowhere, np.int32)
            destination[there] = 2 * N + post
            weight = np.full(there.shape, N * n, np.int32)
            weight[there] = post.astype(np.int64) * n + column
            self.post = _table(destination, nowhere, spare).to(device)
            self.weight = _table(weight, N * n, spare).to(device)

    def deliver(self, arriving: torch.Tensor, spiked: torch.Tensor) -> None:
        """Add what the neurons `spiked` (S,) send to `arriving` (3 N + 1,)."""
        if self.static is not None:
            targets = self.static.index_select(0, spiked).view(-1)
            if self.own_weights is None:
                arriving.index_add_(0, targets, self.ones.expand(len(targets)))
            else:
                arriving.index_add_(0, targets, self.own_weights.index_select(0, spiked).view(-1))
        if self.post is not None:
            weights = self.w.index_select(0, self.weight.index_select(0, spiked).view(-1))
            arriving.index_add_(0, self.post.index_select(0, spiked).view(-1), weights)


def _table(rows: NDArray[Any], filling: int, spare: bool) -> torch.Tensor:
    """Rows as a tensor, with one more that is `filling` throughout if a spare one is wanted."""
    if spare:
        rows = np.concatenate([rows, np.full((1, rows.shape[1]), filling, rows.dtype)])
    return torch.from_numpy(rows)
