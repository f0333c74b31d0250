"""Shards of a sweep, for job arrays: together they are the sweep, and each run is made once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from rlsbench.cli import main
from rlsbench.results import Store
from rlsbench.sweep import SweepSummary, load_plan, run_sweep
from rlsbench.sweep import runner as runner_module
from rlsbench.sweep.measure import attempt
from rlsbench.sweep.plan import Point
from tests.conftest import status

Run = tuple[Any, str]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The runs that are made, in their order: none takes place, and each leaves a document."""
    runs: list[Run] = []

    def process(job: dict[str, Any], *_: Any) -> tuple[str | None, int | None, str]:
        if "threads" in job:
            return None, 1, ""
        point = Point.model_validate(job["point"])
        runs.append((point.overrides["training.seed"], point.backend))
        return attempt(point.experiment(), point.backend, "failed", "not made").to_line(), 0, ""

    monkeypatch.setattr(runner_module, "_process", process)
    return runs


@pytest.mark.parametrize("count", [1, 3, 9])
def test_shards_are_the_sweep(made: list[Run], tmp_path: Path, count: int) -> None:
    own: dict[str, Any] = {"preset": "smoke", "backends": ["reference", "numpy-full"], "repetitions": 2}
    plan = load_plan(None, own | {"seeds": [1, 2]})
    whole = [(point.overrides["training.seed"], point.backend) for point in plan.points()] * 2
    store = Store(tmp_path)
    for index in range(1, count + 1):
        made.clear()
        summary = run_sweep(plan, store, shard=(index, count))
        assert made == whole[index - 1 :: count]
        assert (summary.total, summary.left) == (len(made), 0)
    assert len(store.read().documents) == len(whole)
    made.clear()
    for index in range(1, count + 1):
        again = run_sweep(plan, store, shard=(index, count))
        assert again.before == again.total
    assert run_sweep(plan, store).before == len(whole)
    assert not made


@pytest.mark.parametrize("shard", ["0/16", "17/16", "x/y", "/16", "3", "-1/16", "1/0", "3/16/2", "1.5/16"])
def test_a_shard_that_is_none_is_refused(shard: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status("sweep", "--backend", "reference", "-o", tmp_path / "out", "--shard", shard) == 2
    error = capsys.readouterr().err
    assert f"'{shard}'" in error
    assert "16/16" in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_the_shard_of_the_command_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards: list[tuple[int, int]] = []

    def run(*_: Any, shard: tuple[int, int], **__: Any) -> SweepSummary:
        shards.append(shard)
        return SweepSummary(0)

    monkeypatch.setattr(sys.modules["rlsbench.cli.sweep"], "run_sweep", run)
    for option in ([], ["--shard", "3/16"], ["--shard", "016/16"]):
        main(["sweep", "--backend", "reference", "-o", str(tmp_path), *option])
    assert shards == [(1, 1), (3, 16), (16, 16)]
