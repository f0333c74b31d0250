"""What a network takes on a device, by count: bytes that are held, bytes that are moved, operations, launches.

In: an experiment and options.  Out: counts.  Nothing here is measured, and CuPy is not imported.
"""

from __future__ import annotations

import math

import numpy as np

from rlsbench.backend import (
    ArraySpec,
    Cost,
    DeviceLimits,
    KernelCost,
    Lifetime,
    Options,
    Sizes,
    choose_form,
    plain_cost,
)
from rlsbench.clock import Clock
from rlsbench.configuration import Experiment
from rlsbench.precision import PRECISIONS, STORAGES
from rlsbench_cupy.backend import pairs_kept

__all__ = ["DEVICES", "arrays", "kernel_costs", "update_cost"]

DEVICES = (
    DeviceLimits("A100 80 GB", 2.039e12, 19.5e12, 40e6),
    DeviceLimits("H100 SXM", 3.35e12, 66.9e12, 50e6),
    DeviceLimits("H200", 4.8e12, 66.9e12, 50e6),
)
"""NVIDIA's data sheets: memory bandwidth, float32 without tensor cores, last cache."""
NORMAL_OPERATIONS = 150
"""Of a normal number: ten rounds of Philox, a logarithm, a root and a cosine by their series, in float64."""

SECTOR = 32
"""Bytes that a device moves at least: a number that stands alone costs as much."""


def arrays(sizes: Sizes, options: Options) -> list[ArraySpec]:
    """The arrays on the device."""
    N, n, real = sizes.N, sizes.n, np.dtype(options.precision).itemsize
    p = PRECISIONS[options.p_precision]
    wide = p.computed.itemsize
    two = not sizes.one_static_filter
    # v, u_E, u_P, X, X_stim, r and what is learned from; u_I; u_bal
    currents = 7 + two + (two or sizes.current_noise)

    def of(name: str, size: int, lifetime: Lifetime = Lifetime.LEARNING) -> ArraySpec:
        return ArraySpec.of(name, size, np.uint8, lifetime, placement="device")

    needed = [
        of("P", N * STORAGES[options.storage].entries(n) * p.bytes),
        of("w", N * n * real, Lifetime.STATE),
        of("plastic inputs", N * sizes.recurrent * 4, Lifetime.NETWORK),
        of("plastic outputs", N * sizes.recurrent * (4 + 2) + N * 8, Lifetime.NETWORK),
        of("static targets", N * sizes.outputs * 4, Lifetime.NETWORK),
        of("state", N * (currents * real + 4 * 4 + 8 + 1 + wide + 8 * sizes.tau_per_neuron), Lifetime.STATE),
        of("targets", N * sizes.bins * real),
        of("feed-forward rates", (sizes.steps + 1) * sizes.LX * 8, Lifetime.STATE),
    ]
    if choose_form(sizes, options)[0] == "event":
        size = N * pairs_kept(n, wide) * (n + 1) * wide + N * (2 * wide + 3 * real)
        needed.append(of("k of recent updates", size))
    return needed


def update_cost(n: int, options: Options, spiked: float) -> Cost:
    """What an update of a neuron moves and computes, folding included.

    Parameters
    ----------
    n : int
    options : Options
    spiked : float
        Inputs that have spiked since the last update, on average.
    """
    index = 4 * n  # who projects here; whether they spiked comes from the cache
    if options.algorithm == "plain":
        moved, operations = plain_cost(n, options)
        real = np.dtype(options.precision).itemsize
        return Cost(moved - n * real + index, operations)  # x comes from the cache
    event, fold = _event_cost(n, options, spiked), _fold_cost(n, options)
    return Cost(event.bytes + fold.bytes, event.operations + fold.operations)


def _event_cost(n: int, options: Options, spiked: float) -> Cost:
    """Of an update of a neuron in the event form, without folding."""
    b, real = PRECISIONS[options.p_precision].bytes, np.dtype(options.precision).itemsize
    wide = max(4, b)
    m, full = pairs_kept(n, wide), options.storage == "full"
    entries = STORAGES[options.storage].entries(n)
    column = n * b if full else n / 2 * b + n / 2 * SECTOR
    kept = (m - 1) / 2  # pairs that P lacks, on average
    moved = min(spiked * column, b * entries) + wide * n * (kept + 2) + 2 * real * n + 4 * n
    return Cost(moved, 2 * n * spiked + kept * (2 * spiked + 2 * n) + 8 * n)


def _fold_cost(n: int, options: Options) -> Cost:
    """Of folding the pairs of a neuron, a share of each update."""
    b = PRECISIONS[options.p_precision].bytes
    wide = max(4, b)
    m, entries = pairs_kept(n, wide), STORAGES[options.storage].entries(n)
    return Cost((2 * b * entries + wide * n * m) / m, 2 * entries)


def kernel_costs(e: Experiment, options: Options, rate_hz: float) -> list[KernelCost]:
    """What the kernels of an iteration take.

    Parameters
    ----------
    e : Experiment
    options : Options
    rate_hz : float
        Spikes of a neuron per second.
    """
    clock, N, n = Clock.from_experiment(e), e.network.neurons, e.plastic_inputs
    K, recurrent = e.network.K, 2 * e.network.plastic_per_population
    real = np.dtype(options.precision).itemsize
    spikes = rate_hz * clock.seconds * N
    per_step = rate_hz * clock.dt_ms / 1000.0
    two = e.synapse.tau_E_ms != e.synapse.tau_I_ms

    # step: v, u_E, u_P are read and written, X, the step of the last spike and what arrives are read; what arrives is
    # cleared where something did.
    arriving = 1.0 - math.exp(-per_step * 2 * K), 1.0 - math.exp(-per_step * recurrent)
    state = (6 + 2 * two + 1) * real + 4 + (4 * (1 + arriving[0]) if K else 0) + 8 * (1 + arriving[1])
    stimulated = max(0.0, (e.stimulus.off_ms - e.stimulus.on_ms) / clock.dt_ms)
    normals = clock.steps * (e.noise.kind != "none") + stimulated
    bytes_of_steps = clock.steps * N * state + stimulated * N * 2 * real
    operations = clock.steps * N * (20 + 4 * two) + normals * N * NORMAL_OPERATIONS
    costs = [KernelCost("step", bytes_of_steps, operations, clock.steps, N * (7 * real + 16))]

    # deliver: targets are read in rows, weights one by one; sums stay in the cache.
    of_spike = 2 * K * 4 + recurrent * (4 + 2 + SECTOR)
    costs.append(KernelCost("deliver", spikes * of_spike, spikes * (2 * K + recurrent), clock.steps))

    # A learning step: what spiked, the update, and from time to time a fold.
    updates = clock.bins * N
    event = choose_form(Sizes.of_experiment(e), options)[0] == "event"
    costs.append(
        KernelCost("jumps" if event else "filtered_spikes", updates * (4 * real + 4), updates * 10, clock.bins)
    )
    spiked = n * (1.0 - math.exp(-rate_hz * e.time.learn_every_ms / 1000.0))
    if event:
        learn, fold = _event_cost(n, options, spiked), _fold_cost(n, options)
        folds = -(-clock.bins // pairs_kept(n, max(4, PRECISIONS[options.p_precision].bytes)))
        costs.append(KernelCost("learn_event", updates * learn.bytes, updates * learn.operations, clock.bins))
        costs.append(KernelCost("fold", updates * fold.bytes, updates * fold.operations, folds))
    else:
        plain = update_cost(n, options, spiked)
        costs.append(KernelCost("learn_plain", updates * plain.bytes, updates * plain.operations, clock.bins))
    return costs
