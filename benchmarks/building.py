"""Drawing the network, and turning recorded rates into currents."""

from __future__ import annotations

import numpy as np

from benchmarks.common import NEURONS, sinusoid
from rlsbench.problem import InitialTrial, build_problem
from rlsbench.transfer import stationary_current


class Network:
    """Synapses of the scaling network."""

    def setup(self) -> None:
        activity = InitialTrial(np.ones(NEURONS), np.zeros(NEURONS), np.ones(NEURONS))
        self.problem = build_problem(sinusoid(), activity)
        self.sources = self.problem.plastic.sources()

    def time_static_targets(self) -> None:
        self.problem.static.targets()

    def time_plastic_sources(self) -> None:
        self.problem.plastic.sources()

    def time_plastic_outputs(self) -> None:
        self.problem.plastic.outputs(self.sources)


class RateInversion:
    """Rates of 2,000 neurons in 100 bins."""

    def setup(self) -> None:
        self.rates = np.random.default_rng(0).lognormal(1.4, 1.3, (100, NEURONS))

    def time_stationary_current(self) -> None:
        stationary_current(self.rates, 0.65)
