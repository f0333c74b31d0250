"""Numbers of plastic inputs that vary: description, matrices, trainers and checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlsbench import Training, load_experiment, resume, save_checkpoint
from rlsbench.backend import Kept, Options, Sizes, Trainer, get_backend, make_trainer, require, size_classes
from rlsbench.conformance.subjects import Subject, problem, variant_problem, varying_inputs
from rlsbench.connectivity import projections_of
from rlsbench.errors import ResultError, UnsupportedError
from rlsbench.network.edges import Edges
from rlsbench.precision import STORAGES, pack
from rlsbench.problem import Problem
from rlsbench.results import read_checkpoint
from rlsbench.rules import Rls
from rlsbench.training.initial_trial import problem_without_initial_trial as initial_free_problem
from rlsbench.training.trial import run_trial
from tests.conftest import status

VARIANT = "in-degree that varies"
DEGREES = [0, 1, 3, 8, 40]
NEEDS_TORCH = pytest.mark.skipif(
    find_spec("torch") is None and "torch" not in os.environ.get("RLSBENCH_REQUIRE_BACKENDS", "").split(),
    reason="PyTorch is not installed; pip install torch",
)
FORMS = [
    ("numpy-full", "full", "plain"),
    ("numpy-packed", "packed", "plain"),
    pytest.param("numba", "full", "event", marks=pytest.mark.xdist_group("numba float64")),
    *(pytest.param("torch", "full", form, marks=NEEDS_TORCH) for form in ("plain", "event")),
]


@pytest.fixture(scope="module")
def varying() -> Problem:
    return variant_problem(VARIANT)


def trainer(p: Problem, name: str, storage: str, algorithm: str, precision: str = "float64", **more: Any) -> Trainer:
    return make_trainer(get_backend(name), p, Options(precision, precision, storage, 2, algorithm=algorithm, **more))


# Description


def test_inputs_are_those_that_are_given(varying: Problem) -> None:
    plastic, edges = varying.plastic, varying.plastic.given
    assert edges is not None
    assert plastic.n == 42
    np.testing.assert_array_equal(plastic.inputs, 2 + np.resize(DEGREES, 70))
    sources, signs, w = plastic.sources(0), plastic.signs, plastic.initial_weights
    assert sources.shape == (70, 40)
    assert signs.shape == w.shape == (70, 42)
    for c in (0, 1, 4, 69):
        own = edges.index[edges.start[c] : edges.start[c + 1]]
        np.testing.assert_array_equal(sources[c], [*own, *[-1] * (40 - len(own))])
        expected = [0, 0, *np.where(own < 35, 1, -1), *[0] * (40 - len(own))]
        np.testing.assert_array_equal(signs[c], expected)
        np.testing.assert_array_equal(w[c], plastic.initial_weight * np.array(expected))
    np.testing.assert_array_equal(plastic.sources(0, 3, 6), sources[3:6])


def test_initial_weights_may_be_given_with_inputs(varying: Problem) -> None:
    edges = varying.plastic.given
    assert edges is not None
    weight = np.arange(1.0, 1 + len(edges.index))
    w = replace(varying.plastic, given=edges._replace(weight=weight)).initial_weights
    np.testing.assert_array_equal(w[w != 0], weight)
    assert not w[:, :2].any()
    assert not w[np.arange(42) >= varying.plastic.inputs[:, None]].any()


def test_outputs_are_the_transpose_of_sources(varying: Problem) -> None:
    plastic, sources = varying.plastic, varying.plastic.sources(0)
    start, post, column = plastic.outputs(sources)
    pre = np.repeat(np.arange(70), np.diff(start))
    assert len(post) == plastic.degree.sum()
    np.testing.assert_array_equal(sources[post, column - 2], pre)


def test_the_same_number_for_all_is_the_uniform_network() -> None:
    """Given what a uniform network draws, P and a trial of learning are the same."""
    p = problem()
    sources = np.sort(p.plastic.sources(p.seed), axis=1)
    start = np.arange(71) * sources.shape[1]
    given = replace(p, plastic=replace(p.plastic, given=Edges(start, sources.ravel())))
    a, b = (Subject.reference(q) for q in (p, given))
    for t in (a, b):
        run_trial(t, 1)
    np.testing.assert_allclose(b.state().w, a.state().w, rtol=1e-9)
    np.testing.assert_allclose(b.state().full(), a.state().full(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("inputs", [["feedforward", "excitatory", "inhibitory"], ["inhibitory"]])
def test_initial_matrices_are_inverses(inputs: list[str]) -> None:
    p = replace(problem(**{"feedforward.LX": 2, "learning.inputs": inputs, "learning.mu": 0.3}))
    rule, plastic = p.learning, replace(p.plastic, given=varying_inputs(70, DEGREES))
    assert isinstance(rule, Rls)
    sizes = size_classes(plastic.inputs)
    found = {c: P for neurons, own in rule.initial_matrices(plastic, sizes) for c, P in zip(neurons, own, strict=True)}
    assert sorted(found) == list(range(70))
    for c, P in found.items():
        n, signs = int(plastic.inputs[c]), plastic.signs[c]
        assert P.shape == (sizes[c], sizes[c])
        learns = rule.learns(plastic)[c, :n]
        inverse = np.diag(np.where(np.arange(n) < 2, rule.lambda_feedforward, rule.lambda_plastic))
        inverse += rule.mu * (signs[:n, None] * signs[:n] > 0)
        np.testing.assert_allclose(P[:n, :n][np.ix_(learns, learns)], np.linalg.inv(inverse[np.ix_(learns, learns)]))
        assert not P[:n][~learns].any()
        assert not P[n:].any()
        assert np.diagonal(P).max(initial=0) <= rule.largest(plastic)


TABLE = {"kind": "plastic", "rule": "lognormal-in-degree"}
PARAMETERS = {"mean": 9.0, "sigma": 0.8, "low": 2, "high": 30}


def test_a_lognormal_in_degree_is_drawn() -> None:
    table = TABLE | {"parameters": {"mean": 60.0, "sigma": 0.7, "low": 10, "high": 300}}
    e = load_experiment("smoke", overrides={"network.neurons": 2000, "connectivity": [table]})
    plastic = initial_free_problem(e).plastic
    assert plastic.given is not None
    assert (plastic.degree.min(), plastic.degree.max()) == (10, 300)
    inside = plastic.degree[(plastic.degree > 10) & (plastic.degree < 300)]
    assert np.log(inside).std() == pytest.approx(0.7, abs=0.06)
    assert plastic.degree.mean() == pytest.approx(60, rel=0.05)
    projections = projections_of(e, plastic.populations, "plastic")
    assert projections is not None
    assert projections.expected == pytest.approx(plastic.degree.sum(), rel=0.05)
    part = projections.edges(e.training.seed, 700, 720)
    np.testing.assert_array_equal(part.index, plastic.given.index[slice(*plastic.given.start[[700, 720]])])
    assert all((np.diff(row) > 0).all() for row in np.split(part.index, part.start[1:-1]))
    c = int(plastic.degree.argmax())
    own, w = plastic.given.index[slice(*plastic.given.start[[c, c + 1]])], plastic.initial_weights[c]
    np.testing.assert_allclose(w, np.where(own < 1000, 1, -1) * 10 / np.sqrt(150))  # tau_m g / sqrt(L)
    assert Sizes.of_experiment(e) == Sizes.of_problem(initial_free_problem(e))


# Matrices


@pytest.mark.parametrize("storage", ["full", "packed"])
def test_flat_matrices(storage: str) -> None:
    rng, sizes = np.random.default_rng(2), np.array([0, 3, 1, 5])
    own = [a + a.T for a in (rng.normal(size=(n, n)).astype(np.float32) for n in sizes)]
    values = np.concatenate([a.ravel() if storage == "full" else pack(a) for a in own])
    kept = Kept(values, sizes=sizes)
    assert len(values) == sum(STORAGES[storage].entries(n) for n in sizes.tolist())
    assert kept.full().shape == (4, 5, 5)
    assert kept.packed().shape == (4, 15)
    for c, (P, n) in enumerate(zip(kept.matrices(), sizes, strict=True)):
        np.testing.assert_array_equal(P, own[c])
        np.testing.assert_array_equal(kept.full()[c, :n, :n], own[c])
        np.testing.assert_array_equal(kept.diagonal()[c], [*np.diagonal(own[c]), *[0] * (5 - n)])
    np.testing.assert_array_equal(kept.part(1, 3).values, values[: kept.start[3]])
    scaled = Kept(np.rint(values).astype(np.int16), "int16", np.array([1, 2, 4, 8], np.float32), sizes)
    np.testing.assert_array_equal(scaled.full()[3], 8 * np.rint(own[3]))
    np.testing.assert_array_equal(scaled.part(3, 4).diagonal()[0], 8 * np.rint(np.diagonal(own[3])))


def test_classes_waste_little_memory() -> None:
    n = np.random.default_rng(3).lognormal(4.2, 0.8, 5000).clip(10, 500).astype(np.int64)
    tops = size_classes(n)
    assert (tops >= n).all()
    assert (tops**2).sum() <= 1.2 * (n**2).sum()
    assert len(np.unique(tops)) < 50
    assert set(tops.tolist()) <= set(n.tolist())


# Trainers


@pytest.mark.parametrize(("name", "storage", "algorithm"), FORMS)
def test_memory_is_that_of_the_neurons_own_matrices(varying: Problem, name: str, storage: str, algorithm: str) -> None:
    p = replace(varying, plastic=replace(varying.plastic, given=varying_inputs(70, [0, 1, 20, 40, 60])))
    sizes, options = Sizes.of_problem(p), Options("float32", "float32", storage, algorithm=algorithm)
    declared = sum(a.bytes for a in get_backend(name).arrays(sizes, options) if a.heading == "P")
    entries = sum(STORAGES[storage].entries(n) for n in p.plastic.inputs.tolist())
    assert entries <= declared / 4 <= 1.2 * entries


@pytest.mark.parametrize(("name", "storage", "algorithm"), FORMS)
def test_an_update_matches_the_reference(varying: Problem, name: str, storage: str, algorithm: str) -> None:
    """From given x, after penalties and division of P, and a trial that left updates pending."""
    t, reference = trainer(varying, name, storage, algorithm), Subject.reference(varying)
    spikes = run_trial(Subject.reference(varying), 1, record=np.arange(70)).spikes
    rng, plastic = np.random.default_rng(4), varying.plastic
    x = rng.random((70, plastic.n)) * (np.arange(plastic.n) < plastic.inputs[:, None])
    u_bal, f = rng.normal(size=(2, 70))
    for q in (t, reference):
        run_trial(q, 1, replay=spikes)
        q.penalize(3, 1.0)
        q.penalize(41, 2.0)  # an input that few neurons have
        q.divide_P(0.75)
        q.rls_update(x, u_bal, f)
    got, wanted = t.state(), reference.state()
    np.testing.assert_allclose(got.w, wanted.w, rtol=0, atol=1e-12 * np.abs(wanted.w).max())
    np.testing.assert_allclose(got.full(), wanted.full(), rtol=0, atol=1e-12 * np.abs(wanted.full()).max())
    np.testing.assert_array_equal(t.diagonal(0, 70), np.diagonal(got.full(), axis1=1, axis2=2))
    np.testing.assert_array_equal(t.weights(), got.w)


@NEEDS_TORCH
def test_gains_are_those_of_their_neurons(varying: Problem) -> None:
    """After an update, x.Px = 1 - g."""
    t: Any = trainer(varying, "torch", "full", "event")
    t.begin_trial(1, 0, np.empty(0, np.int64))
    t.advance(1, 100)
    t.learn(0)
    g, r, sources = t.gain(), t.simulation.r.numpy(), varying.plastic.sources(varying.seed)
    x = np.concatenate([np.tile(t.simulation.r_X, (70, 1)), np.where(sources < 0, 0, r[sources])], axis=1)
    assert len(np.unique(g)) > 30
    np.testing.assert_allclose(g, 1 - np.einsum("ci,cij,cj->c", x, t.state().full(), x), rtol=1e-9)


@pytest.mark.parametrize(("name", "storage", "algorithm"), FORMS)
def test_blocks_and_states_are_exact(varying: Problem, name: str, storage: str, algorithm: str) -> None:
    t = trainer(varying, name, storage, algorithm, "float32")
    run_trial(t, 1)
    copies = [block.copy() for block in t.blocks(16)]
    assert copies[0].P.values.size == sum(STORAGES[storage].entries(n) for n in varying.plastic.inputs[:16].tolist())
    by_blocks, by_state = (trainer(varying, name, storage, algorithm, "float32") for _ in range(2))
    run_trial(by_blocks, 3)  # which is overwritten
    by_blocks.load_blocks((16 * i, block) for i, block in enumerate(copies))
    by_state.restore(t.state())
    for other in (by_blocks, by_state):
        run_trial(other, 2)
    run_trial(t, 2)
    for other in (by_blocks, by_state):
        np.testing.assert_array_equal(other.state().P, t.state().P)
        np.testing.assert_array_equal(other.state().w, t.state().w)


def test_a_backend_without_it_is_refused(varying: Problem, refused: Any) -> None:
    with refused(UnsupportedError, "numba-blas", "varying-in-degree"):
        require(get_backend("numba-blas"), varying)


def test_rules_in_numpy_are_refused(varying: Problem, refused: Any) -> None:
    with refused(UnsupportedError, "RlsWithoutP", "plastic inputs"):
        replace(varying, learning=variant_problem("rule rls-without-p").learning)


# Checkpoints


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(("name", "storage", "algorithm"), FORMS)
def test_resumes_bit_for_bit(
    name: str,
    storage: str,
    algorithm: str,
    make: Callable[..., Training],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Any,
) -> None:
    monkeypatch.setattr("rlsbench.results.checkpoint.BLOCK_BYTES", 4000)  # of a few neurons
    how = {"numerics.algorithm": algorithm, "numerics.storage": storage, "training.iterations": 2}
    how |= {"connectivity": [TABLE | {"parameters": PARAMETERS}]}
    unbroken, saved = make(name, **how), make(name, **how)
    list(unbroken.run())
    list(saved.run(1))
    path = save_checkpoint(tmp_path / "one.h5", saved)
    again = resume(path)
    list(again.run())
    np.testing.assert_array_equal(again.trainer.state().P, unbroken.trainer.state().P)
    np.testing.assert_array_equal(again.trainer.weights(), unbroken.trainer.weights())
    entries = sum(STORAGES[storage].entries(n) for n in unbroken.problem.plastic.inputs.tolist())
    checkpoint = read_checkpoint(path)
    assert checkpoint.array("P").shape == (entries,)
    np.testing.assert_array_equal(checkpoint.inputs(), unbroken.problem.plastic.inputs)
    P, n = saved.trainer.state().P, unbroken.problem.plastic.inputs
    start = np.cumsum([0, *map(STORAGES[storage].entries, n.tolist())])
    for first, last in ((0, 7), (23, 24), (31, 70)):  # of one of several ranks
        parts = [block for _, block in checkpoint._blocks(slice(first, last), n)]
        np.testing.assert_array_equal(np.concatenate([b.w for b in parts]), saved.trainer.weights()[first:last])
        found = np.concatenate([b.P.values for b in parts])
        np.testing.assert_array_equal(found, P[start[first] : start[last]])
    with refused(ResultError, path, "plastic inputs"):
        checkpoint.load(make(name, **how, **{"training.seed": 5}).trainer)


# The command line


@pytest.mark.usefixtures("no_pictures")
def test_commands_run_resume_and_evaluate(tmp_path: Path, tiny_options: list[str]) -> None:
    config = tmp_path / "network.toml"
    parameters = ", ".join(f"{key} = {value}" for key, value in PARAMETERS.items())
    config.write_text(
        f'[[connectivity]]\nkind = "plastic"\nrule = "{TABLE["rule"]}"\nparameters = {{ {parameters} }}\n'
    )
    common = ["run", "--preset", "smoke", *tiny_options, "--backend", "numpy-packed", "--config", str(config)]
    unbroken, run = str(tmp_path / "unbroken"), str(tmp_path / "run")
    assert status(*common, "--iterations", "3", "--output", unbroken) == 0
    assert status(*common, "--iterations", "2", "--checkpoint-every", "2", "--output", run) == 0
    assert status("resume", run, "--iterations", "3") == 0
    w = np.load(tmp_path / "run" / "weights.npy")
    np.testing.assert_array_equal(w, np.load(tmp_path / "unbroken" / "weights.npy"))
    assert len(np.unique((w != 0).sum(axis=1))) > 5
    assert status("evaluate", run, "--trials", "2") == 0
    assert len((tmp_path / "run" / "evaluation.csv").read_text().splitlines()) == 1 + len(w)
