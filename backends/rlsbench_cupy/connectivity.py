"""Synapses on the device: drawn there, or drawn on the host and copied in ranges.

In: `rlsbench.network.StaticSynapses` and `PlasticInputs`.  Out: device arrays that kernels/deliver.cu reads.  Knows no
weights but those that a static synapse has of its own.

Host memory stays bounded: nothing on the host is larger than a range of neurons, but for counts of N numbers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench.errors import UnsupportedError
from rlsbench.network import PlasticInputs, StaticSynapses
from rlsbench.streams import Purpose, key_from_seed
from rlsbench_cupy.compiling import compiled
from rlsbench_cupy.device import BLOCK, Array, Device, blocks

__all__ = ["DRAWN_AT_MOST", "Outputs", "draw_sources", "draw_static", "own_weights", "turn_round"]

DRAWN_AT_MOST = 2048
"""Values of a row that the kernel draws: its tables must fit into 48 KiB of shared memory."""
RANGE_BYTES = 1 << 26  # of what is drawn on the host at once
THREADS = 128  # that draw a row
LARGEST_SUM = 2.0**22  # see kernels/fixed_point.cuh


class Outputs(NamedTuple):
    """Recurrent plastic synapses by pre-synaptic neuron; those of neuron j are start[j] .. start[j+1]-1."""

    start: Array
    """(N + 1,), int64"""
    post: Array
    """(N 2L,), int32"""
    column: Array
    """(N 2L,), uint16: which of the post-synaptic neuron's plastic weights."""


def draw_static(device: Device, synapses: StaticSynapses | None, seed: int) -> Array:
    """Static targets, (N, 2K) int32, rising in each row."""
    if synapses is None or not synapses.outputs:
        return device.zeros((1, 1), np.int32)
    N, count = synapses.neurons, synapses.outputs
    targets = device.empty((N, count), np.int32)
    if count <= DRAWN_AT_MOST:
        _draw(device, targets, seed, Purpose.STATIC_OUTPUTS, N - 1, count, offset=0, pool=None)
    else:
        for first, last in _ranges(N, 4 * count):
            device.put(targets[first:last], synapses.targets(seed, first, last))
    return targets


def own_weights(device: Device, synapses: StaticSynapses | None, dtype: np.dtype[Any]) -> Array:
    """A weight of each static synapse's own, (N, 2K), where there are any."""
    if synapses is None or synapses.own_weights is None:
        return device.zeros((1, 1), dtype)
    J = synapses.own_weights
    largest = float(np.abs(J).max(initial=0.0))
    if largest * synapses.neurons >= LARGEST_SUM:
        raise UnsupportedError(
            f"a static weight of {largest:g} with {synapses.neurons} neurons: this backend adds up weights of static "
            f"synapses' own exactly below {LARGEST_SUM:g} for a neuron"
        )
    weights = device.empty(J.shape, dtype)
    for first, last in _ranges(len(J), 8 * J.shape[1]):
        device.put(weights[first:last], J[first:last])
    return weights


def draw_sources(device: Device, plastic: PlasticInputs, seed: int) -> Array:
    """Recurrent plastic inputs of each neuron, (N, 2L) int32: `PlasticInputs.sources`."""
    N, L = plastic.neurons, plastic.per_population
    if not L:
        return device.zeros((1, 1), np.int32)
    sources = device.empty((N, 2 * L), np.int32)
    if L <= DRAWN_AT_MOST:
        for offset, pool, purpose in zip(
            (0, L), plastic.pools, (Purpose.PLASTIC_EXCITATORY, Purpose.PLASTIC_INHIBITORY), strict=True
        ):
            _draw(device, sources, seed, purpose, len(pool), L, offset=offset, pool=pool)
    else:
        for first, last in _ranges(N, 8 * L):
            device.put(sources[first:last], plastic.sources(seed, first, last))
    return sources


def turn_round(device: Device, plastic: PlasticInputs, sources: Array) -> Outputs:
    """The synapses of `sources` by their pre-synaptic neurons; in which order, for one of them, is left to chance."""
    N, width = plastic.neurons, 2 * plastic.per_population
    if not width:
        return Outputs(device.zeros(1, np.int64), device.zeros(1, np.int32), device.zeros(1, np.uint16))
    entries = np.int64(N * width)
    module = compiled("connect", _macros(1))
    length = device.zeros(N, np.int32)
    grid = blocks(N * width)
    module.get_function("count_outputs")(grid, (BLOCK,), (entries, sources, length))
    start = device.array(np.concatenate([[0], np.cumsum(device.take(length), dtype=np.int64)]))
    length.fill(0)
    post, column = device.empty(N * width, np.int32), device.empty(N * width, np.uint16)
    module.get_function("fill_outputs")(
        grid,
        (BLOCK,),
        (entries, np.int32(width), np.int32(plastic.feedforward), sources, start, length, post, column),
    )
    device.synchronize()  # `length` is given back
    return Outputs(start, post, column)


def _macros(count: int) -> dict[str, object]:
    return {"COUNT": count, "TABLE": 1 << (2 * count - 1).bit_length()}


def _draw(
    device: Device,
    out: Array,
    seed: int,
    purpose: Purpose,
    below: int,
    count: int,
    *,
    offset: int,
    pool: NDArray[np.int32] | None,
) -> None:
    """Draw a row of distinct integers for each neuron into out[:, offset : offset + count]."""
    if count > below:
        raise ValueError(f"cannot draw {count} distinct integers below {below}")
    key0, key1 = key_from_seed(seed)
    on_device = device.array(np.zeros(1, np.int32) if pool is None else pool.astype(np.int32))
    compiled("connect", _macros(count)).get_function("draw_distinct")(
        (len(out),),
        (THREADS,),
        (
            np.int32(0),
            np.uint32(below),
            np.uint32(purpose),
            np.uint32(key0),
            np.uint32(key1),
            np.int32(pool is None),
            np.int32(pool is not None),
            on_device,
            out,
            np.int32(out.shape[1]),
            np.int32(offset),
        ),
    )
    device.synchronize()  # the pool is given back


def _ranges(N: int, row_bytes: int) -> list[tuple[int, int]]:
    """Ranges of neurons whose rows take no more than RANGE_BYTES."""
    rows = max(1, RANGE_BYTES // row_bytes)
    return [(first, min(first + rows, N)) for first in range(0, N, rows)]
