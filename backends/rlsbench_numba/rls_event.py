"""The RLS update, event form: the same result from the columns of P whose inputs spiked, and nothing else of P.

In: P as of the last fold, the inputs that spiked since the last update.  Out: w, and the pairs (k, g) that P lacks.
Its counterpart is `rlsbench_numba.rls_plain`.

Between two updates all filtered inputs decay by one factor a and jump where their neuron spiked: x_t = a x_(t-1) + s_t,
s_t non-zero for a few inputs.  After the update at t-1, P_(t-1) x_(t-1) = g_(t-1) k_(t-1), so with q = x.k, y = w.x
(w before the update at t; indices t-1 left out on the right-hand sides):

    (1) k_t = a g k + P_(t-1) s              = P_(t-1) x_t
    (2) q_t = a^2 g q + a g s.k + s.k_t      = x_t.k_t
    (3) y_t = a (y - g e q) + w.s            = w.x_t
    (4) g_t = 1/(1 + q_t),  e_t = y_t + u_bal - f,  w <- w - g_t e_t k_t          (e_t = 0 where w is left unchanged)

P itself is written only every m updates.  With the pairs (k_j, g_j) since it was written last,

    (5) P_(t-1) s = P s - sum_j (g_j s.k_j) k_j        P s: the columns of inputs that spiked, times their jumps

and `fold` subtracts sum_j g_j k_j k_j' from P.  At the first update of a trial x_0 = 0, g = 0, and s is all of x.  It
needs one decay for all inputs, so no tau_plas per neuron.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange
from numpy.typing import NDArray

from rlsbench_numba.compiling import kernel, parallel_kernel
from rlsbench_numba.lanes import (
    LANES,
    cast,
    fma,
    load,
    prefetch,
    splat,
    store,
    widened,
)
from rlsbench_numba.matrices import ROWS, Matrices, aligned, refine
from rlsbench_numba.rls_plain import multiply_packed, subtract_packed

__all__ = ["Memory", "empty_memory", "fold", "learn"]

AHEAD = 2  # neurons between the one that is updated and the one whose columns are asked for
FOLD_AHEAD = 2048  # entries of P between those that are written and those that are asked for
LINE = 64  # bytes
THREE = 3 * LANES

Floats = NDArray[np.floating[Any]]


class Memory(NamedTuple):
    """What updates leave to later ones, in the precision in which P is computed unless said otherwise."""

    k: Floats
    """(N, m width), k_j of the last m updates, padded with zeros; the updates go round."""
    g: Floats
    """(N, m), g_j of those of them that P lacks."""
    last: Floats
    """(N, 2), q and g of the last update; 0 before the first one of a trial."""
    error: Floats
    """(N, 2), y and e of the last update, in the precision of w."""


def empty_memory(P: Matrices, width: int, m: int, dtype: Any) -> Memory:
    """Memory before the first update, with room for m pairs and w in `dtype`."""
    k = aligned((P.N, m * width), P.wide)
    k[:] = 0
    return Memory(k, np.zeros((P.N, m), P.wide), np.zeros((P.N, 2), P.wide), np.zeros((P.N, 2), dtype))


@kernel
def update_neuron(P, unit, w, k, g_kept, kept, last, columns, s, a, q, g, y, e, u_minus_f, frozen, scratch):
    """Equations (1) to (5) for one neuron.

    Parameters
    ----------
    P : ndarray, shape (rows, width) or (n (n + 1) / 2,)
        As of the last fold, in units of `unit`.
    w : ndarray, shape (width,)
    k : ndarray, shape (m width,)
        k_j since the last fold are the first `kept`; the new one is put after them.
    g_kept : ndarray, shape (m,)
        Their g_j.
    kept, last : int
        How many P lacks; where in k that of the last update is.
    columns, s : ndarrays, shape (spiked,)
        Inputs that spiked, and their jumps, 1/ms.
    a, q, g, y, e : float
        Decay; the rest of the last update.
    u_minus_f : float
        u_bal - f.
    frozen : bool
        Leave w unchanged.
    scratch : ndarray, shape (2 width + m,)
        The last `width` entries are 0, before and after.

    Returns
    -------
    q, g, y, e : float
        Of this update.
    """
    width = len(w)
    new = kept * width
    zero = a - a
    # (5) What the pairs take from P s, per pair.
    for j in range(kept):
        s_k = zero
        for i in range(len(columns)):
            s_k = fma(s[i], k[j * width + columns[i]], s_k)
        scratch[width + j] = -g_kept[j] * s_k
    s_k, w_s = zero, y - y
    for i in range(len(columns)):
        s_k = fma(s[i], k[last + columns[i]], s_k)
        w_s += w[columns[i]] * s[i]
    # (1)
    if P.ndim == 2:  # settled when it is compiled
        multiply_columns_full(P, unit, k, scratch, kept, last, new, width, columns, s, a * g)
    else:
        multiply_columns_packed(P, unit, k, scratch, kept, last, new, width, columns, s, a * g)
    s_k_new = zero
    for i in range(len(columns)):
        s_k_new = fma(s[i], k[new + columns[i]], s_k_new)
    q_new = a * a * g * q + (a * g * s_k + s_k_new)  # (2)
    y_new = a * (y - g * e * q) + w_s  # (3)
    g_new = (a - a + 1) / (1 + q_new)  # (4)
    e_new = y - y if frozen else y_new + u_minus_f
    g_kept[kept] = g_new
    if not frozen:
        ge = splat(widened(w, -g_new * e_new))
        for o in range(0, width, LANES):
            w_o = load(w, o)
            store(w, o, fma(ge, cast(load(k, new + o), w_o), w_o))
    return q_new, g_new, y_new, e_new


@kernel
def multiply_columns_full(P, unit, k, scratch, kept, last, new, width, columns, s, ag):
    """Equation (1) from a full P: column i is row i. Three vectors at a time, which share their factors."""
    decay = splat(ag)
    zero = splat(ag - ag)
    o = 0
    while o + THREE <= width:
        h0, h1, h2 = zero, zero, zero
        for i in range(len(columns)):
            s_i, at = splat(s[i] * unit), columns[i] * width + o
            h0 = fma(s_i, load(P, at), h0)
            h1 = fma(s_i, load(P, at + LANES), h1)
            h2 = fma(s_i, load(P, at + 2 * LANES), h2)
        for j in range(kept):
            c_j, at = splat(scratch[width + j]), j * width + o
            h0 = fma(c_j, load(k, at), h0)
            h1 = fma(c_j, load(k, at + LANES), h1)
            h2 = fma(c_j, load(k, at + 2 * LANES), h2)
        store(k, new + o, fma(decay, load(k, last + o), h0))
        store(k, new + o + LANES, fma(decay, load(k, last + o + LANES), h1))
        store(k, new + o + 2 * LANES, fma(decay, load(k, last + o + 2 * LANES), h2))
        o += THREE
    while o < width:
        h0 = zero
        for i in range(len(columns)):
            h0 = fma(splat(s[i] * unit), load(P, columns[i] * width + o), h0)
        for j in range(kept):
            h0 = fma(splat(scratch[width + j]), load(k, j * width + o), h0)
        store(k, new + o, fma(decay, load(k, last + o), h0))
        o += LANES


@kernel
def multiply_columns_packed(P, unit, k, scratch, kept, last, new, width, columns, s, ag):
    """Equation (1) from a triangle, read in order and whole: most of its cache lines hold a part of some column."""
    h, c, x = scratch[:width], scratch[width:-width], scratch[-width:]
    for i in range(len(columns)):
        x[columns[i]] = s[i] * unit
    multiply_packed(P, x, h, triangle_side(len(P)))
    for i in range(len(columns)):
        x[columns[i]] = 0
    for o in range(0, width, LANES):
        h_o = load(h, o)
        for j in range(kept):
            h_o = fma(splat(c[j]), load(k, j * width + o), h_o)
        store(k, new + o, fma(splat(ag), load(k, last + o), h_o))


@kernel
def triangle_side(entries):
    """The n of n (n + 1)/2 entries."""
    return int((np.sqrt(8.0 * entries + 1.0) - 1.0) / 2.0 + 0.5)


@kernel
def ask_for(P, w, k, kept, columns):
    """Ask for what `update_neuron` will read of a neuron."""
    width = len(w)
    step = LINE // P.itemsize
    if P.ndim == 2:
        for i in range(len(columns)):
            for o in range(0, width, step):
                prefetch(P, columns[i] * width + o)
    step = LINE // k.itemsize
    for o in range(0, (kept + 1) * width, step):
        prefetch(k, o)
    step = LINE // w.itemsize
    for o in range(0, width, step):
        prefetch(w, o)


@kernel
def learn_range(P, unit, w, memory, kept, a, start, columns, s, u_bal, f, benchmark, base, low, high):
    """`learn` for the neurons low .. high-1."""
    width, m = w.shape[1], memory.g.shape[1]
    last = ((kept - 1) % m) * width
    scratch = np.zeros(2 * width + m, memory.k.dtype)
    for c in range(low, high):
        ahead = min(c + AHEAD, high - 1)
        b = start[ahead] - base
        ask_for(P[ahead], w[ahead], memory.k[ahead], kept, columns[b : start[ahead + 1] - base])
        first, after = start[c] - base, start[c + 1] - base
        q, g, y, e = update_neuron(
            P[c],
            unit[c],
            w[c],
            memory.k[c],
            memory.g[c],
            kept,
            last,
            columns[first:after],
            s[first:after],
            a,
            memory.last[c, 0],
            memory.last[c, 1],
            memory.error[c, 0],
            memory.error[c, 1],
            u_bal[c] - f[c],
            benchmark or np.isnan(f[c]),
            scratch,
        )
        memory.last[c, 0] = q
        memory.last[c, 1] = g
        memory.error[c, 0] = y
        memory.error[c, 1] = e


@parallel_kernel
def learn(P, unit, w, memory, kept, a, start, columns, s, u_bal, f, benchmark, low, high, blocks):
    """Update the neurons low .. high-1 from the inputs that spiked.

    Parameters
    ----------
    P, unit : ndarrays
        See `rlsbench_numba.matrices`.
    w : ndarray, shape (N, width)
    memory : Memory
    kept : int
        Updates since P was written.
    a : float
        Decay of the inputs between two updates.
    start : ndarray of int64, shape (N + 1,)
        The inputs of neuron c are entries start[c] - start[low] .. start[c+1] - start[low] - 1 of the next two.
    columns, s : ndarrays
        Which inputs spiked, and their jumps (1/ms, precision of P's computations).
    u_bal, f : ndarrays, shape (N,)
    benchmark : bool
    low, high : int
    blocks : int
        Ranges of neurons that may run at once.
    """
    for block in prange(blocks):
        learn_range(
            P,
            unit,
            w,
            memory,
            kept,
            a,
            start,
            columns,
            s,
            u_bal,
            f,
            benchmark,
            start[low],
            low + block * (high - low) // blocks,
            low + (block + 1) * (high - low) // blocks,
        )


@kernel
def fold_full(P, k, pairs, width):
    """P <- P - sum_j k_j k_j' for one neuron: four rows and two vectors at a time stay in registers.

    Entries (i, j) and (j, i) get the same number: P stays symmetric.

    Parameters
    ----------
    P : ndarray, shape (rows, width)
    k : ndarray, shape (m width,)
        sqrt(g_j / unit) k_j, one after another.
    pairs, width : int
    """
    for row in range(0, P.shape[0], ROWS):
        r0, r1, r2, r3 = row * width, (row + 1) * width, (row + 2) * width, (row + 3) * width
        o = 0
        while o + 2 * LANES <= width:
            p = o + LANES
            for at in range(r0 + o + FOLD_AHEAD, r3 + o + FOLD_AHEAD + 1, width):  # at the end, of the next neuron
                prefetch(P, at)
                prefetch(P, at + LANES)
            a0, a1, a2, a3 = load(P, r0 + o), load(P, r1 + o), load(P, r2 + o), load(P, r3 + o)
            b0, b1, b2, b3 = load(P, r0 + p), load(P, r1 + p), load(P, r2 + p), load(P, r3 + p)
            for at in range(0, pairs * width, width):
                x, y = load(k, at + o), load(k, at + p)
                f0, f1 = splat(-k[at + row]), splat(-k[at + row + 1])
                f2, f3 = splat(-k[at + row + 2]), splat(-k[at + row + 3])
                a0, a1, a2, a3 = fma(f0, x, a0), fma(f1, x, a1), fma(f2, x, a2), fma(f3, x, a3)
                b0, b1, b2, b3 = fma(f0, y, b0), fma(f1, y, b1), fma(f2, y, b2), fma(f3, y, b3)
            store(P, r0 + o, a0)
            store(P, r1 + o, a1)
            store(P, r2 + o, a2)
            store(P, r3 + o, a3)
            store(P, r0 + p, b0)
            store(P, r1 + p, b1)
            store(P, r2 + p, b2)
            store(P, r3 + p, b3)
            o += 2 * LANES
        if o < width:
            a0, a1, a2, a3 = load(P, r0 + o), load(P, r1 + o), load(P, r2 + o), load(P, r3 + o)
            for at in range(0, pairs * width, width):
                x = load(k, at + o)
                a0 = fma(splat(-k[at + row]), x, a0)
                a1 = fma(splat(-k[at + row + 1]), x, a1)
                a2 = fma(splat(-k[at + row + 2]), x, a2)
                a3 = fma(splat(-k[at + row + 3]), x, a3)
            store(P, r0 + o, a0)
            store(P, r1 + o, a1)
            store(P, r2 + o, a2)
            store(P, r3 + o, a3)


@kernel
def fold_range(P, unit, memory, kept, width, n, low, high):
    """`fold` for the neurons low .. high-1; k of the last update moves to the end, where the next one looks for it."""
    m = memory.g.shape[1]
    scaled = np.empty(m * width, memory.k.dtype)
    for c in range(low, high):
        k = memory.k[c]
        unit[c] = refine(P[c], unit[c], n)
        zero = splat(unit[c] - unit[c])
        for j in range(kept):
            factor = splat(np.sqrt(memory.g[c, j] / unit[c]))
            for o in range(j * width, (j + 1) * width, LANES):
                store(scaled, o, fma(factor, load(k, o), zero))
        if P.ndim == 3:  # settled when it is compiled
            fold_full(P[c], scaled, kept, width)
        else:
            subtract_packed(P[c], scaled, kept, width, n)
        if kept < m:
            for o in range(0, width, LANES):
                store(k, (m - 1) * width + o, load(k, (kept - 1) * width + o))


@parallel_kernel
def fold(P, unit, memory, kept, width, n, blocks):
    """Write the `kept` pairs of all neurons into P; n inputs each."""
    N = len(P)
    for block in prange(blocks):
        fold_range(P, unit, memory, kept, width, n, block * N // blocks, (block + 1) * N // blocks)
