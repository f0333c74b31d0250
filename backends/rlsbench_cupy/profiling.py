"""Times of kernels: each launch is put between two events.

In: a `CupyTrainer`.  Out: launches and milliseconds by kernel.  Graphs are off, so that launches
are separate; events slow a trial down, so only the times of kernels are reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from rlsbench_cupy.device import Device
from rlsbench_cupy.trainer import CupyTrainer
from rlsbench_cupy.updates import LearningUpdate


class KernelTime(NamedTuple):
    """Total time of the launches of one kernel."""

    kernel: str
    launches: int
    milliseconds: float


class _Timed:
    """A kernel that records an event before and after each launch."""

    def __init__(self, kernel: Any, device: Device) -> None:
        self.kernel = kernel
        self.device = device
        self.spans: list[tuple[Any, Any]] = []

    def __call__(self, *launch: Any) -> None:
        start = self.device.event()
        self.kernel(*launch)
        self.spans.append((start, self.device.event()))


@contextmanager
def _watched(trainer: CupyTrainer) -> Iterator[dict[str, _Timed]]:
    simulation = trainer.simulation
    of_update: dict[str, Any] = trainer.update.kernels if isinstance(trainer.update, LearningUpdate) else {}
    timed: dict[str, _Timed] = {}

    def watch(name: str, kernel: Any) -> _Timed:
        timed[name] = _Timed(kernel, trainer.device)
        return timed[name]

    untimed = dict(of_update)
    before = {name: getattr(simulation, name) for name in ("kernels", "capture", "graphs")}
    simulation.kernels = {name: watch(name, kernel) for name, kernel in simulation.kernels.items()}
    simulation.capture = False
    simulation.graphs = {}
    of_update.update({name: watch(name, kernel) for name, kernel in untimed.items()})
    try:
        yield timed
    finally:
        vars(simulation).update(before)
        of_update.update(untimed)


def kernel_times(trainer: CupyTrainer, run: Callable[[], object]) -> list[KernelTime]:
    """Times of the kernels of a trainer during a call of `run`, the longest first."""
    with trainer.device.current(), _watched(trainer) as timed:
        run()
        trainer.device.synchronize()
        times = [
            KernelTime(name, len(t.spans), sum(trainer.device.milliseconds(*span) for span in t.spans))
            for name, t in timed.items()
            if t.spans
        ]
    return sorted(times, key=lambda time: -time.milliseconds)
