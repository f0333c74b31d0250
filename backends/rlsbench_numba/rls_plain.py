"""The RLS update, plain form: one pass to read all of P, one to update it.

In: P, w, the inputs x, currents u_bal and f.  Out: P and w, updated in place.  Knows nothing of trials.
Its counterpart is `rlsbench_numba.rls_event`, which reads only the columns of inputs that spiked.

Equations, for one neuron with n plastic inputs; P as in `rlsbench_numba.matrices`:

    (1) k = P x      (2) g = 1/(1 + x.k)      (3) P <- P - g k k'      (4) e = w.x + u_bal - f      (5) w <- w - g e k

After (2), k stands for sqrt(g/unit) k: entries (i, j) and (j, i) of P then get the same number, and P stays symmetric.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from rlsbench_numba.compiling import kernel, parallel_kernel
from rlsbench_numba.lanes import (
    LANES,
    cast,
    fma,
    load,
    load_below,
    number,
    prefetch,
    splat,
    store,
    store_below,
    total,
    widened,
)
from rlsbench_numba.matrices import ROWS, refine

__all__ = ["gather_inputs", "learn_from_inputs", "learn_from_network"]

LINE = 64  # bytes
DISTANCE = 1024  # numbers between the entry of a triangle that is read and the one that is asked for


@kernel
def multiply_full(P, x, k, width):
    """Equation (1), k = P x, for P (rows, width): four rows at a time, which share the loads of x."""
    for row in range(0, P.shape[0], ROWS):
        zero = splat(x[0] - x[0])
        k0, k1, k2, k3 = zero, zero, zero, zero
        at = row * width
        for o in range(0, width, LANES):
            x_o = load(x, o)
            k0 = fma(load(P, at + o), x_o, k0)
            k1 = fma(load(P, at + width + o), x_o, k1)
            k2 = fma(load(P, at + 2 * width + o), x_o, k2)
            k3 = fma(load(P, at + 3 * width + o), x_o, k3)
        k[row], k[row + 1], k[row + 2], k[row + 3] = total(k0), total(k1), total(k2), total(k3)


@kernel
def subtract_full(P, k, width):
    """Equation (3), P <- P - k k', for P (rows, width)."""
    for row in range(P.shape[0]):
        k_row = splat(-k[row])
        for o in range(0, width, LANES):
            store(P, row * width + o, fma(k_row, load(k, o), load(P, row * width + o)))


@kernel
def multiply_packed(P, x, k, n):
    """Equation (1), k = P x, each entry of a triangle read once: as part of a row, and by symmetry of a column.

    Four rows at a time: they share the loads of x and the updates of k.
    """
    zero = splat(x[0] - x[0])
    for o in range(0, len(k), LANES):
        store(k, o, zero)
    row, at = 0, 0
    while row + 4 <= n:
        a0, a1, a2, a3 = at, at + row + 1, at + 2 * row + 3, at + 3 * row + 6
        x0, x1, x2, x3 = splat(x[row]), splat(x[row + 1]), splat(x[row + 2]), splat(x[row + 3])
        k0, k1, k2, k3 = zero, zero, zero, zero
        some = x[row] != 0 or x[row + 1] != 0 or x[row + 2] != 0 or x[row + 3] != 0
        o = 0
        while o + LANES <= row:  # left of the diagonal block
            for i in range(0, 4 * LANES, LINE // P.itemsize):
                prefetch(P, at + 4 * o + i + DISTANCE)
            P0, P1, P2, P3 = load(P, a0 + o), load(P, a1 + o), load(P, a2 + o), load(P, a3 + o)
            x_o = load(x, o)
            k0, k1, k2, k3 = fma(P0, x_o, k0), fma(P1, x_o, k1), fma(P2, x_o, k2), fma(P3, x_o, k3)
            if some:
                store(k, o, fma(P3, x3, fma(P2, x2, fma(P1, x1, fma(P0, x0, load(k, o))))))
            o += LANES
        while o < row + 4:  # what is left of the diagonal, in vectors that may reach beyond it
            x_o = load(x, o)
            P0, P1 = load_below(P, a0 + o, row - o), load_below(P, a1 + o, row + 1 - o)
            P2, P3 = load_below(P, a2 + o, row + 2 - o), load_below(P, a3 + o, row + 3 - o)
            k0, k1, k2, k3 = fma(P0, x_o, k0), fma(P1, x_o, k1), fma(P2, x_o, k2), fma(P3, x_o, k3)
            if some:
                store(k, o, fma(P3, x3, fma(P2, x2, fma(P1, x1, fma(P0, x0, load(k, o))))))
            o += LANES
        k[row] += total(k0) + number(P, a0 + row) * x[row]
        k[row + 1] += total(k1) + number(P, a1 + row + 1) * x[row + 1]
        k[row + 2] += total(k2) + number(P, a2 + row + 2) * x[row + 2]
        k[row + 3] += total(k3) + number(P, a3 + row + 3) * x[row + 3]
        at += 4 * row + 10
        row += 4
    while row < n:  # the rows that are left, one by one
        x0, k0 = splat(x[row]), zero
        for o in range(0, row, LANES):
            P0 = load_below(P, at + o, row - o)
            k0 = fma(P0, load(x, o), k0)
            store(k, o, fma(P0, x0, load(k, o)))
        k[row] += total(k0) + number(P, at + row) * x[row]
        row += 1
        at += row


@kernel
def subtract_packed(P, k, pairs, width, n):
    """P <- P - sum_j k_j k_j' on a triangle, four rows at a time; equation (3) where there is one pair.

    Parameters
    ----------
    P : ndarray, shape (n (n + 1) / 2,)
    k : ndarray, shape (at least pairs * width,)
        k_j, one after another, padded with zeros.
    pairs, width, n : int
    """
    row, at = 0, 0
    while row + 4 <= n:
        r0, r1, r2, r3 = at, at + row + 1, at + 2 * row + 3, at + 3 * row + 6
        for o in range(0, row + 4, LANES):
            p0, p1, p2, p3 = load(P, r0 + o), load(P, r1 + o), load(P, r2 + o), load(P, r3 + o)
            for j in range(0, pairs * width, width):
                k_o = load(k, j + o)
                p0, p1 = fma(splat(-k[j + row]), k_o, p0), fma(splat(-k[j + row + 1]), k_o, p1)
                p2, p3 = fma(splat(-k[j + row + 2]), k_o, p2), fma(splat(-k[j + row + 3]), k_o, p3)
            if o + LANES <= row + 1:
                store(P, r0 + o, p0)
                store(P, r1 + o, p1)
                store(P, r2 + o, p2)
                store(P, r3 + o, p3)
            else:  # what stands beyond a row's end is another row's
                store_below(P, r0 + o, p0, row + 1 - o)
                store_below(P, r1 + o, p1, row + 2 - o)
                store_below(P, r2 + o, p2, row + 3 - o)
                store_below(P, r3 + o, p3, row + 4 - o)
        at += 4 * row + 10
        row += 4
    while row < n:  # the rows that are left, one by one
        for o in range(0, row + 1, LANES):
            p0 = load(P, at + o)
            for j in range(0, pairs * width, width):
                p0 = fma(splat(-k[j + row]), load(k, j + o), p0)
            store_below(P, at + o, p0, row + 1 - o)
        row += 1
        at += row


@kernel
def update_neuron(P, unit, w, x, k, n, u_minus_f, frozen):
    """Equations (1) to (5) for one neuron.

    Parameters
    ----------
    P : ndarray, shape (rows, width) or (n (n + 1) / 2,)
    unit : float
    w : ndarray, shape (width,)
    x, k : ndarrays, shape (width,), precision in which P is computed
        Inputs, 1/ms, padded with zeros; scratch for the gain vector.
    n : int
    u_minus_f : float
        u_bal - f.
    frozen : bool
        Leave w unchanged.
    """
    width = len(x)
    if P.ndim == 2:  # settled when it is compiled, as below
        multiply_full(P, x, k, width)  # (1), without the unit
    else:
        multiply_packed(P, x, k, n)
    zero = splat(unit - unit)
    q, y = zero, splat(w[0] - w[0])
    for o in range(0, width, LANES):
        x_o, w_o = load(x, o), load(w, o)
        q = fma(x_o, load(k, o), q)
        y = fma(cast(x_o, w_o), w_o, y)
    root_g = np.sqrt(1 / (1 + unit * total(q)))  # (2)
    factor = splat(widened(x, root_g * np.sqrt(unit)))
    for o in range(0, width, LANES):
        store(k, o, fma(factor, load(k, o), zero))
    if P.ndim == 2:
        subtract_full(P, k, width)  # (3)
    else:
        subtract_packed(P, k, 1, width, n)
    e = total(y) + u_minus_f  # (4)
    if not frozen:
        root_ge = splat(widened(w, -(root_g * np.sqrt(unit)) * e))
        for o in range(0, width, LANES):  # (5)
            w_o = load(w, o)
            store(w, o, fma(root_ge, cast(load(k, o), w_o), w_o))


@kernel
def ask_for(P):
    """Ask for all of a neuron's P."""
    for o in range(0, P.size, LINE // P.itemsize):
        prefetch(P, o)


@kernel
def learn_range(P, unit, w, n, r_X, r, sources, given, u_bal, f, benchmark, low, high):
    """Update the neurons low .. high-1 from `given` inputs, or from those of the network where there are none."""
    width, LX = w.shape[1], len(r_X)
    x, k = np.zeros(width, unit.dtype), np.zeros(width, unit.dtype)
    for c in range(low, high):
        ask_for(P[min(c + 1, high - 1)])
        if len(given) > 0:
            for i in range(n):
                x[i] = given[c, i]
        else:
            for i in range(LX):
                x[i] = r_X[i]
            for i in range(n - LX):
                x[LX + i] = r[sources[c, i]]
        unit[c] = refine(P[c], unit[c], n)
        update_neuron(P[c], unit[c], w[c], x, k, n, u_bal[c] - f[c], benchmark or np.isnan(f[c]))


@parallel_kernel
def learn_from_network(P, unit, w, n, r_X, r, sources, u_bal, f, benchmark, blocks):
    """Update every neuron from the filtered spikes of its own inputs, x = [r_X; r[sources]].

    Parameters
    ----------
    P, unit : ndarrays
        See `rlsbench_numba.matrices`.
    w : ndarray, shape (N, width)
    n : int
    r_X : ndarray, shape (LX,)
    r : ndarray, shape (N,)
    sources : ndarray of int32, shape (N, 2 L)
    u_bal, f : ndarrays, shape (N,)
    benchmark : bool
    blocks : int
        Ranges of neurons that may run at once.
    """
    N = len(w)
    for block in prange(blocks):
        low, high = block * N // blocks, (block + 1) * N // blocks
        learn_range(P, unit, w, n, r_X, r, sources, w[:0], u_bal, f, benchmark, low, high)


@parallel_kernel
def learn_from_inputs(P, unit, w, n, given, u_bal, f, benchmark, blocks):
    """Update every neuron from given inputs (N, n); the other arguments as in `learn_from_network`."""
    N = len(w)
    nobody = np.empty((0, 0), np.int32)
    for block in prange(blocks):
        low, high = block * N // blocks, (block + 1) * N // blocks
        learn_range(P, unit, w, n, u_bal[:0], u_bal[:0], nobody, given, u_bal, f, benchmark, low, high)


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
