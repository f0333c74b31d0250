// Filtered spikes r of a neuron, without updating all neurons in each step.
//
//     r_i = (1 - dt/tau_plas) r_(i-1) + s_(i-1)/tau_plas          s_i = 1 where it spiked in step i
//
// Between two spikes r only decays. r is stored as of the step `last` of the last spike, without that
// spike, which counts from the next step on.  In: this r, and a step i >= last.  Out: r_i, 1/ms.
#pragma once

__device__ __forceinline__ REAL filtered(REAL r, int last, int i, double tau_plas) {
    if (i == last) return r;
    const double f = 1.0 - DT / tau_plas;
    return (REAL)((f * (double)r + 1.0 / tau_plas) * exp(log(f) * (double)(i - last - 1)));
}
