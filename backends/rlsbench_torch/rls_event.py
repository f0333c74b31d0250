"""The RLS update, event form: the same result from the columns of P whose inputs spiked.

In: P as last written, the jumps of the inputs since the last update.  Out: w, and pending rank-1
updates (k, g) of P. Its counterpart is `rlsbench_torch.rls_plain`.

Between two updates all filtered inputs decay by one factor a and jump where their neuron spiked:
x_t = a x_(t-1) + s_t, with s_t non-zero for a few inputs. After the update at t-1,
P_(t-1) x_(t-1) = g_(t-1) k_(t-1); so with q = x.k and y = w.x (w before the update at t; indices
t-1 omitted on the right-hand sides)

    (1) k_t = a g k + P_(t-1) s              = P_(t-1) x_t
    (2) q_t = a^2 g q + a g s.k + s.k_t      = x_t.k_t
    (3) y_t = a (y - g e q) + w.s            = w.x_t
    (4) g_t = 1/(1 + q_t),  e_t = y_t + u_bal - f,  w <- w - g_t e_t k_t

(e_t = 0 where w is kept).

P itself is written only every m updates. With the pending updates (k_j, g_j),

    (5) P_(t-1) s = P s - sum_j (g_j s.k_j) k_j

where P s reads only columns of inputs that spiked, and `fold` subtracts sum_j g_j k_j k_j' from P.
At the first update of a trial x_0 = 0, g = 0, and s is all of x. One decay for all inputs is
needed, so tau_plas must be the same for all neurons.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rlsbench_torch.rls_plain import Goal
from rlsbench_torch.storage import sums_of_rows


class Pending(NamedTuple):
    """What updates leave to later ones, in the precision of the computation unless noted."""

    k: Tensor  # (m, N, n), k_j of the last m updates, in a ring
    g: Tensor  # (m, N), g_j of the pending updates
    last: Tensor  # (2, N), q and g of the last update; 0 before the first one of a trial
    error: Tensor  # (2, N), y and e of the last update, in the precision of w

    def part(self, block: slice) -> Pending:
        """Views of the part of a block of neurons."""
        return Pending(self.k[:, block], self.g[:, block], self.last[:, block], self.error[:, block])


def multiply_columns(P: Tensor, s: Tensor) -> Tensor:
    """P s of each neuron, (B, n), reading the rows of symmetric P where s (B, n) is not 0."""
    B, n = s.shape
    flat = s.view(-1)
    rows = flat.nonzero().view(-1)
    if not len(rows):
        return torch.zeros_like(s)
    factors = flat.index_select(0, rows)
    start = torch.searchsorted(rows, torch.arange(0, B * n, n, device=s.device))
    if P.dtype is s.dtype:
        return sums_of_rows(P, rows, start, factors)
    read = P.view(-1, n).index_select(0, rows).to(s.dtype)
    return sums_of_rows(read, torch.arange(len(rows), device=s.device), start, factors)


def update(P: Tensor, w: Tensor, s: Tensor, goal: Goal, pending: Pending, count: int, a: float) -> None:
    """Equations (1) to (5) for a block of B neurons; updates w (B, n), and `pending` by one more.

    P (B, n, n) is as stored, s (B, n) are jumps, 1/ms, in the precision of the computation, and
    `count` updates are pending.
    """
    dot = torch.linalg.vecdot
    q, g = pending.last
    y, e = pending.error
    k_last = pending.k[(count - 1) % len(pending.k)]

    # (5) P_(t-1) s = P s - sum_j (g_j s.k_j) k_j
    h = multiply_columns(P, s)
    for j in range(count):
        h.addcmul_((dot(pending.k[j], s) * pending.g[j])[:, None], pending.k[j], value=-1)

    # (1) k_t = a g k + P_(t-1) s
    ag = a * g
    s_k = dot(s, k_last)
    k = torch.addcmul(h, ag[:, None], k_last)

    # (2) q_t = a^2 g q + a g s.k + s.k_t
    q_new = a * ag * q + ag * s_k + dot(s, k)

    # (3) y_t = a (y - g e q) + w.s
    y_new = a * (y - (g * q).to(y.dtype) * e) + dot(w, s.to(w.dtype))

    # (4) g_t = 1/(1 + q_t),  e_t = y_t + u_bal - f,  w <- w - g_t e_t k_t
    g_new = 1 / (1 + q_new)
    pending.k[count] = k
    pending.g[count] = g_new
    q.copy_(q_new)
    g.copy_(g_new)
    y.copy_(y_new)
    if goal.freeze_w:
        return
    torch.add(y_new, goal.u_minus_f, out=e)
    if goal.untrained is not None:
        e.masked_fill_(goal.untrained, 0)
    w.addcmul_((g_new.to(w.dtype) * e)[:, None], k.to(w.dtype), value=-1)


def fold(P: Tensor, pending: Pending, count: int) -> None:
    """P <- P - sum_j g_j k_j k_j' for a block; P (B, n, n) in the precision of the computation."""
    root_gk = (pending.g[:count].sqrt()[:, :, None] * pending.k[:count]).transpose(0, 1).contiguous()
    P.baddbmm_(root_gk.transpose(1, 2), root_gk, alpha=-1)
