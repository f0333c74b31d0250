// The RLS update, event form: the same result from the columns of P whose inputs spiked.
//
// In: P as last written, the inputs that spiked since the last update.  Out: w, and pending rank-1 updates
// (k, g), which rls_fold.cu applies to P.  Its counterpart is rls_plain.cu.
//
// Between two updates all filtered inputs decay by one factor a and jump where their neuron spiked:
// x_t = a x_(t-1) + s, with s non-zero for a few inputs. After the update at t-1, P_(t-1) x_(t-1) = g k
// (indices t-1 omitted); so with q = x.k and y = w.x (w before the update at t)
//
//     (1) k_t = a g k + P_(t-1) s             = P_(t-1) x_t
//     (2) q_t = a^2 g q + a g s.k + s.k_t     = x_t.k_t
//     (3) y_t = a (y - g e q) + w.s           = w.x_t
//     (4) g_t = 1/(1 + q_t),  e_t = y_t + u_bal - f,  w <- w - g_t e_t k_t    (e_t = 0 where w is kept)
//     (5) P_(t-1) s = P s - sum_j (g_j s.k_j) k_j     P s: columns of inputs that spiked;  j: pending updates
//
// At the first update of a trial g = k = 0, and s is all of x.
//
//     c        neuron;  i: its inputs, 0 .. n-1, n = N_INPUTS;  P as in storage.cuh
//     WARPS    warps that work on a neuron; a thread owns the inputs (rows) me, me + THREADS, ...
//     NEURONS  neurons of a block, 1 if WARPS > 1;  MAX_PENDING: m, updates that may be pending
#include "rls_groups.cuh"
#include "warp.cuh"

#define THREADS (WARPS * LANES)
#define ROWS ((N_INPUTS + THREADS - 1) / THREADS)

struct EventScratch {
    Wide jump[N_INPUTS];      // s of the inputs that jumped, in order of the input
    short column[N_INPUTS];   // their indices
    Wide factor[MAX_PENDING]; // -g_j s.k_j of each pending update
    Wide sums[WARPS];
    REAL real_sums[WARPS];
    int counts[WARPS];
};

// How many threads of the neuron before this one have `yes`; `all`: how many have it in total.
__device__ __forceinline__ int place_among(bool yes, int *counts, int &all) {
    const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
    const unsigned who = __ballot_sync(ALL_LANES, yes);
    int before = __popc(who & ((1u << lane) - 1));
    all = __popc(who);
    if (WARPS > 1) {
        if (lane == 0) counts[warp] = all;
        __syncthreads();
        all = 0;
        for (int v = 0; v < WARPS; ++v) {
            if (v < warp) before += counts[v];
            all += counts[v];
        }
        __syncthreads();
    }
    return before;
}

// One update of every neuron; the arguments are described in rls_groups.cuh.
extern "C" __global__ void learn_event(int N, MATRICES_PARAMETERS, LEARNING_PARAMETERS, PENDING_PARAMETERS) {
    constexpr int n = N_INPUTS;
    __shared__ EventScratch scratch[NEURONS];
    const long long c = (long long)blockIdx.x * NEURONS + threadIdx.y;
    if (c >= N) return; // uniform in a warp; with several warps a block has one neuron
    EventScratch &s = scratch[threadIdx.y];
    const int me = threadIdx.x;
    const Stored *P = P_all + c * ENTRIES;
    REAL *w = w_all + c * n;
    Wide *k = k_all + c * MAX_PENDING * n, *g_pending = g_all + c * MAX_PENDING;

    // The inputs that jumped; all are read before the threads wait for each other
    Wide jump[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        const int i = r * THREADS + me;
        jump[r] = i < n ? (Wide)signal[i < LX ? i : LX + sources[c * (n - LX) + (i - LX)]] : 0;
    }
    int count = 0;
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        const int i = r * THREADS + me;
        int found;
        const int place = count + place_among(jump[r] != 0, s.counts, found);
        if (jump[r] != 0) {
            s.jump[place] = jump[r];
            s.column[place] = (short)i;
        }
        count += found;
    }
    neuron_sync<WARPS>();

    // (5) -g_j s.k_j of each pending update
    for (int j = me; j < pending; j += THREADS) {
        Wide s_k = 0;
        for (int m = 0; m < count; ++m) s_k += s.jump[m] * k[j * n + s.column[m]];
        s.factor[j] = -g_pending[j] * s_k;
    }
    neuron_sync<WARPS>();

    // (5) P_(t-1) s, row by row
    const Wide one = unit[c];
    Wide k_new[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; ++r) k_new[r] = 0;
    for (int m = 0; m < count; ++m) {
        const int column = s.column[m];
        const Wide s_m = one * s.jump[m];
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            const int i = r * THREADS + me;
            if (i < n) k_new[r] += s_m * load(P[entry(i, column)]);
        }
    }
    for (int j = 0; j < pending; ++j) {
        const Wide factor = s.factor[j];
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            const int i = r * THREADS + me;
            if (i < n) k_new[r] += factor * k[j * n + i];
        }
    }

    // (1) k_t = a g k + P_(t-1) s
    const Wide q = q_g[2 * c], g = q_g[2 * c + 1];
    const REAL y = y_e[2 * c], e = y_e[2 * c + 1];
    Wide s_k = 0, s_k_new = 0;
    REAL w_s = 0;
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        const int i = r * THREADS + me;
        if (i < n) {
            const Wide k_last = k[last * n + i];
            k_new[r] += a * g * k_last;
            s_k += jump[r] * k_last;
            s_k_new += jump[r] * k_new[r];
            w_s += (REAL)jump[r] * w[i];
        }
    }
    s_k = neuron_sum<WARPS>(s_k, s.sums);
    s_k_new = neuron_sum<WARPS>(s_k_new, s.sums);
    w_s = neuron_sum<WARPS>(w_s, s.real_sums);

    const Wide q_new = a * a * g * q + (a * g * s_k + s_k_new);       // (2)
    const REAL y_new = (REAL)a * (y - (REAL)g * e * (REAL)q) + w_s;   // (3)
    const Wide g_new = 1 / (1 + q_new);                               // (4)
    const bool frozen = benchmark || f[c] != f[c];
    const REAL e_new = frozen ? 0 : y_new + (u_bal[c] - f[c]);
    neuron_sync<WARPS>(); // all threads have read the last update before it is replaced
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        const int i = r * THREADS + me;
        if (i < n) {
            k[pending * n + i] = k_new[r];
            if (!frozen) w[i] -= (REAL)g_new * e_new * (REAL)k_new[r];
        }
    }
    if (me == 0) {
        g_pending[pending] = g_new;
        q_g[2 * c] = q_new;
        q_g[2 * c + 1] = g_new;
        y_e[2 * c] = y_new;
        y_e[2 * c + 1] = e_new;
    }
}
