// One step of all neurons (docs/model.md section 2, steps 2 to 6), and the list of those that spiked.
// One thread a neuron.
//
// In: what arrived in the previous step.  Out: the state after this step, and the spikes.  Knows no P.
//
// A step moves as little memory as possible: a neuron reads and writes v, u_E and u_P, reads X, the step
// of its last spike and what arrives, and clears what arrives only where something did. r is stored as
// of the last spike.
#include "model.cuh"
#include "groups.cuh"
#include "streams.cuh"
#include "feedforward.cuh"
#include "filter.cuh"
#include "warp.cuh"

// Lists the neurons of a warp that spiked, with one atomic a warp. Their order may differ from run to
// run; no result depends on it, because their weights are added as integers.
__device__ __forceinline__ void list_spikes(Spikes out, bool spikes, int j, int i) {
    const unsigned who = __ballot_sync(ALL_LANES, spikes);
    if (who == 0) return;
    const int lane = threadIdx.x % LANES;
    int place = 0;
    if (lane == 0) place = atomicAdd(&out.spiked_count[i & 1], __popc(who));
    place = __shfl_sync(ALL_LANES, place, 0);
    if (spikes) out.spiked[place + __popc(who & ((1u << lane) - 1))] = j;
}

// Given spikes in place of those that the voltages would give.
struct Replay {
    const int *neuron;      // (S,) in order of step, then neuron
    const long long *start; // (steps + 1,) where the spikes of step `first + m` begin
    int first;
};

// Whether neuron j is among the spikes first .. after-1, which are sorted.
__device__ __forceinline__ bool among(const int *replay, long long first, long long after, int j) {
    while (first < after) {
        const long long middle = (first + after) / 2;
        if (replay[middle] < j)
            first = middle + 1;
        else if (replay[middle] > j)
            after = middle;
        else
            return true;
    }
    return false;
}

// FREE: the voltages decide who spikes; otherwise `replay` does.
template <bool FREE>
__device__ __forceinline__ void one_step(int N, int origin, Constants constants, State net, Arriving arriving,
                                         Spikes out, Feedforward feedforward, Clock clock, Replay replay) {
    const unsigned key0 = clock.key0, key1 = clock.key1;
    const int i = clock.now[DONE] + 1, trial = clock.now[TRIAL];
    const int c = blockIdx.x * blockDim.x + threadIdx.x;
    const int j = number_of(c, origin);
    if (c < LX) { // 3. of the feed-forward inputs: r_X += (-dt r_X + s_X)/tau_X
        const REAL s_X = feedforward_spike(feedforward.probability, c, i - 1, trial, key0, key1) ? 1 : 0;
        feedforward.r_X[c] += ((REAL)-DT * feedforward.r_X[c] + s_X) / (REAL)TAU_X;
    }
    bool spikes = false;
    if (c < N) {
        // Normals come before what is read, which takes registers, and all that is read before what is written: so
        // a thread waits for memory once, not at each array in turn.
        const bool stimulated = STIMULUS_ON >= 0 && i > STIMULUS_ON && i < STIMULUS_OFF;
        REAL xi = 0, dx = 0;
        if (NOISE_KIND != 0) xi = (REAL)(normal<NORMAL>(j, i, trial, NOISE, key0, key1) * (NORMAL)NOISE_SCALE);
        if (stimulated)
            dx = (REAL)(normal<NORMAL>(j, i - STIMULUS_ON, clock.now[TASK], STIMULUS, key0, key1) *
                        (NORMAL)STIMULUS_SCALE);

        // 2. Currents, forward Euler, with what arrived in the previous step: u += (-dt u + in)/tau.
        const Sum from_E = OWN_WEIGHTS ? arriving.in_E[c] : 0, from_I = OWN_WEIGHTS ? arriving.in_I[c] : 0;
        const Sum from_P = N_INPUTS > 0 ? arriving.in_P[c] : 0;
        const unsigned arrived = !OWN_WEIGHTS && STATIC_EACH > 0 ? arriving.arrived[c] : 0;
        const int last = net.last[j];
        REAL u_E = net.u_E[c], u_I = ONE_CURRENT ? (REAL)0 : net.u_I[c], u_P = N_INPUTS > 0 ? net.u_P[c] : (REAL)0;
        REAL X = constants.X_bal[c], x = stimulated ? net.X_stim[c] : (REAL)0, v = FREE && LIF ? net.v[c] : (REAL)0;
        REAL in_E = 0, in_I = 0, u_bal;
        if (OWN_WEIGHTS) {
            in_E = floating<REAL>(from_E);
            in_I = floating<REAL>(from_I);
            arriving.in_E[c] = 0;
            arriving.in_I[c] = 0;
        } else if (STATIC_EACH > 0) {
            if (arrived) arriving.arrived[c] = 0;
            const bool E = excitatory(j);
            in_E = (REAL)(E ? J_EE : J_EI) * (REAL)(arrived & 0xffffu);
            in_I = (REAL)(E ? J_IE : J_II) * (REAL)(arrived >> 16);
        }
        if (BACKGROUND_ENTRIES > 0 && i > 1) { // 7. of the previous step: spikes from outside
            const int p = population(j);
            const REAL J = constants.background_weight[p];
            const long long *row = constants.background_table + p * BACKGROUND_ENTRIES;
            const unsigned drawn = word(j, i - 1, trial, BACKGROUND, key0, key1);
            int n = 0;
            while (drawn >= row[n]) ++n;
            (J > 0 ? in_E : in_I) += J * (REAL)n;
        }
        if (ONE_CURRENT) {
            u_E += ((REAL)-DT * u_E + (in_E + in_I)) / (REAL)TAU_E;
            u_bal = u_E;
        } else {
            u_E += ((REAL)-DT * u_E + in_E) / (REAL)TAU_E;
            u_I += ((REAL)-DT * u_I + in_I) / (REAL)TAU_I;
            net.u_I[c] = u_I;
            u_bal = u_E + u_I;
        }
        net.u_E[c] = u_E;
        if (NOISE_KIND == 2) u_bal += xi; // u_bal = u_E + u_I + sig_c xi
        if (CURRENT_IS_SUM) net.u_bal[c] = u_bal;
        REAL u = u_bal;
        if (N_INPUTS > 0) {
            REAL in_P = 0;
            if (from_P) {
                in_P = floating<REAL>(from_P);
                arriving.in_P[c] = 0;
            }
            const REAL tau = (REAL)(TAU_EACH ? constants.tau_plas[j] : TAU_PLAS);
            u_P += ((REAL)-DT * u_P + in_P) / tau;
            net.u_P[c] = u_P;
            u += u_P;
        }
        // 4. X = X_bal, plus X_stim while stim_on < t < stim_off: x += b (mu - x) dt + sigma sqrt(dt) xi.
        if (stimulated) {
            x += ((REAL)STIMULUS_MU - x) * (REAL)STIMULUS_DECAY + dx;
            net.X_stim[c] = x;
            X += x;
        }
        if (FREE) {
            // 5. and 6. Noise on the voltage; out of the refractory period v += dt/tau_m (X + u - v), spike and reset.
#if LIF
            if (NOISE_KIND == 1) v += xi;
            if (i - last > REFRACTORY_STEPS) {
                v += (X + u - v) * (REAL)(DT / TAU_M);
                spikes = v > (REAL)THRESHOLD;
                if (spikes) v = (REAL)RESET;
            }
            net.v[c] = v;
#else
            const Parameters p = parameters_of(net.own, c, N);
            Neuron s = load_neuron(net.v, c, N);
            if (NOISE_KIND == 1) s.v += xi;
            if (i - last > REFRACTORY_STEPS) {
                s = neuron_step(s, X + u, p);
                spikes = neuron_spikes(s, p);
                if (spikes) s = neuron_reset(s, p);
            } else {
                s = neuron_refractory(s, X + u, p);
            }
            store_neuron(net.v, c, N, s);
#endif
        } else {
            const long long *start = replay.start + (i - replay.first);
            spikes = among(replay.neuron, start[0], start[1], j);
        }
        // 3. Filtered spikes: r as of this step; this spike counts from the next one on.
        if (spikes) {
            if (!SPREAD) { // otherwise deliver.cu does it for the neurons of all ranks
                net.r[c] = filtered(net.r[c], last, i, TAU_EACH ? constants.tau_plas[c] : TAU_PLAS);
                net.last[c] = i;
            }
            out.counts[c] += 1;
            if (constants.recorded[c]) {
                const int place = atomicAdd(out.kept_count, 1);
                if (place < out.capacity) {
                    out.kept[2 * place] = i;
                    out.kept[2 * place + 1] = j;
                }
            }
        }
    }
    list_spikes(out, spikes, j, i);
    if (c == 0) {
        out.spiked_count[(i + 1) & 1] = 0; // of the previous step, whose spikes have been delivered
        clock.now[STEP] = i;
    }
}

#define STEP_PARAMETERS                                                                            \
    int N, int origin, CONSTANTS_PARAMETERS, STATE_PARAMETERS, ARRIVING_PARAMETERS,                \
        SPIKES_PARAMETERS, FEEDFORWARD_PARAMETERS, CLOCK_PARAMETERS

// Step now[DONE] + 1 of a free run.
extern "C" __global__ void step(STEP_PARAMETERS) {
    one_step<true>(N, origin, CONSTANTS, STATE, ARRIVING, SPIKES, FEEDFORWARD, CLOCK, Replay{});
}

// The same with given spikes, see Replay.
extern "C" __global__ void replayed_step(STEP_PARAMETERS, const int *replay, const long long *replay_start,
                                         int replay_first) {
    one_step<false>(N, origin, CONSTANTS, STATE, ARRIVING, SPIKES, FEEDFORWARD, CLOCK,
                    Replay{replay, replay_start, replay_first});
}
