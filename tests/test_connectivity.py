"""Synapses by rule and from files, with delays: what is drawn, read and delivered, and refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rlsbench import load_experiment
from rlsbench.backend import Options, Sizes, get_backend
from rlsbench.conformance.subjects import _PLAIN, problem
from rlsbench.connectivity import Between, projections_of
from rlsbench.connectivity.rules import SHIPPED, make_rule
from rlsbench.errors import ConfigurationError
from rlsbench.network import Populations, populations_of
from rlsbench.network.edges import Edges, Part, gather

Refused = Any

PARAMETERS: dict[str, dict[str, Any]] = {
    "fixed-out-degree": {"degree": 7},
    "fixed-in-degree": {"degree": 7},
    "bernoulli": {"probability": 0.2},
    "distance": {"probability": 0.5, "width": 0.2},
}
THREE = Populations.of((("a", 40, 1), ("b", 30, -1), ("c", 50, 1)))


def table(rule: str, **changes: Any) -> dict[str, Any]:
    return {"rule": rule, "parameters": PARAMETERS[rule], "weight": 0.0} | changes


def drawn(*tables: dict[str, Any], **overrides: Any) -> Edges:
    return problem(connectivity=list(tables), **overrides).static_edges()


@pytest.mark.parametrize("rule", SHIPPED)
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


@pytest.mark.parametrize("rule", SHIPPED)
@pytest.mark.parametrize("self_loops", [False, True])
def test_no_neuron_is_connected_to_itself_unless_asked(rule: str, self_loops: bool) -> None:
    parameters = PARAMETERS[rule] | {"probability": 1.0} if "probability" in PARAMETERS[rule] else {"degree": 39}
    made = make_rule(rule, parameters, "key")
    edges = made.draw(Between(1, 0, THREE[0], THREE[0], self_loops), 0, 40)
    assert (edges.rows() == edges.index).any() == self_loops
    if rule == "bernoulli":
        assert len(edges.index) == 40 * (39 + self_loops)


def test_fixed_degrees() -> None:
    assert set(np.diff(drawn(table("fixed-out-degree")).start)) == {7}
    assert set(np.bincount(drawn(table("fixed-in-degree")).index)) == {7}


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


@pytest.mark.parametrize("backend", ["numpy-packed"])
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
    for name in ("reference", "numpy-full"):
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


def test_sizes_are_those_of_the_problem() -> None:
    e = load_experiment("smoke", overrides=_PLAIN | {"connectivity": MIXED})
    p = problem(connectivity=MIXED)
    sizes = Sizes.of_experiment(e)
    assert sizes == Sizes.of_problem(p)
    assert (sizes.outputs, sizes.longest_delay) == (0, 20)
    assert sizes.static_edges == pytest.approx(len(p.static_edges().index), rel=0.05)
    assert projections_of(e, populations_of(e), "plastic") is None


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
    ({"kind": "plastic", "delay_ms": 0.2}, "connectivity.0.delay_ms", 0.2),
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
]


@pytest.mark.parametrize(("changes", "key", "value"), BAD)
def test_bad_tables_are_refused(refused: Refused, changes: dict[str, Any], key: str, value: Any) -> None:
    with refused(ConfigurationError, key, value):
        e = load_experiment("smoke", overrides=_PLAIN | {"connectivity": [table("bernoulli") | changes]})
        Sizes.of_experiment(e)
