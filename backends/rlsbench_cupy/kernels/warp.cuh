// Sums over the threads that work on one neuron: a warp, or the warps of a block.
//
// In: a number of each thread.  Out: the sum, the same in each thread, added in a fixed order.
//
//     lane    thread within its warp, 0 .. 31          SHARERS   warps that work on one neuron
#pragma once

constexpr int LANES = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

template <class T> __device__ __forceinline__ T warp_sum(T x) {
    for (int o = LANES / 2; o > 0; o /= 2) x += __shfl_xor_sync(ALL_LANES, x, o);
    return x;
}

template <class T> __device__ __forceinline__ T warp_max(T x) {
    for (int o = LANES / 2; o > 0; o /= 2) {
        const T other = __shfl_xor_sync(ALL_LANES, x, o);
        x = other > x ? other : x;
    }
    return x;
}

// Synchronizes the threads of a neuron. With several warps a block has one neuron.
template <int SHARERS> __device__ __forceinline__ void neuron_sync() {
    if (SHARERS == 1)
        __syncwarp();
    else
        __syncthreads();
}

// scratch: SHARERS numbers in shared memory, which may be reused after the call.
template <int SHARERS, class T> __device__ __forceinline__ T neuron_sum(T x, T *scratch) {
    x = warp_sum(x);
    if (SHARERS == 1) return x;
    const int warp = threadIdx.x / LANES;
    if (threadIdx.x % LANES == 0) scratch[warp] = x;
    __syncthreads();
    T sum = scratch[0];
    for (int other = 1; other < SHARERS; ++other) sum += scratch[other];
    __syncthreads();
    return sum;
}

template <int SHARERS, class T> __device__ __forceinline__ T neuron_max(T x, T *scratch) {
    x = warp_max(x);
    if (SHARERS == 1) return x;
    const int warp = threadIdx.x / LANES;
    if (threadIdx.x % LANES == 0) scratch[warp] = x;
    __syncthreads();
    T largest = scratch[0];
    for (int other = 1; other < SHARERS; ++other) largest = scratch[other] > largest ? scratch[other] : largest;
    __syncthreads();
    return largest;
}
