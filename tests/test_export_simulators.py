"""Exported networks in Brian2 and NEST: spike for spike, or in their statistics.

Skipped without these simulators, which the extra `simulators` installs, in an environment of its
own.
"""

from __future__ import annotations

import importlib.util
import os
import re
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
    "time.train_duration_ms": 90.0,  # a trial of 100 ms
    "targets.period_ms": 90.0,
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
# Of 500 neurons, weakly coupled: eight trials give their rate to 0.3 %.
LARGER: dict[str, Any] = {
    "network.neurons": 500,
    "network.K": 50,
    "network.L": 20,
    "network.g": 0.5,
    "external.scale": 0.4,
    "stimulus.on_ms": 50.0,
    "stimulus.off_ms": 100.0,
    "time.learn_every_ms": 10.0,
    "time.train_duration_ms": 400.0,
    "targets.period_ms": 400.0,
    "training.window_ms": 50.0,
    "learning.lambda_plastic": 0.1,
    "training.iterations": 10,
    "numerics.precision": "float64",
}
TRIALS = 8
ONE_TAU = dict.fromkeys(("synapse.tau_E_ms", "synapse.tau_I_ms", "synapse.tau_plas_ms"), 50.0)


def require(*tools: str) -> None:
    """Skip unless these simulators are installed."""
    for tool in tools:
        if importlib.util.find_spec(tool) is None:
            assert not os.environ.get("RLSBENCH_REQUIRE_SIMULATORS"), tool
            pytest.skip(f"{tool} is not installed")


def simulated(training: Training, tool: str, folder: Path, *options: str) -> dict[str, np.ndarray[Any, Any]]:
    """What the script of a simulator saves, and the spread between trials that it prints."""
    export(described(training), tool, folder)
    command = [sys.executable, "simulate.py", "--save", "found.npz", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (folder / "trial.png").stat().st_size > 1000
    spread = re.search(r"in a trial, spread ([\d.]+);", done.stdout)
    assert spread
    with np.load(folder / "found.npz") as file:
        return dict(file) | {"spread_of_correlation": np.float64(spread[1])}


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


def binned(spikes: Any, training: Training) -> np.ndarray[Any, Any]:
    """Rates in each bin of one trial, Hz, (bins, N)."""
    clock, N = training.problem.clock, training.problem.neurons
    edges = clock.stimulus_off + 0.5 + np.arange(clock.bins + 1) * clock.learn_every
    counts = np.histogram2d(spikes.step, spikes.neuron, [edges, np.arange(N + 1) - 0.5])[0]
    return counts / (clock.learn_every * clock.dt_ms / 1000)


@pytest.mark.parametrize(
    ("tool", "within", "overrides"),
    [
        ("brian2", 0.01, {}),
        ("nest", 0.02, {}),
        ("nest", 0.02, {"neuron.model": "glif2", "neuron.parameters": {"fraction": 0.0, "jump_v": 0.0}}),
        ("nest", 0.02, {"neuron.model": "glif3"}),
        ("nest", 0.02, {"neuron.model": "glif4", "neuron.parameters.fraction": 0.0}),
        ("nest", 0.02, {"neuron.model": "adex", **ONE_TAU}),
    ],
    ids=["brian2", "nest", "glif2", "glif3", "glif4", "adex"],
)
def test_rates_and_currents_agree_within_the_spread_of_trials(
    make: Make, tmp_path: Path, tool: str, within: float, overrides: dict[str, Any]
) -> None:
    require(tool)
    training = trained(make, **LARGER | overrides)
    assert training.problem.targets is not None
    target = training.problem.targets.matrix(0)
    trials = TRIALS // 2 if overrides else TRIALS
    found = simulated(training, tool, tmp_path / "out", "--trials", str(trials))
    ours = evaluate(training, trials, smoothing_bins=1, keep_spikes=True)
    assert abs(found["rates_hz"].mean() / ours.rates_hz[0].mean() - 1) < within
    currents = found["currents"] / (500.0 if tool == "nest" else 1.0)  # pA
    one, two = (float(np.nanmean(pearson(u, target))) for u in (ours.currents[0], currents))
    assert one > 0.2
    assert abs(one - two) < 0.01 + 2 * found["spread_of_correlation"]
    # Two means of some trials each differ by sqrt(2) standard errors.
    psths = np.array([binned(spikes, training) for spikes in ours.trial_spikes[0]])
    for mine, theirs, spread in (
        (ours.currents[0], currents, ours.spread[0]),
        (ours.rates_hz[0], found["rates_hz"], psths.std(axis=0)),
    ):
        error = np.sqrt((spread**2).mean() / (trials - 1))
        assert np.sqrt(((mine - theirs) ** 2).mean()) < 1.4 * np.sqrt(2) * error


def test_noise_of_brian2_and_nest_has_its_statistics(make: Make, tmp_path: Path) -> None:
    """Neurons that nothing but noise makes spike, half of them with another time constant."""
    require("brian2", "nest")
    alone = {"network.K": 0, "network.L": 1, "stimulus.sigma": 0.0, "training.iterations": 1}
    halves = [
        {"name": "slow", "size": 250, "sign": 1},
        {"name": "fast", "size": 250, "sign": -1, "neuron": {"tau_m_ms": 5.0}},
    ]
    settings = {"noise.kind": "voltage", "noise.sigma": 0.9, "populations": halves}
    training = trained(make, **LARGER | alone | settings)
    ours = evaluate(training, TRIALS, smoothing_bins=1).rates_hz[0].mean(axis=0)
    for tool in ("brian2", "nest"):
        rates = simulated(training, tool, tmp_path / tool, "--trials", str(TRIALS))["rates_hz"].mean(axis=0)
        for half in (slice(250), slice(250, 500)):
            # About 10 spikes of each neuron: the difference has a standard error of some 2 %.
            assert rates[half].mean() == pytest.approx(ours[half].mean(), rel=0.05)
