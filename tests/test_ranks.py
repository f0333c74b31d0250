"""A network that is spread over ranks: the bits of one process, and one line for what fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rlsbench import Training, load_experiment, prepare, ranks, resume, save_checkpoint
from rlsbench.backend import require
from rlsbench.clock import Clock
from rlsbench.conformance.subjects import variant_problem, varying_inputs
from rlsbench.conformance.threaded_ranks import Threaded, on_ranks
from rlsbench.connectivity import projections_of
from rlsbench.errors import ConfigurationError, UnsupportedError
from rlsbench.network import populations_of
from rlsbench.problem import initial_problem
from rlsbench.ranks import ALONE, TOGETHER, Communicator, differing, launched
from tests.conftest import COMMAND, TINY, Refused, usable

pytestmark = pytest.mark.xdist_group("numba float32")  # with the other tests of these kernels

# Large enough for four ranks; most trials have a few spikes in each step.
SMALL = TINY | {"network.neurons": 1100, "training.window_ms": 4.0, "time.train_duration_ms": 20.0}
POPULATIONS = [
    {"name": "a", "size": 500, "sign": 1, "background_hz": 2000.0, "background_weight": 0.2},
    {"name": "b", "size": 300, "sign": -1},
    {"name": "c", "size": 300, "sign": 1},
]
VARIANTS: dict[str, dict[str, Any]] = {
    "as published": {},
    "voltage noise, two tasks": {"noise.kind": "voltage", "noise.sigma": 0.3, "targets.tasks": 2},
    "current noise, means follow": {"noise.kind": "current", "noise.sigma": 0.1, "learning.target_mean": "population"},
    "feed-forward": {"feedforward.LX": 5, "feedforward.mu_hz": 200.0},
    "few inputs": {"network.frac": 0.5, "learning.neurons": ("100:900",)},
    "without static": {"network.K": 0, "network.L": 6, "external.excitatory": 1.5},
    "populations": {"populations": POPULATIONS},
    "plain, packed": {"numerics.algorithm": "plain", "numerics.storage": "packed"},
    "int16": {"numerics.p_precision": "int16"},
    "two filters": {"synapse.tau_I_ms": 5.0, "learning.rule": "rls", "learning.forgetting": 0.99},
    "tau_plas of each neuron": {"synapse.tau_plas_ms": (100.0, 200.0), "feedforward.LX": 3},
    "parameters of each population": {
        "populations": [POPULATIONS[0] | {"neuron": {"tau_m_ms": 12.0}}, *POPULATIONS[1:]],
        "neuron.model": "adex",
    },
    "rule without P": {"learning.rule": "rls-without-p", "learning.parameters": {"history_ms": 30.0}},
}
TABLES: list[dict[str, Any]] = [
    {"source": "a", "rule": "bernoulli", "parameters": {"probability": 0.01}, "weight": 2.0, "delay_ms": 0.4},
    {"source": "b", "target": "c", "rule": "fixed-in-degree", "parameters": {"degree": 7}, "weight": -3.0},
    {"source": "c", "rule": "distance", "parameters": {"probability": 0.3, "width": 0.05}, "weight": 1.0},
    {"kind": "plastic", "rule": "bernoulli", "parameters": {"probability": 0.005}, "delay_ms": 1.0},
    {"kind": "plastic", "target": "a", "rule": "lognormal-in-degree", "parameters": {"mean": 6.0, "sigma": 0.5}},
]
DRAWN = {"populations": POPULATIONS, "connectivity": TABLES}  # many kernels more: in float64, or in NumPy


def outcome(training: Training, iterations: int = 2) -> list[Any]:
    """All that a training is compared by; on rank 0, that of the whole network."""
    list(training.run(iterations))
    gather = training.problem.ranks.gather
    record, state = training.last_record, training.trainer.state()
    assert record is not None
    curve = training.learning_curve().drop(columns=["seconds", "rls_seconds", "measuring_seconds"])
    return [
        curve.to_numpy(object),
        training.weights(),
        gather(state.w),
        *(gather(array) for array in state.kept.values()),
        *record.spikes,
        record.spike_counts,
        training.learned_current(training.shown_neurons()),
        training.first_learned,
        training.initial.mean_current,
    ]


def assert_same(one: list[Any], other: list[Any]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def alone() -> Callable[..., list[Any]]:
    """The outcome in one process, which is computed once for each variant."""
    known: dict[tuple[str, str], list[Any]] = {}

    def computed(variant: str, precision: str) -> list[Any]:
        if (variant, precision) not in known:
            known[variant, precision] = outcome(prepare(experiment(variant, precision), usable("numba")))
        return known[variant, precision]

    return computed


def experiment(variant: str, precision: str = "float32", threads: int = 1) -> Any:
    numerics = {"numerics.precision": precision, "numerics.threads": threads}
    return load_experiment("smoke", overrides=SMALL | numerics | VARIANTS[variant])


def spread(size: int, e: Any, backend: str = "numba") -> list[list[Any]]:
    return on_ranks(size, lambda rank: outcome(prepare(e, usable(backend), ranks=rank)))


@pytest.mark.parametrize(
    "variant", [pytest.param(v, marks=[pytest.mark.combinations] * (v == "int16")) for v in VARIANTS]
)
def test_three_ranks_give_the_bits_of_one_process(variant: str, alone: Callable[..., list[Any]]) -> None:
    assert_same(alone(variant, "float32"), spread(3, experiment(variant))[0])


@settings(max_examples=8, deadline=None)
@given(
    variant=st.sampled_from([*VARIANTS.keys() - {"int16"}]),
    size=st.integers(1, 4),
    threads=st.integers(1, 2),
    precision=st.sampled_from(["float32", "float64"]),
    fit=st.integers(0, 3),
    room=st.sampled_from([None, 0, 20, 10_000]),
)
@example(variant="as published", size=2, threads=2, precision="float64", fit=1, room=None)
@example(variant="populations", size=2, threads=3, precision="float32", fit=3, room=10_000)
@example(variant="two filters", size=3, threads=2, precision="float64", fit=3, room=20)
def test_any_number_of_ranks_and_threads_gives_the_same_bits(
    variant: str,
    size: int,
    threads: int,
    precision: str,
    fit: int,
    room: int | None,
    alone: Callable[..., list[Any]],
) -> None:
    """Also with more spikes in a step than `fit`, and look-ups shared in lists with `room`."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("NEURONS_PER_THREAD", "SCANNED_PER_THREAD"):
            patch.setattr(f"rlsbench_numba.tuning.{name}", 100)
        patch.setattr("rlsbench_numba.tuning.SPIKES_AT_LEAST", fit)
        patch.setattr("rlsbench_numba.tuning.SPIKES_PER_NEURON", 0)
        if room is not None:
            for name, value in (("NEURONS", 0), ("SYNAPSES", 10**6), ("AT_LEAST", room)):
                patch.setattr(f"rlsbench_numba.tuning.SHARED_{name}", value)
        found = spread(size, experiment(variant, precision, threads))[0]
    assert_same(alone(variant, precision), found)


@pytest.mark.parametrize(
    ("backend", "variant"), [("numpy-full", "feed-forward"), ("numpy-packed", "parameters of each population")]
)
def test_ranks_in_numpy_give_the_bits_of_one_process(backend: str, variant: str) -> None:
    e = experiment(variant)
    assert_same(outcome(prepare(e, backend)), spread(3, e, backend)[0])


def by_tables(folder: Path) -> Any:
    """Synapses drawn by either side, and of a file that lists static and plastic ones."""
    rng, file = np.random.default_rng(4), folder / "edges.csv"
    pairs = rng.choice(1100 * 1100, 3000, replace=False)
    lines = [
        f"{pair % 1100},{pair // 1100},{'-' * (500 <= pair % 1100 < 800)}0.5,{kind}"
        for pair, kind in zip(pairs.tolist(), rng.choice(["static", "plastic"], 3000).tolist(), strict=True)
        if pair % 1100 != pair // 1100
    ]
    file.write_text("\n".join(["pre,post,weight,kind", *lines]))
    settings_ = DRAWN | {"connectivity": [*TABLES, {"file": str(file)}], "numerics.threads": 1}
    return load_experiment("smoke", overrides=SMALL | settings_ | {"numerics.precision": "float64"})


@pytest.mark.parametrize("backend", ["numpy-packed", pytest.param("numba", marks=pytest.mark.combinations)])
def test_synapses_by_tables_are_those_of_one_process(backend: str, tmp_path: Path) -> None:
    """Also in a run that other numbers of ranks continue."""
    e, file = by_tables(tmp_path), tmp_path / "one.h5"
    training = prepare(e, usable(backend))
    one = outcome(training)
    assert len(training.problem.plastic.delays) == 2
    assert len(training.problem.static_edges().index)

    def saved(rank: Communicator) -> list[Any]:
        training = prepare(e, usable(backend), ranks=rank)
        list(training.run(1))
        save_checkpoint(file, training)
        return outcome(training, 1)

    assert_same(one, on_ranks(3, saved)[0])
    assert_same(one, on_ranks(2, lambda rank: outcome(resume(file, ranks=rank), 1))[0])
    assert_same(one, outcome(resume(file), 1))


def test_what_a_rule_remembers_of_all_neurons_is_resumed(tmp_path: Path) -> None:
    e, file = experiment("rule without P"), tmp_path / "one.h5"

    def saved(rank: Communicator) -> None:
        training = prepare(e, usable("numpy-packed"), ranks=rank)
        list(training.run(1))
        save_checkpoint(file, training)

    on_ranks(2, saved)
    one = outcome(prepare(e, usable("numpy-packed")))
    assert_same(one, on_ranks(3, lambda rank: outcome(resume(file, ranks=rank), 1))[0])


def test_a_trained_network_goes_on_with_its_weights(alone: Callable[..., list[Any]]) -> None:
    e, w = experiment("as published"), alone("as published", "float32")[1]
    one = outcome(prepare(e, usable("numba"), weights=w), 1)

    def again(rank: Communicator) -> list[Any]:
        training = prepare(e, usable("numba"), ranks=rank)
        list(training.run(2))
        own = training.weights()  # of all on rank 0, and of its own elsewhere
        assert len(own) == (len(w) if rank.rank == 0 else training.trainer.neurons)
        return outcome(prepare(e, usable("numba"), weights=own, ranks=rank), 1)

    assert_same(one, on_ranks(3, again)[0])


def test_undone_iterations_leave_the_past_of_all_neurons(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rank keeps the past of all for a rule that asks for it, and restores that of its own."""
    e = experiment("rule without P")

    def interrupted(rank: Communicator) -> list[Any]:
        training = prepare(e, usable("numpy-packed"), ranks=rank)
        list(training.run(1))
        copies = [(first, block.copy()) for first, block in zip((0,), training.trainer.blocks(1100), strict=True)]
        training.trainer.begin_trial(2, 0, np.empty(0, np.int64))
        for bin in range(2):
            training.trainer.advance(20 * bin + 1, 20 * bin + 20)
            training.trainer.learn(bin)
        training.trainer.load_blocks(copies)
        return outcome(training, 1)

    assert_same(outcome(prepare(e, usable("numpy-packed"))), on_ranks(2, interrupted)[0])


@settings(max_examples=50, deadline=None)
@given(data=st.data(), drawn=st.booleans(), own=st.booleans())
def test_a_part_of_plastic_inputs_has_their_rows(data: Any, drawn: bool, own: bool) -> None:
    p = variant_problem("in-degree that varies" if not drawn else "feed-forward inputs").plastic
    if not drawn:
        p = replace(p, given=varying_inputs(p.neurons, data.draw(st.sampled_from([[0, 3, 9], [1], [20, 2]])), 3))
    if own:
        p = replace(p, own_weights=np.random.default_rng(1).normal(size=(p.neurons, p.n)))
    first = data.draw(st.integers(0, p.neurons - 1))
    last = data.draw(st.integers(first + 1, p.neurons))
    part = p.part(first, last)
    assert (part.n, part.delays.tolist(), part.varies) == (p.n, p.delays.tolist(), p.varies)
    assert part.part(first, last) is part
    np.testing.assert_array_equal(part.inputs, p.inputs[first:last])
    np.testing.assert_array_equal(part.sources(1), p.sources(1)[first:last])
    np.testing.assert_array_equal(part.lines(1), p.lines(1)[first:last])
    np.testing.assert_array_equal(part.lines(1, last - 1, last), p.lines(1)[last - 1 : last])
    for name in ("signs", "initial_weights"):
        whole = getattr(p, name)
        np.testing.assert_array_equal(getattr(part, name), whole if whole.ndim == 1 else whole[first:last])


RULES = [
    ("bernoulli", {"probability": 0.02}),
    ("fixed-out-degree", {"degree": 4}),
    ("fixed-in-degree", {"degree": 3}),
    ("lognormal-in-degree", {"mean": 3.0, "sigma": 1.0}),
    ("distance", {"probability": 0.5, "width": 0.02}),
]


@settings(max_examples=25, deadline=None)
@given(
    kind=st.sampled_from(["static", "plastic"]),
    rules=st.lists(st.sampled_from(RULES), min_size=1, max_size=3),
    delays=st.lists(st.sampled_from([0.1, 0.3]), min_size=3, max_size=3),
    size=st.integers(1, 4),
    seed=st.integers(0, 2**32),
)
def test_ranks_draw_the_synapses_onto_their_neurons(
    kind: Any, rules: list[Any], delays: list[float], size: int, seed: int
) -> None:
    """Together, they are those of one process, in the same order; none is on two ranks."""
    tables = [
        {"kind": kind, "source": "a", "rule": rule, "parameters": dict(given), "weight": 1.0, "delay_ms": delay}
        for (rule, given), delay in zip(rules, delays, strict=False)
    ]
    e = load_experiment("smoke", overrides=SMALL | {"populations": POPULATIONS, "connectivity": tables})
    found = projections_of(e, populations_of(e), kind)
    assert found is not None
    whole, N = found.edges(seed), e.network.neurons
    for rank, edges in enumerate(on_ranks(size, lambda ranks_: found.onto(seed, ranks_))):
        bounds = on_ranks(size, lambda ranks_: ranks_.bounds(N))[rank]
        post = whole.index if kind == "static" else whole.rows()
        here = (bounds[rank] <= post) & (post < bounds[rank + 1])
        first = 0 if kind == "static" else bounds[rank]
        np.testing.assert_array_equal(edges.rows() + first, whole.rows()[here])
        np.testing.assert_array_equal(edges.index, whole.index[here])
        np.testing.assert_array_equal(edges.weight, np.asarray(whole.weight)[here])
        one = np.ones(len(edges.index), np.uint8)
        there = np.ones(len(whole.index), np.uint8) if whole.delay is None else whole.delay
        np.testing.assert_array_equal(one if edges.delay is None else edges.delay, there[here])


LATE: list[dict[str, Any]] = [
    {"source": "a", "rule": "bernoulli", "parameters": {"probability": 0.02}, "weight": 2.0, "delay_ms": 0.3},
    {"source": "b", "rule": "fixed-in-degree", "parameters": {"degree": 7}, "weight": -3.0, "delay_ms": 0.5},
    {"kind": "plastic", "rule": "bernoulli", "parameters": {"probability": 0.005}, "delay_ms": 1.0},
    {"kind": "plastic", "target": "a", "rule": "fixed-in-degree", "parameters": {"degree": 4}, "delay_ms": 0.4},
]


@pytest.mark.parametrize("fit", [0, 10_000])
def test_spikes_are_exchanged_once_in_the_shortest_delay(fit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where steps, learning bins and samples begin between two exchanges."""
    monkeypatch.setattr("rlsbench_numba.tuning.SPIKES_AT_LEAST", fit)
    monkeypatch.setattr("rlsbench_numba.tuning.SPIKES_PER_NEURON", 0)
    overrides = SMALL | {"populations": POPULATIONS, "connectivity": LATE, "numerics.precision": "float32"}
    e = load_experiment("smoke", overrides=overrides | {"numerics.threads": 1})

    def counted(rank: Communicator) -> tuple[list[Any], int, int]:
        assert isinstance(rank, Threaded)
        training = prepare(e, usable("numba"), ranks=rank)
        assert training.problem.shortest_delay == 3
        before, found = rank.exchanges, outcome(training)
        return found, rank.exchanges - before, rank.overflows

    (found, exchanges, overflows), *_ = on_ranks(3, counted)
    assert exchanges == 2 * (Clock.from_experiment(e).steps // 3)
    assert (overflows > 0) == (fit == 0)
    assert_same(outcome(prepare(e, usable("numba"))), found)


def test_the_backend_with_blas_has_ranks_too() -> None:
    blas, e = usable("numba-blas"), experiment("as published")
    assert_same(outcome(prepare(e, blas)), on_ranks(2, lambda rank: outcome(prepare(e, blas, ranks=rank)))[0])


def test_spikes_are_exchanged_once_a_step_and_twice_if_they_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlsbench_numba.tuning.SPIKES_AT_LEAST", 2)

    def count(rank: Communicator) -> tuple[int, int, int, int]:
        assert isinstance(rank, Threaded)
        training = prepare(experiment("as published"), usable("numba"), ranks=rank)
        before = rank.exchanges, rank.overflows
        list(training.run(1))
        steps = np.zeros(training.problem.clock.steps + 1, np.int64)
        np.add.at(steps, training.spikes().step, 1)
        return rank.exchanges - before[0], rank.overflows - before[1], len(steps) - 1, int((steps > 6).sum())

    (once, twice, steps, _), (other, *_) = on_ranks(2, count)
    assert once == other == steps
    assert 0 < twice < steps


@settings(max_examples=100)
@given(neurons=st.integers(1, 10**8), size=st.integers(1, 500))
def test_ranks_own_whole_groups_in_order(neurons: int, size: int) -> None:
    ranks_ = Communicator()
    ranks_.size = size
    if size > -(-neurons // TOGETHER):
        with pytest.raises(ConfigurationError, match=f"{size} ranks"):
            ranks_.bounds(neurons)
        return
    bounds = ranks_.bounds(neurons)
    assert bounds[0] == 0
    assert bounds[-1] == neurons
    assert (bounds[:-1] % TOGETHER == 0).all()
    widths = -(-np.diff(bounds) // TOGETHER)
    assert widths.min() >= 1
    assert widths.max() - widths.min() <= 1


def test_groups_of_the_backend_are_never_parted() -> None:
    usable("numba")
    from rlsbench_numba.tuning import GROUP

    assert TOGETHER % GROUP == 0


def test_a_backend_without_ranks_is_refused(refused: Refused) -> None:
    backend = usable("reference")
    with refused(UnsupportedError, "reference", "ranks"):
        on_ranks(2, lambda rank: require(backend, initial_problem(experiment("as published"), rank)))


def test_the_rank_that_differs_is_named() -> None:
    told = [{"the version": "1", "the backend": "numba"} for _ in range(4)]
    assert differing(told) is None
    told[2]["the backend"] = "torch"
    what = differing(told)
    assert what is not None
    assert "rank 2" in what
    assert "torch" in what


def test_what_a_training_on_ranks_lacks_is_refused(refused: Refused) -> None:
    def ask(rank: Communicator) -> None:
        training = prepare(experiment("as published"), usable("numba"), ranks=rank)
        list(training.run(1))
        with refused(UnsupportedError, "shown_neurons"):
            training.learned_current()

    on_ranks(2, ask)


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, None),
        ({"PMI_RANK": "0", "PMI_SIZE": "1"}, None),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, (1, 2)),
        ({"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4"}, (3, 4)),
        ({"PMIX_RANK": "3"}, (3, None)),
        ({"PMIX_RANK": "0", "SLURM_STEP_NUM_TASKS": "1"}, None),
        ({"PMIX_RANK": "3", "SLURM_STEP_NUM_TASKS": "4"}, (3, 4)),
    ],
)
def test_launchers_are_known_by_the_environment(
    environment: dict[str, str], found: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for pair in ranks.LAUNCHERS:
        for name in pair:
            monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert launched() == found
    assert found is not None or ranks.communicator.__wrapped__() is ALONE


# With MPI: processes that mpirun starts.

OPTIONS = [part for key, value in SMALL.items() for part in ("--set", f"{key}={value}")]


@contextmanager
def mpirun(size: int, *arguments: str, program: str = COMMAND, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """Ranks in processes, ended with the block; skipped without MPI, unless it is required."""
    launcher = shutil.which("mpirun", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if launcher is None or find_spec("mpi4py") is None:
        required = os.environ.get("RLSBENCH_REQUIRE_MPI")
        (pytest.fail if required else pytest.skip)("mpirun and mpi4py are needed: the extra mpi, and an MPI library")
    usable("numba")
    command = [launcher, "-n", str(size), sys.executable, "-c", program, *arguments]
    environment = os.environ | {"COLUMNS": "240", "NO_COLOR": "1"}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=cwd, env=environment, **pipes) as process:
        try:
            yield process
        finally:
            process.terminate()  # which its ranks do not survive


def train(*more: str, backend: str = "numba") -> list[str]:
    return ["run", "--preset", "smoke", "--backend", backend, *OPTIONS, "--output", "out", *more]


@pytest.mark.parametrize(
    ("size", "backend"),
    [
        (2, "numba"),
        *(
            pytest.param(*case, marks=pytest.mark.reproduction)
            for case in ((3, "numba"), (4, "numba"), (2, "numpy-full"))
        ),
    ],
)
def test_ranks_of_mpi_write_the_results_of_one_process(size: int, backend: str, tmp_path: Path) -> None:
    with mpirun(
        size, *train("--set", "numerics.threads=1", "--monitor", "0.1", backend=backend), cwd=tmp_path
    ) as process:
        printed, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert printed.count("iteration 1/2") == 1
    found = tmp_path / "out"
    document = json.loads((found / "result.json").read_text())
    records, resources = document["rank_records"], document["resources"]
    assert (document["ranks"], document["nodes"], len(records)) == (size, 1, size)
    assert sum(record["neurons"] for record in records) == 1100
    assert {(record["node"], record["threads"]) for record in records} == {(1, 1)}
    peaks = [record["peak_memory_bytes"] for record in records]
    assert 0.5 * sum(peaks) < resources["peak_resident_bytes"] <= sum(peaks)
    assert "of a node" in printed
    files = ["configuration.toml", "learning_curve.csv", "machine.json", "resources.csv", "result.json"]
    assert sorted(path.name for path in found.iterdir()) == [*files, "summary.png", "weights.npy"]
    training = prepare(experiment("as published"), usable(backend))
    list(training.run(2))
    np.testing.assert_array_equal(np.load(found / "weights.npy"), training.weights())
    curve = np.genfromtxt(found / "learning_curve.csv", delimiter=",", names=True)
    np.testing.assert_array_equal(curve["correlation"], training.learning_curve()["correlation"])
    np.testing.assert_array_equal(curve["firing_rate_hz"], training.learning_curve()["firing_rate_hz"])


MISSING = "import sys; sys.modules['mpi4py'] = None; from rlsbench.cli import main; main()"
DIFFERENT = "import sys; from rlsbench.ranks import launched; sys.argv += ['--seed', str(launched().rank)]; " + COMMAND


@pytest.mark.parametrize(
    ("size", "arguments", "program", "code", "named"),
    [
        (2, ["report", "."], COMMAND, 2, ["report"]),
        (6, train(), COMMAND, 2, ["6 ranks", "1100"]),
        (2, train(), DIFFERENT, 2, ["configuration", "rank 1"]),
        (2, train(), MISSING, 2, ["mpi4py", "rlsbench[mpi]"]),
    ],
)
def test_what_ranks_refuse_is_told_by_one_of_them(
    size: int, arguments: list[str], program: str, code: int, named: list[str], tmp_path: Path
) -> None:
    with mpirun(size, *arguments, program=program, cwd=tmp_path) as process:
        _, errors = process.communicate(timeout=300)
    assert process.returncode == code, errors
    lines = errors.splitlines()
    assert len(lines) == 1, errors
    assert all(part in lines[0] for part in named), errors
    assert not (tmp_path / "out").exists()


def test_an_error_of_one_rank_ends_all_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "there").touch()
    soon = f"import rlsbench.ranks; rlsbench.ranks.WAIT_S = 0.5; {COMMAND}"
    with mpirun(2, *train(), program=soon, cwd=tmp_path) as process:
        _, errors = process.communicate(timeout=300)
    assert process.returncode not in (0, None)
    assert len(errors.splitlines()) == 1, errors
    assert "out" in errors


LONG = train("--set", "training.iterations=100000")


def of_ranks(parent: int) -> list[int]:
    """Processes below another one that run Python."""
    import psutil

    return [p.pid for p in psutil.Process(parent).children(recursive=True) if "python" in p.name()]


@pytest.mark.parametrize(
    ("killed", "number"),
    [
        (True, signal.SIGKILL),
        *(pytest.param(False, n, marks=pytest.mark.endurance) for n in (signal.SIGTERM, signal.SIGINT)),
    ],
)
def test_the_end_of_one_rank_is_that_of_all(killed: bool, number: int, tmp_path: Path) -> None:
    """A rank that is killed ends all at once; another signal to one ends all after an iteration."""
    curve = tmp_path / "out" / "learning_curve.csv"
    with mpirun(2, *LONG, cwd=tmp_path) as process:
        until = time.monotonic() + 200
        while not (curve.exists() and len(curve.read_text().splitlines()) > 2):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.1)
        members = of_ranks(process.pid)
        assert len(members) == 2
        os.kill(members[1], number)
        printed, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert not any(Path(f"/proc/{member}").exists() for member in members)
    if not killed:
        assert (tmp_path / "out" / "result.json").exists(), printed + errors
        assert len(errors.splitlines()) == 1, errors
