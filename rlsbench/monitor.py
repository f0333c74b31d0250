"""Resources that a process uses while it runs: processor time, memory, power and energy.

In: an interval. Out: samples, and a `Resources` that summarises them. Knows no experiment and no
backend.

A separate thread takes the samples. It uses differences of counters, so a sample that is delayed,
for example by a kernel that holds the interpreter lock, is late but not wrong. Energy comes from

- RAPL, for the whole processor package: /sys/class/powercap/intel-rapl:N, also on AMD processors
  (Documentation/power/powercap of Linux); on many systems only root may read it;
- NVML, for a whole NVIDIA GPU, through the package nvidia-ml-py.

What cannot be read is None, and `unreadable` gives the reason.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from threading import Event, Lock, Thread
from time import perf_counter
from typing import Any, Final, Protocol

import psutil

SHORTEST_INTERVAL: Final = 0.01
POWERCAP: Final = Path("/sys/class/powercap")


Reading = tuple[float | None, float | None, int | None]  #: joules since a meter was made, watts and bytes


@dataclass(frozen=True)
class Sample:
    """One sample of the resources; what is not readable is None."""

    seconds: float  #: since the monitor started
    cpu_percent: float | None
    """Of the process since the previous sample, 100 for one processor; None in the first sample."""
    resident_bytes: int  #: resident memory of the process
    cpu_energy_j: float | None  #: of the processor package, since the monitor started
    gpu_energy_j: float | None  #: of the whole GPU, since the monitor started
    gpu_power_w: float | None
    gpu_memory_bytes: int | None  #: in use on the GPU, including other processes

    @classmethod
    def header(cls) -> str:
        """Return the names of the columns of `line`."""
        return ",".join(f.name for f in fields(cls))

    def line(self) -> str:
        """Return the values separated by commas; empty if not readable."""
        values = vars(self).values()
        return ",".join("" if v is None else f"{v:.9g}" if isinstance(v, float) else str(v) for v in values)


@dataclass(frozen=True)
class Resources:
    """Resources used in an interval; what is not readable is None."""

    samples: int
    seconds: float  #: length of the interval
    cpu_percent: float | None  #: mean, 100 for one processor
    peak_resident_bytes: int  #: largest of the samples
    cpu_energy_j: float | None  #: of the processor package
    gpu_energy_j: float | None  #: of the whole GPU
    gpu_power_w: float | None  #: mean over samples
    peak_gpu_memory_bytes: int | None
    unreadable: dict[str, str] = field(default_factory=dict)  #: name of each unreadable quantity to the reason

    @classmethod
    def of_ranks(cls, parts: Sequence[tuple[bool, Resources]]) -> Resources:
        """The sums over ranks, each with whether it read the energy of the processors of its node.

        None where a rank could not read its part; samples and seconds are those of the first.
        """
        every = [used for _, used in parts]
        readers = [used for reads, used in parts if reads]

        def total(name: str, of: Sequence[Resources]) -> Any:
            values = [getattr(used, name) for used in of]
            return None if None in values else sum(values)

        own = {name: total(name, every) for name in ("cpu_percent", "peak_resident_bytes")}
        own |= {name: total(name, every) for name in ("gpu_energy_j", "gpu_power_w", "peak_gpu_memory_bytes")}
        reasons = [used.unreadable for used in reversed(readers)]
        joined = {name: why for reason in reasons for name, why in reason.items()}
        return replace(every[0], cpu_energy_j=total("cpu_energy_j", readers), unreadable=joined, **own)


class Unreadable(Exception):
    """The reason why a meter is not available."""


class Meter(Protocol):
    """Measures energy, and possibly power and memory; raises `Unreadable` if it cannot."""

    def read(self) -> Reading:
        """Return joules since creation, watts and bytes."""

    def close(self) -> None:
        """Release the device, if it holds one."""


class Rapl(Meter):
    """Energy of all processor packages, from RAPL."""

    def __init__(self, root: Path = POWERCAP) -> None:
        # intel-rapl:0 is a package, intel-rapl:0:1 a part of it, intel-rapl-mmio:0 a duplicate.
        names = sorted(name for name in root.glob("intel-rapl:*/name") if name.parent.name.count(":") == 1)
        try:
            self._zones = [name.parent for name in names if name.read_text().startswith("package")]
            self._last = [_microjoules(zone / "energy_uj") for zone in self._zones]
            self._ranges = [_microjoules(zone / "max_energy_range_uj") for zone in self._zones]
        except (OSError, ValueError) as error:
            raise Unreadable(_why(error)) from None
        if not self._zones:
            raise Unreadable(f"no RAPL counters in {root}, as is usual in virtual machines")
        self._joules = 0.0

    def read(self) -> Reading:
        """Return joules since creation; one wrap-around of the counters per read is corrected."""
        now = [_microjoules(zone / "energy_uj") for zone in self._zones]
        for after, before, range_ in zip(now, self._last, self._ranges, strict=True):
            self._joules += 1e-6 * (after - before + (range_ if after < before else 0))
        self._last = now
        return self._joules, None, None


def not_read() -> Meter:
    """The meter of a process that leaves the energy of its node to another one."""
    raise Unreadable("the first rank of the node reads it")


class Gpu(Meter):
    """Energy, power and memory of one NVIDIA GPU.

    `index` counts in CUDA_VISIBLE_DEVICES, which contains numbers or names. CUDA and NVML use the
    same numbers if all GPUs are of one kind or CUDA_DEVICE_ORDER=PCI_BUS_ID. `library` is `pynvml`,
    of the package nvidia-ml-py, by default.
    """

    def __init__(self, index: int, library: Any = None) -> None:
        try:
            self._nvml = library = library or import_module("pynvml")
        except ImportError:
            raise Unreadable("the package nvidia-ml-py is not installed; pip install 'rlsbench[monitor]'") from None
        try:
            library.nvmlInit()
        except library.NVMLError as error:
            raise Unreadable(f"cannot initialise NVML: {error}") from None
        try:
            self._handle = self._find(index)
            self._power()
        except (library.NVMLError, IndexError, ValueError) as error:
            library.nvmlShutdown()
            raise Unreadable(f"cannot read GPU {index} with NVML: {error}") from None
        self._began = self._counted()
        self._joules, self._last, self._at = 0.0, self._power(), perf_counter()

    def _find(self, index: int) -> Any:
        visible = [part.strip() for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part.strip()]
        name = visible[index] if visible else str(index)
        if name.startswith(("GPU-", "MIG-")):
            return self._nvml.nvmlDeviceGetHandleByUUID(name)
        return self._nvml.nvmlDeviceGetHandleByIndex(int(name))

    def _power(self) -> float:
        return float(self._nvml.nvmlDeviceGetPowerUsage(self._handle)) / 1000  # mW

    def _counted(self) -> float | None:
        """The energy counter of the GPU, J; None before Volta, which has none."""
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1000  # mJ
        except self._nvml.NVMLError:
            return None

    def read(self) -> Reading:
        """Return joules since creation (without a counter: integrated power), watts and bytes."""
        power, counted, now = self._power(), self._counted(), perf_counter()
        if counted is not None and self._began is not None:
            self._joules = counted - self._began
        else:
            self._joules += (power + self._last) / 2 * (now - self._at)
        self._last, self._at = power, now
        return self._joules, power, int(self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used)

    def close(self) -> None:
        """Shut NVML down."""
        self._nvml.nvmlShutdown()


class Monitor:
    """Samples the resources of the process during a `with` block.

    There are at least `SHORTEST_INTERVAL` seconds between samples. A GPU is read if the run uses
    the device "cuda" or "cuda:N". The sink is called with each sample in the sampling thread, until
    it raises; see `sink_error`. `cpu` and `gpu` create meters, or raise `Unreadable`.
    """

    def __init__(
        self,
        seconds: float,
        *,
        device: str = "cpu",
        sink: Callable[[Sample], None] | None = None,
        cpu: Callable[[], Meter] = Rapl,
        gpu: Callable[[int], Meter] = Gpu,
    ) -> None:
        if not seconds >= SHORTEST_INTERVAL:
            raise ValueError(f"{seconds} s between samples: the shortest interval is {SHORTEST_INTERVAL} s")
        self.interval = seconds
        self.samples: list[Sample] = []
        self.sink_error: Exception | None = None
        self.unreadable: dict[str, str] = {}
        self._sink = sink
        self._process = psutil.Process()
        self._lock = Lock()
        self._over = Event()
        self._meters: dict[str, Meter] = {}
        for what, make in (("cpu_energy_j", cpu), ("gpu_energy_j", partial(_meter_of, device, gpu))):
            try:
                self._meters[what] = make()
            except Unreadable as error:
                self.unreadable[what] = str(error)
        self._thread = Thread(target=self._watch, name="rlsbench-monitor", daemon=True)
        self._start, self._before = perf_counter(), (0.0, -1.0)

    def __enter__(self) -> Monitor:
        self.sample()
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop taking samples in the background."""
        self._over.set()
        self._thread.join()

    def __exit__(self, *error: object) -> None:
        self.stop()
        for meter in self._meters.values():
            meter.close()

    def _watch(self) -> None:
        while not self._over.wait(self.interval):
            self.sample()

    def sample(self) -> Sample:
        """Take a sample now."""
        with self._lock:
            now, times = perf_counter() - self._start, self._process.cpu_times()
            used, (before, used_before) = times.user + times.system, self._before
            self._before = (now, used)
            percent = 100 * (used - used_before) / (now - before) if used_before >= 0 and now > before else None
            resident = int(self._process.memory_info().rss)
            cpu_energy, _, _ = self._read("cpu_energy_j")
            taken = Sample(now, percent, resident, cpu_energy, *self._read("gpu_energy_j"))
            self.samples.append(taken)
            if self._sink is not None and self.sink_error is None:
                try:
                    self._sink(taken)
                except Exception as error:  # a full disk must not end the run
                    self.sink_error = error
            return taken

    def _read(self, what: str) -> Reading:
        if what not in self.unreadable:
            try:
                return self._meters[what].read()
            except Exception as error:  # libraries raise errors of any kind
                self.unreadable[what] = f"failed during the run: {_why(error)}"
        return None, None, None

    def between(self, first: Sample, last: Sample) -> Resources:
        """Return the resources used between two samples."""
        inside = [s for s in self.samples if first.seconds <= s.seconds <= last.seconds]
        seconds = last.seconds - first.seconds
        # Percent times seconds is the processor time between a sample and the previous one.
        used = sum((s.cpu_percent or 0.0) * (s.seconds - before.seconds) for before, s in pairwise(inside))
        powers = [s.gpu_power_w for s in inside if s.gpu_power_w is not None]
        memories = [s.gpu_memory_bytes for s in inside if s.gpu_memory_bytes is not None]

        def gained(before: float | None, after: float | None) -> float | None:
            return None if before is None or after is None else after - before

        return Resources(
            samples=len(inside),
            seconds=seconds,
            cpu_percent=used / seconds if seconds > 0 else None,
            peak_resident_bytes=max(s.resident_bytes for s in inside),
            cpu_energy_j=gained(first.cpu_energy_j, last.cpu_energy_j),
            gpu_energy_j=gained(first.gpu_energy_j, last.gpu_energy_j),
            gpu_power_w=fmean(powers) if powers else None,
            peak_gpu_memory_bytes=max(memories, default=None),
            unreadable=dict(self.unreadable),
        )


def _meter_of(device: str, gpu: Callable[[int], Meter]) -> Meter:
    """The meter of a device, which only a GPU has."""
    kind, _, number = device.partition(":")
    if kind != "cuda":
        raise Unreadable(f"the run uses device {device}")
    return gpu(int(number or 0))


def _microjoules(path: Path) -> int:
    return int(path.read_text())


def _why(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"only root may read {error.filename}"
    return " ".join(str(error).split()) or type(error).__name__
