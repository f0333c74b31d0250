"""The mean of the targets, where it is free to follow the network (docs/model.md section 3.4).

In: the mean error of each neuron's current in a trial.  Out: the offset that later trials add to
the targets.  Knows no trainer and no network.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rlsbench.network import Populations
from rlsbench.targets import Targets

Array = NDArray[np.float64]


class TargetMean:
    """The offset of the targets, adapted after each iteration.

    With d the mean over bins of learned current - (target + offset), and eta the rate,

        neuron      offset_c <- offset_c + eta d_c
        population  offset_c <- offset_c + eta mean(d over the neurons of c's population)

    Parameters
    ----------
    kind : {"fixed", "neuron", "population"}
        "fixed" leaves the offset at 0.
    rate : float
        eta, in (0, 1].
    populations : Populations
    targets : Targets
        Neurons without a target keep an offset of 0, and count in no mean.
    """

    def __init__(self, kind: str, rate: float, populations: Populations, targets: Targets) -> None:
        self.kind, self.rate = kind, rate
        self.offset: Array = np.zeros(populations.neurons)
        """(N,), in units of (threshold - reset)."""
        has_target = ~np.isnan(targets.row(0, 0))
        self._members = [population.members()[has_target[population.members()]] for population in populations]
        excitatory = populations.excitatory(np.arange(populations.neurons))
        self._of_sign = (has_target & excitatory, has_target & ~excitatory)

    @property
    def adapts(self) -> bool:
        """Whether the offset changes."""
        return self.kind != "fixed"

    def adapt(self, error: Array) -> None:
        """Move the offset by the mean error (N,) of a trial; NaN for neurons without a target."""
        for members in self._members:
            if len(members):
                d = error[members]
                self.offset[members] += self.rate * (d if self.kind == "neuron" else d.mean())

    def means(self, of: Array | None = None) -> tuple[float | None, float | None]:
        """Mean of `of`, (N,), or else of the offset, over E and over I neurons with a target."""
        values = self.offset if of is None else of
        excitatory, inhibitory = (float(values[some].mean()) if some.any() else None for some in self._of_sign)
        return excitatory, inhibitory
