"""`--monitor`: the resources of a run, into its directory and its document.

In: an interval, or None; where the run computes; its directory.  Out: a `ResourceRecord`, and lines for the screen.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

from rlsbench.capacity import readable
from rlsbench.monitor import Monitor, Sample
from rlsbench.results import ResourceRecord, RunDirectory, resource_record

__all__ = ["Watch"]


class Watch:
    """A monitor around the iterations of a run, or none.

    Parameters
    ----------
    seconds : float or None
        Between samples; None: nothing is watched.
    device : str
    directory : RunDirectory
    """

    def __init__(self, seconds: float | None, device: str, directory: RunDirectory) -> None:
        self.monitor = None if seconds is None else Monitor(seconds, device=device, sink=directory.append_resources)
        self.first: Sample | None = None
        self.last: Sample | None = None

    def __enter__(self) -> Watch:
        if self.monitor is not None:
            self.monitor.__enter__()
            self.first = self.monitor.sample()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.monitor is not None:
            self.last = self.monitor.sample()
            self.monitor.__exit__(kind, error, trace)

    def record(self, iterations: int) -> ResourceRecord | None:
        """What was taken from entering to leaving, which saw so many iterations; None where nothing was watched."""
        if self.monitor is None or self.first is None or self.last is None:
            return None
        return resource_record(self.monitor.interval, self.monitor.between(self.first, self.last), iterations)

    def told(self, record: ResourceRecord | None) -> Iterator[str]:
        """What a user should know of it."""
        if self.monitor is None or record is None:
            return
        cpu = "" if record.cpu_percent is None else f"{record.cpu_percent:.0f} % of a processor, "
        yield f"{cpu}{readable(record.peak_resident_bytes)} resident at most, in {record.samples} samples"
        energies = (
            ("processor", record.cpu_energy_per_iteration_j, "cpu_energy_j"),
            ("GPU", record.gpu_energy_per_iteration_j, "gpu_energy_j"),
        )
        for name, joules, key in energies:
            why = record.unreadable.get(key, "there was no iteration")
            yield f"energy of the {name}: " + (
                f"not readable: {why}" if joules is None else f"{joules:.3g} J an iteration"
            )
        if self.monitor.sink_error is not None:
            yield f"resources.csv is not whole: {self.monitor.sink_error}"
