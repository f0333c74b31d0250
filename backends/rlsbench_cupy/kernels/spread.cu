// Copies one P to every neuron.  One thread an entry, in a grid-stride loop.
#include "storage.cuh"

extern "C" __global__ void spread(long long N, const Stored *one, Stored *P) { // (ENTRIES,), (N, ENTRIES)
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long e = (long long)blockIdx.x * blockDim.x + threadIdx.x; e < N * ENTRIES; e += stride)
        P[e] = one[e % ENTRIES];
}
