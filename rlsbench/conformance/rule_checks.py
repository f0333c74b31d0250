"""The checks of learning rules that are written in NumPy.

In: a `NumpyRule`.  Out: nothing, or `CheckFailed`.  Everything else that a rule needs, such as
leaving neurons without a target alone, is done for it by `rlsbench.backend.RuleUpdate`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.conformance.checks import CheckFailed
from rlsbench.conformance.subjects import variant_problem
from rlsbench.rules import LearningStep, NumpyRule

Array = NDArray[Any]
State = dict[str, Array]

NEURONS = 12
LEARN_EVERY_MS = 10.0
REPEATS = 20


def _declared(rule: NumpyRule, precision: str) -> Iterator[str]:
    """Its arrays have names that can stand in a file, and shapes of whole positive numbers."""
    n = variant_problem("plain").n
    arrays = rule.arrays(n, LEARN_EVERY_MS, precision)
    if len({array.name for array in arrays}) < len(arrays):
        yield f"two arrays have the same name: {', '.join(array.name for array in arrays)}"
    if sum(array.definite for array in arrays) > 1:
        yield "more than one array is declared as positive definite"
    for name, shape, dtype, _ in arrays:
        sound = name.isidentifier() and all(isinstance(size, int) and size > 0 for size in shape)
        if not sound or dtype is None or np.dtype(dtype).kind not in "fiub":
            kind = "without a dtype" if dtype is None else np.dtype(dtype)
            yield f"the array {name!r} {shape} {kind} cannot be kept in a checkpoint"


def _blocks(rule: NumpyRule, precision: str) -> Iterator[str]:
    """Neurons do not influence each other: blocks of any size give the same."""
    whole, step, w = _given(rule, precision)
    single = _copy(whole)
    together = rule.change(whole, w, step)
    for c in range(NEURONS):
        one = slice(c, c + 1)
        part = {name: array[one] for name, array in single.items()}
        alone = rule.change(part, w[one], _part(step, one))
        if not np.allclose(alone, together[one], rtol=1e-4, atol=1e-7):
            yield f"neuron {c} changes otherwise alone than with {NEURONS - 1} others"
            return
        for name, array in part.items():
            if not np.allclose(array, whole[name][one], rtol=1e-4, atol=1e-7):
                yield f"{name} of neuron {c} is another alone than with {NEURONS - 1} others"


def _arguments(rule: NumpyRule, precision: str) -> Iterator[str]:
    """It changes nothing but its state, and gives a finite change for each weight."""
    state, step, w = _given(rule, precision)
    before = [array.copy() for array in (w, *step[:4])]
    change = rule.change(state, w, step)
    if np.shape(change) != w.shape or not np.isfinite(change).all():
        yield f"the change has the shape {np.shape(change)} or is not finite; needed: {w.shape}"
    for name, array, copy in zip(("w", *LearningStep._fields), (w, *step[:4]), before, strict=False):
        if not np.array_equal(array, copy, equal_nan=True):
            yield f"{name} was changed in place"


def _learns(rule: NumpyRule, precision: str) -> Iterator[str]:
    """The error of an input that is shown again and again becomes smaller."""
    state, step, w = _given(rule, precision)
    first = np.abs(step.error(w))
    for _ in range(REPEATS):
        w = w + rule.change(state, w, step)
    if not (np.abs(step.error(w)) < first).all():
        yield f"after {REPEATS} steps with the same input, the error is not smaller"


def _resumes(rule: NumpyRule, precision: str) -> Iterator[str]:
    """All that it remembers is in its arrays."""
    state, step, w = _given(rule, precision)
    rule.change(state, w, step)
    copy = _copy(state)
    if not np.array_equal(rule.change(state, w, step), rule.change(copy, w, step)):
        yield "the same state and input give another change: something is kept outside of the state"


RULE_CHECKS: dict[str, Callable[[NumpyRule, str], Iterator[str]]] = {
    "its arrays can be kept": _declared,
    "blocks of any size give the same": _blocks,
    "only its state is changed, and the change is finite": _arguments,
    "the error of a repeated input becomes smaller": _learns,
    "all that is remembered is in its state": _resumes,
}
"""Checks by name: from a rule and the precision of currents to what is wrong."""


def check_rule(name: str, rule: NumpyRule, precision: str) -> None:
    """Run one of `RULE_CHECKS`; raises `CheckFailed` with the first thing that is wrong."""
    for wrong in RULE_CHECKS[name](rule, precision):
        raise CheckFailed(wrong)


def _given(rule: NumpyRule, precision: str) -> tuple[State, LearningStep, Array]:
    """A state of zeros, a random step and random weights, for a few neurons."""
    plastic = variant_problem("plain").plastic
    rng, n = np.random.default_rng(1), plastic.n
    arrays = rule.arrays(n, LEARN_EVERY_MS, precision)
    state = {array.name: np.zeros((NEURONS, *array.shape), array.dtype) for array in arrays}
    h = max(1, rule.remembers(LEARN_EVERY_MS))
    past = rng.random((NEURONS, n, h)).astype(precision)
    u_bal, f = rng.standard_normal((2, NEURONS)).astype(precision)
    step = LearningStep(past[:, :, 0], u_bal, f, past, plastic)
    return state, step, rng.standard_normal((NEURONS, n)).astype(precision)


def _part(step: LearningStep, neurons: slice) -> LearningStep:
    x, u_bal, f, past, plastic = step
    return LearningStep(x[neurons], u_bal[neurons], f[neurons], past[neurons], plastic)


def _copy(state: State) -> State:
    return {name: array.copy() for name, array in state.items()}
