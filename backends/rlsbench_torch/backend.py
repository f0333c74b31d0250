"""The backend `torch`: what it offers, without importing PyTorch.

In: a `Problem` and `Options`.  Out: a `Trainer` from `rlsbench_torch.trainer`, which is imported on first use.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from rlsbench.backend import (
    ArraySpec,
    Backend,
    Capabilities,
    Lifetime,
    Options,
    Sizes,
    Trainer,
    choose_form,
    drawing_scratch,
    pending_updates,
)
from rlsbench.errors import UnavailableBackendError
from rlsbench.precision import PRECISIONS
from rlsbench.problem import Problem

__all__ = ["BACKEND", "TorchBackend", "pairs_kept"]

SCRATCH = 16 * 2**20  # of one thread, while it updates a block
PAIRS_PER_ROOT_N = 1.7


def pairs_kept(n: int) -> int:
    """Updates that stay pending before P is written; the factor is measured (docs/performance.md)."""
    return pending_updates(n, PAIRS_PER_ROOT_N)


@dataclass(frozen=True)
class TorchBackend(Backend):
    """PyTorch."""

    name: str = "torch"
    description: str = "PyTorch, blocks of neurons at once: CPU, CUDA, Apple"
    capabilities: Capabilities = Capabilities(
        p_precisions=("float32", "float64", "float16", "bfloat16"),
        algorithms=("plain", "event"),
        devices=("cpu", "cuda", "mps"),
        compiles=True,
        library_bytes=250 * 2**20,  # Python and PyTorch, as measured
    )

    def unavailable(self) -> str | None:
        if find_spec("torch") is None:
            return "PyTorch is not installed; pip install torch"
        return None

    def unusable(self, options: Options) -> str | None:
        from rlsbench_torch.devices import why_not

        return why_not(options)

    def free_bytes(self, options: Options) -> int:
        from rlsbench_torch.devices import free_bytes

        return free_bytes(options.device)

    def trainer(self, problem: Problem, options: Options) -> Trainer:
        try:
            from rlsbench_torch.trainer import TorchTrainer
        except (ImportError, OSError) as error:  # OSError: a library that PyTorch brings cannot be loaded
            raise UnavailableBackendError(f"backend {self.name} cannot be used: {error}") from error
        trainer: Trainer = TorchTrainer(problem, options)
        return trainer

    def arrays(self, sizes: Sizes, options: Options) -> list[ArraySpec]:
        N, n, of, real = sizes.N, sizes.n, ArraySpec.of, options.precision
        where = "host" if options.device == "cpu" else "device"
        p = PRECISIONS[options.p_precision]
        needed = [
            of("P", (N, n, n), p.stored, Lifetime.LEARNING, placement=where),
            of("w", N * n + 1, real, placement=where),
            of("plastic inputs", (N, sizes.recurrent), np.int32, Lifetime.NETWORK, placement=where),
            of("plastic outputs", (N, sizes.widest_outputs), np.int64, Lifetime.NETWORK, placement=where),
            of("static targets", (N, sizes.outputs), np.int32, Lifetime.NETWORK, placement=where),
            of("state", (20, N), real, placement=where),
            drawing_scratch(sizes),
            of("scratch", SCRATCH * options.threads, np.uint8, Lifetime.SCRATCH, placement=where),
        ]
        if choose_form(sizes, options)[0] == "event":
            shape = (pairs_kept(n), N, n + 1)
            needed.append(of("k of recent updates", shape, p.computed, Lifetime.LEARNING, placement=where))
        return needed


BACKEND = TorchBackend()
