"""What a run ran on: the machine and the versions, without names of hosts or users.

In: nothing.  Out: plain dictionaries.
"""

from __future__ import annotations

import importlib
import platform
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from rlsbench.backend import GROUP, available_threads

__all__ = ["machine_record", "peak_memory_bytes", "version_record"]


def machine_record() -> dict[str, Any]:
    """Processor, cores, caches, memory, operating system and libraries for linear algebra."""
    from threadpoolctl import threadpool_info

    return {
        "cpu": _cpu_model(),
        "architecture": platform.machine(),
        "physical_cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(),
        "usable_threads": available_threads(),
        "caches": _caches(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.release()}",
        "thread_pools": [
            {key: pool.get(key) for key in ("user_api", "internal_api", "version", "num_threads", "architecture")}
            for pool in threadpool_info()
        ],
    }


def version_record(backend: str) -> dict[str, str]:
    """Versions of Python, of this package, of the distribution that registers the backend, and of what they require."""
    points = [point for point in metadata.entry_points(group=GROUP) if point.name == backend]
    distributions = {"rlsbench"} | {point.dist.name for point in points if point.dist is not None}
    names = set(distributions)
    for distribution in distributions:
        for requirement in _requirements(distribution):
            names.add(re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0])
    versions = {"python": platform.python_version()}
    for name in sorted(names, key=str.lower):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def peak_memory_bytes() -> int | None:
    """Largest resident memory of this process so far; None where the system does not tell."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    resource = importlib.import_module("resource")
    peak = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peak if sys.platform == "darwin" else peak * 1024


def _requirements(distribution: str) -> list[str]:
    try:
        return metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return []


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.machine()


def _caches() -> dict[str, str]:
    """Size of each cache of the first processor, by level and type."""
    caches = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        caches[f"L{level} {kind.lower()}"] = size
    return caches
