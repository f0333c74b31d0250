"""The backend `cupy` on ranks, in the emulator: the bits of one process, and memory as declared.

Ranks are threads, each with a device of its own, or with one that others have, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlsbench import load_experiment, prepare, resume, save_checkpoint
from rlsbench.backend import Options, Sizes
from rlsbench.conformance.subjects import problem, spread_problem
from rlsbench.conformance.threaded_ranks import on_ranks
from rlsbench.problem import Problem
from rlsbench.ranks import ALONE, Communicator, Planned
from rlsbench.training.trial import run_trial
from rlsbench_cupy import BACKEND, FLOAT32, compiling, exchange, synapses
from rlsbench_cupy.arrays import declare
from rlsbench_cupy.device import device_of_rank
from tests import emulator
from tests.conftest import TINY
from tests.emulator import Mode, emulated_cupy, mutations
from tests.test_ranks import assert_same, outcome

emulator.need()

OPTIONS = Options("float32", "float32", "packed", 1, "cuda", "event")
SMALL = TINY | {  # for three ranks
    "network.neurons": 600,
    "time.dt_ms": 0.2,
    "stimulus.on_ms": 0.4,
    "stimulus.off_ms": 2.0,
    "time.train_duration_ms": 8.0,
    "targets.period_ms": 8.0,
    "training.window_ms": 2.0,
    "external.scale": 1.0,
}
NETWORKS: dict[str, dict[str, Any]] = {
    "feed-forward inputs, two tasks": {
        "feedforward.LX": 3,
        "feedforward.mu_hz": 500.0,
        "targets.tasks": 2,
        "learning.forgetting": 0.99,
    },
    "current noise, means follow": {
        "noise.kind": "current",
        "noise.sigma": 0.1,
        "learning.target_mean": "population",
        "numerics.storage": "full",
        "numerics.p_precision": "int16",
    },
    "populations": {
        "populations": [
            {"name": "a", "size": 250, "sign": 1, "background_hz": 2000.0, "background_weight": 0.2},
            {"name": "b", "size": 200, "sign": -1, "neuron": {"tau_m_ms": 12.0}},
            {"name": "c", "size": 150, "sign": 1},
        ],
        "noise.kind": "voltage",
        "noise.sigma": 0.3,
        "neuron.model": "adex",
        "numerics.precision": "float64",
    },
    "tau_plas of each neuron": {"synapse.tau_plas_ms": (100.0, 200.0), "numerics.precision": "float64"},
}


@pytest.fixture(autouse=True)
def cupy() -> Iterator[Any]:
    with emulated_cupy(Mode(checked=False)) as module:
        yield module


def experiment(network: str) -> Any:
    return load_experiment("smoke", overrides=SMALL | NETWORKS[network])


@pytest.mark.parametrize(
    "network", [pytest.param(n, marks=[pytest.mark.emulated] * (i > 1)) for i, n in enumerate(NETWORKS)]
)
def test_a_training_on_two_ranks_has_the_bits_of_one_process(network: str) -> None:
    backend = FLOAT32 if network == "current noise, means follow" else BACKEND
    e = experiment(network)
    one = outcome(prepare(e, backend))
    found = on_ranks(2, lambda rank: outcome(prepare(e, backend, ranks=rank)))
    assert_same(one, found[0])
    w, counts = one[1], one[-4]
    assert len(np.unique(w)) > w.size / 2
    assert counts.sum() > 100


def test_another_number_of_ranks_continues_a_run(tmp_path: Path) -> None:
    e, file = experiment("feed-forward inputs, two tasks"), tmp_path / "one.h5"

    def saved(rank: Communicator) -> None:
        training = prepare(e, BACKEND, ranks=rank)
        list(training.run(1))
        save_checkpoint(file, training)

    on_ranks(2, saved)
    one = outcome(prepare(e, BACKEND))
    assert_same(one, on_ranks(3, lambda rank: outcome(resume(file, ranks=rank), 1))[0])
    assert_same(one, outcome(resume(file), 1))


def of_a_trial(p: Problem, ranks: Communicator = ALONE, backend: Any = BACKEND) -> dict[str, Any]:
    """What a trial leaves, of all neurons."""
    trainer = backend.trainer(replace(p, ranks=ranks), OPTIONS)
    record = run_trial(trainer, 1, record=np.arange(p.neurons))
    assert (record.exchange_seconds is None) is (ranks is ALONE)
    state = trainer.state()
    return {"spikes": np.stack(record.spikes), "w": ranks.gather(state.w), "P": ranks.gather(state.P)}


def differing(p: Problem, size: int) -> set[str]:
    """What a trial leaves on one of several ranks, and not in one process."""
    one, several = of_a_trial(p), on_ranks(size, lambda rank: of_a_trial(p, rank))
    assert one["spikes"].size
    return {name for found in several for name, a in one.items() if not np.array_equal(found[name], a)}


def test_more_spikes_than_are_copied_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "SPIKES_COPIED", 0)
    monkeypatch.setattr(exchange, "NEURONS_PER_SPIKE", 10**6)
    assert differing(problem(**SMALL), 3) == set()


@pytest.mark.parametrize("on_the_host", [False, True])
def test_synapses_onto_a_rank_are_those_of_the_network(on_the_host: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if they are drawn on the host, and in several ranges."""
    monkeypatch.setattr(synapses, "COPIED_BYTES", 20_000)
    if on_the_host:
        monkeypatch.setattr(synapses, "DRAWN_AT_MOST", 0)
    p = replace(spread_problem("parameters and weights of each neuron"), targets=None)
    sources = p.plastic.sources(p.seed)

    def compare(rank: Communicator) -> None:
        own = replace(p, ranks=rank)
        drawn: Any = BACKEND.trainer(own, OPTIONS)
        found, wanted = drawn.simulation.synapses, own.static_edges()
        with drawn.device.current():
            index, weight, rows, start = (array.get() for array in (*found[:3], found.start))
            inputs = drawn.simulation.sources.get()
        assert (np.diff(rows[:, 0]) < 0).any()  # ranges of all ranks, in turn
        for j, (first, last) in enumerate(rows):
            some = slice(wanted.start[j], wanted.start[j + 1])
            np.testing.assert_array_equal(index[first:last], wanted.index[some])
            np.testing.assert_array_equal(weight[first:last], wanted.weight[some].astype(np.float32))
        np.testing.assert_array_equal(inputs, sources[own.own])
        np.testing.assert_array_equal(start, own.own_part.plastic.outputs(inputs).start)

    on_ranks(3, compare)


@pytest.mark.parametrize("size", [1, 3])
def test_ranks_allocate_what_is_declared(size: int, cupy: Any) -> None:
    p = problem(**SMALL | {"network.neurons": 2000, "network.K": 20, "network.L": 20})

    def made(rank: Communicator) -> tuple[Any, int]:
        own = replace(p, ranks=rank)
        specs = declare(Sizes.of_problem(own), OPTIONS)
        return BACKEND.trainer(own, OPTIONS), sum(-(-spec.bytes // 512) * 512 for spec in specs)

    trainers, declared = zip(*on_ranks(size, made), strict=True)
    assert [trainer.neurons for trainer in trainers] == np.diff(trainers[0].problem.ranks.bounds(2000)).tolist()
    held = 0
    for device in (0, 1):
        with cupy.cuda.Device(device):
            held += cupy.get_default_memory_pool().used_bytes()
    assert sum(declared) <= held <= sum(declared) + size * 10 * 512  # allocations are multiples of 512 bytes


def test_ranks_of_a_node_take_its_devices_in_turn(cupy: Any) -> None:
    def found(name: str, place: int, here: int) -> tuple[int, int]:
        ranks = Planned(8, here)
        ranks.place = place
        return device_of_rank(name, ranks)

    assert [found("cuda", place, 3) for place in range(3)] == [(0, 2), (1, 1), (0, 2)]
    assert found("cuda:1", 0, 3) == (1, 3)
    assert device_of_rank("cuda", ALONE) == (0, 1)
    p = problem(**SMALL)
    trainers: Any = on_ranks(3, lambda rank: BACKEND.trainer(replace(p, ranks=rank), OPTIONS))
    assert [trainer.simulation.w.data.device_id for trainer in trainers] == [0, 1, 0]
    free = BACKEND.free_bytes(replace(OPTIONS, device="cuda:1"))
    shared = Planned(8, 3)
    assert BACKEND.share_bytes(OPTIONS, shared) == BACKEND.free_bytes(OPTIONS) // 2
    assert BACKEND.share_bytes(replace(OPTIONS, device="cuda:1"), shared) == free // 3


# Faults


KERNEL_FAULTS = {fault.name: fault for fault in mutations.RANK_FAULTS if fault.file.startswith("kernels")}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("r stays as it was", {"w", "P"}),
        ("noise of the first rank", {"spikes", "w", "P"}),
        ("the static targets of another neuron", {"spikes", "w", "P"}),
    ],
)
def test_a_faulty_kernel_changes_bits(
    name: str, found: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutations.faulty_copy(KERNEL_FAULTS[name], tmp_path)
    monkeypatch.setattr(compiling, "FOLDER", tmp_path / "rlsbench_cupy" / "kernels")
    p = problem(**SMALL | {"noise.kind": "voltage", "noise.sigma": 0.3})
    assert differing(p, 2) >= found
