"""Configurations: the values of presets, the order of sources, and invalid values."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rlsbench.configuration import Experiment, load_experiment, parse_assignments, preset_names, to_toml
from rlsbench.errors import ConfigurationError


def value(experiment: Experiment, dotted: str) -> Any:
    """The value of a dotted key."""
    found: Any = experiment
    for part in dotted.split("."):
        found = getattr(found, part)
    return found


# docs/model.md section 5, and the constants of sections 1 and 2 for all published experiments.
SHARED: dict[str, Any] = {
    "network.frac": 1.0,
    "network.g": 1.0,
    "network.weight_EE": 0.15,
    "network.weight_EI": 1.0,
    "network.weight_IE": -0.75,
    "network.weight_II": -1.0,
    "neuron.model": "lif",
    "neuron.tau_m_ms": 10.0,
    "neuron.threshold": 1.0,
    "neuron.reset": 0.0,
    "neuron.refractory_ms": 0.1,
    "synapse.tau_E_ms": 3.0,
    "synapse.tau_I_ms": 3.0,
    "synapse.tau_plas_ms": 150.0,
    "external.scale": 0.08,
    "external.excitatory": 1.5,
    "external.inhibitory": 1.0,
    "stimulus.on_ms": 800.0,
    "stimulus.off_ms": 1000.0,
    "stimulus.mu": 0.0,
    "stimulus.b_per_ms": 1 / 20,
    "stimulus.sigma": 0.2,
    "feedforward.LX": 0,
    "feedforward.mu_hz": 5.0,
    "feedforward.b_per_ms": 1 / 400,
    "feedforward.sigma": 0.2,
    "feedforward.half_window_ms": 50.0,
    "time.dt_ms": 0.1,
    "time.train_duration_ms": 1000.0,
    "time.learn_every_ms": 10.0,
    "learning.lambda_plastic": 0.8,
    "learning.mu": 0.01,
    "learning.benchmark": False,
    "noise.kind": "none",
    "noise.sigma": 0.0,
    "targets.kind": "sinusoid",
    "targets.tasks": 1,
    "targets.amplitude": 0.5,
    "targets.period_ms": 1000.0,
    "targets.minimum_rate_hz": 0.1,
    "training.window_ms": 50.0,
    "training.average_from_ms": 1000.0,
    "numerics.precision": "auto",
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "tutorial": {"network.neurons": 4096, "network.K": 205, "network.L": 29, "training.iterations": 100},
    "sinusoid": {"network.neurons": 10_000, "network.K": 512, "network.L": 45},
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
        "targets.kind": "surrogate",
        "training.iterations": 100,
    },
}


def test_presets_are_listed() -> None:
    assert preset_names() == ["alm", "mouse", "sinusoid", "smoke", "tutorial", "tutorial-lasting"]


@pytest.mark.parametrize("preset", PUBLISHED)
def test_presets_have_the_published_values(preset: str) -> None:
    expected = SHARED | PUBLISHED[preset]
    e = load_experiment(preset)
    assert {key: value(e, key) for key in expected} == expected


def test_the_lasting_tutorial_is_the_tutorial_except_for_its_learning() -> None:
    published, lasting = load_experiment("tutorial"), load_experiment("tutorial-lasting")
    changes = {"lambda_plastic": 0.1, "lambda_feedforward": 0.1, "target_mean": "neuron", "target_mean_rate": 0.3}
    learning = published.learning.model_copy(update=changes)
    described = {"preset": lasting.preset, "description": lasting.description, "learning": learning}
    assert published.model_copy(update=described) == lasting


@pytest.mark.parametrize("preset", preset_names())
def test_presets_round_trip(preset: str, tmp_path: Path) -> None:
    e = load_experiment(preset)
    assert e.preset == preset
    assert e.description
    file = tmp_path / "resolved.toml"
    file.write_text(to_toml(e), encoding="utf-8")
    # With any preset as the basis, since the file contains every key.
    for base in preset_names():
        assert load_experiment(base, config=file) == e


def test_written_toml_contains_every_key_that_has_a_value() -> None:
    e = load_experiment("sinusoid")
    tables = tomllib.loads(to_toml(e))
    assert set(tables) == set(Experiment.model_fields)
    for name, section in e:
        if isinstance(section, str | tuple):
            assert tables[name] == (section or type(tables[name])())
            continue
        held = {key: list(v) if isinstance(v, tuple) else v for key, v in section if v is not None}
        assert tables[name] == held


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(deadline=None, max_examples=60)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "network.neurons": st.integers(400, 2**31 - 1),
            "network.K": st.integers(0, 199),
            "network.L": st.integers(0, 200),
            "network.weight_EI": st.floats(-1e9, 1e9),
            "neuron.tau_m_ms": st.floats(0.1, 1e9, exclude_min=True),
            "synapse.tau_plas_ms": st.one_of(st.floats(1, 500), st.tuples(st.floats(1, 100), st.floats(100, 500))),
            "feedforward.LX": st.integers(0, 2**40),
            "feedforward.tau_ms": st.floats(1, 100),
            "training.seed": st.integers(0, 2**63 - 1),
            "learning.benchmark": st.booleans(),
            "recording.files": st.lists(TEXT, max_size=3).map(tuple),
            "description": TEXT,
        },
    )
)
def test_any_experiment_round_trips(overrides: dict[str, Any]) -> None:
    e = load_experiment("smoke", overrides=overrides)
    for key, v in overrides.items():
        assert value(e, key) == v
    assert Experiment.model_validate(tomllib.loads(to_toml(e))) == e


@pytest.mark.parametrize("K", [0, 1, 2, 5, 10, 50, 205, 512, 1000])
def test_L_is_by_default_twice_the_root_of_K(K: int) -> None:
    def custom(**network: Any) -> Experiment:
        return Experiment.model_validate({"network": {"neurons": 5000, "K": K} | network})

    e = custom()
    assert e.network.L is None
    L = e.network.plastic_per_population
    assert round(2 * math.sqrt(K)) == L
    assert {0: 0, 205: 29, 512: 45}.get(K, L) == L
    assert tomllib.loads(to_toml(e))["network"]["L"] == L
    for given_L in (7, 0):
        assert custom(L=given_L).network.plastic_per_population == given_L


def test_overrides_win_over_the_file_and_the_file_over_the_preset(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[network]\nneurons = 3000\nK = 60\n\n[learning]\nmu = 2.0\n")
    e = load_experiment("tutorial", config=file, overrides={"network.K": 70, "training.seed": 8})
    assert (e.network.neurons, e.network.K, e.network.L) == (3000, 70, 29)  # file, override, preset
    assert (e.learning.mu, e.learning.lambda_plastic) == (2.0, 0.8)
    assert (e.training.seed, e.training.iterations) == (8, 100)
    assert e.preset == "tutorial"
    assert load_experiment("tutorial", config=str(file)).network.K == 60
    assert load_experiment("tutorial").network.neurons == 4096  # presets are not modified
    assert load_experiment(overrides={"network": {"K": 5}, "network.K": 6}).network.K == 6
    assert load_experiment() == load_experiment("smoke", overrides={})


def test_experiments_are_immutable() -> None:
    e = load_experiment("tutorial")
    with pytest.raises(ValidationError, match="frozen"):
        e.preset = "other"
    for _, section in e:
        if isinstance(section, str | tuple):
            continue
        for key in type(section).model_fields:
            with pytest.raises(ValidationError, match="frozen"):
                setattr(section, key, getattr(section, key))
        with pytest.raises(ValidationError):
            section.unheard_of = 1
    assert e == load_experiment("tutorial")


@pytest.mark.parametrize("text", ["1e4", "10_000", "10000.0", "10000"])
def test_whole_numbers_may_have_an_exponent(text: str) -> None:
    e = load_experiment("smoke", overrides=parse_assignments([f"network.neurons={text}"]))
    assert e.network.neurons == 10_000
    assert isinstance(e.network.neurons, int)


@pytest.mark.parametrize(
    ("assignment", "key", "expected"),
    [
        ("time.dt_ms=0.1", "time.dt_ms", 0.1),
        (" time.dt_ms = 0.1 ", "time.dt_ms", 0.1),
        ("noise.kind=voltage", "noise.kind", "voltage"),
        ('noise.kind="voltage"', "noise.kind", "voltage"),
        ("learning.benchmark=true", "learning.benchmark", True),
        ("synapse.tau_plas_ms=[20, 200.0]", "synapse.tau_plas_ms", [20, 200.0]),
        ("recording.files=a=b.npy", "recording.files", "a=b.npy"),
        ("numerics.device=cuda:0", "numerics.device", "cuda:0"),
        ("training.seed=1_000", "training.seed", 1000),
    ],
)
def test_assignments(assignment: str, key: str, expected: Any) -> None:
    parsed = parse_assignments([assignment])
    assert parsed == {key: expected}
    assert type(parsed[key]) is type(expected)


def test_the_last_of_two_assignments_wins() -> None:
    assert parse_assignments(["network.K=3", "network.L=4", "network.K=5"]) == {"network.K": 5, "network.L": 4}
    assert parse_assignments([]) == {}


@pytest.mark.parametrize("assignment", ["network.K", "=5", "network.K=", "", "=", " = ", "network.K = "])
def test_bad_assignments(assignment: str, refused: Any) -> None:
    with refused(ConfigurationError, repr(assignment), "section.key=value"):
        parse_assignments(["network.L=3", assignment])


@pytest.mark.parametrize("text", ["[" * 20_000, "9" * 5000], ids=["brackets", "digits"])
def test_values_that_python_cannot_read(text: str, refused: Any) -> None:
    with refused(ConfigurationError, "network.L", text[:20]) as caught:
        parse_assignments([f"network.L={text}"])
    assert len(str(caught.value)) < 600


def message_of(**arguments: Any) -> str:
    """The message of a rejected configuration, which is one line."""
    with pytest.raises(ConfigurationError) as caught:
        load_experiment(**arguments)
    message = str(caught.value)
    assert message
    assert "\n" not in message
    assert caught.value.exit_code == 2
    return message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("learning.lambda_plastic", 1e-30),
        ("learning.mu", 1e300),
        ("neuron.refractory_ms", 1e300),
        ("neuron.refractory_ms", 1e9),  # more than 2^31 steps
        ("neuron.threshold", 1e300),
        ("neuron.reset", -math.inf),
        ("feedforward.half_window_ms", 1e9),
        ("training.window_ms", 1e9),
        ("noise.sigma", 1e300),
        ("noise.sigma", math.nan),
    ],
)
def test_values_of_no_meaning(key: str, value: float) -> None:
    assert key in message_of(overrides={"noise.kind": "voltage", key: value})


def test_penalties_of_a_P_that_cannot_be_inverted() -> None:
    assert "learning.mu" in message_of(overrides={"learning.lambda_plastic": 1e-9, "learning.mu": 1e9})


# Overrides of the smoke preset (N 512, K 100, L 30, dt 0.1, stimulus 100 to 200, learn_every 10,
# duration 500); the key and value that the message names; a limit or valid value in the message.
BAD: list[tuple[dict[str, Any], str, str]] = [
    # network
    ({"network.neurons": 0}, "network.neurons = 0", "2"),
    ({"network.neurons": 1}, "network.neurons = 1", "2"),
    ({"network.neurons": -5}, "network.neurons = -5", "2"),
    ({"network.neurons": 1e20}, "network.neurons = 1e+20", "2147483647"),
    ({"network.neurons": 2**31}, "network.neurons = 2147483648", "2147483647"),
    ({"network.neurons": "ten"}, "network.neurons = 'ten'", "valid integer"),
    ({"network.neurons": 700.5}, "network.neurons = 700.5", "valid integer"),
    ({"network.neurons": math.nan}, "network.neurons = nan", "finite number"),
    ({"network.neurons": math.inf}, "network.neurons = inf", "finite number"),
    ({"network.neurons": [512]}, "network.neurons = [512]", "valid integer"),
    ({"network.neurons": None}, "network.neurons = None", "valid integer"),
    ({"network.K": 256}, "network.K = 256", "255"),
    ({"network.neurons": 201, "network.K": 101}, "network.K = 101", "100"),
    ({"network.K": -1}, "network.K = -1", "0"),
    ({"network.L": 257}, "network.L = 257", "N/2 = 256"),
    ({"network.neurons": 301, "network.L": 151}, "network.L = 151", "N/2 = 150"),
    ({"network.L": 26, "network.frac": 0.1}, "network.L = 26", "frac N/2 = 25"),
    ({"network.frac": 0}, "network.frac = 0", "0"),
    ({"network.frac": 1.1}, "network.frac = 1.1", "1"),
    ({"network.g": 0.0}, "network.g = 0.0", "0"),
    ({"network.weight_EI": math.inf}, "network.weight_EI = inf", "finite number"),
    # the clock
    ({"time.dt_ms": 0}, "time.dt_ms = 0", "0"),
    ({"time.dt_ms": -0.1}, "time.dt_ms = -0.1", "0"),
    ({"time.dt_ms": math.nan}, "time.dt_ms = nan", "finite number"),
    ({"time.dt_ms": math.inf}, "time.dt_ms = inf", "finite number"),
    ({"time.dt_ms": "fast"}, "time.dt_ms = 'fast'", "valid number"),
    ({"time.dt_ms": 5.0}, "time.dt_ms = 5", "3 ms"),
    ({"time.dt_ms": 2.0, "synapse.tau_I_ms": 2.0}, "time.dt_ms = 2", "2 ms"),
    ({"time.dt_ms": 2.0, "synapse.tau_E_ms": 1.75}, "time.dt_ms = 2", "1.75 ms"),
    ({"time.dt_ms": 2.0, "synapse.tau_I_ms": 1.5}, "time.dt_ms = 2", "1.5 ms"),
    ({"time.dt_ms": 2.0, "synapse.tau_plas_ms": [1.0, 9.0]}, "time.dt_ms = 2", "1 ms"),
    ({"time.dt_ms": 2.0, "neuron.tau_m_ms": 1.25}, "time.dt_ms = 2", "1.25 ms"),
    ({"time.dt_ms": 1e-7}, "time.dt_ms = 1e-07", "2^31"),
    ({"time.learn_every_ms": 0.25}, "time.learn_every_ms = 0.25", "time.dt_ms = 0.1"),
    ({"time.learn_every_ms": 0.04}, "time.learn_every_ms = 0.04", "time.dt_ms = 0.1"),
    ({"time.learn_every_ms": 1e-9}, "time.learn_every_ms = 1e-09", "time.dt_ms = 0.1"),
    ({"time.learn_every_ms": -10}, "time.learn_every_ms = -10", "0"),
    ({"time.train_duration_ms": 505.0}, "time.train_duration_ms = 505", "time.learn_every_ms = 10"),
    ({"time.train_duration_ms": -1.0}, "time.train_duration_ms = -1.0", "0"),
    ({"time.train_duration_ms": 1e-9}, "time.train_duration_ms = 1e-09", "time.learn_every_ms = 10"),
    ({"stimulus.off_ms": 205.0}, "stimulus.off_ms = 205", "time.learn_every_ms = 10"),
    ({"stimulus.off_ms": -200.0}, "stimulus.off_ms = -200.0", "0"),
    ({"stimulus.on_ms": 200.1}, "stimulus.on_ms = 200.1", "stimulus.off_ms = 200"),
    ({"stimulus.on_ms": 100.05}, "stimulus.on_ms = 100.05", "time.dt_ms = 0.1"),
    ({"stimulus.on_ms": -1.0}, "stimulus.on_ms = -1.0", "0"),
    ({"stimulus.sigma": -0.2}, "stimulus.sigma = -0.2", "0"),
    ({"training.average_from_ms": 700.0}, "training.average_from_ms = 700", "700 ms"),
    ({"training.average_from_ms": -1.0}, "training.average_from_ms = -1.0", "0"),
    # neurons and synapses
    ({"neuron.threshold": 0.0}, "neuron.threshold = 0.0", "neuron.reset = 0"),
    ({"neuron.reset": 1.5}, "neuron.threshold = 1.0", "neuron.reset = 1.5"),
    ({"neuron.model": ""}, "neuron.model = ''", "at least 1"),
    ({"neuron.refractory_ms": -0.1}, "neuron.refractory_ms = -0.1", "0"),
    ({"neuron.tau_m_ms": 0}, "neuron.tau_m_ms = 0", "0"),
    ({"neuron.parameters.a": "abc"}, "neuron.parameters.a = 'abc'", "valid number"),
    ({"synapse.tau_plas_ms": [200, 20]}, "synapse.tau_plas_ms = [200.0, 20.0]", "[low, high]"),
    ({"synapse.tau_plas_ms": [20, -20]}, "synapse.tau_plas_ms = [20, -20]", "0"),
    ({"synapse.tau_plas_ms": [1, 2, 3]}, "synapse.tau_plas_ms = [1, 2, 3]", "should"),
    ({"synapse.tau_plas_ms": -3}, "synapse.tau_plas_ms = -3", "0"),
    ({"synapse.tau_plas_ms": math.nan}, "synapse.tau_plas_ms = nan", "finite number"),
    ({"synapse.tau_E_ms": 0.0}, "synapse.tau_E_ms = 0.0", "0"),
    # noise, learning, targets, training, numerics
    ({"noise.sigma": 0.5}, "noise.sigma = 0.5", "noise.kind = voltage or current"),
    ({"noise.sigma": -0.5}, "noise.sigma = -0.5", "0"),
    ({"noise.kind": "pink"}, "noise.kind = 'pink'", "'none', 'voltage' or 'current'"),
    ({"learning.lambda_plastic": 0}, "learning.lambda_plastic = 0", "0"),
    ({"learning.lambda_feedforward": 0}, "learning.lambda_feedforward = 0", "0"),
    ({"learning.mu": -0.01}, "learning.mu = -0.01", "0"),
    ({"learning.lambda_growth": -0.1}, "learning.lambda_growth = -0.1", "0"),
    ({"learning.lambda_growth": math.inf}, "learning.lambda_growth = inf", "finite number"),
    ({"learning.forgetting": 0.0}, "learning.forgetting = 0.0", "greater than 0"),
    ({"learning.forgetting": 1.1}, "learning.forgetting = 1.1", "1"),
    ({"learning.target_mean": "free"}, "learning.target_mean = 'free'", "'neuron' or 'population'"),
    ({"learning.target_mean_rate": 0.0}, "learning.target_mean_rate = 0.0", "greater than 0"),
    ({"learning.target_mean_rate": 1.5}, "learning.target_mean_rate = 1.5", "1"),
    ({"learning.target_mean_rate": math.nan}, "learning.target_mean_rate = nan", ""),
    ({"learning.external": "free"}, "learning.external = 'free'", "'fixed' or 'rate'"),
    ({"learning.external_gain": 0.0}, "learning.external_gain = 0.0", "greater than 0"),
    ({"learning.external_gain": 1.5}, "learning.external_gain = 1.5", "1"),
    ({"learning.external_gain": math.nan}, "learning.external_gain = nan", ""),
    ({"learning.inputs": []}, "learning.inputs = []", "must name"),
    ({"learning.inputs": ["external"]}, "learning.inputs", "'inhibitory'"),
    ({"learning.inputs": ["feedforward"]}, "learning.inputs = ['feedforward']", "must name"),
    ({"learning.neurons": []}, "learning.neurons = []", "must name"),
    ({"learning.neurons": ["all"]}, "learning.neurons", "one of"),
    ({"learning.benchmark": "maybe"}, "learning.benchmark = 'maybe'", "valid boolean"),
    ({"feedforward.LX": -1}, "feedforward.LX = -1", "0"),
    ({"targets.kind": "square"}, "targets.kind = 'square'", "'surrogate' or 'given'"),
    ({"targets.tasks": 0}, "targets.tasks = 0", "1"),
    ({"targets.transfer": "linear"}, "targets.transfer = 'linear'", "'stationary' or 'simulated'"),
    ({"targets.untrained": -1}, "targets.untrained = -1", "0"),
    ({"recording.files": 5}, "recording.files = 5", "valid tuple"),
    ({"recording.time_axis": "up"}, "recording.time_axis = 'up'", "'rows' or 'columns'"),
    ({"recording.window_s": [1]}, "recording.window_s", "missing"),
    ({"recording.smoothing": "loess"}, "recording.smoothing = 'loess'", "'boxcar', 'gaussian' or 'none'"),
    ({"recording.minimum_rate_hz": -1}, "recording.minimum_rate_hz = -1", "0"),
    ({"targets.minimum_rate_hz": 0}, "targets.minimum_rate_hz = 0", "0"),
    ({"targets.kind": "recording", "network.K": 0}, "noise.sigma = 0.0", "positive"),
    ({"training.seed": -1}, "training.seed = -1", "0"),
    ({"training.seed": 2**63}, f"training.seed = {2**63}", "9223372036854775807"),
    ({"training.seed": 1.5}, "training.seed = 1.5", "valid integer"),
    ({"training.iterations": -1}, "training.iterations = -1", "0"),
    ({"training.window_ms": 0}, "training.window_ms = 0", "0"),
    ({"numerics.precision": "float8"}, "numerics.precision = 'float8'", "'float64'"),
    ({"numerics.storage": "sparse"}, "numerics.storage = 'sparse'", "'packed'"),
    ({"numerics.threads": -1}, "numerics.threads = -1", "0"),
    # keys, sections and whole tables
    ({"network.neuron": 9}, "network.neuron", "neurons?"),
    ({"time.dt": 0.1}, "time.dt", "dt_ms, learn_every_ms, train_duration_ms"),
    ({"network.zzz": 9}, "network.zzz", "K, L, frac"),
    ({"netwrk.K": 9}, "netwrk", "network?"),
    ({"neurons": 9}, "neurons", "neuron?"),
    ({"zzz.K": 9}, "zzz", "checkpoints, connectivity, description, external, feedforward"),
    ({"network": 5}, "network = 5", "valid dictionary"),
    ({"network.K.x": 5}, "network.K = {'x': 5}", "valid integer"),
    ({"preset": 5}, "preset = 5", "valid string"),
    (
        {"network.neurons": 0, "noise.kind": "pink", "training.seed": -1},
        "network.neurons = 0",
        "noise.kind, training.seed",
    ),
]


@pytest.mark.parametrize(
    ("overrides", "named", "accepted"), BAD, ids=[f"{i:02}-{b[1][:40]}" for i, b in enumerate(BAD)]
)
def test_messages_name_the_key_the_value_and_what_is_valid(
    overrides: dict[str, Any], named: str, accepted: str
) -> None:
    before, found, after = message_of(overrides=overrides).partition(named)
    assert found
    assert after[:1] in (":", ";", " ")
    assert len(before) <= len("unknown key ")  # the key comes first
    assert accepted in after


@pytest.mark.parametrize(
    "overrides",
    [
        {"network.K": 255},
        {"network.neurons": 201},  # an odd number may have K = (N - 1)/2
        {"network.L": 256},
        {"network.L": 25, "network.frac": 0.1},
        {"network.L": 0},
        {"network.neurons": 2**31 - 1},
        {"network.neurons": 2, "network.K": 0, "network.L": 1},
        {"time.dt_ms": 2.5, "stimulus.on_ms": 100.0},
        {"stimulus.on_ms": 200.0},
        {"stimulus.on_ms": 0.0, "stimulus.off_ms": 0.0},
        {"time.train_duration_ms": 10.0},
        {"time.learn_every_ms": 0.1, "time.dt_ms": 0.1},
        {"time.learn_every_ms": 0.3, "stimulus.off_ms": 0.3, "stimulus.on_ms": 0, "time.train_duration_ms": 600.0},
        {"training.average_from_ms": 699.9},
        {"synapse.tau_plas_ms": [20, 20]},
        {"noise.kind": "current", "noise.sigma": 0.5},
        {"noise.kind": "voltage"},
        {"training.seed": 2**63 - 1},
        {"training.iterations": 0},
        {"targets.kind": "recording"},
    ],
)
def test_values_at_the_limits_are_valid(overrides: dict[str, Any]) -> None:
    e = load_experiment("smoke", overrides=overrides)
    for key, expected in overrides.items():
        found = value(e, key)
        assert (list(found) if isinstance(found, tuple) else found) == expected


def test_unknown_presets_are_errors() -> None:
    message = message_of(preset="tutorail")
    assert all(name in message for name in ["'tutorail'", *preset_names()])
    message_of(preset="../presets/smoke")


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"network = [", "TOML"),
        (b"neurons 5", "TOML"),
        (b"[network]\nK = 5\nK = 6\n", "TOML"),
        (b"\xff\xfe", "TOML"),
        (b"[network]\nKK = 5\n", "network.KK"),
        (b"[network]\nK = 300\n", "network.K = 300"),
        (b"K = 300\n", "key K"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, wanted: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_bytes(content)
    message = message_of(config=file)
    assert wanted in message
    assert (str(file) in message) == ("TOML" in wanted)


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    (tmp_path / "marked.toml").write_text("[network]\nK = 7\n", encoding="utf-8-sig")
    assert load_experiment(config=tmp_path / "marked.toml").network.K == 7


def test_unreadable_files(tmp_path: Path) -> None:
    missing = tmp_path / "missing.toml"
    for path, reason in ((missing, "No such file"), (tmp_path, "Is a directory")):
        message = message_of(config=path)
        assert str(path) in message
        assert reason in message


NUMBERS = st.one_of(
    st.floats(),
    st.integers(),
    st.sampled_from([1e-310, 5e-324, 1e308, -0.0, 2**31, 2**64, 10**400, True, "", "1e4", "nan", [1, 2], {}]),
    st.just([{"name": "a", "size": 30, "sign": 1}, {"name": "b", "size": 20.0, "sign": "inhibitory"}]),
)
KEYS = [f"{name}.{key}" for name, section in load_experiment() for key in getattr(type(section), "model_fields", ())]
KEYS.append("populations")


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(st.sampled_from(KEYS), NUMBERS, min_size=1, max_size=3))
def test_anything_gives_an_experiment_or_one_line(overrides: dict[str, Any]) -> None:
    try:
        e = load_experiment("smoke", overrides=overrides)
    except ConfigurationError:
        message_of(overrides=overrides)
    else:
        assert Experiment.model_validate(e.model_dump()) == e
