"""What a process takes while it runs: processor, memory, and the memory, power and energy that counters tell.

In: an interval.  Out: samples as they come, and a `Resources` that sums them up.  Knows no experiment and no backend.

A thread of its own asks the system; it sleeps in between, and takes what has passed from counters, so that a sample
that comes late, as when a kernel keeps the interpreter's lock, is late and not wrong.  Energy is read without root from

- RAPL, the processor's own count, of the whole package with all that runs on it: /sys/class/powercap/intel-rapl:N,
  which AMD processors fill as well (Documentation/power/powercap in the kernel); many systems let only root read it;
- NVML, of a whole NVIDIA GPU, through the package nvidia-ml-py.

What cannot be read is None, and `unreadable` says why.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from threading import Event, Lock, Thread
from time import perf_counter
from types import TracebackType
from typing import Any, Final, Protocol

import psutil

__all__ = ["LEAST_SECONDS", "Gpu", "Meter", "Monitor", "Rapl", "Resources", "Sample"]

LEAST_SECONDS: Final = 0.01
POWERCAP: Final = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Sample:
    """What was read at one moment.

    Parameters
    ----------
    seconds : float
        Since the monitor was started.
    cpu_percent : float or None
        Of the process since the sample before, 100 for one processor; None in the first.
    resident_bytes : int
        Resident memory of the process.
    cpu_energy_j, gpu_energy_j : float or None
        Since the monitor was started: of the processor's package and of the whole GPU.
    gpu_power_w : float or None
    gpu_memory_bytes : int or None
        Taken on the GPU, by others as well.
    """

    seconds: float
    cpu_percent: float | None
    resident_bytes: int
    cpu_energy_j: float | None
    gpu_energy_j: float | None
    gpu_power_w: float | None
    gpu_memory_bytes: int | None

    @classmethod
    def header(cls) -> str:
        """Names of the columns of `line`."""
        return ",".join(f.name for f in fields(cls))

    def line(self) -> str:
        """The values, with commas between; empty where one could not be read."""
        return ",".join(
            "" if v is None else f"{v:.9g}" if isinstance(v, float) else str(v) for v in vars(self).values()
        )


@dataclass(frozen=True)
class Resources:
    """What a stretch of a process took.

    Parameters
    ----------
    samples : int
    seconds : float
        Length of the stretch.
    cpu_percent : float or None
        Mean, 100 for one processor.
    peak_resident_bytes : int
        Largest among the samples.
    cpu_energy_j, gpu_energy_j : float or None
        Of the processor's package and of the whole GPU in that stretch.
    gpu_power_w : float or None
        Mean over samples.
    peak_gpu_memory_bytes : int or None
    unreadable : dict
        What could not be read, and why.
    """

    samples: int
    seconds: float
    cpu_percent: float | None
    peak_resident_bytes: int
    cpu_energy_j: float | None
    gpu_energy_j: float | None
    gpu_power_w: float | None
    peak_gpu_memory_bytes: int | None
    unreadable: dict[str, str] = field(default_factory=dict)


class Meter(Protocol):
    """Something that tells energy, and may tell power and memory."""

    def read(self) -> tuple[float, float | None, int | None]:
        """Joules since it was made, watts, bytes."""

    def close(self) -> None:
        """Let go of it."""


class Unreadable(Exception):
    """Why a meter cannot be had."""


class Rapl:
    """Energy of all packages of the processor.

    Parameters
    ----------
    root : Path

    Raises
    ------
    Unreadable
        If there are no counters, or they may not be read.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        # intel-rapl:0 is a package, intel-rapl:0:1 a part of it; intel-rapl-mmio:0 counts the same package again.
        zones = sorted(zone for zone in root.glob("intel-rapl:*") if zone.name.count(":") == 1)
        self._zones = [zone for zone in zones if _text(zone / "name").startswith("package")]
        if not self._zones:
            raise Unreadable(f"the system shows no RAPL counters of the processor in {root}, as in virtual machines")
        try:
            self._last = [_microjoules(zone / "energy_uj") for zone in self._zones]
            self._ranges = [_microjoules(zone / "max_energy_range_uj") for zone in self._zones]
        except (OSError, ValueError) as error:
            raise Unreadable(_why(error)) from None
        self._joules = 0.0

    def read(self) -> tuple[float, float | None, int | None]:
        """Joules since it was made; counters that have started anew from 0 are noticed once."""
        now = [_microjoules(zone / "energy_uj") for zone in self._zones]
        for after, before, range_ in zip(now, self._last, self._ranges, strict=True):
            self._joules += 1e-6 * (after - before + (range_ if after < before else 0))
        self._last = now
        return self._joules, None, None

    def close(self) -> None:
        """Nothing is held."""


class Gpu:
    """Energy, power and memory of one NVIDIA GPU.

    Parameters
    ----------
    index : int
        As CUDA counts those of CUDA_VISIBLE_DEVICES, which holds numbers or names; with CUDA_DEVICE_ORDER=PCI_BUS_ID,
        or GPUs of one kind, CUDA counts them as NVML does.
    library : module, optional
        By default `pynvml`, of the package nvidia-ml-py.

    Raises
    ------
    Unreadable
        If the package, the driver or the GPU is not there.
    """

    def __init__(self, index: int, library: Any = None) -> None:
        if library is None:
            try:
                library = import_module("pynvml")
            except ImportError:
                raise Unreadable("the package nvidia-ml-py is not installed; pip install 'rlsbench[monitor]'") from None
        self._nvml = library
        try:
            library.nvmlInit()
        except library.NVMLError as error:
            raise Unreadable(f"NVML does not start: {error}") from None
        try:
            self._handle = self._find(index)
            self._power()
        except (library.NVMLError, IndexError, ValueError) as error:
            library.nvmlShutdown()
            raise Unreadable(f"NVML does not tell of GPU {index}: {error}") from None
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
        """Joules that the GPU has counted; None before Volta, which has no such count."""
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)) / 1000  # mJ
        except self._nvml.NVMLError:
            return None

    def read(self) -> tuple[float, float | None, int | None]:
        """Joules since it was made (where the GPU does not count, power over time), watts, bytes."""
        power, counted, now = self._power(), self._counted(), perf_counter()
        if counted is not None and self._began is not None:
            self._joules = counted - self._began
        else:
            self._joules += (power + self._last) / 2 * (now - self._at)
        self._last, self._at = power, now
        return self._joules, power, int(self._nvml.nvmlDeviceGetMemoryInfo(self._handle).used)

    def close(self) -> None:
        """Let go of NVML."""
        self._nvml.nvmlShutdown()


class Monitor:
    """Sample the process while a `with` block runs.

    Parameters
    ----------
    seconds : float
        Between samples, at least `LEAST_SECONDS`.
    device : str
        Where the run computes: only "cuda", "cuda:N" and the like have a GPU that is read.
    sink : callable, optional
        Gets each sample, in the thread that takes them; what it raises ends its use, and is kept as `sink_error`.
    cpu, gpu : callable, optional
        Makes the meter of the processor, or of the GPU; they raise `Unreadable` where there is none.

    Examples
    --------
    >>> with Monitor(0.5) as monitor:
    ...     begin = monitor.sample()
    ...     work()
    ...     print(monitor.between(begin, monitor.sample()).cpu_percent)
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
        if not seconds >= LEAST_SECONDS:
            raise ValueError(f"{seconds} s between samples: take {LEAST_SECONDS} s or more")
        self.interval = seconds
        self.samples: list[Sample] = []
        self.sink_error: Exception | None = None
        self.unreadable: dict[str, str] = {}
        self._sink, self._process, self._lock, self._over = sink, psutil.Process(), Lock(), Event()
        self._cpu = self._meter("cpu_energy_j", cpu)
        kind, _, number = device.partition(":")
        self._gpu: Meter | None = None
        if kind == "cuda":
            self._gpu = self._meter("gpu_energy_j", lambda: gpu(int(number or 0)))
        else:
            self.unreadable["gpu_energy_j"] = f"the run computes on {device}"
        self._thread = Thread(target=self._watch, name="rlsbench-monitor", daemon=True)
        self._start, self._before = perf_counter(), (0.0, -1.0)

    def _meter(self, what: str, make: Callable[[], Meter]) -> Meter | None:
        try:
            return make()
        except Unreadable as error:
            self.unreadable[what] = str(error)
            return None

    def __enter__(self) -> Monitor:
        self.sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        for meter in (self._cpu, self._gpu):
            if meter is not None:
                meter.close()

    def _watch(self) -> None:
        while not self._over.wait(self.interval):
            self.sample()

    def sample(self) -> Sample:
        """Read everything now."""
        with self._lock:
            now, times = perf_counter() - self._start, self._process.cpu_times()
            used, (before, used_before) = times.user + times.system, self._before
            self._before = (now, used)
            cpu, gpu = self._read("cpu_energy_j", self._cpu), self._read("gpu_energy_j", self._gpu)
            taken = Sample(
                seconds=now,
                cpu_percent=100 * (used - used_before) / (now - before) if used_before >= 0 and now > before else None,
                resident_bytes=int(self._process.memory_info().rss),
                cpu_energy_j=cpu[0],
                gpu_energy_j=gpu[0],
                gpu_power_w=gpu[1],
                gpu_memory_bytes=gpu[2],
            )
            self.samples.append(taken)
            if self._sink is not None and self.sink_error is None:
                try:
                    self._sink(taken)
                except Exception as error:  # a full disk must not end what is watched
                    self.sink_error = error
            return taken

    def _read(self, what: str, meter: Meter | None) -> tuple[float | None, float | None, int | None]:
        if meter is None or what in self.unreadable:
            return None, None, None
        try:
            return meter.read()
        except Exception as error:  # a library's own errors
            self.unreadable[what] = f"it failed while the run went on: {_why(error)}"
            return None, None, None

    def between(self, first: Sample, last: Sample) -> Resources:
        """What was taken from one sample to a later one."""
        stretch = [s for s in self.samples if first.seconds <= s.seconds <= last.seconds]
        seconds = last.seconds - first.seconds
        # per cent times seconds is what counters of the processor went on by; the first sample's is of what came before
        parts = [(s.cpu_percent, s.seconds - b.seconds) for b, s in pairwise(stretch)]
        used = sum(percent * length for percent, length in parts if percent is not None)
        powers = [s.gpu_power_w for s in stretch if s.gpu_power_w is not None]
        memories = [s.gpu_memory_bytes for s in stretch if s.gpu_memory_bytes is not None]
        return Resources(
            samples=len(stretch),
            seconds=seconds,
            cpu_percent=used / seconds if seconds > 0 else None,
            peak_resident_bytes=max(s.resident_bytes for s in stretch),
            cpu_energy_j=_difference(first.cpu_energy_j, last.cpu_energy_j),
            gpu_energy_j=_difference(first.gpu_energy_j, last.gpu_energy_j),
            gpu_power_w=sum(powers) / len(powers) if powers else None,
            peak_gpu_memory_bytes=max(memories, default=None),
            unreadable=dict(self.unreadable),
        )


def _difference(first: float | None, last: float | None) -> float | None:
    return None if first is None or last is None else last - first


def _microjoules(path: Path) -> int:
    return int(path.read_text())


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _why(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"only root may read {error.filename} here"
    return " ".join(str(error).split()) or type(error).__name__
