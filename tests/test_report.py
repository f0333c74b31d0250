"""The report: what is drawn and what is not, its numbers, and files that are the same each time."""

from __future__ import annotations

import json
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rlsbench import load_experiment
from rlsbench.cli import main
from rlsbench.errors import ConfigurationError, OutputError, ResultError
from rlsbench.published import SCALING
from rlsbench.report.contents import contents
from rlsbench.report.folder import _HEAD, WrittenReport, write_report
from rlsbench.report.headline import write_headline
from rlsbench.report.learning import accuracies
from rlsbench.report.picture import style
from rlsbench.report.roofline import update_speeds
from rlsbench.report.scaling import baseline, draw_scaling, fit_exponent, scaling_finding, speedup
from rlsbench.report.series import Selection, select, tidy_text
from rlsbench.report.words import number, times
from rlsbench.results import AttemptDocument, Repetition, RunDocument, Store, read_results, result_schema
from rlsbench.results.store import ResultSet
from tests.conftest import Refused

HERE = {"cpu": "Maker One", "usable_threads": 2, "memory_bytes": 2**34, "caches": {"L1 data": "32K"}}
THERE = {"cpu": "Maker Two", "usable_threads": 16, "memory_bytes": 2**37}
PNG = b"\x89PNG\r\n\x1a\n"


def run_of(
    backend: str = "fast",
    neurons: int = 1000,
    seconds: list[float] | tuple[float, ...] = (9.0, 1.0, 1.0),
    *,
    repetition: int = 1,
    sweep: str = "one",
    preset: str = "sinusoid",
    overrides: dict[str, Any] | None = None,
    **fields: Any,
) -> RunDocument:
    """A valid run of a sweep; its first iteration does not count."""
    configuration = load_experiment(preset, overrides=overrides).model_dump(mode="json")
    configuration["network"]["neurons"] = neurons  # may be fewer than the preset allows
    correlations = fields.pop("correlations", [None] * len(seconds))
    common: dict[str, Any] = {
        "schema_version": 2,
        "created": "2026-11-24T00:00:00Z",
        "preset": preset,
        "backend": backend,
        "neurons": neurons,
        "plastic_inputs": 90,
        "static_outputs": 1024,
        "precision": "float32",
        "p_precision": "float32",
        "storage": "full",
        "algorithm": "plain",
        "threads": 2,
        "device": "cpu",
        "seed": 1,
        "machine": HERE,
        "versions": {"rlsbench": "0.1.0", "numpy": "2.0.0"},
        "configuration": configuration,
        "commit": "1" * 40,
        "dirty": False,
        "repetition": Repetition(sweep=sweep, point="p", repetition=repetition, warm_up=1),
        "validity": "passed",
        "validity_reason": "25 checks passed",
        "setup_seconds": 0.1,
        "compile_seconds": 0.0,
        "spontaneous_rate_hz": {"excitatory": 4.0, "inhibitory": 7.0},
        "iterations": [
            {"iteration": i, "seconds": s, "rls_seconds": s / 2, "firing_rate_hz": 5.5, "correlation": c}
            | {"undefined_correlations": 0}
            for i, (s, c) in enumerate(zip(seconds, correlations, strict=True), start=1)
        ],
        "seconds_per_iteration": None,
        "peak_memory_bytes": 2**28 + 40_000 * neurons,
        "notes": [],
    }
    return RunDocument.model_validate(common | fields)


def attempt_of(**fields: Any) -> AttemptDocument:
    """A run that was not made."""
    common = run_of().model_dump()
    names = AttemptDocument.model_fields.keys()
    told = {"kind": "attempt", "outcome": "timed out", "reason": "it took longer than 60 s"}
    return AttemptDocument.model_validate({k: v for k, v in common.items() if k in names} | told | fields)


def selected(*documents: RunDocument | AttemptDocument) -> Selection:
    return select(ResultSet(documents=[(Path("x.json"), document) for document in documents]))


def grid(machine: dict[str, Any] = HERE, **fields: Any) -> list[RunDocument]:
    """Three sizes, three repetitions: "fast" takes N/1000 s, "slow" ten times as long."""
    return [
        run_of(backend, N, (9.0, s, s, s), repetition=r, machine=machine, **fields)
        for N in (1000, 2000, 4000)
        for r, noise in ((1, 1.0), (2, 1.1), (3, 0.9))
        for backend, s in (("fast", N / 1000), ("slow", N / 100 * noise))
    ]


def timed_update(seconds: list[float], moved: float, operations: float) -> dict[str, Any]:
    """Fields of a run with a timed update, on a machine of 20 GB/s and 1e11 operations/s."""
    costs = {"bytes_per_update": moved, "operations_per_update": operations}
    bandwidth = {"read_bytes_per_second": 1e10, "update_bytes_per_second": 2e10}
    return {
        "update": {"update_seconds": seconds, "simulation_seconds": [0.1], **costs},
        "limits": {"threads": 2, **bandwidth, "operations_per_second": {"float32": 1e11, "float64": 5e10}},
    }


def picture_texts(svg: bytes) -> str:
    """All texts of a picture: Matplotlib leaves each as a comment beside its outlines."""
    return "\n".join(re.findall(r"<!-- (.*?) -->", svg.decode(), re.DOTALL))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with runs of two machines, unchecked and failed runs, and an attempt; read-only."""
    store = Store(tmp_path_factory.mktemp("results") / "store")
    timed = timed_update([0.01, 0.01], 65e3, 33e3)
    learned = [c / 12 for c in range(12)]
    for document in (
        *grid(**timed),
        *grid(machine=THERE),
        run_of("unchecked", validity="not checked", validity_reason="not run with it"),
        run_of("wrong", validity="failed", validity_reason="P differs by <b>0.2</b>"),
        attempt_of(backend="slow", neurons=10**6),
        *[
            run_of("fast", 4096, [1.0] * 12, preset="tutorial", correlations=learned, storage=s, seed=n)
            for s in ("full", "packed")
            for n in (1, 2)
        ],
    ):
        store.add(document)
    return store


@pytest.fixture(scope="module")
def written(store: Store) -> WrittenReport:
    """A report of it; not to be changed."""
    return write_report([store.path], store.path.parent / "out", title="Made results")


@pytest.fixture
def small(tmp_path: Path) -> Store:
    """A store with two runs, of which there are few pictures, and one that failed."""
    store = Store(tmp_path / "small")
    for document in (run_of("fast"), run_of("fast", 2000), run_of("wrong", validity="failed", validity_reason="so")):
        store.add(document)
    return store


# What is drawn


def test_only_what_passed_is_drawn_and_the_rest_is_listed_with_its_reason() -> None:
    failed = run_of("wrong", validity="failed", validity_reason="P differs")
    found = selected(
        run_of("fast"),
        run_of("unchecked", validity="not checked", validity_reason="not run with it"),
        failed,
        failed.model_copy(update={"seed": 2}),
        attempt_of(backend="slow"),
        run_of("empty", seconds=()),
        run_of("broken", seconds=(1.0, float("nan"))),
        run_of("negative", seconds=(1.0, -1.0)),
    )
    (study,) = found.studies
    assert [line.label for line in study.lines] == ["fast"]
    assert found.drawn == [True] + [False] * 7
    rows = {(row.why, row.what.split(",")[0]): row for row in found.left_out}
    incomplete = {("incomplete", name) for name in ("empty", "broken", "negative")}
    assert set(rows) == {("failed", "wrong"), ("not checked", "unchecked"), ("timed out", "slow"), *incomplete}
    assert rows["failed", "wrong"].documents == 2
    assert rows["failed", "wrong"].reason == "P differs"
    assert "60 s" in rows["timed out", "slow"].reason


@pytest.mark.parametrize(
    "change",
    [
        {"machine": THERE},
        {"machine": HERE | {"gpus": ["GPU"]}},
        {"measurement_version": 2},
        {"overrides": {"network.K": 100}},
        {"overrides": {"learning.mu": 1.0}},
        {"seconds": (9.0, 1.0, 1.0, 1.0)},
    ],
)
def test_what_may_not_be_pooled_stands_in_pictures_of_its_own(change: dict[str, Any]) -> None:
    found = selected(run_of(), run_of(**change))
    assert len(found.studies) == 2
    assert len({study.name for study in found.studies}) == 2
    assert len({study.context for study in found.studies}) == 2, "a reader could not tell them apart"
    for study in found.studies:
        assert [len(line.runs) for line in study.lines] == [1]


def test_seeds_repetitions_and_sizes_are_one_line_and_options_are_not() -> None:
    found = selected(
        run_of(),
        run_of(repetition=2),
        run_of(seed=2),
        run_of(neurons=2000),
        run_of(p_precision="float16"),
        run_of("other"),
    )
    (study,) = found.studies
    assert {line.label: len(line.runs) for line in study.lines} == {
        "fast (P float32)": 4,
        "fast (P float16)": 1,
        "other": 1,
    }
    assert study.sizes == [1000, 2000]
    assert len({(line.style.color, line.style.marker) for line in study.lines}) == 3


def test_of_several_softwares_the_latest_is_drawn_and_the_others_are_listed() -> None:
    later = {"created": "2026-11-25T00:00:00Z", "commit": "2" * 40}
    found = selected(run_of(seconds=(1.0, 7.0)), run_of(seconds=(1.0, 3.0), **later), run_of("other", seconds=(1.0, 1)))
    (study,) = found.studies
    by = {line.contender.backend: line for line in study.lines}
    assert by["fast"].seconds(1000).median == 3.0
    (row,) = found.left_out
    assert row.why == "superseded"
    assert "2222222" not in row.reason.split(";")[0]
    labels = {line.label for line in study.lines}
    assert labels == {"fast (0.1.0 (2222222))", "other (0.1.0 (1111111))"}, "lines of two softwares in a picture say so"
    assert speedup(by["other"], by["fast"], 1000) is None


def test_a_changed_preset_is_not_taken_for_the_published_experiment() -> None:
    changed = run_of(overrides={"network.L": 20})
    published, other = sorted(selected(run_of(), changed).studies, key=lambda s: len(s.experiment))
    assert (published.experiment, published.as_published) == ("sinusoid", True)
    assert (other.experiment, other.as_published) == ("sinusoid with network.L = 20", False)
    (alone,) = selected(changed).studies
    assert alone.experiment == "sinusoid with network.L = 20"


def test_an_attempt_that_was_made_up_for_says_so() -> None:
    found = selected(
        attempt_of(), run_of(), attempt_of(repetition=Repetition(sweep="s", point="q", repetition=1, warm_up=1))
    )
    told, more = sorted((row.reason for row in found.left_out), key=len)
    assert told == attempt_of().reason
    assert more.startswith(f"{told} (")


def test_styles_tell_lines_apart_by_colour_and_marker() -> None:
    assert len({style(i)[:2] for i in range(42)}) == 42
    assert len({style(i).color for i in range(6)}) == len({style(i).marker for i in range(6)}) == 6


# Numbers


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.06, 2.0])
def test_the_exponent_of_a_power_law_is_found(exponent: float) -> None:
    sizes = np.array([1e3, 3e3, 1e4, 1e5])
    fit = fit_exponent(sizes, 3e-4 * sizes**exponent)
    assert fit is not None
    assert fit.exponent == pytest.approx(exponent)
    assert fit.factor == pytest.approx(3e-4)
    assert fit.error == pytest.approx(0, abs=1e-9)


def test_the_error_of_an_exponent_is_that_of_linear_regression() -> None:
    from scipy.stats import linregress

    sizes = np.array([1e3, 2e3, 5e3, 1e4, 3e4])
    values = sizes**1.1 * np.array([1.1, 0.9, 1.05, 1.0, 0.93])
    fit, known = fit_exponent(sizes, values), linregress(np.log(sizes), np.log(values))
    assert fit is not None
    assert fit.exponent == pytest.approx(known.slope)
    assert fit.error == pytest.approx(known.stderr)
    assert fit_exponent([1e3, 1e4], [1.0, 9.0]) is None
    assert fit_exponent([1e3, 1e3, 1e4], [1.0, 1.0, 9.0]) is None


def test_speed_up_is_the_ratio_of_runs_of_one_repetition_with_its_spread() -> None:
    (study,) = selected(*grid()).studies
    slow = baseline(study)
    assert slow is not None
    assert slow.label == "slow"
    fast = next(line for line in study.lines if line.label == "fast")
    ratio = speedup(fast, slow, 4000)
    assert ratio is not None
    assert ratio.spread == pytest.approx((10.0, 9.0, 11.0, 3))
    assert ratio.interleaved
    finding = scaling_finding(study)
    for named in ("fast", "slow", "4,000 neurons", "10 times", "1.00"):
        assert named in finding
    chosen = baseline(study, "fast")
    assert chosen is fast


def test_others_are_compared_with_a_chosen_backend_at_the_largest_size_where_it_has_company() -> None:
    sizes = {"fast": (1000, 2000, 4000), "middle": (1000, 2000), "slow": (1000,)}
    seconds = {"fast": 1.0, "middle": 3.0, "slow": 9.0}
    runs = [run_of(b, n, (9.0, seconds[b] * n / 1000), repetition=1) for b, at in sizes.items() for n in at]
    (study,) = selected(*runs).studies
    assert (study.compared_size(), study.compared_size("middle"), study.compared_size("absent")) == (1000, 2000, None)
    for chosen, named in (("middle", ("fast", "2,000", "3.0", "middle")), (None, ("fast", "1,000", "9.0", "slow"))):
        found = scaling_finding(study, chosen)
        assert all(re.search(rf"\b{re.escape(value)}\b", found) for value in named), found


def test_pairs_follow_disturbances_that_medians_would_take_for_speed() -> None:
    pairs = [(1, 1.0), (2, 3.0), (3, 9.0)]  # the machine got slower and slower
    runs = [run_of(b, 1000, (9.0, t * f), repetition=r) for r, t in pairs for b, f in (("fast", 1.0), ("slow", 2.0))]
    (study,) = selected(*runs[:-1]).studies  # and the last of slow is missing
    fast, slow = study.at(1000)[0], study.at(1000)[-1]
    if fast.label == "slow":
        fast, slow = slow, fast
    ratio = speedup(fast, slow, 1000)
    assert ratio is not None
    assert ratio.spread == (2.0, 2.0, 2.0, 2)


def test_what_cannot_be_told_apart_is_not_called_faster() -> None:
    runs = [
        run_of(b, 1000, (9.0, s), repetition=r) for b, s, r in (("a", 1, 1), ("b", 2, 1), ("a", 2, 2), ("b", 1.9, 2))
    ]
    (study,) = selected(*runs).studies
    fast = study.at(1000)[0]
    ratio = speedup(fast, study.at(1000)[1], 1000)
    assert ratio is not None
    assert not ratio.is_clear
    assert not re.search(r"faster|times|\b[12]\.\d", scaling_finding(study))


def test_runs_of_different_sweeps_are_marked() -> None:
    (study,) = selected(run_of("fast"), run_of("slow", seconds=(9.0, 4.0, 4.0), sweep="two")).studies
    table = next(
        s for s in contents(selected(*study.lines[0].runs, *study.lines[1].runs), "t").sections if s.key == "speed-up"
    )
    cells = [cell for row in table.tables[0].rows for cell in row]
    assert "4.0 †" in cells
    assert "†" in table.tables[0].note


def test_sizes_at_which_most_were_run_are_compared() -> None:
    (study,) = selected(*grid(), run_of("fast", 10**5, (9.0, 99.0, 99.0, 99.0))).studies
    assert study.compared_size() == 4000
    assert study.sizes[-1] == 10**5


def test_seconds_are_the_median_of_runs_and_the_range_of_iterations_that_count() -> None:
    runs = [
        run_of(seconds=(99.0, a, b, c), repetition=i) for i, (a, b, c) in enumerate([(1, 2, 3), (4, 5, 9), (2, 3, 4)])
    ]
    (study,) = selected(*runs).studies
    assert study.lines[0].seconds(1000) == (3.0, 1.0, 9.0, 3)


def test_update_is_held_against_bandwidth_and_arithmetic() -> None:
    def of(moved: float, operations: float, backend: str) -> RunDocument:
        return run_of(backend, 1000, **timed_update([0.001, 0.003], moved, operations))

    elsewhere = of(10e3, 20e3, "memory").model_copy(update={"device": "cuda:0", "backend": "device"})
    timed = (of(10e3, 20e3, "memory"), of(1e3, 150e3, "arithmetic"))
    (study,) = selected(*timed, run_of("untimed"), elsewhere).studies
    speeds = {speed.line.label: speed for speed in update_speeds(study)}
    assert set(speeds) == {"memory", "arithmetic"}
    memory, arithmetic = speeds["memory"], speeds["arithmetic"]
    assert memory.nanoseconds == pytest.approx(2000)  # 2 ms for 1000 neurons
    assert memory.bytes_per_second == pytest.approx(5e9)
    assert (memory.share, memory.bound) == (pytest.approx(0.25), "memory bandwidth")
    assert (arithmetic.share, arithmetic.bound) == (pytest.approx(0.75), "arithmetic")
    assert memory.intensity == pytest.approx(2.0)


def test_accuracy_is_the_mean_over_runs_of_the_last_ten_iterations() -> None:
    def of(seed: int, level: float, **fields: Any) -> RunDocument:
        return run_of(seconds=[1.0 + level] * 12, correlations=[0.0, 0.0, *[level] * 10], seed=seed, **fields)

    (study,) = selected(of(1, 0.6), of(2, 0.8), of(1, 0.9, storage="packed")).studies
    rows = {row.line.label: row for row in accuracies(study, 1000)}
    assert rows["fast (full)"].correlation == pytest.approx((0.7, 0.6, 0.8, 2))
    assert rows["fast (packed)"].correlation == pytest.approx((0.9, 0.9, 0.9, 1))
    (short,) = selected(run_of(seconds=[1.0] * 5, correlations=[0.5] * 5)).studies
    assert accuracies(short, 1000) == []


def test_published_times_stand_beside_the_published_experiment_alone() -> None:
    hardware = {point.hardware for point in SCALING["sinusoid"]}
    known = {(10_000, 3.9), (20_000, 8.2), (50_000, 22.0), (1_000_000, 1260.0), (1_000_000, 48.0)}
    assert {(p.neurons, p.seconds) for p in SCALING["sinusoid"]} == known
    (study,) = selected(*grid()).studies
    picture = draw_scaling(study)
    assert picture is not None
    texts = picture_texts(picture.svg)
    for name in hardware:
        assert f"published, {name}" in texts
    assert "fast: N^1.00 ± 0.00" in texts
    assert "seconds per iteration (s)" in texts
    (changed,) = selected(*grid(overrides={"network.K": 100})).studies
    other = draw_scaling(changed)
    assert other is not None
    assert "published" not in picture_texts(other.svg)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1260.0, "1,260"), (0.04261, "0.0426"), (9.996, "10.00"), (0.0, "0"), (123456.0, "123,000"), (2.0, "2.00")],
)
def test_numbers_in_words(value: float, text: str) -> None:
    assert number(value) == text
    assert [times(11.4), times(2.24), times(250.2)] == ["11", "2.2", "250"]


# Files


class Page(HTMLParser):
    """Tags and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_two_machines_stay_apart_on_the_page_and_it_asks_for_nothing(written: WrittenReport) -> None:
    text = written.page.read_text(encoding="utf-8")
    page = Page(text)
    tags = [tag for tag, _ in page.tags]
    assert page.tags[0] == ("html", {"lang": "en"})
    assert not {"script", "iframe", "object"} & set(tags)
    sources = [a[key] for _, a in page.tags for key in ("src", "href") if a.get(key)]
    assert sources
    assert all(str(source).startswith(("data:", "#")) for source in sources)
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+|http-equiv", "", text)
    assert "@import" not in text
    assert "url(" not in text
    images = [a for tag, a in page.tags if tag == "img"]
    assert all(a["alt"] for a in images)
    targets = {a["id"] for _, a in page.tags if "id" in a}
    assert {str(a["href"])[1:] for tag, a in page.tags if tag == "a"} == targets
    for words in ("Made results", "Maker One", "Maker Two", "unchecked", "not run with it", attempt_of().reason):
        assert words in page.text
    scaling = [a["alt"] for a in images if re.search(r"fast .*\b4,000 .*\b10 .* slow", str(a["alt"]))]
    assert len(scaling) == 2
    assert sum("Maker One" in str(alt) for alt in scaling) == 1
    figures = sorted((written.page.parent / "figures").iterdir())
    assert {file.name.split("-")[0] for file in figures} == {"scaling", "memory", "roofline", "accuracy", "learning"}
    for file in figures:
        content = file.read_bytes()
        if file.suffix == ".png":
            assert content.startswith(PNG)
        else:
            assert ET.fromstring(content).tag.endswith("svg")
            assert not {"wrong", "unchecked"} & set(re.findall(r"\w+", picture_texts(content)))


def test_markdown_and_csv_say_the_same(store: Store, written: WrittenReport) -> None:
    folder = written.page.parent
    markdown = (folder / "summary.md").read_text(encoding="utf-8")
    for finding in written.findings:
        assert finding.split(" (")[0] in markdown.replace("\\", "")
    links = re.findall(r"!\[[^\n]*\]\(([^)]*)\)", markdown)
    assert links
    assert all((folder / link).is_file() for link in links)
    assert read_results([folder / "results.jsonl"]).runs == store.read().runs
    table = pd.read_csv(folder / "results.csv")
    assert len(table) == len(read_results([store.path]).documents) == written.drawn + written.not_drawn
    assert set(table.backend[~table.drawn]) == {"unchecked", "wrong", "slow"}
    names = {p.stem.rsplit("-", 1)[1] for p in store.path.iterdir()}
    assert set(table.document) == names, "a row names the file in the store"


def test_the_same_results_give_the_same_bytes_in_any_order(
    store: Store, written: WrittenReport, tmp_path: Path, tree: Callable[[Path], dict[str, bytes | None]]
) -> None:
    import matplotlib as mpl

    files = sorted(store.path.iterdir())[::-1]
    for i, file in enumerate(files):
        (tmp_path / f"{i}.json").write_bytes(file.read_bytes())
    with mpl.rc_context({"font.size": 20.0, "axes.grid": False, "svg.hashsalt": None}):  # the user's own style
        again = write_report([*files, tmp_path], tmp_path / "again", title="Made results")
        assert mpl.rcParams["font.size"] == 20.0
    assert tree(again.page.parent) == tree(written.page.parent)


def test_text_from_documents_is_text(tmp_path: Path) -> None:
    evil = '<script>alert("x")</script>'
    machine = HERE | {"cpu": f"$\\frac{{{evil}", "notes": {"<b>": [evil, 1]}, "gpus": 3}
    store = Store(tmp_path / "store")
    for N in (1000, 2000):
        run = run_of(f"back|end\n{evil}", N, machine=machine, versions={"rlsbench": evil}, commit=evil)
        (store.path / f"{N}.json").write_text(run.to_json())
    (store.path / "x.json").write_text(run_of(validity="failed", validity_reason=evil).to_json())
    (store.path / "<img src=x>.json").write_text("{}")
    written = write_report([store.path], tmp_path / "out", title=evil)
    page = Page(written.page.read_text(encoding="utf-8"))
    assert not {"script", "b"} & {tag for tag, _ in page.tags}
    assert all(str(a["src"]).startswith("data:") for tag, a in page.tags if tag == "img")
    assert page.text.count(evil) >= 4
    assert "<script" not in re.sub(r"\\.", "", (tmp_path / "out" / "summary.md").read_text(encoding="utf-8"))
    for svg in (tmp_path / "out" / "figures").glob("*.svg"):
        assert not [e for e in ET.fromstring(svg.read_bytes()).iter() if str(e.tag).endswith("script")]


def test_a_long_label_is_cut_and_control_characters_go() -> None:
    assert tidy_text("a\tb\x00\n  c\u202e") == "a b c"
    assert len(tidy_text("x" * 500)) == 120


def test_only_an_earlier_report_is_overwritten(small: Store, tmp_path: Path, refused: Refused) -> None:
    out = tmp_path / "out"
    write_report([small.path], out)
    (out / "mine.txt").write_text("keep")
    (out / "figures" / "mine.svg").write_text("keep")
    before = {p.name for p in (out / "figures").iterdir()}
    write_report([small.add(run_of("alone", 7000))], out, title="again")
    after = {p.name for p in (out / "figures").iterdir()}
    assert "mine.svg" in after
    assert len(after) < len(before), "pictures of the earlier report are gone"
    assert (out / "mine.txt").read_text() == "keep"
    assert "again" in (out / "index.html").read_text(encoding="utf-8")
    with refused(OutputError, small.path, "--output"):
        write_report([small.path], small.path)
    assert not (small.path / "index.html").exists()
    (tmp_path / "file").write_text("")
    with refused(OutputError, tmp_path / "file", "--output"):
        write_report([small.path], tmp_path / "file")


def test_a_list_of_files_that_leads_elsewhere_removes_nothing(small: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_report([small.path], out)
    victim = tmp_path / "victim.md"
    victim.write_text("keep")
    (out / "link").symlink_to(tmp_path)
    with (out / ".rlsbench-report").open("a") as file:
        file.write(f"../victim.md\n{victim}\n../small\nlink/victim.md\n")
    write_report([small.path], out)
    assert victim.read_text() == "keep"
    assert small.path.is_dir()


def test_figures_that_are_a_link_are_not_followed(small: Store, tmp_path: Path, refused: Refused, tree: Any) -> None:
    out, away = tmp_path / "out", tmp_path / "away"
    out.mkdir()
    away.mkdir()
    (away / "mine.svg").write_text("keep")
    (out / ".rlsbench-report").write_text(f"{_HEAD}\nfigures/mine.svg\n")
    (out / "figures").symlink_to(away)
    with refused(OutputError, out / "figures", "--output"):
        write_report([small.path], out)
    assert tree(away) == {"mine.svg": b"keep"}


def nested(depth: int) -> Any:
    inside: Any = 1
    for _ in range(depth):
        inside = {"a": [inside]}
    return inside


def test_each_document_is_on_its_own(tmp_path: Path, refused: Refused) -> None:
    """A document that cannot be used is named and skipped; the others are reported."""
    update = {"update_seconds": [], "simulation_seconds": [], "bytes_per_update": 1.0, "operations_per_update": 1.0}
    bad: dict[str, dict[str, Any]] = {
        "deep": {"machine": nested(200)},
        "configuration": {"configuration": nested(60)},
        "memory": {"peak_memory_bytes": 10**400},
        "version": {"measurement_version": 10**300},
    }
    odd: dict[str, dict[str, Any]] = {
        "empty": {"update": update},
        "none": {"update": update, "neurons": 0},
        "long": {"iterations": [{**run_of().model_dump()["iterations"][0], "seconds": 1e308}] * 3},
        "name": {"preset": "\U0001d4d0" * 60},
    }
    content = json.loads(run_of(**timed_update([0.01], 65e3, 33e3)).to_json())
    folder = tmp_path / "results"
    folder.mkdir()
    for name, changes in {"good": {}, **bad, **odd}.items():
        (folder / f"{name}.json").write_text(json.dumps(content | changes))
    os.mkfifo(folder / "pipe.json")
    (folder / "zero.json").symlink_to("/dev/zero")
    written = write_report([folder], tmp_path / "out")
    assert {Path(problem.partition(": ")[0]).stem for problem in written.problems} == {*bad, "pipe", "zero"}
    assert (written.drawn, written.not_drawn) == (2, 3)  # one is the same run as another
    assert all("\n" not in problem for problem in written.problems)


def test_a_repetition_that_was_run_twice_is_drawn_once() -> None:
    first = run_of(seconds=(9.0, 1.0), created="2026-11-24T00:00:01Z")
    again = run_of(seconds=(9.0, 3.0), created="2026-11-24T00:00:02Z")
    third = run_of(seconds=(9.0, 5.0), created="2026-11-24T00:00:03Z", repetition=2)
    selection = selected(first, again, third)
    assert selection.drawn == [True, False, True]
    (study,) = selection.studies
    assert study.lines[0].seconds(1000)[:] == (3.0, 1.0, 5.0, 2)
    assert [(out.why, out.documents) for out in selection.left_out] == [("repeated", 1)]
    own = [run.model_copy(update={"repetition": None}) for run in (first, again)]
    assert selected(*own).drawn == [True, True], "runs of no sweep are all drawn"


def test_what_cannot_be_reported(store: Store, tmp_path: Path, refused: Refused) -> None:
    with refused(ResultError, tmp_path / "nowhere"):
        write_report([tmp_path / "nowhere"], tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with refused(ResultError, tmp_path / "empty"):
        write_report([tmp_path / "empty"], tmp_path / "out")
    with refused(ConfigurationError, "'none'", "fast, slow"):
        write_report([store.path], tmp_path / "out", compared_with="none")
    assert not (tmp_path / "out").exists()


def test_nothing_valid_makes_a_page_that_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.add(run_of(validity="not checked", validity_reason="not run with it"))
    written = write_report([store.path], tmp_path / "out")
    assert (written.drawn, written.not_drawn) == (0, 1)
    page = Page(written.page.read_text(encoding="utf-8"))
    assert "not run with it" in page.text
    assert "img" not in [tag for tag, _ in page.tags]


# The command


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command in a folder of its own: status, stdout, stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        try:
            main(["report", *arguments])
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        return (status, *capsys.readouterr())

    return run


def test_bad_files_are_named_and_the_rest_is_reported(small: Store, tmp_path: Path, command: Command) -> None:
    good = next(small.path.iterdir()).read_text()
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "truncated.json").write_text(good[: len(good) // 2])
    (bad / "foreign.json").write_text('{"name": "another"}')
    (bad / "newer.json").write_text(good.replace('"schema_version": 2', '"schema_version": 9', 1))
    status, out, err = command("small", "bad", "-o", "out")
    assert status == 1
    assert len(err.splitlines()) == 3
    for name, named in (("truncated", "JSON"), ("foreign", "schema_version"), ("newer", "schema_version is 9")):
        assert any(f"bad/{name}.json: " in line and named in line for line in err.splitlines())
        assert f"{name}.json" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert re.findall(r"\b\d+\b", out.splitlines()[-1]) == ["2", "1"]
    assert "out/index.html" in out
    status, _, err = command("small", "-o", "fine", "--compare-with", "fast", "--title", "T")
    assert (status, err) == (0, "")
    assert (tmp_path / "fine" / "summary.md").read_text(encoding="utf-8").startswith("# T\n")


def test_the_schema_is_printed_without_results(command: Command) -> None:
    status, out, err = command("--schema")
    assert (status, err) == (0, "")
    assert json.loads(out) == json.loads(json.dumps(result_schema()))


def test_the_headline_shows_published_and_measured_times(tmp_path: Path, refused: Refused) -> None:
    def found(*documents: RunDocument) -> ResultSet:
        return ResultSet(documents=[(Path("x.json"), document) for document in documents])

    runs = [run_of("fast", N, (9.0, N / 1e4, N / 1e4), validity="not checked") for N in (10**4, 10**5)]
    largest = run_of("fast", 10**6, (200.0, 110.0, 130.0), p_precision="float16", storage="packed")
    wrong = run_of("wrong", 10**7, validity="failed")
    path = write_headline(found(*runs, largest, wrong), tmp_path / "headline.svg")
    text = " ".join(ET.fromstring(path.read_bytes()).itertext())
    for named in ("1,000,000 neurons", "Maker One", "float32 (full)", "float16 (packed)", "120 (110–130) s"):
        assert named in text
    for point in SCALING["sinusoid"]:
        assert point.hardware in text
    assert "1,260 s" in text
    assert "wrong" not in text
    again = write_headline(found(largest, wrong, *runs[::-1]), tmp_path / "again.svg")
    assert path.stat().st_size < 60_000
    assert ET.fromstring(again.read_bytes()).tag.endswith("svg")
    with refused(ResultError, "sinusoid"):
        write_headline(found(wrong), path)
