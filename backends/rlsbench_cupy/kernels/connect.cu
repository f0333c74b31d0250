// Draws synapses, as rlsbench.streams.distinct_integers does, and transposes plastic ones.
//
// In: seeds and pools.  Out: indices.  Knows no weights.
//
// The candidates of a row are its words (index = number of the draw) mapped to [0, below) by
// multiplication and rejection (Lemire 2019); the first COUNT distinct ones are kept, sorted. A block
// draws a row: it enters as many words as values are missing into a hash table at once, so it never
// draws one too many; then each value counts how many are smaller.
//
//     COUNT  values of a row;  TABLE: size of the hash table, a power of two, at least 2 COUNT
#include "streams.cuh"

// Rows first .. first + gridDim.x - 1; row `first + b` is written to out[b * stride + offset ...].
//
//     below      values are in [0, below)
//     skip_self  a row excludes its own number: values from it on are one higher
//     pool       (below,), if `from_pool`: a value v stands for pool[v]
extern "C" __global__ void draw_distinct(int first, unsigned below, unsigned purpose, unsigned key0, unsigned key1,
                                         int skip_self, int from_pool, const int *pool, int *out, int stride,
                                         int offset) {
    __shared__ int table[TABLE];
    __shared__ int values[COUNT];
    __shared__ int found;
    const int row = first + blockIdx.x;
    const unsigned rejected = (unsigned)((1ull << 32) % below);
    for (int t = threadIdx.x; t < TABLE; t += blockDim.x) table[t] = -1;
    if (threadIdx.x == 0) found = 0;
    __syncthreads();
    unsigned drawn = 0;
    for (int have = 0; have < COUNT;) {
        const unsigned after = drawn + (COUNT - have);
        for (unsigned d = drawn + threadIdx.x; d < after; d += blockDim.x) {
            const unsigned long long product = (unsigned long long)word(d, row, 0, purpose, key0, key1) * below;
            if ((unsigned)product < rejected) continue;
            const int value = (int)(product >> 32);
            unsigned place = (unsigned)value * 2654435761u; // Knuth's multiplicative hash
            while (true) {
                place &= TABLE - 1;
                const int there = atomicCAS(&table[place], -1, value);
                if (there == -1) values[atomicAdd(&found, 1)] = value;
                if (there == -1 || there == value) break;
                ++place;
            }
        }
        drawn = after;
        __syncthreads();
        have = found;
        __syncthreads();
    }
    for (int m = threadIdx.x; m < COUNT; m += blockDim.x) {
        const int value = values[m];
        int smaller = 0;
        for (int o = 0; o < COUNT; ++o) smaller += values[o] < value;
        const int shifted = value + (skip_self && value >= row);
        out[(long long)blockIdx.x * stride + offset + smaller] = from_pool ? pool[value] : shifted;
    }
}

// length[j] += how often j is among the `entries` sources.
extern "C" __global__ void count_outputs(long long entries, const int *sources, int *length) {
    const long long e = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (e < entries) atomicAdd(&length[sources[e]], 1);
}

// The synapses of `sources` (N, width) by pre-synaptic neuron; see deliver.cu.
//
//     start      (N + 1,)
//     filled       (N,) initially 0
//     feedforward  first column of recurrent inputs
extern "C" __global__ void fill_outputs(long long entries, int width, int feedforward, const int *sources,
                                        const long long *start, int *filled, int *post, unsigned short *column) {
    const long long e = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (e >= entries) return;
    const int j = sources[e];
    const long long place = start[j] + atomicAdd(&filled[j], 1);
    post[place] = (int)(e / width);
    column[place] = (unsigned short)(feedforward + e % width);
}
