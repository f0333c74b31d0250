"""Whole trials: simulation, delivery of spikes, and iterations with learning; time and memory."""

from __future__ import annotations

from benchmarks.common import BACKENDS, SIMULATIONS, poisson_spikes, sinusoid, trainer
from rlsbench import run_trial

SHORT = {"stimulus.on_ms": 0.0, "stimulus.off_ms": 50.0, "time.train_duration_ms": 50.0}


class Simulation:
    """100 ms of 10,000 neurons without learning, half of the time with the stimulus."""

    params = (SIMULATIONS,)
    param_names = ("backend",)

    def setup(self, backend: str) -> None:
        self.trainer = trainer(backend, sinusoid(10_000, **SHORT), learns=False)
        self.time_simulation()  # compiles

    def time_simulation(self, *_: object) -> None:
        run_trial(self.trainer, 1, learn=False)


class Delivery:
    """100 ms with 2,000 neurons replayed at 50 Hz, without voltages: the delivery of spikes."""

    params = (SIMULATIONS,)
    param_names = ("backend",)

    def setup(self, backend: str) -> None:
        self.trainer = trainer(backend, sinusoid(**SHORT), learns=False)
        self.spikes = poisson_spikes(self.trainer.problem, 50.0)
        self.time_delivery()  # compiles

    def time_delivery(self, *_: object) -> None:
        run_trial(self.trainer, 1, learn=False, replay=self.spikes)


class Iteration:
    """A whole iteration of 2,000 neurons: 50 ms with the stimulus, then 130 ms with 13 updates."""

    params = (BACKENDS,)
    param_names = ("backend",)

    def setup(self, backend: str) -> None:
        longer = {"time.train_duration_ms": 130.0, "learning.benchmark": True}
        self.trainer = trainer(backend, sinusoid(**SHORT | longer))
        self.time_iteration()  # compiles

    def time_iteration(self, *_: object) -> None:
        run_trial(self.trainer, 1)

    def peakmem_iteration(self, *_: object) -> None:
        run_trial(self.trainer, 1)
