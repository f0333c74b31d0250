"""What a report draws: valid runs, grouped into studies and lines; and what it leaves out, and why.

In: a `ResultSet`.  Out: a `Selection`.  Knows nothing about figures except the styles of lines.

A study holds what may appear in one figure: one experiment, one machine, one way of measuring, and
the same number of iterations.  A line of it holds what may be pooled: runs of any size of one
backend with the same options and the same software.  Documents become one table, and all grouping
is done on its columns.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import isfinite
from statistics import median
from typing import Any, NamedTuple

import pandas as pd

from rlsbench.configuration import load_experiment, preset_names
from rlsbench.report.style import Style, style
from rlsbench.results import AttemptDocument, ResultSet, RunDocument, counted, machine_id, machine_label
from rlsbench.results.table import counted_seconds, series_hash, software_hash, software_label

Document = RunDocument | AttemptDocument

_UNLABELLED = frozenset(
    {"network.neurons", "training.iterations", "training.seed", "description", "numerics", "preset"}
)
_MOST_CHANGES = 3  # settings listed in the label of an experiment
_LONGEST = 120  # characters of a label


class Contender(NamedTuple):
    """A backend with its numeric options."""

    backend: str
    precision: str
    p_precision: str
    storage: str
    algorithm: str
    threads: int
    device: str

    def option(self, name: str) -> str:
        """An option in words."""
        value = getattr(self, name)
        if name == "threads":
            return f"{value} thread{'' if value == 1 else 's'}"
        return f"P {value}" if name == "p_precision" else str(value)

    def __str__(self) -> str:
        options = [self.option(name) for name in self._fields[1:] if getattr(self, name) not in ("auto", 0)]
        return tidy_text(", ".join([self.backend, *options]))


class Spread(NamedTuple):
    """Median (or mean) and range of a number of values."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        return cls(float(median(values)), min(values), max(values), len(values))


@dataclass(frozen=True)
class Line:
    """Runs of any size that may be pooled."""

    contender: Contender
    runs: tuple[RunDocument, ...]
    label: str
    """As short as possible while unique in its study."""
    style: Style

    @property
    def sizes(self) -> list[int]:
        """Numbers of neurons, ascending."""
        return sorted({run.neurons for run in self.runs})

    def at(self, neurons: int) -> list[RunDocument]:
        """Runs of one size."""
        return [run for run in self.runs if run.neurons == neurons]

    def seconds(self, neurons: int) -> Spread:
        """Seconds per iteration: median of the runs' medians, range of counted iterations."""
        times = [counted_seconds(run) for run in self.at(neurons)]
        every = [seconds for run in times for seconds in run]
        return Spread(median(map(median, times)), min(every), max(every), len(times))


@dataclass(frozen=True)
class Study:
    """What may appear in one figure."""

    experiment: str
    """Label: the preset and the settings that differ from it."""
    preset: str
    as_published: bool
    """Whether the preset is unchanged, except for recorded rates and the number of neurons."""
    machine: str
    """Label."""
    machine_id: str
    measurement_version: int
    iterations: int
    """Of each run."""
    warm_up: int
    """How many of them do not count."""
    name: str
    """Part of file names."""
    lines: tuple[Line, ...]

    @property
    def sizes(self) -> list[int]:
        """Numbers of neurons, ascending."""
        return sorted({size for line in self.lines for size in line.sizes})

    @property
    def context(self) -> str:
        """Experiment and machine."""
        return f"{self.experiment} · {self.machine}"

    def at(self, neurons: int) -> list[Line]:
        """Lines that have runs of a size, the fastest first."""
        return sorted(
            (line for line in self.lines if neurons in line.sizes),
            key=lambda line: (line.seconds(neurons).median, line.label),
        )

    def compared_size(self, backend: str | None = None) -> int | None:
        """The size that has most lines, the largest of several; None if no size has two.

        With a backend, the largest size at which one of its lines can be compared with another
        line.
        """
        at = {size: lines for size in self.sizes if len(lines := self.at(size)) > 1}
        if backend is not None:
            return max((n for n in at if backend in {line.contender.backend for line in at[n]}), default=None)
        return max(at, key=lambda size: (len(at[size]), size), default=None)


class LeftOut(NamedTuple):
    """Documents that are not drawn for the same reason."""

    why: str
    """One or two words: failed, not checked, ..."""
    what: str
    experiment: str
    neurons: int
    machine: str
    reason: str
    documents: int


@dataclass
class Selection:
    """What is drawn, and what is not."""

    studies: list[Study]
    left_out: list[LeftOut]
    skipped: list[tuple[str, str]]
    """Names of files that could not be read, and the reasons."""
    documents: list[Document]
    """All documents."""
    drawn: list[bool]
    """Whether each of them is drawn."""


_STUDY = ["preset", "series", "machine_id", "measurement_version", "iterations", "warm_up"]
_LINE = [*_STUDY, *Contender._fields]


def select(found: ResultSet) -> Selection:
    """Group documents into studies.

    Only runs that passed the conformance suite are drawn.  If a line was measured with several
    software versions, the latest is drawn.
    """
    documents = [document for _, document in found.documents]
    skipped = sorted((tidy_text(path.name), tidy_text(reason, 400)) for path, reason in found.skipped)
    if not documents:  # the table would have no columns
        return Selection([], [], skipped, [], [])
    table = pd.DataFrame([_row(document) for document in documents], dtype=object)
    table["experiment"] = table["series"].map(_experiment_labels(documents))
    _mark_superseded(table)
    made = set(table.place[table.why == ""]) - {""}
    again = (table.kind == "attempt") & table.place.isin(made)
    table.loc[again, "reason"] += " (the run was made at another time)"
    drawn = table.why == ""
    fields = list(LeftOut._fields[:-1])
    counts: dict[Any, int] = table[~drawn].groupby(fields).size().to_dict()
    return Selection(
        studies=_studies(table[drawn]),
        left_out=[LeftOut._make((*key, count)) for key, count in counts.items()],
        skipped=skipped,
        documents=documents,
        drawn=drawn.tolist(),
    )


def tidy_text(text: str, longest: int = _LONGEST) -> str:
    """One line without control characters, truncated if long: documents are untrusted input."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


def is_as_published(document: Document) -> bool:
    """Whether an experiment equals its preset, except for recorded rates and its size."""
    return all(key.startswith(("recording.", "targets.kind")) for key in _changes(document))


def _row(document: Document) -> dict[str, Any]:
    """The table row of a document: its study, line and place, and why it is not drawn."""
    iterations = len(document.iterations) if isinstance(document, RunDocument) else 0
    warm_up = iterations - len(counted(document)) if isinstance(document, RunDocument) else 0
    contender = Contender(*(getattr(document, name) for name in Contender._fields))
    repetition, machine = document.repetition, machine_id(document.machine)
    why, reason = _why_not(document)
    return {
        **{name: getattr(document, name) for name in ("kind", "preset", "measurement_version", "neurons")},
        **contender._asdict(),
        "document": document,
        "series": series_hash(document),
        "machine_id": machine,
        "iterations": iterations,
        "warm_up": warm_up,
        "what": str(contender),
        "machine": tidy_text(machine_label(document.machine)),
        "software": software_hash(document),
        "software_label": software_label(document),
        "created": document.created or "",
        "place": "" if repetition is None else f"{repetition.point} {repetition.repetition} {machine}",
        "why": why,
        "reason": reason,
    }


def _why_not(document: Document) -> tuple[str, str]:
    """Why a document cannot be drawn, in one or two words and in a sentence; empty if it can."""
    if isinstance(document, AttemptDocument):
        return document.outcome, tidy_text(document.reason, 400)
    if document.validity != "passed":
        return document.validity, tidy_text(document.validity_reason, 400)
    seconds = counted_seconds(document)
    if not seconds:
        return "incomplete", "no iterations"
    if not all(isfinite(s) and s > 0 for s in seconds):
        return "incomplete", "not all times are positive and finite"
    if not all(isfinite(i.firing_rate_hz) and isfinite(i.correlation or 0.0) for i in document.iterations):
        return "incomplete", "not all rates and correlations are finite"
    if not 0 < document.neurons < 2**53:
        return "incomplete", f"{document.neurons} is not a valid number of neurons"
    return "", ""


def _mark_superseded(table: pd.DataFrame) -> None:
    """Leave out all runs of a line except those with the latest software."""
    ordered = table[table.why == ""].sort_values(["created", "software"])
    if ordered.empty:
        return
    latest = ordered.groupby(_LINE)["software"].transform("last")
    for i in ordered.index[ordered.software != latest]:
        software = f"{ordered.software[i]}, {ordered.software_label[i]}"
        told = f"made with software {software}; measured later with software {latest[i]}"
        table.loc[i, ["why", "reason"]] = ["superseded", tidy_text(told, 400)]


def _studies(drawn: pd.DataFrame) -> list[Study]:
    options = list(Contender._fields)
    lines: dict[Any, dict[Contender, list[RunDocument]]] = {
        key: {Contender._make(contender): list(own.document) for contender, own in rows.groupby(options)}
        for key, rows in drawn.groupby(_STUDY, sort=False)
    }
    labels = {key: _line_labels(of) for key, of in lines.items()}
    palettes: dict[str, set[str]] = defaultdict(set)  # a line has the same style on every machine
    for key, texts in labels.items():
        palettes[key[1]] |= set(texts.values())
    experiments = dict(zip(drawn.series, drawn.experiment, strict=True))
    studies = []
    for key, of in lines.items():
        preset, series, machine, version, iterations, warm_up = key
        palette = sorted(palettes[series])
        first = next(iter(of.values()))[0]
        studies.append(
            Study(
                experiment=experiments[series],
                preset=preset,
                as_published=is_as_published(first),
                machine=tidy_text(machine_label(first.machine)),
                machine_id=machine,
                measurement_version=version,
                iterations=iterations,
                warm_up=warm_up,
                name="-".join([re.sub(r"\W+", "-", preset)[:40], machine, series, f"v{version}", f"{iterations}"]),
                lines=tuple(
                    Line(contender, tuple(of[contender]), text, style(palette.index(text)))
                    for contender, text in sorted(labels[key].items(), key=lambda item: item[1])
                ),
            )
        )
    return sorted(_distinguished(studies), key=lambda s: (s.experiment, s.machine, s.machine_id, s.name))


def _distinguished(studies: Sequence[Study]) -> list[Study]:
    """Add hashes to equal machine labels, and other differences to studies with equal contexts."""
    ids = defaultdict(set)
    for study in studies:
        ids[study.machine].add(study.machine_id)
    studies = [replace(s, machine=f"{s.machine} [{s.machine_id}]") if len(ids[s.machine]) > 1 else s for s in studies]
    contexts = Counter(s.context for s in studies)
    names = Counter(s.name for s in studies)
    versions = {s.measurement_version for s in studies}
    told = []
    for s in studies:
        more = [f"{s.iterations} iterations"] if contexts[s.context] > 1 else []
        more += [f"measurement version {s.measurement_version}"] if len(versions) > 1 else []
        more += [f"{s.warm_up} to warm up"] if names[s.name] > 1 else []
        name = f"{s.name}-w{s.warm_up}" if names[s.name] > 1 else s.name
        told.append(replace(s, experiment=", ".join([s.experiment, *more]), name=name))
    return told


def _line_labels(lines: Mapping[Contender, Sequence[RunDocument]]) -> dict[Contender, str]:
    """Backend, those options in which its lines differ, and the software if that differs."""
    hashes = {contender: software_hash(runs[-1]) for contender, runs in lines.items()}
    versions = {contender: software_label(runs[-1]) for contender, runs in lines.items()}
    softwares = len(set(hashes.values()))
    unique = len(set(versions.values())) == softwares
    labels = {}
    for contender in lines:
        same = [other for other in lines if other.backend == contender.backend]
        differ = [name for name in Contender._fields[1:] if len({getattr(other, name) for other in same}) > 1]
        parts = [contender.option(name) for name in differ]
        if softwares > 1:
            parts.append(versions[contender] if unique else f"software {hashes[contender]}")
        labels[contender] = tidy_text(contender.backend + (f" ({', '.join(parts)})" if parts else ""))
    return labels


def _experiment_labels(documents: Iterable[Document]) -> dict[str, str]:
    """Unique labels of series: the preset and the settings that differ from it."""
    labels: dict[str, str] = {}
    for document in documents:
        series = series_hash(document)
        if series in labels:
            continue
        told = [f"{key} = {value}" for key, value in sorted(_changes(document).items())]
        more = ", ".join(told) if len(told) <= _MOST_CHANGES else f"{len(told)} settings changed"
        labels[series] = tidy_text(document.preset + (f" with {more}" if told else ""))
    same = Counter(labels.values())
    return {series: f"{text} [{series}]" if same[text] > 1 else text for series, text in labels.items()}


def _changes(document: Document) -> dict[str, Any]:
    """Settings of a document that differ from its preset in this release."""
    preset = _preset(document.preset)
    found = {key: value for key, value in _flat(document.configuration).items() if key in preset}
    return {key: value for key, value in found.items() if value != preset[key]}


@cache
def _preset(name: str) -> dict[str, Any]:
    return _flat(load_experiment(name).model_dump(mode="json")) if name in preset_names() else {}


def _flat(configuration: Mapping[str, Any]) -> dict[str, Any]:
    flat = {}
    for section, settings in configuration.items():
        inside = settings if isinstance(settings, Mapping) else {"": settings}
        for key, value in inside.items():
            name = f"{section}.{key}" if key else section
            if name not in _UNLABELLED and section not in _UNLABELLED:
                flat[name] = value
    return flat
