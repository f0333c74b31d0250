"""Synapses on the device: drawn there, or drawn on the host and copied in ranges of neurons.

In: `rlsbench.network.StaticSynapses` and `PlasticInputs`.  Out: device arrays for
kernels/deliver.cu.

Host memory stays bounded: apart from N counts, nothing on the host is larger than a range of
neurons.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import Arrays
from rlsbench.errors import UnsupportedError
from rlsbench.network import PlasticInputs, StaticSynapses
from rlsbench.streams import Purpose, key_from_seed
from rlsbench_cupy.compiling import compiled
from rlsbench_cupy.device import Array, Device, grid_of
from rlsbench_cupy.tuning import BLOCK, COPIED_BYTES, DRAWING_THREADS

DRAWN_AT_MOST = 2048
"""Values of a row that the kernel draws: its tables must fit in 48 KiB of shared memory."""

LARGEST_SUM: Final = 2.0**22
"""See kernels/fixed_point.cuh."""


def draw_static(device: Device, targets: Array, synapses: StaticSynapses | None, seed: int) -> None:
    """Draw static targets, (N, 2K) int32, sorted in each row."""
    if synapses is None or not synapses.outputs:
        return
    if synapses.outputs <= DRAWN_AT_MOST:
        _draw(device, targets, seed, Purpose.STATIC_OUTPUTS, synapses.outputs)
    else:
        _copy_rows(device, targets, lambda first, last: synapses.targets(seed, first, last))


def static_weights(device: Device, weights: Array, synapses: StaticSynapses | None, targets: Array) -> Array:
    """Fill the weights of the static synapses `targets`, (N, 2K), unless signs decide on them.

    `UnsupportedError` if a sum of weights could exceed the range of fixed-point numbers.
    """
    if synapses is None or synapses.by_sign:
        return weights
    J = np.asarray(synapses.weights if synapses.own_weights is None else synapses.own_weights)
    largest = float(np.abs(J).max(initial=0.0))
    if largest * synapses.neurons >= LARGEST_SUM:
        raise UnsupportedError(
            f"a static weight of {largest:g} with {synapses.neurons} neurons: this backend requires that the separate "
            f"weights of static synapses onto a neuron sum to less than {LARGEST_SUM:g}"
        )
    _copy_rows(device, weights, lambda a, b: synapses.target_weights(device.take(targets[a:b]), a))
    return weights


def draw_sources(device: Device, sources: Array, plastic: PlasticInputs, seed: int) -> None:
    """Draw recurrent plastic inputs, (N, 2L) int32, as `PlasticInputs.sources` does."""
    L = plastic.per_population
    if not L:
        return
    if L <= DRAWN_AT_MOST:
        excitatory, inhibitory = plastic.pools
        _draw(device, sources, seed, Purpose.PLASTIC_EXCITATORY, L, excitatory)
        _draw(device, sources, seed, Purpose.PLASTIC_INHIBITORY, L, inhibitory, offset=L)
    else:
        _copy_rows(device, sources, lambda first, last: plastic.sources(seed, first, last))


def transpose(device: Device, arrays: Arrays[Array], plastic: PlasticInputs, sources: Array) -> tuple[Array, ...]:
    """Plastic synapses by pre-synaptic neuron: start, post and column, as in kernels/groups.cuh.

    The synapses of a neuron are in any order.
    """
    start, post, column = (arrays.new(f"outputs.{name}") for name in ("start", "post", "column"))
    N, width = plastic.neurons, 2 * plastic.per_population
    if not width:
        return start, post, column
    entries = np.int64(N * width)
    grid = grid_of(N * width)
    module = compiled("connect", drawing_macros(1))
    length = device.zeros(N, np.int32)
    module.get_function("count_outputs")(grid, (BLOCK,), (entries, sources, length))
    device.put(start, np.concatenate([[0], np.cumsum(device.take(length), dtype=np.int64)]))
    length.fill(0)
    arguments = (entries, np.int32(width), np.int32(plastic.feedforward), sources, start, length, post, column)
    module.get_function("fill_outputs")(grid, (BLOCK,), arguments)
    device.synchronize()  # before `length` is freed
    return start, post, column


def drawing_macros(count: int) -> dict[str, object]:
    """Macros of kernels/connect.cu for rows of `count` values."""
    return {"COUNT": count, "TABLE": 1 << (2 * count - 1).bit_length()}


def _draw(
    device: Device, out: Array, seed: int, purpose: Purpose, count: int, pool: Array = None, offset: int = 0
) -> None:
    """Draw distinct members of a pool, or other neurons, into out[:, offset : offset + count]."""
    below = len(out) - 1 if pool is None else len(pool)
    if count > below:
        raise ValueError(f"cannot draw {count} distinct integers below {below}")
    key0, key1 = key_from_seed(seed)
    pool_array = device.array(np.zeros(1, np.int32) if pool is None else pool.astype(np.int32))
    arguments = (
        *(np.int32(0), np.uint32(below), np.uint32(purpose), np.uint32(key0), np.uint32(key1)),
        *(np.int32(pool is None), np.int32(pool is not None), pool_array),
        *(out, np.int32(out.shape[1]), np.int32(offset)),
    )
    compiled("connect", drawing_macros(count)).get_function("draw_distinct")((len(out),), (DRAWING_THREADS,), arguments)
    device.synchronize()  # before the pool is freed


def _copy_rows(device: Device, array: Array, rows: Callable[[int, int], NDArray[Any]]) -> None:
    """Copy rows from the host, a range at a time."""
    size = max(1, COPIED_BYTES // (8 * array.shape[1]))
    for first in range(0, len(array), size):
        last = min(first + size, len(array))
        device.put(array[first:last], rows(first, last))
