"""The populations of the network, and what is measured of their neurons before learning.

In: names, numbers and signs of neurons.  Out: `Populations`, the one definition of each
population's range and sign.  Knows nothing of synapses or backends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlsbench.configuration import Experiment
from rlsbench.errors import ConfigurationError

Sign = Literal[1, -1]
SIGNS: tuple[Sign, Sign] = (1, -1)


class Population(NamedTuple):
    """Neurons first .. last-1, whose synapses all have the same sign."""

    name: str
    first: int
    last: int
    sign: Sign

    @property
    def size(self) -> int:
        """Number of neurons."""
        return self.last - self.first

    def members(self) -> NDArray[np.int32]:
        """Indices of the neurons, (size,)."""
        return np.arange(self.first, self.last, dtype=np.int32)


@dataclass(frozen=True)
class Populations:
    """Populations that follow one another from neuron 0 to N-1 (docs/model.md section 1)."""

    each: tuple[Population, ...]

    def __iter__(self) -> Iterator[Population]:
        return iter(self.each)

    def __len__(self) -> int:
        return len(self.each)

    def __getitem__(self, number: int) -> Population:
        return self.each[number]

    @classmethod
    def of(cls, sizes: Iterable[tuple[str, int, Sign]]) -> Populations:
        """Populations of these names, sizes and signs, in this order."""
        found: list[Population] = []
        for name, size, sign in sizes:
            first = found[-1].last if found else 0
            found.append(Population(name, first, first + size, sign))
        return cls(tuple(found))

    @classmethod
    def pair(cls, neurons: int, excitatory: int) -> Populations:
        """The first neurons as the population excitatory, and the others as inhibitory."""
        return cls.of((("excitatory", excitatory, 1), ("inhibitory", neurons - excitatory, -1)))

    @property
    def neurons(self) -> int:
        """N."""
        return self[-1].last

    @property
    def published(self) -> bool:
        """Whether one half of the neurons, rounded down, is excitatory, and the rest inhibitory."""
        return self.ordered and self[0].size == self.neurons // 2

    @property
    def ordered(self) -> bool:
        """Whether there are two, the excitatory one first."""
        return [population.sign for population in self] == [1, -1]

    @cached_property
    def signs(self) -> NDArray[np.int8]:
        """The sign of each population, (P,)."""
        return np.array([population.sign for population in self], np.int8)

    @cached_property
    def bounds(self) -> NDArray[np.int64]:
        """Where each population begins, and N, (P + 1,)."""
        return np.array([0, *(population.last for population in self)], np.int64)

    def index(self, neurons: ArrayLike) -> NDArray[np.int64]:
        """The number of the population, 0 .. P-1, of each of `neurons`."""
        return np.asarray(np.searchsorted(self.bounds[1:], neurons, side="right"), np.int64)

    def excitatory(self, neurons: ArrayLike) -> NDArray[np.bool_]:
        """Whether the sign of each of `neurons` is 1."""
        excitatory: NDArray[np.bool_] = self.signs[self.index(neurons)] > 0
        return excitatory

    def members(self, sign: Sign) -> NDArray[np.int32]:
        """All neurons of a sign, ascending."""
        found = [population.members() for population in self if population.sign == sign]
        return np.concatenate([np.empty(0, np.int32), *found])

    def named(self, names: Iterable[str], setting: str) -> NDArray[np.bool_]:
        """The neurons that `names` stand for, (N,), in the notation of `learning.neurons`.

        Parameters
        ----------
        names : iterable of str
            Populations, excitatory or inhibitory, numbers, and ranges such as 0:100. "of N" says
            how many neurons the mask had that was turned into ranges.
        setting : str
            Where the names were given, for messages.

        Raises
        ------
        ConfigurationError
            If the network has no such neurons.
        """
        found, N = np.zeros(self.neurons, np.bool_), self.neurons
        known = {"excitatory": self.members(1), "inhibitory": self.members(-1)}
        known |= {population.name: population.members() for population in self}
        for name in names:
            first, _, last = name.removeprefix("of ").partition(":")
            if name in known:
                found[known[name]] = True
                continue
            if not (first.isdecimal() and (last or first).isdecimal()):
                names = f"must be one of {', '.join(known)}, a number or a range"
                raise ConfigurationError(f"{setting} = {name!r}: {names}")
            if name.startswith("of "):
                if int(first) != N:
                    raise ConfigurationError(f"{setting} is a mask {name} neurons; this network has {N}")
                continue
            end = int(last or int(first) + 1)
            if not int(first) < end <= N:
                raise ConfigurationError(f"{setting} = {name}: must be a range within 0:{N}, the smaller number first")
            found[int(first) : end] = True
        return found

    def per_neuron(self, values: Sequence[float]) -> NDArray[np.float64]:
        """One value for each population, repeated for its neurons, (N,)."""
        return np.repeat(np.asarray(values, np.float64), np.diff(self.bounds))


def populations_of(e: Experiment) -> Populations:
    """The populations of an experiment; by default the two published halves."""
    if e.populations:
        return Populations.of((p.name, p.size, p.sign) for p in e.populations)
    return Populations.pair(e.network.neurons, e.network.neurons // 2)


@dataclass(frozen=True)
class InitialTrial:
    """Measurements of the initial trial, without plastic synapses and stimulus, each (N,)."""

    rates_hz: NDArray[np.float64]  #: spontaneous rates over the whole trial, Hz
    mean_current: NDArray[np.float64]  #: mean of each neuron's static current over t > average_from
    std_current: NDArray[np.float64]  #: standard deviation of this current
