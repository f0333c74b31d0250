"""Constants that were measured on machines: what is fastest, and what memory it takes.

Measured with PyTorch 2 on two cores of a server CPU at N = 1e4 and n = 90, unless stated otherwise.
Those for CUDA and Apple devices are estimates that no device has confirmed.
"""

from __future__ import annotations

from typing import Final

# m / sqrt(n), m the updates that stay pending: fastest at n = 90 (docs/performance.md).
PENDING_PER_ROOT_N: Final = 1.7
# Bytes of P in a block, in the computed precision; on the CPU a block fits in the cache.
P_BLOCK_BYTES: Final = {"cpu": 2**23, "cuda": 2**30, "mps": 2**28}
# Neurons in a block of the event form on the CPU: jumps and one k of each fit in the L2 cache.
EVENT_BLOCK: Final = 1024
SCRATCH_BYTES: Final = 16 * 2**20  # bytes that a thread takes to update a block
LIBRARY_BYTES: Final = 250 * 2**20  # resident bytes of a process with PyTorch before any array
DRAWS: Final = {"cpu": 2**18, "cuda": 2**24, "mps": 2**20}  # random numbers drawn at once
DRAWS_PER_THREAD: Final = 2**17  # of them by one thread
STEPS: Final = 512  # longest chunk of steps
# With fewer, one thread is faster, because threads synchronize after each operation.
NEURONS_PER_THREAD: Final = 2**15
# Initial length of padded lists: SPIKES_BASE, plus one for every SPIKES_SHARE neurons.
SPIKES_BASE: Final = 64
SPIKES_SHARE: Final = 256
