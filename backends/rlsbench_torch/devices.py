"""Devices, dtypes and threads of PyTorch on this machine.

In: options.  Out: a device, or one clause that says why it cannot be used.  Knows no network.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from rlsbench.available import available_bytes
from rlsbench.backend import Options

T = TypeVar("T")


def dtype_of(declared: np.dtype[Any]) -> torch.dtype:
    """PyTorch's dtype of a declared one; bfloat16, which NumPy lacks, is declared by its bits."""
    dtype: torch.dtype = torch.bfloat16 if declared == np.uint16 else getattr(torch, declared.name)
    return dtype


def devices_here() -> list[str]:
    """The devices of this machine, for example ["cpu", "cuda:0"]."""
    found = ["cpu"]
    if torch.cuda.is_available():
        found += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append("mps")
    return found


def why_not(options: Options) -> str | None:
    """Why these options cannot be used here, or None."""
    kind, _, number = options.device.partition(":")
    there = devices_here()
    wanted = options.device if kind != "cuda" else f"cuda:{number or 0}"
    if wanted not in there and not (kind == "mps" and number in ("", "0") and "mps" in there):
        listed = f"there is {there[0]}" if len(there) == 1 else f"there are {', '.join(there[:-1])} and {there[-1]}"
        return f"there is no {options.device} here; {listed}"
    if kind == "mps" and "float64" in (options.precision, options.p_precision):
        return "mps has no float64; take float32"
    if options.compile and kind == "cpu" and shutil.which(os.environ.get("CXX", "g++")) is None:
        return "torch.compile needs a C++ compiler, and there is no g++ here; name one in CXX, or leave out --compile"
    return None


def free_bytes(device: str) -> int:
    """Free memory of a device, bytes."""
    kind = torch.device(device).type
    if kind == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if kind == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return available_bytes()


def synchronize(device: torch.device) -> None:
    """Wait until a device has finished all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def use_threads(threads: int) -> None:
    """Set the threads of operations called from this thread, for which PyTorch keeps them."""
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def blocks_of(N: int, size: int) -> list[slice]:
    """Consecutive blocks of `size` neurons, at least 1, that cover N."""
    size = max(1, size)
    return [slice(first, min(first + size, N)) for first in range(0, N, size)]


@lru_cache(maxsize=8)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "rlsbench-torch", initializer=torch.set_num_threads, initargs=(1,))


def in_parallel(work: Callable[[T], None], blocks: list[T], threads: int) -> None:
    """Run `work` on each block of neurons, in threads in each of which PyTorch uses one.

    Operations on a block are too small to be shared among threads: with two threads inside each
    operation an update took several times as long as with two threads that take blocks in turn.
    """
    if len(blocks) == 1:
        work(blocks[0])
    elif threads == 1:
        use_threads(1)
        for block in blocks:
            work(block)
    else:
        list(_pool(threads).map(torch.inference_mode()(work), blocks))  # the mode is set for each thread


def on_host(tensor: Tensor) -> np.ndarray[Any, Any]:
    """A tensor as a NumPy array; on the CPU it shares the tensor's memory."""
    array: np.ndarray[Any, Any] = tensor.cpu().numpy()
    return array
