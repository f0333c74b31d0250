"""Results as a table: the values to compare, and the columns that say which rows are comparable."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rlsbench.configuration import Experiment
from rlsbench.results.document import AttemptDocument, Document, RunDocument, digest
from rlsbench.results.machine import machine_id, machine_label
from rlsbench.training.progress import final_correlation

if TYPE_CHECKING:
    import pandas as pd


def counted(run: RunDocument) -> list[int]:
    """Indices of the iterations that count: those after the warm-up."""
    first = run.repetition.warm_up if run.repetition is not None else 1
    return list(range(min(first, max(len(run.iterations) - 1, 0)), len(run.iterations)))


def counted_seconds(run: RunDocument) -> list[float]:
    """Seconds of the iterations that count."""
    return [run.iterations[i].seconds for i in counted(run)]


def run_correlation(run: RunDocument) -> float | None:
    """Final correlation of a run; see `rlsbench.training.progress.final_correlation`."""
    return final_correlation([iteration.correlation for iteration in run.iterations])


def counted_exchange(run: RunDocument) -> list[float]:
    """Seconds of the exchange in the iterations that count; empty without ranks."""
    found = (run.iterations[i].exchange_seconds for i in counted(run))
    return [seconds for seconds in found if seconds is not None]


def rank_memory(run: RunDocument) -> dict[int, list[int]]:
    """Peak resident memory of the ranks of each node, bytes; of one process, or what is known."""
    nodes: dict[int, list[int]] = {}
    for rank in run.rank_records:
        nodes.setdefault(rank.node, []).append(rank.peak_memory_bytes or 0)
    return nodes or {1: [run.peak_memory_bytes or 0]}


def software_hash(document: Document) -> str:
    """Six hexadecimal digits that identify all versions and the commit."""
    return digest([document.versions, document.commit, document.dirty])[:6]


def software_label(document: Document) -> str:
    """Version and commit, such as "0.1.0 (1a2b3c4, changed)"."""
    changed = ", changed" if document.dirty else ""
    commit = f" ({document.commit[:7]}{changed})" if document.commit else ""
    return f"{document.versions.get('rlsbench', 'unknown version')}{commit}"


def series_hash(document: Document) -> str:
    """Eight hexadecimal digits that identify an experiment.

    Its size, number of iterations, seed and numeric options are left out.
    """
    excluded = {"network": ("neurons",), "training": ("iterations", "seed", "patience", "maxrate_hz")}
    settings = {}
    for section, value in document.configuration.items():
        if isinstance(value, dict):
            value = {key: inside for key, inside in value.items() if key not in excluded.get(section, ())}
        if section not in ("description", "numerics", "checkpoints") and value != []:
            settings[section] = value
    return digest(settings)[:8]


def _update_ns(run: RunDocument) -> float | None:
    seconds = run.update.update_seconds if run.update else []
    return 1e9 * float(np.mean(seconds)) / run.neurons if seconds and run.neurons > 0 else None


def _simulation_alone(run: RunDocument) -> float | None:
    seconds = run.update.simulation_seconds if run.update else []
    return median(seconds) if seconds else None


def _quantile(q: float) -> Callable[[RunDocument], float | None]:
    return lambda run: float(np.quantile(counted_seconds(run), q)) if run.iterations else None


def _memory(of: Callable[[list[int]], int], over: Callable[[list[int]], int]) -> Callable[[RunDocument], int | None]:
    """From the peaks of ranks to one number: of each node, then over all nodes."""
    return lambda run: over([of(peaks) for peaks in rank_memory(run).values()]) or None


def _exchange(run: RunDocument) -> float | None:
    seconds = counted_exchange(run)
    return median(seconds) if seconds else None


def _energy(what: str) -> Callable[[RunDocument], float | None]:
    return lambda run: getattr(run.resources, f"{what}_energy_per_iteration_j", None)


def _fields(*names: str) -> dict[str, Callable[[Any], Any]]:
    """Columns that are fields of a document."""
    return {name: attrgetter(name) for name in names}


_ANY: Final[dict[str, Callable[[Any], Any]]] = {
    "kind": lambda d: d.kind,
    "outcome": lambda d: d.outcome if isinstance(d, AttemptDocument) else "completed",
    "reason": lambda d: d.reason if isinstance(d, AttemptDocument) else "",
    "created": lambda d: d.created,
    "machine": lambda d: machine_id(d.machine),
    "machine_label": lambda d: machine_label(d.machine),
    "software": software_hash,
    "software_label": software_label,
    **_fields("measurement_version"),
    "series": series_hash,
    **_fields("configuration_hash", "preset", "backend", "neurons", "plastic_inputs", "static_outputs"),
    **_fields("precision", "p_precision", "storage", "algorithm", "threads", "ranks", "nodes", "device", "seed"),
    "repetition": lambda d: d.repetition.repetition if d.repetition is not None else None,
}
_RUN: Final[dict[str, Callable[[Any], Any]]] = {
    **_fields("validity", "validity_reason"),
    "iterations": lambda r: len(r.iterations),
    "seconds_per_iteration": lambda r: median(counted_seconds(r)) if r.iterations else None,
    "seconds_lower_quartile": _quantile(0.25),
    "seconds_upper_quartile": _quantile(0.75),
    "rls_seconds": lambda r: median(r.iterations[i].rls_seconds for i in counted(r)) if r.iterations else None,
    "exchange_seconds": _exchange,
    "simulation_alone_seconds": _simulation_alone,
    "update_ns_per_neuron": _update_ns,
    "bytes_per_update": lambda r: r.update.bytes_per_update if r.update else None,
    "operations_per_update": lambda r: r.update.operations_per_update if r.update else None,
    "firing_rate_hz": lambda r: r.iterations[-1].firing_rate_hz if r.iterations else None,
    "correlation": run_correlation,
    **_fields("setup_seconds", "compile_seconds", "peak_memory_bytes"),
    "rank_memory_bytes": _memory(max, max),
    "node_memory_bytes": _memory(sum, max),
    "all_memory_bytes": _memory(sum, sum),
    "cpu_energy_per_iteration_j": _energy("cpu"),
    "gpu_energy_per_iteration_j": _energy("gpu"),
}

_SIMULATION: Final[dict[str, Callable[[Any], Any]]] = {
    "simulation_alone_seconds": lambda s: median(s.seconds) if s.seconds else None,
    **_fields("firing_rate_hz", "setup_seconds"),
}

COLUMNS: Final = ("file", *_ANY, *_RUN)
"""Names of the columns.

Times are in seconds or, for one update of one neuron, in ns.  They are medians over the iterations
that count; that of the update is a mean over one trial.  Of several ranks, threads, times and
`peak_memory_bytes` are those of rank 0; `rank_memory_bytes` and `node_memory_bytes` are those of
the rank and the node that have most, `all_memory_bytes` is the sum.  `correlation` is the mean over
the last 10 iterations.  `series` identifies the experiment regardless of size, length, seed and
numeric options.
"""

_OF_KIND: Final = {"run": _RUN, "simulation": _SIMULATION}
_AS_COLUMNS: Final = {"network.neurons", "training.iterations", "training.seed"} | {
    f"numerics.{name}" for name in ("precision", "p_precision", "storage", "algorithm", "threads", "device")
}
"""Settings that are among `COLUMNS`, or the values in use."""


def results_table(documents: Sequence[tuple[Path, Document]]) -> pd.DataFrame:
    """One row per document: the columns `COLUMNS`, and one for each other setting that varies."""
    import pandas as pd  # slow import

    varying = _varying_settings([document for _, document in documents])
    rows = []
    for number, (path, document) in enumerate(documents):
        columns = _ANY | _OF_KIND.get(document.kind, {})
        settings = {key: values[number] for key, values in varying.items()}
        rows.append({"file": str(path), **{name: value(document) for name, value in columns.items()}, **settings})
    return pd.DataFrame(rows, columns=[*COLUMNS, *varying])


def _varying_settings(documents: Sequence[Document]) -> dict[str, list[Any]]:
    """The value in each document of the settings that differ between those that have them."""
    found = {}
    for section, field in Experiment.model_fields.items():
        names = getattr(field.annotation, "model_fields", ()) if section != "checkpoints" else ()
        tables = [document.configuration.get(section) for document in documents]
        for name in names:
            values = [table.get(name) if isinstance(table, dict) else None for table in tables]
            # What is no number or text, such as a list, is shown as JSON.
            values = [v if v is None or isinstance(v, str | int | float) else json.dumps(v) for v in values]
            if len({*values} - {None}) > 1 and f"{section}.{name}" not in _AS_COLUMNS:
                found[f"{section}.{name}"] = values
    return found
