"""Control-C and SIGTERM: the first finishes what must not be broken off, the second leaves at once.

In: signals.  Out: `Interruption.number`, or `LeaveNow` where there is nothing to finish.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interruption", "LeaveNow"]


class LeaveNow(KeyboardInterrupt):
    """A signal that is to end everything.

    Parameters
    ----------
    number : int
        Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Interruption:
    """Handles SIGINT and SIGTERM inside its `with` block; in the main thread, which alone can.

    Attributes
    ----------
    number : int or None
        The signal that came while something was to be finished.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._message: str | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def finishing(self) -> Iterator[None]:
        """Within it, the first signal only sets `number`."""
        self._message = self._message or "what was begun"
        try:
            yield
        finally:
            self._message = None

    def tell(self, message: str) -> None:
        """What is being finished, as "iteration 12"."""
        self._message = message

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._message is None or self.number is not None:
            raise LeaveNow(number)
        self.number = number
        # Past the buffers of stderr, in which Python may be at this moment.
        os.write(2, f"finishing {self._message}; control-C again leaves at once\n".encode())
