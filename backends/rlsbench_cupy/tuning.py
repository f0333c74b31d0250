"""Constants of launches and buffers: estimates by count, not yet measured on a GPU.

Shared memory and threads are those of compute capability 8.0; see docs/gpu.md.
"""

from __future__ import annotations

from typing import Final

# m / sqrt(n), m the updates that stay pending; by the bytes that an update moves.
PENDING_PER_ROOT_N: Final = 1.3
# Threads of a block in which a thread works on one neuron or entry.
BLOCK: Final = 256
# Warps of a block in which one warp works on a neuron.
WARPS_OF_A_BLOCK: Final = 4
# Most blocks of a kernel with a grid-stride loop.
GRID_STRIDE_BLOCKS: Final = 4096
# Most blocks of `deliver`.
DELIVERING_BLOCKS: Final = 1024
# Threads of a block of `deliver`, which handles one spike at a time.
DELIVERING_THREADS: Final = 128
# Neurons per expected spike of a step, at least; decides the blocks of `deliver`.
NEURONS_PER_SPIKE: Final = 512
# Threads that draw one row of synapses.
DRAWING_THREADS: Final = 128
# Steps of a captured graph.
STEPS_AT_ONCE: Final = 128
# Most captured graphs.
GRAPHS: Final = 8
# Recorded spikes that are buffered on the device, at least.
SPIKES_KEPT: Final = 1 << 16
# Static shared memory of a block on every device.
SHARED_BYTES: Final = 48 * 1024
# Shared memory for the pending updates of a neuron when they are folded into P.
PENDING_BYTES: Final = 40 * 1024
# Bytes that are drawn or converted on the host, and copied, at a time.
COPIED_BYTES: Final = 1 << 26
