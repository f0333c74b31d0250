"""Exported networks in Brian2 and NEST: spike for spike, or in their statistics.

Skipped without these simulators, which the extra `simulators` installs, in an environment of its
own.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlsbench import Training
from rlsbench.backend import make_trainer
from rlsbench.export import described, export
from rlsbench.training import run_trial
from rlsbench.training.evaluation import FIRST_TRIAL, evaluate
from rlsbench.training.learned_current import pearson

Make = Callable[..., Training]

SMALL: dict[str, Any] = {
    "network.neurons": 200,
    "network.K": 20,
    "network.L": 10,
    "numerics.precision": "float64",
    "training.iterations": 3,
}
DELAYS = [
    {"rule": "bernoulli", "parameters": {"probability": 0.1}, "source": source, "weight": weight, "delay_ms": delay}
    for source, weight, delay in (("excitatory", 0.6, 1.5), ("inhibitory", -1.5, 0.3))
]
PLASTIC = [
    {"kind": "plastic", "rule": "fixed-in-degree", "parameters": {"degree": 10}, "source": source, "delay_ms": delay}
    for source, delay in (("excitatory", 2.0), ("inhibitory", 0.1))
]
# Of 500 neurons, with a rate that a few trials give to about a percent.
LARGER: dict[str, Any] = {
    "network.neurons": 500,
    "network.K": 50,
    "network.L": 14,
    "external.scale": 0.2,
    "stimulus.on_ms": 50.0,
    "stimulus.off_ms": 100.0,
    "time.learn_every_ms": 10.0,
    "time.train_duration_ms": 400.0,
    "targets.period_ms": 400.0,
    "training.window_ms": 50.0,
    "training.iterations": 5,
    "numerics.precision": "float64",
}
TRIALS = 4


def require(*tools: str) -> None:
    """Skip unless these simulators are installed."""
    for tool in tools:
        if importlib.util.find_spec(tool) is None:
            assert not os.environ.get("RLSBENCH_REQUIRE_SIMULATORS"), tool
            pytest.skip(f"{tool} is not installed")


def simulated(training: Training, tool: str, folder: Path, *options: str) -> dict[str, np.ndarray[Any, Any]]:
    """What the script of a simulator saves."""
    export(described(training), tool, folder)
    command = [sys.executable, "simulate.py", "--save", "found.npz", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (folder / "trial.png").stat().st_size > 1000
    with np.load(folder / "found.npz") as file:
        return dict(file)


def trained(make: Make, **overrides: Any) -> Training:
    training = make(**overrides)
    for _ in training.run(overrides["training.iterations"]):
        pass
    return training


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"synapse.tau_plas_ms": (50.0, 150.0), "neuron.refractory_ms": 2.0},
        {"connectivity": DELAYS},
        {"connectivity": [*DELAYS, *PLASTIC]},
        *({"neuron.model": model} for model in ("adex", "glif5", "izhikevich")),
    ],
    ids=["lif", "tau", "delays", "plastic delays", "adex", "glif5", "izhikevich"],
)
def test_brian2_spikes_as_the_reference_does(make: Make, tmp_path: Path, overrides: dict[str, Any]) -> None:
    require("brian2")
    training = trained(make, **SMALL | overrides)
    found = simulated(training, "brian2", tmp_path / "out", "--target", "numpy")
    plastic = replace(training.problem.plastic, own_weights=training.weights())
    trainer = make_trainer(training.backend, replace(training.problem, plastic=plastic), training.options)
    ours = run_trial(trainer, FIRST_TRIAL, learn=False, record=np.arange(200)).spikes
    assert len(ours.step) > 20
    theirs = sorted(zip(found["step0"].tolist(), found["neuron0"].tolist(), strict=True))
    assert theirs == sorted(zip(ours.step.tolist(), ours.neuron.tolist(), strict=True))


@pytest.mark.parametrize(("tool", "within"), [("brian2", 0.01), ("nest", 0.02)])
def test_rates_and_currents_agree_within_the_spread_of_trials(
    make: Make, tmp_path: Path, tool: str, within: float
) -> None:
    require(tool)
    training = trained(make, **LARGER)
    found = simulated(training, tool, tmp_path / "out", "--trials", str(TRIALS))
    ours = evaluate(training, TRIALS, smoothing_bins=1)
    assert training.problem.targets is not None
    target = training.problem.targets.matrix(0)
    clock = training.problem.clock
    assert min(len(spikes.step) for spikes in ours.spikes) > 500
    own = ours.rates_hz[0].mean()
    theirs = found["rates_hz"].mean()
    counts = [int((found[f"step{i}"] > clock.stimulus_off).sum()) for i in range(TRIALS)]
    # Standard error of the difference of two means; a few trials may happen to be alike.
    error = max(0.01, np.std(counts) / np.mean(counts) / np.sqrt(TRIALS / 2))
    assert abs(theirs / own - 1) < within + 3 * error
    currents = found["currents"] / (500.0 if tool == "nest" else 1.0)  # pA
    one, two = (float(np.nanmean(pearson(u, target))) for u in (ours.currents[0], currents))
    spread = ours.spread[0].mean() / np.sqrt(TRIALS)
    assert abs(one - two) < 0.1
    assert np.sqrt(((ours.currents[0] - currents) ** 2).mean()) < 3 * spread


def test_noise_of_brian2_and_nest_has_its_statistics(make: Make, tmp_path: Path) -> None:
    """Without synapses and input, voltage noise of sigma makes v spread by sigma/sqrt(2)."""
    require("brian2", "nest")
    alone = {"network.K": 1, "network.L": 1, "external.scale": 0.0, "stimulus.sigma": 0.0}
    training = trained(make, **LARGER | alone | {"noise.kind": "voltage", "noise.sigma": 0.9, "training.iterations": 1})
    ours = evaluate(training, 2, smoothing_bins=1).rates_hz.mean()
    for tool in ("brian2", "nest"):
        theirs = simulated(training, tool, tmp_path / tool, "--trials", "2")["rates_hz"].mean()
        assert theirs == pytest.approx(ours, rel=0.1)
