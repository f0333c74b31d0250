// One step of all neurons: model section 2, steps 2 to 6, and the list of those that spiked.  One thread a neuron.
//
// In: what arrived in the previous step.  Out: the state after this step, and the spikes.  Knows no P.
//
// A step touches as little memory as it can: a neuron reads and writes v, u_E and u_P, reads X, the step of its last
// spike and what arrives, and clears what arrives only where something did. r is kept as of the last spike.
#include "model.cuh"
#include "streams.cuh"
#include "fixed_point.cuh"
#include "feedforward.cuh"
#include "filter.cuh"
#include "warp.cuh"

struct Neurons {
    REAL *v, *u_E, *u_I, *u_P, *u_bal;
    const REAL *X_bal;
    REAL *X_stim, *r;
    int *last;
    unsigned *arrived;
    Sum *in_E, *in_I, *in_P;
    const double *tau_plas;
    int *counts;
    const unsigned char *recorded;
};

struct Spikes {
    int *spiked, *spiked_count, *kept, *kept_count;
    int capacity;
};

// Lists the neurons of a warp that spiked: one atomic a warp. Their order may differ from run to run; nothing that is
// computed depends on it, since what they add up are integers.
__device__ __forceinline__ void list_spikes(Spikes out, bool spikes, int c, int i) {
    const unsigned who = __ballot_sync(ALL_LANES, spikes);
    if (who == 0) return;
    const int lane = threadIdx.x % LANES;
    int place = 0;
    if (lane == 0) place = atomicAdd(&out.spiked_count[i & 1], __popc(who));
    place = __shfl_sync(ALL_LANES, place, 0);
    if (spikes) out.spiked[place + __popc(who & ((1u << lane) - 1))] = c;
}

// Whether neuron c is among the spikes first .. after-1, which rise.
__device__ __forceinline__ bool among(const int *replay, long long first, long long after, int c) {
    while (first < after) {
        const long long middle = (first + after) / 2;
        if (replay[middle] < c)
            first = middle + 1;
        else if (replay[middle] > c)
            after = middle;
        else
            return true;
    }
    return false;
}

template <bool FREE>
__device__ __forceinline__ void one_step(int N, Neurons net, Spikes out, const double *probability, REAL *r_X,
                                         const int *replay, const long long *replay_start, int replay_first,
                                         int *now, unsigned key0, unsigned key1) {
    const int i = now[DONE] + 1, trial = now[TRIAL];
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c < LX) { // 3. of the feed-forward inputs: r_X += (-dt r_X + s_X)/tau_X
        const REAL s_X = feedforward_spike(probability, c, i - 1, trial, key0, key1) ? 1 : 0;
        r_X[c] += ((REAL)-DT * r_X[c] + s_X) / (REAL)TAU_X;
    }
    bool spikes = false;
    if (c < N) {
        // 2. Currents, forward Euler, with what arrived in the previous step: u += (-dt u + in)/tau.
        REAL in_E = 0, in_I = 0;
        if (OWN_WEIGHTS) {
            in_E = floating<REAL>(net.in_E[c]);
            in_I = floating<REAL>(net.in_I[c]);
            net.in_E[c] = 0;
            net.in_I[c] = 0;
        } else if (STATIC_EACH > 0) {
            const unsigned arrived = net.arrived[c];
            if (arrived) net.arrived[c] = 0;
            const bool E = c < EXCITATORY;
            in_E = (REAL)(E ? J_EE : J_EI) * (REAL)(arrived & 0xffffu);
            in_I = (REAL)(E ? J_IE : J_II) * (REAL)(arrived >> 16);
        }
        REAL u_E = net.u_E[c], u_bal;
        if (ONE_CURRENT) {
            u_E += ((REAL)-DT * u_E + (in_E + in_I)) / (REAL)TAU_E;
            u_bal = u_E;
        } else {
            REAL u_I = net.u_I[c];
            u_E += ((REAL)-DT * u_E + in_E) / (REAL)TAU_E;
            u_I += ((REAL)-DT * u_I + in_I) / (REAL)TAU_I;
            net.u_I[c] = u_I;
            u_bal = u_E + u_I;
        }
        net.u_E[c] = u_E;
        REAL xi = 0;
        if (NOISE_KIND != 0) xi = (REAL)(normal(c, i, trial, NOISE, key0, key1) * NOISE_SCALE);
        if (NOISE_KIND == 2) u_bal += xi; // u_bal = u_E + u_I + sig_c xi
        if (CURRENT_IS_SUM) net.u_bal[c] = u_bal;
        REAL u = u_bal;
        if (N_INPUTS > 0) {
            const Sum arrived = net.in_P[c];
            REAL in_P = 0;
            if (arrived) {
                in_P = floating<REAL>(arrived);
                net.in_P[c] = 0;
            }
            const REAL tau = (REAL)(TAU_EACH ? net.tau_plas[c] : TAU_PLAS);
            REAL u_P = net.u_P[c];
            u_P += ((REAL)-DT * u_P + in_P) / tau;
            net.u_P[c] = u_P;
            u += u_P;
        }
        // 4. X = X_bal, plus X_stim while stim_on < t < stim_off: x += b (mu - x) dt + sigma sqrt(dt) xi.
        REAL X = net.X_bal[c];
        if (STIMULUS_ON >= 0 && i > STIMULUS_ON && i < STIMULUS_OFF) {
            REAL x = net.X_stim[c];
            const REAL increment = (REAL)(normal(c, i - STIMULUS_ON, now[TASK], STIMULUS, key0, key1) * STIMULUS_SCALE);
            x += ((REAL)STIMULUS_MU - x) * (REAL)STIMULUS_DECAY + increment;
            net.X_stim[c] = x;
            X += x;
        }
        const int last = net.last[c];
        if (FREE) {
            // 5. and 6. Noise on the voltage; out of the refractory period v += dt/tau_m (X + u - v), spike and reset.
            REAL v = net.v[c];
            if (NOISE_KIND == 1) v += xi;
            if (i - last > REFRACTORY_STEPS) {
                v += (X + u - v) * (REAL)(DT / TAU_M);
                spikes = v > (REAL)THRESHOLD;
                if (spikes) v = (REAL)RESET;
            }
            net.v[c] = v;
        } else {
            spikes = among(replay, replay_start[i - replay_first], replay_start[i - replay_first + 1], c);
        }
        // 3. Filtered spikes: r as of this step, from which on this spike will count.
        if (spikes) {
            net.r[c] = filtered(net.r[c], last, i, TAU_EACH ? net.tau_plas[c] : TAU_PLAS);
            net.last[c] = i;
            net.counts[c] += 1;
            if (net.recorded[c]) {
                const int place = atomicAdd(out.kept_count, 1);
                if (place < out.capacity) {
                    out.kept[2 * place] = i;
                    out.kept[2 * place + 1] = c;
                }
            }
        }
    }
    list_spikes(out, spikes, c, i);
    if (c == 0) {
        out.spiked_count[(i + 1) & 1] = 0; // of the previous step, whose spikes have been delivered
        now[STEP] = i;
    }
}

#define ARGUMENTS                                                                                                     \
    int N, REAL *v, REAL *u_E, REAL *u_I, REAL *u_P, REAL *u_bal, const REAL *X_bal, REAL *X_stim, REAL *r, int *last, \
        unsigned *arrived, Sum *in_E, Sum *in_I, Sum *in_P, const double *tau_plas, int *counts,                      \
        const unsigned char *recorded, int *spiked, int *spiked_count, int *kept, int *kept_count, int capacity,      \
        const double *probability, REAL *r_X, int *now, unsigned key0, unsigned key1
#define NETWORK                                                                                                       \
    Neurons { v, u_E, u_I, u_P, u_bal, X_bal, X_stim, r, last, arrived, in_E, in_I, in_P, tau_plas, counts, recorded }
#define LISTS                                                                                                         \
    Spikes { spiked, spiked_count, kept, kept_count, capacity }

// Step now[DONE] + 1 of a free run.
//
//     v .. r         (N,) state; u_I, u_bal, X_stim: (1,) where unused, see model.cuh
//     last           (N,) step of the last spike
//     arrived, in_E, in_I, in_P   (N,) what arrives in this step; see begin.cu
//     tau_plas       (N,) ms where TAU_EACH, else (1,)
//     counts         (N,) spikes so far;  recorded (N,) whose spikes are kept
//     spiked         (N,) takes the neurons that spiked;  spiked_count (2,): in even and odd steps
//     kept           (capacity, 2) takes (step, neuron);  kept_count (1,)
//     probability    (steps + 1, LX) of a feed-forward spike in a step
//     r_X            (LX,)
extern "C" __global__ void step(ARGUMENTS) {
    one_step<true>(N, NETWORK, LISTS, probability, r_X, nullptr, nullptr, 0, now, key0, key1);
}

// The same with given spikes in place of those that voltages would give.
//
//     replay         (S,) neurons, in order of step and then rising
//     replay_start   (steps + 1,) where those of step replay_first + m begin in it
extern "C" __global__ void replayed_step(ARGUMENTS, const int *replay, const long long *replay_start,
                                         int replay_first) {
    one_step<false>(N, NETWORK, LISTS, probability, r_X, replay, replay_start, replay_first, now, key0, key1);
}
