"""P of all neurons as one tensor (N, n, n), in its own precision, and the blocks in which it is updated.

In: matrices.  Out: blocks of them in the precision in which they are computed, and back.  Knows no algorithm.

A block's P is read, multiplied and written while it is in the cache.  Where P is stored in 16 bits it is widened to
float32 in the block, and rounded to nearest, ties to even, when it is written.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlsbench.backend import Block, widened
from rlsbench.precision import PRECISIONS, unpack
from rlsbench_torch.devices import DTYPES, on_host

__all__ = ["Matrices", "multiply"]

BLOCK = {"cpu": 2**23, "cuda": 2**30, "mps": 2**28}  # bytes of P, as it is computed, in a block

Floats = NDArray[np.floating[Any]]


class Matrices:
    """P.

    Parameters
    ----------
    N : int
    P0 : ndarray, shape (n, n)
        What every neuron's P is at first.
    precision : str
        As it is stored.
    device : torch.device
    """

    def __init__(self, N: int, P0: Floats, precision: str, device: torch.device) -> None:
        n = len(P0)
        stored = DTYPES[precision]
        self.wide = torch.float64 if stored is torch.float64 else torch.float32
        self.N, self.n, self.device, self.precision = N, n, device, precision
        self.P = torch.empty((N, n, n), dtype=stored, device=device)
        self.P.copy_(torch.tensor(P0, dtype=self.wide, device=device))
        size = max(1, BLOCK[device.type] // max(1, n * n * self.wide.itemsize))
        self.blocks = [slice(c, min(c + size, N)) for c in range(0, N, size)]

    def take(self, block: slice) -> torch.Tensor:
        """P of a block (B, n, n) as it is computed; where it is stored so, the stored one itself."""
        return self.P[block].to(self.wide)

    def put(self, block: slice, P: torch.Tensor) -> None:
        """Write what `take` gave and an update changed."""
        if P.dtype is not self.P.dtype:
            self.P[block] = P

    def get(self) -> Floats:
        """A copy on the host."""
        P = torch.empty(self.P.shape, dtype=self.wide)
        for block in self.blocks:
            P[block] = self.P[block]
        return on_host(P)

    def set(self, P: Floats) -> None:
        """Take P (N, n, n), which is rounded."""
        for block in self.blocks:
            self.P[block] = torch.tensor(P[block], dtype=self.wide)

    def part(self, first: int, last: int) -> NDArray[Any]:
        """What is stored of some neurons, as in a `Block`: on the processor, a view."""
        P = self.P[first:last]
        if self.precision == "bfloat16":  # which NumPy does not know
            P = P.view(torch.int16)
        return on_host(P).view(PRECISIONS[self.precision].stored)

    def diagonal(self, first: int, last: int) -> Floats:
        """The diagonal of P of some neurons, (B, n), as it is computed: nothing else leaves the device."""
        return on_host(self.P[first:last].diagonal(dim1=1, dim2=2).to(self.wide))

    def set_part(self, first: int, block: Block) -> None:
        """Take P of the neurons from `first` on: bit for bit from full storage in the same precision."""
        stored = self.P[first : first + len(block.P)]
        if block.P.ndim != 3 or block.p_precision != self.precision:
            P = widened(block)
            stored.copy_(torch.tensor(P if P.ndim == 3 else unpack(P, self.n), dtype=self.wide))
        elif self.precision == "bfloat16":
            stored.view(torch.int16).copy_(torch.tensor(block.P.view(np.int16)))
        else:
            stored.copy_(torch.tensor(block.P))


def multiply(P: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """P x of each neuron, (B, n); P (B, n, n) is symmetric.

    On the processor, in float32, as sums of the rows of P times the entries of x: the kernel for sums of embeddings
    takes a third of the time of batched products of such small matrices (15 and 48 ms for 10,000 neurons, n = 90).
    """
    B, n = x.shape
    if P.device.type != "cpu":
        return torch.bmm(P, x[:, :, None])[:, :, 0]
    if P.dtype is not torch.float32 or torch.compiler.is_compiling():
        return (P * x[:, None, :]).sum(dim=2)
    rows = torch.arange(B * n)
    return sums_of_rows(P, rows, rows[::n] if n else rows, x.reshape(-1))


def sums_of_rows(P: torch.Tensor, rows: torch.Tensor, start: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Sums of `factors` times `rows` of P as (B n, n); the rows of a neuron's sum begin at its `start` (B,)."""
    table = P.view(-1, P.shape[-1])
    return torch.nn.functional.embedding_bag(rows, table, start, mode="sum", per_sample_weights=factors)
