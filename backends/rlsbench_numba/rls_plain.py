"""The RLS update, plain form: one pass to read all of P, one to update it.

In: P, w, the inputs x, currents u_bal and f.  Out: P and w, updated in place.  Knows nothing of trials.
Its counterpart is `rlsbench_numba.rls_event`, which reads only the columns of inputs that spiked.

Equations, for one neuron with n plastic inputs; P is (n, n), or a packed triangle with P[i, 0..i] at i(i+1)/2:

    (1) k = P x      (2) g = 1/(1 + x.k)      (3) P <- P - g k k'      (4) e = w.x + u_bal - f      (5) w <- w - g e k

After (2), k stands for sqrt(g) k: entries (i, j) and (j, i) of P then get the same number, and P stays symmetric.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from rlsbench_numba.compiling import kernel, parallel_kernel

__all__ = ["gather_inputs", "learn_from_inputs", "learn_from_network"]


@kernel
def multiply_packed(P, x, k):
    """Equation (1), k = P x, each entry of the triangle read once: as part of a row, and by symmetry of a column.

    Four rows at a time: they share the loads of x and the updates of k, and the short loops' scalar ends come a quarter
    as often (2.1 times as fast as row by row at n = 90, float32, with AVX-512).

    Parameters
    ----------
    P : ndarray, shape (n (n + 1) / 2,)
    x, k : ndarrays, shape (n,)
        Input and result.
    """
    n = len(x)
    zero = P.dtype.type(0)
    row = 0
    for i in range(0, n - n % 4, 4):
        # What stands left of the 4 x 4 block on the diagonal.
        r0, r1, r2, r3 = row, row + i + 1, row + 2 * i + 3, row + 3 * i + 6
        P0, P1, P2, P3 = P[r0 : r0 + i], P[r1 : r1 + i], P[r2 : r2 + i], P[r3 : r3 + i]
        x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
        k0, k1, k2, k3 = zero, zero, zero, zero
        for j in range(i):
            k0 += P0[j] * x[j]
            k1 += P1[j] * x[j]
            k2 += P2[j] * x[j]
            k3 += P3[j] * x[j]
            k[j] += (P0[j] * x0 + P1[j] * x1) + (P2[j] * x2 + P3[j] * x3)
        # That block: its lower triangle, and by symmetry its upper one.
        d0, d1, d2, d3 = r0 + i, r1 + i, r2 + i, r3 + i
        k[i] = k0 + P[d0] * x0 + P[d1] * x1 + P[d2] * x2 + P[d3] * x3
        k[i + 1] = k1 + P[d1] * x0 + P[d1 + 1] * x1 + P[d2 + 1] * x2 + P[d3 + 1] * x3
        k[i + 2] = k2 + P[d2] * x0 + P[d2 + 1] * x1 + P[d2 + 2] * x2 + P[d3 + 2] * x3
        k[i + 3] = k3 + P[d3] * x0 + P[d3 + 1] * x1 + P[d3 + 2] * x2 + P[d3 + 3] * x3
        row += 4 * i + 10
    for i in range(n - n % 4, n):  # the rows that are left, one by one
        k_i = zero
        for j in range(i):
            k_i += P[row + j] * x[j]
            k[j] += P[row + j] * x[i]
        k[i] = k_i + P[row + i] * x[i]
        row += i + 1


@kernel
def subtract_packed(P, k):
    """Equation (3), P <- P - k k', on the triangle."""
    row = 0
    for i in range(len(k)):
        for j in range(i + 1):
            P[row + j] -= k[i] * k[j]
        row += i + 1


@kernel
def multiply_full(P, x, k):
    """Equation (1), k = P x, for P (n, n)."""
    for i in range(len(x)):
        k_i = P.dtype.type(0)
        for j in range(len(x)):
            k_i += P[i, j] * x[j]
        k[i] = k_i


@kernel
def subtract_full(P, k):
    """Equation (3), P <- P - k k', for P (n, n)."""
    for i in range(len(k)):
        for j in range(len(k)):
            P[i, j] -= k[i] * k[j]


@kernel
def update_neuron(P, w, x, k, u_bal, f, benchmark):
    """Equations (1) to (5) for one neuron.

    Parameters
    ----------
    P : ndarray, shape (n (n + 1) / 2,) or (n, n), precision of P
    w : ndarray, shape (n,), precision of the rest
    x, k : ndarrays, shape (n,), precision of P
        Inputs, 1/ms; scratch for the gain vector.
    u_bal, f : float
        Static and target current.
    benchmark : bool
        Leave w unchanged.
    """
    n = len(x)
    if P.ndim == 1:  # settled when it is compiled, as below
        multiply_packed(P, x, k)  # (1)
    else:
        multiply_full(P, x, k)
    q = P.dtype.type(0)
    for i in range(n):
        q += x[i] * k[i]
    root_g = np.sqrt(P.dtype.type(1) / (P.dtype.type(1) + q))  # (2)
    for i in range(n):
        k[i] *= root_g
    if P.ndim == 1:
        subtract_packed(P, k)  # (3)
    else:
        subtract_full(P, k)
    e = u_bal - f  # (4)
    for i in range(n):
        e += w[i] * w.dtype.type(x[i])
    if not benchmark:
        root_ge = w.dtype.type(root_g) * e
        for i in range(n):  # (5)
            w[i] -= root_ge * w.dtype.type(k[i])


@parallel_kernel
def gather_inputs(x, r_X, r, sources, blocks):
    """Write x = [r_X; r[sources]] of every neuron into x (N, n)."""
    N, n = x.shape
    LX = len(r_X)
    for block in prange(blocks):
        for c in range(block * N // blocks, (block + 1) * N // blocks):
            for i in range(LX):
                x[c, i] = r_X[i]
            for i in range(n - LX):
                x[c, LX + i] = r[sources[c, i]]


@parallel_kernel
def learn_from_network(P, w, r_X, r, sources, u_bal, f, benchmark, blocks):
    """Update every neuron from the filtered spikes of its own inputs, x = [r_X; r[sources]].

    Parameters
    ----------
    P : ndarray, shape (N, n (n + 1) / 2) or (N, n, n)
    w : ndarray, shape (N, n)
    r_X : ndarray, shape (LX,)
    r : ndarray, shape (N,)
    sources : ndarray of int32, shape (N, 2 L)
    u_bal, f : ndarrays, shape (N,)
    benchmark : bool
    blocks : int
        Ranges of neurons that may run at once.
    """
    N, n = w.shape
    LX = len(r_X)
    for block in prange(blocks):
        x, k = np.empty(n, P.dtype), np.empty(n, P.dtype)
        for c in range(block * N // blocks, (block + 1) * N // blocks):
            for i in range(LX):
                x[i] = r_X[i]
            for i in range(n - LX):
                x[LX + i] = r[sources[c, i]]
            update_neuron(P[c], w[c], x, k, u_bal[c], f[c], benchmark)


@parallel_kernel
def learn_from_inputs(P, w, x_given, u_bal, f, benchmark, blocks):
    """Update every neuron from given inputs x_given (N, n); the other arguments as in `learn_from_network`."""
    N, n = w.shape
    for block in prange(blocks):
        x, k = np.empty(n, P.dtype), np.empty(n, P.dtype)
        for c in range(block * N // blocks, (block + 1) * N // blocks):
            for i in range(n):
                x[i] = x_given[c, i]
            update_neuron(P[c], w[c], x, k, u_bal[c], f[c], benchmark)
