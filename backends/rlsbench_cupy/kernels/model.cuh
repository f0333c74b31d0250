// The numbers of the model and the clock that kernels share.
//
// In: macros, fixed when a trainer is built.  Out: constants.  Symbols as in reference/rlsbench_reference/model.py;
// times in ms, rates in 1/ms, voltages and currents in units of (threshold - reset), weights in those times ms.
//
//     REAL           float or double: of currents, voltages and weights
//     N              neurons; c numbers them, E are 0 .. EXCITATORY-1; all index arithmetic beyond N is 64-bit
//     N_INPUTS, LX   plastic inputs of a neuron, and how many of them are feed-forward ones; 0 without
//     STATIC_EACH    2K, static targets of a neuron; 0 without
//     ONE_CURRENT    tau_E = tau_I: u_E stands for u_E + u_I
//     OWN_WEIGHTS    each static synapse has a weight of its own; else J_EE .. J_II, by (pre, post)
//     TAU_EACH       each neuron has a tau_plas of its own
//     NOISE_KIND     0 none, 1 on the voltage, 2 on the current
#pragma once

// now[]: where the trial stands, in device memory, so that one captured graph of launches serves any step.
enum Now { DONE, STEP, TRIAL, TASK, NOW_LENGTH };

constexpr int NEVER = -(1 << 30); // step of the last spike of a neuron that has not spiked

constexpr bool CURRENT_IS_SUM = !ONE_CURRENT || NOISE_KIND == 2; // u_bal is more than u_E, and kept beside it

constexpr REAL WEIGHT_LIMIT = (REAL)(4194304.0 / (N_INPUTS > 0 ? N_INPUTS : 1)); // see fixed_point.cuh
