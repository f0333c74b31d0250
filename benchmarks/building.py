"""Drawing the network, and converting recorded rates to currents."""

from __future__ import annotations

import numpy as np

from benchmarks.common import NEURONS, SIMULATIONS, made_up, sinusoid, trainer
from rlsbench.transfer import simulated_current, stationary_current


class Network:
    """Synapses of the scaling network, as the core draws them."""

    def setup(self) -> None:
        self.problem = made_up(sinusoid())
        self.sources = self.problem.plastic.sources(self.problem.seed)

    def time_static_targets(self) -> None:
        self.problem.static.targets(self.problem.seed)

    def time_plastic_sources(self) -> None:
        self.problem.plastic.sources(self.problem.seed)

    def time_plastic_outputs(self) -> None:
        self.problem.plastic.outputs(self.sources)


class Building:
    """From an experiment to the trainer of a backend: synapses, weights and P."""

    params = (SIMULATIONS,)
    param_names = ("backend",)

    def setup(self, backend: str) -> None:
        self.time_trainer(backend)  # compiles

    def time_trainer(self, backend: str) -> None:
        trainer(backend, sinusoid())


class RateInversion:
    """Currents for the rates of 2,000 neurons in 100 bins."""

    def setup(self) -> None:
        self.rates = np.random.default_rng(0).lognormal(1.4, 1.3, (100, NEURONS))
        self.time_stationary_current()  # imports what it needs

    def time_stationary_current(self) -> None:
        stationary_current(self.rates, 0.65)

    def time_simulated_current(self) -> None:
        simulated_current(self.rates, 0.65)
