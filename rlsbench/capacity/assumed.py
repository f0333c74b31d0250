"""A device with an assumed amount of memory, to estimate runs on a machine that lacks it.

In: a backend, and the bytes that its device is assumed to have.  Out: a backend with that device.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlsbench.backend import ArraySpec, Backend, KernelCost, Options, Sizes, Trainer
from rlsbench.configuration import Experiment
from rlsbench.errors import UnsupportedError
from rlsbench.problem import Problem

__all__ = ["AssumedDevice"]


class AssumedDevice(Backend):
    """A backend on a device with a given number of free bytes; everything else is delegated.

    Raises
    ------
    UnsupportedError
        If the backend runs on the CPU only.
    """

    def __init__(self, backend: Backend, memory: int) -> None:
        if not backend.capabilities.has_device:
            raise UnsupportedError(f"backend {backend.name} runs on the CPU only: omit --device-memory")
        self._backend = backend
        self._memory = memory
        self.name = backend.name
        self.description = backend.description
        self.capabilities = backend.capabilities
        self.device_limits = backend.device_limits

    def trainer(self, problem: Problem, options: Options) -> Trainer:
        """A trainer of the backend; fails unless the device exists."""
        return self._backend.trainer(problem, options)

    def arrays(self, sizes: Sizes, options: Options) -> Sequence[ArraySpec]:
        """The arrays that the backend declares."""
        return self._backend.arrays(sizes, options)

    def free_bytes(self, options: Options) -> int:
        """The assumed number of bytes."""
        return self._memory

    def kernel_costs(self, experiment: Experiment, options: Options, rate_hz: float) -> Sequence[KernelCost]:
        """The costs that the backend declares."""
        return self._backend.kernel_costs(experiment, options, rate_hz)
