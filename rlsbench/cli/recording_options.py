"""Command-line options for reading a recording, generated from the fields of `ReadOptions`.

In: strings.  Out: `ReadOptions`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from rlsbench.configuration.recording import BIN_OPTION, CommandOption
from rlsbench.recordings import ReadOptions

__all__ = ["RECORDING_KEYS", "read_options_from", "recording_options"]

# Field of ReadOptions -> its option
_OPTIONS = {
    name: next(part for part in field.metadata if isinstance(part, CommandOption))
    for name, field in ReadOptions.model_fields.items()
}
# Parameter of a command -> field of ReadOptions
_FIELDS = {option.flag.removeprefix("--").replace("-", "_"): name for name, option in _OPTIONS.items()}

# Parameter of a command -> key of the configuration
RECORDING_KEYS = {
    parameter: "time.learn_every_ms" if _OPTIONS[name] is BIN_OPTION else f"recording.{name}"
    for parameter, name in _FIELDS.items()
}


def recording_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that make up `ReadOptions` to a command."""
    for name, option in reversed(_OPTIONS.items()):
        keywords = {"help": ReadOptions.model_fields[name].description} | option.click
        command = click.option(option.flag, metavar=option.metavar, **keywords)(command)
    return command


def read_options_from(options: dict[str, Any]) -> ReadOptions:
    """The `ReadOptions` that the options of a command give; other options are ignored.

    Raises
    ------
    ConfigurationError
        For an invalid value.
    """
    given = {name: options[option] for option, name in _FIELDS.items() if options.get(option) not in (None, ())}
    if "bin_s" in given:
        given["bin_s"] /= 1000.0
    if "any" in given.get("quality", ()):
        given["quality"] = ()
    return ReadOptions(**given)
