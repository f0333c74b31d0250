"""A device that is not here, as far as a count of memory needs it.

In: a backend, and how much memory its device is said to have.  Out: a backend that says so.  Computes nothing.
"""

from __future__ import annotations

from typing import Any

from rlsbench.backend.protocol import Backend, Options, OwnDevices
from rlsbench.errors import UnsupportedError

__all__ = ["AssumedDevice", "assumed_device"]


class AssumedDevice:
    """A backend whose device has so many bytes free; the rest is the backend's own."""

    def __init__(self, backend: Backend, memory: int) -> None:
        self._backend, self._memory = backend, memory

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def unavailable(self) -> str | None:
        """It is assumed to be there."""
        return None

    def unusable(self, options: Options) -> str | None:
        """It is assumed to be there."""
        return None

    def free_bytes(self, options: Options) -> int:
        """As was said."""
        return self._memory


def assumed_device(backend: Backend, memory: int) -> Backend:
    """The backend on a device with so many bytes of memory.

    Raises
    ------
    UnsupportedError
        If it computes on the processor alone.
    """
    if not isinstance(backend, OwnDevices):
        raise UnsupportedError(f"backend {backend.name} has no device of its own: leave out --device-memory")
    assumed: Any = AssumedDevice(backend, memory)
    device: Backend = assumed
    return device
