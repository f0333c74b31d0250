"""The two forms of the update as objects: P, what they keep between updates, and their launches.

In: the simulation's signals and weights.  Out: P and w, updated.  Knows no equation.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rlsbench.backend import Arrays, Options, Update
from rlsbench.problem import Problem
from rlsbench.rules import Rls
from rlsbench_cupy.arrays import max_pending
from rlsbench_cupy.compiling import compiled
from rlsbench_cupy.device import Array
from rlsbench_cupy.groups import Learning, Matrices, Pending
from rlsbench_cupy.simulation import NEVER, Simulation
from rlsbench_cupy.storage import Encoding, Floats, Storage
from rlsbench_cupy.tuning import SHARED_BYTES, WARPS_OF_A_BLOCK


class Team(NamedTuple):
    """The threads that share the work on neurons."""

    warps: int  # of a neuron
    neurons: int  # of a block

    def grid(self, N: int) -> tuple[int]:
        """Blocks for N neurons."""
        return (-(-N // self.neurons),)

    @property
    def block(self) -> tuple[int, int]:
        """Threads of a block."""
        return 32 * self.warps, self.neurons

    @property
    def macros(self) -> dict[str, object]:
        """What a kernel of this team is compiled with."""
        return {"WARPS": self.warps, "NEURONS": self.neurons}


def teams(n: int) -> dict[str, Team]:
    """The teams of the kernels: "plain" and "fold" visit n^2 entries, "event" some columns of n."""
    return {
        "plain": Team(1, WARPS_OF_A_BLOCK) if n <= 32 else Team(4, 1),
        "event": Team(1, WARPS_OF_A_BLOCK) if n <= 128 else Team(4, 1),
        "fold": Team(1, 2) if n <= 32 else Team(4, 1),
    }


def rls_macros(n: int, LX: int, options: Options) -> dict[str, object]:
    """Macros of kernels/rls_*.cu; those of a team are added for each module."""
    encoding = Encoding(n, options.storage, options.p_precision)
    wide, real = encoding.wide.itemsize, np.dtype(options.precision).itemsize
    plain, fold = teams(n)["plain"], teams(n)["fold"]
    scratch = (2 + plain.warps) * n * wide + plain.warps * (wide + real)
    return {
        "REAL": "double" if options.precision == "float64" else "float",
        "N_INPUTS": n,
        "LX": LX,
        "PACKED": encoding.packed,
        f"P_{options.p_precision}": None,
        "STAGED": plain.neurons * (scratch + encoding.entries * wide + 64) <= SHARED_BYTES,
        "FOLD_WARPS": fold.warps,
        "FOLD_NEURONS": fold.neurons,
        "MAX_PENDING": max_pending(n, options.p_precision),
    }


class LearningUpdate(Update):
    """An update with P; base of both forms. `storage` is P if another update has allocated it."""

    form: str
    kernel_names: tuple[str, ...]

    def __init__(
        self,
        problem: Problem,
        options: Options,
        arrays: Arrays[Array],
        simulation: Simulation,
        storage: Storage | None = None,
    ) -> None:
        self.simulation = simulation
        self.device = simulation.device
        self.team = teams(problem.n)[self.form]
        macros = rls_macros(problem.n, problem.plastic.feedforward, options)
        module = compiled(self.form, macros | self.team.macros)
        if storage is None:
            encoding = Encoding(problem.n, options.storage, options.p_precision)
            assert isinstance(problem.learning, Rls)
            P0 = problem.learning.initial_P(problem.own_part.plastic)
            storage = Storage(encoding, P0, arrays, self.device, module)
        self.storage = storage
        self.kernels = {name: module.get_function(name) for name in self.kernel_names}
        self.N = simulation.N
        self.benchmark = np.int32(problem.learning.benchmark)
        self.grid = self.team.grid(simulation.neurons)

    @property
    def matrices(self) -> Matrices:
        """P and units as arguments."""
        return Matrices(self.storage.values, self.storage.unit)

    def learning(self, signal: Array, f: Array) -> Learning:
        """Weights, inputs and targets as arguments."""
        s = self.simulation
        return Learning(s.w, s.sources, signal, s.state.u_bal, f, self.benchmark)


class Plain(LearningUpdate):
    """Read and write all of P at each update."""

    form = "plain"
    kernel_names = ("learn_plain", "learn_given")

    def learn(self, f: Array) -> None:
        signal = self.simulation.filtered_spikes()
        arguments = (self.N, *self.matrices, *self.learning(signal, f))
        self.kernels["learn_plain"](self.grid, self.team.block, arguments)

    def rls_update(self, x: Array, u_bal: Array, f: Array) -> None:
        arguments = (self.N, *self.matrices, self.simulation.w, x, u_bal, f, self.benchmark)
        self.kernels["learn_given"](self.grid, self.team.block, arguments)


class Event(LearningUpdate):
    """Read the columns of inputs that spiked; write P every m updates and after a trial."""

    form = "event"
    kernel_names = ("learn_event", "fold")

    def __init__(self, problem: Problem, options: Options, arrays: Arrays[Array], simulation: Simulation) -> None:
        super().__init__(problem, options, arrays, simulation)
        self._plain_arguments = (problem, options, arrays, simulation)
        self._plain: Plain | None = None
        self.fold_team = teams(problem.n)["fold"]
        self.a = (1.0 - problem.clock.dt_ms / float(problem.tau_plas_ms)) ** problem.clock.learn_every
        self.k, self.g, self.q_g, self.y_e = (arrays.new(name) for name in ("k", "g", "q_g", "y_e"))
        self.r_before, self.r_X_before = arrays.new("r_before"), arrays.new("r_X_before")
        self.k.fill(0)
        self.g.fill(0)
        self.last = 0
        self.forget()

    def begin_trial(self) -> None:
        self.settle()
        self.forget()

    def forget(self) -> None:
        self.pending = 0
        self.q_g.fill(0)
        self.y_e.fill(0)
        self.before = NEVER  # step of the last update; the next one takes all of x as a jump

    def learn(self, f: Array) -> None:
        signal = self.simulation.jumps(self.a, self.before, self.r_before, self.r_X_before)
        if self.pending == self.k.shape[1]:
            self.settle()
        a = self.storage.encoding.wide.type(self.a)
        pending = Pending(self.k, self.g, np.int32(self.pending), np.int32(self.last), self.q_g, self.y_e, a)
        arguments = (self.N, *self.matrices, *self.learning(signal, f), *pending)
        self.kernels["learn_event"](self.grid, self.team.block, arguments)
        self.last = self.pending
        self.before = self.simulation.step
        self.pending += 1

    def rls_update(self, x: Array, u_bal: Array, f: Array) -> None:
        self.begin_trial()
        if self._plain is None:
            self._plain = Plain(*self._plain_arguments, self.storage)
        self._plain.rls_update(x, u_bal, f)

    def settle(self) -> None:
        if self.pending:
            arguments = (self.N, *self.matrices, self.k, self.g, np.int32(self.pending))
            self.kernels["fold"](self.fold_team.grid(int(self.N)), self.fold_team.block, arguments)
            self.pending = 0

    def gain(self) -> Floats | None:
        return None if self.before == NEVER else self.device.take(self.q_g)[:, 1]
