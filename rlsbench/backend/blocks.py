"""The state of a trainer, some neurons at a time, in the numbers in which it is kept.

In: a `Trainer`.  Out: `Block`s, and a trainer filled from them.  Knows encodings of P; knows no file and no backend.

A trainer that conforms to `Streamed` hands out its arrays as they stand, so that saving them takes no second copy of P,
and takes them back bit for bit.  Of any other trainer the whole state is copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend.protocol import State, Trainer, pack, unpack

__all__ = [
    "STORED",
    "Block",
    "Streamed",
    "TellsDiagonal",
    "diagonal",
    "load_blocks",
    "saved_blocks",
    "settled_shape",
    "widened",
]

STORED: Final[dict[str, np.dtype[Any]]] = {
    "float64": np.dtype("<f8"),
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "bfloat16": np.dtype("<u2"),  # the upper half of a float32's bits
    "int16": np.dtype("<i2"),
}
"""Precision of P to the type of what is stored of it."""


class Block(NamedTuple):
    """Weights and P of consecutive neurons, on the host."""

    w: NDArray[np.floating[Any]]
    """(B, n)"""
    P: NDArray[Any]
    """(B, n, n) or (B, n(n+1)/2), lower triangles row by row; of type `STORED[p_precision]`."""
    unit: NDArray[np.floating[Any]]
    """(B,), what a stored 1 stands for: 1 but for int16."""
    p_precision: str


@runtime_checkable
class Streamed(Protocol):
    """What a trainer adds that gives its state some neurons at a time."""

    def settle(self) -> None:
        """Write into P every update so far, and every entry that updates leave out."""

    def block(self, first: int, last: int) -> Block:
        """The neurons first .. last-1: views of the trainer's arrays where there can be, valid until it goes on.

        Without `settle`, P is as it was last written, and of a full matrix the lower triangle counts.
        """

    def load_block(self, first: int, block: Block) -> None:
        """Take the neurons from `first` on: bit for bit where storage and precision are the trainer's, else rounded."""

    def gain(self) -> NDArray[np.floating[Any]] | None:
        """g of each neuron's last update in this trial, (N,); None where it is not kept, or nothing was learned yet."""


@runtime_checkable
class TellsDiagonal(Protocol):
    """What a streamed trainer adds whose P is not on the host, so that looking at the diagonal copies no more."""

    def diagonal(self, first: int, last: int) -> NDArray[np.floating[Any]]:
        """The diagonal of P of the neurons first .. last-1, (B, n), as `diagonal` gives it of their block."""


def widened(block: Block) -> NDArray[np.floating[Any]]:
    """P of a block in the precision in which it is computed: its own, or float32 where it is stored in 16 bits."""
    unit = block.unit.reshape(-1, *[1] * (block.P.ndim - 1))
    return _numbers(block.P, block.p_precision) * unit


def diagonal(block: Block) -> NDArray[np.floating[Any]]:
    """The diagonal of P of a block, (B, n), as `widened` gives it."""
    n = block.w.shape[1]
    if block.P.ndim == 3:
        stored = np.diagonal(block.P, axis1=1, axis2=2)
    else:
        i = np.arange(n)
        stored = block.P[:, i * (i + 1) // 2 + i]
    return _numbers(stored, block.p_precision) * block.unit[:, None]


def _numbers(stored: NDArray[Any], precision: str) -> NDArray[np.floating[Any]]:
    if precision == "bfloat16":
        return (stored.astype(np.uint32) << 16).view(np.float32)
    return stored.astype(np.float64 if precision == "float64" else np.float32, copy=False)


def settled_shape(neurons: int, n: int, storage: str) -> tuple[int, ...]:
    """Shape of P of all neurons."""
    return (neurons, n, n) if storage == "full" else (neurons, n * (n + 1) // 2)


def saved_blocks(trainer: Trainer, size: int) -> Iterator[Block]:
    """The state in blocks of `size` neurons, the last of them smaller; each is valid until the next is asked for."""
    N = trainer.problem.neurons
    if isinstance(trainer, Streamed):
        trainer.settle()
        for first in range(0, N, size):
            yield trainer.block(first, min(first + size, N))
        return
    state = trainer.state()
    precision, unit = state.P.dtype.name, np.ones(N, state.P.dtype)
    for first in range(0, N, size):
        part = slice(first, first + size)
        yield Block(state.w[part], state.P[part], unit[part], precision)


def load_blocks(trainer: Trainer, blocks: Iterable[tuple[int, Block]]) -> None:
    """Fill a trainer from blocks that cover all its neurons: (first neuron, block)."""
    if isinstance(trainer, Streamed):
        for first, block in blocks:
            trainer.load_block(first, block)
        return
    state = trainer.state()  # its arrays are copies, to be filled
    for first, block in blocks:
        part, P = slice(first, first + len(block.w)), widened(block)
        if state.P.ndim != P.ndim:
            P = pack(P) if P.ndim == 3 else unpack(P, block.w.shape[1])
        state.w[part], state.P[part] = block.w, P
    trainer.restore(State(state.w, state.P))
