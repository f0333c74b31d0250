"""`--monitor`: the resources of a run, for its directory, its document and the terminal.

In: an interval or None, the device, the directory of the run. Out: a `ResourceRecord`, and lines.
"""

from __future__ import annotations

from collections.abc import Iterator

from rlsbench.capacity import readable
from rlsbench.monitor import Monitor, Sample
from rlsbench.results import ResourceRecord, RunDirectory, resource_record


class Watch:
    """A monitor of the iterations of a run, or none.

    Parameters
    ----------
    seconds : float or None
        Between samples; None: no monitoring.
    device : str
    directory : RunDirectory
    """

    def __init__(self, seconds: float | None, device: str, directory: RunDirectory) -> None:
        self.monitor = None if seconds is None else Monitor(seconds, device=device, sink=directory.append_resources)
        self._samples: list[Sample] = []

    def __enter__(self) -> Watch:
        if self.monitor is not None:
            self.monitor.__enter__()
            self._samples.append(self.monitor.samples[0])
        return self

    def __exit__(self, *error: object) -> None:
        if self.monitor is not None:
            self.monitor.stop()  # the last sample is then the last row of resources.csv
            self._samples.append(self.monitor.sample())
            self.monitor.__exit__(*error)

    def record(self, iterations: int) -> ResourceRecord | None:
        """Summarise the `with` block, which contained so many iterations; None if not monitored."""
        if self.monitor is None or len(self._samples) != 2:
            return None
        return resource_record(self.monitor.interval, self.monitor.between(*self._samples), iterations)

    def told(self, record: ResourceRecord | None) -> Iterator[str]:
        """Yield the lines of a summary."""
        if self.monitor is None or record is None:
            return
        cpu = "" if record.cpu_percent is None else f"{record.cpu_percent:.0f} % of one processor, "
        yield f"{cpu}peak resident memory {readable(record.peak_resident_bytes)}, {record.samples} samples"
        for name, joules, key in (
            ("processor", record.cpu_energy_per_iteration_j, "cpu_energy_j"),
            ("GPU", record.gpu_energy_per_iteration_j, "gpu_energy_j"),
        ):
            reason = record.unreadable.get(key, "no iterations")
            value = f"not readable: {reason}" if joules is None else f"{joules:.3g} J per iteration"
            yield f"{name} energy: {value}"
        if self.monitor.sink_error is not None:
            yield f"resources.csv is incomplete: {self.monitor.sink_error}"
