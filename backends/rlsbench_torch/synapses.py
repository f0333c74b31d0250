"""Synapses as rectangular tables by pre-synaptic neuron.

In: a `Problem` and the sources of its plastic inputs.  Out: tables for `rlsbench_torch.delivery`.

The destinations of synapses are entries of one array of 3 N + 1 numbers: static input from
excitatory neurons, static input from inhibitory neurons, plastic input, and one entry that is never
read. All neurons have the same number of static targets, so those form a rectangle; plastic outputs
are padded with synapses of weight 0 onto the last entry.
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
    dtype : torch.dtype
        Of separate static weights.
    device : torch.device
    sources : ndarray of int32, shape (N, 2 L)
        Pre-synaptic neurons of the recurrent plastic inputs.
    spare : bool
        Give tables a row for neuron N, without synapses, which pads lists of spikes.

    Attributes
    ----------
    static : Tensor of int32, shape (N, 2 K), or None
        Destinations of static synapses.
    static_weights : Tensor, shape (N, 2 K), or None
        Their weights where each has its own.
    ones : Tensor, shape (1,)
        What a static synapse adds where its weight is multiplied in later.
    post, weight : Tensor of int32, shape (N, most outputs), or None
        Destinations of plastic synapses; their entries in w, row by row.
    """

    def __init__(
        self,
        problem: Problem,
        dtype: torch.dtype,
        device: torch.device,
        sources: NDArray[np.int32],
        *,
        spare: bool,
    ) -> None:
        N, n = problem.neurons, problem.n
        nowhere = 3 * N
        self.ones = torch.ones(1, dtype=dtype, device=device)
        self.static: torch.Tensor | None = None
        self.static_weights: torch.Tensor | None = None
        self.post: torch.Tensor | None = None
        self.weight: torch.Tensor | None = None
        if problem.static:
            targets = problem.static.targets(problem.seed)
            targets[problem.excitatory :] += N
            self.static = _table(targets, nowhere, spare).to(device)
            if problem.static.own_weights is not None:
                weights = torch.from_numpy(problem.static.own_weights).to(dtype)
                self.static_weights = _table(weights.numpy(), 0, spare).to(device)
        if sources.size:
            start, post, column = problem.plastic.outputs(sources)
            outputs = np.diff(start)
            exists = np.arange(outputs.max()) < outputs[:, None]
            destination = np.full(exists.shape, nowhere, np.int32)
            destination[exists] = 2 * N + post
            weight = np.full(exists.shape, N * n, np.int32)
            weight[exists] = post.astype(np.int64) * n + column
            self.post = _table(destination, nowhere, spare).to(device)
            self.weight = _table(weight, N * n, spare).to(device)


def _table(rows: NDArray[Any], filling: int, spare: bool) -> torch.Tensor:
    """Rows as a tensor, with one more row of `filling` if `spare`."""
    if spare:
        rows = np.concatenate([rows, np.full((1, rows.shape[1]), filling, rows.dtype)])
    return torch.from_numpy(rows)
