"""The RLS update, event form: the same result from the columns of P whose inputs spiked, and nothing else of P.

In: P as of the last fold, the jumps of the inputs since the last update.  Out: w, and the pairs (k, g) that P lacks.
Its counterpart is `rlsbench_torch.rls_plain`.

Between two updates all filtered inputs decay by one factor a and jump where their neuron spiked: x_t = a x_(t-1) + s_t,
s_t non-zero for a few inputs.  After the update at t-1, P_(t-1) x_(t-1) = g_(t-1) k_(t-1), so with q = x.k, y = w.x
(w before the update at t; indices t-1 left out on the right-hand sides):

    (1) k_t = a g k + P_(t-1) s              = P_(t-1) x_t
    (2) q_t = a^2 g q + a g s.k + s.k_t      = x_t.k_t
    (3) y_t = a (y - g e q) + w.s            = w.x_t
    (4) g_t = 1/(1 + q_t),  e_t = y_t + u_bal - f,  w <- w - g_t e_t k_t          (e_t = 0 where w is left unchanged)

P itself is written only every m updates.  With the pairs (k_j, g_j) since it was written last,

    (5) P_(t-1) s = P s - sum_j (g_j s.k_j) k_j        P s: the columns of inputs that spiked, times their jumps

and `fold` subtracts sum_j g_j k_j k_j' from P.  At the first update of a trial x_0 = 0, g = 0, and s is all of x.  It
needs one decay for all inputs, so no tau_plas per neuron.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from rlsbench_torch.matrices import sums_of_rows

__all__ = ["Memory", "empty_memory", "fold", "forget", "update"]


class Memory(NamedTuple):
    """What updates leave to later ones, in the precision in which P is computed unless said otherwise."""

    k: torch.Tensor
    """(m, N, n), k_j of the last m updates; the updates go round."""
    g: torch.Tensor
    """(m, N), g_j of those of them that P lacks."""
    last: torch.Tensor
    """(2, N), q and g of the last update; 0 before the first one of a trial."""
    error: torch.Tensor
    """(2, N), y and e of the last update, in the precision of w."""

    def of(self, block: slice) -> Memory:
        """Views of some neurons' part."""
        return Memory(self.k[:, block], self.g[:, block], self.last[:, block], self.error[:, block])


def empty_memory(N: int, n: int, m: int, wide: torch.dtype, real: torch.dtype, device: torch.device) -> Memory:
    """Memory before the first update, with room for m pairs; P is computed in `wide`, w in `real`."""
    shapes = (((m, N, n), wide), ((m, N), wide), ((2, N), wide), ((2, N), real))
    return Memory(*(torch.zeros(shape, dtype=dtype, device=device) for shape, dtype in shapes))


def forget(memory: Memory) -> None:
    """There is no k to go on from: the next update takes all of x as a jump."""
    memory.last.zero_()
    memory.error.zero_()


def multiply_columns(P: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """P s of each neuron (B, n), reading the rows of P (B, n, n; symmetric) where s (B, n) is not 0."""
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


def update(
    P: torch.Tensor,
    w: torch.Tensor,
    memory: Memory,
    kept: int,
    a: float,
    s: torch.Tensor,
    u_minus_f: torch.Tensor,
    idle: torch.Tensor | None,
    frozen: bool,
) -> None:
    """Equations (1) to (5) for a block.

    Parameters
    ----------
    P : Tensor, shape (B, n, n)
        As it is stored, as of the last fold.
    w : Tensor, shape (B, n)
        Updated in place.
    memory : Memory
        Of these neurons; gets the new pair.
    kept : int
        Updates since P was written.
    a : float
        Decay of the inputs between two updates.
    s : Tensor, shape (B, n)
        Jumps, 1/ms, in the precision in which P is computed.
    u_minus_f : Tensor, shape (B,)
        u_bal - f.
    idle : Tensor of bool, shape (B,), or None
        Neurons without target.
    frozen : bool
        Leave w unchanged.
    """
    dot = torch.linalg.vecdot
    (q, g), (y, e) = memory.last, memory.error
    k_last = memory.k[(kept - 1) % len(memory.k)]
    h = multiply_columns(P, s)
    for j in range(kept):  # (5)
        h.addcmul_((dot(memory.k[j], s) * memory.g[j])[:, None], memory.k[j], value=-1)
    ag = a * g
    s_k = dot(s, k_last)
    k = torch.addcmul(h, ag[:, None], k_last)  # (1)
    q_new = a * ag * q + ag * s_k + dot(s, k)  # (2)
    y_new = a * (y - (g * q).to(y.dtype) * e) + dot(w, s.to(w.dtype))  # (3)
    g_new = 1 / (1 + q_new)  # (4)
    memory.k[kept] = k
    memory.g[kept] = g_new
    q.copy_(q_new)
    g.copy_(g_new)
    y.copy_(y_new)
    if frozen:
        return
    torch.add(y_new, u_minus_f, out=e)
    if idle is not None:
        e.masked_fill_(idle, 0)
    w.addcmul_((g_new.to(w.dtype) * e)[:, None], k.to(w.dtype), value=-1)


def fold(P: torch.Tensor, memory: Memory, kept: int) -> None:
    """P <- P - sum_j g_j k_j k_j' for a block: P (B, n, n) as it is computed, in place; the pairs of these neurons."""
    root_gk = (memory.g[:kept].sqrt()[:, :, None] * memory.k[:kept]).transpose(0, 1).contiguous()
    P.baddbmm_(root_gk.transpose(1, 2), root_gk, alpha=-1)
