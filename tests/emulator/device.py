"""Device memory, and the order in which streams and the host come to it.

In: allocations, and operations on streams that read and write parts of them.  Out: memory, or an
error where two operations that touch the same bytes are not ordered.  Knows neither arrays nor
kernels.

Operations run immediately, in the order of the calls, but only the order that a GPU would guarantee
counts: each stream has a vector clock, joined by events, by the host's waiting,
and by the legacy default stream as in CUDA.  A copy to the host that does not block arrives when
the host has waited for it, and not before.
"""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Final

import numpy as np

from tests.emulator.native import Memory, runtime

MARGIN: Final = 1 << 20  # bytes on either side of an allocation that may not be touched
LAZY: Final = 1 << 28  # from so many bytes on, fresh memory is not filled with garbage
DEVICES: Final = 2
HOST: Final = -1


class OrderError(Exception):
    """Unordered operations on the same memory, on two streams or a stream and the host."""


class CaptureError(RuntimeError):
    """Something that may not be done while a graph is captured."""


class OutOfMemoryError(MemoryError):
    """`cupy.cuda.memory.OutOfMemoryError`."""


class UseAfterFree(Exception):
    """Memory that was given back and is used again."""


Clock = dict[int, int]


def _join(into: Clock, other: Clock) -> None:
    for agent, count in other.items():
        if count > into.get(agent, 0):
            into[agent] = count


class Allocation:
    """A piece of device memory.

    Parameters
    ----------
    bytes : int
    device : int
    granule : int
        Bytes of the elements that it is meant for.
    initialised : bool
        Whether its content counts as written; it is zero then, and garbage else.
    """

    def __init__(self, bytes: int, device: int, granule: int, *, initialised: bool) -> None:
        self.bytes, self.device = bytes, device
        self.base: int = runtime().emulation_allocate(max(bytes, 1), MARGIN) or 0
        if not self.base:
            raise MemoryError(f"no address space for {bytes} bytes of emulated device memory")
        self.shadow: int = runtime().emulation_shadow(max(bytes, 1), granule, initialised)
        if not initialised and bytes < LAZY:
            ctypes.memset(self.base, 0xFF, bytes)  # NaN, and -1
        self.accesses: dict[tuple[int, int, int, bool], int] = {}
        weakref.finalize(self, _release, self.base, self.shadow, max(bytes, 1)).atexit = False

    def host_view(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Its bytes."""
        kind = ctypes.c_ubyte * self.bytes
        return np.ctypeslib.as_array(kind.from_address(self.base)) if self.bytes else np.empty(0, np.uint8)

    def memory(self, begin: int, end: int, description: str) -> Memory:
        """What a kernel is told of part of it."""
        return Memory(begin, end, self.base, self.shadow, description)


def _release(base: int, shadow: int, bytes: int) -> None:
    runtime().emulation_shadow_release(shadow)
    runtime().emulation_release(base, bytes, MARGIN)


@dataclass(eq=False)
class Timeline:
    """A stream as far as its order is concerned."""

    number: int
    device: int
    blocking: bool
    """Whether it waits for the legacy default stream, and that one for it."""
    clock: Clock = field(default_factory=dict)
    captured: list[Callable[[Timeline], None]] | None = None
    """What a graph that is being captured will do."""


@dataclass
class _Arrival:
    """A copy between pinned host memory and the device that does not block."""

    agent: int
    count: int
    host: np.ndarray[Any, Any]
    content: bytes
    to_host: bool


def _in_turn(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let one thread of the host at a time run such a method."""

    @wraps(method)
    def run(self: Machine, *args: Any, **kwargs: Any) -> Any:
        with self.turn:
            return method(self, *args, **kwargs)

    return run


class _Chosen(threading.local):
    """What a thread of the host has made current, as in CuPy."""

    device = 0

    def __init__(self) -> None:
        self.streams: dict[int, Any] = {}  # device to its current stream, an object of streams.py; the default one else


class Machine:
    """All devices of the emulated machine, and its host, whose threads take turns at operations."""

    def __init__(self, device_bytes: int) -> None:
        self.turn = threading.RLock()
        self.device_bytes = device_bytes
        self.used = [0] * DEVICES
        self.live: weakref.WeakSet[Allocation] = weakref.WeakSet()
        self.host: Clock = {}
        self.streams: weakref.WeakSet[Timeline] = weakref.WeakSet()
        self.numbers = 0
        self.defaults = [self.stream(device, blocking=True) for device in range(DEVICES)]
        self.chosen = _Chosen()
        self.arrivals: list[_Arrival] = []
        self.capturing = 0
        self.launches = 0

    @property
    def device(self) -> int:
        """The current device of this thread."""
        return self.chosen.device

    @device.setter
    def device(self, number: int) -> None:
        self.chosen.device = number

    @property
    def current(self) -> dict[int, Any]:
        """The current stream of each device, of this thread."""
        return self.chosen.streams

    @_in_turn
    def stream(self, device: int, *, blocking: bool) -> Timeline:
        """A new stream."""
        made = Timeline(self.numbers, device, blocking)
        self.numbers += 1
        self.streams.add(made)
        return made

    def current_timeline(self) -> Timeline:
        """The current stream of the current device."""
        stream = self.current.get(self.device)
        return self.defaults[self.device] if stream is None else stream.timeline

    @_in_turn
    def allocate(self, bytes: int, granule: int, *, initialised: bool) -> Allocation:
        """Memory on the current device.

        Raises
        ------
        OutOfMemoryError
            Where it has too little.
        """
        self.refuse_in_capture("allocates device memory")
        rounded = -(-bytes // 512) * 512
        if self.used[self.device] + rounded > self.device_bytes:
            raise OutOfMemoryError(f"Out of memory allocating {bytes} bytes")
        made = Allocation(bytes, self.device, granule, initialised=initialised)
        self.used[self.device] += rounded
        self.live.add(made)
        weakref.finalize(made, self._freed, self.device, rounded).atexit = False
        return made

    @_in_turn
    def _freed(self, device: int, bytes: int) -> None:
        self.used[device] -= bytes

    def refuse_in_capture(self, what: str) -> None:
        """Raise where a graph is being captured."""
        if self.capturing:
            raise CaptureError(f"a graph is being captured: nothing in it may be done that {what}")

    @_in_turn
    def do(
        self,
        stream: Timeline,
        touched: list[tuple[Allocation, int, int, bool]],
        action: Callable[[], None],
        what: str,
    ) -> None:
        """Carry out an operation on a stream, or put it into the graph that the stream captures.

        Parameters
        ----------
        stream : Timeline
        touched : list of (Allocation, int, int, bool)
            Bytes begin .. end (addresses) of an allocation, and whether they are written.
        action : callable
            Does it; must not keep an allocation alive.
        what : str
            Its name, for messages.
        """
        for allocation, *_ in touched:
            if allocation.device != stream.device:
                raise ValueError(f"{what}: memory of device {allocation.device} on a stream of device {stream.device}")
        if stream.captured is not None:
            weak = [(weakref.ref(allocation), *rest) for allocation, *rest in touched]

            def replay(on: Timeline) -> None:
                alive = [(reference(), *rest) for reference, *rest in weak]
                if any(allocation is None for allocation, *_ in alive):
                    raise UseAfterFree(f"{what}: a graph uses memory that was freed after the graph was captured")
                self.do(on, alive, action, what)  # type: ignore[arg-type]

            stream.captured.append(replay)
            return
        if self.capturing and stream is self.defaults[stream.device]:
            raise CaptureError(f"{what}: on the default stream, while another one captures a graph")
        self._order(stream)
        for allocation, begin, end, writes in touched:
            self._access(stream.number, stream.clock, allocation, begin, end, writes, what)
        action()

    def _order(self, stream: Timeline) -> None:
        """Count one more operation on a stream, after all that CUDA puts before it."""
        _join(stream.clock, self.host)
        default = self.defaults[stream.device]
        if stream is default:
            for other in self.streams:
                if other.blocking and other.device == stream.device:
                    _join(stream.clock, other.clock)
        elif stream.blocking:
            _join(stream.clock, default.clock)
        stream.clock[stream.number] = stream.clock.get(stream.number, 0) + 1

    def _access(
        self, agent: int, clock: Clock, allocation: Allocation, begin: int, end: int, writes: bool, what: str
    ) -> None:
        for (other, low, high, wrote), count in allocation.accesses.items():
            ordered = other == agent or clock.get(other, 0) >= count
            if (writes or wrote) and not ordered and low < end and begin < high:
                verb = "writes" if writes else "reads"
                raise OrderError(
                    f"{what}: {verb} memory that an operation on another stream {'writes' if wrote else 'reads'}, "
                    "and nothing puts the two in order"
                )
        if len(allocation.accesses) > 32:  # what the host has waited for comes before anything new
            seen = self.host
            allocation.accesses = {k: c for k, c in allocation.accesses.items() if seen.get(k[0], 0) < c}
        allocation.accesses[agent, begin, end, writes] = clock.get(agent, 0)

    @_in_turn
    def wait(self, clock: Clock) -> None:
        """The host has waited for all that a clock has seen."""
        self.refuse_in_capture("waits for the device")
        _join(self.host, clock)
        still = []
        for arrival in self.arrivals:
            if self.host.get(arrival.agent, 0) < arrival.count:
                still.append(arrival)
            elif arrival.to_host:
                np.copyto(arrival.host, np.frombuffer(arrival.content, arrival.host.dtype).reshape(arrival.host.shape))
            elif arrival.host.tobytes() != arrival.content:
                raise OrderError("pinned host memory was changed before its copy to the device was waited for")
        self.arrivals = still

    @_in_turn
    def arrive(self, stream: Timeline, host: np.ndarray[Any, Any], content: bytes, *, to_host: bool) -> None:
        """Let a copy that does not block be waited for."""
        self.arrivals.append(_Arrival(stream.number, stream.clock[stream.number], host, content, to_host))
        if to_host:
            host.view(np.uint8).fill(0xFF)


_machines: list[Machine] = []


def machine() -> Machine:
    """The machine that the stand-in stands on."""
    return _machines[-1]


def new_machine() -> Machine:
    """A new machine; each device has RLSBENCH_EMULATOR_MEMORY bytes, by default 8 GB."""
    _machines[:] = [Machine(int(float(os.environ.get("RLSBENCH_EMULATOR_MEMORY", 8e9))))]
    return machine()
