"""Counter-based random numbers: known answers, parts of wholes, and what `distinct_integers` promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rlsbench import streams
from rlsbench.streams import Purpose
from rlsbench_numba.normals import NORMALS_AT_ONCE, fill_normals, normals_scratch

# Random123, kat_vectors, philox4x32 10.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]

seeds = st.integers(0, 2**64 - 1)
words32 = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_answers(counter: tuple[int, ...], key: tuple[int, int], expected: tuple[int, ...]) -> None:
    assert tuple(int(x) for x in streams.philox4x32(*counter, key)) == expected


@given(seeds, words32, words32, st.integers(0, 1000), st.integers(0, 40), st.integers(0, 40))
def test_a_part_is_that_part_of_the_whole(seed: int, trial: int, step: int, first: int, a: int, b: int) -> None:
    low, high = sorted((a, b))
    for draw in (streams.words, streams.uniform, streams.normal):
        whole = draw(seed, Purpose.NOISE, first=first, last=first + 40, trial=trial, step=step)
        part = draw(seed, Purpose.NOISE, first=first + low, last=first + high, trial=trial, step=step)
        np.testing.assert_array_equal(part, whole[low:high])


@given(seeds, st.integers(0, 2**31), st.integers(0, 2**31))
def test_several_steps_at_once_are_each_of_them(seed: int, trial: int, step: int) -> None:
    both = streams.normal(seed, Purpose.NOISE, first=3, last=11, trial=trial, step=[step, step + 1])
    for row, s in enumerate((step, step + 1)):
        np.testing.assert_array_equal(
            both[row], streams.normal(seed, Purpose.NOISE, first=3, last=11, trial=trial, step=s)
        )


def test_every_part_of_the_address_counts() -> None:
    address = {"seed": 5, "purpose": Purpose.NOISE, "trial": 7, "step": 9}
    base = streams.words(address["seed"], address["purpose"], first=0, last=64, trial=7, step=9)
    for change in ({"seed": 6}, {"seed": 5 + 2**32}, {"purpose": Purpose.STIMULUS}, {"trial": 8}, {"step": 10}):
        a = address | change
        other = streams.words(a["seed"], a["purpose"], first=0, last=64, trial=a["trial"], step=a["step"])
        assert not np.isin(other, base).any(), change


def test_distributions() -> None:
    u = streams.uniform(1, Purpose.NOISE, first=0, last=200_000)
    z = streams.normal(1, Purpose.NOISE, first=0, last=200_000)
    assert u.min() > 0
    assert u.max() < 1
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert stats.kstest(z, "norm").pvalue > 1e-3
    lanes = z.reshape(-1, 4)
    assert np.abs(np.corrcoef(lanes.T) - np.eye(4)).max() < 0.02


@settings(deadline=None)
@given(seeds, st.integers(0, 2**31), st.integers(0, 500), st.integers(1, NORMALS_AT_ONCE))
def test_compiled_normals_are_the_same(seed: int, step: int, block: int, count: int) -> None:
    expected = streams.normal(seed, Purpose.NOISE, first=4 * block, last=4 * block + count, trial=3, step=step)
    key0, key1 = streams.key_from_seed(seed)
    for dtype, tolerance in ((np.float64, 1e-14), (np.float32, 1e-6)):
        z = np.full(count, np.nan, dtype)
        fill_normals(z, 4 * block, 3, step, int(Purpose.NOISE), key0, key1, normals_scratch(1)[0])
        np.testing.assert_allclose(z, expected, rtol=tolerance, atol=tolerance)


def first_distinct(seed: int, row: int, count: int, below: int) -> list[int]:
    """The definition, one draw at a time."""
    chosen: set[int] = set()
    draw = 0
    while len(chosen) < count:
        word = int(streams.words(seed, Purpose.STATIC_OUTPUTS, first=draw, last=draw + 1, step=row)[0])
        if (word * below) % 2**32 >= 2**32 % below:
            chosen.add(word * below >> 32)
        draw += 1
    return sorted(chosen)


@settings(deadline=None, max_examples=40)
@given(seeds, st.integers(0, 2**31), st.integers(1, 40), st.integers(0, 30))
def test_distinct_integers_follow_their_definition(seed: int, row: int, below: int, count: int) -> None:
    count = min(count, below)
    rows = np.array([row, row + 1])
    drawn = streams.distinct_integers(seed, Purpose.STATIC_OUTPUTS, rows=rows, count=count, below=below)
    assert drawn.shape == (2, count)
    for k, r in enumerate(rows):
        assert drawn[k].tolist() == first_distinct(seed, int(r), count, below)


def test_distinct_integers_are_uniform_and_refuse_the_impossible() -> None:
    drawn = streams.distinct_integers(3, Purpose.STATIC_OUTPUTS, rows=np.arange(20_000), count=3, below=7)
    assert stats.chisquare(np.bincount(drawn.ravel(), minlength=7)).pvalue > 1e-3
    with pytest.raises(ValueError, match="cannot draw 8"):
        streams.distinct_integers(3, Purpose.STATIC_OUTPUTS, rows=np.arange(2), count=8, below=7)
