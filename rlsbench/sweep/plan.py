"""The plan of a sweep: a grid of experiments and its points.

In: options or a TOML file. Out: a `SweepPlan` and its `Point`s. Knows no backend and runs nothing.
"""

from __future__ import annotations

import itertools
import math
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from rlsbench.configuration import Experiment, load_experiment, read_toml
from rlsbench.configuration.section import Count
from rlsbench.errors import ConfigurationError
from rlsbench.plugins import PLAIN
from rlsbench.results import configuration_hash, digest

MOST_RUNS = 100_000  # of a plan
SIMULATORS = ("brian2", "nest")
_AXES = {
    "network.neurons": "neurons",
    "training.seed": "seeds",
    "numerics.precision": "precisions",
    "numerics.p_precision": "p_precisions",
    "numerics.storage": "storages",
    "numerics.algorithm": "algorithms",
    "numerics.threads": "threads",
    "numerics.device": "devices",
}
"""Dotted key of the experiment to the field of the plan that lists its values, slowest first."""

_OF_UPDATES = ("numerics.p_precision", "numerics.storage", "numerics.algorithm")
_OF_BACKENDS = (*_OF_UPDATES, "numerics.precision", "numerics.device")


def _launcher(command: str) -> str:
    """A command that starts {ranks} ranks, or a `ValueError`."""
    if "{ranks}" not in "".join(shlex.split(command)[1:]):
        raise ValueError("must be a command with {ranks}, such as mpirun -n {ranks} or srun -n {ranks}")
    return command


class Point(BaseModel):
    """One configuration of a sweep."""

    model_config = ConfigDict(frozen=True)

    preset: str
    overrides: dict[str, Any]
    """Dotted keys to values, including the number of iterations."""
    backend: str
    warm_up: int
    """Number of first iterations that are not counted."""
    correlate: bool
    """Measure the correlation in each iteration."""
    network: Literal["", "static", "plastic"] = ""
    """What to simulate without learning, instead of training."""
    ranks: int = 0
    """MPI ranks that the launcher starts; 0 for one process without it."""
    python: str = ""
    """The Python that has the simulator which `backend` names; by default this one."""

    def experiment(self) -> Experiment:
        """Return the resolved experiment."""
        return load_experiment(self.preset, overrides=self.overrides)

    def hash(self) -> str:
        """Return a digest of twelve hexadecimal digits."""
        more = [*filter(None, [self.network, f"{self.ranks} ranks" if self.ranks > 1 else ""])]
        return digest([configuration_hash(self.experiment()), self.backend, self.warm_up, self.correlate, *more])

    def __str__(self) -> str:
        e = self.experiment()
        words = {"precision": "{}", "p_precision": "P {}", "storage": "{}", "algorithm": "{}"}
        words |= {"threads": "{} threads", "device": "on {}"}
        options = [w.format(v) for name, w in words.items() if (v := getattr(e.numerics, name)) not in ("auto", 0)]
        seeds = [f"seed {e.training.seed}"] if "training.seed" in self.overrides else []
        others = [f"{k} = {v}" for k, v in self.overrides.items() if k not in (*_AXES, "training.iterations")]
        options += [f"{self.ranks} {'rank' if self.ranks == 1 else 'ranks'}"] if self.ranks else []
        options += [f"{self.network} network"] if self.network else []
        return ", ".join([f"{self.preset}, {e.network.neurons:,} neurons", self.backend, *options, *seeds, *others])


class SweepPlan(BaseModel):
    """A grid of runs: every combination of the lists, each `repetitions` times."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    preset: str = "sinusoid"
    """The experiment."""
    backends: Annotated[tuple[Annotated[str, Field(pattern=f"^{PLAIN}$")], ...], Field(min_length=1)]
    """Names of backends. They vary fastest in the order of runs, so they are interleaved."""
    neurons: tuple[Annotated[Count, Field(ge=2)], ...] = ()
    """Numbers of neurons, such as 1e3,1e4; by default that of the preset."""
    seeds: tuple[Annotated[Count, Field(ge=0, le=2**63 - 1)], ...] = ()
    """Seeds; by default that of the preset."""
    precisions: tuple[Literal["auto", "float64", "float32"], ...] = ("auto",)
    """Precisions of currents, voltages and weights: auto, float64, float32."""
    p_precisions: tuple[Literal["auto", "float64", "float32", "float16", "bfloat16", "int16"], ...] = ("auto",)
    """Precisions in which P is stored: auto, float64, float32, float16, bfloat16, int16."""
    storages: tuple[Literal["auto", "full", "packed"], ...] = ("auto",)
    """Storage of P: auto, full, packed."""
    algorithms: tuple[Literal["auto", "plain", "event"], ...] = ("auto",)
    """Forms of the update: auto, plain, event."""
    threads: tuple[Annotated[Count, Field(ge=0, le=4096)], ...] = (0,)
    """Numbers of threads; 0: all that may be used."""
    ranks: tuple[Annotated[Count, Field(ge=1, le=2**20)], ...] = ()
    """Numbers of MPI ranks, all started by the launcher; by default one process without MPI."""
    launcher: Annotated[str, AfterValidator(_launcher)] = "mpirun -n {ranks}"
    """Command that starts {ranks} MPI ranks; by default mpirun -n {ranks}."""
    devices: Annotated[tuple[str, ...], Field(min_length=1)] = ("auto",)
    """Devices: auto, cpu, cuda:0, ..."""
    simulators: tuple[Literal["brian2", "nest"], ...] = ()
    """Simulators (brian2, nest) in which to time the network without learning, beside backends."""
    simulator_python: str = ""
    """Python that has the simulators; by default the one that runs rlsbench."""
    iterations: Annotated[Count, Field(ge=1)] = 3
    """Iterations of each run that are counted."""
    warm_up: Annotated[Count, Field(ge=0)] = 1
    """Iterations before them, which are not counted."""
    repetitions: Annotated[Count, Field(ge=1, le=10_000)] = 1
    """Runs of each configuration, each in its own process; repetitions vary slowest."""
    correlate: bool = True
    """Measure the correlation in each iteration, whose time is not counted."""
    time_limit_s: Annotated[float, Field(gt=0)] = 3600.0
    """A run that takes longer is stopped and recorded as timed out, s."""
    largest: dict[str, Count] = {}
    """Backend to the largest number of neurons to run it with."""
    set: dict[str, dict[str, Any]] = {}
    """Further settings of the experiment, by section."""
    vary: dict[str, dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]]] = {}
    """Settings of the experiment to the values that they take in turn, by section."""

    def hash(self) -> str:
        """Return a digest of twelve hexadecimal digits."""
        unused = {name for name in ("vary", "simulators", "ranks") if not getattr(self, name)}
        return digest(self.model_dump(mode="json", exclude={"simulator_python", "launcher", *unused}))

    def points(self) -> list[Point]:
        """The points of one repetition; ConfigurationError if one is invalid, or for too many."""
        base, varied = (
            {f"{section}.{key}": value for section, keys in tables.items() for key, value in keys.items()}
            for tables in (self.set, self.vary)
        )
        base["training.iterations"] = self.iterations + self.warm_up
        axes = {key: values for key, name in _AXES.items() if (values := getattr(self, name))}
        axes |= varied
        constant = self.model_dump(include={"preset", "warm_up", "correlate"})
        trained = [*itertools.product(self.ranks or (0,), self.backends)]
        subjects = len(trained) + (2 * len(self.backends) + len(self.simulators) if self.simulators else 0)
        runs = math.prod([*map(len, axes.values()), subjects, self.repetitions])
        if runs > MOST_RUNS:
            raise ConfigurationError(f"the plan of a sweep has {runs:,} runs: at most {MOST_RUNS:,} are accepted")
        points = []
        for values in itertools.product(*axes.values()):
            overrides = base | dict(zip(axes, values, strict=True))
            for ranks, backend in trained:
                point = Point(overrides=overrides, backend=backend, ranks=ranks, **constant)
                if point.experiment().network.neurons <= self.largest.get(backend, 2**63):
                    points.append(point)
        return [*points, *self._simulations(base, axes, constant)]

    def _simulations(self, base: dict[str, Any], axes: dict[str, Any], constant: dict[str, Any]) -> Iterator[Point]:
        """Networks without learning: the static one, and on backends that with plastic synapses."""
        networks: tuple[Literal["static", "plastic"], ...] = ("static", "plastic")
        own = [(backend, network) for network in networks for backend in self.backends if self.simulators]
        subjects = [*((simulator, networks[0]) for simulator in self.simulators), *own]
        found = set()
        for values, (backend, network) in itertools.product(itertools.product(*axes.values()), subjects):
            simulator = backend in SIMULATORS
            ignored = _OF_BACKENDS if simulator else _OF_UPDATES
            varied = {key: value for key, value in zip(axes, values, strict=True) if key not in ignored}
            python = self.simulator_python if simulator else ""
            point = Point(overrides=base | varied, backend=backend, network=network, python=python, **constant)
            size = point.experiment().network.neurons
            if size <= self.largest.get(backend, 2**63) and point.hash() not in found:
                found.add(point.hash())
                yield point


def load_plan(file: str | Path | None = None, overrides: Mapping[str, Any] | None = None) -> SweepPlan:
    """Read a plan from a TOML file and from options, which take precedence.

    Raises ConfigurationError for an unreadable file, an unknown key or an invalid value.
    """
    tables = {} if file is None else read_toml(Path(file), "plan")
    try:
        plan = SweepPlan.model_validate(tables | dict(overrides or {}))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = str(first["loc"][0])[:100] if first["loc"] else "the plan"
        if first["type"] == "extra_forbidden":
            known = ", ".join(sorted(SweepPlan.model_fields))
            raise ConfigurationError(f"unknown key {key} in the plan of a sweep; known: {known}") from None
        if first["type"] == "missing":
            raise ConfigurationError(f"the plan of a sweep needs {key}") from None
        raise ConfigurationError(f"{key} = {repr(first['input'])[:200]}: {first['msg']}") from None
    plan.points()  # detects invalid combinations now
    return plan
