"""Options that several commands share, and how text on the command line becomes overrides.

In: strings.  Out: numbers, an `Experiment`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from rlsbench.cli.recording_options import RECORDING_KEYS, recording_options
from rlsbench.configuration import Experiment, load_experiment, parse_assignments, preset_names
from rlsbench.monitor import LEAST_SECONDS

__all__ = [
    "COUNT",
    "MEMORY",
    "checkpoint_options",
    "experiment_options",
    "given_overrides",
    "resolve_experiment",
    "resource_options",
]

_SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}


class CountType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A whole number: 10000, 10_000, 1e4, 10k or 1M."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read a count.

        Raises
        ------
        click.BadParameter
            For anything that is not a whole number.
        """
        if isinstance(value, int):
            return value
        text = str(value).strip().replace("_", "")
        match = re.fullmatch(r"([+-]?\d*\.?\d+(?:e[+-]?\d{1,3})?)([kmg]?)", text, re.IGNORECASE)
        if match is not None:
            number = float(match[1]) * _SUFFIXES[match[2].lower()]
            if number.is_integer():
                return int(number)
        return self.fail(f"{value!r} is not a whole number; write 10000, 10_000, 1e4 or 10k", param, ctx)


COUNT = CountType()


class MemoryType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Bytes: 80GB (of 10^9), 80GiB (of 2^30) or a whole number."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read a size.

        Raises
        ------
        click.BadParameter
            For anything that is not a size above 0.
        """
        if isinstance(value, int):
            return value
        match = re.fullmatch(r"(\d*\.?\d+(?:e\d{1,2})?)\s*(?:([kmgt])(i?)b?|b)?", str(value).strip(), re.IGNORECASE)
        if match is not None:
            base = 1024 if match[3] else 1000
            size = int(float(match[1]) * base ** " kmgt".index((match[2] or " ").lower()))
            if size > 0:
                return size
        return self.fail(f"{value!r} is not a size; write 80GB, 80GiB or 8e10", param, ctx)


MEMORY = MemoryType()

_EXPERIMENT_OPTIONS = [
    click.option("--neurons", type=COUNT, help="Number of neurons: 10000, 1e4, 10k."),
    click.option("--plastic-inputs", type=COUNT, help="n, plastic inputs a neuron, half of them excitatory."),
    click.option("--iterations", type=COUNT, help="Number of trials with learning."),
    click.option("--seed", type=COUNT, help="Seed of every random stream."),
    click.option("--precision", metavar="TYPE", help="float64 or float32, of currents, voltages and weights."),
    click.option(
        "--p-precision", metavar="TYPE", help="Of P as it is stored: float64, float32, float16, bfloat16, int16."
    ),
    click.option("--storage", metavar="FORM", help="full or packed, of P."),
    click.option("--algorithm", metavar="FORM", help="auto, plain or event: form of the RLS update."),
    click.option("--threads", type=COUNT, help="Threads; by default all that this process may use."),
    click.option("--device", help="Device, as cpu or cuda:0; see `rlsbench backends`."),
    click.option("--compile/--no-compile", default=None, help="Let the backend's library compile, where it can."),
    click.option(
        "--recording",
        multiple=True,
        metavar="FILE",
        help="Recorded spikes or rates (see `rlsbench inspect`), or a data set as alm:left; several are conditions.",
    ),
    click.option("--untrained", type=COUNT, help="Neurons beyond those of the recording, without target."),
    click.option("--transfer", metavar="RULE", help="stationary, as published, or simulated: from rates to currents."),
    click.option("--config", "config", metavar="FILE", type=click.Path(path_type=Path), help="TOML file of settings."),
    click.option(
        "--set", "assignments", multiple=True, metavar="SECTION.KEY=VALUE", help="One setting; may be given again."
    ),
]

_CHECKPOINT_OPTIONS = [
    click.option("--checkpoint-every", type=COUNT, metavar="N", help="Save a checkpoint every N iterations."),
    click.option("--keep", type=COUNT, metavar="K", help="How many checkpoints are kept, the latest; 2 by default."),
    click.option(
        "--save-best",
        is_flag=False,
        flag_value="whole",
        type=click.Choice(["whole", "weights", "none"]),
        help="Keep the best by correlation as well: whole, or its weights alone, which `evaluate` needs.",
    ),
    click.option(
        "--patience",
        type=COUNT,
        metavar="N",
        help="Stop once the smoothed correlation has been below its best for N iterations; keeps the best weights.",
    ),
]

_KEYS = RECORDING_KEYS | {
    "neurons": "network.neurons",
    "iterations": "training.iterations",
    "seed": "training.seed",
    "precision": "numerics.precision",
    "p_precision": "numerics.p_precision",
    "storage": "numerics.storage",
    "algorithm": "numerics.algorithm",
    "threads": "numerics.threads",
    "device": "numerics.device",
    "compile": "numerics.compile",
    "recording": "recording.files",
    "untrained": "targets.untrained",
    "transfer": "targets.transfer",
    "checkpoint_every": "checkpoints.every",
    "keep": "checkpoints.keep",
    "save_best": "checkpoints.best",
    "patience": "training.patience",
}


def experiment_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that make up an experiment to a command."""
    command = recording_options(command)
    for option in reversed(_EXPERIMENT_OPTIONS):
        command = option(command)
    return command


def checkpoint_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say what a run saves on the way and when it stops by itself."""
    for option in reversed(_CHECKPOINT_OPTIONS):
        command = option(command)
    return command


def resource_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say what is recorded of memory and energy, and whether to start where they are short."""
    monitor = click.option(
        "--monitor",
        type=click.FloatRange(min=LEAST_SECONDS),
        metavar="SECONDS",
        help="Record processor, memory and energy so often, into resources.csv and the results.",
    )
    force = click.option("--force", is_flag=True, help="Start even what memory or disk is too small for.")
    return monitor(force(command))


def given_overrides(options: Mapping[str, Any], others: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The settings that options name, by dotted key, over others; what was not given is left out."""
    overrides = dict(others or {})
    overrides |= {key: options[name] for name, key in _KEYS.items() if options.get(name) not in (None, ())}
    if overrides.get("training.patience") and "checkpoints.best" not in overrides:
        overrides["checkpoints.best"] = "weights"
    return overrides


def resolve_experiment(preset: str, options: dict[str, Any]) -> Experiment:
    """Preset, then --config, then --set, then the options of their own.

    Raises
    ------
    ConfigurationError
    click.UsageError
        For options that exclude each other.
    """
    if options["recording"] and options["neurons"] is not None:
        raise click.UsageError(
            "--neurons and --recording exclude each other: a recording sets their number, --untrained adds to it"
        )
    overrides = parse_assignments(options["assignments"])
    overrides = given_overrides(options, overrides)
    if options["plastic_inputs"] is not None:
        overrides["network.L"] = _per_population(preset, options["config"], options["plastic_inputs"], overrides)
    if "any" in options.get("quality", ()):
        overrides["recording.quality"] = ()
    if options["recording"]:
        overrides["targets.kind"] = "recording"
    return load_experiment(preset, config=options["config"], overrides=overrides)


def _per_population(preset: str, config: Path | None, n: int, overrides: dict[str, Any]) -> int:
    """L of n = LX + 2 L."""
    feedforward = load_experiment(preset, config=config, overrides=overrides | {"network.L": 0}).feedforward.LX
    if n < feedforward or (n - feedforward) % 2:
        beside = f"{feedforward} feed-forward ones and " if feedforward else ""
        raise click.UsageError(f"--plastic-inputs {n}: must be {beside}an even number, half from each population")
    return (n - feedforward) // 2


def preset_help() -> str:
    """The names of the presets for a help text."""
    return ", ".join(preset_names())
