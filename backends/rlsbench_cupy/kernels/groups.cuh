// Named groups of kernel arguments, each with the struct that holds it.
//
// CuPy passes arguments one by one, so the parameter list of a kernel is flat. X_PARAMETERS declares
// the members of a group there, and X collects them into a struct X. rlsbench_cupy/groups.py has the
// same groups with the same members in the same order; a test compares them.
//
// (N,) is an array with one entry for each neuron, (M,) for each neuron of the network, of which those of a rank are
// a part if SPREAD; (1,) one that is not used with these macros.
#pragma once
#include "fixed_point.cuh"

#define CLOCK_PARAMETERS int *now, unsigned key0, unsigned key1
struct Clock {
    int *now;            // (NOW_LENGTH,) position in the trial, see model.cuh
    unsigned key0, key1; // low and high word of the seed
};
#define CLOCK Clock{now, key0, key1}

#define STATE_PARAMETERS                                                                           \
    REAL *v, REAL *u_E, REAL *u_I, REAL *u_P, REAL *u_bal, REAL *X_stim, REAL *r, int *last, const REAL *own
struct State {
    REAL *v;      // (variables, N) the state of the neuron model; row 0 is the voltage
    REAL *u_E;    // (N,) u_E + u_I if ONE_CURRENT
    REAL *u_I;    // (N,) or, if ONE_CURRENT, (1,)
    REAL *u_P;    // (N,)
    REAL *u_bal;  // (N,) the same array as u_E unless CURRENT_IS_SUM
    REAL *X_stim; // (N,)
    REAL *r;      // (M,) filtered spikes as of the last spike, 1/ms: see filter.cuh
    int *last;    // (M,) step of the last spike
    const REAL *own; // (parameters that vary from neuron to neuron, N) or (1,)
};
#define STATE State{v, u_E, u_I, u_P, u_bal, X_stim, r, last, own}

#define CONSTANTS_PARAMETERS                                                                       \
    const REAL *X_bal, const double *tau_plas, const unsigned char *recorded,                      \
        const long long *background_table, const REAL *background_weight
struct Constants {
    const REAL *X_bal;             // (N,)
    const double *tau_plas;        // (M,) if TAU_EACH, else (1,); ms
    const unsigned char *recorded; // (N,) 1 for neurons whose spikes are recorded
    const long long *background_table; // (populations, BACKGROUND_ENTRIES), or (1,): how many words, of 2^32,
                                       // stand for at most k spikes; rows end with 2^32
    const REAL *background_weight;     // (populations,) or (1,)
};
#define CONSTANTS Constants{X_bal, tau_plas, recorded, background_table, background_weight}

#define ARRIVING_PARAMETERS unsigned *arrived, Sum *in_E, Sum *in_I, Sum *in_P
struct Arriving {   // in the next step
    unsigned *arrived;  // (N,) static spikes, E in the low 16 bits and I in the high ones
    Sum *in_E, *in_I;   // (N,) if OWN_WEIGHTS: the sums of their weights instead
    Sum *in_P;          // (N,) plastic weights
};
#define ARRIVING Arriving{arrived, in_E, in_I, in_P}

#define SPIKES_PARAMETERS                                                                          \
    int *spiked, int *spiked_count, int *counts, int *kept, int *kept_count, int capacity
struct Spikes {
    int *spiked;       // (M,) numbers of the neurons that spiked in this step
    int *spiked_count; // (2,) how many, in even and odd steps
    int *counts;       // (N,) spikes of each neuron in this trial
    int *kept;         // (capacity, 2) step and neuron of each recorded spike
    int *kept_count;   // (1,)
    int capacity;
};
#define SPIKES Spikes{spiked, spiked_count, counts, kept, kept_count, capacity}

#define FEEDFORWARD_PARAMETERS const double *probability, REAL *r_X
struct Feedforward {
    const double *probability; // (steps + 1, LX) of a spike in a step
    REAL *r_X;                 // (LX,) filtered spikes, 1/ms
};
#define FEEDFORWARD Feedforward{probability, r_X}

// Used one by one in deliver.cu:
//
//     targets         (M, STATIC_EACH) post-synaptic neurons; if SPREAD, those of this rank alone, one after another
//     static_weights  as targets, if OWN_WEIGHTS
//     static_rows     (M, 2) if SPREAD: the first of the targets of each pre-synaptic neuron, and one after the last
//     start           (M + 1,) plastic synapses of pre-synaptic neuron j: start[j] .. start[j+1]-1
//     post, column    (N 2L,) their post-synaptic neurons, and their columns of w (N, N_INPUTS)
#define SYNAPSES_PARAMETERS                                                                        \
    const int *targets, const REAL *static_weights, const long long *static_rows,                  \
        const long long *start, const int *post, const unsigned short *column, const REAL *w
