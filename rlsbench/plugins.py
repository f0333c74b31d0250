"""Plug-ins by name, and errors that name the plug-in that caused them.

In: a group of entry points.  Out: what they load, or the reason why there is nothing.  A plug-in
may do anything: the error says which one it was, and nothing else is hurt.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from rlsbench.errors import BackendError, ConfigurationError, InterruptedRunError, RlsbenchError

PLAIN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""Names of plug-ins, which become parts of the names of files."""

Points = Sequence[metadata.EntryPoint]


class ContractError(Exception):
    """A plug-in returned what it must not."""


def registered(group: str) -> dict[str, Points]:
    """The entry points of a group by name, in alphabetical order; several may claim one name."""
    found: dict[str, list[metadata.EntryPoint]] = {}
    for point in sorted(metadata.entry_points(group=group), key=lambda point: point.name):
        found.setdefault(point.name, []).append(point)
    return dict(found)


def origins(points: Points) -> str:
    """The distributions that register a name, with their versions."""
    return " and ".join(f"{p.dist.name} {p.dist.version}" if p.dist is not None else "unknown" for p in points)


def load(points: Points) -> Any:
    """Load what a name stands for.

    Raises
    ------
    ContractError
        If the name is not plain, or not unique.
    Exception
        Whatever the plug-in raises.
    """
    first, *others = points
    if not re.fullmatch(PLAIN, first.name):
        raise ContractError("its name is not plain: letters, digits and ._- are accepted")
    if others:
        raise ContractError(f"its name is registered by {origins(points)}: uninstall one of them")
    try:
        return first.load()
    except KeyboardInterrupt as error:  # perhaps because it takes for ever
        told = f"interrupted while {first.name} of {origins(points)} was loaded"
        raise InterruptedRunError(told, getattr(error, "number", 2)) from None


@lru_cache  # entry points take milliseconds to find
def named(group: str, name: str, setting: str, *, importable: bool = False) -> Any:
    """Load what a setting names.

    Parameters
    ----------
    group, name : str
        Of the entry point.
    setting : str
        What errors call the setting.
    importable : bool
        Whether the name may also be module:Name.

    Raises
    ------
    ConfigurationError
        If nothing is registered under this name, or it cannot be loaded.
    """
    found = registered(group)
    told = f"{setting} = {name!r}"
    if name in found:
        points = found[name]
    elif importable and ":" in name:
        points = [metadata.EntryPoint("own", name, group)]
    else:
        known = ", ".join([*found, *["module:Name"] * importable])
        raise ConfigurationError(f"{told} is not registered here; accepted are {known}")
    try:
        return load(points)
    except (RlsbenchError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a plug-in may fail in any way
        path = "; PYTHONPATH should name its folder" if isinstance(error, ModuleNotFoundError) and importable else ""
        raise ConfigurationError(f"{told} cannot be loaded: {reason(error)}{path}") from None


def subclass(group: str, name: str, base: type, setting: str, *, importable: bool = False) -> Any:
    """The same, which must be a subclass of `base`: another class is a `ConfigurationError`."""
    kind = named(group, name, setting, importable=importable)
    if not (isinstance(kind, type) and issubclass(kind, base)):
        raise ConfigurationError(f"{setting} = {name!r} cannot be used: it is not a subclass of {base.__name__}")
    return kind


def reason(error: BaseException) -> str:
    """What a plug-in raised, in one line."""
    text = " ".join(str(error).split())[:300]
    return text if isinstance(error, ContractError) else f"{type(error).__name__}: {text}"


@contextmanager
def blamed(plugin: str) -> Iterator[None]:
    """Turn what a plug-in raises in the block into a `BackendError` with its name and the place."""
    try:
        yield
    except (RlsbenchError, MemoryError, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # SystemExit, too, ends nothing but this plug-in
        at = traceback.extract_tb(error.__traceback__)[-1]
        where = "" if isinstance(error, ContractError) else f" ({Path(at.filename).name}:{at.lineno}, in {at.name})"
        raise BackendError(f"{plugin} failed: {reason(error)}{where}") from error


def check_shape(what: str, found: Any, shape: tuple[int, ...], kinds: str = "f") -> None:
    """Raise a `ContractError` unless a plug-in returned an array of this shape and dtype."""
    if np.shape(found) != shape:
        raise ContractError(f"{what} has shape {np.shape(found)}, not {shape}")
    if found.dtype.kind not in kinds:
        raise ContractError(f"{what} has dtype {found.dtype}")
