"""Arithmetic on one full matrix P, (rows, width), padded with zeros.

In: P in units, vectors.  Out: products, or P updated in place.  Knows no form of the update. Its
counterpart is `rlsbench_numba.storage_packed`. Entries (i, j) and (j, i) get the same bits, so P
stays symmetric.
"""

from __future__ import annotations

from rlsbench_numba.compiling import kernel
from rlsbench_numba.lanes import LANES, fma, load, prefetch, splat, store, total, zero_of
from rlsbench_numba.tuning import CACHE_LINE, FOLD_AHEAD, ROWS

THREE = 3 * LANES


@kernel
def multiply(k, P, x):
    """k = P x, four rows at a time, which share the loads of x."""
    width, zero = P.shape[1], splat(zero_of(x))
    for row in range(0, P.shape[0], ROWS):
        k0, k1, k2, k3 = zero, zero, zero, zero
        at = row * width
        for o in range(0, width, LANES):
            x_o = load(x, o)
            k0 = fma(load(P, at + o), x_o, k0)
            k1 = fma(load(P, at + width + o), x_o, k1)
            k2 = fma(load(P, at + 2 * width + o), x_o, k2)
            k3 = fma(load(P, at + 3 * width + o), x_o, k3)
        k[row] = total(k0)
        k[row + 1] = total(k1)
        k[row + 2] = total(k2)
        k[row + 3] = total(k3)


@kernel
def multiply_columns(k, P, unit, jumps, shared, scratch, ag):
    """k_new = a g k_last + P s + sum_j c_j k_j: column i of P is its row i.

    Three vectors at a time share their factors. k_new goes into k (m width,); s and c are in
    `jumps` and `scratch`, which with `shared` are tuples of `rlsbench_numba.rls_event`.
    """
    columns, s, c = jumps.columns, jumps.s, scratch.c
    width, decay, zero = shared.width, splat(ag), splat(zero_of(ag))
    o = 0
    while o + THREE <= width:
        h0, h1, h2 = zero, zero, zero
        for i in range(len(columns)):
            s_i = splat(s[i] * unit)
            p = columns[i] * width + o
            h0 = fma(s_i, load(P, p), h0)
            h1 = fma(s_i, load(P, p + LANES), h1)
            h2 = fma(s_i, load(P, p + 2 * LANES), h2)
        for j in range(shared.pending):
            c_j = splat(c[j])
            p = j * width + o
            h0 = fma(c_j, load(k, p), h0)
            h1 = fma(c_j, load(k, p + LANES), h1)
            h2 = fma(c_j, load(k, p + 2 * LANES), h2)
        store(k, shared.new + o, fma(decay, load(k, shared.last + o), h0))
        store(k, shared.new + o + LANES, fma(decay, load(k, shared.last + o + LANES), h1))
        store(k, shared.new + o + 2 * LANES, fma(decay, load(k, shared.last + o + 2 * LANES), h2))
        o += THREE
    while o < width:
        h0 = zero
        for i in range(len(columns)):
            h0 = fma(splat(s[i] * unit), load(P, columns[i] * width + o), h0)
        for j in range(shared.pending):
            h0 = fma(splat(c[j]), load(k, j * width + o), h0)
        store(k, shared.new + o, fma(decay, load(k, shared.last + o), h0))
        o += LANES


@kernel
def prefetch_columns(P, columns):
    """Prefetch what `multiply_columns` reads of P."""
    width = P.shape[1]
    for i in range(len(columns)):
        for o in range(0, width, CACHE_LINE // P.itemsize):
            prefetch(P, columns[i] * width + o)


@kernel
def subtract_one(P, k, width):
    """P <- P - k k'."""
    for row in range(P.shape[0]):
        k_row = splat(-k[row])
        for o in range(0, width, LANES):
            store(P, row * width + o, fma(k_row, load(k, o), load(P, row * width + o)))


@kernel
def subtract(P, k, count, width):
    """P <- P - sum_j k_j k_j': four rows and two vectors at a time stay in registers.

    k (at least count * width,) has the k_j one after another, padded with zeros.
    """
    for row in range(0, P.shape[0], ROWS):
        r0, r1, r2, r3 = row * width, (row + 1) * width, (row + 2) * width, (row + 3) * width
        o = 0
        while o + 2 * LANES <= width:
            p = o + LANES
            for ahead in range(r0 + o + FOLD_AHEAD, r3 + o + FOLD_AHEAD + 1, width):  # also of the next neuron
                prefetch(P, ahead)
                prefetch(P, ahead + LANES)
            a0, b0 = load(P, r0 + o), load(P, r0 + p)
            a1, b1 = load(P, r1 + o), load(P, r1 + p)
            a2, b2 = load(P, r2 + o), load(P, r2 + p)
            a3, b3 = load(P, r3 + o), load(P, r3 + p)
            for at in range(0, count * width, width):
                x, y = load(k, at + o), load(k, at + p)
                f0, f1 = splat(-k[at + row]), splat(-k[at + row + 1])
                f2, f3 = splat(-k[at + row + 2]), splat(-k[at + row + 3])
                a0, b0 = fma(f0, x, a0), fma(f0, y, b0)
                a1, b1 = fma(f1, x, a1), fma(f1, y, b1)
                a2, b2 = fma(f2, x, a2), fma(f2, y, b2)
                a3, b3 = fma(f3, x, a3), fma(f3, y, b3)
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
            a0, a1 = load(P, r0 + o), load(P, r1 + o)
            a2, a3 = load(P, r2 + o), load(P, r3 + o)
            for at in range(0, count * width, width):
                x = load(k, at + o)
                a0 = fma(splat(-k[at + row]), x, a0)
                a1 = fma(splat(-k[at + row + 1]), x, a1)
                a2 = fma(splat(-k[at + row + 2]), x, a2)
                a3 = fma(splat(-k[at + row + 3]), x, a3)
            store(P, r0 + o, a0)
            store(P, r1 + o, a1)
            store(P, r2 + o, a2)
            store(P, r3 + o, a3)
