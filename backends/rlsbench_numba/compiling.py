"""How kernels are compiled: the decorators and the number of threads.

In: Python functions.  Out: compiled kernels, cached on disk.  Knows no kernel.

A cached kernel is compiled again when any module of this package has changed; Numba alone checks
only the module that a kernel is in, not those that it calls. Arithmetic follows IEEE 754 in the
order of the source: no sum is reassociated and no product contracted unless `rlsbench_numba.lanes`
says so. A kernel therefore gives the same bits however and wherever it is compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba

from rlsbench.errors import UnsupportedError

_SOURCES = sha256(b"".join(p.read_bytes() for p in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a sequential kernel, which a parallel one calls on a range of neurons."""
    return _stamped(numba.njit(cache=True, error_model="numpy", nogil=True)(function))


def parallel_kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel that runs ranges of neurons in parallel.

    The body of its `prange` must do no more than call a sequential kernel: Numba loses a store into
    an array that is an attribute of a named tuple when the body makes it directly.
    """
    return _stamped(numba.njit(cache=True, error_model="numpy", nogil=True, parallel=True)(function))


def _stamped(dispatcher: Any) -> Any:
    """Make a cached kernel valid for as long as no source of the package changes."""
    file = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if file is not None and hasattr(file, "_source_stamp"):  # neither is part of Numba's public interface
        file._source_stamp = (file._source_stamp, _SOURCES)
    return dispatcher


def use_threads(threads: int) -> None:
    """Set how many threads run the parallel kernels that this thread calls next.

    `UnsupportedError` if Numba was started with fewer.
    """
    most = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined,unused-ignore]
    if threads > most:
        raise UnsupportedError(f"threads = {threads}: Numba was started with at most {most}; set NUMBA_NUM_THREADS")
    numba.set_num_threads(threads)
