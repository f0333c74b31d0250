"""The backend `torch`: what it offers, without importing PyTorch.

In: a `Problem` and `Options`.  Out: a `Trainer` from `rlsbench_torch.trainer`, imported on first
use.
"""

from __future__ import annotations

from importlib.util import find_spec

from rlsbench.backend import FEATURES, ArraySpec, Backend, Capabilities, Options, Sizes, Trainer
from rlsbench.errors import UnavailableBackendError
from rlsbench.problem import Problem
from rlsbench_torch.arrays import declare
from rlsbench_torch.tuning import LIBRARY_BYTES


class TorchBackend(Backend):
    """PyTorch on the CPU, CUDA devices and Apple devices."""

    name = "torch"
    description = "PyTorch, blocks of neurons at once: CPU, CUDA, Apple"
    capabilities = Capabilities(
        p_precisions=("float32", "float64", "float16", "bfloat16"),
        algorithms=("plain", "event"),
        devices=("cpu", "cuda", "mps"),
        features=frozenset(FEATURES)
        - {
            "numpy-rules",
            "ranks",
            "static-edges",
            "static-delays",
            "plastic-delays",
        },
        compiles=True,
        library_bytes=LIBRARY_BYTES,
    )

    def unavailable(self) -> str | None:
        return None if find_spec("torch") else "PyTorch is not installed; pip install torch"

    def unusable(self, options: Options) -> str | None:
        from rlsbench_torch.devices import why_not

        return why_not(options)

    def free_bytes(self, options: Options) -> int:
        from rlsbench_torch.devices import free_bytes

        return free_bytes(options.device)

    def trainer(self, problem: Problem, options: Options) -> Trainer:
        try:
            from rlsbench_torch.trainer import TorchTrainer
        except (ImportError, OSError) as error:  # OSError: a shared library of PyTorch cannot be loaded
            raise UnavailableBackendError(f"backend {self.name} cannot be used: {error}") from error
        trainer: Trainer = TorchTrainer(problem, options)
        return trainer

    def arrays(self, sizes: Sizes, options: Options) -> list[ArraySpec]:
        return declare(sizes, options)


BACKEND = TorchBackend()
