"""The stand-in's `cupy.RawModule` and `cupy.RawKernel`, which check each launch.

In: source, options; grids, blocks and arguments.  Out: runs on `native.Kernel`.  What is refused,
and what CuPy would let pass: an argument whose type is not the kernel's, or that is not contiguous;
too few or too many; memory that overlaps behind __restrict__; a grid of no blocks (CuPy makes it
one); blocks and shared memory beyond compute capability 8.0.
"""

from __future__ import annotations

import ctypes
import threading
from typing import Any

import numpy as np

from tests.emulator import array as arrays
from tests.emulator.device import machine
from tests.emulator.native import DYNAMIC_LIMIT, CompileError, Kernel, Memory, Mode, Module, Parameter
from tests.emulator.streams import BLOCK_LIMITS, GRID_LIMITS, STATIC_LIMIT, get_current_stream

_modes: list[Mode] = [Mode()]
_building = threading.Lock()


def set_mode(mode: Mode) -> None:
    """How kernels that are taken from modules from now on are run."""
    _modes[:] = [mode]


class CUDADriverError(RuntimeError):
    """`cupy.cuda.driver.CUDADriverError`."""


class CompileException(Exception):
    """`cupy.cuda.compiler.CompileException`."""


class LaunchError(TypeError):
    """A launch that is not what the kernel takes, or more than a device can do."""


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
        self._modules: dict[Mode, Module] = {}

    def compile(self, log_stream: Any = None) -> None:
        """Compile it."""
        try:
            self._modules[_modes[0]] = Module(self.code, self.options, _modes[0])
        except CompileError as error:
            raise CompileException(str(error)) from None

    def get_function(self, name: str) -> RawKernel:
        """One of its kernels."""
        with _building:
            if (
                _modes[0] not in self._modules
            ):  # a backend may keep it from one installation of the stand-in to the next
                self.compile()
        try:
            kernel = self._modules[_modes[0]].kernel(name)
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
        """Largest dynamic shared memory of a launch."""
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

    def __call__(
        self, grid: Any, block: Any, args: Any, *, shared_mem: int = 0, stream: Any = None, blocks: Any = None
    ) -> None:
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

        def action() -> None:
            kernel.run(shape, size, values, memory, shared_bytes=shared_mem, blocks=blocks)

        on = (get_current_stream() if stream is None else stream).timeline
        machine().do(on, touched, action, f"kernel {self.name}")

    def _extent(self, what: str, given: Any, limits: tuple[int, int, int]) -> tuple[int, int, int]:
        if (
            not isinstance(given, tuple)
            or not 1 <= len(given) <= 3
            or not all(isinstance(n, (int, np.integer)) for n in given)
        ):
            raise LaunchError(f"{self.name}: {what} must be a tuple of up to three whole numbers, not {given!r}")
        x, y, z = (int(n) for n in (*given, 1, 1)[:3])
        for n, limit in zip((x, y, z), limits, strict=True):
            if not 1 <= n <= limit:
                raise LaunchError(f"{self.name}: {what} {given} has {n} where 1 to {limit} is possible")
        return x, y, z

    def _check_resources(self, block: tuple[int, int, int], shared_mem: int) -> None:
        threads = block[0] * block[1] * block[2]
        if threads > self.max_threads_per_block:
            raise LaunchError(
                f"{self.name}: {threads} threads in a block, and {self.max_threads_per_block} are possible"
            )
        if self.shared_size_bytes > STATIC_LIMIT:
            raise LaunchError(
                f"{self.name}: {self.shared_size_bytes} bytes of static shared memory, more than {STATIC_LIMIT}"
            )
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
    """Kinds of parameters that accept this type; 16-bit types unknown to NumPy are uint16."""
    kind = f"{dtype.kind}{dtype.itemsize}"
    return (kind, "B2") if kind == "u2" or dtype.name == "bfloat16" else (kind,)
