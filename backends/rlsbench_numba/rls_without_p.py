"""RLS without P: the update from the inputs in the recent past (docs/model.md section 3.6).

In: filtered spikes in the last h learning steps, currents u_bal and f.  Out: w, updated in place.

For one neuron, with X (n, h) the inputs x in the last h learning steps and x the last of them:

    (1) A = P_inv0 + X X'
    (2) A k = x
    (3) e = w.x + u_bal - f
    (4) w <- w - e k

All of it in float64; products and solution by BLAS and LAPACK.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench_numba.by_address import in_parallel
from rlsbench_numba.compiling import allocating_kernel, parallel_kernel
from rlsbench_numba.rls_plain import keep_signs


class Constants(NamedTuple):
    """What all neurons have in common."""

    inverse: NDArray[np.float64]
    """P_inv0 of the inputs that learn."""
    learned: NDArray[np.int64]
    """Numbers of the inputs that learn."""


@allocating_kernel
def learn_range(readout, past, sources, constants, blocks, block):
    """Equations (1) to (4) for the neurons of one of the blocks."""
    w, u_bal, f, benchmark, signs = readout
    inverse, learned = constants
    X = np.empty((len(learned), past.shape[1]))
    N = len(sources)
    for c in range(block * N // blocks, (block + 1) * N // blocks):
        if benchmark or np.isnan(f[c]):
            continue
        e = u_bal[c] - f[c]
        for i in range(sources.shape[1]):
            e += w[c, i] * past[sources[c, i], 0]
        for i in range(len(learned)):
            X[i] = past[sources[c, learned[i]]]
        k = np.linalg.solve(inverse + X @ X.T, X[:, 0].copy())
        for i in range(len(learned)):
            w[c, learned[i]] -= e * k[i]
        keep_signs(w[c], signs, c)


@parallel_kernel
def learn(readout, past, sources, constants, blocks):
    """Update w of every neuron in `blocks` ranges, which may run at once.

    Parameters
    ----------
    readout : Readout
    past : ndarray, shape (everyone, h)
        Filtered spikes of every neuron, also of other ranks, 1/ms, the last learning step first.
    sources : ndarray of int, shape (N, n)
    constants : Constants
    blocks : int
    """
    in_parallel(learn_range, (readout, past, sources, constants, blocks), blocks)
