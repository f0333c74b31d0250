"""Constants that were measured on machines: what is fastest, and what memory it takes.

Measured with PyTorch 2 on two cores of a server CPU at N = 1e4 and n = 90, unless stated otherwise.
Those for CUDA and Apple devices are estimates that no device has confirmed.
"""

from __future__ import annotations

from typing import Final

PENDING_PER_ROOT_N: Final = 1.7
"""m / sqrt(n), m the updates that stay pending: fastest at n = 90 (docs/performance.md)."""

P_BLOCK_BYTES: Final = {"cpu": 2**23, "cuda": 2**30, "mps": 2**28}
"""Bytes of P in a block, in the computed precision; on the CPU a block fits in the cache."""

EVENT_BLOCK: Final = 1024
"""Neurons in a block of the event form on the CPU: jumps and one k of each fit in the L2 cache."""

SCRATCH_BYTES: Final = 16 * 2**20
"""Bytes that a thread takes to update a block."""

LIBRARY_BYTES: Final = 250 * 2**20
"""Resident bytes of a process with PyTorch before any array."""

DRAWS: Final = {"cpu": 2**18, "cuda": 2**24, "mps": 2**20}
"""Random numbers drawn at once."""

DRAWS_PER_THREAD: Final = 2**17
"""Random numbers that one thread draws at once."""

STEPS: Final = 512
"""Longest chunk of steps."""

NEURONS_PER_THREAD: Final = 2**15
"""With fewer, one thread is faster, because threads synchronize after each operation."""

SPIKES_BASE: Final = 64
SPIKES_SHARE: Final = 256
"""Initial length of padded lists: SPIKES_BASE, plus one for every SPIKES_SHARE neurons."""
