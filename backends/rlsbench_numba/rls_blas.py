"""The RLS update of the published CPU scheme: threads call BLAS for one neuron after another.

In: P, w, the inputs x, currents u_bal and f.  Out: P and w, updated in place.  Knows nothing of
trials.

The equations are those of `rlsbench_numba.rls_plain`; (1) is symv or spmv, (3) syr or spr. BLAS is
the one that SciPy was built with. A lower triangle row by row is what BLAS calls an upper one,
column by column.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from numba import prange
from numba.extending import get_cython_function_address

from rlsbench_numba.rls_plain import keep_signs


def _routine(name: str, arguments: int) -> Any:
    """A BLAS routine that SciPy exports to Cython; all of its arguments are pointers."""
    address = get_cython_function_address("scipy.linalg.cython_blas", name)
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * arguments)(address)


@lru_cache
def update_kernel(p_precision: str, storage: str) -> Callable[..., None]:
    """Compile the update; not cached on disk, since addresses of routines change between runs.

    It is update(P, x, readout, blocks), of P (N, n, n) or (N, n (n + 1)/2) in float32 or float64, x
    (N, n) in the precision of P, `rlsbench_numba.rls_plain.Readout`, and the number of ranges of
    neurons that may run at once.
    """
    letter = {"float32": "s", "float64": "d"}[p_precision]
    packed = storage == "packed"
    xpmv = _routine(f"{letter}spmv", 9) if packed else _routine(f"{letter}symv", 10)
    xpr = _routine(f"{letter}spr", 6) if packed else _routine(f"{letter}syr", 7)

    if packed:

        @numba.njit(nogil=True)
        def multiply(P, x, k, upper, n, one, zero, step):
            a, b = x.ctypes, step.ctypes
            xpmv(upper.ctypes, n.ctypes, one.ctypes, P.ctypes, a, b, zero.ctypes, k.ctypes, b)

        @numba.njit(nogil=True)
        def subtract(P, minus_g, k, upper, n, step):
            xpr(upper.ctypes, n.ctypes, minus_g.ctypes, k.ctypes, step.ctypes, P.ctypes)

    else:

        @numba.njit(nogil=True)
        def multiply(P, x, k, upper, n, one, zero, step):
            a, b = x.ctypes, step.ctypes
            xpmv(upper.ctypes, n.ctypes, one.ctypes, P.ctypes, n.ctypes, a, b, zero.ctypes, k.ctypes, b)

        @numba.njit(nogil=True)
        def subtract(P, minus_g, k, upper, n, step):
            xpr(upper.ctypes, n.ctypes, minus_g.ctypes, k.ctypes, step.ctypes, P.ctypes, n.ctypes)

    @numba.njit(nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
    def update_range(P, w, x, u_bal, f, benchmark, signs, low, high):
        n = x.shape[1]
        k, minus_g = np.empty(n, P.dtype), np.empty(1, P.dtype)
        one, zero = np.ones(1, P.dtype), np.zeros(1, P.dtype)
        upper, size, step = np.full(1, ord("U"), np.uint8), np.full(1, n, np.int32), np.ones(1, np.int32)
        for c in range(low, high):
            multiply(P[c], x[c], k, upper, size, one, zero, step)  # (1)
            q = P.dtype.type(0)
            e = u_bal[c] - f[c]  # (4)
            for i in range(n):
                q += x[c, i] * k[i]
                e += w[c, i] * w.dtype.type(x[c, i])
            minus_g[0] = -1 / (1 + q)  # (2)
            subtract(P[c], minus_g, k, upper, size, step)  # (3)
            if not (benchmark or np.isnan(f[c])):
                for i in range(n):  # (5)
                    w[c, i] += w.dtype.type(minus_g[0]) * e * w.dtype.type(k[i])
                keep_signs(w[c], signs, c)

    @numba.njit(nogil=True, parallel=True)
    def update(P, x, readout, blocks):
        w, u_bal, f, benchmark, signs = readout
        N = len(w)
        for block in prange(blocks):
            update_range(P, w, x, u_bal, f, benchmark, signs, block * N // blocks, (block + 1) * N // blocks)

    kernel: Callable[..., None] = update
    return kernel
