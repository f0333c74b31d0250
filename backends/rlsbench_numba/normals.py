"""Standard normals in a kernel: the same numbers as `rlsbench.streams.normal`, vectorised.

In: the address of a draw.  Out: float64 normals, to about 2e-15.  Knows nothing of networks.

A call fills the normals of a range of indices in three passes over short scratch arrays, each of
which LLVM turns into vector instructions: Philox words; uniforms and logarithm; sine and cosine.
Calls of library functions would keep it scalar.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rlsbench.streams import PHILOX_M0, PHILOX_M1, PHILOX_W0, PHILOX_W1
from rlsbench_numba.compiling import kernel

_M0, _M1 = np.uint64(PHILOX_M0), np.uint64(PHILOX_M1)
_W0, _W1 = np.uint64(PHILOX_W0), np.uint64(PHILOX_W1)
_LOW, _32 = np.uint64(0xFFFFFFFF), np.uint64(32)

# ln m for m in [sqrt(1/2), sqrt(2)): 2 atanh(s) with s = (m - 1)/(m + 1), |s| <= 0.1716; its terms
# are s^(2k+1)/(2k+1).
# sin and cos of an angle in [-pi/4, pi/4]: Taylor series; the first term left out is below 5e-17.
_MANTISSA = np.int64(0x000FFFFFFFFFFFFF)
_ONE = np.int64(0x3FF0000000000000)
_LN2 = 0.6931471805599453
_SQRT2 = 1.4142135623730951
_2PI = 6.283185307179586


class Stream(NamedTuple):
    """A random stream: see `rlsbench.streams`."""

    purpose: int
    key0: int
    key1: int


@kernel
def fill_normals(z, first, trial, step, stream, words):
    """Fill z (M,) with the normals of indices first .. first + M - 1; `first` is a multiple of 4.

    `words`, uint64 (4, at least M/4), is scratch.
    """
    M = len(z)
    blocks = (M + 3) // 4
    philox(words, blocks, np.uint64(first // 4), step, trial, stream)
    _box_muller(words[0], words[1], blocks)
    _box_muller(words[2], words[3], blocks)
    z0, z1 = words[0].view(np.float64), words[1].view(np.float64)
    z2, z3 = words[2].view(np.float64), words[3].view(np.float64)
    for b in range(M // 4):
        z[4 * b] = z0[b]
        z[4 * b + 1] = z1[b]
        z[4 * b + 2] = z2[b]
        z[4 * b + 3] = z3[b]
    for lane in range(M % 4):
        z[M - M % 4 + lane] = words[lane].view(np.float64)[blocks - 1]


@kernel
def philox(words, blocks, first_block, step, trial, stream):
    """Philox4x32-10 words of consecutive blocks, into words (4, at least blocks)."""
    w0, w1 = words[0], words[1]
    w2, w3 = words[2], words[3]
    for b in range(blocks):
        x0, x1 = first_block + np.uint64(b), np.uint64(step)
        x2, x3 = np.uint64(trial), np.uint64(stream.purpose)
        k0, k1 = np.uint64(stream.key0), np.uint64(stream.key1)
        for _ in range(10):
            p0, p1 = x0 * _M0, x2 * _M1
            x0, x1 = (p1 >> _32) ^ x1 ^ k0, p1 & _LOW
            x2, x3 = (p0 >> _32) ^ x3 ^ k1, p0 & _LOW
            k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
        w0[b], w1[b] = x0, x1
        w2[b], w3[b] = x2, x3


@kernel
def _box_muller(first, second, blocks):
    """Two words to two normals, in place: sqrt(-2 ln u) times cos, sin of 2 pi v."""
    a, bits_u = first.view(np.float64), first.view(np.int64)
    c = second.view(np.float64)
    for b in range(blocks):
        a[b] = (np.float64(first[b]) + 0.5) * 2.0**-32
        c[b] = (np.float64(second[b]) + 0.5) * 2.0**-32
    for b in range(blocks):
        # u = 2^exponent m; its bits put the mantissa back into [1, 2).
        bits = bits_u[b]
        exponent = np.float64((bits >> 52) - 1023)
        bits_u[b] = (bits & _MANTISSA) | _ONE
        m = a[b]
        large = m > _SQRT2
        m = m * 0.5 if large else m
        exponent = exponent + 1.0 if large else exponent
        s = (m - 1.0) / (m + 1.0)
        t = s * s
        series = 1.0 / 19 + t * (1.0 / 21)
        series = 1.0 / 15 + t * (1.0 / 17 + t * series)
        series = 1.0 / 11 + t * (1.0 / 13 + t * series)
        series = 1.0 / 7 + t * (1.0 / 9 + t * series)
        series = 1.0 / 3 + t * (1.0 / 5 + t * series)
        ln = exponent * _LN2 + 2.0 * (s + s * t * series)
        radius = np.sqrt(-2.0 * ln)
        # v = quarter/4 + rest, |2 pi rest| <= pi/4; the quarter decides on swaps and signs.
        v = c[b]
        quarter = np.floor(4.0 * v + 0.5)
        h = _2PI * (v - 0.25 * quarter)
        y = h * h
        sine = 1.0 / 6227020800 - y * (1.0 / 1307674368000)
        sine = 1.0 / 362880 - y * (1.0 / 39916800 - y * sine)
        sine = h - h * y * (1.0 / 6 - y * (1.0 / 120 - y * (1.0 / 5040 - y * sine)))
        cosine = 1.0 / 479001600 - y * (1.0 / 87178291200 - y * (1.0 / 20922789888000))
        cosine = 1.0 / 24 - y * (1.0 / 720 - y * (1.0 / 40320 - y * (1.0 / 3628800 - y * cosine)))
        cosine = 1.0 - y * (0.5 - y * cosine)
        odd = (quarter == 1.0) | (quarter == 3.0)
        real = sine if odd else cosine
        imaginary = cosine if odd else sine
        a[b] = radius * (-real if (quarter == 1.0) | (quarter == 2.0) else real)
        c[b] = radius * (-imaginary if (quarter == 2.0) | (quarter == 3.0) else imaginary)
