"""Ranks that are threads of one process: what `rlsbench.ranks.Mpi` does, without MPI.

In: a function of a `Communicator`.  Out: what it returns on each rank.  Compiled code calls back
into Python here, through functions with the signatures of MPI's.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from rlsbench.ranks import Communicator, Native

T = TypeVar("T")
WORD = ctypes.c_int64
WAIT_S = 120  # for ranks that wait for another one, before all fail
GATHER = ctypes.CFUNCTYPE(ctypes.c_int, *(WORD,) * 7)
GATHER_VARYING = ctypes.CFUNCTYPE(ctypes.c_int, *(WORD,) * 8)


def on_ranks(size: int, call: Callable[[Communicator], T]) -> list[T]:
    """What a function returns on each of several ranks; an error of one ends all."""
    shared = _Shared(size)

    def of_rank(rank: int) -> T:
        try:
            return call(Threaded(rank, shared))
        except BaseException:
            shared.barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(of_rank, rank) for rank in range(size)]
        errors = [error for future in futures if (error := future.exception()) is not None]
        for error in sorted(errors, key=_waited):  # the one that the others waited for comes first
            raise error
        return [future.result() for future in futures]


def _waited(error: BaseException) -> bool:
    """Whether a rank failed because another one did."""
    return any(isinstance(e, threading.BrokenBarrierError) for e in (error, error.__cause__))


class _Shared:
    def __init__(self, size: int) -> None:
        self.barrier, self.told = threading.Barrier(size, timeout=WAIT_S), [None] * size


class Threaded(Communicator):
    """One of several ranks that are threads."""

    spread = True

    def __init__(self, rank: int, shared: _Shared) -> None:
        self.rank, self.size, self.shared = rank, len(shared.told), shared
        self.place = rank
        self._callbacks = GATHER(self._allgather), GATHER_VARYING(self._allgatherv)
        self.exchanges, self.overflows = 0, 0

    def alone(self) -> Communicator:
        return Threaded(0, _Shared(1))

    def native(self) -> Native:
        once, varying = (ctypes.cast(callback, ctypes.c_void_p).value or 0 for callback in self._callbacks)
        return Native(once, varying, 0, 0)

    def collect(self, value: Any) -> list[Any]:
        self.shared.told[self.rank] = value
        self.shared.barrier.wait()
        found = list(self.shared.told)
        self.shared.barrier.wait()
        return found

    def gather(self, values: Any) -> Any:
        return np.concatenate(self.collect(np.array(values)))  # a copy: others read it while this rank goes on

    def gather_first(self, values: Any) -> Any:
        joined = self.gather(values)
        return values if self.rank else joined

    def transfer(self, parts: Any) -> Any:
        return [sent[self.rank] for sent in self.collect([part.copy() for part in parts])]

    def _allgather(self, sent: int, count: int, _: int, received: int, *rest: int) -> int:
        self.exchanges += 1
        _integers(received, count * self.size)[:] = self.gather(_integers(sent, count).copy())
        return 0

    def _allgatherv(self, sent: int, count: int, _: int, received: int, counts: int, places: int, *rest: int) -> int:
        self.overflows += 1
        parts = self.collect(_integers(sent, count).copy())
        for part, length, place in zip(parts, _integers(counts, self.size), _integers(places, self.size), strict=True):
            assert len(part) == length
            _integers(received + 4 * int(place), int(length))[:] = part
        return 0


def _integers(address: int, count: int) -> Any:
    return np.ctypeslib.as_array((ctypes.c_int32 * count).from_address(address)) if count else np.empty(0, np.int32)
