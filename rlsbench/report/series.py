"""What a report draws: valid runs, grouped into studies and lines; and what it leaves out, and why.

In: a `ResultSet`.  Out: a `Selection`.  Knows nothing about figures except the styles of lines.

A study holds what may appear in one figure: one experiment, one machine, one way of measuring, and
the same number of iterations.  A line of it holds what may be pooled: runs of any size of one
backend with the same options and the same software.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from statistics import median
from typing import Any, NamedTuple, TypeVar

from rlsbench.configuration import load_experiment, preset_names
from rlsbench.published import SCALING, PublishedTime
from rlsbench.report.picture import Style, style
from rlsbench.report.words import Spread, several
from rlsbench.results import (
    AttemptDocument,
    Document,
    ResultSet,
    RunDocument,
    SimulationDocument,
    counted,
    machine_id,
    machine_label,
)
from rlsbench.results.table import counted_seconds, rank_memory, series_hash, software_hash, software_label

T = TypeVar("T")
K = TypeVar("K", bound=Any)

_UNLABELLED = {"network.neurons", "training.iterations", "training.seed", "description", "numerics", "preset"}
_MOST_CHANGES = 3  # settings listed in the label of an experiment
_LONGEST = 120  # characters of a label
_HUGE = 1e100  # nothing that is measured; sums and squares of less are finite


class Contender(NamedTuple):
    """A backend with its numeric options."""

    backend: str
    precision: str
    p_precision: str
    storage: str
    algorithm: str
    threads: int
    device: str
    ranks: int = 1
    nodes: int = 1

    def option(self, name: str) -> str:
        """An option in words."""
        value = getattr(self, name)
        if name in ("threads", "ranks", "nodes"):
            return several(value, name.removesuffix("s"))
        return f"P {value}" if name == "p_precision" else str(value)

    def __str__(self) -> str:
        named = [name for name in self._fields[1:] if name not in ("ranks", "nodes") or getattr(self, name) > 1]
        options = [self.option(name) for name in named if getattr(self, name) not in ("auto", 0)]
        return tidy_text(", ".join([self.backend, *options]))


@dataclass(frozen=True)
class Line:
    """Runs of any size that may be pooled."""

    contender: Contender
    runs: tuple[RunDocument, ...]
    label: str  #: as short as possible while unique in its study
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

    def peak_memory(self, neurons: int) -> Spread | None:
        """Peak resident memory of all ranks, bytes; None if no run recorded it."""
        peaks = (sum(map(sum, rank_memory(run).values())) for run in self.at(neurons))
        found = [float(peak) for peak in peaks if peak]
        return Spread.of(found) if found else None


@dataclass(frozen=True)
class Study:
    """What may appear in one figure."""

    experiment: str  #: label: the preset and the settings that differ from it
    preset: str
    as_published: bool  #: whether the preset is unchanged, except for recorded rates and the number of neurons
    machine: str  #: label
    machine_id: str
    measurement_version: int
    iterations: int  #: of each run
    warm_up: int  #: how many of them do not count
    name: str  #: part of file names
    lines: tuple[Line, ...]

    @property
    def sizes(self) -> list[int]:
        """Numbers of neurons, ascending."""
        return sorted({size for line in self.lines for size in line.sizes})

    @property
    def context(self) -> str:
        """Experiment and machine."""
        return f"{self.experiment} · {self.machine}"

    @property
    def published_times(self) -> tuple[PublishedTime, ...]:
        """The published times of the experiment; none if its settings differ."""
        return SCALING.get(self.preset, ()) if self.as_published else ()

    def at(self, neurons: int) -> list[Line]:
        """Lines that have runs of a size, the fastest first."""
        lines = [line for line in self.lines if neurons in line.sizes]
        return sorted(lines, key=lambda line: (line.seconds(neurons).median, line.label))

    def compared_size(self, backend: str | None = None) -> int | None:
        """The size that has most lines, the largest of several; None if no size has two.

        With a backend, the largest size at which one of its lines can be compared with another.
        """
        at = {size: lines for size in self.sizes if len(lines := self.at(size)) > 1}
        if backend is not None:
            return max((n for n in at if backend in {line.contender.backend for line in at[n]}), default=None)
        return max(at, key=lambda size: (len(at[size]), size), default=None)


class LeftOut(NamedTuple):
    """Documents that are not drawn for the same reason."""

    why: str  #: one or two words: failed, not checked, ..
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
    skipped: list[tuple[str, str]]  #: names of files that could not be read, and the reasons
    documents: list[Document]  #: all documents
    drawn: list[bool]  #: whether each of them is drawn
    #: simulations that may appear in one figure, with its experiment and machine
    simulations: list[tuple[str, list[SimulationDocument]]]


class _Entry:
    """A document, what it is grouped by, and why it is not drawn; empty if it is."""

    def __init__(self, d: Document) -> None:
        iterations = len(d.iterations) if isinstance(d, RunDocument) else 0
        warm_up = iterations - len(counted(d)) if isinstance(d, RunDocument) else 0
        self.document, self.software = d, software_hash(d)
        self.study = (d.preset, series_hash(d), machine_id(d.machine), d.measurement_version, iterations, warm_up)
        self.contender = Contender(*(getattr(d, name) for name in Contender._fields))
        self.why, self.reason = _why_not(d)

    @property
    def place(self) -> tuple[str, int, str] | None:
        """Point and repetition of a sweep, and the machine."""
        of = self.document.repetition
        return None if of is None else (of.point, of.repetition, self.study[2])


def select(found: ResultSet) -> Selection:
    """Group documents into studies.

    Only runs that passed the conformance suite are drawn.  If a line was measured with several
    software versions, the latest is drawn; if a repetition of a point was run several times, the
    first.
    """
    entries = [_Entry(document) for _, document in found.documents]
    experiments = _experiment_labels(entries)
    _mark_superseded(entries)
    _mark_repeated(entries)
    made = {entry.place for entry in entries if not entry.why} - {None}
    left_out: Counter[tuple[Any, ...]] = Counter()
    for entry in (entry for entry in entries if entry.why):
        if isinstance(entry.document, AttemptDocument) and entry.place in made:
            entry.reason += " (the run was made at another time)"
        where = (experiments[entry.study[1]], entry.document.neurons, machine_text(entry.document))
        left_out[entry.why, str(entry.contender), *where, entry.reason] += 1
    return Selection(
        studies=_studies(entries, experiments),
        left_out=[LeftOut._make((*key, count)) for key, count in sorted(left_out.items())],
        skipped=sorted((tidy_text(path.name), tidy_text(reason, 400)) for path, reason in found.skipped),
        documents=[entry.document for entry in entries],
        drawn=[not entry.why for entry in entries],
        simulations=_simulations(entries, experiments),
    )


def grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Items by their key, in ascending order of the keys."""
    return {k: list(group) for k, group in groupby(sorted(items, key=key), key)}


def tidy_text(text: str, longest: int = _LONGEST) -> str:
    """One line without control characters, truncated if long: documents are untrusted input."""
    clean = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


def is_as_published(document: Document) -> bool:
    """Whether an experiment equals its preset, except for recorded rates and its size."""
    return all(key.startswith(("recording.", "targets.kind")) for key in _changes(document))


def machine_text(document: Document) -> str:
    """The label of its machine."""
    return tidy_text(machine_label(document.machine))


def _why_not(document: Document) -> tuple[str, str]:
    """Why a document cannot be drawn, in one or two words and in a sentence; empty if it can."""
    if isinstance(document, AttemptDocument):
        return document.outcome, tidy_text(document.reason, 400)
    if isinstance(document, SimulationDocument):
        measured = (*document.seconds, document.model_seconds)
        valid = len(measured) > 1 and all(0 < s < _HUGE for s in measured) and 0 < document.neurons < 2**53
        valid = valid and abs(document.firing_rate_hz) < _HUGE
        return ("", "") if valid else ("incomplete", "not all times and rates are positive and finite")
    if document.validity != "passed":
        return document.validity, tidy_text(document.validity_reason, 400)
    seconds = counted_seconds(document)
    if not seconds:
        return "incomplete", "no iterations"
    if not all(0 < s < _HUGE for s in seconds):
        return "incomplete", "not all times are positive and finite"
    if not all(abs(v) < _HUGE for i in document.iterations for v in (i.firing_rate_hz, i.correlation or 0.0)):
        return "incomplete", "not all rates and correlations are finite"
    if not 0 < document.neurons < 2**53:
        return "incomplete", f"{document.neurons} is not a valid number of neurons"
    return "", ""


def _mark_superseded(entries: Iterable[_Entry]) -> None:
    """Leave out all runs of a line except those with the latest software."""
    ordered = sorted((e for e in entries if not e.why), key=lambda e: (e.document.created or "", e.software))
    latest = {(e.study, e.contender): e.software for e in ordered}
    for e in ordered:
        last = latest[e.study, e.contender]
        if e.software != last:
            software = f"{e.software}, {software_label(e.document)}"
            told = f"made with software {software}; measured later with software {last}"
            e.why, e.reason = "superseded", tidy_text(told, 400)


def _mark_repeated(entries: Iterable[_Entry]) -> None:
    """Leave out all runs of one repetition of a point except the first: they are no repetitions."""
    first: set[Any] = set()
    for e in (e for e in entries if not e.why and e.place is not None):  # by time
        key = (e.place, e.study, e.contender, e.document.neurons, e.document.seed)
        if key in first:
            e.why, e.reason = "repeated", "the same repetition had been run before"
        first.add(key)


def _studies(entries: Iterable[_Entry], experiments: Mapping[str, str]) -> list[Study]:
    lines: dict[Any, dict[Contender, list[RunDocument]]] = defaultdict(lambda: defaultdict(list))
    for entry in sorted(entries, key=lambda entry: entry.contender):
        if not entry.why and isinstance(entry.document, RunDocument):
            lines[entry.study][entry.contender].append(entry.document)
    labels = {key: line_labels(of) for key, of in lines.items()}
    palettes: dict[str, set[str]] = defaultdict(set)  # a line has the same style on every machine
    for key, texts in labels.items():
        palettes[key[1]] |= set(texts.values())
    studies = []
    for key, of in lines.items():
        preset, series, machine, version, iterations, warm_up = key
        palette, first = sorted(palettes[series]), next(iter(of.values()))[0]
        named = sorted(labels[key].items(), key=lambda item: item[1])
        plain = re.sub(r"[^A-Za-z0-9_]+", "-", preset)[:40]
        study = Study(
            experiment=experiments[series],
            preset=preset,
            as_published=is_as_published(first),
            machine=machine_text(first),
            machine_id=machine,
            measurement_version=version,
            iterations=iterations,
            warm_up=warm_up,
            name="-".join([plain, machine, series, f"v{version}", f"{iterations}"]),
            lines=tuple(Line(c, tuple(of[c]), text, style(palette.index(text))) for c, text in named),
        )
        studies.append(study)
    return sorted(_distinguished(studies), key=lambda s: (s.experiment, s.machine, s.machine_id, s.name))


def _simulations(
    entries: Iterable[_Entry], experiments: Mapping[str, str]
) -> list[tuple[str, list[SimulationDocument]]]:
    """Simulations by experiment, machine, version of the measurement and model time."""
    groups: dict[Any, list[SimulationDocument]] = defaultdict(list)
    for entry in entries:
        if isinstance(d := entry.document, SimulationDocument) and not entry.why:
            context = f"{experiments[entry.study[1]]} · {machine_text(d)}"
            groups[context, entry.study[:4], d.model_seconds].append(d)
    return [(key[0], groups[key]) for key in sorted(groups)]


def _distinguished(studies: Sequence[Study]) -> list[Study]:
    """Add hashes to equal machine labels, and other differences to studies with equal contexts."""
    ids = Counter(machine for machine, _ in {(s.machine, s.machine_id) for s in studies})
    studies = [replace(s, machine=f"{s.machine} [{s.machine_id}]") if ids[s.machine] > 1 else s for s in studies]
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


def line_labels(lines: Mapping[Contender, Sequence[RunDocument]]) -> dict[Contender, str]:
    """Backend, those options in which its lines differ, and the software if that differs."""
    hashes, versions = ({c: f(runs[-1]) for c, runs in lines.items()} for f in (software_hash, software_label))
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


def _experiment_labels(entries: Iterable[_Entry]) -> dict[str, str]:
    """Unique labels of series: the preset and the settings that differ from it."""
    labels: dict[str, str] = {}
    for preset, series, document in ((*entry.study[:2], entry.document) for entry in entries):
        if series not in labels:
            told = [f"{key} = {value}" for key, value in sorted(_changes(document).items())]
            more = ", ".join(told) if len(told) <= _MOST_CHANGES else f"{len(told)} settings changed"
            labels[series] = tidy_text(preset + (f" with {more}" if told else ""))
    same = Counter(labels.values())
    return {series: f"{text} [{series}]" if same[text] > 1 else text for series, text in labels.items()}


def _changes(document: Document) -> dict[str, Any]:
    """Settings of a document that differ from its preset in this release."""
    preset = _preset(document.preset)
    found = _flat(document.configuration)
    return {key: value for key, value in found.items() if key in preset and value != preset[key]}


@cache
def _preset(name: str) -> dict[str, Any]:
    return _flat(load_experiment(name).model_dump(mode="json")) if name in preset_names() else {}


def _flat(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Values by dotted key, without those that no label names."""
    flat: dict[str, Any] = {}
    for section, settings in configuration.items():
        inside = settings if isinstance(settings, Mapping) else {"": settings}
        flat |= {f"{section}.{key}" if key else section: value for key, value in inside.items()}
    return {key: value for key, value in flat.items() if not {key, key.partition(".")[0]} & _UNLABELLED}
