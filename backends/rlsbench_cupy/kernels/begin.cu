// The state at t = 0 of a trial (model section 2): all currents and filtered spikes 0, v ~ N(0,1) (threshold - reset) +
// reset, no neuron refractory.  One thread a neuron.
#include "model.cuh"
#include "streams.cuh"
#include "fixed_point.cuh"

extern "C" __global__ void begin(
    int N, int trial, int task, unsigned key0, unsigned key1,
    REAL *v, REAL *u_E, REAL *u_I, REAL *u_P, REAL *u_bal, REAL *X_stim, // (N,); u_I, u_bal, X_stim: (1,) where unused
    REAL *r, int *last,        // (N,) filtered spikes as of the last spike, and its step: see filter.cuh
    unsigned *arrived,         // (N,) static spikes that arrive next: E in the low 16 bits, I in the high ones
    Sum *in_E, Sum *in_I,      // (N,) the same as sums of weights, where synapses have their own
    Sum *in_P,                 // (N,) plastic weights that arrive next
    int *counts,               // (N,) spikes in this trial
    REAL *r_X,                 // (LX,)
    int *spiked_count,         // (2,) spikes of odd and even steps
    int *kept_count,           // (1,) spikes that were recorded
    int *now)                  // (NOW_LENGTH,)
{
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c < N) {
        v[c] = (REAL)(normal(c, 0, trial, INITIAL_VOLTAGE, key0, key1) * (THRESHOLD - RESET) + RESET);
        u_E[c] = 0;
        u_P[c] = 0;
        if (!ONE_CURRENT) u_I[c] = 0;
        if (CURRENT_IS_SUM) u_bal[c] = 0;
        if (STIMULUS_ON >= 0) X_stim[c] = (REAL)STIMULUS_MU;
        r[c] = 0;
        last[c] = NEVER;
        if (OWN_WEIGHTS) {
            in_E[c] = 0;
            in_I[c] = 0;
        } else {
            arrived[c] = 0;
        }
        in_P[c] = 0;
        counts[c] = 0;
    }
    if (c < LX) r_X[c] = 0;
    if (c == 0) {
        spiked_count[0] = 0;
        spiked_count[1] = 0;
        kept_count[0] = 0;
        now[DONE] = 0;
        now[STEP] = 0;
        now[TRIAL] = trial;
        now[TASK] = task;
    }
}
