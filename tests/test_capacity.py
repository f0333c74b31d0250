"""What is free, what a run needs, and how one that does not fit is refused."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pytest

from benchmarks.memory_estimates import compare
from rlsbench import available, capacity, load_experiment, prepare
from rlsbench.available import available_bytes, available_threads, free_disk_bytes, group_bytes, group_threads
from rlsbench.backend import Lifetime, Sizes, get_backend, resolve_options
from rlsbench.capacity import (
    alternatives,
    check_disk,
    check_fits,
    disk_bytes,
    fits,
    fitting_options,
    largest_neurons,
    needed_bytes,
    readable,
)
from rlsbench.cli import main
from rlsbench.configuration import changed
from rlsbench.conformance.subjects import problem
from rlsbench.errors import ConfigurationError, InsufficientDiskError, InsufficientMemoryError
from tests.conftest import usable

GIB = 2**30
UNLIMITED = "9223372036854771712"  # what version 1 says


@pytest.fixture
def groups(tmp_path: Path) -> Callable[..., Path]:
    """Make control groups: groups({"a": {file: text}, ...}, version, own group, mounted root)."""

    def make(files: dict[str, dict[str, Any]], version: int, own: str, root: str = "/") -> Path:
        mount = tmp_path / "mount at"
        for group, contents in files.items():
            (mount / group).mkdir(parents=True, exist_ok=True)
            for name, text in contents.items():
                (mount / group / name).write_text(f"{text}\n")
        proc = tmp_path / "proc"
        (proc / "self").mkdir(parents=True)
        at = str(mount).replace(" ", "\\040")
        kind = "cgroup2 cgroup2 rw" if version == 2 else "cgroup cgroup rw,memory"
        (proc / "self" / "mountinfo").write_text(
            f"20 1 0:1 / /proc rw - proc proc rw\n31 23 0:28 {root} {at} rw,relatime shared:9 - {kind}\n"
        )
        line = f"0::{own}" if version == 2 else f"5:cpu,cpuacct:/elsewhere\n4:memory:{own}"
        (proc / "self" / "cgroup").write_text(f"{line}\n")
        return proc

    return make


def v2(limit: Any, used: int, cached: int = 0, high: Any = "max") -> dict[str, Any]:
    stat = f"anon 5\ninactive_file {cached}"
    return {"memory.max": limit, "memory.high": high, "memory.current": used, "memory.stat": stat}


def v1(limit: Any, used: int, cached: int = 0) -> dict[str, Any]:
    stat = f"inactive_file 1\ntotal_inactive_file {cached}"
    return {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": used, "memory.stat": stat}


@pytest.mark.parametrize(
    ("files", "version", "own", "root", "left"),
    [
        ({"a": v2(5000, 1000)}, 2, "/a", "/", 4000),
        ({"a": v2("max", 1000)}, 2, "/a", "/", None),
        ({"a": v2(5000, 1000, cached=300)}, 2, "/a", "/", 4300),
        ({"a": v2(5000, 1000, high=3000)}, 2, "/a", "/", 2000),
        ({"a": v2(5000, 1000), "a/b": v2("max", 400)}, 2, "/a/b", "/", 4000),  # the limit stands above
        ({"a": v2(9000, 8500), "a/b": v2(5000, 400)}, 2, "/a/b", "/", 500),  # others in a took what b may have
        ({"a": v2(100, 100), "b": v2(5000, 1000)}, 2, "/b", "/", 4000),  # not ours
        ({"": v2(5000, 1000)}, 2, "/", "/", 4000),  # in a container with a namespace of its own
        ({"": v2(5000, 1000)}, 2, "/docker/1", "/docker/1", 4000),
        ({"": v2(5000, 1000), "b": v2(4000, 1000)}, 2, "/docker/1/b", "/docker/1", 3000),
        ({"": v2(5000, 1000)}, 2, "/../..", "/", 4000),
        ({"a": v1(5000, 1000)}, 1, "/a", "/", 4000),
        ({"a": v1(UNLIMITED, 1000)}, 1, "/a", "/", None),
        ({"a": v1(5000, 1000, cached=300), "a/b": v1(UNLIMITED, 7)}, 1, "/a/b", "/", 4300),
        ({"": v1(5000, 1000)}, 1, "/docker/1", "/docker/2", 4000),
        ({"a": {}}, 2, "/a", "/", None),
    ],
)
def test_limits_of_control_groups_count_on_every_level(
    files: dict[str, dict[str, Any]], version: int, own: str, root: str, left: int | None, groups: Callable[..., Path]
) -> None:
    assert group_bytes(groups(files, version, own, root)) == left


@pytest.mark.parametrize(
    ("files", "version", "own", "threads"),
    [
        ({"a": {"cpu.max": "350000 100000"}}, 2, "/a", 3.5),
        ({"a": {"cpu.max": "max 100000"}}, 2, "/a", None),
        ({"a": {"cpu.max": "200000 100000"}, "a/b": {"cpu.max": "max 100000"}}, 2, "/a/b", 2),  # stands above
        ({"a": {"cpu.cfs_quota_us": 150000, "cpu.cfs_period_us": 50000}}, 1, "/a", 3),
        ({"a": {"cpu.cfs_quota_us": -1, "cpu.cfs_period_us": 50000}}, 1, "/a", None),
        ({"a": {"cpu.max": "nonsense"}}, 2, "/a", None),
    ],
)
def test_quotas_of_control_groups_count_on_every_level(
    files: dict[str, dict[str, Any]], version: int, own: str, threads: float | None, groups: Callable[..., Path]
) -> None:
    proc = groups(files, version, own)
    for name in ("mountinfo", "cgroup"):
        path = proc / "self" / name
        path.write_text(path.read_text().replace("cpu,cpuacct:/elsewhere", "none:/").replace("memory", "cpu,cpuacct"))
    assert group_threads(proc) == threads


def test_the_least_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert group_bytes(tmp_path) is None
    assert available_bytes() > 0
    monkeypatch.setattr(available, "group_bytes", lambda: 1234)
    assert available_bytes() == 1234
    monkeypatch.setattr(available, "_address_space_left", lambda: -5)
    assert available_bytes() == 0


def test_the_least_number_of_threads_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    for name in available.THREADS:
        monkeypatch.delenv(name, raising=False)
    for quota, threads in ((None, 6), (3.5, 3), (0.5, 1), (9.0, 6)):
        monkeypatch.setattr(available, "group_threads", lambda quota=quota: quota)
        assert available_threads() == threads
    for quota, sharing, threads in ((None, 2, 3), (None, 4, 1), (5.0, 2, 2), (None, 9, 1)):
        monkeypatch.setattr(available, "group_threads", lambda quota=quota: quota)
        assert available_threads(sharing) == threads
    for text, threads in (("4", 4), ("2,8", 2), ("0", 6), ("", 6), ("many", 6), ("64", 6)):
        for name in available.THREADS:
            with monkeypatch.context() as patch:
                patch.setenv(name, text)
                assert available_threads() == threads
                assert available_threads(2) == min(3, threads)  # that of the environment is meant for each


def test_a_limit_of_the_process_counts(cli: Callable[..., Any]) -> None:
    code = (
        "import resource, rlsbench.available as a\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))\nprint(a.available_bytes())"
    )
    assert 0 < int(cli(code=code).stdout) < 2**33


def test_free_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    free = free_disk_bytes(tmp_path / "a" / "b")
    assert free is not None
    assert free == pytest.approx(free_disk_bytes(tmp_path), rel=0.1)


def test_most_neurons_that_fit() -> None:
    e, backend = load_experiment("sinusoid"), get_backend("numpy-full")
    options = resolve_options(backend, e.numerics)

    def sized(neurons: int) -> bool:
        other = load_experiment("sinusoid", overrides={"network.neurons": neurons})
        return fits(needed_bytes(backend, other, options), 4 * GIB)

    most = largest_neurons(backend, e, options, 4 * GIB)
    assert 50_000 < most < 120_000
    assert sized(most)
    assert not sized(most + 1)
    assert largest_neurons(backend, e, options, 2**20) == 0


def test_what_fits_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    e = load_experiment("sinusoid", overrides={"network.neurons": 100_000})
    backend = get_backend("numba")
    options = replace(resolve_options(backend, e.numerics), storage="full", p_precision="float32")
    found = alternatives(backend, e, options, 3 * GIB)
    assert {o.options.p_precision for o in found} == set(backend.capabilities.p_precisions)
    assert {o.options.storage for o in found} == {"full", "packed"}
    assert [o.bytes for o in found] == sorted((o.bytes for o in found), reverse=True)
    for other in found:
        assert other.fits == (other.largest >= 100_000)
        assert other.bytes == sum(needed_bytes(backend, e, other.options).values())
    assert any(o.fits for o in found)
    assert any(not o.fits for o in found)
    monkeypatch.setattr(capacity, "available_bytes", lambda: 3 * GIB)
    with pytest.raises(InsufficientMemoryError) as caught:
        check_fits(backend, e, options)
    text = "\n".join(caught.value.details)
    for name, size in needed_bytes(backend, e, options).items():
        assert re.search(rf"^{name} +{re.escape(readable(size))}$", text, re.M)
    assert re.search(r"--p-precision int16 +--storage packed .* fits +--neurons \d+", text)
    check_fits(backend, e, next(o.options for o in found if o.fits))


def test_a_run_that_cannot_fit_is_refused_at_once_with_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "available_bytes", lambda: 23 * GIB)
    before = process_time()  # whatever else the machine does
    with pytest.raises(SystemExit) as ended:
        main(f"run --preset sinusoid --backend numba --neurons 4e6 --output {tmp_path / 'run'}".split())
    assert process_time() - before < 2
    assert ended.value.code == 1
    first, *table = capsys.readouterr().err.splitlines()
    assert "GiB" in first
    assert "--force" in first
    assert re.match(r"P +30\.5 GiB", table[1])
    assert any(re.match(r"free +23\.0 GiB", line) for line in table)
    assert any("--p-precision int16" in line and "--neurons 13" in line for line in table)
    assert not (tmp_path / "run").exists()


def test_frozen_trials_need_no_memory_for_P_but_for_the_rest(monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    """A saved configuration may claim any number of neurons."""
    backend = get_backend("numpy-full")
    e = load_experiment("sinusoid", overrides={"network.neurons": 100_000})
    options = resolve_options(backend, e.numerics)
    monkeypatch.setattr(capacity, "available_bytes", lambda: 2 * GIB)
    with pytest.raises(InsufficientMemoryError):
        check_fits(backend, e, options)
    check_fits(backend, e, options, learn=False)
    vast = load_experiment("sinusoid", overrides={"network.neurons": 2 * 10**9, "network.L": 0})
    with refused(InsufficientMemoryError, "static targets"):
        prepare(vast, backend, weights=np.empty((2 * 10**9, 0)), learn=False)
    with refused(ConfigurationError, "(3, 90)"):
        prepare(vast, backend, weights=np.zeros((3, 90)), learn=False)


@pytest.mark.usefixtures("no_pictures")
def test_force_starts_it_anyway(
    tmp_path: Path, tiny: dict[str, Any], tiny_options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "available_bytes", lambda: 1000)
    monkeypatch.setattr(capacity, "free_disk_bytes", lambda _: 1000)
    with pytest.raises(InsufficientMemoryError):
        prepare(load_experiment("smoke", overrides=tiny), "numpy-full")
    main(["run", "--backend", "numpy-full", *tiny_options, "--force", "--output", str(tmp_path / "run")])
    assert (tmp_path / "run" / "result.json").exists()


def test_a_run_whose_files_do_not_fit_is_refused_before_it_starts(
    tmp_path: Path, tiny_options: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capacity, "free_disk_bytes", lambda _: 1000)
    with pytest.raises(SystemExit) as ended:
        main(["run", "--backend", "numpy-full", *tiny_options, "--output", str(tmp_path / "run")])
    assert ended.value.code == 1
    out, err = capsys.readouterr()
    first, *table = err.splitlines()
    assert "1.0 KiB" in first
    assert any(line.startswith("weights.npy ") for line in table)
    assert "iteration" not in out
    assert not (tmp_path / "run").exists()


def test_a_million_neurons_fit_into_23_gib_in_full_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = pytest.importorskip("rlsbench_numba.backend").BACKEND
    monkeypatch.setattr(capacity, "available_bytes", lambda: 23 * 2**30)
    million = load_experiment("sinusoid", overrides={"network.neurons": 1_000_000})
    options, notes = fitting_options(backend, million)
    assert (options.p_precision, options.storage) == ("float16", "full")
    assert len(notes) == 1
    assert sum(needed_bytes(backend, million, options).values()) < 22 * 2**30


def test_files_are_counted(tmp_path: Path, tiny: dict[str, Any], tiny_options: list[str]) -> None:
    main(["run", "--backend", "numpy-full", *tiny_options, "--output", str(tmp_path / "run")])
    e = load_experiment("smoke", overrides=tiny)
    options, _ = fitting_options(get_backend("numpy-full"), e)
    counted = disk_bytes(e, options)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "run").iterdir()}
    assert counted["weights.npy"] == sizes.pop("weights.npy")
    assert sizes.pop("summary.png") <= counted["figures"]
    assert sum(sizes.values()) <= counted["documents"]
    two_kept = changed(e, {"checkpoints.every": 1, "checkpoints.keep": 2})
    three = disk_bytes(two_kept, options, weights=False)  # one more while it is written
    n = e.plastic_inputs
    assert three["checkpoints"] >= 3 * 70 * (n + n * n) * np.dtype(options.precision).itemsize
    assert "weights.npy" not in three
    with pytest.raises(InsufficientDiskError):
        check_disk({"weights.npy": 2**80}, tmp_path / "elsewhere")


@pytest.mark.parametrize("backend", ["numpy-packed", "numba"])
def test_an_estimate_is_near_the_peak(backend: str) -> None:
    """All backends at more sizes: python -m benchmarks.memory_estimates."""
    found = compare(backend, 1200)
    assert abs(found.error) < 0.15, found


def held_bytes(trainer: Any, shared: Any) -> int:
    """Bytes of the arrays reachable from a trainer but not from its problem, each counted once."""
    packages = {"rlsbench", type(trainer).__module__.partition(".")[0]}
    seen: set[int] = set()

    def arrays(root: Any) -> dict[int, int]:
        found: dict[int, int] = {}
        pending = [root]
        while pending:
            item = pending.pop()
            if id(item) in seen:
                continue
            seen.add(id(item))
            if isinstance(item, np.ndarray):
                while isinstance(item.base, np.ndarray):
                    item = item.base
                found[item.ctypes.data] = item.nbytes
            elif hasattr(item, "untyped_storage"):
                found[item.untyped_storage().data_ptr()] = item.untyped_storage().nbytes()
            elif isinstance(item, dict):
                pending += item.values()
            elif isinstance(item, list | tuple):
                pending += item
            elif type(item).__module__.partition(".")[0] in packages and not isinstance(item, type):
                slots = getattr(type(item), "__slots__", ())
                pending += [*getattr(item, "__dict__", {}).values(), *(getattr(item, s, None) for s in slots)]
        return found

    excluded = arrays(shared)
    return sum(size for at, size in arrays(trainer).items() if at not in excluded)


@pytest.mark.parametrize("name", ["reference", "numpy-full", "numpy-packed", "numba", "torch"])
def test_a_trainer_holds_the_arrays_that_its_backend_declares(name: str) -> None:
    backend = usable(name)
    p = problem(**{"network.neurons": 2000})
    options = replace(resolve_options(backend, load_experiment("smoke").numerics), device="cpu")
    trainer = backend.trainer(p, options)
    specs = backend.arrays(Sizes.of_problem(p), options)
    lasting = [s for s in specs if s.lifetime not in (Lifetime.SCRATCH, Lifetime.DRAWING)]
    # A compiler keeps memory too, and so does the C library of what threads have freed.
    declared = sum(s.bytes for s in lasting if not s.name.startswith(("kernels", "scratch")))
    assert held_bytes(trainer, p) == pytest.approx(declared, rel=0.08)
