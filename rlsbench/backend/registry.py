"""Backends by name, and the options that a backend supports.

In: a name, or requested numeric options.  Out: a `Backend`, or resolved `Options`, or an error with
the reason.

Backends are found through the entry-point group `rlsbench.backends`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rlsbench import plugins
from rlsbench.available import available_threads
from rlsbench.backend.backend import Backend
from rlsbench.backend.capabilities import FEATURES, Capabilities, Options
from rlsbench.backend.trainer import Trainer
from rlsbench.configuration import NumericsSection
from rlsbench.errors import RlsbenchError, UnavailableBackendError, UnknownBackendError, UnsupportedError
from rlsbench.precision import PRECISIONS
from rlsbench.problem import Problem

GROUP: Final = "rlsbench.backends"


@dataclass(frozen=True)
class Entry:
    """A registered backend."""

    name: str  #: name of the entry point
    origin: str  #: distribution that registers it, with its version; several that claim the name
    backend: Backend | None  #: None if it could not be loaded
    reason: str | None  #: why it is not usable here; None if it is usable


def backend_entries() -> list[Entry]:
    """All registered backends, usable or not, in alphabetical order."""
    return [_load(name, points) for name, points in plugins.registered(GROUP).items()]


def get_backend(name: str) -> Backend:
    """Return the backend of that name if it is usable on this machine.

    Raises
    ------
    UnknownBackendError
        If no distribution registers it.
    UnavailableBackendError
        If it cannot be loaded or used; the message gives the reason and lists usable backends.
    """
    entry = _registered(name)
    backend, reason = entry.backend, entry.reason
    if backend is None or reason is not None:
        usable = ", ".join(entry.name for entry in backend_entries() if entry.reason is None) or "none"
        raise UnavailableBackendError(f"backend {name} cannot be used: {reason}; available here: {usable}")
    return backend


def registered_backend(name: str) -> Backend:
    """Return the backend of that name, whether or not it is usable on this machine.

    Raises
    ------
    UnknownBackendError
        If no distribution registers it.
    UnavailableBackendError
        If it cannot be loaded, with the reason.
    """
    entry = _registered(name)
    if entry.backend is None:
        raise UnavailableBackendError(f"backend {name} cannot be used: {entry.reason}")
    return entry.backend


def _registered(name: str) -> Entry:
    found = plugins.registered(GROUP)
    if name not in found:
        known = ", ".join(found) or "none"
        raise UnknownBackendError(f"unknown backend {name!r}; registered here: {known}")
    return _load(name, found[name])


def make_trainer(backend: Backend, problem: Problem, options: Options) -> Trainer:
    """Make a trainer; a `BackendError` if the backend fails."""
    with plugins.blamed(f"backend {backend.name}"):
        trainer = backend.trainer(problem, options)
        if not isinstance(trainer, Trainer):
            raise plugins.ContractError(f"trainer() returned a {type(trainer).__name__}")
        return trainer


def resolve_options(backend: Backend, numerics: NumericsSection) -> Options:
    """Replace "auto" by the backend's preferences, and check that the backend supports the rest.

    Raises
    ------
    UnsupportedError
        If the backend does not support a precision, storage, algorithm, device or compilation.
    """
    offered = backend.capabilities
    precision = offered.precisions[0] if numerics.precision == "auto" else numerics.precision
    _require_supported(backend, "precision", precision, offered.precisions)
    p_precision = precision if numerics.p_precision == "auto" else numerics.p_precision
    _require_supported(backend, "p_precision", p_precision, offered.p_precisions)
    if not compatible_precisions(precision, p_precision):
        raise UnsupportedError(f"p_precision {p_precision} is computed in float32, so it needs precision float32")
    storage = offered.storages[0] if numerics.storage == "auto" else numerics.storage
    _require_supported(backend, "storage", storage, offered.storages)
    if numerics.algorithm != "auto":
        _require_supported(backend, "algorithm", numerics.algorithm, offered.algorithms)
    device = resolved_device(backend, numerics.device)
    if numerics.compile and not offered.compiles:
        raise UnsupportedError(f"backend {backend.name} does not support numerics.compile")
    threads = numerics.threads or available_threads()
    return Options(precision, p_precision, storage, threads, device, numerics.algorithm, numerics.compile)


def resolved_device(backend: Backend, device: str) -> str:
    """Return the requested device, or the backend's preferred one for "auto".

    Raises
    ------
    UnsupportedError
        If the backend does not support that kind of device.
    """
    devices = backend.capabilities.devices
    device = devices[0] if device == "auto" else device
    kind, numbered, _ = device.partition(":")
    _require_supported(backend, "device", kind if kind != "cpu" or not numbered else device, devices)
    return device


def why_unusable(backend: Backend, options: Options) -> str | None:
    """Why the backend is not usable with these options on this machine, or None."""
    with plugins.blamed(f"backend {backend.name}"):
        return backend.unavailable() or backend.unusable(options)


def require_usable(backend: Backend, options: Options) -> None:
    """Check that this machine has the backend's library and the device.

    Raises
    ------
    UnavailableBackendError
    """
    reason = why_unusable(backend, options)
    if reason is not None:
        raise UnavailableBackendError(f"backend {backend.name} cannot be used on {options.device}: {reason}")


def require(backend: Backend, problem: Problem) -> None:
    """Check that the backend supports the features and the number of inputs of a problem.

    Raises
    ------
    UnsupportedError
    """
    missing = sorted(problem.required_features - backend.capabilities.features)
    if missing:
        described = "; ".join(f"{name} ({FEATURES.get(name, 'unknown feature')})" for name in missing)
        raise UnsupportedError(f"backend {backend.name} does not support {described}")
    most = backend.capabilities.max_plastic_inputs
    if most is not None and problem.n > most:
        raise UnsupportedError(
            f"backend {backend.name} supports at most {most} plastic inputs a neuron, not {problem.n}"
        )


def compatible_precisions(precision: str, p_precision: str) -> bool:
    """Whether a precision of P can be combined with this one of currents: 16 bits need float32."""
    return not PRECISIONS[p_precision].narrow or precision == "float32"


def _require_supported(backend: Backend, option: str, value: str, supported: tuple[str, ...]) -> None:
    if value not in supported:
        raise UnsupportedError(
            f"backend {backend.name} does not support {option} {value}; supported: {', '.join(supported)}"
        )


def _load(name: str, points: plugins.Points) -> Entry:
    backend = None
    try:
        loaded = plugins.load(points)
        if not isinstance(loaded, Backend):
            raise plugins.ContractError(f"{points[0].value} is not an instance of rlsbench.backend.Backend")
        if not isinstance(loaded.capabilities, Capabilities):
            raise plugins.ContractError(f"its capabilities are a {type(loaded.capabilities).__name__}")
        if loaded.name != name:
            raise plugins.ContractError(f"its name is {loaded.name!r}, not that of its entry point")
        reason = loaded.unavailable()
        if not isinstance(reason, str | None):
            raise plugins.ContractError(f"unavailable() returned {reason!r}")
        backend = loaded
    except (RlsbenchError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a plug-in may fail in any way; the others must still be listed
        reason = plugins.reason(error)
    return Entry(name, plugins.origins(points), backend, reason)
