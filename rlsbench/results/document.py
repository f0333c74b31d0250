"""The JSON document of one run.

In: a `Training`.  Out: a `RunDocument`, whose JSON is what `rlsbench run --json` writes.  Knows no figures.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from rlsbench.results.machine import machine_record, peak_memory_bytes, version_record
from rlsbench.training import Training

__all__ = ["SCHEMA_VERSION", "IterationRecord", "RunDocument", "SpontaneousRate", "run_document"]

SCHEMA_VERSION = 1


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


class RunDocument(_Record):
    """All that a run says about itself."""

    schema_version: int
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
    setup_seconds: float
    """Drawing the network, the initial trial and filling the trainer."""
    compile_seconds: float
    """Compiling, or loading what was compiled before."""
    spontaneous_rate_hz: SpontaneousRate
    iterations: list[IterationRecord]
    seconds_per_iteration: float | None
    """Median of the iterations' seconds without the first."""
    peak_memory_bytes: int | None
    """Largest resident memory of the process."""
    notes: list[str]
    machine: dict[str, Any]
    versions: dict[str, str]
    configuration: dict[str, Any]
    """The experiment, resolved; files by their names alone."""
    evaluation: dict[str, Any] | None = None
    """Frozen trials, where `rlsbench evaluate` ran them."""

    def to_json(self) -> str:
        """Indented JSON with a final newline."""
        return self.model_dump_json(indent=2) + "\n"


def run_document(training: Training) -> RunDocument:
    """Describe a training as it stands now."""
    experiment, options, problem = training.experiment, training.options, training.problem
    rates, Ne = training.initial.rates_hz, problem.excitatory
    return RunDocument(
        schema_version=SCHEMA_VERSION,
        preset=experiment.preset,
        backend=training.backend.name,
        neurons=problem.neurons,
        plastic_inputs=problem.n,
        static_outputs=2 * experiment.network.K,
        precision=options.precision,
        p_precision=options.p_precision,
        storage=options.storage,
        algorithm=options.algorithm,
        threads=options.threads,
        device=options.device,
        seed=problem.seed,
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
        machine=machine_record(),
        versions=version_record(training.backend.name),
        configuration=_without_folders(experiment.model_dump(mode="json")),
    )


def _without_folders(configuration: dict[str, Any]) -> dict[str, Any]:
    """Files by their names alone: a document is shown to others, and a folder may hold the name of a user."""
    recording = configuration["recording"]
    recording["files"] = [PurePath(file).name for file in recording["files"]]
    if recording["event"] is not None:
        recording["event"] = PurePath(recording["event"]).name
    return configuration
