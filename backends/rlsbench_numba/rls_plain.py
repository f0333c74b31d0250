"""The RLS update, plain form: one pass to read all of P, one to update it.

In: P, w, the inputs x, currents u_bal and f.  Out: P and w, updated in place.  Knows nothing of
trials. Its counterpart is `rlsbench_numba.rls_event`, which reads only the columns of inputs that
spiked.

For one neuron with n plastic inputs (docs/model.md section 3):

    (1) k = P x
    (2) g = 1/(1 + x.k)
    (3) P <- P - g k k'
    (4) e = w.x + u_bal - f
    (5) w <- w - g e k

After (2), k stands for sqrt(g/unit) k, so that entries (i, j) and (j, i) of P get the same number.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench_numba import storage_full, storage_packed
from rlsbench_numba.by_address import in_parallel
from rlsbench_numba.compiling import allocating_kernel, kernel, parallel_kernel
from rlsbench_numba.lanes import LANES, cast, fma, load, per_line, prefetch, splat, store, total, widened, zero_of
from rlsbench_numba.rows import matrix_of
from rlsbench_numba.storage import inputs_of, multiply, padded_width, refine

Floats = NDArray[np.floating[Any]]


class Readout(NamedTuple):
    """What e = w.x + u_bal - f is computed from, in the precision of w."""

    w: Floats
    """(N, width), plastic weights, (threshold - reset) ms, padded with zeros."""
    u_bal: Floats
    """(at least N,), static current."""
    f: Floats
    """(N,), target current; NaN for a neuron without a target, whose w stays."""
    benchmark: bool
    """Leave all w unchanged."""
    signs: Floats
    """(n,) or (N, n), 1 or -1 where a weight keeps this sign, 0 elsewhere; empty if none does."""


class Inputs(NamedTuple):
    """Where x, 1/ms, comes from: `given` or, if that is empty, x = [r_X; r[sources]]."""

    given: Floats
    """(N, n) or (0, 0)"""
    r_X: Floats
    """(LX,), filtered spikes of the feed-forward inputs."""
    r: Floats
    """(lines,), filtered spikes of the neurons, as they arrive."""
    sources: NDArray[np.int32]
    """(N, 2 L), which entries of r."""


@kernel
def update_neuron(P, unit, w, x, k, n, u_minus_f, frozen, signs, c):
    """Equations (1) to (5) for one neuron, with a row of each array in `Matrices` and `Readout`.

    x (width,), padded with zeros, and the scratch k have the precision in which P is computed.
    """
    width = len(x)
    # (1) k = P x, in units of P
    multiply(k, P, x, n)
    zero = splat(zero_of(unit))
    q = zero
    y = splat(zero_of(w))
    for o in range(0, width, LANES):
        x_o, w_o = load(x, o), load(w, o)
        q = fma(x_o, load(k, o), q)
        y = fma(cast(x_o, w_o), w_o, y)
    # (2) g = 1/(1 + x.k), and k <- sqrt(g/unit) k
    root_g = np.sqrt(1 / (1 + unit * total(q)))
    factor = splat(widened(x, root_g * np.sqrt(unit)))
    for o in range(0, width, LANES):
        store(k, o, fma(factor, load(k, o), zero))
    # (3) P <- P - g k k'
    if P.ndim == 2:  # a compile-time constant
        storage_full.subtract_one(P, k)
    else:
        storage_packed.subtract(P, k, 1, width, n)
    # (4) e = w.x + u_bal - f
    e = total(y) + u_minus_f
    # (5) w <- w - g e k
    if not frozen:
        root_ge = splat(widened(w, -(root_g * np.sqrt(unit)) * e))
        for o in range(0, width, LANES):
            w_o = load(w, o)
            store(w, o, fma(root_ge, cast(load(k, o), w_o), w_o))
        keep_signs(w, signs, c)


@kernel
def keep_signs(w, signs, c):
    """Set the weights w of neuron c to 0 that have another sign than `signs`."""
    if signs.ndim == 2:  # a compile-time constant
        for i in range(signs.shape[1]):
            if w[i] * signs[c, i] < 0:
                w[i] = 0
    else:
        for i in range(len(signs)):
            if w[i] * signs[i] < 0:
                w[i] = 0


@kernel
def prefetch_matrix(P):
    """Prefetch all of a neuron's P."""
    for o in range(0, P.size, per_line(P)):
        prefetch(P, o)


@kernel
def gather(x, inputs, n, c):
    """Write the n inputs of neuron c into x (at least n,), and 0 beyond them."""
    if len(inputs.given) > 0:
        for i in range(n):
            x[i] = inputs.given[c, i]
    else:
        LX = len(inputs.r_X)
        for i in range(LX):
            x[i] = inputs.r_X[i]
        for i in range(n - LX):
            x[LX + i] = inputs.r[inputs.sources[c, i]]
    for i in range(n, len(x)):
        x[i] = 0


@kernel
def learn_each(matrices, readout, inputs, low, high, all_x, all_k):
    """`learn` for the neurons low .. high-1, with scratch vectors (width,) for x and k."""
    all_P, unit, most, sizes, _, place = matrices
    w, u_bal, f = readout.w, readout.u_bal, readout.f
    for c in range(low, high):
        n = inputs_of(most, sizes, c)
        width = padded_width(n)
        P, x, k = matrix_of(all_P, place, c), all_x[:width], all_k[:width]
        prefetch_matrix(matrix_of(all_P, place, min(c + 1, high - 1)))
        gather(x, inputs, n, c)
        k[n:] = 0
        unit[c] = refine(P, unit[c], n)
        frozen = readout.benchmark or np.isnan(f[c])
        update_neuron(P, unit[c], w[c], x, k, n, u_bal[c] - f[c], frozen, readout.signs, c)


@allocating_kernel
def learn_range(matrices, readout, inputs, ranges, i):
    """`learn` for range i."""
    low, high, width, dtype = ranges[i], ranges[i + 1], readout.w.shape[1], matrices.unit.dtype
    learn_each(matrices, readout, inputs, low, high, np.zeros(width, dtype), np.zeros(width, dtype))


@parallel_kernel
def learn(matrices, readout, inputs, ranges):
    """Update P and w of the neurons ranges[0] .. ranges[-1]-1, in ranges that may run at once."""
    in_parallel(learn_range, (matrices, readout, inputs, ranges), len(ranges) - 1)


@kernel
def gather_range(x, inputs, blocks, block):
    """`gather_inputs` for one of the blocks."""
    N = len(x)
    for c in range(block * N // blocks, (block + 1) * N // blocks):
        gather(x[c], inputs, x.shape[1], c)


@parallel_kernel
def gather_inputs(x, inputs, blocks):
    """Write the inputs of every neuron into x (N, n), for a form that needs them side by side."""
    in_parallel(gather_range, (x, inputs, blocks), blocks)
