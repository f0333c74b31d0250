"""The loop over a trial and what it measures, and the reference against a simulation written out by hand."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsbench.backend import Options, Trainer, get_backend
from rlsbench.configuration import load_experiment
from rlsbench.problem import Clock, InitialTrial, Problem, build_problem
from rlsbench.streams import Purpose, normal
from rlsbench.targets import MatrixTargets
from rlsbench.trial import CurrentMoments, LearnedCurrent, correlation, run_trial, segments


@st.composite
def clocks(draw: st.DrawFn) -> Clock:
    every = draw(st.integers(1, 30))
    off = every * draw(st.integers(0, 8))
    dt = draw(st.sampled_from([0.1, 0.2, 0.25, 0.5, 1.0]))
    return Clock(dt, off + every * draw(st.integers(1, 8)), off, every)


@given(clocks(), st.none() | st.integers(0, 100))
def test_segments_cover_each_step_once_and_cut_where_they_must(clock: Clock, after: int | None) -> None:
    steps: list[int] = []
    learned, sampled = {}, []
    for segment in segments(clock, after):
        if segment.learning_bin is not None:
            learned[segment.first] = segment.learning_bin
        steps += range(segment.first, segment.last + 1)
        if segment.sampled:
            sampled.append(segment.last)
    assert steps == list(range(1, clock.steps + 1))
    assert learned == {
        i: b for i in range(1, clock.steps + 1) if (b := clock.learning_bin(i)) is not None
    }  # section 2, step 1: before the step's currents
    each = round(1 / clock.dt_ms)
    wanted = [] if after is None else [i for i in range(after + 1, clock.steps + 1) if i % each == 0]
    assert sampled == wanted


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(2, 9), st.integers(0, 25), st.integers(0, 2**32 - 1))
def test_learned_current_follows_its_definition(every: int, bins: int, wid: int, seed: int) -> None:
    learn_every, off = 5 * every, 20  # ms
    clock = Clock(0.1, 10 * (off + learn_every * bins), 10 * off, 10 * learn_every)
    rng = np.random.default_rng(seed)
    u = {t: rng.standard_normal(2) for t in range(off + 1, off + learn_every * bins + 1)}
    learned = LearnedCurrent(clock, 2, wid, plastic_only=False)
    sums, counts = np.zeros((bins, 2)), np.zeros(bins)
    width = max(1, round(2 * wid / learn_every))
    for t, u_t in u.items():
        learned.sample(10 * t, 0.25 * u_t, 0.75 * u_t)
        first = math.floor((t - off - wid) / learn_every)
        for b in range(max(first, 0), min(first + width - 1, bins - 1) + 1):
            sums[b] += u_t
            counts[b] += 1
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(learned.matrix(), sums / counts[:, None], atol=1e-12)
    np.testing.assert_array_equal(learned.matrix(slice(1, 2)), learned.matrix()[:, 1:2])


def test_plastic_current_alone_without_static_synapses() -> None:
    learned = LearnedCurrent(Clock(0.1, 200, 100, 50), 1, 2.0, plastic_only=True)
    for step in range(110, 201, 10):
        learned.sample(step, np.array([100.0]), np.array([2.0]))
    np.testing.assert_allclose(learned.matrix(), 2.0)


def test_correlation_leaves_out_constant_traces() -> None:
    clock = Clock(1.0, 60, 10, 5)
    rng = np.random.default_rng(1)
    learned = LearnedCurrent(clock, 4, 2.5, plastic_only=False)
    for step in range(11, 61):
        u = rng.standard_normal(4)
        u[2] = 0.1
        learned.sample(step, u, np.zeros(4))
    f = rng.standard_normal((1, 10, 4))
    f[0, :, 3] = 7.0
    result = correlation(learned, MatrixTargets(f), 0)
    expected = [np.corrcoef(learned.matrix()[:, c], f[0, :, c])[0, 1] for c in (0, 1)]
    np.testing.assert_allclose(result.per_neuron, [*expected, np.nan, np.nan])
    assert result.mean == pytest.approx(np.mean(expected))
    assert result.undefined == 2
    f[0] = 1.0
    assert correlation(learned, MatrixTargets(f), 0)[:2] == (None, 4)


def test_moments_of_the_static_current() -> None:
    moments = CurrentMoments(after=30, neurons=2)
    u = np.random.default_rng(0).standard_normal((50, 2))
    for row in u:
        moments.sample(31, row, np.ones(2))
    np.testing.assert_allclose(moments.mean(), u.mean(axis=0))
    np.testing.assert_allclose(moments.std(), u.std(axis=0))


def small(**overrides: object) -> Problem:
    e = load_experiment(
        "smoke",
        overrides={
            "network.neurons": 12,
            "network.K": 2,
            "network.L": 3,
            "external.scale": 5.0,  # enough spikes in 8 ms
            "stimulus.on_ms": 0.4,
            "stimulus.off_ms": 2.0,
            "time.learn_every_ms": 0.5,
            "time.train_duration_ms": 6.0,
            "training.average_from_ms": 0.0,
            "feedforward.LX": 2,
            "feedforward.mu_hz": 900.0,
            "neuron.refractory_ms": 0.3,
            "synapse.tau_I_ms": 4.0,
            **overrides,
        },
    )
    return build_problem(e, InitialTrial(np.zeros(12), np.linspace(-1, 1, 12), np.ones(12)))


def reference(problem: Problem) -> Trainer:
    return get_backend("reference").trainer(problem, Options("float64", "float64", "full"))


class Slow:
    """A sampler that takes its time."""

    after = 0

    def sample(self, step: int, u_bal: object, u_P: object) -> None:
        time.sleep(0.02)


def test_the_clock_stops_while_anything_is_measured() -> None:
    trainer = reference(small())
    run_trial(trainer, 1)
    record = run_trial(trainer, 1, sampler=Slow())
    assert record.measuring_seconds >= 8 * 0.02
    assert record.seconds < record.measuring_seconds
    assert 0 < record.rls_seconds < record.seconds


@pytest.mark.parametrize("kind", ["none", "voltage", "current"])
@pytest.mark.parametrize("benchmark", [False, True])
def test_the_reference_follows_the_specification(kind: str, benchmark: bool) -> None:
    p = small(**{"noise.kind": kind, "noise.sigma": 0.0 if kind == "none" else 0.3, "learning.benchmark": benchmark})
    trainer = reference(p)
    record = run_trial(trainer, 5, record=np.arange(12))
    w, P, spikes = by_hand(p, 5)
    assert list(zip(record.spikes.step.tolist(), record.spikes.neuron.tolist(), strict=True)) == spikes
    assert len(spikes) > 20
    np.testing.assert_allclose(trainer.state().w, w, atol=1e-11)
    np.testing.assert_allclose(trainer.state().full(), P, atol=1e-11)
    assert (np.abs(w - p.plastic.initial_weights).max() > 1e-3) != benchmark


def by_hand(p: Problem, trial: int) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]:
    """Sections 2 and 3 of the model, one neuron and one synapse at a time."""
    assert p.static is not None
    assert p.stimulus is not None
    assert p.feedforward is not None
    assert p.targets is not None
    N, LX, dt = 12, 2, 0.1
    tau_m, tau_E, tau_I, tau_P, sigma = 10.0, 3.0, 4.0, 150.0, p.noise.sigma
    targets, sources = p.static.targets(), p.plastic.sources()
    w = np.tile(p.plastic.initial_weights, (N, 1))
    P = [np.linalg.inv(p.learning.initial_inverse(p.plastic)) for _ in range(N)]
    z = normal(p.seed, Purpose.INITIAL_VOLTAGE, trial=trial, first=0, last=N)
    v = [float(x) for x in z]
    u_E, u_I, u_P, u_bal, r, s = ([0.0] * N for _ in range(6))
    in_E, in_I, in_P, X_stim, wait = ([0.0] * N for _ in range(5))
    r_X, s_X = [0.0] * LX, [0.0] * LX
    rates = p.feedforward.rates_hz(0)
    spikes = []
    for i in range(1, 81):
        t = i * dt
        if t > 2.0 + 1e-9 and i % 5 == 0:  # 1.
            f = p.targets.row(0, i // 5 - 5)
            for c in range(N):
                x = np.array(r_X + [r[j] for j in sources[c]])
                k = P[c] @ x
                g = 1 / (1 + x @ k)
                P[c] = P[c] - g * np.outer(k, k)
                error = w[c] @ x + u_bal[c] - f[c]
                if not p.learning.benchmark:
                    w[c] = w[c] - g * error * k
        xi = normal(p.seed, Purpose.NOISE, trial=trial, step=i, first=0, last=N)
        eta = normal(p.seed, Purpose.STIMULUS, trial=0, step=i - 4, first=0, last=N) if 4 < i < 20 else None
        now = []
        for c in range(N):
            u_E[c] += (-dt * u_E[c] + in_E[c]) / tau_E  # 2.
            u_I[c] += (-dt * u_I[c] + in_I[c]) / tau_I
            u_P[c] += (-dt * u_P[c] + in_P[c]) / tau_P
            u_bal[c] = u_E[c] + u_I[c]
            if p.noise.kind == "current":
                u_bal[c] += sigma * math.sqrt(tau_m / dt) * xi[c]
            r[c] += (-dt * r[c] + s[c]) / tau_P  # 3.
            X = p.external_current[c]  # 4.
            if eta is not None:
                X_stim[c] += 0.05 * (0.0 - X_stim[c]) * dt + 0.2 * math.sqrt(dt) * eta[c]
                X += X_stim[c]
            if p.noise.kind == "voltage":  # 5.
                v[c] += sigma * math.sqrt(dt / tau_m) * xi[c]
            if wait[c] > 0:  # 6.
                wait[c] -= 1
            else:
                v[c] += dt / tau_m * (X + u_bal[c] + u_P[c] - v[c])
                if v[c] > 1.0:
                    v[c], wait[c] = 0.0, 3
                    now.append(c)
        for x in range(LX):
            r_X[x] += (-dt * r_X[x] + s_X[x]) / tau_P
        in_E, in_I, in_P = ([0.0] * N for _ in range(3))
        s = [float(c in now) for c in range(N)]
        for j in now:  # 7.
            spikes.append((i, j))
            for c in targets[j]:
                weight = p.static.weights[int(j >= 6)][int(c >= 6)]
                if j < 6:
                    in_E[c] += weight
                else:
                    in_I[c] += weight
            for c in range(N):
                for column, source in enumerate(sources[c]):
                    if source == j:
                        in_P[c] += w[c, LX + column]
        fired = p.feedforward.spikes(trial, 0, i, i)[0]  # 8.
        assert not fired.any() or (i > 20 and (rates[i][fired] > 0).all())
        s_X = [float(x) for x in fired]
        for c in range(N):
            in_P[c] += sum(w[c, x] for x in range(LX) if fired[x])
    return w, np.array(P), spikes
