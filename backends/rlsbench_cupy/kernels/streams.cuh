// Counter-based random numbers, defined as in rlsbench/streams.py.
//
// In: the address of a draw (seed, purpose, trial, step, index).  Out: 32-bit words, uniforms, standard normals.
//
//     key     = (low, high word of the seed)
//     counter = (index / 4, step, trial, purpose)      and the draw is word (index mod 4) of the result
//
// Words have the same bits. Normals are computed in double precision, within 2e-15 of those of NumPy.
#pragma once

enum Purpose { STATIC_OUTPUTS = 1, INITIAL_VOLTAGE = 4, NOISE = 5, STIMULUS = 6, FEEDFORWARD_SPIKE = 8, BACKGROUND = 30 };

struct Words {
    unsigned x0, x1, x2, x3;
};

// Philox4x32-10 (Salmon, Moraes, Dror and Shaw 2011).
__device__ __forceinline__ Words philox(unsigned c0, unsigned c1, unsigned c2, unsigned c3, unsigned k0, unsigned k1) {
    Words x = {c0, c1, c2, c3};
    for (int round = 0; round < 10; ++round) {
        const unsigned long long p0 = 0xD2511F53ull * x.x0, p1 = 0xCD9E8D57ull * x.x2;
        x = {(unsigned)(p1 >> 32) ^ x.x1 ^ k0, (unsigned)p1, (unsigned)(p0 >> 32) ^ x.x3 ^ k1, (unsigned)p0};
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return x;
}

__device__ __forceinline__ unsigned word(unsigned index, unsigned step, unsigned trial, unsigned purpose, unsigned key0,
                                         unsigned key1) {
    const Words x = philox(index / 4, step, trial, purpose, key0, key1);
    const unsigned low = index % 2 ? x.x1 : x.x0, high = index % 2 ? x.x3 : x.x2;
    return index % 4 < 2 ? low : high;
}

// (word + 1/2) / 2^32, exact.
__device__ __forceinline__ double unit_interval(unsigned word) { return ((double)word + 0.5) * 0x1p-32; }

__device__ __forceinline__ double uniform(unsigned index, unsigned step, unsigned trial, unsigned purpose,
                                          unsigned key0, unsigned key1) {
    return unit_interval(word(index, step, trial, purpose, key0, key1));
}

// ln u for u in (0, 1): u = 2^e m with m in [sqrt(1/2), sqrt(2)), and ln m = 2 atanh((m - 1)/(m + 1)) by its series.
__device__ __forceinline__ double logarithm(double u) {
    const long long bits = __double_as_longlong(u);
    double e = (double)((bits >> 52) - 1023);
    double m = __longlong_as_double((bits & 0x000FFFFFFFFFFFFFll) | 0x3FF0000000000000ll);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        e += 1.0;
    }
    const double s = (m - 1.0) / (m + 1.0), t = s * s;
    double series = 1.0 / 19 + t * (1.0 / 21);
    series = 1.0 / 15 + t * (1.0 / 17 + t * series);
    series = 1.0 / 11 + t * (1.0 / 13 + t * series);
    series = 1.0 / 7 + t * (1.0 / 9 + t * series);
    series = 1.0 / 3 + t * (1.0 / 5 + t * series);
    return e * 0.6931471805599453 + 2.0 * (s + s * t * series);
}

// cos(2 pi v), or with `sine` sin(2 pi v): v = quarter/4 + h/(2 pi), |h| <= pi/4, and Taylor's series in h.
__device__ __forceinline__ double circular(double v, bool sine) {
    const double quarter = floor(4.0 * v + 0.5), h = 6.283185307179586 * (v - 0.25 * quarter), y = h * h;
    double s = 1.0 / 6227020800.0 - y * (1.0 / 1307674368000.0);
    s = 1.0 / 362880.0 - y * (1.0 / 39916800.0 - y * s);
    s = h - h * y * (1.0 / 6 - y * (1.0 / 120 - y * (1.0 / 5040 - y * s)));
    double c = 1.0 / 479001600.0 - y * (1.0 / 87178291200.0 - y * (1.0 / 20922789888000.0));
    c = 1.0 / 24 - y * (1.0 / 720 - y * (1.0 / 40320 - y * (1.0 / 3628800 - y * c)));
    c = 1.0 - y * (0.5 - y * c);
    // Rotated by a quarter turn, cosine and sine become -sine and cosine.
    const int q = (int)quarter;
    const double value = (q % 2 == 1) != sine ? s : c;
    const bool negative = sine ? q == 2 || q == 3 : q == 1 || q == 2;
    return negative ? -value : value;
}

// Indices 4b and 4b+1 are the two results of Box and Muller (1958) on words 0 and 1 of block b, sqrt(-2 ln u) times
// cos and sin of 2 pi v; 4b+2 and 4b+3 those on words 2 and 3.
__device__ __forceinline__ double normal(unsigned index, unsigned step, unsigned trial, unsigned purpose, unsigned key0,
                                         unsigned key1) {
    const Words x = philox(index / 4, step, trial, purpose, key0, key1);
    const bool first = index % 4 < 2;
    const double u = unit_interval(first ? x.x0 : x.x2), v = unit_interval(first ? x.x1 : x.x3);
    return sqrt(-2.0 * logarithm(u)) * circular(v, index % 2 == 1);
}
