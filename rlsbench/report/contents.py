"""The contents of a report: `Section`s of a `Selection`, independent of HTML and Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Any, NamedTuple, TypeVar

from rlsbench.report.learning import accuracies, draw_accuracy, draw_learning
from rlsbench.report.picture import Picture
from rlsbench.report.rank_scaling import Kind, draw_ranks, ranks_table, scaling_table
from rlsbench.report.roofline import draw_roofline, update_speeds
from rlsbench.report.scaling import baseline, draw_memory, draw_scaling, line_fit, scaling_finding, speedup
from rlsbench.report.series import Selection, Study, grouped, machine_text, tidy_text
from rlsbench.report.simulations import draw_simulations, simulation_table
from rlsbench.report.words import Spread, gib, number, several, spread
from rlsbench.results import Document, ResourceRecord, RunDocument, counted, machine_id
from rlsbench.results.table import software_hash
from rlsbench.training.progress import WINDOW

T = TypeVar("T")

_SCALING = "One figure per experiment and machine. Times of different machines are never pooled."
_SPEED_UP = (
    "Seconds per trial with learning. A speed-up is the ratio of two runs with the same repetition and seed, shown as "
    "median (range) over such pairs. If the range includes 1, there is no clear difference."
)
_STRONG = "The same network on several numbers of MPI ranks, ideally in a time that is inversely proportional to them."
_WEAK = "The same number of neurons on each of several numbers of MPI ranks, ideally in the same time."
_RANKS = (
    "Runs on several MPI ranks. Exchange: the part of an iteration in which rank 0 exchanged spikes, or waited for "
    "other ranks to. Memory: the peak of the rank and of the node that have most, and the sum over all ranks."
)
_ACCURACY = (
    "Benefits and costs of the precisions and storages of P. Consider the firing rate as well: if it drifts upwards, "
    "longer training will lower the correlation."
)
_MEMORY = "Peak resident memory of the process of each run; of several ranks, the sum."
_RESOURCES = (
    "For runs with `--monitor`: usage during the iterations, measurement included. Energy is that of the whole "
    "processor package or GPU, including other programs."
)
_ROOFLINE = (
    "How close each RLS update comes to the memory bandwidth and peak arithmetic of its machine, both measured beside "
    "the runs with the same number of threads. Only updates on the CPU: the limits of other devices are not measured."
)
_SIMULATIONS = (
    "The network without learning, in other simulators and on backends: seconds of wall time for one second of model "
    "time, without building the network. All count the spikes of all neurons and store none. Simulators run the static "
    "network, in their own precision and with their own way to integrate; backends also run that with plastic synapses."
)
_LEARNING = "Correlation of target and learned current, and firing rate, in each iteration."


class Table(NamedTuple):
    """A table of text; columns of numbers are aligned to the right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    text_columns: int = 1  #: number of columns, from the left, that contain text


class Section(NamedTuple):
    """A heading with its text, figures and tables."""

    key: str
    heading: str
    introduction: str
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()


class Contents(NamedTuple):
    """A complete report."""

    title: str
    summary: str  #: the numbers of documents and machines, in one sentence
    findings: tuple[str, ...]
    sections: tuple[Section, ...]


def contents(selection: Selection, title: str, compared_with: str | None = None) -> Contents:
    """Make the figures and tables of a report; see `rlsbench.report.folder.write_report`."""
    studies = selection.studies
    sizes = [(study, size) for study in studies for size in study.sizes]
    scaling = _present(draw_scaling(study, studies, compared_with) for study in studies)
    times = tuple(_times(study, compared_with) for study in studies)
    plots, scores = _present(draw_accuracy(*at) for at in sizes), _present(_accuracy(*at) for at in sizes)
    strong, weak = _rank_section(studies, "strong", _STRONG), _rank_section(studies, "weak", _WEAK)
    ranks = tuple(Table(*table) for table in _present(map(ranks_table, studies)))
    memory, resources = _present(map(draw_memory, studies)), _present(map(_resources, studies))
    roofs, updates = _present(map(draw_roofline, studies)), _present(map(_updates, studies))
    curves = _present(draw_learning(*at) for at in sizes)
    simulated = _present(draw_simulations(*group) for group in selection.simulations)
    simulations = tuple(Table(*simulation_table(*group), text_columns=6) for group in selection.simulations)
    sections = [
        Section("scaling", "Time against size", _SCALING, scaling),
        Section("speed-up", "Times and speed-up", _SPEED_UP, tables=times),
        strong,
        weak,
        Section("ranks", "Memory and exchange of ranks", _RANKS, tables=ranks),
        Section("accuracy", "Accuracy against time", _ACCURACY, plots, scores),
        Section("memory", "Memory against size", _MEMORY, memory),
        Section("resources", "Resources and energy", _RESOURCES, tables=resources),
        Section("roofline", "Updates against the limits of the machine", _ROOFLINE, roofs, updates),
        Section("learning", "Learning curves", _LEARNING, curves),
        Section("simulation", "Simulation without learning", _SIMULATIONS, simulated, simulations),
    ]
    sections = [section for section in sections if section.pictures or section.tables]
    sections += [_not_present(selection), _machines(selection)]
    return Contents(tidy_text(title, 200), _summary(selection), _findings(studies, sections), tuple(sections))


def _rank_section(studies: Sequence[Study], kind: Kind, introduction: str) -> Section:
    pictures = _present(draw_ranks(study, kind) for study in studies)
    tables = tuple(Table(*table) for table in _present(scaling_table(study, kind) for study in studies))
    return Section(f"{kind}-scaling", f"{kind.capitalize()} scaling", introduction, pictures, tables)


def _present(items: Iterable[T | None]) -> tuple[T, ...]:
    return tuple(item for item in items if item is not None)


def _findings(studies: Sequence[Study], sections: Sequence[Section]) -> tuple[str, ...]:
    """What the figures show, each with its experiment and machine."""
    pictured = {p.context for s in sections if s.key == "scaling" for p in s.pictures}
    told = [(scaling_finding(study), study.context) for study in studies if study.context not in pictured]
    told += [(picture.title, picture.context) for section in sections for picture in section.pictures]
    return tuple(f"{finding} ({context})" for finding, context in told)


def _summary(selection: Selection) -> str:
    drawn = sum(selection.drawn)
    machines = len({machine_id(d.machine) for d in selection.documents})
    told = f"{drawn:,} of {several(len(selection.documents), 'document')} from {several(machines, 'machine')} drawn"
    told += f"; {len(selection.drawn) - drawn:,} not drawn" if selection.left_out else ""
    told += f"; {several(len(selection.skipped), 'file')} could not be read" if selection.skipped else ""
    return told + "."


def _times(study: Study, compared_with: str | None) -> Table:
    slow = baseline(study, compared_with)
    rows, sequential = [], False
    for size in study.sizes:
        for line in study.at(size):
            runs, fit, peak = line.at(size), line_fit(line), line.peak_memory(size)
            ratio = None if slow is None or line is slow else speedup(line, slow, size)
            sequential |= ratio is not None and not ratio.interleaved
            mark = "" if ratio is None or ratio.interleaved else " †"
            rls = median(median(run.iterations[i].rls_seconds for i in counted(run)) for run in runs)
            faster = "1" if line is slow else "" if ratio is None else spread(ratio.spread, 2) + mark
            memory = "" if peak is None else number(peak.median / 2**30, 2)
            exponent = "" if fit is None or size != line.sizes[-1] else f"{fit.exponent:.2f} ± {fit.error:.2f}"
            times = (line.label, f"{size:,}", spread(line.seconds(size)), number(rls))
            rows.append((*times, faster, f"{len(runs)}", memory, exponent))
        known = [point for point in study.published_times if point.neurons == size]
        rows += [(f"published, {p.hardware}", f"{size:,}", number(p.seconds), "", "", "", "", "") for p in known]
    over = "speed-up" if slow is None else f"speed relative to {slow.label}"
    columns = ("", "neurons", "s per iteration (range)", "of which RLS (s)", over, "runs", "peak memory (GiB)")
    note = f"{several(study.iterations, 'iteration')} per run, {study.warm_up} of them warm-up."
    note += " † Runs of different sweeps, which were not interleaved." if sequential else ""
    return Table(study.context, (*columns, "exponent"), tuple(rows), note)


def _accuracy(study: Study, size: int) -> Table | None:
    columns = ("", "runs", "correlation, mean (range)", "firing rate, mean (range) (Hz)", "s per iteration (range)")
    rows = tuple(
        (a.line.label, f"{len(a.runs)}", _plain_spread(a.correlation), _plain_spread(a.rate_hz), spread(a.seconds))
        for a in accuracies(study, size)
    )
    title = f"{study.experiment}, {size:,} neurons · {study.machine}"
    note = f"Correlation and rate over the last {WINDOW} of {study.iterations} iterations, while learning."
    return Table(title, columns, rows, note) if rows else None


def _plain_spread(values: Spread) -> str:
    middle, low, high = f"{values.median:.3f}", f"{values.low:.3f}", f"{values.high:.3f}"
    return middle if low == high else f"{middle} ({low}–{high})"


def _updates(study: Study) -> Table | None:
    columns = ("", "neurons", "ns per neuron", "bytes", "GB/s", "% of bandwidth", "10⁹ operations/s", "% of arithmetic")
    rows = []
    for u in update_speeds(study):
        moved, rates = u.nanoseconds * u.bytes_per_second, (u.bytes_per_second, u.operations_per_second)
        speed, operations = (number(rate / 1e9) for rate in rates)
        times = (u.line.label, f"{u.neurons:,}", number(u.nanoseconds), number(moved / 1e9))
        rows.append((*times, speed, f"{u.bandwidth_share:.0%}", operations, f"{u.arithmetic_share:.0%}"))
    return Table(study.context, columns, tuple(rows)) if rows else None


def _resources(study: Study) -> Table | None:
    energies, peaks = ("CPU, J per iteration", "GPU, J per iteration"), ("peak resident memory", "peak GPU memory")
    columns = ("", *energies, "neurons", "CPU (%)", *peaks, "samples")
    runs = [(line, run) for size in study.sizes for line in study.at(size) for run in line.at(size)]
    rows = []
    for line, run in runs:
        if (r := run.resources) is not None:
            percent = "" if r.cpu_percent is None else f"{r.cpu_percent:.0f}"
            memory = gib(r.peak_resident_bytes), "" if r.peak_gpu_memory_bytes is None else gib(r.peak_gpu_memory_bytes)
            energy = _energy(r, "cpu"), _energy(r, "gpu")
            rows.append((line.label, *energy, f"{run.neurons:,}", percent, *memory, f"{r.samples:,}"))
    return Table(study.context, columns, tuple(rows), text_columns=3) if rows else None


def _energy(record: ResourceRecord, what: str) -> str:
    joules = getattr(record, f"{what}_energy_per_iteration_j")
    why = record.unreadable.get(f"{what}_energy_j") or "no completed iteration"
    return number(joules) if joules is not None else f"not available: {tidy_text(why, 200)}"


def _not_present(selection: Selection) -> Section:
    rows = tuple(
        (row.why, row.what, row.experiment, row.machine, row.reason, f"{row.neurons:,}", f"{row.documents:,}")
        for row in selection.left_out
    )
    columns = ("", "what", "experiment", "machine", "reason", "neurons", "documents")
    left_out = Table("Documents that are not drawn", columns, rows, text_columns=5)
    unread = Table("Files that could not be read", ("file", "reason"), tuple(selection.skipped), text_columns=2)
    tables = tuple(table for table in (left_out, unread) if table.rows)
    told = "Only runs whose backend passed the conformance suite with the same options are drawn; if a configuration "
    told += "was measured with several software versions, only the latest; of a repetition that was run several times, "
    told += f"only the first.{'' if tables else ' Everything was drawn.'}"
    return Section("not-drawn", "Not drawn, and why", told, tables=tables)


def _machines(selection: Selection) -> Section:
    by = grouped(selection.documents, lambda d: (machine_text(d), machine_id(d.machine)))
    tables = [
        Table(f"{label} [{hashed}]", ("", "as recorded"), _machine_rows(documents), text_columns=2)
        for (label, hashed), documents in by.items()
    ]
    columns = ("", "version", "commit", "days", "backends", "versions", "documents")
    tables.append(Table("Software", columns, _software_rows(selection.documents), text_columns=6))
    told = "As recorded by each run. A software version is identified by a hash of all versions and the commit."
    return Section("machines", "Machines and software", told, tables=tuple(tables))


def _machine_rows(documents: Sequence[Document]) -> tuple[tuple[str, str], ...]:
    """Each property with all recorded values."""
    rows: dict[str, dict[str, None]] = {}
    for name, value in _properties(documents):
        if value not in (None, "", [], {}):
            rows.setdefault(name, {})[tidy_text(_value(value), 400)] = None
    return tuple((name, "; ".join(values)) for name, values in rows.items())


def _properties(documents: Sequence[Document]) -> Iterator[tuple[str, Any]]:
    """Recorded hardware, measured limits, and environment."""
    for key, value in (item for document in documents for item in document.machine.items()):
        name = tidy_text(key).replace("_", " ")
        if isinstance(value, list):
            yield from ((name, part) for part in value)
        else:
            is_memory = key == "memory_bytes" and isinstance(value, int)
            yield name.replace(" bytes", ""), gib(value) if is_memory else value
    for limits in (d.limits for d in documents if isinstance(d, RunDocument) and d.limits is not None):
        of = f"with {several(limits.threads, 'thread')}, measured"
        yield f"reading {of}", f"{number(limits.read_bytes_per_second / 1e9)} GB/s"
        yield f"updating in place {of}", f"{number(limits.update_bytes_per_second / 1e9)} GB/s"
        for precision, rate in sorted(limits.operations_per_second.items()):
            yield f"{tidy_text(precision)} arithmetic {of}", f"{number(rate / 1e9)} · 10⁹ operations/s"
    for document in documents:
        yield "environment", ", ".join(f"{key}={value}" for key, value in sorted(document.environment.items()))


def _software_rows(documents: Sequence[Document]) -> tuple[tuple[str, ...], ...]:
    rows = []
    for hashed, own in grouped(documents, software_hash).items():
        first = own[0]
        days = sorted({(document.created or "")[:10] for document in own} - {""})
        commit = (first.commit or "")[:12] + (", changed" if first.dirty else "")
        when = " to ".join(dict.fromkeys([*days[:1], *days[-1:]]))
        backends = ", ".join(sorted({document.backend for document in own}))
        versions = ", ".join(f"{name} {version}" for name, version in sorted(first.versions.items()))
        row = (hashed, first.versions.get("rlsbench", "unknown"), commit, when, backends, versions)
        rows.append((*(tidy_text(cell, 2000) for cell in row), f"{len(own):,}"))
    return tuple(rows)


def _value(value: Any) -> str:
    """A recorded value as text."""
    if isinstance(value, dict):
        return ", ".join(f"{str(key).replace('_', ' ')} {inner}" for key, inner in value.items() if inner is not None)
    return str(value)
