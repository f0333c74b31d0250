"""How kernels are compiled: the decorators and the number of threads.

Everything is cached on disk, and compiled anew when any module of this package has changed; Numba by itself looks only
at the module that a kernel is in, not at those that it calls.  Floating-point arithmetic is IEEE's, in the order of the
source: no sums are reassociated and no products contracted behind the reader's back, so a kernel gives the same bits
however and wherever it is compiled.  Where sums are to be vectorised or products fused, `rlsbench_numba.lanes` says so.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba

from rlsbench.errors import UnsupportedError

__all__ = ["kernel", "parallel_kernel", "use_threads"]

_SOURCES = sha256(b"".join(p.read_bytes() for p in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a sequential kernel, which a parallel one calls on a range of neurons."""
    return _stamped(numba.njit(cache=True, error_model="numpy", nogil=True)(function))


def parallel_kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel that runs ranges of neurons in parallel."""
    return _stamped(numba.njit(cache=True, error_model="numpy", nogil=True, parallel=True)(function))


def _stamped(dispatcher: Any) -> Any:
    """Let what is cached of a kernel hold as long as the whole package's sources do."""
    file = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if file is not None and hasattr(file, "_source_stamp"):  # neither is part of Numba's public interface
        file._source_stamp = (file._source_stamp, _SOURCES)
    return dispatcher


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
