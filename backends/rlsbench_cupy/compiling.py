"""From kernel sources to kernels: the files of each module, and the macros that specialize it.

In: names of .cu files, and macros.  Out: one source text with the files that it includes, and
modules. Imports CuPy only to compile.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

Kernel = Any  # kernel(grid, block, arguments), from a RawModule

FOLDER = Path(__file__).parent / "kernels"

MODULES = {
    "simulation": ("begin.cu", "step.cu", "deliver.cu", "inputs.cu"),
    "plain": ("spread.cu", "diagonal.cu", "rls_plain.cu"),
    "event": ("spread.cu", "diagonal.cu", "rls_event.cu", "rls_fold.cu"),
    "connect": ("connect.cu",),
}
"""Name of a module to the files that it is compiled from."""

_INCLUDE = re.compile(r'^#include "([^"]+)"\s*$', re.MULTILINE)


def source(*files: str) -> str:
    """Concatenate files, with each included file once, before its first use.

    The key of CuPy's cache of compiled modules is the text without included files, so they are
    inlined.
    """
    seen: set[str] = set()

    def text(name: str) -> str:
        if name in seen:
            return ""
        seen.add(name)
        lines = (FOLDER / name).read_text(encoding="utf-8").replace("#pragma once\n", "")
        parts, number = [f'#line 1 "{name}"\n'], 1
        for line in lines.splitlines(keepends=True):
            included = _INCLUDE.match(line)
            number += 1
            if included is None:
                parts.append(line)
            elif more := text(included[1]):
                parts += [more, f'#line {number} "{name}"\n']
        return "".join(parts)

    return "".join(text(name) for name in files)


def options_of(macros: Mapping[str, object]) -> tuple[str, ...]:
    """Compiler options that define macros; a bool becomes 1 or 0, None a macro without a value."""
    words = {name: "" if v is None else f"={int(v) if isinstance(v, bool) else v!r}" for name, v in macros.items()}
    return ("-std=c++17", *(f"-D{name}{value}".replace("'", "") for name, value in words.items()))


def compiled(module: str, macros: Mapping[str, object], before: str = "") -> Any:
    """A module, compiled with macros; its `get_function` returns kernels. `before` precedes it."""
    import cupy

    return _compiled(cupy, before + source(*MODULES[module]), options_of(macros))


@lru_cache(maxsize=64)
def _compiled(cupy: Any, text: str, options: tuple[str, ...]) -> Any:
    return cupy.RawModule(code=text, options=options)
