"""Who projects to whom, as descriptions that can be drawn whole or for a range of neurons.

In: the network's parameters and a seed.  Out: index arrays and weights.  Knows the configuration and the streams; knows
no backend.

Excitatory neurons are 0 .. Ne-1, inhibitory ones Ne .. N-1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench.streams import Purpose, distinct_integers

__all__ = ["PlasticInputs", "PlasticOutputs", "StaticSynapses"]


@dataclass(frozen=True)
class StaticSynapses:
    """Static synapses: each neuron projects to `outputs` distinct others, never to itself (model section 1).

    Parameters
    ----------
    neurons : int
        N.
    excitatory : int
        Ne.
    outputs : int
        2 K, targets of each neuron.
    weights : ((float, float), (float, float))
        weights[pre][post] with 0 for excitatory and 1 for inhibitory, in units of (threshold - reset) times ms.
    seed : int
    own_weights : ndarray, shape (N, 2 K), or None
        A weight of each synapse's own, in the order of `targets()`, in place of `weights`.
    """

    neurons: int
    excitatory: int
    outputs: int
    weights: tuple[tuple[float, float], tuple[float, float]]
    seed: int
    own_weights: NDArray[np.float64] | None = None

    def targets(self, first: int = 0, last: int | None = None) -> NDArray[np.int32]:
        """Post-synaptic neurons of the neurons first .. last-1, in rising order: (last - first, outputs)."""
        rows = np.arange(first, self.neurons if last is None else last, dtype=np.int64)
        others = distinct_integers(
            self.seed, Purpose.STATIC_OUTPUTS, rows=rows, count=self.outputs, below=self.neurons - 1
        )
        others += others >= rows[:, None]  # skip the neuron itself
        return others

    def target_weights(self, targets: NDArray[np.int32]) -> NDArray[np.float64]:
        """The weight of each synapse of all `targets()`, (N, outputs)."""
        if self.own_weights is not None:
            return self.own_weights
        pre = np.arange(self.neurons) >= self.excitatory
        post = (targets >= self.excitatory).astype(int)
        by_population: NDArray[np.float64] = np.array(self.weights, np.float64)
        weights: NDArray[np.float64] = by_population[pre.astype(int)[:, None], post]
        return weights


class PlasticOutputs(NamedTuple):
    """The recurrent plastic synapses seen from the pre-synaptic side.

    The synapses of neuron j are at start[j] .. start[j+1]-1.
    """

    start: NDArray[np.int64]
    """(N + 1,)"""
    post: NDArray[np.int32]
    """(N * 2L,), post-synaptic neuron, rising for each pre-synaptic neuron."""
    column: NDArray[np.int32]
    """(N * 2L,), which of the post-synaptic neuron's plastic weights: a column of w."""


@dataclass(frozen=True)
class PlasticInputs:
    """Plastic inputs of each neuron: LX feed-forward ones, then L excitatory, then L inhibitory neurons.

    Parameters
    ----------
    neurons : int
        N.
    feedforward : int
        LX.
    per_population : int
        L.
    initial_weight : float
        Initial weight from excitatory neurons, and minus that from inhibitory ones, (threshold - reset) times ms.
    pools : (ndarray, ndarray)
        Neurons of the excitatory and of the inhibitory population that inputs are drawn from, in rising order.
    seed : int
    own_weights : ndarray, shape (N, n), or None
        Initial weights of each neuron's own, as of a trained network.
    """

    neurons: int
    feedforward: int
    per_population: int
    initial_weight: float
    pools: tuple[NDArray[np.int32], NDArray[np.int32]]
    seed: int
    own_weights: NDArray[np.floating[Any]] | None = None

    @property
    def n(self) -> int:
        """Plastic inputs a neuron: LX + 2 L."""
        return self.feedforward + 2 * self.per_population

    def sources(self, first: int = 0, last: int | None = None) -> NDArray[np.int32]:
        """Pre-synaptic neurons of the neurons first .. last-1, (last - first, 2 L): columns LX .. n-1 of x and w."""
        rows = np.arange(first, self.neurons if last is None else last, dtype=np.int64)
        drawn = [
            pool[distinct_integers(self.seed, purpose, rows=rows, count=self.per_population, below=len(pool))]
            for pool, purpose in zip(self.pools, (Purpose.PLASTIC_EXCITATORY, Purpose.PLASTIC_INHIBITORY), strict=True)
        ]
        return np.ascontiguousarray(np.concatenate(drawn, axis=1))

    @cached_property
    def initial_weights(self) -> NDArray[np.floating[Any]]:
        """Initial weights: `own_weights` (N, n), or the same for each neuron, (n,): 0 from feed-forward, + E, - I."""
        if self.own_weights is not None:
            return self.own_weights
        L = self.per_population
        return np.concatenate(
            [np.zeros(self.feedforward), np.full(L, self.initial_weight), np.full(L, -self.initial_weight)]
        )

    def outputs(self, sources: NDArray[np.int32]) -> PlasticOutputs:
        """Turn all of `sources()` round: a counting sort by pre-synaptic neuron."""
        from scipy import sparse  # takes long to import, and compiled backends do without

        N, width = sources.shape
        columns = np.broadcast_to(np.arange(self.feedforward, self.n, dtype=np.int32), sources.shape)
        start = np.arange(N + 1, dtype=np.int64) * width
        by_post = sparse.csr_array((columns.ravel(), sources.ravel(), start), shape=(N, N))
        by_pre = by_post.tocsc()
        return PlasticOutputs(by_pre.indptr.astype(np.int64), by_pre.indices.astype(np.int32), by_pre.data)


def plastic_pools(
    neurons: int, excitatory: int, frac: float, rates_hz: NDArray[np.float64] | None
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The `frac` fraction of each population with the highest spontaneous rates (N,), in rising order of neuron."""
    pools = []
    for low, high in ((0, excitatory), (excitatory, neurons)):
        members = np.arange(low, high, dtype=np.int32)
        if frac < 1:
            if rates_hz is None:
                raise ValueError("frac < 1 needs the spontaneous rates")
            by_rate = np.argsort(-rates_hz[low:high], kind="stable")
            members = np.sort(members[by_rate[: math.floor(frac * excitatory)]])
        pools.append(members)
    return pools[0], pools[1]
