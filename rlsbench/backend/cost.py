"""What one RLS update of one neuron costs at least, by count: bytes that are moved, additions and multiplications.

In: n and options, or a trainer.  Out: a `Cost`.  Knows the plain form; other forms are told by their trainers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rlsbench.backend.memory import PRECISION_BYTES
from rlsbench.backend.protocol import Options, Trainer

__all__ = ["Cost", "plain_cost", "update_cost"]


class Cost(NamedTuple):
    """Of one update of one neuron."""

    bytes: float
    """Read and written, each array once, where nothing stays in a cache from one update to the next."""
    operations: float
    """Additions and multiplications."""


def plain_cost(n: int, options: Options) -> Cost:
    """The plain form reads and writes all of P, reads x, and reads and writes w.

    k = P x takes 2 n^2 operations, P - g k k' two for each entry that is stored, and x.k, w.x and w - g e k 2 n each.
    """
    entries = n * n if options.storage == "full" else n * (n + 1) // 2
    real = np.dtype(options.precision).itemsize
    moved = 2 * entries * PRECISION_BYTES[options.p_precision] + 3 * n * real
    return Cost(moved, 2 * n * n + 2 * entries + 6 * n)


def update_cost(trainer: Trainer, spiked: float) -> Cost | None:
    """The cost of the form that a trainer takes.

    Parameters
    ----------
    trainer : Trainer
        With a method `update_cost(spiked)`, or of the plain form.
    spiked : float
        Inputs of a neuron that have spiked between two updates, on average.

    Returns
    -------
    Cost or None
        None for another form whose trainer does not tell.
    """
    told = getattr(trainer, "update_cost", None)
    if told is not None:
        return Cost(*told(spiked))
    return plain_cost(trainer.problem.n, trainer.options) if trainer.options.algorithm == "plain" else None
