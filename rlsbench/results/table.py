"""Results as a table: what can be compared, and what tells whether it may be.

In: documents.  Out: a DataFrame with a row for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from rlsbench.results.document import AttemptDocument, RunDocument, digest
from rlsbench.results.machine import machine_id, machine_label

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "counted", "final_correlation", "results_table", "series_hash", "software_hash", "software_label"]

LAST = 10
"""Iterations whose mean is the correlation that a run reached."""


def counted(run: RunDocument) -> list[int]:
    """Positions of the iterations that count: those after the warm-up."""
    first = run.repetition.warm_up if run.repetition is not None else 1
    return list(range(min(first, max(len(run.iterations) - 1, 0)), len(run.iterations)))


def final_correlation(run: RunDocument) -> float | None:
    """Mean correlation of the last 10 iterations; None where there are fewer than 10, or none was measured."""
    last = [i.correlation for i in run.iterations[-LAST:] if i.correlation is not None]
    return float(np.mean(last)) if len(last) == LAST else None


def software_hash(document: RunDocument | AttemptDocument) -> str:
    """Six hexadecimal digits that stand for all versions and the commit."""
    return digest([document.versions, document.commit, document.dirty])[:6]


def software_label(document: RunDocument | AttemptDocument) -> str:
    """Version and commit, as "0.1.0 (1a2b3c4, changed)"."""
    changed = ", changed" if document.dirty else ""
    commit = f" ({document.commit[:7]}{changed})" if document.commit else ""
    return f"{document.versions.get('rlsbench', 'unknown version')}{commit}"


def series_hash(document: RunDocument | AttemptDocument) -> str:
    """Eight hexadecimal digits that stand for the experiment but for its size, length, seed and numeric options."""
    settings = {key: dict(value) if isinstance(value, dict) else value for key, value in document.configuration.items()}
    apart = (("network", "neurons"), *(("training", key) for key in ("iterations", "seed", "patience", "maxrate_hz")))
    for section, key in apart:
        if isinstance(settings.get(section), dict):
            settings[section].pop(key, None)
    for key in ("description", "numerics", "checkpoints"):
        settings.pop(key, None)
    return digest(settings)[:8]


def _seconds(run: RunDocument) -> list[float]:
    return [run.iterations[i].seconds for i in counted(run)]


def _nanoseconds(run: RunDocument, seconds: list[float]) -> float | None:
    return 1e9 * float(np.mean(seconds)) / run.neurons if seconds else None


def _quantile(values: list[float], q: float) -> float | None:
    return float(np.quantile(values, q)) if values else None


_ANY: Final[dict[str, Callable[[RunDocument | AttemptDocument], Any]]] = {
    "kind": lambda d: d.kind,
    "outcome": lambda d: d.outcome if isinstance(d, AttemptDocument) else "completed",
    "reason": lambda d: d.reason if isinstance(d, AttemptDocument) else "",
    "created": lambda d: d.created,
    "machine": lambda d: machine_id(d.machine),
    "machine_label": lambda d: machine_label(d.machine),
    "software": software_hash,
    "software_label": software_label,
    "measurement_version": lambda d: d.measurement_version,
    "series": series_hash,
    "configuration_hash": lambda d: d.configuration_hash,
    "preset": lambda d: d.preset,
    "backend": lambda d: d.backend,
    "neurons": lambda d: d.neurons,
    "plastic_inputs": lambda d: d.plastic_inputs,
    "static_outputs": lambda d: d.static_outputs,
    "precision": lambda d: d.precision,
    "p_precision": lambda d: d.p_precision,
    "storage": lambda d: d.storage,
    "algorithm": lambda d: d.algorithm,
    "threads": lambda d: d.threads,
    "device": lambda d: d.device,
    "seed": lambda d: d.seed,
    "repetition": lambda d: d.repetition.repetition if d.repetition is not None else None,
}
_RUN: Final[dict[str, Callable[[RunDocument], Any]]] = {
    "validity": lambda r: r.validity,
    "validity_reason": lambda r: r.validity_reason,
    "iterations": lambda r: len(r.iterations),
    "seconds_per_iteration": lambda r: median(_seconds(r)) if r.iterations else None,
    "seconds_lower_quartile": lambda r: _quantile(_seconds(r), 0.25),
    "seconds_upper_quartile": lambda r: _quantile(_seconds(r), 0.75),
    "rls_seconds": lambda r: median(r.iterations[i].rls_seconds for i in counted(r)) if r.iterations else None,
    "simulation_alone_seconds": lambda r: median(r.update.simulation_seconds) if r.update else None,
    "update_ns_per_neuron": lambda r: _nanoseconds(r, r.update.update_seconds) if r.update else None,
    "bytes_per_update": lambda r: r.update.bytes_per_update if r.update else None,
    "operations_per_update": lambda r: r.update.operations_per_update if r.update else None,
    "firing_rate_hz": lambda r: r.iterations[-1].firing_rate_hz if r.iterations else None,
    "correlation": final_correlation,
    "setup_seconds": lambda r: r.setup_seconds,
    "compile_seconds": lambda r: r.compile_seconds,
    "peak_memory_bytes": lambda r: r.peak_memory_bytes,
}

COLUMNS: Final = ("file", *_ANY, *_RUN)
"""Names of the columns. Times in seconds or, for one update of one neuron, ns; medians over the iterations that count,
the update's a mean over one trial; `correlation` a mean over the last 10 iterations; `series` stands for the experiment
but for size, length, seed and numeric options."""


def results_table(documents: Sequence[tuple[Path, RunDocument | AttemptDocument]]) -> pd.DataFrame:
    """A row for each document, with the columns of `COLUMNS`."""
    import pandas as pd  # takes long to import

    rows = []
    for path, document in documents:
        row: dict[str, Any] = {"file": str(path)}
        row |= {name: value(document) for name, value in _ANY.items()}
        if isinstance(document, RunDocument):
            row |= {name: value(document) for name, value in _RUN.items()}
        rows.append(row)
    return pd.DataFrame(rows, columns=list(COLUMNS))
