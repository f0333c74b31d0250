// Sums of weights that do not depend on the order of their terms: numbers as multiples of 2^-40 in 64 bits.
//
// In: weights, in units of (threshold - reset) times ms.  Out: their sum.  Knows no synapse.
//
// Integer addition is associative, floating-point addition is not: in whatever order a GPU processes the
// spikes of a step, the sum has the same bits. A weight beyond `limit` (2^22 over the largest number of
// terms) or a NaN does not fit: the current to which it is added becomes NaN, as in a diverged simulation.
#pragma once

typedef unsigned long long Sum; // two's complement

template <class Real> __device__ __forceinline__ Sum fixed(Real weight) {
    return (Sum)(long long)rint((double)weight * 0x1p40);
}

template <class Real> __device__ __forceinline__ Real floating(Sum sum) {
    return (Real)((double)(long long)sum * 0x1p-40);
}

__device__ __forceinline__ void poison(float *current) { atomicExch(current, __int_as_float(0x7fc00000)); }
__device__ __forceinline__ void poison(double *current) {
    atomicExch((Sum *)current, 0x7ff8000000000000ull);
}

template <class Real> __device__ __forceinline__ void add_weight(Sum *sum, Real weight, Real limit, Real *current) {
    if (fabs(weight) <= limit)
        atomicAdd(sum, fixed(weight));
    else
        poison(current);
}
