"""Synapses by rule and from files, with delays: what is drawn, read and delivered, and refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import libsonata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from rlsbench import Experiment, load_experiment, plugins, prepare
from rlsbench.backend import Options, Sizes, get_backend, resolve_options
from rlsbench.capacity import largest_neurons, needed_bytes
from rlsbench.conformance.subjects import _PLAIN, problem
from rlsbench.connectivity import Between, check_rule, projections_of, with_digests
from rlsbench.connectivity.rules import GROUP, FixedOutDegree, make_rule, rule_names
from rlsbench.errors import ConfigurationError, ConnectivityError
from rlsbench.network import Population, Populations, populations_of
from rlsbench.network.edges import Edges, Part, gather

Refused = Any

PARAMETERS: dict[str, dict[str, Any]] = {
    "fixed-out-degree": {"degree": 7},
    "fixed-in-degree": {"degree": 7},
    "lognormal-in-degree": {"mean": 9.0, "sigma": 0.8, "low": 2, "high": 29},
    "bernoulli": {"probability": 0.2},
    "distance": {"probability": 0.5, "width": 0.2},
}
THREE = Populations.of((("a", 40, 1), ("b", 30, -1), ("c", 50, 1)))


def table(rule: str, **changes: Any) -> dict[str, Any]:
    return {"rule": rule, "parameters": PARAMETERS[rule], "weight": 0.0} | changes


def drawn(*tables: dict[str, Any], **overrides: Any) -> Edges:
    return problem(connectivity=list(tables), **overrides).static_edges()


@pytest.mark.parametrize("rule", rule_names())
def test_rows_are_the_same_wherever_they_are_cut(rule: str) -> None:
    made = make_rule(rule, PARAMETERS[rule], "key")
    between = Between(3, 2, THREE[0], THREE[2])
    of, to = between.sides(made.rows)
    whole = made.draw(between, 0, of.size)
    parts = [made.draw(between, first, min(first + 13, of.size)) for first in range(0, of.size, 13)]
    assert np.array_equal(np.concatenate([part.index for part in parts]), whole.index)
    assert np.array_equal(np.concatenate([np.diff(part.start) for part in parts]), np.diff(whole.start))
    inside = np.diff(whole.index) > 0
    inside[whole.start[1:-1] - 1] = True
    assert inside.all()  # ascending, so distinct, in each row
    assert (whole.index >= 0).all()
    assert (whole.index < to.size).all()
    assert len(whole.index) == pytest.approx(made.expected(between), rel=0.15)
    other = made.draw(between._replace(number=3), 0, of.size)
    assert not np.array_equal(other.index, whole.index)


@pytest.mark.parametrize("rule", rule_names())
@pytest.mark.parametrize("self_loops", [False, True])
def test_no_neuron_is_connected_to_itself_unless_asked(rule: str, self_loops: bool) -> None:
    parameters = PARAMETERS[rule] | {"probability": 1.0} if "probability" in PARAMETERS[rule] else {"degree": 39}
    if rule == "lognormal-in-degree":
        parameters = {"mean": 39.0, "sigma": 0.0}
    made = make_rule(rule, parameters, "key")
    edges = made.draw(Between(1, 0, THREE[0], THREE[0], self_loops), 0, 40)
    assert (edges.rows() == edges.index).any() == self_loops
    if rule == "bernoulli":
        assert len(edges.index) == 40 * (39 + self_loops)


def test_fixed_degrees() -> None:
    assert set(np.diff(drawn(table("fixed-out-degree")).start)) == {7}
    assert set(np.bincount(drawn(table("fixed-in-degree")).index)) == {7}


def test_a_heavy_tail_of_in_degrees() -> None:
    big = Population("b", 0, 4000, 1)
    made = make_rule("lognormal-in-degree", {"mean": 60.0, "sigma": 1.0, "low": 10, "high": 500}, "key")
    between = Between(1, 0, big, big)
    degrees = made.degrees(between, np.arange(4000))
    assert (degrees.min(), degrees.max()) == (10, 500)
    inside = np.log(degrees[(degrees > 10) & (degrees < 500)])
    assert np.median(degrees) == pytest.approx(60 * np.exp(-0.5), rel=0.05)
    assert np.quantile(degrees, 0.84) == pytest.approx(60 * np.exp(0.5), rel=0.08)
    assert made.expected(between) == pytest.approx(degrees.sum(), rel=0.04)
    assert inside.std() > 0.7


def test_a_synapse_is_as_probable_as_its_rule_says() -> None:
    big = Populations.of((("a", 900, 1), ("b", 900, -1)))
    between = Between(5, 0, big[0], big[1])
    made = make_rule("bernoulli", {"probability": 0.1}, "key")
    edges = made.draw(between, 0, 900)
    assert len(edges.index) == pytest.approx(81_000, abs=5 * np.sqrt(81_000 * 0.9))
    assert np.bincount(edges.index, minlength=900).std() == pytest.approx(9, rel=0.15)  # sqrt(900 x 0.1 x 0.9)
    for settings, falling in (
        ({"space": "ring"}, lambda d: np.exp(-(d**2) / (2 * 0.1**2))),
        ({"space": "ring", "profile": "exponential"}, lambda d: np.exp(-d / 0.1)),
    ):
        made = make_rule("distance", {"probability": 0.8, "width": 0.1} | settings, "key")
        edges = made.draw(between, 0, 900)
        d = np.abs(edges.rows() - edges.index) / 900
        d = np.minimum(d, 1 - d)
        counts, limits = np.histogram(d, np.arange(0.5, 181, 18) / 900)
        expected = 0.8 * falling((limits[1:] + limits[:-1]) / 2) * 900 * 900 * 0.04
        np.testing.assert_allclose(counts, expected, rtol=0.06)
        assert made.expected(between) == pytest.approx(len(edges.index), rel=0.02)


@pytest.mark.parametrize("changes", [{}, {"wrap": False}, {"positions": "random"}])
def test_sheets(changes: dict[str, Any]) -> None:
    made = make_rule("distance", {"probability": 1.0, "width": 0.1} | changes, "key")
    between = Between(5, 0, THREE[0], THREE[2])
    a, b = (made.places(p, 5) for p in (THREE[0], THREE[2]))
    edges = made.draw(between, 0, 40)
    d = np.abs(a[edges.rows()] - b[edges.index])
    d = np.linalg.norm(d if changes == {"wrap": False} else np.minimum(d, 1 - d), axis=1)
    assert 0 < d.mean() < 0.2  # of neurons at random, 0.38 with joined edges
    assert ((a >= 0) & (a < 1)).all()
    assert len(np.unique(a, axis=0)) == 40


def test_edges_are_gathered_in_any_order() -> None:
    rng = np.random.default_rng(1)
    row, index = np.divmod(rng.permutation(600)[:200], 30)
    weight, delay = rng.random(200), rng.integers(1, 9, 200).astype(np.uint8)
    part = [Part(row[a : a + 60], index[a : a + 60], weight[a : a + 60], delay[a : a + 60]) for a in range(0, 200, 60)]
    edges = gather(lambda: part, 20)
    order = np.lexsort((index, row))
    assert edges.weight is not None
    assert np.array_equal(edges.rows(), row[order])
    assert np.array_equal(edges.index, index[order])
    assert np.array_equal(edges.weight, weight[order])
    assert np.array_equal(edges.delay, delay[order])
    assert gather(list, 3).start.tolist() == [0, 0, 0, 0]


def test_a_range_of_neurons_is_that_part_of_all() -> None:
    tables = [
        table("bernoulli", source="excitatory", weight=2.0, delay_ms=0.4),
        table("fixed-in-degree", source="inhibitory", weight=-2.0, scale=2.0),
    ]
    p = problem(connectivity=tables)
    assert p.projections is not None
    whole, part = p.projections.edges(p.seed), p.projections.edges(p.seed, 20, 50)
    a, b = whole.start[20], whole.start[50]
    assert np.array_equal(part.start, whole.start[20:51] - a)
    for name in ("index", "weight", "delay"):
        assert np.array_equal(getattr(part, name), getattr(whole, name)[a:b])
    excitatory = whole.rows() < 35
    assert whole.weight is not None
    assert whole.delay is not None
    assert set(whole.weight[excitatory]) == {2.0}
    assert set(whole.weight[~excitatory]) == {-4.0}
    assert (set(whole.delay[excitatory]), set(whole.delay[~excitatory])) == ({4}, {1})
    assert p.longest_delay == 4


MIXED = [
    table("bernoulli", source="excitatory", weight=3.0, delay_ms=0.3),
    table("fixed-in-degree", source="inhibitory", weight=-4.0),
    table("distance", source="inhibitory", target="excitatory", weight=-4.0, delay_ms=2.0),
]


@pytest.mark.parametrize("backend", ["numpy-packed", "numba"])
def test_backends_follow_the_reference(backend: str) -> None:
    p = problem(connectivity=MIXED)
    assert p.required_features >= {"static-edges", "static-delays"}
    found = []
    for name in ("reference", backend):
        usable = get_backend(name)
        trainer = usable.trainer(p, Options("float64", "float64", usable.capabilities.storages[0]))
        trainer.begin_trial(1, 0, np.arange(70))
        trainer.advance(1, 500)
        found.append((trainer.recorded_spikes(), *trainer.currents()))
    (spikes, *wanted), (others, *got) = found
    assert len(spikes.step) > 100
    assert np.array_equal(np.stack(spikes), np.stack(others))
    np.testing.assert_allclose(got, wanted, atol=1e-12)


@pytest.mark.parametrize("delay", [1, 2, 255])
def test_a_spike_acts_after_its_delay_and_not_in_the_next_trial(delay: int) -> None:
    from rlsbench.backend import SpikeTrain

    p = problem(connectivity=[table("fixed-out-degree", source="excitatory", weight=2.0, delay_ms=delay * 0.1)])
    spike = SpikeTrain(np.array([3], np.int32), np.array([5], np.int32))
    targets = p.static_edges().index[5 * 7 : 6 * 7]
    for name in ("reference", "numpy-full", "numba"):
        trainer = get_backend(name).trainer(p, Options("float64", "float64", "full"))
        trainer.begin_trial(1, 0, np.arange(0))
        trainer.advance(1, 3 + delay - 1, spike)
        assert not trainer.currents()[0].any()
        trainer.advance(3 + delay, 3 + delay, spike)
        arrived = np.zeros(70)
        arrived[targets] = 2.0 / 3.0  # J / tau_E
        np.testing.assert_allclose(trainer.currents()[0], arrived, rtol=1e-12)
        trainer.begin_trial(2, 0, np.arange(0))
        trainer.advance(1, 2, spike)  # a spike is in transit when the trial ends
        trainer.begin_trial(3, 0, np.arange(0))
        trainer.advance(1, 300, SpikeTrain.empty())
        assert not trainer.currents()[0].any()


def test_any_number_of_threads_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlsbench_numba.tuning.NEURONS_PER_THREAD", 300)
    tables = [t | {"parameters": {"degree": 20}, "rule": "fixed-out-degree"} for t in MIXED]
    p = problem(connectivity=tables, **{"network.neurons": 700})
    found = []
    for threads in (1, 2):
        trainer = get_backend("numba").trainer(p, Options("float32", "float32", "full", threads))
        trainer.begin_trial(1, 0, np.arange(700))
        trainer.advance(1, 120)
        trainer.advance(121, 400)
        found.append((*trainer.recorded_spikes(), *trainer.currents()))
    assert len(found[0][0]) > 300
    for one, other in zip(*found, strict=True):
        assert np.array_equal(one, other)


def test_sizes_are_those_of_the_problem() -> None:
    e = load_experiment("smoke", overrides=_PLAIN | {"connectivity": MIXED})
    p = problem(connectivity=MIXED)
    sizes = Sizes.of_experiment(e)
    assert sizes == Sizes.of_problem(p)
    assert (sizes.outputs, sizes.longest_delay) == (0, 20)
    assert sizes.static_edges == pytest.approx(len(p.static_edges().index), rel=0.05)
    assert projections_of(e, populations_of(e), "plastic") is None


def test_whether_a_network_fits_is_told_for_its_own_size() -> None:
    e = load_experiment("smoke", overrides=_PLAIN | {"connectivity": [*MIXED, table("bernoulli", kind="plastic")]})
    backend = get_backend("numpy-full")
    options = resolve_options(backend, e.numerics)
    needed = sum(needed_bytes(backend, e, options).values())
    found = {free: largest_neurons(backend, e, options, free) for free in (needed // 2, 2 * needed)}
    assert found == {needed // 2: 0, 2 * needed: 70}


BAD: list[tuple[dict[str, Any], str, Any]] = [
    ({"rule": "bernouli"}, "connectivity.0.rule", "bernouli"),
    ({"source": "E"}, "connectivity.0.source", "E"),
    ({"target": "x"}, "connectivity.0.target", "x"),
    ({"weight": None}, "connectivity.0.weight", None),
    ({"weight": -1.0, "source": "excitatory"}, "connectivity.0.weight", -1),
    ({"weight": 1.0}, "connectivity.0.weight", "inhibitory"),
    ({"delay_ms": 0.0}, "connectivity.0.delay_ms", 0.0),
    ({"delay_ms": 0.15}, "connectivity.0.delay_ms", 0.15),
    ({"delay_ms": 100.0}, "connectivity.0.delay_ms", 100),
    ({"kind": "plastic", "delay_ms": 30.0}, "connectivity.0.delay_ms", 30),
    ({"kind": "static "}, "connectivity.0.kind", "static "),
    ({"file": "x.csv"}, "connectivity.0.rule", "bernoulli"),
    ({"rule": ""}, "connectivity.0.rule", ""),
    ({"rows": "pre"}, "connectivity.0.rows", "pre"),
    ({"wieght": 1.0}, "connectivity.0.wieght", "weight"),
    ({"parameters": {"probability": 0.0}}, "probability", 0.0),
    ({"parameters": {"p": 0.5}}, "connectivity.0.parameters.p", "probability"),
    ({"parameters": {}}, "connectivity.0.parameters", "probability"),
    ({"rule": "distance", "parameters": {"probability": 0.5, "width": -1.0}}, "width", -1.0),
    ({"rule": "distance", "parameters": {"probability": 0.5, "width": 1.0, "space": "cube"}}, "space", "cube"),
    ({"rule": "fixed-out-degree", "parameters": {"degree": 70}}, "degree = 70", 69),
    ({"rule": "fixed-out-degree", "parameters": {"degree": 2.5}}, "degree", 2.5),
    ({"rule": "lognormal-in-degree", "parameters": {"mean": 5.0, "sigma": 1.0, "low": 3, "high": 2}}, "high = 2", 3),
    ({"rule": "lognormal-in-degree", "parameters": {"mean": 5.0, "sigma": 1.0, "high": 90}}, "high = 90", 69),
    ({"rule": "lognormal-in-degree", "parameters": {"mean": 0.0, "sigma": 1.0}}, "mean", 0),
]


@pytest.mark.parametrize(("changes", "key", "value"), BAD)
def test_bad_tables_are_refused(refused: Refused, changes: dict[str, Any], key: str, value: Any) -> None:
    with refused(ConfigurationError, key, value):
        e = load_experiment("smoke", overrides=_PLAIN | {"connectivity": [table("bernoulli") | changes]})
        Sizes.of_experiment(e)


# Files


def network(**changes: Any) -> Experiment:
    return load_experiment("smoke", overrides=_PLAIN | changes)


def read(*tables: dict[str, Any] | str, kind: Any = "static") -> Edges | None:
    """The edges of a kind in files, for 35 excitatory and 35 inhibitory neurons."""
    e = network(connectivity=list(tables))
    found = projections_of(e, populations_of(e), kind)
    return None if found is None else found.edges(1)


def listing(edges: Edges | None) -> list[tuple[int, int, float, int]]:
    assert edges is not None
    assert edges.weight is not None
    delay = np.ones(len(edges.index), int) if edges.delay is None else edges.delay
    return list(zip(edges.rows().tolist(), edges.index.tolist(), edges.weight.tolist(), delay.tolist(), strict=True))


PRE, POST = np.array([40, 3, 3, 0]), np.array([2, 69, 4, 5])
WEIGHT, DELAY_MS = np.array([-0.5, 1.0, 2.0, 0.25]), np.array([0.1, 2.0, 0.3, 25.5])
KIND = np.array(["static", "plastic", "static", "static"])
EDGES = [(0, 5, 0.25, 255), (3, 4, 2.0, 3), (3, 69, 1.0, 20), (40, 2, -0.5, 1)]


def write(path: Path, **columns: Any) -> str:
    """An edge list in the format that the name of the file says."""
    frame = pd.DataFrame(columns)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep={".tsv": "\t"}.get(path.suffix, ","))
    return str(path)


def write_sonata(path: Path, groups: bool = False, nodes: tuple[str, str] = ("cells", "cells")) -> str:
    with h5py.File(path, "w") as file:
        file.attrs["magic"], file.attrs["version"] = np.uint32(0x0A7A), [0, 1]
        edges = file.create_group("edges/cells_to_cells")
        for name, values, population in (("source", PRE, nodes[0]), ("target", POST, nodes[1])):
            edges[f"{name}_node_id"] = values.astype(np.uint64)
            edges[f"{name}_node_id"].attrs["node_population"] = population
        edges["edge_type_id"] = np.zeros(4, np.int64)
        group = np.array([0, 1, 0, 1]) if groups else np.zeros(4, int)
        at = np.array([1, 0, 0, 1]) if groups else np.arange(4)
        edges["edge_group_id"], edges["edge_group_index"] = group.astype(np.uint64), at.astype(np.uint64)
        for number in np.unique(group):
            order = np.flatnonzero(group == number)[np.argsort(at[group == number])]
            edges[f"{number}/syn_weight"], edges[f"{number}/delay"] = WEIGHT[order], DELAY_MS[order]
    return str(path)


@pytest.mark.parametrize("name", ["list.csv", "list.tsv", "list.csv.gz", "list.parquet"])
def test_edge_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("rlsbench.connectivity.files.ROWS", 3)
    file = write(tmp_path / name, note=["a", "b", "c", "d"], pre=PRE, weight=WEIGHT, delay_ms=DELAY_MS, post=POST)
    assert listing(read(file)) == EDGES
    assert read(file, kind="plastic") is None
    weighted = {"file": file, "source": "excitatory", "target": "excitatory", "scale": 2.0}
    kinds = write(tmp_path / f"kinds-{name}", pre=PRE, post=POST, weight=WEIGHT, delay_ms=DELAY_MS / 300, kind=KIND)
    with pytest.raises(ConnectivityError):
        read(weighted)
    both = {"file": kinds, "delay_ms": 0.1}
    assert listing(read(both)) == [(0, 5, 0.25, 1), (3, 4, 2.0, 1), (40, 2, -0.5, 1)]
    assert listing(read(both, kind="plastic")) == [(69, 3, 1.0, 1)]  # by postsynaptic neuron
    delays = {"file": file, "kind": "plastic", "any_sign": True}
    assert listing(read(delays, kind="plastic")) == [
        (2, 40, -0.5, 1),
        (4, 3, 2.0, 3),
        (5, 0, 0.25, 255),
        (69, 3, 1.0, 20),
    ]
    assert read(both | {"kind": "static"}, kind="plastic") is None
    own = {"file": file, "weight": 0.0, "scale": 5.0, "kind": "plastic", "delay_ms": 0.1}
    assert listing(read(own, kind="plastic")) == [(2, 40, 0.0, 1), (4, 3, 0.0, 1), (5, 0, 0.0, 1), (69, 3, 0.0, 1)]
    assert read(own) is None


@pytest.mark.parametrize("format", ["csr", "csc", "coo"])
def test_sparse_matrices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str) -> None:
    monkeypatch.setattr("rlsbench.connectivity.files.ROWS", 3)
    matrix = sparse.coo_array((WEIGHT, (PRE, POST)), shape=(70, 70)).asformat(format)
    for rows, saved in (("pre", matrix), ("post", matrix.T)):
        sparse.save_npz(tmp_path / "matrix.npz", saved)
        found = listing(read({"file": str(tmp_path / "matrix.npz"), "rows": rows}))
        assert found == [(*edge[:3], 1) for edge in EDGES]


@pytest.mark.parametrize("groups", [False, True])
def test_sonata_as_libsonata_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: bool) -> None:
    monkeypatch.setattr("rlsbench.connectivity.files.ROWS", 3)
    file = write_sonata(tmp_path / "edges.h5", groups)
    assert listing(read(file)) == EDGES
    if not groups:  # which libsonata refuses
        edges = libsonata.EdgeStorage(file).open_population("cells_to_cells")
        every = edges.select_all()
        pre, post = edges.source_nodes(every), edges.target_nodes(every)
        weight, delay = (edges.get_attribute(name, every) for name in ("syn_weight", "delay"))
        theirs = zip(
            pre.tolist(), post.tolist(), weight.tolist(), np.rint(delay / 0.1).astype(int).tolist(), strict=True
        )
        assert sorted(theirs) == EDGES


def test_sonata_populations_of_the_names_of_ours(tmp_path: Path, refused: Refused) -> None:
    file = write_sonata(tmp_path / "edges.h5", nodes=("inhibitory", "cells"))
    with refused(ConnectivityError, "edges.h5", "edge 1", "pre = 40", "inhibitory", 34):
        read(file)
    with h5py.File(file, "a") as handle:
        handle["edges/cells_to_cells/source_node_id"][0] = 5
        handle["edges/cells_to_cells/0/syn_weight"][:] = -1.0
        handle.copy("edges/cells_to_cells", "edges/others")
    assert [edge[0] for edge in listing(read({"file": file, "edges": "others"}))] == [35, 38, 38, 40]
    with refused(ConnectivityError, "edges.h5", "'cells_to_cells', 'others'"):
        read(file)
    with refused(ConnectivityError, "edges.h5", "none", "cells_to_cells"):
        read({"file": file, "edges": "none"})


def test_plastic_edges_of_a_file_learn(tmp_path: Path, make: Any) -> None:
    pairs = np.random.default_rng(3).permutation(70 * 70)[:500]
    post, pre = np.divmod(pairs[pairs // 70 != pairs % 70], 70)
    weight = np.where(pre < 35, 2.0, -1.5)
    file = write(tmp_path / "list.parquet", pre=pre, post=post, weight=weight, kind=np.resize(KIND, len(pre)))
    training = make(connectivity=[file])
    problem, plastic = training.problem, np.resize(KIND, len(pre)) == "plastic"
    given = problem.plastic.given
    assert sorted(zip(given.rows(), given.index, given.weight, strict=True)) == sorted(
        zip(post[plastic], pre[plastic], weight[plastic], strict=True)
    )
    assert problem.n == np.bincount(post[plastic]).max()
    assert Sizes.of_experiment(training.experiment) == Sizes.of_problem(problem)
    assert len(problem.static_edges().index) == (~plastic).sum()
    before = training.weights()
    list(training.run())
    changed = (training.weights() != before).sum(axis=1)
    assert 0 < changed.max() <= problem.n
    assert (changed <= np.bincount(post[plastic], minlength=70)).all()


def test_empty_weights_of_plastic_edges_are_the_published_ones(tmp_path: Path, make: Any, refused: Refused) -> None:
    columns = {"pre": [0, 40, 3], "post": [3, 3, 4], "kind": ["plastic", "plastic", "static"]}
    for name in ("list.csv", "list.parquet"):
        given = make(connectivity=[write(tmp_path / name, **columns, weight=[None, -0.5, 0.2])]).problem.plastic.given
        assert given.index.tolist() == [0, 40]
        assert given.weight.tolist() == [10.0, -0.5]  # tau_m g / sqrt(L) with L = 1 of each sign
    with refused(ConnectivityError, "list.csv", "edge 3", "weight = nan"):
        make(connectivity=[write(tmp_path / "list.csv", **columns, weight=[None, -0.5, None])])


def test_files_in_which_nothing_would_learn_are_refused(tmp_path: Path, make: Any, refused: Refused) -> None:
    file = write(tmp_path / "list.csv", pre=[0, 1], post=[3, 4], weight=[1.0, 1.0], kind=["static", "static"])
    with refused(ConnectivityError, "kind = static"):
        make(connectivity=[file])
    published = make(connectivity=[{"file": file, "kind": "static"}])
    assert published.problem.n == 12
    assert make(connectivity=[file], **{"feedforward.LX": 3}).problem.n == 3  # these learn


def test_neurons_without_synapses_are_counted(tmp_path: Path, make: Any) -> None:
    rows = {"pre": [0, 1, 2, 5], "post": [3, 4, 3, 6], "weight": [1.0, 1.0, 1.0, 1.0]}
    file = write(tmp_path / "list.csv", **rows, kind=["static", "static", "plastic", "plastic"])
    notes = " ".join(make(connectivity=[file]).notes)
    assert "68 of 70" in notes  # plastic: onto 3 and 6
    assert "66 of 70" in notes  # static: 0, 1, 3 and 4
    everyone = {"rule": "fixed-in-degree", "parameters": {"degree": 2}, "weight": 0.0}
    assert not make(connectivity=[everyone, everyone | {"kind": "plastic"}]).notes


def test_a_matrix_of_more_neurons_than_it_connects_is_refused(tmp_path: Path, refused: Refused) -> None:
    matrix = sparse.csr_array(([1.0], ([3], [0])), shape=(71, 70))
    sparse.save_npz(tmp_path / "matrix.npz", matrix)
    for rows, sizes in (("post", "70 presynaptic and 71"), ("pre", "71 presynaptic and 70")):
        with refused(ConnectivityError, "matrix.npz", sizes):
            read({"file": str(tmp_path / "matrix.npz"), "rows": rows})


def test_duplicates_are_summed_on_request(tmp_path: Path, refused: Refused) -> None:
    columns = {"pre": [1, 2, 1, 1], "post": [3, 3, 3, 3], "weight": [1.0, 2.0, 4.0, 8.0]}
    file = write(tmp_path / "list.csv", **columns, delay_ms=[0.1, 0.1, 0.1, 0.2])
    with refused(ConnectivityError, "list.csv", "edges 1 and 3", "pre = 1", "post = 3"):
        read(file)
    alike = write(tmp_path / "alike.csv", pre=[1, 2], post=[3, 3], weight=[1.0, 2.0])  # no duplicates
    for duplicates in ("refuse", "sum"):
        assert listing(read({"file": alike, "duplicates": duplicates})) == [(1, 3, 1.0, 1), (2, 3, 2.0, 1)]
    assert listing(read({"file": file, "duplicates": "sum"})) == [(1, 3, 5.0, 1), (1, 3, 8.0, 2), (2, 3, 2.0, 1)]


BAD_COLUMNS: list[tuple[dict[str, Any], dict[str, Any], list[Any]]] = [
    ({"pre": [0, 70]}, {}, ["edge 2", "pre = 70", 69]),
    ({"post": [-1, 4]}, {}, ["edge 1", "post = -1", 69]),
    ({"post": [1.5, 4]}, {}, ["edge 1", "post = 1.5", "whole"]),
    ({"pre": [0, None]}, {}, ["edge 2", "pre = nan"]),
    ({"pre": ["0", "x"]}, {}, ["edge 2", "pre = 'x'"]),
    ({"pre": [0, 35]}, {"source": "excitatory"}, ["edge 2", "pre = 35", "excitatory", 34]),
    ({"pre": [0, 4]}, {}, ["edge 2", "pre = 4", "self_loops"]),
    ({"weight": [1.0, np.nan]}, {}, ["edge 2", "weight = nan"]),
    ({"weight": [np.inf, 1.0]}, {}, ["edge 1", "weight = inf"]),
    ({"weight": [1.0, -0.5]}, {}, ["edge 2", "weight = -0.5"]),
    ({}, {"scale": -1.0}, ["edge 1", "weight = 1.0"]),
    ({"delay_ms": [0.1, 0.0]}, {}, ["edge 2", "delay_ms = 0.0", 255]),
    ({"delay_ms": [0.1, 1000.0]}, {}, ["edge 2", "delay_ms = 1000.0", 255]),
    ({"delay_ms": [0.1, 0.25]}, {}, ["edge 2", "delay_ms = 0.25", "round_delays"]),
    ({"delay_ms": [0.1, 0.04]}, {"round_delays": True}, ["edge 2", "delay_ms = 0.04"]),
    ({"delay_ms": [0.1, np.nan]}, {}, ["edge 2", "delay_ms = nan"]),
    ({"kind": ["static", "Plastic"]}, {}, ["edge 2", "kind = 'Plastic'"]),
]


@pytest.mark.parametrize(("columns", "settings", "named"), BAD_COLUMNS)
def test_bad_edges_are_refused(
    tmp_path: Path, refused: Refused, columns: dict[str, Any], settings: dict[str, Any], named: list[Any]
) -> None:
    file = write(tmp_path / "list.csv", **{"pre": [0, 1], "post": [3, 4], "weight": [1.0, 1.0]} | columns)
    with refused(ConnectivityError, "list.csv", *named):
        read({"file": file} | settings)


def test_numbers_of_synapses_that_tables_replace_need_not_fit(
    tmp_path: Path, tiny: dict[str, Any], refused: Refused
) -> None:
    columns: dict[str, Any] = {
        "pre": [0, 1, tiny["network.neurons"] - 1],
        "post": [3, 4, 5],
        "weight": [0.1, 0.1, -0.1],
    }
    file = write(tmp_path / "both.csv", **columns, kind=["static", "plastic", "plastic"])
    wide = tiny | {"network.K": tiny["network.neurons"], "network.L": tiny["network.neurons"]}
    training = prepare(load_experiment("smoke", overrides=wide | {"connectivity": [{"file": file}]}), "numpy-full")
    assert training.problem.plastic.degree.sum() == 2
    static = write(tmp_path / "static.csv", **columns)
    with refused(ConfigurationError, "network.L", tiny["network.neurons"]):
        prepare(load_experiment("smoke", overrides=wide | {"connectivity": [{"file": static}]}), "numpy-full")
    with refused(ConfigurationError, "network.K"):
        load_experiment("smoke", overrides=wide | {"connectivity": [{"file": static, "kind": "plastic"}]})


def test_delays_are_rounded_on_request(tmp_path: Path) -> None:
    file = write(tmp_path / "list.csv", pre=[0, 1], post=[3, 4], weight=[1.0, 1.0], delay_ms=[0.06, 0.24])
    assert [edge[3] for edge in listing(read({"file": file, "round_delays": True}))] == [1, 2]


def test_bad_files_are_refused(tmp_path: Path, refused: Refused) -> None:
    with refused(ConnectivityError, "missing.csv", "No such file"):
        read(str(tmp_path / "missing.csv"))
    for name in ("list.csv", "list.parquet"):
        with refused(ConnectivityError, name, "no column post", "'pre', 'target'"):
            read(write(tmp_path / name, pre=[1], target=[2]))
    for name in ("named.csv", "named.parquet"):
        with refused(ConnectivityError, name, "column delay", "delay_ms"):
            read(write(tmp_path / name, pre=[1], post=[2], weight=[1.0], delay=[0.3]))
    with refused(ConnectivityError, "list.csv", "connectivity.0.weight"):
        read(write(tmp_path / "list.csv", pre=[1], post=[2]))
    (tmp_path / "bare.csv").write_text("0,17,0.2\n1,17,2e-1\n")
    with refused(ConnectivityError, "bare.csv", "no header", "pre,post"):
        read(str(tmp_path / "bare.csv"))
    (tmp_path / "empty.csv").write_text("")
    with refused(ConnectivityError, "empty.csv", "no column pre", "none"):
        read(str(tmp_path / "empty.csv"))
    sparse.save_npz(tmp_path / "matrix.npz", sparse.csr_array(np.eye(3)))
    with refused(ConnectivityError, "matrix.npz", "rows = pre", "rows = post"):
        read(str(tmp_path / "matrix.npz"))
    np.savez(tmp_path / "arrays.npz", a=np.eye(3))
    with refused(ConnectivityError, "arrays.npz", "save_npz"):
        read({"file": str(tmp_path / "arrays.npz"), "rows": "pre"})
    for name, magic in (("broken.h5", b"\x89HDF"), ("broken.parquet", b"PAR1"), ("broken.npz", b"PK\x03\x04")):
        (tmp_path / name).write_bytes(magic + b"x" * 40)
        with refused(ConnectivityError, name):
            read({"file": str(tmp_path / name)} | ({"rows": "pre"} if "npz" in name else {}))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["rates"] = np.eye(3)
    with refused(ConnectivityError, "other.h5", "none"):
        read(str(tmp_path / "other.h5"))


def test_a_run_keeps_the_path_and_the_digest_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    file = write(tmp_path / "list.csv", pre=[0, 1], post=[3, 4], weight=[1.0, 1.0])
    monkeypatch.chdir(tmp_path)
    e = with_digests(network(connectivity=["list.csv"]))
    assert e.connectivity[0].file == file
    assert e.connectivity[0].digest == hashlib.sha256(Path(file).read_bytes()).hexdigest()
    assert with_digests(e) == e
    write(tmp_path / "list.csv", pre=[0, 1], post=[3, 5], weight=[1.0, 1.0])
    with refused(ConnectivityError, "connectivity.0.file", "list.csv", e.connectivity[0].digest[:12]):
        with_digests(e)


# Rules of others


def test_the_rule_of_the_documentation(monkeypatch: pytest.MonkeyPatch, refused: Refused) -> None:
    page = Path(__file__).resolve().parents[1] / "docs" / "connectivity.md"
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0], space)
    rule = space["Neighbours"]
    check_rule(rule())
    own = plugins.registered
    classes = {"neighbours": rule, "dictionary": dict}
    found = {name: [SimpleNamespace(name=name, load=lambda name=name: classes[name])] for name in classes}
    monkeypatch.setattr(plugins, "registered", lambda group: own(group) | (found if group == GROUP else {}))
    edges = drawn({"rule": "neighbours", "weight": 0.0})
    assert np.array_equal(edges.rows() + 1, edges.index)
    assert len(edges.index) == 69
    with refused(ConfigurationError, "connectivity.0.rule", "dictionary"):
        drawn({"rule": "dictionary", "weight": 0.0})


@pytest.mark.parametrize("rule", rule_names())
def test_shipped_rules_pass_the_check(rule: str) -> None:
    check_rule(make_rule(rule, PARAMETERS[rule], "key"))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (lambda e, first: e._replace(index=(e.index + first) % 49), "join"),
        (lambda e, first: e._replace(index=e.index[::-1]), "join"),
        (lambda e, first: e._replace(index=e.index.reshape(-1, 7)[:, ::-1].ravel()), "ascend"),
        (lambda e, first: e._replace(index=e.index + 60), "no neuron"),
        (lambda e, first: e._replace(index=np.tile(np.arange(7), len(e.start) - 1)), "itself"),
        (lambda e, first: Edges(e.start * 0, e.index[:0]), "expected"),
    ],
)
def test_the_check_finds_what_is_wrong(wrong: Any, named: str, refused: Refused) -> None:
    class Wrong(FixedOutDegree):
        def draw(self, between: Between, first: int, last: int) -> Edges:
            return wrong(super().draw(between, first, last), first)

    with refused(ValueError, named):
        check_rule(Wrong(7))
