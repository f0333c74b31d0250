"""Recorded rates with their neurons, conditions and provenance: the result of every reader.

In: arrays and names.  Out: a validated, read-only `Recording`.  Knows no file format and no
experiment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from rlsbench.errors import RecordingError


@dataclass(frozen=True, eq=False, kw_only=True)
class Recording:
    """Recorded rates of neurons in one or more conditions, with read-only arrays.

    Raises RecordingError if rates are not finite and nonnegative, or shapes are inconsistent.
    """

    rates_hz: NDArray[np.float64]  #: (bins, neurons, conditions), all finite and at least 0
    edges_s: NDArray[np.float64] | None = None  #: of the bins, relative to the event; None for a matrix
    conditions: tuple[str, ...]  #: name of each: its selection of trials, or the name of its dataset
    regions: tuple[str, ...] | None = None  #: brain region of each neuron
    ids: tuple[str, ...] | None = None  #: name of each neuron
    trials: tuple[int, ...] | None = None  #: number of trials of each condition
    #: Number of trials in which each neuron was observed, (neurons, conditions). Before smoothing,
    #: rate times this number times the bin width is an integer number of spikes.
    unit_trials: NDArray[np.int64] | None = None
    source: str  #: name of the file, without its folder
    session: str = ""  #: what identifies the recorded session; empty if that is unknown
    provenance: Mapping[str, str | int | float] = field(default_factory=dict)  #: how the rates were computed
    notes: tuple[str, ...] = ()  #: sentences for the user: what was chosen or omitted, and why

    def __post_init__(self) -> None:
        """Validate all fields."""
        with np.errstate(over="ignore"):
            rates = np.asarray(self.rates_hz, dtype=np.float64).view()
        if rates.ndim != 3 or 0 in rates.shape or rates.shape[0] < 2:
            raise RecordingError(
                f"{self.source} gives rates of shape {rates.shape}: at least 2 bins of 1 neuron in 1 condition are "
                "required"
            )
        bins, neurons, conditions = rates.shape
        wrong = ~((rates >= 0) & (rates < np.inf))
        if wrong.any():
            bin, neuron, condition = np.unravel_index(wrong.argmax(), rates.shape)
            where = f" in condition {self.conditions[condition]!r}" if conditions > 1 else ""
            raise RecordingError(
                f"{self.source} has {wrong.sum()} of {rates.size} values that are NaN, infinite or negative, the first "
                f"({rates[bin, neuron, condition]:g}) at bin {bin} of neuron {neuron}{where} counted from 0: rates "
                "must be finite and nonnegative"
            )
        self._set("rates_hz", rates)
        lengths = {"conditions": conditions, "regions": neurons, "ids": neurons, "trials": conditions}
        for name, length in lengths.items():
            if (values := getattr(self, name)) is not None:
                self._set(name, tuple(values))
                self._check_length(name, (len(values),), (length,))
        if len(set(self.conditions)) < conditions:
            raise RecordingError(f"{self.source} gives two conditions with the same name: {', '.join(self.conditions)}")
        if self.edges_s is not None:
            edges = np.asarray(self.edges_s, dtype=np.float64).view()
            self._check_length("edges_s", edges.shape, (bins + 1,))
            if not (np.isfinite(edges).all() and (np.diff(edges) > 0).all()):
                raise RecordingError(f"edges_s of {self.source} must be finite, increasing times in seconds")
            self._set("edges_s", edges)
        if self.unit_trials is not None:
            counts = np.asarray(self.unit_trials, dtype=np.int64).view()
            self._check_length("unit_trials", counts.shape, (neurons, conditions))
            self._set("unit_trials", counts)
        self._set("provenance", dict(self.provenance))
        self._set("notes", tuple(self.notes))

    def _set(self, name: str, value: object) -> None:
        if isinstance(value, np.ndarray):
            value.setflags(write=False)
        object.__setattr__(self, name, value)

    def _check_length(self, name: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
        if found != wanted:
            raise RecordingError(f"{name} of {self.source} has shape {found}: the rates require {wanted}")

    @property
    def bins(self) -> int:
        """Number of bins."""
        return int(self.rates_hz.shape[0])

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        return int(self.rates_hz.shape[1])

    @property
    def bin_s(self) -> float | None:
        """Bin width in seconds, if known."""
        if self.edges_s is None:
            return None
        return float(self.edges_s[-1] - self.edges_s[0]) / self.bins

    @property
    def mean_rates_hz(self) -> NDArray[np.float64]:
        """Mean rate of each neuron over bins and conditions in Hz, (neurons,)."""
        return np.asarray(self.rates_hz.mean(axis=(0, 2)))

    def take(self, neurons: NDArray[np.int64]) -> Recording:
        """The recording of the given neurons, in that order."""
        return replace(
            self,
            rates_hz=np.ascontiguousarray(self.rates_hz[:, neurons]),
            regions=None if self.regions is None else tuple(self.regions[int(i)] for i in neurons),
            ids=None if self.ids is None else tuple(self.ids[int(i)] for i in neurons),
            unit_trials=None if self.unit_trials is None else self.unit_trials[neurons],
        )


MIN_BINS = 10
MAX_RATE_HZ = 1000.0  # with a refractory period of 1 ms


def check_trainable(recording: Recording) -> None:
    """Raise RecordingError for so few bins or high rates that they must be something else."""
    if recording.bins < MIN_BINS:
        raise RecordingError(
            f"{recording.source} has {recording.bins} bins of {recording.neurons:,} neurons: at least {MIN_BINS} bins "
            "are required; is time another axis (--time-axis), or each line a spike (--columns)?"
        )
    fastest = float(recording.rates_hz.max())
    if fastest > MAX_RATE_HZ * (1 + 1e-9):
        raise RecordingError(
            f"{recording.source} has rates up to {fastest:,.0f} Hz: no neuron exceeds {MAX_RATE_HZ:g} Hz; are these "
            "rates in Hz, or are bins too narrow (--bin-ms) for so few trials?"
        )


def stack_conditions(
    recordings: Sequence[Recording], names: Sequence[str] | None = None, *, same_neurons: bool = False
) -> Recording:
    """Combine recordings of the same neurons as the conditions of one recording.

    Parameters
    ----------
    recordings : sequence of Recording
        With the same bins, and the same neurons in the same order.
    names : sequence of str, optional
        Name of each condition. By default the existing names, preceded by the name of the file if
        two are equal.
    same_neurons : bool
        The neurons are the same although the recordings are of different sessions.

    Raises
    ------
    RecordingError
        If bins, neurons, sessions or names are inconsistent.
    """
    first = _checked_bins(recordings)
    for other in recordings[1:]:
        both = f"{other.source} and {first.source}"
        if other.neurons != first.neurons:
            raise RecordingError(
                f"{other.source} has {other.neurons} neurons and {first.source} has {first.neurons}: {_SAME_OR_POOL}"
            )
        for what in ("ids", "regions"):
            if getattr(other, what) != getattr(first, what):
                raise RecordingError(f"{both} have different {what}: {_SAME_OR_POOL}")
        if not same_neurons and first.session and other.session and first.session != other.session:
            raise RecordingError(
                f"{both} are of different sessions, {other.session} and {first.session}: {_SAME_OR_POOL}; if their "
                "neurons are the same, give --no-pool"
            )
    if names is None:
        names = [condition for r in recordings for condition in r.conditions]
        if len(set(names)) < len(names):
            names = [f"{r.source}: {condition}" for r in recordings for condition in r.conditions]
    trials = [r.trials for r in recordings if r.trials is not None]
    observed = [r.unit_trials for r in recordings if r.unit_trials is not None]
    notes = _joined_notes(recordings)
    one_session = first.session != "" and all(r.session == first.session for r in recordings)
    if len(recordings) > 1 and not (same_neurons or one_session):
        compared = "their number" + ("" if first.ids is None else " and names")
        notes += (f"the {first.neurons} neurons of all files are taken to be the same, judging by {compared}",)
    return Recording(
        rates_hz=np.concatenate([r.rates_hz for r in recordings], axis=2),
        edges_s=first.edges_s,
        conditions=tuple(names),
        regions=first.regions,
        ids=first.ids,
        trials=sum(trials, ()) if len(trials) == len(recordings) else None,
        unit_trials=np.concatenate(observed, axis=1) if len(observed) == len(recordings) else None,
        source=_joined(r.source for r in recordings),
        session=_joined(filter(None, (r.session for r in recordings))),
        provenance=_joined_provenance(recordings),
        notes=notes,
    )


def pool_neurons(recordings: Sequence[Recording]) -> Recording:
    """Combine recordings of different neurons, such as sessions, as one population.

    Parameters
    ----------
    recordings : sequence of Recording
        With the same bins and conditions.

    Returns
    -------
    Recording
        Its neurons are called "SOURCE: ID". The first halves of all recordings come first, then
        the second halves, so that each recording is spread over both populations of a network.
        `trials` are the sums of the trials of all recordings.

    Raises
    ------
    RecordingError
        If bins or conditions are inconsistent, or a neuron is in two of the recordings.
    """
    first = _checked_bins(recordings)
    for number, other in enumerate(recordings):
        if len(other.conditions) != len(first.conditions) or (
            other.conditions != first.conditions and len(first.conditions) > 1
        ):
            raise RecordingError(
                f"{other.source} has the conditions {', '.join(other.conditions)} and {first.source} has "
                f"{', '.join(first.conditions)}: recordings that are pooled need the same conditions"
            )
        for earlier in recordings[:number]:
            shared = set(earlier.ids or ()) & set(other.ids or ()) if other.session == earlier.session != "" else ()
            if shared or np.array_equal(earlier.rates_hz, other.rates_hz):
                raise RecordingError(
                    f"{other.source} and {earlier.source} have {len(shared) or other.neurons} neurons in common: "
                    "those of different sessions can be pooled; several conditions of the same need no --pool"
                )
    sources = [r.source for r in recordings]
    names = [f"{s} ({i})" if sources.count(s) > 1 else s for i, s in enumerate(sources, start=1)]
    ids = [f"{name}: {id}" for r, name in zip(recordings, names, strict=True) for id in r.ids or range(r.neurons)]
    regions = [region for r in recordings for region in r.regions or [""] * r.neurons]
    observed = [r.unit_trials for r in recordings if r.unit_trials is not None]
    trials = [r.trials for r in recordings if r.trials is not None]
    ends = np.cumsum([0, *(r.neurons for r in recordings)])
    middles = ends[:-1] + np.diff(ends // 2)  # their halves add up to half of all
    parts = [*zip(ends, middles, strict=False), *zip(middles, ends[1:], strict=True)]
    pooled = Recording(
        rates_hz=np.concatenate([r.rates_hz for r in recordings], axis=1),
        edges_s=first.edges_s,
        conditions=tuple(map(_joined, zip(*(r.conditions for r in recordings), strict=True))),
        regions=tuple(regions) if any(regions) else None,
        ids=tuple(ids),
        trials=np.sum(trials, axis=0).tolist() if len(trials) == len(recordings) else None,
        unit_trials=np.concatenate(observed) if len(observed) == len(recordings) else None,
        source=_joined(names),
        session=_joined(filter(None, (r.session for r in recordings))),
        provenance=_joined_provenance(recordings),
        notes=(
            f"{len(recordings)} recordings are pooled: {', '.join(f'{r.neurons} neurons' for r in recordings)}",
            *_joined_notes(recordings),
        ),
    )
    return pooled.take(np.concatenate([np.arange(*part) for part in parts]))


_SAME_OR_POOL = "several conditions need the same neurons; to make one population of all neurons, give --pool"


def _checked_bins(recordings: Sequence[Recording]) -> Recording:
    """The first of some recordings; RecordingError unless there is one and all have its bins."""
    if not recordings:
        raise RecordingError("no recording is given: at least one is required")
    first = recordings[0]
    for other in recordings[1:]:
        if other.bins != first.bins:
            raise RecordingError(
                f"{other.source} has {other.bins} bins and {first.source} has {first.bins}: give the same bins"
            )
        edges = [r.edges_s for r in (first, other) if r.edges_s is not None]
        if len(edges) == 1 or (edges and not np.allclose(edges[0], edges[-1])):
            raise RecordingError(f"{other.source} and {first.source} have different bins: give the same bins")
    return first


def _joined(texts: Iterable[object]) -> str:
    return " + ".join(dict.fromkeys(map(str, texts)))


def _joined_provenance(recordings: Sequence[Recording]) -> dict[str, str | int | float]:
    """One value where all are equal, or else all of them as a text."""
    provenance: dict[str, str | int | float] = {}
    for key in dict.fromkeys(key for r in recordings for key in r.provenance):
        values = [r.provenance.get(key, "") for r in recordings]
        provenance[key] = values[0] if len(set(values)) == 1 else " + ".join(map(str, values))
    return provenance


def _joined_notes(recordings: Sequence[Recording]) -> tuple[str, ...]:
    """The notes of all, with the name of the file where it is not true of all."""
    every = set.intersection(*(set(r.notes) for r in recordings))
    return tuple(dict.fromkeys(n if n in every else f"{r.source}: {n}" for r in recordings for n in r.notes))
