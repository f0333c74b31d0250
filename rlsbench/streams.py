"""Counter-based random numbers: each is a pure function of (seed, purpose, trial, step, index).

In: a seed and the address of a draw.  Out: 32-bit words, uniforms or standard normals.  Knows NumPy
only.

The generator is Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as
easy as 1, 2, 3"). It maps a 128-bit counter and a 64-bit key to four 32-bit words. Here,

    key     = (low, high word of the seed)
    counter = (index // 4, step, trial, purpose)

and a draw is word (index mod 4) of the result, so it does not depend on threads, on ranks, or on
which other numbers were drawn before or with it. Backends that draw in kernels implement the same
functions: `philox4x32`, `unit_interval` and `box_muller`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

PHILOX_M0: Final = 0xD2511F53
PHILOX_M1: Final = 0xCD9E8D57
PHILOX_W0: Final = 0x9E3779B9
PHILOX_W1: Final = 0xBB67AE85
ROUNDS: Final = 10
DRAWN: Final = 2**18  # words that `distinct_integers` draws at once; more take longer, outside the caches
_LOW: Final = np.uint64(0xFFFFFFFF)
_32: Final = np.uint64(32)

Words = NDArray[np.uint64]
Floats = NDArray[np.float64]


class Purpose(IntEnum):
    """What a draw is for: the last word of the counter.

    The meaning of a seed depends on these numbers: never change or reuse one.
    """

    STATIC_OUTPUTS = 1  #: step = presynaptic neuron, index = number of the draw
    PLASTIC_EXCITATORY = 2  #: step = postsynaptic neuron, index = number of the draw
    PLASTIC_INHIBITORY = 3  #: step = postsynaptic neuron, index = number of the draw
    INITIAL_VOLTAGE = 4  #: trial, index = neuron
    NOISE = 5  #: trial, step, index = neuron
    STIMULUS = 6  #: trial = task, step within the stimulus, index = neuron
    FEEDFORWARD_RATE = 7  #: trial = task, step, index = input
    FEEDFORWARD_SPIKE = 8  #: trial, step, index = input
    TARGET_PHASE = 9  #: trial = task, index = neuron
    TAU_PLAS = 10  #: index = neuron
    SURROGATE_NEURON = 11  #: trial = 0 or 1 + condition, step = property, index = neuron
    SURROGATE_COUNT = 12  #: trial = condition, step = bin, index = neuron
    TASK = 13  #: trial = iteration
    BACKGROUND = 30  #: trial, step, index = neuron
    CONNECTIVITY = 40  #: trial = projection, step = neuron of the row, index = number of the draw
    ACCEPTANCE = 41  #: the same, index = number of the candidate
    POSITION = 42  #: index = neuron, or twice the neuron, and that plus 1, in two dimensions
    DEGREE = 43  #: trial = projection, index = neuron


def key_from_seed(seed: int) -> tuple[int, int]:
    """Split a seed in [0, 2^64) into the two 32-bit words of the Philox key."""
    return seed & 0xFFFFFFFF, seed >> 32


def philox4x32(
    c0: ArrayLike, c1: ArrayLike, c2: ArrayLike, c3: ArrayLike, key: tuple[int, int]
) -> tuple[Words, Words, Words, Words]:
    """Philox4x32-10 of counters that broadcast against one another.

    Parameters
    ----------
    c0, c1, c2, c3 : array_like of integers in [0, 2^32)
        The four words of the counters.
    key : (int, int)
        The two words of the key, each in [0, 2^32).

    Returns
    -------
    tuple of four ndarrays of uint64
        Words in [0, 2^32), of the broadcast shape.
    """
    # The products of two 32-bit words are exact in uint64.
    x0, x1, x2, x3 = (np.asarray(c, dtype=np.uint64) for c in (c0, c1, c2, c3))
    k0, k1 = key
    for _ in range(ROUNDS):
        p0 = x0 * np.uint64(PHILOX_M0)
        p1 = x2 * np.uint64(PHILOX_M1)
        x0 = (p1 >> _32) ^ x1 ^ np.uint64(k0)
        x1 = p1 & _LOW
        x2 = (p0 >> _32) ^ x3 ^ np.uint64(k1)
        x3 = p0 & _LOW
        k0 = (k0 + PHILOX_W0) & 0xFFFFFFFF
        k1 = (k1 + PHILOX_W1) & 0xFFFFFFFF
    return tuple(np.broadcast_arrays(x0, x1, x2, x3))  # type: ignore[return-value]


def words(seed: int, purpose: Purpose, *, first: int, last: int, trial: int = 0, step: ArrayLike = 0) -> Words:
    """The 32-bit words for the indices first .. last-1.

    Parameters
    ----------
    seed : int
        In [0, 2^64).
    purpose : Purpose
    first, last : int
        Half-open range of indices (of neurons, inputs or draws).
    trial : int
        Number of the trial or task.
    step : int or array_like of int, shape (S,)
        Step of the trial, or neuron whose synapses are drawn.

    Returns
    -------
    ndarray of uint64, shape (last - first,) or (S, last - first)
    """
    low, high = first // 4, -(-last // 4)
    block = np.arange(low, high, dtype=np.uint64)
    steps = np.asarray(step, dtype=np.uint64)[..., None]
    four = philox4x32(block, steps, trial, int(purpose), key_from_seed(seed))
    flat = np.stack(four, axis=-1).reshape(*steps.shape[:-1], 4 * (high - low))
    return flat[..., first - 4 * low : last - 4 * low]


def unit_interval(word: Words) -> Floats:
    """(word + 1/2) / 2^32, a uniform in the open interval (0, 1), exact in float64."""
    return (word.astype(np.float64) + 0.5) * 2.0**-32


def uniform(seed: int, purpose: Purpose, *, first: int, last: int, trial: int = 0, step: ArrayLike = 0) -> Floats:
    """Uniforms in (0, 1); the arguments and shape of `words`."""
    return unit_interval(words(seed, purpose, first=first, last=last, trial=trial, step=step))


def box_muller(u: Floats, v: Floats) -> tuple[Floats, Floats]:
    """Standard normals sqrt(-2 ln u) (cos(2 pi v), sin(2 pi v)) (Box and Muller 1958)."""
    radius = np.sqrt(-2.0 * np.log(u))
    angle = (2.0 * np.pi) * v
    return radius * np.cos(angle), radius * np.sin(angle)


def normal(seed: int, purpose: Purpose, *, first: int, last: int, trial: int = 0, step: ArrayLike = 0) -> Floats:
    """Standard normals; the arguments and shape of `words`.

    Indices 4b and 4b+1 are the results of `box_muller` for words 0 and 1 of block b, indices 4b+2
    and 4b+3 those for words 2 and 3.
    """
    low, high = first // 4, -(-last // 4)
    u = unit_interval(words(seed, purpose, first=4 * low, last=4 * high, trial=trial, step=step))
    z = np.empty_like(u)
    z[..., 0::2], z[..., 1::2] = box_muller(u[..., 0::2], u[..., 1::2])
    return z[..., first - 4 * low : last - 4 * low]


def distinct_integers(
    seed: int, purpose: Purpose, *, rows: NDArray[np.int64], count: int, below: int, trial: int = 0
) -> NDArray[np.int32]:
    """For each row, draw `count` distinct integers in [0, below) uniformly without replacement.

    The candidates of a row are its words (index = number of the draw), mapped to [0, below) by
    multiplication and rejection (Lemire 2019, so exactly uniform); the first `count` distinct ones
    are the result. A kernel can follow the same definition one draw at a time.

    Parameters
    ----------
    seed, purpose, trial
        As in `words`.
    rows : ndarray of int, shape (R,)
        Neurons whose synapses are drawn, in place of the step.
    count, below : int
        Integers per row, and their upper bound, exclusive; ValueError if count > below.

    Returns
    -------
    ndarray of int32, shape (R, count)
        Each row in ascending order.
    """
    if count > below:
        raise ValueError(f"cannot draw {count} distinct integers below {below}")
    chosen = np.empty((len(rows), count), dtype=np.int32)
    if count == 0 or len(rows) == 0:
        return chosen
    # The expected number of draws is the sum of below / (below - j) over j < count; add a margin.
    expected = below * (np.log(below) - np.log(max(below - count, 0.5)))
    draws = 4 * int(np.ceil((expected + 4.0 * np.sqrt(expected + 1.0) + 8.0) / 4.0))
    batch = max(1, DRAWN // draws)
    for start in range(0, len(rows), batch):
        part = np.asarray(rows[start : start + batch])
        pending = np.arange(len(part))
        tries = draws
        while len(pending):
            kept, complete = _first_distinct(seed, purpose, trial, part[pending], count, below, tries)
            chosen[start + pending[complete]] = kept
            pending = pending[~complete]
            tries *= 2
    return chosen


def _first_distinct(
    seed: int, purpose: Purpose, trial: int, rows: NDArray[np.int64], count: int, below: int, draws: int
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Results for the rows with `count` distinct integers in `draws` words, and a mask of rows."""
    product = words(seed, purpose, first=0, last=draws, trial=trial, step=rows) * np.uint64(below)
    accepted = (product & _LOW) >= np.uint64(2**32 % below)  # Lemire's condition for no bias
    # Sort by (value, number of the draw), packed into one integer; a value's first occurrence comes
    # first. A rejected draw gets the value `below`.
    value = np.where(accepted, product >> _32, np.uint64(below)).astype(np.int64)
    shift = int(draws).bit_length()
    order = np.sort((value << shift) | np.arange(draws, dtype=np.int64), axis=1)
    value, draw = order >> shift, order & ((1 << shift) - 1)
    fresh = np.ones(value.shape, dtype=bool)
    fresh[:, 1:] = value[:, 1:] != value[:, :-1]
    fresh &= value < below
    complete = fresh.sum(axis=1) >= count
    value, draw, fresh = value[complete], draw[complete], fresh[complete]
    # Keep the `count` values that occurred first; they are already in ascending order.
    first_seen = np.where(fresh, draw, draws)
    cutoff = np.partition(first_seen, count - 1, axis=1)[:, count - 1 : count]
    return value[first_seen <= cutoff].reshape(-1, count).astype(np.int32), complete
