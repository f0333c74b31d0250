"""The matrices of neurons whose numbers of inputs vary, in classes of similar numbers.

In: a storage for each class.  Out: matrices as host arrays, and back.  Knows neither the layout of
a storage nor a form of the update.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend.arrays import size_classes
from rlsbench.backend.state import Kept

__all__ = ["ClassedMatrices"]

Floats = NDArray[np.floating[Any]]


class _Storage(Protocol):
    """Equally large matrices of consecutive neurons of a class."""

    def part(self, first: int, last: int) -> Kept: ...

    def set_part(self, first: int, P: Kept) -> None: ...


S = TypeVar("S", bound=_Storage)


class Share(NamedTuple, Generic[S]):
    """Some neurons of a class."""

    storage: S
    n: int
    rows: NDArray[np.int64]  # of those that are asked for
    first: int  # the first of them in the class, and one past the last
    last: int


class ClassedMatrices(Generic[S]):
    """P of all neurons; that of a class is padded with zeros to its largest.

    Parameters
    ----------
    inputs : ndarray of int, shape (N,)
        n_c, the plastic inputs of each neuron.
    everyones : ndarray of int
        The same of the whole network, of which these may be the neurons of a rank.
    make : callable
        From the neurons of a class (B,), ascending, and its n to a storage of B matrices.
    """

    def __init__(
        self,
        inputs: NDArray[np.int64],
        make: Callable[[NDArray[np.int64], int], S],
        everyones: NDArray[np.int64] | None = None,
    ) -> None:
        self.inputs, self.tops = inputs, size_classes(inputs, everyones)
        self.sizes: list[int] = np.unique(self.tops).tolist()
        self.neurons = [np.flatnonzero(self.tops == n) for n in self.sizes]
        self.storages = [make(neurons, n) for neurons, n in zip(self.neurons, self.sizes, strict=True)]
        self.which = np.searchsorted(self.sizes, self.tops)  # class of each neuron
        self.place = np.empty(len(inputs), np.int64)  # and its place there
        for neurons in self.neurons:
            self.place[neurons] = np.arange(len(neurons))

    def fill(self, matrices: Iterable[tuple[NDArray[np.int64], Floats]]) -> None:
        """Store what `Rls.initial_matrices` yields for the sizes `tops`."""
        for neurons, P in matrices:
            self.storages[self.which[neurons[0]]].set_part(int(self.place[neurons[0]]), Kept(P))

    def part(self, first: int, last: int) -> Kept:
        """P of the neurons first .. last-1, one after another, without padding."""
        sizes, precision = self.inputs[first:last], None
        own = [np.empty(0)] * len(sizes)
        for share in self.shares(first, last):
            stored = share.storage.part(share.first, share.last)
            precision = stored.precision
            for c, P in zip(share.rows.tolist(), stored.values, strict=True):
                n = sizes[c]
                own[c] = P[:n, :n].ravel() if P.ndim == 2 else P[: n * (n + 1) // 2]
        return Kept(np.concatenate(own), precision, sizes=sizes)

    def set_part(self, first: int, P: Kept) -> None:
        """Load P of consecutive neurons, starting at neuron `first`."""
        own = list(P.matrices())
        for share in self.shares(first, first + len(own)):
            padded = np.zeros((len(share.rows), share.n, share.n), own[0].dtype)
            for full, c in zip(padded, share.rows.tolist(), strict=True):
                n = len(own[c])
                full[:n, :n] = own[c]
            share.storage.set_part(share.first, Kept(padded))

    def shares(self, first: int, last: int) -> Iterator[Share[S]]:
        """The neurons first .. last-1 by class, in which they are consecutive."""
        which, place = self.which[first:last], self.place[first:last]
        for k in np.unique(which).tolist():
            rows = np.flatnonzero(which == k)
            at = int(place[rows[0]])
            yield Share(self.storages[k], self.sizes[k], rows, at, at + len(rows))
