"""A strict stand-in for the part of CuPy that launches kernels; `install` puts it in CuPy's place.

In: nothing.  Out: modules with CuPy's names, which offer what array.py, streams.py and kernels.py
define.  Anything else raises AttributeError: CuPy's own kernels cannot be checked.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

import numpy as np

from tests.emulator import array as arrays
from tests.emulator import kernels, streams
from tests.emulator.device import DEVICES, OutOfMemoryError, _machines, machine, new_machine
from tests.emulator.native import DYNAMIC_LIMIT, Mode

VERSION: Final = "14.2.0"
"""Of CuPy, whose interface this is."""


class MemoryPool:
    """`cupy.cuda.MemoryPool`, as far as it is asked how much is in use."""

    def __init__(self, *_: Any) -> None:
        self._limit = 0

    def malloc(self, size: int) -> Any:
        """Bytes of garbage."""
        return arrays.empty(size, np.uint8).data

    def used_bytes(self) -> int:
        """Bytes in use on the current device."""
        return int(machine().used[machine().device])

    total_bytes = used_bytes

    def free_bytes(self) -> int:
        """The stand-in keeps nothing that is free."""
        return 0

    def n_free_blocks(self) -> int:
        """The stand-in keeps nothing that is free."""
        return 0

    def free_all_blocks(self, stream: Any = None) -> None:
        """The stand-in keeps nothing that is free."""
        machine().refuse_in_capture("frees device memory")

    def set_limit(self, size: int | None = None, fraction: float | None = None) -> None:
        """Let no more be taken."""
        self._limit = int(size if size is not None else (fraction or 0) * machine().device_bytes)

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
    a = streams.Device(device).attributes
    return {
        "name": f"emulated device {device}".encode(),
        "totalGlobalMem": machine().device_bytes,
        "multiProcessorCount": a["MultiProcessorCount"],
        "major": 8,
        "minor": 0,
        "warpSize": 32,
        "l2CacheSize": a["L2CacheSize"],
        "sharedMemPerBlock": streams.STATIC_LIMIT,
        "sharedMemPerBlockOptin": DYNAMIC_LIMIT,
        "sharedMemPerMultiprocessor": a["MaxSharedMemoryPerMultiprocessor"],
        "maxThreadsPerBlock": 1024,
        "maxThreadsPerMultiProcessor": 2048,
        "maxGridSize": streams.GRID_LIMITS,
        "maxThreadsDim": streams.BLOCK_LIMITS,
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
    new_machine()
    kernels.set_mode(Mode.from_environment() if mode is None else mode)
    pool = MemoryPool()
    runtime = _module(
        "cupy.cuda.runtime",
        CUDARuntimeError=streams.CUDARuntimeError,
        getDeviceCount=lambda: DEVICES,
        getDevice=lambda: machine().device,
        setDevice=lambda device: streams.Device(device).use(),
        getDeviceProperties=_properties,
        memGetInfo=lambda: streams.Device().mem_info,
        runtimeGetVersion=lambda: 12090,
        driverGetVersion=lambda: 12090,
        deviceSynchronize=lambda: streams.Device().synchronize(),
        streamNonBlocking=1,
        streamCaptureModeGlobal=0,
        streamCaptureModeThreadLocal=1,
        streamCaptureModeRelaxed=2,
        is_hip=False,
    )
    memory = _module(
        "cupy.cuda.memory", OutOfMemoryError=OutOfMemoryError, MemoryPool=MemoryPool, MemoryPointer=arrays.Pointer
    )
    driver = _module("cupy.cuda.driver", CUDADriverError=kernels.CUDADriverError)
    compiler = _module("cupy.cuda.compiler", CompileException=kernels.CompileException)
    stream = _module(
        "cupy.cuda.stream", Stream=streams.Stream, Event=streams.Event, get_current_stream=streams.get_current_stream
    )
    cuda = _module(
        "cupy.cuda",
        runtime=runtime,
        memory=memory,
        driver=driver,
        compiler=compiler,
        stream=stream,
        Device=streams.Device,
        Stream=streams.Stream,
        Event=streams.Event,
        Graph=streams.Graph,
        MemoryPool=MemoryPool,
        MemoryPointer=arrays.Pointer,
        get_current_stream=streams.get_current_stream,
        get_elapsed_time=streams.get_elapsed_time,
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
        RawModule=kernels.RawModule,
        RawKernel=kernels.RawKernel,
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


def suspend() -> Callable[[], None]:
    """Take away whatever is there as cupy; the function that is returned brings it back."""
    modules = {name: module for name, module in sys.modules.items() if name.split(".")[0] in ("cupy", "cupyx")}
    machines, modes = list(_machines), list(kernels._modes)
    for name in modules:
        del sys.modules[name]

    def bring_back() -> None:
        sys.modules.update(modules)
        _machines[:], kernels._modes[:] = machines, modes

    return bring_back


def uninstall() -> None:
    """Take it away again."""
    for name in [n for n in sys.modules if n.split(".")[0] in ("cupy", "cupyx") and _is_ours(sys.modules[n])]:
        del sys.modules[name]


def _is_ours(module: ModuleType) -> bool:
    return (module.__doc__ or "").startswith("The stand-in of the tests")
