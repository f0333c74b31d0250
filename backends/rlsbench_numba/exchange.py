"""Spikes from all ranks, exchanged in each step or less often: MPI called by compiled code.

In: the spikes that the threads of a rank found.  Out: those of all ranks, in ascending order.
Knows no synapses. Without ranks, nothing is exchanged or copied.

A call of MPI in Python between two steps would take longer than a step of 10,000 neurons. Here its
functions are called at their addresses, with the handles that `rlsbench.ranks.Native` has. If no
delay is shorter than d steps, a spike is needed d steps later at the earliest, so that the spikes
of d steps are exchanged together. A rank sends a message of fixed length, its number of spikes in
each step and the spikes, and only if a rank has more than fit in it, those of each step are sent
once more. A steady clock is read before and after, in 21 ns each.
"""

from __future__ import annotations

import ctypes
import os
import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench.problem import Problem
from rlsbench_numba.arrays import message_length
from rlsbench_numba.by_address import call
from rlsbench_numba.compiling import kernel


class Exchange(NamedTuple):
    """Buffers of messages, and how MPI is called."""

    native: NDArray[np.int64]  # (6,), those of `rlsbench.ranks.Native`, and of `_clock`
    origin: int  # number of this rank's first neuron
    together: int  # d, steps whose spikes are exchanged together: those up to a multiple of d
    sent: NDArray[np.int32]  # (d + d neurons of the rank,), the number of spikes in each step, and the neurons
    received: NDArray[np.int32]  # (ranks, d + spikes in a message), the same of all ranks
    counts: NDArray[np.int32]  # (ranks,), spikes in a step
    places: NDArray[np.int32]  # (ranks,), where those of each rank begin
    taken: NDArray[np.int32]  # (ranks,), numbers of `received` that were taken
    clock: NDArray[np.int64]  # (3,), s and ns that were read last, and ns spent; (0,) without a clock


def exchange_of(p: Problem) -> Exchange | None:
    """The exchange of a problem's ranks; None without ranks."""
    native, own, ranks = p.ranks.native(), p.own, p.ranks.size
    if native is None:
        return None
    clock = _clock()
    widest = int(np.diff(p.ranks.bounds(p.neurons)).max())  # the same for all ranks
    together = p.shortest_delay
    return Exchange(
        np.array((*native, *clock), np.int64),
        own.start,
        together,
        np.zeros(together * (1 + widest), np.int32),
        np.zeros((ranks, together * message_length(widest)), np.int32),
        counts=np.zeros(ranks, np.int32),
        places=np.zeros(ranks, np.int32),
        taken=np.zeros(ranks, np.int32),
        clock=np.zeros(3 if clock[0] else 0, np.int64),
    )


def _clock() -> tuple[int, int]:
    """Address of clock_gettime, and the number of its steady clock; zeros where there is none."""
    function = getattr(ctypes.CDLL(None), "clock_gettime", None) if os.name == "posix" else None
    address = 0 if function is None else ctypes.cast(function, ctypes.c_void_p).value or 0
    return (address, time.CLOCK_MONOTONIC) if address else (0, 0)


@kernel
def nanoseconds(native, clock):
    """What the clock of an exchange shows."""
    if len(clock) == 0:
        return 0
    call(native[4], (native[5], clock))
    return clock[0] * 1_000_000_000 + clock[1]


@kernel
def exchange_spikes(threads, exchange, step):
    """Write the spikes of all ranks into threads.arrived, in ascending order.

    They are those of the steps up to this one that are exchanged together.
    """
    native, sent, received, together = exchange.native, exchange.sent, exchange.received, exchange.together
    counts, places, taken, clock = exchange.counts, exchange.places, exchange.taken, exchange.clock
    began, depth = nanoseconds(native, clock), len(threads.length)
    count = together
    for i in range(together):
        now, before = (step - together + 1 + i) % depth, count
        for t in range(threads.length.shape[1]):
            spiked = threads.spiked[now, t]
            for m in range(threads.length[now, t, 0]):
                sent[count] = spiked[m] + exchange.origin
                count += 1
        sent[i] = count - before
    size = received.shape[1]
    call(native[0], (sent, size, native[2], received, size, native[2], native[3]))
    fit, first = True, together
    for rank in range(len(counts)):
        taken[rank], total = together, together
        for i in range(together):
            total += received[rank, i]
        fit = fit and total <= size
    for i in range(together):
        now, total = (step - together + 1 + i) % depth, 0
        arrived = threads.arrived[now, 0]
        for rank in range(len(counts)):
            places[rank], counts[rank] = total, received[rank, i]
            total += received[rank, i]
        if fit:
            for rank in range(len(counts)):
                for m in range(counts[rank]):
                    arrived[places[rank] + m] = received[rank, taken[rank] + m]
                taken[rank] += counts[rank]
        else:
            count = np.int64(sent[i])
            call(native[1], (sent[first:], count, native[2], arrived, counts, places, native[2], native[3]))
            first += count
        threads.arrived_length[now, 0, 0] = total
    if len(clock) > 0:
        clock[2] += nanoseconds(native, clock) - began
