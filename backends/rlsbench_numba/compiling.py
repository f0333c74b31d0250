"""How kernels are compiled: the decorators and the number of threads.

In: Python functions.  Out: compiled kernels, cached on disk if that can be written.  Knows no
kernel.

A cached kernel is compiled again when any module of this package has changed; Numba alone checks
only the module that a kernel is in, not those that it calls. Arithmetic follows IEEE 754 in the
order of the source: no sum is reassociated and no product contracted unless `rlsbench_numba.lanes`
says so. A kernel therefore gives the same bits however and wherever it is compiled.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numba

from rlsbench.errors import UnsupportedError

# Compiling what takes arguments from Python and from C takes longer than compiling most kernels.
ONLY_FROM_KERNELS: Final = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

_SOURCES = sha256(b"".join(p.read_bytes() for p in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a sequential kernel, which another one calls on a range of neurons; Python cannot.

    References to its arrays are not counted, which takes longer than some of what is done with
    them. So it must not allocate arrays.
    """
    return _compiled(function, _nrt=False, **ONLY_FROM_KERNELS)


def allocating_kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel that allocates arrays, and counts references; Python cannot call it."""
    return _compiled(function, **ONLY_FROM_KERNELS)


def kernel_of_python(function: Callable[..., Any]) -> Any:
    """Compile a sequential kernel that Python calls, too; it must not return an array."""
    return _compiled(function, _nrt=False, no_cfunc_wrapper=True)


def parallel_kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel of Python that calls others with `rlsbench_numba.by_address.in_parallel`.

    `use_threads` must have been called in the process.
    """
    return _compiled(function, no_cfunc_wrapper=True)


def loop_kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel with a `prange`."""
    return _compiled(function, parallel=True, **ONLY_FROM_KERNELS)


notes: list[str] = []
"""Remarks for the user."""


def _compiled(function: Callable[..., Any], **more: Any) -> Any:
    how: dict[str, Any] = {"error_model": "numpy", "nogil": True} | more
    try:
        return _stamped(numba.njit(cache=True, **how)(function))
    except RuntimeError:  # neither the installation nor a cache folder of the user can be written
        notes[:] = ["kernels are compiled anew in each process: set NUMBA_CACHE_DIR to a folder that can be written"]
        return numba.njit(**how)(function)


def _stamped(dispatcher: Any) -> Any:
    """Make a cached kernel valid for as long as no source of the package changes."""
    file = getattr(getattr(dispatcher, "_cache", None), "_cache_file", None)
    if file is not None and hasattr(file, "_source_stamp"):  # neither is part of Numba's public interface
        file._source_stamp = (file._source_stamp, _SOURCES)
    return dispatcher


_started: tuple[str, int, int] | None = None  # threading layer of Numba, and the process and thread that started it


def use_threads(threads: int) -> None:
    """Set how many threads run the parallel kernels that this thread calls next.

    `UnsupportedError` if Numba was started with fewer, or its threads do not serve this thread or
    process: Numba would end the process, and a pool of processes would wait for it for ever.
    """
    global _started
    layer, process, thread = _started or ("", 0, 0)
    if layer == "omp" and process != os.getpid():
        raise UnsupportedError(
            "Numba's threads were started before this process was forked, and do not exist in it: start processes with "
            "multiprocessing.get_context('spawn')"
        )
    if layer == "workqueue" and (process, thread) != (os.getpid(), threading.get_ident()):
        raise UnsupportedError(
            "Numba's threading layer workqueue serves one thread: train in the thread that trained first, evaluate "
            "with --threads 1, or set NUMBA_THREADING_LAYER to omp or tbb"
        )
    most = int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined,unused-ignore]
    if threads > most:
        raise UnsupportedError(f"threads = {threads}: Numba was started with at most {most}; set NUMBA_NUM_THREADS")
    try:
        numba.set_num_threads(threads)
    except ValueError as error:
        wanted = os.environ.get("NUMBA_THREADING_LAYER", "default")
        raise UnsupportedError(
            f"NUMBA_THREADING_LAYER = {wanted}: Numba cannot load this threading layer ({str(error).splitlines()[0]}); "
            "omp, tbb and workqueue are known, and workqueue is always there"
        ) from None
    if _started is None:
        layer = numba.threading_layer()  # type: ignore[attr-defined,unused-ignore]
        _started = layer, os.getpid(), threading.get_ident()
