// The layout of P in memory: the type of an entry, and where it is stored.
//
// In: macros.  Out: `Stored`, `Wide`, load, stored, and indices of entries.  Knows no algorithm.
//
//     N_INPUTS   n, plastic inputs of a neuron; P of a neuron is a symmetric n x n matrix
//     PACKED     1: lower triangles, row by row, entry (i, j <= i) at i (i + 1)/2 + j;  0: full matrices
//     P_...      precision in which P is stored: P_float64, P_float32, P_float16, P_bfloat16 or P_int16
//     Stored     type of a number in memory;  Wide: type of the computation, double or float
//     unit       value of a stored 1, for each neuron: 1, except for int16 a power of two that keeps the
//                largest entry in 2^12 .. 2^14. It is on the diagonal, since P is positive definite, and shrinks.
#pragma once

#if defined(P_float64)
typedef double Stored;
typedef double Wide;
#elif defined(P_float32)
typedef float Stored;
typedef float Wide;
#elif defined(P_float16) || defined(P_bfloat16)
typedef unsigned short Stored;
typedef float Wide;
#elif defined(P_int16)
typedef short Stored;
typedef float Wide;
#else
#error "define one of P_float64, P_float32, P_float16, P_bfloat16, P_int16"
#endif

#if defined(P_int16)
constexpr bool FIXED_POINT = true;
#else
constexpr bool FIXED_POINT = false;
#endif
constexpr Wide REFINED_BELOW = 4096;

__device__ __forceinline__ Wide load(Stored p) {
#if defined(P_float16)
    // The exponent of float has three more bits and a bias larger by 112; subnormal numbers need no special case.
    return __uint_as_float((p & 0x7fffu) << 13) * 0x1p112f * ((p & 0x8000u) ? -1.0f : 1.0f);
#elif defined(P_bfloat16)
    return __uint_as_float((unsigned)p << 16);
#else
    return (Wide)p;
#endif
}

// To nearest, ties to even.
__device__ __forceinline__ Stored stored(Wide p) {
#if defined(P_float16)
    const unsigned bits = __float_as_uint(fabsf(p) * 0x1p-112f);
    const unsigned rounded = (bits + 0xfffu + ((bits >> 13) & 1u)) >> 13;
    const unsigned magnitude = fabsf(p) < 65520.0f ? rounded : (p == p ? 0x7c00u : 0x7e00u);
    return (Stored)(magnitude | (p < 0 ? 0x8000u : 0u));
#elif defined(P_bfloat16)
    const unsigned bits = __float_as_uint(p);
    return (Stored)(p == p ? (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16 : 0x7fc0u);
#elif defined(P_int16)
    return (Stored)fminf(fmaxf(rintf(p), -32767.0f), 32767.0f);
#else
    return p;
#endif
}

// Power of two by which stored integers are multiplied, and the unit divided, to use the range of int16.
__device__ __forceinline__ Wide refinement(Wide largest) {
    Wide factor = 1;
    while (largest > 0 && largest * factor < REFINED_BELOW) factor *= 2;
    return factor;
}

constexpr int ENTRIES = PACKED ? N_INPUTS * (N_INPUTS + 1) / 2 : N_INPUTS * N_INPUTS;

__device__ __forceinline__ int row_start(int i) { return PACKED ? i * (i + 1) / 2 : i * N_INPUTS; }
__device__ __forceinline__ int row_length(int i) { return PACKED ? i + 1 : N_INPUTS; }

// Index of entry (i, j); by symmetry in row j of a full matrix, so that reads of consecutive i coalesce.
__device__ __forceinline__ int entry(int i, int j) {
    if (!PACKED) return j * N_INPUTS + i;
    return i >= j ? row_start(i) + j : row_start(j) + i;
}
