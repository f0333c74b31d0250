"""The two storages of P, each with its RLS update, and classes of them where inputs vary.

In: x, u_bal and f of a block of neurons.  Out: w and P, updated in place.

The equations of docs/model.md section 3, numbered as in the comments below:

    (1) k = P x                  (2) g = 1/(1 + x.k)      (3) P <- P - g k k'
    (4) e = w.x + u_bal - f      (5) w <- w - g e k
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import ClassedMatrices, Kept, Options, Sizes
from rlsbench.network import PlasticInputs
from rlsbench.precision import PRECISIONS, STORAGES

Floats = NDArray[np.floating[Any]]

BLOCK_BYTES = 2**20  # size of a block of full matrices, which fits into the second-level cache
BLOCK_NEURONS = 16_384  # largest block of packed triangles


def update_scratch(sizes: Sizes, options: Options) -> int:
    """Bytes of the temporary arrays of one thread while it updates a block."""
    if options.storage == "full":
        return 2 * BLOCK_BYTES  # P and the outer products
    return 5 * sizes.n * _block_length(sizes.N, options.threads) * PRECISIONS[options.p_precision].bytes


def _block_length(N: int, threads: int) -> int:
    """Neurons in a block of packed triangles."""
    return max(1, min(-(-N // threads), BLOCK_NEURONS))


def _blocks(N: int, size: int) -> list[slice]:
    """Ranges of neurons, which threads can update concurrently."""
    return [slice(c, min(c + size, N)) for c in range(0, N, size)]


class FullStorage:
    """P as (N, n, n), updated by products over stacks of small matrices.

    Blocks are small enough for P and the outer products to stay in the cache from (1) to (3).
    """

    def __init__(self, P: Floats, P0: Floats, threads: int) -> None:
        self.P, self.n = P, len(P0)
        self.P[:] = P0
        self.blocks = _blocks(len(P), max(1, BLOCK_BYTES // max(1, P0.nbytes)))

    def update(self, block: slice, x: Floats, w: Floats, u_bal: Floats, f: Floats, benchmark: bool) -> None:
        """Equations (1) to (5) for one block: x and w (B, n), u_bal and f (B,)."""
        P = self.P[block]
        xP = x.astype(P.dtype, copy=False)
        k = np.matmul(P, xP[:, :, None])[:, :, 0]  # (1)
        g = 1 / (1 + np.einsum("ci,ci->c", xP, k))  # (2)
        root_gk = np.sqrt(g)[:, None] * k
        P -= root_gk[:, :, None] * root_gk[:, None, :]  # (3), in a form that keeps P exactly symmetric
        e = np.einsum("ci,ci->c", w, x) + u_bal - f  # (4)
        e[np.isnan(f)] = 0  # no target
        if not benchmark:
            w -= (g * e)[:, None] * k  # (5)

    def part(self, first: int, last: int) -> Kept:
        """P of the neurons first .. last-1, a view: (B, n, n) or, packed, (B, n(n+1)/2)."""
        return Kept(self.P[first:last])

    def set_part(self, first: int, P: Kept) -> None:
        """Load P of consecutive neurons, starting at neuron `first`."""
        self.P[first : first + len(P.values)] = P.full()


class PackedStorage:
    """P as lower triangles with entries first, (n(n+1)/2, N): operations run along neurons.

    Row i of the triangle is rows i(i+1)/2 .. i(i+1)/2 + i of the array. Each thread has one block,
    because long rows reduce the interpreter's overhead. (Calls of BLAS spmv and spr in a loop over
    neurons took 2.1 times as long with two threads at N = 10,000, n = 90, float32.)
    """

    def __init__(self, P: Floats, P0: Floats, threads: int) -> None:
        self.P, self.n = P.reshape(P.shape[::-1]), len(P0)
        self.P[:] = P0[np.tril_indices(len(P0))][:, None]
        self.blocks = _blocks(len(P), _block_length(len(P), threads))

    def update(self, block: slice, x: Floats, w: Floats, u_bal: Floats, f: Floats, benchmark: bool) -> None:
        P = self.P[:, block]
        xT = np.ascontiguousarray(x.T, dtype=P.dtype)
        n, B = xT.shape
        k, scratch = np.zeros((n, B), P.dtype), np.empty((n, B), P.dtype)
        for i in range(n):  # (1) row i and, by symmetry, column i of P
            row, t = P[i * (i + 1) // 2 :][: i + 1], scratch[: i + 1]
            np.multiply(row, xT[: i + 1], out=t)
            k[i] += _sums(t)
            np.multiply(row[:i], xT[i], out=t[:i])
            k[:i] += t[:i]
        g = 1 / (1 + _sums(np.multiply(xT, k, out=scratch)))  # (2)
        gk = g * k
        for i in range(n):  # (3)
            row, t = P[i * (i + 1) // 2 :][: i + 1], scratch[: i + 1]
            np.multiply(k[: i + 1], gk[i], out=t)
            row -= t
        e = np.einsum("ci,ci->c", w, x) + u_bal - f  # (4)
        e[np.isnan(f)] = 0  # no target
        if not benchmark:
            w -= e[:, None] * gk.T  # (5)

    def part(self, first: int, last: int) -> Kept:
        return Kept(self.P[:, first:last].T)

    def set_part(self, first: int, P: Kept) -> None:
        self.P[:, first : first + len(P.values)] = P.packed().T


def _sums(rows: Floats) -> Floats:
    """Sums over rows, (B,), one row after another also if B is 1, where NumPy adds in pairs."""
    sums: Floats = rows.cumsum(axis=0)[-1] if rows.shape[1] == 1 and len(rows) else rows.sum(axis=0)
    return sums


class ClassedStorage(ClassedMatrices[FullStorage | PackedStorage]):
    """P where numbers of inputs vary: in classes of similar numbers, each a storage as above.

    Matrices are padded with zeros to the largest of their class. As k = P x is then 0 beyond a
    neuron's own inputs, padding of P and w stays 0 whatever x is there. A block is an array of
    neurons of one class.
    """

    def __init__(self, P: Floats, plastic: PlasticInputs, options: Options) -> None:
        kind, layout = (FullStorage if options.storage == "full" else PackedStorage), STORAGES[options.storage]
        self.blocks: list[NDArray[np.int64]] = []
        used = 0

        def make(neurons: NDArray[np.int64], n: int) -> FullStorage | PackedStorage:
            nonlocal used
            first, used = used, used + len(neurons) * layout.entries(n)
            own = P[first:used].reshape(len(neurons), *layout.shape(n))
            storage = kind(own, np.zeros((n, n), P.dtype), options.threads)
            self.blocks += [neurons[block] for block in storage.blocks]
            return storage

        super().__init__(plastic.inputs, make, plastic.everyones_inputs)

    def update(self, block: NDArray[np.int64], x: Floats, w: Floats, u_bal: Floats, f: Floats, benchmark: bool) -> None:
        """Equations (1) to (5) for one block; x and w (B, n) are as wide as for all neurons."""
        storage, first = self.storages[self.which[block[0]]], int(self.place[block[0]])
        x, w = x[:, : storage.n], w[:, : storage.n]
        storage.update(slice(first, first + len(block)), x, w, u_bal, f, benchmark)
