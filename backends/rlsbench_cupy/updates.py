"""The forms of the update as objects with one interface: P, what they keep beside it, and their launches.

In: the simulation's signals and weights.  Out: P and w, updated.  Knows when each form applies, and its constants.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rlsbench.backend import Block, Options, widened
from rlsbench.errors import UnsupportedError
from rlsbench.precision import PRECISIONS
from rlsbench.problem import Problem
from rlsbench_cupy.backend import SHARED_BYTES, event_warps, fold_warps, pairs_kept, plain_warps
from rlsbench_cupy.compiling import compiled
from rlsbench_cupy.device import BLOCK, Array, Device
from rlsbench_cupy.simulation import Simulation
from rlsbench_cupy.storage import Storage

__all__ = ["Event", "Frozen", "Matrices", "Plain", "Update", "rls_macros"]

Floats = NDArray[np.floating[Any]]

NEVER = -(1 << 30)  # as in kernels/model.cuh
WARPS_OF_A_BLOCK = 4  # where a neuron has one warp
SPREADING_BLOCKS = 4096
PART_BYTES = 1 << 26  # of P that is copied at once


def rls_macros(n: int, LX: int, options: Options) -> dict[str, object]:
    """What kernels/rls_*.cu are specialised with."""
    storage = Storage(n, options.storage, options.p_precision)
    wide, real = storage.wide.itemsize, np.dtype(options.precision).itemsize
    plain, event, folding = plain_warps(n), event_warps(n), fold_warps(n)
    small = (2 + plain) * n * wide + plain * (wide + real)
    neurons = WARPS_OF_A_BLOCK if plain == 1 else 1
    return {
        "REAL": "double" if options.precision == "float64" else "float",
        "N_INPUTS": n,
        "LX": LX,
        "PACKED": storage.packed,
        f"P_{options.p_precision}": None,
        "STAGED": neurons * (small + storage.entries * wide + 64) <= SHARED_BYTES,
        "PLAIN_WARPS": plain,
        "EVENT_WARPS": event,
        "FOLD_WARPS": folding,
        "PLAIN_NEURONS": neurons,
        "EVENT_NEURONS": WARPS_OF_A_BLOCK if event == 1 else 1,
        "FOLD_NEURONS": 2 if folding == 1 else 1,
        "PAIRS": pairs_kept(n, wide),
    }


class Matrices:
    """P of all neurons on the device.

    Parameters
    ----------
    problem : Problem
    options : Options
    device : Device
    module : RawModule
        With the kernels `spread` and `diagonal`.
    """

    def __init__(self, problem: Problem, options: Options, device: Device, module: Any) -> None:
        self.device, self.N = device, problem.neurons
        self.storage = Storage(problem.n, options.storage, options.p_precision)
        self.values = device.empty((self.N, self.storage.entries), self.storage.stored)
        one, unit = self.storage.to_stored(problem.learning.initial_P(problem.plastic)[None])
        self.unit = device.array(np.repeat(unit, self.N))
        self._diagonal = module.get_function("diagonal")
        entries = self.N * self.storage.entries
        module.get_function("spread")(
            (min(SPREADING_BLOCKS, -(-entries // BLOCK)),),
            (BLOCK,),
            (np.int64(self.N), device.array(one[0]), self.values),
        )
        device.synchronize()  # the one that was spread is given back

    def to_host(self) -> Floats:
        """A copy of P, (N, n, n) or (N, n (n + 1)/2), in the precision in which kernels compute."""
        parts = []
        unit = self.device.take(self.unit)
        for first, last in self._parts():
            parts.append(self.storage.to_wide(self.device.take(self.values[first:last]), unit[first:last]))
        return np.concatenate(parts)

    def replace(self, P: Floats) -> None:
        """Take P in any storage, which is rounded."""
        unit = np.empty(self.N, self.storage.wide)
        for first, last in self._parts():
            stored, unit[first:last] = self.storage.to_stored(P[first:last])
            self.device.put(self.values[first:last], stored)
        self.device.put(self.unit, unit)

    def part(self, first: int, last: int) -> tuple[NDArray[Any], Floats]:
        """A copy of what is stored of some neurons, as in a `Block`; and units."""
        n, dtype = self.storage.n, PRECISIONS[self.storage.precision].stored
        stored = self.device.take(self.values[first:last]).view(dtype)
        P = stored if self.storage.packed else stored.reshape(last - first, n, n)
        return P, self.device.take(self.unit[first:last])

    def set_part(self, first: int, block: Block) -> None:
        """Take P of the neurons from `first` on: bit for bit from the same storage and precision."""
        last = first + len(block.P)
        if block.p_precision == self.storage.precision and (block.P.ndim == 2) == self.storage.packed:
            stored, unit = self.storage.bits(block.P), block.unit
        else:
            stored, unit = self.storage.to_stored(widened(block))
        self.device.put(self.values[first:last], stored)
        self.device.put(self.unit[first:last], unit)
        self.device.synchronize()  # the block may go

    def diagonal(self, first: int, last: int) -> Floats:
        """The diagonal of P of some neurons, (B, n), as it is computed."""
        found = self.device.empty((last - first, self.storage.n), self.storage.wide)
        if found.size:
            grid = (min(SPREADING_BLOCKS, -(-found.size // BLOCK)),)
            self._diagonal(grid, (BLOCK,), (np.int64(first), np.int64(last), self.values, self.unit, found))
        return self.device.take(found)

    def _parts(self) -> list[tuple[int, int]]:
        rows = max(1, PART_BYTES // (8 * max(1, self.storage.entries)))
        return [(first, min(first + rows, self.N)) for first in range(0, self.N, rows)]


class Update(Protocol):
    """One form of the update, with P and what it keeps between updates."""

    kernels: dict[str, Any]

    def begin_trial(self) -> None:
        """Filtered spikes are zero now."""

    def learn(self, f: Array) -> None:
        """Update from the network after its last step, towards the targets f (N,)."""

    def rls_update(self, x: Array, u_bal: Array, f: Array) -> None:
        """Update from given inputs x (N, n)."""

    def P(self) -> Floats:
        """A copy of P, every update so far written into it."""

    def set_P(self, P: Floats) -> None:
        """Take P in any storage; w has been replaced, too."""

    @property
    def matrices(self) -> Matrices:
        """P as it was last written."""

    def settle(self) -> None:
        """Write every update so far into P."""

    def forget(self) -> None:
        """P and w are being replaced: let go of all that goes on from the last update."""

    def gain(self) -> Floats | None:
        """g of the last update in this trial, (N,), where it is kept."""


class Plain:
    """Read and write all of P at each update."""

    def __init__(
        self, problem: Problem, options: Options, simulation: Simulation, matrices: Matrices | None = None
    ) -> None:
        self.simulation, self.device = simulation, simulation.device
        macros = rls_macros(problem.n, problem.plastic.feedforward, options)
        neurons, warps = int(macros["PLAIN_NEURONS"]), int(macros["PLAIN_WARPS"])  # type: ignore[call-overload]
        module = compiled("plain", macros | {"WARPS": warps, "NEURONS": neurons})
        self.matrices = matrices or Matrices(problem, options, self.device, module)
        self.kernels = {name: module.get_function(name) for name in ("learn_plain", "learn_given")}
        self.grid, self.block = (-(-problem.neurons // neurons),), (32 * warps, neurons)
        self.N, self.benchmark = np.int32(problem.neurons), np.int32(problem.learning.benchmark)

    def begin_trial(self) -> None:
        pass

    def learn(self, f: Array) -> None:
        s, m = self.simulation, self.matrices
        signal = s.filtered_spikes()
        self.kernels["learn_plain"](
            self.grid,
            self.block,
            (self.N, m.values, m.unit, s.w, s.sources, signal, s.u_bal, f, self.benchmark),
        )

    def rls_update(self, x: Array, u_bal: Array, f: Array) -> None:
        m = self.matrices
        self.kernels["learn_given"](
            self.grid, self.block, (self.N, m.values, m.unit, self.simulation.w, x, u_bal, f, self.benchmark)
        )

    def P(self) -> Floats:
        return self.matrices.to_host()

    def set_P(self, P: Floats) -> None:
        self.matrices.replace(P)

    def settle(self) -> None:
        pass

    def forget(self) -> None:
        pass

    def gain(self) -> Floats | None:
        return None


class Event:
    """Read the columns of inputs that spiked; write P every few updates, and at the end of a trial."""

    def __init__(self, problem: Problem, options: Options, simulation: Simulation) -> None:
        self.problem, self.options = problem, options
        self.simulation, self.device = simulation, simulation.device
        N, n, LX = problem.neurons, problem.n, problem.plastic.feedforward
        macros = rls_macros(n, LX, options)
        neurons, warps = int(macros["EVENT_NEURONS"]), int(macros["EVENT_WARPS"])  # type: ignore[call-overload]
        module = compiled("event", macros | {"WARPS": warps, "NEURONS": neurons})
        self.matrices = Matrices(problem, options, self.device, module)
        self.kernels = {name: module.get_function(name) for name in ("learn_event", "fold")}
        self.grid, self.block = (-(-N // neurons),), (32 * warps, neurons)
        folded, folding = int(macros["FOLD_NEURONS"]), int(macros["FOLD_WARPS"])  # type: ignore[call-overload]
        self.fold_grid, self.fold_block = (-(-N // folded),), (32 * folding, folded)
        self.pairs = int(macros["PAIRS"])  # type: ignore[call-overload]
        wide, real = self.matrices.storage.wide, simulation.dtype
        self.k, self.g = self.device.zeros((N, self.pairs, n), wide), self.device.zeros((N, self.pairs), wide)
        self.q_g, self.y_e = self.device.zeros((N, 2), wide), self.device.zeros((N, 2), real)
        self.r_before = self.device.zeros(N, real)
        self.r_X_before = self.device.zeros(max(1, LX), real)
        self.a = (1.0 - problem.clock.dt_ms / float(problem.tau_plas_ms)) ** problem.clock.learn_every
        self.N, self.benchmark = np.int32(N), np.int32(problem.learning.benchmark)
        self.kept, self.last, self.before = 0, 0, NEVER
        self._plain: Plain | None = None

    def begin_trial(self) -> None:
        self._fold()
        self._forget()

    def settle(self) -> None:
        self._fold()

    def forget(self) -> None:
        self.kept = 0
        self._forget()

    def gain(self) -> Floats | None:
        return None if self.before == NEVER else self.device.take(self.q_g)[:, 1]

    def _forget(self) -> None:
        """There is no k to go on from: the next update takes all of x as a jump."""
        self.q_g.fill(0)
        self.y_e.fill(0)
        self.before = NEVER

    def learn(self, f: Array) -> None:
        s, m = self.simulation, self.matrices
        signal = s.jumps(self.a, self.before, self.r_before, self.r_X_before)
        if self.kept == self.pairs:
            self._fold()
        self.kernels["learn_event"](
            self.grid,
            self.block,
            (
                *(self.N, m.values, m.unit, s.w, s.sources, signal, s.u_bal, f, self.k, self.g),
                *(np.int32(self.kept), np.int32(self.last), self.q_g, self.y_e),
                *(m.storage.wide.type(self.a), self.benchmark),
            ),
        )
        self.last, self.before = self.kept, s.step
        self.kept += 1

    def rls_update(self, x: Array, u_bal: Array, f: Array) -> None:
        self._fold()
        self._forget()
        if self._plain is None:
            self._plain = Plain(self.problem, self.options, self.simulation, self.matrices)
        self._plain.rls_update(x, u_bal, f)

    def P(self) -> Floats:
        self._fold()
        return self.matrices.to_host()

    def set_P(self, P: Floats) -> None:
        self.forget()
        self.matrices.replace(P)

    def _fold(self) -> None:
        if self.kept:
            m = self.matrices
            self.kernels["fold"](
                self.fold_grid, self.fold_block, (self.N, m.values, m.unit, self.k, self.g, np.int32(self.kept))
            )
            self.kept = 0


class Frozen:
    """No update: a network without targets keeps neither P nor anything else that learning needs."""

    def __init__(self) -> None:
        self.kernels: dict[str, Any] = {}

    def begin_trial(self) -> None:
        pass

    def learn(self, f: Array) -> None:
        raise UnsupportedError("a network without targets cannot learn")

    def rls_update(self, x: Array, u_bal: Array, f: Array) -> None:
        raise UnsupportedError("a network without targets cannot learn")

    def P(self) -> Floats:
        return np.empty((0, 0))

    def set_P(self, P: Floats) -> None:
        pass

    @property
    def matrices(self) -> Matrices:
        raise UnsupportedError("a network without targets has no P")

    def settle(self) -> None:
        pass

    def forget(self) -> None:
        pass

    def gain(self) -> Floats | None:
        return None
