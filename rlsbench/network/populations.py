"""The populations of the network, and what is measured of their neurons before learning.

In: the numbers of neurons.  Out: `Populations`, the one definition of each population's range and
sign.  Knows nothing of synapses or backends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Population(NamedTuple):
    """Neurons first .. last-1, whose synapses all have the same sign."""

    name: str
    first: int
    last: int
    sign: Literal[1, -1]

    @property
    def size(self) -> int:
        """Number of neurons."""
        return self.last - self.first

    def members(self) -> NDArray[np.int32]:
        """Indices of the neurons, (size,)."""
        return np.arange(self.first, self.last, dtype=np.int32)


@dataclass(frozen=True)
class Populations:
    """Neurons 0 .. Ne-1 are excitatory, neurons Ne .. N-1 inhibitory (docs/model.md section 1).

    Iteration yields the excitatory, then the inhibitory population.
    """

    neurons: int  #: N
    excitatory_neurons: int  #: Ne

    @property
    def excitatory(self) -> Population:
        """Neurons with positive weights."""
        return Population("excitatory", 0, self.excitatory_neurons, 1)

    @property
    def inhibitory(self) -> Population:
        """Neurons with negative weights."""
        return Population("inhibitory", self.excitatory_neurons, self.neurons, -1)

    def __iter__(self) -> Iterator[Population]:
        return iter((self.excitatory, self.inhibitory))

    def index(self, neurons: ArrayLike) -> NDArray[np.int64]:
        """Population of each of `neurons`: 0 for excitatory, 1 for inhibitory."""
        return (np.asarray(neurons) >= self.excitatory_neurons).astype(np.int64)

    def per_neuron(self, excitatory: float, inhibitory: float) -> NDArray[np.float64]:
        """One value per population, repeated for its neurons, (N,)."""
        return np.repeat([excitatory, inhibitory], [population.size for population in self]).astype(np.float64)


@dataclass(frozen=True)
class InitialTrial:
    """Measurements of the initial trial, without plastic synapses and stimulus, each (N,)."""

    rates_hz: NDArray[np.float64]  #: spontaneous rates over the whole trial, Hz
    mean_current: NDArray[np.float64]  #: mean of each neuron's static current over t > average_from
    std_current: NDArray[np.float64]  #: standard deviation of this current
