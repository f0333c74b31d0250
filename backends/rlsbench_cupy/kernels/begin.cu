// The state at t = 0 of a trial (docs/model.md section 2): currents and filtered spikes are 0,
// v ~ N(0,1) (threshold - reset) + reset or as the model says, no neuron is refractory.  One thread a neuron.
#include "model.cuh"
#include "groups.cuh"
#include "streams.cuh"

extern "C" __global__ void begin(int N, int origin, int trial, int task, STATE_PARAMETERS, ARRIVING_PARAMETERS,
                                 SPIKES_PARAMETERS, FEEDFORWARD_PARAMETERS, CLOCK_PARAMETERS) {
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c < N) {
        const double xi = normal<double>(number_of(c, origin), 0, trial, INITIAL_VOLTAGE, key0, key1);
#if LIF
        v[c] = (REAL)(xi * (THRESHOLD - RESET) + RESET);
#else
        store_neuron(v, c, N, neuron_initial((REAL)xi, parameters_of(own, c, N)));
#endif
        u_E[c] = 0;
        u_P[c] = 0;
        if (!ONE_CURRENT) u_I[c] = 0;
        if (CURRENT_IS_SUM) u_bal[c] = 0;
        if (STIMULUS_ON >= 0) X_stim[c] = (REAL)STIMULUS_MU;
        if (!SPREAD) { // otherwise they are those of all neurons, and the host resets them
            r[c] = 0;
            last[c] = NEVER;
        }
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
