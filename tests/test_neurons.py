"""Neuron models: their equations, integrated independently, values by neuron, and bad input."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rlsbench import prepare
from rlsbench.backend import Options, get_backend
from rlsbench.configuration import load_experiment
from rlsbench.conformance.subjects import Subject, problem
from rlsbench.errors import ConfigurationError, NumericsError, RecordingError, UnsupportedError
from rlsbench.neurons import LIF, NeuronModel, Neurons, Parameter, make_neurons, model_names, neuron_model, where
from rlsbench.neurons.formulas import equations, formulas
from rlsbench.problem import InitialTrial
from rlsbench.targets.making import fit_to_recording, make_targets
from rlsbench.training.trial import run_trial
from rlsbench.transfer import measured, simulated_current
from rlsbench.transfer.measured import InputNoise, measured_current, measured_rate
from tests.conftest import usable

Refused = Callable[..., Any]

# One neuron in the authors' units, integrated in small steps by scalar code of its own.
# Each function returns the state, how to advance and reset it, how to scale a voltage in mV, the
# unit of currents, and tau_m.
#
# Teeter et al. 2018, with the cell of NEST's glif_psc; Brette and Gerstner 2005; Izhikevich 2003.


def glif(kind: int) -> Any:
    C, G, E_L, V_th = 58.72, 9.43, -78.85, -51.68
    R, ASC, A = kind in (2, 4, 5), kind in (3, 4, 5), kind == 5

    def advance(s: SimpleNamespace, I: float, h: float) -> bool:
        V, th_s, th_v, i1, i2 = s.V, s.th_s, s.th_v, s.i1, s.i2
        s.V += h * (I + i1 + i2 - G * (V - E_L)) / C
        s.th_s -= h * 0.009 * th_s
        s.th_v += h * (0.005 * (V - E_L) - 0.09 * th_v) if A else 0.0
        s.i1 -= h * 0.003 * i1
        s.i2 -= h * 0.1 * i2
        return bool(V_th + s.th_s + s.th_v < s.V)

    def spike(s: SimpleNamespace) -> None:
        s.V = E_L + 0.2 * (s.V - E_L) + 18.51 if R else E_L
        s.th_s += 0.37 if R else 0.0
        s.i1 -= 9.18 if ASC else 0.0
        s.i2 -= 198.94 if ASC else 0.0

    start = SimpleNamespace(V=E_L, th_s=0.0, th_v=0.0, i1=0.0, i2=0.0)
    return start, advance, spike, lambda V: (V - E_L) / (V_th - E_L), G * (V_th - E_L), C / G


def adex() -> Any:
    C, g, E_L, V_T, D, tau_w, a, b = 281.0, 30.0, -70.6, -50.4, 2.0, 144.0, 4.0, 80.5

    def advance(s: SimpleNamespace, I: float, h: float) -> bool:
        V, w = s.V, s.w
        s.V += h / C * (-g * (V - E_L) + g * D * math.exp((V - V_T) / D) - w + I)
        s.w += h / tau_w * (a * (V - E_L) - w)
        return bool(s.V > 20.0)

    def spike(s: SimpleNamespace) -> None:
        s.V, s.w = E_L, s.w + b

    return SimpleNamespace(V=E_L, w=0.0), advance, spike, lambda V: (V - E_L) / (V_T - E_L), g * (V_T - E_L), C / g


def izhikevich() -> Any:
    a, b, c, d = 0.02, 0.2, -65.0, 8.0

    def advance(s: SimpleNamespace, I: float, h: float) -> bool:
        V, u = s.V, s.u
        s.V += h * (0.04 * V * V + 5 * V + 140 - u + I)
        s.u += h * a * (b * V - u)
        return bool(s.V > 30.0)

    def spike(s: SimpleNamespace) -> None:
        s.V, s.u = c, s.u + d

    return SimpleNamespace(V=c, u=b * -70.0), advance, spike, lambda V: (V + 65) / 15, 1.5, 10.0


PUBLISHED = {**{f"glif{kind}": (glif, kind) for kind in range(1, 6)}, "adex": (adex,), "izhikevich": (izhikevich,)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_models_follow_their_published_equations(name: str) -> None:
    """Intervals within 2 % of those in small steps, and voltages before the first spike too."""
    make, *arguments = PUBLISHED[name]
    s, advance, spike, scaled, unit, tau_m = make(*arguments)  # type: ignore[operator]
    drive, dt, steps, parts = (2.5 if name != "izhikevich" else 12.0), 0.05, 6000, 10
    neurons = Neurons(neuron_model(name), {"tau_m_ms": tau_m}, name=name)
    state = neurons.initial_state(np.zeros(1))
    found, wanted, voltages = [], [], []
    for i in range(steps):
        crossed = any(advance(s, drive * unit, dt / parts) for _ in range(parts))
        if neurons.advance(state, np.array([drive]), np.ones(1, bool), dt)[0]:
            found.append(i * dt)
        if crossed:
            spike(s)
            wanted.append(i * dt)
        if not wanted and not found and state[0, 0] < 1:
            voltages.append((state[0, 0], scaled(s.V)))
    assert len(wanted) > 10
    assert abs(len(found) - len(wanted)) <= max(1, 0.02 * len(wanted))
    half = min(len(found), len(wanted)) // 2
    np.testing.assert_allclose(np.diff(found)[:half].mean(), np.diff(wanted)[:half].mean(), rtol=0.02)
    ours, theirs = np.array(voltages).T
    np.testing.assert_allclose(ours, theirs, atol=0.02)


OFF = {
    "glif1": {},
    "glif2": {"fraction": 0.0, "jump_v": 0.0, "jump_theta": 0.0},
    "glif3": {"jump1": 0.0, "jump2": 0.0},
    "glif4": {"fraction": 0.0, "jump_v": 0.0, "jump_theta": 0.0, "jump1": 0.0, "jump2": 0.0},
    "glif5": {**dict.fromkeys(("fraction", "jump_v", "jump_theta", "jump1", "jump2", "growth_phi_per_ms"), 0.0)},
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_glif_without_extras_is_lif_bit_for_bit(dtype: str) -> None:
    rng = np.random.default_rng(1)
    drive, normals = rng.normal(1.2, 3, (300, 50)).astype(dtype), rng.normal(size=50).astype(dtype)
    active = rng.random((300, 50)) < 0.9
    lif = Neurons()
    wanted = lif.initial_state(normals)
    states = {name: Neurons(neuron_model(name), values) for name, values in OFF.items()}
    others = {name: neurons.initial_state(normals) for name, neurons in states.items()}
    spikes = 0
    for now, who in zip(drive, active, strict=True):
        spiked = lif.advance(wanted, now, who, 0.1)
        spikes += spiked.sum()
        for name, state in others.items():
            np.testing.assert_array_equal(states[name].advance(state, now, who, 0.1), spiked)
            np.testing.assert_array_equal(state[0], wanted[0])
            assert state.dtype == dtype
    assert spikes > 50


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        pytest.param("numba", "float64", marks=pytest.mark.xdist_group("numba float64")),
        pytest.param("numba", "float32", marks=[pytest.mark.xdist_group("numba float32"), pytest.mark.combinations]),
        ("torch", "float64"),
        ("torch", "float32"),
    ],
)
def test_glif_without_extras_is_lif_bit_for_bit_where_it_is_compiled(name: str, precision: str) -> None:
    backend, everyone = usable(name), np.arange(1003)  # not a multiple of a vector's length
    changes = {"network.neurons": 1003, "neuron.refractory_ms": 0.5, "noise.kind": "voltage", "noise.sigma": 0.3}
    p = problem(**changes)

    def trained(neurons: Neurons) -> list[Any]:
        trainer = backend.trainer(replace(p, neuron=neurons), Options(precision, precision, "full", 2))
        spikes = run_trial(trainer, 1, record=everyone).spikes
        return [spikes.step, spikes.neuron, trainer.voltages(), *trainer.state().kept.values(), trainer.weights()]

    wanted = trained(Neurons(LIF, {}, 0.5))
    assert len(wanted[0]) > 500
    for model, values in OFF.items():
        for got, array in zip(trained(Neurons(neuron_model(model), values, 0.5)), wanted, strict=True):
            np.testing.assert_array_equal(got, array, model)


def test_lif_initial_state() -> None:
    z = np.array([0.0, 1.0, -2.0])
    neurons = Neurons(LIF, {"threshold": 1.5, "reset_voltage": -0.5})
    np.testing.assert_array_equal(neurons.initial_state(z), [[-0.5, 1.5, -4.5]])
    assert Neurons().initial_state(np.zeros(3, np.float32)).dtype == np.float32


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_lif_step_spikes_and_reset(dtype: str) -> None:
    neurons = Neurons(LIF, {"tau_m_ms": 20.0, "reset_voltage": -0.5})
    above = np.nextafter(np.array(1.0, dtype), np.array(2.0, dtype))
    state = np.array([[0.0, 1.0, 0.5, 3.0, above]], dtype)
    active = np.array([True, True, True, False, True])
    spiked = neurons.advance(state, np.array([10.0, 1.0, -1.5, 50.0, above], dtype), active, 2.0)
    assert state.dtype == dtype
    np.testing.assert_allclose(state, [[1.0, 1.0, 0.3, 3.0, -0.5]], rtol=1e-6)
    assert spiked.tolist() == [False, False, False, False, True]  # above, not at, the threshold; not while refractory
    assert neurons.advance(state, state[0], np.ones(5, bool), 2.0).tolist() == [False, False, False, True, False]


def test_lif_relaxes_to_its_drive_and_fires_at_its_rate() -> None:
    """Without noise, v -> drive if below the threshold; otherwise the interval between spikes is
    tau_m ln(drive/(drive - 1)).
    """
    state, spikes = np.zeros((1, 2)), np.zeros(2, int)
    for _ in range(20_000):
        spikes += Neurons().advance(state, np.array([0.9, 1.5]), np.ones(2, bool), 0.01)
    assert state[0, 0] == pytest.approx(0.9, abs=1e-6)
    assert spikes[0] == 0
    assert spikes[1] == pytest.approx(200 / (10 * math.log(3)), abs=1)


def test_neurons_of_the_configuration(tmp_path: Path) -> None:
    changes = {"tau_m_ms": 15.0, "threshold": 2.0, "reset": -1.0, "refractory_ms": 2.5}
    neurons = make_neurons(load_experiment("smoke", overrides={f"neuron.{key}": v for key, v in changes.items()}))
    assert dict(neurons.values) == {"tau_m_ms": 15.0, "threshold": 2.0, "reset_voltage": -1.0}
    assert (neurons.model, neurons.name, neurons.tau_m_ms, neurons.refractory_ms) == (LIF, "lif", 15.0, 2.5)
    default = make_neurons(load_experiment("tutorial"))
    assert dict(default.values) == {"tau_m_ms": 10.0, "threshold": 1.0, "reset_voltage": 0.0}
    assert default.plain
    N = load_experiment("smoke").network.neurons
    table = tmp_path / "cells.csv"
    table.write_text("jump2,tau_m_ms\n" + "".join(f"{-i},{5 + i}\n" for i in range(N)))
    overrides = {"neuron.model": "glif3", "neuron.parameters": {"jump1": -0.5}, "neuron.table": str(table)}
    populations = [
        {"name": "A", "size": 50, "sign": 1},
        {"name": "B", "size": N - 50, "sign": -1, "neuron": {"keep1": 0.25, "tau_m_ms": 3.0}},
    ]
    neurons = make_neurons(load_experiment("smoke", overrides=overrides | {"populations": populations}))
    assert set(neurons.varying) == {"jump2", "tau_m_ms", "keep1"}
    np.testing.assert_array_equal(neurons.values["jump2"], -np.arange(N))
    np.testing.assert_array_equal(neurons.values["keep1"], np.repeat([1.0, 0.25], [50, N - 50]))
    assert (neurons.values["jump1"], *neurons.tau_m_ms[[2, 70]]) == (-0.5, 7.0, 3.0)
    part = neurons.part(np.arange(70, 75))
    assert part.varying == ("jump2",)
    assert part.tau_m_ms == 3.0


def test_neurons_with_values_of_their_own_are_those_neurons() -> None:
    """Half of the neurons with other parameters: each half as in a network of only those."""
    values = [{"jump2": -0.1, "decay2_per_ms": 0.02}, {"jump2": -1.5, "decay2_per_ms": 0.2}]
    rng = np.random.default_rng(3)
    model, drive, z = neuron_model("glif3"), rng.normal(2, 3, (400, 40)), rng.normal(size=40)
    each = Neurons(model, {key: np.repeat([v[key] for v in values], 20) for key in values[0]})
    alone = [Neurons(model, v) for v in values]
    state, states = each.initial_state(z), [neurons.initial_state(z) for neurons in alone]
    for now in drive:
        each.advance(state, now, np.ones(40, bool), 0.1)
        for neurons, other in zip(alone, states, strict=True):
            neurons.advance(other, now, np.ones(40, bool), 0.1)
    np.testing.assert_array_equal(state, np.concatenate([states[0][:, :20], states[1][:, 20:]], axis=1))
    assert not np.array_equal(states[0], states[1])


def test_adaptation_goes_on_in_the_refractory_period() -> None:
    for name in ("glif2", "glif3", "glif4", "glif5", "adex", "izhikevich"):
        neurons = Neurons(neuron_model(name))
        state = np.full((len(neurons.model.variables), 2), 0.5)
        neurons.advance(state, np.ones(2), np.array([True, False]), 0.1)
        assert state[0, 1] == 0.5, name
        np.testing.assert_array_equal(state[1:, 0], state[1:, 1])
        assert (state[1:] != 0.5).any(axis=1).all(), name


class NoReset(NeuronModel):
    step, spikes = LIF.step, LIF.spikes


class TooMany(LIF):
    @staticmethod
    def step(s: Any, I: Any, p: Any, dt_ms: Any) -> Any:
        return s.v, s.v


class Branches(LIF):
    @staticmethod
    def reset(s: Any, p: Any) -> Any:
        return (0.0,) if s.v > 1 else (1.0,)


class Misspelt(LIF):
    @staticmethod
    def step(s: Any, I: Any, p: Any, dt_ms: Any) -> Any:
        return (s.v + dt_ms / p.tau_ms * (I - s.v),)


class UsesMath(LIF):
    @staticmethod
    def step(s: Any, I: Any, p: Any, dt_ms: Any) -> Any:
        return (s.v + dt_ms * math.sqrt(I),)


class NoStaticMethod(LIF):
    def step(self, s: Any, I: Any, p: Any, dt_ms: Any) -> Any:  # type: ignore[override]
        return (s.v,)


class NoComparison(LIF):
    @staticmethod
    def spikes(s: Any, p: Any) -> Any:
        return s.v


class OwnThreshold(LIF):
    threshold = Parameter(0.3)


class OutOfRange(LIF):
    part = Parameter(2.0, "", "", 0, 1)


class Explodes(LIF):
    variables = ("v", "w")
    rate = Parameter(50.0, "1/ms", "", 0)

    @staticmethod
    def step(s: Any, I: Any, p: Any, dt_ms: Any) -> Any:
        return -s.w, s.w * s.w + dt_ms * p.rate

    @staticmethod
    def reset(s: Any, p: Any) -> Any:
        return p.reset_voltage, s.w


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"model": "hodgkin"}, ["neuron.model = 'hodgkin'", "glif3", "module:Name"]),
        ({"model": "no.such:Thing"}, ["neuron.model = 'no.such:Thing'", "ModuleNotFoundError", "PYTHONPATH"]),
        ({"model": "math:Thing"}, ["neuron.model = 'math:Thing'", "AttributeError"]),
        ({"model": "math:pi"}, ["neuron.model = 'math:pi'", "NeuronModel"]),
        ({"model": "own:NoReset"}, ["no reset"]),
        ({"model": "own:TooMany"}, ["step returns 2 values", "1, v"]),
        ({"model": "own:Branches"}, ["reset fails", "ValueError", "where"]),
        ({"model": "own:Misspelt"}, ["tau_ms", "tau_m_ms, threshold, reset_voltage"]),
        ({"model": "own:UsesMath"}, ["step fails", "muladd"]),
        ({"model": "own:NoStaticMethod"}, ["step(s, I, p, dt_ms)", "@staticmethod"]),
        ({"parameters": {"tau_m_ms": 5.0}}, ["neuron.parameters.tau_m_ms", "neuron.tau_m_ms"]),
        ({"parameters": {"reset_voltage": 0.1}}, ["neuron.parameters.reset_voltage", "neuron.reset"]),
        ({"model": "own:NoComparison"}, ["spikes", "comparison"]),
        ({"model": "own:OwnThreshold"}, ["threshold", "neuron.threshold"]),
        ({"model": "own:OutOfRange"}, ["part = 2", "0 to 1"]),
        ({"parameters": {"jump1": 0.0}}, ["neuron.parameters.jump1", "lif has no parameters"]),
        ({"model": "glif3", "parameters": {"jump3": 0.0}}, ["neuron.parameters.jump3", "jump2"]),
        ({"model": "glif3", "parameters": {"keep1": 1.5}}, ["neuron.parameters.keep1 = 1.5", "from 0 to 1"]),
        ({"model": "glif3", "parameters": {"jump1": math.nan}}, ["neuron.parameters"]),
        ({"model": "glif3", "table": "no.csv"}, ["neuron.table = 'no.csv'", "FileNotFoundError"]),
    ],
)
def test_bad_models_and_parameters(
    settings: dict[str, Any], named: list[str], refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "own", SimpleNamespace(**globals()))
    with refused(ConfigurationError, *named):
        make_neurons(load_experiment("smoke", overrides={f"neuron.{key}": v for key, v in settings.items()}))


def test_arithmetic_that_numba_lacks_is_named(
    refused: Refused, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    usable("numba")

    class Absolute(LIF):
        @staticmethod
        def step(s: Any, I: Any, p: Any, dt_ms: Any) -> Any:
            return (s.v + dt_ms * abs(I),)

    monkeypatch.setitem(sys.modules, "own_absolute", SimpleNamespace(Absolute=Absolute))
    with refused(UnsupportedError, "own_absolute:Absolute", "abs", "where"):
        prepare(load_experiment("smoke", overrides=tiny | {"neuron.model": "own_absolute:Absolute"}), "numba")


def test_bad_parameters_of_a_population(refused: Refused) -> None:
    N = load_experiment("smoke").network.neurons
    for parameters, named in (({"jump": 1.0}, "jump1"), ({"keep1": -1.0}, "from 0 to 1")):
        half = {"name": "half", "size": N // 2, "sign": 1}
        table = {"name": "all", "size": N - N // 2, "sign": -1, "neuron": parameters}
        with refused(ConfigurationError, f"populations.all.neuron.{next(iter(parameters))}", named):
            make_neurons(load_experiment("smoke", overrides={"neuron.model": "glif3", "populations": [half, table]}))


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_a_table_has_a_row_for_each_neuron_of_a_training(backend: str, tmp_path: Path, tiny: dict[str, Any]) -> None:
    usable(backend)
    file, N = tmp_path / "own.csv", tiny["network.neurons"]
    thresholds = np.linspace(0.8, 1.2, N)
    file.write_text("threshold\n" + "\n".join(map(str, thresholds)) + "\n")
    training = prepare(load_experiment("smoke", overrides=tiny | {"neuron.table": str(file)}), backend)
    np.testing.assert_allclose(training.problem.neuron.threshold, thresholds)
    assert next(training.run(1)).firing_rate_hz > 0


def test_bad_tables(tmp_path: Path, refused: Refused) -> None:
    N = load_experiment("smoke").network.neurons
    for text, named in (
        ("jump1\n1\n2\n", ["2 rows", str(N)]),
        ("jump9\n" + "1\n" * N, ["column jump9", "jump1"]),
        ("keep1\n" + "1\n" * (N - 1) + "2\n", ["column keep1 = 2", f"neuron {N - 1}", "from 0 to 1"]),
        ("keep1\n" + "1\n" * (N - 1) + "nan\n", ["column keep1 = nan", f"neuron {N - 1}"]),
        ("keep1\n" + "x\n" * N, ["cannot be read"]),
    ):
        path = tmp_path / f"{len(text)}{named[0][:9]}.csv"
        path.write_text(text)
        with refused(ConfigurationError, str(path), *named):
            make_neurons(load_experiment("smoke", overrides={"neuron.model": "glif3", "neuron.table": str(path)}))


@pytest.mark.parametrize("backend", ["numpy-packed", "numba", "torch"])
def test_the_model_of_the_page_follows_the_reference(backend: str, page_model: str) -> None:
    usable(backend)
    p = problem(**{"neuron.model": page_model, "neuron.parameters": {"jump": 0.3}})
    storage = get_backend(backend).capabilities.storages[0]
    trainers = [get_backend(backend).trainer(p, Options("float64", "float64", storage, 1)), Subject.reference(p)]
    got, wanted = (run_trial(t, 1, record=np.arange(p.neurons)).spikes for t in trainers)
    assert len(wanted.step) > 50
    np.testing.assert_array_equal(got.step, wanted.step)
    np.testing.assert_array_equal(got.neuron, wanted.neuron)


def test_equations_follow_from_the_definition() -> None:
    import sympy

    v, w = sympy.symbols("v w")
    found = formulas(neuron_model("izhikevich"), lambda group, name: sympy.Symbol(name))
    values = {name: p.default for name, p in neuron_model("izhikevich").parameters().items()} | {"dt_ms": 0.1, "I": 2.0}
    slope = sympy.lambdify((v, w), found.step[0].subs(values) - v)
    V, u = 15 * 0.4 - 65, 15 * 0.3 - 14  # in mV
    wanted = 0.1 * (0.04 * V * V + 5 * V + 140 - u + 2 * 1.5) / 15
    assert slope(0.4, 0.3) == pytest.approx(wanted, rel=1e-12)
    lines = equations(neuron_model("glif3")).splitlines()
    assert len(lines) == 2 + 3 + 1 + 3  # around three derivatives, a condition and three changes
    assert all(part in lines[1] for part in (r"\frac{d v}{dt}", r"\tau_{m}", "a_{1}"))


def test_every_shipped_model_is_listed_and_fires_in_a_network() -> None:
    names = model_names()
    assert {"lif", "adex", "izhikevich", *(f"glif{kind}" for kind in range(1, 6))} <= {*names}
    for name in ("glif5", "izhikevich"):
        p = problem(**{"neuron.model": name})
        assert p.required_features == {"neuron-models"}
        assert run_trial(Subject.reference(p), 1).spike_counts.sum() > 20
    assert problem(**{"neuron.model": "glif1"}).required_features == {"neuron:lif"}


def test_a_state_that_explodes_is_named(
    refused: Refused, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "own", SimpleNamespace(Explodes=Explodes))
    with refused(NumericsError, "initial trial", "v of neuron 0"):
        prepare(load_experiment("smoke", overrides=tiny | {"neuron.model": "own:Explodes"}), "numpy-full")


# From rates to currents


class Inverted(LIF):
    """Blocked by strong input."""

    @staticmethod
    def step(s: Any, I: Any, p: Any, dt_ms: Any) -> Any:
        return LIF.step(s, where(I < 1.5, I, 0.0 * I), p, dt_ms)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"GRID": 20, "REPLICAS": 60, "WARM_UP_MS": 50.0, "DURATION_MS": 200.0}.items():
        monkeypatch.setattr(measured, name, value)


@pytest.mark.usefixtures("quick")
def test_currents_are_measured_on_simulated_neurons() -> None:
    """As the formula for LIF; for another model, rates at these currents are those wanted."""
    rates, noise = np.array([[8.0, 20.0], [30.0, 40.0]]), InputNoise(voltage=0.65 * 0.1)
    found = measured_current(rates, Neurons(), noise, 0.1)
    np.testing.assert_allclose(found, simulated_current(rates, 0.65), atol=0.08)
    glif3 = Neurons(neuron_model("glif3"))
    again = measured_rate(measured_current(rates, glif3, noise, 0.1).ravel(), glif3, noise, 0.1)
    np.testing.assert_allclose(again, rates.ravel(), rtol=0.25)


@pytest.mark.usefixtures("quick")
def test_currents_for_neurons_whose_noise_is_filtered_by_static_synapses(tmp_path: Path) -> None:
    """The formula is for white noise: at its currents, these neurons do not fire at all."""
    rates, std = np.linspace(10, 40, 20).reshape(10, 2), 1.2
    np.save(tmp_path / "rates.npy", rates)
    settings = {"network.K": 1, "network.L": 1, "synapse.tau_E_ms": 0.5, "synapse.tau_I_ms": 0.5}
    settings |= {"noise.kind": "none", "noise.sigma": 0.0, "targets.subtract_external": False}
    settings |= {"recording.files": str(tmp_path / "rates.npy"), "recording.time_axis": "rows"}
    settings |= {"targets.kind": "recording", "targets.untrained": 2}
    noise, fired = InputNoise(filtered=std, tau_ms=0.5), {}
    for transfer in ("simulated", "stationary"):
        e = load_experiment("mouse", overrides=settings | {"targets.transfer": transfer})
        e, recording = fit_to_recording(e)
        initial = InitialTrial(*np.zeros((2, 4)), np.full(4, std))
        currents = make_targets(e, initial, recording).matrix(0)
        currents = currents[:, np.isfinite(currents[0])]
        fired[transfer] = measured_rate(currents.ravel(), make_neurons(e), noise, e.time.dt_ms)
    assert fired["simulated"].mean() == pytest.approx(rates.mean(), rel=0.15)
    assert fired["stationary"].max() < 0.5 * rates.min()


@pytest.mark.usefixtures("quick")
def test_rates_without_a_current(refused: Refused) -> None:
    noise = InputNoise(voltage=0.065)
    for error, neurons, rate, named in (
        (RecordingError, Neurons(), 0.01, "0.01 Hz"),
        (RecordingError, Neurons(refractory_ms=50.0), 30.0, "31 Hz"),
        (ConfigurationError, Neurons(Inverted, name="own:Inverted"), 30.0, "own:Inverted"),
        (ConfigurationError, Neurons(LIF, {"threshold": np.linspace(1, 2, 9)}), 9.0, "threshold"),
        (ConfigurationError, Neurons(Explodes, name="own:Explodes"), 9.0, "own:Explodes"),
    ):
        with refused(error, "targets.transfer" if neurons.model is not Explodes else "explodes", named):
            measured_current([rate, 31.0 if rate > 10 else 10.0], neurons, noise, 0.1)


def test_models_without_a_formula_ask_for_the_simulation(refused: Refused, tiny: dict[str, Any]) -> None:
    settings = tiny | {"neuron.model": "glif3", "targets.kind": "surrogate"}
    with refused(ConfigurationError, "targets.transfer = 'stationary'", "glif3", "simulated"):
        prepare(load_experiment("smoke", overrides=settings), "reference")
