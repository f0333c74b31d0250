// Spikes add their weights to what arrives in the next step: model section 2, steps 7 and 8.  A block a spike, in turn.
//
// In: the list of a step's spikes.  Out: `arrived` (or in_E, in_I) and in_P.  Knows no state of neurons.
//
// What is added to are a few bytes a neuron, which stay in the second-level cache: atomics go there. Static spikes are
// counted, E in the low 16 bits and I in the high ones, since one weight per (pre, post) population is all there is.
#include "model.cuh"
#include "fixed_point.cuh"
#include "feedforward.cuh"

// 8. The weights of the feed-forward inputs that spike in step i, onto all neurons.
#if LX > 0
__device__ __forceinline__ void deliver_feedforward(int N, const double *probability, const REAL *w, Sum *in_P,
                                                    REAL *u_P, int i, int trial, unsigned key0, unsigned key1) {
    __shared__ unsigned char s_X[LX];
    int any = 0;
    for (int x = threadIdx.x; x < LX; x += blockDim.x) {
        s_X[x] = feedforward_spike(probability, x, i, trial, key0, key1);
        any |= s_X[x];
    }
    if (!__syncthreads_or(any)) return;
    for (int c = blockIdx.x * blockDim.x + threadIdx.x; c < N; c += gridDim.x * blockDim.x)
        for (int x = 0; x < LX; ++x)
            if (s_X[x]) add_weight(&in_P[c], w[(long long)c * N_INPUTS + x], WEIGHT_LIMIT, &u_P[c]);
}
#endif

extern "C" __global__ void deliver(
    int N,
    const int *spiked, const int *spiked_count, // (N,), (2,): see step.cu
    const int *targets,                         // (N, STATIC_EACH) post-synaptic neurons
    const REAL *J_own,                          // (N, STATIC_EACH) where OWN_WEIGHTS
    unsigned *arrived, Sum *in_E, Sum *in_I,    // (N,)
    const long long *start, const int *post, const unsigned short *column, // plastic synapses by pre-synaptic neuron j:
                                                // at start[j] .. start[j+1]-1, onto weight `column` of neuron `post`
    const REAL *w,                              // (N, N_INPUTS)
    Sum *in_P, REAL *u_P,
    const double *probability,                  // (steps + 1, LX) of a feed-forward spike in a step
    int *now, unsigned key0, unsigned key1)
{
    const int i = now[STEP];
    const int count = spiked_count[i & 1];
    for (int m = blockIdx.x; m < count; m += gridDim.x) {
        const int j = spiked[m];
        if (STATIC_EACH > 0) {
            const long long row = (long long)j * STATIC_EACH;
            for (int k = threadIdx.x; k < STATIC_EACH; k += blockDim.x) {
                const int c = targets[row + k];
                if (OWN_WEIGHTS)
                    atomicAdd(j < EXCITATORY ? &in_E[c] : &in_I[c], fixed(J_own[row + k]));
                else
                    atomicAdd(&arrived[c], j < EXCITATORY ? 1u : 65536u);
            }
        }
        if (N_INPUTS > LX) {
            const long long after = start[j + 1];
            for (long long s = start[j] + threadIdx.x; s < after; s += blockDim.x) {
                const int c = post[s];
                add_weight(&in_P[c], w[(long long)c * N_INPUTS + column[s]], WEIGHT_LIMIT, &u_P[c]);
            }
        }
    }
#if LX > 0
    deliver_feedforward(N, probability, w, in_P, u_P, i, now[TRIAL], key0, key1);
#endif
    if (blockIdx.x == 0 && threadIdx.x == 0) now[DONE] = i;
}
