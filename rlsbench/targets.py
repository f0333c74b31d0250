"""The synaptic currents that neurons learn to produce, one value per task, learning bin and neuron.

In: the experiment and what the initial trial measured, or recorded rates.  Out: a `Targets`.  Knows the configuration,
streams, recordings and the transfer function; knows no trainer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["MatrixTargets", "SinusoidTargets", "Targets"]


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
        """Whether there are neurons without target."""

    def row(self, task: int, bin: int) -> NDArray[np.float64]:
        """Targets of all neurons at one bin, (N,); NaN, in every bin and task, for a neuron without."""

    def matrix(self, task: int, neurons: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float64]:
        """Targets of some neurons at all bins, (bins, neurons)."""


@dataclass(frozen=True)
class SinusoidTargets:
    """f = amplitude sin(2 pi (t - phase)/period) + offset (model section 5).

    Parameters
    ----------
    amplitude : float
    period_ms : float
    times_ms : ndarray, shape (bins,)
        Time of each learning bin, ms.
    phases_ms : ndarray, shape (tasks, N)
        Uniform in (0, period), ms.
    offset : ndarray, shape (N,)
        Each neuron's mean static current.
    """

    amplitude: float
    period_ms: float
    times_ms: NDArray[np.float64]
    phases_ms: NDArray[np.float64]
    offset: NDArray[np.float64]
    partial: bool = False

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return len(self.phases_ms)

    @property
    def bins(self) -> int:
        """Number of learning bins."""
        return len(self.times_ms)

    def row(self, task: int, bin: int) -> NDArray[np.float64]:
        """Targets of all neurons at one bin, (N,)."""
        return self._value(self.times_ms[bin], self.phases_ms[task], self.offset)

    def matrix(self, task: int, neurons: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float64]:
        """Targets of some neurons at all bins, (bins, neurons)."""
        return self._value(self.times_ms[:, None], self.phases_ms[task, neurons], self.offset[neurons])

    def _value(
        self, t: NDArray[np.float64], phase: NDArray[np.float64], offset: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        # sin(a - b) = sin a cos b - cos a sin b: two sines a bin and a neuron in place of one for each pair of them.
        a, b = (2 * np.pi / self.period_ms) * t, (2 * np.pi / self.period_ms) * phase
        sine: NDArray[np.float64] = np.sin(a) * np.cos(b) - np.cos(a) * np.sin(b)
        return self.amplitude * sine + offset


@dataclass(frozen=True)
class MatrixTargets:
    """Targets given as they are.

    Parameters
    ----------
    currents : ndarray, shape (tasks, bins, N)
        NaN for neurons without target.
    """

    currents: NDArray[np.float64]

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return int(self.currents.shape[0])

    @property
    def bins(self) -> int:
        """Number of learning bins."""
        return int(self.currents.shape[1])

    @property
    def partial(self) -> bool:
        """Whether there are neurons without target."""
        return bool(np.isnan(self.currents[0, 0]).any())

    def row(self, task: int, bin: int) -> NDArray[np.float64]:
        """Targets of all neurons at one bin, (N,)."""
        return np.asarray(self.currents[task, bin])

    def matrix(self, task: int, neurons: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float64]:
        """Targets of some neurons at all bins, (bins, neurons)."""
        return np.asarray(self.currents[task][:, neurons])
