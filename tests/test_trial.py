"""One trial: its segments, measurements and clock, and the reference against a naive simulation."""

from __future__ import annotations

import math
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from rlsbench.backend import Options, SpikeTrain, Trainer, get_backend
from rlsbench.clock import Clock
from rlsbench.configuration import Experiment, load_experiment
from rlsbench.problem import InitialTrial, Problem, build_problem, initial_problem
from rlsbench.ranks import ALONE
from rlsbench.streams import Purpose, normal, uniform
from rlsbench.targets import MatrixTargets
from rlsbench.targets.making import make_targets
from rlsbench.training import learned_current as learned_current_module
from rlsbench.training import trial as trial_module
from rlsbench.training.initial_trial import CurrentMoments, measure_initial_trial
from rlsbench.training.learned_current import LearnedCurrent, correlation
from rlsbench.training.trial import run_trial, segments

OPTIONS = Options("float64", "float64", "full")


@st.composite
def clocks(draw: Any) -> Clock:
    """Clocks whose samples fall on learning steps, between them, or several into one bin."""
    learn_every = draw(st.integers(1, 40), label="learn_every")
    off = learn_every * draw(st.integers(0, 6), label="off")
    steps = off + learn_every * draw(st.integers(1, 12), label="bins")
    return Clock(draw(st.sampled_from([0.1, 0.2, 0.25, 1 / 3, 0.5, 1.0, 2.0]), label="dt"), steps, off, learn_every)


# --- segments


@settings(deadline=None)
@given(clocks(), st.one_of(st.none(), st.integers(0, 800)))
@example(Clock(1.0, 12, 0, 1), 0)
@example(Clock(0.1, 20_000, 10_000, 100), 10_000)
def test_segments_cover_a_trial_and_are_cut_where_they_must(clock: Clock, after: int | None) -> None:
    parts = list(segments(clock, after))
    steps = [i for part in parts for i in range(part.first, part.last + 1)]
    assert steps == list(range(1, clock.steps + 1))
    learns = {i for i in steps if i > clock.stimulus_off and i % clock.learn_every == 0}
    samples = {i for i in steps if after is not None and i > after and i % clock.sample_every == 0}
    # Each learning step begins a segment, and only that one learns; each sample ends one.
    assert {part.first: part.learning_bin for part in parts if part.learning_bin is not None} == {
        i: (i - clock.stimulus_off) // clock.learn_every - 1 for i in learns
    }
    assert {part.last for part in parts if part.sampled} == samples
    assert [part.learning_bin for part in parts if part.learning_bin is not None] == list(range(clock.bins))
    # The only other cuts are at the steps during the stimulus that would be learning steps.
    for part in parts[:-1]:
        assert part.last in samples or (part.last + 1) % clock.learn_every == 0


# --- the learned current and its correlation


class Given:
    """A trainer whose currents are given, and which sums them like any other."""

    clear_sums, add_currents, current_sums = Trainer.clear_sums, Trainer.add_currents, Trainer.current_sums
    u: tuple[np.ndarray, np.ndarray]

    def __init__(self, neurons: int) -> None:
        self.problem, self.neurons = SimpleNamespace(neurons=neurons), neurons
        self.options = OPTIONS

    def currents(self) -> tuple[np.ndarray, np.ndarray]:
        return self.u


def feed(sampler: Any, samples: dict[int, tuple[np.ndarray, np.ndarray]]) -> None:
    """Give a sampler u_bal and u_P by step, as `run_trial` does."""
    trainer = Given(len(next(iter(samples.values()))[0]))
    for step, trainer.u in samples.items():
        sampler.sample(step, trainer)
    sampler.collect(trainer)


def naive_learned(clock: Clock, half: int, samples: dict[int, np.ndarray]) -> np.ndarray:
    """docs/model.md section 4, sample by sample and bin by bin; half is wid in steps."""
    (neurons,) = next(iter(samples.values())).shape
    total, seen = np.zeros((clock.bins, neurons)), np.zeros(clock.bins)
    width = max(1, round(Fraction(2 * half, clock.learn_every)))
    for i, u in samples.items():
        lowest = math.floor(Fraction(i - clock.stimulus_off - half, clock.learn_every))
        for b in range(lowest, lowest + width):
            if 0 <= b < clock.bins:
                total[b] += u
                seen[b] += 1
    with np.errstate(invalid="ignore"):
        return total / seen[:, None]


@settings(deadline=None, max_examples=200)
@given(clocks(), st.integers(0, 200), st.booleans(), st.integers(0, 2**32 - 1))
@example(Clock(0.1, 2000, 1000, 100), 500, False, 1)
@example(Clock(0.1, 2000, 1000, 200), 500, True, 1)
def test_learned_current_equals_its_definition(clock: Clock, half: int, plastic_only: bool, seed: int) -> None:
    steps = [part.last for part in segments(clock, clock.stimulus_off) if part.sampled]
    assume(steps)
    rng = np.random.default_rng(seed)
    learned = LearnedCurrent(clock, 3, half * clock.dt_ms, plastic_only=plastic_only)
    assert learned.after == clock.stimulus_off
    given = {i: tuple(rng.standard_normal((2, 3))) for i in steps}
    feed(learned, given)
    taken = {i: u_P if plastic_only else u_bal + u_P for i, (u_bal, u_P) in given.items()}
    expected = naive_learned(clock, half, taken)
    np.testing.assert_allclose(learned.matrix(), expected, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(learned.matrix(slice(1, 3)), learned.matrix()[:, 1:3])
    np.testing.assert_array_equal(learned.matrix(np.array([2, 0])), learned.matrix()[:, [2, 0]])


def test_learned_current_of_a_ramp() -> None:
    """The published window: bin b averages the milliseconds within 50 ms of its end."""
    clock = Clock(0.1, 20_000, 10_000, 100)
    learned = LearnedCurrent(clock, 1, 50.0, plastic_only=False)
    feed(learned, {i: (np.array([i / 10 - 1000]), np.array([0.0])) for i in range(10_010, 20_001, 10)})
    ramp = learned.matrix()[:, 0]
    for b in range(100):
        t = np.arange(max(10 * b - 40, 1), min(10 * b + 59, 1000) + 1)
        assert ramp[b] == pytest.approx(t.mean(), abs=1e-9)


def test_learned_current_of_a_trial_without_samples() -> None:
    overrides = {"time.learn_every_ms": 0.1, "time.train_duration_ms": 0.5, "training.average_from_ms": 0.0}
    clock = Clock.from_experiment(load_experiment("smoke", overrides=overrides))
    assert np.isnan(LearnedCurrent(clock, 2, 50.0, plastic_only=False).matrix()).all()


@settings(deadline=None)
@given(st.integers(3, 30), st.integers(1, 9), st.integers(0, 2**32 - 1), st.sampled_from([1, 4, 65_536]))
def test_correlation_is_pearsons(bins: int, N: int, seed: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    clock = Clock(0.5, 20 + 4 * bins, 20, 4)
    learned = LearnedCurrent(clock, N, 3.0, plastic_only=False)
    steps = range(22, clock.steps + 1, 2)
    feed(learned, {i: (rng.standard_normal(N), 10 * rng.standard_normal(N)) for i in steps})
    currents = rng.standard_normal((2, bins, N))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learned_current_module, "BLOCK", block)
        found = correlation(learned, MatrixTargets(currents), 1)
    expected = [np.corrcoef(learned.matrix()[:, c], currents[1, :, c])[0, 1] for c in range(N)]
    np.testing.assert_allclose(found.per_neuron, expected, rtol=0, atol=1e-12)
    assert found.mean == pytest.approx(np.mean(expected), abs=1e-12)
    assert found.undefined == 0


def test_constant_traces_are_counted_and_left_out() -> None:
    bins, N = 40, 6
    rng = np.random.default_rng(1)
    clock = Clock(1.0, 10 + 10 * bins, 10, 10)
    learned = LearnedCurrent(clock, N, 5.0, plastic_only=True)
    given = {}
    for i in range(11, clock.steps + 1):
        u = rng.standard_normal(N)
        u[0], u[1] = 0.0, 0.1  # constant, the second with rounding in its mean
        given[i] = np.full(N, np.nan), u  # u_bal is ignored if only u_P counts
    feed(learned, given)
    targets = rng.standard_normal((bins, N))
    targets[:, 2], targets[:, 3] = 0.3, 0.0
    targets[:, 4] = 1e-9 * learned.matrix()[:, 4]  # small is not constant
    found = correlation(learned, MatrixTargets(targets[None]), 0)
    assert np.isnan(found.per_neuron).tolist() == [True, True, True, True, False, False]
    assert found.undefined == 4
    assert found.per_neuron[4] == pytest.approx(1.0)
    assert found.mean == pytest.approx(found.per_neuron[4:].mean())
    nothing = correlation(learned, MatrixTargets(np.ones((1, bins, N))), 0)
    assert nothing.mean is None
    assert nothing.undefined == N


def test_neurons_without_target_have_no_correlation_and_are_not_counted() -> None:
    clock, N = Clock(1.0, 40, 10, 5), 3
    currents = np.random.default_rng(0).normal(size=(1, clock.bins, N))
    currents[..., 1] = np.nan
    targets = MatrixTargets(currents)
    assert targets.partial
    assert not MatrixTargets(currents[..., ::2]).partial
    learned = LearnedCurrent(clock, N, 2.0, plastic_only=False)
    steps = range(1, clock.steps + 1)
    feed(learned, {i: (np.arange(N) * np.sin(i), np.ones(N) * i**2) for i in steps})
    found = correlation(learned, targets, 0)
    assert found.undefined == 0
    assert np.isnan(found.per_neuron).tolist() == [False, True, False]
    assert found.mean == found.per_neuron[[0, 2]].mean()


def test_current_moments() -> None:
    u = np.random.default_rng(3).normal(2.0, 0.5, (50, 4))
    moments = CurrentMoments(7, 4)
    assert moments.after == 7
    feed(moments, {i: (row.astype(np.float32), np.full(4, np.nan)) for i, row in enumerate(u)})  # u_P is ignored
    u = u.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(moments.mean(), u.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(moments.std(), u.std(axis=0), rtol=1e-10)
    constant = CurrentMoments(0, 2)
    feed(constant, {i: (np.full(2, 0.1), np.zeros(2)) for i in range(1000)})
    np.testing.assert_allclose(constant.std(), 0.0, atol=1e-7)


# --- the clock of a trial


class Machine:
    """A trainer that works when synchronized, on a simulated clock: 2^k s per kind of work."""

    CURRENTS, ADVANCE, LEARN, BEGIN, COUNT = 1.0, 2.0, 64.0, 1024.0, 1e6

    def __init__(self, clock: Clock) -> None:
        self.problem, self.neurons, self.own = SimpleNamespace(clock=clock, neurons=4, ranks=ALONE), 4, slice(0, 4)
        self.now = self.queue = 0.0
        self.calls: list[Any] = []

    def perf_counter(self) -> float:
        return self.now

    def synchronize(self) -> None:
        self.now, self.queue = self.now + self.queue, 0.0

    def begin_trial(self, trial: int, task: int, record: np.ndarray) -> None:
        self.queue += self.BEGIN
        self.calls.append(("begin", trial, task, record.tolist()))

    def advance(self, first: int, last: int, spikes: SpikeTrain | None = None) -> None:
        self.queue += self.ADVANCE
        self.calls.append(("advance", first, last, spikes))

    def learn(self, bin: int) -> None:
        self.queue += self.LEARN
        self.calls.append(("learn", bin))

    def exchange_seconds(self) -> None:
        return None

    def currents(self) -> tuple[np.ndarray, np.ndarray]:
        self.synchronize()
        self.now += self.CURRENTS
        return np.zeros(4), np.ones(4)

    def spike_counts(self) -> np.ndarray:
        self.now += self.COUNT
        return np.array([3, 0, 1, 2])

    def recorded_spikes(self) -> SpikeTrain:
        return SpikeTrain.empty()


class Sleeper:
    """A slow sampler."""

    def __init__(self, after: int, sleep: Any) -> None:
        self.after, self.sleep = after, sleep
        self.steps: list[int] = []

    def begin(self, trainer: Any) -> bool:
        return False

    def sample(self, step: int, trainer: Any) -> None:
        u_bal, u_P = trainer.currents()
        assert u_P.shape == u_bal.shape
        self.steps.append(step)
        self.sleep()

    def collect(self, trainer: Any) -> None:
        self.collected = True


@pytest.mark.parametrize("learn", [True, False])
@pytest.mark.parametrize("sampling", [True, False])
def test_the_clock_counts_the_trial_and_not_its_measurement(
    monkeypatch: pytest.MonkeyPatch, learn: bool, sampling: bool
) -> None:
    clock = Clock(0.5, 30, 10, 5)
    machine = Machine(clock)
    monkeypatch.setattr(trial_module, "perf_counter", machine.perf_counter)

    def sleep() -> None:
        machine.now += 4096.0

    sampler = Sleeper(10, sleep) if sampling else None
    replay = SpikeTrain.empty()
    record = run_trial(machine, 3, task=2, learn=learn, sampler=sampler, record=np.array([1, 3]), replay=replay)  # type: ignore[arg-type]
    parts = list(segments(clock, 10 if sampling else None))
    learned = clock.bins if learn else 0
    assert record.seconds == machine.BEGIN + len(parts) * machine.ADVANCE + learned * machine.LEARN
    assert record.rls_seconds == learned * machine.LEARN
    taken = list(range(12, 31, 2)) if sampling else []
    assert record.measuring_seconds == len(taken) * (4096.0 + machine.CURRENTS) + machine.COUNT  # at stimulus_off
    if sampler:
        assert sampler.steps == taken
    expected: list[Any] = [("begin", 3, 2, [1, 3])]
    for part in parts:
        expected += [("learn", part.learning_bin)] if learn and part.learning_bin is not None else []
        expected += [("advance", part.first, part.last, replay)]
    assert machine.calls == expected
    assert (record.trial, record.task) == (3, 2)
    assert record.spike_counts.tolist() == [3, 0, 1, 2]
    assert record.firing_rate_hz == pytest.approx(6 / 4 / 0.015)


# --- the reference against the specification


def small(changes: dict[str, Any]) -> Experiment:
    """Twelve neurons for 60 steps, strongly driven so that they spike a few times each."""
    overrides = {
        "network.neurons": 12,
        "network.K": 3,
        "network.L": 3,
        "external.scale": 2.0,
        "stimulus.on_ms": 0.5,
        "stimulus.off_ms": 1.5,
        "stimulus.sigma": 2.0,
        "synapse.tau_plas_ms": 4.0,
        "time.dt_ms": 0.1,
        "time.learn_every_ms": 0.5,
        "time.train_duration_ms": 4.5,
        "targets.period_ms": 5.0,
        "training.average_from_ms": 0.0,
    }
    return load_experiment("smoke", overrides=overrides | changes)


def build(e: Experiment) -> Problem:
    """The problem of an experiment, around some offsets of the targets."""
    N = e.network.neurons
    initial = InitialTrial(np.arange(N, dtype=np.float64), np.linspace(-1.0, 1.0, N), np.ones(N))
    return build_problem(e, initial, make_targets(e, initial))


def reference(p: Problem) -> Any:
    """A trainer of the reference."""
    return get_backend("reference").trainer(p, OPTIONS)


class Naive:
    """docs/model.md sections 1 to 3 as plain loops, with the synapses and random numbers of `p`."""

    def __init__(self, e: Experiment, p: Problem) -> None:
        self.e, self.p = e, p
        N, LX, L = e.network.neurons, e.feedforward.LX, e.network.plastic_per_population
        n = LX + 2 * L
        initial = 2 * e.neuron.tau_m_ms * e.network.g / (2 * math.sqrt(L))
        self.w = [[0.0] * LX + [initial] * L + [-initial] * L for _ in range(N)]
        inverse = [[0.0] * n for _ in range(n)]
        for a in range(n):
            inverse[a][a] = e.learning.lambda_feedforward if a < LX else e.learning.lambda_plastic
            for b in range(n):
                if self.w[0][a] * self.w[0][b] > 0:  # both recurrent, and of one sign
                    inverse[a][b] += e.learning.mu
        self.P = [np.linalg.inv(np.array(inverse)).tolist() for _ in range(N)]
        self.static = p.static.targets(p.seed).tolist() if p.static else [[] for _ in range(N)]
        self.pre = p.plastic.sources(p.seed).tolist()

    def static_weight(self, pre: int, post: int) -> float:
        """Weight by population, E below N/2."""
        e = self.e.network
        s = self.e.neuron.tau_m_ms * e.g * 2 / math.sqrt(e.K)
        half = e.neurons // 2
        if pre < half:
            return (e.weight_EE if post < half else e.weight_EI) * s
        return (e.weight_IE if post < half else e.weight_II) * s

    def update(self, c: int, x: list[float], u_bal: float, f: float) -> None:
        """docs/model.md section 3 for one neuron."""
        P, w, n = self.P[c], self.w[c], len(x)
        k = [sum(P[a][b] * x[b] for b in range(n)) for a in range(n)]
        g = 1 / (1 + sum(x[a] * k[a] for a in range(n)))
        for a in range(n):
            for b in range(n):
                P[a][b] -= g * k[a] * k[b]
        error = sum(w[a] * x[a] for a in range(n)) + u_bal - f
        if not self.e.learning.benchmark:
            for a in range(n):
                w[a] -= g * error * k[a]

    def run(self, trial: int, task: int) -> list[dict[str, list[float]]]:
        """One trial; the state after each step."""
        e, seed = self.e, self.e.training.seed
        N, LX, dt = e.network.neurons, e.feedforward.LX, e.time.dt_ms
        tau_m, threshold, reset = e.neuron.tau_m_ms, e.neuron.threshold, e.neuron.reset
        tau = e.synapse.tau_plas_ms
        if isinstance(tau, tuple):
            draws = uniform(seed, Purpose.TAU_PLAS, first=0, last=N)
            tau_plas = [tau[0] + (tau[1] - tau[0]) * float(z) for z in draws]
            tau_X = (tau[0] + tau[1]) / 2
        else:
            tau_plas, tau_X = [tau] * N, tau
        tau_X = e.feedforward.tau_ms or tau_X
        off_step, on_step = round(e.stimulus.off_ms / dt), round(e.stimulus.on_ms / dt)
        every, end = round(e.time.learn_every_ms / dt), off_step + round(e.time.train_duration_ms / dt)
        jx = e.external.scale * math.sqrt(e.network.K) * e.network.g
        X_bal = [jx * (e.external.excitatory if c < N // 2 else e.external.inhibitory) for c in range(N)]

        z = normal(seed, Purpose.INITIAL_VOLTAGE, trial=trial, first=0, last=N)
        v = [float(z[c]) * (threshold - reset) + reset for c in range(N)]
        u_E, u_I, u_P, u_bal, r, s = ([0.0] * N for _ in range(6))
        in_E, in_I, in_P = ([0.0] * N for _ in range(3))
        r_X, s_X = [0.0] * LX, [0.0] * LX
        X_stim = [e.stimulus.mu] * N
        refractory = [0] * N
        seq = 0
        history = []
        for i in range(1, end + 1):
            # 1. Learning, with what the previous step left.
            if i > off_step and i % every == 0:
                for c in range(N):
                    f = float(self.p.targets.row(task, seq)[c])  # type: ignore[union-attr]
                    self.update(c, r_X + [r[j] for j in self.pre[c]], u_bal[c], f)
                seq += 1
            # 2. to 5. Currents, filtered spikes, external input and noise.
            xi = normal(seed, Purpose.NOISE, trial=trial, step=i, first=0, last=N)
            for c in range(N):
                u_E[c] += (-dt * u_E[c] + in_E[c]) / e.synapse.tau_E_ms
                u_I[c] += (-dt * u_I[c] + in_I[c]) / e.synapse.tau_I_ms
                u_P[c] += (-dt * u_P[c] + in_P[c]) / tau_plas[c]
                u_bal[c] = u_E[c] + u_I[c]
                if e.noise.kind == "current":
                    u_bal[c] += e.noise.sigma * math.sqrt(tau_m / dt) * float(xi[c])
                r[c] += (-dt * r[c] + s[c]) / tau_plas[c]
            for x in range(LX):
                r_X[x] += (-dt * r_X[x] + s_X[x]) / tau_X
            X = list(X_bal)
            if on_step < i < off_step:
                eta = normal(seed, Purpose.STIMULUS, trial=task, step=i - on_step, first=0, last=N)
                for c in range(N):
                    X_stim[c] += e.stimulus.b_per_ms * (e.stimulus.mu - X_stim[c]) * dt
                    X_stim[c] += e.stimulus.sigma * math.sqrt(dt) * float(eta[c])
                    X[c] += X_stim[c]
            if e.noise.kind == "voltage":
                for c in range(N):
                    v[c] += e.noise.sigma * math.sqrt(dt / tau_m) * float(xi[c])
            # 6. Voltages.
            s = [0.0] * N
            for c in range(N):
                if refractory[c] > 0:
                    refractory[c] -= 1
                    continue
                v[c] += dt / tau_m * (X[c] + u_bal[c] + u_P[c] - v[c])
                if v[c] > threshold:
                    s[c], v[c], refractory[c] = 1.0, reset, round(e.neuron.refractory_ms / dt)
            # 7. Spikes.
            in_E, in_I, in_P = ([0.0] * N for _ in range(3))
            for j in range(N):
                if s[j]:
                    for c in self.static[j]:
                        (in_E if j < N // 2 else in_I)[c] += self.static_weight(j, c)
                    for c in range(N):
                        for k, source in enumerate(self.pre[c]):
                            if source == j:
                                in_P[c] += self.w[c][LX + k]
            # 8. Feed-forward inputs.
            s_X = [0.0] * LX
            if i > off_step and LX:
                rate = self.p.feedforward.rates_hz(self.p.seed, task)[i]  # type: ignore[union-attr]
                draws = uniform(seed, Purpose.FEEDFORWARD_SPIKE, trial=trial, step=i, first=0, last=LX)
                for x in range(LX):
                    if draws[x] < rate[x] * dt / 1000:
                        s_X[x] = 1.0
                        for c in range(N):
                            in_P[c] += self.w[c][x]
            u = [u_bal[c] + u_P[c] for c in range(N)]
            history.append({"v": list(v), "u": u, "u_bal": list(u_bal), "r": list(r), "r_X": list(r_X), "s": s})
        return history


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "voltage noise, feed-forward": {
        "noise.kind": "voltage",
        "noise.sigma": 0.65,
        "feedforward.LX": 2,
        "feedforward.mu_hz": 2000.0,
        "feedforward.sigma": 60.0,
        "feedforward.half_window_ms": 0.4,
    },
    "current noise": {"noise.kind": "current", "noise.sigma": 0.3},
    "time constants per neuron": {
        "synapse.tau_plas_ms": [1.0, 9.0],
        "synapse.tau_E_ms": 1.0,
        "synapse.tau_I_ms": 5.0,
        "feedforward.LX": 1,
        "feedforward.mu_hz": 3000.0,
    },
    "own filter of feed-forward spikes": {
        "feedforward.LX": 2,
        "feedforward.mu_hz": 3000.0,
        "feedforward.tau_ms": 1.0,
        "learning.lambda_feedforward": 0.3,
    },
    "no static synapses": {"network.K": 0, "noise.kind": "voltage", "noise.sigma": 4.0},
    "long refractory period": {"neuron.refractory_ms": 1.2, "noise.kind": "voltage", "noise.sigma": 1.0},
    "no refractory period": {"neuron.refractory_ms": 0.0, "external.scale": 8.0},
    "benchmark": {"learning.benchmark": True},
    "other constants": {
        "network.neurons": 13,
        "network.g": 1.3,
        "network.L": 4,
        "neuron.reset": -0.5,
        "neuron.threshold": 0.8,
        "neuron.tau_m_ms": 7.0,
        "time.dt_ms": 0.25,
        "stimulus.on_ms": 1.0,
        "stimulus.off_ms": 3.0,
        "stimulus.mu": 0.5,
        "time.train_duration_ms": 12.0,
        "learning.mu": 2.0,
        "learning.lambda_plastic": 0.2,
        "training.seed": 2**40 + 3,
    },
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_reference_equals_a_naive_simulation(variant: str) -> None:
    """Two trials of two tasks, step by step, from the initial weights; w and P carry over."""
    e = small({"targets.tasks": 2} | VARIANTS[variant])
    p = build(e)
    naive, trainer = Naive(e, p), reference(p)
    start = np.array(naive.w)
    spikes = 0.0
    for trial, task in ((1, 0), (2, 1)):
        history = naive.run(trial, task)
        assert len(history) == p.clock.steps == 60
        trainer.begin_trial(trial, task, np.arange(p.neurons))
        for i, expected in enumerate(history, 1):
            if i > p.clock.stimulus_off and i % p.clock.learn_every == 0:
                trainer.learn((i - p.clock.stimulus_off) // p.clock.learn_every - 1)
            trainer.advance(i, i)
            u_bal, u_P = trainer.currents()
            found = {
                "v": trainer.state_of_neurons[0],
                "u": u_bal + u_P,
                "u_bal": u_bal,
                "r": trainer.r[:, 0],
                "r_X": trainer.r_X,
                "s": trainer.s[:, 0],
            }
            for name, array in found.items():
                np.testing.assert_allclose(array, expected[name], rtol=1e-8, atol=1e-9, err_msg=f"{name}, step {i}")
        state = trainer.state()
        np.testing.assert_allclose(state.w, naive.w, rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(state.P, naive.P, rtol=1e-7, atol=1e-8)
        table = np.array([step["s"] for step in history])
        np.testing.assert_array_equal(trainer.spike_counts(), table.sum(axis=0))
        recorded = trainer.recorded_spikes()
        steps, neurons = np.nonzero(table)
        np.testing.assert_array_equal(recorded.step, steps + 1)
        np.testing.assert_array_equal(recorded.neuron, neurons)
        spikes += table[p.clock.stimulus_off :].sum()
    assert spikes > 12  # or the test would show little
    assert (np.abs(np.array(naive.w) - start).max() > 0.1) == (variant != "benchmark")


@pytest.mark.parametrize("variant", ["plain", "voltage noise, feed-forward"])
def test_run_trial_drives_the_trainer_through_the_same_trial(variant: str) -> None:
    e = small(VARIANTS[variant])
    p = build(e)
    naive, trainer = Naive(e, p), reference(p)
    learned = LearnedCurrent(p.clock, p.neurons, 1.0, plastic_only=False)
    record = run_trial(trainer, 7, sampler=learned, record=np.array([0, 5]))
    history = naive.run(7, 0)
    np.testing.assert_allclose(trainer.state().w, naive.w, rtol=1e-7, atol=1e-8)
    table = np.array([step["s"] for step in history])
    np.testing.assert_array_equal(record.spike_counts, table.sum(axis=0))
    assert record.firing_rate_hz == pytest.approx(table.sum() / 12 / 0.006)
    steps, neurons = np.nonzero(table[:, [0, 5]])
    np.testing.assert_array_equal(record.spikes.step, steps + 1)
    np.testing.assert_array_equal(record.spikes.neuron, np.array([0, 5])[neurons])
    samples = {i: np.array(history[i - 1]["u"]) for i in (20, 30, 40, 50, 60)}
    np.testing.assert_allclose(learned.matrix(), naive_learned(p.clock, 10, samples), rtol=1e-7, atol=1e-9)


def test_a_trial_without_learning_leaves_weights_and_P() -> None:
    p = build(small({}))
    trainer: Trainer = reference(p)
    before = trainer.state()
    run_trial(trainer, 1, learn=False)
    after = trainer.state()
    np.testing.assert_array_equal(after.w, before.w)
    np.testing.assert_array_equal(after.P, before.P)


def test_the_initial_trial_measures_static_currents() -> None:
    e = small({"training.average_from_ms": 2.0, "time.train_duration_ms": 10.5})
    p = initial_problem(e)
    found = measure_initial_trial(reference(p), 2.0)
    trainer = reference(p)
    currents = []
    for i in range(1, p.clock.steps + 1):
        trainer.advance(i, i)
        if i % 10 == 0 and i > 20:
            currents.append(trainer.currents()[0].copy())
            assert not trainer.currents()[1].any()
    assert len(currents) == 10
    np.testing.assert_allclose(found.mean_current, np.mean(currents, axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std_current, np.std(currents, axis=0), rtol=1e-8)
    np.testing.assert_allclose(found.rates_hz, trainer.spike_counts() / 0.012, rtol=1e-12)
    assert found.rates_hz.any()
