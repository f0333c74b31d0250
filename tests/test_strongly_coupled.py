"""The strongly coupled network of `benchmarks.strongly_coupled`: who learns what, and from whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.strongly_coupled import WEIGHTS, matched, prepared


def test_the_closest_rates_are_matched_those_of_high_targets_first() -> None:
    np.testing.assert_array_equal(matched(np.array([1.0, 9.0, 2.0]), np.array([1.4, 20.0, 1.9, 8.0])), [0, 3, 2])
    np.testing.assert_array_equal(matched(np.array([5.0, 6.0]), np.array([6.0, 1.0])), [1, 0])


def test_targets_weights_and_sources_are_those_of_the_tutorial(tiny: dict[str, Any], tmp_path: Path) -> None:
    bins, recorded = 20, 12
    rates = np.random.default_rng(3).uniform(2, 30, (bins, recorded))
    np.save(tmp_path / "rates.npy", rates)
    changes = tiny | {"feedforward.LX": 2, "stimulus.off_ms": 20.0, "time.learn_every_ms": 20.0}
    changes |= {"time.train_duration_ms": 20.0 * bins}
    training = prepared((str(tmp_path / "rates.npy"),), changes, recorded, "numpy-full")
    problem, Ne = training.problem, training.problem.populations[0].size
    neurons = matched(rates.mean(axis=0), training.initial.rates_hz[:Ne])
    assert len(set(neurons)) == recorded
    others = np.setdiff1d(np.arange(problem.neurons), neurons)
    assert problem.targets is not None
    currents = problem.targets.matrix(0)
    assert np.isfinite(currents[:, neurons]).all()
    assert np.isnan(currents[:, others]).all()
    order = np.argsort(rates[:, 0])  # a higher rate needs more current
    assert (np.diff(currents[order, neurons[0]]) > 0).all()
    recorded_rates = training.recorded_rates(0)
    assert recorded_rates is not None
    np.testing.assert_array_equal(recorded_rates[:, neurons], rates)
    L = training.experiment.network.plastic_per_population
    w = training.weights()
    np.testing.assert_allclose(w[neurons], np.tile([0, 0, *np.repeat(WEIGHTS, L)], (recorded, 1)), rtol=1e-6)
    assert not w[others].any()
    sources = problem.plastic.sources(problem.seed)
    assert np.isin(sources[:, :L], neurons).all()
    assert (sources[:, L:] >= Ne).all()
    list(training.run(2))
    moved = (training.weights() != w).any(axis=1)
    assert moved[neurons].all()
    assert not moved[others].any()
