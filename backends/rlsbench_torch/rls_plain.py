"""The RLS update, plain form: P is read and written at each update.

In: inputs x, currents u_bal and f of a block of neurons.  Out: w and P, updated in place.  Knows nothing of trials.
Its counterpart is `rlsbench_torch.rls_event`.

    (1) k = P x      (2) g = 1/(1 + x.k)      (3) P <- P - g k k'      (4) e = w.x + u_bal - f      (5) w <- w - g e k
"""

from __future__ import annotations

import torch

from rlsbench_torch.matrices import multiply

__all__ = ["update"]


def update(
    P: torch.Tensor, w: torch.Tensor, x: torch.Tensor, u_minus_f: torch.Tensor, idle: torch.Tensor | None, frozen: bool
) -> None:
    """Equations (1) to (5) for a block.

    Parameters
    ----------
    P : Tensor, shape (B, n, n)
        As it is computed, updated in place.
    w, x : Tensors, shape (B, n)
        In the precision of w.
    u_minus_f : Tensor, shape (B,)
        u_bal - f.
    idle : Tensor of bool, shape (B,), or None
        Neurons without target.
    frozen : bool
        Leave w unchanged.
    """
    x_P = x.to(P.dtype)
    k = multiply(P, x_P)  # (1)
    g = 1 / (1 + torch.linalg.vecdot(x_P, k))  # (2)
    root_gk = g.sqrt()[:, None] * k
    P.addcmul_(root_gk[:, :, None], root_gk[:, None, :], value=-1)  # (3), so written that P stays symmetric
    if frozen:
        return
    e = torch.linalg.vecdot(w, x) + u_minus_f  # (4)
    if idle is not None:
        e.masked_fill_(idle, 0)
    w.addcmul_((g * e)[:, None].to(w.dtype), k.to(w.dtype), value=-1)  # (5)
