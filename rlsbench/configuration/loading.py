"""Load an experiment from a preset, a TOML file and `section.key=value` strings; write it to TOML.

Whatever is wrong is a `ConfigurationError` that names the key, its value and the accepted values.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import tomli_w
from pydantic import ValidationError

from rlsbench.configuration.experiment import MAX_NEURONS, Experiment
from rlsbench.errors import ConfigurationError

LARGEST = 2**24  # bytes; a larger file cannot be a configuration

_PRESETS = resources.files("rlsbench.configuration") / "presets"


def preset_names() -> list[str]:
    """Names of the presets that come with the package, in alphabetical order."""
    return sorted(entry.name.removesuffix(".toml") for entry in _PRESETS.iterdir() if entry.name.endswith(".toml"))


def load_experiment(
    preset: str = "smoke", *, config: str | Path | None = None, overrides: Mapping[str, Any] | None = None
) -> Experiment:
    """Load a preset and override its values, first by those of a file, then by `overrides`.

    Parameters
    ----------
    preset : str
        One of `preset_names()`.
    config : path, optional
        TOML file with the tables and keys of `Experiment`.
    overrides : mapping, optional
        From dotted keys to values, such as {"network.neurons": 10_000}.

    Raises
    ------
    ConfigurationError
        For an unknown preset or key, an unreadable file, or an invalid value.

    Examples
    --------
    >>> load_experiment("sinusoid", overrides={"network.neurons": 20_000}).network.neurons
    20000
    """
    if preset not in preset_names():
        raise ConfigurationError(f"unknown preset {_brief(preset)}; the presets are {', '.join(preset_names())}")
    tables = tomllib.loads((_PRESETS / f"{preset}.toml").read_text(encoding="utf-8"))
    tables["preset"] = preset
    if config is not None:
        given = read_toml(Path(config), "configuration")
        _merge(tables, given)
        _fit_sizes(tables, given)
    return _overridden(tables, overrides or {})


def preset_of(experiment: Experiment) -> Experiment | None:
    """The preset that an experiment is based on, or None if this version has no such preset."""
    return load_experiment(experiment.preset) if experiment.preset in preset_names() else None


def changed(experiment: Experiment, overrides: Mapping[str, Any]) -> Experiment:
    """Copy an experiment with the values of some dotted keys replaced; see `load_experiment`."""
    return _overridden(experiment.model_dump(), overrides)


def _overridden(tables: dict[str, Any], overrides: Mapping[str, Any]) -> Experiment:
    for key, value in overrides.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        _merge(tables, value)
    _fit_sizes(tables, overrides)
    return validated(tables)


def validated(tables: Mapping[str, Any]) -> Experiment:
    """Make an experiment from plain tables, or raise a `ConfigurationError` of one sentence."""
    try:
        return Experiment.model_validate(tables)
    except ValidationError as error:
        message = _first_error(error)
        raise ConfigurationError(message if len(message) <= 1000 else f"{message[:997]}...") from None


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Parse `section.key=value` strings; a value that is not valid TOML is taken as a string.

    Anything else is a `ConfigurationError`.
    """
    overrides = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key, text = key.strip(), text.strip()
        if not equals or not text or not all(key.split(".")):
            raise ConfigurationError(f"{assignment!r} is not of the form section.key=value, such as time.dt_ms=0.1")
        try:
            overrides[key] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            overrides[key] = text
        except (ValueError, RecursionError) as error:  # a number with thousands of digits, or deep nesting
            reason = "nested too deeply" if isinstance(error, RecursionError) else _sentence(error)
            raise ConfigurationError(f"{key} = {_brief(text)}: {reason}") from None
    return overrides


def to_toml(experiment: Experiment) -> str:
    """Write all settings of an experiment as TOML, which `load_experiment(config=...)` can read."""
    tables = experiment.model_dump(mode="json", exclude_none=True)
    tables["network"].setdefault("L", experiment.network.plastic_per_population)
    return tomli_w.dumps(tables)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Read a TOML file, which may be untrusted: its size and nesting are limited.

    The `ConfigurationError` of an invalid file calls it `what`, such as "configuration".
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ConfigurationError(f"the {what} {path} is larger than {LARGEST >> 20} MiB")
        return tomllib.loads(content.decode("utf-8-sig").replace("\r\n", "\n"))
    except OSError as error:
        raise ConfigurationError(f"cannot read the {what} {path}: {error.strerror}") from None
    except RecursionError:
        raise ConfigurationError(f"the {what} {path} is not valid TOML: it is nested too deeply") from None
    except ValueError as error:  # invalid TOML or UTF-8, or a number with thousands of digits
        raise ConfigurationError(f"the {what} {path} is not valid TOML: {_sentence(error)}") from None


def _sentence(error: Exception) -> str:
    """The message of a library in one line."""
    return " ".join(str(error).split())[:300]


def _fit_sizes(tables: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Of N and the sizes of populations, change the one that is not among the given settings."""
    network, populations = tables.get("network"), tables.get("populations")
    if not populations or not isinstance(network, dict) or not isinstance(populations, list | tuple):
        return
    sizes: list[Any] = [p.get("size") if isinstance(p, Mapping) else None for p in populations]
    if not all(isinstance(size, int | float) and 0 < size <= MAX_NEURONS for size in sizes):
        return  # which the validation refuses
    total, table = sum(sizes), given.get("network")
    resized = any(key.partition(".")[0] == "populations" for key in given)
    if not ("network.neurons" in given or (isinstance(table, Mapping) and "neurons" in table)):
        if resized:
            network["neurons"] = total
    elif "populations" not in given and isinstance(N := network["neurons"], int | float) and 0 < N <= MAX_NEURONS:
        bounds = [round(N * sum(sizes[:i]) / total) for i in range(len(sizes) + 1)]
        tables["populations"] = [p | {"size": b - a} for p, (a, b) in zip(populations, pairwise(bounds), strict=True)]


def _merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    for key, value in other.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _first_error(error: ValidationError) -> str:
    """One sentence about the first error, and the keys of the others."""
    errors = error.errors(include_url=False)
    # Beyond the key, the location names the member of a union that was tried.
    keys = [".".join(str(part) for part in e["loc"][: _depth(e["loc"])]) for e in errors]
    first, key = errors[0], keys[0]
    if first["type"] == "extra_forbidden":
        message = f"unknown key {key}; {_accepted_keys(first['loc'])}"
    elif first["type"] == "missing":
        message = f"{key} is missing"
    elif not key:  # values that are not valid together: the message names a key
        message = first["msg"].removeprefix("Value error, ")
    else:
        found = [e["msg"] for e, its_key in zip(errors, keys, strict=True) if its_key == key]
        messages = [text.removeprefix("Value error, ") for text in found]
        wanted = " or ".join(dict.fromkeys(text[0].lower() + text[1:] for text in messages))
        message = f"{key} = {_brief(first['input'])}: {wanted.replace('input should', 'should')}"
    others = sorted({*keys} - {key})
    message = " ".join(message.split())
    return message + (f" (and {len(others)} more: {', '.join(others)})" if others else "")


def _brief(value: Any) -> str:
    """The representation of a value, truncated if it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number with thousands of digits, or deep nesting
        return f"a {type(value).__name__} too long to show"
    return text if len(text) <= 200 else f"{text[:197]}..."


def _depth(location: tuple[int | str, ...]) -> int:
    """How many of its parts are keys: of a section, of one of several tables, of parameters."""
    depth = 3 if len(location) > 1 and isinstance(location[1], int) else 2
    return depth + (location[depth - 1 : depth] == ("parameters",))


def _accepted_keys(location: tuple[int | str, ...]) -> str:
    model: Any = Experiment
    for part in location[:-1]:
        # a list of tables is annotated as tuple[Section, ...]
        model = get_args(model)[0] if isinstance(part, int) else model.model_fields[part].annotation
    names = sorted(model.model_fields)
    close = difflib.get_close_matches(str(location[-1]), names, n=1)
    where = f"the keys of {location[0]} are" if len(location) > 1 else "the sections are"
    return (f"did you mean {close[0]}? " if close else "") + f"{where} {', '.join(names)}"
