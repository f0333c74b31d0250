"""The backend `torch`: what it offers, without importing PyTorch.

In: a `Problem` and `Options`.  Out: a `Trainer` from `rlsbench_torch.trainer`, which is imported on first use.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from rlsbench.backend import FEATURES, Backend, Options, OwnDevices, Trainer
from rlsbench.capacity import standard_bytes
from rlsbench.configuration import Experiment
from rlsbench.errors import UnavailableBackendError
from rlsbench.precision import PRECISION_BYTES
from rlsbench.problem import Problem

__all__ = ["BACKEND", "TorchBackend", "choose_algorithm", "pairs_kept"]

SCRATCH = 16 * 2**20  # of one thread, while it updates a block
PAIRS_PER_ROOT_N = 1.7


def pairs_kept(n: int) -> int:
    """Updates that the event form keeps before it writes P, a multiple of 4.

    Reading the pairs costs n m / 2 numbers an update, writing P n^2 / m: so the best m goes with the root of n.  The
    factor is measured; see docs/performance.md.
    """
    return max(4, 4 * round(PAIRS_PER_ROOT_N * math.sqrt(n) / 4))


def why_not_event(*, tau_plas_varies: bool, feedforward_differs: bool) -> str | None:
    """Why the event form does not apply, or None."""
    if tau_plas_varies:
        return "each neuron has a tau_plas of its own, and it needs one decay for all inputs"
    if feedforward_differs:
        return "feed-forward inputs have a filter of their own, and it needs one decay for all inputs"
    return None


def choose_algorithm(problem: Problem, asked: str) -> tuple[str, list[str]]:
    """The form of the update, event wherever it applies, and what a user should know of the choice."""
    feedforward = problem.feedforward
    lacking = why_not_event(
        tau_plas_varies=isinstance(problem.tau_plas_ms, np.ndarray),
        feedforward_differs=feedforward is not None and feedforward.tau_ms != problem.tau_plas_ms,
    )
    if asked == "plain" or lacking is None:
        return ("plain" if asked == "plain" else "event"), []
    return "plain", [f"takes the plain update, not event: {lacking}"] if asked == "event" else []


@dataclass(frozen=True)
class TorchBackend:
    """PyTorch.

    Parameters
    ----------
    library_bytes : int
        Resident memory before any array: Python and PyTorch, as measured.
    """

    name: str = "torch"
    description: str = "PyTorch, blocks of neurons at once: processor, CUDA, Apple"
    precisions: tuple[str, ...] = ("float32", "float64")
    p_precisions: tuple[str, ...] = ("float32", "float64", "float16", "bfloat16")
    storages: tuple[str, ...] = ("full",)
    algorithms: tuple[str, ...] = ("plain", "event")
    devices: tuple[str, ...] = ("cpu", "cuda", "mps")
    features: frozenset[str] = frozenset(FEATURES)
    compiles: bool = True
    library_bytes: int = 250 * 2**20

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

    def memory_bytes(self, experiment: Experiment, options: Options) -> dict[str, int]:
        network = experiment.network
        N, n, recurrent = network.neurons, experiment.plastic_inputs, 2 * network.plastic_per_population
        wide = max(4, PRECISION_BYTES[options.p_precision])
        # Outputs stand in a rectangle, as wide as the most that any neuron has: some 4.5 deviations above the mean.
        widest = recurrent / network.frac + 4.5 * math.sqrt(recurrent / network.frac)
        needed = standard_bytes(experiment, options, state_arrays=20)
        needed |= {"plastic outputs": N * round(widest) * 8, "scratch": SCRATCH * options.threads}
        if self._takes_event(experiment, options):
            needed["k of recent updates"] = pairs_kept(n) * N * (n + 1) * wide
        return needed

    def _takes_event(self, e: Experiment, options: Options) -> bool:
        lacking = why_not_event(
            tau_plas_varies=isinstance(e.synapse.tau_plas_ms, tuple),
            feedforward_differs=e.feedforward.LX > 0 and e.feedforward.tau_ms not in (None, e.synapse.tau_plas_ms),
        )
        return options.algorithm != "plain" and lacking is None


BACKEND = TorchBackend()
_: Backend = BACKEND
_own_devices: OwnDevices = BACKEND
