"""The machine, the software versions and the checkout of a run, without host or user names."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import platform
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from rlsbench.available import available_threads
from rlsbench.backend import GROUP

HOST_NAME = "RLSBENCH_HOST_NAME"
"""Environment variable with a name to record for the machine; by default none is recorded."""

_ENVIRONMENT = re.compile(r"^(OMP|GOMP|KMP|MKL|OPENBLAS|BLIS|VECLIB|NUMBA|CUDA)_[A-Z0-9_]+$")
_FOLDERS = re.compile(r"DIR|PATH|HOME")


def machine_record() -> dict[str, Any]:
    """Processor, caches, memory, frequency, GPUs, operating system and linear algebra libraries."""
    from threadpoolctl import threadpool_info

    cpu = _text("/proc/cpuinfo")
    model = _search(r"^model name\s*:\s*(.+)$", cpu) if cpu else platform.processor()
    pool_keys = ("user_api", "internal_api", "version", "num_threads", "architecture")
    return {
        **({"host": os.environ[HOST_NAME]} if os.environ.get(HOST_NAME) else {}),
        "cpu": model or platform.machine(),
        "architecture": platform.machine(),
        "physical_cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(),
        "usable_threads": available_threads(),
        "caches": _caches(),
        "memory_bytes": psutil.virtual_memory().total,
        "frequency_governor": _first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "turbo": _turbo(),
        "gpus": _gpus(),
        "gpu_driver": _search(r"Kernel Module\D*([\d.]+)", _first_line("/proc/driver/nvidia/version") or ""),
        "system": f"{platform.system()} {platform.release()}",
        "thread_pools": [{key: pool.get(key) for key in pool_keys} for pool in threadpool_info()],
    }


def machine_id(machine: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that identify the hardware, regardless of how it is configured."""
    memory, gpus = _memory_and_gpus(machine)
    hardware = [machine.get(key) for key in ("host", "cpu", "architecture", "physical_cores", "usable_threads")]
    hardware += [gpus, None if memory is None else round(memory / 2**30)]
    return hashlib.sha256(json.dumps(hardware).encode()).hexdigest()[:8]


def machine_label(machine: Mapping[str, Any]) -> str:
    """A short description, such as "AMD EPYC 9R14, 2 threads, 24 GiB"."""
    memory, gpus = _memory_and_gpus(machine)
    parts = [
        str(machine.get("host") or ""),
        re.sub(r"\((R|TM|tm)\)| CPU| Processor|@.*$", "", str(machine.get("cpu") or "unknown processor")).strip(),
        f"{machine['usable_threads']} threads" if machine.get("usable_threads") else "",
        "" if memory is None else f"{memory / 2**30:.0f} GiB",
        *(f"{count} × {gpu}" if count > 1 else gpu for gpu, count in Counter(map(str, gpus)).items()),
    ]
    return ", ".join(part for part in parts if part)


def _memory_and_gpus(machine: Mapping[str, Any]) -> tuple[int | None, list[Any]]:
    """Two entries of a record, which may contain anything if it was written by hand."""
    memory, gpus = machine.get("memory_bytes"), machine.get("gpus")
    return memory if isinstance(memory, int) else None, gpus if isinstance(gpus, list) else []


def environment_record() -> dict[str, str]:
    """Environment variables that set threads and kernels of libraries, except folders."""
    found = {name: value for name, value in sorted(os.environ.items()) if _ENVIRONMENT.match(name)}
    return {name: value for name, value in found.items() if not _FOLDERS.search(name) and "/" not in value}


@cache
def source_record() -> tuple[str | None, bool | None]:
    """Commit of this package's checkout, and whether it was changed; None if not a checkout."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None, None
    try:
        commit, changes = (
            subprocess.run(["git", "-C", folder, *command], check=True, capture_output=True, text=True, timeout=20)
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.SubprocessError):
        return None, None
    return commit.stdout.strip(), bool(changes.stdout.strip())


@cache  # it reads hundreds of files, and no library changes in a process
def version_record(backend: str) -> dict[str, str]:
    """Versions of Python, this package, the backend's distribution and their dependencies."""
    points = [point for point in metadata.entry_points(group=GROUP) if point.name == backend]
    distributions = {"rlsbench"} | {point.dist.name for point in points if point.dist is not None}
    names = set(distributions)
    for distribution in distributions:
        with suppress(metadata.PackageNotFoundError):
            required = metadata.requires(distribution) or []
            names |= {re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0] for requirement in required}
    versions = {"python": platform.python_version()}
    for name in sorted(names, key=str.lower):
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def peak_memory_bytes() -> int | None:
    """Peak resident memory of this process so far; None if the system does not report it."""
    if sys.platform == "linux" and (found := _search(r"^VmHWM:\s*(\d+) kB", _text("/proc/self/status"))):
        return 1024 * int(found)  # ru_maxrss is inherited from the parent, if that was larger
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    resource = importlib.import_module("resource")
    peak = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peak if sys.platform == "darwin" else peak * 1024


def _text(path: str | Path) -> str:
    """Content of a system file; empty if it cannot be read."""
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def _first_line(path: str) -> str | None:
    return _text(path).partition("\n")[0].strip() or None


def _search(pattern: str, text: str) -> str | None:
    """The first group of the first match."""
    found = re.search(pattern, text, re.MULTILINE)
    return found[1].strip() if found else None


def _turbo() -> bool | None:
    """Whether the processor may exceed its nominal frequency; None if unknown."""
    cpu = "/sys/devices/system/cpu"
    if boost := _first_line(f"{cpu}/cpufreq/boost"):
        return boost == "1"
    disabled = _first_line(f"{cpu}/intel_pstate/no_turbo")
    return None if disabled is None else disabled == "0"


def _gpus() -> list[str]:
    """Models of the NVIDIA GPUs that the driver lists."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    return [_search(r"^Model:\s*(.+)$", text) or "unknown GPU" for file in files if (text := _text(file))]


def _caches() -> dict[str, str]:
    """Size of each cache of the first processor, by level and type."""
    caches = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = (_text(index / name).strip() for name in ("level", "type", "size"))
        if level and kind and size:
            caches[f"L{level} {kind.lower()}"] = size
    return caches
