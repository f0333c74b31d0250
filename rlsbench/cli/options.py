"""Options that several commands share, and the `Experiment` or `ReadOptions` they stand for."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import click

from rlsbench.configuration import Experiment, load_experiment, parse_assignments, preset_names
from rlsbench.configuration.recording import BIN_OPTION, CommandOption
from rlsbench.monitor import SHORTEST_INTERVAL
from rlsbench.recordings import ReadOptions

Decorator = Callable[[Callable[..., None]], Callable[..., None]]


class Parsed(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A value that is read by a function, whose `ValueError` says what is accepted."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name, self.read = name, read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read a text, or raise `click.BadParameter`; defaults are taken as they are."""
        try:
            return self.read(value.strip()) if isinstance(value, str) else value
        except ValueError as error:
            return self.fail(f"{value!r} {error}", param, ctx)


class Number(click.FloatRange):
    """A number in a range; NaN and infinity, which click accepts, are refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read a text, or raise `click.BadParameter`."""
        number = float(super().convert(value, param, ctx))
        return number if math.isfinite(number) else self.fail(f"{value} is not a finite number", param, ctx)


def _texts(text: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts):
        raise ValueError("contains an empty value; separate values with commas")
    return parts


def _count(text: str) -> int:
    match = re.fullmatch(r"([+-]?\d*\.?\d+(?:e[+-]?\d{1,3})?)([kmg]?)", text.replace("_", ""), re.IGNORECASE)
    if match and (number := float(match[1]) * 1000 ** " kmg".index(match[2].lower() or " ")).is_integer():
        return int(number)
    raise ValueError("is not a whole number; write 10000, 10_000, 1e4 or 10k")


def _memory(text: str) -> int:
    match = re.fullmatch(r"(\d*\.?\d+(?:e\d{1,2})?)\s*(?:([kmgt])(i?)b?|b)?", text, re.IGNORECASE)
    if match:
        base = 1024 if match[3] else 1000
        if (size := int(float(match[1]) * base ** " kmgt".index((match[2] or " ").lower()))) > 0:
            return size
    raise ValueError("is not a size; write 80GB, 80GiB or 8e10")


def _duration(text: str) -> float:
    found = re.fullmatch(r"(\d+\.?\d*)\s*(s|m|min|h|d|)", text)
    if found is None or float(found[1]) == 0:
        raise ValueError("is not a duration; write 90, 90s, 30m, 2h or 1d")
    return float(found[1]) * {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}[found[2]]


def _shard(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError("is not a shard; write 1/16, 2/16, ... or 16/16")
    return int(found[1]), int(found[2])


LIST = Parsed("list", _texts)  #: texts, separated by commas
COUNT = Parsed("count", _count)  #: A whole number: 10000, 10_000, 1e4, 10k or 1M
MEMORY = Parsed("size", _memory)  #: bytes: 80GB (of 10^9), 80GiB (of 2^30) or a whole number
DURATION = Parsed("duration", _duration)  #: seconds: 90, 90s, 30m, 2h or 1d
SHARD = Parsed("shard", _shard)  #: number of a part, from 1, and of all parts: 3/16

_KEYS: dict[str, str] = {}  # parameter of a command -> key of the configuration


def _setting(flag: str, key: str, text: str | None, metavar: str | None = None, **attributes: Any) -> Decorator:
    """An option that stands for a key of the configuration; its help is `text`."""
    _KEYS[flag.split("/")[0].removeprefix("--").replace("-", "_")] = key
    return click.option(flag, **({"help": text, "metavar": metavar} | attributes))


def together(*options: Decorator) -> Decorator:
    """Options that are added to a command in this order."""
    return lambda command: reduce(lambda decorated, option: option(decorated), reversed(options), command)


def _reading_options() -> Iterator[Decorator]:
    """The options that make up `ReadOptions`, generated from its fields."""
    for name, field in ReadOptions.model_fields.items():
        option = next(part for part in field.metadata if isinstance(part, CommandOption))
        key = "time.learn_every_ms" if option is BIN_OPTION else f"recording.{name}"
        yield _setting(option.flag, key, field.description, option.metavar, **option.click)


recording_options = together(*_reading_options())
_SET = "One setting; may be repeated."
set_option = click.option("--set", "assignments", multiple=True, metavar="SECTION.KEY=VALUE", help=_SET)
_PRESETS = ", ".join(preset_names())
_P_PRECISION = "Of P as stored: float64, float32, float16, bfloat16 or int16."
_SAVE_BEST = "Also keep the iteration with the best correlation: the whole state, or only its weights for `evaluate`."
_BEST = click.Choice(["whole", "weights", "none"])
_PATIENCE = "Stop if the smoothed correlation stays below its best for N iterations; keeps the best weights."
_RECORDING = "File of spikes or rates (see `rlsbench inspect`), or a data set such as alm:left; repeat for conditions."
_CONNECTIVITY = (
    "File of synapses in place of the published ones: CSV, Parquet or SONATA, NPZ with rows in a table of --config; "
    "may be repeated."
)
_POOL = "Whether the neurons of several recordings form one population, or are the same (conditions)."
_TRANSFER = "From rates to currents: stationary, as published, or simulated."
_JSON = "Also write the results as one JSON document; only one of the same run is replaced."
_LIMIT = "Stop in time, such as 4h, to save and to be resumed; exit status 75. Slurm's limit is known."
_MONITOR = "Record CPU, memory and energy at this interval, in resources.csv and in the results."

subject_options = together(
    click.option("--preset", default="smoke", show_default=True, metavar="NAME", help=f"One of {_PRESETS}."),
    click.option("--backend", "backend_name", required=True, metavar="NAME", help="See `rlsbench backends`."),
)
numerics_options = together(
    _setting("--precision", "numerics.precision", "Of currents, voltages and weights: float64 or float32.", "TYPE"),
    _setting("--p-precision", "numerics.p_precision", _P_PRECISION, "TYPE"),
    _setting("--storage", "numerics.storage", "Of P: full or packed.", "FORM"),
    _setting("--algorithm", "numerics.algorithm", "Of the RLS update: auto, plain or event.", "FORM"),
    _setting("--threads", "numerics.threads", "Number of threads; a new run takes all by default.", type=COUNT),
    _setting("--device", "numerics.device", "Device, such as cpu or cuda:0; see `rlsbench backends`."),
)
experiment_options = together(
    _setting("--neurons", "network.neurons", "Number of neurons: 10000, 1e4, 10k.", type=COUNT),
    click.option("--plastic-inputs", type=COUNT, help="n, plastic inputs per neuron, half of them excitatory."),
    _setting("--iterations", "training.iterations", "Number of trials with learning.", type=COUNT),
    _setting("--seed", "training.seed", "Seed of all random numbers.", type=COUNT),
    numerics_options,
    _setting("--compile/--no-compile", "numerics.compile", "Compile with the backend's library.", default=None),
    _setting("--recording", "recording.files", _RECORDING, "FILE", multiple=True),
    _setting("--pool/--no-pool", "recording.pool", _POOL, default=None),
    _setting("--connectivity", "connectivity", _CONNECTIVITY, "FILE", multiple=True),
    _setting("--untrained", "targets.untrained", "Number of additional neurons without target.", type=COUNT),
    _setting("--transfer", "targets.transfer", _TRANSFER, "RULE"),
    click.option("--config", metavar="FILE", type=click.Path(path_type=Path), help="TOML file with settings."),
    set_option,
    recording_options,
)
"""The options that define an experiment."""

run_options = together(
    _setting("--checkpoint-every", "checkpoints.every", "Save every N iterations.", "N", type=COUNT),
    _setting("--keep", "checkpoints.keep", "Keep the latest K checkpoints; default 2.", "K", type=COUNT),
    _setting("--save-best", "checkpoints.best", _SAVE_BEST, type=_BEST, is_flag=False, flag_value="whole"),
    _setting("--patience", "training.patience", _PATIENCE, "N", type=COUNT),
    click.option("--json", "json_file", type=click.Path(path_type=Path), help=_JSON),
    click.option("--save-weights/--no-save-weights", default=True, help="Keep the weights, for `evaluate`."),
    click.option("--monitor", type=Number(min=SHORTEST_INTERVAL), metavar="SECONDS", help=_MONITOR),
    click.option("--time-limit", type=DURATION, metavar="TIME", help=_LIMIT),
    click.option("--force", is_flag=True, help="Start even if memory or disk space is insufficient."),
)
"""The options that define what a run saves and measures, and when it stops or does not start."""


def read_options_from(options: Mapping[str, Any]) -> ReadOptions:
    """The `ReadOptions` that the options of a command give; a `ConfigurationError` if invalid."""
    given = {key.removeprefix("recording."): value for key, value in given_overrides(options).items()}
    if "time.learn_every_ms" in given:
        given["bin_s"] = given.pop("time.learn_every_ms") / 1000.0
    if "any" in given.get("quality", ()):
        given["quality"] = ()
    return ReadOptions(**given)


def given_overrides(options: Mapping[str, Any], others: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Settings by dotted key: those of the given options, which override `others`."""
    overrides = dict(others or {})
    overrides |= {key: options[name] for name, key in _KEYS.items() if options.get(name) not in (None, ())}
    if overrides.get("training.patience") and "checkpoints.best" not in overrides:
        overrides["checkpoints.best"] = "weights"
    return overrides


def resolve_experiment(preset: str, options: Mapping[str, Any]) -> Experiment:
    """The preset, changed by --config, then by --set, then by the specific options."""
    if options["recording"] and options["neurons"] is not None:
        why = "the recording sets the number, --untrained adds to it"
        raise click.UsageError(f"--neurons and --recording exclude each other: {why}")
    config, n = options["config"], options["plastic_inputs"]
    overrides = given_overrides(options, parse_assignments(options["assignments"]))
    if n is not None:  # LX + 2 L
        LX = load_experiment(preset, config=config, overrides=overrides | {"network.L": 0}).feedforward.LX
        if n < LX or (n - LX) % 2:
            wanted = f"{LX} (feedforward.LX) plus an even number, half per population"
            raise click.UsageError(f"--plastic-inputs {n}: must be {wanted}")
        overrides["network.L"] = (n - LX) // 2
    if "any" in options["quality"]:
        overrides["recording.quality"] = ()
    if options["recording"]:
        overrides["targets.kind"] = "recording"
    return load_experiment(preset, config=config, overrides=overrides)
