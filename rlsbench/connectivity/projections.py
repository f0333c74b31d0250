"""All synapses of one kind that an experiment describes, as `Edges` of any range of neurons.

In: the tables of `[[connectivity]]`, populations and, for each draw, a seed.  Out: `Edges`.  Opens
the files that tables name; knows no backend.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from rlsbench.configuration import Experiment, changed
from rlsbench.configuration.connectivity import MAX_DELAY, ConnectivitySection
from rlsbench.configuration.section import LARGEST
from rlsbench.connectivity.files import EdgeFile, Rows, digest_of, open_edges, told
from rlsbench.connectivity.rules import Between, ConnectivityRule, make_rule
from rlsbench.errors import ConfigurationError, ConnectivityError
from rlsbench.network.connectivity import InDegrees
from rlsbench.network.edges import Edges, Part, gather, handed_on, parts_of, ranges, repeated, summed
from rlsbench.network.populations import Population, Populations, populations_of
from rlsbench.plugins import blamed
from rlsbench.ranks import ALONE, Communicator

__all__ = ["Projection", "Projections", "in_degrees", "plastic_edges", "projections_of", "with_digests"]

REMEMBERED = 2  # experiments whose plastic synapses are kept: one, and the small one that compiles its kernels

Kind = Literal["static", "plastic"]
Numbers = NDArray[Any]


class Projection(NamedTuple):
    """The synapses of one table."""

    number: int  #: of the table, from 0 on
    table: ConnectivitySection
    source: Population
    target: Population
    rule: ConnectivityRule | None  #: None for a file
    delay: int | None  #: steps; None: that of the file, or 1

    @property
    def key(self) -> str:
        """What errors call the table."""
        return f"connectivity.{self.number}"

    @property
    def weight(self) -> float:
        """Weight of synapses without their own; NaN for the published one of plastic synapses."""
        return np.nan if self.table.weight is None else self.table.weight * self.table.scale

    def delays(self, count: int) -> NDArray[np.uint8] | None:
        """Delays of `count` synapses of a rule, steps; None: one step."""
        return None if self.delay in (None, 1) else np.full(count, self.delay, np.uint8)

    def between(self, seed: int) -> Between:
        """What the rule connects."""
        return Between(seed, self.number, self.source, self.target, self.table.self_loops)


@dataclass(frozen=True)
class Projections:
    """All synapses of one kind, which several tables may describe."""

    kind: Kind
    populations: Populations
    members: tuple[Projection, ...]
    dt_ms: float  #: time step, in which delays are counted

    @property
    def rows(self) -> Literal["pre", "post"]:
        """Which neurons are the rows of its `Edges`: pre- for static, postsynaptic for plastic."""
        return "pre" if self.kind == "static" else "post"

    @cached_property
    def expected(self) -> int:
        """Number of synapses: exact for a file, unless some are summed; expected for a rule."""
        return sum(self._expected(member) for member in self.members)

    def _expected(self, p: Projection) -> int:
        if p.rule is None:
            return _survey(*self._surveyed(p)).count
        with blamed(f"rule {p.table.rule}"):
            try:
                return round(p.rule.expected(p.between(0)))
            except ValueError as error:
                raise ConfigurationError(f"{p.key}.parameters of rule {p.table.rule}: {error}") from None

    @cached_property
    def longest_delay(self) -> int:
        """The longest delay, steps."""
        return max(p.delay or self._longest_of_file(p) for p in self.members)

    @property
    def shortest_delay(self) -> int:
        """A delay that none is shorter than, steps; of a file's own delays, 1."""
        return min(p.delay or 1 for p in self.members)

    def _longest_of_file(self, p: Projection) -> int:
        longest_ms = 0.0 if p.rule else _survey(*self._surveyed(p)).longest_ms
        return max(1, round(min(longest_ms / self.dt_ms, MAX_DELAY)))

    def _surveyed(self, p: Projection) -> tuple[EdgeFile, Kind, bool]:
        return open_edges(p.table), self.kind, p.delay is None

    def edges(self, seed: int, first: int = 0, last: int | None = None) -> Edges:
        """The synapses of the neurons first .. last-1, or of all.

        Parameters
        ----------
        seed : int
            That of the problem.
        first, last : int
            Range of presynaptic neurons for static synapses, of postsynaptic ones for plastic ones.
            A rule that draws by the other neurons, and a file, are read whole for any range.

        Returns
        -------
        Edges
            With weights, NaN where a plastic synapse has none.

        Raises
        ------
        ConnectivityError
            If a file has an edge that the network cannot have.
        """
        everyone = range(self.populations.neurons)
        return self._edges(seed, everyone[first:last], everyone, {})

    def onto(self, seed: int, ranks: Communicator) -> Edges:
        """The synapses onto the neurons of this rank; all ranks call this.

        What is drawn by postsynaptic neurons is drawn for those of the rank. What is drawn by
        presynaptic neurons is drawn by the rank that owns these, and handed on. Files are read in
        parts by each rank.

        Returns
        -------
        Edges
            Rows are all presynaptic neurons for static synapses, the rank's own neurons for plastic
            ones; otherwise as those of `edges`.
        """
        if not ranks.spread:
            return self.edges(seed)
        N = self.populations.neurons
        own, everyone = range(N)[ranks.own(N)], range(N)
        handed = {}
        for p in self.members:
            if p.rule is not None and p.rule.rows == "pre":
                drawn = replace(self, kind="static", members=(p,)).edges(seed, own.start, own.stop)
                edges = handed_on(drawn._replace(weight=None, delay=None), ranks, N)
                handed[p.number] = edges._replace(weight=np.full(len(edges.index), p.weight))
        return self._edges(seed, *((everyone, own) if self.kind == "static" else (own, everyone)), handed)

    def _edges(self, seed: int, rows: range, columns: range, handed: Mapping[int, Edges]) -> Edges:
        """The synapses in some rows, with the neurons `columns` at the other end.

        Those of the tables `handed` are there already, by presynaptic neuron.
        """
        collect = partial(gather, rows=len(rows))
        files = [
            _distinct(collect(partial(self._of_file, p, rows, columns)), p, self, rows.start)
            for p in self.members
            if p.rule is None
        ]
        if len(files) == len(self.members) == 1:
            return files[0]

        def parts() -> Iterator[Part]:
            for p in self.members:
                if p.number in handed:
                    for pre, post, weight, _ in parts_of(handed[p.number]):
                        row, index = (pre, post) if self.kind == "static" else (post, pre)
                        yield Part(row - rows.start, index, weight, p.delays(len(row)))
                elif p.rule is not None:
                    yield from self._of_rule(p, p.rule, seed, rows, columns)
            for edges in files:
                yield from parts_of(edges)

        return collect(parts)

    def _of_rule(self, p: Projection, rule: ConnectivityRule, seed: int, rows: range, columns: range) -> Iterator[Part]:
        between = p.between(seed)
        of, to = between.sides(rule.rows)
        ordered = rule.rows == self.rows
        wanted = rows if ordered else columns
        low, high = max(wanted.start, of.first), min(wanted.stop, of.last)
        batch = max(1, round(of.size * 2**18 / max(1, self._expected(p))))
        for start in range(low, high, batch):
            stop = min(start + batch, high)
            with blamed(f"rule {p.table.rule}"):
                drawn = rule.draw(between, start - of.first, stop - of.first)
            row, index = drawn.rows() + start, drawn.index.astype(np.int64) + to.first
            if not ordered:
                row, index = index, row
            inside = _within(rows, row) & _within(columns, index)
            row, index = row[inside], index[inside]
            yield Part(row - rows.start, index, np.full(len(row), p.weight), p.delays(len(row)))

    def _of_file(self, p: Projection, rows: range, columns: range) -> Iterator[Part]:
        file = open_edges(p.table)
        wanted = [name for name in file.columns if _is_used(name, p)]
        for read in file.read(wanted):
            with told(p.table.file):
                pre, post, weight, delay = _checked(read, file, p, self)
            row, index = (pre, post) if self.rows == "pre" else (post, pre)
            inside = _within(rows, row) & _within(columns, index)
            yield Part(
                row[inside] - rows.start, index[inside], weight[inside], None if delay is None else delay[inside]
            )


def _within(some: range, neurons: Numbers) -> Numbers:
    """Which of the neurons are in a range."""
    return (some.start <= neurons) & (neurons < some.stop)


def _is_used(name: str, p: Projection) -> bool:
    """Whether a column of a file is read: what the table sets, it does not read."""
    return not (name == "weight" and p.table.weight is not None) and not (name == "delay_ms" and p.delay is not None)


def _checked(rows: Rows, file: EdgeFile, p: Projection, of: Projections) -> tuple[Numbers, Numbers, Numbers, Any]:
    """Neurons of the network, weights and delays in steps of the edges that are of this kind."""
    values, table = dict(rows.values), p.table
    if len({column.shape for column in values.values()}) > 1:
        raise ValueError("its columns have different lengths")
    number = np.arange(rows.first, rows.first + len(values["pre"]))

    def refuse(wrong: Numbers, name: str, why: str) -> None:
        if wrong.any():
            at = int(np.argmax(wrong))
            value = values[name][at]
            shown = f"{value}" if isinstance(value, np.number) else repr(value)[:60]
            raise ConnectivityError(f"{file.name}, edge {number[at]}: {name} = {shown}: {why}")

    if "kind" in values:
        kinds = values["kind"].astype(str)
        refuse(~np.isin(kinds, ("static", "plastic")), "kind", "should be static or plastic")
        number = number[kinds == of.kind]
        values = {name: column[kinds == of.kind] for name, column in values.items()}
    for name in ("pre", "post", "weight", "delay_ms"):
        if name in values and values[name].dtype.kind not in "iuf":
            values[name] = _numbers(values[name], refuse, name, empty=name == "weight" and of.kind == "plastic")
    neurons = []
    for name, population in (("pre", p.source), ("post", p.target)):
        column, size = values[name], population.size
        with np.errstate(invalid="ignore"):
            refuse(column != np.floor(column), name, "should be a whole number")
            wrong = ~((column >= 0) & (column < size))
        refuse(wrong, name, f"{population.name or 'the network'} has the neurons 0 to {size - 1}")
        neurons.append(column.astype(np.int64) + population.first)
    pre, post = neurons
    if not table.self_loops:
        refuse(pre == post, "pre", "has a synapse onto itself; self_loops = true accepts it")
    if "weight" in values:
        with np.errstate(over="ignore"):
            weight = values["weight"].astype(np.float64) * table.scale
    else:
        weight = np.full(len(pre), p.weight)
    if "weight" in values:
        published = np.isnan(weight) & (of.kind == "plastic" and file.table)
        refuse(
            ~(published | (np.abs(weight) <= LARGEST)),
            "weight",
            f"should be a number, and times scale at most {LARGEST:g}",
        )
        refuse(
            (weight * of.populations.signs[of.populations.index(pre)] < 0) & (not table.any_sign),
            "weight",
            "times scale has another sign than the population of its presynaptic neuron",
        )
    return pre, post, weight, _steps(values, p, of.dt_ms, refuse)


def _steps(values: dict[str, Numbers], p: Projection, dt_ms: float, refuse: Any) -> Numbers | None:
    """Delays in steps; None if all are those of the table, and one step."""
    if p.delay is not None:
        return None if p.delay == 1 else np.full(len(values["pre"]), p.delay, np.uint8)
    if "delay_ms" not in values:
        return None
    delay = values["delay_ms"] / dt_ms
    with np.errstate(invalid="ignore"):
        steps = np.floor(delay + 0.5)
        refuse(~((steps >= 1) & (steps <= MAX_DELAY)), "delay_ms", f"should be 1 to {MAX_DELAY} steps of {dt_ms:g} ms")
        if not p.table.round_delays:
            whole = np.abs(delay - steps) <= 1e-4 * np.maximum(1, steps)  # 32-bit numbers of a file
            refuse(~whole, "delay_ms", f"is no whole number of steps of {dt_ms:g} ms; round_delays = true rounds it")
    return steps.astype(np.uint8)


def _numbers(column: Numbers, refuse: Any, name: str, *, empty: bool) -> Numbers:
    """A column that was read as texts or objects, as numbers; NaN where it may be empty, and is."""
    import pandas as pd

    numbers = pd.to_numeric(pd.Series(column), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    refuse(np.isnan(numbers) & ~(pd.isna(column) & empty), name, "should be a number")
    return numbers


def _distinct(edges: Edges, p: Projection, of: Projections, offset: int) -> Edges:
    """The edges of a file without duplicates, which are refused or summed as its table says."""
    if p.table.duplicates == "sum":
        return summed(edges)
    for first, last in ranges(edges.start):
        found = repeated(edges, first, last, delays=False)
        if len(found):
            row = int(np.searchsorted(edges.start, found[0], side="right")) - 1 + offset
            pair = (row, int(edges.index[found[0]]))
            pre, post = pair if of.rows == "pre" else pair[::-1]
            file, numbers = open_edges(p.table), list[int]()
            pre, post = pre - p.source.first, post - p.target.first
            for rows in file.read(["pre", "post"]):
                those = np.flatnonzero((rows.values["pre"] == pre) & (rows.values["post"] == post))
                numbers += (those + rows.first).tolist()
            raise ConnectivityError(
                f"{file.name}, edges {numbers[0]} and {numbers[1]}: pre = {pre}, post = {post} occurs repeatedly; "
                "duplicates = sum adds the weights"
            )
    return edges


class _Survey(NamedTuple):
    count: int  # type: ignore[assignment]  # edges of the kind
    longest_ms: float  # delay


@lru_cache(maxsize=64)
def _survey(file: EdgeFile, kind: Kind, delays: bool) -> _Survey:
    """The number of edges of a kind and their longest delay, before any of them is checked."""
    wanted = [name for name in ("kind", *["delay_ms"] * delays) if name in file.columns]
    if not wanted:
        return _Survey(file.count, 0.0)
    count, longest = 0, 0.0
    for _, values in file.read(wanted):
        those = np.ones(len(values[wanted[0]]), np.bool_)
        if "kind" in values:
            those = values["kind"].astype(str) == kind
        count += int(those.sum())
        if "delay_ms" in values and values["delay_ms"].dtype.kind in "iuf":
            longest = max(longest, float(np.nanmax(values["delay_ms"][those], initial=0.0)))
    return _Survey(count, longest)


def projections_of(e: Experiment, populations: Populations, kind: Kind) -> Projections | None:
    """The synapses of a kind that an experiment describes; None if no table does.

    Parameters
    ----------
    e : Experiment
    populations : Populations
        Those of the experiment.
    kind : str
        "static" or "plastic".

    Raises
    ------
    ConfigurationError
        For a population or rule that does not exist, or a weight of the wrong sign.
    ConnectivityError
        If a file cannot be read.
    """
    found = tuple(
        _projection(number, table, populations, e.time.dt_ms, kind)
        for number, table in enumerate(e.connectivity)
        if _has(table, kind)
    )
    return Projections(kind, populations, found, e.time.dt_ms) if found else None


def plastic_edges(e: Experiment, ranks: Communicator = ALONE) -> Edges | None:
    """The plastic synapses that tables describe, by postsynaptic neuron; None if none does.

    They are read or drawn once for an experiment, and must not be changed. With several ranks, rows
    are the rank's own neurons, and all ranks call this the first time.
    """
    return _plastic(e, ranks)[0]


def in_degrees(e: Experiment) -> InDegrees | None:
    """The same for what is known of all neurons.

    No synapse is read or drawn for it if `plastic_edges` has done that, with any ranks.
    """
    known = _degrees.get(_described(e))
    return _plastic(e, ALONE)[1] if known is None else known


Plastic = tuple[Edges | None, InDegrees | None]


def _plastic(e: Experiment, ranks: Communicator) -> Plastic:
    found = projections_of(e, populations_of(e), "plastic")
    if found is None:
        return None, None
    described, kept = _described(e), _kept.setdefault(ranks, {})
    if described not in kept:
        edges = found.onto(e.training.seed, ranks)
        delays = np.concatenate(ranks.collect(edges.delays() if len(edges.index) else np.empty(0, np.int64)))
        degrees = InDegrees(ranks.gather(np.diff(edges.start)), np.unique(delays) if len(delays) else edges.delays())
        if not degrees.degree.any() and not e.feedforward.LX:
            raise ConnectivityError(
                "the tables of connectivity describe no plastic synapse, so nothing would learn; with kind = static in "
                "the table of a file that has a column kind, plastic synapses are the published ones"
            )
        _remember(kept, described, (edges, degrees))
        _remember(_degrees, described, degrees)
    return kept[described]


def _described(e: Experiment) -> Hashable:
    """What is the same for two experiments if their synapses and files of edges are."""
    drawn = e.model_dump_json(include={"network", "populations", "connectivity", "time"})
    return drawn, e.training.seed, *(open_edges(table) if table.file else None for table in e.connectivity)


# Of the last experiments. All ranks forget the same, since all of them call `plastic_edges`.
_kept: WeakKeyDictionary[Communicator, dict[Hashable, Plastic]] = WeakKeyDictionary()
_degrees: dict[Hashable, InDegrees] = {}


def _remember(known: dict[Hashable, Any], described: Hashable, value: Any) -> None:
    known[described] = value
    while len(known) > REMEMBERED:
        del known[next(iter(known))]


def _has(table: ConnectivitySection, kind: Kind) -> bool:
    """Whether a table describes synapses of this kind."""
    if table.kind is None and table.file and "kind" in open_edges(table).columns:
        return True
    return (table.kind or "static") == kind


def _projection(
    number: int, table: ConnectivitySection, populations: Populations, dt_ms: float, kind: Kind
) -> Projection:
    key, known = f"connectivity.{number}", {p.name: p for p in populations}
    named = [table.source, table.target]
    if table.file:  # a SONATA file may name our populations
        own = open_edges(table).populations
        named = [name or (its if its in known else "") for name, its in zip(named, own, strict=True)]
    sides, sizes = [], open_edges(table).shape if table.file else None
    for side, name in zip(("source", "target"), named, strict=True):
        if name and name not in known:
            raise ConfigurationError(f"{key}.{side} = {name!r}: the populations are {', '.join(known)}")
        sides.append(known[name] if name else Population("", 0, populations.neurons, 1))
    source, target = sides
    if sizes and (sizes[0] > source.size or sizes[1] > target.size):
        raise ConnectivityError(
            f"{open_edges(table).name} is a matrix of {sizes[0]} presynaptic and {sizes[1]} postsynaptic neurons, "
            f"but {key} connects {source.size} and {target.size}"
        )
    weight = (table.weight or 0.0) * table.scale
    for p in populations:
        if weight * p.sign < 0 and source.first <= p.first < source.last:
            sign = "positive" if p.sign > 0 else "negative"
            raise ConfigurationError(f"{key}.weight = {weight:g}: weights of population {p.name} are {sign}")
    rule = make_rule(table.rule, table.parameters, key) if table.rule else None
    if kind == "static" and table.file and table.weight is None and "weight" not in open_edges(table).columns:
        raise ConnectivityError(f"{open_edges(table).name} has no weights: set {key}.weight")
    delay = None if table.delay_ms is None else round(table.delay_ms / dt_ms)
    return Projection(number, table, source, target, rule, delay)


def with_digests(e: Experiment) -> Experiment:
    """The experiment with the digests of its files of edges, and with their absolute paths.

    Raises
    ------
    ConnectivityError
        If a file cannot be read, or is another one than its digest says.
    """
    if not any(table.file for table in e.connectivity):
        return e
    tables = []
    for number, table in enumerate(e.connectivity):
        digest = digest_of(table.file, table.edge_types) if table.file else ""
        if table.digest and digest != table.digest:
            raise ConnectivityError(
                f"connectivity.{number}.file = {table.file}: is not the file with the SHA-256 {table.digest[:12]}..., "
                "with which this run was made"
            )
        file = str(Path(table.file).absolute()) if table.file else ""
        types = str(Path(table.edge_types).absolute()) if table.edge_types else ""
        tables.append(table.model_dump() | {"file": file, "edge_types": types, "digest": digest})
    return changed(e, {"connectivity": tables})
