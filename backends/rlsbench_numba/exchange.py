"""Spikes from all ranks, exchanged in each step: MPI called by compiled code.

In: the spikes that the threads of a rank found.  Out: those of all ranks, in ascending order.
Knows no synapses. Without ranks, nothing is exchanged or copied.

A call of MPI in Python between two steps would take longer than a step of 10,000 neurons. Here its
functions are called at their addresses, with the handles that `rlsbench.ranks.Native` has. A rank
sends a message of fixed length, its number of spikes and the first of them, and only if a rank has
more than fit in it, all spikes are sent in a second one. A steady clock is read before and after,
in 21 ns each.
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
    sent: NDArray[np.int32]  # (1 + neurons of the rank,), the number of spikes, and the neurons
    received: NDArray[np.int32]  # (ranks, 1 + spikes in a message), the same of all ranks
    counts: NDArray[np.int32]  # (ranks,)
    places: NDArray[np.int32]  # (ranks,), where the spikes of each rank begin
    clock: NDArray[np.int64]  # (3,), s and ns that were read last, and ns spent; (0,) without a clock


def exchange_of(p: Problem) -> Exchange | None:
    """The exchange of a problem's ranks; None without ranks."""
    native, own, ranks = p.ranks.native(), p.own, p.ranks.size
    if native is None:
        return None
    clock = _clock()
    widest = int(np.diff(p.ranks.bounds(p.neurons)).max())  # the same for all ranks
    return Exchange(
        np.array((*native, *clock), np.int64),
        own.start,
        np.zeros(1 + widest, np.int32),
        np.zeros((ranks, message_length(widest)), np.int32),
        counts=np.zeros(ranks, np.int32),
        places=np.zeros(ranks, np.int32),
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
    """Write the spikes of one step of all ranks into threads.arrived, in ascending order."""
    native, sent, received = exchange.native, exchange.sent, exchange.received
    clock = exchange.clock
    began = nanoseconds(native, clock)
    now = step % len(threads.length)
    count = 0
    for t in range(threads.length.shape[1]):
        spiked = threads.spiked[now, t]
        for i in range(threads.length[now, t, 0]):
            count += 1
            sent[count] = spiked[i] + exchange.origin
    sent[0] = count
    size = received.shape[1]
    call(native[0], (sent, size, native[2], received, size, native[2], native[3]))
    arrived, counts, places = threads.arrived[now, 0], exchange.counts, exchange.places
    total, fit = 0, True
    for rank in range(len(counts)):
        places[rank], counts[rank] = total, received[rank, 0]
        total += received[rank, 0]
        fit = fit and received[rank, 0] < size
    if fit:
        for rank in range(len(counts)):
            for i in range(counts[rank]):
                arrived[places[rank] + i] = received[rank, 1 + i]
    else:
        call(native[1], (sent[1:], count, native[2], arrived, counts, places, native[2], native[3]))
    threads.arrived_length[now, 0, 0] = total
    if len(clock) > 0:
        clock[2] += nanoseconds(native, clock) - began
