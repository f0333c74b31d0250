"""Matrices of rates or counts: choosing the one of a file, finding its axes, and rebinning it.

In: the arrays of a file and what is known about them.  Out: a `Recording`.  Knows no file format.

Which axis is time is never guessed from its length: the file says it, or the user, or both lengths
are those of the experiment.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rlsbench.configuration.recording import Axis, seconds_per
from rlsbench.errors import RecordingError
from rlsbench.recordings.arrays import (
    COPIES,
    FEW_COLUMNS,
    MAX_COMPRESSION,
    Entry,
    Evidence,
    check_memory,
    listed,
    load,
    matrices_of,
    spacing,
)
from rlsbench.recordings.names import UNITS, counts_bins, is_any_of, time_unit_of_bins
from rlsbench.recordings.options import MAX_BINS, ReadOptions
from rlsbench.recordings.psth import smooth
from rlsbench.recordings.recording import Recording

_FOR_MATRICES = {"dataset", "time_axis", "axes", "values", "matrix_bin_ms", "time_unit", "bin_s", "minimum_rate_hz"}
_FOR_COUNTS = {"smoothing", "smoothing_bins"}
_ORDER: tuple[Axis, ...] = ("time", "unit", "condition", "trial")
_LONGEST_MS = 1000  # width of a bin
_ROUNDING = 0.1  # bins at the end of a recording by which rounded times may differ from equal bins
_USUAL_COUNT = 20  # spikes in a bin, at most


def read_matrix(
    entries: Sequence[Entry],
    source: str,
    format: str,
    size: int,
    options: ReadOptions,
    experiment: tuple[int, int] | None,
) -> Recording:
    """The recording in the array of rates (Hz) or counts of a file of `size` bytes.

    `experiment` are the bins and neurons of the experiment: lengths that are these in one order
    only tell the axes. Raises RecordingError if the array or its axes are ambiguous, an option is
    for spikes, or values are not rates.
    """
    entry = _choose(entries, source, options.dataset)
    limit = size if format == "NPY" else MAX_COMPRESSION * size
    values = load(entry, source, limit)
    counts = options.values == "counts" or (options.values is None and values.dtype.kind == "b")
    inapplicable = [n for n in options.changed() if n not in _FOR_MATRICES | (_FOR_COUNTS if counts else set())]
    if inapplicable:
        kind = "counts" if counts else "rates"
        raise RecordingError(f"{source} holds {kind}, not spike times: omit {', '.join(inapplicable)}")
    evidence = [*entry.evidence, *_beside(entry, entries, source, limit)]
    axes, why = _axes(entry, source, format, options, evidence, experiment)
    ordered = np.transpose(values, [axes.index(name) for name in _ORDER if name in axes])
    with np.errstate(over="ignore"):
        full = np.ascontiguousarray(ordered, dtype=np.float64)
    bins, neurons, conditions, trials = (values.shape[axes.index(name)] if name in axes else 1 for name in _ORDER)
    if min(bins, neurons) < 2 or 0 in values.shape:
        raise RecordingError(f"{source} has {bins} bins of {neurons} neurons: at least 2 x 2 are required")
    full = full.reshape(bins, neurons, conditions, trials)
    with np.errstate(over="ignore", invalid="ignore"):
        rates = full[..., 0] if trials == 1 else full.mean(axis=3)
        edges, how_wide = _edges(source, options, [e for e in evidence if e.axis == axes.index("time")], bins)
        if counts:
            rates = rates / (options.bin_s if edges is None else (edges[-1] - edges[0]) / bins)
    shape = " x ".join(map(str, values.shape))
    axis = "rows" if axes[0] == "time" else "columns"
    what = f"time axis: the {axis} of {shape}" if len(axes) == 2 else f"axes of {shape}: {', '.join(axes)}"
    notes = [f"{what}, {why}", *entry.notes, how_wide]
    if counts:
        smoothed = "as they are" if options.smoothing == "none" else f"and smoothed by a {options.smoothing}"
        notes.append(f"counts of spikes were divided by the bin width {smoothed} (--smoothing)")
    elif options.values is None and (values == np.round(values)).all() and 0 < values.max() <= _USUAL_COUNT:
        whole = f"all values are whole numbers from {values.min():g} to {values.max():g} and were taken for rates in Hz"
        notes.append(f"warning: {whole}: if they count spikes, give --values counts, otherwise --values rates")
    name = entry.name or "rates"
    names = [e.values for e in evidence if e.quantity == "unit" and e.axis == axes.index("unit")]
    ids = next((tuple(map(str, found)) for found in names if found is not None), None)
    if ids is None and axes.index("unit") == 1:
        ids = entry.columns
    recording = Recording(
        rates_hz=rates,
        edges_s=edges,
        conditions=(name,) if conditions == 1 else tuple(f"{name} {i + 1}" for i in range(conditions)),
        ids=ids,
        trials=(trials,) * conditions if "trial" in axes else None,
        source=source,
        provenance={
            "format": format,
            "dataset": entry.name or "",
            "time_axis": axis,
            "units_in_file": neurons,
            **({"values": "counts"} if counts else {}),
        },
        notes=tuple(notes),
    )
    recording = _rebinned(recording, options.bin_s)
    if counts and options.smoothing != "none":
        rates = smooth(recording.rates_hz, options.smoothing, options.smoothing_bins or 0)
        recording = replace(recording, rates_hz=rates.clip(min=0))  # sums of a boxcar are differences
    return recording


def _choose(entries: Sequence[Entry], file: str, dataset: str | None) -> Entry:
    """The named array, or the only one that may hold rates."""
    matrices = matrices_of(entries)
    if dataset is not None:
        named = [entry for entry in entries if (entry.name or "").strip("/") == dataset.strip("/")]
        if not named:
            raise RecordingError(f"{file} has no dataset {dataset!r}: its numeric datasets are {listed(matrices)}")
        if not named[0].is_matrix:
            wanted = "a matrix of real numbers, or such an array of 3 or 4 dimensions"
            raise RecordingError(f"{named[0]} in {file} is not {wanted}: give {listed(matrices)}")
        return named[0]
    if not matrices:
        raise RecordingError(f"{file} holds no matrix of real numbers (found: {listed(entries)})")
    if len(matrices) > 1:
        raise RecordingError(
            f"{file} holds several datasets, {listed(matrices)}: choose one with dataset=NAME or --dataset NAME"
        )
    return matrices[0]


def _beside(entry: Entry, entries: Sequence[Entry], source: str, limit: int) -> Iterator[Evidence]:
    """What vectors beside an array tell: times, or names of units, as long as one of its axes."""
    folder = (entry.name or "").rpartition("/")[0]
    for other in entries:
        place, _, name = (other.name or "").rpartition("/")
        length = math.prod(other.shape)
        if place != folder or length != max(other.shape, default=0):  # MATLAB's vectors are matrices
            continue
        fits = [axis for axis, size in enumerate(entry.shape) if size == length]
        if (time_unit_of_bins(name) is not None or counts_bins(name)) and other.kind in "iuf":
            fits += [axis for axis, size in enumerate(entry.shape) if size + 1 == length]  # edges of bins
            if len(fits) == 1:
                why = f"as long as {other.name}"
                yield Evidence("time", fits[0], why, name, load(other, source, limit).reshape(-1))
        elif is_any_of(name, UNITS) and other.kind in "iufTU" and len(fits) == 1:
            yield Evidence("unit", fits[0], f"the other has {other.name}", name, load(other, source, limit).reshape(-1))


def _axes(
    entry: Entry,
    source: str,
    format: str,
    options: ReadOptions,
    evidence: Sequence[Evidence],
    experiment: tuple[int, int] | None,
) -> tuple[tuple[Axis, ...], str]:
    """What each axis is, and why."""
    shape, size = entry.shape, " x ".join(map(str, entry.shape))
    rows: tuple[Axis, Axis] = ("time", "unit")
    requested = options.axes or {"rows": rows, "columns": rows[::-1], None: ()}[options.time_axis]
    valid = len({*requested}) == len(requested) == len(shape) and {*rows} <= {*requested}
    if not valid and (requested or len(shape) > 2):
        example = ",".join(("condition", "trial", *rows)[-len(shape) :])
        raise RecordingError(
            f"{source} is {size}: name each of its {len(shape)} axes once, with time and unit, such as --axes "
            f"{example}" + f" (found: {','.join(requested)})" * bool(requested)
        )
    if requested:
        return requested, "as requested"
    found = {(e.quantity == "time") == (e.axis == 0): e.why for e in reversed(evidence)}
    if len(found) == 1:
        ((first, why),) = found.items()
        return (rows if first else rows[::-1]), why
    if experiment is not None and shape in (experiment, experiment[::-1]) and shape[0] != shape[1]:
        return (rows if shape == experiment else rows[::-1]), "with the bins and neurons of the experiment"
    a, b = shape
    spikes = ""
    if format in ("CSV", "Parquet") and b <= FEW_COLUMNS:
        unit, time = (*(entry.columns or ("0", "1")), "")[:2]
        spikes = f"; if each line is a spike, name its columns: --columns unit={unit},time={time}"
    raise RecordingError(
        f"{source} is {size}, and nothing in it says which axis is time: give --time-axis rows for {a} bins of {b} "
        f"neurons, or --time-axis columns for {b} bins of {a} neurons{spikes}"
    )


def _edges(
    source: str, options: ReadOptions, evidence: Sequence[Evidence], bins: int
) -> tuple[NDArray[np.float64] | None, str]:
    """The edges of the bins in seconds, None if their width is unknown; and where it is from."""
    if options.matrix_bin_ms is not None:
        return _grid(0.0, options.matrix_bin_ms / 1000.0, bins), f"bins of {options.matrix_bin_ms:g} ms, as requested"
    for name, times in ((e.name, e.values) for e in evidence if e.values is not None):
        step, unit = spacing(times), options.time_unit or time_unit_of_bins(name)
        if step is None:
            raise RecordingError(
                f"the times {name!r} of {source} do not increase in equal steps: a matrix needs equal bins; if each "
                f"line is a spike, name its columns: --columns unit=NAME,time={name}"
            )
        if unit == "samples":
            raise RecordingError(f"{name!r} of {source} counts samples: give their rate, such as --time-unit 30kHz")
        if not unit and step == 1:
            continue  # a number for each bin
        if not unit and step >= _LONGEST_MS:
            raise RecordingError(
                f"{name or 'its times'} of {source} have steps of {step:g}: give their unit with --time-unit"
            )
        guessed = "" if unit else ", taken to be in s" if step < 1 else ", taken to be in ms"
        second = seconds_per(unit or guessed.rpartition(" ")[2])
        said = f"bins of {1000 * step * second:g} ms, from {name or 'its times'}{guessed}"
        return _grid(float(times[0]) * second, step * second, bins), said
    width = f"{1000 * options.bin_s:g} ms"
    return None, f"the width of its bins is unknown and taken to be {width}: --matrix-bin-ms gives another"


def _grid(start_s: float, bin_s: float, bins: int) -> NDArray[np.float64]:
    return np.round(start_s + bin_s * np.arange(bins + 1), 12)


def _rebinned(recording: Recording, bin_s: float) -> Recording:
    """The same rates in bins of another width, as means over each."""
    old, edges = recording.bin_s, recording.edges_s
    if old is None or edges is None:
        return recording
    if abs(old - bin_s) * recording.bins < _ROUNDING * bin_s:
        return replace(recording, edges_s=_grid(float(edges[0]), bin_s, recording.bins))
    rates, ratio = recording.rates_hz, bin_s / old
    bins = int(recording.bins / ratio + 1e-6)
    if not 2 <= bins <= MAX_BINS:
        raise RecordingError(
            f"{recording.source} has {recording.bins} bins of {1000 * old:g} ms, which make {bins} bins of "
            f"{1000 * bin_s:g} ms: give another width with --bin-ms"
        )
    check_memory(COPIES * 8 * bins * recording.rates_hz[0].size, f"{recording.source} in {bins:,} bins")
    spikes = np.concatenate([np.zeros_like(rates[:1]), rates.cumsum(axis=0)])  # up to each edge, in old bins
    places = np.round(ratio * np.arange(bins + 1), 9)
    below = np.minimum(places.astype(np.int64), recording.bins - 1)
    whole, part = spikes[below], (places - below)[:, None, None]
    rebinned = np.diff(whole + part * rates[below], axis=0) / ratio
    note = (
        f"{recording.bins} bins of {1000 * old:g} ms were made {bins} of {1000 * bin_s:g} ms; to keep them, give "
        f"--bin-ms {1000 * old:g}"
    )
    return replace(
        recording,
        rates_hz=rebinned.clip(min=0),
        edges_s=_grid(float(edges[0]), bin_s, bins),
        notes=(*recording.notes, note),
    )
