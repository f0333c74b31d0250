"""Checkpoints: contents, bit-for-bit resumption, detection of damage, and atomic writing."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rlsbench import Training, prepare, resume, save_checkpoint
from rlsbench.backend import Kept
from rlsbench.errors import ConfigurationError, OutputError, ResultError
from rlsbench.precision import PRECISIONS, pack
from rlsbench.results import Checkpoints, last_checkpoint, load_run, parse_document, read_checkpoint
from rlsbench.results import checkpoint as checkpoint_module
from tests.conftest import status

pytestmark = pytest.mark.usefixtures("no_pictures")
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
combination = partial(pytest.param, marks=pytest.mark.combinations)
FORMS = [
    ("numpy-full", {"numerics.precision": "float64"}),
    ("numpy-packed", {}),
    ("numba", {}),
    combination(
        "numba", {"numerics.p_precision": "int16", "numerics.storage": "packed", "numerics.algorithm": "event"}
    ),
    ("numba-blas", {}),
]  # all others are in tests/test_resume.py


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a few neurons, so that there are many."""
    monkeypatch.setattr(checkpoint_module, "BLOCK_BYTES", 4000)


def same(a: Training, b: Training) -> bool:
    """Whether two trainings stand at the same numbers, bit for bit."""
    one, other = a.trainer.state(), b.trainer.state()
    scores = [[(i.iteration, i.task, i.correlation, i.firing_rate_hz) for i in t.iterations] for t in (a, b)]
    return np.array_equal(one.w, other.w) and np.array_equal(one.P, other.P) and scores[0] == scores[1]


def train(training: Training, iterations: int | None = None) -> Training:
    for _ in training.run(iterations):
        pass
    return training


# Resuming


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize(("backend", "numerics"), FORMS)
def test_resumes_bit_for_bit(
    backend: str, numerics: dict[str, Any], make: Callable[..., Training], tmp_path: Path
) -> None:
    """Saved after three of five iterations: neither saving nor resuming changes the results."""
    unbroken = train(make(backend, **numerics))
    saved = train(make(backend, **numerics), 3)
    path = save_checkpoint(tmp_path / "three.h5", saved)
    assert same(train(saved, 2), unbroken)
    assert [p.name for p in tmp_path.iterdir()] == ["three.h5"]
    again = resume(path)
    assert len(again.iterations) == 3
    assert again.resumptions == ["resumed after iteration 3: continues bit for bit"]
    assert again.options == unbroken.options
    assert same(train(again), unbroken)
    np.testing.assert_array_equal(again.first_learned, unbroken.first_learned)
    checkpoint = read_checkpoint(path)
    with h5py.File(path) as file:
        options, n = unbroken.options, unbroken.problem.n
        shape = (n, n) if options.storage == "full" else (n * (n + 1) // 2,)
        assert file["P"].shape == (70, *shape)
        assert file["P"].dtype == PRECISIONS[options.p_precision].stored
        assert file["w"].dtype == options.precision
        assert ("P_unit" in file) == (options.p_precision == "int16")
    assert len(checkpoint._main.checksums) > 10


def test_another_recording_is_refused(make: Callable[..., Training], tmp_path: Path, refused: Any) -> None:
    rates = np.abs(np.random.default_rng(0).normal(8, 3, (20, 70)))
    np.save(tmp_path / "rates.npy", rates)
    changes = {"targets.kind": "recording", "recording.files": [str(tmp_path / "rates.npy")]}
    changes |= {"stimulus.off_ms": 20.0, "time.learn_every_ms": 20.0, "time.train_duration_ms": 400.0}
    path = save_checkpoint(tmp_path / "x.h5", train(make(**changes), 1))
    assert len(train(resume(path)).iterations) == 5
    np.save(tmp_path / "other.npy", rates + 1)
    with refused(ResultError, path):
        resume(path, overrides={"recording.files": [str(tmp_path / "other.npy")]})


@pytest.mark.combinations
@pytest.mark.usefixtures("small_blocks")
def test_another_configuration_resumes_within_rounding(
    make: Callable[..., Training], tmp_path: Path, refused: Any
) -> None:
    """Another backend, storage, precision or number of threads loads the same w and P."""
    saved = train(make("numba", **{"numerics.p_precision": "int16", "numerics.threads": 1}), 3)
    path = save_checkpoint(tmp_path / "x.h5", saved)
    before = saved.trainer.state()
    for backend, overrides, told in (
        ("numba", {"numerics.threads": 2}, "2 instead of 1 (threads)"),
        ("numba", {"numerics.storage": "packed"}, "packed instead of full (storage)"),
        ("numba", {"numerics.p_precision": "float64", "numerics.precision": "float64"}, "float64 instead of float32"),
        ("numpy-packed", {}, "numpy-packed instead of numba (backend)"),
        ("numpy-full", {"numerics.precision": "float64"}, "numpy-full instead of numba (backend)"),
        ("reference", {}, "reference instead of numba (backend)"),
    ):
        other = resume(path, backend=backend, overrides=overrides)
        after = other.trainer.state()
        np.testing.assert_array_equal(after.w, before.w)
        np.testing.assert_array_equal(after.packed(), before.packed())
        assert told in other.resumptions[0]
        assert "not bit for bit" in other.resumptions[0]
        assert other.options.threads == overrides.get("numerics.threads", 1)
        train(other)
        assert other.iterations[3].firing_rate_hz == pytest.approx(
            train(resume(path), 1).iterations[3].firing_rate_hz, rel=0.2
        )
    with refused(ConfigurationError, "network.g", "training.iterations"):
        resume(path, overrides={"network.g": 2.0})


@pytest.mark.parametrize("precision", ["float64", "float32", "float16", combination("bfloat16"), combination("int16")])
@pytest.mark.parametrize("storage", ["full", "packed"])
def test_blocks_hold_what_the_state_holds(precision: str, storage: str, make: Callable[..., Training]) -> None:
    precisions = {"numerics.p_precision": precision, "numerics.storage": storage}
    training = train(
        make("numba", **precisions, **({"numerics.precision": "float64"} if precision == "float64" else {})), 1
    )
    blocks, state = list(training.trainer.blocks(32)), training.trainer.state()
    np.testing.assert_array_equal(np.concatenate([block.P.widened() for block in blocks]), state.P)
    np.testing.assert_array_equal(
        np.concatenate([block.P.diagonal() for block in blocks]), np.diagonal(state.full(), axis1=1, axis2=2)
    )
    np.testing.assert_array_equal(Kept(pack(state.full())).full(), state.full())
    np.testing.assert_array_equal(Kept(pack(state.full())).diagonal(), np.diagonal(state.full(), axis1=1, axis2=2))


# Damaged files


@pytest.fixture
def saved(make: Callable[..., Training], tmp_path: Path) -> Path:
    """A checkpoint of two iterations."""
    return save_checkpoint(tmp_path / "saved.h5", train(make(**{"numerics.threads": 1}), 2))


def test_every_changed_byte_is_detected(saved: Path, refused: Any) -> None:
    content = saved.read_bytes()
    with h5py.File(saved) as file:
        places = {name: (file[name].id.get_offset(), file[name].nbytes) for name in list(file)}
    for name, (offset, size) in places.items():
        for at in (offset, offset + size // 2, offset + size - 1):
            broken = bytearray(content)
            broken[at] ^= 0x10
            saved.write_bytes(broken)
            with refused(ResultError, saved, "damaged", name):
                read_checkpoint(saved).verify()
            if name in ("w", "P"):
                with refused(ResultError, saved, name, "block 1 of 1"):
                    resume(saved)


@pytest.mark.usefixtures("small_blocks")
def test_damage_that_fletcher32_misses_is_detected(make: Callable[..., Training], tmp_path: Path, refused: Any) -> None:
    """HDF5's checksum accepts a chunk and checksum of zeros, and 0xFFFF for 0x0000."""
    path = save_checkpoint(tmp_path / "saved.h5", make("numpy-full"))  # P is diagonal
    content = path.read_bytes()
    with h5py.File(path) as file:
        offset = file["P"].id.get_offset()
    block = 4000 - 4000 % (12 * 12 * 4)
    zeros = bytearray(content)
    zeros[offset : offset + block] = bytes(block)
    ones = bytearray(content)
    at = content.index(bytes(4), offset, offset + block)
    ones[at : at + 4] = b"\xff" * 4
    for damaged in (zeros, ones):
        path.write_bytes(damaged)
        with refused(ResultError, path, "damaged", "P", "block"):
            resume(path)


@pytest.mark.parametrize("length", [0, 7, 8, 100, 5000, 0.5, 0.99])
def test_a_truncated_file_is_refused(length: float, saved: Path, refused: Any) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(length * len(content) if 0 < length < 1 else length)])
    with refused(ResultError, saved):
        read_checkpoint(saved)


def rewritten(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Give a checkpoint another manifest with valid checksums, as an attacker would."""
    with h5py.File(path) as file:
        arrays = {name: file[name][...] for name in file if name not in ("manifest", "checksums")}
        manifest, checksums = json.loads(file["manifest"][...].tobytes()), file["checksums"][...]
    change(manifest)
    text = np.frombuffer(json.dumps(manifest).encode(), np.uint8)
    checksums[0] = zlib.crc32(text)
    checksums[-1] = zlib.crc32(checksums[:-1])
    with h5py.File(path, "w") as file:
        file.attrs["format"], file.attrs["version"] = np.bytes_("rlsbench checkpoint"), 1
        for name, values in {"manifest": text, "checksums": checksums, **arrays}.items():
            file.create_dataset(name, data=values)


def test_a_forged_manifest_is_refused(saved: Path, refused: Any) -> None:
    content = saved.read_bytes()
    rewritten(saved, lambda manifest: None)
    read_checkpoint(saved).verify()
    forgeries: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
        (lambda m: m["configuration"]["network"].update(neurons=10**8), "configuration_hash"),
        (lambda m: m.update(iteration=3), "3 iterations"),
        (lambda m: m.update(seed=2), "seed"),
        (lambda m: m.update(version=2), "version"),
        (lambda m: m.update(surprise=1), "surprise"),
        (lambda m: m["arrays"][1].update(shape=[10**12, 78]), "manifest"),
        (lambda m: m["arrays"][0].update(rows=1), "checksums"),
        (lambda m: m["arrays"][0].update(name="../w"), "arrays.0.name"),
        (lambda m: m["options"].update(threads="many"), "options.threads"),
        (lambda m: m["iterations"][0].update(correlation=float("nan")), "NaN"),
        (lambda m: m.update(resumptions={"a": 1}), "resumptions"),
        (lambda m: m.pop("backend"), "backend"),
    ]
    for forge, key in forgeries:
        saved.write_bytes(content)
        rewritten(saved, forge)
        with refused(ResultError, saved, key):
            read_checkpoint(saved)


def test_other_files_are_refused(tmp_path: Path, refused: Any) -> None:
    other = tmp_path / "other.h5"
    made: list[tuple[Callable[[h5py.File], Any], str]] = [
        (lambda f: f.create_dataset("w", data=np.zeros(3)), "format"),
        (lambda f: f.attrs.update(format=np.bytes_("rlsbench checkpoint"), version=9), "9"),
        (
            lambda f: f.attrs.update(format=np.bytes_("rlsbench checkpoint"), version="x"),
            "format",
        ),
    ]
    ours: list[tuple[Callable[[h5py.File], Any], str]] = [
        (lambda f: None, "manifest"),
        (lambda f: f.create_dataset("manifest", data=np.zeros(8, np.uint8), chunks=(4,)), "contiguous"),
        (lambda f: f.create_dataset("manifest", (9,), "u1", external=[("/etc/passwd", 0, 9)]), "manifest"),
        (lambda f: f.update(manifest=h5py.ExternalLink("/etc/x.h5", "/a")), "link"),
        (lambda f: f.update(manifest=h5py.SoftLink("/elsewhere")), "link"),
        (lambda f: f.create_group("manifest"), "contiguous"),
        (lambda f: f.create_dataset("manifest", data="text"), "manifest"),
        (lambda f: [f.create_group(str(i)) for i in range(40)], "40"),
    ]
    for change, reason in made:
        with h5py.File(other, "w") as file:
            change(file)
        with refused(ResultError, other, reason):
            read_checkpoint(other)
    for change, reason in ours:
        with h5py.File(other, "w") as file:
            file.attrs.update(format=np.bytes_("rlsbench checkpoint"), version=1)
            change(file)
        with refused(ResultError, other, reason):
            read_checkpoint(other)
    other.write_text("text")
    with refused(ResultError, other, "HDF5"):
        read_checkpoint(other)
    with refused(ResultError, tmp_path / "nothing.h5"):
        read_checkpoint(tmp_path / "nothing.h5")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with refused(ResultError, path, "regular file"):
            read_checkpoint(path)


# Which checkpoints are kept


def run_with(training: Training, folder: Path, iterations: int | None = None) -> None:
    with Checkpoints(folder, training.experiment.checkpoints) as checkpoints:
        for _ in training.run(iterations):
            checkpoints.after(training)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in (folder / "checkpoints").iterdir())


def test_the_latest_and_the_best_are_kept(make: Callable[..., Training], tmp_path: Path) -> None:
    settings = {"checkpoints.every": 2, "checkpoints.keep": 2, "checkpoints.best": "whole", "training.iterations": 9}
    training = make(**settings)
    run_with(training, tmp_path)
    assert names(tmp_path) == ["best.h5", "iteration-000006.h5", "iteration-000008.h5"]
    best = read_checkpoint(tmp_path / "checkpoints" / "best.h5")
    scores = [i.correlation or -1.0 for i in training.iterations]
    assert best.iteration == training.progress.best_iteration == 1 + int(np.argmax(scores))
    twin = train(make(**settings), best.iteration)
    np.testing.assert_array_equal(best.weights(), twin.weights())
    assert same(train(resume(best.path)), training)


def test_the_best_may_be_weights_only(make: Callable[..., Training], tmp_path: Path, refused: Any) -> None:
    training = make(**{"checkpoints.best": "weights"})
    run_with(training, tmp_path)
    path = tmp_path / "checkpoints" / "best.h5"
    with h5py.File(path) as file:
        assert "P" not in file
    assert read_checkpoint(path).weights().shape == (70, 12)
    with refused(ResultError, path, "weights"):
        resume(path)
    with refused(ResultError, tmp_path):
        last_checkpoint(tmp_path)


def test_undefined_correlations_do_not_block_the_best(
    make: Callable[..., Training], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the published code one undefined correlation makes the mean NaN, which is never best."""
    training = make(**{"checkpoints.best": "weights"})
    assert training.problem.targets is not None
    constant = training.problem.targets.matrix(0)[None].copy()
    constant[:, :, 5] = 1.0
    training = prepare(training.experiment, training.backend, targets=constant)
    run_with(training, tmp_path)
    assert [i.undefined_correlations for i in training.iterations] == [1] * 5
    assert read_checkpoint(tmp_path / "checkpoints" / "best.h5").iteration == training.progress.best_iteration


def test_a_damaged_last_checkpoint_is_renamed(make: Callable[..., Training], tmp_path: Path) -> None:
    training = make(**{"checkpoints.every": 1})
    run_with(training, tmp_path, 4)
    last = tmp_path / "checkpoints" / "iteration-000004.h5"
    last.write_bytes(last.read_bytes()[:-2000])
    checkpoint, damaged = last_checkpoint(tmp_path)
    assert checkpoint.iteration == 3
    assert len(damaged) == 1
    assert str(last) in damaged[0]
    again = resume(tmp_path)
    with Checkpoints(tmp_path, again.experiment.checkpoints) as checkpoints:
        checkpoints.resumed(checkpoint)
        for _ in again.run():
            checkpoints.after(again)
    assert names(tmp_path) == ["iteration-000004.h5", "iteration-000004.h5.damaged", "iteration-000005.h5"]
    assert same(again, train(training, 1))


def test_one_process_at_a_time(make: Callable[..., Training], tmp_path: Path, refused: Any) -> None:
    pytest.importorskip("fcntl")
    section = make().experiment.checkpoints
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / ".iteration-000004.h5.123.part").write_text("of a process that was killed")
    with Checkpoints(tmp_path, section):
        assert names(tmp_path) == []
        with refused(OutputError, "another process", tmp_path), Checkpoints(tmp_path, section):
            pass
    with Checkpoints(tmp_path, section):
        pass


# Disks that are full or cannot be written


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite", "fsync", "replace"])
@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_full_disk_keeps_the_previous_checkpoint(
    call: str, number: int, make: Callable[..., Training], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Any
) -> None:
    training = train(make(), 1)
    path = save_checkpoint(tmp_path / "x.h5", training)
    before = path.read_bytes()
    train(training, 1)
    original, calls = getattr(os, call), [0]

    def full(*arguments: Any) -> Any:
        calls[0] += 1
        if calls[0] == number:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(*arguments)

    monkeypatch.setattr(os, call, full)
    if number <= {"posix_fallocate": 2, "pwrite": 7, "fsync": 1, "replace": 1}[call]:
        with refused(OutputError, path, "No space left"):
            save_checkpoint(path, training)
        assert path.read_bytes() == before
        assert [p.name for p in tmp_path.iterdir()] == ["x.h5"]
    monkeypatch.undo()
    assert same(resume(save_checkpoint(path, training)), training)


def test_a_run_on_a_disk_that_fills_up(
    tiny_options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The third checkpoint does not fit: the error says how to resume, which changes no result."""
    arguments = ["run", "--backend", "numpy-packed", *tiny_options, "--iterations", "5", "--checkpoint-every", "1"]
    assert status(*arguments, "--output", str(tmp_path / "whole")) == 0
    original, calls = os.fsync, [0]

    def full(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] == 5:  # of the third file; each has its folder's, too
            raise OSError(errno.ENOSPC, "No space left on device")
        original(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    capsys.readouterr()
    run = tmp_path / "run"
    assert status(*arguments, "--output", str(run)) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "iteration-000003.h5" in error
    assert "No space left on device" in error
    assert f"rlsbench resume {run}" in error
    monkeypatch.undo()
    assert len(parse_document((run / "result.json").read_text()).iterations) == 3  # type: ignore[union-attr]
    assert status("resume", str(run)) == 0
    np.testing.assert_array_equal(np.load(run / "weights.npy"), np.load(tmp_path / "whole" / "weights.npy"))


@pytest.mark.skipif(not ROOT or sys.platform != "linux", reason="only the superuser mounts a file system")
def test_a_small_disk(
    tiny_options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Any
) -> None:
    """A file system of 1 MiB that fills up, and then one that can only be read."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("this superuser may not mount")
    arguments = ["run", "--backend", "numpy-packed", *tiny_options, "--checkpoint-every", "1", "--keep", "99"]
    try:
        assert status(*arguments, "--iterations", "99", "--output", str(disk / "run")) == 1
        assert "1.0 MiB" in capsys.readouterr().err  # foreseen, and so not begun
        assert status(*arguments, "--iterations", "99", "--force", "--output", str(disk / "run")) == 1
        error = capsys.readouterr().err
        assert "No space left on device" in error
        kept, _ = last_checkpoint(disk / "run")
        assert f"iteration {kept.iteration}" in error
        assert 3 < kept.iteration < 40
        assert not list(disk.rglob(".*"))
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert status("resume", str(disk / "run")) == 1
        assert re.fullmatch(r"rlsbench: [^\n]*Read-only file system\n", capsys.readouterr().err)
        with refused(OutputError, kept.path, "Read-only file system"):
            save_checkpoint(kept.path, resume(kept.path))
        kept.verify()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.skipif(ROOT, reason="nothing is unwritable for the superuser; see test_a_small_disk")
def test_a_folder_that_cannot_be_written(make: Callable[..., Training], tmp_path: Path) -> None:
    training = train(make(**{"checkpoints.every": 1}), 1)
    tmp_path.chmod(0o555)
    try:
        with (
            pytest.raises(OutputError, match="Permission denied"),
            Checkpoints(tmp_path, training.experiment.checkpoints) as c,
        ):
            c.after(training)
    finally:
        tmp_path.chmod(0o755)


# The command line


RUN = ["run", "--backend", "numpy-packed"]


def test_resume_from_the_command_line(
    tiny_options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, longer = tmp_path / "run", tmp_path / "longer"
    assert status(*RUN, *tiny_options, "--iterations", "3", "--checkpoint-every", "2", "--output", str(run)) == 0
    assert names(run) == ["iteration-000002.h5", "iteration-000003.h5"]
    assert status(*RUN, *tiny_options, "--iterations", "5", "--output", str(longer)) == 0
    capsys.readouterr()
    assert status("resume", str(run)) == 0
    assert "all 3 iterations" in capsys.readouterr().out
    assert status("resume", str(run), "--iterations", "5", "--json", str(tmp_path / "doc.json")) == 0
    out = capsys.readouterr().out
    assert "resumed after iteration 3: continues bit for bit" in out
    assert "iteration 4/5" in out
    np.testing.assert_array_equal(np.load(run / "weights.npy"), np.load(longer / "weights.npy"))
    documents = [parse_document((folder / "result.json").read_text()) for folder in (run, longer)]
    scores = [[(i.iteration, i.correlation) for i in d.iterations] for d in documents]  # type: ignore[union-attr]
    assert scores[0] == scores[1]
    assert documents[0].configuration_hash == documents[1].configuration_hash
    assert (tmp_path / "doc.json").read_text() == (run / "result.json").read_text()
    assert len((run / "learning_curve.csv").read_text().splitlines()) == 6
    assert status("resume", str(tmp_path / "nothing")) == 2
    assert status("resume", str(longer), "--iterations", "9") == 1
    assert str(longer) in capsys.readouterr().err


def test_evaluate_takes_the_best(tiny_options: list[str], tmp_path: Path, refused: Any) -> None:
    run = tmp_path / "run"
    arguments = [*RUN, *tiny_options, "--iterations", "6", "--checkpoint-every", "3", "--save-best"]
    assert status(*arguments, "--output", str(run)) == 0
    best = read_checkpoint(run / "checkpoints" / "best.h5")
    document = parse_document((run / "result.json").read_text())
    assert document.best_iteration == best.iteration  # type: ignore[union-attr]
    np.testing.assert_array_equal(load_run(run).weights, best.weights())
    np.testing.assert_array_equal(load_run(run, "last").weights, np.load(run / "weights.npy"))
    third = load_run(run, run / "checkpoints" / "iteration-000003.h5")
    assert third.weights_from == "iteration-000003.h5, iteration 3"
    assert [i.iteration for i in third.iterations] == [1, 2, 3]
    assert status("evaluate", str(run), "--trials", "2") == 0
    evaluation = parse_document((run / "result.json").read_text()).evaluation  # type: ignore[union-attr]
    assert evaluation is not None
    assert evaluation["weights"] == f"best, iteration {best.iteration}"
    other = tmp_path / "other"
    assert status(*RUN, *tiny_options, "--seed", "2", "--output", str(other)) == 0
    with refused(ResultError, best.path, other):
        load_run(other, best.path)
    with refused(ResultError, other, "--save-best"):
        load_run(other, "best")
    assert load_run(other).weights_from == "last iteration"


def test_a_run_that_ran_out_of_patience_is_not_resumed(
    tiny_options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    arguments = [*RUN, *tiny_options, "--iterations", "60", "--patience", "3", "--checkpoint-every", "50"]
    assert status(*arguments, "--output", str(run)) == 0
    told = capsys.readouterr().out
    stopped = len(parse_document((run / "result.json").read_text()).iterations)  # type: ignore[union-attr]
    assert stopped < 60
    assert f"after iteration {stopped}:" in told
    assert "--patience" in told
    assert names(run) == ["best.h5", f"iteration-{stopped:06d}.h5"]
    before = (run / "result.json").read_bytes()
    assert status("resume", str(run)) == 0
    assert "--patience" in capsys.readouterr().out
    assert (run / "result.json").read_bytes() == before
    assert status("resume", str(run), "--patience", "0", "--iterations", str(stopped + 1)) == 0
    assert len(parse_document((run / "result.json").read_text()).iterations) == stopped + 1  # type: ignore[union-attr]


# Signals


@pytest.mark.parametrize(("number", "wanted"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_iteration_and_saves(
    number: int,
    wanted: int,
    tiny_options: list[str],
    tmp_path: Path,
    during: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The signal comes in the middle of the third trial of five."""
    whole, run = tmp_path / "whole", tmp_path / "run"
    arguments = [*RUN, *tiny_options, "--iterations", "5"]
    assert status(*arguments, "--output", str(whole)) == 0
    during(3, lambda: os.kill(os.getpid(), number))
    capfd.readouterr()
    assert status(*arguments, "--output", str(run)) == wanted
    error = capfd.readouterr().err.splitlines()
    assert len(error) == 2
    assert "iteration 3" in error[0]
    assert "iteration 3" in error[1]
    assert error[1].endswith(f"rlsbench resume {run}")
    assert len(parse_document((run / "result.json").read_text()).iterations) == 3  # type: ignore[union-attr]
    monkeypatch.undo()
    assert status("resume", str(run)) == 0
    np.testing.assert_array_equal(np.load(run / "weights.npy"), np.load(whole / "weights.npy"))


def test_two_signals_exit_with_the_previous_checkpoint(
    tiny_options: list[str],
    tmp_path: Path,
    during: Any,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The first comes in the third trial, the second while its checkpoint is being written."""
    run, original, written = tmp_path / "run", os.fsync, [0]

    def interrupted(descriptor: int) -> None:
        written[0] += 1
        if written[0] == 5:
            os.kill(os.getpid(), signal.SIGINT)
        original(descriptor)

    during(3, lambda: os.kill(os.getpid(), signal.SIGINT))
    monkeypatch.setattr(os, "fsync", interrupted)
    arguments = [*RUN, *tiny_options, "--iterations", "5", "--checkpoint-every", "1", "--output", str(run)]
    assert status(*arguments) == 130
    error = capfd.readouterr().err.splitlines()
    assert "iteration 2" in error[-1]
    assert error[-1].endswith(f"rlsbench resume {run}")
    assert names(run) == ["iteration-000001.h5", "iteration-000002.h5"]
    assert not (run / "result.json").exists()
    monkeypatch.undo()
    assert status("resume", str(run)) == 0
    assert load_run(run).document.iterations[-1].iteration == 5
