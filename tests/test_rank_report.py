"""Strong and weak scaling in reports: which runs are compared, efficiency, and how it is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsbench.report.folder import write_report
from rlsbench.report.rank_scaling import Kind, draw_ranks, rank_series, ranks_table, scaling_table
from rlsbench.report.series import Study
from rlsbench.results import RankRecord, RunDocument, Store
from tests.test_report import run_of, selected


def on(ranks: int, neurons: int, seconds: float, **fields: Any) -> RunDocument:
    """A run on ranks of one thread each, on a machine with two processors."""
    shared: dict[str, Any] = {"threads": 1, "ranks": ranks}
    return run_of("numba", neurons, (9.0, seconds, seconds), **(shared | fields))


def study_of(*runs: RunDocument) -> Study:
    (study,) = selected(*runs).studies
    return study


def efficiencies(study: Study, kind: Kind) -> list[list[float]]:
    return [[round(point.efficiency, 6) for point in one.points] for one in rank_series(study, kind)]


GRID = [
    on(ranks, size * 1000, seconds)
    for ranks, size, seconds in ((1, 1, 1.0), (2, 1, 0.625), (4, 1, 0.5), (1, 2, 2.0), (2, 2, 1.25), (4, 4, 2.0))
]


def test_efficiency_is_the_ideal_time_over_the_measured_one() -> None:
    study = study_of(*GRID)
    assert efficiencies(study, "strong") == [[1.0, 0.8, 0.5], [1.0, 0.8]]
    assert efficiencies(study, "weak") == [[1.0, 0.8, 0.5]]
    assert [one.size for one in rank_series(study, "strong")] == [1000, 2000]
    (weak,) = rank_series(study, "weak")
    assert [(point.ranks, point.neurons) for point in weak.points] == [(1, 1000), (2, 2000), (4, 4000)]
    assert weak.label == "numba"
    more = study_of(*GRID, on(4, 2000, 1.0))  # 500 neurons per rank on 2 and 4 ranks, not on 1
    assert efficiencies(more, "weak") == [[1.0, 0.8, 0.5]]
    assert efficiencies(more, "strong") == [[1.0, 0.8, 0.5], [1.0, 0.8, 0.5]]
    assert efficiencies(study_of(*(run for run in GRID if run.ranks > 1)), "strong") == [[1.0, 0.625]]


def test_the_title_says_whether_ranks_help() -> None:
    for seconds, found in ((0.625, "1.6 times as fast"), (2.0, "2.0 times as long")):
        picture = draw_ranks(study_of(GRID[0], on(2, 1000, seconds)), "strong")
        assert picture is not None
        assert found in picture.title


@settings(max_examples=50)
@given(
    times=st.dictionaries(st.sampled_from([1, 2, 3, 6, 24]), st.floats(1e-3, 1e6), min_size=2),
    per_rank=st.sampled_from([256, 1000, 4096]),
)
def test_the_fewest_ranks_are_fully_efficient_and_others_relative_to_them(
    times: dict[int, float], per_rank: int
) -> None:
    fewest = min(times)
    strong = study_of(*(on(ranks, 12_000, seconds) for ranks, seconds in times.items()))
    weak = study_of(*(on(ranks, per_rank * ranks, seconds) for ranks, seconds in times.items()))
    for study, kind, work in ((strong, "strong", fewest), (weak, "weak", None)):
        (series,) = rank_series(study, kind)  # type: ignore[arg-type]
        for point in series.points:
            ratio = times[fewest] / times[point.ranks]
            assert point.efficiency == pytest.approx(ratio if work is None else ratio * work / point.ranks)
        assert series.points[0].efficiency == 1.0


def test_only_what_differs_in_ranks_alone_is_compared() -> None:
    one = on(1, 1000, 1.0)
    for other in (
        on(2, 1000, 0.6, threads=2),
        on(2, 1000, 0.6, p_precision="float16"),
        on(2, 1000, 0.6, versions={"rlsbench": "0.1.0", "numpy": "2.1.0"}),
        on(1, 2000, 2.0),
        on(2, 4000, 2.0),
    ):
        assert rank_series(study_of(one, other), "strong") == []
        assert draw_ranks(study_of(one, other), "strong") is None
        assert scaling_table(study_of(one, other), "strong") is None
    nodes = study_of(one, on(2, 1000, 0.6), on(2, 1000, 0.4, nodes=2), on(4, 1000, 0.3, nodes=2))
    (series,) = rank_series(nodes, "strong")
    assert [(p.ranks, p.line.contender.nodes) for p in series.points] == [(1, 1), (2, 1), (4, 2)]


def test_more_threads_than_processors_are_marked() -> None:
    study = study_of(*GRID)
    (first, _) = rank_series(study, "strong")
    assert [point.beyond for point in first.points] == [False, False, True]
    picture, table = draw_ranks(study, "strong"), scaling_table(study, "strong")
    assert picture is not None
    assert table is not None
    assert "1.6 times as fast on 2 ranks" in picture.title  # of what shows scaling
    assert "Hollow" in picture.caption
    assert [row[2] for row in table[2]] == ["1", "2", "4 †", "1", "2"]
    assert "†" in table[3]
    few = draw_ranks(study_of(*GRID[:2]), "strong")
    assert few is not None
    assert "Hollow" not in few.caption
    only = draw_ranks(study_of(GRID[0], GRID[2]), "strong")
    assert only is not None
    assert "more threads than processors" in only.title


def test_the_page_has_figures_with_their_numbers(tmp_path: Path) -> None:
    record = {"threads": 1, "neurons": 500, "exchange_seconds": 0.125}
    records = [RankRecord(node=1, peak_memory_bytes=2**30 * peak, **record) for peak in (1, 2)]
    iterations = [i.model_copy(update={"exchange_seconds": i.seconds / 5}) for i in GRID[1].iterations]
    two = GRID[1].model_copy(update={"rank_records": records, "iterations": iterations})
    store = Store(tmp_path / "results")
    for run in (GRID[0], two, *GRID[2:]):
        store.add(run)
    write_report([store.path], tmp_path / "page")
    summary = (tmp_path / "page" / "summary.md").read_text(encoding="utf-8")
    for kind, efficiency in (("strong", "80%"), ("weak", "50%")):
        section = summary.partition(f"## {kind.capitalize()} scaling")[2].partition("\n## ")[0]
        assert f"figures/{kind}-scaling-" in section
        assert efficiency in section
        assert len(list((tmp_path / "page" / "figures").glob(f"{kind}-scaling-*.png"))) == 1
    ranks = summary.partition("## Memory and exchange of ranks")[2].partition("\n## ")[0]
    assert "| 1,000 | 2 | 1 | 1 | 20.0% | 2.0 | 3.0 | 3.0 | 1 |" in ranks


def test_exchange_and_memory_are_told_of_a_single_number_of_ranks() -> None:
    table = ranks_table(study_of(GRID[1]))
    assert table is not None
    assert [row[1:5] for row in table[2]] == [("1,000", "2", "1", "1")]
    assert ranks_table(study_of(GRID[0])) is None


def test_a_report_without_ranks_has_no_such_section(tmp_path: Path) -> None:
    Store(tmp_path / "results").add(GRID[0])
    write_report([tmp_path / "results"], tmp_path / "page")
    page = (tmp_path / "page" / "index.html").read_text(encoding="utf-8")
    assert "Strong scaling" not in page
    assert "of ranks" not in page
