"""Learning rules: what a rule keeps for each neuron, and how a learning step changes weights.

In: the settings of an experiment.  Out: a `Rule`, found by its name in the entry-point group
`rlsbench.rules`; docs/rules.md writes one.  Knows no trainer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rlsbench import plugins
from rlsbench.configuration import Experiment
from rlsbench.errors import ConfigurationError
from rlsbench.network import PlasticInputs

__all__ = ["GROUP", "PAST", "LearningStep", "NumpyRule", "Rule", "StateArray", "make_rule", "rule_names"]

GROUP: Final = "rlsbench.rules"
PAST: Final = "past"  # name of the array of a neuron's own filtered spikes, which others read
KINDS: Final = ("feedforward", "excitatory", "inhibitory")  # by sign: 0, 1, -1

Array = NDArray[Any]


@dataclass(frozen=True)
class Rule:
    """A learning rule and its constants.

    A subclass is a frozen dataclass. A field with the name of a setting in the table `learning`
    takes its value; the others are set by `learning.parameters`. A subclass may raise ValueError in
    `__post_init__`, and the user is told.
    """

    #: compute every update, but leave w unchanged
    benchmark: bool = field(default=False, kw_only=True)
    #: kinds of plastic inputs that learn
    inputs: frozenset[str] = field(default=frozenset(KINDS), kw_only=True)
    #: whether a weight never changes its sign: excitatory ones stay >= 0, inhibitory ones <= 0
    keeps_signs: bool = field(default=False, kw_only=True)

    def renewal(self, iteration: int, plastic: PlasticInputs) -> tuple[float, list[tuple[int, float]]] | None:
        """Arguments of `Trainer.renew` after an iteration; None if nothing is to be renewed."""
        return None

    def arrays(self, n: int, learn_every_ms: float, precision: DTypeLike) -> Sequence[StateArray]:
        """All that is kept for a neuron with n plastic inputs and weights of this precision.

        Checkpoints, memory estimates and the checks of a running training follow from it.
        """
        return ()

    def largest(self, plastic: PlasticInputs) -> float:
        """What no entry of its positive definite matrix exceeds, if that is known."""
        return np.inf

    def learns(self, plastic: PlasticInputs) -> NDArray[np.bool_]:
        """Which of a neuron's plastic inputs learn, (n,), or (N, n) as `plastic.signs`."""
        learns: NDArray[np.bool_] = np.isin(KINDS, list(self.inputs))[plastic.signs]
        return learns


class StateArray(NamedTuple):
    """An array that a rule keeps for each neuron; that of a rule in NumPy starts at 0."""

    name: str  #: an identifier
    shape: tuple[int, ...]  #: for one neuron
    #: None for a symmetric matrix that a backend stores in any precision, whole or as a triangle
    dtype: DTypeLike | None = np.float64
    definite: bool = False  #: whether it is a positive definite matrix, which is watched; at most one


class LearningStep(NamedTuple):
    """What B neurons know in a learning step."""

    x: Array  #: (B, n), filtered spikes of their plastic inputs, 1/ms
    u_bal: Array  #: (B,), static current
    f: Array  #: (B,), target current; NaN for a neuron without a target
    past: Array  #: (B, n, h), x in the last h learning steps, this one first; 0 before the first one
    plastic: PlasticInputs  #: which of the n inputs are of which kind

    def error(self, w: Array) -> Array:
        """e = w.x + u_bal - f, (B,); 0 for a neuron without a target."""
        e: Array = np.einsum("ci,ci->c", w, self.x) + self.u_bal - self.f
        return np.where(np.isnan(self.f), 0, e)


class NumpyRule(Rule, ABC):
    """A rule written in NumPy; it runs in every backend whose arrays are on the host."""

    def remembers(self, learn_every_ms: float) -> int:
        """h, the number of learning steps whose inputs `change` needs; none by default."""
        return 0

    def state(self, n: int) -> Sequence[StateArray]:
        """The arrays that it keeps for each neuron with n plastic inputs; none by default."""
        return ()

    @abstractmethod
    def change(self, state: Mapping[str, Array], w: Array, step: LearningStep) -> Array:
        """The change of the weights in a learning step, (B, n).

        The caller leaves it out where nothing is to be learned: for neurons without a target, for
        inputs that do not learn, and in benchmark mode. It is called for blocks of neurons of any
        size, perhaps from several threads, so it may use nothing but its arguments.

        Parameters
        ----------
        state : mapping of ndarray
            The arrays that `state` declares, by name, (B, ...); changed in place.
        w : ndarray, shape (B, n)
            Plastic weights; not to be changed.
        step : LearningStep
        """

    def arrays(self, n: int, learn_every_ms: float, precision: DTypeLike) -> Sequence[StateArray]:
        """All that is kept for a neuron: `state`, and its own filtered spikes in the past."""
        h = self.remembers(learn_every_ms)
        return [*self.state(n), *([StateArray(PAST, (h,), precision)] if h else [])]


def rule_names() -> list[str]:
    """Names of all registered rules, in alphabetical order."""
    return list(plugins.registered(GROUP))


def make_rule(e: Experiment) -> Rule:
    """The rule of an experiment.

    Raises
    ------
    ConfigurationError
        If no distribution registers it, it cannot be loaded, or a setting does not suit it.
    """
    how, name = e.learning, e.learning.rule
    kind: type[Rule] = plugins.subclass(GROUP, name, Rule, "learning.rule")
    settings = set(type(how).model_fields)
    own = [f.name for f in fields(kind) if f.name not in {common.name for common in fields(Rule)}]
    parameters = {parameter: getattr(how, parameter) for parameter in own if parameter in settings}
    free = [parameter for parameter in own if parameter not in settings]
    for parameter, value in how.parameters.items():
        if parameter not in free:
            known = ", ".join(free) or "no parameters"
            raise ConfigurationError(f"learning.parameters.{parameter} = {value:g}: rule {name} has {known}")
        parameters[parameter] = value
    for setting, neutral in (("lambda_growth", 0.0), ("forgetting", 1.0)):
        if setting not in own and getattr(how, setting) != neutral:
            raise ConfigurationError(f"learning.{setting} = {getattr(how, setting):g}: rule {name} cannot do this")
    with plugins.blamed(f"rule {name}"):
        try:
            rule: Rule = kind(
                **parameters,
                benchmark=how.benchmark,
                inputs=frozenset(how.inputs),
                keeps_signs=how.signs == "keep",
            )
        except ValueError as error:
            raise ConfigurationError(f"learning.parameters of rule {name}: {error}") from None
        remembers = isinstance(rule, NumpyRule) and rule.remembers(e.time.learn_every_ms)
    if remembers and e.feedforward.LX:
        raise ConfigurationError(f"feedforward.LX = {e.feedforward.LX}: rule {name} remembers no feed-forward inputs")
    return rule
