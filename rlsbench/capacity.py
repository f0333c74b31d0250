"""Memory and disk space that a run needs, what is free, and alternatives that fit.

In: an experiment, a backend, options.  Out: bytes by array or file, options, or an error with a
table of sizes and alternatives.  Allocates and writes nothing.

The arrays of the trainer are those that its backend declares; the arrays that a run keeps besides
its trainer are declared here.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from rlsbench.available import available_bytes, free_disk_bytes
from rlsbench.backend import (
    ArraySpec,
    Backend,
    Lifetime,
    Options,
    Sizes,
    compatible_precisions,
    resolve_options,
    rule_arrays,
)
from rlsbench.clock import Clock
from rlsbench.configuration import Experiment
from rlsbench.configuration.experiment import MAX_NEURONS
from rlsbench.errors import InsufficientDiskError, InsufficientMemoryError, UnsupportedError
from rlsbench.plugins import ContractError, blamed
from rlsbench.precision import PRECISIONS
from rlsbench.ranks import ALONE, Communicator

# Bytes, as measured:
PICTURES: Final = 40 * 2**20  # memory of Matplotlib and its canvas
DOCUMENTS: Final = 2**15  # files of configuration, machine and document without iterations
FIGURES: Final = 2**20  # files, with a margin
MEASURED: Final = 10  # numbers for each neuron of other ranks: external current, rates, currents, counts, correlations
PER_ITERATION: Final = 420  # in the document and the learning curve


def needed_bytes(
    backend: Backend, e: Experiment, options: Options, *, learn: bool = True, ranks: Communicator = ALONE
) -> dict[str, int]:
    """Peak memory of a run in bytes, by array: on the device, if the options name one.

    Only the largest scratch array counts, because scratch arrays never exist at the same time.
    Scratch for drawing the network is freed before P is allocated, so only its excess over the
    later arrays counts. A run that does not learn has neither P nor anything else for updates. Of
    several ranks, this is the memory of this one.
    """
    place = "host" if options.device == "cpu" else "device"
    with blamed(f"backend {backend.name}"):
        declared = backend.arrays(Sizes.of_experiment(e, ranks), options)
        if any(spec.bytes < 0 for spec in declared):
            raise ContractError("arrays() declares a negative size")
    specs = [*declared, *_beside_the_trainer(backend, e, options, ranks)]
    specs = [s for s in specs if s.placement == place and (learn or s.lifetime in (Lifetime.NETWORK, Lifetime.STATE))]
    later = sum(s.bytes for s in specs if s.lifetime in (Lifetime.STATE, Lifetime.LEARNING))
    needed: Counter[str] = Counter()
    scratch = [(0, "")]
    for spec in specs:
        if spec.lifetime in (Lifetime.SCRATCH, Lifetime.DRAWING):
            scratch.append((spec.bytes - (later if spec.lifetime is Lifetime.DRAWING else 0), spec.heading))
        else:
            needed[spec.heading] += spec.bytes
    size, largest = max(scratch)
    needed[largest] = size
    return {name: size for name, size in needed.items() if size > 0}


def _beside_the_trainer(backend: Backend, e: Experiment, options: Options, ranks: Communicator) -> Iterable[ArraySpec]:
    """Arrays that a run keeps besides its trainer."""
    clock, N, of = Clock.from_experiment(e), e.network.neurons, ArraySpec.of
    own = Sizes.of_experiment(e, ranks)
    recorded = e.targets.kind != "sinusoid"
    samples = clock.bins + 2 + round(2 * e.training.window_ms / e.time.learn_every_ms)
    rates = (e.targets.tasks, clock.bins, N) if recorded else 0  # kept after targets have been made from them
    return (
        of("learned current", (samples, own.N), options.precision),
        of("learned current", (samples, own.N), options.precision, placement="device"),
        of("phases of the targets", 0 if recorded else (2, e.targets.tasks, N), np.float64),
        of("recorded rates", rates, np.float64),
        of("targets of the recording", rates, np.float64),
        of("measurements of all neurons", (MEASURED, N) if ranks.spread else 0, np.float64),
        of("scratch for saving w", (own.N if ranks.rank else N, own.n), options.precision, Lifetime.SCRATCH),
        of("scratch for pictures", PICTURES, np.uint8, Lifetime.SCRATCH),
        of("Python and libraries", backend.capabilities.library_bytes, np.uint8, Lifetime.NETWORK),
    )


def disk_bytes(e: Experiment, options: Options, *, weights: bool = True) -> dict[str, int]:
    """Sizes of the files of a run in bytes, by name; the options are resolved.

    A full checkpoint contains w, what the rule keeps, in the precision and storage of the run, 8
    bytes per neuron for the scale of int16, and the learning curve. The one that is being written
    counts, too.
    """
    section = e.checkpoints
    w, curve = _weight_bytes(e, options), e.training.iterations * PER_ITERATION
    kept = min(section.keep, math.ceil(e.training.iterations / section.every)) if section.every else 0
    kept += section.best == "whole"
    needed = {
        "checkpoints": (kept + 1) * checkpoint_bytes(e, options) if kept else 0,
        "best weights": 2 * (w + curve) if section.best == "weights" else 0,  # two during replacement
        "weights.npy": w + 128 if weights else 0,
        "documents": DOCUMENTS + curve,
        "figures": FIGURES,
    }
    return {name: size for name, size in needed.items() if size}


def checkpoint_bytes(e: Experiment, options: Options) -> int:
    """Size of one full checkpoint; see `disk_bytes`."""
    kept = sum(array.bytes for array in rule_arrays(Sizes.of_experiment(e), options))
    return _weight_bytes(e, options) + kept + 8 * e.network.neurons + e.training.iterations * PER_ITERATION


def _weight_bytes(e: Experiment, options: Options) -> int:
    return e.network.neurons * Sizes.of_experiment(e).n * np.dtype(options.precision).itemsize


def free_bytes(backend: Backend, options: Options, ranks: Communicator = ALONE) -> int:
    """Free memory of the device that the options name, or of this machine if that is unknown.

    With several ranks, the share of this one.
    """
    known = known_free_bytes(backend, options, ranks)
    return available_bytes() // ranks.here if known is None else known


def known_free_bytes(backend: Backend, options: Options, ranks: Communicator = ALONE) -> int | None:
    """Free memory of the CPU or device in the options; None if it is not usable here.

    With several ranks, the share of this one.
    """
    if options.device == "cpu":
        return available_bytes() // ranks.here
    with blamed(f"backend {backend.name}"):
        if backend.unavailable() is None and backend.unusable(options) is None:
            return backend.share_bytes(options, ranks)
    return None


def fits(needed: Mapping[str, int], free: int) -> bool:
    """Whether arrays fit into 95 % of the free memory."""
    return sum(needed.values()) <= 0.95 * free


def check_fits(
    backend: Backend, e: Experiment, options: Options, *, learn: bool = True, ranks: Communicator = ALONE
) -> None:
    """Raise InsufficientMemoryError unless a run fits into memory, or a rank into its share.

    Its details are the sizes by array and, for a run that learns, the alternatives.
    """
    needed = needed_bytes(backend, e, options, learn=learn, ranks=ranks)
    free = free_bytes(backend, options, ranks)
    total = sum(needed.values())
    if total > free:
        largest = sorted(needed.items(), key=lambda item: -item[1])[:2]
        which = f"rank {ranks.rank}" if ranks.spread else "this run"
        parts = ", ".join(f"{name} {size / 2**30:.1f}" for name, size in largest)
        advised = learn and not ranks.spread
        more = ["", *advice(e, alternatives(backend, e, options, free))] if advised else []
        raise InsufficientMemoryError(
            f"{which} needs {total / 2**30:.1f} GiB ({parts}), but only {free / 2**30:.1f} GiB are free; "
            "use fewer --neurons, --storage packed or a narrower --p-precision, or start it anyway with --force",
            details=[*_table(needed, free, "array"), *more],
        )


def check_disk(needed: Mapping[str, int], folder: str | Path) -> None:
    """Raise InsufficientDiskError unless files fit on the disk of a folder (it need not exist)."""
    total, free = sum(needed.values()), free_disk_bytes(folder)
    if free is not None and total > free:
        raise InsufficientDiskError(
            f"the files of this run need {readable(total)}, but {readable(free)} are free at {folder}: keep fewer "
            "checkpoints, use --no-save-weights, or choose another --output; --force starts it anyway",
            details=_table(needed, free, "file"),
        )


def _table(needed: Mapping[str, int], free: int, what: str) -> list[str]:
    """Sizes as lines of text, the largest first, followed by their total and the free space."""
    sizes = [*sorted(needed.items(), key=lambda item: -item[1]), ("total", sum(needed.values())), ("free", free)]
    return _lines([(what, f"{'bytes':>10}"), *((name, f"{readable(size):>10}") for name, size in sizes)])


def _lines(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows of a table as lines of text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def readable(size: int) -> str:
    """A size in GiB, MiB or KiB."""
    unit, name = next(((u, n) for u, n in ((2**30, "GiB"), (2**20, "MiB")) if size >= u), (2**10, "KiB"))
    return f"{size / unit:,.1f} {name}"


class Alternative(NamedTuple):
    """A precision, storage and form of the update that a backend supports."""

    options: Options
    bytes: int  #: memory of the run
    fits: bool
    largest: int  #: largest number of neurons that fits; 0 if not even the smallest network fits


def alternatives(backend: Backend, e: Experiment, options: Options, free: int) -> list[Alternative]:
    """All supported precisions and storages of P for this precision of currents, largest first.

    Other forms of the update are included if they need less memory than the requested one.
    """
    found: list[Alternative] = []
    offered = backend.capabilities
    precisions = [p for p in offered.p_precisions if compatible_precisions(options.precision, p)]
    for p_precision, storage in itertools.product(precisions, offered.storages):
        least: float = math.inf
        for algorithm in dict.fromkeys((options.algorithm, *offered.algorithms)):
            other = replace(options, p_precision=p_precision, storage=storage, algorithm=algorithm)
            needed = needed_bytes(backend, e, other)
            total = sum(needed.values())
            if total < least:
                least = total
                found.append(Alternative(other, total, fits(needed, free), largest_neurons(backend, e, other, free)))
    return sorted(found, key=lambda alternative: -alternative.bytes)


def largest_neurons(backend: Backend, e: Experiment, options: Options, free: int) -> int:
    """Largest number of neurons with which an experiment fits; 0 if the smallest does not fit."""
    if e.connectivity:  # which is that of a network of this size
        return e.network.neurons if fits(needed_bytes(backend, e, options), free) else 0
    pool = math.ceil(e.network.plastic_per_population / e.network.frac)
    N, share = e.network.neurons, min(e.neurons_by_sign)
    least = max(2, 2 * e.network.K + 1, -(-pool * N // share) if e.populations and share else 2 * pool)

    def too_many(neurons: int) -> bool:
        # Not validated: only its sizes are used.
        resized = e.model_copy(update={"network": e.network.model_copy(update={"neurons": neurons})})
        return not fits(needed_bytes(backend, resized, options), free)

    fitting = bisect_left(range(least, MAX_NEURONS + 1), True, key=too_many)
    return least + fitting - 1 if fitting else 0


def advice(e: Experiment, found: Sequence[Alternative]) -> list[str]:
    """A table of alternatives as lines of text."""
    rows = [("P", "storage", "update", "this run", "", "most neurons that fit")]
    for o, size, fit, largest in found:
        unit = 10 ** max(0, len(str(largest)) - 3)  # three leading digits are shown
        update = f"--algorithm {o.algorithm}" if o.algorithm != "auto" else ""
        most = f"--neurons {largest // unit * unit}" if largest else "none"
        this = (readable(size), "fits" if fit else "")
        rows.append((f"--p-precision {o.p_precision}", f"--storage {o.storage}", update, *this, most))
    select = "the recording sets the number of neurons; to select fewer, use --region, --quality or --minimum-rate"
    return _lines(rows) + ([select] if e.targets.kind == "recording" else [])


def fitting_options(
    backend: Backend, experiment: Experiment, ranks: Communicator = ALONE, free: int | None = None
) -> tuple[Options, list[str]]:
    """Resolve options as `resolve_options` does, and choose "auto" precision and storage by memory.

    The backend's storages are tried in order, first with P in the precision of the currents, then
    in the backend's first 16-bit precision, until one fits. If none fits, the smallest is returned;
    for a device whose memory is unknown, the backend's preference. The texts are remarks for the
    user about the choice. `free` takes the place of the free memory of this machine, which ranks
    share. Raises UnsupportedError as `resolve_options` does.
    """
    numerics = experiment.numerics
    requested = resolve_options(backend, numerics)
    free = known_free_bytes(backend, requested, ranks) if free is None else free // ranks.here
    if free is None:
        return requested, []
    offered = backend.capabilities
    storages = offered.storages if numerics.storage == "auto" else (requested.storage,)
    precisions = [requested.p_precision]
    if numerics.p_precision == "auto" and requested.precision == "float32":
        precisions += [p for p in offered.p_precisions if PRECISIONS[p].narrow][:1]
    candidates = [replace(requested, p_precision=p, storage=s) for p in precisions for s in storages]
    needed = {options: needed_bytes(backend, experiment, options, ranks=ranks) for options in candidates}
    chosen = next((options for options in candidates if fits(needed[options], free)), None)
    if chosen is None:
        return min(candidates, key=lambda options: sum(needed[options].values())), []
    if chosen.p_precision == requested.p_precision:
        return chosen, []
    wider = sum(needed[replace(chosen, p_precision=requested.p_precision)].values())
    return chosen, [
        f"P is stored in {chosen.p_precision}, {chosen.storage}: in {requested.p_precision} it would need "
        f"{wider / 2**30:.1f} GiB, but only {free / 2**30:.1f} GiB are free"
    ]


def assumed_device(backend: Backend, memory: int) -> Backend:
    """The backend as if it were on a device with that many free bytes, each rank on one of its own.

    Raises UnsupportedError if the backend runs on the CPU only.
    """
    if not backend.capabilities.has_device:
        raise UnsupportedError(f"backend {backend.name} runs on the CPU only: omit --device-memory")
    assumed = copy(backend)
    vars(assumed).update(free_bytes=lambda options: memory, share_bytes=lambda options, ranks: memory)
    vars(assumed).update(unavailable=lambda: None, unusable=lambda options: None)
    return assumed
