"""Memory that a run needs, array by array, and the memory that is free.

In: a backend, an experiment and options.  Out: bytes by array, or `InsufficientMemoryError`.
Allocates nothing.

The arrays of the trainer are those that its backend declares; the arrays that a run keeps besides
its trainer are declared here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from rlsbench.available import available_bytes
from rlsbench.backend import ArraySpec, Backend, Lifetime, Options, Sizes
from rlsbench.clock import Clock
from rlsbench.configuration import Experiment
from rlsbench.errors import InsufficientMemoryError

__all__ = ["check_memory", "fits", "free_bytes", "known_free_bytes", "needed_bytes", "readable", "shortage_table"]

PICTURES: Final = 40 * 2**20  # Matplotlib and its canvas, as measured


def needed_bytes(backend: Backend, e: Experiment, options: Options, *, learn: bool = True) -> dict[str, int]:
    """Peak memory of a run in bytes, by array.

    Only the largest scratch array counts, because scratch arrays never exist at the same time.
    Scratch for drawing the network is freed before P is allocated, so only its excess over the
    later arrays counts.

    Parameters
    ----------
    backend : Backend
    e : Experiment
    options : Options
    learn : bool
        Whether the run learns; if not, it has neither P nor anything else that updates need.

    Returns
    -------
    dict
        Heading to bytes. If the options name a device, only arrays on that device.
    """
    place = "host" if options.device == "cpu" else "device"
    specs = [*backend.arrays(Sizes.of_experiment(e), options), *_beside_the_trainer(backend, e, options)]
    specs = [s for s in specs if s.placement == place and (learn or s.lifetime in (Lifetime.NETWORK, Lifetime.STATE))]
    later = sum(s.bytes for s in specs if s.lifetime in (Lifetime.STATE, Lifetime.LEARNING))
    scratch = [(s.bytes, s) for s in specs if s.lifetime is Lifetime.SCRATCH]
    scratch += [(s.bytes - later, s) for s in specs if s.lifetime is Lifetime.DRAWING]
    needed: dict[str, int] = {}
    for spec in specs:
        if spec.lifetime not in (Lifetime.SCRATCH, Lifetime.DRAWING):
            needed[spec.heading] = needed.get(spec.heading, 0) + spec.bytes
    if scratch:
        size, largest = max(scratch, key=lambda pair: pair[0])
        needed[largest.heading] = size
    return {name: size for name, size in needed.items() if size > 0}


def _beside_the_trainer(backend: Backend, e: Experiment, options: Options) -> Iterable[ArraySpec]:
    """Arrays that a run keeps besides its trainer.

    The host keeps the learned current of this iteration and of the last one; a device keeps one.
    Recorded rates are kept after targets have been made from them.
    """
    clock, N, of = Clock.from_experiment(e), e.network.neurons, ArraySpec.of
    recorded = e.targets.kind != "sinusoid"
    samples = clock.bins + 2 + round(2 * e.training.window_ms / e.time.learn_every_ms)
    rates = (e.targets.tasks, clock.bins, N) if recorded else 0
    return (
        of("learned current", (2, samples, N), options.precision),
        of("learned current", (samples, N), options.precision, placement="device"),
        of("phases of the targets", 0 if recorded else (e.targets.tasks, N), np.float64),
        of("recorded rates", rates, np.float64),
        of("targets of the recording", rates, np.float64),
        of("scratch for saving w", (N, e.plastic_inputs), options.precision, Lifetime.SCRATCH),
        of("scratch for pictures", PICTURES, np.uint8, Lifetime.SCRATCH),
        of("Python and libraries", backend.capabilities.library_bytes, np.uint8, Lifetime.NETWORK),
    )


def free_bytes(backend: Backend, options: Options) -> int:
    """Free memory of the device that the options name, or of this machine if that is unknown."""
    known = known_free_bytes(backend, options)
    return available_bytes() if known is None else known


def known_free_bytes(backend: Backend, options: Options) -> int | None:
    """Free memory of the CPU or device in the options; None if it is not usable here."""
    if options.device == "cpu":
        return available_bytes()
    if backend.unavailable() is None and backend.unusable(options) is None:
        return backend.free_bytes(options)
    return None


def fits(needed: Mapping[str, int], free: int | None = None) -> bool:
    """Whether arrays fit into 95 % of the free memory (by default that of this machine)."""
    return sum(needed.values()) <= 0.95 * (available_bytes() if free is None else free)


def check_memory(needed: Mapping[str, int], free: int | None = None, advice: Sequence[str] = ()) -> None:
    """Raise an error if arrays exceed the free memory.

    Parameters
    ----------
    needed : mapping of str to int
        Bytes by array.
    free : int, optional
        By default the free memory of this machine.
    advice : sequence of str
        Lines to print below the table.

    Raises
    ------
    InsufficientMemoryError
        Names the largest arrays and the free memory; its details list all arrays.
    """
    total, free = sum(needed.values()), available_bytes() if free is None else free
    if total > free:
        largest = sorted(needed.items(), key=lambda item: -item[1])[:2]
        parts = ", ".join(f"{name} {size / 2**30:.1f}" for name, size in largest)
        raise InsufficientMemoryError(
            f"this run needs {total / 2**30:.1f} GiB ({parts}), but only {free / 2**30:.1f} GiB are free; "
            "use fewer --neurons, --storage packed or a narrower --p-precision, or start it anyway with --force",
            details=[*shortage_table(needed, free), *advice],
        )


def shortage_table(needed: Mapping[str, int], free: int, what: str = "array") -> list[str]:
    """Sizes as lines of text, the largest first, followed by their total and the free space."""
    rows = [*sorted(needed.items(), key=lambda item: -item[1]), ("total", sum(needed.values())), ("free", free)]
    width = max(len(name) for name, _ in rows)
    return [f"{what:{width}}  {'bytes':>10}"] + [f"{name:{width}}  {readable(size):>10}" for name, size in rows]


def readable(size: int) -> str:
    """A size in GiB, MiB or KiB."""
    unit, name = next(((u, n) for u, n in ((2**30, "GiB"), (2**20, "MiB")) if size >= u), (2**10, "KiB"))
    return f"{size / unit:,.1f} {name}"
