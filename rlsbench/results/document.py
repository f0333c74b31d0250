"""The JSON documents of results: a completed run, one that could not be made, or a simulation.

In: a `Training`, or the reason why there is none.  Out: a `RunDocument` or an `AttemptDocument`.
In: what was measured of a network without learning.  Out: a `SimulationDocument`.
Documents of earlier schemas are upgraded as they are read; those of later ones are rejected.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePath
from statistics import median
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from rlsbench.available import available_bytes
from rlsbench.backend import Backend, Options
from rlsbench.configuration import Experiment
from rlsbench.connectivity import in_degrees, projections_of
from rlsbench.errors import ResultError
from rlsbench.monitor import Resources
from rlsbench.network import SIGNS, populations_of
from rlsbench.results import machine
from rlsbench.training import Training

LARGEST = 2**28  #: largest file of results that is read, bytes
_MEMORY_FACTOR = 24  # bytes of memory per byte of JSON, at worst: "[]," is a list and its slot in another
_DEEPEST = 50  # levels of what has no schema of its own
SCHEMA_VERSION = 2
MEASUREMENT_VERSION = 1  # increased when times or scores change their meaning, so that they are not pooled


def _not_deep(values: dict[str, Any]) -> dict[str, Any]:
    """Refuse what is nested too deeply to be written again (and again, inside a report)."""
    inside: list[Any] = [values]
    for _ in range(_DEEPEST):
        inside = [v for part in inside for v in (part.values() if isinstance(part, dict) else part)]
        inside = [v for v in inside if isinstance(v, dict | list | tuple)]
    if inside:
        raise ValueError(f"nested more than {_DEEPEST} deep")
    return values


_Free = Annotated[dict[str, Any], AfterValidator(_not_deep)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class SpontaneousRate(_Record):
    """Mean firing rates in the initial trial, before plasticity, Hz."""

    excitatory: float | None
    """Of all excitatory neurons; null if there are none."""
    inhibitory: float | None
    """Of all inhibitory neurons; null if there are none."""
    populations: dict[str, float] = {}
    """Of each population; empty for the published two."""


class IterationRecord(_Record):
    """One trial with learning."""

    iteration: int
    seconds: float
    """Wall time of the trial, excluding measurement."""
    rls_seconds: float
    """The part of it spent in RLS updates."""
    firing_rate_hz: float
    correlation: float | None
    """Mean correlation of target and learned current; null if undefined or not measured."""
    undefined_correlations: int
    """Number of neurons excluded from that mean because their correlation is undefined."""
    neurons_above_maxrate: int = 0
    """Number of neurons that fired faster than training.maxrate_hz."""
    target_offset_excitatory: float | None = None
    """Mean offset of the targets of excitatory neurons after the trial; null if it is fixed."""
    target_offset_inhibitory: float | None = None
    """The same for inhibitory neurons."""
    external_excitatory: float | None = None
    """Mean external current of excitatory neurons after the trial; null if it is fixed."""
    external_inhibitory: float | None = None
    """The same for inhibitory neurons."""
    population_rates_hz: dict[str, float] = {}
    """Spikes per neuron and second of each population; empty for the published two."""
    exchange_seconds: float | None = None
    """The part of `seconds` in which rank 0 exchanged spikes, or waited for other ranks to; null
    without ranks."""


class RankRecord(_Record):
    """One of the ranks that a network was spread over."""

    node: int
    """Number of its node, from 1 in the order of ranks."""
    neurons: int
    """Number of its neurons."""
    threads: int
    peak_memory_bytes: int | None
    """Peak resident memory of its process."""
    exchange_seconds: float | None
    """As in the iterations: median over those after the first."""


class UpdateRecord(_Record):
    """The RLS update and the simulation, each timed separately, for all neurons."""

    update_seconds: list[float]
    """Wall time of each update of one trial; in the event form, only some of them write P."""
    simulation_seconds: list[float]
    """Wall time of trials without updates."""
    bytes_per_update: float | None
    """Bytes that one update of one neuron reads and writes (P, w and the state of the event form),
    by count; see docs/measuring.md. Null if the cost of the algorithm is unknown."""
    operations_per_update: float | None
    """Additions and multiplications of that update."""


class MachineLimits(_Record):
    """Peak performance of the machine, measured beside the runs with the same number of threads."""

    threads: int
    read_bytes_per_second: float
    """Reading arrays larger than the caches."""
    update_bytes_per_second: float
    """Reading such arrays and writing them in place; both directions are counted."""
    operations_per_second: dict[str, float]
    """Additions and multiplications in a matrix product, by precision."""


class ResourceRecord(_Record):
    """Resources used by the iterations, measurement included; null if unreadable.

    Those of several ranks are added; the first of each node reads the energy of its processors.
    """

    interval_seconds: float
    """Time between samples."""
    samples: int
    seconds: float
    """Duration of the recording."""
    iterations: int
    """Number of iterations in it."""
    cpu_percent: float | None
    """Mean CPU usage; 100 is one processor."""
    peak_resident_bytes: int
    """Largest resident memory of all samples."""
    peak_gpu_memory_bytes: int | None
    """Memory used on the GPU, including that of other programs."""
    gpu_power_w: float | None
    """Mean power of the whole GPU."""
    cpu_energy_per_iteration_j: float | None
    """Energy of the processor package, including that of other programs."""
    gpu_energy_per_iteration_j: float | None
    """Energy of the whole GPU."""
    unreadable: dict[str, str] = {}
    """The quantities that could not be read, and why."""


class Repetition(_Record):
    """The position of a run in a sweep."""

    sweep: str
    """Hash of the plan."""
    point: str
    """Hash of what is measured, regardless of the repetition."""
    repetition: int
    """1, 2, ..."""
    warm_up: int
    """Number of iterations at the start that do not count."""


class _Common(_Record):
    """Fields of all kinds of documents."""

    schema_version: int
    measurement_version: int = 1
    """Increased when times or scores change their meaning."""
    created: str | None = None
    """When the document was written, UTC, ISO 8601."""
    preset: str
    backend: str
    neurons: int
    plastic_inputs: int
    """n, plastic inputs per neuron; the most that one has where they vary."""
    static_outputs: int
    """Static outgoing synapses per neuron: 2 K, or the rounded mean of those by `connectivity`."""
    precision: str
    p_precision: str
    storage: str
    algorithm: str
    """Form of the RLS update."""
    threads: int
    ranks: int = 1
    """Processes that the network was spread over; threads, times and memory are those of rank 0."""
    nodes: int = 1
    """Machines that had ranks."""
    device: str
    seed: int
    machine: _Free
    versions: dict[str, str]
    configuration: _Free
    """The resolved experiment; file names are stored without their folders."""
    configuration_hash: str = ""
    """Hash of the experiment, including the numeric options as requested."""
    commit: str | None = None
    """Commit of the checkout that was run; null if it was not a checkout."""
    dirty: bool | None = None
    """Whether that checkout had uncommitted changes."""
    environment: dict[str, str] = {}
    """Environment variables that set threads and kernels of libraries."""
    repetition: Repetition | None = None
    """Set if the run is part of a sweep."""

    def to_json(self) -> str:
        """Indented JSON with a final newline."""
        return self.model_dump_json(indent=2) + "\n"

    def to_line(self) -> str:
        """The same on one line, for a JSON Lines file."""
        return self.model_dump_json() + "\n"


class RunDocument(_Common):
    """A completed run."""

    kind: Literal["run"] = "run"
    validity: Literal["passed", "failed", "not checked"] = "not checked"
    """Verdict of the conformance suite for this backend, precisions, storage and algorithm."""
    validity_reason: str = "the conformance suite was not run with it"
    setup_seconds: float
    """Drawing the network, running the initial trial and filling the trainer."""
    compile_seconds: float
    """Compiling kernels, or loading compiled ones from a cache."""
    spontaneous_rate_hz: SpontaneousRate
    iterations: list[IterationRecord]
    seconds_per_iteration: float | None
    """Median over the iterations without the first, or without the warm-up of the sweep."""
    peak_memory_bytes: int | None
    """Peak resident memory of the process."""
    rank_records: list[RankRecord] = []
    """The ranks in their order; empty for one process, or if the run failed."""
    update: UpdateRecord | None = None
    """Set if the update and the simulation were timed separately."""
    limits: MachineLimits | None = None
    """Set if the peak performance of the machine was measured."""
    resources: ResourceRecord | None = None
    """Set if `--monitor` recorded resources."""
    notes: list[str]
    recording_digest: str | None = None
    """SHA-256 of the recorded rates; null without a recording."""
    best_iteration: int | None = None
    """Iteration with the highest correlation, as a moving average over the tasks."""
    evaluation: _Free | None = None
    """Scores with frozen weights, if `rlsbench evaluate` measured them."""


class SimulationDocument(_Common):
    """The network timed as a simulation, without learning, in a simulator or on a backend."""

    kind: Literal["simulation"] = "simulation"
    synapses: Literal["static", "static and plastic"]
    """The synapses that the network had; plastic ones kept their initial weights."""
    simulator_version: str | None = None
    """Version of the simulator that `backend` names; null for a backend of this package."""
    how: str
    """How it computes."""
    recorded: str = "the number of spikes of all neurons"
    """What was recorded during the simulation."""
    model_seconds: float
    """Duration of the simulated time, s."""
    seconds: list[float]
    """Wall time of each run of that duration, without building the network."""
    setup_seconds: float
    """Building the network, and compiling if the simulator does."""
    firing_rate_hz: float
    """Mean rate of all neurons in the first run."""


class AttemptDocument(_Common):
    """A run that was planned but could not be made."""

    kind: Literal["attempt"] = "attempt"
    outcome: Literal["unavailable", "unsupported", "insufficient memory", "failed", "timed out"]
    reason: str


Document = RunDocument | AttemptDocument | SimulationDocument
_DOCUMENT: TypeAdapter[Document] = TypeAdapter(Annotated[Document, Field(discriminator="kind")])


def run_document(training: Training) -> RunDocument:
    """Describe the current state of a training."""
    rates, populations = training.initial.rates_hz, training.problem.populations
    members = (populations.members(sign) for sign in SIGNS)
    excitatory, inhibitory = (float(np.mean(rates[some])) if len(some) else None for some in members)
    spontaneous = SpontaneousRate(
        excitatory=excitatory, inhibitory=inhibitory, populations=training.population_rates_hz(rates)
    )
    return RunDocument(
        **_common(training.experiment, training.backend, training.options),
        ranks=training.problem.ranks.size,
        nodes=training.problem.ranks.nodes,
        setup_seconds=training.setup_seconds,
        compile_seconds=training.compile_seconds,
        spontaneous_rate_hz=spontaneous,
        iterations=[IterationRecord(**vars(iteration)) for iteration in training.iterations],
        seconds_per_iteration=training.seconds_per_iteration(),
        peak_memory_bytes=machine.peak_memory_bytes(),
        notes=training.notes,
        recording_digest=training.recording_digest(),
        best_iteration=training.progress.best_iteration,
    )


def rank_records(training: Training) -> list[RankRecord]:
    """Describe all ranks, which all call this; none for one process."""
    ranks = training.problem.ranks
    times = [i.exchange_seconds for i in training.iterations if i.exchange_seconds is not None]
    own = RankRecord(
        node=ranks.node + 1,
        neurons=training.trainer.neurons,
        threads=training.options.threads,
        peak_memory_bytes=machine.peak_memory_bytes(),
        exchange_seconds=median(times[1:] or times) if times else None,
    )
    return ranks.collect(own) if ranks.spread else []


def resource_record(interval_seconds: float, resources: Resources, iterations: int) -> ResourceRecord:
    """Summarize what a monitor recorded during a number of iterations."""
    measured: dict[str, Any] = dict(vars(resources))
    for name in ("cpu_energy", "gpu_energy"):
        joules = measured.pop(f"{name}_j")
        measured[f"{name}_per_iteration_j"] = None if joules is None or not iterations else joules / iterations
    return ResourceRecord(interval_seconds=interval_seconds, iterations=iterations, **measured)


def attempt_document(
    experiment: Experiment, backend: Backend | str, options: Options, outcome: str, reason: str
) -> AttemptDocument:
    """Describe a run that could not be made; give the name of a backend that cannot be loaded."""
    known = _common(experiment, backend, options)
    return AttemptDocument.model_validate(known | {"outcome": outcome, "reason": reason})


def simulation_document(experiment: Experiment, backend: str, options: Options, **measured: Any) -> SimulationDocument:
    """Describe a simulation; `measured` are the fields of `SimulationDocument`."""
    return SimulationDocument.model_validate(_common(experiment, backend, options) | measured)


def _common(experiment: Experiment, backend: Backend | str, options: Options) -> dict[str, Any]:
    name = backend if isinstance(backend, str) else backend.name
    commit, dirty = machine.source_record()
    static, plastic = projections_of(experiment, populations_of(experiment), "static"), in_degrees(experiment)
    LX = experiment.feedforward.LX
    return {
        "schema_version": SCHEMA_VERSION,
        "measurement_version": MEASUREMENT_VERSION,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "preset": experiment.preset,
        "backend": name,
        "neurons": experiment.network.neurons,
        "plastic_inputs": experiment.plastic_inputs if plastic is None else LX + int(plastic.degree.max()),
        "static_outputs": round(static.expected / experiment.network.neurons) if static else 2 * experiment.network.K,
        **{name: value for name, value in vars(options).items() if name in _Common.model_fields},
        "seed": experiment.training.seed,
        "machine": machine.machine_record(),
        "versions": machine.version_record(name),
        "configuration": _without_folders(experiment.model_dump(mode="json")),
        "configuration_hash": configuration_hash(experiment),
        "commit": commit,
        "dirty": dirty,
        "environment": machine.environment_record(),
    }


_ADDED_SETTINGS: dict[tuple[str, str], Any] = {
    ("numerics", "compile"): False,
    ("training", "patience"): 0,
    ("training", "maxrate_hz"): 100.0,
    ("training", "task_order"): "cyclic",
    ("learning", "rule"): "rls",
    ("learning", "parameters"): {},
    ("learning", "signs"): "free",
    ("learning", "neurons"): ["excitatory", "inhibitory"],
    ("learning", "inputs"): ["feedforward", "excitatory", "inhibitory"],
    ("learning", "lambda_growth"): 0.0,
    ("learning", "forgetting"): 1.0,
    ("learning", "target_mean"): "fixed",
    ("learning", "target_mean_rate"): 0.1,
    ("learning", "external"): "fixed",
    ("learning", "external_gain"): 0.02,
    ("targets", "subtract_external"): False,
    ("recording", "units"): "",
    ("recording", "trials_table"): None,
    ("recording", "pool"): None,
    ("recording", "axes"): [],
    ("recording", "values"): None,
    ("recording", "matrix_bin_ms"): None,
    ("recording", "time_unit"): None,
    ("recording", "columns"): {},
    ("targets", "digest"): "",
    ("network", "weights"): None,
    ("neuron", "node_types"): "",
}
"""Settings that were added later are hashed only if they differ from these defaults, so that
earlier hashes remain valid."""


def configuration_hash(experiment: Experiment) -> str:
    """Twelve hexadecimal digits that identify the settings of an experiment, except folders."""
    settings = _without_folders(experiment.model_dump(mode="json"))
    del settings["description"], settings["checkpoints"]
    if experiment.targets.kind == "sinusoid" or not experiment.has_static:  # there is nothing to subtract
        settings["targets"]["subtract_external"] = False
    for section in ("populations", "connectivity"):
        if not settings[section]:
            del settings[section]
    for (section, name), default in _ADDED_SETTINGS.items():
        if settings[section][name] == default:
            del settings[section][name]
    return digest(settings)


def digest(content: Any) -> str:
    """The first twelve hexadecimal digits of the SHA-256 hash of plain data."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def parse_document(text: str) -> Document:
    """Parse a document of the current or of an earlier schema.

    There is a `ResultError`, which does not name a file, if the text is not JSON, not a document of
    a result, or of a later schema.
    """
    content = parsed_json(text)
    version = content.get("schema_version") if isinstance(content, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ResultError("not a result document: it has no valid schema_version")
    if version > SCHEMA_VERSION:
        known = f"this release reads versions up to {SCHEMA_VERSION}: use a newer one"
        raise ResultError(f"its schema_version is {version}, but {known}")
    try:
        return _DOCUMENT.validate_python(_upgraded(content))
    except ValueError as error:
        reason = first_error(error) if isinstance(error, ValidationError) else error
        raise ResultError(f"not a valid result document: {reason}") from None


def parsed_json(text: str) -> Any:
    """Parse JSON that may be untrusted; a `ResultError` if it is no JSON, or too much of it."""
    check_json_memory(len(text))
    try:
        content = json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_finite)
        if "\\u" in text:  # a lone surrogate is not a character, and cannot be written again
            json.dumps(content, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:  # ValueError: not JSON, or a number with thousands of digits
        raise ResultError(f"not a complete JSON document ({str(error).splitlines()[0]})") from None
    return content


def first_error(error: ValidationError) -> str:
    """Where the first error is, and what it says."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("run", "attempt", "simulation"))
    return f"{where or 'kind'}: {first['msg']}"


def check_json_memory(length: int) -> None:
    """Raise a `ResultError` for JSON (length in bytes) whose parsed form may exceed the memory."""
    if length > 2**22 and _MEMORY_FACTOR * length > available_bytes():
        raise ResultError(f"{length:,} bytes of JSON may need more memory than is available")


def _whole(text: str) -> int:
    """An integer of a document; one of more than 64 bits is rejected, which may exceed a float."""
    if len(text) > 20:
        raise ValueError(f"{text[:20]}... is not a number of 64 bits")
    return int(text)


def _finite(text: str) -> float:
    """A number of a document; NaN, Infinity and 1e999 are rejected."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is not a finite number")
    return number


def _upgraded(content: Mapping[str, Any]) -> dict[str, Any]:
    """Upgrade a document of schema 1, which had only unchecked runs and no hash."""
    if content["schema_version"] > 1:
        return dict(content)
    configuration: Any = content.get("configuration")
    try:
        experiment = Experiment.model_validate(configuration)  # fills in settings that were added later
        configuration, hashed = experiment.model_dump(mode="json"), configuration_hash(experiment)
    except ValueError:
        hashed = digest(configuration)
    added = {"kind": "run", "configuration": configuration, "configuration_hash": hashed}
    return {**content, **added, "schema_version": SCHEMA_VERSION}


def result_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of all kinds of documents."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_DOCUMENT.json_schema(mode="serialization")}


def _without_folders(configuration: dict[str, Any]) -> dict[str, Any]:
    """Keep only the names of files: documents are shared, and a folder may contain a user name."""
    recording = configuration["recording"]
    for table in configuration["connectivity"]:
        table["file"] = PurePath(table["file"]).name if table["file"] else ""
    recording["files"] = [PurePath(file).name for file in recording["files"]]
    if recording["event"] is not None:
        recording["event"] = PurePath(recording["event"]).name
    return configuration
