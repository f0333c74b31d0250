"""Signals: the first lets critical work finish, and a second control-C exits immediately."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from types import FrameType
from typing import Any

# From the keyboard, batch systems before their limit, terminals that close, limits of CPU time.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
SIGPIPE = 13  # not in `signal` on Windows
_REPEATED_S = 1.0  # within which SIGTERM is the same one, sent to a process and to its group


class ImmediateExit(KeyboardInterrupt):
    """Raised by a signal that ends everything; `number` is that of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Interruption:
    """Handles signals in its `with` block, if that runs in the main thread.

    `number` is the signal that arrived inside `finishing`, or None. A signal that is ignored, as
    SIGHUP is with `nohup`, remains ignored, except for SIGINT. If `silent`, nothing is printed, as
    another rank does.
    """

    def __init__(self, *, silent: bool = False) -> None:
        self.silent = silent
        self.number: int | None = None
        self._since = 0.0
        self._task: str | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGINT:
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

    def output_closed(self) -> None:
        """Act as on SIGPIPE, which Python ignores because it may concern any pipe or socket."""
        self._handle(SIGPIPE, None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._task is None:
            raise ImmediateExit(number)
        if self.number is None:
            self.number, self._since = number, monotonic()
            if self.silent:
                return
            # Not through sys.stderr: the signal may have interrupted Python inside its buffers.
            with suppress(OSError):  # its terminal has gone, or its disk is full
                os.write(2, f"finishing {self._task}; press control-C again to exit immediately\n".encode())
        elif number == signal.SIGINT or (number == signal.SIGTERM and monotonic() - self._since > _REPEATED_S):
            raise ImmediateExit(number)
