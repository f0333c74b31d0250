"""The RLS update, event form: the same result from the columns of P whose inputs spiked, and nothing else of P.

In: P as of the last fold, the inputs that spiked since the last update.  Out: w, and the pairs (k, g) that P lacks.
Its counterpart is `rlsbench_numba.rls_plain`.

Between two updates all filtered inputs decay by one factor a and jump where their neuron spiked: x_t = a x_(t-1) + s_t,
s_t non-zero for a few inputs.  After the update at t-1, P_(t-1) x_(t-1) = g_(t-1) k_(t-1), so with q = x.k, y = w.x
(w before the update at t; indices t-1 left out on the right-hand sides):

    (1) h   = P s                            the columns of inputs that spiked
    (2) k_t = a g k + h                      = P x_t
    (3) q_t = a^2 g q + 2 a g s.k + s.h      = x_t.k_t
    (4) y_t = a (y - g e q) + w.s            = w.x_t       (a y + w.s where w is left unchanged)
    (5) g_t = 1/(1 + q_t),  e_t = y_t + u_bal - f,  w <- w - g_t e_t k_t

P itself is written only every m updates: P_(t-1) = P_b - sum over the pairs (k_j, g_j) since b of g_j k_j k_j', which
`fold` subtracts; until then `h` is corrected by those pairs.  At the first update of a trial x_0 = 0, and s is all of
x.  It needs one decay for all inputs, so no tau_plas per neuron.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange
from numpy.typing import NDArray

from rlsbench_numba.backend import PAIRS
from rlsbench_numba.compiling import kernel, parallel_kernel
from rlsbench_numba.simulation import bisect

__all__ = ["PAIRS", "Memory", "Spiked", "collect", "empty_memory", "empty_spiked", "fold", "learn", "list_inputs"]

Floats = NDArray[np.floating[Any]]


class Memory(NamedTuple):
    """What an update leaves to the next one."""

    k: Floats
    """(N, n), k of the last update; 0 before the first one of a trial."""
    q: Floats
    """(N,), precision of P; g alike."""
    g: Floats
    y: Floats
    """(N,), precision of the rest; e alike."""
    e: Floats
    pairs: Floats
    """(N, m, n), sqrt(g_j) k_j of the updates that P lacks; 0 where there is none."""


class Spiked(NamedTuple):
    """The inputs of each neuron that spiked since the last update."""

    length: NDArray[np.int32]
    """(N,)"""
    column: NDArray[np.int16]
    """(N, n), entry of x."""
    jump: Floats
    """(N, n), s of that entry, 1/ms."""


def empty_memory(N: int, n: int, dtype: Any, p_dtype: Any) -> Memory:
    """Memory before the first update, with no pairs."""
    return Memory(
        np.zeros((N, n), p_dtype),
        np.zeros(N, p_dtype),
        np.zeros(N, p_dtype),
        np.zeros(N, dtype),
        np.zeros(N, dtype),
        np.zeros((N, PAIRS, n), p_dtype),
    )


def empty_spiked(N: int, n: int, p_dtype: Any) -> Spiked:
    """Lists with room for every input."""
    return Spiked(np.zeros(N, np.int32), np.empty((N, n), np.int16), np.empty((N, n), p_dtype))


@kernel
def collect(fresh, s, r, r_last, a, who, jump):
    """List the neurons that spiked since the last update with their jumps r - a r_last; how many.

    Parameters
    ----------
    fresh : ndarray of bool, shape (N,)
        Who spiked; left set for those whose spike r does not hold yet (s = 1).
    s, r, r_last : ndarrays, shape (N,)
        Spikes of the last step, filtered spikes now and at the last update; r_last becomes r.
    a : float
        Decay of r between two updates.
    who : ndarray of int32, shape (N,)
    jump : ndarray, shape (N,)
        Taken for the first `count` entries.
    """
    count = 0
    for j in range(len(r)):
        if fresh[j]:
            who[count] = j
            jump[count] = r[j] - a * r_last[j]
            fresh[j] = s[j] != 0
            count += 1
        r_last[j] = r[j]
    return count


@parallel_kernel
def list_inputs(spiked, who, jump, who_X, jump_X, start, post, column, bounds):
    """Turn the neurons that spiked into lists of inputs of each post-synaptic neuron.

    Parameters
    ----------
    spiked : Spiked
        Written.
    who, jump : ndarrays, shape (count,)
        Neurons that spiked, and their jumps.
    who_X, jump_X : ndarrays
        The same of feed-forward inputs.
    start, post, column : ndarrays
        Plastic outputs, see `rlsbench.network.PlasticOutputs`.
    bounds : ndarray of int64, shape (ranges + 1,)
        Ranges of post-synaptic neurons, each filled by one thread.
    """
    for t in prange(len(bounds) - 1):
        fill_lists(spiked, who, jump, who_X, jump_X, start, post, column, bounds[t], bounds[t + 1])


@kernel
def fill_lists(spiked, who, jump, who_X, jump_X, start, post, column, low, high):
    """`list_inputs` for the neurons low .. high-1."""
    length, columns, jumps = spiked.length, spiked.column, spiked.jump
    for c in range(low, high):
        for i in range(len(who_X)):
            columns[c, i] = who_X[i]
            jumps[c, i] = jump_X[i]
        length[c] = len(who_X)
    for m in range(len(who)):
        j, s_j = who[m], jump[m]
        own = post[start[j] : start[j + 1]]
        for i in range(bisect(own, low), bisect(own, high)):
            c = own[i]
            columns[c, length[c]] = column[start[j] + i]
            jumps[c, length[c]] = s_j
            length[c] += 1


@kernel
def update_neuron(P, w, k, pairs, kept, columns, s, h, q, g, y, e, a, u_bal, f, benchmark):
    """Equations (1) to (5) for one neuron.

    Parameters
    ----------
    P : ndarray, shape (n, n), precision of P
        As of the last fold.
    w : ndarray, shape (n,), precision of the rest
    k, h : ndarrays, shape (n,), precision of P
        k of the last update, which becomes that of this one; scratch.
    pairs : ndarray, shape (m, n), precision of P
        sqrt(g_j) k_j since the last fold; the new one goes to entry `kept`.
    kept : int
    columns, s : ndarrays, shape (spiked,)
        Inputs that spiked, and their jumps, 1/ms.
    q, g, y, e : float
        Of the last update.
    a, u_bal, f : float
    benchmark : bool

    Returns
    -------
    q, g, y, e : float
        Of this update.
    """
    n, spikes = len(w), len(columns)
    one = P.dtype.type(1)
    for i in range(n):
        h[i] = 0
    for m in range(0, spikes - spikes % 4, 4):  # (1), four columns at a time; P is symmetric: a column is a row
        P0, P1, P2, P3 = P[columns[m]], P[columns[m + 1]], P[columns[m + 2]], P[columns[m + 3]]
        s0, s1, s2, s3 = s[m], s[m + 1], s[m + 2], s[m + 3]
        for i in range(n):
            h[i] += (s0 * P0[i] + s1 * P1[i]) + (s2 * P2[i] + s3 * P3[i])
    for m in range(spikes - spikes % 4, spikes):
        P0, s0 = P[columns[m]], s[m]
        for i in range(n):
            h[i] += s0 * P0[i]
    for j in range(kept):
        k_j = pairs[j]
        s_k = P.dtype.type(0)
        for m in range(spikes):
            s_k += s[m] * k_j[columns[m]]
        for i in range(n):
            h[i] -= s_k * k_j[i]
    s_k, s_h, w_s = P.dtype.type(0), P.dtype.type(0), w.dtype.type(0)
    for m in range(spikes):
        s_k += s[m] * k[columns[m]]
        s_h += s[m] * h[columns[m]]
        w_s += w[columns[m]] * w.dtype.type(s[m])
    ag = a * g
    for i in range(n):  # (2)
        k[i] = ag * k[i] + h[i]
    y_t = w.dtype.type(a) * (y if benchmark else y - w.dtype.type(g) * e * w.dtype.type(q)) + w_s  # (4)
    q_t = ag * a * q + (ag + ag) * s_k + s_h  # (3)
    g_t = one / (one + q_t)  # (5)
    e_t = y_t + u_bal - f
    root_g, pair = np.sqrt(g_t), pairs[kept]
    for i in range(n):
        pair[i] = root_g * k[i]
    if not benchmark:
        ge = w.dtype.type(g_t) * e_t
        for i in range(n):
            w[i] -= ge * w.dtype.type(k[i])
    return q_t, g_t, y_t, e_t


@kernel
def learn_range(P, w, memory, spiked, kept, a, u_bal, f, benchmark, low, high):
    """`learn` for the neurons low .. high-1."""
    h = np.empty(w.shape[1], P.dtype)
    for c in range(low, high):
        count = spiked.length[c]
        memory.q[c], memory.g[c], memory.y[c], memory.e[c] = update_neuron(
            P[c],
            w[c],
            memory.k[c],
            memory.pairs[c],
            kept,
            spiked.column[c, :count],
            spiked.jump[c, :count],
            h,
            memory.q[c],
            memory.g[c],
            memory.y[c],
            memory.e[c],
            a,
            u_bal[c],
            f[c],
            benchmark,
        )


@parallel_kernel
def learn(P, w, memory, spiked, kept, a, u_bal, f, benchmark, blocks):
    """Update every neuron from the inputs listed in `spiked`; P as of the last fold, `kept` updates ago."""
    N = len(w)
    for block in prange(blocks):
        low, high = block * N // blocks, (block + 1) * N // blocks
        learn_range(P, w, memory, spiked, kept, a, u_bal, f, benchmark, low, high)


@kernel
def fold_neuron(P, pairs):
    """P <- P - sum_j g_j k_j k_j' for one neuron, by four rows and four pairs at a time, which share their loads.

    Entries (i, j) and (j, i) get the same numbers, so P stays symmetric but for the order of sums at the edges.
    """
    m, n = pairs.shape
    for i in range(0, n - n % 4, 4):
        P0, P1, P2, P3 = P[i], P[i + 1], P[i + 2], P[i + 3]
        for j in range(0, m, 4):
            k0, k1, k2, k3 = pairs[j], pairs[j + 1], pairs[j + 2], pairs[j + 3]
            a0, a1, a2, a3 = k0[i], k0[i + 1], k0[i + 2], k0[i + 3]
            b0, b1, b2, b3 = k1[i], k1[i + 1], k1[i + 2], k1[i + 3]
            c0, c1, c2, c3 = k2[i], k2[i + 1], k2[i + 2], k2[i + 3]
            d0, d1, d2, d3 = k3[i], k3[i + 1], k3[i + 2], k3[i + 3]
            for c in range(n):
                P0[c] -= (a0 * k0[c] + b0 * k1[c]) + (c0 * k2[c] + d0 * k3[c])
                P1[c] -= (a1 * k0[c] + b1 * k1[c]) + (c1 * k2[c] + d1 * k3[c])
                P2[c] -= (a2 * k0[c] + b2 * k1[c]) + (c2 * k2[c] + d2 * k3[c])
                P3[c] -= (a3 * k0[c] + b3 * k1[c]) + (c3 * k2[c] + d3 * k3[c])
    for i in range(n - n % 4, n):
        row = P[i]
        for j in range(0, m, 4):
            k0, k1, k2, k3 = pairs[j], pairs[j + 1], pairs[j + 2], pairs[j + 3]
            k0_i, k1_i, k2_i, k3_i = k0[i], k1[i], k2[i], k3[i]
            for c in range(n):
                row[c] -= (k0_i * k0[c] + k1_i * k1[c]) + (k2_i * k2[c] + k3_i * k3[c])
    pairs[:] = 0


@parallel_kernel
def fold(P, pairs, blocks):
    """Write the pairs of all neurons into P, and forget them."""
    N = len(P)
    for block in prange(blocks):
        for c in range(block * N // blocks, (block + 1) * N // blocks):
            fold_neuron(P[c], pairs[c])
