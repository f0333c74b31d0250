"""Checkpoints of a network that is spread over ranks, and runs that end or go on from them."""

from __future__ import annotations

import errno
import json
import os
import pickle
import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsbench import Training, load_experiment, prepare, resume, save_checkpoint
from rlsbench.conformance.threaded_ranks import on_ranks
from rlsbench.errors import ConfigurationError, InsufficientDiskError, NumericsError, OutputError, ResultError
from rlsbench.ranks import ALONE, Communicator
from rlsbench.results import (
    Checkpoints,
    RunDirectory,
    checkpoint_files,
    frozen,
    last_checkpoint,
    load_run,
    parse_document,
    read_checkpoint,
    run_document,
)
from rlsbench.results.checkpoint_file import SHARD, CheckpointFile
from rlsbench.training.evaluation import evaluate
from tests.conftest import COMMAND, status, usable
from tests.test_checkpoints import rewritten
from tests.test_ranks import assert_same, experiment, mpirun, of_ranks, outcome, train

pytestmark = pytest.mark.xdist_group("numba float32")  # with the other tests of these kernels

VARIANT = "current noise, means follow"
KILLS = 15


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few neurons, so that ranks begin in the middle of some."""
    monkeypatch.setattr("rlsbench.results.checkpoint.BLOCK_BYTES", 100_000)


def on(size: int, call: Callable[[Communicator], Any]) -> Any:
    """What a function returns on rank 0; with size 1, in one process without ranks."""
    return call(ALONE) if size == 1 else on_ranks(size, call)[0]


def trained(rank: Communicator, variant: str = VARIANT, iterations: int = 1, **changes: Any) -> Training:
    training = prepare(experiment(variant, **changes), usable("numba"), ranks=rank)
    list(training.run(iterations))
    return training


def save(size: int, path: Path, variant: str = VARIANT, iterations: int = 1) -> Path:
    path.parent.mkdir(exist_ok=True)
    on(size, lambda rank: save_checkpoint(path, trained(rank, variant, iterations)))
    return path


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Checkpoints of one iteration, by the number of ranks that wrote them. Copy before use."""
    folder = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rlsbench.results.checkpoint.BLOCK_BYTES", 100_000)
        return {size: save(size, folder / str(size) / "one.h5") for size in (1, 2, 3)}


def names(folder: Path) -> list[str]:
    """Files, with the token of shards left out."""
    return sorted(f"{m[1]}.{f.suffix[1:]}" if (m := SHARD.fullmatch(f.name)) else f.name for f in folder.iterdir())


def shard(path: Path, rank: int) -> Path:
    return next(path.parent.glob(f"{path.name}.*.{rank}"))


# Resuming


@pytest.fixture(scope="module")
def unbroken() -> list[Any]:
    return outcome(prepare(experiment(VARIANT), usable("numba")))


@pytest.mark.parametrize("readers", [1, 2, 4])
@pytest.mark.parametrize("writers", [1, 2, 3])
def test_any_number_of_ranks_resumes_bit_for_bit(
    writers: int, readers: int, kept: dict[int, Path], unbroken: list[Any]
) -> None:
    def resumed(rank: Communicator) -> list[Any]:
        training = resume(kept[writers], ranks=rank)
        assert training.resumptions == ["resumed after iteration 1: continues bit for bit"]
        return outcome(training, 1)

    assert_same(unbroken, on(readers, resumed))


@pytest.mark.parametrize(
    "variant",
    [
        "plain, packed",
        *(pytest.param(v, marks=pytest.mark.combinations) for v in ("int16", "voltage noise, two tasks")),
    ],
)
def test_what_the_rule_keeps_is_resumed(variant: str, tmp_path: Path) -> None:
    path = save(3, tmp_path / "one.h5", variant)
    whole = outcome(prepare(experiment(variant), usable("numba")))
    for readers in (1, 2):
        assert_same(whole, on(readers, lambda rank: outcome(resume(path, ranks=rank), 1)))


def test_saving_changes_no_result(kept: dict[int, Path], unbroken: list[Any], tmp_path: Path) -> None:
    def saved(rank: Communicator) -> list[Any]:
        training = trained(rank)
        save_checkpoint(tmp_path / "one.h5", training)
        return outcome(training, 1)

    assert_same(unbroken, on(2, saved))
    assert names(tmp_path) == ["one.h5", "one.h5.0", "one.h5.1"]
    one, two = read_checkpoint(kept[1]), read_checkpoint(tmp_path / "one.h5")
    assert (one.ranks, two.ranks) == (1, 2)
    assert one.size == two.size
    for name in ("w", "P", "initial_rates_hz", "target_offset"):
        np.testing.assert_array_equal(one.array(name), two.array(name))


def test_a_rank_opens_the_shards_of_its_neurons_only(kept: dict[int, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[tuple[int, str]] = set()
    original = CheckpointFile.block

    def block(self: CheckpointFile, *arguments: Any) -> Any:
        read.add((len(self.manifest.shards), self.path.suffix[1:]))
        return original(self, *arguments)

    monkeypatch.setattr(CheckpointFile, "block", block)

    def opened(rank: Communicator) -> int:
        checkpoint = read_checkpoint(kept[3])
        training = prepare(checkpoint.experiment, "numba", initial=checkpoint.initial(), ranks=rank)
        rank.collect(None)
        before = len(read)
        rank.collect(None)
        if rank.rank == 1:
            checkpoint.load(training.trainer)
        return len(read) - before

    assert on_ranks(3, opened)[1] == 1


@settings(max_examples=12, deadline=None)
@given(writers=st.integers(1, 3), size=st.integers(1, 9))
def test_ranks_share_the_verification(writers: int, size: int, kept: dict[int, Path]) -> None:
    """Each block of each file is that of one rank."""
    found: Counter[tuple[str, str, int]] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointFile, "block", lambda self, name, index: found.update([(self.path.name, name, index)]))
        read_checkpoint(kept[writers]).verify()
        whole, ranks = set(found), Communicator()
        found.clear()
        ranks.size = size
        for ranks.rank in range(size):
            read_checkpoint(kept[writers]).verify(ranks)
    assert set(found) == whole
    assert set(found.values()) == {1}


# Damaged files


@pytest.mark.parametrize("damage", ["missing", "truncated", "changed", "of another checkpoint", "of another rank"])
def test_a_damaged_shard_is_named(damage: str, kept: dict[int, Path], tmp_path: Path, refused: Any) -> None:
    path = Path(shutil.copytree(kept[3].parent, tmp_path / "copy")) / "one.h5"
    file = shard(path, 1)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "missing":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(file.read_bytes()[:-2000])
    elif damage == "changed":
        file.write_bytes(content)
    elif damage == "of another checkpoint":
        shutil.copy(shard(save(3, tmp_path / "other.h5"), 1), file)
    else:
        shutil.copy(shard(path, 2), file)

    def everywhere(rank: Communicator) -> None:
        with refused(ResultError, file):
            read_checkpoint(path).verify(rank)
        with refused(ResultError, file):
            resume(path, ranks=rank)

    for readers in (1, 2):
        on(readers, everywhere)


def test_a_shard_is_no_checkpoint(kept: dict[int, Path], refused: Any) -> None:
    with refused(ResultError, shard(kept[2], 0), "ranks"):
        read_checkpoint(shard(kept[2], 0))


def test_a_forged_manifest_of_shards_is_refused(kept: dict[int, Path], tmp_path: Path, refused: Any) -> None:
    path = Path(shutil.copytree(kept[2].parent, tmp_path / "copy")) / "one.h5"
    content = path.read_bytes()
    forgeries: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
        (lambda m: m["shards"][1].update(file="../one.h5.00000000.1"), "shards.1.file"),
        (lambda m: m["shards"][1].update(file="one.h5"), "shards.1.file"),
        (lambda m: m["shards"][0].update(neurons=[0, 256]), "1100"),
        (lambda m: m["shards"][1].update(neurons=[512, 10**9]), "1100"),
        (lambda m: m["shards"].insert(0, m["shards"][0] | {"neurons": [0, 0]}), "1100"),
        (lambda m: m["shards"].pop(), "1100"),
        (lambda m: m.update(shards=[]), "w"),
        (lambda m: m.update(neurons=[0, 512]), "shards"),
        (lambda m: m["shards"][0].update(checksum=1), str(shard(path, 0))),
        (lambda m: m["shards"].reverse(), "1100"),
    ]
    for forge, named in forgeries:
        path.write_bytes(content)
        rewritten(path, forge)
        with refused(ResultError, path, named):
            read_checkpoint(path)


def run_with(rank: Communicator, folder: Path, iterations: int, **section: Any) -> Training:
    training = prepare(experiment(VARIANT), usable("numba"), ranks=rank)
    how = training.experiment.checkpoints.model_copy(update={"every": 1, **section})
    with Checkpoints(folder if rank.rank == 0 else "", how, rank) as checkpoints:
        for _ in training.run(iterations):
            checkpoints.after(training)
    return training


def test_the_latest_and_the_best_are_kept_and_a_damaged_one_is_put_aside(tmp_path: Path, refused: Any) -> None:
    folder = tmp_path / "checkpoints"
    best = on(2, lambda rank: run_with(rank, tmp_path, 3, best="weights").progress.best_iteration)
    numbered = [f"iteration-00000{i}.h5{end}" for i in (2, 3) for end in ("", ".0", ".1")]
    assert names(folder) == ["best.h5", "best.h5.0", "best.h5.1", *numbered]
    saved = read_checkpoint(folder / "best.h5")
    assert saved.iteration == best
    np.testing.assert_array_equal(saved.weights(), trained(ALONE, iterations=best).weights())
    with refused(ResultError, folder / "best.h5", "weights"):
        resume(folder / "best.h5")
    shard(folder / "iteration-000003.h5", 1).unlink()
    (folder / "iteration-000002.h5.00000000.1").write_text("of a run that was killed")

    def resumed(rank: Communicator) -> int:
        checkpoint, damaged = last_checkpoint(tmp_path, rank)
        assert len(damaged) == 1
        with Checkpoints(tmp_path, checkpoint.experiment.checkpoints, rank) as checkpoints:
            checkpoints.resumed(checkpoint)
        return checkpoint.iteration

    assert on(3, resumed) == 2
    assert names(folder)[3:6] == numbered[:3]
    damaged = [path.name for path in folder.glob("*.damaged")]
    assert len(damaged) == 2
    assert all(name.startswith("iteration-000003.h5") for name in damaged)
    assert len(list(folder.iterdir())) == 3 + 3 + 2


def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks flush a shard and its folder, and rank 0 then the file that names them."""
    path, original, last = tmp_path / "x.h5", os.fsync, 6
    left = [0]

    def full(descriptor: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(descriptor)

    def saved(rank: Communicator) -> None:
        training = trained(rank)
        save_checkpoint(path, training)
        list(training.run(1))
        for number in (1, 4, 5, last):
            left[0] = number
            rank.collect(None)
            with pytest.raises(OutputError, match="No space left"):
                save_checkpoint(path, training)
            rank.collect(None)
            checkpoint = read_checkpoint(path)
            checkpoint.verify()
            assert checkpoint.iteration == (2 if number == last else 1)
            assert names(tmp_path) == ["x.h5", "x.h5.0", "x.h5.1"]
            rank.collect(None)

    monkeypatch.setattr(os, "fsync", full)
    on_ranks(2, saved)


# Evaluation


@pytest.mark.parametrize(("size", "source"), [(2, "best"), (3, "best"), (3, "last")])
def test_an_evaluation_is_that_of_one_process(size: int, source: str, evaluated: tuple[Path, dict[str, Any]]) -> None:
    run, wanted = evaluated

    def on_rank(rank: Communicator) -> Any:
        return evaluate(frozen(load_run(run, source, rank), usable("numba"), ranks=rank), 2, silence=["0:200"])

    for found in on_ranks(size, on_rank):
        assert found.neurons.equals(wanted[source].neurons)
        np.testing.assert_array_equal(found.rates_hz, wanted[source].rates_hz)
        for one, other in zip(found.spikes[0], wanted[source].spikes[0], strict=True):
            np.testing.assert_array_equal(one, other)


def test_weights_of_another_network_are_refused(evaluated: tuple[Path, Any], tmp_path: Path, refused: Any) -> None:
    run = Path(shutil.copytree(evaluated[0], tmp_path / "run"))
    np.save(run / "weights.npy", np.zeros((1000, 12), np.float32))

    def on_rank(rank: Communicator) -> None:
        with rank.together():
            frozen(load_run(run, "last", rank), usable("numba"), ranks=rank)

    with refused(ConfigurationError, "(488, 12)"):
        on_ranks(2, on_rank)


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run with checkpoints of two ranks and weights of one process, and its evaluations."""
    run = tmp_path_factory.mktemp("evaluated") / "run"
    training = trained(ALONE, iterations=2)
    with RunDirectory(run) as directory:
        directory.begin(training)
        directory.finish(run_document(training), {"weights": training.weights()})
    (run / "checkpoints").mkdir()
    on_ranks(2, lambda rank: save_checkpoint(run / "checkpoints" / "best.h5", trained(rank), weights_only=True))
    backend = usable("numba")
    return run, {
        source: evaluate(frozen(load_run(run, source), backend), 2, silence=["0:200"]) for source in ("best", "last")
    }


def test_every_moment_of_saving_leaves_a_whole_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is copied before every change of a file, as it is if all ranks are killed then."""
    run, moments, lock = tmp_path / "run", list[Path](), threading.Lock()
    for place, name in ((os, "pwrite"), (os, "replace"), (Path, "unlink")):
        original = getattr(place, name)

        def call(*arguments: Any, original: Any = original, **further: Any) -> Any:
            with lock:
                moments.append(Path(shutil.copytree(run, tmp_path / f"moment-{len(moments)}")))
                return original(*arguments, **further)

        monkeypatch.setattr(place, name, call)
    run.mkdir()
    on(2, lambda rank: run_with(rank, run, 2, keep=1, best="weights"))
    monkeypatch.undo()
    moments.append(run)
    # Files that have got their names change no more.
    different = {tuple(sorted(path.name for path in m.rglob("[!.]*"))): m for m in reversed(moments)}
    assert len(different) > 10
    last = 0
    for moment in reversed(different.values()):
        if checkpoint_files(moment) or last:
            checkpoint, damaged = last_checkpoint(moment)
            assert not damaged
            assert checkpoint.iteration >= last
            last = checkpoint.iteration
        if (moment / "checkpoints" / "best.h5").exists():
            read_checkpoint(moment / "checkpoints" / "best.h5").verify()
        with Checkpoints(moment, load_experiment("smoke").checkpoints):
            pass
        left = list((moment / "checkpoints").glob("*"))
        assert len(left) == 3 * sum(path.suffix == ".h5" for path in left)
        assert len(left) == len(list((moment / "checkpoints").iterdir()))
    assert last == 2


@pytest.mark.parametrize("size", [1, 2])
def test_too_little_disk_is_told_by_all(size: int) -> None:
    def check(*_: Any) -> None:
        raise InsufficientDiskError("full", details=["a table"])

    def refused(rank: Communicator) -> None:
        before = check if rank.rank == 0 else None
        with pytest.raises(InsufficientDiskError) as caught:
            prepare(experiment(VARIANT), usable("numba"), ranks=rank, before=before)
        assert pickle.loads(pickle.dumps(caught.value)).details == ("a table",)  # as MPI sends it

    on(size, refused)


# Numbers that are not finite


def spoil(training: Training, neuron: int) -> None:
    """Give a neuron, on the rank that has it, weights that are no numbers."""
    c = neuron - training.trainer.own.start
    if 0 <= c < training.trainer.neurons:
        training.trainer.settle()
        block = training.trainer.block(c, c + 1).copy()
        block.w[:] = np.nan
        training.trainer.load_block(c, block)


def test_all_ranks_end_the_iteration_in_which_one_finds_no_number(unbroken: list[Any], tmp_path: Path) -> None:
    def spoiled(rank: Communicator) -> str:
        training = trained(rank)
        path = save_checkpoint(tmp_path / f"{rank.size}.h5", training)
        spoil(training, 900)
        with pytest.raises(NumericsError) as caught:
            list(training.run(1))
        assert len(training.iterations) == 1
        found = outcome(resume(path, ranks=rank), 1)
        if rank.rank == 0:
            assert_same(unbroken, found)
        return str(caught.value)

    told = {on(1, spoiled), *on_ranks(2, spoiled)}
    assert len(told) == 1
    assert "neuron 900" in told.pop()


# The command line

SPOILED = f"""
from rlsbench.training import Training
from tests.test_sharded_checkpoints import spoil
original = Training._iterate
def spoiled(self, correlate):
    if len(self.iterations) == 1:
        spoil(self, 900)
    return original(self, correlate)
Training._iterate = spoiled
{COMMAND}
"""


UNDRAWN = "import sys, rlsbench.cli; sys.modules['rlsbench.cli.run'].drawn = lambda draw: ''; "


def finished(size: int, folder: Path, *words: str, program: str = COMMAND, code: int = 0) -> tuple[str, str]:
    """What a command printed that ranks of MPI ran to its end, without pictures."""
    with mpirun(size, *words, program=UNDRAWN + program, cwd=folder) as process:
        printed, errors = process.communicate(timeout=300)
    assert process.returncode == code, printed + errors
    return printed, errors


UNDRAWN_TOO = f"import sys, rlsbench.cli; sys.modules['rlsbench.cli.evaluate'].drawn = lambda draw: ''; {COMMAND}"


def one_thread(*more: str) -> list[str]:
    return train("--set", "numerics.threads=1", *more)


def alone(iterations: int) -> Any:
    """Weights of one process without ranks."""
    return trained(ALONE, "as published", iterations).weights()


@pytest.mark.reproduction
def test_a_run_on_ranks_goes_on_in_one_process_and_on_other_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "out"
    more = ("--iterations", "3", "--checkpoint-every", "2", "--save-best", "--monitor", "0.1")
    finished(2, tmp_path, *one_thread(*more))
    numbered = [f"iteration-00000{i}.h5{end}" for i in (2, 3) for end in ("", ".0", ".1")]
    assert names(run / "checkpoints") == ["best.h5", "best.h5.0", "best.h5.1", *numbered]
    assert load_run(run).document.resources is not None
    np.testing.assert_array_equal(load_run(run, "last").weights, alone(3))
    monkeypatch.setattr("rlsbench.report.figures.save_summary", lambda training, folder: folder)
    assert status("resume", run, "--iterations", 4) == 0
    np.testing.assert_array_equal(np.load(run / "weights.npy"), alone(4))
    assert status("evaluate", run, "--trials", 2) == 0
    assert json.loads((run / "result.json").read_text())["evaluation"]["weights"].startswith("best, iteration")
    csv = (run / "evaluation.csv").read_bytes()
    finished(2, tmp_path, "evaluate", "out", "--trials", "2", program=UNDRAWN_TOO)
    assert (run / "evaluation.csv").read_bytes() == csv
    finished(3, tmp_path, "resume", "out", "--iterations", "5")
    np.testing.assert_array_equal(np.load(run / "weights.npy"), alone(5))
    left = ["iteration-000004.h5", *(f"iteration-000005.h5{end}" for end in ("", ".0", ".1", ".2"))]
    assert [name for name in names(run / "checkpoints") if not name.startswith("best")] == left


def test_a_run_in_which_a_number_is_not_finite_keeps_what_was_before_and_goes_on(tmp_path: Path) -> None:
    printed, errors = finished(2, tmp_path, *one_thread("--checkpoint-every", "1"), program=SPOILED, code=1)
    assert len(errors.splitlines()) == 1, errors
    assert "neuron 900" in errors
    assert errors.strip().endswith("rlsbench resume out")
    document = parse_document((tmp_path / "out" / "result.json").read_text())
    assert len(document.iterations) == 1, printed  # type: ignore[union-attr]
    assert last_checkpoint(tmp_path / "out")[0].iteration == 1
    printed, _ = finished(2, tmp_path, "resume", "out")
    assert printed.count("continues bit for bit") == 1
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "weights.npy"), alone(2))


@pytest.mark.endurance
@pytest.mark.parametrize(
    ("limit", "number", "code"), [(True, 0, 75), (False, signal.SIGTERM, 143), (False, signal.SIGINT, 130)]
)
def test_a_run_that_is_stopped_leaves_a_checkpoint(limit: bool, number: int, code: int, tmp_path: Path) -> None:
    """By its time limit, or by a signal to the last rank."""
    words = one_thread("--iterations", "100000", *(("--time-limit", "15s") if limit else ()))
    curve = tmp_path / "out" / "learning_curve.csv"
    with mpirun(2, *words, cwd=tmp_path) as process:
        while not limit and not (curve.exists() and len(curve.read_text().splitlines()) > 2):
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        if number:
            os.kill(of_ranks(process.pid)[1], number)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert errors.strip().endswith("rlsbench resume out")
    assert len(errors.splitlines()) == 1, errors
    checkpoint, damaged = last_checkpoint(tmp_path / "out")
    assert not damaged
    assert checkpoint.iteration == len(load_run(tmp_path / "out", "last").document.iterations)
    assert names(tmp_path / "out" / "checkpoints")[1:] == [f"{checkpoint.path.name}.{i}" for i in (0, 1)]


@pytest.mark.reproduction
@pytest.mark.usefixtures("no_pictures")
def test_a_run_that_is_killed_at_any_moment_can_be_resumed(tmp_path: Path) -> None:
    """One rank is killed while all save after every iteration."""
    run, chance, last = tmp_path / "out", random.Random(7), 0
    for kill in range(KILLS):
        words = ["resume", "out"] if last else one_thread("--iterations", "100000", "--checkpoint-every", "1")
        if not last:
            shutil.rmtree(run, ignore_errors=True)
        size = 3 if kill % 5 == 4 else 2
        with mpirun(size, *words, cwd=tmp_path) as process:
            while max((n for n, _ in checkpoint_files(run)), default=0) <= last:
                assert process.poll() is None, process.communicate()
                time.sleep(0.01)
            time.sleep(chance.uniform(0.0, 1.0))
            os.kill(chance.choice(of_ranks(process.pid)), signal.SIGKILL)
            _, errors = process.communicate(timeout=120)
        checkpoint, damaged = last_checkpoint(run)
        print(kill, checkpoint.iteration, names(run / "checkpoints"))
        assert not damaged, errors
        assert checkpoint.iteration > last
        last = checkpoint.iteration
    assert status("resume", run, "--iterations", last + 1) == 0
    np.testing.assert_array_equal(np.load(run / "weights.npy"), alone(last + 1))
    assert not list(run.rglob("*.damaged"))
    wrote = [read_checkpoint(path).ranks for _, path in checkpoint_files(run)]
    assert len(list((run / "checkpoints").iterdir())) == sum(ranks + (ranks > 1) for ranks in wrote)
