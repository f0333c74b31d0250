"""The RLS update alone: one update of all neurons."""

from __future__ import annotations

import numpy as np

from benchmarks.common import BACKENDS, NEURONS, PRECISIONS, sinusoid, trainer


class RLSUpdate:
    """Backend x plastic inputs x precision."""

    params = (BACKENDS, [32, 90], PRECISIONS)
    param_names = ("backend", "n", "precision")

    def setup(self, backend: str, n: int, precision: str) -> None:
        experiment = sinusoid(**{"network.L": n // 2, "numerics.precision": precision})
        self.trainer = trainer(backend, experiment)
        rng = np.random.default_rng(0)
        self.x = (0.005 * rng.random((NEURONS, n))).astype(precision)
        self.u_bal, self.f = (rng.standard_normal(NEURONS).astype(precision) for _ in range(2))
        self.trainer.rls_update(self.x, self.u_bal, self.f)  # compiles
        self.trainer.synchronize()

    def time_update(self, backend: str, n: int, precision: str) -> None:
        self.trainer.rls_update(self.x, self.u_bal, self.f)
        self.trainer.synchronize()
