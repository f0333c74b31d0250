"""One CUDA device: its stream, arrays, launches, and what they need of CuPy.

In: the name of a device.  Out: a `Device`, in whose context arrays are made and kernels run.  Imports CuPy when used;
uses of it no more than empty arrays, copies, RawModule, streams, events and graphs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["BLOCK", "Array", "Device", "blocks", "device_number"]

Array = Any  # a cupy.ndarray

BLOCK = 256  # threads of a block where a thread works on a neuron


def device_number(name: str) -> int:
    """The number of "cuda:1"; that of "cuda" is 0."""
    return int(name.partition(":")[2] or 0)


def blocks(threads: int, block: int = BLOCK) -> tuple[int]:
    """A grid with at least so many threads."""
    return (max(1, -(-threads // block)),)


class Device:
    """A device and a stream of its own, on which everything is done in order.

    Parameters
    ----------
    name : str
        As "cuda:0".
    """

    def __init__(self, name: str) -> None:
        import cupy

        self._cupy = cupy
        self._device = cupy.cuda.Device(device_number(name))
        with self._device:
            self.stream = cupy.cuda.Stream(non_blocking=True)
            cupy.get_default_memory_pool().free_all_blocks()  # of trainers that are no more, in pieces of other sizes

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make this device and its stream the current ones."""
        with self._device, self.stream:
            yield

    def zeros(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> Array:
        """An array of zeros."""
        return self._cupy.zeros(shape, dtype)

    def empty(self, shape: int | tuple[int, ...], dtype: DTypeLike) -> Array:
        """An array to be written before it is read."""
        return self._cupy.empty(shape, dtype)

    def array(self, values: NDArray[Any]) -> Array:
        """A copy of a host array."""
        copy = self._cupy.empty(values.shape, values.dtype)
        self.put(copy, values)
        return copy

    def put(self, array: Array, values: NDArray[Any]) -> None:
        """Copy host values into an array, or a range of its rows, after all that was asked for before."""
        if values.size:
            array.set(np.ascontiguousarray(values, array.dtype), stream=self.stream)

    def take(self, array: Array) -> NDArray[Any]:
        """A copy on the host, of what an array holds when all that was asked for before has been done."""
        values: NDArray[Any] = array.get(stream=self.stream)
        self.stream.synchronize()
        return values

    def synchronize(self) -> None:
        """Wait until all that was asked for has been done."""
        self.stream.synchronize()

    def event(self) -> Any:
        """An event, recorded now."""
        event = self._cupy.cuda.Event()
        event.record(self.stream)
        return event

    def milliseconds(self, start: Any, stop: Any) -> float:
        """Time between two events; waits for the second."""
        stop.synchronize()
        return float(self._cupy.cuda.get_elapsed_time(start, stop))

    @property
    def captures(self) -> bool:
        """Whether launches can be captured in graphs."""
        return hasattr(self.stream, "begin_capture") and hasattr(self.stream, "end_capture")
