"""Options that several commands share, and the settings of an experiment that they stand for.

In: strings.  Out: numbers, an `Experiment`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import click

from rlsbench.cli.recording_options import RECORDING_KEYS, recording_options
from rlsbench.configuration import Experiment, load_experiment, parse_assignments, preset_names
from rlsbench.monitor import SHORTEST_INTERVAL

Decorator = Callable[[Callable[..., None]], Callable[..., None]]


class CountType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A whole number: 10000, 10_000, 1e4, 10k or 1M."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read a count, or raise `click.BadParameter`."""
        if isinstance(value, int):
            return value
        text = str(value).strip().replace("_", "")
        match = re.fullmatch(r"([+-]?\d*\.?\d+(?:e[+-]?\d{1,3})?)([kmg]?)", text, re.IGNORECASE)
        if match is not None:
            number = float(match[1]) * 1000 ** " kmg".index(match[2].lower() or " ")
            if number.is_integer():
                return int(number)
        return self.fail(f"{value!r} is not a whole number; write 10000, 10_000, 1e4 or 10k", param, ctx)


COUNT = CountType()


class MemoryType(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Bytes: 80GB (of 10^9), 80GiB (of 2^30) or a whole number."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read a size above 0, or raise `click.BadParameter`."""
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

# Parameter of a command -> key of the configuration; `_setting` adds the others.
_KEYS = dict(RECORDING_KEYS)


def _setting(flag: str, key: str, **attributes: Any) -> Decorator:
    """An option that stands for a key of the configuration."""
    _KEYS[flag.split("/")[0].removeprefix("--").replace("-", "_")] = key
    return click.option(flag, **attributes)


def _together(*options: Decorator) -> Decorator:
    """Options that are added to a command in this order."""
    return lambda command: reduce(lambda decorated, option: option(decorated), reversed(options), command)


preset_option = click.option(
    "--preset", default="smoke", show_default=True, metavar="NAME", help=f"One of {', '.join(preset_names())}."
)
backend_option = click.option(
    "--backend", "backend_name", required=True, metavar="NAME", help="See `rlsbench backends`."
)
set_option = click.option(
    "--set", "assignments", multiple=True, metavar="SECTION.KEY=VALUE", help="One setting; may be repeated."
)

experiment_options = _together(
    _setting("--neurons", "network.neurons", type=COUNT, help="Number of neurons: 10000, 1e4, 10k."),
    click.option("--plastic-inputs", type=COUNT, help="n, plastic inputs per neuron, half of them excitatory."),
    _setting("--iterations", "training.iterations", type=COUNT, help="Number of trials with learning."),
    _setting("--seed", "training.seed", type=COUNT, help="Seed of all random numbers."),
    _setting(
        "--precision",
        "numerics.precision",
        metavar="TYPE",
        help="Of currents, voltages and weights: float64 or float32.",
    ),
    _setting(
        "--p-precision",
        "numerics.p_precision",
        metavar="TYPE",
        help="Of P as stored: float64, float32, float16, bfloat16 or int16.",
    ),
    _setting("--storage", "numerics.storage", metavar="FORM", help="Of P: full or packed."),
    _setting("--algorithm", "numerics.algorithm", metavar="FORM", help="Of the RLS update: auto, plain or event."),
    _setting("--threads", "numerics.threads", type=COUNT, help="Number of threads; by default all available."),
    _setting("--device", "numerics.device", help="Device, such as cpu or cuda:0; see `rlsbench backends`."),
    _setting("--compile/--no-compile", "numerics.compile", default=None, help="Compile with the backend's library."),
    _setting(
        "--recording",
        "recording.files",
        multiple=True,
        metavar="FILE",
        help="File of spikes or rates (see `rlsbench inspect`), or a data set such as alm:left; repeat for conditions.",
    ),
    _setting("--untrained", "targets.untrained", type=COUNT, help="Number of additional neurons without target."),
    _setting(
        "--transfer",
        "targets.transfer",
        metavar="RULE",
        help="From rates to currents: stationary, as published, or simulated.",
    ),
    click.option("--config", metavar="FILE", type=click.Path(path_type=Path), help="TOML file with settings."),
    set_option,
    recording_options,
)
"""The options that define an experiment."""

checkpoint_options = _together(
    _setting("--checkpoint-every", "checkpoints.every", type=COUNT, metavar="N", help="Save every N iterations."),
    _setting("--keep", "checkpoints.keep", type=COUNT, metavar="K", help="Keep the latest K checkpoints; default 2."),
    _setting(
        "--save-best",
        "checkpoints.best",
        is_flag=False,
        flag_value="whole",
        type=click.Choice(["whole", "weights", "none"]),
        help="Also keep the iteration with the best correlation: the whole state, or only its weights for `evaluate`.",
    ),
    _setting(
        "--patience",
        "training.patience",
        type=COUNT,
        metavar="N",
        help="Stop if the smoothed correlation stays below its best for N iterations; keeps the best weights.",
    ),
)
"""The options that define what a run saves and when it stops early."""

resource_options = _together(
    click.option(
        "--monitor",
        type=click.FloatRange(min=SHORTEST_INTERVAL),
        metavar="SECONDS",
        help="Record CPU, memory and energy at this interval, in resources.csv and in the results.",
    ),
    click.option("--force", is_flag=True, help="Start even if memory or disk space is insufficient."),
)
"""The options for limits and measurements of memory, disk and energy."""


def given_overrides(options: Mapping[str, Any], others: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Settings by dotted key: those of the given options, which override `others`."""
    overrides = dict(others or {})
    overrides |= {key: options[name] for name, key in _KEYS.items() if options.get(name) not in (None, ())}
    if overrides.get("training.patience") and "checkpoints.best" not in overrides:
        overrides["checkpoints.best"] = "weights"
    return overrides


def resolve_experiment(preset: str, options: dict[str, Any]) -> Experiment:
    """The preset, changed by --config, then by --set, then by the specific options.

    Raises
    ------
    ConfigurationError
    click.UsageError
        For options that exclude each other.
    """
    if options["recording"] and options["neurons"] is not None:
        raise click.UsageError(
            "--neurons and --recording exclude each other: the recording sets the number, --untrained adds to it"
        )
    overrides = given_overrides(options, parse_assignments(options["assignments"]))
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
        raise click.UsageError(
            f"--plastic-inputs {n}: must be {feedforward} (feedforward.LX) plus an even number, half per population"
        )
    return (n - feedforward) // 2
