"""Experiments as data: the presets hold the published values, and whatever is impossible is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rlsbench.configuration import load_experiment, parse_assignments, preset_names, to_toml
from rlsbench.errors import ConfigurationError

# Model section 5.
PUBLISHED: dict[str, dict[str, Any]] = {
    "tutorial": {"network.neurons": 4096, "network.K": 205, "network.L": 29, "time.train_duration_ms": 1000.0},
    "sinusoid": {"network.neurons": 10_000, "network.K": 512, "network.L": 45, "time.train_duration_ms": 1000.0},
    "mouse": {
        "network.neurons": 66_002,
        "network.K": 0,
        "network.L": 64,
        "time.train_duration_ms": 3000.0,
        "time.learn_every_ms": 20.0,
        "learning.lambda_plastic": 0.04,
        "learning.mu": 0.0,
        "noise.kind": "voltage",
        "noise.sigma": 0.65,
        "targets.kind": "recording",
    },
}
SHARED: dict[str, Any] = {
    "stimulus.on_ms": 800.0,
    "stimulus.off_ms": 1000.0,
    "stimulus.b_per_ms": 1 / 20,
    "stimulus.sigma": 0.2,
    "time.dt_ms": 0.1,
    "time.learn_every_ms": 10.0,
    "learning.lambda_plastic": 0.8,
    "learning.mu": 0.01,
    "noise.kind": "none",
    "targets.kind": "sinusoid",
    "targets.amplitude": 0.5,
    "targets.period_ms": 1000.0,
    "targets.minimum_rate_hz": 0.1,
    "neuron.tau_m_ms": 10.0,
    "neuron.refractory_ms": 0.1,
    "neuron.threshold": 1.0,
    "neuron.reset": 0.0,
    "synapse.tau_E_ms": 3.0,
    "synapse.tau_I_ms": 3.0,
    "synapse.tau_plas_ms": 150.0,
    "external.scale": 0.08,
    "network.frac": 1.0,
    "network.weight_EE": 0.15,
    "network.weight_EI": 1.0,
    "network.weight_IE": -0.75,
    "network.weight_II": -1.0,
    "feedforward.mu_hz": 5.0,
    "feedforward.b_per_ms": 1 / 400,
    "feedforward.sigma": 0.2,
    "feedforward.half_window_ms": 50.0,
    "training.window_ms": 50.0,
    "training.average_from_ms": 1000.0,
}


def value(experiment: Any, key: str) -> Any:
    for part in key.split("."):
        experiment = getattr(experiment, part)
    return experiment


@pytest.mark.parametrize("preset", sorted(PUBLISHED))
def test_presets_hold_the_published_values(preset: str) -> None:
    experiment = load_experiment(preset)
    wanted = SHARED | PUBLISHED[preset]
    assert {key: value(experiment, key) for key in wanted} == wanted


@pytest.mark.parametrize("preset", preset_names())
def test_toml_reads_back_to_the_same(preset: str, tmp_path: Path) -> None:
    experiment = load_experiment(preset, overrides={"synapse.tau_plas_ms": [100.0, 200.0]})
    file = tmp_path / "experiment.toml"
    file.write_text(to_toml(experiment))
    again = load_experiment(preset, config=file)
    assert again == experiment


def test_later_settings_win(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[network]\nneurons = 5000\n[training]\nseed = 7\n")
    experiment = load_experiment("tutorial", config=file, overrides={"training.seed": 8})
    assert (experiment.network.neurons, experiment.training.seed, experiment.network.K) == (5000, 8, 205)


def test_L_follows_K_where_it_is_left_out(tmp_path: Path) -> None:
    for K, L in ((512, 45), (205, 29), (0, 0)):
        experiment = load_experiment("smoke", overrides={"network.neurons": 5000, "network.K": K, "network.L": None})
        assert experiment.network.plastic_per_population == L


def test_an_experiment_does_not_change() -> None:
    with pytest.raises(ValidationError):
        load_experiment("smoke").network.neurons = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("assignment", "fragments"),
    [
        ("network.neurons=0", ["network.neurons", "0", "greater than or equal to 2"]),
        ("network.neurons=-5", ["network.neurons", "-5", "greater than or equal to 2"]),
        ("network.neurons=1e20", ["network.neurons", "1e+20", "less than or equal to 2147483647"]),
        ("network.neurons=ten", ["network.neurons", "'ten'", "integer"]),
        ("network.neurons=10.5", ["network.neurons", "10.5", "integer"]),
        ("network.K=2048", ["network.K = 2048", "4096", "at most 2047"]),
        ("network.L=2049", ["network.L = 2049", "at most N/2 = 2048"]),
        ("network.frac=0.01", ["network.L = 29", "frac N/2 = 20"]),
        ("network.frac=1.5", ["network.frac", "1.5", "less than or equal to 1"]),
        ("network.neuron=3", ["unknown key network.neuron", "did you mean neurons"]),
        ("netwrk.K=3", ["unknown key netwrk", "did you mean network"]),
        ("network=3", ["network", "3"]),
        ("time.learn_every_ms=0.15", ["time.learn_every_ms = 0.15", "multiple of time.dt_ms = 0.1"]),
        ("time.train_duration_ms=1005", ["time.train_duration_ms = 1005", "multiple of time.learn_every_ms = 10"]),
        ("time.train_duration_ms=-10", ["time.train_duration_ms", "-10", "greater than 0"]),
        ("time.dt_ms=nan", ["time.dt_ms", "nan", "finite"]),
        ("time.dt_ms=inf", ["time.dt_ms", "inf", "finite"]),
        ("time.dt_ms=5", ["time.dt_ms = 5", "shortest time constant"]),
        ("stimulus.on_ms=-1", ["stimulus.on_ms", "-1", "greater than or equal to 0"]),
        ("stimulus.on_ms=1200", ["stimulus.on_ms = 1200", "at most stimulus.off_ms = 1000"]),
        ("synapse.tau_plas_ms=[5,3]", ["synapse.tau_plas_ms = [5.0, 3.0]", "low <= high"]),
        ("synapse.tau_plas_ms=x", ["synapse.tau_plas_ms", "'x'", "number"]),
        ("neuron.threshold=-1", ["neuron.threshold = -1.0", "must exceed neuron.reset = 0"]),
        ("neuron.model=glif", ["neuron.model", "'glif'", "'lif'"]),
        ("noise.sigma=0.5", ["noise.sigma = 0.5", "noise.kind = voltage or current"]),
        ("training.seed=-1", ["training.seed", "-1", "greater than or equal to 0"]),
        ("training.average_from_ms=3000", ["training.average_from_ms = 3000", "less than the trial's 2000 ms"]),
        ("numerics.precision=float16", ["numerics.precision", "'float16'", "'float64' or 'float32'"]),
        ("learning.lambda_plastic=0", ["learning.lambda_plastic", "0", "greater than 0"]),
        ("network.neurons", ["cannot read 'network.neurons'", "section.key=value"]),
        ("=3", ["cannot read '=3'", "section.key=value"]),
    ],
)
def test_the_impossible_is_refused_in_one_line(assignment: str, fragments: list[str]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_experiment("tutorial", overrides=parse_assignments([assignment]))
    message = str(refused.value)
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot read the configuration"):
        load_experiment("smoke", config=tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("[network\n")
    with pytest.raises(ConfigurationError, match="is not TOML"):
        load_experiment("smoke", config=tmp_path / "bad.toml")
    with pytest.raises(ConfigurationError, match=r"unknown preset 'none'.*tutorial"):
        load_experiment("none")
