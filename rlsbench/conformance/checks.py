"""The checks of the conformance suite: one function per check.

In: a `Subject`.  Out: nothing, or an exception: `CheckFailed` says what differs, `NotChecked` why
the check does not apply.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rlsbench.backend import FEATURES, SpikeTrain, State, Trainer
from rlsbench.conformance.subjects import (
    MODELS,
    SPREAD,
    VARIANTS,
    Subject,
    model_problem,
    problem,
    spread_problem,
    variant_problem,
)
from rlsbench.conformance.threaded_ranks import on_ranks
from rlsbench.errors import UnsupportedError
from rlsbench.precision import PRECISIONS, STORAGES
from rlsbench.problem import Problem
from rlsbench.rules import Rls
from rlsbench.targets import ShiftedTargets
from rlsbench.training.records import TrialRecord
from rlsbench.training.trial import run_trial

Check = Callable[[Subject], None]
CHECKS: dict[str, Check] = {}  #: checks by name, in the order in which they run


class CheckFailed(Exception):
    """The backend violates the contract."""


class NotChecked(Exception):
    """The check does not apply, for the given reason."""


def check(name: str) -> Callable[[Check], Check]:
    """Add a function to `CHECKS`."""

    def add(function: Check) -> Check:
        CHECKS[name] = function
        return function

    return add


def check_variants(name: str) -> Callable[[Callable[..., None]], None]:
    """Add a function of a subject and the name of a variant to `CHECKS`, once for each variant."""

    def add(function: Callable[..., None]) -> None:
        CHECKS.update({f"{name}: {variant}": partial(function, variant=variant) for variant in VARIANTS})

    return add


@check("precision and storage are as requested")
def _as_requested(subject: Subject) -> None:
    p = variant_problem("plain")
    state, o = subject.trainer(p).state(), subject.options
    N, n = p.neurons, p.n
    shape = (N, *STORAGES[o.storage].shape(n))
    wide = PRECISIONS[o.p_precision].computed
    for name, array, dtype, wanted in (("w", state.w, o.precision, (N, n)), ("P", state.P, wide, shape)):
        if array.dtype != dtype or array.shape != wanted:
            raise CheckFailed(f"{name} is {array.dtype} {array.shape}, not {dtype} {wanted}")
    _close("initial w", state.w, Subject.reference(p).state().w, subject.tolerances.one_update)
    _close("initial P", state.full(), Subject.reference(p).state().full(), subject.tolerances.one_update)


@check("one RLS update matches the reference for random P, x, w, u_bal and f")
def _update(subject: Subject) -> None:
    LX = 3 if "feedforward" in subject.backend.capabilities.features else 0
    problems = [problem(**changes) for changes in ({"network.L": 1}, {}, {"network.L": 16, "feedforward.LX": LX})]
    trainers = [(p, subject.trainer(p), Subject.reference(p)) for p in problems]

    quiet: dict[str, Any] = {"database": None, "deadline": None, "suppress_health_check": list(HealthCheck)}

    @settings(max_examples=25, derandomize=True, phases=(Phase.generate,), **quiet)
    @given(st.integers(0, 2), st.integers(0, 2**32 - 1), st.floats(-3, 0.5), st.floats(0, 1))
    def compare(which: int, seed: int, magnitude: float, sparsity: float) -> None:
        p, trainer, reference = trainers[which]
        rng = np.random.default_rng(seed)
        state, (x, u_bal, f) = _random_state(rng, p, subject), _random_inputs(rng, p, subject)
        x *= x.dtype.type(10.0**magnitude)
        x[rng.random(x.shape) < sparsity] = 0
        for t in (trainer, reference):
            t.restore(state)
            t.rls_update(x, u_bal, f)
            t.synchronize()
        _same_state("after one update", trainer, reference, subject.tolerances.one_update)

    compare()


@check("many updates match the closed form: P = inv(P_inv0 + sum x x'), w = ridge solution")
def _closed_form(subject: Subject) -> None:
    p = variant_problem("plain")
    rng = np.random.default_rng(1)
    trainer = subject.trainer(p)
    w0 = trainer.state().w.astype(np.float64)
    assert isinstance(p.learning, Rls)
    inverse = np.tile(p.learning.initial_inverse(p.plastic), (p.neurons, 1, 1))
    moment = np.zeros_like(w0)
    for _ in range(40):
        x, u_bal, f = _random_inputs(rng, p, subject)
        trainer.rls_update(x, u_bal, f)
        x, u_bal, f = (a.astype(np.float64) for a in (x, u_bal, f))
        inverse += x[:, :, None] * x[:, None, :]
        moment += x * (np.einsum("ci,ci->c", w0, x) + u_bal - f)[:, None]
    trainer.synchronize()
    # w minimises sum (w.x + u_bal - f)^2 + (w - w0)' P_inv0 (w - w0).
    P = np.linalg.inv(inverse)
    state = trainer.state()
    _close("P", state.full(), P, subject.tolerances.many_updates)
    _close("w", state.w, w0 - np.einsum("cij,cj->ci", P, moment), subject.tolerances.many_updates)


@check("P stays symmetric and positive definite over many updates")
def _definite(subject: Subject) -> None:
    p = variant_problem("plain")
    trainer = subject.trainer(p)
    _random_updates(trainer, p, subject, number=300, seed=2)
    P = trainer.state().full().astype(np.float64)
    _close("the transpose of P", P.transpose(0, 2, 1), P, subject.tolerances.one_update)
    smallest = np.linalg.eigvalsh(P)[:, 0]
    if not (smallest > 0).all():
        raise CheckFailed(f"P of neuron {int(smallest.argmin())} has an eigenvalue of {smallest.min():.3g}")


@check("all storages give the same result")
def _storages(subject: Subject) -> None:
    others = [s for s in subject.backend.capabilities.storages if s != subject.options.storage]
    if not others:
        raise NotChecked("the backend has a single storage, which other checks compare with the reference")
    p = variant_problem("plain")
    trainers = [subject.trainer(p)] + [subject.trainer(p, storage=storage) for storage in others]
    for trainer in trainers:
        _random_updates(trainer, p, subject, number=20, seed=3)
    for trainer in trainers[1:]:
        _same_state(f"with {trainer.options.storage} storage", trainer, trainers[0], subject.tolerances.many_updates)


@check_variants("a replayed trial matches the reference")
def _replayed(subject: Subject, variant: str) -> None:
    p, tolerance = _declared(subject, variant), subject.tolerances.trial
    wanted, wanted_record, reference = _reference_replay(p)
    trainer = subject.trainer(p)
    got, record = _replay(trainer, p)
    _close("u_bal", np.array(got.u_bal), np.array(wanted.u_bal), tolerance)
    _close("u_P", np.array(got.u_P), np.array(wanted.u_P), tolerance)
    _same_state("after a replayed trial", trainer, reference, tolerance)
    if not np.array_equal(record.spike_counts, wanted_record.spike_counts):
        raise CheckFailed("spike counts differ from those of the replayed spikes")
    _same_spikes(record.spikes, wanted_record.spikes)


@check_variants("a free run of 50 ms matches the reference spike for spike")
def _free(subject: Subject, variant: str) -> None:
    p = _declared(subject, variant)
    if subject.coarsest != "float64":
        raise NotChecked("requires float64")
    spikes, reference = _reference_run(p)
    trainer = subject.trainer(p)
    _same_spikes(_free_run(trainer, p, learn=True), spikes)
    _same_state("after a free run", trainer, reference, subject.tolerances.trial)


def _neurons(subject: Subject, model: str) -> None:
    p, o, offered = model_problem(model), subject.options, subject.backend.capabilities
    if "neuron-models" not in offered.features:
        raise NotChecked(f"the backend does not support neuron-models ({FEATURES['neuron-models']})")
    if subject.coarsest != "float64" or (o.storage, o.algorithm) != (offered.storages[0], offered.algorithms[0]):
        raise NotChecked("requires float64, and is checked with one storage and one form of the update")
    spikes, reference = _reference_run(p)
    trainer = subject.trainer(p)
    _same_spikes(_free_run(trainer, p, learn=True), spikes)
    _same_state("after a free run", trainer, reference, subject.tolerances.trial)


CHECKS.update(
    {
        f"a free run of 50 ms matches the reference spike for spike: neurons {model}": partial(_neurons, model=model)
        for model in MODELS
    }
)


@check("an offset of the targets acts as if the targets contained it, and replaces the last one")
def _offset(subject: Subject) -> None:
    partial = "partial-targets" in subject.backend.capabilities.features
    p = variant_problem("neurons without target" if partial else "plain")
    assert p.targets is not None
    rng = np.random.default_rng(7)
    offsets = [rng.normal(size=p.neurons).astype(np.float32).astype(np.float64) for _ in range(2)]
    trainer = subject.trainer(p)
    run_trial(trainer, 1, replay=_reference_spikes(p))  # fills any copy of the targets
    trainer.shift_targets(offsets[0])
    trainer.shift_targets(offsets[1])
    reference = Subject.reference(replace(p, targets=ShiftedTargets(p.targets, offsets[1])))
    reference.restore(trainer.state())
    for t in (trainer, reference):
        run_trial(t, 1, replay=_reference_spikes(p))
    _same_state("after a trial with an offset", trainer, reference, subject.tolerances.trial)


@check("an external current that is set acts as if the problem had it, and replaces the last one")
def _external(subject: Subject) -> None:
    p = variant_problem("plain")
    rng = np.random.default_rng(8)
    first, second = (p.external_current * rng.uniform(0.8, 1.2, p.neurons) for _ in range(2))
    trainer, everyone = subject.trainer(p), np.arange(p.neurons)
    for current in (first, second):
        trainer.set_external(current)
        got = run_trial(trainer, 1, learn=False, record=everyone).spikes
    wanted = run_trial(subject.trainer(replace(p, external_current=second)), 1, learn=False, record=everyone).spikes
    _same_spikes(got, wanted)


@check("an external current of NaN silences a neuron, as a strongly negative one does")
def _silenced(subject: Subject) -> None:
    p = variant_problem("plain")
    trainer, everyone = subject.trainer(p), np.arange(p.neurons)
    found = []
    for silent in (np.nan, -1e9):
        trainer.set_external(np.where(everyone % 3 == 0, silent, p.external_current))
        record = run_trial(trainer, 1, learn=False, record=everyone)
        if record.spike_counts[::3].any():
            raise CheckFailed(f"a neuron with an external current of {silent} spikes")
        found.append(record.spikes)
    _same_spikes(*found)


@check("a penalty on single inputs and forgetting match the reference")
def _penalty(subject: Subject) -> None:
    p = variant_problem("plain")
    trainer, reference = subject.trainer(p), Subject.reference(p)
    run_trial(trainer, 1, replay=_reference_spikes(p))
    reference.restore(trainer.state())
    for t in (trainer, reference):
        for column, strength in ((1, 0.5), (p.n - 1, 2.0), (1, 3.0)):
            t.penalize(column, strength)
        t.divide_P(0.75)
        t.penalize(2, 1.0)
        run_trial(t, 2, replay=_reference_spikes(p))
        t.penalize(0, 1.0)
        t.synchronize()
    _same_state("after penalties", trainer, reference, subject.tolerances.trial)


@check("a trial does not depend on the number of threads")
def _threads(subject: Subject) -> None:
    p = _many_neurons()
    spikes = _reference_spikes(p)
    first, *others = (subject.trainer(p, threads=threads) for threads in (1, 2, 4))
    for trainer in (first, *others):
        run_trial(trainer, 1, replay=spikes)
    for trainer in others:
        _same_state(f"with {trainer.options.threads} threads", trainer, first, subject.tolerances.one_update)


@check("a trial does not depend on how its steps are divided into calls")
def _division(subject: Subject) -> None:
    p = variant_problem("plain")
    currents = []
    for length in (1, 7, p.clock.steps):
        trainer = subject.trainer(p)
        trainer.begin_trial(1, 0, np.empty(0, np.int64))
        for first in range(1, p.clock.steps + 1, length):
            trainer.advance(first, min(first + length - 1, p.clock.steps))
        trainer.synchronize()
        currents.append([np.array(u) for u in trainer.currents()])
    for other in currents[1:]:
        for name, got, wanted in zip(("u_bal", "u_P"), other, currents[0], strict=True):
            _close(f"{name} with steps divided otherwise", got, wanted, subject.tolerances.one_update)


@check("sums of currents are those of the currents at each millisecond")
def _sums(subject: Subject) -> None:
    p = variant_problem("plain")
    spikes, every, samples = _reference_spikes(p), p.clock.sample_every, _Samples()
    run_trial(subject.trainer(p), 1, learn=False, replay=spikes, sampler=samples)
    rows = np.arange(p.clock.steps // every + 1) % 4 - 1  # three rows, and samples in none
    for plastic_only in (False, True):
        found = _Sums(rows, every, plastic_only)
        run_trial(subject.trainer(p), 1, learn=False, replay=spikes, sampler=found)
        u = np.array(samples.u_P) if plastic_only else np.array(samples.u_P) + np.array(samples.u_bal)
        wanted = np.array([u[rows[1:] == row].sum(axis=0) for row in range(3)])
        _close("current_sums()", found.sums, wanted, subject.tolerances.one_update)


@check("a trial is reproducible, and differs from another trial")
def _repeats(subject: Subject) -> None:
    p = variant_problem("plain")
    trainer = subject.trainer(p)
    everyone = np.arange(p.neurons)
    first, other, again = (run_trial(trainer, trial, learn=False, record=everyone).spikes for trial in (1, 2, 1))
    _same_spikes(again, first)
    if np.array_equal(first.neuron, other.neuron):
        raise CheckFailed("trials 1 and 2 have the same spikes, so initial voltages do not depend on the trial")


@check("a trial without learning leaves w and P unchanged")
def _frozen(subject: Subject) -> None:
    p = variant_problem("plain")
    trainer = subject.trainer(p)
    before = trainer.state()
    run_trial(trainer, 1, learn=False)
    _same_state("after a trial without learning", trainer, before, 0.0)


@check("benchmark mode changes P but not w")
def _benchmark(subject: Subject) -> None:
    p = _declared(subject, "benchmark mode")
    trainer = subject.trainer(p)
    before = trainer.state()
    run_trial(trainer, 1)
    after = trainer.state()
    _close("w", after.w, before.w, 0.0)
    if np.array_equal(after.P, before.P):
        raise CheckFailed("P did not change")


@check("state and restore are a round trip in either storage, and training continues from it")
def _round_trip(subject: Subject) -> None:
    p = variant_problem("plain")
    trainer = subject.trainer(p)
    run_trial(trainer, 1)
    saved = trainer.state()
    twin = subject.trainer(p)
    twin.restore(State(saved.w, {"P": saved.packed()}))
    _close("P restored from packed triangles", twin.state().packed(), saved.packed(), 0.0)
    twin.restore(State(saved.w, {"P": saved.full()}))
    _same_state("after restore", twin, saved, 0.0)
    for t in (trainer, twin):
        _random_updates(t, p, subject, number=1, seed=4)
    _same_state("one update after restore", twin, trainer, subject.tolerances.one_update)
    copy = trainer.state()
    copy.w[:], copy.P[:] = np.nan, np.nan
    if np.isnan(trainer.state().w).any() or np.isnan(trainer.state().P).any():
        raise CheckFailed("state() returns views of the trainer's arrays, not copies")


@check("blocks are an exact round trip in either storage, and training continues from them")
def _blocks(subject: Subject) -> None:
    p = variant_problem("plain")
    trainer = subject.trainer(p)
    state = trainer.state()
    state.P[::3] /= 8  # so units of int16 vary between neurons, and blocks differ
    trainer.restore(state)
    run_trial(trainer, 1)
    copies = [block.copy() for block in trainer.blocks(32)]
    blocks = [(32 * i, block) for i, block in enumerate(copies)]
    saved = trainer.state()
    _close("P in blocks", np.concatenate([block.P.widened() for block in copies]), saved.P, 0.0)
    for first, block in blocks:
        _close("diagonal()", trainer.diagonal(first, first + len(block.w)), block.P.diagonal(), 0.0)
    for storage in dict.fromkeys((subject.options.storage, *subject.backend.capabilities.storages)):
        twin = subject.trainer(p, storage=storage)
        run_trial(twin, 3)  # which load_blocks must overwrite completely
        twin.load_blocks(blocks)
        _close("w from blocks", twin.state().w, saved.w, 0.0)
        _close(f"P from blocks with {storage} storage", twin.state().packed(), saved.packed(), 0.0)
        if storage == subject.options.storage:
            spikes = _reference_spikes(p)
            for t in (trainer, twin):
                run_trial(t, 2, replay=spikes)
            _same_state("after a trial from blocks", twin, trainer, subject.tolerances.trial)
    g = trainer.gain()
    if g is not None and not ((g > 0) & (g <= 1.01)).all():
        raise CheckFailed("gain() is outside (0, 1]")


@check("a network with given weights and no targets runs like the trained network")
def _given_weights(subject: Subject) -> None:
    p = variant_problem("plain")
    trainer = subject.trainer(p)
    run_trial(trainer, 1)
    w = trainer.weights()
    _close("weights()", w, trainer.state().w, 0.0)
    frozen = subject.trainer(replace(p, plastic=replace(p.plastic, own_weights=w), targets=None))
    _close("given weights", frozen.weights(), w, 0.0)
    learned, given = (run_trial(t, 2, learn=False).spike_counts for t in (trainer, frozen))
    if not np.array_equal(learned, given):
        raise CheckFailed("spike counts differ from those of the network that the weights were taken from")


@check("recorded spikes are sorted, belong to the named neurons, and agree with the counts")
def _recorded(subject: Subject) -> None:
    p = variant_problem("plain")
    named = np.arange(1, p.neurons, 4)
    record = run_trial(subject.trainer(p), 1, record=named)
    counts = np.bincount(record.spikes.neuron, minlength=p.neurons)
    if not np.array_equal(counts[named], record.spike_counts[named]) or counts.sum() != counts[named].sum():
        raise CheckFailed("recorded spikes and spike counts disagree")
    order = np.lexsort((record.spikes.neuron, record.spikes.step))
    if not np.array_equal(order, np.arange(len(order))):
        raise CheckFailed("recorded spikes are not sorted by step, then neuron")
    if record.spike_counts.sum() == 0:
        raise CheckFailed("no neuron spiked")


def _spread(subject: Subject, network: str) -> None:
    p, o, offered = spread_problem(network), subject.options, subject.backend.capabilities
    _require(sorted((p.required_features | {"ranks"}) - offered.features))
    precision, storage, algorithm = offered.precisions[-1], offered.storages[0], offered.algorithms[0]
    usual = (o.precision, o.p_precision, o.storage, o.algorithm) == (precision, precision, storage, algorithm)
    if not usual and network != "everything":
        raise NotChecked("is checked with one storage, one form of the update and one precision")
    wanted = _on_rank(subject, p)
    for size in (1, 2, 3, 4) if usual else (3,):
        try:
            ranks = on_ranks(size, lambda rank: _on_rank(subject, replace(p, ranks=rank)))
        except UnsupportedError as error:  # not in threads, such as with some threading layers of Numba
            raise NotChecked(str(error)) from None
        for found in ranks:
            for name, array in wanted.items():
                if not np.array_equal(found[name], array, equal_nan=True):
                    raise CheckFailed(f"{name} on {size} ranks differs from that of one process")


def _on_rank(subject: Subject, p: Problem) -> dict[str, NDArray[Any]]:
    """What two trials leave, of all neurons on each rank."""
    trainer, rng, N = subject.trainer(p), np.random.default_rng(10), p.neurons
    trainer.set_external(p.external_current * rng.uniform(0.8, 1.2, N))
    trainer.shift_targets(rng.normal(size=N).astype(np.float32).astype(np.float64))
    everyone, last = np.arange(N), p.tasks - 1
    record = run_trial(trainer, 1, task=last, record=everyone)
    if not len(record.spikes.step):
        raise CheckFailed("there are no spikes to compare")
    if p.definite is not None:
        trainer.penalize(1, 0.5)
    again = run_trial(trainer, 2, task=last, record=everyone[::3], replay=record.spikes)
    state, gather = trainer.state(), p.ranks.gather
    kept = {f"{name} after two trials": gather(array) for name, array in state.kept.items()}
    u_bal, u_P = (gather(np.array(u)) for u in trainer.currents())
    return kept | {
        "steps of spikes": record.spikes.step,
        "neurons of spikes": record.spikes.neuron,
        "neurons of spikes that are replayed": again.spikes.neuron,
        "spike counts": again.spike_counts,
        "u_bal": u_bal,
        "u_P": u_P,
        "w after two trials": gather(state.w),
    }


CHECKS.update(
    {f"a network on 1 to 4 ranks is that of one process, bit by bit: {n}": partial(_spread, network=n) for n in SPREAD}
)


class _Samples:
    """Sampler that stores the currents at each whole millisecond."""

    after = 0

    def __init__(self) -> None:
        self.u_bal: list[NDArray[Any]] = []
        self.u_P: list[NDArray[Any]] = []

    def begin(self, trainer: Trainer) -> bool:
        return False

    def sample(self, step: int, trainer: Trainer) -> None:
        u_bal, u_P = trainer.currents()
        self.u_bal.append(np.array(u_bal))
        self.u_P.append(np.array(u_P))

    def collect(self, trainer: Trainer) -> None:
        pass


class _Sums:
    """Sampler that lets the trainer add currents at whole milliseconds to the rows of sums."""

    after = 0

    def __init__(self, rows: NDArray[np.int64], every: int, plastic_only: bool) -> None:
        self.rows, self.every, self.plastic_only = rows, every, plastic_only
        self.sums: NDArray[Any] = np.empty((0, 0))

    def begin(self, trainer: Trainer) -> bool:
        alone = trainer.sum_currents(self.rows, self.every, plastic_only=self.plastic_only)
        if not alone:
            trainer.clear_sums(int(self.rows.max()) + 1)
        return alone

    def sample(self, step: int, trainer: Trainer) -> None:
        if (row := self.rows[step // self.every]) >= 0:
            trainer.add_currents(int(row), plastic_only=self.plastic_only)

    def collect(self, trainer: Trainer) -> None:
        self.sums = np.array(trainer.current_sums())


def _declared(subject: Subject, variant: str) -> Problem:
    _require(subject.lacks(variant))
    return variant_problem(variant)


def _require(missing: list[str]) -> None:
    if missing:
        raise NotChecked("the backend does not support " + ", ".join(f"{f} ({FEATURES.get(f, '?')})" for f in missing))


@lru_cache(maxsize=1)
def _many_neurons() -> Problem:
    """A network too large for a backend to use a single thread regardless of `threads`."""
    return problem(**{"network.neurons": 9000, "time.train_duration_ms": 10.0})


# The reference runs once for all configurations that are compared with it.


@lru_cache(maxsize=32)
def _reference_spikes(p: Problem) -> SpikeTrain:
    """Spikes of a free run of the reference without learning."""
    return _free_run(Subject.reference(p), p, learn=False)


@lru_cache(maxsize=32)
def _reference_run(p: Problem) -> tuple[SpikeTrain, State]:
    """Spikes of a free run of the reference with learning, and what it leaves."""
    reference = Subject.reference(p)
    return _free_run(reference, p, learn=True), reference.state()


@lru_cache(maxsize=32)
def _reference_replay(p: Problem) -> tuple[_Samples, TrialRecord, State]:
    """`_replay` of the reference, and what it leaves."""
    reference = Subject.reference(p)
    return *_replay(reference, p), reference.state()


def _replay(trainer: Trainer, p: Problem) -> tuple[_Samples, TrialRecord]:
    """A trial with the spikes of the reference: currents at each millisecond, and the record."""
    sampler, record = _Samples(), np.arange(0, p.neurons, 3)
    return sampler, run_trial(trainer, 1, task=p.tasks - 1, sampler=sampler, replay=_reference_spikes(p), record=record)


def _free_run(trainer: Trainer, p: Problem, *, learn: bool) -> SpikeTrain:
    return run_trial(trainer, 1, task=p.tasks - 1, learn=learn, record=np.arange(p.neurons)).spikes


def _random_state(rng: np.random.Generator, p: Problem, subject: Subject) -> State:
    """Random weights, and positive-definite P with a condition number of about 100."""
    N, n = p.neurons, p.n
    a = rng.standard_normal((N, n, n))
    P = np.einsum("cij,ckj->cik", a, a) / n + 0.05 * np.eye(n)
    P = P.astype(subject.data_precision)
    return State(rng.standard_normal((N, n)).astype(P.dtype), {"P": (P + P.transpose(0, 2, 1)) / 2})


def _random_inputs(rng: np.random.Generator, p: Problem, subject: Subject) -> list[NDArray[Any]]:
    """x, u_bal and f of an update."""
    x = rng.random((p.neurons, p.n)).astype(subject.data_precision)
    arrays = [x, rng.standard_normal(p.neurons), rng.standard_normal(p.neurons)]
    return [array.astype(subject.options.precision) for array in arrays]


def _random_updates(trainer: Trainer, p: Problem, subject: Subject, *, number: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(number):
        trainer.rls_update(*_random_inputs(rng, p, subject))
    trainer.synchronize()


def _close(name: str, got: NDArray[Any], wanted: NDArray[Any], tolerance: float) -> None:
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    if got.shape != wanted.shape:
        raise CheckFailed(f"{name} has shape {got.shape}, not {wanted.shape}")
    if not got.size:
        return
    largest, difference = np.abs(wanted).max(), np.abs(got - wanted).max()
    if not difference <= tolerance * largest:
        share = difference / largest if largest else difference
        raise CheckFailed(f"{name} differs by {share:.2g} of its largest entry (allowed: {tolerance:.0e})")


def _same_state(when: str, got: Trainer, wanted: Trainer | State, tolerance: float) -> None:
    a, b = got.state(), wanted if isinstance(wanted, State) else wanted.state()
    _close(f"w {when}", a.w, b.w, tolerance)
    if a.kept.keys() != b.kept.keys():
        raise CheckFailed(f"{when}, the rule keeps {sorted(a.kept)}, not {sorted(b.kept)}")
    for name in b.kept:
        x, y = (s.full(name) if name == got.problem.definite else s.kept[name] for s in (a, b))
        _close(f"{name} {when}", x, y, tolerance)


def _same_spikes(got: SpikeTrain, wanted: SpikeTrain) -> None:
    if not len(wanted.step):
        raise CheckFailed("there are no spikes to compare with")
    common = min(len(got.step), len(wanted.step))
    differ = (got.step[:common] != wanted.step[:common]) | (got.neuron[:common] != wanted.neuron[:common])
    if differ.any() or len(got.step) != len(wanted.step):
        at = int(np.argmax(differ)) if differ.any() else common
        step = int((wanted if at < len(wanted.step) else got).step[at])
        raise CheckFailed(f"{len(got.step)} spikes, not {len(wanted.step)}; the first difference is at step {step}")
