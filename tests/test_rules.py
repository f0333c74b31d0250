"""Learning rules: RLS without P, weights that keep their signs, and a rule of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rlsbench import load_experiment, prepare
from rlsbench.backend import RuleUpdate, get_backend, resolve_options
from rlsbench.capacity import checkpoint_bytes, disk_bytes, needed_bytes
from rlsbench.conformance.checks import CheckFailed
from rlsbench.conformance.rule_checks import RULE_CHECKS, check_rule
from rlsbench.errors import ConfigurationError, NumericsError, UnsupportedError
from rlsbench.results.checkpoint import read_checkpoint, save_checkpoint
from rlsbench.rules import LearningStep, NumpyRule, Rls, RlsWithoutP, StateArray, make_rule
from rlsbench.training import Training

SMALL = {"network.neurons": 64, "network.K": 16, "network.L": 6, "stimulus.on_ms": 0.0, "stimulus.off_ms": 20.0}
SMALL |= {"time.train_duration_ms": 100.0, "training.average_from_ms": 20.0, "external.scale": 0.4}
TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial" / "rlsbench-delta-rule"


@pytest.fixture
def delta(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule of docs/rules.md, as if its package were installed."""
    monkeypatch.syspath_prepend(str(TUTORIAL))
    register(monkeypatch, delta="rlsbench_delta_rule:Delta")


def register(monkeypatch: pytest.MonkeyPatch, **rules: str) -> None:
    own, found = metadata.entry_points, [metadata.EntryPoint(n, v, "rlsbench.rules") for n, v in rules.items()]

    def points(**which: Any) -> Any:
        if which.get("group") != "rlsbench.rules":  # Numba asks for all groups
            return own(**which)
        return metadata.EntryPoints([*own(**which), *found])

    monkeypatch.setattr(metadata, "entry_points", points)


def experiment(changes: dict[str, Any] | None = None, **learning: Any) -> Any:
    tables = SMALL | (changes or {}) | {f"learning.{key}": value for key, value in learning.items()}
    return load_experiment("smoke", overrides=tables)


def trained(backend: str = "numpy-full", iterations: int = 2, **learning: Any) -> Training:
    training = prepare(experiment(**learning), backend)
    list(training.run(iterations))
    return training


FLOAT64 = {"numerics.precision": "float64"}


@pytest.mark.parametrize("backend", ["reference", "numpy-packed", "numba"])
def test_rls_without_p_is_rls_as_long_as_it_forgets_nothing(backend: str) -> None:
    weights = []
    for rule, parameters in (("rls", {}), ("rls-without-p", {"history_ms": 1000.0})):
        e = experiment(FLOAT64, rule=rule, parameters=parameters)
        training = prepare(e, backend)
        list(training.run(2))
        weights.append(training.weights())
    start = training.problem.plastic.initial_weights
    assert np.abs(weights[0] - start).max() > 0.1
    np.testing.assert_allclose(weights[1], weights[0], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("backend", ["numpy-full", "numba"])
def test_rls_without_p_forgets_what_is_older_than_its_history(backend: str) -> None:
    """A step depends on the last h inputs only: A = P_inv0 + X X', w <- w - e inv(A) x."""
    e = experiment(FLOAT64, rule="rls-without-p", parameters={"history_ms": 30.0})
    training = prepare(e, backend)
    list(training.run(1))
    trainer, p = training.trainer, training.problem
    assert isinstance(p.learning, RlsWithoutP)
    trainer.begin_trial(2, 0, np.empty(0, np.int64))
    every, sources = p.clock.learn_every, p.plastic.sources(p.seed)
    trainer.advance(1, p.clock.stimulus_off + every)
    w, before = trainer.weights().astype(float), trainer.state().kept["past"].copy()
    u_bal = trainer.currents()[0].astype(float).copy()
    trainer.learn(0)
    past = trainer.state().kept["past"]
    np.testing.assert_array_equal(past[:, 1:], before[:, :-1])
    X = past[sources]
    x = X[:, :, 0]
    A = p.learning.initial_inverse(p.plastic) + np.einsum("cih,cjh->cij", X, X)
    error = np.einsum("ci,ci->c", w, x) + u_bal - trainer.target_row(0)
    expected = w - error[:, None] * np.linalg.solve(A, x[:, :, None])[:, :, 0]
    np.testing.assert_allclose(trainer.weights(), expected, rtol=1e-9, atol=1e-12)


def test_its_memory_is_what_the_rule_declares() -> None:
    e = experiment({"network.neurons": 10_000, "network.L": 45}, rule="rls-without-p", parameters={"history_ms": 200.0})
    for name in ("reference", "numpy-full", "numba"):
        backend = get_backend(name)
        options = resolve_options(backend, e.numerics)
        rows = needed_bytes(backend, e, options)
        assert "P" not in rows
        assert rows["learning rule"] == 10_000 * 20 * np.dtype(options.precision).itemsize


def test_the_disk_of_a_checkpoint_is_what_the_rule_declares(tmp_path: Path) -> None:
    training = trained(rule="rls-without-p", parameters={"history_ms": 2000.0})
    e = experiment(
        {"checkpoints.every": 1, "checkpoints.keep": 1}, rule="rls-without-p", parameters={"history_ms": 2e3}
    )
    size = save_checkpoint(tmp_path / "a.h5", training).stat().st_size
    # One that is kept, one that is being written; the file has headers and measurements as well.
    estimate = disk_bytes(e, training.options)["checkpoints"] / 2
    assert abs(size - estimate) < 32_000
    assert training.problem.neurons * 200 * 4 < estimate


@pytest.mark.parametrize("backend", ["reference", "numpy-full", "numba"])
def test_what_is_for_rls_only_is_not_offered_with_another_rule(backend: str) -> None:
    trainer = trained(backend, 0, rule="rls-without-p").trainer
    assert trainer.update_cost(1.0) is None
    x = np.zeros((64, 12))
    with pytest.raises(UnsupportedError, match="RlsWithoutP"):
        trainer.rls_update(x, x[:, 0], x[:, 0])


@pytest.mark.parametrize("backend", ["reference", "numpy-full", "numpy-packed", "numba", "numba-blas"])
def test_weights_keep_their_signs(backend: str) -> None:
    kept = trained(backend, signs="keep", lambda_plastic=0.001)
    signs = kept.problem.plastic.signs
    assert (kept.weights() * signs >= 0).all()
    assert (kept.weights() == 0).any()  # some are held there
    free = trained(backend, lambda_plastic=0.001)
    assert (free.weights() * signs < 0).any()
    assert kept.options.algorithm == "plain"


@pytest.mark.parametrize("backend", ["numpy-full", "numba"])
def test_weights_keep_their_signs_with_any_rule(backend: str) -> None:
    kept = trained(backend, signs="keep", rule="rls-without-p", lambda_plastic=0.001)
    assert (kept.weights() * kept.problem.plastic.signs >= 0).all()
    assert (kept.weights() == 0).any()


@pytest.mark.usefixtures("delta")
@pytest.mark.parametrize("backend", ["numpy-packed", "numba"])
def test_a_rule_of_the_users_own_gives_the_same_everywhere(backend: str) -> None:
    how: dict[str, Any] = {"rule": "delta", "parameters": {"rate": 0.5, "momentum": 0.9}}
    weights = []
    for name in ("reference", backend):
        training = prepare(experiment(FLOAT64, **how), name)
        list(training.run(2))
        weights.append(training.weights())
    assert np.abs(weights[0] - training.problem.plastic.initial_weights).max() > 0.001
    np.testing.assert_allclose(weights[1], weights[0], rtol=1e-6, atol=1e-9)


@pytest.mark.usefixtures("delta")
def test_what_is_not_to_learn_does_not() -> None:
    training = prepare(experiment(rule="delta", inputs=["excitatory"], neurons=["inhibitory"]), "numpy-full")
    before = training.weights()
    list(training.run(2))
    moved = training.weights() != before
    Ne, L = training.problem.populations[0].size, training.problem.plastic.per_population
    assert moved[Ne:, :L].any()
    assert not moved[:Ne].any()
    assert not moved[:, L:].any()
    np.testing.assert_array_equal(trained(rule="delta", benchmark=True).weights(), before)


@pytest.mark.usefixtures("delta")
@pytest.mark.parametrize(
    ("changes", "key", "value"),
    [
        ({"learning.rule": "oja"}, "learning.rule", "oja"),
        ({"learning.rule": "delta", "learning.parameters": {"rates": 1.5}}, "learning.parameters.rates", "1.5"),
        ({"learning.rule": "delta", "learning.parameters": {"rate": -1.0}}, "rate", "-1"),
        ({"learning.parameters": {"history_ms": 20.0}}, "learning.parameters.history_ms", "20"),
        ({"learning.rule": "rls-without-p", "learning.parameters": {"history_ms": 0.0}}, "history_ms", "0"),
        ({"learning.rule": "rls-without-p", "learning.lambda_growth": 0.5}, "learning.lambda_growth", "0.5"),
        ({"learning.rule": "delta", "learning.forgetting": 0.9}, "learning.forgetting", "0.9"),
        ({"learning.rule": "rls-without-p", "feedforward.LX": 4}, "feedforward.LX", "4"),
        ({"learning.signs": "hold"}, "learning.signs", "hold"),
        ({"learning.parameters": {"rate": float("nan")}}, "learning.parameters", "nan"),
    ],
)
def test_bad_settings_are_named(changes: dict[str, Any], key: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_rule(load_experiment("smoke", overrides=changes))
    message = str(caught.value)
    assert key in message
    assert value in message


def test_a_plug_in_that_is_no_rule_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, absent="no_such_module:Rule", other="rlsbench.rules:StateArray")
    for name in ("absent", "other"):
        with pytest.raises(ConfigurationError, match=name):
            make_rule(experiment(rule=name))


@pytest.mark.usefixtures("delta")
def test_torch_and_cupy_refuse_rules_in_numpy_by_name() -> None:
    for name in ("torch", "cupy"):
        missing = {"numpy-rules", "signs"} - get_backend_capabilities(name)
        assert "numpy-rules" in missing
    pytest.importorskip("torch")
    with pytest.raises(UnsupportedError, match="numpy-rules"):
        prepare(experiment(rule="delta"), "torch")


def get_backend_capabilities(name: str) -> frozenset[str]:
    from rlsbench.backend import registered_backend

    return registered_backend(name).capabilities.features


def test_numbers_that_are_not_finite_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, bad=f"{__name__}:Diverges")
    with pytest.raises(NumericsError, match="memory of neuron 0"):
        trained(rule="bad")


@dataclass(frozen=True)
class Diverges(NumpyRule):
    """A rule whose memory is not finite."""

    def state(self, n: int) -> list[StateArray]:
        return [StateArray("memory", ())]

    def change(self, state: Any, w: Any, step: LearningStep) -> Any:
        state["memory"][:] = np.inf
        return np.zeros_like(w)


@dataclass(frozen=True)
class OwnRls(NumpyRule):
    """RLS from Q = 1, written in NumPy, with a matrix of another name."""

    def state(self, n: int) -> list[StateArray]:
        return [StateArray("Q", (n, n), definite=True), StateArray("steps", (), np.uint16)]

    def change(self, state: Any, w: Any, step: LearningStep) -> Any:
        Q, x = state["Q"], step.x
        Q[state["steps"] == 0] = np.eye(w.shape[1])
        state["steps"] += 1
        k = np.einsum("cij,cj->ci", Q, x)
        g = 1 / (1 + np.einsum("ci,ci->c", x, k))
        Q -= g[:, None, None] * k[:, :, None] * k[:, None, :]
        return -(g * step.error(w))[:, None] * k


def test_a_matrix_of_a_rule_in_numpy_is_kept_and_watched_as_p_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    register(monkeypatch, own=f"{__name__}:OwnRls")
    check_rule("its arrays can be kept", OwnRls(), "float64")
    e = experiment(FLOAT64, rule="own")
    one, other = (prepare(e, "numpy-packed") for _ in range(2))
    list(one.run(2))
    assert one.problem.definite == "Q"
    np.testing.assert_allclose(one.trainer.diagonal(3, 9), one.trainer.block(3, 9).kept["Q"].diagonal())
    path = save_checkpoint(tmp_path / "a.h5", one)
    with h5py.File(path) as file:
        assert file["rule.steps"].dtype == np.uint16
        np.testing.assert_array_equal(file["rule.Q"][:], one.trainer.state().full("Q"))
    assert checkpoint_bytes(e, one.options) == pytest.approx(path.stat().st_size, rel=0.1)
    checkpoint = read_checkpoint(path)
    assert checkpoint.resumable
    checkpoint.load(other.trainer)
    other.resume_from(checkpoint.iterations)
    for training in (one, other):
        list(training.run(1))
    np.testing.assert_array_equal(other.trainer.state().full("Q"), one.trainer.state().full("Q"))
    np.testing.assert_array_equal(other.weights(), one.weights())
    one.trainer.block(17, 18).kept["Q"].values[0, 3, 3] = -1
    with pytest.raises(NumericsError, match="Q of neuron 17"):
        list(one.run(1))


# The conformance suite of rules.


@pytest.fixture
def sound(delta: None) -> Any:
    import rlsbench_delta_rule

    return rlsbench_delta_rule.Delta


@pytest.mark.parametrize("check", RULE_CHECKS)
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_sound_rules_pass(check: str, precision: str, sound: Callable[..., NumpyRule]) -> None:
    check_rule(check, sound(), precision)
    check_rule(check, sound(rate=0.4, momentum=0.3), precision)
    check_rule(check, RlsWithoutP(0.8, 0.8, 0.01, history_ms=50.0), precision)


class Copy(NumpyRule):
    """A broken copy of the rule of the documentation."""

    def state(self, n: int) -> list[StateArray]:
        return [StateArray("v", (n,))]

    def change(self, state: Any, w: Any, step: LearningStep) -> Any:
        v = -0.1 * step.error(w)[:, None] * step.x
        state["v"][:] = v
        return v


class WrongSign(Copy):
    def change(self, state: Any, w: Any, step: LearningStep) -> Any:
        return -super().change(state, w, step)


class WrongNeuron(Copy):
    def change(self, state: Any, w: Any, step: LearningStep) -> Any:
        return super().change(state, w, step)[::-1]


class InPlace(Copy):
    def change(self, state: Any, w: Any, step: LearningStep) -> Any:
        w += super().change(state, w, step)
        return np.zeros_like(w)


class Remembers(Copy):
    def change(self, state: Any, w: Any, step: LearningStep) -> Any:
        object.__setattr__(self, "calls", getattr(self, "calls", 0) + 1)
        return super().change(state, w, step) / self.calls  # type: ignore[attr-defined]


class TwoMatrices(OwnRls):
    def state(self, n: int) -> list[StateArray]:
        return [StateArray(name, (n, n), definite=True) for name in "QR"]


class OfAnyPrecision(Copy):
    def state(self, n: int) -> list[StateArray]:
        return [StateArray("v", (n,), None)]


class BadName(Copy):
    def state(self, n: int) -> list[StateArray]:
        return [StateArray("v/w", (n,))]


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (WrongSign, "the error of a repeated input becomes smaller"),
        (WrongNeuron, "blocks of any size give the same"),
        (InPlace, "only its state is changed, and the change is finite"),
        (Remembers, "all that is remembered is in its state"),
        (BadName, "its arrays can be kept"),
        (TwoMatrices, "its arrays can be kept"),
        (OfAnyPrecision, "its arrays can be kept"),
    ],
)
def test_broken_rules_fail(broken: type[NumpyRule], check: str) -> None:
    with pytest.raises(CheckFailed):
        check_rule(check, broken(), "float64")


@pytest.mark.parametrize(("name", "failed"), [("rls-without-p", "0 failed"), ("rls", None)])
def test_verify_on_the_command_line(cli: Callable[..., Any], name: str, failed: str | None) -> None:
    done = cli("verify", name)
    assert done.returncode == (0 if failed else 2)
    assert (failed or "rls") in done.stdout + done.stderr


def test_the_rule_of_the_documentation_is_short() -> None:
    assert len((TUTORIAL / "rlsbench_delta_rule.py").read_text().splitlines()) <= 60


def test_rls_is_a_rule_like_any_other() -> None:
    rule = make_rule(
        experiment(lambda_plastic=0.3, lambda_feedforward=0.8, mu=0.02, benchmark=True, inputs=["inhibitory"])
    )
    assert rule == Rls(0.3, 0.8, 0.02, benchmark=True, inputs=frozenset({"inhibitory"}))
    assert not isinstance(rule, NumpyRule)
    assert issubclass(RlsWithoutP, NumpyRule)
    assert RuleUpdate.__doc__
