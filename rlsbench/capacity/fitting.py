"""Choice of precision and storage by memory, refusal of runs that do not fit, and alternatives.

In: an experiment, a backend, options.  Out: options, sizes, or an error that lists alternatives.
Allocates nothing.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import NamedTuple

from rlsbench.backend import Backend, Options, compatible_precisions, resolve_options
from rlsbench.capacity.memory import check_memory, fits, free_bytes, known_free_bytes, needed_bytes, readable
from rlsbench.configuration import Experiment
from rlsbench.configuration.experiment import MAX_NEURONS
from rlsbench.precision import PRECISIONS

__all__ = ["Alternative", "advice", "alternatives", "check_fits", "fitting_options", "largest_neurons"]


class Alternative(NamedTuple):
    """A precision, storage and form of the update that a backend supports."""

    options: Options
    bytes: int
    """Memory of the run."""
    fits: bool
    largest: int
    """Largest number of neurons that fits; 0 if not even the smallest network fits."""


def check_fits(backend: Backend, e: Experiment, options: Options, *, learn: bool = True) -> None:
    """Raise an error if a run does not fit into memory.

    Raises
    ------
    InsufficientMemoryError
        Its details are the sizes by array and, for a run that learns, the alternatives.
    """
    needed, free = needed_bytes(backend, e, options, learn=learn), free_bytes(backend, options)
    if sum(needed.values()) > free:
        check_memory(needed, free, ["", *advice(e, alternatives(backend, e, options, free))] if learn else ())


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
    least = max(2, 2 * e.network.K + 1, 2 * math.ceil(e.network.plastic_per_population / e.network.frac))
    low, high = least - 1, MAX_NEURONS  # invariant: low fits or is below the minimum; high + 1 does not fit
    while low < high:
        middle = (low + high + 1) // 2
        # Not validated: only its sizes are used.
        resized = e.model_copy(update={"network": e.network.model_copy(update={"neurons": middle})})
        if fits(needed_bytes(backend, resized, options), free):
            low = middle
        else:
            high = middle - 1
    return low if low >= least else 0


def advice(e: Experiment, found: list[Alternative]) -> list[str]:
    """A table of alternatives as lines of text."""
    rows = [("P", "storage", "update", "this run", "", "most neurons that fit")]
    rows += [
        (
            f"--p-precision {other.options.p_precision}",
            f"--storage {other.options.storage}",
            f"--algorithm {other.options.algorithm}" if other.options.algorithm != "auto" else "",
            readable(other.bytes),
            "fits" if other.fits else "",
            f"--neurons {_rounded_down(other.largest)}" if other.largest else "none",
        )
        for other in found
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if e.targets.kind == "recording":
        lines.append(
            "the recording sets the number of neurons; to select fewer, use --region, --quality or --minimum-rate"
        )
    return lines


def _rounded_down(neurons: int) -> int:
    """The number with only its three leading digits kept."""
    unit: int = 10 ** max(0, len(str(neurons)) - 3)
    return neurons // unit * unit


def fitting_options(backend: Backend, experiment: Experiment) -> tuple[Options, list[str]]:
    """Resolve options as `resolve_options` does, and choose "auto" precision and storage by memory.

    The backend's storages are tried in order, first with P in the precision of the currents, then
    in the backend's first 16-bit precision, until one fits. If none fits, the smallest is returned;
    for a device whose memory is unknown, the backend's preference.

    Returns
    -------
    Options
    list of str
        Remarks for the user about the choice.

    Raises
    ------
    UnsupportedError
        From `resolve_options`.
    """
    numerics = experiment.numerics
    requested = resolve_options(backend, numerics)
    free = known_free_bytes(backend, requested)
    if free is None:
        return requested, []
    offered = backend.capabilities
    storages = offered.storages if numerics.storage == "auto" else (requested.storage,)
    precisions = [requested.p_precision]
    if numerics.p_precision == "auto" and requested.precision == "float32":
        precisions += [p for p in offered.p_precisions if PRECISIONS[p].narrow][:1]
    candidates = [replace(requested, p_precision=p, storage=s) for p in precisions for s in storages]
    needed = {options: needed_bytes(backend, experiment, options) for options in candidates}
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
