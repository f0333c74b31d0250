"""Which form of the update is faster, and what an update of one neuron costs by count.

In: `Sizes` or n, and `Options`.  Out: a decision, or a `Cost`.  Imports no Numba.
"""

from __future__ import annotations

from dataclasses import replace

from rlsbench.backend import Cost, Options, Sizes, pending_updates, plain_cost
from rlsbench.precision import PRECISIONS, STORAGES
from rlsbench_numba.arrays import pending_dtype
from rlsbench_numba.tuning import LONG_MS, PENDING_PER_ROOT_N, SMALL_N


def plain_is_faster(sizes: Sizes, options: Options) -> bool:
    """Whether the plain form takes less time where both apply, as measured (docs/performance.md).

    With full storage it never does. An event update reads a whole triangle and saves only writing:
    too little where the triangle is small, or where so many inputs spike between two updates that
    their lists cost more.
    """
    if options.storage == "full":
        return False
    small = sizes.typical < SMALL_N and not PRECISIONS[options.p_precision].narrow
    return small or sizes.learn_every_ms > LONG_MS


def update_cost(n: int, options: Options, spiked: float, *, blas: bool) -> Cost:
    """Bytes that one update moves, and its additions and multiplications.

    An event update reads the columns of the inputs that spiked and the pending rank-1 updates
    (k_j, g_j); P is written every m updates. In operations: the columns take 2 n each; each pending
    update 2 for each column and 2 n more; k, s.k, w.s and w - g e k some 8 n; applying m pending
    updates to P two for each entry of P and pending update. `spiked` inputs have spiked since the
    last update, on average; BLAS reads and writes one triangle, also of a full matrix.
    """
    if options.algorithm == "plain":
        return plain_cost(n, replace(options, storage="packed") if blas else options)
    p, real = PRECISIONS[options.p_precision], PRECISIONS[options.precision].bytes
    m, entries = pending_updates(n, PENDING_PER_ROOT_N), STORAGES[options.storage].entries(n)
    # A column of a triangle is spread over all of it.
    columns = min(spiked * n, entries) if options.storage == "full" else entries
    pending = (m - 1) / 2  # on average
    k_bytes = pending_dtype(options).itemsize * n
    moved = p.bytes * columns + k_bytes * (pending + 2) + 2 * real * n
    written = (2 * p.bytes * entries + k_bytes * m) / m
    operations = 2 * n * spiked + pending * (2 * spiked + 2 * n) + 8 * n + 2 * entries
    return Cost(moved + written, operations)
