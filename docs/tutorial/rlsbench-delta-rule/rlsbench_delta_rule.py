"""The normalized delta rule with momentum; docs/rules.md explains it part by part."""

from dataclasses import dataclass

import numpy as np

from rlsbench.rules import NumpyRule, StateArray


@dataclass(frozen=True)
class Delta(NumpyRule):
    """Each step reduces the error of the present input, and repeats a part of the step before.

    With e = w.x + u_bal - f,

        v <- momentum v - rate e x / (1 + x.x)
        w <- w + v
    """

    rate: float = 0.1
    momentum: float = 0.0

    def __post_init__(self):
        if not 0 < self.rate < 2:
            raise ValueError(f"rate = {self.rate:g}: must be above 0 and below 2")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum = {self.momentum:g}: must be at least 0 and below 1")

    def state(self, n):
        """The last change of each weight."""
        return [StateArray("v", (n,))]

    def change(self, state, w, step):
        """The change v of the weights of B neurons, (B, n)."""
        v, x = state["v"], step.x
        factor = self.rate * step.error(w) / (1 + np.einsum("ci,ci->c", x, x))
        v *= self.momentum
        v -= factor[:, None] * x
        return v
