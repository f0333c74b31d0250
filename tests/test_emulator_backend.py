"""The backend `cupy` conforms, in the emulator or on RLSBENCH_TEST_DEVICE=cuda:0.

By default a selection of configurations and checks; with -m emulated all of them, other sizes and
orders, and the faults that must be detected.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rlsbench.backend import Options
from rlsbench.conformance import CHECKS, Subject, Validity, run_check, subjects
from rlsbench.conformance.subjects import MODELS, VARIANTS, problem
from rlsbench.training.trial import run_trial
from rlsbench_cupy import BACKEND
from tests import emulator
from tests.emulator import Mode, emulated_cupy, matrix, mutations, rounding

DEVICE = os.environ.get("RLSBENCH_TEST_DEVICE")

if DEVICE is None:
    emulator.need()

only_emulated = pytest.mark.skipif(DEVICE is not None, reason="of the emulator")

UPDATE = "one RLS update matches the reference for random P, x, w, u_bal and f"
REPLAYED = "a replayed trial matches the reference: "
SILENT = "an external current of NaN silences a neuron, as a strongly negative one does"
FREE = "a free run of 50 ms matches the reference spike for spike: "
BLOCKS = "blocks are an exact round trip in either storage, and training continues from them"
ROUND_TRIP = "state and restore are a round trip in either storage, and training continues from it"
SPREAD = "a network on 1 to 4 ranks is that of one process, bit by bit: "
AS_REQUESTED = "precision and storage are as requested"

# precision, precision of P, storage, algorithm, and the checks that run by default
CHOICE: list[tuple[tuple[str, str, str, str], list[str]]] = [
    (
        ("float64", "float64", "packed", "event"),
        [
            AS_REQUESTED,
            UPDATE,
            REPLAYED + "plain",
            REPLAYED + "everything",
            REPLAYED + "weights of each static synapse",
            FREE + "populations of its own",
            FREE + "plain",
            FREE + "everything",
            SILENT,
            "a trial does not depend on how its steps are divided into calls",
            "a trial is reproducible, and differs from another trial",
            "a trial without learning leaves w and P unchanged",
            ROUND_TRIP,
            "a network with given weights and no targets runs like the trained network",
            "recorded spikes are sorted, belong to the named neurons, and agree with the counts",
            SPREAD + "everything",
        ],
    ),
    (
        ("float64", "float64", "full", "plain"),
        [UPDATE, REPLAYED + "plain", ROUND_TRIP, BLOCKS, *(f"{FREE}neurons {model}" for model in MODELS)],
    ),
    (("float32", "float32", "packed", "event"), [REPLAYED + "plain", SPREAD + "everything"]),
    (("float32", "float32", "packed", "plain"), [REPLAYED + "plain"]),
    (("float32", "float16", "packed", "plain"), [REPLAYED + "plain", BLOCKS]),
    (("float32", "bfloat16", "full", "event"), [REPLAYED + "plain", BLOCKS]),
    (("float32", "int16", "packed", "event"), [REPLAYED + "plain", ROUND_TRIP, BLOCKS]),
]


@pytest.fixture(scope="module")
def device() -> Iterator[str]:
    """Where trainers compute: a device of the emulator, or a real one."""
    if DEVICE is not None:
        yield DEVICE
    else:
        with emulated_cupy():
            yield "cuda:0"


def conforms(subject: Subject, check: str) -> None:
    """The check passes, or is one that does not apply."""
    outcome = run_check(check, subject)
    if outcome.validity is Validity.NOT_CHECKED:
        variant = check.partition(": ")[2]
        refused = variant and (variant not in VARIANTS or subject.lacks(variant))
        assert refused or (check.startswith(FREE) and subject.coarsest != "float64"), outcome.reason
    else:
        assert outcome.validity is Validity.PASSED, outcome.reason


def subject_of(options: tuple[str, str, str, str], device: str) -> Subject:
    precision, p_precision, storage, algorithm = options
    return Subject(BACKEND, Options(precision, p_precision, storage, 2, device, algorithm))


@pytest.mark.parametrize(
    ("options", "check"),
    [
        pytest.param(
            *(options, check),
            id=f"{' '.join(options)}: {check}",
            marks=[pytest.mark.combinations] if options[1] in ("float16", "bfloat16") else [],
        )
        for options, checks in CHOICE
        for check in checks
    ],
)
def test_choice_conforms(options: tuple[str, str, str, str], check: str, device: str) -> None:
    conforms(subject_of(options, device), check)


def test_the_neuron_model_of_the_page(device: str, page_model: str) -> None:
    p = problem(**{"neuron.model": page_model, "time.train_duration_ms": 10.0, "training.window_ms": 2.0})
    trainers = subject_of(("float64", "float64", "full", "plain"), device).trainer(p), Subject.reference(p)
    got, wanted = (run_trial(t, 1, record=np.arange(p.neurons)).spikes for t in trainers)
    assert len(wanted.step) > 10
    np.testing.assert_array_equal(np.stack(got), np.stack(wanted))


def test_choice_has_every_precision_storage_and_algorithm() -> None:
    asked = [options for options, _ in CHOICE]
    assert {(a, b) for a, b, _, _ in asked} >= {(p, p) for p in BACKEND.capabilities.precisions}
    assert {b for _, b, _, _ in asked} == set(BACKEND.capabilities.p_precisions)
    assert {c for _, _, c, _ in asked} == set(BACKEND.capabilities.storages)
    assert {d for _, _, _, d in asked} == set(BACKEND.capabilities.algorithms)


@pytest.mark.parametrize(("n", "algorithm"), [(33, "plain"), (33, "event"), (130, "event")])
def test_several_warps_on_a_neuron(n: int, algorithm: str, device: str) -> None:
    """More inputs than a warp has lanes, and more than four warps have."""
    subject = subject_of(("float64", "float64", "packed", algorithm), device)
    ((_, outcome),) = matrix.check_sizes([subject], [n], [REPLAYED + "plain"])
    assert outcome.validity is Validity.PASSED, outcome.reason


@only_emulated
@pytest.mark.parametrize(
    "mode",
    [Mode(schedule="backward"), Mode(schedule="random", seed=11), Mode(fuse=True)],
    ids=["backward", "random", "fused multiplication and addition"],
)
def test_order_of_threads_and_rounding_do_not_matter(mode: Mode) -> None:
    if mode.fuse and " fma " not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this CPU has no fused multiply-add")
    with emulated_cupy(mode):
        for algorithm in ("event",) if mode.fuse else ("plain", "event"):
            conforms(subject_of(("float64", "float64", "packed", algorithm), "cuda:0"), REPLAYED + "plain")
            conforms(subject_of(("float64", "float64", "packed", algorithm), "cuda:0"), FREE + "plain")


@pytest.mark.parametrize("algorithm", ["plain", "event"])
@pytest.mark.parametrize("p_precision", rounding.BITS)
def test_sixteen_bits_are_rounded_to_nearest(p_precision: str, algorithm: str, device: str) -> None:
    rounding.check_rounding(subject_of(("float32", p_precision, "packed", algorithm), device))


def test_recorded_spikes_at_any_time(device: str) -> None:
    matrix.check_recorded_at_any_time(subject_of(("float64", "float64", "packed", "event"), device))


@pytest.mark.parametrize("algorithm", ["plain", "event"])
def test_trial_after_trial(algorithm: str, device: str) -> None:
    matrix.check_trial_after_trial(subject_of(("float64", "float64", "packed", algorithm), device))


@only_emulated
def test_second_device(device: str) -> None:
    conforms(subject_of(("float64", "float64", "packed", "event"), "cuda:1"), REPLAYED + "plain")


@pytest.mark.emulated
def test_all_of_the_suite(device: str) -> None:
    failed = []
    for subject in subjects(BACKEND, device):
        for check in CHECKS:
            outcome = run_check(check, subject)
            if outcome.validity is Validity.FAILED:
                failed.append(outcome)
    assert failed == []


@pytest.mark.emulated
@pytest.mark.parametrize("n", matrix.SIZES)
def test_sizes(n: int, device: str) -> None:
    outcomes = [outcome for _, outcome in matrix.check_sizes(subjects(BACKEND, device), [n])]
    assert [outcome for outcome in outcomes if outcome.validity is Validity.FAILED] == []


# Faults


ALL_FAULTS = [*mutations.KERNEL_FAULTS, *mutations.HOST_FAULTS, *mutations.RANK_FAULTS]


@only_emulated
def test_faults_are_in_the_text(tmp_path: Path) -> None:
    """The text of each fault occurs exactly once in its file."""
    assert len(mutations.KERNEL_FAULTS) >= 15
    assert len(mutations.HOST_FAULTS) >= 10
    assert len({fault.name for fault in ALL_FAULTS}) == len(ALL_FAULTS)
    for number, fault in enumerate(ALL_FAULTS):
        mutations.faulty_copy(fault, tmp_path / str(number))


@only_emulated
@pytest.mark.emulated
@pytest.mark.parametrize("fault", ALL_FAULTS, ids=lambda fault: fault.name)
def test_fault_is_caught(fault: mutations.Fault) -> None:
    assert mutations.run(fault) is not None


@only_emulated
@pytest.mark.emulated
def test_without_a_fault_nothing_is_caught() -> None:
    assert mutations.run(None) is None
