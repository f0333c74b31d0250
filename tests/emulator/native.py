"""Compiles kernel source for the CPU, and runs kernels of it.

In: CUDA C++ source with its options; a grid, a block, arguments and the memory that they stand for.
Out: a `Kernel`, its signature as the compiler sees it, and its runs, each of which ends well or
raises `KernelFault`.  Knows no CuPy.

What is built stays in a folder under the name of a hash of all that went into it.  The checked
build reports each access to memory (g++ -fsanitize=thread and some checks of -fsanitize=undefined,
without their libraries); the fast one does not.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
DYNAMIC_LIMIT: Final = 163 * 1024  # bytes of shared memory of a block, compute capability 8.0
FORMAT: Final = "4"  # of what is kept in the folder of what was built: a change of this module that matters there
TOUCHED: Final = "emulation_touched"
SCHEDULES: Final = ("forward", "backward", "random")

COMMON: Final = ("-std=c++17", "-fPIC", "-U_FORTIFY_SOURCE", "-fno-strict-aliasing")
KERNEL: Final = (
    "-O1",
    "-g1",
    "-fno-extern-tls-init",
    "-fno-gnu-unique",
    "-fno-exceptions",
    "-ffp-contract=off",
    "-Wall",
    "-Wno-unused",
    "-Wno-attributes",
    "-Wno-unknown-pragmas",
)
CHECKED: Final = (
    "-fsanitize=thread",
    "-fsanitize=bounds,signed-integer-overflow,shift,integer-divide-by-zero",
    "-Werror=uninitialized",
)


class KernelFault(Exception):
    """A violation by a kernel, with the block, the thread and the line of the source.

    Its `kind` is one of those in runtime.cpp: bounds, race, barrier, ...
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class CompileError(Exception):
    """The source does not compile, with what the compiler says."""


@dataclass(frozen=True)
class Mode:
    """How kernels are run.

    Parameters
    ----------
    checked : bool
        Look at every access to memory.
    schedule : {"forward", "backward", "random"}
        Order of blocks, and of threads where several could go on.
    seed : int
        Of the random order.
    fuse : bool
        Let g++ fuse multiplications and additions, as nvcc does, where the processor can.
    """

    checked: bool = True
    schedule: str = "forward"
    seed: int = 0
    fuse: bool = False
    access_limit: int = 100_000_000

    @classmethod
    def from_environment(cls) -> Mode:
        """RLSBENCH_EMULATOR: "fast", "fuse", and a schedule such as "backward" or "random:7"."""
        mode: dict[str, bool | str | int] = {}
        for word in os.environ.get("RLSBENCH_EMULATOR", "").replace(",", " ").split():
            name, _, seed = word.partition(":")
            if word == "fast":
                mode["checked"] = False
            elif word == "fuse":
                mode["fuse"] = True
            elif name in SCHEDULES:
                mode.update(schedule=name, seed=int(seed or 0))
            else:
                raise ValueError(f"RLSBENCH_EMULATOR: {word!r} is none of fast, fuse, forward, backward, random:SEED")
        return cls(**mode)  # type: ignore[arg-type]


class _Range(ctypes.Structure):
    """EmulationRange of shadow.h."""

    _fields_ = (
        ("begin", ctypes.c_void_p),
        ("end", ctypes.c_void_p),
        ("base", ctypes.c_void_p),
        ("shadow", ctypes.c_void_p),
        ("argument", ctypes.c_int),
    )


class _Launch(ctypes.Structure):
    """EmulationLaunch of runtime.cpp."""

    _fields_ = (
        ("kernel", ctypes.c_void_p),
        ("arguments", ctypes.c_void_p),
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("blocks", ctypes.c_void_p),
        ("block_count", ctypes.c_int64),
        ("static_shared", ctypes.c_void_p),
        ("static_bytes", ctypes.c_int64),
        ("dynamic_shared", ctypes.c_void_p),
        ("dynamic_bytes", ctypes.c_int64),
        ("module", ctypes.c_void_p),
        ("module_bytes", ctypes.c_int64),
        ("ranges", ctypes.c_void_p),
        ("range_count", ctypes.c_int64),
        ("schedule", ctypes.c_int),
        ("seed", ctypes.c_uint),
        ("checked", ctypes.c_int),
        ("limit", ctypes.c_int64),
    )


class _Report(ctypes.Structure):
    """EmulationReport of runtime.cpp."""

    _fields_ = (
        ("kind", ctypes.c_char * 16),
        ("text", ctypes.c_char * 1024),
        ("block", ctypes.c_uint * 3),
        ("thread", ctypes.c_uint * 3),
        ("line", ctypes.c_int),
        ("place", ctypes.c_void_p),
        ("argument", ctypes.c_int),
        ("offset", ctypes.c_int64),
    )


class _Module(ctypes.Structure):
    """EmulationModule of runtime.cpp."""

    _fields_ = (
        ("inside", ctypes.c_void_p),
        ("begin", ctypes.c_void_p),
        ("end", ctypes.c_void_p),
        ("thread_local_data", ctypes.c_void_p),
    )


def missing() -> str | None:
    """What the emulator needs and this machine lacks, or None."""
    tools = [tool for tool in ("g++", "readelf", "addr2line") if shutil.which(tool) is None]
    return f"{', '.join(tools)} not found: the emulator compiles kernels with GCC 12 or later" if tools else None


@lru_cache
def runtime() -> ctypes.CDLL:
    """The scheduler and checker, compiled where they are not yet."""
    sources = [HERE / "runtime.cpp", HERE / "shadow.h"]
    key = _key(*(path.read_text() for path in sources), *COMMON)
    built = _folder() / f"runtime-{key}.so"
    if not built.exists():
        _compile(built, [["g++", *COMMON, "-O2", "-shared", str(sources[0]), "-o"]])
    library = ctypes.CDLL(str(built))
    pointer, size = ctypes.c_void_p, ctypes.c_int64
    for name, result, arguments in (
        ("launch", ctypes.c_int, (pointer, pointer)),
        ("find_module", ctypes.c_int, (pointer,)),
        ("allocate", pointer, (size, size)),
        ("release", None, (pointer, size, size)),
        ("shadow", pointer, (size, ctypes.c_int, ctypes.c_int)),
        ("shadow_release", None, (pointer,)),
        ("shadow_initialise", None, (pointer, size, size)),
        ("shadow_copy", None, (pointer, size, pointer, size, size)),
        ("shadow_is_initialised", ctypes.c_int, (pointer, size, size)),
    ):
        function = getattr(library, f"emulation_{name}")
        function.restype, function.argtypes = result, arguments
    return library


@dataclass(frozen=True)
class Parameter:
    """One parameter of a kernel.

    Parameters
    ----------
    name : str
        Its name in the source, or its number.
    kind : str
        "f4", "i8", "u2" ...: the letter of NumPy's kind and bytes; B2 is bfloat16, v0 void.
    pointer, constant, restricted : bool
        Whether it is a pointer; to const; declared __restrict__.
    """

    name: str
    kind: str
    pointer: bool
    constant: bool
    restricted: bool

    def __str__(self) -> str:
        names = {"f2": "__half", "f4": "float", "f8": "double", "B2": "__nv_bfloat16", "b1": "bool", "v0": "void"}
        names |= {f"{k}{b}": f"{'u' * (k == 'u')}int{8 * b}_t" for k in "iu" for b in (1, 2, 4, 8)}
        return f"{'const ' * self.constant}{names.get(self.kind, self.kind)}{' *' * self.pointer}"


@dataclass(frozen=True)
class Memory:
    """Memory of an argument: bytes begin .. end of an allocation at base, with its shadow."""

    begin: int
    end: int
    base: int
    shadow: int
    description: str


@dataclass
class Module:
    """One compiled source.

    Parameters
    ----------
    source : str
    options : tuple of str
        -D and -std of the compiler that it is meant for; what concerns only that one is left out.
    mode : Mode
    """

    source: str
    options: tuple[str, ...]
    mode: Mode
    library: ctypes.CDLL = field(init=False)
    statics: dict[str, tuple[int, int]] = field(init=False)
    """Static shared variables: "kernel::name" to offset and bytes."""

    def __post_init__(self) -> None:
        self.path = self._build()
        self.expanded = self.path.with_suffix(".i").read_text()
        self.library = ctypes.CDLL(str(self.path))
        self.library.emulation_dynamic_shared.restype = ctypes.c_void_p
        self._of_thread = threading.local()
        self.begin, self.end, *_ = self.place()
        symbols = subprocess.run(
            ["readelf", "-sW", "--demangle", self.path], capture_output=True, text=True, check=True
        )
        rows = re.findall(r"^ *\d+: ([0-9a-f]+) +(\w+) TLS +\w+ +\w+ +\d+ (.+)$", symbols.stdout, re.MULTILINE)
        dynamic = {*_dynamic_names(self.expanded), TOUCHED}
        self.statics = {n: (int(at, 16), int(size, 0)) for at, size, n in rows if n not in dynamic}

    def place(self) -> tuple[int, int, int, int]:
        """Where its code begins and ends, and shared memory begins: static, then dynamic.

        Those are thread-local variables of this thread of the host.
        """
        if not hasattr(self._of_thread, "place"):
            dynamic = self.library.emulation_dynamic_shared() or 0
            found = _Module(inside=ctypes.cast(self.library.emulation_dynamic_shared, ctypes.c_void_p).value)
            runtime().emulation_find_module(ctypes.byref(found))
            self._of_thread.place = found.begin, found.end, found.thread_local_data or 0, dynamic
        place: tuple[int, int, int, int] = self._of_thread.place
        return place

    def kernels(self) -> list[str]:
        """Names of its kernels."""
        return _kernel_names(self.expanded)

    def kernel(self, name: str) -> Kernel:
        """The kernel of that name.

        Raises
        ------
        KeyError
            If the source has none.
        """
        if name not in self.kernels():
            raise KeyError(f"no kernel {name}; the source has {', '.join(self.kernels()) or 'none'}")
        return Kernel(self, name)

    def _build(self) -> Path:
        kept = [o for o in self.options if o.startswith(("-D", "-U", "-std"))]
        flags = [*COMMON, *KERNEL, *(CHECKED if self.mode.checked else ("-O2", "-fno-tree-vectorize")), *kept]
        if self.mode.fuse:
            flags += ["-mfma", "-ffp-contract=fast"]
        header = _header(tuple(f for f in flags if f not in kept))
        flags += ["-I", str(HERE / "include"), "-include", str(header)]
        runtime_path = str(runtime()._name)
        key = _key(self.source, runtime_path, *flags)
        built = _folder() / f"kernel-{key}.so"
        if built.exists():
            return built
        with tempfile.TemporaryDirectory() as folder:
            # Lines are reported as those of the whole text; what #line says of one is looked up
            # afterwards.
            plain = re.sub(r"^([ \t]*)#line\b", r"\1//line", self.source, flags=re.MULTILINE)
            expanded = _expand(plain, kept, folder)
            source, shared = Path(folder, "kernel.cpp"), Path(folder, "dynamic.c")
            source.write_text(plain + "\n" + "".join(f"EMULATION_KERNEL({name})\n" for name in _kernel_names(expanded)))
            shared.write_text(_dynamic_arrays(_dynamic_names(expanded)))
            objects = [f"{folder}/kernel.o", f"{folder}/dynamic.o"]
            _replace(built.with_suffix(".i"), lambda path: path.write_text(expanded))
            _compile(
                built,
                [
                    ["g++", *flags, "-c", str(source), "-o", objects[0]],
                    ["gcc", "-fPIC", "-O1", "-c", str(shared), "-o", objects[1]],
                    ["g++", "-shared", "-Wl,-Bsymbolic", *objects, runtime_path, "-o"],  # libc has names as well
                ],
            )
        return built


class Kernel:
    """One kernel of a module: its signature, its shared memory, and its runs."""

    def __init__(self, module: Module, name: str) -> None:
        self.module, self.name = module, name
        function = getattr(module.library, f"emulation_signature_{name}")
        function.restype = ctypes.c_char_p
        types = function().decode().split(";")[:-1]
        texts = _parameter_texts(module.expanded, name)
        texts = texts if len(texts) == len(types) else [str(i) for i in range(len(types))]
        self.parameters = [
            Parameter(
                name=re.split(r"[^\w]+", re.sub(r"\[.*|/\*.*?\*/", "", text).strip())[-1],
                kind=kind.removeprefix("const ").rstrip("*"),
                pointer=kind.endswith("*"),
                constant=kind.startswith("const "),
                restricted="__restrict__" in text,
            )
            for kind, text in zip(types, texts, strict=True)
        ]
        self.max_threads = _launch_bounds(module.expanded, name)
        own = [at for n, at in module.statics.items() if "::" not in n or n.startswith((f"{name}::", f"{name}("))]
        helpers = {k for k in module.kernels() if k != name}
        own += [at for n, at in module.statics.items() if "::" in n and re.split(r"[(:]", n)[0] not in {name, *helpers}]
        self.static_begin = min((at for at, _ in own), default=0)
        self.static_bytes = max((at + size for at, size in own), default=0) - self.static_begin
        self._entry = ctypes.cast(getattr(module.library, f"emulation_call_{name}"), ctypes.c_void_p).value

    def run(
        self,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: Sequence[ctypes._SimpleCData[object]],
        memory: Sequence[tuple[int, Memory]],
        *,
        shared_bytes: int = 0,
        blocks: Sequence[int] | None = None,
    ) -> None:
        """Run it.

        Parameters
        ----------
        grid, block : tuple of three int
        arguments : sequence of ctypes values
            One for each parameter; a pointer as c_void_p.
        memory : sequence of (int, Memory)
            What it may touch: the number of the argument, and where it points.
        shared_bytes : int
            Dynamic shared memory.
        blocks : sequence of int, optional
            Linear numbers of the blocks to run in place of all.

        Raises
        ------
        KernelFault
            For the first thing that it may not do.
        """
        mode, module = self.module.mode, self.module
        begin, end, static, dynamic = module.place()
        pointers = (ctypes.c_void_p * max(1, len(arguments)))(*(ctypes.addressof(a) for a in arguments))
        ranges = (_Range * max(1, len(memory)))(*(_Range(m.begin, m.end, m.base, m.shadow, i) for i, m in memory))
        chosen = (ctypes.c_int64 * len(blocks))(*blocks) if blocks is not None else None
        launch = _Launch(
            kernel=self._entry,
            arguments=ctypes.addressof(pointers),
            grid=grid,
            block=block,
            blocks=ctypes.addressof(chosen) if chosen is not None else None,
            block_count=len(blocks) if blocks is not None else 0,
            static_shared=static + self.static_begin,
            static_bytes=self.static_bytes,
            dynamic_shared=dynamic,
            dynamic_bytes=shared_bytes if dynamic else 0,
            module=begin,
            module_bytes=end - begin,
            ranges=ctypes.addressof(ranges),
            range_count=len(memory),
            schedule=SCHEDULES.index(mode.schedule),
            seed=mode.seed,
            checked=mode.checked,
            limit=mode.access_limit,
        )
        report = _Report()
        if runtime().emulation_launch(ctypes.byref(launch), ctypes.byref(report)):
            raise KernelFault(report.kind.decode(), self._describe(report, dict(memory)))

    def _describe(self, report: _Report, memory: dict[int, Memory]) -> str:
        block, thread = tuple(report.block), tuple(report.thread)
        text = f"{self.name}: block {block}, thread {thread} {report.text.decode()}"
        if report.argument >= 0:
            name, what = self.parameters[report.argument].name, memory[report.argument].description
            text += f"; byte {report.offset} of argument {report.argument}, {name} ({what})"
        return text + _place(self.module.source, report.line or self._line(report.place))

    def _line(self, place: int | None) -> int:
        if not place:
            return 0
        command = ["addr2line", "-i", "-e", str(self.module.path), hex(place - 1 - self.module.begin)]
        found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        lines = [int(n) for n in re.findall(r"kernel\.cpp:(\d+)", found)]
        return lines[0] if lines else 0


@lru_cache
def _header(flags: tuple[str, ...]) -> Path:
    """The header, compiled beforehand: that saves a third of a second for each module."""
    text = (HERE / "include" / "cuda_emulation.h").read_text()
    standard = [] if any(flag.startswith("-std") for flag in flags) else ["-std=c++17"]
    folder = _folder() / f"header-{_key(text, *standard, *flags)}"
    folder.mkdir(exist_ok=True)
    header = folder / "cuda_emulation.h"
    built = header.with_name("cuda_emulation.h.gch")
    if not built.exists():
        _replace(header, lambda path: path.write_text(text))
        _compile(built, [["g++", *flags, "-w", "-x", "c++-header", str(header), "-o"]])
    return header


def _place(source: str, line: int) -> str:
    """Where a line of the whole text comes from, by the #line before it, and what it says."""
    lines = source.splitlines()
    if not 1 <= line <= len(lines):
        return ""
    name, number = "line", line
    for i in range(line - 1, 0, -1):
        if found := re.match(r'\s*#line (\d+)(?: "(.*)")?', lines[i - 1]):
            name, number = found[2] or "line", int(found[1]) + line - i - 1
            break
    return f"\n    {name} {number}: {lines[line - 1].strip()}"


def _expand(source: str, options: Sequence[str], folder: str) -> str:
    """The source without comments and with its macros expanded, but for CUDA's words."""
    command = ["g++", "-E", "-P", "-x", "c++", *options, "-I", str(HERE / "include"), "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode:
        raise CompileError(f"g++ -E does not take this source:\n{done.stderr}")
    return done.stdout


_BOUNDS = r"(?:__launch_bounds__\s*\((?:[^()]|\([^()]*\))*\)\s*)?"


def _kernel_names(expanded: str) -> list[str]:
    return list(dict.fromkeys(re.findall(rf"__global__\s+{_BOUNDS}void\s+{_BOUNDS}(\w+)\s*\(", expanded)))


def _parameter_texts(expanded: str, kernel: str) -> list[str]:
    found = re.search(rf"__global__\s+{_BOUNDS}void\s+{_BOUNDS}{kernel}\s*\(([^)]*)\)", expanded)
    return [text for text in found[1].split(",") if text.strip()] if found else []


def _launch_bounds(expanded: str, kernel: str) -> int:
    """Threads that __launch_bounds__ allows; 1024 without."""
    found = re.search(
        rf"__global__\s[^;{{]*?__launch_bounds__\s*\(([^,]*?)(?:,[^)]*)?\)\s*(?:void\s+)?{kernel}\s*\(", expanded
    )
    if not found or not re.fullmatch(r"[\d\s()+*/-]+", found[1]):
        return 1024
    return int(eval(found[1].replace("/", "//"), {}))


def _dynamic_names(expanded: str) -> list[str]:
    return list(dict.fromkeys(re.findall(r"extern\s+__shared__\s[^;]*?(\w+)\s*\[\s*\]\s*;", expanded)))


def _dynamic_arrays(names: list[str]) -> str:
    """C source of the memory of `extern __shared__` arrays, which all begin at one address."""
    lines = [
        f"_Thread_local unsigned char __attribute__((aligned(1024))) {n}[{DYNAMIC_LIMIT + 65536}];" for n in names[:1]
    ]
    lines += [f'extern _Thread_local unsigned char {n}[] __attribute__((alias("{names[0]}")));' for n in names[1:]]
    lines += [f"_Thread_local char {TOUCHED};"]  # without an access there would be no thread-local memory at all
    lines += [f"void *emulation_dynamic_shared(void) {{ {TOUCHED} = 1; return {names[0] if names else 0}; }}", ""]
    return "\n".join(lines)


def _folder() -> Path:
    default = Path(tempfile.gettempdir()) / f"rlsbench-emulator-{os.getuid()}"
    folder = Path(os.environ.get("RLSBENCH_EMULATOR_CACHE") or default)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@lru_cache
def _compiler() -> str:
    return subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join([FORMAT, _compiler(), *parts]).encode()).hexdigest()[:24]


def _compile(built: Path, commands: list[list[str]]) -> None:
    """Run commands, the last of which makes the file."""

    def make(path: Path) -> None:
        for command in [*commands[:-1], [*commands[-1], str(path)]]:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise CompileError(f"{command[0]} does not compile this source:\n{done.stderr}")

    _replace(built, make)


def _replace(path: Path, make: Callable[[Path], object]) -> None:
    """Write a file atomically."""
    part = path.with_name(f"{path.name}.{os.getpid()}")
    make(part)
    os.replace(part, path)
