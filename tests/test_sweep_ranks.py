"""Sweeps over MPI ranks: the launcher that starts them, what fails, and what is not repeated."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from rlsbench import load_experiment, prepare
from rlsbench.errors import ConfigurationError
from rlsbench.results import AttemptDocument, RunDocument, Store, run_document
from rlsbench.sweep import SweepPlan, SweepSummary, load_plan, run_sweep
from rlsbench.sweep import runner as runner_module
from rlsbench.sweep.measure import verdict_key
from tests.conftest import TINY, Refused, usable

pytestmark = pytest.mark.xdist_group("numba float32")  # with the other tests of these kernels

SMALL = TINY | {"network.neurons": 600, "training.window_ms": 4.0, "time.train_duration_ms": 20.0}


def plan_of(**changes: Any) -> SweepPlan:
    """Runs of one iteration."""
    tables: dict[str, dict[str, Any]] = {}
    for key, value in SMALL.items():
        section, _, name = key.partition(".")
        tables.setdefault(section, {})[name] = value
    del tables["training"]["iterations"]
    own = {"preset": "smoke", "backends": ["numba"], "iterations": 1, "warm_up": 0, "set": tables}
    return load_plan(None, own | changes)


@pytest.fixture
def mpirun(monkeypatch: pytest.MonkeyPatch) -> str:
    """The command that starts ranks; skipped without MPI, unless it is required."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    found = shutil.which("mpirun", path=path)
    if found is None or find_spec("mpi4py") is None:
        required = os.environ.get("RLSBENCH_REQUIRE_MPI")
        (pytest.fail if required else pytest.skip)("mpirun and mpi4py are needed: the extra mpi, and an MPI library")
    usable("numba")
    return f"{found} -n {{ranks}}"


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verdict of the conformance suite is known, and limits of the machine are not measured."""
    document = run_document(prepare(load_experiment("smoke", overrides=SMALL), "numba"))
    known = {verdict_key(document): ("passed", "as told")}
    monkeypatch.setattr(runner_module._Present, "verdicts_of", lambda *_: known)
    process = runner_module._process
    monkeypatch.setattr(
        runner_module, "_process", lambda job, *rest: (None, 1, "") if "threads" in job else process(job, *rest)
    )


def swept(plan: SweepPlan, folder: Path) -> tuple[SweepSummary, dict[int, RunDocument | AttemptDocument]]:
    """The summary of a sweep, and its documents by the number of ranks."""
    store = Store(folder)
    summary = run_sweep(plan, store)
    found = {d.ranks: d for _, d in store.read().documents if isinstance(d, RunDocument | AttemptDocument)}
    return summary, found


def test_ranks_are_an_axis_of_the_grid() -> None:
    plan = plan_of(backends=["numba", "numpy-full"], ranks=[1, 2], neurons=[600, 1200])
    points = plan.points()
    assert [(p.overrides["network.neurons"], p.ranks, p.backend) for p in points[:4]] == [
        (600, ranks, backend) for ranks in (1, 2) for backend in ("numba", "numpy-full")
    ]
    assert len({p.hash() for p in points}) == len(points) == 8
    assert "2 ranks" in str(points[2])
    alone = plan_of(backends=["numba", "numpy-full"], neurons=[600, 1200])
    assert [p.hash() for p in alone.points()] == [p.hash() for p in points if p.ranks == 1]
    assert "rank" not in str(alone.points()[0])
    other = {"launcher": "srun -n {ranks}"}
    assert plan.hash() == plan.model_copy(update=other).hash() != alone.hash()
    assert alone.hash() == alone.model_copy(update=other).hash()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"ranks": [0]}, ["ranks", "0"]),
        ({"launcher": "mpirun -n 2"}, ["launcher", "mpirun -n 2", "{ranks}"]),
        ({"launcher": "{ranks}"}, ["launcher", "{ranks}"]),
        ({"launcher": "mpirun '-n {ranks}"}, ["launcher", "mpirun '-n", "quotation"]),
    ],
)
def test_invalid_ranks_and_launchers(changes: dict[str, Any], named: list[str], refused: Refused) -> None:
    with refused(ConfigurationError, *named):
        plan_of(**changes)


@pytest.mark.usefixtures("checked")
def test_a_launcher_that_is_missing_is_recorded(tmp_path: Path) -> None:
    summary, found = swept(plan_of(ranks=[1, 2], launcher="no-such-launcher -n {ranks}"), tmp_path)
    assert summary.not_made == {"unavailable": 2}
    for ranks, document in found.items():
        assert isinstance(document, AttemptDocument)
        assert "no-such-launcher" in document.reason
        assert "{ranks}" in document.reason
        assert document.ranks == ranks


@pytest.mark.usefixtures("checked")
def test_a_launcher_whose_processes_are_no_ranks_is_recorded(tmp_path: Path) -> None:
    summary, found = swept(plan_of(ranks=[2], launcher="env RANKS={ranks}"), tmp_path)
    assert summary.not_made == {"failed": 1}
    document = found[2]
    assert isinstance(document, AttemptDocument)
    assert "1 rank" in document.reason
    assert "not 2" in document.reason


@pytest.mark.usefixtures("checked")
def test_runs_of_any_number_of_ranks_are_alike_and_not_repeated(mpirun: str, tmp_path: Path) -> None:
    plan = plan_of(ranks=[1, 2], launcher=mpirun, threads=[1])
    summary, found = swept(plan, tmp_path)
    assert (summary.completed, summary.not_made) == (2, {}), found
    one, two = found[1], found[2]
    assert isinstance(one, RunDocument)
    assert isinstance(two, RunDocument)
    assert [i.correlation for i in one.iterations] == [i.correlation for i in two.iterations]
    assert (one.threads, two.threads) == (1, 1)
    assert two.validity == "passed"
    assert two.update is not None
    assert two.limits is None
    assert one.machine == two.machine | {"thread_pools": one.machine["thread_pools"]}
    assert sorted("2ranks" in path.name for path in tmp_path.glob("*.json")) == [False, True]
    again = run_sweep(plan_of(ranks=[1, 2], launcher="elsewhere -n {ranks}", threads=[1]), Store(tmp_path))
    assert (again.before, again.left) == (2, 0)
    assert run_sweep(plan_of(threads=[1]), Store(tmp_path)).before == 1


# What a launcher starts, with something that goes wrong on the second of two ranks.
KILLED = 'sh -c \'test "$PMI_RANK" = 1 && kill -9 $$; exec "$@"\' --'
SECOND = "import os, rlsbench.ranks as r\nr.WAIT_S = 0.3\nif os.environ.get('PMI_RANK') == '1':\n "
UNLIKE = f"{SECOND}import rlsbench.available as a; a._address_space_left = lambda: 10**5\n"
RAISES = f"{SECOND}import rlsbench.sweep.measure as m; m.prepare = None\n"


@pytest.mark.usefixtures("checked")
@pytest.mark.parametrize(
    ("ranks", "more", "module", "outcome", "named"),
    [
        ([2, 1], KILLED, "", "failed", ["mpirun", "status"]),
        ([2], "", "mpi4py.py", "unsupported", ["mpi4py", "rlsbench[mpi]"]),
        ([2], "", UNLIKE, "insufficient memory", ["rank 1", "GiB"]),
        pytest.param([2], "", RAISES, "failed", ["TypeError"], marks=pytest.mark.reproduction),
    ],
    ids=["killed", "without mpi4py", "one lacks memory", "one raises"],
)
def test_a_rank_that_fails_is_one_line_and_the_sweep_goes_on(
    ranks: list[int], more: str, module: str, outcome: str, named: list[str], mpirun: str, tmp_path: Path
) -> None:
    path = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    if module == "mpi4py.py":
        (tmp_path / module).write_text("raise ImportError('not for this Python')")
    else:
        (tmp_path / "sitecustomize.py").write_text(module)
    plan = plan_of(ranks=ranks, launcher=f"{mpirun} env PYTHONPATH={os.pathsep.join(path)} {more}", threads=[1])
    summary, found = swept(plan, tmp_path / "store")
    assert (summary.completed, summary.not_made) == (len(ranks) - 1, {outcome: 1}), found
    document = found[2]
    assert isinstance(document, AttemptDocument)
    assert "\n" not in document.reason
    assert all(part in document.reason for part in named), document.reason


@pytest.mark.usefixtures("checked")
def test_ranks_end_with_a_run_that_takes_too_long(mpirun: str, tmp_path: Path) -> None:
    sleeping = "sh -c 'exec sleep 312' --"
    plan = plan_of(ranks=[2], launcher=f"{mpirun} {sleeping}", time_limit_s=3)
    summary, _ = swept(plan, tmp_path)
    assert summary.not_made == {"timed out": 1}
    assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "312"]]


def test_ranks_end_with_their_parent(mpirun: str, tmp_path: Path) -> None:
    (point,) = plan_of(ranks=[2], threads=[1], iterations=100_000).points()
    job = {"point": point.model_dump(mode="json"), "verdicts": {}}
    command = [*mpirun.replace("{ranks}", "2").split(), sys.executable, "-m", "rlsbench.sweep"]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, start_new_session=True, **pipes)
    out, _ = process.communicate(json.dumps(job).encode() + b"\n", timeout=60)  # and closes its end of the pipe
    assert process.returncode != 0
    assert b"{" not in out
