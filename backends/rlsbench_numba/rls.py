"""The RLS update on packed triangles, plain form: one fused pass to read P, one to update it.

In: P, w, the inputs x, currents u_bal and f.  Out: P and w, updated in place.  Knows nothing of trials.

Equations, for one neuron (n plastic inputs; row i of the triangle holds P[i, 0..i] at i(i+1)/2):

    (1) k = P x      (2) g = 1/(1 + x.k)      (3) P <- P - g k k'      (4) e = w.x + u_bal - f      (5) w <- w - g e k
"""

from __future__ import annotations

import numpy as np
from numba import prange

from rlsbench_numba.compiling import kernel, parallel_kernel

__all__ = ["learn_from_inputs", "learn_from_network"]


@kernel
def update_neuron(P, w, x, k, u_bal, f, benchmark):
    """Equations (1) to (5) for one neuron.

    Parameters
    ----------
    P : ndarray, shape (n (n + 1) / 2,), precision of P
        Packed lower triangle.
    w : ndarray, shape (n,), precision of the rest
    x, k : ndarrays, shape (n,), precision of P
        Inputs, 1/ms; scratch for the gain vector.
    u_bal, f : float
        Static and target current.
    benchmark : bool
        Leave w unchanged.
    """
    n = len(x)
    zero = P.dtype.type(0)
    q = zero
    row = 0
    for i in range(n):  # (1) row i of the triangle serves as row i and as column i of P
        x_i = x[i]
        k_i = zero
        for j in range(i):
            k_i += P[row + j] * x[j]
            k[j] += P[row + j] * x_i
        k[i] = k_i + P[row + i] * x_i
        row += i + 1
    for i in range(n):
        q += x[i] * k[i]
    g = P.dtype.type(1) / (P.dtype.type(1) + q)  # (2)
    row = 0
    for i in range(n):  # (3)
        gk_i = g * k[i]
        for j in range(i + 1):
            P[row + j] -= gk_i * k[j]
        row += i + 1
    e = u_bal - f  # (4)
    for i in range(n):
        e += w[i] * w.dtype.type(x[i])
    if not benchmark:
        ge = w.dtype.type(g) * e
        for i in range(n):  # (5)
            w[i] -= ge * w.dtype.type(k[i])


@parallel_kernel
def learn_from_network(P, w, r_X, r, sources, u_bal, f, benchmark, blocks):
    """Update every neuron from the filtered spikes of its own inputs, x = [r_X; r[sources]].

    Parameters
    ----------
    P : ndarray, shape (N, n (n + 1) / 2)
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
