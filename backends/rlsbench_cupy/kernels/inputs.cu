// Inputs of a learning step, and the sums of the learned current.  One thread a neuron.
//
// In: filtered spikes as of each neuron's last spike.  Out: x, or the jumps of x since the last update, of the
// feed-forward inputs, followed by those of the pre-synaptic neurons; of several ranks, N are the neurons of all.
#include "model.cuh"
#include "filter.cuh"

// signal (LX + N,): r_X, then r of each neuron after step i; 1/ms.
extern "C" __global__ void filtered_spikes(int N, int i, const REAL *r, const int *last, const double *tau_plas,
                                           const REAL *r_X, REAL *signal) {
    const int j = blockIdx.x * blockDim.x + threadIdx.x;
    if (j < N) signal[LX + j] = filtered(r[j], last[j], i, TAU_EACH ? tau_plas[j] : TAU_PLAS);
    if (j < LX) signal[j] = r_X[j];
}

// signal (LX + N,): s = x_t - a x_(t-1) where there was a spike since the update after step `before`; 0 elsewhere.
//
//     a                     decay of x between two updates
//     before                NEVER if there was no update in this trial: all of x is a jump
//     r_before, r_X_before  (N,), (LX,): x_(t-1); x_t afterwards
extern "C" __global__ void jumps(int N, int i, int before, REAL a, const REAL *r, const int *last, const REAL *r_X,
                                 REAL *r_before, REAL *r_X_before, REAL *signal) {
    const int j = blockIdx.x * blockDim.x + threadIdx.x;
    const bool all = before == NEVER;
    if (j < N) {
        const REAL x = filtered(r[j], last[j], i, TAU_PLAS);
        signal[LX + j] = all ? x : (last[j] >= before ? x - a * r_before[j] : (REAL)0);
        r_before[j] = x;
    }
    if (j < LX) {
        signal[j] = r_X[j] - (all ? (REAL)0 : a * r_X_before[j]);
        r_X_before[j] = r_X[j];
    }
}

// sums[row, c] += u_bal[c] + u_P[c], or u_P[c] alone: docs/model.md section 4.
extern "C" __global__ void add_currents(int N, int row, int plastic_only, const REAL *u_bal, const REAL *u_P,
                                        REAL *sums) {
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c < N) sums[(long long)row * N + c] += plastic_only ? u_P[c] : u_bal[c] + u_P[c];
}

// out[c] = a[c] + b[c]
extern "C" __global__ void add(int N, const REAL *a, const REAL *b, REAL *out) {
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c < N) out[c] = a[c] + b[c];
}
