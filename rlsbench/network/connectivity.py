"""Static and plastic synapses, as descriptions that can be drawn whole or for a range of neurons.

In: populations, numbers of synapses, weights and, for each draw, a seed.  Out: arrays of indices
and weights.  Knows the random streams; knows no backend.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench.configuration.connectivity import MAX_DELAY
from rlsbench.network.edges import Edges
from rlsbench.network.populations import SIGNS, Populations
from rlsbench.streams import Purpose, distinct_integers


@dataclass(frozen=True)
class StaticSynapses:
    """Static synapses from each neuron onto `outputs` others (docs/model.md section 1)."""

    populations: Populations
    outputs: int  #: 2 K, the number of synapses of each presynaptic neuron
    #: weights[pre][post] by number of the population, (P, P), in (threshold - reset) ms
    weights: tuple[tuple[float, ...], ...]
    own_weights: NDArray[np.float64] | None = None  #: (N, 2 K), as `targets()`, instead of `weights`

    @property
    def neurons(self) -> int:
        """N."""
        return self.populations.neurons

    def targets(self, seed: int, first: int = 0, last: int | None = None) -> NDArray[np.int32]:
        """Postsynaptic neurons of the neurons first .. last-1, or of all, (last - first, outputs).

        Each row ascends; `seed` is that of the problem.
        """
        rows = np.arange(first, self.neurons if last is None else last, dtype=np.int64)
        others = distinct_integers(seed, Purpose.STATIC_OUTPUTS, rows=rows, count=self.outputs, below=self.neurons - 1)
        others += others >= rows[:, None]  # skip the neuron itself
        return others

    @property
    def by_sign(self) -> bool:
        """Whether weights depend on two populations only, an excitatory and an inhibitory one."""
        return self.own_weights is None and self.populations.ordered

    def target_weights(self, targets: NDArray[np.int32], first: int = 0) -> NDArray[np.float64]:
        """The weights of the synapses `targets` (B, outputs) of the neurons from `first` on."""
        if self.own_weights is not None:
            return self.own_weights[first : first + len(targets)]
        pre = self.populations.index(np.arange(first, first + len(targets)))
        weights: NDArray[np.float64] = np.array(self.weights, np.float64)[pre[:, None], self.populations.index(targets)]
        return weights


class InDegrees(NamedTuple):
    """What every rank knows of given plastic inputs, of which it has those of its own neurons."""

    degree: NDArray[np.int64]  #: recurrent inputs of each neuron of the network, (N,)
    delays: NDArray[np.int64]  #: those that occur in the network, ascending, steps


class PlasticOutputs(NamedTuple):
    """Plastic synapses sorted by presynaptic neuron; neuron j has start[j] .. start[j+1]-1.

    Where delays differ, they are sorted by the delay lines of `PlasticInputs.lines`, and j is one.
    """

    start: NDArray[np.int64]  #: (N + 1,), or one more than there are lines
    post: NDArray[np.int32]  #: postsynaptic neuron, (synapses,), ascending for each presynaptic neuron
    column: NDArray[np.int32]  #: of the synapse in the weights w of the postsynaptic neuron, (synapses,)


@dataclass(frozen=True)
class PlasticInputs:
    """Plastic inputs of each neuron (docs/model.md section 1).

    Their order is LX feed-forward inputs, L excitatory and L inhibitory neurons. A neuron may be
    drawn as its own input. Of `given` ones, which vary in number, the order is that of the neurons,
    and arrays of n columns are padded at the end of a row. Rows are those of all neurons, or of the
    consecutive ones that `part` was asked for.
    """

    populations: Populations
    feedforward: int  #: LX
    per_population: int  #: L
    initial_weight: float  #: absolute value of the recurrent weights, in (threshold - reset) ms
    pools: tuple[NDArray[np.int32], NDArray[np.int32]]  #: sources, ascending; see `plastic_pools`
    own_weights: NDArray[np.floating[Any]] | None = None  #: instead of initial ones, (N, n)
    given: Edges | None = None  #: recurrent inputs by postsynaptic neuron, instead of drawn ones
    rows: range | None = None  #: the postsynaptic neurons; None: all
    everyone: InDegrees | None = None  #: where `given` has no more than `rows`, that of all neurons

    @property
    def neurons(self) -> int:
        """N, those of the whole network."""
        return self.populations.neurons

    @cached_property
    def of(self) -> range:
        """The postsynaptic neurons."""
        return range(self.neurons) if self.rows is None else self.rows

    def part(self, first: int, last: int) -> PlasticInputs:
        """The inputs of the neurons first .. last-1 of these; n stays that of all."""
        if self.of == range(first, last):
            return self
        a, b = first - self.of.start, last - self.of.start
        own = None if self.own_weights is None else self.own_weights[a:b]
        given, everyone = self.given, self.everyone
        if given is not None:
            everyone, given = self.in_degrees, given.part(a, b)
        return replace(self, own_weights=own, given=given, rows=range(first, last), everyone=everyone)

    @cached_property
    def in_degrees(self) -> InDegrees:
        """What is known of all neurons."""
        if self.everyone is not None:
            return self.everyone
        if self.given is None:
            return InDegrees(np.full(self.neurons, 2 * self.per_population), np.ones(1, np.int64))
        return InDegrees(np.diff(self.given.start), self.given.delays())

    @property
    def n(self) -> int:
        """Plastic inputs of each neuron, LX + 2 L, or the most that a neuron has."""
        if self.given is None:
            return self.feedforward + 2 * self.per_population
        return self.feedforward + int(self.in_degrees.degree.max(initial=0))

    @property
    def varies(self) -> bool:
        """Whether the number of inputs varies from neuron to neuron."""
        return self.given is not None

    @property
    def degree(self) -> NDArray[np.int64]:
        """Recurrent inputs of each neuron, (N,)."""
        return self.in_degrees.degree[self.of.start : self.of.stop]

    @property
    def delays(self) -> NDArray[np.int64]:
        """The delays that occur, ascending, steps; drawn inputs have a delay of one step."""
        return self.in_degrees.delays

    @property
    def inputs(self) -> NDArray[np.int64]:
        """n_c, the plastic inputs of each neuron, (N,)."""
        return self.feedforward + self.degree

    @property
    def everyones_inputs(self) -> NDArray[np.int64]:
        """n_c of all neurons of the network, of which these may be a part."""
        return self.feedforward + self.in_degrees.degree

    @property
    def signs(self) -> NDArray[np.int8]:
        """Signs of recurrent inputs, 1 or -1, and 0 for feed-forward ones.

        (n,) where all neurons have the same; (N, n) where they vary, and 0 beyond a neuron's own.
        """
        if self.given is not None:
            return self._padded(self.populations.signs[self.populations.index(self.given.index)])
        return np.repeat(np.array([0, 1, -1], np.int8), [self.feedforward, self.per_population, self.per_population])

    def sources(self, seed: int, first: int | None = None, last: int | None = None) -> NDArray[np.int32]:
        """Presynaptic neurons of the neurons first .. last-1, or of all, (last - first, 2 L).

        These are the columns LX .. n-1 of x and w; `seed` is that of the problem. Where the numbers
        of inputs vary, rows are as long as the longest of all, and end in -1.
        """
        if self.given is not None:
            return self._padded(self.given.index, -1, first, last)[:, self.feedforward :]
        first, last = self._range(first, last)
        rows = np.arange(first, last, dtype=np.int64)
        drawn = [
            pool[distinct_integers(seed, purpose, rows=rows, count=self.per_population, below=len(pool))]
            for pool, purpose in zip(self.pools, (Purpose.PLASTIC_EXCITATORY, Purpose.PLASTIC_INHIBITORY), strict=True)
        ]
        return np.ascontiguousarray(np.concatenate(drawn, axis=1))

    def lines(self, seed: int, first: int | None = None, last: int | None = None) -> NDArray[np.int32]:
        """The same as `sources`, by delay line: these are the spikes that reach each synapse.

        Of C delays, line j C + i has the spikes of neuron j, delays[i] steps later. With one delay,
        lines are neurons.
        """
        lines = self.sources(seed, first, last)
        if self.given is not None and len(self.delays) > 1:
            number, there = np.zeros(MAX_DELAY + 1, np.int32), lines >= 0
            number[self.delays] = np.arange(len(self.delays))
            delays = np.ones(len(self.given.index), np.uint8) if self.given.delay is None else self.given.delay
            delay = self._padded(delays, 0, first, last)[:, self.feedforward :]
            lines[there] = lines[there] * len(self.delays) + number[delay[there]]
        return lines

    def _range(self, first: int | None, last: int | None) -> tuple[int, int]:
        return self.of.start if first is None else first, self.of.stop if last is None else last

    def _padded(
        self, values: NDArray[Any], filling: float = 0, first: int | None = None, last: int | None = None
    ) -> NDArray[Any]:
        """Values of given inputs as rows of n: of the neurons first .. last-1, or of all."""
        assert self.given is not None
        first, last = self._range(first, last)
        start = self.given.start[first - self.of.start : last + 1 - self.of.start]
        rows = np.full((len(start) - 1, self.n), filling, values.dtype)
        column = np.arange(self.n) - self.feedforward
        rows[(column >= 0) & (column < np.diff(start)[:, None])] = values[start[0] : start[-1]]
        return rows

    @property
    def initial_weights(self) -> NDArray[np.floating[Any]]:
        """`own_weights` (N, n), or for every neuron (n,): 0 from feed-forward inputs, + E, - I.

        Where inputs vary, (N, n), and 0 beyond those of a neuron.
        """
        if self.own_weights is not None:
            return self.own_weights
        if self.given is not None:
            weight = self.given.weight
            return self.signs * self.initial_weight if weight is None else self._padded(weight)
        recurrent = [np.full(self.per_population, sign * self.initial_weight) for sign in SIGNS]
        return np.concatenate([np.zeros(self.feedforward), *recurrent])

    def outputs(self, sources: NDArray[np.int32]) -> PlasticOutputs:
        """Transpose all of `sources()`, or of `lines()`: a counting sort by presynaptic neuron."""
        from scipy import sparse  # slow import, which compiled backends do not need

        there, shape = sources >= 0, (len(sources), self.neurons * len(self.delays))
        columns = np.broadcast_to(np.arange(self.feedforward, self.n, dtype=np.int32), sources.shape)
        start = np.concatenate([[0], np.cumsum(self.degree)])
        by_post = sparse.csr_array((columns[there], sources[there], start), shape=shape)
        by_pre = by_post.tocsc()
        return PlasticOutputs(by_pre.indptr.astype(np.int64), by_pre.indices.astype(np.int32), by_pre.data)


def plastic_pools(
    populations: Populations, frac: float = 1.0, rates_hz: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The excitatory and the inhibitory neurons from which plastic inputs are drawn, ascending.

    If frac < 1, the two are those with the highest spontaneous rates, `rates_hz` (N,), as many of
    each sign as this fraction of the fewer ones; otherwise they are all neurons.
    """
    excitatory, inhibitory = (populations.members(sign) for sign in SIGNS)
    if frac >= 1:
        return excitatory, inhibitory
    if rates_hz is None:
        raise ValueError("frac < 1 requires the spontaneous rates")
    count = math.floor(frac * min(len(excitatory), len(inhibitory)))
    descending = (members[np.argsort(-rates_hz[members], kind="stable")] for members in (excitatory, inhibitory))
    first, second = (np.sort(members[:count]) for members in descending)
    return first, second
