"""The arrays of a trainer, declared: shapes, dtypes and lifetimes.

In: `Sizes` and `Options` with the form of the update that is taken.  Out: `ArraySpec`s, which the
trainer allocates and whose sum is the estimate of its memory.  Imports no Numba.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import ArraySpec, Lifetime, Options, Sizes, pending_updates, rule_arrays
from rlsbench.precision import PRECISIONS, STORAGES
from rlsbench.rules import NumpyRule
from rlsbench_numba import tuning
from rlsbench_numba.tuning import BLOCK_BITS, GROUP, LANES, ROWS

Floats = NDArray[np.floating[Any]]
New = Callable[[str], NDArray[Any]]  # allocates a declared array by its name, uninitialised

STATE = ("u_bal", "u_P", "U_E", "U_I", "U_P", "X", "X_bal", "refractory")
"""Arrays of one number a neuron in the precision of the state: see `rlsbench_numba.steps`."""
FILTERED = ("r", "rise")
"""Those of one number a delay line."""


def declare(sizes: Sizes, options: Options, *, blas: bool) -> list[ArraySpec]:
    """The arrays of a trainer that takes the form `options.algorithm`."""
    N, n, real = sizes.N, sizes.n, options.precision  # where n varies, it is the largest
    M = sizes.everyone  # pre-synaptic neurons: on a rank, more than its own N
    many, width = padded(N, LANES), padded(n, LANES)
    p, event = PRECISIONS[options.p_precision], options.algorithm == "event"
    synapses, edges, lines = sizes.synapses, sizes.static_edges, sizes.lines
    of = ArraySpec.of
    outputs = partial(of, lifetime=Lifetime.NETWORK, part_of="plastic synapses")
    static = partial(of, lifetime=Lifetime.NETWORK, part_of="static synapses")
    state = partial(of, part_of="state")
    learning = partial(of, lifetime=Lifetime.LEARNING)
    rows = 1 + (tuning.DECAY_STEPS_PER_NEURON if sizes.tau_per_neuron else tuning.DECAY_STEPS)
    decays = (rows, many if sizes.tau_per_neuron else 1)
    ranges = np.diff(thread_ranges(N, options.threads))
    threads, widest = len(ranges), int(ranges.max())
    path = 1 + sizes.stimulus if sizes.tasks == 1 else 1
    if path * many * PRECISIONS[real].bytes > tuning.STIMULUS_IN_MEMORY:
        path = 1
    in_memory = sizes.bins * N * PRECISIONS[real].bytes <= tuning.TARGETS_IN_MEMORY
    specs = [
        static("low", (N, sizes.outputs), np.uint16),
        static("block_start", (M, (N >> BLOCK_BITS) + 2), np.int32 if sizes.outputs >> 16 else np.uint16),
        static("row_start", sizes.network, np.int64),
        static("edge_start", M + 1 if edges else 0, np.int64),
        static("edge_post", edges, np.int32),
        static("edge_weight", edges, real),
        static("edge_delay", edges if sizes.static_delays else 0, np.uint8),
        of("static weights as drawn", edges, np.float64, Lifetime.DRAWING),
        # The event form needs the sources only until they have been transposed.
        of("sources", (N, sizes.recurrent), np.int32, Lifetime.DRAWING if event else Lifetime.NETWORK),
        outputs("start", lines + 1, np.int64),
        outputs("post", synapses, np.int32),
        outputs("column", synapses, np.uint16),
        of("w", (N, width), real),
        *(state(name, many, real) for name in STATE if name != "U_I" or not sizes.one_static_filter),
        *(state(name, lines, real) for name in FILTERED),
        state("X_stim", (path, many), real),
        state("state", (sizes.variables, many), real),
        state("varying", (sizes.parameters, many), real),
        state("updated", lines, np.int32),
        state("refractory_count", -(-N // GROUP), np.int32),
        state("counts", N, np.int64),
        state("recorded", N, np.bool_),
        *(state(name, decays, real) for name in ("decay_P", "gain_P")),
        state("gain_r", M if sizes.tau_per_neuron else 1, real),
        state("spiked", (sizes.longest_delay + 1, threads, widest), np.int32),
        state("arrived", (sizes.longest_delay + 1, 1, sizes.network), np.int32),
        *_shared_lists(sizes, options),
        learning("targets", (sizes.bins if in_memory else 1, N), real),
        learning("shifted targets", N, real, part_of="targets"),
    ]
    if isinstance(sizes.rule, NumpyRule):
        return [*specs, learning("r now", lines, real), *rule_arrays(sizes, options)]
    specs.append(learning("P", _entries(options, sizes, blas=blas), p.stored))
    if not blas:
        specs.append(learning("unit", N, p.computed))
    if sizes.inputs:
        place = (N, 3) if options.storage == "full" else N + 1
        shapes = {"sizes": N, "vectors": N + 1, "place": place}
        specs += [learning(f"layout.{name}", shape, np.int64, part_of="P") for name, shape in shapes.items()]
    if event:  # the updates of neurons with varying n are applied at once, too: m of the typical neuron
        m = pending_updates(sizes.typical, tuning.PENDING_PER_ROOT_N)
        listed = min(synapses + N * sizes.LX, max(tuning.LISTED_AT_LEAST, tuning.LISTED_PER_NEURON * N))
        vectors = sizes.total(lambda n: m * padded(n, LANES))
        pending, lists = partial(learning, part_of="pending updates"), partial(learning, part_of="spiked inputs")
        specs += [
            pending("pending.k", vectors if sizes.inputs else (N, m * width), pending_dtype(options)),
            pending("pending.g", (N, m), p.computed),
            pending("pending.last", (N, 2), p.computed),
            pending("pending.error", (N, 2), real),
            lists("jumps.j", lines, np.int32),
            lists("jumps.s", lines, p.computed),
            lists("spiked.start", N + 1, np.int64),
            lists("spiked.columns", listed, np.uint16),
            lists("spiked.s", listed, p.computed),
            lists("cursor", N, np.int64),
        ]
        sharing = sharing_threads(sizes, options)
        between = sharing, sharing, _shared_room(listed, sharing)
        shared = (("post", np.int32), ("columns", np.uint16), ("s", p.computed))
        specs += [lists(f"between.{name}", between, dtype) for name, dtype in shared]
    else:
        specs.append(learning("r now", lines, real))
    if blas:
        specs.append(learning("x", (N, n), p.computed))
    return specs


def _entries(options: Options, sizes: Sizes, *, blas: bool) -> int:
    """Stored numbers of P; vectors that start in the last matrix may reach beyond it."""
    if blas:
        return sizes.N * STORAGES[options.storage].entries(sizes.n)
    beyond: int = LANES * padded(sizes.n + 1, LANES)
    return sizes.total(lambda n: math.prod(matrix_shape(options, n))) + beyond


def pending_dtype(options: Options) -> np.dtype[Any]:
    """Of the pending k: float16 if P is, into which they are rounded anyway."""
    p = PRECISIONS[options.p_precision]
    return p.stored if p.name == "float16" else p.computed


def matrix_shape(options: Options, n: Any) -> tuple[Any, ...]:
    """Shape of one stored P: of full storage padded to whole groups of rows and lanes.

    Not in 16 bits, which are there to save memory.
    """
    if options.storage == "packed" or PRECISIONS[options.p_precision].narrow:
        return STORAGES[options.storage].shape(n)
    return padded(n, ROWS), padded(n, LANES)


def padded(n: Any, to: int) -> Any:
    """The smallest multiple of `to` that is at least n."""
    return -(-n // to) * to


def thread_ranges(N: int, threads: int, *, scanned: bool = False) -> NDArray[np.int64]:
    """First neuron of each thread of the simulation, and N: no two threads share a group.

    Or of those that look for spikes before an update, if neurons are only `scanned`.
    """
    used = max(1, min(threads, N // (tuning.SCANNED_PER_THREAD if scanned else tuning.NEURONS_PER_THREAD)))
    groups = -(-N // GROUP)
    return np.minimum((np.arange(used + 1) * groups // used) * GROUP, N)


def _shared_lists(sizes: Sizes, options: Options) -> list[ArraySpec]:
    """Lists of synapses that threads look up for each other: see `rlsbench_numba.lookup`.

    They have room for the synapses of as many spikes as fit in the messages, and for more.
    """
    threads = sharing_threads(sizes, options)
    lists: list[ArraySpec] = []
    for kind, delays, synapses in (
        ("static", (), sizes.N * sizes.outputs),
        ("plastic", (sizes.plastic_delays,), sizes.synapses),
    ):
        shape = (*delays, threads, threads, _shared_room(tuning.SPIKES_PER_NEURON * synapses, threads))
        for name, dtype in (("post", np.int32), ("weight", options.precision)):
            lists.append(ArraySpec.of(f"shared.{kind}_{name}", shape, dtype, part_of="shared look-ups"))
    return lists


def _shared_room(entries: float, threads: int) -> int:
    """Room in each list between two threads for so many entries in all."""
    mean = entries / max(1, threads) ** 2
    return math.ceil(mean + 8 * math.sqrt(mean)) + tuning.SHARED_AT_LEAST


def sharing_threads(sizes: Sizes, options: Options) -> int:
    """Threads of a rank that look up spikes for each other; 0 if each looks up all itself.

    Sharing saves each thread look-ups, but costs a barrier a step, and twice the work for each
    synapse, if it is listed.
    """
    threads = len(thread_ranges(sizes.N, options.threads)) - 1
    synapses = (sizes.N * sizes.outputs + sizes.synapses) / sizes.everyone  # of a spike, onto neurons of the rank
    few = synapses < tuning.SHARED_SYNAPSES * (threads - 1)
    return threads if few and sizes.network > tuning.SHARED_NEURONS else 0


def message_length(neurons: int) -> int:
    """Numbers in the message of a rank: how many of its neurons spiked, and room for their own."""
    return 1 + min(neurons, tuning.SPIKES_AT_LEAST + int(tuning.SPIKES_PER_NEURON * neurons))


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An uninitialised array that starts at a cache line.

    NumPy asks for large pages where it is large; each is touched first by the thread that fills it.
    """
    size = math.prod(shape) * dtype.itemsize
    raw = np.empty(size + tuning.CACHE_LINE, np.uint8)
    start = -raw.ctypes.data % tuning.CACHE_LINE
    array: NDArray[Any] = raw[start : start + size].view(dtype).reshape(shape)
    return array
