"""Which neurons and which plastic inputs learn; all others keep their weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rlsbench import load_experiment, prepare
from rlsbench.errors import ConfigurationError
from rlsbench.training import Training

SMALL = {"network.neurons": 64, "network.K": 16, "network.L": 6, "stimulus.on_ms": 0.0, "stimulus.off_ms": 20.0}
SMALL |= {"time.train_duration_ms": 100.0, "training.average_from_ms": 20.0, "external.scale": 0.4}


def trained(backend: str = "numpy-full", **learning: Any) -> tuple[Training, Any]:
    """A training of two iterations, and which weights it changed, (N, n)."""
    changes = SMALL | {"feedforward.LX": 3, "feedforward.mu_hz": 100.0}
    e = load_experiment("smoke", overrides=changes | {f"learning.{key}": value for key, value in learning.items()})
    training = prepare(e, backend)
    before = training.weights()
    list(training.run(2))
    return training, training.weights() != before


COLUMNS = {"feedforward": slice(0, 3), "excitatory": slice(3, 9), "inhibitory": slice(9, 15)}


@pytest.mark.parametrize("backend", ["reference", "numpy-packed", "numba"])
@pytest.mark.parametrize("inputs", [["excitatory"], ["feedforward"], ["inhibitory", "feedforward"]])
def test_inputs_that_do_not_learn_keep_their_weights(inputs: list[str], backend: str) -> None:
    training, moved = trained(backend, inputs=inputs)
    for kind, columns in COLUMNS.items():
        assert moved[:, columns].mean() > 0.9 if kind in inputs else not moved[:, columns].any()
    P = training.trainer.state().full()
    fixed = ~training.problem.learning.learns(training.problem.plastic)
    assert not P[:, fixed].any()


def test_the_inputs_that_learn_find_the_ridge_solution_with_the_others_fixed() -> None:
    """P of the inputs that learn is the inverse of their part of P_inv0."""
    training, _ = trained(inputs=["excitatory", "inhibitory"])
    rule, plastic = training.problem.learning, training.problem.plastic
    P, inverse = rule.initial_P(plastic), rule.initial_inverse(plastic)
    np.testing.assert_allclose(P[3:, 3:] @ inverse[3:, 3:], np.eye(12), atol=1e-12)


def test_a_population_that_does_not_learn_keeps_its_weights() -> None:
    training, moved = trained(neurons=["inhibitory"])
    Ne = training.problem.populations[0].size
    assert not moved[:Ne].any()
    assert moved[Ne:].mean() > 0.9
    assert training.problem.targets is not None
    assert training.problem.targets.partial


def test_single_neurons_and_ranges_learn() -> None:
    training, moved = trained(neurons=["0:3", "40", "60:64"])
    learns = np.zeros(64, bool)
    learns[[0, 1, 2, 40, 60, 61, 62, 63]] = True
    assert not moved[~learns].any()
    assert moved[learns].any()
    by_mask, _ = trained(neurons=learns)
    np.testing.assert_array_equal(by_mask.weights(), training.weights())
    assert by_mask.experiment.learning.neurons == ("0:3", "40:41", "60:64", "of 64")


@pytest.mark.parametrize(
    ("neurons", "value"),
    [(np.ones(63, bool), "63"), (np.zeros(64, bool), "of 64"), (["60:65"], "60:65"), (["64"], "64"), (["5:5"], "5:5")],
)
def test_neurons_that_the_network_lacks_are_refused(neurons: Any, value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"learning\.neurons") as caught:
        trained(neurons=neurons)
    assert value in str(caught.value)
