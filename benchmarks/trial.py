"""Whole trials: the simulation alone, and an iteration with learning."""

from __future__ import annotations

from benchmarks.common import BACKENDS, sinusoid, trainer
from rlsbench import run_trial


class Trial:
    """A short trial of the scaling network: 100 ms of stimulus, 100 ms of learning."""

    params = (BACKENDS,)
    param_names = ("backend",)
    timeout = 300

    def setup(self, backend: str) -> None:
        short = {"stimulus.on_ms": 0.0, "stimulus.off_ms": 100.0, "time.train_duration_ms": 100.0}
        self.trainer = trainer(backend, sinusoid(**short, **{"training.average_from_ms": 0.0}))
        run_trial(self.trainer, 0)  # compiles

    def time_simulation(self, backend: str) -> None:
        run_trial(self.trainer, 1, learn=False)

    def time_iteration(self, backend: str) -> None:
        run_trial(self.trainer, 1)
