"""Target currents: the synaptic currents that neurons learn to produce, per task, bin and neuron.

In: arrays.  Out: `Targets`, which return one bin of all neurons, or all bins of some neurons.
Knows NumPy only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Neurons = NDArray[np.int64] | slice
_ALL = slice(None)


class Targets(ABC):
    """Target currents f, in units of (threshold - reset)."""

    @property
    @abstractmethod
    def tasks(self) -> int:
        """Number of tasks."""

    @property
    @abstractmethod
    def bins(self) -> int:
        """Number of learning bins."""

    @property
    def partial(self) -> bool:
        """Whether some neurons have no target."""
        return bool(np.isnan(self.row(0, 0)).any())

    def row(self, task: int, bin: int, neurons: Neurons = _ALL) -> Array:
        """Targets of some neurons in one bin, (neurons,); always NaN for one without a target."""
        return self._values(task, bin, neurons)

    def matrix(self, task: int, neurons: Neurons = _ALL) -> Array:
        """Targets of some neurons in all bins, (bins, neurons)."""
        return self._values(task, _ALL, neurons)

    @abstractmethod
    def _values(self, task: int, bins: int | slice, neurons: Neurons) -> Array:
        """Targets of some neurons in one bin, (neurons,), or in all, (bins, neurons)."""


@dataclass(frozen=True)
class SinusoidTargets(Targets):
    """f = amplitude sin(2 pi (t - phase)/period) + offset (docs/model.md section 5)."""

    amplitude: float
    period_ms: float
    times_ms: Array  #: of the learning bins, (bins,)
    cosine: Array  #: of 2 pi phase/period, with phases uniform in (0, period), (tasks, N)
    sine: Array  #: likewise
    offset: Array  #: each neuron's mean static current, (N,); NaN without a target

    tasks = property(lambda self: len(self.cosine))
    bins = property(lambda self: len(self.times_ms))

    def _values(self, task: int, bins: int | slice, neurons: Neurons) -> Array:
        # sin(a - b) = sin a cos b - cos a sin b needs no sine for each pair of bin and neuron.
        a = (2 * np.pi / self.period_ms) * self.times_ms[bins, None]
        f: Array = np.sin(a) * self.cosine[task, neurons] - np.cos(a) * self.sine[task, neurons]
        return self.amplitude * f + self.offset[neurons]


@dataclass(frozen=True)
class ShiftedTargets(Targets):
    """Targets with an offset that is the same in all tasks and bins."""

    targets: Targets
    offset: Array  #: (N,)

    tasks = property(lambda self: self.targets.tasks)
    bins = property(lambda self: self.targets.bins)

    def _values(self, task: int, bins: int | slice, neurons: Neurons) -> Array:
        if isinstance(bins, slice):
            return self.targets.matrix(task, neurons) + self.offset[neurons]
        return self.targets.row(task, bins, neurons) + self.offset[neurons]


@dataclass(frozen=True)
class MatrixTargets(Targets):
    """Targets stored as an array."""

    currents: Array  #: (tasks, bins, N), NaN for neurons without a target

    tasks = property(lambda self: int(self.currents.shape[0]))
    bins = property(lambda self: int(self.currents.shape[1]))

    def _values(self, task: int, bins: int | slice, neurons: Neurons) -> Array:
        return np.asarray(self.currents[task, bins][..., neurons])


@dataclass(frozen=True)
class PartOfTargets(Targets):
    """Targets of consecutive neurons of others."""

    targets: Targets
    own: slice  #: from the first of them to one after the last

    tasks = property(lambda self: self.targets.tasks)
    bins = property(lambda self: self.targets.bins)

    def _values(self, task: int, bins: int | slice, neurons: Neurons) -> Array:
        if isinstance(neurons, slice):
            some = range(self.own.start, self.own.stop)[neurons]
            return self.targets._values(task, bins, slice(some.start, some.stop, some.step))
        return self.targets._values(task, bins, neurons + self.own.start)
