"""The arrays of a trainer, declared once: the estimate sums them, and the trainer allocates them.

In: `Sizes` and `Options`.  Out: `ArraySpec`s, and m, the updates that stay pending.  Does not
import CuPy.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from rlsbench.backend import ArraySpec, Lifetime, Options, Sizes, choose_form, pending_updates
from rlsbench.precision import PRECISIONS, STORAGES
from rlsbench_cupy.tuning import PENDING_BYTES, PENDING_PER_ROOT_N, SPIKES_KEPT


def max_pending(n: int, p_precision: str) -> int:
    """m: at least 1, and so few that they fit in shared memory when they are folded into P."""
    bytes_of_one = PRECISIONS[p_precision].computed.itemsize * max(4, n + 3)
    return max(1, min(pending_updates(n, PENDING_PER_ROOT_N), PENDING_BYTES // bytes_of_one))


def declare(sizes: Sizes, options: Options) -> list[ArraySpec]:
    """All arrays but the small table of a Poisson background.

    Kernels take a pointer for each argument, so arrays that are not needed have one entry. A rank
    has the filtered spikes of all neurons, and those static synapses that are onto its own.
    """
    N, n, LX, real, everyone = sizes.N, sizes.n, sizes.LX, options.precision, sizes.everyone
    P = PRECISIONS[options.p_precision]
    bits = np.dtype(np.uint16) if P.stored == np.float16 else P.stored  # kernels take 16-bit floats as their bits
    two_currents = not sizes.one_static_filter
    of = partial(ArraySpec.of, placement="device")
    network = partial(of, lifetime=Lifetime.NETWORK)
    static = partial(network, part_of="static targets")
    outputs = partial(network, part_of="plastic outputs")
    state = partial(of, part_of="state")
    learning = partial(of, lifetime=Lifetime.LEARNING)
    targets = (_room(N * sizes.outputs),) if sizes.network else (N, sizes.outputs)
    specs = [
        static("static targets", targets if sizes.outputs else (1, 1), np.int32),
        network("static weights", targets if sizes.outputs and not sizes.by_sign else (1, 1), real),
        static("static rows", (everyone, 2) if sizes.network and sizes.outputs else (1, 1), np.int64),
        network("sources", (N, sizes.recurrent) if sizes.recurrent else (1, 1), np.int32, part_of="plastic inputs"),
        outputs("outputs.start", everyone + 1, np.int64),
        outputs("outputs.post", max(1, N * sizes.recurrent), np.int32),
        outputs("outputs.column", max(1, N * sizes.recurrent), np.uint16),
        of("w", (N, n) if n else (1, 1), real),
        *(state(name, N, real) for name in ("u_E", "u_P", "X_bal", "X_stim")),
        state("r", everyone, real),
        state("v", N * sizes.variables, real),
        state("own", N * sizes.parameters or 1, real),
        state("u_I", N if two_currents else 1, real),
        state("u_bal", N if two_currents or sizes.current_noise else 1, real),
        state("last", everyone, np.int32),
        state("counts", N, np.int32),
        state("recorded", N, np.uint8),
        state("arrived", N, np.uint32),
        *(state(name, 1 if sizes.by_sign else N, np.uint64) for name in ("in_E", "in_I")),
        state("in_P", N, np.uint64),
        state("tau_plas", everyone if sizes.tau_per_neuron else 1, np.float64),
        state("signal", LX + everyone, real),
        state("r_X", max(1, LX), real),
        state("now", 4, np.int32),
        state("spikes", 2 + everyone, np.int32),
        state("kept_count", 1, np.int32),
        of("kept", (SPIKES_KEPT, 2), np.int32, part_of="recorded spikes"),
        of("feed-forward rates", (sizes.steps + 1, LX) if LX else (1, 1), np.float64),
        learning("targets", (sizes.bins, N), real),
        learning("offset", N, real, part_of="targets"),
        learning("shifted", N, real, part_of="targets"),
        learning("P", (N, STORAGES[options.storage].entries(n)), bits),
        learning("unit", N, P.computed, part_of="P"),
    ]
    if choose_form(sizes, options)[0] == "event":
        m = max_pending(n, options.p_precision)
        pending = partial(learning, part_of="pending updates")
        specs += [
            pending("k", (N, m, n), P.computed),
            pending("g", (N, m), P.computed),
            pending("q_g", (N, 2), P.computed),
            pending("y_e", (N, 2), real),
            pending("r_before", everyone, real),
            pending("r_X_before", max(1, LX), real),
        ]
    return specs


def _room(expected: int) -> int:
    """Entries for a random number whose variance is at most its mean: 8 deviations more."""
    return expected + 8 * math.isqrt(expected) + 1024
