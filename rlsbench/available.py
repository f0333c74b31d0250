"""Memory, disk space and processors that this process can still use.

In: a folder, or nothing.  Out: bytes, or a number of threads.  Reads files of the operating system.

A control group limits the memory and processors of all its members together, and so does every
group above it; the tightest limit counts. Both versions of control groups are read (cgroups(7), and
admin-guide/cgroup-v2 in the kernel's documentation).
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

import psutil

PROC: Final = Path("/proc")
THREADS: Final = ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "NUMBA_NUM_THREADS")  # environment: the most that a user wants


class _Files(NamedTuple):
    """File names of one version of control groups."""

    limits: tuple[str, ...]
    used: str
    cached: str  #: key in memory.stat: page cache that counts as used and is reclaimed first


_V2 = _Files(("memory.max", "memory.high"), "memory.current", "inactive_file")
_V1 = _Files(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")


def available_bytes() -> int:
    """Memory that this process can still allocate, within the limits set on it."""
    limits = [int(psutil.virtual_memory().available), group_bytes(), _address_space_left()]
    return max(0, min(limit for limit in limits if limit is not None))


def free_disk_bytes(folder: str | Path) -> int | None:
    """Bytes that can be written to a folder, which need not exist yet; None if unknown."""
    path = Path(folder).absolute()
    for place in (path, *path.parents):
        try:
            return shutil.disk_usage(place).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def available_threads(sharing: int = 1) -> int:
    """Processors that this process may use, one of several that share what is not set for each.

    The least of affinity and quotas, which they share, and of the environment.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = (re.match(r"\s*0*([1-9]\d{0,5})\s*(,|$)", os.environ.get(name, "")) for name in THREADS)
    limits = [int(found[1]) for found in wanted if found]  # OMP_NUM_THREADS may list nested levels
    quota = group_threads()
    shared = count if quota is None else min(count, int(quota))
    return max(1, min([shared // sharing, *limits]))


def group_bytes(proc: Path = PROC) -> int | None:
    """Memory left to this process by its control groups; None if none of them has a limit."""
    return min((left for files, folder in _groups(proc, "memory") for left in _left(files, folder)), default=None)


def group_threads(proc: Path = PROC) -> float | None:
    """Processors that the control groups of this process grant; None if none has a quota."""
    return min(filter(None, (_quota(files, folder) for files, folder in _groups(proc, "cpu"))), default=None)


def _quota(files: _Files, folder: Path) -> float | None:
    """Processors that a group grants, unless it has no quota ("max", or -1 in version 1)."""
    names = ("cpu.max",) if files is _V2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    try:
        quota, period = (int(word) for name in names for word in (folder / name).read_text().split())
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 and period > 0 else None


def _groups(proc: Path, controller: str) -> Iterator[tuple[_Files, Path]]:
    """The folder of each control group of this process, for a controller, and of its ancestors."""
    try:
        memberships = (proc / "self" / "cgroup").read_text().splitlines()
        mounts = (proc / "self" / "mountinfo").read_text().splitlines()
    except OSError:
        return
    for files, mount, root in _mounted(mounts, controller):
        for line in memberships:
            _, controllers, group = line.split(":", 2)
            if controllers != "" if files is _V2 else controller not in controllers.split(","):
                continue
            inside = _below(group, root)
            yield from ((files, mount / part) for part in (inside, *inside.parents))


def _mounted(mounts: list[str], controller: str) -> Iterator[tuple[_Files, Path, str]]:
    """Mount points of a controller's groups, each with its root group: proc_pid_mountinfo(5)."""
    for line in mounts:
        before, _, after = line.partition(" - ")
        fields, (kind, *source) = before.split(), after.split() or ("",)
        if len(fields) < 5 or (kind != "cgroup2" and not (kind == "cgroup" and controller in source[-1].split(","))):
            continue
        root, mount = (re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text) for text in fields[3:5])
        yield (_V2 if kind == "cgroup2" else _V1), Path(mount), root


def _below(group: str, root: str) -> PurePosixPath:
    """Path of a group below the mounted root, or the root if the group is outside (containers)."""
    path = PurePosixPath(group)
    inside = path.relative_to(root) if path.is_relative_to(root) else PurePosixPath()
    return PurePosixPath() if ".." in inside.parts else inside


def _left(files: _Files, folder: Path) -> Iterator[int]:
    """Bytes below each limit of one group, counting reclaimable cache as free."""
    for name in files.limits:
        limit, used = _number(folder / name), _number(folder / files.used)
        if limit is not None and used is not None and limit < 2**62:  # "max", or a huge number in version 1: no limit
            yield limit - used + (_number(folder / "memory.stat", f"{files.cached} ") or 0)


def _number(path: Path, key: str = "") -> int | None:
    """The number in a file that stands alone on its line, or after a key; None if there is none."""
    try:
        found = re.search(rf"^{key}(\d+)$", path.read_text(), re.MULTILINE)
    except (OSError, ValueError):
        return None
    return int(found[1]) if found else None


def _address_space_left() -> int | None:
    """Address space left below `ulimit -v`; None if unlimited."""
    if os.name != "posix":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft - int(psutil.Process().memory_info().vms)
