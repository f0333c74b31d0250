"""The backend `torch`: its streams, lists of spikes, blocks and devices, and its errors.

The conformance suite checks that it computes what the reference computes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsbench import Training, load_experiment, prepare, resume, run_trial, save_checkpoint
from rlsbench.backend import (
    Block,
    Kept,
    Options,
    Trainer,
    registered_backend,
    resolve_options,
    why_unusable,
)
from rlsbench.conformance.subjects import MODELS, model_problem, variant_problem
from rlsbench.errors import NumericsError, UnavailableBackendError, UnsupportedError
from rlsbench.network import Populations
from rlsbench.precision import PRECISIONS
from rlsbench.problem import InitialTrial, Problem, build_problem
from rlsbench.results import checkpoint
from rlsbench.streams import Purpose, key_from_seed, normal, philox4x32
from rlsbench.targets.making import make_targets

if "torch" in os.environ.get("RLSBENCH_REQUIRE_BACKENDS", "").split():
    import torch
else:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; pip install torch")

from rlsbench_torch import devices, simulation, streams
from rlsbench_torch.backend import BACKEND
from rlsbench_torch.spikes import SpikeLists

CPU = torch.device("cpu")
FLOAT64 = Options("float64", "float64", "full", 2)
WORD = st.integers(0, 2**32 - 1)


# Streams


@settings(max_examples=30, deadline=None)
@given(st.lists(WORD, min_size=1, max_size=5), WORD, WORD, WORD, st.integers(0, 2**64 - 1))
def test_words_are_those_of_the_streams(c0: list[int], c1: int, c2: int, c3: int, seed: int) -> None:
    key = key_from_seed(seed)
    got = streams.philox4x32(torch.tensor(c0), torch.tensor([c1]), c2, c3, key)
    for mine, theirs in zip(got, philox4x32(c0, c1, c2, c3, key), strict=True):
        np.testing.assert_array_equal(mine.numpy().astype(np.uint64), theirs)


@pytest.mark.parametrize("count", [1, 4, 70, 1001])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-14), (torch.float32, 1e-6)])
def test_normals_are_those_of_the_streams(count: int, dtype: Any, tolerance: float) -> None:
    steps, seed = [3, 4, 7, 2**31], 2**63 + 11
    got = streams.normals(seed, Purpose.NOISE, trial=5, steps=steps, count=count, dtype=dtype, on=CPU)
    wanted = normal(seed, Purpose.NOISE, trial=5, step=steps, first=0, last=count)
    assert got.dtype is dtype
    np.testing.assert_allclose(got.numpy(), wanted, rtol=0, atol=tolerance)


# Lists of spikes


def trained(p: Problem, trials: int = 1) -> tuple[Trainer, Any]:
    trainer = BACKEND.trainer(p, FLOAT64)
    for trial in range(trials):
        record = run_trial(trainer, trial, record=np.arange(0, p.neurons, 2))
    return trainer, record


OWN = MODELS[-1]  # neurons with parameters of their own


@pytest.mark.parametrize(
    "variant",
    [
        *("voltage noise", "tau_plas per neuron", "weights of each static synapse", "other time constants"),
        *("everything", OWN),
    ],
)
def test_lists_of_one_length_give_the_same_trial(variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on CUDA: lists of one entry at first, so that chunks of steps are run again."""
    p = model_problem(OWN) if variant == OWN else variant_problem(variant)
    exact, record = trained(p)
    made: list[SpikeLists] = []

    def padded(N: int, length: int | None) -> SpikeLists:
        assert length is None
        made.append(SpikeLists(N, 1))
        return made[-1]

    monkeypatch.setattr(simulation, "SpikeLists", padded)
    other, other_record = trained(p)
    assert made[0].length > 1
    np.testing.assert_array_equal(other_record.spike_counts, record.spike_counts)
    for got, wanted in zip(other_record.spikes, record.spikes, strict=True):
        np.testing.assert_array_equal(got, wanted)
    for got, wanted in ((other.state().w, exact.state().w), (other.state().P, exact.state().P)):
        np.testing.assert_allclose(got, wanted, rtol=1e-12, atol=1e-14)
    for got, wanted in zip(other.currents(), exact.currents(), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-12)


def test_padded_list_that_is_too_short_gets_longer() -> None:
    lists = SpikeLists(10, 2)
    lists.begin()
    spiked = torch.zeros(10, dtype=torch.bool)
    assert lists.listed(spiked).tolist() == [10, 10]
    assert lists.sufficed()
    spiked[[1, 4, 9]] = True
    assert lists.listed(spiked).tolist() == [1, 4]
    assert not lists.sufficed()
    lists.begin()
    assert lists.listed(spiked).tolist() == [1, 4, 9, 10, 10, 10]
    assert lists.sufficed()


# The update


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_a_network_without_plastic_inputs_has_nothing_to_update(precision: str, tiny: dict[str, Any]) -> None:
    training = prepare(
        load_experiment(
            "smoke", overrides=tiny | {"network.L": 0, "numerics.precision": precision, "numerics.algorithm": "plain"}
        ),
        "torch",
    )
    (iteration,) = training.run(1)
    assert iteration.firing_rate_hz > 0
    assert training.weights().shape == (training.problem.neurons, 0)


@pytest.mark.parametrize("p_precision", ["float32", "float16", "bfloat16"])
def test_many_event_updates_give_what_plain_ones_give(p_precision: str) -> None:
    """More updates than can be pending, in blocks of different sizes."""
    tables = {"network.neurons": 1100, "network.K": 4, "network.L": 3, "time.train_duration_ms": 200.0}
    e = load_experiment(
        "smoke",
        overrides={
            **tables,
            "time.learn_every_ms": 5.0,
            "stimulus.off_ms": 20.0,
            "stimulus.on_ms": 10.0,
            "training.average_from_ms": 0.0,
        },
    )
    zeros = np.zeros(1100)
    initial = InitialTrial(zeros, zeros, zeros)
    p = build_problem(e, initial, make_targets(e, initial))
    spikes = run_trial(BACKEND.trainer(p, replace(FLOAT64, algorithm="plain")), 1, record=np.arange(1100)).spikes
    states = []
    for algorithm in ("plain", "event"):
        trainer = BACKEND.trainer(p, Options("float32", p_precision, "full", 2, algorithm=algorithm))
        assert trainer.options.algorithm == algorithm
        run_trial(trainer, 1, replay=spikes)
        states.append((trainer.state().w, trainer.state().P))
    tolerance = PRECISIONS[p_precision].tolerances.many_updates
    for plain, event in zip(*states, strict=True):
        np.testing.assert_allclose(event, plain, rtol=0, atol=tolerance * np.abs(plain).max())


@pytest.mark.parametrize(
    ("variant", "requested", "chosen", "explained"),
    [
        ("plain", "auto", "event", False),
        ("plain", "plain", "plain", False),
        ("feed-forward inputs", "event", "event", False),
        ("tau_plas per neuron", "auto", "plain", False),
        ("tau_plas per neuron", "event", "plain", True),
    ],
)
def test_event_form_is_chosen_where_it_applies(variant: str, requested: str, chosen: str, explained: bool) -> None:
    trainer = BACKEND.trainer(variant_problem(variant), replace(FLOAT64, algorithm=requested))
    assert (trainer.options.algorithm, bool(trainer.notes)) == (chosen, explained)


def test_more_weights_than_32_bits_index_are_refused(refused: Any) -> None:
    p = variant_problem("plain")
    with refused(UnsupportedError, f"{2**30:,}", p.n):
        BACKEND.trainer(replace(p, populations=Populations.pair(2**30, 2**29)), FLOAT64)


# Blocks


@pytest.mark.parametrize(
    ("precision", "p_precision", "algorithm"),
    [
        ("float32", "float32", "event"),
        ("float64", "float64", "plain"),
        ("float32", "float16", "event"),
        ("float32", "bfloat16", "event"),
        ("float32", "bfloat16", "plain"),
    ],
)
def test_a_checkpoint_holds_p_as_stored_and_goes_on_bit_for_bit(
    precision: str,
    p_precision: str,
    algorithm: str,
    tiny: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    numerics = {"precision": precision, "p_precision": p_precision, "algorithm": algorithm}
    changes = tiny | {"training.iterations": 4} | {f"numerics.{key}": value for key, value in numerics.items()}

    def trained_for(iterations: int) -> Training:
        training = prepare(load_experiment("smoke", overrides=changes), BACKEND)
        assert len(list(training.run(iterations))) == iterations
        return training

    monkeypatch.setattr(checkpoint, "BLOCK_BYTES", 4000)  # of a few neurons
    unbroken, saved = trained_for(4), trained_for(2)
    path = save_checkpoint(tmp_path / "two.h5", saved)
    with h5py.File(path) as file:
        assert file["P"].dtype == PRECISIONS[p_precision].stored
    again = resume(path)
    assert again.resumptions == ["resumed after iteration 2: continues bit for bit"]
    assert len(list(again.run())) == 2
    np.testing.assert_array_equal(again.weights(), unbroken.weights())
    np.testing.assert_array_equal(again.trainer.state().P, unbroken.trainer.state().P)
    assert [i.correlation for i in again.iterations] == [i.correlation for i in unbroken.iterations]


@pytest.mark.parametrize("p_precision", ["float64", "float32", "float16", "bfloat16"])
def test_blocks_are_views_and_taken_from_any_storage(p_precision: str) -> None:
    p = variant_problem("plain")
    trainer = BACKEND.trainer(p, Options("float32", p_precision, "full", 1))
    trainer.begin_trial(1, 0, np.empty(0, np.int64))
    assert trainer.gain() is None
    run_trial(trainer, 1)
    g = trainer.gain()
    assert g is not None
    assert ((g > 0) & (g <= 1)).all()
    trainer.settle()
    block, other = trainer.block(3, 20), trainer.block(3, 20)
    assert block.P.values.dtype == PRECISIONS[p_precision].stored
    assert np.shares_memory(block.P.values, other.P.values)
    assert np.shares_memory(block.w, other.w)
    np.testing.assert_array_equal(trainer.diagonal(3, 20), block.P.diagonal())
    np.testing.assert_array_equal(block.P.widened(), trainer.state().P[3:20])
    packed = Block(block.w.copy(), {"P": Kept(block.P.packed())})
    twin = BACKEND.trainer(p, trainer.options)
    twin.load_block(3, packed)
    np.testing.assert_array_equal(twin.block(3, 20).P.values, block.P.values)
    np.testing.assert_array_equal(twin.weights()[3:20], block.w)
    assert not np.array_equal(twin.weights()[:3], trainer.weights()[:3])


def test_invalid_p_is_detected_with_its_neuron(tiny: dict[str, Any], refused: Any) -> None:
    training = prepare(load_experiment("smoke", overrides=tiny), BACKEND)
    training.trainer.block(41, 42).P.values[0, 2, 2] = -1.0
    with refused(NumericsError, "neuron 41"):
        list(training.run(1))


# Devices


@pytest.mark.parametrize(
    ("available", "device", "precision", "named"),
    [
        (["cpu"], "cuda", "float32", ["cuda", "cpu"]),
        (["cpu"], "mps", "float32", ["mps", "cpu"]),
        (["cpu", "cuda:0"], "cuda:1", "float32", ["cuda:1", "cpu", "cuda:0"]),
        (["cpu", "cuda:0", "cuda:1"], "cuda:1", "float64", None),
        (["cpu", "cuda:0"], "cuda", "float64", None),
        (["cpu", "mps"], "mps", "float32", None),
        (["cpu", "mps"], "mps", "float64", ["mps", "float64", "float32"]),
    ],
)
def test_devices_that_are_missing_are_refused(
    available: list[str], device: str, precision: str, named: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "devices_here", lambda: available)
    e = load_experiment("smoke", overrides={"numerics.device": device, "numerics.precision": precision})
    reason = why_unusable(BACKEND, resolve_options(BACKEND, e.numerics))
    assert (reason is None) == (named is None)
    assert all(name in str(reason) for name in named or [])


def test_compiling_without_a_compiler_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.shutil, "which", lambda _: None)
    assert devices.why_not(FLOAT64) is None
    assert "--compile" in str(devices.why_not(replace(FLOAT64, compile=True)))


def test_command_refuses_a_device_in_one_line(cli: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = cli("run", "--backend", "torch", "--device", "cuda:99")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "cuda:99" in line
    assert "cpu" in line


def test_library_that_cannot_be_loaded_is_reported(monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    monkeypatch.delitem(sys.modules, "rlsbench_torch.trainer", raising=False)
    monkeypatch.setitem(sys.modules, "rlsbench_torch.simulation", None)  # importing it fails
    with refused(UnavailableBackendError, "torch", "rlsbench_torch.simulation"):
        registered_backend("torch").trainer(variant_problem("plain"), FLOAT64)
