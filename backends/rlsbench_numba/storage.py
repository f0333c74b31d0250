"""The matrices P of all neurons in memory: storages and encodings.

In: matrices as host arrays.  Out: the same as arrays that kernels take, and back.  Knows no form of
the update. The arithmetic on one matrix is in `storage_full` and `storage_packed`, which have the
same functions.

    full      (N, rows, width): whole matrices, padded with zeros to whole groups of rows and lanes
              unless numbers take 16 bits
    packed    (N, n (n + 1)/2): lower triangles, entry (i, j <= i) at i (i + 1)/2 + j

Some entries follow those of the last neuron, since whole vectors are read.

Where n varies, the matrices follow one another in one dimension:
`rlsbench_numba.storage_varying`.

A stored number times the neuron's `unit` is an entry of P. The unit is 1 except for int16, where it
is a power of two that keeps the largest entry of a neuron's P in 2^12 .. 2^14. The largest entry is
on the diagonal, since P is positive definite, and only shrinks, since every update subtracts a
positive semi-definite matrix; `refine` then makes the unit smaller.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import Kept, Options
from rlsbench.precision import PRECISIONS, pack
from rlsbench_numba import lanes, storage_full, storage_packed
from rlsbench_numba.arrays import Floats, matrix_shape
from rlsbench_numba.by_address import in_parallel
from rlsbench_numba.compiling import kernel, parallel_kernel
from rlsbench_numba.lanes import ENCODINGS, LANES, fma, load, load_one, splat, store, store_below, zero_of

_INT16_BITS = 14
REFINED_BELOW = 2 ** (_INT16_BITS - 2)


NONE = np.empty((0, 0), np.int64)


class Matrices(NamedTuple):
    """P as kernels take it."""

    P: NDArray[Any]  # (N, rows, width) or (N, n (n + 1)/2), stored numbers, in units; or flat
    unit: Floats  # (N,), value of a stored 1, in the precision in which P is computed
    n: int  # plastic inputs of a neuron, or the most of one
    # Where the numbers of each neuron are if n varies; empty, in two dimensions, if it does not.
    sizes: NDArray[np.int64] = NONE  # (N,), n of each neuron
    vectors: NDArray[np.int64] = NONE  # (N + 1,), where a padded vector of each begins, if laid end to end
    #: full: (N, 3), where in P its matrix begins, its rows and its width; packed: (N + 1,), where
    place: NDArray[np.int64] = NONE


class Storage:
    """P of N neurons, as kernels take it in `matrices`; initially P0 (n, n) for every neuron.

    P, one-dimensional, and unit (N,) are allocated as `rlsbench_numba.arrays` declares them, and
    filled here.
    """

    def __init__(self, options: Options, P0: Floats, P: NDArray[Any], unit: Floats) -> None:
        self.storage, self.precision = options.storage, PRECISIONS[options.p_precision]
        N, n, shape = len(unit), len(P0), matrix_shape(options, len(P0))
        used = N * math.prod(shape)
        bits = P.view(f"u{P.itemsize}")
        bits[used:] = 0
        stored = P[:used].view(ENCODINGS[self.precision.name]).reshape(N, *shape)
        self.matrices = Matrices(stored, unit, n)
        unit_0 = self._unit(P0[None])
        unit.fill(unit_0[0])
        initial = self._laid_out(P0[None], unit_0).view(bits.dtype)
        fill_rows(bits[:used].reshape(N, -1), initial.reshape(-1))

    def part(self, first: int, last: int) -> Kept:
        """P of some neurons without padding, and their units if it is scaled: views."""
        stored = self.matrices.P[first:last].view(self.precision.stored)
        n, unit = self.matrices.n, self.matrices.unit[first:last] if self.precision.scaled else None
        return Kept(stored[:, :n, :n] if stored.ndim == 3 else stored, self.precision.name, unit)

    def set_part(self, first: int, P: Kept) -> None:
        """Take P of the neurons from `first` on: exactly, from the same storage and precision."""
        last = first + len(P.values)
        stored, unit = self.part(first, last).values, self.matrices.unit[first:last]
        if P.type == self.precision.name and P.values.ndim == stored.ndim:
            unit[:] = 1 if P.unit is None else P.unit
            stored[:] = P.values
            return
        full = P.full()
        unit[:] = self._unit(full)
        self.matrices.P[first:last].view(self.precision.stored)[:] = self._laid_out(full, unit)

    def _unit(self, full: Floats) -> Floats:
        """Value of a stored 1 for matrices (B, n, n): 1 unless integers are stored."""
        largest = np.abs(full).max(axis=(1, 2), initial=0.0)
        if not self.precision.scaled:
            return np.ones(len(full), self.precision.computed)
        unit = 2.0 ** (np.ceil(np.log2(np.maximum(largest, 1e-30))) - _INT16_BITS)
        rounded: Floats = unit.astype(self.precision.computed)
        return rounded

    def _laid_out(self, full: Floats, unit: Floats) -> NDArray[Any]:
        """Matrices (B, n, n) as they are stored."""
        if self.storage == "packed":
            return self.precision.round(pack(full) / unit[:, None])
        n, shape = self.matrices.n, self.matrices.P.shape[1:]
        stored = np.zeros((len(full), *shape), self.precision.stored)
        stored[:, :n, :n] = self.precision.round(full / unit[:, None, None])
        return stored


@kernel
def inputs_of(n, sizes, c):
    """Plastic inputs of neuron c."""
    if sizes.ndim > 1:  # a compile-time constant, as all numbers of dimensions
        return n
    return sizes[c]


@kernel
def padded_width(n):
    """Length of a vector of n numbers that is padded to whole groups of lanes."""
    return (n + LANES - 1) // LANES * LANES


@kernel
def multiply(k, P, x, n):
    """k = P x for one neuron, in units of P; k and x (width,) are padded with zeros."""
    if P.ndim == 2:
        storage_full.multiply(k, P, x)
    else:
        storage_packed.multiply(k, P, x, n)


@kernel
def subtract(P, k, count, width, n):
    """P <- P - sum_j k_j k_j' for one neuron; k (at least count * width,) holds the k_j."""
    if P.ndim == 2:
        storage_full.subtract(P, k, count, width)
    else:
        storage_packed.subtract(P, k, count, width, n)


@kernel
def refine(P, unit, n):
    """Halve the unit of one neuron's P until its range is used well; returns the unit.

    Stored integers are multiplied by a power of two, so nothing is rounded.
    """
    if not lanes.is_fixed_point(P):
        return unit
    largest = zero_of(unit)
    for i in range(n):
        largest = max(largest, load_one(P, i * P.shape[1] + i if P.ndim == 2 else i * (i + 1) // 2 + i))
    factor = 1
    while 0 < largest * factor < REFINED_BELOW:
        factor *= 2
    if factor > 1:
        times = splat(lanes.widened(P, factor))
        zero = splat(zero_of(unit))
        whole = P.size - P.size % LANES
        for o in range(0, whole, LANES):
            store(P, o, fma(times, load(P, o), zero))
        if whole < P.size:
            store_below(P, whole, fma(times, load(P, whole), zero), P.size - whole)
    return unit / factor


@kernel
def _fill_row(rows, source, c):
    for i in range(len(source)):
        rows[c, i] = source[i]


@parallel_kernel
def fill_rows(rows, source):
    """Copy `source` (M,) into each row of `rows` (N, M): each page is first touched by its user."""
    in_parallel(_fill_row, (rows, source), len(rows))
