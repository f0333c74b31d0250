"""How many bytes a training run will need, before anything is allocated, and whether they can be had.

In: an experiment and options.  Out: bytes by array.  Knows sizes, not backends.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from rlsbench.available import available_bytes
from rlsbench.backend.protocol import Backend, Options, OwnDevices
from rlsbench.clock import Clock
from rlsbench.configuration import Experiment
from rlsbench.errors import InsufficientMemoryError
from rlsbench.precision import PRECISION_BYTES

__all__ = [
    "check_memory",
    "fits",
    "free_bytes",
    "frozen_bytes",
    "known_free_bytes",
    "needed_bytes",
    "readable",
    "shortage_table",
    "standard_bytes",
]

LIBRARIES: Final = 72 * 2**20  # Python, NumPy, SciPy and the rest, as measured
PICTURES: Final = 40 * 2**20  # Matplotlib and what it draws on, as measured
DRAWN: Final = 2_000_000  # words that `rlsbench.streams` draws at once
DRAWING: Final = 60  # bytes that it holds for each of them, as measured
SCRATCH = "scratch"
SYNAPSES: Final = frozenset(
    {
        "plastic inputs",
        "plastic outputs",
        "plastic synapses",
        "static synapses",
        "static targets",
        "static weights",
        "Python and libraries",
    }
)
"""What is there while the network is drawn; the rest comes later."""
FROZEN: Final = frozenset(
    {"w", "state", "learned current", "phases of the targets", "recorded rates", "targets of the recording"}
)


def standard_bytes(e: Experiment, options: Options, *, state_arrays: int) -> dict[str, int]:
    """Bytes of a trainer that keeps the usual arrays.

    Parameters
    ----------
    e : Experiment
    options : Options
    state_arrays : int
        Arrays of N values that its simulation keeps.

    Returns
    -------
    dict
        Name of the array to bytes; with what NumPy takes to draw the network.
    """
    N, recurrent = e.network.neurons, 2 * e.network.plastic_per_population
    n = e.plastic_inputs
    entries = n * n if options.storage == "full" else n * (n + 1) // 2
    real = np.dtype(options.precision).itemsize
    return {
        "P": N * entries * PRECISION_BYTES[options.p_precision],
        "w": N * n * real,
        "plastic inputs": N * recurrent * 4,
        "plastic outputs": N * recurrent * 8,
        "static targets": N * 2 * e.network.K * 4,
        "state": N * state_arrays * real,
        "scratch for drawing": _drawing_bytes(N, 2 * e.network.K),
    }


def _drawing_bytes(N: int, count: int) -> int:
    """What `rlsbench.streams.distinct_integers` takes to draw `count` synapses of each neuron, a batch at a time."""
    draws = N * (math.log(N) - math.log(max(N - count, 0.5)))
    return DRAWING * int(min(DRAWN, N * draws))


def free_bytes(backend: Backend, options: Options) -> int:
    """Memory that a trainer can still take where it would be: on a device of its own, or in this machine."""
    known = known_free_bytes(backend, options)
    return available_bytes() if known is None else known


def known_free_bytes(backend: Backend, options: Options) -> int | None:
    """The same, or None where it would be on a device that cannot be asked, since it cannot be used here."""
    if options.device == "cpu":
        return available_bytes()
    if isinstance(backend, OwnDevices) and backend.unavailable() is None and backend.unusable(options) is None:
        return backend.free_bytes(options)
    return None


def needed_bytes(backend: Backend, e: Experiment, options: Options) -> dict[str, int]:
    """Bytes of a training run by array at its peak: what the backend's trainer holds, and what there is beside it.

    The learned current is there twice: that of the last iteration is kept until the next one has ended.  Recorded rates
    become a matrix of targets, and stay.  Of scratch, which is let go of before other scratch is taken, only the most
    counts; and of that for drawing, which is there before P is, what exceeds the arrays that come later.
    """
    if options.device != "cpu" and isinstance(backend, OwnDevices):
        return dict(backend.memory_bytes(e, options))  # on the device; what is beside it is in the machine's memory
    clock, N = Clock.from_experiment(e), e.network.neurons
    real = np.dtype(options.precision).itemsize
    samples = clock.bins + 2 + round(2 * e.training.window_ms / e.time.learn_every_ms)
    recorded = 0 if e.targets.kind == "sinusoid" else e.targets.tasks * clock.bins * N * 8
    needed = {
        **backend.memory_bytes(e, options),
        "learned current": 2 * samples * N * real,
        "phases of the targets": 0 if recorded else e.targets.tasks * N * 8,
        "recorded rates": recorded,
        "targets of the recording": recorded,
        "scratch for saving w": N * e.plastic_inputs * real,
        "scratch for pictures": PICTURES,
        "Python and libraries": int(getattr(backend, "library_bytes", LIBRARIES)),
    }
    held = {name: size for name, size in needed.items() if not name.startswith(SCRATCH)}
    scratch = {name: size for name, size in needed.items() if name.startswith(SCRATCH)}
    later = sum(size for name, size in held.items() if name not in SYNAPSES)
    if "scratch for drawing" in scratch:
        scratch["scratch for drawing"] -= later
    largest = max(scratch, key=lambda name: scratch[name])
    return {name: size for name, size in (held | {largest: scratch[largest]}).items() if size > 0}


def frozen_bytes(needed: Mapping[str, int]) -> dict[str, int]:
    """What is left of a run's arrays where nothing is learned: no P, and nothing that belongs to an update."""
    return {name: size for name, size in needed.items() if name in SYNAPSES or name in FROZEN}


def fits(needed: Mapping[str, int], free: int | None = None) -> bool:
    """Whether so many bytes can be had of those free (by default in this machine), with a little to spare."""
    return sum(needed.values()) <= 0.95 * (available_bytes() if free is None else free)


def check_memory(needed: Mapping[str, int], free: int | None = None, advice: Sequence[str] = ()) -> None:
    """Refuse what cannot fit.

    Parameters
    ----------
    needed : mapping of str to int
        Bytes by array.
    free : int, optional
        By default what is free in this machine.
    advice : sequence of str
        Lines to stand below the table.

    Raises
    ------
    InsufficientMemoryError
        With the largest arrays and what is free; all arrays are in its details.
    """
    total, free = sum(needed.values()), available_bytes() if free is None else free
    if total > free:
        largest = sorted(needed.items(), key=lambda item: -item[1])[:2]
        parts = ", ".join(f"{name} {size / 2**30:.1f}" for name, size in largest)
        raise InsufficientMemoryError(
            f"this needs {total / 2**30:.1f} GiB ({parts}) and {free / 2**30:.1f} GiB are free; "
            "take fewer --neurons, --storage packed or a narrower --p-precision, or start it nevertheless by --force",
            details=[*shortage_table(needed, free), *advice],
        )


def shortage_table(needed: Mapping[str, int], free: int, what: str = "array") -> list[str]:
    """Sizes as lines of text, the largest first, with their sum and what is free."""
    rows = [*sorted(needed.items(), key=lambda item: -item[1]), ("in all", sum(needed.values())), ("free", free)]
    width = max(len(name) for name, _ in rows)
    return [f"{what:{width}}  {'bytes':>10}"] + [f"{name:{width}}  {readable(size):>10}" for name, size in rows]


def readable(size: int) -> str:
    """A size as people read it, in GiB, MiB or KiB."""
    unit, name = next(((u, n) for u, n in ((2**30, "GiB"), (2**20, "MiB")) if size >= u), (2**10, "KiB"))
    return f"{size / unit:,.1f} {name}"
