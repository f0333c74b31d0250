"""Standard normals of the counter-based streams that `rlsbench.streams` defines, drawn by PyTorch.

In: the address of draws.  Out: a tensor.  The words are the same bit for bit; the normals agree to
the rounding of logarithm, sine and cosine.

Words are drawn on the CPU and on CUDA; other devices lack float64, so draws are copied to them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rlsbench.streams import PHILOX_M0, PHILOX_M1, PHILOX_W0, PHILOX_W1, Purpose, key_from_seed
from rlsbench_torch.devices import blocks_of, in_parallel
from rlsbench_torch.tuning import DRAWS_PER_THREAD

_LOW = 0xFFFFFFFF
_ROUNDS = 10


def philox4x32(c0: Tensor, c1: Tensor, c2: int, c3: int, key: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32-10 of counters (int64, broadcastable); words in [0, 2^32) as int64.

    A product of two words wraps around in int64, but its bits are those of the unsigned product;
    the mask removes the sign bits that the shift brings in.
    """
    x0, x1 = torch.broadcast_tensors(c0, c1)
    x2 = torch.full_like(x0, c2)
    x3 = torch.full_like(x0, c3)
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0 = x0 * PHILOX_M0
        p1 = x2 * PHILOX_M1
        x0 = ((p1 >> 32) & _LOW).bitwise_xor_(x1).bitwise_xor_(k0)
        x1 = p1.bitwise_and_(_LOW)
        x2 = ((p0 >> 32) & _LOW).bitwise_xor_(x3).bitwise_xor_(k1)
        x3 = p0.bitwise_and_(_LOW)
        k0 = (k0 + PHILOX_W0) & _LOW
        k1 = (k1 + PHILOX_W1) & _LOW
    return x0, x1, x2, x3


def normals(
    seed: int, purpose: Purpose, *, trial: int, steps: Sequence[int], count: int, dtype: torch.dtype, on: torch.device
) -> Tensor:
    """Standard normals of indices 0 .. count-1 at the given steps, (steps, count)."""
    z = torch.empty((len(steps), -(-count // 4), 4), dtype=dtype, device=on if on.type == "cuda" else "cpu")
    step = torch.tensor(steps, dtype=torch.int64, device=z.device)[:, None]
    words = philox4x32(torch.arange(z.shape[1], device=z.device), step, trial, int(purpose), key_from_seed(seed))
    # Box-Muller: sqrt(-2 ln u) times cos and sin of 2 pi v, from uniforms (word + 1/2) / 2^32.
    for i in (0, 2):
        u, v = (words[j].double().add_(0.5).mul_(2.0**-32) for j in (i, i + 1))
        radius = u.log_().mul_(-2.0).sqrt_()
        angle = v.mul_(2.0 * math.pi)
        z[..., i] = radius * angle.cos()
        z[..., i + 1] = radius * angle.sin()
    return z.view(len(steps), -1)[:, :count].to(on)


def normals_in_parallel(threads: int, **address: Any) -> Tensor:
    """`normals`, in several threads where they are drawn on the CPU."""
    steps, count = address["steps"], address["count"]
    if address["on"].type == "cuda":
        return normals(**address)
    blocks = blocks_of(len(steps), DRAWS_PER_THREAD // count)
    z = torch.empty((len(steps), count), dtype=address["dtype"])

    def draw(block: slice) -> None:
        z[block] = normals(**address | {"steps": steps[block], "on": z.device})

    in_parallel(draw, blocks, threads)
    return z.to(address["on"])
