"""Constants of launches and buffers: estimates by count, not yet measured on a GPU.

Shared memory and threads are those of compute capability 8.0; see docs/gpu.md.
"""

from __future__ import annotations

from typing import Final

# m / sqrt(n), m the updates that stay pending; by the bytes that an update moves.
PENDING_PER_ROOT_N: Final = 1.3
BLOCK: Final = 256  # threads of a block in which a thread works on one neuron or entry
WARPS_OF_A_BLOCK: Final = 4  # warps of a block in which one warp works on a neuron
GRID_STRIDE_BLOCKS: Final = 4096  # most blocks of a kernel with a grid-stride loop
DELIVERING_BLOCKS: Final = 1024  # most blocks of `deliver`
DELIVERING_THREADS: Final = 128  # threads of a block of `deliver`, which handles one spike at a time
# Neurons per expected spike of a step, at least; decides the blocks of `deliver`.
NEURONS_PER_SPIKE: Final = 512
SPIKES_COPIED: Final = 64  # of a rank in a step, and one for NEURONS_PER_SPIKE neurons: more take a second copy
DRAWING_THREADS: Final = 128  # threads that draw one row of synapses
STEPS_AT_ONCE: Final = 128  # steps of a captured graph
GRAPHS: Final = 8  # most captured graphs
SPIKES_KEPT: Final = 1 << 16  # recorded spikes that are buffered on the device, at least
SHARED_BYTES: Final = 48 * 1024  # static shared memory of a block on every device
# Shared memory for the pending updates of a neuron when they are folded into P.
PENDING_BYTES: Final = 40 * 1024
COPIED_BYTES: Final = 1 << 26  # bytes that are drawn or converted on the host, and copied, at a time
