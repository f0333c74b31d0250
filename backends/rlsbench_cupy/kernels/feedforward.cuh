// Feed-forward Poisson inputs: docs/model.md section 2, step 8.
//
// In: an input, a step and a trial.  Out: whether it spikes in that step.  Stores nothing.
#pragma once
#include "streams.cuh"

// With probability rate_X[i, x] dt, and only after the stimulus.  probability: (steps + 1, LX)
__device__ __forceinline__ bool feedforward_spike(const double *probability, int x, int i, int trial, unsigned key0,
                                                  unsigned key1) {
    if (i < 1 || i <= STIMULUS_OFF) return false;
    return uniform(x, i, trial, FEEDFORWARD_SPIKE, key0, key1) < probability[(long long)i * LX + x];
}
