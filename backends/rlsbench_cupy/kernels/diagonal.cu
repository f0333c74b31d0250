// The diagonals of P of the neurons first .. last-1, for the health checks.  One thread an entry, in a
// grid-stride loop.
#include "storage.cuh"

extern "C" __global__ void diagonal(long long first, long long last, const Stored *P, const Wide *unit, Wide *out) {
    // (N, ENTRIES), (N,), (last - first, N_INPUTS)
    const long long stride = (long long)gridDim.x * blockDim.x;
    for (long long e = (long long)blockIdx.x * blockDim.x + threadIdx.x; e < (last - first) * N_INPUTS; e += stride) {
        const long long c = first + e / N_INPUTS;
        const int i = (int)(e % N_INPUTS);
        out[e] = load(P[c * ENTRIES + entry(i, i)]) * unit[c];
    }
}
