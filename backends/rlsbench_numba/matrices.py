"""How the matrices P of all neurons stand in memory: storages and encodings, the one place that knows both.

In: matrices as host arrays.  Out: the same as arrays that kernels take, and back.  Knows no algorithm.

    full      (N, rows, width): whole matrices, rows and columns padded with zeros to whole groups of rows and lanes
    packed    (N, n (n + 1) / 2): lower triangles, entry (i, j <= i) at i (i + 1)/2 + j; 16 entries stand after the last
              neuron's, since vectors are read whole

A stored number times the neuron's `unit` is an entry of P.  The unit is 1 but for int16, where it is a power of two
that keeps the largest entry of a neuron's P in 2^12 .. 2^14.  The largest entry stands on the diagonal, since P is
positive definite, and only shrinks, since every update subtracts a positive semi-definite matrix; as it does, `refine`
makes the unit smaller.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numpy.typing import NDArray

from rlsbench.backend import Block
from rlsbench.backend import widened as widened_block
from rlsbench.precision import PRECISIONS, pack, unpack
from rlsbench_numba.compiling import kernel, parallel_kernel
from rlsbench_numba.lanes import (
    BFLOAT16,
    FLOAT16,
    LANES,
    fma,
    is_fixed_point,
    load,
    number,
    splat,
    store,
    store_below,
    widened,
)

__all__ = ["ENCODINGS", "ROWS", "Matrices", "aligned", "padded", "refine"]

ROWS = 4  # rows of a full matrix that kernels take together

Floats = NDArray[np.floating[Any]]

ENCODINGS: dict[str, np.dtype[Any]] = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": FLOAT16,
    "bfloat16": BFLOAT16,
    "int16": np.dtype(np.int16),
}
"""Precision of P to the dtype of what is stored."""

_INT16_BITS = 14
REFINED_BELOW = 2 ** (_INT16_BITS - 2)
_BLOCK = 4096  # neurons that are converted at once


def padded(n: int, to: int) -> int:
    """The smallest multiple of `to` that is at least n."""
    return -(-n // to) * to


def aligned(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """An uninitialised array that begins at a cache line; NumPy asks for large pages where it is large."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    array: NDArray[Any] = raw[start : start + size].view(dtype).reshape(shape)
    return array


class Matrices:
    """P of N neurons with n inputs each.

    Parameters
    ----------
    N, n : int
    storage : {"full", "packed"}
    precision : str
        A key of `ENCODINGS`.
    P0 : ndarray, shape (n, n)
        What every neuron's P is at first.

    Attributes
    ----------
    values : ndarray, shape (N, rows, width) or (N, n (n + 1) / 2)
        What is stored.
    unit : ndarray, shape (N,), float32 or float64
        What a stored number 1 stands for.
    wide : dtype
        In which kernels compute.
    """

    def __init__(self, N: int, n: int, storage: str, precision: str, P0: Floats) -> None:
        self.N, self.n, self.storage, self.precision = N, n, storage, precision
        dtype = ENCODINGS[precision]
        self.wide = np.dtype(np.float64 if precision == "float64" else np.float32)
        shape = (padded(n, ROWS), padded(n, LANES)) if storage == "full" else (n * (n + 1) // 2,)
        entries = int(np.prod(shape))
        flat = aligned((N * entries + LANES,), dtype)
        flat[N * entries :] = np.zeros((), dtype)
        self.values = flat[: N * entries].reshape(N, *shape)
        self.unit = np.ones(N, self.wide)
        one = self._laid_out(P0[None], np.full(1, self._unit(np.abs(P0).max(initial=0.0)), self.wide))
        self.unit.fill(self._unit(np.abs(P0).max(initial=0.0)))
        spread(_bits(self.values).reshape(N, entries), _bits(one).reshape(entries))

    def set(self, P: Floats) -> None:
        """Take P (N, n, n) or (N, n (n + 1) / 2), which is rounded."""
        for a in range(0, self.N, _BLOCK):
            self._set(a, P[a : a + _BLOCK])

    def _set(self, first: int, part: Floats) -> None:
        """Take P of the neurons from `first` on."""
        neurons = slice(first, first + len(part))
        full = part if part.ndim == 3 else unpack(part, self.n)
        unit = self._unit(np.abs(full).max(axis=(1, 2), initial=0.0)).astype(self.wide)
        self.unit[neurons] = unit
        self.values[neurons] = self._laid_out(full, unit)

    def part(self, first: int, last: int) -> tuple[NDArray[Any], Floats]:
        """What is stored of some neurons without what pads it, as in a `Block`; and units."""
        bits = self._bits_of(first, last)
        return bits.view(PRECISIONS[self.precision].stored), self.unit[first:last]

    def set_part(self, first: int, block: Block) -> None:
        """Take P of the neurons from `first` on: bit for bit from the same storage and precision."""
        P = block.P
        if block.p_precision != self.precision or (P.ndim == 3) != (self.storage == "full"):
            self._set(first, widened_block(block))
            return
        self.unit[first : first + len(P)] = block.unit
        bits = self._bits_of(first, first + len(P))
        bits[:] = _bits(P)

    def _bits_of(self, first: int, last: int) -> NDArray[Any]:
        stored = _bits(self.values)[first:last]
        return stored[:, : self.n, : self.n] if self.storage == "full" else stored

    def get(self) -> Floats:
        """A copy of P, (N, n, n) or (N, n (n + 1) / 2), in the precision in which kernels compute."""
        n = self.n
        shape = (n, n) if self.storage == "full" else (n * (n + 1) // 2,)
        P = np.empty((self.N, *shape), self.wide)
        for a in range(0, self.N, _BLOCK):
            stored = self.values[a : a + _BLOCK]
            part = stored[:, :n, :n] if self.storage == "full" else stored
            P[a : a + _BLOCK] = self._widened(part)
            unit = self.unit[a : a + _BLOCK]
            P[a : a + _BLOCK] *= unit.reshape(-1, *[1] * len(shape))
        return P

    def _unit(self, largest: Any) -> Any:
        """Value of a stored 1 where the largest entry is so large: a power of two, 1 but for int16."""
        if self.precision != "int16":
            return np.ones_like(largest)
        return 2.0 ** (np.ceil(np.log2(np.maximum(largest, 1e-30))) - _INT16_BITS)

    def _laid_out(self, full: Floats, unit: Floats) -> NDArray[Any]:
        """Stored form of some matrices (B, n, n)."""
        if self.storage == "packed":
            return self._rounded(pack(full) / unit[:, None])
        n = self.n
        shape = (len(full), padded(n, ROWS), padded(n, LANES))
        stored = np.zeros(shape, ENCODINGS[self.precision])
        stored[:, :n, :n] = self._rounded(full / unit[:, None, None])
        return stored

    def _rounded(self, x: Floats) -> NDArray[Any]:
        """Numbers as they are stored: to nearest, ties to even, as `rlsbench_numba.lanes` rounds them."""
        if self.precision == "float16":
            return x.astype(np.float16).view(FLOAT16)
        if self.precision == "bfloat16":
            bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
            return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).view(BFLOAT16)
        if self.precision == "int16":
            return np.rint(x).astype(np.int16)
        return x.astype(ENCODINGS[self.precision])

    def _widened(self, stored: NDArray[Any]) -> Floats:
        """The numbers that are stored."""
        if self.precision == "float16":
            return np.asarray(stored["float16"]).view(np.float16).astype(np.float32)
        if self.precision == "bfloat16":
            return (stored["bfloat16"].astype(np.uint32) << 16).view(np.float32)
        return stored.astype(self.wide)


def _bits(stored: NDArray[Any]) -> NDArray[Any]:
    """Stored numbers as integers, which can be copied as they are."""
    return stored.view({2: np.uint16, 4: np.uint32, 8: np.uint64}[stored.dtype.itemsize])


@kernel
def refine(P, unit, n):
    """Halve the unit of one neuron's P (rows, width) or (n (n + 1) / 2,) until it is used well; the unit then.

    Stored integers are multiplied by a power of two, so nothing is rounded.
    """
    if not is_fixed_point(P):
        return unit
    largest = unit - unit
    for i in range(n):
        largest = max(largest, number(P, i * P.shape[1] + i if P.ndim == 2 else i * (i + 1) // 2 + i))
    factor = 1
    while 0 < largest * factor < REFINED_BELOW:
        factor *= 2
    if factor > 1:
        times = splat(widened(P, factor))
        for o in range(0, P.size - P.size % LANES, LANES):
            store(P, o, fma(times, load(P, o), splat(unit - unit)))
        o = P.size - P.size % LANES
        if o < P.size:
            store_below(P, o, fma(times, load(P, o), splat(unit - unit)), P.size - o)
    return unit / factor


@kernel
def _copy(row, source):
    for i in range(len(source)):
        row[i] = source[i]


@parallel_kernel
def spread(rows, source):
    """Copy `source` (M,) into each row of `rows` (N, M), in parallel: each page is first touched by its user."""
    for c in prange(len(rows)):
        _copy(rows[c], source)
