"""How a run ends, and what its directory then holds: locks, signals, limits, failing outputs."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlsbench.results as results
from rlsbench import Training, load_experiment, prepare, resume, save_checkpoint
from rlsbench.cli import interruption as interruption_module
from rlsbench.cli.console import Output
from rlsbench.cli.deadline import RESULTS_S, SLURM, Deadline
from rlsbench.cli.interruption import SIGNALS, SIGPIPE, ImmediateExit, Interruption
from rlsbench.errors import OutputError, ResultError, RlsbenchError
from rlsbench.results import Checkpoints, RunDirectory, RunDocument, load_run, parse_document
from tests.conftest import status

Tree = Callable[[Path], dict[str, bytes | None]]
posix = pytest.mark.skipif(sys.platform == "win32", reason="neither signals nor locks of POSIX")


def document_of(run: Path) -> RunDocument:
    document = parse_document((run / "result.json").read_text())
    assert isinstance(document, RunDocument)
    return document


@pytest.fixture(scope="module")
def command(tiny_options: list[str]) -> list[str]:
    return ["run", "--backend", "numpy-packed", "--threads", "1", *tiny_options]


@pytest.fixture(scope="module")
def both(command: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of two iterations, and the same after it was resumed for two more. Copy before use."""
    folder = tmp_path_factory.mktemp("runs")
    assert status(*command, "--checkpoint-every", 1, "--keep", 9, "--output", folder / "two") == 0
    shutil.copytree(folder / "two", folder / "four")
    assert status("resume", folder / "four", "--iterations", 4) == 0
    return folder / "two", folder / "four"


# A directory belongs to one run


@posix
def test_a_directory_belongs_to_one_run(tmp_path: Path, refused: Any) -> None:
    path = tmp_path / "a" / "run"
    section = load_experiment("smoke").checkpoints
    with RunDirectory(path) as directory:
        for other in (RunDirectory(path), RunDirectory(path, resumed=True), Checkpoints(path, section)):
            with refused(OutputError, path, "another process"), other:
                pass
        with Checkpoints(directory, section):  # which is locked already
            (path / "file").touch()
    assert [p.name for p in path.iterdir()] == ["file"]
    with refused(OutputError, path, "not empty"), RunDirectory(path):
        pass
    assert [p.name for p in path.iterdir()] == ["file"]
    with refused(ResultError, tmp_path / "none"), RunDirectory(tmp_path / "none", resumed=True):
        pass
    (path / ".lock").symlink_to(tmp_path / "outside")
    with refused(OutputError, path), RunDirectory(path, resumed=True):
        pass
    assert not (tmp_path / "outside").exists()
    with pytest.raises(KeyboardInterrupt), RunDirectory(tmp_path / "b" / "run"):
        raise KeyboardInterrupt
    assert not (tmp_path / "b").exists()


def test_default_names_never_collide(tmp_path: Path) -> None:
    base = tmp_path / "runs" / "name"
    with RunDirectory(base, numbered=True) as one, RunDirectory(base, numbered=True) as two:
        base.with_name("name-3").touch()
        with RunDirectory(base, numbered=True) as four:
            assert [d.path.name for d in (one, two, four)] == ["name", "name-2", "name-4"]


def test_default_names_of_many_jobs_that_start_and_fail_at_once_never_collide(tmp_path: Path) -> None:
    together = threading.Barrier(16)

    def start(job: int) -> list[Path]:
        made = []
        for turn in range(8):
            together.wait()
            with (
                suppress(KeyboardInterrupt),
                RunDirectory(tmp_path / f"runs{turn}" / "name", numbered=True) as directory,
            ):
                if job % 4 == 0:  # and so removes its directory, and the one above if that is empty
                    raise KeyboardInterrupt
                (directory.path / "result.json").touch(exist_ok=False)
                made.append(directory.path)
        return made

    with ThreadPoolExecutor(16) as pool:
        made = [path for found in pool.map(start, range(16)) for path in found]
    assert len(set(made)) == len(made) == 12 * 8
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="gone"), RunDirectory(tmp_path / "gone" / "name", numbered=True):
        pass


@posix
@pytest.mark.parametrize(("reading", "arguments"), [("last_checkpoint", ["resume"]), ("load_run", ["evaluate"])])
def test_a_directory_is_locked_before_it_is_read(
    reading: str, arguments: list[str], both: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, refused: Any
) -> None:
    def read(folder: Path, *_: object) -> None:
        with refused(OutputError, "another process"), RunDirectory(folder, resumed=True):
            pass
        raise ResultError("it was locked")

    monkeypatch.setattr(results if reading == "load_run" else sys.modules["rlsbench.cli.run"], reading, read)
    assert status(*arguments, both[0]) == 1


@pytest.mark.parametrize("lost", ["nothing", "newer results", "results", "newer checkpoints"])
def test_results_follow_from_checkpoints(lost: str, both: tuple[Path, Path], tmp_path: Path, tree: Tree) -> None:
    """Of a run that was killed at some moment of its resumption."""
    two, four = both
    run = shutil.copytree(four, tmp_path / "run")
    if lost == "newer results":
        for name in ("result.json", "weights.npy", "summary.png"):
            shutil.copy(two / name, run / name)
    elif lost == "results":
        (run / "result.json").unlink()
    elif lost == "newer checkpoints":
        shutil.copytree(two, run, dirs_exist_ok=True)
        shutil.copy(four / "configuration.toml", run)
        for number in (3, 4):
            (run / "checkpoints" / f"iteration-{number:06d}.h5").unlink()
    before = tree(run)
    assert status("resume", run) == 0
    assert (tree(run) == before) == (lost == "nothing")
    assert [i.iteration for i in document_of(run).iterations] == [1, 2, 3, 4]
    assert len((run / "learning_curve.csv").read_text().splitlines()) == 5
    np.testing.assert_array_equal(np.load(run / "weights.npy"), np.load(four / "weights.npy"))


@pytest.mark.parametrize("call", [1, 2])
def test_results_are_of_one_iteration(
    call: int, both: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ended between two files, a run has no results, but not a mixture."""
    run = shutil.copytree(both[0], tmp_path / "run")
    original, calls = os.replace, [0]

    def replace(*arguments: Any) -> None:
        calls[0] += 1
        if calls[0] == call:
            raise KeyboardInterrupt
        original(*arguments)

    with RunDirectory(run, resumed=True) as directory:
        monkeypatch.setattr(os, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            directory.finish(document_of(both[1]), {"weights": np.load(both[1] / "weights.npy")})
    assert not (run / "result.json").exists()
    monkeypatch.undo()
    assert status("resume", run) == 0
    np.testing.assert_array_equal(load_run(run, "last").weights, np.load(both[0] / "weights.npy"))


@posix
@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("what", ["renamed", "deleted", "replaced"])
def test_a_directory_that_goes_away_is_one_line(
    what: str,
    command: list[str],
    tmp_path: Path,
    during: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, other = tmp_path / "run", tmp_path / "other"

    def change() -> None:
        if what == "deleted":
            shutil.rmtree(run)
        else:
            run.rename(other)
        if what == "replaced":
            run.mkdir()

    during(2, change)
    assert status(*command, "--checkpoint-every", 1, "--output", run) == 1
    assert re.fullmatch(rf"rlsbench: {run} [^\n]*renamed[^\n]*\n", capsys.readouterr().err)
    assert run.exists() == (what == "replaced")
    assert not list(run.glob("**/*"))
    assert (what == "deleted") or results.last_checkpoint(other)[0].iteration == 1


def test_pictures_are_written_whole_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    from matplotlib.figure import Figure

    from rlsbench.report.picture import save

    path = save(Figure(figsize=(0.2, 0.2)), tmp_path / "x.png")
    before = path.read_bytes()
    assert before.startswith(b"\x89PNG")

    def full(file: Path, *_: object, **__: object) -> None:
        Path(file).write_text("a part")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", lambda self, *arguments, **further: full(*arguments))
    with refused(OutputError, path, "No space left"):
        save(Figure(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed(both: tuple[Path, Path], tmp_path: Path) -> None:
    from rlsbench.report.folder import _write

    run, report, store = shutil.copytree(both[0], tmp_path / "run"), tmp_path / "report", tmp_path / "store"
    folders = [run, run / "checkpoints", report, report / "figures", store]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        for name in (".x.json.1.part", ".recent.json.2.part"):
            (folder / name).touch()
        os.utime(folder / ".x.json.1.part", (0, 0))
    with RunDirectory(run, resumed=True) as directory, Checkpoints(directory, load_experiment("smoke").checkpoints):
        pass
    _write(report, {}, [])
    results.Store(store)
    left = {part for folder in folders for part in folder.glob(".*.part")}
    assert left == {store / ".recent.json.2.part"}  # another sweep may be writing it


@pytest.mark.parametrize("moment", [1, 2, 3])
def test_a_report_that_was_killed_can_be_written_again(
    moment: int, tmp_path: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlsbench.report import folder as reports

    original, calls, files = reports.write_atomically, [0], {"index.html": b"", "figures/a.svg": b""}

    def killed(path: Path, content: bytes) -> None:
        calls[0] += 1
        if calls[0] == moment:
            path.with_name(f".{path.name}.1.part").touch()
            raise KeyboardInterrupt
        original(path, content)

    monkeypatch.setattr(reports, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        reports._write(tmp_path, files, [])
    reports._write(tmp_path, files, reports._earlier(tmp_path))
    assert {*tree(tmp_path)} == {".rlsbench-report", "figures", *files}


# --json


@pytest.mark.usefixtures("no_pictures")
def test_a_document_is_not_replaced(
    command: list[str],
    both: tuple[Path, Path],
    tmp_path: Path,
    tree: Tree,
    during: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    file, run = tmp_path / "x.json", shutil.copytree(both[0], tmp_path / "resumed")
    file.write_text("kept")
    before = tree(tmp_path)
    assert status(*command, "--json", file, "--output", tmp_path / "run") == 1
    assert status("resume", run, "--json", file, "--iterations", 3) == 1
    assert capsys.readouterr().err.count(str(file)) == 2
    assert tree(tmp_path) == before
    late = tmp_path / "late.json"
    during(2, lambda: late.write_text("kept"))
    assert status(*command, "--json", late, "--output", tmp_path / "run") == 1
    assert str(late) in capsys.readouterr().err
    assert late.read_text() == "kept"
    assert len(document_of(tmp_path / "run").iterations) == 2
    shutil.copy(run / "result.json", file)  # of the same run: as a job does that is requeued
    assert status("resume", run, "--json", file, "--iterations", 3) == 0
    assert file.read_bytes() == (run / "result.json").read_bytes()


# Signals and time limits


@posix
@pytest.mark.parametrize("number", SIGNALS)
def test_every_signal_waits_for_critical_work(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(number)
    with Interruption() as interruption:
        with pytest.raises(ImmediateExit) as exited:
            os.kill(os.getpid(), number)
        assert exited.value.number == number
        with interruption.finishing():
            monkeypatch.setattr(os, "write", lambda *_: os.read(-1, 1))  # the terminal has gone
            os.kill(os.getpid(), number)
            assert interruption.number == number
            for again in {*SIGNALS} - {signal.SIGINT}:  # as a terminal or `timeout` sends them
                os.kill(os.getpid(), again)
            interruption.output_closed()
            monkeypatch.setattr(interruption_module, "_REPEATED_S", 0.0)
            for again in (signal.SIGINT, signal.SIGTERM):
                with pytest.raises(ImmediateExit):
                    os.kill(os.getpid(), again)
            assert interruption.number == number
    assert signal.getsignal(number) is before


@posix
def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@posix
def test_a_signal_before_training_leaves_nothing(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)

    monkeypatch.setattr(sys.modules["rlsbench.cli.run"], "prepare", killed)
    assert status(*command, "--output", tmp_path / "run") == 128 + signal.SIGUSR1
    assert capsys.readouterr().err == "rlsbench: interrupted\n"
    assert list(tmp_path.iterdir()) == []


@posix
@pytest.mark.parametrize("place", ["make_context", "invoke", "after"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1, SIGPIPE])
def test_the_status_is_that_of_the_signal_at_any_moment(
    place: str, number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise ImmediateExit(number)

    if place == "after":
        monkeypatch.setattr(Output, "__exit__", killed)
    else:
        monkeypatch.setattr(sys.modules["rlsbench.cli"].command, place, killed)
    assert status("show", "smoke") == 128 + number
    assert capsys.readouterr().err.strip() == ("" if number == SIGPIPE else "rlsbench: interrupted")


def test_the_earlier_limit_counts() -> None:
    now = int(time.time())
    assert Deadline(None, {}).leaves_time(1e9, None, 10**15)
    assert Deadline(50.0, {SLURM: str(now + 500)}).seconds == 50.0
    slurm = Deadline(500.0, {SLURM: str(now + 50)})
    assert 40.0 < slurm.seconds <= 50.0
    assert "Slurm" in slurm.source
    for other in (str(now - 50), "", "soon", "-1", "1e99"):  # of another job, or of nothing
        assert Deadline(500.0, {SLURM: other}).seconds == 500.0
    limit = Deadline(100.0 + RESULTS_S, {})
    assert limit.leaves_time(40.0, 40.0, 10**15)
    assert not limit.leaves_time(60.0, 40.0, 0)
    assert not limit.leaves_time(40.0, None, 10**10)  # a first checkpoint of 10 GB


@pytest.mark.usefixtures("no_pictures")
def test_a_time_limit_saves_and_a_resumed_run_makes_progress(
    command: list[str], both: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert status(*command, "--time-limit", "1s", "--output", run) == 75
    error = capsys.readouterr().err
    assert re.fullmatch(rf"rlsbench: [^\n]*iteration 1[^\n]*rlsbench resume {run}\n", error)
    assert len(document_of(run).iterations) == 1
    assert status("resume", run, "--time-limit", "1s") == 0  # the last iteration
    np.testing.assert_array_equal(np.load(run / "weights.npy"), np.load(both[0] / "weights.npy"))
    assert status(*command, "--time-limit", "soon") == 2
    assert "'soon'" in capsys.readouterr().err


# Outputs that fail


@contextmanager
def stdout(file: int | str, encoding: str = "utf-8") -> Iterator[None]:
    """A standard output that the process began with, as far as it can tell."""
    stream = io.TextIOWrapper(io.BufferedWriter(io.FileIO(file, "w")), encoding)
    with stream, pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "stdout", stream)
        patched.setattr(sys, "__stdout__", stream)
        yield


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_output_ends_no_run(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with stdout("/dev/full"):
        assert status(*command, "--output", tmp_path / "run") == 1
    assert re.fullmatch(r"rlsbench: [^\n]*No space left on device\n", capsys.readouterr().err)
    assert load_run(tmp_path / "run").document.iterations[-1].iteration == 2
    assert (tmp_path / "run" / "summary.png").exists()


@posix
@pytest.mark.usefixtures("no_pictures")
def test_a_reader_that_leaves_ends_a_run_as_a_signal_does(
    command: list[str],
    tmp_path: Path,
    during: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    reader, writer = os.pipe()
    during(2, lambda: os.close(reader))
    with stdout(writer):
        assert status(*command, "--iterations", 5, "--output", tmp_path / "run") == 128 + SIGPIPE
    *_, error = capfd.readouterr().err.splitlines()
    assert error.endswith(f"rlsbench resume {tmp_path / 'run'}")
    assert len(document_of(tmp_path / "run").iterations) == 2
    assert results.last_checkpoint(tmp_path / "run")[0].iteration == 2


@posix
def test_a_reader_that_leaves_ends_other_commands_silently(capsys: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with stdout(writer):
        assert status("show", "smoke") == 128 + SIGPIPE
    assert capsys.readouterr().err == ""


def test_characters_that_an_output_lacks(tmp_path: Path) -> None:
    with stdout(str(tmp_path / "out"), "ascii"), Output(lambda: None) as output:
        print("1 µs, \udcff")
    assert (tmp_path / "out").read_bytes().split() == [b"1", b"?s,", b"?"]
    assert output.error is None


@posix
def test_a_file_never_takes_the_place_of_a_closed_output(tmp_path: Path) -> None:
    """Messages that the system or a signal writes to descriptor 2 would end up in that file."""
    kept = os.dup(2)
    try:
        os.close(2)
        with Output(lambda: None), (tmp_path / "x").open("w") as file:
            assert file.fileno() != 2
            os.write(2, b"message")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
    assert (tmp_path / "x").read_text() == ""


# Trainings in Python that are cut short


def test_a_training_that_was_cut_short_says_so(
    tiny: dict[str, Any],
    tmp_path: Path,
    during: Callable[..., None],
    refused: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    def fresh() -> Training:
        return prepare(load_experiment("smoke", overrides=tiny | {"training.iterations": 4}), "numpy-packed")

    training = fresh()
    list(training.run(1))
    assert [i.iteration for i in training.run()] == [2, 3, 4]
    during(2, stop)
    monkeypatch.setattr("rlsbench.training.training.available_bytes", lambda: 0)  # for a copy of w and P
    training = fresh()
    with pytest.raises(KeyboardInterrupt):
        list(training.run())
    for go_on in (lambda: list(training.run()), lambda: save_checkpoint(tmp_path / "x.h5", training)):
        with refused(RlsbenchError, "iteration 2"):
            go_on()
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_iteration_is_undone(
    tiny: dict[str, Any], tmp_path: Path, during: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """The training goes on as if it had never been interrupted, bit for bit."""
    overrides = tiny | {"training.iterations": 3, "learning.target_mean": "neuron"}
    whole, training = (prepare(load_experiment("smoke", overrides=overrides), "numpy-packed") for _ in range(2))
    list(whole.run(undo=False))
    interruptions = [KeyboardInterrupt, KeyboardInterrupt]

    def stop() -> None:
        if interruptions:
            raise interruptions.pop()

    during(2, stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            list(training.run())
        assert len(training.iterations) == 1
        assert "1 of 3" in repr(training)
        np.testing.assert_array_equal(training.learned_current(training.shown_neurons()), training.first_learned)
    save_checkpoint(tmp_path / "x.h5", training)
    list(training.run(progress=True))
    again = resume(tmp_path / "x.h5")
    list(again.run())
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == ["2/3", "3/3"]
    for other in (training, again):
        np.testing.assert_array_equal(whole.trainer.state().w, other.trainer.state().w)
        np.testing.assert_array_equal(whole.trainer.state().P, other.trainer.state().P)
        assert [i.correlation for i in other.iterations] == [i.correlation for i in whole.iterations]
        np.testing.assert_array_equal(other.first_learned, whole.first_learned)
