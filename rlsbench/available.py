"""How much memory and disk this process can still take: of the machine, and of every limit that stands above it.

In: nothing, or a folder.  Out: bytes.  Knows files of the system, and neither experiments nor backends.

A control group limits what all its members take together, and so does each group above it: the least of them counts.
Both versions of control groups are read, where they are mounted (cgroups(7); the kernel's admin-guide/cgroup-v2).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

import psutil

__all__ = ["available_bytes", "available_threads", "free_disk_bytes", "group_bytes"]

PROC: Final = Path("/proc")


class _Files(NamedTuple):
    """Names of the files of one version of control groups."""

    limits: tuple[str, ...]
    used: str
    cached: str
    """In memory.stat: of what counts as used, pages of files that are dropped first."""


_V2 = _Files(("memory.max", "memory.high"), "memory.current", "inactive_file")
_V1 = _Files(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")


def available_bytes() -> int:
    """Memory that this process can still take: the machine's, or less where it or a group that it is in is limited."""
    limits = [int(psutil.virtual_memory().available), group_bytes(), _own_limit()]
    return max(0, min(limit for limit in limits if limit is not None))


def free_disk_bytes(folder: str | Path) -> int | None:
    """Bytes that can be written into a folder, which may not exist yet; None where the system does not tell."""
    path = Path(folder).absolute()
    for place in (path, *path.parents):
        try:
            return shutil.disk_usage(place).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def group_bytes(proc: Path = PROC) -> int | None:
    """Memory that the control groups of this process leave it; None where none of them is limited.

    Parameters
    ----------
    proc : Path
        Where the kernel tells of processes.
    """
    left = [room for files, folder in _groups(proc) for room in _room(files, folder)]
    return min(left, default=None)


def _groups(proc: Path) -> Iterator[tuple[_Files, Path]]:
    """The folder of each control group that this process is in, itself and those above it."""
    try:
        memberships = (proc / "self" / "cgroup").read_text().splitlines()
        mounts = (proc / "self" / "mountinfo").read_text().splitlines()
    except OSError:
        return
    for files, at, root in _mounted(mounts):
        for line in memberships:
            _, _, rest = line.partition(":")
            controllers, _, group = rest.partition(":")
            if controllers != "" if files is _V2 else "memory" not in controllers.split(","):
                continue
            inside = _below(group, root)
            yield from ((files, at / part) for part in (inside, *inside.parents))


def _mounted(mounts: list[str]) -> Iterator[tuple[_Files, Path, str]]:
    """Where control groups of memory are mounted, and which of them is at the top there: proc_pid_mountinfo(5)."""
    for line in mounts:
        before, _, after = line.partition(" - ")
        fields, (kind, *source) = before.split(), after.split() or ("",)
        if len(fields) < 5 or (kind != "cgroup2" and not (kind == "cgroup" and "memory" in source[-1].split(","))):
            continue
        root, at = (re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text) for text in fields[3:5])
        yield (_V2 if kind == "cgroup2" else _V1), Path(at), root


def _below(group: str, root: str) -> PurePosixPath:
    """The path of a group below the one that is mounted; that one itself where it lies elsewhere, as in containers."""
    try:
        inside = PurePosixPath(group).relative_to(root)
    except ValueError:
        return PurePosixPath()
    return PurePosixPath() if ".." in inside.parts else inside


def _room(files: _Files, folder: Path) -> Iterator[int]:
    for name in files.limits:
        limit = _number(folder / name)
        used = _number(folder / files.used)
        if limit is None or used is None or limit >= 2**62:  # "max", or what version 1 says for it
            continue
        yield limit - used + _cached(folder / "memory.stat", files.cached)


def _cached(path: Path, key: str) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{key} ")), 0)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _own_limit() -> int | None:
    """What `ulimit -v` leaves: the limit of the address space, less what is mapped; None where there is none."""
    if os.name != "posix":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft - int(psutil.Process().memory_info().vms)


def available_threads() -> int:
    """Processors that this process may use: its affinity, and the quota of its control group."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return count
    return count if quota == "max" else max(1, min(count, int(quota) // int(period)))
