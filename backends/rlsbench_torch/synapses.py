"""Synapses as rectangular tables by pre-synaptic neuron, and the delivery of spikes.

In: a `Problem`, the sources of its plastic inputs, weights w, and the neurons that spiked.  Out:
sums by post-synaptic neuron (docs/model.md section 2, step 7).

The destinations of synapses are entries of one array of 3 N + 1 numbers: static input from
excitatory neurons, static input from inhibitory neurons, plastic input, and one entry that is never
read. All neurons have the same number of static targets, so those form a rectangle; plastic outputs
are padded with synapses of weight 0 onto the last entry.

A static synapse adds its weight or, where the signs of the two neurons decide on it, 1, and the
simulation multiplies by the weight later.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlsbench.problem import Problem


def counts_static(problem: Problem) -> bool:
    """Whether a static synapse adds 1."""
    return problem.static is not None and problem.static.by_sign and problem.background is None


class Synapses:
    """Static and plastic synapses of all neurons.

    w (N n + 1,) has the plastic weights, row by row, and a 0; `sources` (N, 2 L) the pre-synaptic
    neurons of recurrent plastic inputs. `spare` gives tables a row for neuron N, without synapses,
    which pads lists of spikes.
    """

    def __init__(self, problem: Problem, w: Tensor, sources: NDArray[np.int32], *, spare: bool) -> None:
        N, n = problem.neurons, problem.n
        nowhere = 3 * N
        self.w = w
        self.ones = torch.ones(1, dtype=w.dtype, device=w.device)
        self.static: Tensor | None = None  # destinations, (N, 2 K)
        self.static_weights: Tensor | None = None  # (N, 2 K), unless they add 1
        self.post: Tensor | None = None  # destinations of plastic synapses, (N, most outputs)
        self.weight: Tensor | None = None  # their entries in w
        if problem.static:
            targets = problem.static.targets(problem.seed)
            if not counts_static(problem):
                weights = torch.from_numpy(problem.static.target_weights(targets)).to(w.dtype)
                self.static_weights = _table(weights.numpy(), 0, spare).to(w.device)
            targets[~problem.populations.excitatory(np.arange(N))] += N
            self.static = _table(targets, nowhere, spare).to(w.device)
        if sources.size:
            start, post, column = problem.plastic.outputs(sources)
            outputs = np.diff(start)
            exists = np.arange(outputs.max()) < outputs[:, None]
            destination = np.full(exists.shape, nowhere, np.int32)
            destination[exists] = 2 * N + post
            weight = np.full(exists.shape, N * n, np.int32)
            weight[exists] = post.astype(np.int64) * n + column
            self.post = _table(destination, nowhere, spare).to(w.device)
            self.weight = _table(weight, N * n, spare).to(w.device)

    def deliver(self, arriving: Tensor, spiked: Tensor) -> None:
        """Add what the neurons `spiked` (S,) send to their targets to `arriving` (3 N + 1,)."""
        if self.static is not None:
            targets = self.static.index_select(0, spiked).view(-1)
            if self.static_weights is None:
                arriving.index_add_(0, targets, self.ones.expand(len(targets)))
            else:
                arriving.index_add_(0, targets, self.static_weights.index_select(0, spiked).view(-1))
        if self.post is not None and self.weight is not None:
            weights = self.w.index_select(0, self.weight.index_select(0, spiked).view(-1))
            arriving.index_add_(0, self.post.index_select(0, spiked).view(-1), weights)


def _table(rows: NDArray[Any], filling: int, spare: bool) -> Tensor:
    """Rows as a tensor, with one more row of `filling` if `spare`."""
    if spare:
        rows = np.concatenate([rows, np.full((1, rows.shape[1]), filling, rows.dtype)])
    return torch.from_numpy(rows)
