"""The JSON documents of the results: of a run that was made, and of one that could not be made.

In: a `Training`, or the reason why there is none.  Out: a `RunDocument` or an `AttemptDocument`.  Knows no figures.

`docs/result.schema.json` is the JSON Schema of both.  Documents of earlier schemas are brought up to date as they are
read; those of later ones are refused.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from rlsbench.available import available_bytes
from rlsbench.backend import Backend, Options
from rlsbench.configuration import Experiment
from rlsbench.errors import ResultError
from rlsbench.monitor import Resources
from rlsbench.results.machine import (
    environment_record,
    machine_record,
    peak_memory_bytes,
    source_record,
    version_record,
)
from rlsbench.training import Training

__all__ = [
    "LARGEST",
    "MEASUREMENT_VERSION",
    "SCHEMA_VERSION",
    "AttemptDocument",
    "Document",
    "IterationRecord",
    "MachineLimits",
    "Repetition",
    "ResourceRecord",
    "RunDocument",
    "SpontaneousRate",
    "UpdateRecord",
    "attempt_document",
    "check_json_room",
    "configuration_hash",
    "digest",
    "parse_document",
    "resource_record",
    "result_schema",
    "run_document",
]

LARGEST = 2**28
"""Bytes of a file that is read; a longer one is no document."""
JSON_TAKES = 24  # bytes of memory that a byte of JSON may come to: "[]," is an empty list and its place in another
SCHEMA_VERSION = 2
MEASUREMENT_VERSION = 1  # goes up when times or scores begin to mean something else, so that they are not pooled


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class SpontaneousRate(_Record):
    """Mean rates in the initial trial, before plasticity, Hz."""

    excitatory: float
    inhibitory: float


class IterationRecord(_Record):
    """One trial with learning."""

    iteration: int
    seconds: float
    """Wall time of the trial, measuring apart."""
    rls_seconds: float
    """Part of it spent in the RLS updates."""
    firing_rate_hz: float
    correlation: float | None
    """Mean over neurons of the correlation of target and learned current; null where undefined or not measured."""
    undefined_correlations: int
    """Neurons left out of that mean."""
    neurons_above_maxrate: int = 0
    """Neurons that fired faster than training.maxrate_hz."""


class UpdateRecord(_Record):
    """The RLS update and the simulation by themselves, of all neurons."""

    update_seconds: list[float]
    """Wall time of each update of one trial; the event form writes P in some of them."""
    simulation_seconds: list[float]
    """Wall time of trials without updates."""
    bytes_per_update: float | None
    """Bytes of P, w and what the form keeps that one update of one neuron reads and writes, by count; see
    docs/measuring.md. Null where the form's cost is not known."""
    operations_per_update: float | None
    """Additions and multiplications of it."""


class MachineLimits(_Record):
    """What the machine can do at most, measured beside the runs, in as many threads as they."""

    threads: int
    read_bytes_per_second: float
    """Of reading arrays that exceed the caches."""
    update_bytes_per_second: float
    """Of reading and writing them in place, both counted."""
    operations_per_second: dict[str, float]
    """Additions and multiplications in a product of two matrices, by precision."""


class ResourceRecord(_Record):
    """What the process took from the first iteration to the last, measuring included; null where it cannot be read."""

    interval_seconds: float
    """Between samples."""
    samples: int
    seconds: float
    """Length of that stretch."""
    iterations: int
    """In that stretch."""
    cpu_percent: float | None
    """Mean, 100 for one processor."""
    peak_resident_bytes: int
    """Largest among the samples."""
    peak_gpu_memory_bytes: int | None
    """Taken on the GPU, by other programs as well."""
    gpu_power_w: float | None
    """Mean over samples, of the whole GPU."""
    cpu_energy_per_iteration_j: float | None
    """Of the processor's package, with all that ran on it."""
    gpu_energy_per_iteration_j: float | None
    """Of the whole GPU."""
    unreadable: dict[str, str] = {}
    """What could not be read, and why."""


class Repetition(_Record):
    """The place of a run in a sweep."""

    sweep: str
    """Hash of the plan."""
    point: str
    """Hash of what is measured, without the repetition."""
    repetition: int
    """1, 2, ..."""
    warm_up: int
    """First iterations that do not count."""


class _Common(_Record):
    """What both documents say."""

    schema_version: int
    measurement_version: int = 1
    """Goes up when times or scores begin to mean something else."""
    created: str | None = None
    """When it was written, UTC, ISO 8601."""
    preset: str
    backend: str
    neurons: int
    plastic_inputs: int
    """n, plastic inputs a neuron."""
    static_outputs: int
    """2 K, static synapses a neuron makes."""
    precision: str
    p_precision: str
    storage: str
    algorithm: str
    """Form of the update that was taken."""
    threads: int
    device: str
    seed: int
    machine: dict[str, Any]
    versions: dict[str, str]
    configuration: dict[str, Any]
    """The experiment, resolved; files by their names alone."""
    configuration_hash: str = ""
    """Of the experiment, the numeric options among it as they were asked for."""
    commit: str | None = None
    """Of the checkout that was run; null where it was none."""
    dirty: bool | None = None
    """Whether that checkout held changes."""
    environment: dict[str, str] = {}
    """Variables that set threads and kernels of libraries."""
    repetition: Repetition | None = None
    """Where it is part of a sweep."""

    def to_json(self) -> str:
        """Indented JSON with a final newline."""
        return self.model_dump_json(indent=2) + "\n"


class RunDocument(_Common):
    """All that a run says about itself."""

    kind: Literal["run"] = "run"
    validity: Literal["passed", "failed", "not checked"] = "not checked"
    """What the conformance suite found for this backend in these precisions, storage and form of the update."""
    validity_reason: str = "the conformance suite was not run with it"
    setup_seconds: float
    """Drawing the network, the initial trial and filling the trainer."""
    compile_seconds: float
    """Compiling, or loading what was compiled before."""
    spontaneous_rate_hz: SpontaneousRate
    iterations: list[IterationRecord]
    seconds_per_iteration: float | None
    """Median of the iterations' seconds without the first, or without the sweep's warm-up."""
    peak_memory_bytes: int | None
    """Largest resident memory of the process."""
    update: UpdateRecord | None = None
    """The update and the simulation by themselves, where they were timed."""
    limits: MachineLimits | None = None
    """What the machine can do, where it was measured."""
    resources: ResourceRecord | None = None
    """What it took, where `--monitor` recorded it."""
    notes: list[str]
    best_iteration: int | None = None
    """Iteration with the highest correlation, as a mean over the tasks before it."""
    evaluation: dict[str, Any] | None = None
    """Frozen trials, where `rlsbench evaluate` ran them."""


class AttemptDocument(_Common):
    """A run that a sweep asked for and that was not made."""

    kind: Literal["attempt"] = "attempt"
    outcome: Literal["unavailable", "unsupported", "insufficient memory", "failed", "timed out"]
    reason: str


Document = Annotated[RunDocument | AttemptDocument, Field(discriminator="kind")]
_DOCUMENT: TypeAdapter[RunDocument | AttemptDocument] = TypeAdapter(Document)


def run_document(training: Training) -> RunDocument:
    """Describe a training as it stands now."""
    rates, Ne = training.initial.rates_hz, training.problem.excitatory
    return RunDocument(
        **_common(training.experiment, training.backend, training.options),
        setup_seconds=training.setup_seconds,
        compile_seconds=training.compile_seconds,
        spontaneous_rate_hz=SpontaneousRate(
            excitatory=float(np.mean(rates[:Ne])), inhibitory=float(np.mean(rates[Ne:]))
        ),
        iterations=[
            IterationRecord(**{name: getattr(i, name) for name in IterationRecord.model_fields})
            for i in training.iterations
        ],
        seconds_per_iteration=training.seconds_per_iteration(),
        peak_memory_bytes=peak_memory_bytes(),
        notes=training.notes,
        best_iteration=training.progress.best_iteration,
    )


def resource_record(interval_seconds: float, resources: Resources, iterations: int) -> ResourceRecord:
    """Sum up what a monitor saw of some iterations."""

    def each(joules: float | None) -> float | None:
        return None if joules is None or not iterations else joules / iterations

    r = resources
    return ResourceRecord(
        interval_seconds=interval_seconds,
        samples=r.samples,
        seconds=r.seconds,
        iterations=iterations,
        cpu_percent=r.cpu_percent,
        peak_resident_bytes=r.peak_resident_bytes,
        peak_gpu_memory_bytes=r.peak_gpu_memory_bytes,
        gpu_power_w=r.gpu_power_w,
        cpu_energy_per_iteration_j=each(r.cpu_energy_j),
        gpu_energy_per_iteration_j=each(r.gpu_energy_j),
        unreadable=r.unreadable,
    )


def attempt_document(
    experiment: Experiment, backend: Backend | str, options: Options, outcome: str, reason: str
) -> AttemptDocument:
    """Describe a run that was not made; of a backend that cannot be loaded, only the name is known."""
    return AttemptDocument.model_validate(
        {**_common(experiment, backend, options), "outcome": outcome, "reason": reason}
    )


def _common(experiment: Experiment, backend: Backend | str, options: Options) -> dict[str, Any]:
    name = backend if isinstance(backend, str) else backend.name
    commit, dirty = source_record()
    return {
        "schema_version": SCHEMA_VERSION,
        "measurement_version": MEASUREMENT_VERSION,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "preset": experiment.preset,
        "backend": name,
        "neurons": experiment.network.neurons,
        "plastic_inputs": experiment.plastic_inputs,
        "static_outputs": 2 * experiment.network.K,
        "precision": options.precision,
        "p_precision": options.p_precision,
        "storage": options.storage,
        "algorithm": options.algorithm,
        "threads": options.threads,
        "device": options.device,
        "seed": experiment.training.seed,
        "machine": machine_record(),
        "versions": version_record(name),
        "configuration": _without_folders(experiment.model_dump(mode="json")),
        "configuration_hash": configuration_hash(experiment),
        "commit": commit,
        "dirty": dirty,
        "environment": environment_record(),
    }


_LATER_TRAINING = (("training", "patience", 0), ("training", "maxrate_hz", 100.0))


def configuration_hash(experiment: Experiment) -> str:
    """Twelve hexadecimal digits that stand for an experiment: the same for the same settings, wherever files lie."""
    settings = _without_folders(experiment.model_dump(mode="json"))
    del settings["description"]
    del settings["checkpoints"]
    # These came later than the others, and hashes were given before.
    for section, name, default in (("numerics", "compile", False), *_LATER_TRAINING):
        if settings[section][name] == default:
            del settings[section][name]
    return digest(settings)


def digest(content: Any) -> str:
    """Twelve hexadecimal digits of SHA-256 of plain data."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def parse_document(text: str) -> RunDocument | AttemptDocument:
    """Read a document of this schema or of an earlier one.

    Raises
    ------
    ResultError
        Without the name of a file: if it is not JSON, no document of a result, or of a later schema.
    """
    check_json_room(len(text))
    try:
        content = json.loads(text, parse_float=_finite, parse_constant=_finite)
        if "\\u" in text:  # half of a pair of surrogates is no character, and cannot be written again
            json.dumps(content, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, or a number of thousands of digits
        raise ResultError(f"it is no whole JSON document ({str(error).splitlines()[0]})") from None
    version = content.get("schema_version") if isinstance(content, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ResultError("it is no document of a result: it has no schema_version")
    if version > SCHEMA_VERSION:
        raise ResultError(
            f"its schema_version is {version}, and this release reads {SCHEMA_VERSION} at most: it needs a newer one"
        )
    try:
        return _DOCUMENT.validate_python(_brought_up_to_date(content))
    except ValueError as error:
        raise ResultError(f"it is no document of a result: {_first(error)}") from None


def check_json_room(length: int) -> None:
    """Refuse JSON of so many bytes, were it to hold what takes most memory, where that is not free."""
    if length > 2**22 and JSON_TAKES * length > available_bytes():
        raise ResultError(f"it has {length:,} bytes of JSON, which may take more memory than is free")


def _finite(text: str) -> float:
    """A number of a document; NaN, Infinity and 1e999 are none."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no number that a result can have")
    return number


def _brought_up_to_date(content: Mapping[str, Any]) -> dict[str, Any]:
    """Schema 1 had runs alone, never checked, without hash; what else is new has a default."""
    if content["schema_version"] > 1:
        return dict(content)
    configuration: Any = content.get("configuration")
    try:
        experiment = Experiment.model_validate(configuration)  # settings of later releases take their defaults
        configuration, hashed = experiment.model_dump(mode="json"), configuration_hash(experiment)
    except ValueError:
        hashed = digest(configuration)
    later = {"kind": "run", "configuration": configuration, "configuration_hash": hashed}
    return {**content, **later, "schema_version": SCHEMA_VERSION}


def _first(error: ValueError) -> str:
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("run", "attempt"))
    return f"{where or 'kind'}: {first['msg']}"


def result_schema() -> dict[str, Any]:
    """The JSON Schema of documents."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_DOCUMENT.json_schema(mode="serialization")}


def _without_folders(configuration: dict[str, Any]) -> dict[str, Any]:
    """Files by their names alone: a document is shown to others, and a folder may hold the name of a user."""
    recording = configuration["recording"]
    recording["files"] = [PurePath(file).name for file in recording["files"]]
    if recording["event"] is not None:
        recording["event"] = PurePath(recording["event"]).name
    return configuration
