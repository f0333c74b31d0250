"""The stand-in's devices, streams, events and graphs.

In: what CuPy's would be asked.  Out: the order of operations in `device.Machine`, and errors where
CUDA has them, or where nobody could rely on the result.  Knows neither arrays nor kernels.

Of graphs: one stream captures at a time; nothing may be allocated meanwhile, though CuPy would
allow it, since a graph does not keep what it uses.
"""

from __future__ import annotations

import time
from typing import Any, Final

from tests.emulator.device import DEVICES, CaptureError, Timeline, machine
from tests.emulator.native import DYNAMIC_LIMIT

GRID_LIMITS: Final = (2**31 - 1, 65535, 65535)
BLOCK_LIMITS: Final = (1024, 1024, 64)
STATIC_LIMIT: Final = 48 * 1024
MULTIPROCESSORS: Final = 108


class CUDARuntimeError(RuntimeError):
    """`cupy.cuda.runtime.CUDARuntimeError`."""

    def __init__(self, status: int, text: str = "") -> None:
        self.status = status
        super().__init__(text or f"cudaError {status}")


class Device:
    """`cupy.cuda.Device`."""

    compute_capability = "80"

    def __init__(self, device: Any = None) -> None:
        number = device.id if isinstance(device, Device) else machine().device if device is None else int(device)
        if not 0 <= number < DEVICES:
            raise CUDARuntimeError(101, "cudaErrorInvalidDevice: invalid device ordinal")
        self.id = number
        self._before: list[int] = []

    def __int__(self) -> int:
        return self.id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return self.id

    def __enter__(self) -> Device:
        self._before.append(machine().device)
        machine().device = self.id
        return self

    def __exit__(self, *_: object) -> None:
        machine().device = self._before.pop()

    def use(self) -> None:
        """Make it the current one."""
        machine().device = self.id

    def synchronize(self) -> None:
        """Wait for all of its streams."""
        machine().refuse_in_capture("waits for the device")
        for stream in list(machine().streams):
            if stream.device == self.id:
                machine().wait(stream.clock)

    @property
    def mem_info(self) -> tuple[int, int]:
        """Free and total bytes."""
        return machine().device_bytes - machine().used[self.id], machine().device_bytes

    @property
    def attributes(self) -> dict[str, int]:
        """Limits of the device."""
        return {
            "MultiProcessorCount": MULTIPROCESSORS,
            "MaxThreadsPerBlock": 1024,
            "MaxSharedMemoryPerBlock": STATIC_LIMIT,
            "MaxSharedMemoryPerBlockOptin": DYNAMIC_LIMIT,
            "MaxSharedMemoryPerMultiprocessor": 164 * 1024,
            "MaxThreadsPerMultiProcessor": 2048,
            "L2CacheSize": 40 * 2**20,
            "WarpSize": 32,
            "ClockRate": 1_410_000,
            "MemoryClockRate": 1_215_000,
            "GlobalMemoryBusWidth": 5120,
            "ComputeCapabilityMajor": 8,
            "ComputeCapabilityMinor": 0,
            "ComputeMode": 0,
        }

    @property
    def pci_bus_id(self) -> str:
        """As the driver would write it."""
        return f"0000:{self.id:02X}:00.0"


# Streams, events and graphs


class Stream:
    """`cupy.cuda.Stream`."""

    null: Stream  # the default stream, of whatever device is the current one

    def __init__(
        self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: int | None = None
    ) -> None:
        if ptds:
            raise ValueError("the stand-in has no per-thread default stream")
        self.device_id = -1 if null else machine().device
        self._timeline: Timeline | None = None if null else machine().stream(self.device_id, blocking=not non_blocking)
        self.is_non_blocking = non_blocking
        self._stack: list[Stream] = []

    @property
    def timeline(self) -> Timeline:
        """The order of its operations; the default stream is that of the current device."""
        made: Timeline = self._timeline or machine().defaults[machine().device]
        return made

    @property
    def ptr(self) -> int:
        """0 for the default stream."""
        return 0 if self._timeline is None else self._timeline.number + 1000

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and other.ptr == self.ptr

    def __hash__(self) -> int:
        return self.ptr

    def __enter__(self) -> Stream:
        if self.device_id not in (-1, machine().device):
            raise RuntimeError(
                f"The device that the stream is created on ({self.device_id}) does not match with the current device "
                f"({machine().device})"
            )
        self._stack.append(get_current_stream())
        machine().current[machine().device] = self
        return self

    def __exit__(self, *_: object) -> None:
        machine().current[machine().device if self.device_id == -1 else self.device_id] = self._stack.pop()

    def use(self) -> Stream:
        """Make it the current one."""
        machine().current[machine().device] = self
        return self

    @property
    def done(self) -> bool:
        """Nobody can rely on that."""
        return False

    def synchronize(self) -> None:
        """Wait for it."""
        machine().wait(self.timeline.clock)

    def record(self, event: Event | None = None) -> Event:
        """Record an event."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Let what comes later on this stream wait for an event."""
        if machine().capturing:
            raise CaptureError("the stand-in does not capture graphs over several streams")
        clock = self.timeline.clock
        for agent, count in event.clock.items():
            clock[agent] = max(count, clock.get(agent, 0))

    def begin_capture(self, mode: int | None = None) -> None:
        """Put what follows on this stream into a graph."""
        if self._timeline is None:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        if self._timeline.captured is not None:
            raise CUDARuntimeError(900, "cudaErrorStreamCaptureUnsupported: the stream captures already")
        self._timeline.captured = []
        machine().capturing += 1

    def end_capture(self) -> Graph:
        """The graph of what was captured."""
        if self._timeline is None or self._timeline.captured is None:
            raise CUDARuntimeError(901, "cudaErrorStreamCaptureInvalidated: the stream does not capture")
        graph = Graph._of(self._timeline.captured)
        self._timeline.captured = None
        machine().capturing -= 1
        return graph

    def is_capturing(self) -> bool:
        """Whether a graph is being captured from it."""
        return self._timeline is not None and self._timeline.captured is not None


class Graph:
    """`cupy.cuda.Graph`."""

    def __init__(self) -> None:
        raise NotImplementedError("made by Stream.end_capture")

    @classmethod
    def _of(cls, operations: list[Any]) -> Graph:
        graph = cls.__new__(cls)
        graph.operations = operations  # type: ignore[attr-defined]
        return graph

    def launch(self, stream: Stream | None = None) -> None:
        """Do what was captured, with the arguments of then."""
        on = (get_current_stream() if stream is None else stream).timeline
        if on.captured is not None:
            raise CaptureError("the stand-in does not capture a graph within a graph")
        for operation in self.operations:  # type: ignore[attr-defined]
            operation(on)

    def upload(self, stream: Stream | None = None) -> None:
        """Nothing to do here."""


class Event:
    """`cupy.cuda.Event`."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self.clock: dict[int, int] = {}
        self.timed = not disable_timing
        self.at: float | None = None
        self.done = True

    def record(self, stream: Stream | None = None) -> None:
        """Stand for all that is on the stream so far."""
        timeline = (get_current_stream() if stream is None else stream).timeline
        if timeline.captured is not None:
            return
        machine()._order(timeline)
        self.clock, self.at = dict(timeline.clock), time.perf_counter()

    def synchronize(self) -> None:
        """Wait for it."""
        machine().wait(self.clock)


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    """Milliseconds between two events that have been waited for."""
    for event in (start_event, end_event):
        if event.at is None or not event.timed:
            raise CUDARuntimeError(400, "cudaErrorInvalidResourceHandle: the event was not recorded, or without a time")
        if any(machine().host.get(agent, 0) < count for agent, count in event.clock.items()):
            raise CUDARuntimeError(600, "cudaErrorNotReady: nobody has waited for the event")
    return 1000.0 * (end_event.at - start_event.at)  # type: ignore[operator]


def get_current_stream(device_id: int = -1) -> Stream:
    """The current stream of a device."""
    found: Stream = machine().current.get(machine().device if device_id == -1 else device_id, Stream.null)
    return found


Stream.null = Stream(null=True)
