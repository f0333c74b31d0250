// The RLS update, plain form: all of P is read and written once (docs/model.md section 3).
//
//     (1) k = P x     (2) g = 1/(1 + x.k)     (3) P <- P - g k k'     (4) e = w.x + u_bal - f     (5) w <- w - g e k
//
// In: P, w, x, u_bal, f.  Out: P and w.  Its counterpart is rls_event.cu.
//
//     c        neuron;  i, j: its inputs, 0 .. n-1, n = N_INPUTS;  P as in storage.cuh
//     WARPS    warps that work on a neuron: warp v takes rows v, v + WARPS, ..., its lanes the columns of a row
//     NEURONS  neurons of a block, 1 if WARPS > 1
//     STAGED   1: P stays in shared memory between (1) and (3);  0: it does not fit and is read twice
//
// From (2) on, k stands for sqrt(g/unit) k: entries (i, j) and (j, i) get the same number, and P stays symmetric.
#include "rls_groups.cuh"
#include "warp.cuh"

#define CHUNKS ((N_INPUTS + LANES - 1) / LANES)

struct PlainScratch {
    Wide x[N_INPUTS];
    Wide k[N_INPUTS];
    Wide sums[WARPS];
    REAL real_sums[WARPS];
#if PACKED
    Wide column[WARPS][N_INPUTS]; // what the rows of each warp add to k by symmetry
#endif
#if STAGED
    Wide P[ENTRIES];
#endif
};

// Entry e of P of this neuron, in units of `one`.
__device__ __forceinline__ Wide loaded(const PlainScratch &s, const Stored *P, Wide factor, int e) {
#if STAGED
    return s.P[e];
#else
    return factor * load(P[e]);
#endif
}

// Equations (1) to (5) for neuron c, whose x is in s.x. u_minus_f = u_bal - f; `frozen` leaves w unchanged.
__device__ __forceinline__ void update_neuron(PlainScratch &s, long long c, Stored *P_all, Wide *unit, REAL *w_all,
                                              REAL u_minus_f, bool frozen) {
    constexpr int n = N_INPUTS, THREADS = WARPS * LANES;
    const int me = threadIdx.x, lane = me % LANES, warp = me / LANES;
    Stored *P = P_all + c * ENTRIES;
    REAL *w = w_all + c * n;

    Wide one = unit[c], factor = 1; // stored integers are multiplied by `factor`, and the unit is divided by it
    if (FIXED_POINT) {
        Wide largest = 0;
        for (int i = me; i < n; i += THREADS) largest = fmaxf(largest, load(P[entry(i, i)]));
        factor = refinement(neuron_max<WARPS>(largest, s.sums));
        one /= factor;
    }

#if STAGED
    // A row at a time, each would wait for memory in turn; here a thread has several entries under way.
#pragma unroll 8
    for (int at = me; at < ENTRIES; at += THREADS) s.P[at] = factor * load(P[at]);
    neuron_sync<WARPS>();
#endif

    // (1) k = P x in units of `one`; row i of a triangle is also part of column i
    Wide column[CHUNKS];
#pragma unroll
    for (int chunk = 0; chunk < CHUNKS; ++chunk) column[chunk] = 0;
    for (int i = warp; i < n; i += WARPS) {
        const int row = row_start(i), length = row_length(i);
        const Wide x_i = s.x[i];
        Wide k_i = 0;
#pragma unroll
        for (int chunk = 0; chunk < CHUNKS; ++chunk) {
            const int j = chunk * LANES + lane;
            if (j < length) {
                const Wide p = loaded(s, P, factor, row + j);
                k_i += p * s.x[j];
                if (PACKED && j < i) column[chunk] += p * x_i;
            }
        }
        k_i = warp_sum(k_i);
        if (lane == 0) s.k[i] = k_i;
    }
#if PACKED
#pragma unroll
    for (int chunk = 0; chunk < CHUNKS; ++chunk) {
        const int j = chunk * LANES + lane;
        if (j < n) s.column[warp][j] = column[chunk];
    }
#endif
    neuron_sync<WARPS>();

    // (2) g = 1/(1 + x.k) and (4) e = w.x + u_bal - f
    Wide q = 0;
    REAL y = 0;
    for (int i = me; i < n; i += THREADS) {
        Wide k_i = s.k[i];
#if PACKED
        for (int v = 0; v < WARPS; ++v) k_i += s.column[v][i];
        s.k[i] = k_i;
#endif
        q += s.x[i] * k_i;
        y += w[i] * (REAL)s.x[i];
    }
    q = one * neuron_sum<WARPS>(q, s.sums);
    const REAL e = neuron_sum<WARPS>(y, s.real_sums) + u_minus_f;
    const Wide root = (Wide)sqrt(one / (1 + q)); // sqrt(g unit)
    for (int i = me; i < n; i += THREADS) s.k[i] *= root;
    neuron_sync<WARPS>();

    // (3) P <- P - g k k'
    for (int i = warp; i < n; i += WARPS) {
        const int row = row_start(i), length = row_length(i);
        const Wide k_i = s.k[i];
#pragma unroll
        for (int chunk = 0; chunk < CHUNKS; ++chunk) {
            const int j = chunk * LANES + lane;
            if (j < length) P[row + j] = stored(loaded(s, P, factor, row + j) - k_i * s.k[j]);
        }
    }

    // (5) w <- w - g e k
    if (!frozen)
        for (int i = me; i < n; i += THREADS) w[i] -= (REAL)root * e * (REAL)s.k[i];
    if (FIXED_POINT && me == 0) unit[c] = one;
}

// Every neuron, from the filtered spikes of its inputs, x = [r_X; r[sources]].
extern "C" __global__ void learn_plain(int N, MATRICES_PARAMETERS, LEARNING_PARAMETERS) {
    __shared__ PlainScratch scratch[NEURONS];
    const long long c = (long long)blockIdx.x * NEURONS + threadIdx.y;
    if (c >= N) return; // uniform in a warp; with several warps a block has one neuron
    PlainScratch &s = scratch[threadIdx.y];
    for (int i = threadIdx.x; i < N_INPUTS; i += WARPS * LANES)
        s.x[i] = signal[i < LX ? i : LX + sources[c * (N_INPUTS - LX) + (i - LX)]];
    neuron_sync<WARPS>();
    update_neuron(s, c, P_all, unit, w_all, u_bal[c] - f[c], benchmark || f[c] != f[c]);
}

// The same from given inputs, x (N, n).
extern "C" __global__ void learn_given(int N, MATRICES_PARAMETERS, REAL *w_all, const REAL *x, const REAL *u_bal,
                                       const REAL *f, int benchmark) {
    __shared__ PlainScratch scratch[NEURONS];
    const long long c = (long long)blockIdx.x * NEURONS + threadIdx.y;
    if (c >= N) return;
    PlainScratch &s = scratch[threadIdx.y];
    for (int i = threadIdx.x; i < N_INPUTS; i += WARPS * LANES) s.x[i] = x[c * N_INPUTS + i];
    neuron_sync<WARPS>();
    update_neuron(s, c, P_all, unit, w_all, u_bal[c] - f[c], benchmark || f[c] != f[c]);
}
