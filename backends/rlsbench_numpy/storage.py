"""The two storages of P, each with its form of the RLS update; everything that differs between them lives here.

In: inputs x, currents u_bal and f of a block of neurons.  Out: w and P, updated in place.  Knows nothing of trials.

The equations, numbered as in the comments below (N neurons, n plastic inputs each):

    (1) k = P x      (2) g = 1/(1 + x.k)      (3) P <- P - g k k'      (4) e = w.x + u_bal - f      (5) w <- w - g e k
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

__all__ = ["FullStorage", "PackedStorage", "Storage", "block_length"]


class Storage(Protocol):
    """P of all neurons, cut into blocks that different threads may update at once."""

    def blocks(self) -> list[slice]:
        """Ranges of neurons."""

    def update(self, block: slice, x: Floats, w: Floats, u_bal: Floats, f: Floats, benchmark: bool) -> None:
        """Equations (1) to (5) for one block: x and w (B, n), u_bal and f (B,)."""

    def get(self) -> Floats:
        """P in the form of `rlsbench.backend.State`."""

    def set(self, P_full: Floats | None, P_packed: Floats | None) -> None:
        """Take P as (N, n, n) or as (N, n(n+1)/2)."""

    def part(self, first: int, last: int) -> Floats:
        """P of some neurons, a view in the form of `get`."""

    def set_part(self, first: int, P: Floats) -> None:
        """Take P of the neurons from `first` on, in the form of `get`."""


class FullStorage:
    """P as (N, n, n): products over stacks of small matrices.

    Blocks are small enough that a block's P and the outer products stay in the cache between (1) and (3).
    """

    def __init__(self, N: int, P0: Floats, threads: int) -> None:
        self.P = np.empty((N, *P0.shape), P0.dtype)
        self.P[:] = P0
        size = max(1, 2**20 // max(1, P0.nbytes))
        self._blocks = [slice(c, min(c + size, N)) for c in range(0, N, size)]

    def blocks(self) -> list[slice]:
        return self._blocks

    def update(self, block: slice, x: Floats, w: Floats, u_bal: Floats, f: Floats, benchmark: bool) -> None:
        P = self.P[block]
        xP = x.astype(P.dtype, copy=False)
        k = np.matmul(P, xP[:, :, None])[:, :, 0]  # (1)
        g = 1 / (1 + np.einsum("ci,ci->c", xP, k))  # (2)
        root_gk = np.sqrt(g)[:, None] * k
        P -= root_gk[:, :, None] * root_gk[:, None, :]  # (3), so written that P stays symmetric
        e = np.einsum("ci,ci->c", w, x) + u_bal - f  # (4)
        e[np.isnan(f)] = 0  # no target
        if not benchmark:
            w -= (g * e)[:, None] * k  # (5)

    def get(self) -> Floats:
        return self.P.copy()

    def set(self, P_full: Floats | None, P_packed: Floats | None) -> None:
        if P_full is None:
            assert P_packed is not None
            i, j = np.tril_indices(self.P.shape[1])
            self.P[:, i, j] = P_packed
            self.P[:, j, i] = P_packed
        else:
            self.P[:] = P_full

    def part(self, first: int, last: int) -> Floats:
        return self.P[first:last]

    def set_part(self, first: int, P: Floats) -> None:
        self.P[first : first + len(P)] = P


def block_length(N: int, threads: int) -> int:
    """Neurons of a block of packed triangles."""
    return max(1, min(-(-N // threads), 16_384))


class PackedStorage:
    """P as lower triangles, entry-major: (n(n+1)/2, N), so that every operation runs along neurons.

    Row i of the triangle is the rows i(i+1)/2 .. i(i+1)/2 + i of the array.  One block a thread: the longer the rows,
    the less the interpreter costs.  (A loop over neurons that calls BLAS spmv and spr on neuron-major triangles took
    2.1 times as long with two threads at N = 10,000, n = 90, float32.)
    """

    def __init__(self, N: int, P0: Floats, threads: int) -> None:
        n = len(P0)
        self.P = np.empty((n * (n + 1) // 2, N), P0.dtype)
        self.P[:] = P0[np.tril_indices(n)][:, None]
        size = block_length(N, threads)
        self._blocks = [slice(c, min(c + size, N)) for c in range(0, N, size)]

    def blocks(self) -> list[slice]:
        return self._blocks

    def update(self, block: slice, x: Floats, w: Floats, u_bal: Floats, f: Floats, benchmark: bool) -> None:
        P = self.P[:, block]
        xT = np.ascontiguousarray(x.T, dtype=P.dtype)
        n, B = xT.shape
        k, scratch = np.zeros((n, B), P.dtype), np.empty((n, B), P.dtype)
        for i in range(n):  # (1) row i and, by symmetry, column i of P
            row, t = P[i * (i + 1) // 2 :][: i + 1], scratch[: i + 1]
            np.multiply(row, xT[: i + 1], out=t)
            k[i] += t.sum(axis=0)
            np.multiply(row[:i], xT[i], out=t[:i])
            k[:i] += t[:i]
        g = 1 / (1 + np.einsum("ic,ic->c", xT, k))  # (2)
        gk = g * k
        for i in range(n):  # (3)
            row, t = P[i * (i + 1) // 2 :][: i + 1], scratch[: i + 1]
            np.multiply(k[: i + 1], gk[i], out=t)
            row -= t
        e = np.einsum("ci,ci->c", w, x) + u_bal - f  # (4)
        e[np.isnan(f)] = 0  # no target
        if not benchmark:
            w -= e[:, None] * gk.T  # (5)

    def get(self) -> Floats:
        return np.ascontiguousarray(self.P.T)

    def set(self, P_full: Floats | None, P_packed: Floats | None) -> None:
        if P_packed is None:
            assert P_full is not None
            i, j = np.tril_indices(P_full.shape[1])
            P_packed = P_full[:, i, j]
        self.P[:] = P_packed.T

    def part(self, first: int, last: int) -> Floats:
        return self.P[:, first:last].T

    def set_part(self, first: int, P: Floats) -> None:
        self.P[:, first : first + len(P)] = P.T
