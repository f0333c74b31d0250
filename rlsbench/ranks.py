"""The ranks that a network is spread over, and what they exchange: one alone, or several by MPI.

In: what each rank has.  Out: what all have, in the order of the ranks.  Imports mpi4py on use.
Knows nothing of networks but that neurons are numbered.

Rank k owns a range of neurons, which begins at a multiple of `TOGETHER`. Except for `abort`, all
ranks call a method, or none does.
"""

from __future__ import annotations

import ctypes
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlsbench.available import available_threads
from rlsbench.errors import ConfigurationError, RlsbenchError, UnsupportedError

__all__ = ["ALONE", "TOGETHER", "Communicator", "Launched", "Mpi", "Native", "Planned", "communicator", "launched"]

TOGETHER: Final = 256  # neurons that are never parted: a multiple of what a backend advances together
WAIT_S: Final = 5.0  # for other ranks that fail, too

# Set by the launchers of MPICH and its kin, Open MPI, and srun with PMIx: rank and number of ranks.
LAUNCHERS: Final = (
    ("PMI_RANK", "PMI_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMIX_RANK", "SLURM_STEP_NUM_TASKS"),
)


class Native(NamedTuple):
    """What compiled code calls MPI by: addresses of functions, and handles."""

    allgather: int
    allgatherv: int
    int32: int
    communicator: int


class Communicator:
    """One rank that owns all neurons; the base of others."""

    rank: int = 0
    size: int = 1
    here: int = 1  #: ranks on this node, which share its memory
    place: int = 0  #: number of this rank among those of its node
    node: int = 0  #: number of this node, 0, 1, ...
    nodes: int = 1  #: on which there are ranks
    leads: bool = True  #: whether this is the lowest rank of its node
    spread: bool = False  #: whether trainers exchange spikes

    def bounds(self, neurons: int) -> NDArray[np.int64]:
        """The first neuron of each rank, and N, (ranks + 1,).

        Raises
        ------
        ConfigurationError
            If a rank would have none.
        """
        groups = -(-neurons // TOGETHER)
        if self.size > groups:
            raise ConfigurationError(
                f"{self.size} ranks for {neurons} neurons: at most {groups}, one for each {TOGETHER} neurons"
            )
        return np.minimum(np.arange(self.size + 1) * groups // self.size * TOGETHER, neurons)

    def own(self, neurons: int) -> slice:
        """The neurons of this rank."""
        bounds = self.bounds(neurons)
        return slice(int(bounds[self.rank]), int(bounds[self.rank + 1]))

    def alone(self) -> Communicator:
        """The same way of exchanging for a network that this rank has for itself."""
        return self

    def native(self) -> Native | None:
        """How compiled code exchanges spikes; None if there is nobody to exchange them with."""
        return None

    def gather(self, values: NDArray[Any]) -> NDArray[Any]:
        """Arrays of all ranks, joined along the first axis."""
        return values

    def gather_first(self, values: NDArray[Any]) -> NDArray[Any]:
        """The same on rank 0; on others, what they gave."""
        return values

    def collect(self, value: Any) -> list[Any]:
        """A small object of each rank."""
        return [value]

    @contextmanager
    def together(self) -> Iterator[None]:
        """Raise the `RlsbenchError` of any rank in the block, that of the lowest, on all."""
        failure: RlsbenchError | None = None
        try:
            yield
        except RlsbenchError as error:
            failure = error
        first = next((error for error in self.collect(failure) if error is not None), None)
        if first is not None:
            raise first

    def transfer(self, parts: list[NDArray[np.int32]]) -> list[NDArray[np.int32]]:
        """Send a part to each rank; returns the parts that they sent."""
        return parts

    def threads(self) -> int:
        """Processors for this rank, if ranks share those of a node that none is bound to."""
        return available_threads()

    def alike(self) -> bool:
        """Whether all other ranks call this within seconds, as ranks do that fail alike."""
        return True

    def leave(self) -> None:
        """Be alone from now on, in a process that uses MPI no more."""

    def abort(self, status: int) -> None:
        """End all ranks at once with this exit status."""
        raise SystemExit(status)


ALONE: Final = Communicator()


class Mpi(Communicator):
    """The ranks of an MPI communicator; of all that were started, by default.

    Raises
    ------
    UnsupportedError
        If mpi4py is missing, or cannot be used.
    """

    spread = True

    def __init__(self, comm: Any = None) -> None:
        self._MPI: Any = _mpi()
        self._comm = self._MPI.COMM_WORLD.Dup() if comm is None else comm
        self._comm.Set_errhandler(self._MPI.ERRORS_ARE_FATAL)  # compiled code looks at no status
        self._failing = self._comm.Dup()
        self.rank, self.size = self._comm.rank, self._comm.size
        node = self._comm.Split_type(self._MPI.COMM_TYPE_SHARED)
        leaders = self._comm.allgather(node.bcast(self.rank))
        known = list(dict.fromkeys(leaders))
        self.here, self.place, self.nodes = node.size, node.rank, len(known)
        self.node, self.leads = known.index(leaders[self.rank]), leaders[self.rank] == self.rank

    def alone(self) -> Communicator:
        """The same way of exchanging for a network that this rank has for itself."""
        return Mpi(self._MPI.COMM_SELF.Dup())

    def native(self) -> Native | None:
        """Functions of the MPI library that mpi4py was loaded with, and handles."""
        MPI, library = self._MPI, ctypes.CDLL(self._MPI.__file__)
        functions = (
            ctypes.cast(getattr(library, f"MPI_{name}"), ctypes.c_void_p).value for name in ("Allgather", "Allgatherv")
        )
        allgather, allgatherv = (address or 0 for address in functions)
        return Native(allgather, allgatherv, *(_handle(MPI, thing) for thing in (MPI.INT32_T, self._comm)))

    def gather(self, values: NDArray[Any]) -> NDArray[Any]:
        """Arrays of all ranks, joined along the first axis."""
        values, joined, counts = self._to_join(values)
        self._comm.Allgatherv([values, self._MPI.BYTE], [joined, counts, self._MPI.BYTE])
        return joined

    def gather_first(self, values: NDArray[Any]) -> NDArray[Any]:
        """The same on rank 0; on others, what they gave."""
        values, joined, counts = self._to_join(values, everywhere=False)
        self._comm.Gatherv([values, self._MPI.BYTE], [joined, counts, self._MPI.BYTE])
        return values if self.rank else joined

    def _to_join(
        self, values: NDArray[Any], *, everywhere: bool = True
    ) -> tuple[NDArray[Any], NDArray[Any], list[int]]:
        values = np.ascontiguousarray(values)
        rows = self._comm.allgather(len(values))
        row = values.dtype.itemsize * int(np.prod(values.shape[1:]))
        needed = sum(rows) if everywhere or self.rank == 0 else 0
        return values, np.empty((needed, *values.shape[1:]), values.dtype), [count * row for count in rows]

    def collect(self, value: Any) -> list[Any]:
        """A small object of each rank."""
        found: list[Any] = self._comm.allgather(value)
        return found

    def transfer(self, parts: list[NDArray[np.int32]]) -> list[NDArray[np.int32]]:
        """Send a part to each rank; returns the parts that they sent."""
        sent = [len(part) for part in parts]
        received = self._comm.alltoall(sent)
        joined = np.empty(sum(received), np.int32)
        self._comm.Alltoallv([np.concatenate(parts), sent], [joined, received])
        return np.split(joined, np.cumsum(received)[:-1])

    def threads(self) -> int:
        """Processors for this rank, if ranks share those of a node that none is bound to."""
        bound = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        place = socket.gethostname(), bound
        return available_threads(self.collect(place).count(place))

    def alike(self) -> bool:
        """Whether all other ranks call this within seconds, as ranks do that fail alike."""
        request, until = self._failing.Ibarrier(), time.monotonic() + WAIT_S
        while not request.Test():
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True

    def leave(self) -> None:
        """Be alone from now on, in a process that uses MPI no more."""
        self.spread = False
        self._MPI.Finalize()

    def abort(self, status: int) -> None:
        """End all ranks at once with this exit status."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the rank has said why; MPI would add lines
        self._comm.Abort(status)


class Planned(Communicator):
    """One of ranks that are not there, to plan a run for them; they exchange nothing.

    Raises
    ------
    ConfigurationError
        If a node is to have more ranks than there are.
    """

    spread = True

    def __init__(self, size: int, here: int = 1, rank: int = 0) -> None:
        if here > size:
            raise ConfigurationError(f"{here} ranks per node: at most {size}, the number of ranks")
        self.size, self.here, self.rank = size, here, rank

    def other(self, neurons: int) -> Planned:
        """The rank with the most neurons of all but rank 0."""
        return Planned(self.size, self.here, 1 + int(np.argmax(np.diff(self.bounds(neurons))[1:])))


class Launched(NamedTuple):
    """What a launcher of MPI says about this process."""

    rank: int
    size: int | None  #: None if it does not say


def launched() -> Launched | None:
    """Whether several ranks were started, as told by the environment; imports nothing."""
    for rank, size in LAUNCHERS:
        if rank in os.environ:
            known = os.environ.get(size, "")
            found = Launched(int(os.environ[rank]), int(known) if known.isdecimal() else None)
            return None if found.size == 1 else found
    return None


@lru_cache(maxsize=1)
def communicator() -> Communicator:
    """The ranks that were started with this one; alone if it was not started by MPI.

    Raises
    ------
    UnsupportedError
        If there are several, and mpi4py cannot be used.
    """
    if launched() is None:
        return ALONE
    ranks = Mpi()
    return ranks if ranks.size > 1 else ALONE


def differing(told: list[dict[str, str]]) -> str | None:
    """What ranks disagree about, and which; None if all tell the same."""
    for name in told[0]:
        values = [of_rank[name] for of_rank in told]
        usual = Counter(values).most_common(1)[0][0]
        odd = [rank for rank, value in enumerate(values) if value != usual]
        if odd:
            return f"{name} of rank {odd[0]} is {values[odd[0]]}, but {usual} of others"
    return None


def _mpi() -> Any:
    try:
        import mpi4py

        mpi4py.rc.thread_level = "funneled"  # only the thread that trains calls MPI
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UnsupportedError(
            f"several ranks need the package mpi4py and an MPI library: pip install 'rlsbench[mpi]' ({reason})"
        ) from None
    return MPI


def _handle(MPI: Any, thing: Any) -> int:
    """The C handle of an object of mpi4py: an integer of MPICH, a pointer of Open MPI."""
    size = MPI._sizeof(type(thing))
    return int.from_bytes(ctypes.string_at(MPI._addressof(thing), size), "little")
