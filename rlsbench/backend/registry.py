"""Finding backends through the entry-point group `rlsbench.backends`, and resolving what is asked of them.

In: names and numeric options.  Out: backends and `Options`, or the reason why not.  Knows no backend by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata

from rlsbench.available import available_threads
from rlsbench.backend.backend import Backend
from rlsbench.backend.capabilities import FEATURES, Options
from rlsbench.configuration import NumericsSection
from rlsbench.errors import UnavailableBackendError, UnknownBackendError, UnsupportedError
from rlsbench.precision import PRECISIONS
from rlsbench.problem import Problem

__all__ = [
    "GROUP",
    "Entry",
    "backend_entries",
    "get_backend",
    "goes_with",
    "registered_backend",
    "require",
    "require_usable",
    "resolve_options",
    "resolved_device",
    "why_unusable",
]

GROUP = "rlsbench.backends"


@dataclass(frozen=True)
class Entry:
    """One registered backend.

    Parameters
    ----------
    name : str
        Name of the entry point.
    origin : str
        Distribution and version that registers it.
    backend : Backend or None
        None where it could not be loaded.
    reason : str or None
        Why it cannot be used here; None where it can.
    """

    name: str
    origin: str
    backend: Backend | None
    reason: str | None


def backend_entries() -> list[Entry]:
    """Every registered backend, usable or not, in alphabetic order."""
    return [_load(point) for point in sorted(metadata.entry_points(group=GROUP), key=lambda point: point.name)]


def get_backend(name: str) -> Backend:
    """The backend of that name, if it can be used.

    Raises
    ------
    UnknownBackendError
        If no distribution registers it.
    UnavailableBackendError
        If it cannot be loaded or used, with the reason and the backends that can.
    """
    backend = registered_backend(name)
    reason = backend.unavailable()
    if reason is not None:
        usable = ", ".join(entry.name for entry in backend_entries() if entry.reason is None) or "none"
        raise UnavailableBackendError(f"backend {name} cannot be used: {reason}; available here: {usable}")
    return backend


def registered_backend(name: str) -> Backend:
    """The backend of that name, whether it can be used here or not.

    Raises
    ------
    UnknownBackendError
        If no distribution registers it.
    UnavailableBackendError
        If it cannot be loaded, with the reason.
    """
    points = metadata.entry_points(group=GROUP)
    if name not in points.names:
        known = ", ".join(sorted(points.names)) or "none"
        raise UnknownBackendError(f"unknown backend {name!r}; registered here: {known}")
    entry = _load(points[name])
    if entry.backend is None:
        raise UnavailableBackendError(f"backend {name} cannot be used: {entry.reason}")
    return entry.backend


def resolve_options(backend: Backend, numerics: NumericsSection) -> Options:
    """Fill in what was left to the backend, and refuse what it lacks.

    Raises
    ------
    UnsupportedError
        For a precision, storage, algorithm or device that the backend does not have.
    """
    offered = backend.capabilities
    precision = offered.precisions[0] if numerics.precision == "auto" else numerics.precision
    _among(backend, "precision", precision, offered.precisions)
    p_precision = precision if numerics.p_precision == "auto" else numerics.p_precision
    _among(backend, "p_precision", p_precision, offered.p_precisions)
    if not goes_with(precision, p_precision):
        raise UnsupportedError(f"p_precision {p_precision} is computed in float32, so it needs precision float32")
    storage = offered.storages[0] if numerics.storage == "auto" else numerics.storage
    _among(backend, "storage", storage, offered.storages)
    if numerics.algorithm != "auto":
        _among(backend, "algorithm", numerics.algorithm, offered.algorithms)
    device = resolved_device(backend, numerics.device)
    if numerics.compile and not offered.compiles:
        raise UnsupportedError(f"backend {backend.name} has nothing to compile: leave out numerics.compile")
    threads = numerics.threads or available_threads()
    return Options(precision, p_precision, storage, threads, device, numerics.algorithm, numerics.compile)


def resolved_device(backend: Backend, device: str) -> str:
    """The device that was asked for, or with "auto" the one that the backend prefers.

    Raises
    ------
    UnsupportedError
        For a kind of device that the backend does not have.
    """
    devices = backend.capabilities.devices
    device = devices[0] if device == "auto" else device
    kind, numbered, _ = device.partition(":")
    _among(backend, "device", kind if kind != "cpu" or not numbered else device, devices)
    return device


def why_unusable(backend: Backend, options: Options) -> str | None:
    """Why the backend cannot be used with these options on this machine, or None."""
    return backend.unavailable() or backend.unusable(options)


def require_usable(backend: Backend, options: Options) -> None:
    """Refuse what this machine lacks: the library, the device, or what the device needs.

    Raises
    ------
    UnavailableBackendError
    """
    reason = why_unusable(backend, options)
    if reason is not None:
        raise UnavailableBackendError(f"backend {backend.name} cannot be used on {options.device}: {reason}")


def require(backend: Backend, problem: Problem) -> None:
    """Refuse a problem that needs a feature which the backend does not declare.

    Raises
    ------
    UnsupportedError
    """
    lacking = sorted(problem.required_features - backend.capabilities.features)
    if lacking:
        described = "; ".join(f"{name} ({FEATURES.get(name, 'unknown feature')})" for name in lacking)
        raise UnsupportedError(f"backend {backend.name} lacks {described}")


def goes_with(precision: str, p_precision: str) -> bool:
    """Whether P may have that precision beside currents of this one: 16 bits are computed in float32."""
    return not PRECISIONS[p_precision].narrow or precision == "float32"


def _among(backend: Backend, option: str, value: str, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        raise UnsupportedError(f"backend {backend.name} has no {option} {value}; it has {', '.join(accepted)}")


def _load(point: metadata.EntryPoint) -> Entry:
    origin = f"{point.dist.name} {point.dist.version}" if point.dist is not None else "unknown"
    try:
        backend = point.load()
        if not isinstance(backend, Backend):
            return Entry(point.name, origin, None, f"{point.value} is not an instance of rlsbench.backend.Backend")
        reason = backend.unavailable()
    except (Exception, SystemExit) as error:  # a plug-in may fail in any way; the others must still be listed
        return Entry(point.name, origin, None, f"{type(error).__name__}: {' '.join(str(error).split())}")
    return Entry(point.name, origin, backend, reason)
