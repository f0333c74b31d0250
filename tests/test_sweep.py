"""Sweeps: the grid of a plan, the document of each run, stopping and continuing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rlsbench import load_experiment, prepare, run_trial
from rlsbench.backend import Options, plain_cost
from rlsbench.cli import main
from rlsbench.conformance import CHECKS, CheckFailed
from rlsbench.errors import ConfigurationError
from rlsbench.results import RunDocument, Store, read_results
from rlsbench.sweep import SweepPlan, SweepSummary, load_plan, measure_limits, run_sweep
from rlsbench.sweep import measure as measure_module
from rlsbench.sweep import runner as runner_module
from rlsbench.sweep.measure import measure, verdict_key
from rlsbench.sweep.plan import Point
from tests.conftest import COMMAND


def sections(tiny: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Dotted overrides as the tables of a plan."""
    tables: dict[str, dict[str, Any]] = {}
    for key, value in tiny.items():
        section, _, name = key.partition(".")
        tables.setdefault(section, {})[name] = value
    del tables["training"]["iterations"]
    return tables


def plan_of(tiny: dict[str, Any], **changes: Any) -> SweepPlan:
    """A plan of tiny runs."""
    return load_plan(
        None, {"preset": "smoke", "backends": ["numpy-full"], "iterations": 2, "set": sections(tiny)} | changes
    )


# Plans


def test_the_grid_has_every_combination_and_backends_vary_fastest(tiny: dict[str, Any]) -> None:
    plan = plan_of(tiny, backends=["numpy-full", "numba"], neurons=[1e2, 200], p_precisions=["float32", "float16"])
    points = plan.points()
    seen = [
        (p.overrides["network.neurons"], p.overrides["numerics.p_precision"], p.backend, p.experiment().network.neurons)
        for p in points
    ]
    wanted = [(N, P, b, N) for N in (100, 200) for P in ("float32", "float16") for b in ("numpy-full", "numba")]
    assert seen == wanted
    assert all(p.experiment().training.iterations == 3 for p in points)  # one to warm up
    assert len({p.hash() for p in points}) == len(points)


def test_largest_leaves_sizes_out(tiny: dict[str, Any]) -> None:
    plan = plan_of(tiny, backends=["numpy-full", "numba"], neurons=[100, 200], largest={"numpy-full": 1e2})
    assert [(p.backend, p.experiment().network.neurons) for p in plan.points()] == [
        ("numpy-full", 100),
        ("numba", 100),
        ("numba", 200),
    ]


def test_a_plan_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text('preset = "smoke"\nbackends = ["numba"]\nneurons = [1e3]\n[set]\nnetwork.K = 20\n')
    plan = load_plan(file, {"iterations": 7})
    assert (plan.neurons, plan.iterations) == ((1000,), 7)
    assert plan.points()[0].experiment().network.K == 20


def test_any_setting_may_vary(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    vary = {"learning": {"lambda_plastic": [0.01, 0.04]}, "synapse": {"tau_plas_ms": [[50, 100], 150]}}
    plan = plan_of(tiny, vary=vary, backends=["numpy-full", "numba"])
    learning = [(p.experiment().learning.lambda_plastic, p.experiment().synapse.tau_plas_ms) for p in plan.points()]
    assert learning[::2] == [(0.01, (50, 100)), (0.01, 150), (0.04, (50, 100)), (0.04, 150)]
    assert "lambda_plastic = 0.04" in str(plan.points()[-1])
    assert plan_of(tiny).hash() != plan.hash()
    file = tmp_path / "plan.toml"
    file.write_text('preset = "smoke"\nbackends = ["numba"]\n[vary]\nlearning.mu = [0, 0.01]\n')
    assert [p.experiment().learning.mu for p in load_plan(file).points()] == [0, 0.01]

    plans = []
    monkeypatch.setattr(
        sys.modules["rlsbench.cli.sweep"], "run_sweep", lambda plan, *_, **__: plans.append(plan) or SweepSummary(0)
    )
    several = [
        "learning.lambda_plastic=0.01, 0.04",
        "synapse.tau_plas_ms=[50, 100],150",
        "training.task_order=cyclic,random",
    ]
    one = ["learning.mu=0.02", "stimulus.on_ms=4", 'recording.event="a,b"', "synapse.tau_E_ms=2"]
    main(
        ["sweep", "--preset", "smoke", "--backend", "numba", "-o", str(tmp_path / "s")]
        + [p for s in several + one for p in ("--set", s)]
    )
    assert plans[0].vary == {k: {n: tuple(v) for n, v in t.items()} for k, t in vary.items()} | {
        "training": {"task_order": ("cyclic", "random")}
    }
    assert plans[0].set["recording"] == {"event": "a,b"}
    capsys.readouterr()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", ["backends"]),
        ('backends = ["numba"]\n[vary]\nnetwork.k = [1, 2]', ["network.k"]),
        ('backends = ["numba"]\n[vary]\nnetwork.K = []', ["vary"]),
        ("backends = []", ["backends = []"]),
        ('backends = ["numba"]\nneuron = [1]', ["neuron", "algorithms"]),
        ('backends = ["numba"]\nneurons = [1.5]', ["neurons = 1.5"]),
        ('backends = ["numba"]\nstorages = ["half"]', ["storages = 'half'"]),
        ('backends = ["numba"]\nseeds = [1, 2]\nrepetitions = 10_000\nneurons = [2, 3, 4, 5, 6, 7]', ["120,000"]),
        ('backends = ["numba"]\nrepetitions = 0', ["repetitions = 0"]),
        ('backends = ["numba"]\npreset = "none"', ["preset", "'none'"]),
        ('backends = ["numba"]\n[set]\nnetwork.k = 1', ["network.k"]),
        ('backends = ["numba"]\nneurons = [100]', ["network.K = 512"]),
        ("backends = [", ["plan.toml", "TOML"]),
    ],
)
def test_invalid_plans(text: str, named: list[str], tmp_path: Path, refused: Any) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(text)
    with refused(ConfigurationError, *named) as error:
        load_plan(file)
    assert "\n" not in str(error.value)


# One point


def point_of(tiny: dict[str, Any], backend: str = "numpy-full", **overrides: Any) -> Point:
    """A tiny point of three iterations, the first of which does not count."""
    return Point(
        preset="smoke",
        overrides=tiny | {"training.iterations": 3} | overrides,
        backend=backend,
        warm_up=1,
        correlate=True,
    )


@pytest.fixture
def few_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verdict takes a second: two checks that pass."""
    for name in list(CHECKS)[2:]:
        monkeypatch.delitem(CHECKS, name)


@pytest.mark.usefixtures("few_checks")
def test_a_point_is_timed_in_parts_and_checked(tiny: dict[str, Any]) -> None:
    verdicts: dict[str, tuple[str, str]] = {}
    document = measure(point_of(tiny), verdicts)
    assert isinstance(document, RunDocument)
    assert document.validity == "passed", document.validity_reason
    assert document.validity_reason.startswith("2 checks passed")
    assert verdicts == {verdict_key(document): (document.validity, document.validity_reason)}
    assert document.update is not None
    assert len(document.update.update_seconds) == 20
    assert sum(document.update.update_seconds) == pytest.approx(document.iterations[-1].rls_seconds)
    assert len(document.update.simulation_seconds) == 2
    assert document.update.operations_per_update == 2 * 12**2 + 2 * 12**2 + 6 * 12
    again = measure(point_of(tiny), {verdict_key(document): ("failed", "as told")})
    assert isinstance(again, RunDocument)
    assert (again.validity, again.validity_reason) == ("failed", "as told")


@pytest.mark.parametrize(
    ("backend", "overrides", "outcome", "reason"),
    [
        ("numpy-full", {"numerics.storage": "packed"}, "unsupported", "packed"),
        ("numpy-full", {"network.neurons": 10**8}, "insufficient memory", "GiB"),
    ],
)
def test_a_run_that_does_not_take_place_is_recorded(
    tiny: dict[str, Any], backend: str, overrides: dict[str, Any], outcome: str, reason: str
) -> None:
    document = measure(point_of(tiny, backend, **overrides), {})
    assert document.kind == "attempt"
    assert document.outcome == outcome
    assert reason in document.reason


@pytest.mark.usefixtures("few_checks")
def test_a_failing_check_is_a_failed_run(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(subject: object) -> None:
        raise CheckFailed("off by one")

    monkeypatch.setitem(CHECKS, next(iter(CHECKS)), broken)
    document = measure(point_of(tiny), {})
    assert isinstance(document, RunDocument)
    assert document.validity == "failed"
    assert "off by one" in document.validity_reason


@pytest.mark.parametrize("backend", ["numpy-packed", "numba", "numba-blas"])
def test_updates_cost_what_a_count_says(tiny: dict[str, Any], backend: str) -> None:
    if backend.startswith("numba"):
        pytest.importorskip("numba")
    n = 12
    training = prepare(load_experiment("smoke", overrides=tiny | {"numerics.algorithm": "plain"}), backend)
    run_trial(training.trainer, 1)
    cost = training.trainer.update_cost(3.0)
    storage = "full" if backend == "numba" else "packed"  # BLAS leaves one triangle alone
    entries = n * n if storage == "full" else n * (n + 1) // 2
    assert cost == plain_cost(n, Options("float32", "float32", storage))
    assert cost is not None
    assert cost.bytes == 2 * entries * 4 + 3 * n * 4


def test_an_event_update_moves_less_the_fewer_inputs_spike(tiny: dict[str, Any]) -> None:
    pytest.importorskip("numba")
    overrides = tiny | {"network.neurons": 200, "network.L": 45, "numerics.algorithm": "event"}
    trainer = prepare(load_experiment("smoke", overrides=overrides), "numba").trainer
    few, many = trainer.update_cost(5.0), trainer.update_cost(50.0)
    plain = plain_cost(90, Options("float32", "float32", "full"))
    assert few is not None
    assert many is not None
    assert few.bytes < 0.3 * plain.bytes
    assert many.bytes - few.bytes == 45 * 90 * 4
    assert few.operations < many.operations


def test_limits_of_a_machine_are_plausible() -> None:
    limits = measure_limits(1, passes=2, order=128, least_bytes=2**22)
    assert 1e8 < limits.read_bytes_per_second < 1e13
    assert 1e8 < limits.update_bytes_per_second < 1e13
    assert set(limits.operations_per_second) == {"float32", "float64"}
    assert all(1e7 < value < 1e15 for value in limits.operations_per_second.values())


# Going through a plan


@pytest.fixture
def here_alone(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Measure points in this process, without limits of the machine; the list of jobs."""
    from rlsbench.results import parse_document

    jobs: list[dict[str, Any]] = []
    monkeypatch.setattr(measure_module, "verdict", lambda training: ("passed", "not looked at"))

    def process(job: dict[str, Any], *_: Any) -> tuple[str | None, int | None, str]:
        if "threads" in job:
            return None, 1, ""
        jobs.append(job)
        document = measure(Point.model_validate(job["point"]), {})
        assert parse_document(document.to_json()) == document
        return document.to_json(), 0, ""

    monkeypatch.setattr(runner_module, "_process", process)
    return jobs


def test_repetitions_vary_slowest_and_completed_runs_are_skipped(
    tiny: dict[str, Any], tmp_path: Path, here_alone: list[dict[str, Any]]
) -> None:
    tiny64 = tiny | {"numerics.precision": "float64"}
    plan = plan_of(tiny64, backends=["numpy-full", "numpy-packed"], repetitions=2)
    store = Store(tmp_path)
    summary = run_sweep(plan, store)
    assert (summary.total, summary.before, summary.completed, summary.left) == (4, 0, 4, 0)
    assert [job["point"]["backend"] for job in here_alone] == ["numpy-full", "numpy-packed"] * 2
    places = [(r.backend, r.repetition.repetition) for r in store.read().runs if r.repetition is not None]
    assert sorted(places) == [(b, i) for b in ("numpy-full", "numpy-packed") for i in (1, 2)]
    again = run_sweep(plan, store)
    assert (again.before, again.completed) == (4, 0)
    more = run_sweep(plan.model_copy(update={"repetitions": 3}), store)
    assert (more.before, more.completed) == (4, 2)
    assert len(here_alone) == 6


def test_two_sweeps_in_one_store_share_the_work(
    tiny: dict[str, Any], tmp_path: Path, here_alone: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(tiny | {"numerics.precision": "float64"}, backends=["numpy-full", "numpy-packed"])
    process = runner_module._process
    second: list[SweepSummary] = []

    def interleaved(job: dict[str, Any], *rest: Any) -> tuple[str | None, int | None, str]:
        if "threads" not in job and not second:
            second.append(SweepSummary(total=0))  # the other sweep starts while the first makes this run
            second[0] = run_sweep(plan, Store(tmp_path))
        return process(job, *rest)

    monkeypatch.setattr(runner_module, "_process", interleaved)
    (tmp_path / ".0123456789ab.lock").touch()  # of a sweep that was killed after its last run
    first = run_sweep(plan, Store(tmp_path))
    assert (second[0].completed, second[0].elsewhere, second[0].left) == (1, 1, 0)
    assert (first.completed, first.before, first.elsewhere, first.left) == (1, 1, 0, 0)
    assert sorted(job["point"]["backend"] for job in here_alone) == ["numpy-full", "numpy-packed"]
    assert {path.suffix for path in tmp_path.iterdir()} == {".json"}, "no lock is left"


def test_a_run_is_claimed_once(tmp_path: Path) -> None:
    claimed, run = runner_module._claimed, ("point", 1, "machine", "software")
    with claimed(tmp_path, run) as mine:
        (lock,) = tmp_path.iterdir()
        with claimed(tmp_path, run) as other:
            assert (mine, other) == (True, False)
        assert lock.exists()
    assert not lock.exists()
    lock.touch()  # as a sweep leaves it that is killed
    with claimed(tmp_path, run) as mine:
        assert mine
    assert not lock.exists()
    lock.symlink_to(tmp_path / "elsewhere")
    with claimed(tmp_path, run) as mine:
        assert mine
    assert [path.name for path in tmp_path.iterdir()] == [lock.name]


def test_a_worker_ends_with_its_parent() -> None:
    """Whose end of the pipe is closed when it is killed."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "rlsbench.sweep"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    out, _ = worker.communicate(b'{"threads": 1}\n', timeout=60)
    assert (worker.returncode, out) == (-signal.SIGKILL, b"")


def test_a_run_that_does_not_take_place_does_not_stop_the_others(
    tiny: dict[str, Any], tmp_path: Path, here_alone: list[dict[str, Any]]
) -> None:
    plan = plan_of(tiny | {"numerics.precision": "float64"}, storages=["packed", "full"])
    summary = run_sweep(plan, Store(tmp_path))
    assert (summary.completed, summary.not_made) == (1, {"unsupported": 1})
    again = run_sweep(plan, Store(tmp_path))
    assert (again.before, again.completed, again.not_made) == (2, 0, {})
    retried = run_sweep(plan, Store(tmp_path), retry=True)
    assert (retried.before, retried.completed, retried.not_made) == (1, 0, {"unsupported": 1})


@pytest.mark.parametrize(
    ("answer", "outcome", "reason"),
    [
        ((None, -9, ""), "failed", "SIGKILL"),
        ((None, 1, "ValueError: it broke"), "failed", "ValueError: it broke"),
        ((None, 3, ""), "failed", "status 3"),
        (("{", 0, ""), "failed", "JSON"),
        ((None, None, ""), "timed out", "60 s"),
    ],
)
def test_a_process_that_fails_is_recorded(
    answer: Any, outcome: str, reason: str, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "_process", lambda job, *_: (None, 1, "") if "threads" in job else answer)
    store = Store(tmp_path)
    summary = run_sweep(plan_of(tiny, time_limit_s=60), store)
    assert summary.not_made == {outcome: 1}
    (document,) = store.read().attempts
    assert document.outcome == outcome
    assert reason in document.reason


def test_a_budget_ends_a_sweep_and_the_current_run_is_repeated(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "_process", lambda *_: (None, None, ""))
    store = Store(tmp_path)
    plan = plan_of(tiny, seeds=[1, 2, 3])
    summary = run_sweep(plan, store, budget_s=30)
    assert summary.left == 3
    assert "budget" in summary.stopped
    assert "numpy-full" in summary.stopped
    assert store.read().documents == []
    summary = run_sweep(plan, store, budget_s=1e-9)
    assert "budget" in summary.stopped
    assert summary.left == 3


# The command


def test_control_c_and_continuing(tiny_options: list[str], tmp_path: Path, cli: Any) -> None:
    without = [part for part in tiny_options if not part.startswith("training.iterations")]
    settings = [part for part in without if part != "--set"]
    axes = ["--backend", "reference,elsewhere", "--iterations", "2", "--repetitions", "3"]
    command = ["sweep", "-o", "store", "--preset", "smoke", *axes]
    command += [part for setting in settings for part in ("--set", setting)]
    refused = cli(*command, cwd=tmp_path)
    assert refused.returncode == 2
    assert "'elsewhere'" in refused.stderr
    assert not (tmp_path / "store").exists()
    command[command.index("reference,elsewhere")] = "reference"  # checked once, in seconds
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *command],
        cwd=tmp_path,
        env=os.environ | {"COLUMNS": "240"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list((tmp_path / "store").glob("*.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130, (out, error)
    assert error == "rlsbench: interrupted\n"
    assert "results so far are in store" in out
    first = {p.name for p in (tmp_path / "store").iterdir()}
    assert 1 <= len(first) < 3
    done = cli(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{len(first)} already present" in done.stdout
    found = read_results([tmp_path / "store"])
    assert found.problems == []
    assert [r.backend for r in found.runs] == 3 * ["reference"]
    assert first <= {p.name for p in (tmp_path / "store").iterdir()}
    for r in found.runs:
        assert r.validity == "passed"
        assert r.limits is not None
        assert r.environment["OPENBLAS_NUM_THREADS"] == str(r.threads)


def test_without_hypothesis_a_run_is_not_checked(cli: Any) -> None:
    """The suite is imported in a new process, where hypothesis cannot be found."""
    code = (
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        "found = PathFinder.find_spec\n"
        "PathFinder.find_spec = lambda name, *where: None if name == 'hypothesis' else found(name, *where)\n"
        "from rlsbench.sweep.measure import verdict\n"
        "print(*verdict(None), sep='\\n')\n"
    )
    done = cli(code=code)
    assert done.returncode == 0, done.stderr
    validity, reason = done.stdout.splitlines()
    assert validity == "not checked"
    assert "rlsbench[conformance]" in reason
