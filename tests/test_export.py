"""Export of trained networks: descriptions, files, what reads them again, and errors."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import h5py
import libsonata
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsbench import Training, load_experiment, prepare
from rlsbench.backend import make_trainer
from rlsbench.capacity import readable
from rlsbench.errors import (
    ConfigurationError,
    ConnectivityError,
    InsufficientDiskError,
    OutputError,
    ResultError,
    UnsupportedError,
)
from rlsbench.export import SYNAPSES, TrainedNetwork, described, export, format_names, trained_network
from rlsbench.export.brian2 import equations_of
from rlsbench.export.npz import NPZ, SYNAPSE
from rlsbench.neurons import NeuronModel, make_neurons, where
from rlsbench.neurons.nodes import node_columns
from rlsbench.training import run_trial
from tests.conftest import status

Refused = Any
Make = Callable[..., Training]


def trained(make: Make, backend: str = "numpy-packed", **overrides: Any) -> Training:
    training = make(backend, **{"training.iterations": 2} | overrides)
    for _ in training.run():
        pass
    return training


@pytest.fixture
def network(make: Make) -> TrainedNetwork:
    return described(trained(make, **{"feedforward.LX": 3}))


def listed(network: TrainedNetwork, kind: Any) -> list[tuple[float, ...]]:
    return sorted(
        row for part in network.synapses(kind) for row in zip(*(column.tolist() for column in part), strict=True)
    )


@pytest.mark.parametrize("block", [1, 50, 10**6])
def test_blocks_are_all_synapses_of_the_trainer(
    network: TrainedNetwork, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr("rlsbench.export.network.BLOCK", block)
    p, edges = network.problem, network.problem.static_edges()
    static = zip(edges.rows().tolist(), edges.index.tolist(), np.asarray(edges.weight).tolist(), strict=True)
    assert listed(network, "static") == sorted((*edge, 1) for edge in static)
    weights, sources = np.asarray(p.plastic.own_weights, np.float64), p.plastic.sources(p.seed)
    plastic = [
        (int(pre), post, float(w), 1)
        for post in range(p.neurons)
        for pre, w in zip(sources[post], weights[post, 3:], strict=True)
    ]
    assert listed(network, "plastic") == sorted(plastic)
    inputs = [(x, post, float(weights[post, x]), 1) for post in range(p.neurons) for x in range(3)]
    assert listed(network, "feedforward") == sorted(inputs)
    assert [network.count(kind) for kind in SYNAPSES] == [len(listed(network, kind)) for kind in SYNAPSES]


def test_delays_are_those_of_the_problem(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlsbench.export.network.BLOCK", 50)
    tables = [table for table in with_delays() if table.get("kind") == "plastic"]
    network = described(trained(make, connectivity=tables, **{"feedforward.LX": 80}))
    edges = network.problem.plastic.given
    assert edges is not None
    assert edges.delay is not None
    wanted = zip(edges.index.tolist(), edges.rows().tolist(), edges.delay.tolist(), strict=True)
    assert sorted((pre, post, d) for pre, post, _, d in listed(network, "plastic")) == sorted(wanted)
    assert {d for *_, d in listed(network, "feedforward")} == {1}


def test_npz_has_all_that_the_network_has(network: TrainedNetwork, tmp_path: Path) -> None:
    export(network, "npz", tmp_path / "out")
    p, told = network.problem, json.loads((tmp_path / "out" / "settings.json").read_text())
    assert told["synapses"] == {kind: network.count(kind) for kind in SYNAPSES}
    with np.load(tmp_path / "out" / "synapses.npz") as file:
        for kind in SYNAPSES:
            assert file[kind].dtype == SYNAPSE
            assert sorted(map(tuple, file[kind].tolist())) == listed(network, kind)
    with np.load(tmp_path / "out" / "neurons.npz") as file:
        assert np.array_equal(file["external_current"], p.external_current)
        assert np.array_equal(file["threshold"], np.ones(p.neurons))
    with np.load(tmp_path / "out" / "inputs.npz") as file:
        assert file["feedforward_hz"].shape == (1, p.clock.steps + 1, 3)
        assert p.stimulus is not None
        x = np.full(p.neurons, p.stimulus.mu, file["stimulus"].dtype)
        for step, row in zip(range(p.stimulus.on + 1, p.stimulus.off), file["stimulus"][0], strict=True):
            p.stimulus.advance(x, p.seed, 0, step)
            assert np.array_equal(x, row)
    with np.load(tmp_path / "out" / "targets.npz") as file:
        assert p.targets is not None
        assert np.array_equal(file["currents"][0], p.targets.matrix(0))


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(0, 5), max_size=6), dtype=st.sampled_from(["f8", "f4", "u1", SYNAPSE]))
def test_parts_of_an_npz_join_up(tmp_path_factory: pytest.TempPathFactory, sizes: list[int], dtype: Any) -> None:
    path, rng = tmp_path_factory.mktemp("npz") / "a.npz", np.random.default_rng(len(sizes))
    parts = [rng.integers(0, 9, size).astype(dtype) for size in sizes]
    whole = np.concatenate([*parts, np.empty(0, dtype)])
    with NPZ(path) as file:
        file.write("a", dtype, whole.shape, parts)
        with pytest.raises(ValueError, match="b has"):
            file.write("b", dtype, (len(whole) + 1,), parts)
    with np.load(path) as found:
        assert np.array_equal(found["a"], whole)


def with_delays() -> list[dict[str, Any]]:
    rule = {"rule": "bernoulli", "parameters": {"probability": 0.2}}
    plastic = {"kind": "plastic", "rule": "lognormal-in-degree", "parameters": {"mean": 4.0, "sigma": 0.5}}
    return [
        rule | {"source": "excitatory", "weight": 0.6, "delay_ms": 1.5},
        rule | {"source": "inhibitory", "weight": -1.5, "delay_ms": 0.3},
        plastic | {"source": "excitatory", "delay_ms": 0.7},
        plastic | {"source": "inhibitory"},
    ]


@pytest.mark.parametrize("backend", ["reference", "numpy-packed"])
@pytest.mark.parametrize("tables", [[], with_delays()], ids=["published", "tables"])
def test_sonata_read_again_is_the_same_network(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, tables: list[dict[str, Any]]
) -> None:
    training = trained(make, backend, connectivity=tables, **{"numerics.precision": "float64"})
    export(described(training), "sonata", tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    again = prepare(load_experiment(config=Path("experiment.toml")), backend).trainer
    plastic = replace(training.problem.plastic, own_weights=training.weights())
    before = make_trainer(training.backend, replace(training.problem, plastic=plastic), training.options)
    one, two = (
        run_trial(trainer, 7, learn=False, record=np.arange(training.problem.neurons)) for trainer in (before, again)
    )
    assert len(one.spikes.step) > 20
    assert np.array_equal(one.spikes.step, two.spikes.step)
    assert np.array_equal(one.spikes.neuron, two.spikes.neuron)
    assert np.array_equal(before.voltages(), again.voltages())
    assert all(map(np.array_equal, before.currents(), again.currents()))


def test_sonata_as_libsonata_reads_it(network: TrainedNetwork, tmp_path: Path) -> None:
    export(network, "sonata", tmp_path / "out")
    circuit = libsonata.CircuitConfig.from_file(str(tmp_path / "out" / "circuit_config.json"))
    assert circuit.edge_populations == set(SYNAPSES)
    for kind in SYNAPSES:
        edges = circuit.edge_population(kind)
        every = edges.select_all()
        weight, delay = (edges.get_attribute(name, every) for name in ("syn_weight", "delay"))
        theirs = zip(
            edges.source_nodes(every).tolist(), edges.target_nodes(every).tolist(), weight.tolist(), strict=True
        )
        assert sorted(theirs) == [edge[:3] for edge in listed(network, kind)]
        assert np.allclose(delay, 0.1)
        of = edges.efferent_edges if kind == "static" else edges.afferent_edges
        neuron = edges.source_nodes if kind == "static" else edges.target_nodes
        assert set(neuron(of([5])).tolist()) == {5}
        assert of([5]).flat_size == sum(edge[kind != "static"] == 5 for edge in listed(network, kind))
    nodes = circuit.node_population("all_neurons")
    assert np.array_equal(nodes.get_attribute("initial_v", nodes.select_all()), network.neurons()["initial_v"])


def test_neurons_of_sonata_are_those_that_left(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "own.csv"
    table.write_text("\n".join(["jump1", *map(str, np.linspace(-0.4, -0.2, 70))]) + "\n")
    own = {"neuron.table": str(table)}
    halves = [{"name": "a", "size": 40, "sign": 1, "neuron": {"tau_m_ms": 12.0}}, {"name": "b", "size": 30, "sign": -1}]
    training = make(**{"neuron.model": "glif3", "populations": halves, **own})
    export(described(training), "sonata", tmp_path / "out")
    again = {"neuron.model": "glif3", "neuron.table": str(tmp_path / "out" / "nodes.h5")}
    neurons = make_neurons(
        load_experiment("smoke", overrides={"network.neurons": 70, "network.K": 8, "network.L": 6, **again})
    )
    table.unlink()
    monkeypatch.chdir(tmp_path / "out")
    written = make_neurons(load_experiment(config=Path("experiment.toml")))
    assert neurons.varying == written.varying == ("tau_m_ms", "jump1")
    for name, value in training.problem.neuron.values.items():
        assert np.array_equal(neurons.values[name], value), name
        assert np.array_equal(written.values[name], value), name


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), N=st.integers(2, 9), groups=st.integers(1, 3))
def test_parameters_of_nodes_and_their_types(
    tmp_path_factory: pytest.TempPathFactory, seed: int, N: int, groups: int
) -> None:
    """As SONATA files may have them: numbered in any order, in groups, or only by type."""
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("nodes")
    threshold, ids, types, group = (
        rng.uniform(1, 2, N),
        rng.permutation(N),
        rng.integers(0, 3, N),
        rng.integers(0, groups, N),
    )
    index = np.zeros(N, np.uint64)
    with h5py.File(folder / "nodes.h5", "w") as file:
        nodes = file.create_group("nodes/cells")
        nodes["node_id"], nodes["node_type_id"], nodes["node_group_id"] = ids, types + 100, group
        for number in range(groups):
            members = rng.permutation(np.flatnonzero(group == number))
            index[members] = np.arange(len(members))
            place = "dynamics_params/threshold" if number == 1 else "threshold"
            nodes[f"{number}/{place}"] = threshold[ids[members]]
        nodes["node_group_index"] = index
    table = "node_type_id tau_m_ms threshold note\n100 5.0 9.0 x\n101 6.0 9.0 y\n102 7.0 9.0 z\n"
    (folder / "types.csv").write_text(table)
    found = node_columns(
        str(folder / "nodes.h5"), str(folder / "types.csv"), N, ("threshold", "tau_m_ms", "reset_voltage")
    )
    assert set(found) == {"threshold", "tau_m_ms"}
    assert np.array_equal(found["threshold"], threshold)
    assert np.array_equal(found["tau_m_ms"][ids], types + 5.0)


def test_nodes_that_have_no_parameters_are_refused(tmp_path: Path, refused: Refused) -> None:
    """Such as those of SONATA's published examples: positions, and models of other simulators."""
    with h5py.File(tmp_path / "nodes.h5", "w") as file:
        nodes = file.create_group("nodes/internal")
        nodes["node_type_id"] = nodes["node_group_id"] = nodes["node_group_index"] = np.arange(3)
        nodes["node_group_id"][:] = 0
        nodes["0/x"] = np.zeros(3)
    types = tmp_path / "types.csv"
    types.write_text("node_type_id ei tau_m_ms\n0 e NULL\n1 i 5.0\n2 i 5.0\n")
    table = {"network.neurons": 3, "network.K": 1, "network.L": 1, "neuron.table": str(tmp_path / "nodes.h5")}

    def read(**changes: Any) -> None:
        make_neurons(load_experiment("smoke", overrides=table | changes))

    with refused(ConfigurationError, "nodes.h5", "it has x", "threshold"):
        read()
    with refused(ConfigurationError, "nodes.h5", "internal (3)", "4 nodes"):
        read(**{"network.neurons": 4})
    with refused(ConfigurationError, "nodes.h5", "node 0", "tau_m_ms"):
        read(**{"neuron.node_types": str(types)})
    with refused(ConfigurationError, "types.csv", ".h5"):
        read(**{"neuron.table": str(types), "neuron.node_types": str(types)})
    (tmp_path / "text.h5").write_text("no HDF5")
    with refused(ConfigurationError, "text.h5"):
        read(**{"neuron.table": str(tmp_path / "text.h5")})


def test_weights_and_delays_of_edge_types(tmp_path: Path, make: Make, refused: Refused) -> None:
    with h5py.File(tmp_path / "edges.h5", "w") as file:
        group = file.create_group("edges/a_to_b")
        group["source_node_id"], group["target_node_id"] = np.array([0, 1, 2]), np.array([3, 4, 5])
        group["edge_type_id"] = np.array([7, 9, 7])
        group.create_group("0")
    types = tmp_path / "types.csv"
    types.write_text("edge_type_id syn_weight delay\n7 0.5 0.3\n9 0.25 NULL\n")
    table = {"file": str(tmp_path / "edges.h5"), "edge_types": str(types)}
    with refused(ConnectivityError, "types.csv", 9):
        make(connectivity=[table])
    types.write_text("edge_type_id syn_weight delay\n7 0.5 0.3\n9 0.25 0.1\n")
    edges = make(connectivity=[table]).problem.static_edges()
    assert edges.weight is not None
    assert edges.weight.tolist() == [0.5, 0.25, 0.5]
    assert edges.delay is not None
    assert edges.delay.tolist() == [3, 1, 3]


def test_units_of_nest(network: TrainedNetwork, tmp_path: Path) -> None:
    export(network, "nest", tmp_path / "out")
    compile((tmp_path / "out" / "simulate.py").read_text(), "simulate.py", "exec")
    with np.load(tmp_path / "out" / "neurons.npz") as file:
        # C/tau_m = 25 nS, times 20 mV.
        assert np.allclose(file["pA"], 500.0)
        assert np.allclose(file["V_th"] - file["V_reset"], 20.0)
        assert np.allclose(file["I_e"], 500.0 * network.problem.external_current)
    with np.load(tmp_path / "out" / "synapses.npz") as file:
        ours = {edge[:2]: edge[2] for edge in listed(network, "static")}
        theirs = {(pre, post): weight for pre, post, weight, _ in file["static"].tolist()}
        assert all(np.isclose(theirs[pair], ours[pair] / 3.0 * 500.0) for pair in ours)
        assert np.allclose(
            file["plastic"]["weight"] * 150 / 500, [w for b in network.synapses("plastic") for w in b[2]]
        )


@pytest.mark.parametrize(
    ("model", "parameters", "named"),
    [
        ("glif5", {}, "glif5"),
        ("izhikevich", {}, "izhikevich"),
        ("glif2", {}, "fraction"),
        ("glif3", {"keep2": 0.5}, "keep2"),
        ("adex", {}, "150"),
        ("glif3", {"refractory_ms": 0.0}, "refractory_ms"),
    ],
)
def test_neurons_that_nest_lacks_are_refused(
    make: Make, tmp_path: Path, refused: Refused, model: str, parameters: dict[str, float], named: str
) -> None:
    own = {
        f"neuron.{'' if name == 'refractory_ms' else 'parameters.'}{name}": value for name, value in parameters.items()
    }
    with refused(UnsupportedError, model, named):
        export(described(trained(make, **{"neuron.model": model, **own})), "nest", tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("overrides", "model"),
    [
        ({"neuron.model": "glif4", "neuron.parameters.fraction": 0.0}, "gif_psc_exp_multisynapse"),
        ({"neuron.model": "adex", "network.K": 0, "synapse.tau_plas_ms": (50.0, 150.0)}, "aeif_psc_exp"),
    ],
)
def test_neurons_that_nest_has(make: Make, tmp_path: Path, overrides: dict[str, Any], model: str) -> None:
    network = described(trained(make, **overrides))
    export(network, "nest", tmp_path / "out")
    assert f'MODEL = "{model}"' in (tmp_path / "out" / "simulate.py").read_text()
    with np.load(tmp_path / "out" / "neurons.npz") as file:
        assert np.allclose(file["g_L"], 25.0)
        if model == "aeif_psc_exp":
            assert np.allclose(file["a"], 25.0 * 4 / 30)
            assert np.allclose(file["Delta_T"], 20 * 2 / 20.2)
        else:
            assert np.allclose(file["tau_stc"], [1 / 0.003, 10.0])
            assert np.allclose(file["q_stc"], 500 / (9.43 * 27.17) * np.array([9.18, 198.94]))
            assert np.allclose(file["V_reset"], -70 + 20 * 18.51 / 27.17)


@pytest.mark.parametrize("tool", ["brian2", "nest"])
def test_scripts_tell_in_a_line_what_they_cannot_do(network: TrainedNetwork, tmp_path: Path, tool: str) -> None:
    export(network, tool, tmp_path / "out")
    simulator = tmp_path / "out" / f"{tool}.py"  # found before one that is installed

    def told(*options: str) -> str:
        command = [sys.executable, "simulate.py", *options]
        done = subprocess.run(command, cwd=tmp_path / "out", capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode != 0
        return done.stderr.strip().splitlines()[-1]

    (tmp_path / "out" / "matplotlib").mkdir()  # so that the real one, which is slow to load, is not
    (tmp_path / "out" / "matplotlib" / "pyplot.py").touch()
    simulator.write_text("raise ImportError\n")
    assert "pip install" in told()
    simulator.write_text(
        "Hz, Network, NeuronGroup, PoissonGroup, SpikeMonitor, StateMonitor = range(6)\n"
        "Synapses = TimedArray = ms = None\n"
    )
    for option, value, limits in (("--trials", 0, "1 "), ("--task", 1, "0 to 0"), ("--steps", 99, "140 to 500")):
        line = told(option, str(value))
        assert f"{option} {value}" in line
        assert limits in line


@pytest.mark.parametrize("form", ["npz", "sonata", "brian2", "nest"])
def test_space_is_checked_before_anything_is_written(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused, form: str
) -> None:
    network = described(make(**{"network.neurons": 1000, "feedforward.LX": 3}))
    export(network, form, tmp_path / "out")
    size = sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    for free in (0, round(0.9 * size)):
        monkeypatch.setattr("rlsbench.export.network.free_disk_bytes", lambda folder, free=free: free)
        with refused(InsufficientDiskError, tmp_path, readable(free)):
            export(network, form, tmp_path / "other")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    monkeypatch.setattr("rlsbench.export.network.free_disk_bytes", lambda folder: size)
    export(network, form, tmp_path / "other")


def test_equations_that_brian2_lacks_are_refused(refused: Refused) -> None:
    class Clipped(NeuronModel):
        @staticmethod
        def step(s: Any, I: Any, p: Any, dt_ms: Any) -> tuple[Any, ...]:
            return (s.v + dt_ms * where(I > 0, I, 0.0),)

        spikes = staticmethod(lambda s, p: s.v > p.threshold)
        reset = staticmethod(lambda s, p: (p.reset_voltage,))

    class Exact(Clipped):
        @staticmethod
        def step(s: Any, I: Any, p: Any, dt_ms: Any) -> tuple[Any, ...]:
            return (s.v * (1 - dt_ms) ** 2 + I,)

    for model in (Clipped, Exact):
        with refused(UnsupportedError, model.__name__):
            equations_of(model, model.__name__)


@pytest.mark.usefixtures("no_pictures")
def test_the_command_line(tmp_path: Path, tiny_options: list[str], capfd: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    assert status("run", "--backend", "numpy-packed", *tiny_options, "--output", run) == 0
    for form in format_names():
        assert status("export", run, "--to", form, "-o", tmp_path / f"out-{form}") == 0
    network = trained_network(run)
    assert network.origin["weights"] == "last iteration"
    assert np.array_equal(np.asarray(network.problem.plastic.own_weights), np.load(run / "weights.npy"))
    capfd.readouterr()
    assert status("export", run, "--to", "npz", "-o", tmp_path / "out-npz") == 1
    assert str(tmp_path / "out-npz") in capfd.readouterr().err
    assert status("export", run, "--to", "genesis", "-o", out) == 2
    assert "sonata" in capfd.readouterr().err

    hdf5 = "Can't decrement id ref count (unable to extend file, errno = 28, error message = 'No space left')"
    for error in (OSError(errno.ENOSPC, "No space left"), RuntimeError(hdf5)):
        monkeypatch.setattr("rlsbench.export.npz.NPZ.write", Mock(side_effect=error))
        assert status("export", run, "--to", "npz", "-o", out) == 1
        assert capfd.readouterr().err == f"rlsbench: cannot write {out}: No space left\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "out-brian2",
        "out-nest",
        "out-npz",
        "out-sonata",
        "run",
    ]
    (run / "weights.npy").unlink()
    with pytest.raises(ResultError):
        trained_network(run)


def test_what_was_not_trained_is_refused(
    tmp_path: Path, tiny_options: list[str], no_pictures: None, refused: Refused
) -> None:
    options = [*tiny_options, "--set", "learning.benchmark=true"]
    assert status("run", "--backend", "numpy-packed", *options, "--output", tmp_path / "run") == 0
    with refused(ResultError, tmp_path / "run"):
        trained_network(tmp_path / "run")
    with refused(ConfigurationError, "genesis"):
        export(tmp_path / "run", "genesis", tmp_path / "out")
    with refused(OutputError, tmp_path, "exists"):
        export(tmp_path / "run", "npz", tmp_path)
