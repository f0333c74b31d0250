"""How long each kernel takes: every launch between two events.

In: a `CupyTrainer`.  Out: launches and milliseconds by kernel.  Without graphs, so that launches can be told apart; the
events make a trial slower than it is otherwise, and so only the times of kernels are told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from rlsbench_cupy.device import Device
from rlsbench_cupy.trainer import CupyTrainer

__all__ = ["KernelTime", "kernel_times"]


class KernelTime(NamedTuple):
    """What launches of one kernel took."""

    kernel: str
    launches: int
    milliseconds: float


class _Timed:
    """A kernel that records an event before and after each launch."""

    def __init__(self, kernel: Any, device: Device) -> None:
        self.kernel, self.device = kernel, device
        self.spans: list[tuple[Any, Any]] = []

    def __call__(self, *launch: Any) -> None:
        start = self.device.event()
        self.kernel(*launch)
        self.spans.append((start, self.device.event()))


@contextmanager
def _watched(trainer: CupyTrainer) -> Iterator[dict[str, _Timed]]:
    simulation, update = trainer.simulation, trainer.update
    timed: dict[str, _Timed] = {}

    def watch(name: str, kernel: Any) -> _Timed:
        timed[name] = _Timed(kernel, trainer.device)
        return timed[name]

    kernels, capture = simulation.kernels, simulation.capture
    simulation.kernels = {name: watch(name, kernel) for name, kernel in kernels.items()}
    simulation.capture = False
    graphs, simulation.graphs = simulation.graphs, {}
    own = dict(update.kernels)
    update.kernels.update({name: watch(name, kernel) for name, kernel in own.items()})
    try:
        yield timed
    finally:
        simulation.kernels, simulation.capture, simulation.graphs = kernels, capture, graphs
        update.kernels.update(own)


def kernel_times(trainer: CupyTrainer, run: Callable[[], object]) -> list[KernelTime]:
    """What the kernels of a trainer take while something is run, the longest first.

    Parameters
    ----------
    trainer : CupyTrainer
    run : callable
        Uses the trainer, as `run_trial` does.
    """
    with trainer.device.current(), _watched(trainer) as timed:
        run()
        trainer.device.synchronize()
        times = [
            KernelTime(name, len(t.spans), sum(trainer.device.milliseconds(*span) for span in t.spans))
            for name, t in timed.items()
            if t.spans
        ]
    return sorted(times, key=lambda time: -time.milliseconds)
