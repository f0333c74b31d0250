"""The contents of a report: sections with figures and tables.

In: a `Selection`.  Out: `Section`s.  Independent of HTML and Markdown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

from rlsbench.published import SCALING
from rlsbench.report.accuracy import accuracies, draw_accuracy
from rlsbench.report.learning import draw_learning
from rlsbench.report.memory import draw_memory, peak_memory
from rlsbench.report.picture import Picture
from rlsbench.report.roofline import draw_roofline, table_row, update_speeds
from rlsbench.report.scaling import draw_scaling, line_fit, scaling_finding
from rlsbench.report.series import Document, Selection, Study, tidy_text
from rlsbench.report.speedup import baseline, speedup
from rlsbench.report.words import gib, number, several, spread
from rlsbench.results import RunDocument, counted, machine_id, machine_label
from rlsbench.results.table import software_hash
from rlsbench.training.progress import WINDOW

__all__ = ["Contents", "Section", "Table", "contents"]


class Table(NamedTuple):
    """A table of text; columns of numbers are aligned to the right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    text_columns: int = 1
    """Number of columns, from the left, that contain text."""


@dataclass(frozen=True)
class Section:
    """A heading with its text, figures and tables."""

    key: str
    heading: str
    introduction: str
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()


@dataclass(frozen=True)
class Contents:
    """A complete report."""

    title: str
    summary: str
    """The numbers of documents and machines, in one sentence."""
    findings: tuple[str, ...]
    sections: tuple[Section, ...]

    @property
    def pictures(self) -> list[Picture]:
        """All figures, in order."""
        return [picture for section in self.sections for picture in section.pictures]


def contents(selection: Selection, title: str, compared_with: str | None = None) -> Contents:
    """Make the figures and tables of a report.

    Parameters
    ----------
    selection : Selection
    title : str
    compared_with : str, optional
        Backend that is the baseline of speed-ups; by default the slowest one.
    """
    studies = selection.studies
    sections = [
        Section(
            "scaling",
            "Time against size",
            "One figure per experiment and machine. Times of different machines are never pooled.",
            pictures=_drawn(draw_scaling(study, _beside(study, studies), compared_with) for study in studies),
        ),
        Section(
            "speed-up",
            "Times and speed-up",
            "Seconds per trial with learning. A speed-up is the ratio of two runs with the same repetition and seed, "
            "shown as median (range) over such pairs. If the range includes 1, there is no clear difference.",
            tables=tuple(_times(study, compared_with) for study in studies),
        ),
        Section(
            "accuracy",
            "Accuracy against time",
            "Benefits and costs of the precisions and storages of P. Consider the firing rate as well: if it drifts "
            "upwards, longer training will lower the correlation.",
            pictures=_drawn(draw_accuracy(study, size) for study in studies for size in study.sizes),
            tables=tuple(t for study in studies for size in study.sizes if (t := _accuracy(study, size)) is not None),
        ),
        Section(
            "memory",
            "Memory against size",
            "Peak resident memory of the process of each run.",
            pictures=_drawn(draw_memory(study) for study in studies),
        ),
        Section(
            "resources",
            "Resources and energy",
            "For runs with `--monitor`: usage during the iterations, measurement included. Energy is that of the whole "
            "processor package or GPU, including other programs.",
            tables=tuple(t for study in studies if (t := _resources(study)) is not None),
        ),
        Section(
            "roofline",
            "Updates against the limits of the machine",
            "How close each RLS update comes to the memory bandwidth and peak arithmetic of its machine, both measured "
            "beside the runs with the same number of threads. Only updates on the CPU: the limits of other devices are "
            "not measured.",
            pictures=_drawn(draw_roofline(study) for study in studies),
            tables=tuple(t for study in studies if (t := _updates(study)) is not None),
        ),
        Section(
            "learning",
            "Learning curves",
            "Correlation of target and learned current, and firing rate, in each iteration.",
            pictures=_drawn(draw_learning(study, size) for study in studies for size in study.sizes),
        ),
    ]
    sections = [section for section in sections if section.pictures or section.tables]
    sections += [_not_drawn(selection), _machines(selection)]
    return Contents(
        title=tidy_text(title, 200),
        summary=_summary(selection),
        findings=_findings(studies, sections),
        sections=tuple(sections),
    )


def _beside(study: Study, studies: Sequence[Study]) -> list[Study]:
    """The other studies of the same experiment that have several sizes."""
    return [s for s in studies if s is not study and s.experiment == study.experiment and len(s.sizes) > 1]


def _drawn(pictures: Iterator[Picture | None]) -> tuple[Picture, ...]:
    return tuple(picture for picture in pictures if picture is not None)


def _findings(studies: Sequence[Study], sections: Sequence[Section]) -> tuple[str, ...]:
    """What the figures show, each with its experiment and machine."""
    pictured = {p.context for s in sections if s.key == "scaling" for p in s.pictures}
    told = [f"{scaling_finding(study)} ({study.context})" for study in studies if study.context not in pictured]
    told += [f"{p.title} ({p.context})" for section in sections for p in section.pictures]
    return tuple(told)


def _summary(selection: Selection) -> str:
    drawn = sum(selection.drawn)
    machines = len({machine_id(d.machine) for d in selection.documents})
    parts = [f"{drawn:,} of {several(len(selection.documents), 'document')} from {several(machines, 'machine')} drawn"]
    if selection.left_out:
        parts.append(f"{sum(row.documents for row in selection.left_out):,} not drawn")
    if selection.skipped:
        parts.append(f"{several(len(selection.skipped), 'file')} could not be read")
    return "; ".join(parts) + "."


def _times(study: Study, compared_with: str | None) -> Table:
    slow = baseline(study, compared_with)
    rows, sequential = [], False
    for size in study.sizes:
        for line in study.at(size):
            runs, fit, peak = line.at(size), line_fit(line), peak_memory(line, size)
            ratio = None if slow is None or line is slow else speedup(line, slow, size)
            sequential |= ratio is not None and not ratio.interleaved
            mark = "" if ratio is None or ratio.interleaved else " †"
            rls = median(median(run.iterations[i].rls_seconds for i in counted(run)) for run in runs)
            rows.append(
                (
                    line.label,
                    f"{size:,}",
                    spread(line.seconds(size)),
                    number(rls),
                    "1" if line is slow else "" if ratio is None else spread(ratio.spread, 2) + mark,
                    f"{len(runs)}",
                    "" if peak is None else number(peak.median / 2**30, 2),
                    "" if fit is None or size != line.sizes[-1] else f"{fit.exponent:.2f} ± {fit.error:.2f}",
                )
            )
        known = SCALING.get(study.preset, ()) if study.as_published else ()
        rows += [
            (f"published, {point.hardware}", f"{size:,}", number(point.seconds), "", "", "", "", "")
            for point in known
            if point.neurons == size
        ]
    over = "speed-up" if slow is None else f"speed relative to {slow.label}"
    return Table(
        study.context,
        ("", "neurons", "s per iteration (range)", "of which RLS (s)", over, "runs", "peak memory (GiB)", "exponent"),
        tuple(rows),
        note=f"{several(study.iterations, 'iteration')} per run, {study.warm_up} of them warm-up."
        + (" † Runs of different sweeps, which were not interleaved." if sequential else ""),
    )


def _accuracy(study: Study, size: int) -> Table | None:
    rows = accuracies(study, size)
    if not rows:
        return None
    return Table(
        f"{study.experiment}, {size:,} neurons · {study.machine}",
        ("", "runs", "correlation, mean (range)", "firing rate, mean (range) (Hz)", "s per iteration (range)"),
        tuple(
            (
                row.line.label,
                f"{len(row.runs)}",
                _plain_spread(row.correlation),
                _plain_spread(row.rate_hz),
                spread(row.seconds),
            )
            for row in rows
        ),
        note=f"Correlation and rate over the last {WINDOW} of {study.iterations} iterations, while learning.",
    )


def _plain_spread(values: Any) -> str:
    middle, low, high = f"{values.median:.3f}", f"{values.low:.3f}", f"{values.high:.3f}"
    return middle if low == high else f"{middle} ({low}–{high})"


def _updates(study: Study) -> Table | None:
    speeds = update_speeds(study)
    if not speeds:
        return None
    columns = (
        "",
        "neurons",
        "ns per neuron",
        "bytes",
        "GB/s",
        "% of bandwidth",
        "10⁹ operations/s",
        "% of arithmetic",
    )
    return Table(study.context, columns, tuple(map(table_row, speeds)))


def _resources(study: Study) -> Table | None:
    rows = []
    for size in study.sizes:
        for line in study.at(size):
            for run in line.at(size):
                r = run.resources
                if r is None:
                    continue
                energies = (
                    _energy(r.cpu_energy_per_iteration_j, r.unreadable.get("cpu_energy_j")),
                    _energy(r.gpu_energy_per_iteration_j, r.unreadable.get("gpu_energy_j")),
                )
                cpu = "" if r.cpu_percent is None else f"{r.cpu_percent:.0f}"
                gpu = "" if r.peak_gpu_memory_bytes is None else gib(r.peak_gpu_memory_bytes)
                rows.append(
                    (line.label, *energies, f"{size:,}", cpu, gib(r.peak_resident_bytes), gpu, f"{r.samples:,}")
                )
    if not rows:
        return None
    columns = (
        "",
        "CPU, J per iteration",
        "GPU, J per iteration",
        "neurons",
        "CPU (%)",
        "peak resident memory",
        "peak GPU memory",
        "samples",
    )
    return Table(study.context, columns, tuple(rows), text_columns=3)


def _energy(joules: float | None, why: str | None) -> str:
    return number(joules) if joules is not None else f"not available: {tidy_text(why or 'no completed iteration', 200)}"


def _not_drawn(selection: Selection) -> Section:
    rows = tuple(
        (row.why, row.what, row.experiment, row.machine, row.reason, f"{row.neurons:,}", f"{row.documents:,}")
        for row in selection.left_out
    )
    tables = []
    if rows:
        columns = ("", "what", "experiment", "machine", "reason", "neurons", "documents")
        tables.append(Table("Documents that are not drawn", columns, rows, text_columns=5))
    if selection.skipped:
        tables.append(
            Table("Files that could not be read", ("file", "reason"), tuple(selection.skipped), text_columns=2)
        )
    told = (
        "Only runs whose backend passed the conformance suite with the same options are drawn; if a configuration was "
        "measured with several software versions, only the latest."
    )
    return Section(
        "not-drawn", "Not drawn, and why", told if tables else f"{told} Everything was drawn.", tables=tuple(tables)
    )


def _machines(selection: Selection) -> Section:
    by: dict[tuple[str, str], list[Document]] = {}
    for document in selection.documents:
        label = tidy_text(machine_label(document.machine))
        by.setdefault((label, machine_id(document.machine)), []).append(document)
    tables = [
        Table(f"{label} [{hashed}]", ("", "as recorded"), _machine_rows(documents), text_columns=2)
        for (label, hashed), documents in sorted(by.items())
    ]
    columns = ("", "version", "commit", "days", "backends", "versions", "documents")
    tables.append(Table("Software", columns, _software_rows(selection.documents), text_columns=6))
    told = "As recorded by each run. A software version is identified by a hash of all versions and the commit."
    return Section("machines", "Machines and software", told, tables=tuple(tables))


def _machine_rows(documents: Sequence[Document]) -> tuple[tuple[str, str], ...]:
    """Each property with all recorded values."""
    rows: dict[str, dict[str, None]] = {}

    def add(name: str, value: Any) -> None:
        if value not in (None, "", [], {}):
            rows.setdefault(name, {})[tidy_text(_value(value), 400)] = None

    for document in documents:
        for key, value in document.machine.items():
            if isinstance(value, list):
                for part in value:
                    add(tidy_text(key).replace("_", " "), part)
                continue
            add(tidy_text(key).replace("_bytes", "").replace("_", " "), gib(value) if _is_memory(key, value) else value)
    for document in documents:
        if isinstance(document, RunDocument) and document.limits is not None:
            limits = document.limits
            of = f"with {several(limits.threads, 'thread')}, measured"
            add(f"reading {of}", f"{number(limits.read_bytes_per_second / 1e9)} GB/s")
            add(f"updating in place {of}", f"{number(limits.update_bytes_per_second / 1e9)} GB/s")
            for precision, rate in sorted(limits.operations_per_second.items()):
                add(f"{tidy_text(precision)} arithmetic {of}", f"{number(rate / 1e9)} · 10⁹ operations/s")
    for document in documents:
        add("environment", ", ".join(f"{key}={value}" for key, value in sorted(document.environment.items())))
    return tuple((name, "; ".join(values)) for name, values in rows.items())


def _software_rows(documents: Sequence[Document]) -> tuple[tuple[str, ...], ...]:
    rows = []
    for hashed in sorted({software_hash(document) for document in documents}):
        own = [document for document in documents if software_hash(document) == hashed]
        first = own[0]
        days = sorted({(document.created or "")[:10] for document in own} - {""})
        commit = (first.commit or "")[:12] + (", changed" if first.dirty else "")
        row = (
            hashed,
            first.versions.get("rlsbench", "unknown"),
            commit,
            " to ".join(dict.fromkeys([*days[:1], *days[-1:]])),
            ", ".join(sorted({document.backend for document in own})),
            ", ".join(f"{name} {version}" for name, version in sorted(first.versions.items())),
        )
        rows.append((*(tidy_text(cell, 2000) for cell in row), f"{len(own):,}"))
    return tuple(rows)


def _is_memory(key: str, value: Any) -> bool:
    return key == "memory_bytes" and isinstance(value, int)


def _value(value: Any) -> str:
    """A recorded value as text."""
    if isinstance(value, dict):
        return ", ".join(f"{str(key).replace('_', ' ')} {inner}" for key, inner in value.items() if inner is not None)
    return str(value)
