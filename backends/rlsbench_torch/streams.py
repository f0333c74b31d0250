"""Standard normals from the counter-based streams, drawn by PyTorch: as `rlsbench.streams` defines them.

In: the address of draws.  Out: a tensor.  The words are the same bit for bit; the normals agree to the rounding of
logarithm, sine and cosine.

Words are drawn on the processor and on CUDA; other devices lack float64 and get them from the processor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from rlsbench.streams import PHILOX_M0, PHILOX_M1, PHILOX_W0, PHILOX_W1, Purpose, key_from_seed

__all__ = ["normals", "philox4x32"]

_LOW = 0xFFFFFFFF
_ROUNDS = 10


def philox4x32(
    c0: torch.Tensor, c1: torch.Tensor, c2: int, c3: int, key: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Philox4x32-10 of counters (int64, broadcastable), words in [0, 2^32) in int64.

    A product of two words wraps around in int64, and its bits are those of the unsigned product; the shift drags the
    sign along, which the mask takes off.
    """
    x0, x1 = torch.broadcast_tensors(c0, c1)
    x2, x3 = torch.full_like(x0, c2), torch.full_like(x0, c3)
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0, p1 = x0 * PHILOX_M0, x2 * PHILOX_M1
        x0 = ((p1 >> 32) & _LOW).bitwise_xor_(x1).bitwise_xor_(k0)
        x1 = p1.bitwise_and_(_LOW)
        x2 = ((p0 >> 32) & _LOW).bitwise_xor_(x3).bitwise_xor_(k1)
        x3 = p0.bitwise_and_(_LOW)
        k0, k1 = (k0 + PHILOX_W0) & _LOW, (k1 + PHILOX_W1) & _LOW
    return x0, x1, x2, x3


def normals(
    seed: int, purpose: Purpose, *, trial: int, steps: Sequence[int], count: int, dtype: torch.dtype, on: torch.device
) -> torch.Tensor:
    """Standard normals of indices 0 .. count-1 at some steps, (steps, count)."""
    drawn_on = on if on.type in ("cpu", "cuda") else torch.device("cpu")
    block = torch.arange(-(-count // 4), device=drawn_on)
    step = torch.tensor(steps, dtype=torch.int64, device=drawn_on)[:, None]
    words = philox4x32(block, step, trial, int(purpose), key_from_seed(seed))
    z = torch.empty((len(steps), len(block), 4), dtype=dtype, device=drawn_on)
    for i in (0, 2):  # Box and Muller: sqrt(-2 ln u) times cos, sin of 2 pi v, from uniforms (word + 1/2) / 2^32
        u, v = (words[j].double().add_(0.5).mul_(2.0**-32) for j in (i, i + 1))
        radius, angle = u.log_().mul_(-2.0).sqrt_(), v.mul_(2.0 * math.pi)
        z[..., i], z[..., i + 1] = radius * angle.cos(), radius * angle.sin()
    return z.view(len(steps), -1)[:, :count].to(on)
