"""A device that is not on this machine, with an assumed amount of memory, for estimates.

In: a backend, and the memory that its device is said to have.  Out: a backend that answers so.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlsbench.backend import ArraySpec, Backend, KernelCost, Options, Sizes, Trainer
from rlsbench.configuration import Experiment
from rlsbench.errors import UnsupportedError
from rlsbench.problem import Problem

__all__ = ["AssumedDevice"]


class AssumedDevice(Backend):
    """A backend on a device with a given number of free bytes.

    Raises
    ------
    UnsupportedError
        If the backend computes on the CPU only.
    """

    def __init__(self, backend: Backend, memory: int) -> None:
        if not backend.capabilities.has_device:
            raise UnsupportedError(f"backend {backend.name} computes on the CPU only: leave out --device-memory")
        self._backend, self._memory = backend, memory
        self.name, self.description, self.capabilities = backend.name, backend.description, backend.capabilities
        self.device_limits = backend.device_limits

    def trainer(self, problem: Problem, options: Options) -> Trainer:
        """A trainer of the backend, if the device is there after all."""
        return self._backend.trainer(problem, options)

    def arrays(self, sizes: Sizes, options: Options) -> Sequence[ArraySpec]:
        """Those of the backend."""
        return self._backend.arrays(sizes, options)

    def free_bytes(self, options: Options) -> int:
        """The assumed amount."""
        return self._memory

    def kernel_costs(self, experiment: Experiment, options: Options, rate_hz: float) -> Sequence[KernelCost]:
        """Those of the backend."""
        return self._backend.kernel_costs(experiment, options, rate_hz)
