"""What fits into memory: the choice of precision and storage, refusals, and what would fit instead.

In: an experiment, a backend, options.  Out: options, sizes, or an error that lists what would fit.
Allocates nothing; knows no backend.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import NamedTuple

from rlsbench.backend import Backend, Options, goes_with, resolve_options
from rlsbench.capacity.memory import check_memory, fits, free_bytes, known_free_bytes, needed_bytes, readable
from rlsbench.configuration import Experiment
from rlsbench.configuration.experiment import MAX_NEURONS
from rlsbench.precision import PRECISIONS

__all__ = ["Alternative", "advice", "alternatives", "check_fits", "fitting_options", "largest_neurons"]


class Alternative(NamedTuple):
    """One precision and storage of P that a backend has, in a form of the update."""

    options: Options
    bytes: int
    """Of the run as requested."""
    fits: bool
    largest: int
    """Most neurons that fit, 0 if not even the smallest network does."""


def check_fits(backend: Backend, e: Experiment, options: Options, *, learn: bool = True) -> None:
    """Refuse a run that does not fit into memory.

    Parameters
    ----------
    backend : Backend
    e : Experiment
    options : Options
    learn : bool
        Whether anything is learned.

    Raises
    ------
    InsufficientMemoryError
        Its details are the sizes by array, and what would fit.
    """
    needed, free = needed_bytes(backend, e, options, learn=learn), free_bytes(backend, options)
    if sum(needed.values()) > free:
        check_memory(needed, free, ["", *advice(e, alternatives(backend, e, options, free))] if learn else ())


def alternatives(backend: Backend, e: Experiment, options: Options, free: int) -> list[Alternative]:
    """Every precision and storage of P that goes with the precision of the currents, largest first.

    Other forms of the update than the requested one are included where they take less.
    """
    found: list[Alternative] = []
    offered = backend.capabilities
    precisions = [p for p in offered.p_precisions if goes_with(options.precision, p)]
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
    """Most neurons with which an experiment fits; 0 if even its smallest network does not."""
    least = max(2, 2 * e.network.K + 1, 2 * math.ceil(e.network.plastic_per_population / e.network.frac))
    low, high = least - 1, MAX_NEURONS  # low fits or is not allowed; high + 1 does not fit
    while low < high:
        middle = (low + high + 1) // 2
        if fits(needed_bytes(backend, _sized(e, middle), options), free):
            low = middle
        else:
            high = middle - 1
    return low if low >= least else 0


def advice(e: Experiment, found: list[Alternative]) -> list[str]:
    """What would fit, as lines of text."""
    rows = [("P", "storage", "update", "this run", "", "most neurons that fit")]
    rows += [
        (
            f"--p-precision {other.options.p_precision}",
            f"--storage {other.options.storage}",
            f"--algorithm {other.options.algorithm}" if other.options.algorithm != "auto" else "",
            readable(other.bytes),
            "fits" if other.fits else "",
            f"--neurons {_rounded(other.largest)}" if other.largest else "none",
        )
        for other in found
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    if e.targets.kind == "recording":
        lines.append("the recording sets the number of neurons: select fewer by --region, --quality or --minimum-rate")
    return lines


def _rounded(neurons: int) -> int:
    """Down to three digits."""
    unit: int = 10 ** max(0, len(str(neurons)) - 3)
    return neurons // unit * unit


def _sized(e: Experiment, neurons: int) -> Experiment:
    """The experiment with another number of neurons, not validated: only its sizes are used."""
    return e.model_copy(update={"network": e.network.model_copy(update={"neurons": neurons})})


def fitting_options(backend: Backend, experiment: Experiment) -> tuple[Options, list[str]]:
    """Resolve options as `resolve_options` does, and choose "auto" precision and storage by memory.

    The storages are tried in the backend's order, in the precision of the currents and then in its
    first precision of P that takes 16 bits, until one fits. If none does, the smallest is returned;
    on a device that cannot be asked for its memory, the backend's preference.

    Parameters
    ----------
    backend : Backend
    experiment : Experiment

    Returns
    -------
    Options
    list of str
        What a user should know about the choice.

    Raises
    ------
    UnsupportedError
        As `resolve_options`.
    """
    numerics = experiment.numerics
    asked = resolve_options(backend, numerics)
    offered = backend.capabilities
    storages = offered.storages if numerics.storage == "auto" else (asked.storage,)
    precisions = [asked.p_precision]
    if numerics.p_precision == "auto" and asked.precision == "float32":
        precisions += [p for p in offered.p_precisions if PRECISIONS[p].narrow][:1]
    candidates = [replace(asked, p_precision=p, storage=s) for p in precisions for s in storages]
    needed = [needed_bytes(backend, experiment, options) for options in candidates]
    free = known_free_bytes(backend, asked)
    if free is None:
        return asked, []
    chosen = next((i for i, arrays in enumerate(needed) if fits(arrays, free)), None)
    if chosen is None:
        return min(zip(needed, candidates, strict=True), key=lambda pair: sum(pair[0].values()))[1], []
    options = candidates[chosen]
    if options.p_precision == asked.p_precision:
        return options, []
    wider = sum(needed[candidates.index(replace(options, p_precision=asked.p_precision))].values())
    return options, [
        f"P is stored in {options.p_precision}, {options.storage}: in {asked.p_precision} it would need "
        f"{wider / 2**30:.1f} GiB, but only {free / 2**30:.1f} GiB are free"
    ]
