// Constants of the model, and the clock that kernels share.
//
// In: macros, set when a trainer is built.  Out: constants.  Symbols as in docs/model.md; times in ms,
// rates in 1/ms, voltages and currents in units of (threshold - reset), weights in those times ms.
//
//     REAL           float or double: type of currents, voltages and weights
//     NORMAL         float or double: in which the normals of noise and stimulus are computed
//     N              neurons, indexed by c; indices beyond N are 64-bit
//     SPREAD         1: the network is spread over ranks. These neurons are origin .. origin + N - 1 of it; j is the
//                    number of a neuron in the network;  0: there are no others, and j = c
//     POPULATION     expression for the number of the population of a neuron; EXCITATORY, for whether it is E
//     N_INPUTS, LX   plastic inputs of a neuron; how many of them are feed-forward; 0 if none
//     STATIC_EACH    2K, static targets of a neuron in the network; 0 if none
//     ONE_CURRENT    tau_E = tau_I: u_E stands for u_E + u_I
//     OWN_WEIGHTS    each static synapse has its own weight; otherwise J_EE .. J_II, by (pre, post),
//                    and there are two populations, E and I
//     BACKGROUND_ENTRIES  of a row of background_table; 0 without spikes from outside
//     TAU_EACH       each neuron has its own tau_plas
//     LIF            neurons are leaky integrate-and-fire; otherwise rlsbench_cupy/neurons.py wrote their functions
//     NOISE_KIND     0 none, 1 on the voltage, 2 on the current
#pragma once

// now[]: position in the trial, in device memory, so that a captured graph of launches serves any step.
enum Now { DONE, STEP, TRIAL, TASK, NOW_LENGTH };

constexpr int NEVER = -(1 << 30); // step of the last spike of a neuron that has not spiked

__device__ __forceinline__ int number_of(int c, int origin) { return SPREAD ? origin + c : c; }

__device__ __forceinline__ int population(int c) { return POPULATION; }

__device__ __forceinline__ bool excitatory(int c) { return EXCITATORY; }

constexpr bool CURRENT_IS_SUM = !ONE_CURRENT || NOISE_KIND == 2; // u_bal differs from u_E

constexpr REAL WEIGHT_LIMIT = (REAL)(4194304.0 / (N_INPUTS > 0 ? N_INPUTS : 1)); // see fixed_point.cuh
