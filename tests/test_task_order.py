"""The order of tasks: a pure function of seed and iteration."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlsbench import load_experiment, prepare
from rlsbench.errors import ConfigurationError
from rlsbench.training.task_order import task_order

SMALL = {"network.neurons": 64, "network.K": 16, "time.train_duration_ms": 100.0, "training.iterations": 4}


def test_tasks_are_trained_in_turn_by_default() -> None:
    order = task_order("cyclic", 3, 1)
    assert [order(i) for i in range(1, 8)] == [0, 1, 2, 0, 1, 2, 0]


@given(st.integers(0, 2**63 - 1), st.lists(st.floats(0.1, 10), min_size=1, max_size=5), st.integers(1, 10**6))
def test_a_task_depends_on_seed_and_iteration_alone(seed: int, weights: list[float], iteration: int) -> None:
    one, other = (task_order(tuple(weights), len(weights), seed) for _ in range(2))
    other(iteration + 1)
    assert one(iteration) == other(iteration)
    assert 0 <= one(iteration) < len(weights)


@pytest.mark.parametrize(
    ("order", "expected"), [("random", [0.25] * 4), ((1.0, 2.0, 4.0, 1.0), [1 / 8, 1 / 4, 1 / 2, 1 / 8])]
)
def test_frequencies(order: Any, expected: list[float]) -> None:
    drawn = task_order(order, 4, 3)
    found = np.bincount([drawn(i) for i in range(1, 4001)], minlength=4) / 4000
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_seeds_give_different_orders() -> None:
    one, other = ([task_order("random", 2, seed)(i) for i in range(1, 65)] for seed in (1, 2))
    assert one != other


def test_training_follows_the_configured_order_or_a_function() -> None:
    e = load_experiment("smoke", overrides=SMALL | {"targets.tasks": 3, "training.task_order": [1.0, 1.0, 8.0]})
    training = prepare(e, "numpy-full")
    list(training.run())
    expected = task_order((1.0, 1.0, 8.0), 3, 1)
    assert [i.task for i in training.iterations] == [expected(i) for i in range(1, 5)]
    training.task_order = lambda iteration: iteration % 2
    list(training.run(2))
    assert [i.task for i in training.iterations[4:]] == [1, 0]
    training.task_order = lambda iteration: 3
    with pytest.raises(ConfigurationError):
        list(training.run(1))


@pytest.mark.parametrize("order", ["shuffled", [1.0, 0.0], [1.0, -1.0], [1.0, 2.0, 3.0]])
def test_bad_orders_are_refused(order: Any, refused: Any) -> None:
    with refused(ConfigurationError, "training.task_order"):
        prepare(
            load_experiment("smoke", overrides=SMALL | {"targets.tasks": 2, "training.task_order": order}), "numpy-full"
        )
