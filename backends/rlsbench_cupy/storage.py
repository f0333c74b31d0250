"""P of all neurons on the device, and as host arrays: the counterpart of kernels/storage.cuh.

In: matrices in any storage.  Out: `Block`s as they are stored, and device arrays.  Knows no
algorithm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import Arrays, Block, widened
from rlsbench.precision import PRECISIONS, STORAGES, pack, unpack
from rlsbench_cupy.device import Array, Device, strided_grid
from rlsbench_cupy.tuning import BLOCK

Floats = NDArray[np.floating[Any]]

INT16_BITS = 14


class Encoding:
    """How P of a neuron with n inputs is stored: keys of `STORAGES` and `PRECISIONS`."""

    def __init__(self, n: int, storage: str, p_precision: str) -> None:
        self.n = n
        self.shape = STORAGES[storage].shape(n)
        self.entries = STORAGES[storage].entries(n)
        self.packed = storage == "packed"
        self.precision = PRECISIONS[p_precision]
        self.wide = self.precision.computed

    def encode(self, P: Floats) -> tuple[NDArray[Any], Floats]:
        """Stored numbers (B, entries) and units (B,) of P, (B, n, n) or (B, n(n+1)/2).

        Rounded to nearest, ties to even.
        """
        flat = (P if P.ndim == 2 else pack(P)) if self.packed else (P if P.ndim == 3 else unpack(P, self.n))
        flat = np.ascontiguousarray(flat).reshape(len(flat), self.entries)
        unit = np.ones(len(flat), self.wide)
        if self.precision.scaled:
            largest = np.maximum(np.abs(flat).max(axis=1, initial=0.0), 1e-30)
            unit[:] = 2.0 ** (np.ceil(np.log2(largest)) - INT16_BITS)
            flat = flat / unit[:, None]
        return self.precision.round(flat), unit


class Storage:
    """P of all neurons, initially P0 (n, n); `module` has the kernels spread and diagonal."""

    def __init__(self, encoding: Encoding, P0: Floats, arrays: Arrays[Array], device: Device, module: Any) -> None:
        self.encoding = encoding
        self.device = device
        self.values = arrays.new("P")
        self.unit = arrays.new("unit")
        self._diagonal = module.get_function("diagonal")
        N = len(self.values)
        one, unit = encoding.encode(P0[None])
        device.put(self.unit, np.repeat(unit, N))
        arguments = (np.int64(N), device.array(one[0].view(self.values.dtype)), self.values)
        module.get_function("spread")(strided_grid(self.values.size), (BLOCK,), arguments)
        device.synchronize()  # before the copied P is freed

    def part(self, first: int, last: int) -> tuple[NDArray[Any], Floats]:
        """A copy of P of the neurons first .. last-1 as in a `Block`, and their units."""
        stored = self.device.take(self.values[first:last]).view(self.encoding.precision.stored)
        return stored.reshape(last - first, *self.encoding.shape), self.device.take(self.unit[first:last])

    def set_part(self, first: int, block: Block) -> None:
        """Take P of the neurons from `first` on; exact from the same storage and precision."""
        last = first + len(block.P)
        if block.p_precision == self.encoding.precision.name and (block.P.ndim == 2) == self.encoding.packed:
            stored = np.ascontiguousarray(block.P).reshape(len(block.P), self.encoding.entries)
            unit = block.unit
        else:
            stored, unit = self.encoding.encode(widened(block))
        self.device.put(self.values[first:last], stored.view(self.values.dtype))
        self.device.put(self.unit[first:last], unit)
        self.device.synchronize()  # before the block is freed

    def diagonal(self, first: int, last: int) -> Floats:
        """Diagonals of P of the neurons first .. last-1, (B, n), in the computed precision."""
        found = self.device.empty((last - first, self.encoding.n), self.encoding.wide)
        if found.size:
            arguments = (np.int64(first), np.int64(last), self.values, self.unit, found)
            self._diagonal(strided_grid(found.size), (BLOCK,), arguments)
        return self.device.take(found)
