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
    owners: list[Any] = [owner for owner in (simulation, trainer.update) if hasattr(owner, "kernels")]
    untimed, capture, graphs = [owner.kernels for owner in owners], simulation.capture, simulation.graphs
    timed: dict[str, _Timed] = {}
    for owner in owners:
        owner.kernels = {name: _Timed(kernel, trainer.device) for name, kernel in owner.kernels.items()}
        timed |= owner.kernels
    simulation.capture, simulation.graphs = False, {}
    try:
        yield timed
    finally:
        simulation.capture, simulation.graphs = capture, graphs
        for owner, kernels in zip(owners, untimed, strict=True):
            owner.kernels = kernels


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
