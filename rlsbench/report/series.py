"""What a report draws: valid runs, sorted into studies and lines; and what it does not draw, with the reason.

In: a `ResultSet`.  Out: a `Selection`.  Knows no pictures.

A study holds what may stand in one picture: one experiment, one machine, one way of measuring, as many iterations.  A
line of it holds what may be pooled: runs of one backend in the same options and the same software, of any size.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import isfinite
from statistics import median
from typing import Any, NamedTuple

from rlsbench.report.style import Style, style
from rlsbench.results import AttemptDocument, ResultSet, RunDocument, counted, machine_id, machine_label
from rlsbench.results.table import series_hash, software_hash, software_label

__all__ = ["Contender", "LeftOut", "Line", "Selection", "Spread", "Study", "select", "tidy_text"]

Document = RunDocument | AttemptDocument

_UNTOLD = frozenset({"network.neurons", "training.iterations", "training.seed", "description", "numerics", "preset"})
_TOLD = 3  # settings that are named in the label of an experiment, at most
_LONGEST = 120  # characters of a label


class Contender(NamedTuple):
    """A backend and its numeric options."""

    backend: str
    precision: str
    p_precision: str
    storage: str
    algorithm: str
    threads: int
    device: str

    @classmethod
    def of(cls, document: Document) -> Contender:
        """That of a document."""
        return cls(*(getattr(document, name) for name in cls._fields))

    def option(self, name: str) -> str:
        """An option in words."""
        value = getattr(self, name)
        if name == "threads":
            return f"{value} thread{'' if value == 1 else 's'}"
        return f"P {value}" if name == "p_precision" else str(value)

    def __str__(self) -> str:
        asked = [self.option(name) for name in self._fields[1:] if getattr(self, name) not in ("auto", 0)]
        return tidy_text(", ".join([self.backend, *asked]))


class Spread(NamedTuple):
    """Several values: the middle and the range."""

    median: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(float(median(values)), min(values), max(values), len(values))


@dataclass(frozen=True)
class Line:
    """Runs that may be pooled, of any size.

    Parameters
    ----------
    contender : Contender
    software : str
        Hash of versions and commit.
    software_label : str
    runs : tuple of RunDocument
    label : str
        As short as it can be told from the other lines of its study.
    style : Style
    """

    contender: Contender
    software: str
    software_label: str
    runs: tuple[RunDocument, ...]
    label: str
    style: Style

    @property
    def sizes(self) -> list[int]:
        """Numbers of neurons, rising."""
        return sorted({run.neurons for run in self.runs})

    def at(self, neurons: int) -> list[RunDocument]:
        """Runs of one size."""
        return [run for run in self.runs if run.neurons == neurons]

    def seconds(self, neurons: int) -> Spread:
        """Seconds per iteration: the median of the runs' medians, and the fastest and slowest iteration that counts."""
        runs = self.at(neurons)
        every = [seconds for run in runs for seconds in counted_seconds(run)]
        return Spread(median(median(counted_seconds(run)) for run in runs), min(every), max(every), len(runs))


@dataclass(frozen=True)
class Study:
    """What may stand in one picture.

    Parameters
    ----------
    experiment : str
        Label: the preset, and what differs from it.
    preset : str
    as_published : bool
        Whether nothing differs from the preset, recorded rates and the number of neurons apart.
    machine : str
        Label.
    machine_id : str
    measurement_version : int
    iterations, warm_up : int
        Of each run, and how many of them do not count.
    name : str
        Part of a file name, its own.
    lines : tuple of Line
    """

    experiment: str
    preset: str
    as_published: bool
    machine: str
    machine_id: str
    measurement_version: int
    iterations: int
    warm_up: int
    name: str
    lines: tuple[Line, ...]

    @property
    def sizes(self) -> list[int]:
        """Numbers of neurons, rising."""
        return sorted({size for line in self.lines for size in line.sizes})

    @property
    def context(self) -> str:
        """Experiment and machine."""
        return f"{self.experiment} · {self.machine}"

    def compared_size(self, backend: str | None = None) -> int | None:
        """The size at which most lines can be compared, the largest of several; None where no two can.

        With a backend, the largest size at which one of its lines has another beside it.
        """
        counts = [(len(self.at(size)), size) for size in self.sizes]
        if backend is not None:
            counts = [
                (2, n) for lines, n in counts if lines > 1 and any(x.contender.backend == backend for x in self.at(n))
            ]
        best = max(counts, default=(0, 0))
        return best[1] if best[0] > 1 else None

    def at(self, neurons: int) -> list[Line]:
        """Lines that have runs of a size, the fastest first."""
        return sorted(
            (line for line in self.lines if neurons in line.sizes),
            key=lambda line: (line.seconds(neurons).median, line.label),
        )


class LeftOut(NamedTuple):
    """Documents that are not drawn, for one reason."""

    why: str
    """In a word or two: failed, not checked, ..."""
    what: str
    experiment: str
    neurons: int
    machine: str
    reason: str
    documents: int


@dataclass
class Selection:
    """What is drawn, and what is not.

    Parameters
    ----------
    studies : list of Study
    left_out : list of LeftOut
    skipped : list of (str, str)
        Names of files that could not be read, and why.
    documents : list of RunDocument or AttemptDocument
        All of them, drawn or not.
    drawn : list of bool
        Whether each of them is.
    """

    studies: list[Study] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    documents: list[Document] = field(default_factory=list)
    drawn: list[bool] = field(default_factory=list)


def select(found: ResultSet) -> Selection:
    """Sort documents into studies.

    Drawn is what passed the conformance suite.  Where a line was measured with several softwares, the latest is drawn.
    """
    documents = [document for _, document in found.documents]
    label = _experiment_labels(documents)
    reasons: list[tuple[str, str] | None] = [_why_not(document) for document in documents]
    _mark_superseded(documents, reasons)
    _mark_made_later(documents, reasons)
    groups: dict[tuple[Any, ...], list[RunDocument]] = defaultdict(list)
    for document, reason in zip(documents, reasons, strict=True):
        if reason is None and isinstance(document, RunDocument):
            groups[_study_key(document)].append(document)
    counts: Counter[tuple[str, str, str, int, str, str]] = Counter()
    for document, reason in zip(documents, reasons, strict=True):
        if reason is not None:
            what, machine = str(Contender.of(document)), tidy_text(machine_label(document.machine))
            counts[(reason[0], what, label(document), document.neurons, machine, reason[1])] += 1
    return Selection(
        studies=_studies(groups, label),
        left_out=sorted(LeftOut(*key, count) for key, count in counts.items()),
        skipped=sorted((tidy_text(path.name), tidy_text(reason, 400)) for path, reason in found.skipped),
        documents=documents,
        drawn=[reason is None for reason in reasons],
    )


def counted_seconds(run: RunDocument) -> list[float]:
    """Seconds of the iterations that count."""
    return [run.iterations[i].seconds for i in counted(run)]


def tidy_text(text: str, longest: int = _LONGEST) -> str:
    """One line without control characters, cut where it is long: documents may hold anything."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


def _why_not(document: Document) -> tuple[str, str] | None:
    """Why a document is no result that can be drawn."""
    if isinstance(document, AttemptDocument):
        return document.outcome, tidy_text(document.reason, 400)
    if document.validity != "passed":
        return document.validity, tidy_text(document.validity_reason, 400)
    seconds = counted_seconds(document)
    if not seconds:
        return "incomplete", "it holds no iteration"
    if not all(isfinite(s) and s > 0 for s in seconds):
        return "incomplete", "not all its seconds are positive numbers"
    if not all(isfinite(i.firing_rate_hz) and isfinite(i.correlation or 0.0) for i in document.iterations):
        return "incomplete", "not all its rates and correlations are finite"
    if not 0 < document.neurons < 2**53:
        return "incomplete", f"{document.neurons} is no number of neurons"
    return None


def _mark_superseded(documents: Sequence[Document], reasons: list[tuple[str, str] | None]) -> None:
    """Of a line that was measured with several softwares, leave out all but the latest."""
    latest: dict[tuple[Any, ...], tuple[str, str]] = {}
    for document, reason in zip(documents, reasons, strict=True):
        if reason is None and isinstance(document, RunDocument):
            key = (*_study_key(document), Contender.of(document))
            latest[key] = max(latest.get(key, ("", "")), (document.created or "", software_hash(document)))
    for i, document in enumerate(documents):
        if reasons[i] is None and isinstance(document, RunDocument):
            software = latest[(*_study_key(document), Contender.of(document))][1]
            if software_hash(document) != software:
                told = f"made with software {software_hash(document)}, {software_label(document)}"
                reasons[i] = ("superseded", tidy_text(f"{told}; measured later with software {software}", 400))


def _mark_made_later(documents: Sequence[Document], reasons: list[tuple[str, str] | None]) -> None:
    """Say of an attempt whether the run was made after all."""

    def place(document: Document) -> tuple[str, int, str] | None:
        r = document.repetition
        return None if r is None else (r.point, r.repetition, machine_id(document.machine))

    made = {place(d) for d, reason in zip(documents, reasons, strict=True) if reason is None} - {None}
    for i, document in enumerate(documents):
        reason = reasons[i]
        if isinstance(document, AttemptDocument) and reason is not None and place(document) in made:
            reasons[i] = (reason[0], f"{reason[1]} (the run was made at another time)")


def _study_key(run: RunDocument) -> tuple[str, str, str, int, int, int]:
    warm_up = len(run.iterations) - len(counted(run))
    machine = machine_id(run.machine)
    return run.preset, series_hash(run), machine, run.measurement_version, len(run.iterations), warm_up


def _studies(groups: Mapping[tuple[Any, ...], list[RunDocument]], label: Callable[[Document], str]) -> list[Study]:
    studies = []
    names: dict[str, dict[tuple[Any, ...], dict[Contender, str]]] = defaultdict(dict)
    for key, runs in groups.items():
        names[key[1]][key] = _line_labels(runs)
    for key, runs in groups.items():
        preset, series, machine, version, iterations, warm_up = key
        labels = names[series][key]
        palette = sorted({text for found in names[series].values() for text in found.values()})
        lines = [
            Line(
                contender=contender,
                software=software_hash(of[0]),
                software_label=tidy_text(software_label(of[0])),
                runs=tuple(of),
                label=text,
                style=style(palette.index(text)),
            )
            for contender, text in sorted(labels.items(), key=lambda item: item[1])
            if (of := [run for run in runs if Contender.of(run) == contender])
        ]
        studies.append(
            Study(
                experiment=label(runs[0]),
                preset=preset,
                as_published=all(k.startswith(("recording.", "targets.kind")) for k in _changes(runs[0])),
                machine=tidy_text(machine_label(runs[0].machine)),
                machine_id=machine,
                measurement_version=version,
                iterations=iterations,
                warm_up=warm_up,
                name="-".join([re.sub(r"\W+", "-", preset)[:40], machine, series, f"v{version}", f"{iterations}"]),
                lines=tuple(lines),
            )
        )
    return sorted(_told_apart(studies), key=lambda s: (s.experiment, s.machine, s.machine_id, s.name))


def _told_apart(studies: list[Study]) -> list[Study]:
    """Give machines of one description their hashes, and studies of one context what else they differ in."""
    from dataclasses import replace

    ids = defaultdict(set)
    for study in studies:
        ids[study.machine].add(study.machine_id)
    studies = [replace(s, machine=f"{s.machine} [{s.machine_id}]") if len(ids[s.machine]) > 1 else s for s in studies]
    contexts = Counter(s.context for s in studies)
    versions = {s.measurement_version for s in studies}
    told = []
    for s in studies:
        more = [f"{s.iterations} iterations"] if contexts[s.context] > 1 else []
        more += [f"measurement version {s.measurement_version}"] if len(versions) > 1 else []
        told.append(replace(s, experiment=", ".join([s.experiment, *more])))
    return told


def _line_labels(runs: Iterable[RunDocument]) -> dict[Contender, str]:
    """Backend, and those options in which its lines differ; and the software where that does."""
    latest = {Contender.of(run): run for run in runs}
    softwares = {contender: software_hash(run) for contender, run in latest.items()}
    told = len({software_label(run) for run in latest.values()}) == len(set(softwares.values()))
    labels = {}
    for contender, run in latest.items():
        own = [other for other in latest if other.backend == contender.backend]
        differ = [name for name in Contender._fields[1:] if len({getattr(other, name) for other in own}) > 1]
        parts = [contender.option(name) for name in differ]
        if len(set(softwares.values())) > 1:
            parts.append(software_label(run) if told else f"software {softwares[contender]}")
        labels[contender] = tidy_text(contender.backend + (f" ({', '.join(parts)})" if parts else ""))
    return labels


def _experiment_labels(documents: Iterable[Document]) -> Callable[[Document], str]:
    """Labels that tell experiments apart: the preset, and what differs from it."""
    labels: dict[str, str] = {}
    for document in documents:
        series = series_hash(document)
        if series not in labels:
            changes = _changes(document)
            parts = [f"{key} = {value}" for key, value in sorted(changes.items())]
            more = f" with {', '.join(parts)}" if 0 < len(parts) <= _TOLD else ""
            more = f" with {len(parts)} settings changed" if len(parts) > _TOLD else more
            labels[series] = tidy_text(document.preset + more)
    same = Counter(labels.values())
    labels = {series: f"{text} [{series}]" if same[text] > 1 else text for series, text in labels.items()}
    return lambda document: labels[series_hash(document)]


def _changes(document: Document) -> dict[str, Any]:
    """Settings in which a document differs from its preset as this release has it."""
    preset = _preset(document.preset)
    found = {key: value for key, value in _flat(document.configuration).items() if key in preset}
    return {key: value for key, value in found.items() if value != preset[key]}


@cache
def _preset(name: str) -> dict[str, Any]:
    from rlsbench.configuration import load_experiment, preset_names

    return _flat(load_experiment(name).model_dump(mode="json")) if name in preset_names() else {}


def _flat(configuration: Mapping[str, Any]) -> dict[str, Any]:
    flat = {}
    for section, settings in configuration.items():
        inside = settings if isinstance(settings, Mapping) else {"": settings}
        for key, value in inside.items():
            name = f"{section}.{key}" if key else section
            if name not in _UNTOLD and section not in _UNTOLD:
                flat[name] = value
    return flat
