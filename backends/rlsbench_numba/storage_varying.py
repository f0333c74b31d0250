"""The matrices P of neurons whose numbers of inputs vary: each as large as its neuron needs.

In: matrices as host arrays.  Out: the same one after another in one array that kernels take, and
back. Encodings and kernels are those of `rlsbench_numba.storage`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import Kept, Options
from rlsbench.network import PlasticInputs
from rlsbench.precision import PRECISIONS, pack
from rlsbench.rules import Rls
from rlsbench_numba.arrays import Floats, New, matrix_shape, padded
from rlsbench_numba.lanes import ENCODINGS
from rlsbench_numba.storage import Matrices, Storage
from rlsbench_numba.tuning import LANES


class VaryingStorage(Storage):
    """P of neurons with the plastic inputs of a description, initially as the rule says."""

    def __init__(self, options: Options, rule: Rls, plastic: PlasticInputs, new: New) -> None:
        self.storage, self.precision = options.storage, PRECISIONS[options.p_precision]
        P, n = new("P"), plastic.inputs
        P.view(np.uint8).fill(0)
        sizes, vectors, place = (new(f"layout.{name}") for name in ("sizes", "vectors", "place"))
        sizes[:] = n
        _accumulate(vectors, padded(n, LANES))
        if self.storage == "full":
            rows, width = matrix_shape(options, n)
            place[:] = np.stack([np.cumsum(rows * width) - rows * width, rows, width], axis=1)
        else:
            _accumulate(place, n * (n + 1) // 2)
        self.matrices = Matrices(P.view(ENCODINGS[self.precision.name]), new("unit"), plastic.n, sizes, vectors, place)
        for neurons, P0 in rule.initial_matrices(plastic, n):
            self._put(neurons, P0)

    def part(self, first: int, last: int) -> Kept:
        """P of some neurons without padding: a copy."""
        sizes = self.matrices.sizes[first:last]
        own = [self._own(c).ravel() for c in range(first, last)]
        return Kept(np.concatenate(own), self.precision.name, self._units(first, last), sizes)

    def set_part(self, first: int, P: Kept) -> None:
        if P.type != self.precision.name or P.triangles != (self.storage == "packed"):
            for c, full in enumerate(P.matrices(), first):
                self._put(np.array([c]), full[None])
            return
        start = P.start
        last = first + len(start) - 1
        self.matrices.unit[first:last] = 1 if P.unit is None else P.unit
        for c, at, end in zip(range(first, last), start[:-1], start[1:], strict=True):
            own = self._own(c)
            own[:] = P.values[at:end].reshape(own.shape)

    def diagonal(self, first: int, last: int) -> Floats:
        """Diagonals of P of some neurons, (B, n), as `Kept.diagonal`, without a copy of P."""
        sizes, place = self.matrices.sizes[first:last, None], self.matrices.place[first:last]
        i = np.arange(sizes.max(initial=0))
        at = place[:, :1] + i * (place[:, 2:] + 1) if place.ndim == 2 else place[:, None] + i * (i + 3) // 2
        diagonals = np.zeros(at.shape, self.precision.stored)
        diagonals[i < sizes] = self.matrices.P.view(self.precision.stored)[at[i < sizes]]
        return Kept(diagonals, self.precision.name, self._units(first, last)).widened()

    def _units(self, first: int, last: int) -> Floats | None:
        return self.matrices.unit[first:last] if self.precision.scaled else None

    def _own(self, c: int) -> NDArray[Any]:
        """The stored numbers of a neuron without padding: a view."""
        P, place = self.matrices.P.view(self.precision.stored), self.matrices.place
        if self.storage == "packed":
            return P[place[c] : place[c + 1]]
        (at, rows, width), n = place[c].tolist(), self.matrices.sizes[c]
        return P[at : at + rows * width].reshape(rows, width)[:n, :n]

    def _put(self, neurons: NDArray[np.int64], full: Floats) -> None:
        """Round matrices (B, n, n) of neurons with n inputs."""
        unit = self.matrices.unit[neurons] = self._unit(full)
        each = pack(full) / unit[:, None] if self.storage == "packed" else full / unit[:, None, None]
        for c, own in zip(neurons.tolist(), self.precision.round(each), strict=True):
            self._own(c)[:] = own


def _accumulate(start: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
    """Where each of some lengths begins, and where the last one ends."""
    start[0] = 0
    np.cumsum(lengths, out=start[1:])
