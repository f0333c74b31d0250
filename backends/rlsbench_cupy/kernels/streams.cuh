// Counter-based random numbers, defined as in rlsbench/streams.py.
//
// In: the address of a draw (seed, purpose, trial, step, index).  Out: 32-bit words, uniforms, standard normals.
//
//     key     = (low, high word of the seed)
//     counter = (index / 4, step, trial, purpose)      and the draw is word (index mod 4) of the result
//
// Words have the same bits. Normals are computed in double precision, within 2e-15 of those of NumPy, or in single
// precision, within 1e-6.
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

// Box and Muller (1958): sqrt(-2 ln u) times cos(2 pi v) or, with `sine`, sin(2 pi v), of the uniforms of two words.
template <class Real> __device__ __forceinline__ Real box_muller(unsigned u, unsigned v, bool sine);

template <> __device__ __forceinline__ double box_muller<double>(unsigned u, unsigned v, bool sine) {
    return sqrt(-2.0 * logarithm(unit_interval(u))) * circular(unit_interval(v), sine);
}

// The same in float32, within 1e-6. Operations are fused where it says so and nowhere else, so that all
// compilers give the same bits. As above, ln u = e ln 2 + ln m, but with e = 0 it is that of 1 - (1 - u), because
// 1 - u keeps the digits that u loses close to 1; and the quarter of a turn and h come from the integer.
template <> __device__ __forceinline__ float box_muller<float>(unsigned u, unsigned v, bool sine) {
    constexpr double LN2 = 0.6931471805599453, TURN = 6.283185307179586 * 0x1p-32; // a turn over 2^32, radians
    constexpr float LN2_HIGH = (float)LN2, LN2_LOW = (float)(LN2 - (double)LN2_HIGH);
    constexpr float TURN_HIGH = (float)TURN, TURN_LOW = (float)(TURN - (double)TURN_HIGH);
    const int bits = __float_as_int((float)u + 0.5f);
    float e = (float)((bits >> 23) - 159), m = __int_as_float((bits & 0x007FFFFF) | 0x3F800000); // 159: of 2^32
    if (m > 1.41421356f) {
        m *= 0.5f;
        e += 1.0f;
    }
    const float less = ((float)~u + 0.5f) * 0x1p-32f; // 1 - u
    const float s = (e == 0.0f ? -less : m - 1.0f) / (m + 1.0f), t = __fmul_rn(s, s);
    float series = __fmaf_rn(t, 1.0f / 9, 1.0f / 7);
    series = __fmaf_rn(t, __fmaf_rn(t, series, 1.0f / 5), 1.0f / 3);
    const float ln_m = 2.0f * __fmaf_rn(__fmul_rn(s, t), series, s);
    const float radius = __fsqrt_rn(-2.0f * __fmaf_rn(e, LN2_HIGH, __fmaf_rn(e, LN2_LOW, ln_m)));

    const unsigned q = (v + (1u << 29)) >> 30;
    const int h = (int)(v - (q << 30));
    const float high = (float)h, low = (float)(h - (int)high) + 0.5f; // h + 1/2, exact
    const float a = __fmaf_rn(high, TURN_HIGH, __fmaf_rn(high, TURN_LOW, __fmul_rn(low, TURN_HIGH)));
    const float y = __fmul_rn(a, a);
    float x; // sin or cos of a
    if (q % 2 == 1 != sine) {
        x = __fmaf_rn(y, 1.0f / 362880, -1.0f / 5040);
        x = __fmaf_rn(y, __fmaf_rn(y, x, 1.0f / 120), -1.0f / 6);
        x = __fmaf_rn(__fmul_rn(a, y), x, a);
    } else {
        x = __fmaf_rn(y, -1.0f / 3628800, 1.0f / 40320);
        x = __fmaf_rn(y, __fmaf_rn(y, x, -1.0f / 720), 1.0f / 24);
        x = __fmaf_rn(y, __fmaf_rn(y, x, -0.5f), 1.0f);
    }
    const bool negative = sine ? q == 2 || q == 3 : q == 1 || q == 2;
    return __fmul_rn(radius, negative ? -x : x);
}

// Indices 4b and 4b+1 are the two results of Box and Muller on words 0 and 1 of block b, 4b+2 and 4b+3 those on words 2
// and 3.
template <class Real>
__device__ __forceinline__ Real normal(unsigned index, unsigned step, unsigned trial, unsigned purpose, unsigned key0,
                                       unsigned key1) {
    const Words x = philox(index / 4, step, trial, purpose, key0, key1);
    const bool first = index % 4 < 2;
    return box_muller<Real>(first ? x.x0 : x.x2, first ? x.x1 : x.x3, index % 2 == 1);
}
