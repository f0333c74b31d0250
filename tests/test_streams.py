"""Random streams: published vectors, ranges, addresses, distributions, distinct integers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from rlsbench.streams import (
    Purpose,
    box_muller,
    distinct_integers,
    key_from_seed,
    normal,
    philox4x32,
    uniform,
    unit_interval,
    words,
)
from rlsbench_numba import normals
from rlsbench_numba.normals import Stream
from rlsbench_numba.tuning import GROUP
from tests.compiled import from_python

fill_normals = from_python(normals.fill_normals)

SEEDS = st.integers(0, 2**64 - 1)
WORD = st.integers(0, 2**32 - 1)
PURPOSES = st.sampled_from(Purpose)
STREAMS = {"words": words, "uniform": uniform, "normal": normal}
BITS = {"seed": 64, "trial": 32, "step": 32}


def naive_philox(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """Philox4x32-10 of one counter with Python integers."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for i in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        r0, r1 = (k0 + i * 0x9E3779B9) % 2**32, (k1 + i * 0xBB67AE85) % 2**32
        c0, c1, c2, c3 = p1 // 2**32 ^ c1 ^ r0, p1 % 2**32, p0 // 2**32 ^ c3 ^ r1, p0 % 2**32
    return c0, c1, c2, c3


def naive_word(seed: int, purpose: int, trial: int, step: int, index: int) -> int:
    """One word at its address."""
    return naive_philox((index // 4, step, trial, purpose), (seed % 2**32, seed // 2**32))[index % 4]


# Known-answer vectors of the authors of Philox (Random123, kat_vectors).
@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_philox_known_answers(counter: str, key: str, answer: str) -> None:
    c = [int(word, 16) for word in counter.split()]
    low, high = (int(word, 16) for word in key.split())
    assert " ".join(f"{int(word):08x}" for word in philox4x32(*c, (low, high))) == answer
    # and together with other counters
    many = philox4x32(np.array([7, c[0]]), *c[1:], (low, high))
    assert " ".join(f"{int(word[1]):08x}" for word in many) == answer


@given(st.tuples(WORD, WORD, WORD, WORD), st.tuples(WORD, WORD))
def test_philox_equals_integer_arithmetic(counter: tuple[int, ...], key: tuple[int, int]) -> None:
    assert tuple(int(word) for word in philox4x32(*counter, key)) == naive_philox(counter, key)


@given(SEEDS)
def test_key_is_the_two_halves_of_the_seed(seed: int) -> None:
    low, high = key_from_seed(seed)
    assert seed == low + 2**32 * high
    assert 0 <= low < 2**32


@settings(deadline=None)
@given(SEEDS, PURPOSES, WORD, WORD, st.integers(0, 2**33))
def test_a_word_stands_at_its_address(seed: int, purpose: Purpose, trial: int, step: int, index: int) -> None:
    (word,) = words(seed, purpose, first=index, last=index + 1, trial=trial, step=step)
    assert int(word) == naive_word(seed, int(purpose), trial, step, index)


@pytest.mark.parametrize("name", STREAMS)
@settings(deadline=None, max_examples=60)
@given(
    seed=SEEDS,
    purpose=PURPOSES,
    whole=st.integers(0, 70),
    ends=st.tuples(st.integers(0, 70), st.integers(0, 70)),
    trial=WORD,
    steps=st.lists(WORD, min_size=1, max_size=4),
)
@example(seed=1, purpose=Purpose.NOISE, whole=9, ends=(3, 8), trial=3, steps=[5])
def test_part_of_a_range_equals_that_part_of_the_whole(
    name: str, seed: int, purpose: Purpose, whole: int, ends: tuple[int, int], trial: int, steps: list[int]
) -> None:
    draw = STREAMS[name]
    first, last = sorted(min(end, whole) for end in ends)
    everything = draw(seed, purpose, first=0, last=whole, trial=trial, step=steps)
    assert everything.shape == (len(steps), whole)
    part = draw(seed, purpose, first=first, last=last, trial=trial, step=np.array(steps))
    np.testing.assert_array_equal(part, everything[:, first:last])
    for row, step in zip(everything, steps, strict=True):
        alone = draw(seed, purpose, first=first, last=last, trial=trial, step=step)
        assert alone.shape == (last - first,)
        np.testing.assert_array_equal(alone, row[first:last])


@pytest.mark.parametrize("name", STREAMS)
@settings(deadline=None, max_examples=60)
@given(data=st.data(), purpose=PURPOSES, field=st.sampled_from([*BITS, "purpose"]))
def test_every_part_of_the_address_matters(name: str, data: Any, purpose: Purpose, field: str) -> None:
    address: dict[str, Any] = {key: data.draw(st.integers(0, 2**bits - 1)) for key, bits in BITS.items()}
    address["purpose"] = purpose
    if field == "purpose":
        other = data.draw(st.sampled_from([p for p in Purpose if p != purpose]))
    else:  # change one bit, since every bit of a seed or a step matters
        other = address[field] ^ 2 ** data.draw(st.integers(0, BITS[field] - 1))
    a, b = (STREAMS[name](**(address | {field: value}), first=0, last=40) for value in (address[field], other))
    assert (a != b).all()  # the probability of an equal pair among 40 is about 1e-8


def test_numbers_of_purposes_are_a_format() -> None:
    names = (
        "STATIC_OUTPUTS PLASTIC_EXCITATORY PLASTIC_INHIBITORY INITIAL_VOLTAGE NOISE "
        "STIMULUS FEEDFORWARD_RATE FEEDFORWARD_SPIKE TARGET_PHASE TAU_PLAS SURROGATE_NEURON SURROGATE_COUNT TASK"
    )
    later = {"BACKGROUND": 30, "CONNECTIVITY": 40, "ACCEPTANCE": 41, "POSITION": 42, "DEGREE": 43}
    numbers = {name: i for i, name in enumerate(names.split(), 1)} | later
    assert {name: int(Purpose[name]) for name in numbers} == numbers
    assert len({*map(int, Purpose)}) == len(Purpose.__members__)  # no two are one


def test_neighbouring_addresses_are_uncorrelated() -> None:
    """Normals with addresses that differ by 1 are uncorrelated, as are their squares."""
    base: dict[str, Any] = {"seed": 3, "purpose": Purpose.NOISE, "trial": 1, "step": 2}
    M = 40_000
    z = normal(**base, first=0, last=M)
    for field in base:
        other = normal(**(base | {field: Purpose(6) if field == "purpose" else base[field] + 1}), first=0, last=M)
        assert abs(np.mean(z * other)) < 4.5 / math.sqrt(M)
        assert abs(np.mean((z**2 - 1) * (other**2 - 1))) < 2 * 4.5 / math.sqrt(M)
    for lag in (1, 2, 3, 4):
        assert abs(np.mean(z[lag:] * z[:-lag])) < 4.5 / math.sqrt(M)


def test_unit_interval_is_open_and_centred() -> None:
    u = unit_interval(np.array([0, 1, 2**31, 2**32 - 1], np.uint64))
    np.testing.assert_array_equal(u, [2.0**-33, 3 * 2.0**-33, 0.5 + 2.0**-33, 1 - 2.0**-33])
    assert np.isfinite(box_muller(u, u)).all()


def test_uniforms_are_uniform() -> None:
    u = uniform(1, Purpose.TARGET_PHASE, first=0, last=100_000)
    for lane in range(4):  # each word of a block
        assert stats.kstest(u[lane::4], "uniform").pvalue > 1e-3
    expected = len(u) / 256
    statistic = np.sum((np.bincount((u * 256).astype(int), minlength=256) - expected) ** 2) / expected
    assert 1e-3 < stats.chi2.sf(statistic, 255) < 1 - 1e-3


def test_normals_are_normal() -> None:
    z = normal(1, Purpose.INITIAL_VOLTAGE, first=0, last=100_000)
    for lane in range(4):
        assert stats.kstest(z[lane::4], "norm").pvalue > 1e-3
    # moments 1 to 4 within 4.5 of their own standard deviations
    for power, (mean, deviation) in enumerate([(0, 1), (1, math.sqrt(2)), (0, math.sqrt(15)), (3, math.sqrt(96))], 1):
        assert abs(np.mean(z**power) - mean) < 4.5 * deviation / math.sqrt(len(z))
    assert abs(np.mean(z[0::2] * z[1::2])) < 4.5 / math.sqrt(len(z) / 2)


@given(SEEDS, WORD, WORD, st.integers(0, 1000))
def test_normals_are_box_muller_of_pairs_of_words(seed: int, trial: int, step: int, block: int) -> None:
    z = normal(seed, Purpose.NOISE, first=4 * block, last=4 * block + 4, trial=trial, step=step)
    u = [(naive_word(seed, 5, trial, step, 4 * block + i) + 0.5) / 2**32 for i in range(4)]
    expected = []
    for a, b in (u[:2], u[2:]):
        radius = math.sqrt(-2 * math.log(a))
        expected += [radius * math.cos(2 * math.pi * b), radius * math.sin(2 * math.pi * b)]
    np.testing.assert_allclose(z, expected, rtol=0, atol=1e-13)


def naive_distinct(seed: int, purpose: int, row: int, count: int, below: int) -> list[int]:
    """The definition, one draw at a time: the high half of the product, unless the low half is
    rejected.
    """
    chosen: list[int] = []
    index = 0
    while len(chosen) < count:
        product = naive_word(seed, purpose, 0, row, index) * below
        index += 1
        if product % 2**32 >= 2**32 % below and product // 2**32 not in chosen:
            chosen.append(product // 2**32)
    return sorted(chosen)


# Most bounds reject very few words; 2^30 + 1 rejects a quarter of them, and 1,431,655,766 a third.
BELOW = st.one_of(st.integers(1, 12), st.integers(1, 400), st.sampled_from([2**30 + 1, 1_431_655_766, 2**31 - 1]))


@settings(deadline=None, max_examples=60)
@given(st.data(), SEEDS, PURPOSES, BELOW)
def test_distinct_integers_follow_their_definition(data: Any, seed: int, purpose: Purpose, below: int) -> None:
    count = data.draw(st.integers(0, min(below, 30)), label="count")
    rows = np.array(data.draw(st.lists(st.integers(0, 2**31 - 1), max_size=3), label="rows"), np.int64)
    drawn = distinct_integers(seed, purpose, rows=rows, count=count, below=below)
    assert drawn.dtype == np.int32
    assert drawn.shape == (len(rows), count)
    for row, values in zip(rows, drawn, strict=True):
        assert values.tolist() == naive_distinct(seed, int(purpose), int(row), count, below)


@pytest.mark.parametrize("below", [2**30 + 1, 1_431_655_766])
def test_rejection_follows_its_definition(below: int) -> None:
    """Bounds that reject many words, so that a missing rejection would be detected."""
    rejected = sum(naive_word(5, 1, 0, 0, index) * below % 2**32 < 2**32 % below for index in range(200))
    assert rejected > 20
    drawn = distinct_integers(5, Purpose.STATIC_OUTPUTS, rows=np.arange(2), count=100, below=below)
    for row in range(2):
        assert drawn[row].tolist() == naive_distinct(5, 1, row, 100, below)


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.integers(1, 300), st.data())
def test_distinct_integers_are_distinct_in_range_and_rising(seed: int, below: int, data: Any) -> None:
    count = data.draw(st.integers(1, below))
    drawn = distinct_integers(seed, Purpose.STATIC_OUTPUTS, rows=np.arange(5), count=count, below=below)
    assert drawn.min() >= 0
    assert drawn.max() < below
    assert (np.diff(drawn, axis=1) > 0).all()


def test_distinct_integers_are_the_same_alone_and_in_batches() -> None:
    """2,000 rows of 500 integers below 600 need several batches; rows may be in any order."""
    rows = np.random.default_rng(0).permutation(3000)[:2000]
    together = distinct_integers(9, Purpose.PLASTIC_EXCITATORY, rows=rows, count=500, below=600)
    for i in (0, 1, 499, 1500, 1998, 1999):
        alone = distinct_integers(9, Purpose.PLASTIC_EXCITATORY, rows=rows[i : i + 1], count=500, below=600)
        np.testing.assert_array_equal(alone[0], together[i])
    part = distinct_integers(9, Purpose.PLASTIC_EXCITATORY, rows=rows[700:1300], count=500, below=600)
    np.testing.assert_array_equal(part, together[700:1300])


@pytest.mark.parametrize("below", [1, 2, 3, 5, 64, 257])
def test_as_many_as_there_are(below: int) -> None:
    drawn = distinct_integers(2, Purpose.STATIC_OUTPUTS, rows=np.arange(50), count=below, below=below)
    np.testing.assert_array_equal(drawn, np.broadcast_to(np.arange(below), (50, below)))


def test_more_than_there_are_is_refused(refused: Any) -> None:
    with refused(ValueError, 6, 5):
        distinct_integers(1, Purpose.STATIC_OUTPUTS, rows=np.arange(2), count=6, below=5)


@pytest.mark.parametrize(("count", "below"), [(1, 7), (3, 10), (20, 50), (45, 50)])
def test_distinct_integers_are_uniform(count: int, below: int) -> None:
    rows = np.arange(6000)
    drawn = distinct_integers(4, Purpose.STATIC_OUTPUTS, rows=rows, count=count, below=below)
    seen = np.bincount(drawn.ravel(), minlength=below)
    # Without replacement, counts vary less than those of a multinomial.
    expected = len(rows) * count / below
    variance = expected * (1 - count / below) * below / (below - 1)
    assert 1e-3 < stats.chi2.sf(np.sum((seen - expected) ** 2) / variance, below - 1) < 1 - 1e-3
    # The same for pairs: how often 0 and 1 are in the same row.
    if count > 1:
        p = count * (count - 1) / (below * (below - 1))
        both = ((drawn == 0).any(axis=1) & (drawn == 1).any(axis=1)).sum()
        assert abs(both - len(rows) * p) < 4 * math.sqrt(len(rows) * p * (1 - p))


def numba_normals(dtype: str, M: int, first: int, address: dict[str, Any]) -> np.ndarray:
    """Normals of the compiled kernel."""
    z = np.full(M + 2, 7.0, dtype)
    stream = Stream(int(address["purpose"]), *key_from_seed(address["seed"]))
    fill_normals(z[1 : M + 1], first, address["trial"], address["step"], stream, np.empty((4, GROUP // 4), np.uint64))
    assert z[0] == z[-1] == 7.0  # nothing is written outside the range
    return z[1 : M + 1]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-14), ("float32", 1e-6)])
@settings(deadline=None, max_examples=60)
@given(
    M=st.one_of(st.integers(0, 9), st.integers(0, GROUP)),
    first=st.one_of(st.integers(0, 5), st.integers(0, 2**29)).map(lambda block: 4 * block),
    seed=SEEDS,
    purpose=PURPOSES,
    trial=WORD,
    step=WORD,
)
@example(M=GROUP - 1, first=0, seed=2**64 - 1, purpose=Purpose.NOISE, trial=2**32 - 1, step=2**32 - 1)
@example(M=GROUP, first=4, seed=1, purpose=Purpose.STIMULUS, trial=0, step=1)
@example(M=1, first=8, seed=2**32, purpose=Purpose.NOISE, trial=1, step=1)
@example(M=2, first=8, seed=2**32, purpose=Purpose.NOISE, trial=1, step=1)
@example(M=3, first=8, seed=2**32, purpose=Purpose.NOISE, trial=1, step=1)
def test_compiled_normals_equal_the_streams(dtype: str, tolerance: float, M: int, first: int, **address: Any) -> None:
    expected = normal(**address, first=first, last=first + M)
    np.testing.assert_allclose(numba_normals(dtype, M, first, address), expected, rtol=0, atol=tolerance)


def test_compiled_normals_equal_the_streams_over_many_words() -> None:
    """Half a million draws cover every branch of the logarithm, sine and cosine, and the tails."""
    worst = 0.0
    for step in range(1000):
        address = {"seed": 11, "purpose": Purpose.NOISE, "trial": 2, "step": step}
        z = numba_normals("float64", GROUP, 512, address)
        worst = max(worst, float(np.abs(z - normal(**address, first=512, last=512 + GROUP)).max()))
    assert worst < 1e-14
