"""Target currents: the synaptic currents that neurons learn to produce, per task, bin and neuron.

In: arrays.  Out: `Targets`, which return one bin of all neurons, or all bins of some neurons.
Knows NumPy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Targets(Protocol):
    """Target currents f, in units of (threshold - reset)."""

    @property
    def tasks(self) -> int:
        """Number of tasks."""

    @property
    def bins(self) -> int:
        """Number of learning bins."""

    @property
    def partial(self) -> bool:
        """Whether some neurons have no target."""

    def row(self, task: int, bin: int) -> Array:
        """Targets of all neurons in one bin, (N,); always NaN for a neuron without a target."""

    def matrix(self, task: int, neurons: NDArray[np.int64] | slice = slice(None)) -> Array:
        """Targets of some neurons in all bins, (bins, neurons)."""


@dataclass(frozen=True)
class SinusoidTargets:
    """f = amplitude sin(2 pi (t - phase)/period) + offset (docs/model.md section 5)."""

    amplitude: float
    period_ms: float
    times_ms: Array  #: of the learning bins, (bins,)
    phases_ms: Array  #: uniform in (0, period), (tasks, N)
    offset: Array  #: each neuron's mean static current, (N,)
    partial: bool = False

    @property
    def tasks(self) -> int:
        return len(self.phases_ms)

    @property
    def bins(self) -> int:
        return len(self.times_ms)

    def row(self, task: int, bin: int) -> Array:
        return self._value(self.times_ms[bin], self.phases_ms[task], self.offset)

    def matrix(self, task: int, neurons: NDArray[np.int64] | slice = slice(None)) -> Array:
        return self._value(self.times_ms[:, None], self.phases_ms[task, neurons], self.offset[neurons])

    def _value(self, t: Array, phase: Array, offset: Array) -> Array:
        # sin(a - b) = sin a cos b - cos a sin b needs no sine for each pair of bin and neuron.
        a = (2 * np.pi / self.period_ms) * t
        b = (2 * np.pi / self.period_ms) * phase
        sine: Array = np.sin(a) * np.cos(b) - np.cos(a) * np.sin(b)
        return self.amplitude * sine + offset


@dataclass(frozen=True)
class ShiftedTargets:
    """Targets with an offset that is the same in all tasks and bins."""

    targets: Targets
    offset: Array  #: (N,)

    @property
    def tasks(self) -> int:
        return self.targets.tasks

    @property
    def bins(self) -> int:
        return self.targets.bins

    @property
    def partial(self) -> bool:
        return self.targets.partial

    def row(self, task: int, bin: int) -> Array:
        return self.targets.row(task, bin) + self.offset

    def matrix(self, task: int, neurons: NDArray[np.int64] | slice = slice(None)) -> Array:
        return self.targets.matrix(task, neurons) + self.offset[neurons]


@dataclass(frozen=True)
class MatrixTargets:
    """Targets stored as an array."""

    currents: Array  #: (tasks, bins, N), NaN for neurons without a target

    @property
    def tasks(self) -> int:
        return int(self.currents.shape[0])

    @property
    def bins(self) -> int:
        return int(self.currents.shape[1])

    @property
    def partial(self) -> bool:
        return bool(np.isnan(self.currents[0, 0]).any())

    def row(self, task: int, bin: int) -> Array:
        return np.asarray(self.currents[task, bin])

    def matrix(self, task: int, neurons: NDArray[np.int64] | slice = slice(None)) -> Array:
        return np.asarray(self.currents[task][:, neurons])
