"""One CUDA device: its stream, arrays and copies, and the grids of launches.

In: the number of a device.  Out: a `Device`, in whose context arrays are made and kernels run.
Imports CuPy on first use, and uses only its arrays, copies, RawModule, streams, events and graphs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rlsbench.ranks import Communicator
from rlsbench_cupy.tuning import BLOCK, GRID_STRIDE_BLOCKS

Array = Any  # a cupy.ndarray


def device_number(name: str) -> int:
    """The number of "cuda:1"; that of "cuda" is 0."""
    return int(name.partition(":")[2] or 0)


def device_of_rank(name: str, ranks: Communicator) -> tuple[int, int]:
    """The number of this rank's device, and how many ranks of its node have the same one.

    Ranks take the devices of their node in turn, unless the name has a number.
    """
    if ":" in name or not ranks.spread:
        return device_number(name), ranks.here
    import cupy

    devices = int(cupy.cuda.runtime.getDeviceCount())
    number = ranks.place % devices
    return number, max(1, len(range(number, ranks.here, devices)))


def grid_of(threads: int) -> tuple[int]:
    """A grid of blocks of BLOCK threads with at least so many threads."""
    return (max(1, -(-threads // BLOCK)),)


def strided_grid(threads: int) -> tuple[int]:
    """The same for a kernel with a grid-stride loop."""
    return (min(GRID_STRIDE_BLOCKS, *grid_of(threads)),)


class Device:
    """A device, by its number, with its own stream, on which all operations run in order."""

    def __init__(self, number: int) -> None:
        import cupy

        self._cupy = cupy
        self._device = cupy.cuda.Device(number)
        with self._device:
            self.stream = cupy.cuda.Stream(non_blocking=True)
            cupy.get_default_memory_pool().free_all_blocks()  # fragments of freed trainers

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make this device and its stream the current ones."""
        with self._device, self.stream:
            yield

    def zeros(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> Array:
        """An array of zeros."""
        return self._cupy.zeros(shape, dtype)

    def empty(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> Array:
        """An uninitialized array."""
        return self._cupy.empty(shape, dtype)

    def array(self, values: NDArray[Any]) -> Array:
        """A copy of a host array."""
        copy = self._cupy.empty(values.shape, values.dtype)
        self.put(copy, values)
        return copy

    def put(self, array: Array, values: NDArray[Any]) -> None:
        """Copy host values into an array, or into rows of it, after all queued work."""
        if values.size:
            array.set(np.ascontiguousarray(values, array.dtype), stream=self.stream)

    def take(self, array: Array) -> NDArray[Any]:
        """A copy on the host, made after all queued work."""
        values: NDArray[Any] = array.get(stream=self.stream)
        self.stream.synchronize()
        return values

    def synchronize(self) -> None:
        """Wait for all queued work."""
        self.stream.synchronize()

    def event(self) -> Any:
        """An event, recorded now."""
        event = self._cupy.cuda.Event()
        event.record(self.stream)
        return event

    def milliseconds(self, start: Any, stop: Any) -> float:
        """Time between two events, ms; waits for the second."""
        stop.synchronize()
        return float(self._cupy.cuda.get_elapsed_time(start, stop))
