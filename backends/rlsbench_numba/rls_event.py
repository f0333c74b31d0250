"""The RLS update, event form: the same result from those columns of P whose inputs have spiked.

In: P without the pending updates, and the inputs that spiked since the last update.  Out: w, and
one more pending rank-1 update (k, g).  Knows nothing of trials. Its counterpart is
`rlsbench_numba.rls_plain`.

Between two updates all filtered inputs decay by one factor a and jump where their neuron spiked:
x_t = a x_(t-1) + s_t, where few entries of s_t are not zero. After the update at t-1,
P_(t-1) x_(t-1) = g_(t-1) k_(t-1). So with q = x.k and y = w.x, w before the update at t, and
indices t-1 left out on the right-hand sides, docs/model.md section 3 becomes

    (1) k_t = a g k + P_(t-1) s              = P_(t-1) x_t
    (2) q_t = a^2 g q + a g s.k + s.k_t      = x_t.k_t
    (3) y_t = a (y - g e q) + w.s            = w.x_t
    (4) g_t = 1/(1 + q_t),  e_t = y_t + u_bal - f              (e_t = 0 where w stays unchanged)
    (5) w <- w - g_t e_t k_t

P itself is written only every m updates. With the pending updates (k_j, g_j) since then,

    (6) P_(t-1) s = P s + sum_j c_j k_j,  c_j = -g_j s.k_j
    (7) P <- P - sum_j g_j k_j k_j'                            (`apply_pending`)

where P s takes the columns of the inputs that spiked.

At the first update of a trial x_0 = 0, g = 0, and s is all of x. The form needs one decay for all
inputs, and so one tau_plas for all neurons.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench_numba import storage_full, storage_packed
from rlsbench_numba.by_address import in_parallel
from rlsbench_numba.compiling import allocating_kernel, kernel, parallel_kernel
from rlsbench_numba.lanes import LANES, cast, fma, load, load_one, per_line, prefetch, splat, store, widened, zero_of
from rlsbench_numba.rows import matrix_of, row_of
from rlsbench_numba.storage import inputs_of, padded_width, refine, subtract
from rlsbench_numba.tuning import EVENT_AHEAD

Floats = NDArray[np.floating[Any]]


class Pending(NamedTuple):
    """What updates leave to later ones, in the precision in which P is computed unless noted."""

    k: Floats
    """(N, m width), k_j of the pending updates in units, padded with zeros; flat where n varies. In
    float16 if P is."""
    g: Floats
    """(N, m), their g_j."""
    last: Floats
    """(N, 2), q and g of the last update; 0 before the first one of a trial."""
    error: Floats
    """(N, 2), y and e of the last update, in the precision of w."""
    unit: np.floating[Any]
    """Value of a stored 1 of k, a power of two: 1 unless k is in 16 bits."""


class Shared(NamedTuple):
    """What all neurons have in common in an update, or all with the same n."""

    a: np.floating[Any]
    """Decay of the inputs since the last update, in the precision in which P is computed."""
    n: int
    width: int
    """Plastic inputs, and the padded length of a vector of them."""
    pending: int
    """How many updates are pending, fewer than m; their k come first in a row of `Pending.k`."""
    last: int
    """Where in the row the last update's k starts: if nothing is pending, in the last place."""
    new: int
    """Where the new k starts."""
    unit: np.floating[Any]
    """That of `Pending`."""


class Sparse(NamedTuple):
    """The vector s of a neuron."""

    columns: NDArray[np.uint16]
    """(spiked,), its inputs that spiked."""
    s: Floats
    """(spiked,), their jumps, 1/ms."""


class Last(NamedTuple):
    """The last update of a neuron; see the equations above."""

    q: np.floating[Any]
    g: np.floating[Any]
    y: np.floating[Any]
    e: np.floating[Any]


class Scratch(NamedTuple):
    """Vectors that one thread uses for one neuron after another."""

    h: Floats
    """(width,), k_t in full precision, and sums before it."""
    x: Floats
    """(width,), 0 before and after."""
    c: Floats
    """(m,), c_j of equation (6)."""
    rows: NDArray[np.int64]
    """(width,), where the rows of a triangle begin."""


@kernel
def update_neuron(P, unit, w, k, g_j, last, jumps, shared, u_minus_f, frozen, scratch):
    """Equations (1) to (6) for one neuron, with a row of each array in `Matrices` and `Pending`.

    The new update is appended to k (m width,) and g_j (m,), and returned as a `Last`.
    """
    a, width = shared.a, shared.width
    columns, s, c = jumps.columns, jumps.s, scratch.c
    q, g, y, e = last
    # (6) c_j = -g_j s.k_j
    for j in range(shared.pending):
        s_k = zero_of(a)
        for i in range(len(columns)):
            s_k = fma(s[i], load_one(k, j * width + columns[i]), s_k)
        c[j] = -g_j[j] * (s_k * shared.unit)
    # s.k and w.s
    s_k = zero_of(a)
    w_s = zero_of(y)
    for i in range(len(columns)):
        s_k = fma(s[i], load_one(k, shared.last + columns[i]), s_k)
        w_s += w[columns[i]] * s[i]
    # (1) k_t = a g k + P_(t-1) s
    if P.ndim == 2:  # a compile-time constant
        storage_full.multiply_columns(k, P, unit / shared.unit, jumps, shared, scratch, a * g)
    else:
        storage_packed.multiply_columns(k, P, unit / shared.unit, jumps, shared, scratch, a * g)
    s_k_new = zero_of(a)
    for i in range(len(columns)):
        s_k_new = fma(s[i], scratch.h[columns[i]], s_k_new)
    # (2) q_t = a^2 g q + a g s.k + s.k_t
    q_new = a * a * g * q + (a * g * s_k + s_k_new) * shared.unit
    # (3) y_t = a (y - g e q) + w.s
    y_new = a * (y - g * e * q) + w_s
    # (4) g_t = 1/(1 + q_t), in float64; e_t = y_t + u_bal - f
    g_new = 1.0 / (1.0 + q_new)
    e_new = zero_of(y) if frozen else y_new + u_minus_f
    # (5) w <- w - g_t e_t k_t
    if not frozen:
        ge = splat(widened(w, -g_new * e_new * shared.unit))
        for o in range(0, width, LANES):
            w_o = load(w, o)
            store(w, o, fma(ge, cast(load(scratch.h, o), w_o), w_o))
    g_j[shared.pending] = g_new
    return Last(q_new, g_new, y_new, e_new)


@kernel
def shared_of(a, n, pending, m, unit):
    """`Shared` of the neurons with n inputs."""
    width = padded_width(n)
    return Shared(a, n, width, pending, ((pending - 1) % m) * width, pending * width, unit)


@kernel
def prefetch_neuron(P, w, k, shared, columns):
    """Prefetch what `update_neuron` reads of a neuron, except a packed P."""
    width = shared.width
    if P.ndim == 2:
        storage_full.prefetch_columns(P, columns)
    for o in range(0, shared.new + width, per_line(k)):
        prefetch(k, o)
    for o in range(0, width, per_line(w)):
        prefetch(w, o)


@kernel
def learn_each(matrices, readout, pending, count, a, spiked, base, low, high, scratch):
    """`learn` for the neurons low .. high-1, whose lists are counted from `base`.

    `scratch` is for the largest n.
    """
    P, unit, n, sizes, vectors, place = matrices
    w, u_bal, f = readout.w, readout.u_bal, readout.f
    start, columns, s = spiked.start, spiked.columns, spiked.s
    k, g_j, last, error, k_unit = pending
    m = g_j.shape[1]
    for c in range(low, high):
        ahead = min(c + EVENT_AHEAD, high - 1)
        first, after = start[ahead] - base, start[ahead + 1] - base
        shared = shared_of(a, inputs_of(n, sizes, ahead), count, m, k_unit)
        own_P, own_k = matrix_of(P, place, ahead), row_of(k, vectors, m, ahead)
        prefetch_neuron(own_P, w[ahead], own_k, shared, columns[first:after])
        first, after = start[c] - base, start[c + 1] - base
        shared = shared_of(a, inputs_of(n, sizes, c), count, m, k_unit)
        own = Scratch(scratch.h[: shared.width], scratch.x[: shared.width], scratch.c, scratch.rows)
        now = update_neuron(
            matrix_of(P, place, c),
            unit[c],
            w[c],
            row_of(k, vectors, m, c),
            g_j[c],
            Last(last[c, 0], last[c, 1], error[c, 0], error[c, 1]),
            Sparse(columns[first:after], s[first:after]),
            shared,
            u_bal[c] - f[c],
            readout.benchmark or np.isnan(f[c]),
            own,
        )
        last[c, 0] = now.q
        last[c, 1] = now.g
        error[c, 0] = now.y
        error[c, 1] = now.e


@allocating_kernel
def learn_range(matrices, readout, pending, count, a, spiked, ranges, i):
    """`learn` for range i."""
    width, m, dtype = readout.w.shape[1], pending.g.shape[1], pending.g.dtype
    rows = np.arange(width)
    rows = rows * (rows + 1) // 2
    scratch = Scratch(np.zeros(width, dtype), np.zeros(width, dtype), np.zeros(m, dtype), rows)
    base, low, high = spiked.start[ranges[0]], ranges[i], ranges[i + 1]
    learn_each(matrices, readout, pending, count, a, spiked, base, low, high, scratch)


@parallel_kernel
def learn(matrices, readout, pending, count, a, spiked, ranges):
    """Update the neurons ranges[0] .. ranges[-1]-1 from the inputs that spiked, ranges at once.

    `count` updates are pending, fewer than m; the inputs have decayed by `a` since the last one.
    """
    in_parallel(learn_range, (matrices, readout, pending, count, a, spiked, ranges), len(ranges) - 1)


@kernel
def apply_each(matrices, pending, count, low, high, scaled):
    """`apply_range`, with a scratch array as large as the largest row of `Pending.k`."""
    all_P, unit, most, sizes, vectors, place = matrices
    all_k, g_j = pending.k, pending.g
    m = g_j.shape[1]
    for c in range(low, high):
        n = inputs_of(most, sizes, c)
        width = padded_width(n)
        P, k = matrix_of(all_P, place, c), row_of(all_k, vectors, m, c)
        unit[c] = refine(P, unit[c], n)
        zero = splat(zero_of(unit))
        for j in range(count):
            factor = splat(np.sqrt(g_j[c, j] / unit[c]) * pending.unit)
            for o in range(j * width, (j + 1) * width, LANES):
                store(scaled, o, fma(factor, load(k, o), zero))
        subtract(P, scaled, count, width, n)
        if count < m:
            for o in range(0, width, LANES):
                store(k, (m - 1) * width + o, load(k, (count - 1) * width + o))


@allocating_kernel
def apply_range(matrices, pending, count, ranges, i):
    """`apply_pending` for range i; the last k moves to the last place."""
    scaled = np.empty(pending.g.shape[1] * padded_width(matrices.n), pending.g.dtype)
    apply_each(matrices, pending, count, ranges[i], ranges[i + 1], scaled)


@parallel_kernel
def apply_pending(matrices, pending, count, ranges):
    """Equation (7): apply the `count` pending updates of the neurons in some ranges to P."""
    in_parallel(apply_range, (matrices, pending, count, ranges), len(ranges) - 1)
