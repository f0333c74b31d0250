"""Rules of connectivity: which neurons of two populations have a synapse.

In: two populations, the number of the projection and a seed.  Out: `Edges` of any range of rows.
Knows the random streams; knows neither weights nor backends.

A draw is a function of the seed, the number of the projection and the row alone, so ranges join up
wherever they are cut. Neurons are numbered within their population.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from statistics import NormalDist
from typing import Any, ClassVar, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench import plugins
from rlsbench.errors import ConfigurationError
from rlsbench.network.edges import Edges
from rlsbench.network.populations import Population
from rlsbench.streams import DRAWN, Purpose, distinct_integers, normal, uniform

__all__ = ["GROUP", "Between", "ConnectivityRule", "check_rule", "make_rule", "rule_names"]

GROUP: Final = "rlsbench.connectivity"
QUANTILES = 1000  # of a distribution, from which its mean is computed
SAMPLED = 64  # rows from which the number of synapses of a distance-dependent rule is expected

Numbers = NDArray[np.int64]


class Between(NamedTuple):
    """What a rule connects, and where its random numbers come from."""

    seed: int
    number: int  #: of the projection; the `trial` of its random streams
    source: Population
    target: Population
    self_loops: bool = False  #: whether a neuron may be connected to itself

    def sides(self, rows: Literal["pre", "post"]) -> tuple[Population, Population]:
        """The population of the rows, and the other one."""
        return (self.source, self.target) if rows == "pre" else (self.target, self.source)

    def barred(self, rows: Literal["pre", "post"], which: Numbers) -> Numbers:
        """The number that each row must not be connected to: itself; -1 if there is none."""
        of, to = self.sides(rows)
        itself = which + of.first - to.first
        found: Numbers = np.where((itself >= 0) & (itself < to.size) & (not self.self_loops), itself, -1)
        return found


@dataclass(frozen=True)
class ConnectivityRule(ABC):
    """A rule; a subclass is a frozen dataclass whose fields are its parameters.

    It may raise ValueError in `__post_init__` and in `expected`, and the user is told.
    """

    rows: ClassVar[Literal["pre", "post"]] = "pre"
    """Which neurons are the rows that it draws; `Edges` by the others are made by sorting them."""

    @abstractmethod
    def expected(self, between: Between) -> float:
        """Expected number of synapses of the whole projection."""

    @abstractmethod
    def draw(self, between: Between, first: int, last: int) -> Edges:
        """The synapses of the rows first .. last-1; `index` ascends in each, without repetition."""


class _Degrees(ConnectivityRule):
    """Each row has a number of synapses, with different neurons."""

    @abstractmethod
    def degrees(self, between: Between, rows: Numbers) -> Numbers:
        """Synapses of each row."""

    def available(self, between: Between) -> int:
        """Neurons that every row can be connected to."""
        of, to = between.sides(self.rows)
        return to.size - int((between.barred(self.rows, np.arange(of.size)) >= 0).any())

    def draw(self, between: Between, first: int, last: int) -> Edges:
        rows, (of, to) = np.arange(first, last), between.sides(self.rows)
        degree, barred = self.degrees(between, rows), between.barred(self.rows, rows)
        start, below = np.append(0, np.cumsum(degree)), to.size - (barred >= 0)
        index = np.empty(start[-1], np.int32)
        for count, bound in np.unique(np.stack([degree, below]), axis=1).T.tolist():
            some = (degree == count) & (below == bound)
            drawn = distinct_integers(
                between.seed,
                Purpose.CONNECTIVITY,
                rows=rows[some] + of.first,
                count=count,
                below=bound,
                trial=between.number,
            )
            drawn += (barred[some, None] >= 0) & (drawn >= barred[some, None])
            index[start[:-1][some, None] + np.arange(count)] = drawn
        return Edges(start.astype(np.int64), index)


@dataclass(frozen=True)
class _FixedDegree(_Degrees):
    degree: float

    def __post_init__(self) -> None:
        _check_count("degree", self.degree)

    def expected(self, between: Between) -> float:
        most = self.available(between)
        if self.degree > most:
            raise ValueError(f"degree = {self.degree:g}: there are {most} neurons to choose from")
        return between.sides(self.rows)[0].size * self.degree

    def degrees(self, between: Between, rows: Numbers) -> Numbers:
        return np.full(len(rows), int(self.degree))


@dataclass(frozen=True)
class FixedOutDegree(_FixedDegree):
    """Each presynaptic neuron has `degree` synapses onto different neurons, as published."""


@dataclass(frozen=True)
class FixedInDegree(_FixedDegree):
    """Each postsynaptic neuron has `degree` synapses from different neurons."""

    rows: ClassVar[Literal["pre", "post"]] = "post"


@dataclass(frozen=True)
class LognormalInDegree(_Degrees):
    """Each postsynaptic neuron has a number of synapses with a lognormal distribution.

    `mean` is that of the distribution and `sigma` the standard deviation of the logarithm, both
    before numbers are rounded and limited to `low` .. `high`.
    """

    rows: ClassVar[Literal["pre", "post"]] = "post"
    mean: float
    sigma: float
    low: float = 0
    high: float = math.inf

    def __post_init__(self) -> None:
        if not (self.mean > 0 and self.sigma >= 0):
            raise ValueError(f"mean = {self.mean:g}, sigma = {self.sigma:g}: must be positive, and not negative")
        _check_count("low", self.low)
        if not self.high >= self.low:
            raise ValueError(f"high = {self.high:g}: must be at least low = {self.low:g}")

    def expected(self, between: Between) -> float:
        most = self.available(between)
        if self.low > most or most < self.high < math.inf:
            wrong = f"high = {self.high:g}" if self.low <= most else f"low = {self.low:g}"
            raise ValueError(f"{wrong}: there are {most} neurons to choose from")
        normals = NormalDist().inv_cdf
        quantiles = np.array([normals((i + 0.5) / QUANTILES) for i in range(QUANTILES)])
        return between.sides(self.rows)[0].size * float(self._limited(quantiles, most).mean())

    def degrees(self, between: Between, rows: Numbers) -> Numbers:
        if not len(rows):
            return rows
        first, last = rows[0] + between.target.first, rows[-1] + 1 + between.target.first
        normals = normal(between.seed, Purpose.DEGREE, trial=between.number, first=first, last=last)
        return self._limited(normals, self.available(between))

    def _limited(self, normals: NDArray[np.float64], most: int) -> Numbers:
        with np.errstate(over="ignore"):
            degree = np.round(self.mean * np.exp(self.sigma * normals - self.sigma**2 / 2))
        limited: Numbers = np.clip(degree, self.low, min(self.high, most)).astype(np.int64)
        return limited


@dataclass(frozen=True)
class Bernoulli(ConnectivityRule):
    """Each pair of neurons has a synapse with `probability`, independently of the others."""

    probability: float

    def __post_init__(self) -> None:
        _check_probability(self.probability)

    def expected(self, between: Between) -> float:
        own = between.barred("pre", np.arange(between.source.size)) >= 0
        return self.probability * (between.source.size * between.target.size - int(own.sum()))

    def draw(self, between: Between, first: int, last: int) -> Edges:
        drawn = [
            (chosen.sum(axis=1), index[chosen])
            for _, index, chosen in _candidates(between, first, last, self.probability)
        ]
        return _joined(drawn)


@dataclass(frozen=True)
class Distance(ConnectivityRule):
    """The probability of a synapse falls with the distance d of two neurons.

        p(d) = probability exp(-d^2 / (2 width^2))      profile = gaussian
        p(d) = probability exp(-d / width)              profile = exponential

    Each population covers the same space, of length 1: a ring, or a square sheet whose edges are
    joined unless `wrap` is false. `positions` = grid places neurons by their number, row by row on
    a sheet; random draws positions, uniform and the same in all projections.
    """

    probability: float
    width: float
    profile: str = "gaussian"
    space: str = "sheet"
    positions: str = "grid"
    wrap: bool = True

    def __post_init__(self) -> None:
        _check_probability(self.probability)
        if not self.width > 0:
            raise ValueError(f"width = {self.width}: must be positive, relative to a space of length 1")
        for name, accepted in (
            ("profile", ("gaussian", "exponential")),
            ("space", ("sheet", "ring")),
            ("positions", ("grid", "random")),
        ):
            if getattr(self, name) not in accepted:
                raise ValueError(f"{name} = {getattr(self, name)!r}: should be {' or '.join(accepted)}")

    def places(self, population: Population, seed: int) -> NDArray[np.float64]:
        """Positions of the neurons, (size, 1) on a ring and (size, 2) on a sheet, in [0, 1)."""
        size, axes = population.size, 1 if self.space == "ring" else 2
        if self.positions == "random":
            first, last = axes * population.first, axes * population.last
            return uniform(seed, Purpose.POSITION, first=first, last=last).reshape(size, axes)
        if axes == 1:
            return ((np.arange(size) + 0.5) / size)[:, None]
        columns = math.ceil(math.sqrt(size))
        row, column = np.divmod(np.arange(size), columns)
        return np.stack([(column + 0.5) / columns, (row + 0.5) / -(-size // columns)], axis=1)

    def relative(self, a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
        """p(d) / probability between positions (..., axes)."""
        apart = np.abs(a - b)
        if self.wrap or self.space == "ring":
            apart = np.minimum(apart, 1 - apart)
        squared = (apart**2).sum(axis=-1)
        exponent = squared / (2 * self.width**2) if self.profile == "gaussian" else np.sqrt(squared) / self.width
        falling: NDArray[np.float64] = np.exp(-exponent)
        return falling

    def expected(self, between: Between) -> float:
        source, target = (self.places(p, between.seed) for p in (between.source, between.target))
        rows = np.unique(np.linspace(0, len(source) - 1, SAMPLED).astype(np.int64))
        sums = [self.relative(source[row], target).sum() for row in rows]
        own = int((between.barred("pre", rows) >= 0).sum())
        return self.probability * float(np.sum(sums) - own) * len(source) / len(rows)

    def draw(self, between: Between, first: int, last: int) -> Edges:
        source, target = (self.places(p, between.seed) for p in (between.source, between.target))
        drawn = []
        for rows, index, chosen in _candidates(between, first, last, self.probability):
            step = rows + between.source.first
            u = uniform(between.seed, Purpose.ACCEPTANCE, first=0, last=index.shape[1], trial=between.number, step=step)
            near = self.relative(source[rows][:, None], target[np.where(chosen, index, 0)])
            accepted = chosen & (u < near)
            drawn.append((accepted.sum(axis=1), index[accepted]))
        return _joined(drawn)


def _check_count(name: str, value: float) -> None:
    if not (float(value).is_integer() and value >= 0):
        raise ValueError(f"{name} = {value}: must be a whole number that is not negative")


def _check_probability(probability: float) -> None:
    if not 0 < probability <= 1:
        raise ValueError(f"probability = {probability}: must be above 0 and at most 1")


def _candidates(
    between: Between, first: int, last: int, probability: float
) -> Iterator[tuple[Numbers, Numbers, NDArray[np.bool_]]]:
    """Rows, their targets in ascending order (R, draws), and which of these are drawn.

    Each target is drawn with the probability: the gaps between those that are have a geometric
    distribution, 1 + floor(ln u / ln(1 - p)), with one uniform u each.
    """
    size = between.target.size
    mean = size * probability
    draws = 4 * math.ceil((mean + 5 * math.sqrt(mean + 1) + 8) / 4)
    with np.errstate(divide="ignore"):
        rate = np.log1p(-probability)  # minus infinity for p = 1: then all gaps are 1
    batch = max(1, DRAWN // draws)
    for start in range(first, last, batch):
        rows = np.arange(start, min(start + batch, last))
        barred, tries = between.barred("pre", rows), draws
        while True:
            u = uniform(
                between.seed,
                Purpose.CONNECTIVITY,
                first=0,
                last=tries,
                trial=between.number,
                step=rows + between.source.first,
            )
            gaps = 1 + np.floor(np.minimum(np.log(u) / rate, size))
            index = np.cumsum(gaps, axis=1).astype(np.int64) - 1
            if (index[:, -1] >= size).all():
                break
            tries *= 2
        index += (barred >= 0)[:, None] & (index >= barred[:, None])
        yield rows, index, index < size


def _joined(drawn: list[tuple[Numbers, Numbers]]) -> Edges:
    """`Edges` of consecutive rows from the numbers of synapses of some rows, and their indices."""
    counts, index = zip(*drawn, strict=True) if drawn else ([np.empty(0, np.int64)], [np.empty(0, np.int64)])
    start = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    return Edges(start.astype(np.int64), np.concatenate(index).astype(np.int32))


def rule_names() -> list[str]:
    """Names of all registered rules, in alphabetical order."""
    return list(plugins.registered(GROUP))


def make_rule(name: str, parameters: Mapping[str, Any], key: str) -> ConnectivityRule:
    """The rule of a name with its parameters; `key` is what errors call its table.

    Raises
    ------
    ConfigurationError
        If no distribution registers it, it cannot be loaded, or a parameter does not suit it.
    """
    kind = plugins.subclass(GROUP, name, ConnectivityRule, f"{key}.rule")
    known = [f.name for f in fields(kind)]
    for parameter, value in parameters.items():
        if parameter not in known:
            has = ", ".join(known) or "no parameters"
            raise ConfigurationError(f"{key}.parameters.{parameter} = {value!r}: rule {name} has {has}")
    with plugins.blamed(f"rule {name}"):
        try:
            rule: ConnectivityRule = kind(**parameters)
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"{key}.parameters of rule {name}: {error}") from None
    return rule


def check_rule(rule: ConnectivityRule, populations: tuple[Population, Population] | None = None) -> None:
    """Check what every rule must hold, in projections within and between small populations.

    Parameters
    ----------
    rule : ConnectivityRule
    populations : tuple of Population, optional
        Those to connect; by default of 50 and 70 neurons.

    Raises
    ------
    ValueError
        With the first thing that is wrong: ranges of rows that do not join up, rows that do not
        ascend, neurons that do not exist or are connected to themselves, or `expected` more than
        six standard deviations and a fifth away from what is drawn.
    """
    a, b = populations or (Population("a", 0, 50, 1), Population("b", 50, 120, -1))
    for source, target in ((a, b), (b, a), (a, a)):
        between = Between(1, 3, source, target)
        of, to = between.sides(rule.rows)
        whole = rule.draw(between, 0, of.size)
        row, index = whole.rows(), np.asarray(whole.index, np.int64)
        parts = [rule.draw(between, first, min(first + 7, of.size)) for first in range(0, of.size, 7)]
        start = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(part.start) for part in parts]))])
        joined = np.concatenate([part.index for part in parts])
        if not (len(whole.start) == of.size + 1 and whole.start[-1] == len(index)):
            raise ValueError(f"start has {len(whole.start)} entries and ends with {whole.start[-1]}")
        if not (np.array_equal(start, whole.start) and np.array_equal(joined, index)):
            raise ValueError("ranges of rows do not join up")
        if not ((index >= 0) & (index < to.size)).all():
            raise ValueError(f"there is no neuron {index[(index < 0) | (index >= to.size)][0]} in {to.size}")
        if not ((np.diff(index) > 0) | (np.diff(row) > 0)).all():
            raise ValueError("a row does not ascend")
        if (index == between.barred(rule.rows, row)).any():
            raise ValueError("a neuron is connected to itself")
        expected = rule.expected(between)
        if abs(len(index) - expected) > 6 * math.sqrt(expected + 1) + 0.2 * expected:
            raise ValueError(f"expected are {expected:g} synapses, drawn {len(index)}")
