"""Resources of compiled kernels: registers, spills, local and shared memory, without a GPU.

In: kernel source with its options, and an architecture such as sm_80.  Out: a row of numbers for
each kernel.  Needs the library NVRTC (the package nvidia-cuda-nvrtc-cu12), but neither a driver nor
a GPU.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

ARCHITECTURES: Final = ("sm_80", "sm_90", "sm_120")


class Usage(NamedTuple):
    """Resources of a multiprocessor that one kernel takes."""

    kernel: str
    registers: int
    spilled: int
    """Bytes stored and loaded for lack of registers."""
    stack: int
    """Bytes of local memory of a thread."""
    shared: int
    """Static shared memory of a block, bytes."""


class CompileError(Exception):
    """The source does not compile, with what the compiler says."""


def missing() -> str | None:
    """What is required but not installed, or None."""
    return None if _path() else "NVRTC is not installed: pip install 'rlsbench[gpu-test]'"


def usage(source: str, options: Sequence[str], architecture: str) -> list[Usage]:
    """Compile, and read the compiler's report.

    Raises
    ------
    CompileError
    """
    library, program = _library(), ctypes.c_void_p()
    text = source.encode()
    _succeed(library.nvrtcCreateProgram(ctypes.byref(program), text, b"kernels.cu", 0, None, None))
    flags = [f"--gpu-architecture={architecture}", "--ptxas-options=-v", "--ptxas-options=--warn-on-spills", *options]
    array = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
    status = library.nvrtcCompileProgram(program, len(flags), array)
    size = ctypes.c_size_t()
    _succeed(library.nvrtcGetProgramLogSize(program, ctypes.byref(size)))
    log = ctypes.create_string_buffer(size.value)
    _succeed(library.nvrtcGetProgramLog(program, log))
    library.nvrtcDestroyProgram(ctypes.byref(program))
    report = log.value.decode()
    if status:
        raise CompileError(report)
    return _read(report)


def _read(report: str) -> list[Usage]:
    found = []
    for part in re.split(r"(?=Compiling entry function)", report)[1:]:
        name = re.search(r"entry function '(\w+)'", part)
        numbers = {
            key: int(match[1]) if (match := re.search(pattern, part)) else 0
            for key, pattern in (
                ("registers", r"Used (\d+) registers"),
                ("stores", r"(\d+) bytes spill stores"),
                ("loads", r"(\d+) bytes spill loads"),
                ("stack", r"(\d+) bytes stack frame"),
                ("shared", r"(\d+) bytes smem"),
            )
        }
        assert name, part
        assert numbers["registers"], part
        spilled = numbers["stores"] + numbers["loads"]
        found.append(Usage(name[1], numbers["registers"], spilled, numbers["stack"], numbers["shared"]))
    return found


def _path() -> Path | None:
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    found = [path for folder in folders for path in sorted(folder.glob("*/lib/libnvrtc.so.*"))]
    return found[0] if found else None


@lru_cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(str(_path()))


def _succeed(status: int) -> None:
    if status:
        raise RuntimeError(f"NVRTC: error {status}")


class Case(NamedTuple):
    """Source that the backend compiles for some network."""

    name: str
    form: str
    source: str
    options: tuple[str, ...]


VARIANTS: Final = (
    "everything",
    "weights of each static synapse",
    "plain",
    "tau_plas per neuron",
    "other time constants",
)


def cases(sizes: Sequence[int] = (32, 33, 90, 128, 256), *, few: bool = False) -> list[Case]:
    """What the backend compiles for n plastic inputs, by precision, storage and form.

    With `few`, only packed storage and the variants of the simulation with most features.
    """
    from rlsbench.backend import Options
    from rlsbench.conformance.subjects import model_problem, variant_problem
    from rlsbench.precision import PRECISIONS
    from rlsbench.ranks import Planned
    from rlsbench_cupy import BACKEND
    from rlsbench_cupy.compiling import MODULES, options_of, source
    from rlsbench_cupy.neurons import code
    from rlsbench_cupy.simulation import model_macros
    from rlsbench_cupy.synapses import drawing_macros
    from rlsbench_cupy.updates import rls_macros, teams
    from tests.emulator.matrix import sized

    found = [
        Case(
            f"{precision}, {variant}",
            "simulation",
            source(*MODULES["simulation"]),
            options_of(model_macros(variant_problem(variant), precision)),
        )
        for precision in BACKEND.capabilities.precisions
        for variant in (VARIANTS[:2] if few else VARIANTS)
    ]
    for name in VARIANTS[:2]:
        p = replace(variant_problem(name), ranks=Planned(2))
        options = options_of(model_macros(p, "float64"))
        found.append(Case(f"float64, {name}, ranks", "simulation", source(*MODULES["simulation"]), options))
    p = model_problem("glif3 with parameters of their own")
    for precision in BACKEND.capabilities.precisions:
        text, options = code(p.neuron, precision), options_of(model_macros(p, precision))
        found.append(Case(f"{precision}, neuron model", "simulation", text + source(*MODULES["simulation"]), options))
    for count in (1024,) if few else (8, 1024):
        options = options_of(drawing_macros(count))
        found.append(Case(f"{count} of a row", "connect", source(*MODULES["connect"]), options))
    for n in sizes:
        for p_precision in BACKEND.capabilities.p_precisions:
            for storage in ("packed",) if few else BACKEND.capabilities.storages:
                precision = "float32" if PRECISIONS[p_precision].narrow else p_precision
                macros = rls_macros(n, sized(n).plastic.feedforward, Options(precision, p_precision, storage))
                for form in ("plain", "event"):
                    options = options_of(macros | teams(n)[form].macros)
                    found.append(Case(f"n = {n}, P {p_precision} {storage}", form, source(*MODULES[form]), options))
    return found
