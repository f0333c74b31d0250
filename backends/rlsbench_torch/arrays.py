"""The tensors of a trainer, declared once: the estimate sums them, and the trainer allocates them.

In: `Sizes` and `Options`.  Out: `ArraySpec`s.  Does not import PyTorch.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from rlsbench.backend import ArraySpec, Lifetime, Options, Sizes, choose_form, drawing_scratch, pending_updates
from rlsbench.precision import PRECISIONS
from rlsbench_torch.tuning import PENDING_PER_ROOT_N, SCRATCH_BYTES


def declare(sizes: Sizes, options: Options) -> list[ArraySpec]:
    """All tensors but those whose size depends on spikes.

    What an update keeps has n in its name: that of a class of neurons where numbers of inputs vary.
    The shapes of "outputs.post" and "outputs.weight" are the expected ones; what is drawn decides.
    A list of spikes may be padded with a neuron N, so arrays that are indexed with it have N + 1
    entries.
    """
    N, n, real = sizes.N, sizes.n, options.precision
    P = PRECISIONS[options.p_precision]
    of = partial(ArraySpec.of, placement="host" if options.device == "cpu" else "device")
    state = partial(of, part_of="state")
    taus = N if sizes.tau_per_neuron else 1
    outputs = (N, sizes.widest_outputs)
    sources = Lifetime.DRAWING if sizes.inputs else Lifetime.NETWORK  # each class of neurons has its own
    specs = [
        of("w", N * n + 1, real),
        of("sources", (N, sizes.recurrent), np.int32, sources, part_of="plastic inputs"),
        of("outputs.post", outputs, np.int32, Lifetime.NETWORK, part_of="plastic outputs"),
        of("outputs.weight", outputs, np.int32, Lifetime.NETWORK, part_of="plastic outputs"),
        of("static targets", (N, sizes.outputs), np.int32, Lifetime.NETWORK),
        of(
            "static weights",
            (N, 0 if sizes.by_sign and not sizes.background else sizes.outputs),
            real,
            Lifetime.NETWORK,
        ),
        state("arriving", 3 * N + 1, real),
        *(state(name, N + 1 if sizes.lif else 0, real) for name in ("v", "leak", "threshold")),
        state("state of neurons", (sizes.variables, 0 if sizes.lif else N), real),
        state("parameters", (sizes.parameters, N), real),
        state("resting", 0 if sizes.lif else N + 1, np.bool_),
        *(state(name, N, real) for name in ("u", "u_bal", "u_P", "X", "X_bal", "X_stim")),
        state("gain", (3, N), real),
        state("decay", (3, taus), real),
        state("filtered", (2, N + 1), real),
        state("counts", N + 1, np.int64),
        state("spiked", N, np.bool_),
        state("recorded", N + 1, np.bool_),
        drawing_scratch(sizes),
        of("scratch", SCRATCH_BYTES * options.threads, np.uint8, Lifetime.SCRATCH),
    ]
    event, m = choose_form(sizes, options)[0] == "event", pending_updates(sizes.typical, PENDING_PER_ROOT_N)
    pending = partial(of, lifetime=Lifetime.LEARNING, part_of="pending updates")
    for n, B in sizes.classes.members.items():
        specs.append(of(f"P {n}", (B, n, n), P.stored, Lifetime.LEARNING, part_of="P"))
        if sizes.inputs:
            specs.append(of(f"sources {n}", (B, n - sizes.LX), np.int32, Lifetime.LEARNING, part_of="plastic inputs"))
        if event:
            specs += [
                pending(f"k {n}", (m, B, n), P.computed),
                pending(f"g {n}", (m, B), P.computed),
                pending(f"last {n}", (2, B), P.computed),
                pending(f"error {n}", (2, B), real),
            ]
    return specs
