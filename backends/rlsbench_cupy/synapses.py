"""Synapses on the device: drawn there, or drawn on the host and copied in ranges of neurons.

In: `rlsbench.network.StaticSynapses` and `PlasticInputs`.  Out: device arrays for
kernels/deliver.cu.

Host memory stays bounded: apart from N counts, nothing on the host is larger than a range of
neurons, or than the synapses from a range of each rank.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import Arrays
from rlsbench.errors import UnsupportedError
from rlsbench.network import PlasticInputs, StaticSynapses
from rlsbench.network.edges import Edges, handed_on
from rlsbench.ranks import Communicator
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
        _draw(device, targets, seed, Purpose.STATIC_OUTPUTS, synapses.outputs, below=synapses.neurons - 1)
    else:
        _copy_rows(device, targets, lambda first, last: synapses.targets(seed, first, last))


def static_weights(device: Device, weights: Array, synapses: StaticSynapses | None, targets: Array) -> None:
    """Fill the weights of the static synapses `targets`, (N, 2K), unless signs decide on them.

    `UnsupportedError` if a sum of weights could exceed the range of fixed-point numbers.
    """
    if synapses is None or synapses.by_sign:
        return
    _check_sums(synapses)
    _copy_rows(device, weights, lambda a, b: synapses.target_weights(device.take(targets[a:b]), a))


def draw_onto_rank(
    device: Device,
    targets: Array,
    weights: Array,
    rows: Array,
    synapses: StaticSynapses | None,
    seed: int,
    ranks: Communicator,
) -> None:
    """Draw the static synapses onto the neurons of a rank; all ranks call this.

    A source's targets are drawn at once, so each rank draws those of its own sources, a range at a
    time, and hands every target to the rank that owns it.

    Parameters
    ----------
    device : Device
    targets, weights : device arrays, shape (S,)
        Post-synaptic neurons, counted from the first of the rank, and, unless signs decide on them,
        weights. There may be fewer than S.
    rows : device array of int64, shape (N, 2)
        The first target of each pre-synaptic neuron of the network, and one after the last.
    synapses : StaticSynapses or None
    seed : int
    ranks : Communicator

    Raises
    ------
    UnsupportedError
        If a sum of weights could exceed the range of fixed-point numbers.
    """
    if synapses is None or not synapses.outputs:
        return
    if not synapses.by_sign:
        _check_sums(synapses)
    N, outputs, own = synapses.neurons, synapses.outputs, ranks.own(synapses.neurons)
    bounds, found, end = ranks.bounds(N), np.zeros((N, 2), np.int64), 0
    size = max(1, COPIED_BYTES // (8 * outputs))
    for done in range(0, int(np.diff(bounds).max()), size):
        first, last = (np.minimum(bounds[:-1] + done + more, bounds[1:]) for more in (0, size))
        a, b = int(first[ranks.rank]), int(last[ranks.rank])
        drawn = _drawn(device, synapses, seed, a, b)
        given = None if synapses.by_sign else synapses.target_weights(drawn, a).ravel()
        edges = handed_on(Edges(outputs * np.arange(b - a + 1), drawn.ravel(), given), ranks, N)
        some, end = slice(end, end + len(edges.index)), end + len(edges.index)
        device.put(targets[some], edges.index - np.int32(own.start))
        if edges.weight is not None:
            device.put(weights[some], edges.weight)
        sources = np.concatenate([np.arange(*of_rank) for of_rank in zip(first, last, strict=True)])
        found[sources] = some.start + np.stack([edges.start[:-1], edges.start[1:]], axis=1)
    device.put(rows, found)


def _drawn(device: Device, synapses: StaticSynapses, seed: int, first: int, last: int) -> NDArray[np.int32]:
    """Static targets of the neurons first .. last-1, on the host."""
    if synapses.outputs > DRAWN_AT_MOST or first == last:
        return synapses.targets(seed, first, last)
    targets = device.empty((last - first, synapses.outputs), np.int32)
    purpose, below = Purpose.STATIC_OUTPUTS, synapses.neurons - 1
    _draw(device, targets, seed, purpose, synapses.outputs, first=first, below=below)
    return device.take(targets)


def _check_sums(synapses: StaticSynapses) -> None:
    J = np.asarray(synapses.weights if synapses.own_weights is None else synapses.own_weights)
    largest = float(np.abs(J).max(initial=0.0))
    if largest * synapses.neurons >= LARGEST_SUM:
        raise UnsupportedError(
            f"a static weight of {largest:g} with {synapses.neurons} neurons: this backend requires that the separate "
            f"weights of static synapses onto a neuron sum to less than {LARGEST_SUM:g}"
        )


def draw_sources(device: Device, sources: Array, plastic: PlasticInputs, seed: int) -> None:
    """Draw recurrent plastic inputs, (N, 2L) int32, as `PlasticInputs.sources` does."""
    L, origin = plastic.per_population, plastic.of.start
    if not L:
        return
    if L <= DRAWN_AT_MOST:
        excitatory, inhibitory = plastic.pools
        _draw(device, sources, seed, Purpose.PLASTIC_EXCITATORY, L, excitatory, first=origin)
        _draw(device, sources, seed, Purpose.PLASTIC_INHIBITORY, L, inhibitory, offset=L, first=origin)
    else:
        _copy_rows(device, sources, lambda first, last: plastic.sources(seed, origin + first, origin + last))


def transpose(device: Device, arrays: Arrays[Array], plastic: PlasticInputs, sources: Array) -> tuple[Array, ...]:
    """Plastic synapses by pre-synaptic neuron: start, post and column, as in kernels/groups.cuh.

    The synapses of a neuron are in any order.
    """
    start, post, column = (arrays.new(f"outputs.{name}") for name in ("start", "post", "column"))
    width = 2 * plastic.per_population
    if not width:
        return start, post, column
    entries, grid = np.int64(sources.size), grid_of(sources.size)
    module = compiled("connect", drawing_macros(1))
    length = device.zeros(plastic.neurons, np.int32)
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
    device: Device,
    out: Array,
    seed: int,
    purpose: Purpose,
    count: int,
    pool: Array = None,
    offset: int = 0,
    first: int = 0,
    below: int = 0,
) -> None:
    """Draw distinct members of a pool into out[:, offset : offset + count].

    Without a pool, any of below + 1 neurons but the row's own. Rows are those of the neurons from
    `first` on.
    """
    below = below if pool is None else len(pool)
    if count > below:
        raise ValueError(f"cannot draw {count} distinct integers below {below}")
    key0, key1 = key_from_seed(seed)
    pool_array = device.array(np.zeros(1, np.int32) if pool is None else pool.astype(np.int32))
    arguments = (
        *(np.int32(first), np.uint32(below), np.uint32(purpose), np.uint32(key0), np.uint32(key1)),
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
