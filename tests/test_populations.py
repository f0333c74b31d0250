"""Populations of one's own: their configuration, and networks of any number of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats

from rlsbench import load_experiment, prepare
from rlsbench.configuration import changed, parse_assignments, to_toml
from rlsbench.errors import ConfigurationError
from rlsbench.network import Background, Populations, external_current, populations_of
from rlsbench.results.document import configuration_hash, run_document
from rlsbench.training.evaluation import evaluate

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Refused

    from rlsbench import Training

    Make = Callable[..., Training]

THREE = [
    {"name": "L4e", "size": 30, "sign": 1},
    {"name": "L4i", "size": 14, "sign": "inhibitory", "external": 2.5},
    {"name": "L5e", "size": 26, "sign": "excitatory"},
]


def three(**changes: Any) -> list[dict[str, Any]]:
    """`THREE` with some keys of the first changed."""
    return [THREE[0] | changes, *THREE[1:]]


def test_a_file_of_populations(tmp_path: Path, tiny: dict[str, Any]) -> None:
    """N follows the sizes, unless it is told; other sizes follow N."""
    file = tmp_path / "own.toml"
    tables = [f'[[populations]]\nname = "{p["name"]}"\nsize = {p["size"]}\nsign = {p["sign"]!r}\n' for p in THREE]
    file.write_text("\n".join(tables) + "\n[network.weights]\nL4e = { L5e = 0.5 }\n")
    e = load_experiment("smoke", config=file, overrides={k: v for k, v in tiny.items() if k != "network.neurons"})
    assert e.network.neurons == 70
    assert [(p.name, p.size, p.sign) for p in e.populations] == [("L4e", 30, 1), ("L4i", 14, -1), ("L5e", 26, 1)]
    assert e.network.weights == {"L4e": {"L5e": 0.5}}
    larger = changed(e, {"network.neurons": 7000})
    assert [p.size for p in larger.populations] == [3000, 1400, 2600]
    assert sum(p.size for p in changed(e, {"network.neurons": 101}).populations) == 101
    assert changed(larger, {"populations": THREE}).network.neurons == 70
    file.write_text(to_toml(e))
    assert load_experiment("smoke", config=file) == e
    file.write_text("\n".join(tables) + "\n[network]\nneurons = 300\n")
    for overrides in ({}, {"training.seed": 2}):
        with pytest.raises(ConfigurationError, match=r"network\.neurons = 300.*70"):
            load_experiment("smoke", config=file, overrides=overrides)
    file.write_text(to_toml(e))
    assert configuration_hash(larger) != configuration_hash(e)
    on_the_line = parse_assignments(['populations=[{name="e", size=8, sign=1}, {name="i", size=2, sign=-1}]'])
    few = load_experiment("smoke", overrides=on_the_line | {"network.K": 2, "network.L": 2})
    assert few.network.neurons == 10
    assert populations_of(few).members(-1).tolist() == [8, 9]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"populations": THREE, "network.neurons": 71}, ("network.neurons", 71, 70)),
        ({"populations": three(name="L5e")}, ("populations.2.name", "L5e")),
        ({"populations": three(name="3a")}, ("populations.0.name", "3a")),
        ({"populations": three(name="excitatory")}, ("populations.0.name", "excitatory")),
        ({"populations": three(sign=0)}, ("populations.0.sign", 0)),
        ({"populations": three(size=0)}, ("populations.0.size", 0)),
        ({"populations": three(sise=3)}, ("populations.0.sise", "size")),
        ({"populations": three(external="x")}, ("populations.0.external", "x")),
        ({"populations": [{"name": "a", "sign": 1}]}, ("populations.0.size",)),
        ({"populations": 3}, ("populations", 3)),
        ({"populations": THREE, "network.L": 15}, ("network.L", 15, 14)),
        ({"populations": THREE, "learning.neurons": ["L4x"]}, ("learning.neurons", "L4x", "L4e, L4i, L5e")),
        ({"learning.neurons": ["L4e"]}, ("learning.neurons", "L4e")),
        ({"populations": THREE, "network.weights": {"L4e": {"x": 1}}}, ("network.weights", "x", "L4e, L4i, L5e")),
        ({"populations": THREE, "network.weights": {"x": {"L4e": 1}}}, ("network.weights", "x")),
        ({"populations": THREE, "network.weights": {"L4i": {"L4e": 1.5}}}, ("network.weights.L4i.L4e", 1.5)),
        ({"network.weights": [[1, 2, 3], [-1, -2, -3]]}, ("network.weights", 3)),
        ({"populations": three(background_hz=5)}, ("populations.0.background_weight", 0)),
        ({"populations": three(background_hz=5e6, background_weight=1)}, ("populations.0.background_hz", "5e+06")),
    ],
)
def test_bad_populations(changes: dict[str, Any], named: tuple[object, ...], tiny: Any, refused: Refused) -> None:
    settings = {k: v for k, v in tiny.items() if k != "network.neurons" or "populations" not in changes}
    with refused(ConfigurationError, *named) as caught:
        load_experiment("smoke", overrides=settings | changes)
    assert "\n" not in str(caught.value)


def test_weights_and_currents_by_population(make: Make) -> None:
    problem = make(**{"populations": THREE, "network.weights": {"L4e": {"L5e": 0.5}, "L4i": {"L4i": 0.0}}}).problem
    s = 2 * 10.0 / np.sqrt(8)
    own = np.array([[0.15, 1, 0.5], [-0.75, 0, -0.75], [0.15, 1, 0.15]]) * s
    np.testing.assert_allclose(problem.static.weights, own)
    jx = 0.4 * np.sqrt(8)
    np.testing.assert_allclose(problem.external_current, np.repeat([1.5, 2.5, 1.5], [30, 14, 26]) * jx)
    assert problem.required_features >= {"populations"}
    assert problem.plastic.signs.tolist() == [1] * 6 + [-1] * 6
    sources = problem.plastic.sources(problem.seed)
    assert problem.populations.excitatory(sources).tolist() == [[True] * 6 + [False] * 6] * 70
    matrix = changed(make(populations=THREE).experiment, {"network.weights": own.tolist()})
    assert matrix.network.weights == tuple(map(tuple, own.tolist()))
    assert external_current(matrix, problem.populations).tolist() == problem.external_current.tolist()


def test_background_spikes_are_poisson() -> None:
    """By population, the same for any range of neurons, and never without a rate."""
    populations = Populations.of([("a", 700, 1), ("none", 300, -1), ("b", 500, -1)])
    background = Background(populations, (0.3, 0.0, 2.5), (1.5, 0.0, -2.0))
    counts = background.counts(3, 7, np.arange(1, 101), 0, 1500)
    assert counts[:, 700:1000].max() == 0
    for part, mean in ((counts[:, :700], 0.3), (counts[:, 1000:], 2.5)):
        expected = stats.poisson.pmf(np.arange(30), mean) * part.size
        kept = np.flatnonzero(expected > 20)
        observed = np.bincount(part.ravel(), minlength=30)[kept]
        rest = part.size - observed.sum(), part.size - expected[kept].sum()
        assert stats.chisquare([*observed, rest[0]], [*expected[kept], rest[1]]).pvalue > 1e-3
    np.testing.assert_array_equal(background.counts(3, 7, 5, 650, 1203), counts[4, 650:1203])
    in_E, in_I = background.arriving(3, 7, 5)
    np.testing.assert_array_equal(in_E, np.where(np.arange(1500) < 700, 1.5 * counts[4], 0))
    np.testing.assert_array_equal(in_I, np.where(np.arange(1500) >= 1000, -2.0 * counts[4], 0))


@pytest.mark.parametrize("backend", ["reference", "numpy-packed", "numba"])
def test_background_currents(make: Make, backend: str) -> None:
    """Without synapses: shot noise, whose mean is weight times rate."""
    own = [
        {"name": "e", "size": 40, "sign": 1, "background_hz": 4000, "background_weight": 0.2},
        {"name": "i", "size": 30, "sign": -1, "background_hz": 1000, "background_weight": -0.5},
    ]
    settings = {"populations": own, "network.K": 0, "network.L": 2, "training.average_from_ms": 20.0}
    training = make(backend, **settings, **{"time.train_duration_ms": 200.0})
    assert training.problem.required_features >= {"background", "populations"}
    assert training.problem.has_static
    e, i = slice(0, 40), slice(40, 70)
    for some, weight, per_ms in ((e, 0.2, 4.0), (i, -0.5, 1.0)):
        assert training.initial.mean_current[some].mean() == pytest.approx(weight * per_ms, rel=0.05)
        shot = abs(weight) * np.sqrt(per_ms / (2 * 3.0))
        assert training.initial.std_current[some].mean() == pytest.approx(shot, rel=0.1)


def test_neurons_by_population(make: Make, tiny: dict[str, Any], refused: Refused) -> None:
    own = [THREE[0], THREE[1] | {"neuron": {"tau_m_ms": 20.0, "jump1": -0.5}}, THREE[2] | {"neuron": {"jump1": 0.3}}]
    settings = {"populations": own, "neuron.model": "glif3", "neuron.parameters": {"jump1": -0.1, "jump2": 0.2}}
    neuron = make(**settings).problem.neuron
    assert set(neuron.varying) == {"tau_m_ms", "jump1"}
    np.testing.assert_array_equal(neuron.tau_m_ms, np.repeat([10.0, 20.0, 10.0], [30, 14, 26]))
    np.testing.assert_array_equal(neuron.values["jump1"], np.repeat([-0.1, -0.5, 0.3], [30, 14, 26]))
    assert neuron.values["jump2"] == 0.2
    for wrong, named in (({"tau": 3.0}, "tau"), ({"tau_m_ms": -1.0}, "tau_m_ms")):
        with refused(ConfigurationError, "populations", named):
            make(populations=three(neuron=wrong))


def test_rates_become_currents_by_population(tiny: dict[str, Any]) -> None:
    """Each with the parameters of its own neurons, and the fluctuations of its own currents."""
    rates = np.full((20, 40), 20.0)
    own = [{"name": "a", "size": 20, "sign": 1}, {"name": "b", "size": 20, "sign": -1, "neuron": {"threshold": 2.0}}]
    e = load_experiment(
        "smoke", overrides={k: v for k, v in tiny.items() if k != "network.neurons"} | {"populations": own}
    )
    currents = prepare(e, "numpy-packed", recording=rates).problem.targets.matrix(0)
    apart = currents[:, 20:] + 0.4 * np.sqrt(8) - (currents[:, :20] + 1.5 * 0.4 * np.sqrt(8))
    assert apart.min() > 0.5
    assert np.ptp(currents[:, :20]) < 1e-9


def test_the_published_network_by_hand(make: Make) -> None:
    """With the published sizes and weights: the same bits, and no new feature."""
    halves = [{"name": "excitatory", "size": 35, "sign": 1}, {"name": "inhibitory", "size": 35, "sign": -1}]
    published = make()
    own = make(**{"populations": halves, "network.weights": [[0.15, 1.0], [-0.75, -1.0]]})
    assert own.problem.required_features == published.problem.required_features
    for training in (own, published):
        list(training.run(2))
    assert own.weights().tolist() == published.weights().tolist()
    assert own.iterations[-1].population_rates_hz == {}
    assert "firing_rate_hz_excitatory" not in published.learning_curve()


def test_measurements_by_population(make: Make) -> None:
    training = make(**{"populations": THREE, "learning.neurons": ["L5e", "inhibitory"], "training.maxrate_hz": 1.0})
    assert np.flatnonzero(~np.isnan(training.problem.targets.row(0, 0))).tolist() == [*range(30, 70)]
    (last,) = training.run(1)
    counts, seconds = training.last_record.spike_counts, training.problem.clock.seconds
    expected = {"L4e": counts[:30], "L4i": counts[30:44], "L5e": counts[44:]}
    assert last.population_rates_hz == {name: pytest.approx(own.mean() / seconds) for name, own in expected.items()}
    curve = training.learning_curve()
    assert curve.firing_rate_hz_L5e.tolist() == [last.population_rates_hz["L5e"]]
    document = run_document(training)
    assert document.iterations[0].population_rates_hz == last.population_rates_hz
    spontaneous, rates = document.spontaneous_rate_hz, training.initial.rates_hz
    assert spontaneous.populations == {
        "L4e": pytest.approx(rates[:30].mean()),
        "L4i": pytest.approx(rates[30:44].mean()),
        "L5e": pytest.approx(rates[44:].mean()),
    }
    assert spontaneous.excitatory == pytest.approx(np.delete(rates, np.arange(30, 44)).mean())
    assert [*training.recorded_neurons()] == [*range(70)]


def test_scores_by_population(make: Make) -> None:
    training = make(**{"populations": THREE, "learning.neurons": ["L5e"]})
    list(training.run(1))
    found = evaluate(training, 2, smoothing_bins=1)
    told, rows = found.summary()["populations"], found.neurons
    assert list(told) == ["L4e", "L4i", "L5e"]
    for name, part in (("L4e", slice(0, 30)), ("L4i", slice(30, 44)), ("L5e", slice(44, 70))):
        assert set(rows.population[part]) == {name}
        assert told[name]["rate_hz"] == pytest.approx(rows.rate_hz[part].mean())
    assert told["L4e"]["current_correlation"] is None
    assert told["L5e"]["current_correlation"] == pytest.approx(rows.current_correlation[44:].mean())


def test_recorded_neurons_go_to_populations_that_learn(tiny: dict[str, Any], refused: Refused) -> None:
    """In proportion to their sizes; the others are not trained, and their number is not told."""
    rates = np.random.default_rng(1).uniform(5, 30, (20, 20))
    settings = {k: v for k, v in tiny.items() if k != "network.neurons"} | {"populations": THREE}
    e = load_experiment("smoke", overrides=settings | {"learning.neurons": ["L4i", "L5e"]})
    training = prepare(e, "numpy-packed", recording=rates)
    assert training.experiment.network.neurons == 70
    assert training.experiment.targets.untrained == 50
    followed = [*range(30, 37), *range(44, 57)]
    assert np.flatnonzero(~np.isnan(training.problem.targets.row(0, 0))).tolist() == followed
    np.testing.assert_array_equal(training.recorded_rates(0)[:, followed], rates)
    with refused(ConfigurationError, 41, 40, "learning.neurons"):
        prepare(e, "numpy-packed", recording=np.ones((20, 41)))
    with refused(ConfigurationError, "targets.untrained", 7, 50):
        prepare(changed(e, {"targets.untrained": 7}), "numpy-packed", recording=rates)


def test_populations_of_one_sign(make: Make) -> None:
    """No inhibitory neurons, so no inhibitory inputs to draw: only feed-forward inputs learn."""
    settings = {"populations": [{"name": "E", "size": 70, "sign": 1}], "network.L": 0, "feedforward.LX": 3}
    training = make(**settings)
    list(training.run(1))
    assert run_document(training).spontaneous_rate_hz.inhibitory is None
    assert training.problem.populations.published is False
