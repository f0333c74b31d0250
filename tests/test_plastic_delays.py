"""Plastic synapses with delays: against a simulation that keeps all of r, in trials and in runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rlsbench import Training, load_experiment, resume, save_checkpoint
from rlsbench.backend import Options, Sizes, SpikeTrain, Trainer, get_backend
from rlsbench.conformance.subjects import _PLAIN, problem
from rlsbench.errors import ConnectivityError, UnsupportedError
from rlsbench.network.edges import Part, gather
from rlsbench.problem import Problem
from rlsbench.rules import Rls
from rlsbench.training import run_trial
from tests.conftest import status

Array = NDArray[np.float64]

N, STEPS = 12, 310  # more steps than the longest delay
SHORT = {
    "network.neurons": N,
    "network.K": 0,
    "stimulus.on_ms": 0.0,
    "stimulus.off_ms": 1.0,
    "time.learn_every_ms": 1.0,
    "time.train_duration_ms": 30.0,
    "feedforward.LX": 2,
    "feedforward.mu_hz": 300.0,
}
FORMS = [
    ("reference", "full", "plain"),
    ("numpy-packed", "packed", "plain"),
    *(pytest.param("numba", *form, marks=pytest.mark.xdist_group("numba float64")) for form in
      (("full", "plain"), ("packed", "plain"), ("full", "event"), ("packed", "event"))),
]  # fmt: skip
TABLE = {"kind": "plastic", "rule": "fixed-in-degree", "parameters": {"degree": 9}}
TABLES = [
    TABLE | {"source": "excitatory", "delay_ms": 0.7},
    TABLE | {"source": "inhibitory"},
    TABLE | {"source": "excitatory", "delay_ms": 1.2},  # some pairs have two synapses
]


def trainer(p: Problem, name: str, storage: str, algorithm: str, threads: int = 2) -> Trainer:
    return get_backend(name).trainer(p, Options("float64", "float64", storage, threads, algorithm=algorithm))


def wired(synapses: list[tuple[int, int, int]], **changes: Any) -> Problem:
    """A small network with these plastic synapses: post, pre and delay of each."""
    p = problem(**SHORT | changes)
    post, pre, delay = np.array(synapses, np.int64).reshape(-1, 3).T
    sign = p.populations.signs[p.populations.index(pre)]
    part = Part(post, pre, sign * np.linspace(1.0, 9.0, len(pre)), delay.astype(np.uint8))
    return replace(p, plastic=replace(p.plastic, given=gather(lambda: [part], N)))


def naive(p: Problem, spikes: NDArray[np.bool_]) -> tuple[Array, list[Array]]:
    """u_P after each step, (STEPS + 1, N), and the weights after a trial with `spikes`, likewise.

    It follows docs/model.md sections 2 and 3, one neuron after another, and keeps all of r.
    """
    edges, rule, off, every = p.plastic.given, p.learning, p.clock.stimulus_off, p.clock.learn_every
    assert edges is not None
    assert isinstance(rule, Rls)
    assert p.feedforward is not None
    assert p.targets is not None
    tau, dt, LX = np.broadcast_to(p.tau_plas_ms, N), p.clock.dt_ms, p.plastic.feedforward
    s_X = np.zeros((STEPS + 1, LX))
    s_X[1:] = p.feedforward.spikes(p.seed, 1, 0, 1, STEPS)
    r, r_X = np.zeros((STEPS + 1, N)), np.zeros((STEPS + 1, LX))
    for i in range(1, STEPS + 1):
        r[i] = r[i - 1] + (-dt * r[i - 1] + spikes[i - 1]) / tau
        r_X[i] = r_X[i - 1] + (-dt * r_X[i - 1] + s_X[i - 1]) / p.feedforward.tau_ms
    u, weights = np.zeros((STEPS + 1, N)), []
    for c in range(N):
        own = slice(edges.start[c], edges.start[c + 1])
        pre, signs = (
            edges.index[own],
            np.append(np.zeros(LX), p.populations.signs[p.populations.index(edges.index[own])]),
        )
        delay = np.ones(len(pre), np.int64) if edges.delay is None else edges.delay[own].astype(np.int64)
        diagonal = np.where(signs == 0, rule.lambda_feedforward, rule.lambda_plastic)
        P = np.linalg.inv(np.diag(diagonal) + rule.mu * (signs[:, None] * signs > 0))
        w = np.append(np.zeros(LX), np.asarray(edges.weight)[own])
        for i in range(1, STEPS + 1):
            at = np.maximum(i - delay, 0)  # in step 0 there are neither spikes nor r
            arriving = w @ np.append(s_X[i - 1], spikes[at, pre])
            if i > off and i % every == 0:
                x = np.append(r_X[i - 1], r[at, pre])
                k = P @ x
                g = 1 / (1 + x @ k)
                P -= g * np.outer(k, k)
                w = w - g * (w @ x - p.targets.row(0, (i - off) // every - 1)[c]) * k
            u[i, c] = u[i - 1, c] + (-dt * u[i - 1, c] + arriving) / tau[c]
        weights.append(w)
    return u, weights


class Samples:
    """u_P after each millisecond."""

    after = 0

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.u_P: list[Array] = []

    def sample(self, step: int, of: Trainer) -> None:
        self.steps.append(step)
        self.u_P.append(np.array(of.currents()[1]))

    def begin(self, of: Trainer) -> bool:
        return False

    def collect(self, of: Trainer) -> None:
        pass


DELAY = st.one_of(st.integers(1, 4), st.integers(1, 255), st.just(255))
SYNAPSE = st.tuples(st.integers(0, N - 1), st.integers(0, N - 1))
WIRING = st.one_of(
    st.lists(st.tuples(st.integers(0, N - 1), st.integers(0, N - 1), DELAY), min_size=1, max_size=90),
    st.tuples(st.lists(SYNAPSE, min_size=1, max_size=60), DELAY).map(
        lambda ones: [(*pair, ones[1]) for pair in ones[0]]
    ),
)


@pytest.mark.parametrize(("name", "storage", "algorithm"), FORMS)
@settings(max_examples=6, deadline=None)
@given(synapses=WIRING, seed=st.integers(0, 2**32 - 1), each=st.booleans())
def test_a_trial_is_that_of_a_simulation_that_keeps_all_of_r(
    name: str, storage: str, algorithm: str, synapses: list[tuple[int, int, int]], seed: int, each: bool
) -> None:
    p = wired(synapses, **{"synapse.tau_plas_ms": [20.0, 200.0]} if each else {})
    assert p.clock.steps == STEPS
    spikes = np.random.default_rng(seed).random((STEPS + 1, N)) < 0.05
    spikes[0] = False
    u, weights = naive(p, spikes)
    t, samples = trainer(p, name, storage, algorithm), Samples()
    step, neuron = (a.astype(np.int32) for a in np.nonzero(spikes))
    for _ in range(2):  # the second begins without what was under way in the first
        t.restore(trainer(p, name, storage, algorithm).state())
        samples = Samples()
        run_trial(t, 1, sampler=samples, replay=SpikeTrain(step, neuron))
        np.testing.assert_allclose(samples.u_P, u[samples.steps], rtol=0, atol=1e-10 * max(1.0, np.abs(u).max()))
        for w, own in zip(t.weights(), weights, strict=True):
            np.testing.assert_allclose(w[: len(own)], own, rtol=0, atol=1e-9 * max(1.0, np.abs(own).max()))


@pytest.mark.parametrize("delay", [2, 255])
def test_a_spike_acts_after_its_delay_and_not_in_the_next_trial(delay: int) -> None:
    p = wired([(4, 3, delay), (5, 3, 1), (6, 7, delay)])
    spike = SpikeTrain(np.array([3], np.int32), np.array([3], np.int32))
    for name in ("reference", "numpy-full", "numba"):
        t = trainer(p, name, "full", "plain")
        t.begin_trial(1, 0, np.arange(0))
        t.advance(1, 3 + delay - 1, spike)
        assert np.flatnonzero(t.currents()[1]).tolist() == [5]
        t.advance(3 + delay, 3 + delay, spike)
        assert np.flatnonzero(t.currents()[1]).tolist() == [4, 5]
        assert t.currents()[1][4] == pytest.approx(t.weights()[4, 2] / 150.0)
        t.begin_trial(2, 0, np.arange(0))
        t.advance(1, 4, spike)  # a spike is under way when the trial ends
        t.begin_trial(3, 0, np.arange(0))
        t.advance(1, 300, SpikeTrain.empty())
        assert not t.currents()[1].any()


@pytest.mark.xdist_group("numba float64")
@pytest.mark.parametrize("algorithm", ["plain", "event"])
def test_any_number_of_threads_gives_the_same_bits(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlsbench_numba.tuning.NEURONS_PER_THREAD", 300)
    p = problem(connectivity=TABLES, **{"network.neurons": 700})
    found = []
    for threads in (1, 2):
        t = trainer(p, "numba", "full", algorithm, threads)
        spikes = run_trial(t, 1, record=np.arange(700)).spikes
        found.append((*spikes, *t.currents(), t.weights(), t.state().P))
    assert len(found[0][0]) > 300
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_is_drawn_and_counted() -> None:
    e = load_experiment("smoke", overrides=_PLAIN | {"connectivity": TABLES})
    p = problem(connectivity=TABLES)
    assert p.required_features >= {"varying-in-degree", "plastic-delays"}
    assert "static-delays" not in p.required_features
    sizes = Sizes.of_experiment(e)
    assert sizes == Sizes.of_problem(p)
    assert (sizes.longest_delay, sizes.static_delays, sizes.plastic_delays, sizes.lines) == (12, False, 3, 210)
    plastic, edges = p.plastic, p.plastic.given
    assert edges is not None
    assert plastic.delays.tolist() == [1, 7, 12]
    lines, sources = plastic.lines(p.seed), plastic.sources(p.seed)
    assert (lines < 0).any() == (sources < 0).any()
    there = lines >= 0
    np.testing.assert_array_equal(lines[there] // 3, sources[there])
    np.testing.assert_array_equal(plastic.delays[lines[there] % 3], edges.delay)
    np.testing.assert_array_equal(plastic.lines(p.seed, 5, 9), lines[5:9])
    outputs = plastic.outputs(lines)
    line = np.repeat(np.arange(210), np.diff(outputs.start))
    np.testing.assert_array_equal(lines[outputs.post, outputs.column - plastic.feedforward], line)
    pairs = edges.rows() * 70 + edges.index
    assert len(np.unique(pairs)) < len(pairs)  # some have two synapses, which a matrix adds up
    assert p.plastic_matrix().nnz == len(np.unique(pairs))


def test_more_delay_lines_than_can_be_numbered_are_refused(refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlsbench.problem.MAX_NEURONS", 200)
    with refused(UnsupportedError, "3 different delays", 70, 2):
        problem(connectivity=TABLES)


@pytest.mark.parametrize("delay_ms", [0.0, 30.0])
def test_other_delays_of_a_file_are_refused(tmp_path: Path, refused: Any, delay_ms: float) -> None:
    (tmp_path / "list.csv").write_text(
        f"pre,post,weight,delay_ms,kind\n3,2,1.0,25.5,plastic\n4,5,1.0,{delay_ms},plastic\n"
    )
    with refused(ConnectivityError, "list.csv", "edge 2", "delay_ms", delay_ms, 255):
        problem(connectivity=[str(tmp_path / "list.csv")])


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(("name", "storage", "algorithm"), FORMS)
def test_resumes_bit_for_bit(
    name: str, storage: str, algorithm: str, make: Callable[..., Training], tmp_path: Path
) -> None:
    how = {"numerics.algorithm": algorithm, "numerics.storage": storage, "training.iterations": 3}
    how |= {"numerics.precision": "float64"}
    unbroken, saved = (make(name, connectivity=TABLES, **how) for _ in range(2))
    list(unbroken.run())
    list(saved.run(2))
    again = resume(save_checkpoint(tmp_path / "two.h5", saved))
    list(again.run())
    np.testing.assert_array_equal(again.trainer.state().P, unbroken.trainer.state().P)
    np.testing.assert_array_equal(again.trainer.weights(), unbroken.trainer.weights())


@pytest.mark.usefixtures("no_pictures")
def test_commands_run_and_evaluate(tmp_path: Path, tiny_options: list[str]) -> None:
    rng = np.random.default_rng(1)
    pre, post = np.divmod(np.flatnonzero(rng.random(4900) < 0.15), 70)
    rows = [f"{i},{j},{rng.integers(1, 40) / 10:.1f}" for i, j in zip(pre, post, strict=True) if i != j]
    (tmp_path / "list.csv").write_text("\n".join(["pre,post,delay_ms", *rows]) + "\n")
    (tmp_path / "network.toml").write_text(f'[[connectivity]]\nkind = "plastic"\nfile = "{tmp_path / "list.csv"}"\n')
    run = [*tiny_options, "--config", tmp_path / "network.toml", "--output", tmp_path / "run"]
    assert status("run", "--preset", "smoke", "--backend", "numpy-packed", *run) == 0
    assert status("evaluate", tmp_path / "run", "--trials", "2") == 0
    assert status("run", "--preset", "smoke", "--backend", "numba-blas", *run[:-1], tmp_path / "other") == 2
