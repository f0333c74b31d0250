"""A penalty that grows with the data, and forgetting (docs/model.md section 3.5).

In: a `Trainer` between two iterations.  Out: its P and w, updated.  Knows the backend contract.
"""

from __future__ import annotations

from rlsbench.backend import Trainer
from rlsbench.rules import Rls

VISITED = 6  # inputs of each neuron whose penalty is renewed after an iteration


def renew_penalty(trainer: Trainer, iteration: int) -> None:
    """Forget, and add to the penalty, as the learning rule of the problem says.

    After each iteration the inverse of P is multiplied by the forgetting factor phi, and
    rho_i = growth + (1 - phi) lambda_i is added to its diagonal: an update of each input, with
    x = sqrt(rho_i) e_i and the error sqrt(rho_i) (w_i - w0_i). `VISITED` of the n inputs are
    updated in an iteration, in turn, with n/VISITED times the strength.

    Parameters
    ----------
    trainer : Trainer
    iteration : int
        Number of the iteration that has ended, 1, 2, ...
    """
    p = trainer.problem
    rule, n = p.learning, p.n
    assert isinstance(rule, Rls)
    if rule.forgetting < 1:
        trainer.divide_P(rule.forgetting)
    if n:
        visited = min(VISITED, n)
        penalty = rule.penalties(p.plastic)
        for position in range((iteration - 1) * visited, iteration * visited):
            column = position % n
            strength = rule.lambda_growth + (1 - rule.forgetting) * float(penalty[column])
            trainer.penalize(column, strength * n / visited)
