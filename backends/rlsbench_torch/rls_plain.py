"""The RLS update, plain form: P is read and written at each update (docs/model.md section 3).

In: inputs x, currents u_bal and f of a block of neurons.  Out: w and P, updated in place.  Knows
nothing of trials. Its counterpart is `rlsbench_torch.rls_event`.

    (1) k = P x
    (2) g = 1/(1 + x.k)
    (3) P <- P - g k k'
    (4) e = w.x + u_bal - f
    (5) w <- w - g e k
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rlsbench_torch.storage import multiply


class Goal(NamedTuple):
    """What weights are trained towards; of all neurons or of a block of B."""

    u_minus_f: Tensor  # (B,), u_bal - f
    untrained: Tensor | None  # (B,), bool, neurons without a target; None where all have one
    freeze_w: bool  # leave w unchanged (benchmark mode)

    @classmethod
    def of(cls, u_bal: Tensor, f: Tensor, freeze_w: bool) -> Goal:
        """From currents u_bal and targets f, (N,) each; f is NaN for a neuron without a target."""
        untrained = f.isnan()
        return cls(u_bal - f, untrained if bool(untrained.any()) else None, freeze_w)

    def part(self, block: slice) -> Goal:
        """The part of a block of neurons."""
        return Goal(self.u_minus_f[block], None if self.untrained is None else self.untrained[block], self.freeze_w)


def update(P: Tensor, w: Tensor, x: Tensor, goal: Goal) -> None:
    """Equations (1) to (5) for a block of B neurons; updates P and w in place.

    P (B, n, n) is in the precision of the computation; w and x (B, n) are in that of w.
    """
    # (1) k = P x
    x_P = x.to(P.dtype)
    k = multiply(P, x_P)

    # (2) g = 1/(1 + x.k)
    g = 1 / (1 + torch.linalg.vecdot(x_P, k))

    # (3) P <- P - g k k', as an outer product of sqrt(g) k with itself so that P stays symmetric
    root_gk = g.sqrt()[:, None] * k
    P.addcmul_(root_gk[:, :, None], root_gk[:, None, :], value=-1)
    if goal.freeze_w:
        return

    # (4) e = w.x + u_bal - f
    e = torch.linalg.vecdot(w, x) + goal.u_minus_f
    if goal.untrained is not None:
        e.masked_fill_(goal.untrained, 0)

    # (5) w <- w - g e k
    w.addcmul_((g * e)[:, None].to(w.dtype), k.to(w.dtype), value=-1)
