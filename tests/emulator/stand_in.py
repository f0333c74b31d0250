"""A strict stand-in for the part of CuPy that a backend of kernels uses: kernels, streams, graphs, devices, pools.

In: the calls that CuPy would get.  Out: what it would do, done on the CPU, or an error: also where CuPy itself checks
nothing.  The kernels are RawModule's and RawKernel's alone.  `install` puts it in CuPy's place.

What is refused beyond CuPy's own refusals: an argument whose type is not the kernel's, one that is not contiguous, too few
or too many of them, memory that overlaps behind __restrict__; a grid of no blocks (CuPy makes it one), blocks and shared
memory beyond compute capability 8.0; arrays and streams of another device; allocating while a graph is captured.
"""

from __future__ import annotations

import ctypes
import sys
import time
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

import numpy as np

from tests.emulator import array as arrays
from tests.emulator.device import DEVICES, CaptureError, Timeline, machine_from_environment
from tests.emulator.native import DYNAMIC_LIMIT, CompileError, Kernel, Memory, Mode, Module, Parameter

STATIC_LIMIT: Final = 48 * 1024
GRID_LIMITS: Final = (2**31 - 1, 65535, 65535)
BLOCK_LIMITS: Final = (1024, 1024, 64)
MULTIPROCESSORS: Final = 108
VERSION: Final = "14.2.0"

_mode: Mode = Mode()
_trace: list[tuple[str, tuple[int, ...], tuple[int, ...]]] | None = None


class CUDARuntimeError(RuntimeError):
    """`cupy.cuda.runtime.CUDARuntimeError`."""

    def __init__(self, status: int, text: str = "") -> None:
        self.status = status
        super().__init__(text or f"cudaError {status}")


class CUDADriverError(RuntimeError):
    """`cupy.cuda.driver.CUDADriverError`."""


class OutOfMemoryError(MemoryError):
    """`cupy.cuda.memory.OutOfMemoryError`."""


class CompileException(Exception):
    """`cupy.cuda.compiler.CompileException`."""


class LaunchError(TypeError):
    """A launch that is not what the kernel takes, or more than a device can do."""


def _machine() -> Any:
    return arrays.ndarray.machine


# Devices


class Device:
    """`cupy.cuda.Device`."""

    compute_capability = "80"

    def __init__(self, device: Any = None) -> None:
        number = device.id if isinstance(device, Device) else _machine().device if device is None else int(device)
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
        self._before.append(_machine().device)
        _machine().device = self.id
        return self

    def __exit__(self, *_: object) -> None:
        _machine().device = self._before.pop()

    def use(self) -> None:
        """Make it the current one."""
        _machine().device = self.id

    def synchronize(self) -> None:
        """Wait for all of its streams."""
        _machine().refuse_in_capture("waits for the device")
        for stream in list(_machine().streams):
            if stream.device == self.id:
                _machine().wait(stream.clock)

    @property
    def mem_info(self) -> tuple[int, int]:
        """Free and total bytes."""
        return _machine().device_bytes - _machine().used[self.id], _machine().device_bytes

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

    null: Stream

    def __init__(self, null: bool = False, non_blocking: bool = False, ptds: bool = False, priority: int | None = None) -> None:
        if ptds:
            raise ValueError("the stand-in has no per-thread default stream")
        self.device_id = -1 if null else _machine().device
        self._timeline: Timeline | None = None if null else _machine().stream(self.device_id, blocking=not non_blocking)
        self.is_non_blocking = non_blocking
        self._stack: list[Stream] = []

    @property
    def timeline(self) -> Timeline:
        """The order of its operations; the default stream is that of the current device."""
        made: Timeline = self._timeline or _machine().defaults[_machine().device]
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
        if self.device_id not in (-1, _machine().device):
            raise RuntimeError(
                f"The device that the stream is created on ({self.device_id}) does not match with the current device "
                f"({_machine().device})"
            )
        self._stack.append(get_current_stream())
        _current[_machine().device] = self
        return self

    def __exit__(self, *_: object) -> None:
        _current[_machine().device if self.device_id == -1 else self.device_id] = self._stack.pop()

    def use(self) -> Stream:
        """Make it the current one."""
        _current[_machine().device] = self
        return self

    @property
    def done(self) -> bool:
        """Nobody can rely on that."""
        return False

    def synchronize(self) -> None:
        """Wait for it."""
        _machine().wait(self.timeline.clock)

    def record(self, event: Event | None = None) -> Event:
        """Record an event."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """Let what comes later on this stream wait for an event."""
        if _machine().capturing:
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
        _machine().capturing += 1

    def end_capture(self) -> Graph:
        """The graph of what was captured."""
        if self._timeline is None or self._timeline.captured is None:
            raise CUDARuntimeError(901, "cudaErrorStreamCaptureInvalidated: the stream does not capture")
        graph = Graph._of(self._timeline.captured)
        self._timeline.captured = None
        _machine().capturing -= 1
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
        _machine()._order(timeline)
        self.clock, self.at = dict(timeline.clock), time.perf_counter()

    def synchronize(self) -> None:
        """Wait for it."""
        _machine().wait(self.clock)


def get_elapsed_time(start_event: Event, end_event: Event) -> float:
    """Milliseconds between two events that have been waited for."""
    for event in (start_event, end_event):
        if event.at is None or not event.timed:
            raise CUDARuntimeError(400, "cudaErrorInvalidResourceHandle: the event was not recorded, or without a time")
        if any(_machine().host.get(agent, 0) < count for agent, count in event.clock.items()):
            raise CUDARuntimeError(600, "cudaErrorNotReady: nobody has waited for the event")
    return 1000.0 * (end_event.at - start_event.at)  # type: ignore[operator]


_current: dict[int, Stream] = {}


def get_current_stream(device_id: int = -1) -> Stream:
    """The current stream of a device."""
    return _current.get(_machine().device if device_id == -1 else device_id, Stream.null)


# Kernels


class RawModule:
    """`cupy.RawModule`, of source code."""

    def __init__(
        self,
        *,
        code: str | None = None,
        path: str | None = None,
        options: tuple[str, ...] = (),
        backend: str = "nvrtc",
        translate_cucomplex: bool = False,
        enable_cooperative_groups: bool = False,
        name_expressions: Any = None,
        jitify: bool = False,
    ) -> None:
        if code is None or path is not None:
            raise TypeError("Exactly one of `code` and `path` keyword arguments must be given: here it must be code.")
        if not isinstance(options, tuple):
            raise TypeError(f"options must be a tuple, not {type(options).__name__}")
        if name_expressions is not None or enable_cooperative_groups or jitify:
            raise NotImplementedError("the stand-in has no templates, no cooperative groups and no Jitify")
        self.code, self.options, self.backend = code, options, backend
        self._module: Module | None = None

    def compile(self, log_stream: Any = None) -> None:
        """Compile it."""
        try:
            self._module = Module(self.code, self.options, _mode)
        except CompileError as error:
            raise CompileException(str(error)) from None

    def get_function(self, name: str) -> RawKernel:
        """One of its kernels."""
        if self._module is None:
            self.compile()
        assert self._module is not None
        try:
            kernel = self._module.kernel(name)
        except KeyError as error:
            raise CUDADriverError(f"CUDA_ERROR_NOT_FOUND: {error.args[0]}") from None
        return RawKernel._of(kernel, self.code, self.options)


class RawKernel:
    """`cupy.RawKernel`."""

    def __init__(self, code: str, name: str, options: tuple[str, ...] = (), backend: str = "nvrtc") -> None:
        made = RawModule(code=code, options=options, backend=backend).get_function(name)
        self.__dict__.update(made.__dict__)

    @classmethod
    def _of(cls, kernel: Kernel, code: str, options: tuple[str, ...]) -> RawKernel:
        made = cls.__new__(cls)
        made.kernel, made.name, made.code, made.options = kernel, kernel.name, code, options
        made.__name__ = kernel.name
        made._dynamic, made.preferred_shared_memory_carveout = STATIC_LIMIT, -1
        made.max_threads_per_block = kernel.max_threads
        made.shared_size_bytes = kernel.static_bytes
        made.num_regs, made.local_size_bytes, made.const_size_bytes = -1, -1, 0  # only a compiler for a GPU knows
        return made

    def compile(self, log_stream: Any = None) -> None:
        """It is compiled."""

    @property
    def max_dynamic_shared_size_bytes(self) -> int:
        """Dynamic shared memory that a launch may ask for."""
        return self._dynamic

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, bytes: int) -> None:
        if bytes + self.shared_size_bytes > DYNAMIC_LIMIT:
            raise CUDADriverError(f"CUDA_ERROR_INVALID_VALUE: {bytes} bytes, and a block can have {DYNAMIC_LIMIT}")
        self._dynamic = bytes

    @property
    def attributes(self) -> dict[str, int]:
        """What is known of it."""
        names = ("max_threads_per_block", "shared_size_bytes", "num_regs", "local_size_bytes", "const_size_bytes")
        return {n: getattr(self, n) for n in (*names, "max_dynamic_shared_size_bytes")}

    def __call__(self, grid: Any, block: Any, args: Any, *, shared_mem: int = 0, stream: Any = None, blocks: Any = None) -> None:
        """Launch it.

        `blocks`, which CuPy has not, lets tests run some blocks of a grid, by their linear numbers.
        """
        shape, size = self._extent("grid", grid, GRID_LIMITS), self._extent("block", block, BLOCK_LIMITS)
        self._check_resources(size, shared_mem)
        if not isinstance(args, tuple):
            raise LaunchError(f"{self.name}: arguments come as a tuple, not as {type(args).__name__}")
        parameters = self.kernel.parameters
        if len(args) != len(parameters):
            raise LaunchError(f"{self.name} takes {len(parameters)} arguments, and gets {len(args)}")
        values, memory, touched = [], [], []
        for i, (p, argument) in enumerate(zip(parameters, args, strict=True)):
            values.append(self._value(i, p, argument))
            if isinstance(argument, arrays.ndarray):
                memory.append((i, argument._memory()))
                touched.append(argument._extent(writes=not p.constant))
        self._check_overlap(memory)
        kernel = self.kernel
        if _trace is not None:
            _trace.append((self.name, shape, size))

        def action() -> None:
            _machine().launches += 1
            kernel.run(shape, size, values, memory, shared_bytes=shared_mem, blocks=blocks)

        on = (get_current_stream() if stream is None else stream).timeline
        _machine().do(on, touched, action, f"kernel {self.name}")

    def _extent(self, what: str, given: Any, limits: tuple[int, int, int]) -> tuple[int, int, int]:
        if not isinstance(given, tuple) or not 1 <= len(given) <= 3 or not all(isinstance(n, (int, np.integer)) for n in given):
            raise LaunchError(f"{self.name}: {what} must be a tuple of up to three whole numbers, not {given!r}")
        x, y, z = (int(n) for n in (*given, 1, 1)[:3])
        for n, limit in zip((x, y, z), limits, strict=True):
            if not 1 <= n <= limit:
                raise LaunchError(f"{self.name}: {what} {given} has {n} where 1 to {limit} is possible")
        return x, y, z

    def _check_resources(self, block: tuple[int, int, int], shared_mem: int) -> None:
        threads = block[0] * block[1] * block[2]
        if threads > self.max_threads_per_block:
            raise LaunchError(f"{self.name}: {threads} threads in a block, and {self.max_threads_per_block} are possible")
        if self.shared_size_bytes > STATIC_LIMIT:
            raise LaunchError(f"{self.name}: {self.shared_size_bytes} bytes of static shared memory, more than {STATIC_LIMIT}")
        if not isinstance(shared_mem, (int, np.integer)) or shared_mem < 0:
            raise LaunchError(f"{self.name}: shared_mem must be a number of bytes, not {shared_mem!r}")
        allowed = self._dynamic if self._dynamic > STATIC_LIMIT else STATIC_LIMIT - self.shared_size_bytes
        if shared_mem > allowed:
            raise LaunchError(
                f"{self.name}: {shared_mem} bytes of dynamic shared memory, and {allowed} are allowed; "
                "max_dynamic_shared_size_bytes allows more"
            )

    def _value(self, i: int, p: Parameter, argument: Any) -> Any:
        def refuse(why: str) -> LaunchError:
            return LaunchError(f"{self.name}: argument {i}, {p.name}, is {p} in the kernel: {why}")

        if isinstance(argument, arrays.ndarray):
            if not p.pointer:
                raise refuse(f"an array is given, {argument!r}")
            if not argument.flags.c_contiguous:
                raise refuse(f"the array is not contiguous, {argument!r}")
            if p.kind not in ("v0", *_kinds(argument.dtype)) and not p.kind.startswith("V"):
                raise refuse(f"the array is {argument!r}")
            return ctypes.c_void_p(argument._begin if argument.size else None)
        if p.pointer:
            if argument is None:
                return ctypes.c_void_p(None)
            raise refuse(f"it takes a device array or None, not {type(argument).__name__}")
        if not isinstance(argument, np.generic):
            if type(argument) not in (int, float):
                raise refuse(f"it takes a NumPy scalar, not {type(argument).__name__}")
            argument = np.int64(argument) if type(argument) is int else np.float64(argument)
            passed = f"CuPy passes this Python {'int' if argument.dtype == np.int64 else 'float'} as {argument.dtype}"
        else:
            passed = f"it is given as {argument.dtype}"
        if p.kind not in _kinds(argument.dtype):
            raise refuse(passed)
        return (ctypes.c_char * argument.itemsize).from_buffer_copy(argument.tobytes())

    def _check_overlap(self, memory: list[tuple[int, Memory]]) -> None:
        for a, (i, first) in enumerate(memory):
            for j, second in memory[a + 1 :]:
                p, q = self.kernel.parameters[i], self.kernel.parameters[j]
                overlap = first.begin < second.end and second.begin < first.end
                if overlap and (p.restricted or q.restricted) and not (p.constant and q.constant):
                    raise LaunchError(
                        f"{self.name}: arguments {i}, {p.name}, and {j}, {q.name}, are __restrict__ and share memory"
                    )


def _kinds(dtype: np.dtype[Any]) -> tuple[str, ...]:
    """Kinds of parameters that an element of this type may be given to; 16 bits without a NumPy type are uint16."""
    kind = f"{dtype.kind}{dtype.itemsize}"
    return (kind, "B2") if kind == "u2" or dtype.name == "bfloat16" else (kind,)


# Memory pools


class MemoryPool:
    """`cupy.cuda.MemoryPool`, as far as it is asked how much is in use."""

    def __init__(self, *_: Any) -> None:
        self._limit = 0

    def malloc(self, size: int) -> Any:
        """Bytes of garbage."""
        return arrays.empty(size, np.uint8).data

    def used_bytes(self) -> int:
        """Bytes in use on the current device."""
        return int(_machine().used[_machine().device])

    total_bytes = used_bytes

    def free_bytes(self) -> int:
        """The stand-in keeps nothing that is free."""
        return 0

    def n_free_blocks(self) -> int:
        """The stand-in keeps nothing that is free."""
        return 0

    def free_all_blocks(self, stream: Any = None) -> None:
        """The stand-in keeps nothing that is free."""
        _machine().refuse_in_capture("frees device memory")

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        """Let no more be taken."""
        self._limit = int(size if size is not None else (fraction or 0) * _machine().device_bytes)

    def get_limit(self) -> int:
        """The limit, or 0."""
        return self._limit


def alloc_pinned_memory(size: int) -> Any:
    """`cupy.cuda.alloc_pinned_memory`: a buffer for numpy.frombuffer."""
    return (PinnedMemory * size).from_buffer(arrays.pinned(size))


class PinnedMemory(ctypes.c_ubyte):
    """One byte of it."""


# Putting it in CuPy's place


def _properties(device: int) -> dict[str, Any]:
    a = Device(device).attributes
    return {
        "name": f"emulated device {device}".encode(),
        "totalGlobalMem": _machine().device_bytes,
        "multiProcessorCount": a["MultiProcessorCount"],
        "major": 8,
        "minor": 0,
        "warpSize": 32,
        "l2CacheSize": a["L2CacheSize"],
        "sharedMemPerBlock": STATIC_LIMIT,
        "sharedMemPerBlockOptin": DYNAMIC_LIMIT,
        "sharedMemPerMultiprocessor": a["MaxSharedMemoryPerMultiprocessor"],
        "maxThreadsPerBlock": 1024,
        "maxThreadsPerMultiProcessor": 2048,
        "maxGridSize": GRID_LIMITS,
        "maxThreadsDim": BLOCK_LIMITS,
        "clockRate": a["ClockRate"],
        "memoryClockRate": a["MemoryClockRate"],
        "memoryBusWidth": a["GlobalMemoryBusWidth"],
        "ECCEnabled": 1,
    }


def _module(name: str, **content: Any) -> ModuleType:
    module = ModuleType(name, "The stand-in of the tests; see tests/emulator/README.md.")
    module.__spec__ = ModuleSpec(name, None, is_package=True)
    module.__path__ = []
    module.__dict__.update(content)
    return module


def install(mode: Mode | None = None) -> ModuleType:
    """Put the stand-in into sys.modules as cupy and cupyx, with a fresh machine; returns it.

    Parameters
    ----------
    mode : Mode, optional
        How kernels are run; by default what RLSBENCH_EMULATOR says.
    """
    global _mode
    _mode = Mode.from_environment() if mode is None else mode
    arrays.ndarray.machine = machine_from_environment()
    _current.clear()
    Stream.null = Stream(null=True)
    pool = MemoryPool()
    runtime = _module(
        "cupy.cuda.runtime",
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=lambda: DEVICES,
        getDevice=lambda: _machine().device,
        setDevice=lambda device: Device(device).use(),
        getDeviceProperties=_properties,
        memGetInfo=lambda: Device().mem_info,
        runtimeGetVersion=lambda: 12090,
        driverGetVersion=lambda: 12090,
        deviceSynchronize=lambda: Device().synchronize(),
        streamNonBlocking=1,
        streamCaptureModeGlobal=0,
        streamCaptureModeThreadLocal=1,
        streamCaptureModeRelaxed=2,
        is_hip=False,
    )
    memory = _module("cupy.cuda.memory", OutOfMemoryError=OutOfMemoryError, MemoryPool=MemoryPool, MemoryPointer=arrays.Pointer)
    driver = _module("cupy.cuda.driver", CUDADriverError=CUDADriverError)
    compiler = _module("cupy.cuda.compiler", CompileException=CompileException)
    stream = _module("cupy.cuda.stream", Stream=Stream, Event=Event, get_current_stream=get_current_stream)
    cuda = _module(
        "cupy.cuda",
        runtime=runtime,
        memory=memory,
        driver=driver,
        compiler=compiler,
        stream=stream,
        Device=Device,
        Stream=Stream,
        Event=Event,
        Graph=Graph,
        MemoryPool=MemoryPool,
        MemoryPointer=arrays.Pointer,
        get_current_stream=get_current_stream,
        get_elapsed_time=get_elapsed_time,
        is_available=lambda: True,
        alloc_pinned_memory=alloc_pinned_memory,
        set_allocator=lambda allocator=None: None,
    )
    def of_arrays(names: str) -> dict[str, Any]:
        return {name: getattr(arrays, name) for name in names.split()}

    numbers = "bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 dtype inf nan pi newaxis"
    cupy = _module(
        "cupy",
        **of_arrays("ndarray empty zeros full ones empty_like zeros_like arange array asarray asnumpy copyto"),
        **{name: getattr(np, name) for name in numbers.split()},
        cuda=cuda,
        RawModule=RawModule,
        RawKernel=RawKernel,
        get_default_memory_pool=lambda: pool,
        get_default_pinned_memory_pool=lambda: MemoryPool(),
        __version__=VERSION,
    )

    def pinned_array(shape: Any, dtype: Any = float, order: str = "C") -> np.ndarray[Any, Any]:
        count = int(np.prod(shape))
        return arrays.pinned(count * np.dtype(dtype).itemsize).view(dtype).reshape(shape)

    cupyx = _module("cupyx", empty_pinned=pinned_array, zeros_pinned=pinned_array)
    for module in (cupy, cuda, runtime, memory, driver, compiler, stream, cupyx):
        sys.modules[module.__name__] = module
    return cupy


def uninstall() -> None:
    """Take it away again."""
    for name in [n for n in sys.modules if n.split(".")[0] in ("cupy", "cupyx") and _is_ours(sys.modules[n])]:
        del sys.modules[name]


def _is_ours(module: ModuleType) -> bool:
    return (module.__doc__ or "").startswith("The stand-in of the tests")
