"""The compiled kernels against their definitions."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
from fractions import Fraction
from functools import cache, partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

if "numba" not in os.environ.get("RLSBENCH_REQUIRE_BACKENDS", "").split():
    pytest.importorskip("rlsbench_numba.backend")
    if find_spec("numba") is None:
        pytest.skip("the package numba is not installed", allow_module_level=True)

from rlsbench import load_experiment
from rlsbench.backend import Kept, Options, Sizes, SpikeTrain, Trainer, get_backend
from rlsbench.conformance.subjects import VARIANTS, problem
from rlsbench.errors import UnsupportedError
from rlsbench.network import PlasticInputs, Populations, StaticSynapses
from rlsbench.neurons import LIF, NeuronModel, Neurons, Parameter, exp, muladd, where
from rlsbench.precision import PRECISIONS, pack
from rlsbench.ranks import ALONE, Planned
from rlsbench.training.learned_current import LearnedCurrent
from rlsbench.training.trial import run_trial
from rlsbench_numba import tuning
from rlsbench_numba.arrays import aligned, declare, matrix_shape, sharing_threads, thread_ranges
from rlsbench_numba.backend import prepare_threads
from tests.conftest import Cli

prepare_threads(8)  # before Numba is imported

import numba  # noqa: E402

from rlsbench_numba import by_address, compiling, delivery, lanes, lookup, storage_packed  # noqa: E402
from rlsbench_numba import storage as storages  # noqa: E402
from rlsbench_numba.compiling import kernel_of_python  # noqa: E402
from rlsbench_numba.lanes import ENCODINGS, LANES  # noqa: E402
from rlsbench_numba.neurons import call_group, compiled  # noqa: E402
from rlsbench_numba.neurons import constants as neuron_constants  # noqa: E402
from rlsbench_numba.rls_event import Sparse  # noqa: E402
from rlsbench_numba.spiked_inputs import (  # noqa: E402
    Between,
    Jumps,
    Spiked,
    accumulate,
    collect_jumps,
    count_found,
    count_inputs,
    fill_found,
    fill_inputs,
    look_up_inputs,
)
from rlsbench_numba.storage import Storage  # noqa: E402
from rlsbench_numba.synapses import Outputs, Synapses, draw_sources, draw_static, transpose  # noqa: E402
from tests.compiled import from_python  # noqa: E402

deliver_plastic, deliver_static = from_python(delivery.deliver_plastic), from_python(delivery.deliver_static)
multiply, refine, subtract = (from_python(k) for k in (storages.multiply, storages.refine, storages.subtract))
add_columns, complete = from_python(storage_packed.add_columns), from_python(lookup.complete)
add_plastic, add_static = from_python(lookup.add_plastic), from_python(lookup.add_static)
find_plastic, find_static = from_python(lookup.find_plastic), from_python(lookup.find_static)

compiling.use_threads(2)  # kernels that were compiled by another process do not start Numba's threads

Floats = NDArray[np.floating[Any]]


# Numbers in lanes


@kernel_of_python
def copied(to, source):
    for o in range(0, len(source), LANES):
        lanes.store(to, o, lanes.load(source, o))


@kernel_of_python
def fused(to, a, b, c):
    lanes.store(to, 0, lanes.fma(lanes.load(a, 0), lanes.load(b, 0), lanes.load(c, 0)))


@kernel_of_python
def below(to, source, count):
    lanes.store(to, 0, lanes.load_below(source, 0, count))


@kernel_of_python
def stored_below(to, source, count):
    lanes.store_below(to, 0, lanes.load(source, 0), count)


@kernel_of_python
def totalled(x):
    return lanes.total(lanes.load(x, 0))


@kernel_of_python
def compared(to, x, limit):
    wide, bar = lanes.load(x, 0), lanes.splat(limit)
    lanes.store(to, 0, lanes.select_above(wide, bar, lanes.plus(wide, bar), lanes.minus(wide, bar)))
    return lanes.count_above(wide, bar), lanes.lane_of(wide, 3), lanes.load_one(x, 5)


@kernel_of_python
def constants(array):
    return lanes.zero_of(array), lanes.one_of(array[0]), lanes.zero_of(array[0]) / lanes.one_of(array)


EVERY = np.arange(2**16, dtype=np.uint32).astype(np.uint16)
WIDENED: dict[str, Floats] = {
    "float16": EVERY.view(np.float16).astype(np.float32),
    "bfloat16": (EVERY.astype(np.uint32) << 16).view(np.float32),
    "int16": EVERY.view(np.int16).astype(np.float32),
}
"""What every pattern of 16 bits stands for, by NumPy."""


@pytest.mark.parametrize("encoding", WIDENED)
def test_every_number_of_16_bits_is_widened(encoding: str) -> None:
    wide = np.empty(2**16, np.float32)
    copied(wide, EVERY.view(ENCODINGS[encoding]))
    np.testing.assert_array_equal(wide, WIDENED[encoding])


def nearest(x: np.float32, encoding: str) -> float:
    """The number of an encoding nearest to x, by exact arithmetic; ties to the even pattern."""
    finite = np.flatnonzero(np.isfinite(WIDENED[encoding]))
    wide = np.zeros(2**16)
    wide[finite] = WIDENED[encoding][finite]
    distance = np.abs(wide[finite] - float(x))
    best = finite[distance == distance.min()]
    return float(wide[min(best, key=lambda pattern: (EVERY[pattern] % 2, pattern))])


@pytest.mark.parametrize(("encoding", "largest"), [("float16", 65000.0), ("bfloat16", 2.0**127), ("int16", 32767.0)])
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_numbers_are_rounded_to_nearest_and_ties_to_even(encoding: str, largest: float, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, 2**16 - 2))
    pair = WIDENED[encoding][at : at + 2]
    between = float(pair.astype(np.float64).mean()) if np.isfinite(pair).all() else 0.0  # a tie, mostly
    numbers = st.floats(-largest, largest, width=32)
    drawn = data.draw(st.lists(numbers, min_size=LANES - 1, max_size=LANES - 1))
    x = np.array([between if abs(between) < largest else 0.5, *drawn], np.float32)
    stored = np.empty(LANES, ENCODINGS[encoding])
    copied(stored, x)
    found = np.empty(LANES, np.float32)
    copied(found, stored)
    np.testing.assert_array_equal(found, [nearest(value, encoding) for value in x])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_products_and_sums_are_rounded_once(dtype: Any, data: st.DataObject) -> None:
    numbers = arrays.arrays(dtype, LANES, elements=st.floats(-1e6, 1e6, width=dtype(0).itemsize * 8))
    a, b, c = data.draw(numbers), data.draw(numbers), data.draw(numbers)
    found = np.empty(LANES, dtype)
    fused(found, a, b, c)
    exact = [Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)) for x, y, z in zip(a, b, c, strict=True)]
    for one, right in zip(found, exact, strict=True):
        error = abs(Fraction(float(one)) - right)
        for other in (np.nextafter(one, dtype(np.inf)), np.nextafter(one, dtype(-np.inf))):
            assert error <= abs(Fraction(float(other)) - right)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("count", [0, 1, 7, 15, 16])
def test_lanes_beyond_a_count_are_left_alone(encoding: str, count: int) -> None:
    wide = np.dtype(np.float64 if encoding == "float64" else np.float32)
    source, found = np.arange(1, LANES + 1).astype(wide), np.full(LANES, 99.0, wide)
    below(found, source, count)
    np.testing.assert_array_equal(found, [*range(1, count + 1), *[0] * (LANES - count)])
    stored = np.empty(LANES, ENCODINGS[encoding])
    copied(stored, np.full(LANES, 77.0, wide))
    stored_below(stored, source, count)
    copied(found, stored)
    np.testing.assert_array_equal(found, [*range(1, count + 1), *[77] * (LANES - count)])


def test_the_order_of_a_sum_is_that_of_the_source() -> None:
    x = np.random.default_rng(1).normal(size=LANES).astype(np.float32) * np.float32(10) ** np.arange(-8, 8)
    expected = x.astype(np.float32)
    while len(expected) > 1:
        half = len(expected) // 2
        expected = expected[:half] + expected[half:]
    assert totalled(x.astype(np.float32)) == expected[0]


def test_comparisons_are_made_lane_by_lane() -> None:
    x = np.arange(LANES, dtype=np.float64)
    found = np.empty(LANES)
    assert compared(found, x, 9.0) == (6, 3.0, 5.0)
    np.testing.assert_array_equal(found, np.where(x > 9, x + 9, x - 9))


@pytest.mark.parametrize("value", [1.0, np.nan, np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constants_do_not_depend_on_the_data(dtype: Any, value: float) -> None:
    assert constants(np.full(1, value, dtype)) == (0.0, 1.0, 0.0)


# Storage


def symmetric(n: int, many: int, seed: int = 0) -> Floats:
    """Positive definite matrices (many, n, n), as P is."""
    drawn = np.random.default_rng(seed).normal(size=(many, n, n + 3))
    return drawn @ drawn.transpose(0, 2, 1) / n


def stored(N: int, storage: str, precision: str, P0: Floats) -> Storage:
    """P of N neurons, all of them P0."""
    p, options = PRECISIONS[precision], Options("float32", precision, storage)
    size = N * math.prod(matrix_shape(options, len(P0))) + LANES * (len(P0) + LANES)
    return Storage(options, P0, aligned((size,), p.stored), np.empty(N, p.computed))


def values(matrices: Storage) -> Floats:
    """P of all neurons, as it is stored, times its unit: (N, n, n)."""
    return matrices.part(0, len(matrices.matrices.unit)).full()


def put(matrices: Storage, P: Floats) -> None:
    """Take P (N, n, n) of all neurons."""
    P = P if matrices.storage == "full" else pack(P)
    matrices.set_part(0, Kept(P))


@pytest.mark.parametrize("storage", ["full", "packed"])
@pytest.mark.parametrize("precision", ENCODINGS)
@pytest.mark.parametrize("n", [1, 5, 16, 33])
def test_matrices_are_kept_to_the_precision_of_what_is_stored(n: int, precision: str, storage: str) -> None:
    P = symmetric(n, 3)
    matrices = stored(3, storage, precision, np.eye(n) * 0.25)
    np.testing.assert_array_equal(values(matrices), np.stack([np.eye(n) * 0.25] * 3))
    put(matrices, P)
    found, unit = values(matrices), matrices.matrices.unit
    assert found.dtype == (np.float64 if precision == "float64" else np.float32)
    half_a_place = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8, "int16": 0.0}
    allowed = half_a_place[precision] * np.abs(P)
    if precision == "int16":
        largest = np.abs(P).max(axis=(1, 2))
        assert np.all(unit * 2**13 <= largest)
        assert np.all(largest <= unit * 2**14)
        allowed = allowed + unit[:, None, None] / 2
    smallest = 2.0**-24 if precision == "float16" else 0.0
    assert np.all(np.abs(found - P) <= allowed * (1 + 1e-6) + smallest / 2)


@pytest.mark.parametrize("storage", ["full", "packed"])
@pytest.mark.parametrize("precision", ENCODINGS)
def test_blocks_of_the_same_kind_are_restored_exactly(precision: str, storage: str) -> None:
    matrices, other = (stored(4, storage, precision, np.eye(5)) for _ in range(2))
    put(matrices, symmetric(5, 4))
    P = matrices.part(1, 3)
    other.set_part(1, P)
    np.testing.assert_array_equal(other.part(1, 3).values, P.values)
    np.testing.assert_array_equal(values(other)[1:3], values(matrices)[1:3])
    np.testing.assert_array_equal(values(other)[[0, 3]], np.stack([np.eye(5)] * 2))


def test_padding_is_zero() -> None:
    P = stored(2, "full", "float32", np.ones((5, 5))).matrices.P
    assert P.shape == (2, 8, 16)
    assert P.sum() == 2 * 25


def test_matrices_in_16_bits_are_not_padded() -> None:
    assert stored(2, "full", "float16", np.ones((5, 5))).matrices.P.shape == (2, 5, 5)


def padded_vectors(vectors: Floats) -> NDArray[np.float32]:
    """Vectors (.., n) in a row, each padded with zeros to whole groups of lanes."""
    n = vectors.shape[-1]
    return np.pad(vectors, [(0, 0), (0, -n % LANES)]).astype(np.float32).ravel()


@pytest.mark.parametrize("storage", ["full", "packed"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("n", [1, 6, 16, 31, 50])
def test_updates_change_one_matrix(n: int, precision: str, storage: str) -> None:
    matrices = stored(3, storage, precision, np.eye(n))
    put(matrices, symmetric(n, 3))
    before, k = values(matrices).copy(), np.random.default_rng(1).normal(size=(5, n)) / 4
    P, vectors = matrices.matrices.P[1], padded_vectors(k)
    subtract(P, vectors, 5, len(vectors) // 5, n)
    found = values(matrices)
    np.testing.assert_array_equal(found[[0, 2]], before[[0, 2]])
    np.testing.assert_allclose(found[1], before[1] - k.T @ k, atol=0.01 if precision == "float16" else 1e-5)
    np.testing.assert_array_equal(found[1], found[1].T)
    product = np.empty(len(vectors) // 5, np.float32)
    multiply(product, P, vectors[: len(product)], n)
    np.testing.assert_allclose(product[:n], found[1] @ k[0], atol=1e-5)


@given(n=st.integers(1, 50), data=st.data())
@settings(deadline=None, max_examples=50)
def test_columns_of_a_triangle_add_up_to_the_product(n: int, data: st.DataObject) -> None:
    matrices = stored(2, "packed", "float16", np.eye(n))
    put(matrices, symmetric(n, 2))
    spiked = data.draw(st.lists(st.integers(0, n - 1), unique=True))
    s = np.linspace(0.5, 1.5, len(spiked), dtype=np.float32)
    rows, h = np.arange(n + LANES), np.empty(n + -n % LANES, np.float32)
    jumps = Sparse(np.array(spiked, np.uint16), s)
    for c, P in enumerate(values(matrices)):  # what follows the last matrix is allocated, too
        add_columns(h, matrices.matrices.P[c], np.float32(2), jumps, rows * (rows + 1) // 2)
        np.testing.assert_allclose(h[:n], 2 * P[:, spiked] @ s, atol=1e-4)


@pytest.mark.parametrize("n", [1, 5, 33])
@pytest.mark.parametrize("storage", ["full", "packed"])
def test_units_follow_what_shrinks(storage: str, n: int) -> None:
    matrices = stored(2, storage, "int16", np.eye(n))
    put(matrices, symmetric(n, 2))
    before = values(matrices)
    P, units = matrices.matrices[:2]
    units *= np.float32(64)  # as if the numbers had come to use 6 bits fewer
    P[:] = P // 64
    coarse, beside = values(matrices), P[1].copy()
    unit = np.float32(refine(P[0], units[0], n))
    assert unit < units[0]
    units[0] = unit
    np.testing.assert_array_equal(values(matrices)[0], coarse[0])  # nothing is rounded
    np.testing.assert_array_equal(P[1], beside)
    assert 2**11 <= np.diagonal(before[0]).max() / unit <= 2**14
    assert refine(P[0], unit, n) == unit


def test_units_of_floating_point_numbers_stay() -> None:
    matrices = stored(1, "full", "float16", np.eye(5) * 1e-3).matrices
    assert refine(matrices.P[0], matrices.unit[0], 5) == 1.0


# Synapses

WEIGHTS = ((1.0, 2.0), (-3.0, -5.0))
NO_EDGES = [np.ones(1, np.int64)]  # delays of plastic synapses, and no other static ones
NO_EDGES += [np.empty(0, dtype) for dtype in (np.int64, np.int32, np.float64, np.uint8, np.int64, np.bool_)]


def drawn_static(N: int, K: int) -> tuple[NDArray[np.uint16], NDArray[np.int32], StaticSynapses]:
    """Static synapses of two equal populations with seed 9, as stored, and their definition."""
    synapses = StaticSynapses(Populations.pair(N, N // 2), K, WEIGHTS)
    low, start = np.empty((N, K), np.uint16), np.empty((N, (N >> 16) + 2), np.int32)
    draw_static(low, start, 9)
    return low, start, synapses


def transposed(sources: NDArray[np.int32], LX: int, threads: int) -> Outputs:
    """The synapses of `sources` by their pre-synaptic neurons."""
    N, size = len(sources), sources.size
    outputs = Outputs(np.empty(N + 1, np.int64), np.empty(size, np.int32), np.empty(size, np.uint16))
    transpose(outputs, sources, LX, threads)
    return outputs


@pytest.mark.parametrize(("N", "K"), [(7, 3), (7, 6), (300, 20), (70_000, 3)])
def test_static_synapses_are_those_of_the_definition(N: int, K: int) -> None:
    low, start, synapses = drawn_static(N, K)
    blocks = np.tile(np.arange(start.shape[1] - 1) << 16, N)
    high = np.repeat(blocks, np.diff(start, axis=1).ravel()).reshape(low.shape)
    np.testing.assert_array_equal(low + high, synapses.targets(9))


@pytest.mark.parametrize(("N", "LX", "L", "threads"), [(40, 0, 5, 1), (40, 3, 5, 3), (700, 2, 20, 2), (12, 4, 0, 2)])
def test_plastic_synapses_are_those_of_the_definition(N: int, LX: int, L: int, threads: int) -> None:
    pools = (np.arange(0, N // 2, 1, np.int32)[::-1].copy()[::-1], np.arange(N // 2, N, dtype=np.int32))
    plastic = PlasticInputs(Populations.pair(N, N // 2), LX, L, 1.0, pools)
    sources = np.empty((N, 2 * L), np.int32)
    draw_sources(sources, plastic, 5)
    np.testing.assert_array_equal(sources, plastic.sources(5))
    found, expected = transposed(sources, LX, threads), plastic.outputs(plastic.sources(5))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def wiring(N: int = 60, LX: int = 2, L: int = 4) -> tuple[PlasticInputs, Any, Outputs]:
    """Plastic inputs of a small network, their sources, and the same from the other side."""
    pools = (np.arange(N // 2, dtype=np.int32), np.arange(N // 2, N, dtype=np.int32))
    plastic = PlasticInputs(Populations.pair(N, N // 2), LX, L, 1.0, pools)
    sources = plastic.sources(5)
    return plastic, sources, transposed(sources, LX, 1)


@pytest.mark.parametrize("K", [4, 32_767, 32_768])
def test_where_blocks_of_a_row_begin_fits_its_longest_one(K: int) -> None:
    sizes = Sizes.of_experiment(load_experiment("sinusoid", overrides={"network.neurons": 10**5, "network.K": K}))
    declared = {a.name: a.dtype for a in declare(sizes, Options("float32", "float32", "full"), blas=False)}
    assert np.iinfo(declared["block_start"]).max >= sizes.outputs == 2 * K
    assert declared["block_start"].itemsize == (2 if K < 32_768 else 4)


@pytest.mark.parametrize(
    ("neurons", "ranks", "threads", "sharing"),
    [
        (10**8, 64, 48, 48),
        (10**7, 8, 48, 48),
        (10**6, 2, 1, 0),
        (10**6, 2, 2, 0),
        (10**5, 64, 48, 0),
        (10**8, 1, 48, 0),
    ],
)
def test_threads_share_look_ups_of_spikes_with_few_synapses(
    neurons: int, ranks: int, threads: int, sharing: int
) -> None:
    sizes = Sizes.of_experiment(load_experiment("sinusoid", overrides={"network.neurons": neurons}))
    sizes = sizes.of_rank(Planned(ranks) if ranks > 1 else ALONE)
    options = Options("float32", "float32", "full", threads)
    assert sharing_threads(sizes, options) == sharing
    lists = [a for a in declare(sizes, options, blas=False) if a.name.startswith("shared.")]
    assert len(lists) == 4
    assert sum(a.bytes for a in lists) < 0.1 * sizes.N * (sizes.outputs + sizes.n)  # synapses take 2 bytes or more
    assert bool(sum(a.bytes for a in lists)) == bool(sharing)


# What the event form updates from


@pytest.mark.parametrize("bounds", [[0, 4], [0, 0, 1, 4], [0, 3, 4, 4]])
def test_jumps_are_what_filtered_spikes_rose_by(bounds: list[int]) -> None:
    r, rise = np.array([3.0, 0.0, 5.0, 2.0]), np.array([1.0, 0.0, 0.0, 2.0])
    updated = np.array([10, 0, 4, 8], np.int32)
    decay, j, s, parts = math.log(0.9), np.empty(4, np.int32), np.empty(4), np.array(bounds)
    count = collect_jumps(r, rise, updated, decay, 12, False, j, s, parts)
    assert j[:count].tolist() == [0, 3]
    np.testing.assert_allclose(s[:count], [0.9**2, 2 * 0.9**4], rtol=1e-14)
    assert not rise.any()
    rise[:] = [1.0, 0.0, 0.0, 0.0]
    count = collect_jumps(r, rise, updated, decay, 12, True, j, s, parts)  # all of r
    assert j[:count].tolist() == [0, 2, 3]
    np.testing.assert_allclose(s[:count], [3 * 0.9**2, 5 * 0.9**8, 2 * 0.9**4], rtol=1e-14)
    assert not rise.any()


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("spiked", [[], [0], [3, 17, 40, 59], list(range(60))])
def test_lists_hold_the_inputs_that_spiked(spiked: list[int], threads: int) -> None:
    plastic, sources, outputs = wiring()
    N = plastic.neurons
    s_X = {1: 0.25}  # of two feed-forward inputs, one spiked
    jumps = Jumps(
        np.array(spiked, np.int32),
        np.arange(1.0, len(spiked) + 1),
        np.array(list(s_X), np.uint16),
        np.array(list(s_X.values())),
    )
    bounds = np.arange(threads + 1) * N // threads
    length, start = np.empty(N, np.int64), np.zeros(N + 1, np.int64)
    count_inputs(length, jumps, outputs, bounds)
    total = accumulate(length, start)
    whole, part = (Spiked(start, np.empty(total, np.uint16), np.empty(total)) for _ in range(2))
    by_neuron = dict(zip(spiked, jumps.s.tolist(), strict=True))
    fill_inputs(whole, length, jumps, outputs, bounds)
    for c in range(N):
        own = list(s_X.items())
        own += sorted((2 + i, by_neuron[j]) for i, j in enumerate(sources[c].tolist()) if j in by_neuron)
        entries = slice(start[c], start[c + 1])
        found = zip(whole.columns[entries].tolist(), whole.s[entries].tolist(), strict=True)
        assert sorted(found) == own
    # A part of the neurons, whose lists then begin at 0.
    fill_inputs(part, length, jumps, outputs, np.array([20, 33, 45]))
    many = start[45] - start[20]
    np.testing.assert_array_equal(part.columns[:many], whole.columns[start[20] : start[45]])
    np.testing.assert_array_equal(part.s[:many], whole.s[start[20] : start[45]])


# Delivery


NO_ROWS = np.empty(0, np.int64)  # where static rows begin, if they vary in length
SEVERAL = Populations.of([("a", 60, -1), ("b", 90, 1), ("c", 1, 1), ("d", 149, -1)])


@pytest.mark.parametrize("one_static_current", [False, True])
@pytest.mark.parametrize("bounds", [[0, 300], [0, 70, 150, 151, 300], [0, 200, 300]])
@pytest.mark.parametrize("populations", [Populations.pair(300, 150), SEVERAL])
def test_static_spikes_arrive(bounds: list[int], one_static_current: bool, populations: Populations) -> None:
    N, P = 300, len(populations)
    J, (low, start, synapses) = np.arange(1.0, P * P + 1).reshape(P, P), drawn_static(N, 20)
    of = (populations.bounds, populations.bounds, populations.signs)
    held = Synapses(
        *of, low.reshape(-1), 20, NO_ROWS, start, J, np.empty((0, 0)), *wiring()[2], np.zeros((0, 16)), *NO_EDGES
    )
    spiked = np.array([0, 7, 149, 150, 299], np.int32)
    U = np.zeros((2, N))
    U_E, U_I = (U[0], U[0]) if one_static_current else (U[0], U[1])
    for a, b in pairwise(bounds):
        deliver_static(U_E, U_I, held, 0.5, 0.25, spiked, a, b)
    expected = np.zeros((2, N))
    for j in spiked:
        pre = populations.index(j)
        row, gain = (0, 0.5) if populations.signs[pre] > 0 else (int(not one_static_current), 0.25)
        for i in synapses.targets(9)[j]:
            expected[row, i] += J[pre, populations.index(i)] * gain
    np.testing.assert_allclose(U, expected, rtol=1e-14)


def test_static_spikes_arrive_beyond_65536_neurons() -> None:
    N = 140_000
    J, (low, start, synapses) = np.array(WEIGHTS), drawn_static(N, 40)
    held = Synapses(
        np.array([0, N // 2, N]),
        np.array([0, N // 2, N]),
        np.array([1, -1], np.int8),
        low.reshape(-1),
        40,
        NO_ROWS,
        start,
        J,
        np.empty((0, 0)),
        *wiring()[2],
        np.zeros((0, 16)),
        *NO_EDGES,
    )
    spiked = np.array([0, 65_535, 65_536, N - 1], np.int32)
    U = np.zeros(N)
    for a, b in ((0, 65_600), (65_600, 131_072), (131_072, N)):
        deliver_static(U, U, held, 1.0, 1.0, spiked, a, b)
    expected = np.zeros(N)
    for j in spiked:
        targets = synapses.targets(9, int(j), int(j) + 1)[0]
        np.add.at(expected, targets, J[int(j >= N // 2), (targets >= N // 2).astype(int)])
    np.testing.assert_array_equal(U, expected)


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("bounds", [[0, 60], [0, 1, 33, 60]])
def test_plastic_spikes_arrive(bounds: list[int], each: bool) -> None:
    plastic, sources, outputs = wiring()
    N = plastic.neurons
    w = np.random.default_rng(2).normal(size=(N, 16))
    gain = np.linspace(0.5, 1.5, N) if each else np.array([0.5])
    no_static = np.empty(0, np.uint16), 0, NO_ROWS, np.zeros((N, 2), np.int32), np.zeros((2, 2)), np.empty((0, 0))
    held = Synapses(np.array([0, N]), np.array([0, N]), np.ones(1, np.int8), *no_static, *outputs, w, *NO_EDGES)
    spiked = np.array([1, 2, 3, 30, 31, 58], np.int32)
    U = np.zeros(N)
    for a, b in pairwise(bounds):
        deliver_plastic(U, held, gain, spiked, 0, a, b)
    expected = (np.isin(sources, spiked) * w[:, 2:10]).sum(axis=1) * gain
    np.testing.assert_allclose(U, expected, rtol=1e-12, atol=1e-14)


MANY = 140_000  # neurons in three blocks
FOUR = Populations.of([("a", 30_000, -1), ("b", 50_000, 1), ("c", 1, 1), ("d", MANY - 80_001, -1)])


@cache
def many_synapses(own_weights: bool, populations: Populations) -> Synapses:
    """Synapses of neurons in several blocks."""
    rng, (low, start, _) = np.random.default_rng(3), drawn_static(MANY, 12)
    outputs = transposed(rng.integers(0, MANY, (MANY, 3)).astype(np.int32), 0, 1)
    P, of = len(populations), (populations.bounds, populations.bounds, populations.signs)
    J, J_own, w = (rng.normal(size=s) for s in ((P, P), low.shape if own_weights else (0, 0), (MANY, 16)))
    return Synapses(*of, low.reshape(-1), 12, NO_ROWS, start, J, J_own, *outputs, w, *NO_EDGES)


@settings(max_examples=30, deadline=None)
@given(
    spikes=st.integers(0, 300),
    threads=st.integers(1, 5),
    room=st.sampled_from([0, 3, 5000]),
    own_weights=st.booleans(),
    one_static_current=st.booleans(),
    populations=st.sampled_from([Populations.pair(MANY, MANY // 2), FOUR]),
)
def test_what_threads_look_up_for_each_other_adds_up_to_the_same_bits(
    spikes: int, threads: int, room: int, own_weights: bool, one_static_current: bool, populations: Populations
) -> None:
    """Unless a list is full, which all threads see."""
    held, bounds = many_synapses(own_weights, populations), thread_ranges(MANY, threads)
    spiked = np.sort(np.random.default_rng(spikes).choice(MANY, spikes, replace=False)).astype(np.int32)
    pairs = (threads, threads, room)
    shapes = {"static_post": pairs, "static_weight": pairs, "plastic_post": (1, *pairs), "plastic_weight": (1, *pairs)}
    made = {f"shared.{name}": np.empty(shape, np.int32 if "post" in name else float) for name, shape in shapes.items()}
    shared = lookup.shared_lists(bounds, made.__getitem__)
    for t, share in enumerate(np.array_split(spiked, threads)):
        find_static(shared, held, share, t)
        find_plastic(shared, held, share, 0, t)
    right, found, gain = *np.zeros((2, 3, MANY)), np.array([0.7])
    I = 0 if one_static_current else 1
    for t, (low, high) in enumerate(pairwise(bounds)):
        deliver_static(right[0], right[I], held, 0.5, 0.3, spiked, low, high)
        deliver_plastic(right[2], held, gain, spiked, 0, low, high)
        add_static(found[0], found[I], shared, 0.5, 0.3, t)
        add_plastic(found[2], shared, gain, 0, t)
    whole = [complete(shared, kind) for kind in (0, 1)]
    assert whole == [True, True] or (spikes and room < 5000)
    assert spikes == 0 or room or whole == [False, False]
    for kind, rows in ((0, slice(0, 2)), (1, slice(2, 3))):
        if whole[kind]:
            np.testing.assert_array_equal(found[rows], right[rows])


@pytest.mark.parametrize("room", [0, 2, 10**5])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_inputs_that_threads_look_up_for_each_other_are_the_same(threads: int, room: int) -> None:
    held = many_synapses(own_weights=False, populations=Populations.pair(MANY, MANY // 2))
    outputs, bounds = Outputs(held.start, held.post, held.column), thread_ranges(MANY, threads)
    j = np.flatnonzero(np.random.default_rng(1).random(MANY) < 0.05).astype(np.int32)
    jumps = Jumps(j, np.arange(1.0, len(j) + 1), np.array([1], np.uint16), np.array([0.25]))
    owner = (np.searchsorted(bounds, np.arange(0, MANY, tuning.GROUP), side="right") - 1).astype(np.int16)
    lists = (np.empty((threads, threads, room), dtype) for dtype in (np.int32, np.uint16, float))
    between = Between(owner, np.zeros((threads, 8), np.int64), *lists)
    if not look_up_inputs(between, jumps, outputs):
        assert room < 10**5
        return
    assert room == 10**5
    made = []
    for count, fill, source in ((count_inputs, fill_inputs, outputs), (count_found, fill_found, between)):
        length, start = np.empty(MANY, np.int64), np.zeros(MANY + 1, np.int64)
        count(length, jumps, source, bounds)
        total = accumulate(length, start)
        spiked = Spiked(start, np.empty(total, np.uint16), np.empty(total))
        fill(spiked, length, jumps, source, bounds)
        made.append(spiked)
    for one, other in zip(*made, strict=True):
        np.testing.assert_array_equal(one, other)


# Neurons


@numba.njit
def one_group(address, state, varying, X, u, refractory, constants, remaining, found, last, rest):  # type: ignore[no-untyped-def]
    return call_group(address, state, varying, X, u, refractory, constants, remaining, 0, found, 0, 0, last, rest)


class Everything(NeuronModel):
    """Everything that a model may use."""

    variables = ("v", "w")
    a = Parameter(0.3)
    b = Parameter(2.0)

    @staticmethod
    def step(s: Any, I: Any, p: Any, dt_ms: Any) -> Any:
        decay = exp(-dt_ms / p.tau_m_ms) ** 2
        up = ~((s.v <= p.a) | (s.w < -1)) & (I >= 0.0)
        return muladd(decay, s.v, where(up, I, 0.5 * I - 1)), where(p.b > 1.0, -s.w / 3 + exp(-s.v * s.v), s.w**3)

    @staticmethod
    def spikes(s: Any, p: Any) -> Any:
        return (s.v > p.threshold) & (p.a < s.w)

    @staticmethod
    def reset(s: Any, p: Any) -> Any:
        return p.reset_voltage, where(s.w > 0.5, 1, s.w - p.a)


@pytest.mark.parametrize("refractory_steps", [0, 3])
@pytest.mark.parametrize("model", [LIF, Everything], ids=lambda model: model.__name__)
@pytest.mark.parametrize("varies", [False, True], ids=["uniform", "varying"])
def test_states_are_those_of_the_neuron_model(model: Any, varies: bool, refractory_steps: int) -> None:
    N, dt, last = 64, 0.1, 50
    rng = np.random.default_rng(4)
    each = {"reset_voltage": rng.uniform(-0.4, 0.0, N), "threshold": rng.uniform(0.5, 1.5, N)}
    neurons = Neurons(model, {"reset_voltage": -0.2} | (each if varies else {}))
    state = neurons.initial_state(rng.normal(size=N))
    ours, left, X, refractory = state.copy(), np.zeros(N), np.zeros(N), np.zeros(N)
    varying = np.array([neurons.values[name] for name in neurons.varying]).reshape(-1, N)
    address, constants = compiled(neurons, "float64"), neuron_constants(neurons, dt)
    found, remaining, spikes = np.empty(N, np.int32), np.zeros(1, np.int32), 0
    for _ in range(40):
        X[:last], u = rng.normal(size=last) * 8, rng.normal(size=N)
        active = left == 0
        spiked = neurons.advance(state, X + u, active, dt)
        spiked[last:] = False
        left = np.where(spiked, refractory_steps, np.maximum(left - 1, 0))
        count = one_group(
            *(address, ours, varying, X, u, refractory, constants, remaining, found, last, refractory_steps)
        )
        spikes += count
        assert found[:count].tolist() == np.flatnonzero(spiked).tolist()
        np.testing.assert_allclose(ours[:, :last], state[:, :last], rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(refractory[:last], left[:last])
        assert remaining[0] == (left[:last] > 0).sum()
    assert spikes > 5


class Branch(LIF):
    @staticmethod
    def step(s: Any, I: Any, p: Any, dt_ms: Any) -> Any:
        return (np.tanh(s.v),)


def test_a_model_that_cannot_be_compiled_is_named() -> None:
    with pytest.raises(UnsupportedError) as caught:
        compiled(Neurons(Branch, name="own:Branch"), "float64")
    assert "own:Branch" in str(caught.value)
    assert "tanh" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_blas_is_not_called_without_plastic_inputs(capfd: pytest.CaptureFixture[str]) -> None:
    """It would print that a matrix has no row, for each neuron and update."""
    on = problem(**{"network.neurons": 8, "network.K": 2, "network.L": 0})
    made = get_backend("numba-blas").trainer(on, Options("float32", "float32", "full", 1))
    made.rls_update(np.empty((8, 0), np.float32), *np.zeros((2, 8), np.float32))
    assert capfd.readouterr() == ("", "")


# Trials


def trial(
    variant: str, threads: int = 1, cut: int | None = None, algorithm: str = "auto", alone: bool = True
) -> dict[str, Any]:
    """What a trial leaves in float32, its steps run at once between bins, or `cut` by `cut`.

    Unless `alone`, the trainer does not sum currents by itself.
    """
    on = problem(**{"network.neurons": 1100} | VARIANTS[variant])
    made = get_backend("numba").trainer(on, Options("float32", "float32", "full", threads, "cpu", algorithm))
    record = np.arange(on.neurons)
    if cut is not None:
        whole = made.advance

        def in_parts(first: int, last: int, spikes: SpikeTrain | None = None) -> None:
            for a in range(first, last + 1, cut):
                whole(a, min(a + cut - 1, last), spikes)

        made.advance = in_parts  # type: ignore[method-assign]
    if not alone:
        made.sum_currents = partial(Trainer.sum_currents, made)  # type: ignore[method-assign]
    for i in range(2):
        learned = LearnedCurrent(on.clock, on.neurons, 3.0, plastic_only=i == 1, dtype="float32")
        run_trial(made, i, record=record, sampler=learned)
    assert learned.counts.sum() > 10
    state, spikes = made.state(), made.recorded_spikes()
    left = {"w": state.w, "P": state.P, "u_bal": made.currents()[0], "u_P": made.currents()[1]}
    left |= {"learned current": learned.matrix()}
    return left | {"step": spikes.step, "neuron": spikes.neuron, "counts": made.spike_counts()}


@pytest.mark.xdist_group("numba float32")  # with the other tests of these kernels
@pytest.mark.parametrize("variant", ["plain", "everything", "tau_plas per neuron", "current noise"])
def test_no_bit_depends_on_threads_or_on_where_steps_are_cut(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = trial(variant)
    assert expected["counts"].sum() > 1000
    monkeypatch.setattr(tuning, "NEURONS_PER_THREAD", 200)
    for changed in ({"threads": 2}, {"threads": 3, "alone": False}, {"threads": 2, "cut": 7}, {"cut": 1}):
        found = trial(variant, **changed)
        for name, right in expected.items():
            np.testing.assert_array_equal(found[name], right, err_msg=f"{name}, {changed}")


@pytest.mark.parametrize("bytes_", [0, tuning.STIMULUS_IN_MEMORY])
@pytest.mark.parametrize("variant", ["plain", "everything"])  # one task, and two
def test_the_stimulus_is_the_same_whether_it_is_kept_or_not(
    variant: str, bytes_: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after a trial that ended while it was on."""
    p = problem(**{"network.neurons": 300} | VARIANTS[variant])
    monkeypatch.setattr(tuning, "STIMULUS_IN_MEMORY", bytes_)
    options = Options("float32", "float32", "full", 1, "cpu", "auto")
    made, fresh = (get_backend("numba").trainer(p, options) for _ in range(2))
    assert p.stimulus is not None
    during = (p.stimulus.on + p.stimulus.off) // 2
    for task in (1, 0):
        made.begin_trial(1, task, np.empty(0, np.int64))
        made.advance(1, during)
    for trial_, task in ((2, 0), (3, 0), (4, 1), (5, 0)):  # one more than there are targets of, in one variant
        for trainer in (made, fresh):
            trainer.begin_trial(trial_, task, np.empty(0, np.int64))
            trainer.advance(1, p.stimulus.off - 1)
        path = np.full(300, p.stimulus.mu)
        for step in range(p.stimulus.on + 1, p.stimulus.off):
            xi = p.stimulus.normals(p.seed, task, step, 0, 300)
            path += p.stimulus.decay * (p.stimulus.mu - path) + p.stimulus.scale * xi
        X = made.simulation.neurons.X[:300]  # type: ignore[attr-defined]
        np.testing.assert_allclose(X, p.external_current + path, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(X, fresh.simulation.neurons.X[:300])  # type: ignore[attr-defined]


def test_targets_are_the_same_whether_they_are_kept_or_not(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = trial("plain")
    monkeypatch.setattr(tuning, "TARGETS_IN_MEMORY", 0)
    monkeypatch.setattr("rlsbench_numba.trainer.TARGETS_TOGETHER", 64)
    found = trial("plain")
    for name, right in expected.items():
        np.testing.assert_array_equal(found[name], right, err_msg=name)


def test_lists_that_do_not_fit_are_made_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = trial("feed-forward inputs", algorithm="event")
    monkeypatch.setattr(tuning, "LISTED_AT_LEAST", 500)
    monkeypatch.setattr(tuning, "LISTED_PER_NEURON", 0)
    found = trial("feed-forward inputs", algorithm="event")
    for name, right in expected.items():
        np.testing.assert_array_equal(found[name], right, err_msg=name)


SIGNATURES = """
import json, sys
from rlsbench import load_experiment, prepare
from rlsbench.configuration import changed
from rlsbench_numba import steps

small = {"network.neurons": 12_000, "network.K": 10, "network.L": 20, "time.train_duration_ms": 30.0}
small |= {"training.iterations": 12, "numerics.threads": 2}
training = prepare(changed(load_experiment("sinusoid"), small | json.loads(sys.argv[1])), "numba")


def signatures():
    loaded = [vars(module) for name, module in list(sys.modules.items()) if name.startswith("rlsbench_numba.")]
    kernels = {k for names in loaded for k in names.values() if hasattr(k, "signatures")}
    return {f"{k.__module__}.{k.__name__}": len(k.signatures) for k in kernels}


before = signatures()
assert len(training.trainer.simulation.lists.bounds) == 3 and before["rlsbench_numba.steps.advance"] == 1
for _ in training.run():
    pass
training.learned_current(training.shown_neurons())
print(json.dumps(dict(signatures().items() - before.items())))
"""


@pytest.mark.parametrize(
    "numerics",
    [{}, {"p_precision": "float16", "storage": "packed"}, {"algorithm": "plain"}, {"precision": "float64"}],
    ids=lambda numerics: " ".join(numerics.values()) or "default",
)
def test_a_training_needs_no_kernel_that_its_preparation_did_not(numerics: dict[str, str], cli: Cli) -> None:
    """Or the time of an iteration would be that of compiling it."""
    given = json.dumps({f"numerics.{name}": value for name, value in numerics.items()})
    done = cli(given, code=SIGNATURES)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {}


@pytest.mark.parametrize(("sources", "loaded"), [("same", 1), ("changed", 0)])
def test_kernels_are_compiled_anew_when_another_module_changed(tmp_path: Path, sources: str, loaded: int) -> None:
    (tmp_path / "squares.py").write_text(
        "import sys\nfrom rlsbench_numba import compiling\ncompiling._SOURCES = sys.argv[1]\n"
        "@compiling.kernel_of_python\ndef square(x):\n    return x * x\n"
        "assert square(3) == 9\nprint(sum(square.stats.cache_hits.values()))\n"
    )
    hits = []
    for stamp in ("same", sources):
        environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        command = [sys.executable, str(tmp_path / "squares.py"), stamp]
        hits.append(int(subprocess.run(command, env=environment, capture_output=True, check=True).stdout))
    assert hits == [0, loaded]


def test_threads_that_do_not_serve_are_refused(monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    """Numba would end the process, and a pool of processes would wait for it for ever."""
    asked: list[int] = []
    monkeypatch.setattr(compiling.numba, "set_num_threads", asked.append)
    here = os.getpid(), threading.get_ident()
    elsewhere = (("omp", (here[0] + 1, here[1])), ("workqueue", (here[0], here[1] + 1)))
    for (layer, there), advice in zip(elsewhere, ("spawn", "NUMBA_THREADING_LAYER"), strict=True):
        monkeypatch.setattr(compiling, "_started", (layer, *there))
        with refused(UnsupportedError, advice):
            compiling.use_threads(1)
        monkeypatch.setattr(compiling, "_started", (layer, *here))
        compiling.use_threads(1)
    assert asked == [1, 1]
    monkeypatch.setattr(compiling, "_started", None)
    monkeypatch.setenv("NUMBA_THREADING_LAYER", "tbb")
    monkeypatch.setattr(compiling.numba, "set_num_threads", lambda _: int("No threading layer\nHINT"))
    with refused(UnsupportedError, "NUMBA_THREADING_LAYER = tbb", "workqueue") as caught:
        compiling.use_threads(1)
    assert "\n" not in str(caught.value)


@compiling.kernel
def _mark(marked: NDArray[np.bool_], i: int) -> None:
    if marked[i]:
        raise ValueError("marked already")
    marked[i] = True


@compiling.parallel_kernel
def _mark_all(marked: NDArray[np.bool_]) -> None:
    by_address.in_parallel(_mark, (marked,), len(marked))


@pytest.mark.parametrize("number", [1, 5])
def test_the_failure_of_a_kernel_called_in_parallel_is_raised(number: int) -> None:
    compiling.use_threads(2)
    marked = np.zeros(number, np.bool_)
    _mark_all(marked)
    assert marked.all()
    marked[1:] = False
    with pytest.raises(RuntimeError):
        _mark_all(marked)
    assert marked.all()  # by the other calls


def test_kernels_are_compiled_without_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a user who can write neither the installation nor HOME."""
    locators = numba.core.caching._CacheLocator
    monkeypatch.setattr(locators, "ensure_cache_path", lambda self: os.mkdir("/dev/null/cache"))
    monkeypatch.setattr(compiling, "notes", [])

    @compiling.kernel_of_python
    def square(x):  # type: ignore[no-untyped-def]
        return x * x

    assert square(3) == 9
    (note,) = compiling.notes
    assert "NUMBA_CACHE_DIR" in note


def test_without_compilation_the_backend_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = get_backend("numba")
    assert backend.unavailable() is None
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert "NUMBA_DISABLE_JIT" in (backend.unavailable() or "")


@pytest.mark.combinations
def test_compiling_and_loading_from_the_cache_give_the_same_bits(tmp_path: Path) -> None:
    """Two processes share one cache, empty at first; the JSON of a run has every correlation."""
    runs = []
    for i in range(2):
        command = ["run", "--preset", "smoke", "--backend", "numba", "--iterations", "3"]
        command += ["--output", f"run{i}", "--json", f"{i}.json"]
        done = subprocess.run(
            [sys.executable, "-c", "from rlsbench.cli import main; main()", *command],
            cwd=tmp_path,
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        runs.append(json.loads((tmp_path / f"{i}.json").read_text()))
    cached, compiled = runs[1], runs[0]
    assert compiled["compile_seconds"] > 3 * cached["compile_seconds"]  # or the first did not compile
    for one, other in zip(compiled["iterations"], cached["iterations"], strict=True):
        for key in ("firing_rate_hz", "correlation"):
            assert one[key] == other[key]
    assert compiled["iterations"][-1]["correlation"] is not None
