"""Recursive least squares (docs/model.md section 3), and the same without P (section 3.6).

In: the inputs of neurons.  Out: the matrices that a penalty gives, and for the rule without P the
change of the weights.  Backends implement the rule `rls` themselves; `rlsbench_reference` defines
it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rlsbench.network import PlasticInputs
from rlsbench.rules.rule import LearningStep, NumpyRule, Rule, StateArray

__all__ = ["Ridge", "Rls", "RlsWithoutP"]

TOGETHER = 2**18  # entries of initial matrices that are computed at once
VISITED = 6  # inputs of each neuron whose penalty is renewed after an iteration


@dataclass(frozen=True)
class Ridge(Rule):
    """A rule that penalizes changes of the weights."""

    lambda_plastic: float  #: penalty on a change of each recurrent weight
    lambda_feedforward: float  #: penalty on a change of each feed-forward weight
    mu: float  #: penalty on a change of the summed weights of one sign

    def penalties(self, plastic: PlasticInputs) -> NDArray[np.float64]:
        """lambda of each plastic input, (n,)."""
        feedforward = np.arange(plastic.n) < plastic.feedforward
        return np.where(feedforward, self.lambda_feedforward, self.lambda_plastic)

    def initial_inverse(self, plastic: PlasticInputs) -> NDArray[np.float64]:
        """P_inv0 (n, n): diag(lambda), plus mu for pairs of inputs from the same population."""
        same = plastic.signs[:, None] * plastic.signs > 0
        return np.asarray(np.diag(self.penalties(plastic)) + self.mu * same)


@dataclass(frozen=True)
class Rls(Ridge):
    """Recursive least squares: each neuron keeps P, the inverse of P_inv0 + sum x x'."""

    lambda_growth: float = 0.0  #: added to every penalty after each iteration
    forgetting: float = 1.0  #: factor on the inverse of P after each iteration

    def renewal(self, iteration: int, plastic: PlasticInputs) -> tuple[float, list[tuple[int, float]]] | None:
        """The forgetting factor phi, and rho_i = growth + (1 - phi) lambda_i of some inputs i.

        `VISITED` of the n inputs have their turn, with n/VISITED times the strength.
        """
        if self.lambda_growth == 0 and self.forgetting == 1:
            return None
        n, rho = plastic.n, self.lambda_growth + (1 - self.forgetting) * self.penalties(plastic)
        visited = min(VISITED, n)
        columns = (position % n for position in range((iteration - 1) * visited, iteration * visited))
        return self.forgetting, [(column, float(rho[column]) * n / visited) for column in columns]

    def arrays(self, n: int, learn_every_ms: float, precision: DTypeLike) -> Sequence[StateArray]:
        """P."""
        return [StateArray("P", (n, n), None, definite=True)]

    def largest(self, plastic: PlasticInputs) -> float:
        """The largest entry of the initial P, which forgetting may raise until the next renewal."""
        raised: float = self.forgetting ** -(plastic.n / VISITED + 1)
        if plastic.varies:
            return raised / float(self.penalties(plastic).min(initial=np.inf))
        return raised * float(np.diagonal(self.initial_P(plastic)).max(initial=0.0))

    def initial_matrices(
        self, plastic: PlasticInputs, sizes: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """P = inv(P_inv0) where inputs vary: of some neurons after others, with these neurons.

        Of s inputs of one sign, inv(lambda I + mu 1 1') is (I - mu/(lambda + mu s) 1 1')/lambda
        (Sherman and Morrison 1950).

        Parameters
        ----------
        plastic : PlasticInputs
        sizes : ndarray of int, shape (N,)
            n of each neuron's matrix, at least its number of inputs; P is 0 beyond these.

        Yields
        ------
        ndarray of int, shape (B,)
            Ascending neurons of equal size, in the order of sizes.
        ndarray, shape (B, n, n)
        """
        learns, signs, penalty = self.learns(plastic), plastic.signs, self.lambda_plastic
        learns &= np.arange(plastic.n) < plastic.inputs[:, None]
        for n in np.unique(sizes).tolist():
            members, count = np.flatnonzero(sizes == n), max(1, TOGETHER // max(1, n * n))
            for first in range(0, len(members), count):
                neurons, i = members[first : first + count], np.arange(n)
                P = np.zeros((len(neurons), n, n))
                P[:, i, i] = learns[neurons, :n] / self.penalties(plastic)[:n]
                for sign in (1, -1):
                    same = learns[neurons, :n] & (signs[neurons, :n] == sign)
                    share = self.mu / (penalty * (penalty + self.mu * same.sum(axis=1)))
                    P -= (share[:, None] * same)[:, :, None] * same[:, None, :]
                yield neurons, P

    def initial_P(self, plastic: PlasticInputs) -> NDArray[np.float64]:
        """P = inv(P_inv0), (n, n), the same for every neuron.

        It is inverted for the inputs that learn, and 0 elsewhere: there k = P x stays 0, and so
        neither w nor P changes.
        """
        learns, P = self.learns(plastic), np.zeros((plastic.n, plastic.n))
        P[np.ix_(learns, learns)] = np.linalg.inv(self.initial_inverse(plastic)[np.ix_(learns, learns)])
        return np.asarray((P + P.T) / 2)


@dataclass(frozen=True)
class RlsWithoutP(Ridge, NumpyRule):
    """Recursive least squares of the recent past, from the inputs themselves.

    With A = P_inv0 + sum x x' over the last h learning steps, P x after the update is inv(A) x, so

        w <- w - e inv(A) x

    As long as h covers all of the training, this is RLS. It takes h numbers a neuron in place of
    n^2, and of the order of n^2 (h + n) operations in place of n^2.
    """

    history_ms: float = 1000.0  #: the recent past

    def __post_init__(self) -> None:
        if not 0 < self.history_ms <= 1e9:
            raise ValueError(f"history_ms = {self.history_ms:g}: must be positive, and at most 1e9")

    def remembers(self, learn_every_ms: float) -> int:
        """h, at least 1."""
        return max(1, round(self.history_ms / learn_every_ms))

    def change(self, state: Mapping[str, NDArray[Any]], w: NDArray[Any], step: LearningStep) -> NDArray[Any]:
        """-e inv(A) x, in float64."""
        learns = self.learns(step.plastic)
        X = step.past[:, learns].astype(np.float64)  # (B, n, h)
        A = self.initial_inverse(step.plastic)[np.ix_(learns, learns)] + X @ X.transpose(0, 2, 1)
        k = np.zeros(w.shape)
        k[:, learns] = np.linalg.solve(A, X[:, :, :1])[:, :, 0]
        return -step.error(w)[:, None] * k
