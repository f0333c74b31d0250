"""P of neurons as one tensor (N, n, n), and the blocks in which it is updated.

In: matrices.  Out: blocks of them in the precision of the computation, and back.  Knows no
algorithm.

A block of P is read, multiplied and written while it is in the cache. If P is stored in 16 bits, a
block is widened to float32, and rounded to nearest, ties to even, when it is written.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlsbench.backend import ClassedMatrices, Kept
from rlsbench.precision import PRECISIONS
from rlsbench_torch.devices import blocks_of, on_host
from rlsbench_torch.tuning import P_BLOCK_BYTES

Floats = NDArray[np.floating[Any]]


class Storage:
    """P (N, n, n), stored in `precision`, which begins as P0 (n, n) for every neuron.

    There are at least `parts` blocks, if there are as many neurons.
    """

    def __init__(self, P: Tensor, P0: Floats, precision: str, parts: int = 1) -> None:
        N, n, _ = P.shape
        self.P = P
        self.precision = precision
        self.wide = torch.float64 if P.dtype is torch.float64 else torch.float32
        self.P.copy_(torch.tensor(P0, dtype=self.wide, device=P.device))
        size = P_BLOCK_BYTES[P.device.type] // max(1, n * n * self.wide.itemsize)
        self.blocks = blocks_of(N, min(size, -(-N // parts)))

    def take(self, block: slice) -> Tensor:
        """P of a block (B, n, n) in the precision of the computation; a view if it is stored so."""
        return self.P[block].to(self.wide)

    def put(self, block: slice, P: Tensor) -> None:
        """Write back what `take` returned and an update changed in place."""
        if P.dtype is not self.P.dtype:
            self.P[block] = P

    def part(self, first: int, last: int) -> Kept:
        """P of the neurons first .. last-1, a view on the CPU."""
        P = self.P[first:last]
        if self.precision == "bfloat16":  # has no NumPy dtype
            P = P.view(torch.int16)
        return Kept(on_host(P).view(PRECISIONS[self.precision].stored), self.precision)

    def set_part(self, first: int, P: Kept) -> None:
        """Take P of the neurons from `first` on; exact from full storage in the same precision."""
        stored = self.P[first : first + len(P.values)]
        if P.values.ndim != 3 or P.type != self.precision:
            stored.copy_(torch.tensor(P.full(), dtype=self.wide))
        elif self.precision == "bfloat16":
            stored.view(torch.int16).copy_(torch.tensor(P.values.view(np.int16)))
        else:
            stored.copy_(torch.tensor(P.values))

    def diagonal(self, first: int, last: int) -> Floats:
        """Diagonals of P, (B, n), in the computed precision; only they leave the device."""
        return on_host(self.P[first:last].diagonal(dim1=1, dim2=2).to(self.wide))


class ClassedStorage(ClassedMatrices[Storage]):
    """P where numbers of inputs vary, in classes of similar numbers."""

    def diagonal(self, first: int, last: int) -> Floats:
        """As of `Storage`; n is the largest of these neurons, and rows end in zeros."""
        n = int(self.inputs[first:last].max(initial=0))
        padded = np.zeros((last - first, n), self.storages[0].diagonal(0, 0).dtype)
        for share in self.shares(first, last):
            own = share.storage.diagonal(share.first, share.last)[:, :n]
            padded[share.rows, : own.shape[1]] = own
        return padded


def multiply(P: Tensor, x: Tensor) -> Tensor:
    """P x of each neuron, (B, n), for symmetric P (B, n, n).

    In float32 on the CPU the rows of P are summed with the entries of x as weights: the kernel for
    sums of embeddings takes a third of the time of batched products of such small matrices (15 and
    48 ms for 10,000 neurons, n = 90).
    """
    B, n = x.shape
    if P.device.type != "cpu":
        return torch.bmm(P, x[:, :, None])[:, :, 0]
    if P.dtype is not torch.float32 or torch.compiler.is_compiling() or not n:
        return (P * x[:, None, :]).sum(dim=2)
    rows = torch.arange(B * n)
    return sums_of_rows(P, rows, rows[::n], x.reshape(-1))


def sums_of_rows(P: Tensor, rows: Tensor, start: Tensor, factors: Tensor) -> Tensor:
    """Weighted sums of rows of P, (B, n); P (B, n, n) or (R, n) is read as a table of rows.

    `rows` (S,) are summed with the weights `factors` (S,), from `start` (B,) on for each neuron.
    """
    table = P.view(-1, P.shape[-1])
    return torch.nn.functional.embedding_bag(rows, table, start, mode="sum", per_sample_weights=factors)
