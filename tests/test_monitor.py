"""Resources of a process: samples, meters, and the files that they are written to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from rlsbench import monitor as module
from rlsbench.cli import main
from rlsbench.monitor import Gpu, Monitor, Rapl, Sample, Unreadable
from rlsbench.results import RunDirectory, parse_document, peak_memory_bytes


class Steady:
    """A meter that gains 5 J each time it is read."""

    def __init__(self, fails_after: int = 10**9) -> None:
        self.reads, self.left, self.closed = 0, fails_after, False

    def read(self) -> tuple[float, float | None, int | None]:
        if self.reads == self.left:
            raise OSError("lost")
        self.reads += 1
        return 5.0 * self.reads, 30.0 + self.reads, 1000 * self.reads

    def close(self) -> None:
        self.closed = True


def none() -> Any:
    raise Unreadable("there is none")


def test_a_process_is_told_the_processor_that_it_took() -> None:
    """Against the count of the interpreter; both go by ticks of 10 ms at least."""
    with Monitor(0.02, cpu=none) as m:
        begin, used = m.sample(), time.process_time()
        while time.process_time() - used < 0.3:
            pass
        middle, used = m.sample(), time.process_time() - used
        time.sleep(0.3)
        last = m.sample()
    busy, idle = m.between(begin, middle), m.between(middle, last)
    assert busy.cpu_percent is not None
    assert idle.cpu_percent is not None
    assert busy.cpu_percent * busy.seconds / 100 == pytest.approx(used, abs=0.06)
    assert idle.cpu_percent * idle.seconds / 100 < 0.1
    assert busy.samples >= 3
    assert busy.seconds == middle.seconds - begin.seconds
    assert busy.peak_resident_bytes == max(s.resident_bytes for s in m.samples if s.seconds <= middle.seconds)
    assert busy.unreadable == {"cpu_energy_j": "there is none", "gpu_energy_j": "the run uses device cpu"}
    assert busy.cpu_energy_j is None


def test_energy_is_what_meters_gained_in_between() -> None:
    cpu, gpu, asked = Steady(), Steady(), []

    def make_gpu(index: int) -> Steady:
        asked.append(index)
        return gpu

    with Monitor(10.0, device="cuda:3", cpu=lambda: cpu, gpu=make_gpu) as m:
        first, _, last = m.sample(), m.sample(), m.sample()
    took = m.between(first, last)
    assert asked == [3]
    assert (took.samples, took.cpu_energy_j, took.gpu_energy_j) == (3, 10.0, 10.0)
    assert (took.gpu_power_w, took.peak_gpu_memory_bytes) == (33.0, 4000)
    assert took.unreadable == {}
    assert cpu.closed
    assert gpu.closed


def test_a_meter_that_fails_later_is_left_alone() -> None:
    meter = Steady(fails_after=2)
    with Monitor(10.0, cpu=lambda: meter) as m:
        first, last = m.sample(), m.sample()
    assert first.cpu_energy_j == 10.0
    assert last.cpu_energy_j is None
    assert m.between(first, last).cpu_energy_j is None
    assert "lost" in m.unreadable["cpu_energy_j"]


def test_a_sink_that_fails_ends_nothing() -> None:
    def full(_: Sample) -> None:
        raise OSError("disk full")

    with Monitor(10.0, cpu=none, sink=full) as m:
        m.sample()
    assert len(m.samples) == 2
    assert str(m.sink_error) == "disk full"


def test_a_sample_takes_little(tmp_path: Path) -> None:
    """At most 1 % of a processor at ten samples a second: 1 ms each; measured: 64 µs."""
    with (
        (tmp_path / "samples").open("a") as file,
        Monitor(10.0, cpu=none, sink=lambda s: print(s.line(), file=file)) as m,
    ):
        m.sample()
        best = min(_processor_seconds(lambda: [m.sample() for _ in range(50)]) for _ in range(5))
    assert best < 50 * 1e-3


def _processor_seconds(work: Callable[[], Any]) -> float:
    before = time.thread_time()
    work()
    return time.thread_time() - before


@pytest.mark.parametrize("seconds", [0.0, -1.0, 0.001, float("nan")])
def test_an_invalid_interval(seconds: float, refused: Any) -> None:
    with refused(ValueError, seconds, module.SHORTEST_INTERVAL):
        Monitor(seconds)


def _zone(root: Path, zone: str, name: str, energy: int) -> Path:
    folder = root / zone
    folder.mkdir(parents=True)
    for file, text in (("name", name), ("energy_uj", energy), ("max_energy_range_uj", 10**9)):
        (folder / file).write_text(f"{text}\n")
    return folder


def test_rapl_adds_packages_and_corrects_wrapped_counters(tmp_path: Path) -> None:
    first, second = _zone(tmp_path, "intel-rapl:0", "package-0", 10**6), _zone(tmp_path, "intel-rapl:1", "package-1", 0)
    _zone(tmp_path, "intel-rapl:0:0", "core", 5)
    _zone(tmp_path, "intel-rapl:2", "psys", 7)
    _zone(tmp_path, "intel-rapl-mmio:0", "package-0", 9)
    rapl = Rapl(tmp_path)
    assert rapl.read() == (0.0, None, None)
    (first / "energy_uj").write_text("3000000\n")
    (second / "energy_uj").write_text("500000\n")
    assert rapl.read()[0] == pytest.approx(2.5)
    (first / "energy_uj").write_text("1000000\n")  # 998 J later
    assert rapl.read()[0] == pytest.approx(2.5 + 998)


def test_rapl_that_is_missing_or_not_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    with refused(Unreadable, "RAPL", tmp_path):
        Rapl(tmp_path)
    zone = _zone(tmp_path, "intel-rapl:0", "package-0", 1)

    def denied(path: Path) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(module, "_microjoules", denied)
    with refused(Unreadable, "root", zone / "energy_uj"):
        Rapl(tmp_path)


class FakeNvml(SimpleNamespace):
    """The part of pynvml that is used: two GPUs, at 100 and 200 W."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, counts: bool = True, driver: bool = True) -> None:
        super().__init__(counts=counts, driver=driver, energy=5000, open=0)

    def nvmlInit(self) -> None:
        if not self.driver:
            raise self.NVMLError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        if index > 1:
            raise self.NVMLError("Invalid Argument")
        return index

    def nvmlDeviceGetHandleByUUID(self, name: str) -> int:
        return {"GPU-b": 1}[name]

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return 100_000 * (handle + 1)

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        if not self.counts:
            raise self.NVMLError("Not Supported")
        self.energy += 2000
        return int(self.energy)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(used=7)


def test_a_gpu_tells_energy_power_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvml = FakeNvml()
    gpu = Gpu(1, nvml)
    assert gpu.read() == (2.0, 200.0, 7)
    assert gpu.read() == (4.0, 200.0, 7)
    gpu.close()
    assert nvml.open == 0


@pytest.mark.parametrize(("visible", "watts"), [("1", 200.0), ("GPU-b", 200.0), ("0,1", 100.0), ("", 100.0)])
def test_the_gpu_is_the_one_that_is_visible(visible: str, watts: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert Gpu(0, FakeNvml()).read()[1] == watts


def test_a_gpu_that_does_not_count_is_summed_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 2.0, 3.0])
    monkeypatch.setattr(module, "perf_counter", lambda: next(clock))
    gpu = Gpu(0, FakeNvml(counts=False))
    assert gpu.read()[0] == pytest.approx(200.0)
    assert gpu.read()[0] == pytest.approx(300.0)


@pytest.mark.parametrize(
    ("index", "nvml", "why"),
    [
        (0, FakeNvml(driver=False), "Driver Not Loaded"),
        (5, FakeNvml(), "GPU 5"),
    ],
)
def test_why_a_gpu_cannot_be_read(
    index: int, nvml: Any, why: str, monkeypatch: pytest.MonkeyPatch, refused: Any
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with refused(Unreadable, why):
        Gpu(index, nvml)
    assert nvml.open == 0


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(module, "import_module", missing)
    with refused(Unreadable, "rlsbench[monitor]"):
        Gpu(0)


def test_a_run_keeps_samples_and_their_sum(
    tmp_path: Path, tiny_options: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.Rapl, "__init__", lambda self, root=None: None)
    meter = Steady()
    monkeypatch.setattr(module.Rapl, "read", lambda self: meter.read())
    run = tmp_path / "run"
    main(["run", "--backend", "numpy-full", *tiny_options, "--monitor", "0.02", "--output", str(run)])
    out = capsys.readouterr().out
    frame = pd.read_csv(run / "resources.csv")
    assert list(frame.columns) == Sample.header().split(",")
    assert (frame["seconds"].diff().dropna() > 0).all()
    assert (frame["resident_bytes"] > 2**24).all()
    document = parse_document((run / "result.json").read_text())
    assert document.kind == "run"
    r = document.resources
    assert r is not None
    assert (r.interval_seconds, r.iterations, r.samples) == (0.02, 2, len(frame))
    assert r.cpu_energy_per_iteration_j == pytest.approx(5 * (len(frame) - 1) / 2)
    assert f"{r.cpu_energy_per_iteration_j:.3g} J per iteration" in out
    assert "not readable: the run uses device cpu" in out
    # The report tells it, with the reason where it cannot.
    content = json.loads((run / "result.json").read_text()) | {"validity": "passed"}
    (tmp_path / "result.json").write_text(json.dumps(content))
    main(["report", str(tmp_path / "result.json"), "-o", str(tmp_path / "page")])
    page = (tmp_path / "page" / "index.html").read_text()
    assert "Resources and energy" in page
    assert "the run uses device cpu" in page


def test_time_and_energy_accumulate_when_a_run_is_resumed(
    tmp_path: Path, tiny_options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where the last row was cut short; the document tells of the last stretch alone."""
    monkeypatch.setattr(module.Rapl, "__init__", lambda self, root=None: None)
    meters: dict[int, Steady] = {}
    monkeypatch.setattr(module.Rapl, "read", lambda self: meters.setdefault(id(self), Steady()).read())
    monkeypatch.setattr(module.Rapl, "close", lambda self: meters.pop(id(self), None))
    run, path = tmp_path / "run", tmp_path / "run" / "resources.csv"
    watched = ["--monitor", "0.02"]
    main(["run", "--backend", "numpy-full", *tiny_options, *watched, "--checkpoint-every", "1", "--output", str(run)])
    first = pd.read_csv(path)
    with path.open("a") as file:
        file.write("9.5,100")
    main(["resume", str(run), "--iterations", "4", *watched])
    frame = pd.read_csv(path)
    pd.testing.assert_frame_equal(frame[: len(first)], first)
    assert len(frame) > len(first) + 1
    assert (frame["seconds"].diff().dropna() >= 0).all()
    assert frame["seconds"].iloc[-1] > first["seconds"].iloc[-1]
    assert (frame["cpu_energy_j"].diff().dropna() == 5).all()
    last = parse_document((run / "result.json").read_text())
    assert last.kind == "run"
    assert last.resources is not None
    assert last.resources.samples == len(frame) - len(first)
    assert last.resources.seconds < frame["seconds"].iloc[-1]
    path.write_text("9.5,100")  # not even a head
    directory = RunDirectory(run, resumed=True)
    directory.append_resources(Sample(1.0, None, 7, None, 2.0, None, None))
    assert path.read_text() == Sample.header() + "\n1,,7,,2,,\n"


def test_without_monitor_nothing_is_kept(tmp_path: Path, tiny_options: list[str]) -> None:
    main(["run", "--backend", "numpy-full", *tiny_options, "--output", str(tmp_path / "run")])
    assert not (tmp_path / "run" / "resources.csv").exists()
    assert json.loads((tmp_path / "run" / "result.json").read_text())["resources"] is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system has no /proc")
def test_the_peak_is_the_process_own_and_not_its_parents(cli: Any) -> None:
    """A child that is started by a large parent has a small peak."""
    code = (
        "import subprocess, sys\nbig = bytearray(b'x') * (600 * 2**20)\n"
        "code = 'from rlsbench.results import peak_memory_bytes as p; print(p())'\n"
        "print(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout)"
    )
    assert 2**24 < int(cli(code=code).stdout) < 300 * 2**20
    peak = peak_memory_bytes()
    assert peak is not None
    assert peak > 2**24
