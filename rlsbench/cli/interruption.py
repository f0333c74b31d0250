"""Control-C and SIGTERM: the first lets critical work finish, the second exits immediately."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class ImmediateExit(KeyboardInterrupt):
    """Raised by a signal that ends everything; `number` is that of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Interruption:
    """Handles SIGINT and SIGTERM in its `with` block, if that runs in the main thread.

    `number` is the signal that arrived inside `finishing`, or None.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._task: str | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """Within this block, the first signal only sets `number`."""
        self._task = self._task or "the current step"
        try:
            yield
        finally:
            self._task = None

    def tell(self, task: str) -> None:
        """Set the name of the task that a signal waits for, such as "iteration 12"."""
        self._task = task

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._task is None or self.number is not None:
            raise ImmediateExit(number)
        self.number = number
        # Not through sys.stderr: the signal may have interrupted Python inside its buffers.
        os.write(2, f"finishing {self._task}; press control-C again to exit immediately\n".encode())
