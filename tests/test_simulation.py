"""The network timed as a simulation: on backends, in other simulators, in sweeps and reports.

Simulators are run if RLSBENCH_SIMULATOR_PYTHON names a Python that has them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlsbench import load_experiment
from rlsbench.backend import get_backend, make_trainer, resolve_options
from rlsbench.errors import BackendError, ConfigurationError, UnavailableBackendError, UnsupportedError
from rlsbench.problem import initial_problem
from rlsbench.report.folder import write_report
from rlsbench.results import RunDocument, SimulationDocument, Store, digest, parse_document
from rlsbench.sweep import Point, SweepPlan, load_plan, run_sweep, simulation
from rlsbench.sweep.measure import measure
from rlsbench.sweep.simulation import simulate
from rlsbench.training import run_trial

PYTHON = os.environ.get("RLSBENCH_SIMULATOR_PYTHON", "")

# A simulator of fifteen lines, with the steps of the model.
SCRIPT = """
import json, sys
import numpy as np
p = dict(np.load(sys.argv[1]))
N = len(p["X"])
W = np.zeros((N, N))
W[p["post"], np.repeat(np.arange(N), np.diff(p["start"]))] = p["weight"]
tau = np.where(W > 0, p["tau_E_ms"], p["tau_I_ms"])
v, rest, total, dt = p["v"].copy(), np.zeros(N, int), 0, p["dt_ms"]
u, s = np.zeros((2, N)), np.zeros(N)
for step in range(p["steps"]):
    arriving = np.stack([np.maximum(W, 0) @ s, np.minimum(W, 0) @ s])
    u += (arriving - dt * u) / np.array([[p["tau_E_ms"]], [p["tau_I_ms"]]])
    free = rest == 0
    v[free] += dt / p["tau_m_ms"] * (p["X"] + u.sum(axis=0) - v)[free]
    s = (free & (v > p["threshold"])).astype(float)
    rest = np.maximum(rest - 1, 0)
    v[s > 0], rest[s > 0] = p["reset"], p["refractory_steps"]
    total += int(s.sum())
found = {"version": "7", "how": "NumPy", "precision": "float64", "build_seconds": 0.5, "seconds": [2.0, 1.0, 3.0]}
print("a line of a library")
print(json.dumps(found | {"spikes": total}))
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script in place of that for Brian2."""
    monkeypatch.setattr(simulation, "SCRIPTS", tmp_path)
    (tmp_path / "brian2.py").write_text(SCRIPT, encoding="utf-8")
    return tmp_path / "brian2.py"


def point(tiny: dict[str, Any], backend: str, network: Any = "static", **changes: Any) -> Point:
    overrides = tiny | {"numerics.precision": "float64", "numerics.threads": 1, "synapse.tau_I_ms": 4.0} | changes
    own: dict[str, Any] = {"python": "", "warm_up": 1, "correlate": False}
    return Point(preset="smoke", overrides=overrides, backend=backend, network=network, **own)


def test_a_simulator_gets_the_network_of_the_backends(tiny: dict[str, Any], fake: Path) -> None:
    there, here = simulate(point(tiny, "brian2")), simulate(point(tiny, "numpy-full"))
    assert there.firing_rate_hz == pytest.approx(here.firing_rate_hz)
    assert here.firing_rate_hz > 1
    assert (there.seconds, there.setup_seconds, there.model_seconds) == ([2.0, 1.0, 3.0], 0.5, pytest.approx(0.05))
    assert (there.simulator_version, there.how, there.synapses) == ("7", "NumPy", "static")
    assert here.simulator_version is None
    for document in (there, here):
        assert parse_document(document.to_json()) == document


def test_backends_simulate_with_and_without_plastic_synapses(tiny: dict[str, Any]) -> None:
    e = point(tiny, "numpy-full").experiment()
    backend = get_backend("numpy-full")
    trainer = make_trainer(backend, initial_problem(e), resolve_options(backend, e.numerics))
    static, plastic = (simulate(point(tiny, "numpy-full", network)) for network in ("static", "plastic"))
    assert static.firing_rate_hz == run_trial(trainer, 0, learn=False).firing_rate_hz
    assert static.firing_rate_hz != plastic.firing_rate_hz
    assert (static.synapses, plastic.synapses) == ("static", "static and plastic")
    assert len(static.seconds) == simulation.RUNS
    assert min(static.seconds) > 0


@pytest.mark.parametrize(
    ("script", "kind", "named"),
    [
        ("import a_simulator_that_is_not_there", UnavailableBackendError, ("a_simulator", "--simulator-python")),
        ("raise SystemExit('it is broken')", BackendError, ("brian2", "it is broken")),
    ],
)
def test_simulators_that_fail_are_named(
    script: str, kind: Any, named: Any, tiny: dict[str, Any], fake: Path, refused: Any
) -> None:
    fake.write_text(script, encoding="utf-8")
    with refused(kind, *named):
        simulate(point(tiny, "brian2"))


def test_networks_that_scripts_lack_and_missing_pythons_are_refused(tiny: dict[str, Any], refused: Any) -> None:
    with refused(UnsupportedError, "brian2", "voltage-noise"):
        simulate(point(tiny, "brian2", **{"noise.kind": "voltage", "noise.sigma": 0.1}))
    with refused(UnavailableBackendError, "/no/python"):
        simulate(point(tiny, "nest").model_copy(update={"python": "/no/python"}))


def test_plans_with_simulators_have_points_for_them(tiny: dict[str, Any], refused: Any) -> None:
    tables: dict[str, Any] = {
        "backends": ("numba", "torch"),
        "neurons": (100, 200),
        "set": {"network": {"K": 8, "L": 4}},
    }
    plain = SweepPlan(**tables)
    plan = SweepPlan(**tables, simulators=("nest",), simulator_python="/a", p_precisions=("float64", "float32"))
    made = plan.points()
    assert [p for p in SweepPlan(**tables, simulators=("nest",)).points() if not p.network] == plain.points()
    simulated = [(p.backend, p.network, p.experiment().network.neurons) for p in made if p.network]
    each = [("nest", "static"), *((b, n) for n in ("static", "plastic") for b in ("numba", "torch"))]
    assert simulated == [(*subject, n) for n in (100, 200) for subject in each]
    assert {p.python for p in made if p.backend == "nest"} == {"/a"}
    added = {"vary", "simulators", "simulator_python", "ranks", "launcher"}
    unchanged = plain.model_dump(mode="json", exclude=added)
    assert plain.hash() == digest(unchanged) != plan.hash()
    assert plan.hash() == plan.model_copy(update={"simulator_python": "/b"}).hash()
    with refused(ConfigurationError, "simulators", "neuron"):
        load_plan(None, tables | {"simulators": ["neuron"]})


def test_simulations_are_stored_once_and_shown(tiny: dict[str, Any], fake: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    for n in (70, 90):
        for backend, seconds in (("brian2", 3.0), ("numba", 1.0)):
            document = simulate(point(tiny, "brian2", **{"network.neurons": n}))
            how = {"backend": backend, "seconds": [seconds * n, 2 * seconds * n], "threads": 2}
            store.add(document.model_copy(update=how | ({"simulator_version": None} if backend == "numba" else {})))
    table = store.read().table()
    report = write_report([store.path], tmp_path / "page")
    assert (report.drawn, report.not_drawn) == (4, 0)
    summary = (tmp_path / "page" / "summary.md").read_text(encoding="utf-8")
    section = summary.partition("## Simulation without learning")[2].partition("\n## ")[0]
    assert section.index(" s in numba") < section.index(" s in brian2")  # the fastest first
    assert "a second of 90 neurons" in section
    store.add(document.model_copy(update={"backend": "brian2", "neurons": 95, "threads": 2}))  # alone there
    write_report([store.path], tmp_path / "other")
    assert "a second of 90 neurons" in (tmp_path / "other" / "summary.md").read_text(encoding="utf-8")
    assert len(list((tmp_path / "page" / "figures").glob("simulation-*.svg"))) == 1
    assert table.kind.tolist() == ["simulation"] * 4
    assert sorted(table.simulation_alone_seconds) == [105.0, 135.0, 315.0, 405.0]
    assert not np.isnan(table.firing_rate_hz).any()


def test_a_sweep_with_simulators_is_not_repeated(
    tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_this_process(job: dict[str, Any], *_: Any) -> tuple[str | None, int, str]:
        made = None if "threads" in job else measure(Point.model_validate(job["point"]), {}).to_json()
        return made, 0, ""

    monkeypatch.setattr("rlsbench.sweep.runner._process", in_this_process)
    monkeypatch.setattr("rlsbench.sweep.measure.verdict", lambda training: ("passed", ""))
    tables: dict[str, dict[str, Any]] = {}
    for key, value in tiny.items():
        section, _, name = key.partition(".")
        if key not in ("training.iterations", "network.neurons"):
            tables.setdefault(section, {})[name] = value
    own: dict[str, Any] = {"preset": "smoke", "neurons": (70,), "set": tables, "iterations": 1, "warm_up": 0}
    plan = SweepPlan(backends=("numpy-full",), simulators=("nest",), simulator_python=PYTHON or sys.executable, **own)
    store = Store(tmp_path / "results")
    first, again = run_sweep(plan, store), run_sweep(plan, store)
    assert (first.total, first.before, again.before) == (4, 0, 4)
    found = store.read()
    kinds = [type(d) for _, d in found.documents]
    assert kinds.count(RunDocument) == 1
    assert kinds.count(SimulationDocument) == (3 if PYTHON else 2)
    assert [(a.backend, a.outcome) for a in found.attempts] == ([] if PYTHON else [("nest", "unavailable")])


@pytest.mark.skipif(not PYTHON, reason="RLSBENCH_SIMULATOR_PYTHON is not set")
@pytest.mark.parametrize(("simulator", "tau_I_ms"), [("brian2", 3.0), ("brian2", 5.0), ("nest", 3.0)])
def test_simulators_agree(simulator: str, tau_I_ms: float) -> None:
    changes = {"synapse.tau_I_ms": tau_I_ms, "network.neurons": 1000, "numerics.threads": 1}
    e = load_experiment("smoke", overrides=changes)
    own: dict[str, Any] = {"network": "static", "warm_up": 1, "correlate": False, "python": PYTHON}
    there, here = (
        simulate(Point(preset=e.preset, overrides=changes, backend=name, **own)) for name in (simulator, "numpy-full")
    )
    assert there.firing_rate_hz == pytest.approx(here.firing_rate_hz, rel=0.03)
