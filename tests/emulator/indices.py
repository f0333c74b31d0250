"""Kernels on the last neurons of networks in which 32-bit indices would overflow.

In: nothing.  Out: nothing, or an AssertionError or KernelFault.  Needs the stand-in.

Arrays have their full size but take memory only where they are accessed; of each grid only the
blocks of the last neurons run. N = 4,000,000 and n = 90: P has 1.6e10 entries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from rlsbench.backend import Options
from rlsbench.conformance.subjects import problem
from rlsbench.streams import Purpose, distinct_integers, key_from_seed
from rlsbench_cupy.compiling import compiled
from rlsbench_cupy.device import grid_of
from rlsbench_cupy.groups import Arriving, Clock, Feedforward, Learning, Matrices, Pending, Spikes, Synapses
from rlsbench_cupy.simulation import model_macros
from rlsbench_cupy.synapses import drawing_macros
from rlsbench_cupy.tuning import BLOCK, DELIVERING_THREADS, DRAWING_THREADS
from rlsbench_cupy.updates import Team, rls_macros, teams

N: Final = 4_000_000
n: Final = 90
K2: Final = 1024  # static targets of a neuron
LAST: Final = N - 1
F, I32 = np.float32, np.int32
CHECKS: dict[str, Callable[[Any], None]] = {}
"""Name of a kernel to its check, which takes the stand-in."""


def _check(function: Callable[[Any], None]) -> Callable[[Any], None]:
    CHECKS[function.__name__.strip("_")] = function
    return function


def _close(got: Any, wanted: Any) -> None:
    np.testing.assert_allclose(np.asarray(got, np.float64), wanted, rtol=2e-5, atol=2e-5)


def _module(kind: str, algorithm: str) -> tuple[Any, dict[str, Any]]:
    macros: dict[str, Any] = dict(rls_macros(n, 0, Options("float32", "float32", "packed", algorithm=algorithm)))
    return compiled(kind, macros | teams(n)[kind].macros), macros


def _launch_last(kernel: Any, team: Team, arguments: tuple[Any, ...]) -> None:
    """Run the last block of a grid for N neurons."""
    grid = team.grid(N)
    kernel(grid, team.block, arguments, blocks=[grid[0] - 1])


class _Update:
    """Arrays of an update, filled for the last neuron."""

    def __init__(self, cupy: Any) -> None:
        rng = np.random.default_rng(1)
        a = rng.standard_normal((n, n)).astype(F)
        self.rows, self.columns = np.tril_indices(n)
        self.P0 = (a @ a.T / n + np.eye(n)).astype(F)
        self.w0, self.x = rng.standard_normal(n).astype(F), rng.random(n).astype(F)
        self.error = 0.75
        self.P = cupy.zeros((N, n * (n + 1) // 2), F)
        self.P[LAST].set(self.P0[self.rows, self.columns])
        self.unit = cupy.full(N, 1, F)
        self.w, self.sources = cupy.zeros((N, n), F), cupy.zeros((N, n), I32)
        self.w[LAST].set(self.w0)
        self.sources[LAST].set(np.arange(n, dtype=I32)[::-1].copy())
        self.signal = cupy.zeros(N, F)
        self.signal[:n].set(self.x[::-1].copy())
        self.u_bal, self.f = cupy.zeros(N, F), cupy.zeros(N, F)
        self.u_bal[LAST] = 1.0
        self.f[LAST] = 1.0 - self.error
        self.k = self.P0 @ self.x
        self.g = 1 / (1 + self.x @ self.k)
        self.e = self.w0 @ self.x + self.error

    @property
    def arguments(self) -> tuple[Any, ...]:
        """The arguments of both forms."""
        learning = Learning(self.w, self.sources, self.signal, self.u_bal, self.f, I32(0))
        return (I32(N), *Matrices(self.P, self.unit), *learning)

    def packed(self, P: Any) -> Any:
        return P[self.rows, self.columns]


@_check
def _learn_plain(cupy: Any) -> None:
    u = _Update(cupy)
    module, _macros = _module("plain", "plain")
    _launch_last(module.get_function("learn_plain"), teams(n)["plain"], u.arguments)
    _close(u.P[LAST].get(), u.packed(u.P0 - u.g * np.outer(u.k, u.k)))
    _close(u.w[LAST].get(), u.w0 - u.g * u.e * u.k)


@_check
def _learn_event_and_fold(cupy: Any) -> None:
    u = _Update(cupy)
    module, macros = _module("event", "event")
    k = cupy.zeros((N, macros["MAX_PENDING"], n), F)
    g = cupy.zeros((N, macros["MAX_PENDING"]), F)
    q_g, y_e = cupy.zeros((N, 2), F), cupy.zeros((N, 2), F)
    pending = Pending(k, g, I32(0), I32(0), q_g, y_e, F(0.9))
    _launch_last(module.get_function("learn_event"), teams(n)["event"], (*u.arguments, *pending))
    _close(k[LAST, 0].get(), u.k)
    _close(u.w[LAST].get(), u.w0 - u.g * u.e * u.k)
    _launch_last(module.get_function("fold"), teams(n)["fold"], (I32(N), u.P, u.unit, k, g, I32(1)))
    _close(u.P[LAST].get(), u.packed(u.P0 - u.g * np.outer(u.k, u.k)))


@_check
def _spread(cupy: Any) -> None:
    module, _macros = _module("plain", "plain")
    entries = n * (n + 1) // 2
    one, P = cupy.asarray(np.arange(1, entries + 1, dtype=F)), cupy.zeros((N, entries), F)
    grid = -(
        -N * entries // BLOCK
    )  # as many blocks as there would be without strides: the last one has the last entries
    module.get_function("spread")((grid,), (BLOCK,), (np.int64(N), one, P), blocks=[grid - 1])
    assert np.array_equal(P[LAST, -256:].get(), np.arange(entries - 255, entries + 1))


@_check
def _diagonal(cupy: Any) -> None:
    module, _macros = _module("plain", "plain")
    entries = n * (n + 1) // 2
    P, unit = cupy.zeros((N, entries), F), cupy.zeros(N, F)
    unit[LAST].fill(2)
    P[LAST].set(np.arange(1, entries + 1, dtype=F))
    found = cupy.zeros((N, n), F)
    grid = -(-N * n // BLOCK)
    module.get_function("diagonal")((grid,), (BLOCK,), (np.int64(0), np.int64(N), P, unit, found), blocks=[grid - 1])
    i = np.arange(n)
    assert np.array_equal(found[LAST].get(), 2 * (i * (i + 1) // 2 + i + 1))


def _simulation() -> Any:
    p = problem(**{"network.neurons": 4096, "network.K": K2 // 2, "network.L": n // 2})
    return compiled("simulation", model_macros(p, "float32"))


@_check
def _deliver(cupy: Any) -> None:
    spiked, count, now = cupy.zeros(N, I32), cupy.zeros(2, I32), cupy.zeros(4, I32)
    spiked[0] = LAST
    count[1] = 1
    now[1] = 7
    targets = cupy.zeros((N, K2), I32)
    rows = np.arange(LAST - K2, LAST, dtype=I32)
    targets[LAST].set(rows)
    start, post, column = cupy.zeros(N + 1, np.int64), cupy.zeros(N * n, I32), cupy.zeros(N * n, np.uint16)
    start[LAST:].set(np.array([N * n - 2, N * n], np.int64))
    post[-2:].set(np.array([5, LAST], I32))
    column[-2:].set(np.array([3, 89], np.uint16))
    w = cupy.zeros((N, n), F)
    w[5, 3] = 0.5
    w[LAST, 89] = 0.25
    arrived, in_P = cupy.zeros(N, np.uint32), cupy.zeros(N, np.uint64)
    unused = cupy.zeros(1, np.uint64)
    counts, kept = cupy.zeros(N, I32), cupy.zeros((1, 2), I32)
    arguments = (
        I32(N),
        *Synapses(targets, cupy.zeros((1, 1), F), cupy.zeros((1, 1), np.int64), start, post, column, w),
        *Spikes(spiked, count, counts, kept, cupy.zeros(1, I32), I32(1)),
        *Arriving(arrived, unused, unused, in_P),
        *(cupy.zeros(N, F), cupy.zeros(N, F), cupy.zeros(N, I32), cupy.zeros(1, np.float64)),
        *Feedforward(cupy.zeros((1, 1), np.float64), cupy.zeros(1, F)),
        *Clock(now, np.uint32(0), np.uint32(0)),
    )
    _simulation().get_function("deliver")((1024,), (DELIVERING_THREADS,), arguments, blocks=[0])
    assert np.array_equal(arrived[LAST - K2 :].get(), [65536] * K2 + [0])
    assert in_P[5].item() == 2**39
    assert in_P[LAST].item() == 2**38


@_check
def _add_currents(cupy: Any) -> None:
    rows = 600  # 2.4e9 sums
    u_bal, u_P, sums = cupy.zeros(N, F), cupy.zeros(N, F), cupy.zeros((rows, N), F)
    u_bal[LAST], u_P[LAST] = 1.0, 2.0
    grid = grid_of(N)
    arguments = (I32(N), I32(rows - 1), I32(0), u_bal, u_P, sums)
    _simulation().get_function("add_currents")(grid, (BLOCK,), arguments, blocks=[grid[0] - 1])
    assert sums[rows - 1, LAST].item() == 3.0


@_check
def _add(cupy: Any) -> None:
    a, b, out = (cupy.zeros(N, F) for _ in range(3))
    a[LAST], b[LAST] = 1.0, 2.0
    grid = grid_of(N)
    _simulation().get_function("add")(grid, (BLOCK,), (I32(N), a, b, out), blocks=[grid[0] - 1])
    assert out[LAST].item() == 3.0


@_check
def _draw_distinct(cupy: Any) -> None:
    seed, purpose, count = 3, Purpose.STATIC_OUTPUTS, K2
    module = compiled("connect", drawing_macros(count))
    out, pool = cupy.zeros((N, count), I32), cupy.zeros(1, I32)
    key0, key1 = (np.uint32(k) for k in key_from_seed(seed))
    arguments = (
        I32(0),
        np.uint32(N - 1),
        np.uint32(purpose),
        key0,
        key1,
        I32(1),
        I32(0),
        pool,
        out,
        I32(count),
        I32(0),
    )
    module.get_function("draw_distinct")((N,), (DRAWING_THREADS,), arguments, blocks=[LAST])
    wanted = distinct_integers(seed, purpose, rows=np.array([LAST]), count=count, below=N - 1)[0]
    assert np.array_equal(out[LAST].get(), wanted + (wanted >= LAST))


@_check
def _count_and_fill_outputs(cupy: Any) -> None:
    width = 1000  # 4e9 synapses, beyond what any network here has
    entries = np.int64(N * width)
    sources, length = cupy.zeros((N, width), I32), cupy.zeros(N, I32)
    sources[LAST, -1] = LAST
    start = cupy.zeros(N + 1, np.int64)
    start[LAST] = int(entries) - 1
    post, column = cupy.zeros(int(entries), I32), cupy.zeros(int(entries), np.uint16)
    module = compiled("connect", drawing_macros(1))
    grid = grid_of(int(entries))
    module.get_function("count_outputs")(grid, (BLOCK,), (entries, sources, length), blocks=[grid[0] - 1])
    assert length[LAST].item() == 1
    assert length[0].item() == BLOCK - 1
    length.fill(0)
    arguments = (entries, I32(width), I32(0), sources, start, length, post, column)
    module.get_function("fill_outputs")(grid, (BLOCK,), arguments, blocks=[grid[0] - 1])
    assert post[-1].item() == LAST
    assert column[-1].item() == width - 1
