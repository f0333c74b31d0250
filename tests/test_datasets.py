"""Fetching public recordings from a server or a mirror, offline, and the files left behind."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rlsbench import datasets
from rlsbench.datasets import DATASETS, Dataset, dataset_folder, dataset_path, fetch_dataset, locate, located
from rlsbench.errors import ConfigurationError, OutputError, RecordingError
from rlsbench.recordings import ReadOptions, read_recording
from tests.conftest import DATA, status

CONTENT = {"left.jld": b"left" * 1000, "right.jld": b"right" * 1000}
Refused = Callable[..., Any]
Tree = Callable[[Path], dict[str, bytes | None]]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# Where writing fails half-way, pooch leaves the connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed <socket:ResourceWarning",
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning",
)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """No network: all datasets have the address of a closed port, which is returned."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/data"
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*")
    monkeypatch.setenv("RLSBENCH_DATA_URL", address)
    monkeypatch.setenv("RLSBENCH_DATA_DIR", str(tmp_path / "cache"))
    return address


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A dataset "small" of two files, and its mirror."""
    files = {name: sha256(content) for name, content in CONTENT.items()}
    parts = {"one": next(iter(files))}
    made = Dataset(
        "small", "a made one", "https://example.invalid/", files, parts, "(c) its makers", "A licence.", "rows"
    )
    monkeypatch.setattr(datasets, "DATASETS", {**DATASETS, "small": made})
    monkeypatch.setattr("rlsbench.cli.recordings.DATASETS", datasets.DATASETS)
    mirror = tmp_path / "a mirror #1 {x}"
    mirror.mkdir()
    for name, content in CONTENT.items():
        (mirror / name).write_bytes(content)
    return mirror


@pytest.fixture
def server(small: Path) -> Iterator[str]:
    """The mirror behind HTTP on the loopback."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(small))) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def whole(folder: Path) -> bool:
    """Whether a folder holds exactly the two files and their licence."""
    return {p.name: p.read_bytes() for p in folder.iterdir()} == CONTENT | {
        "LICENSE.txt": b"(c) its makers\n\nA licence."
    }


def test_fetch_from_a_server(server: str, tmp_path: Path) -> None:
    folder = fetch_dataset("small", base_url=server)
    assert folder == tmp_path / "cache" / "small" == dataset_folder("small") == dataset_path("small")
    assert whole(folder)


@pytest.mark.parametrize("form", ["folder", "folder/", "url", "relative", "environment"])
def test_fetch_from_a_mirror(small: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small.parent)
    forms = {"folder": str(small), "folder/": f"{small}/", "url": small.as_uri(), "relative": small.name}
    if form == "environment":
        monkeypatch.setenv("RLSBENCH_DATA_URL", str(small))
    assert whole(fetch_dataset("small", base_url=forms.get(form)))


def test_what_is_there_is_not_fetched_again(small: Path) -> None:
    folder = fetch_dataset("small", base_url=str(small))
    before = [p.stat().st_mtime_ns for p in sorted(folder.iterdir())]
    shutil.rmtree(small)
    fetch_dataset("small")  # the address is a closed port
    assert [p.stat().st_mtime_ns for p in sorted(folder.iterdir())] == before


def test_missing_and_altered_files_are_fetched(refused: Refused, small: Path) -> None:
    folder = fetch_dataset("small", base_url=str(small))
    (folder / "left.jld").unlink()
    with refused(RecordingError, "left.jld", "rlsbench data fetch small"):
        dataset_path("small")
    (folder / "right.jld").write_bytes(b"altered")
    fetch_dataset("small", base_url=str(small))
    assert whole(folder)
    (folder / "right.jld").write_bytes(b"altered")
    with refused(RecordingError, "right.jld", "rlsbench data fetch small"):
        dataset_path("small")


def test_offline(refused: Refused, small: Path, offline: str, tmp_path: Path, tree: Tree) -> None:
    before = tree(tmp_path)
    with refused(RecordingError, f"{offline}/left.jld", "--base-url", "RLSBENCH_DATA_URL"):
        fetch_dataset("small")
    assert tree(tmp_path) == before


def test_server_without_the_file(refused: Refused, server: str, small: Path, tmp_path: Path) -> None:
    (small / "right.jld").unlink()
    with refused(RecordingError, "right.jld", "404"):
        fetch_dataset("small", base_url=server)
    folder = tmp_path / "cache" / "small"
    assert {p.name for p in folder.iterdir()} == {"left.jld", "LICENSE.txt"}  # the file that was fetched is complete
    (small / "right.jld").write_bytes(CONTENT["right.jld"])
    assert whole(fetch_dataset("small", base_url=server))


@pytest.mark.parametrize("through", ["server", "mirror"])
def test_wrong_checksum(refused: Refused, server: str, small: Path, through: str, tmp_path: Path) -> None:
    (small / "left.jld").write_bytes(b"<html>sign in</html>")
    with refused(RecordingError, "left.jld", "SHA-256"):
        fetch_dataset("small", base_url=server if through == "server" else str(small))
    assert not (tmp_path / "cache").exists()


def test_what_never_ends_is_not_written(refused: Refused, server: str, small: Path, tmp_path: Path) -> None:
    (small / "left.jld").unlink()
    os.mkfifo(small / "left.jld")
    with refused(RecordingError, "left.jld", "not a file"):
        fetch_dataset("small", base_url=str(small))
    (small / "left.jld").unlink()
    with (small / "left.jld").open("wb") as file:
        file.truncate(2**30)
    for source in (server, str(small)):
        with refused(RecordingError, "left.jld", "2,097,152"):
            fetch_dataset("small", base_url=source)
    assert not (tmp_path / "cache").exists()


def test_a_slow_source_has_a_deadline(
    refused: Refused, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "DEADLINE_S", -1)
    with refused(RecordingError, "left.jld", "not complete"):
        fetch_dataset("small", base_url=server)
    assert not (tmp_path / "cache").exists()


def test_mirror_without_the_file(refused: Refused, small: Path, tmp_path: Path) -> None:
    (small / "left.jld").unlink()
    with refused(RecordingError, small / "left.jld", "No such file"):
        fetch_dataset("small", base_url=str(small))
    assert not (tmp_path / "cache").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission(refused: Refused, small: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o500)
    with refused(OutputError, "Permission denied", "RLSBENCH_DATA_DIR"):
        fetch_dataset("small", base_url=str(small))


def test_folder_that_is_a_file(refused: Refused, small: Path, tmp_path: Path, tree: Tree) -> None:
    (tmp_path / "cache").write_text("a file")
    before = tree(tmp_path)
    with refused(OutputError, "RLSBENCH_DATA_DIR"):
        fetch_dataset("small", base_url=str(small))
    assert tree(tmp_path) == before


def test_disk_error_is_not_taken_for_one_of_the_network(
    refused: Refused, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(datasets, "_keep", lambda *_: full())
    with refused(OutputError, "No space left on device", "RLSBENCH_DATA_DIR"):
        fetch_dataset("small", base_url=server)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "address", ["ftp://example.invalid/", "http://", "file://elsewhere/data", "s3://bucket", "http://[::1"]
)
def test_unknown_kinds_of_address(refused: Refused, small: Path, address: str) -> None:
    with refused(ConfigurationError, address, "http(s)://", "file://"):
        fetch_dataset("small", base_url=address)


def test_unknown_dataset(refused: Refused) -> None:
    for function in (fetch_dataset, dataset_folder, dataset_path):
        with refused(ConfigurationError, "'other'", "alm"):
            function("other")


def test_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pooch = pytest.importorskip("pooch")
    monkeypatch.delenv("RLSBENCH_DATA_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert dataset_folder("alm") == Path(pooch.os_cache("rlsbench")) / "alm"


def test_logging_of_pooch_is_left_as_it_was(small: Path) -> None:
    level = logging.getLogger("pooch").level
    fetch_dataset("small", base_url=str(small))
    assert logging.getLogger("pooch").level == level


def test_no_heavy_import() -> None:
    code = "import sys, rlsbench.cli; sys.exit(bool({'pooch', 'requests'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The command line


def test_commands(small: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "small"
    assert status("data", "path", "small") == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("rlsbench: left.jld")
    assert str(folder) in err
    assert err.endswith("rlsbench data fetch small\n")
    assert status("data", "list") == 0
    assert capfd.readouterr().out.splitlines()[1] == "small  a made one (2 files); not fetched"
    assert status("data", "fetch", "small", "--base-url", str(small)) == 0
    out, err = capfd.readouterr()
    assert out.splitlines() == ["(c) its makers", f"2 files in {folder}, with their licence in LICENSE.txt"]
    assert err == ""
    assert status("data", "path", "small") == 0
    assert capfd.readouterr().out == f"{folder}\n"
    assert status("data", "list") == 0
    assert capfd.readouterr().out.splitlines()[1] == f"small  a made one (2 files); in {folder}"


@pytest.mark.parametrize(
    ("arguments", "exit_status"),
    [
        (["fetch", "other"], 2),
        (["path", "other"], 2),
        (["fetch", "alm", "--base-url", "ftp://example.invalid"], 2),
        (["fetch", "alm"], 1),
        (["path", "alm"], 1),
    ],
)
def test_errors_are_one_line(arguments: list[str], exit_status: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert status("data", *arguments) == exit_status
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("rlsbench: ")
    assert err.count("\n") == 1


# The recording itself


def test_the_alm_dataset() -> None:
    alm = DATASETS["alm"]
    assert alm.url.startswith("https://")
    assert len(alm.files) == 4
    assert all(len(digest) == 64 and int(digest, 16) for digest in alm.files.values())
    assert "(c) 2022, SpikingNetwork" in alm.notice
    assert "BSD-3-Clause" in alm.notice
    assert "Neither the name of the copyright holder" in alm.licence


def test_recorded_files_are_the_published_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    left = {name: digest for name, digest in DATASETS["alm"].files.items() if "left" in name}
    if not all((DATA / "alm" / name).is_file() for name in left):
        pytest.skip(f"no recordings in {DATA / 'alm'}")
    from dataclasses import replace

    monkeypatch.setattr(datasets, "DATASETS", {"alm": replace(DATASETS["alm"], files=left)})
    folder = fetch_dataset("alm", base_url=str(DATA / "alm"))
    assert {p.name for p in folder.iterdir()} == {*left, "LICENSE.txt"}
    recording = read_recording(*located("alm:left", ReadOptions()))
    assert recording.rates_hz.shape == (101, 1824, 1)


def test_parts_of_a_dataset_are_recordings(
    refused: Refused, small: Path, tmp_path: Path, offline: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("some/file.npy") == Path("some/file.npy")
    assert locate("other:one") == Path("other:one")  # no dataset of that name: a path
    with refused(ConfigurationError, "small:two", "small:one"):
        locate("small:two")
    with refused(RecordingError, "rlsbench data fetch small"):
        locate("small:one")
    folder = fetch_dataset("small", base_url=str(small))
    path = locate("small:one")
    assert path == folder / next(iter(CONTENT))
    assert located("small:one", ReadOptions()) == (path, ReadOptions(time_axis="rows"))
    for said in (ReadOptions(time_axis="columns"), ReadOptions(axes=("unit", "time"))):
        assert located("small:one", said) == (path, said)
    path.write_bytes(b"something else")
    with refused(RecordingError, path, "rlsbench data fetch small"):
        locate("small:one")
    (tmp_path / "small:one").write_text("a file of that very name")
    assert locate("small:one") == Path("small:one")
