"""How kernels are compiled: the decorators, the floating-point rules and the number of threads.

Everything is cached on disk.  Sums may be reassociated and products contracted into fused multiply-adds, which is what
lets LLVM vectorise a dot product; NaN and infinity keep their meaning.
"""

from __future__ import annotations

import numba

from rlsbench.errors import UnsupportedError

__all__ = ["kernel", "parallel_kernel", "use_threads"]

_RULES = {"reassoc", "contract", "nsz", "arcp"}

kernel = numba.njit(cache=True, fastmath=_RULES, error_model="numpy", nogil=True)
"""Decorator of a sequential kernel, which a parallel one calls on a range of neurons."""

parallel_kernel = numba.njit(cache=True, fastmath=_RULES, error_model="numpy", nogil=True, parallel=True)
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
