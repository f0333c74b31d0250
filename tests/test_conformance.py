"""Every backend passes the conformance suite; broken copies of backends fail it.

A broken copy wraps a sound trainer of any backend and adds one fault.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rlsbench.backend import (
    FEATURES,
    ArraySpec,
    Backend,
    Block,
    Kept,
    Options,
    Sizes,
    SpikeTrain,
    State,
    Trainer,
    backend_entries,
)
from rlsbench.cli import main
from rlsbench.conformance import (
    CHECKS,
    Outcome,
    Subject,
    Validity,
    run_check,
    subjects,
    suite,
    verify_backend,
)
from rlsbench.conformance.subjects import VARIANTS, spread_problem
from rlsbench.precision import PRECISIONS
from rlsbench.problem import Problem
from tests.conftest import usable

IN_TREE = ["reference", "numpy-full", "numpy-packed", "numba", "numba-blas", "torch"]
ENTRIES = {entry.name: entry for entry in backend_entries()}
USUAL = [("float64", "float64"), ("float32", "float32"), ("float32", "float16")]  # of the rest, and of P

UPDATE = "one RLS update matches the reference for random P, x, w, u_bal and f"
CLOSED_FORM = "many updates match the closed form: P = inv(P_inv0 + sum x x'), w = ridge solution"
SYMMETRIC = "P stays symmetric and positive definite over many updates"
REPLAYED = "a replayed trial matches the reference: "
OFFSET = "an offset of the targets acts as if the targets contained it, and replaces the last one"
EXTERNAL = "an external current that is set acts as if the problem had it, and replaces the last one"
SILENT = "an external current of NaN silences a neuron, as a strongly negative one does"
PENALTY = "a penalty on single inputs and forgetting match the reference"
FREE = "a free run of 50 ms matches the reference spike for spike: "
VARYING = (
    ": in-degree that varies",
    ": plastic synapses with one delay",
    ": plastic synapses with delays of their own",
    ": synapses by tables",
)
SPREAD_BITS = "a network on 1 to 4 ranks is that of one process, bit by bit: "
AS_REQUESTED = "precision and storage are as requested"
RECORDED = "recorded spikes are sorted, belong to the named neurons, and agree with the counts"
SUMS = "sums of currents are those of the currents at each millisecond"
ROUND_TRIP = "state and restore are a round trip in either storage, and training continues from it"
SIGNS, WITHOUT_P = "weights that keep their signs", "rule rls-without-p"
EDGES, PLASTIC = {"static-edges", "static-delays", "plastic-delays"}, {"varying-in-degree", "plastic-delays"}
LACKING = {  # features
    "torch": {"numpy-rules", "ranks"} | EDGES,
    "cupy": {"numpy-rules", "signs"} | EDGES | PLASTIC,
    "numba-blas": PLASTIC,
    "reference": {"ranks"},
}
BLOCKS = "blocks are an exact round trip in either storage, and training continues from them"


def offering(backend: Backend, **changes: Any) -> Backend:
    """The backend with other capabilities."""
    return replace(backend, capabilities=replace(backend.capabilities, **changes))  # type: ignore[type-var]


def configurations() -> list[Any]:
    """Each in-tree backend, in each configuration that it declares, with each check."""
    cases = []
    for name in IN_TREE:
        entry = ENTRIES[name]
        try:
            known = entry.backend if entry.reason is None else None
            found = suite.declared_subjects(known) if known is not None else []  # making trainers would compile
        except Exception:  # it says that it can be used, and cannot: its one test fails with that error
            found = []
        if not found:  # its configurations are not known: one test that skips, or fails
            cases.append(pytest.param(name, None, AS_REQUESTED, id=name))
        for subject in found:
            precisions = subject.options.precision, subject.options.p_precision
            # Kernels are compiled once: those of the simulation for all precisions of P.
            marks = [pytest.mark.xdist_group(f"{name.partition('-')[0]} {subject.options.precision}")]
            if name != "torch" and precisions not in USUAL:  # torch has its own part of .ci/run
                marks.append(pytest.mark.combinations)
            # In-degrees that vary have kernels of their own, for each form and precision of P.
            some = [*marks, *[pytest.mark.combinations] * (precisions != USUAL[0])]
            cases += [
                pytest.param(
                    name, subject, c, id=f"{name}: {subject}: {c}", marks=some if c.endswith(VARYING) else marks
                )
                for c in CHECKS
            ]
    return cases


@pytest.mark.parametrize(("name", "subject", "check"), configurations())
def test_backend_conforms(name: str, subject: Subject | None, check: str) -> None:
    backend = usable(name)
    if subject is None:
        pytest.fail(f"backend {name} has no configuration: {subjects(backend)}")
    outcome = run_check(check, subject)
    if outcome.validity is Validity.NOT_CHECKED:
        one_storage = check == "all storages give the same result" and len(subject.backend.capabilities.storages) == 1
        rounded = check.startswith(FREE) and subject.coarsest != "float64"
        variant = check.partition(": ")[2]
        refused = check.startswith((FREE, REPLAYED)) and variant in VARIANTS and subject.lacks(variant)  # see LACKING
        o, offered = subject.options, subject.backend.capabilities
        in_one_form = (o.storage, o.algorithm) != (offered.storages[0], offered.algorithms[0])
        simulated = check.startswith(f"{FREE}neurons ") and in_one_form  # no model knows how P is updated
        spread = check.startswith(SPREAD_BITS) and spread_is_left_out(subject, variant)
        assert one_storage or rounded or refused or simulated or spread, outcome.reason
    else:
        assert outcome.validity is Validity.PASSED, outcome.reason


def spread_is_left_out(subject: Subject, network: str) -> bool:
    """Ranks or something in the network are not offered, or checked in another configuration."""
    o, offered = subject.options, subject.backend.capabilities
    usual = (o.storage, o.algorithm, subject.coarsest) == (offered.storages[0], offered.algorithms[0], "float64")
    lacking = (spread_problem(network).required_features | {"ranks"}) - offered.features
    return bool(lacking) or (network != "everything" and not usual)


@pytest.mark.xdist_group("group")
def test_groups_take_effect(request: pytest.FixtureRequest) -> None:
    """Else each process compiles every kernel. Names of tests in a group end with it."""
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("not in a process of pytest-xdist")
    assert request.node.nodeid.endswith("@group")


def test_the_backends_support_every_feature_except_for_a_few() -> None:
    for name in IN_TREE:
        backend = ENTRIES[name].backend
        assert backend is not None
        assert frozenset(FEATURES) - backend.capabilities.features == LACKING.get(name, set()), name


def test_every_combination_that_is_declared_is_a_subject() -> None:
    backend = ENTRIES["numpy-packed"].backend
    assert backend is not None
    wide = offering(backend, storages=("full", "packed"))
    found = {(s.options.precision, s.options.p_precision, s.options.storage) for s in subjects(wide)}
    assert len(subjects(wide)) == len(found) == len({str(s) for s in subjects(wide)}) == 8


def test_sixteen_bits_are_asked_for_with_float32_only() -> None:
    backend = ENTRIES["numpy-packed"].backend
    assert backend is not None
    narrow = offering(backend, p_precisions=("float64", "float16"))
    found = [(s.options.precision, s.options.p_precision) for s in subjects(narrow)]
    assert found == [("float32", "float64"), ("float32", "float16"), ("float64", "float64")]


def test_each_precision_has_tolerances_that_widen() -> None:
    for finer, coarser in itertools.pairwise(PRECISIONS.values()):
        assert coarser.tolerances.one_update > finer.tolerances.one_update


# Broken copies


class Copy(Trainer):
    """A trainer that passes everything on to a sound one; a fault is a subclass."""

    inner: Any

    def __init__(self, problem: Problem, options: Options, make: Callable[[Problem, Options], Trainer]) -> None:
        self.inner = make(self.given(problem), options)
        used = replace(self.inner.options, precision=options.precision, p_precision=options.p_precision)
        super().__init__(problem, used, self.inner.notes)

    def given(self, problem: Problem) -> Problem:
        """What the sound trainer is told to be the problem."""
        return problem

    def holder(self) -> Any:
        """The object with the simulation arrays: in_E, in_I, in_P, r, s in the NumPy backends."""
        for name in ("simulation", "neurons"):
            if hasattr(self.inner, name):
                return getattr(self.inner, name)
        return self.inner

    def changed(self, before: State, after: State) -> State:
        """The state that an update leaves, given those before and after the right one."""
        return after

    def begin_trial(self, trial: int, task: int, record: NDArray[np.int64]) -> None:
        self.inner.begin_trial(trial, task, record)

    def advance(self, first: int, last: int, spikes: SpikeTrain | None = None) -> None:
        self.inner.advance(first, last, spikes)

    def learn(self, bin: int) -> None:
        before = self.inner.state()
        self.inner.learn(bin)
        self.inner.restore(self.changed(before, self.inner.state()))

    def shift_targets(self, offset: Any) -> None:
        self.inner.shift_targets(offset)

    def set_external(self, current: Any) -> None:
        self.inner.set_external(current)

    def rls_update(self, x: Any, u_bal: Any, f: Any) -> None:
        before = self.inner.state()
        self.inner.rls_update(x, u_bal, f)
        self.inner.restore(self.changed(before, self.inner.state()))

    def currents(self) -> Any:
        return self.inner.currents()

    def spike_counts(self) -> NDArray[np.int64]:
        return self.inner.spike_counts()

    def recorded_spikes(self) -> SpikeTrain:
        return self.inner.recorded_spikes()

    def weights(self) -> NDArray[Any]:
        return self.inner.weights()

    def state(self) -> State:
        return self.inner.state()

    def restore(self, state: State) -> None:
        self.inner.restore(state)

    def synchronize(self) -> None:
        self.inner.synchronize()

    def settle(self) -> None:
        self.inner.settle()

    def block(self, first: int, last: int) -> Block:
        block: Block = self.inner.block(first, last)
        return block

    def load_block(self, first: int, block: Block) -> None:
        self.inner.load_block(first, block)

    def gain(self) -> Any:
        return self.inner.gain()


class Broken(Backend):
    """A backend whose trainers have one fault; `asked` overrides the requested options."""

    def __init__(self, sound: Backend, fault: type[Copy], asked: dict[str, str] | None = None) -> None:
        self.sound, self.fault, self.asked = sound, fault, asked
        self.name, self.description, self.capabilities = sound.name, sound.description, sound.capabilities

    def arrays(self, sizes: Sizes, options: Options) -> Any:
        return self.sound.arrays(sizes, options)

    def trainer(self, problem: Problem, options: Options) -> Trainer:
        options_used = replace(options, **(self.asked or {}))
        return self.fault(problem, options, lambda p, _: self.sound.trainer(p, options_used))


class Proxy:
    """An object with some methods replaced."""

    def __init__(self, of: Any, **methods: Any) -> None:
        self.__dict__.update(of=of, methods=methods)

    def __getattr__(self, name: str) -> Any:
        return self.methods[name] if name in self.methods else getattr(self.of, name)


def fault(about: str, **methods: Callable[..., Any]) -> type[Copy]:
    """A copy with some other methods, called by what is wrong with it."""
    return type(about, (Copy,), methods)


SignOfP = fault("P <- P + g k k'", changed=lambda self, before, after: State(after.w, {"P": 2 * before.P - after.P}))
SignOfWeightStep = fault(
    "w <- w + g e k", changed=lambda self, before, after: State(2 * before.w - after.w, after.kept)
)
OffsetIgnored = fault("the mean of the targets stays fixed", shift_targets=lambda self, offset: None)
OffsetOfTheOtherSign = fault(
    "the offset is subtracted from the targets", shift_targets=lambda self, offset: self.inner.shift_targets(-offset)
)
OffsetOfTheNextNeuron = fault(
    "each neuron takes the offset of its neighbour",
    shift_targets=lambda self, offset: self.inner.shift_targets(np.roll(offset, 1)),
)
ExternalIgnored = fault("the external current stays fixed", set_external=lambda self, current: None)
ExternalOfTheOtherSign = fault(
    "the external current changes in the other direction",
    set_external=lambda self, current: self.inner.set_external(2 * self.problem.external_current - current),
)
ExternalOfTheNextNeuron = fault(
    "each neuron takes the external current of its neighbour",
    set_external=lambda self, current: self.inner.set_external(np.roll(current, 1)),
)
PenaltyOnTheNextInput = fault(
    "the penalty is on the neighbouring weight",
    penalize=lambda self, column, strength: self.inner.penalize((column + 1) % self.problem.n, strength),
)
ForgetsNothing = fault("P keeps all that was learned", divide_P=lambda self, factor: None)
ForgetsTheOtherWay = fault(
    "P is multiplied by the factor", divide_P=lambda self, factor: self.inner.divide_P(1 / factor)
)
SignsFree = fault(
    "weights may change their signs",
    given=lambda self, problem: replace(problem, learning=replace(problem.learning, keeps_signs=False)),
)
SignsOfTheOtherPopulation = fault(
    "excitatory weights stay negative, inhibitory ones positive",
    changed=lambda self, _, after: after._replace(w=np.where(after.w * self.problem.plastic.signs > 0, 0, after.w)),
)
PastOfTheNextNeuron = fault(
    "the rule remembers the spikes of the neighbouring neuron",
    changed=lambda self, _, after: after._replace(kept={k: np.roll(a, 1, axis=0) for k, a in after.kept.items()}),
)
ForgetsThePast = fault(
    "the rule remembers nothing from one step to the next",
    changed=lambda self, _, after: after._replace(kept={k: np.zeros_like(a) for k, a in after.kept.items()}),
)
LowerTriangleOnly = fault(
    "only the lower triangle of a full P is updated",
    changed=lambda self, before, after: State(after.w, {"P": np.tril(after.P) + np.triu(before.P, 1)}),
)
SlightlyAsymmetric = fault(
    "above the diagonal, P is off by its thousand millionth",
    changed=lambda self, before, after: State(after.w, {"P": after.P + 1e-9 * np.triu(after.P, 1)}),
)
BlocksOneNeuronLate = fault(
    "blocks are loaded one neuron further on",
    load_block=lambda self, first, block: self.inner.load_block(max(first - 1, 0), block),
)


class StepWithoutG(Copy):
    """w <- w - e k, as in the development branch of the published code; det(P_new) = g det(P)."""

    def changed(self, before: State, after: State) -> State:
        g = np.linalg.det(after.full()) / np.linalg.det(before.full())
        return State(before.w + (after.w - before.w) / g[:, None], after.kept)


class ErrorWithoutStaticCurrent(Copy):
    """e = w.x - f, in either way to learn."""

    def given(self, problem: Problem) -> Problem:
        if problem.targets is None:
            return problem
        targets = problem.targets
        row = lambda task, bin: targets.row(task, bin) + self.inner.currents()[0]  # noqa: E731
        return replace(problem, targets=Proxy(targets, row=row))  # type: ignore[arg-type]

    def rls_update(self, x: Any, u_bal: Any, f: Any) -> None:
        self.inner.rls_update(x, 0 * u_bal, f)


class OffsetsAdded(Copy):
    """Offsets add up."""

    total: Any = 0.0

    def shift_targets(self, offset: Any) -> None:
        self.total = self.total + offset
        self.inner.shift_targets(self.total)


class ExternalAdded(Copy):
    """Changes of the external current add up."""

    total: Any = 0.0

    def set_external(self, current: Any) -> None:
        self.total = self.total + current - self.problem.external_current
        self.inner.set_external(self.problem.external_current + self.total)


class DeafToNaN(Copy):
    """An external current of NaN is none."""

    def set_external(self, current: Any) -> None:
        self.inner.set_external(np.nan_to_num(current))


class PenaltyTowardsZero(Copy):
    """Weights are drawn to 0, not to their initial values."""

    def penalize(self, column: int, strength: float) -> None:
        x = np.zeros((self.problem.neurons, self.problem.n), self.options.precision)
        x[:, column] = np.sqrt(strength)
        self.inner.rls_update(x, np.zeros(len(x), x.dtype), np.zeros(len(x), x.dtype))


class ShiftedSources(Copy):
    """x is gathered from the neighbouring synapse; spikes are delivered correctly."""

    def given(self, problem: Problem) -> Problem:
        plastic = problem.plastic
        right = plastic.sources(problem.seed)
        shifted = Proxy(
            plastic,
            lines=lambda *_: np.ascontiguousarray(np.roll(right, 1, axis=1)),
            outputs=lambda *_: plastic.outputs(right),
        )
        return replace(problem, plastic=shifted)  # type: ignore[arg-type]


class TransposedWeights(Copy):
    """Spikes arrive with the weight of the synapse that is the same column from the other end."""

    def given(self, problem: Problem) -> Problem:
        plastic = problem.plastic
        first, last = plastic.feedforward, plastic.n - 1

        def outputs(sources: Any) -> Any:
            right = plastic.outputs(sources)
            return right._replace(column=(first + last - right.column).astype(right.column.dtype))

        return replace(problem, plastic=Proxy(plastic, outputs=outputs))  # type: ignore[arg-type]


class ColumnsTurnedRound(Copy):
    """Synapses read and write the columns from the other end of a neuron's row."""

    def __init__(self, problem: Problem, options: Options, make: Callable[[Problem, Options], Trainer]) -> None:
        super().__init__(problem, options, make)
        column = self.inner.simulation.synapses.column
        column[:] = problem.plastic.feedforward + problem.plastic.n - 1 - column


class OneByOne(Copy):
    """Advances step by step and does something after each."""

    def advance(self, first: int, last: int, spikes: SpikeTrain | None = None) -> None:
        for step in range(first, last + 1):
            self.inner.advance(step, step, spikes)
            self.after_step()

    def after_step(self) -> None:
        """Nothing, for a sound one."""


class SpikesOneStepLate(OneByOne):
    """What spikes deliver is held back for one step."""

    NAMES = ("in_E", "in_I", "in_P")

    def begin_trial(self, trial: int, task: int, record: NDArray[np.int64]) -> None:
        super().begin_trial(trial, task, record)
        self.held = [np.zeros_like(getattr(self.holder(), name)) for name in self.NAMES]

    def after_step(self) -> None:
        for name, held in zip(self.NAMES, self.held, strict=True):
            arriving = getattr(self.holder(), name)
            arriving[:], held[:] = held.copy(), arriving.copy()


class ReplayedOneStepLate(Copy):
    """Spikes that are replayed come one step late."""

    def advance(self, first: int, last: int, spikes: SpikeTrain | None = None) -> None:
        late = spikes._replace(step=spikes.step + 1) if spikes is not None else None
        self.inner.advance(first, last, late)


class FilteredAtOnce(OneByOne):
    """A spike is filtered into r in its own step, not in the next."""

    def after_step(self) -> None:
        a = self.holder()
        a.r[:] += a.s / np.asarray(self.problem.tau_plas_ms)
        a.s[:] = 0


class NoiseOfAnotherTrial(Copy):
    """The noise is that of the next trial; voltages start as they should."""

    def begin_trial(self, trial: int, task: int, record: NDArray[np.int64]) -> None:
        super().begin_trial(trial, task, record)
        holder = self.inner if hasattr(self.inner, "trial") else self.holder()
        holder.trial = trial + 1


class StateIsViews(Copy):
    """state() hands out the trainer's own w and P."""

    def state(self) -> State:
        sound = self.inner.state()
        storage: Any = getattr(self.inner, "storage", self.inner)
        P = storage.P
        w: Any = self.inner.w  # type: ignore[attr-defined]
        return State(w, {"P": P if P.shape == sound.P.shape else P.T})

    def learn(self, bin: int) -> None:
        self.inner.learn(bin)

    def rls_update(self, x: Any, u_bal: Any, f: Any) -> None:
        self.inner.rls_update(x, u_bal, f)


class SpikesOfNeighbours(Copy):
    """As many spikes as there were, of other neurons."""

    def recorded_spikes(self) -> SpikeTrain:
        sound = self.inner.recorded_spikes()
        first, last = sound.neuron.min(initial=2**30), sound.neuron.max(initial=0)
        return SpikeTrain(sound.step, np.where(sound.neuron == last, first, sound.neuron).astype(np.int32))


class Widened(Copy):
    """Computes in float32 and hands out float64."""

    def state(self) -> State:
        state = self.inner.state()
        return State(state.w.astype(np.float64), {"P": state.P.astype(np.float64)})


class BlocksRounded(Copy):
    """Blocks are of a coarser precision than P."""

    def block(self, first: int, last: int) -> Block:
        block = super().block(first, last)
        values = block.P.values
        return Block(block.w, {"P": Kept(values.astype(np.float16).astype(values.dtype))})


class FirstExternal(Copy):
    """A rank takes the external current of other neurons."""

    def set_external(self, current: Any) -> None:
        self.inner.set_external(np.roll(current, -self.own.start))


class FirstOffsets(Copy):
    """A rank takes the offsets of the targets of other neurons."""

    def shift_targets(self, offset: Any) -> None:
        self.inner.shift_targets(np.roll(offset, -self.own.start))


class HearsNobody(Copy):
    """Spikes of other ranks do not arrive."""

    def given(self, problem: Problem) -> Problem:
        return replace(problem, ranks=Proxy(problem.ranks, gather=lambda spikes: spikes))  # type: ignore[arg-type]


class NumbersOfItsOwn(Copy):
    """A rank counts the neurons that spiked from its first one."""

    def __init__(self, problem: Problem, options: Options, make: Callable[[Problem, Options], Trainer]) -> None:
        super().__init__(problem, options, make)
        simulation = self.inner.simulation
        if simulation.exchange is not None:
            simulation.exchange = simulation.exchange._replace(origin=0)


class NoiseOfTheFirst(Copy):
    """Noise of a rank is that of the first neurons of the network."""

    def __init__(self, problem: Problem, options: Options, make: Callable[[Problem, Options], Trainer]) -> None:
        super().__init__(problem, options, make)
        simulation = self.inner.simulation
        simulation.model = simulation.model._replace(origin=0)


class SumsOfAll(Copy):
    """Sums of plastic currents have the static ones in them."""

    def add_currents(self, row: int, *, plastic_only: bool) -> None:
        super().add_currents(row, plastic_only=False)


class SumsOneSampleLate(Copy):
    """Currents are added to the row of the sample before."""

    def sum_currents(self, rows: NDArray[np.int64], every: int, *, plastic_only: bool) -> bool:
        return bool(self.inner.sum_currents(np.roll(rows, 1), every, plastic_only=plastic_only))

    def current_sums(self) -> Any:
        return self.inner.current_sums()


class BlocksUnsettled(Copy):
    """Updates that are not yet in P are left out of blocks."""

    def learn(self, bin: int) -> None:
        self.inner.learn(bin)  # without a look at the state, which would write P

    def settle(self) -> None:
        pass


FULL, NUMPY, ALL = ["numpy-full"], ["numpy-full", "numpy-packed"], ["numpy-full", "numpy-packed", "numba"]
SINGLE = {"precision": "float32", "p_precision": "float32"}

# fault, options in place of those asked for, backends that it is put into, checks that must see it
FAULTS: list[tuple[type[Copy], dict[str, str] | None, list[str], list[str]]] = [
    (SignOfP, None, ALL, [UPDATE, CLOSED_FORM, REPLAYED + "plain"]),
    (SignOfWeightStep, None, ALL, [UPDATE, CLOSED_FORM, REPLAYED + "plain", FREE + "plain"]),
    (StepWithoutG, None, ALL, [UPDATE, CLOSED_FORM, REPLAYED + "plain"]),
    (ErrorWithoutStaticCurrent, None, ALL, [UPDATE, CLOSED_FORM]),
    (ErrorWithoutStaticCurrent, None, NUMPY, [REPLAYED + "plain"]),
    (ColumnsTurnedRound, None, ["numba"], [REPLAYED + "plain", FREE + "plain"]),
    (FirstExternal, None, ALL, [SPREAD_BITS + "everything"]),
    (FirstOffsets, None, ALL, [SPREAD_BITS + "everything"]),
    (HearsNobody, None, NUMPY, [SPREAD_BITS + "everything"]),
    (NumbersOfItsOwn, None, ["numba"], [SPREAD_BITS + "everything"]),
    (NoiseOfTheFirst, None, ["numba"], [SPREAD_BITS + "everything"]),
    (SumsOfAll, None, ALL, [SUMS]),
    (SumsOneSampleLate, None, ["numba"], [SUMS]),
    (OffsetIgnored, None, ALL, [OFFSET]),
    (OffsetOfTheOtherSign, None, ALL, [OFFSET]),
    (OffsetOfTheNextNeuron, None, ALL, [OFFSET]),
    (OffsetsAdded, None, ALL, [OFFSET]),
    (ExternalIgnored, None, ALL, [EXTERNAL]),
    (ExternalOfTheOtherSign, None, ALL, [EXTERNAL]),
    (ExternalOfTheNextNeuron, None, ALL, [EXTERNAL]),
    (ExternalAdded, None, ALL, [EXTERNAL]),
    (DeafToNaN, None, ALL, [SILENT]),
    (PenaltyOnTheNextInput, None, ALL, [PENALTY]),
    (PenaltyTowardsZero, None, ALL, [PENALTY]),
    (ForgetsNothing, None, ALL, [PENALTY]),
    (ForgetsTheOtherWay, None, ALL, [PENALTY]),
    (SignsFree, None, ALL, [REPLAYED + SIGNS]),
    (SignsOfTheOtherPopulation, None, ALL, [REPLAYED + SIGNS]),
    (PastOfTheNextNeuron, None, ALL, [REPLAYED + WITHOUT_P]),
    (ForgetsThePast, None, ALL, [REPLAYED + WITHOUT_P]),
    (ShiftedSources, None, NUMPY, [REPLAYED + "plain", FREE + "plain"]),
    (TransposedWeights, None, NUMPY, [REPLAYED + "plain"]),
    (SpikesOneStepLate, None, NUMPY, [REPLAYED + "plain", FREE + "plain"]),
    (ReplayedOneStepLate, None, ALL, [REPLAYED + "plain"]),
    (FilteredAtOnce, None, NUMPY, [REPLAYED + "plain"]),
    (NoiseOfAnotherTrial, None, ALL, [REPLAYED + "current noise", FREE + "voltage noise"]),
    (StateIsViews, None, NUMPY, [ROUND_TRIP]),
    (BlocksRounded, None, ALL, [BLOCKS]),
    (BlocksUnsettled, {"algorithm": "event"}, ["numba"], [BLOCKS]),
    (BlocksOneNeuronLate, None, ALL, [BLOCKS]),
    (LowerTriangleOnly, None, FULL, [SYMMETRIC, UPDATE]),
    (SlightlyAsymmetric, None, FULL, [SYMMETRIC]),
    (SpikesOfNeighbours, None, ALL, [REPLAYED + "plain", FREE + "plain", RECORDED]),
    (Copy, SINGLE, ALL, [AS_REQUESTED]),
    (Widened, SINGLE, ALL, [AS_REQUESTED, UPDATE, FREE + "plain"]),
]


def outcome(name: str, fault: type[Copy], asked: dict[str, str] | None, check: str) -> Outcome:
    """The end of one check on a copy of a backend, in float64."""
    backend = Broken(usable(name), fault, asked)
    options = Options("float64", "float64", backend.capabilities.storages[0], 2, "cpu")
    return run_check(check, Subject(backend, options))


@pytest.mark.parametrize(
    ("name", "fault", "asked", "check"),
    [
        pytest.param(name, fault, asked, check, id=f"{name}: {fault.__name__}{' in float32' * bool(asked)}: {check}")
        for fault, asked, names, checks in FAULTS
        for name in names
        for check in checks
    ],
)
def test_broken_copy_fails(name: str, fault: type[Copy], asked: dict[str, str] | None, check: str) -> None:
    found = outcome(name, fault, asked, check)
    assert found.validity is Validity.FAILED
    assert "Error" not in found.reason.partition(":")[0], found.reason  # it computed something, and that was wrong


@pytest.mark.parametrize(("name", "copy"), [*((name, Copy) for name in ALL), *((name, OneByOne) for name in NUMPY)])
def test_sound_copy_passes(name: str, copy: type[Copy]) -> None:
    """What finds the faults finds none where there is none."""
    put = [checks for fault, _, names, checks in FAULTS if name in names and issubclass(fault, copy)]
    for check in dict.fromkeys(itertools.chain(*put)):
        found = outcome(name, copy, None, check)
        assert found.validity is Validity.PASSED, f"{check}: {found.reason}"


def test_whatever_a_backend_raises_is_a_failure_of_the_check() -> None:
    class Raising(Copy):
        def state(self) -> State:
            raise OSError("the device\n   fell off")

    found = outcome("numpy-packed", Raising, None, AS_REQUESTED)
    assert found.validity is Validity.FAILED
    assert found.reason.startswith("OSError: the device fell off (test_conformance.py:")


def test_feature_that_is_not_declared_is_not_checked() -> None:
    sound = usable("numpy-packed")
    modest = offering(sound, features=frozenset({"neuron:lif"}), precisions=("float64",), p_precisions=("float64",))
    (subject,) = subjects(modest)
    found = {check: run_check(check, subject) for check in CHECKS if "noise" in check or "benchmark" in check}
    assert len(found) == 7
    for outcome in found.values():
        assert outcome.validity is Validity.NOT_CHECKED
        assert any(feature in outcome.reason for feature in FEATURES)
    assert run_check(REPLAYED + "plain", subject).validity is Validity.PASSED


def test_storages_that_differ_are_seen() -> None:

    class TwoStorages(Backend):
        """numpy-full and numpy-packed as one backend, with a flaw in one storage or none."""

        def __init__(self, flaw: float) -> None:
            self.flaw = flaw
            self.capabilities = replace(usable("numpy-full").capabilities, storages=("full", "packed"))

        def arrays(self, sizes: Sizes, options: Options) -> list[ArraySpec]:
            raise AssertionError("no memory is counted")

        def trainer(self, problem: Problem, options: Options) -> Trainer:
            trainer = usable(f"numpy-{options.storage}").trainer(problem, options)
            state = trainer.state()
            if options.storage == "packed":
                trainer.restore(State(state.w, {"P": state.full() * (1 + self.flaw)}))
            return trainer

    options = Options("float64", "float64", "full", 2)
    for flaw, validity in ((0.0, Validity.PASSED), (1e-6, Validity.FAILED)):
        subject = Subject(TwoStorages(flaw), options)
        assert run_check("all storages give the same result", subject).validity is validity


# The command

BROKEN_MODULE = """
from dataclasses import replace
import numpy as np
from rlsbench.backend import Capabilities, State
from rlsbench_numpy import NumpyBackend
from rlsbench_numpy.trainer import NumpyTrainer

class WrongTrainer(NumpyTrainer):
    def rls_update(self, x, u_bal, f):
        before = self.state()
        super().rls_update(x, u_bal, f)
        after = self.state()
        self.restore(State(2 * before.w - after.w, after.kept))

class WrongBackend(NumpyBackend):
    def trainer(self, problem, options):
        return WrongTrainer(problem, options, self.allocator(problem, options, np.zeros))

declared = Capabilities(storages=("packed",), precisions=("float64",), p_precisions=("float64",))
SOUND = NumpyBackend("sound", "a copy of numpy-packed", declared)
WRONG = WrongBackend("wrong", "the same with the sign of the weight step wrong", declared)
"""

FEW = f"""
from rlsbench.conformance import CHECKS
for name in set(CHECKS) - {{{AS_REQUESTED!r}, {UPDATE!r}, {CLOSED_FORM!r}}}:
    del CHECKS[name]
from rlsbench.cli import main
main()
"""  # the command itself, with a few of the checks: each backend runs all of them above


@pytest.mark.parametrize(
    ("name", "status", "totals"),
    [
        ("sound", 0, "sound: 3 passed, 0 failed, 0 not checked"),
        ("wrong", 1, "wrong: 1 passed, 2 failed, 0 not checked"),
    ],
)
def test_verify_ends_with_the_status_of_its_checks(
    name: str, status: int, totals: str, install: Callable[..., Path], cli: Callable[..., Any]
) -> None:
    points = {"sound": "copies_of_packed:SOUND", "wrong": "copies_of_packed:WRONG"}
    done = cli("verify", name, path=[install("copies", "1", points, copies_of_packed=BROKEN_MODULE)], code=FEW)
    assert done.returncode == status, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[-1] == totals
    assert (f"FAILED  {UPDATE}: w " in done.stdout) == (status == 1)


def test_verify_says_what_was_not_checked(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {c: f for c, f in CHECKS.items() if c == "all storages give the same result" or c.startswith(FREE)}
    monkeypatch.setattr(suite, "CHECKS", kept)
    main(["verify", "numpy-packed"])
    out = capsys.readouterr().out
    assert "not checked  all storages give the same result: " in out
    assert re.search(rf"not checked  {FREE}plain \(and \d+ more\): .*float64", out)
    free = len(kept) - 1  # in float64 alone, which is one of four combinations
    assert out.splitlines()[-1] == f"numpy-packed: {free} passed, 0 failed, {3 * free + 4} not checked"


def test_outcomes_come_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "CHECKS", {AS_REQUESTED: CHECKS[AS_REQUESTED]})
    reference = usable("reference")
    outcomes = verify_backend(reference)
    assert next(outcomes) == Outcome(AS_REQUESTED, str(subjects(reference)[0]), Validity.PASSED)
    assert next(outcomes, None) is None
