"""P of all neurons on the device, and as host arrays: the counterpart of kernels/storage.cuh.

In: matrices in any storage.  Out: the same as they are stored, and device arrays.  Knows no
algorithm.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import Arrays, Kept
from rlsbench.precision import PRECISIONS, STORAGES
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
        flat = Kept(P).packed() if self.packed else Kept(P).full()
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

    def part(self, first: int, last: int) -> Kept:
        """A copy of P of the neurons first .. last-1, and their units if it is scaled."""
        precision = self.encoding.precision
        stored = self.device.take(self.values[first:last]).view(precision.stored)
        unit = self.device.take(self.unit[first:last]) if precision.scaled else None
        return Kept(stored.reshape(last - first, *self.encoding.shape), precision.name, unit)

    def set_part(self, first: int, P: Kept) -> None:
        """Take P of the neurons from `first` on; exact from the same storage and precision."""
        last = first + len(P.values)
        if P.type == self.encoding.precision.name and (P.values.ndim == 2) == self.encoding.packed:
            stored = np.ascontiguousarray(P.values).reshape(len(P.values), self.encoding.entries)
            unit = np.ones(len(stored), self.encoding.wide) if P.unit is None else P.unit
        else:
            stored, unit = self.encoding.encode(P.widened())
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
