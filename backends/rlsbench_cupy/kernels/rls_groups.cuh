// Named groups of arguments of the learning kernels; see groups.cuh.
#pragma once
#include "storage.cuh"

//     P_all   (N, ENTRIES), as in storage.cuh
//     unit    (N,), the value of a stored 1
#define MATRICES_PARAMETERS Stored *P_all, Wide *unit

//     w_all      (N, n)
//     sources    (N, n - LX) pre-synaptic neurons
//     signal     (LX + N,) filtered spikes x, or their jumps s, of the feed-forward inputs and then by
//                neuron of the network, 1/ms
//     u_bal, f   (N,); f is NaN for a neuron without a target
//     benchmark  leave w unchanged
#define LEARNING_PARAMETERS                                                                        \
    REAL *w_all, const int *sources, const REAL *signal, const REAL *u_bal, const REAL *f, int benchmark

//     k_all, g_all  (N, MAX_PENDING, n), (N, MAX_PENDING): k_j; g_j of the pending updates
//     pending       how many are pending; the new one is added to them
//     last          index of the k_j of the last update
//     q_g, y_e      (N, 2) q and g, y and e of the last update; 0 before the first one of a trial
//     a             decay of x between two updates
#define PENDING_PARAMETERS Wide *k_all, Wide *g_all, int pending, int last, Wide *q_g, REAL *y_e, Wide a
