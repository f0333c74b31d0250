// Spikes add their weights to what arrives in the next step: docs/model.md section 2, steps 7 and 8.
// One block a spike, in turn. Those of several ranks come from all, onto the neurons of this one.
//
// In: the list of a step's spikes.  Out: `arrived` (or in_E, in_I) and in_P.  Knows no voltage.
//
// The sums take a few bytes a neuron and stay in the L2 cache, where atomics are carried out. Static
// spikes are counted, E in the low 16 bits and I in the high ones, because the weight depends only on
// the two populations.
#include "model.cuh"
#include "groups.cuh"
#include "feedforward.cuh"
#include "filter.cuh"

constexpr int AT_ONCE = 8; // targets that a thread reads before it adds to the first of them

// 8. The weights of the feed-forward inputs that spike in step i, onto all neurons.
#if LX > 0
__device__ __forceinline__ void deliver_feedforward(int N, const double *probability, const REAL *w, Sum *in_P,
                                                    REAL *u_P, int i, Clock clock) {
    __shared__ unsigned char s_X[LX];
    const int trial = clock.now[TRIAL];
    int any = 0;
    for (int x = threadIdx.x; x < LX; x += blockDim.x) {
        s_X[x] = feedforward_spike(probability, x, i, trial, clock.key0, clock.key1);
        any |= s_X[x];
    }
    if (!__syncthreads_or(any)) return;
    for (int c = blockIdx.x * blockDim.x + threadIdx.x; c < N; c += gridDim.x * blockDim.x)
        for (int x = 0; x < LX; ++x)
            if (s_X[x]) add_weight(&in_P[c], w[(long long)c * N_INPUTS + x], WEIGHT_LIMIT, &u_P[c]);
}
#endif

// u_P (N,) becomes NaN where a weight is out of range, see fixed_point.cuh. r, last and tau_plas as in groups.cuh.
extern "C" __global__ void deliver(int N, SYNAPSES_PARAMETERS, SPIKES_PARAMETERS, ARRIVING_PARAMETERS, REAL *u_P,
                                   REAL *r, int *last, const double *tau_plas, FEEDFORWARD_PARAMETERS,
                                   CLOCK_PARAMETERS) {
    const int i = now[STEP];
    const int count = spiked_count[i & 1];
    for (int m = blockIdx.x; m < count; m += gridDim.x) {
        const int j = spiked[m];
        if (SPREAD && threadIdx.x == 0) { // 3. Filtered spikes, as in step.cu
            r[j] = filtered(r[j], last[j], i, TAU_EACH ? tau_plas[j] : TAU_PLAS);
            last[j] = i;
        }
        // 7. Static synapses
        if (STATIC_EACH > 0) {
            const long long row = SPREAD ? static_rows[2ll * j] : (long long)j * STATIC_EACH;
            const int each = SPREAD ? (int)(static_rows[2ll * j + 1] - row) : STATIC_EACH;
            for (int first = threadIdx.x; first < each; first += AT_ONCE * blockDim.x) {
                int c[AT_ONCE];
#pragma unroll
                for (int b = 0; b < AT_ONCE; ++b) {
                    const int k = first + b * blockDim.x;
                    c[b] = k < each ? targets[row + k] : -1;
                }
#pragma unroll
                for (int b = 0; b < AT_ONCE; ++b) {
                    if (c[b] < 0) continue;
                    if (OWN_WEIGHTS)
                        atomicAdd(excitatory(j) ? &in_E[c[b]] : &in_I[c[b]],
                                  fixed(static_weights[row + first + b * blockDim.x]));
                    else
                        atomicAdd(&arrived[c[b]], excitatory(j) ? 1u : 65536u);
                }
            }
        }
        // 7. Recurrent plastic synapses
        if (N_INPUTS > LX) {
            const long long after = start[j + 1];
            for (long long s = start[j] + threadIdx.x; s < after; s += blockDim.x) {
                const int c = post[s];
                add_weight(&in_P[c], w[(long long)c * N_INPUTS + column[s]], WEIGHT_LIMIT, &u_P[c]);
            }
        }
    }
#if LX > 0
    deliver_feedforward(N, probability, w, in_P, u_P, i, CLOCK);
#endif
    if (blockIdx.x == 0 && threadIdx.x == 0) now[DONE] = i;
}
