"""How kernels are compiled: the decorators and the number of threads.

Everything is cached on disk.  Floating-point arithmetic is IEEE's, in the order of the source: no sums are reassociated
and no products contracted behind the reader's back, so a kernel gives the same bits however and wherever it is
compiled.  Where sums are to be vectorised or products fused, `rlsbench_numba.lanes` says so.
"""

from __future__ import annotations

import numba

from rlsbench.errors import UnsupportedError

__all__ = ["kernel", "parallel_kernel", "use_threads"]

kernel = numba.njit(cache=True, error_model="numpy", nogil=True)
"""Decorator of a sequential kernel, which a parallel one calls on a range of neurons."""

parallel_kernel = numba.njit(cache=True, error_model="numpy", nogil=True, parallel=True)
"""Decorator of a kernel that runs ranges of neurons in parallel."""


def use_threads(threads: int) -> None:
    """Run the parallel kernels that this thread calls next in so many threads.

    Raises
    ------
    UnsupportedError
        If Numba was started with fewer.
    """
    most = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined,unused-ignore]
    if threads > most:
        raise UnsupportedError(f"threads = {threads}: Numba was started with at most {most}; set NUMBA_NUM_THREADS")
    numba.set_num_threads(threads)
