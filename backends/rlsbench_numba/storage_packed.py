"""Arithmetic on one packed matrix P, (n (n + 1)/2,): a lower triangle, row by row.

In: P in units, vectors.  Out: products, or P updated in place.  Knows no form of the update.
Its counterpart is `rlsbench_numba.storage_full`.
"""

from __future__ import annotations

from rlsbench_numba import lanes
from rlsbench_numba.compiling import kernel
from rlsbench_numba.lanes import (
    LANES,
    fma,
    is_narrow,
    load,
    load_below,
    load_from,
    load_one,
    per_line,
    prefetch,
    select_below,
    splat,
    store,
    store_below,
    total,
)
from rlsbench_numba.tuning import EVENT_AHEAD, PACKED_AHEAD, SPARSE


@kernel
def multiply(k, P, x, n):
    """k = P x, each entry read once: as part of a row, and by symmetry of a column.

    Four rows at a time share the loads of x and the updates of k.
    """
    zero = splat(lanes.zero_of(x))
    for o in range(0, len(k), LANES):
        store(k, o, zero)
    row, at = 0, 0
    while row + 4 <= n:
        a0 = at
        a1 = a0 + row + 1
        a2 = a1 + row + 2
        a3 = a2 + row + 3
        x0, x1 = splat(x[row]), splat(x[row + 1])
        x2, x3 = splat(x[row + 2]), splat(x[row + 3])
        k0, k1, k2, k3 = zero, zero, zero, zero
        some = x[row] != 0 or x[row + 1] != 0 or x[row + 2] != 0 or x[row + 3] != 0
        o = 0
        while o + LANES <= row:  # left of the diagonal block
            for i in range(0, 4 * LANES, per_line(P)):
                prefetch(P, at + 4 * o + i + PACKED_AHEAD)
            P0, P1 = load(P, a0 + o), load(P, a1 + o)
            P2, P3 = load(P, a2 + o), load(P, a3 + o)
            x_o = load(x, o)
            k0, k1 = fma(P0, x_o, k0), fma(P1, x_o, k1)
            k2, k3 = fma(P2, x_o, k2), fma(P3, x_o, k3)
            if some:
                store(k, o, fma(P3, x3, fma(P2, x2, fma(P1, x1, fma(P0, x0, load(k, o))))))
            o += LANES
        while o < row + 4:  # the rest left of the diagonal, in vectors that may reach beyond it
            x_o = load(x, o)
            P0, P1 = load_below(P, a0 + o, row - o), load_below(P, a1 + o, row + 1 - o)
            P2, P3 = load_below(P, a2 + o, row + 2 - o), load_below(P, a3 + o, row + 3 - o)
            k0, k1 = fma(P0, x_o, k0), fma(P1, x_o, k1)
            k2, k3 = fma(P2, x_o, k2), fma(P3, x_o, k3)
            if some:
                store(k, o, fma(P3, x3, fma(P2, x2, fma(P1, x1, fma(P0, x0, load(k, o))))))
            o += LANES
        k[row] += total(k0) + load_one(P, a0 + row) * x[row]
        k[row + 1] += total(k1) + load_one(P, a1 + row + 1) * x[row + 1]
        k[row + 2] += total(k2) + load_one(P, a2 + row + 2) * x[row + 2]
        k[row + 3] += total(k3) + load_one(P, a3 + row + 3) * x[row + 3]
        at += 4 * row + 10
        row += 4
    while row < n:  # the remaining rows, one by one
        x0, k0 = splat(x[row]), zero
        for o in range(0, row, LANES):
            P0 = load_below(P, at + o, row - o)
            k0 = fma(P0, load(x, o), k0)
            store(k, o, fma(P0, x0, load(k, o)))
        k[row] += total(k0) + load_one(P, at + row) * x[row]
        row += 1
        at += row


@kernel
def multiply_columns(k, P, unit, jumps, shared, scratch, ag):
    """k_new = a g k_last + P s + sum_j c_j k_j.

    Most cache lines of a triangle hold a part of some column of an input that spiked. So P is
    read whole and in order, except in 16 bits where few inputs spiked: then arithmetic takes
    longer than reading. Parameters are those of `rlsbench_numba.storage_full.multiply_columns`.
    """
    columns, s, n = jumps.columns, jumps.s, shared.n
    h, x, c = scratch.h, scratch.x, scratch.c
    if is_narrow(P) and len(columns) * SPARSE < n:
        add_columns(h, P, unit, jumps, scratch.rows)
    else:
        for i in range(len(columns)):
            x[columns[i]] = s[i] * unit
        multiply(h, P, x, n)
        for i in range(len(columns)):
            x[columns[i]] = 0
    for o in range(0, shared.width, LANES):
        h_o = load_below(h, o, n - o)
        for j in range(shared.pending):
            h_o = fma(splat(c[j]), load(k, j * shared.width + o), h_o)
        h_o = fma(splat(ag), load(k, shared.last + o), h_o)
        store(h, o, h_o)
        store(k, shared.new + o, h_o)


@kernel
def add_columns(h, P, unit, jumps, rows):
    """h = P s from the columns of s that are not 0; in h beyond n is what follows P.

    Up to the diagonal, a column is a row. `rows` has where each row begins.
    """
    columns, s, zero = jumps.columns, jumps.s, splat(lanes.zero_of(h))
    lines = P.size // per_line(P) + 1
    for o in range(0, len(h), LANES):
        store(h, o, zero)
    for i in range(len(columns)):
        for line in range(lines * i // len(columns), lines * (i + 1) // len(columns)):
            prefetch(P, P.size * EVENT_AHEAD + line * per_line(P))
        s_i, column = splat(s[i] * unit), int(columns[i])
        at, diagonal = rows[column], column // LANES * LANES
        for o in range(0, diagonal, LANES):
            store(h, o, fma(s_i, load(P, at + o), load(h, o)))
        below = load_from(P, rows, diagonal, column)
        both = select_below(column + 1 - diagonal, load(P, at + diagonal), below)
        store(h, diagonal, fma(s_i, both, load(h, diagonal)))
        for o in range(diagonal + LANES, len(h), LANES):
            store(h, o, fma(s_i, load_from(P, rows, o, column), load(h, o)))


@kernel
def subtract(P, k, count, width, n):
    """P <- P - sum_j k_j k_j', four rows at a time.

    k (at least count * width,) has the k_j one after another, padded with zeros.
    """
    row, at = 0, 0
    while row + 4 <= n:
        r0 = at
        r1 = r0 + row + 1
        r2 = r1 + row + 2
        r3 = r2 + row + 3
        for o in range(0, row + 4, LANES):
            p0, p1 = load(P, r0 + o), load(P, r1 + o)
            p2, p3 = load(P, r2 + o), load(P, r3 + o)
            for j in range(0, count * width, width):
                k_o = load(k, j + o)
                p0, p1 = fma(splat(-load_one(k, j + row)), k_o, p0), fma(splat(-load_one(k, j + row + 1)), k_o, p1)
                p2, p3 = fma(splat(-load_one(k, j + row + 2)), k_o, p2), fma(splat(-load_one(k, j + row + 3)), k_o, p3)
            if o + LANES <= row + 1:
                store(P, r0 + o, p0)
                store(P, r1 + o, p1)
                store(P, r2 + o, p2)
                store(P, r3 + o, p3)
            else:  # beyond a row's end the next row begins
                store_below(P, r0 + o, p0, row + 1 - o)
                store_below(P, r1 + o, p1, row + 2 - o)
                store_below(P, r2 + o, p2, row + 3 - o)
                store_below(P, r3 + o, p3, row + 4 - o)
        at += 4 * row + 10
        row += 4
    while row < n:  # the remaining rows, one by one
        for o in range(0, row + 1, LANES):
            p0 = load(P, at + o)
            for j in range(0, count * width, width):
                p0 = fma(splat(-load_one(k, j + row)), load(k, j + o), p0)
            store_below(P, at + o, p0, row + 1 - o)
        row += 1
        at += row
