"""Synapses as compressed rows: what connectivity that varies from neuron to neuron is kept in.

In: nothing, or synapses in any order, in parts, or of several ranks.  Out: `Edges`.  Knows neither
rules nor files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench.ranks import Communicator

PART = 2**20  # synapses that are sorted at once


class Edges(NamedTuple):
    """Synapses of consecutive neurons; row i has the entries start[i] .. start[i+1]-1.

    Rows are presynaptic neurons for static synapses, and postsynaptic ones for plastic synapses.
    """

    start: NDArray[np.int64]  #: (rows + 1,), from 0 on
    index: NDArray[np.int32]  # type: ignore[assignment]  #: (E,), the neuron at the other end, ascending in each row
    weight: NDArray[np.float64] | None = None  #: (E,), (threshold - reset) ms; None: as the rule says
    delay: NDArray[np.uint8] | None = None  #: (E,), steps; None: one step

    def rows(self) -> NDArray[np.int64]:
        """The row of each synapse, (E,)."""
        return np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))

    def delays(self) -> NDArray[np.int64]:
        """The delays that occur, ascending, steps."""
        return np.ones(1, np.int64) if self.delay is None else np.flatnonzero(np.bincount(self.delay))

    def part(self, first: int, last: int) -> Edges:
        """The rows first .. last-1, with views of the rest."""
        some = slice(self.start[first], self.start[last])
        weight = None if self.weight is None else self.weight[some]
        delay = None if self.delay is None else self.delay[some]
        return Edges(self.start[first : last + 1] - self.start[first], self.index[some], weight, delay)


class Part(NamedTuple):
    """Some synapses, in any order."""

    row: NDArray[np.int64]
    index: NDArray[np.int64]  # type: ignore[assignment]
    weight: NDArray[np.float64]
    delay: NDArray[np.uint8] | None = None  #: steps; None: one step


def gather(parts: Callable[[], Iterable[Part]], rows: int) -> Edges:
    """Sort synapses into rows, by counting: `parts` is called twice, and must yield the same.

    Beside the parts, this takes 12 bytes for each synapse, and one more if there are delays. In a
    row, synapses are sorted by neuron, then delay.

    Parameters
    ----------
    parts : callable
        Returns an iterable of `Part`.
    rows : int
        Number of rows.

    Returns
    -------
    Edges
    """
    counts, delayed = np.zeros(rows, np.int64), False
    for part in parts():
        counts += np.bincount(part.row, minlength=rows)
        delayed = delayed or (part.delay is not None and bool((part.delay > 1).any()))
    start = np.concatenate([[0], np.cumsum(counts)])
    total = int(start[-1])
    index, weight = np.empty(total, np.int32), np.empty(total, np.float64)
    delay = np.ones(total, np.uint8) if delayed else None
    cursor = start[:-1].copy()
    for part in parts():
        order = np.argsort(part.row, kind="stable")
        row = part.row[order]
        begin = np.flatnonzero(np.diff(row, prepend=-1))
        length = np.diff(begin, append=len(row))
        at = np.arange(len(row)) + np.repeat(cursor[row[begin]] - begin, length)
        cursor[row[begin]] += length
        index[at], weight[at] = part.index[order], part.weight[order]
        if delay is not None and part.delay is not None:
            delay[at] = part.delay[order]
    edges = Edges(start, index, weight, delay)
    for first, last in ranges(start):
        _sort_rows(edges, first, last)
    return edges


def handed_on(edges: Edges, ranks: Communicator, neurons: int) -> Edges:
    """The synapses onto the neurons of this rank, of those from the neurons of each rank.

    All ranks call this. They send each other a part of about `PART` synapses at a time, and no rank
    ever has the synapses of all.

    Parameters
    ----------
    edges : Edges
        Rows are presynaptic neurons, those of this rank; without delays.
    ranks : Communicator
    neurons : int
        N, those of the whole network.

    Returns
    -------
    Edges
        Rows are all presynaptic neurons, (N + 1,).
    """
    bounds, rows = ranks.bounds(neurons), list(ranges(edges.start))
    lengths, index, weight = ([[np.empty(0, np.int32)] for _ in range(ranks.size)] for _ in range(3))
    for number in range(max(ranks.collect(len(rows)))):
        part = edges.part(*rows[number]) if number < len(rows) else edges.part(0, 0)
        owner, row = np.searchsorted(bounds[1:], part.index, side="right"), part.rows()
        to = [np.flatnonzero(owner == rank) for rank in range(ranks.size)]
        counts = [np.bincount(row[some], minlength=len(part.start) - 1).astype(np.int32) for some in to]
        sent = [(lengths, counts), (index, [part.index[some] for some in to])]
        if part.weight is not None:
            sent.append((weight, [part.weight[some].view(np.int32) for some in to]))  # what ranks transfer
        for received, parts in sent:
            for of_rank, more in zip(received, ranks.transfer(parts), strict=True):
                of_rank.append(more)
    all_lengths, all_index, words = (
        np.concatenate([a for of in found for a in of]) for found in (lengths, index, weight)
    )
    start = np.concatenate([[0], np.cumsum(all_lengths, dtype=np.int64)])
    return Edges(start, all_index, None if edges.weight is None else words.view(np.float64))


def ranges(start: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Ranges of rows with about `PART` synapses each, or one row with more."""
    first = 0
    while first < len(start) - 1:
        last = int(np.searchsorted(start, start[first] + PART, side="right")) - 1
        yield first, (last := max(last, first + 1))
        first = last


def parts_of(edges: Edges) -> Iterator[Part]:
    """The synapses of `Edges` that have weights, in parts."""
    assert edges.weight is not None
    for first, last in ranges(edges.start):
        some = slice(edges.start[first], edges.start[last])
        row = np.repeat(np.arange(first, last), np.diff(edges.start[first : last + 1]))
        delay = None if edges.delay is None else edges.delay[some]
        yield Part(row, edges.index[some].astype(np.int64), edges.weight[some], delay)


def repeated(edges: Edges, first: int, last: int, *, delays: bool) -> NDArray[np.int64]:
    """Synapses in some rows with the neurons, and `delays` too, of the one before."""
    a, b = edges.start[first], edges.start[last]
    row = np.repeat(np.arange(first, last), np.diff(edges.start[first : last + 1]))
    same = (np.diff(row) == 0) & (np.diff(edges.index[a:b]) == 0)
    if delays and edges.delay is not None:
        same &= edges.delay[a + 1 : b] == edges.delay[a : b - 1]
    found: NDArray[np.int64] = np.flatnonzero(same) + a + 1
    return found


def summed(edges: Edges) -> Edges:
    """One synapse in place of those with the same neurons and delay; its weight is their sum.

    The arrays of `edges` are overwritten.
    """
    start, index, weight, delay = edges
    assert weight is not None
    shorter, total = np.zeros_like(start), 0
    for first, last in ranges(start):
        some = slice(start[first], start[last])
        keep = np.ones(some.stop - some.start, np.bool_)
        keep[repeated(edges, first, last, delays=True) - some.start] = False
        kept = np.flatnonzero(keep)
        shorter[first + 1 : last + 1] = total + np.searchsorted(kept, start[first + 1 : last + 1] - some.start)
        to = slice(total, total + len(kept))
        weight[to] = np.add.reduceat(weight[some], kept) if len(kept) else 0.0
        index[to] = index[some][kept]
        if delay is not None:
            delay[to] = delay[some][kept]
        total = to.stop
    return Edges(shorter, index[:total], weight[:total], None if delay is None else delay[:total])


def _sort_rows(edges: Edges, first: int, last: int) -> None:
    """Sort the synapses of the rows first .. last-1 by neuron, then delay."""
    some = slice(edges.start[first], edges.start[last])
    row = np.repeat(np.arange(last - first), np.diff(edges.start[first : last + 1]))
    key = (row << 39) | (edges.index[some].astype(np.int64) << 8)
    if edges.delay is not None:
        key |= edges.delay[some]
    if (key[1:] >= key[:-1]).all():
        return
    order = np.argsort(key, kind="stable")
    for values in edges[1:]:
        if values is not None:
            values[some] = values[some][order]
