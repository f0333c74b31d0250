"""A penalty that grows with the data, and forgetting: against the closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from rlsbench import load_experiment, prepare
from rlsbench.backend import Options, get_backend
from rlsbench.conformance.subjects import problem
from rlsbench.rules.rls import VISITED


def trainer_of(backend: str, **learning: float) -> Any:
    p = problem(**{f"learning.{key}": value for key, value in learning.items()})
    return get_backend(backend).trainer(p, Options("float64", "float64", "full", algorithm="auto"))


def renew_penalty(trainer: Any, iteration: int) -> None:
    trainer.renew(*trainer.problem.learning.renewal(iteration, trainer.problem.plastic))


@pytest.mark.parametrize("backend", ["reference", "numpy-full", "numba"])
def test_growth_and_forgetting_match_the_closed_form(backend: str) -> None:
    """After visits to all inputs, P^-1 = phi^t P_inv0 + what was added; w is the ridge solution."""
    growth, phi = 0.3, 0.9
    trainer = trainer_of(backend, lambda_growth=growth, forgetting=phi, mu=0.5)
    p = trainer.problem
    n, w0 = p.n, np.asarray(p.plastic.initial_weights)
    rng = np.random.default_rng(1)
    inverse, moment = p.learning.initial_inverse(p.plastic), np.zeros(n)
    inverse, moment = np.tile(inverse, (p.neurons, 1, 1)), np.tile(moment, (p.neurons, 1))
    for iteration in range(1, 5):
        x, f = rng.normal(size=(p.neurons, n)), rng.normal(size=p.neurons)
        trainer.rls_update(x, np.zeros(p.neurons), f)
        renew_penalty(trainer, iteration)
        inverse += x[:, :, None] * x[:, None, :]
        moment += x * (x @ w0 - f)[:, None]
        inverse, moment = phi * inverse, phi * moment
        for position in range((iteration - 1) * VISITED, iteration * VISITED):
            inverse[:, position % n, position % n] += (growth + (1 - phi) * p.learning.lambda_plastic) * n / VISITED
    P, state = np.linalg.inv(inverse), trainer.state()
    assert_allclose(state.full(), P, rtol=1e-9, atol=1e-12)
    assert_allclose(state.w, w0 - np.einsum("cij,cj->ci", P, moment), rtol=1e-9, atol=1e-12)


def test_all_inputs_are_visited_alike() -> None:
    visits: list[int] = []
    trainer = trainer_of("numpy-full", lambda_growth=0.1)
    trainer.penalize = lambda column, strength: visits.append(column)
    for iteration in range(1, trainer.problem.n + 1):
        renew_penalty(trainer, iteration)
    assert_array_equal(np.bincount(visits), VISITED)


def test_without_growth_and_forgetting_nothing_is_renewed() -> None:
    p = trainer_of("numpy-full").problem
    assert p.learning.renewal(1, p.plastic) is None


@pytest.fixture
def trained(tiny: dict[str, Any]) -> Any:
    def train(iterations: int, backend: str = "numpy-full", **learning: float) -> Any:
        changes = tiny | {f"learning.{key}": value for key, value in learning.items()}
        training = prepare(load_experiment("smoke", overrides=changes | {"training.iterations": 6}), backend)
        list(training.run(iterations))
        return training

    return train


def test_growth_holds_the_weights_back(trained: Any) -> None:
    free, held = trained(6), trained(6, lambda_growth=10.0)
    change = [np.linalg.norm(t.weights() - t.problem.plastic.initial_weights) for t in (free, held)]
    assert change[1] < change[0]
