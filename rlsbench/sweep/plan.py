"""The plan of a sweep: a grid of experiments, and the points that it comes to.

In: options or a TOML file.  Out: a `SweepPlan` and its `Point`s.  Knows no backend and runs nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rlsbench.configuration import Experiment, load_experiment, read_toml
from rlsbench.configuration.section import Count
from rlsbench.errors import ConfigurationError
from rlsbench.results import configuration_hash, digest

__all__ = ["Point", "SweepPlan", "load_plan"]

_Auto = Literal["auto"]


class Point(BaseModel):
    """One configuration of a sweep.

    Parameters
    ----------
    preset : str
    overrides : dict
        Dotted keys to values, the number of iterations among them.
    backend : str
    warm_up : int
        First iterations that do not count.
    correlate : bool
        Measure the correlation in each iteration.
    """

    model_config = ConfigDict(frozen=True)

    preset: str
    overrides: dict[str, Any]
    backend: str
    warm_up: int
    correlate: bool

    def experiment(self) -> Experiment:
        """The experiment, resolved."""
        return load_experiment(self.preset, overrides=self.overrides)

    def hash(self) -> str:
        """Twelve hexadecimal digits that stand for it."""
        return digest([configuration_hash(self.experiment()), self.backend, self.warm_up, self.correlate])

    def __str__(self) -> str:
        e = self.experiment()
        numerics = [e.numerics.precision, e.numerics.p_precision, e.numerics.storage, e.numerics.algorithm]
        asked = [f"P {value}" if i == 1 else value for i, value in enumerate(numerics) if value != "auto"]
        seeds = [f"seed {e.training.seed}"] if "training.seed" in self.overrides else []
        threads = [f"{e.numerics.threads} threads"] if e.numerics.threads else []
        threads += [f"on {e.numerics.device}"] if e.numerics.device != "auto" else []
        return ", ".join([f"{self.preset}, {e.network.neurons:,} neurons", self.backend, *asked, *threads, *seeds])


class SweepPlan(BaseModel):
    """A grid of runs: every combination of the lists, each as often as `repetitions` says.

    Raises
    ------
    ConfigurationError
        From `load_plan`, for an unknown key or an impossible value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    preset: str = "sinusoid"
    """The experiment."""
    backends: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of backends; innermost in the order of runs, so that they are interleaved."""
    neurons: tuple[Annotated[Count, Field(ge=2)], ...] = ()
    """Sizes; none: that of the preset."""
    seeds: tuple[Annotated[Count, Field(ge=0, le=2**63 - 1)], ...] = ()
    """Seeds; none: that of the preset."""
    precisions: tuple[Literal["float64", "float32"] | _Auto, ...] = ("auto",)
    """Of currents, voltages and weights."""
    p_precisions: tuple[Literal["float64", "float32", "float16", "bfloat16", "int16"] | _Auto, ...] = ("auto",)
    """Of P as it is stored."""
    storages: tuple[Literal["full", "packed"] | _Auto, ...] = ("auto",)
    """Of P."""
    algorithms: tuple[Literal["plain", "event"] | _Auto, ...] = ("auto",)
    """Forms of the update."""
    threads: tuple[Annotated[Count, Field(ge=0, le=4096)], ...] = (0,)
    """Numbers of threads; 0: as many as may be used."""
    devices: Annotated[tuple[str, ...], Field(min_length=1)] = ("auto",)
    """Where to compute: auto, cpu, cuda:0, ..."""
    iterations: Annotated[Count, Field(ge=1)] = 3
    """Iterations that count, in each run."""
    warm_up: Annotated[Count, Field(ge=0)] = 1
    """Iterations before them."""
    repetitions: Annotated[Count, Field(ge=1, le=10_000)] = 1
    """Runs of each configuration, each in a process of its own; outermost in the order of runs."""
    correlate: bool = True
    """Measure the correlation in each iteration; its time does not count, but it passes."""
    time_limit_s: Annotated[float, Field(gt=0)] = 3600.0
    """A run that takes longer is stopped, and recorded as timed out."""
    largest: dict[str, Count] = {}
    """Backend to the most neurons that it is to be run with."""
    set: dict[str, dict[str, Any]] = {}
    """Further settings of the experiment, by section."""

    def hash(self) -> str:
        """Twelve hexadecimal digits that stand for it."""
        return digest(self.model_dump(mode="json"))

    def points(self) -> list[Point]:
        """One repetition, in order.

        Raises
        ------
        ConfigurationError
            For a combination that cannot be.
        """
        base = {f"{section}.{key}": value for section, keys in self.set.items() for key, value in keys.items()}
        base["training.iterations"] = self.iterations + self.warm_up
        axes: list[tuple[str, tuple[Any, ...]]] = [
            ("network.neurons", self.neurons),
            ("training.seed", self.seeds),
            ("numerics.precision", self.precisions),
            ("numerics.p_precision", self.p_precisions),
            ("numerics.storage", self.storages),
            ("numerics.algorithm", self.algorithms),
            ("numerics.threads", self.threads),
            ("numerics.device", self.devices),
        ]
        axes = [(key, values) for key, values in axes if values]
        points = []
        for values in itertools.product(*(values for _, values in axes)):
            asked = base | dict(zip((key for key, _ in axes), values, strict=True))
            for backend in self.backends:
                point = Point(
                    preset=self.preset, overrides=asked, backend=backend, warm_up=self.warm_up, correlate=self.correlate
                )
                if point.experiment().network.neurons <= self.largest.get(backend, 2**63):
                    points.append(point)
        return points


def load_plan(file: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> SweepPlan:
    """Make a plan of a TOML file and of options, which win.

    Raises
    ------
    ConfigurationError
        For an unreadable file, an unknown key or an impossible value.
    """
    tables: dict[str, Any] = {}
    if file is not None:
        tables = read_toml(Path(file), "plan")
    tables |= overrides or {}
    try:
        plan = SweepPlan.model_validate(tables)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = str(first["loc"][0])[:100] if first["loc"] else "the plan"
        if first["type"] == "extra_forbidden":
            known = ", ".join(sorted(SweepPlan.model_fields))
            raise ConfigurationError(f"unknown key {key} in the plan of a sweep; it has {known}") from None
        if first["type"] == "missing":
            raise ConfigurationError(f"the plan of a sweep needs {key}") from None
        raise ConfigurationError(f"{key} = {repr(first['input'])[:200]}: {first['msg']}") from None
    plan.points()  # impossible combinations are told now
    return plan
