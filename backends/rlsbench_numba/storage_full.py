"""Arithmetic on one full matrix P, (rows, width), padded with zeros or not at all.

In: P in units, vectors.  Out: products, or P updated in place.  Knows no form of the update. Its
counterpart is `rlsbench_numba.storage_packed`. Entries (i, j) and (j, i) get the same bits, so P
stays symmetric.

Vectors are padded to whole groups of lanes. The last lanes of a row of P may reach beyond it.
"""

from __future__ import annotations

from rlsbench_numba.compiling import kernel
from rlsbench_numba.lanes import (
    LANES,
    fma,
    load,
    load_below,
    load_one,
    per_line,
    prefetch,
    splat,
    store,
    store_below,
    total,
    zero_of,
)
from rlsbench_numba.tuning import COLUMN_LINES, FOLD_AHEAD, ROWS

THREE = 3 * LANES


@kernel
def multiply(k, P, x):
    """k = P x, four rows at a time, which share the loads of x."""
    width, zero = P.shape[1], splat(zero_of(x))
    row = 0
    while row + ROWS <= P.shape[0]:
        k0, k1, k2, k3 = zero, zero, zero, zero
        at = row * width
        for o in range(0, width, LANES):
            x_o = load(x, o)
            k0 = fma(load_below(P, at + o, width - o), x_o, k0)
            k1 = fma(load_below(P, at + width + o, width - o), x_o, k1)
            k2 = fma(load_below(P, at + 2 * width + o, width - o), x_o, k2)
            k3 = fma(load_below(P, at + 3 * width + o, width - o), x_o, k3)
        k[row] = total(k0)
        k[row + 1] = total(k1)
        k[row + 2] = total(k2)
        k[row + 3] = total(k3)
        row += ROWS
    while row < P.shape[0]:  # the remaining rows, one by one
        k0 = zero
        for o in range(0, width, LANES):
            k0 = fma(load_below(P, row * width + o, width - o), load(x, o), k0)
        k[row] = total(k0)
        row += 1


@kernel
def multiply_columns(k, P, unit, jumps, shared, scratch, ag):
    """k_new = a g k_last + P s + sum_j c_j k_j: column i of P is its row i.

    Three vectors at a time share their factors. k_new goes into k (m width,), where it may be
    rounded to 16 bits, and into scratch.h, where it is not; s and c are in `jumps` and `scratch`,
    which with `shared` are tuples of `rlsbench_numba.rls_event`.
    """
    columns, s, c = jumps.columns, jumps.s, scratch.c
    row, width, decay, zero = P.shape[1], shared.width, splat(ag), splat(zero_of(ag))
    o = 0
    while o + THREE <= width:
        h0, h1, h2 = zero, zero, zero
        for i in range(len(columns)):
            s_i = splat(s[i] * unit)
            p = columns[i] * row + o
            h0 = fma(s_i, load(P, p), h0)
            h1 = fma(s_i, load(P, p + LANES), h1)
            h2 = fma(s_i, load_below(P, p + 2 * LANES, row - o - 2 * LANES), h2)
        for j in range(shared.pending):
            c_j = splat(c[j])
            p = j * width + o
            h0 = fma(c_j, load(k, p), h0)
            h1 = fma(c_j, load(k, p + LANES), h1)
            h2 = fma(c_j, load(k, p + 2 * LANES), h2)
        h0 = fma(decay, load(k, shared.last + o), h0)
        store(scratch.h, o, h0)
        store(k, shared.new + o, h0)
        h1 = fma(decay, load(k, shared.last + o + LANES), h1)
        store(scratch.h, o + LANES, h1)
        store(k, shared.new + o + LANES, h1)
        h2 = fma(decay, load(k, shared.last + o + 2 * LANES), h2)
        store(scratch.h, o + 2 * LANES, h2)
        store(k, shared.new + o + 2 * LANES, h2)
        o += THREE
    while o < width:
        h0 = zero
        for i in range(len(columns)):
            h0 = fma(splat(s[i] * unit), load_below(P, columns[i] * row + o, row - o), h0)
        for j in range(shared.pending):
            h0 = fma(splat(c[j]), load(k, j * width + o), h0)
        h0 = fma(decay, load(k, shared.last + o), h0)
        store(scratch.h, o, h0)
        store(k, shared.new + o, h0)
        o += LANES


@kernel
def prefetch_columns(P, columns):
    """Prefetch what `multiply_columns` reads of P, of long columns the beginning."""
    width = P.shape[1]
    most = min(width + per_line(P) - 1, COLUMN_LINES * per_line(P))
    for i in range(len(columns)):
        at = columns[i] * width
        for o in range(0, most, per_line(P)):  # a row that does not start a line has one more
            prefetch(P, at + min(o, width - 1))


@kernel
def subtract_one(P, k):
    """P <- P - k k'."""
    size = P.shape[1]
    for row in range(P.shape[0]):
        k_row, at = splat(-k[row]), row * size
        for o in range(0, size, LANES):
            store_below(P, at + o, fma(k_row, load(k, o), load(P, at + o)), size - o)


@kernel
def subtract(P, k, count, width):
    """P <- P - sum_j k_j k_j': four rows and two vectors at a time stay in registers.

    k (at least count * width,) has the k_j one after another, padded with zeros.
    """
    row, size = 0, P.shape[1]
    while row + ROWS <= P.shape[0]:
        r0, r1, r2, r3 = row * size, (row + 1) * size, (row + 2) * size, (row + 3) * size
        o = 0
        while o + LANES < size:
            p = o + LANES
            for line in range(o + FOLD_AHEAD, o + FOLD_AHEAD + 2 * LANES, per_line(P)):  # also of the next neuron
                prefetch(P, r0 + line)
                prefetch(P, r1 + line)
                prefetch(P, r2 + line)
                prefetch(P, r3 + line)
            a0, b0 = load(P, r0 + o), load(P, r0 + p)
            a1, b1 = load(P, r1 + o), load(P, r1 + p)
            a2, b2 = load(P, r2 + o), load(P, r2 + p)
            a3, b3 = load(P, r3 + o), load(P, r3 + p)
            for at in range(0, count * width, width):
                x, y = load(k, at + o), load(k, at + p)
                f0, f1 = splat(-load_one(k, at + row)), splat(-load_one(k, at + row + 1))
                f2, f3 = splat(-load_one(k, at + row + 2)), splat(-load_one(k, at + row + 3))
                a0, b0 = fma(f0, x, a0), fma(f0, y, b0)
                a1, b1 = fma(f1, x, a1), fma(f1, y, b1)
                a2, b2 = fma(f2, x, a2), fma(f2, y, b2)
                a3, b3 = fma(f3, x, a3), fma(f3, y, b3)
            store_two(P, r0 + o, a0, b0, size - p)
            store_two(P, r1 + o, a1, b1, size - p)
            store_two(P, r2 + o, a2, b2, size - p)
            store_two(P, r3 + o, a3, b3, size - p)
            o += 2 * LANES
        while o < size:
            a0, a1 = load(P, r0 + o), load(P, r1 + o)
            a2, a3 = load(P, r2 + o), load(P, r3 + o)
            for at in range(0, count * width, width):
                x = load(k, at + o)
                a0 = fma(splat(-load_one(k, at + row)), x, a0)
                a1 = fma(splat(-load_one(k, at + row + 1)), x, a1)
                a2 = fma(splat(-load_one(k, at + row + 2)), x, a2)
                a3 = fma(splat(-load_one(k, at + row + 3)), x, a3)
            store_below(P, r0 + o, a0, size - o)
            store_below(P, r1 + o, a1, size - o)
            store_below(P, r2 + o, a2, size - o)
            store_below(P, r3 + o, a3, size - o)
            o += LANES
        row += ROWS
    while row < P.shape[0]:  # the remaining rows, one by one
        for o in range(0, size, LANES):
            a0 = load(P, row * size + o)
            for at in range(0, count * width, width):
                a0 = fma(splat(-load_one(k, at + row)), load(k, at + o), a0)
            store_below(P, row * size + o, a0, size - o)
        row += 1


@kernel
def store_two(P, at, a, b, count):
    """Store two vectors, the last one below `count`."""
    store(P, at, a)
    if count >= LANES:
        store(P, at + LANES, b)
    else:
        store_below(P, at + LANES, b, count)
