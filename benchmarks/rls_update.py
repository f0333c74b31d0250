"""The RLS update alone, for all neurons, in the plain and in the event form."""

from __future__ import annotations

import numpy as np

from benchmarks.common import BACKENDS, INPUTS, NEURONS, PRECISIONS, STORAGES, poisson_spikes, sinusoid, trainer
from rlsbench import run_trial

FIRING_RATE_HZ = 5.5  # as published, while the scaling network is trained
UPDATES = 25  # the event form writes P after 8, 16 and 24, or after 12 and 24, and continues


class PlainUpdate:
    """One update from given inputs; reads and writes all of P."""

    params = (BACKENDS, INPUTS, PRECISIONS, STORAGES)
    param_names = ("backend", "n", "precision", "storage")

    def setup(self, backend: str, n: int, precision: str, storage: str) -> None:
        numerics = {"precision": precision, "storage": storage, "algorithm": "plain"}
        network = {"network.K": 0, "network.L": n // 2}
        self.trainer = trainer(backend, sinusoid(**network, **{f"numerics.{k}": v for k, v in numerics.items()}))
        rng = np.random.default_rng(0)
        self.x = (0.005 * rng.random((NEURONS, n))).astype(precision)
        self.u_bal, self.f = (rng.standard_normal(NEURONS).astype(precision) for _ in range(2))
        self.time_update()  # compiles

    def time_update(self, *_: object) -> None:
        self.trainer.rls_update(self.x, self.u_bal, self.f)
        self.trainer.synchronize()


class EventUpdate:
    """25 updates in the event form, whose work depends on spikes, which are therefore replayed.

    Only the updates are timed.  w does not change, so all calls do the same work.
    """

    params = (["numba", "torch"], INPUTS, ["float32", "float64", "float16"], STORAGES)
    param_names = ("backend", "n", "p_precision", "storage")

    def setup(self, backend: str, n: int, p_precision: str, storage: str) -> None:
        precision = "float64" if p_precision == "float64" else "float32"
        numerics = {"precision": precision, "p_precision": p_precision, "storage": storage, "algorithm": "event"}
        self.trainer = trainer(
            backend,
            sinusoid(
                **{"network.K": 0, "network.L": n // 2, "learning.benchmark": True},
                **{"stimulus.on_ms": 0.0, "stimulus.off_ms": 10.0, "time.train_duration_ms": 10.0 * UPDATES},
                **{f"numerics.{k}": v for k, v in numerics.items()},
            ),
        )
        self.spikes = poisson_spikes(self.trainer.problem, FIRING_RATE_HZ)
        self.seconds = 0.0
        self.time_updates()  # compiles

    def timer(self) -> float:
        """Seconds spent in updates so far, used as the clock of this benchmark."""
        return self.seconds

    def time_updates(self, *_: object) -> None:
        self.seconds += run_trial(self.trainer, 1, replay=self.spikes).rls_seconds
