"""Frozen trials as objects of Pynapple and Neo, and synapses as matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rlsbench import Training
from rlsbench.errors import RlsbenchError
from rlsbench.training import objects
from rlsbench.training.evaluation import Evaluation, evaluate

pytestmark = pytest.mark.xdist_group("analysis")


@pytest.fixture(scope="module")
def trained(tiny: dict[str, Any]) -> Training:
    from rlsbench import load_experiment, prepare

    training = prepare(load_experiment("smoke", overrides=tiny | {"targets.tasks": 2}), "numpy-packed")
    for _ in training.run(2):
        pass
    return training


@pytest.fixture(scope="module")
def found(trained: Training) -> Evaluation:
    return evaluate(trained, 3, keep_spikes=True, silence="60:70")


def test_spikes_of_all_trials_are_kept_on_request(trained: Training, found: Evaluation) -> None:
    assert [len(trials) for trials in found.trial_spikes] == [3, 3]
    first = evaluate(trained, 3, silence="60:70")
    assert [len(trials) for trials in first.trial_spikes] == [1, 1]
    for some, one in zip(found.spikes, first.spikes, strict=True):
        np.testing.assert_array_equal(np.stack(some), np.stack(one))


def test_pynapple_has_the_spikes_of_each_trial_and_the_labels(found: Evaluation) -> None:
    pytest.importorskip("pynapple")
    made = found.to_pynapple(task=1)
    assert made.trials.task.tolist() == [1, 1, 1]
    assert made.spikes.population.tolist() == ["excitatory"] * 35 + ["inhibitory"] * 35
    assert made.spikes.silenced.tolist() == [False] * 60 + [True] * 10
    assert made.rates.t[-1] == pytest.approx(0.05)
    np.testing.assert_array_equal(made.rates.d, found.rates_hz[1])
    np.testing.assert_array_equal(made.currents.d, found.currents[1])
    for trial, train in enumerate(found.trial_spikes[1]):
        start, end = made.trials.start[trial], made.trials.end[trial]
        assert end - start == pytest.approx(0.05)
        inside = [made.spikes[neuron].restrict(made.trials[trial]).t - start for neuron in range(70)]
        neuron = np.repeat(np.arange(70), [len(times) for times in inside])
        order = np.lexsort((train.step, train.neuron))
        np.testing.assert_array_equal(neuron, train.neuron[order])
        np.testing.assert_allclose(np.concatenate(inside), train.step[order] * 1e-4, atol=1e-8)


def test_neo_has_the_spikes_of_each_trial_and_the_labels(found: Evaluation) -> None:
    pytest.importorskip("neo")
    block = found.to_neo()
    kept = [(task, trial, train) for task in range(2) for trial, train in enumerate(found.trial_spikes[task])]
    for segment, (task, trial, train) in zip(block.segments, kept, strict=True):
        assert segment.annotations == {"task": task, "trial": trial}
        assert float(segment.epochs[0].times[0].rescale("s")) == pytest.approx(0.01)
        assert float((segment.epochs[0].times + segment.epochs[0].durations)[0].rescale("s")) == pytest.approx(0.05)
        assert len(segment.spiketrains) == 70
        for neuron, spikes in enumerate(segment.spiketrains):
            np.testing.assert_allclose(spikes.rescale("s").magnitude, train.step[train.neuron == neuron] * 1e-4)
            assert spikes.annotations["neuron"] == neuron
            assert spikes.annotations["population"] == ("excitatory" if neuron < 35 else "inhibitory")


@pytest.mark.parametrize("call", ["to_pynapple", "to_neo"])
def test_libraries_that_are_not_installed_are_named(
    call: str, found: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(objects, "import_module", missing)
    with pytest.raises(RlsbenchError, match=r"rlsbench\[analysis\]"):
        getattr(found, call)()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"feedforward.LX": 3, "feedforward.mu_hz": 5.0},
        {
            "connectivity": [
                {
                    "kind": "static",
                    "source": "excitatory",
                    "rule": "bernoulli",
                    "parameters": {"probability": 0.1},
                    "weight": 0.5,
                },
                {
                    "kind": "plastic",
                    "rule": "lognormal-in-degree",
                    "parameters": {"mean": 8, "sigma": 0.5, "low": 2, "high": 20},
                },
            ]
        },
    ],
    ids=["published", "feedforward", "tables"],
)
def test_matrices_have_the_weight_of_each_synapse(changes: dict[str, Any], make: Callable[..., Training]) -> None:
    """W @ s is what spikes s add to the currents, by the definition of sources and targets."""
    p = make(**changes).problem
    rng = np.random.default_rng(1)
    spikes = rng.integers(0, 5, p.neurons).astype(float)
    sources = p.plastic.sources(p.seed)
    w = rng.normal(size=(p.neurons, p.n))
    recurrent = np.where(sources >= 0, w[:, p.plastic.feedforward :] * spikes[sources], 0.0).sum(axis=1)
    np.testing.assert_allclose(p.plastic_matrix(w) @ spikes, recurrent, atol=1e-12)
    initial = np.broadcast_to(p.plastic.initial_weights, w.shape)
    np.testing.assert_array_equal(p.plastic_matrix().toarray(), p.plastic_matrix(initial).toarray())
    edges, expected = p.static_edges(), np.zeros(p.neurons)
    assert edges.weight is not None
    np.add.at(expected, edges.index, edges.weight * spikes[edges.rows()])
    np.testing.assert_allclose(p.static_matrix() @ spikes, expected, atol=1e-12)
    assert p.static_matrix().nnz
