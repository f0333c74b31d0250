"""The costs of kernels by count: bytes moved, operations, launches.

In: an experiment and options.  Out: counts.  Nothing here is measured; does not import CuPy.
"""

from __future__ import annotations

import math
from typing import Final

from rlsbench.backend import Cost, DeviceLimits, KernelCost, Options, Sizes, choose_form, plain_cost
from rlsbench.clock import Clock
from rlsbench.configuration import Experiment
from rlsbench.precision import PRECISIONS, STORAGES
from rlsbench_cupy.arrays import max_pending

DEVICES: Final = (
    DeviceLimits("A100 80 GB", 2.039e12, 19.5e12, 40e6),
    DeviceLimits("H100 SXM", 3.35e12, 66.9e12, 50e6),
    DeviceLimits("H200", 4.8e12, 66.9e12, 50e6),
)
"""NVIDIA's data sheets: memory bandwidth, float32 without tensor cores, last-level cache."""

NORMAL_OPERATIONS: Final = 150
"""Of a normal number: ten rounds of Philox, a logarithm, a root and a cosine in float64."""

SECTOR: Final = 32
"""Bytes of the smallest memory transaction, which a single number costs as well."""


def update_cost(n: int, options: Options, spiked: float) -> Cost:
    """Cost of one update of a neuron with n inputs, `spiked` of them since the last update."""
    if options.algorithm == "plain":
        cost = plain_cost(n, options)
        sources = 4 * n
        x = n * PRECISIONS[options.precision].bytes  # comes from the cache
        return Cost(cost.bytes - x + sources, cost.operations)
    event = _event_cost(n, options, spiked)
    fold = _fold_cost(n, options)
    return Cost(event.bytes + fold.bytes, event.operations + fold.operations)


def _event_cost(n: int, options: Options, spiked: float) -> Cost:
    """Cost of one update of one neuron in the event form, without folding."""
    P = PRECISIONS[options.p_precision]
    real = PRECISIONS[options.precision].bytes
    entries = STORAGES[options.storage].entries(n)
    column = n * P.bytes if options.storage == "full" else n / 2 * P.bytes + n / 2 * SECTOR
    pending = (max_pending(n, options.p_precision) - 1) / 2  # on average
    moved = min(spiked * column, P.bytes * entries) + P.computed.itemsize * n * (pending + 2) + 2 * real * n + 4 * n
    return Cost(moved, 2 * n * spiked + pending * (2 * spiked + 2 * n) + 8 * n)


def _fold_cost(n: int, options: Options) -> Cost:
    """Share of one update in folding the pending updates of one neuron into P."""
    P = PRECISIONS[options.p_precision]
    m = max_pending(n, options.p_precision)
    entries = STORAGES[options.storage].entries(n)
    return Cost((2 * P.bytes * entries + P.computed.itemsize * n * m) / m, 2 * entries)


def kernel_costs(e: Experiment, options: Options, rate_hz: float) -> list[KernelCost]:
    """Costs of the kernels in one iteration in which neurons spike at `rate_hz`."""
    clock, sizes = Clock.from_experiment(e), Sizes.of_experiment(e)
    N, n, outputs, recurrent = sizes.N, sizes.n, sizes.outputs, sizes.recurrent
    real = PRECISIONS[options.precision].bytes
    spikes = rate_hz * clock.seconds * N
    per_step = rate_hz * clock.dt_ms / 1000.0
    two = not sizes.one_static_filter

    # step: v, u_E, u_P are read and written; X, the step of the last spike and what arrives are
    # read; what arrives is cleared where something did.
    arriving_static = 1.0 - math.exp(-per_step * outputs)
    arriving_plastic = 1.0 - math.exp(-per_step * recurrent)
    state = (6 + 2 * two + 1) * real + 4 + (4 * (1 + arriving_static) if outputs else 0) + 8 * (1 + arriving_plastic)
    stimulated = max(0.0, (e.stimulus.off_ms - e.stimulus.on_ms) / clock.dt_ms)
    normals = clock.steps * (e.noise.kind != "none") + stimulated
    bytes_of_steps = clock.steps * N * state + stimulated * N * 2 * real
    operations = clock.steps * N * (20 + 4 * two) + normals * N * NORMAL_OPERATIONS
    costs = [KernelCost("step", bytes_of_steps, operations, clock.steps, N * (7 * real + 16))]

    # deliver: targets are read in rows, weights one by one; sums stay in the cache.
    of_spike = outputs * 4 + recurrent * (4 + 2 + SECTOR)
    costs.append(KernelCost("deliver", spikes * of_spike, spikes * (outputs + recurrent), clock.steps))

    # A learning step: its inputs, the update, and every m steps a fold.
    updates = clock.bins * N
    event = choose_form(sizes, options)[0] == "event"
    inputs = "jumps" if event else "filtered_spikes"
    costs.append(KernelCost(inputs, updates * (4 * real + 4), updates * 10, clock.bins))
    spiked = n * (1.0 - math.exp(-rate_hz * e.time.learn_every_ms / 1000.0))
    if event:
        learn = _event_cost(n, options, spiked)
        fold = _fold_cost(n, options)
        folds = -(-clock.bins // max_pending(n, options.p_precision))
        costs.append(KernelCost("learn_event", updates * learn.bytes, updates * learn.operations, clock.bins))
        costs.append(KernelCost("fold", updates * fold.bytes, updates * fold.operations, folds))
    else:
        plain = update_cost(n, options, spiked)
        costs.append(KernelCost("learn_plain", updates * plain.bytes, updates * plain.operations, clock.bins))
    return costs
