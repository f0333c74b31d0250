"""Spikes from all ranks, exchanged in each step by the host, between `step` and `deliver`.

In: the list of a step's spikes on a rank's device.  Out: that of all ranks, in its place.  Knows no
synapses.

Usually a step takes two copies: the number of spikes comes to the host together with the first of
them, and goes back with all of them. Their order is any, since sums do not depend on it.
"""

from __future__ import annotations

import math
from time import perf_counter

import numpy as np

from rlsbench.ranks import Communicator
from rlsbench_cupy.device import Array, Device
from rlsbench_cupy.tuning import NEURONS_PER_SPIKE, SPIKES_COPIED


class Exchange:
    """Exchanges the spikes of each step of a trial.

    Parameters
    ----------
    ranks : Communicator
    device : Device
    spikes : device array of int32, shape (2 + N,)
        How many neurons spiked, in even and odd steps, and their numbers.
    neurons : int
        Those of this rank.
    """

    def __init__(self, ranks: Communicator, device: Device, spikes: Array, neurons: int) -> None:
        self.ranks, self.device, self.spikes = ranks, device, spikes
        self.usual = 2 + min(neurons, SPIKES_COPIED + math.ceil(neurons / NEURONS_PER_SPIKE))
        self.begin_trial()

    def begin_trial(self) -> None:
        """Count steps from 0 on."""
        self.step, self.seconds = 0, 0.0

    def run(self) -> None:
        """Exchange the spikes of the next step, once `step` has listed those of this rank."""
        self.step += 1
        found = self.device.take(self.spikes[: self.usual])
        last = 2 + int(found[self.step % 2])
        if last > len(found):
            found = self.device.take(self.spikes[:last])
        before = perf_counter()
        everyones = self.ranks.gather(found[2:last])
        self.seconds += perf_counter() - before
        found = np.zeros(2 + len(everyones), np.int32)
        found[self.step % 2], found[2:] = len(everyones), everyones
        self.device.put(self.spikes[: len(found)], found)
