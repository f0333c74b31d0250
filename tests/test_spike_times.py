"""From spike times to rates: counts, smoothing, events, trials, units, and irregular files."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsbench.errors import RecordingError
from rlsbench.recordings import (
    ReadOptions,
    Recording,
    psth,
    read_contents,
    read_recording,
    smooth,
    spike_counts,
)

Make = Callable[..., Path]
Refused = Callable[..., Any]
GO = "acquisition/BehavioralEvents/go_start_times/timestamps"
RAW = {"smoothing": "none", "quality": ()}
START = 1.0 + 5.0 * np.arange(8)


def read(path: Path, **options: Any) -> Recording:
    return read_recording(path, ReadOptions(**options))


def spikes_of(path: Path) -> list[np.ndarray]:
    with h5py.File(path) as file:
        return np.split(file["units/spike_times"][()], file["units/spike_times_index"][:-1].astype(int))


def counted(recording: Recording) -> np.ndarray:
    """Spikes of each bin, neuron and condition; only for rates that were not smoothed."""
    assert recording.unit_trials is not None
    assert recording.bin_s is not None
    counts = recording.rates_hz * recording.unit_trials * recording.bin_s
    np.testing.assert_allclose(counts, np.round(counts), atol=1e-9)
    return np.round(counts).astype(int)


def histogram(times: np.ndarray, events: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Counts of one unit, spike by spike."""
    counts = np.zeros(len(edges) - 1, dtype=int)
    for event in events:
        for time in times - event:
            for i in range(len(counts)):
                counts[i] += edges[i] <= time < edges[i + 1]
    return counts


# --- counts and smoothing


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_counts_survive_a_round_trip(refused: Refused, data: st.DataObject) -> None:
    """PSTH x trials x bin width is the number of spikes, also for overlaps and spikes on edges."""
    times = st.lists(st.integers(-40, 80), max_size=20).map(lambda ticks: np.sort(np.array(ticks, dtype=float) / 8))
    units = data.draw(st.dictionaries(st.sampled_from("abc"), times, min_size=1))
    events = np.array(data.draw(st.lists(st.integers(0, 40), min_size=1, max_size=6)), dtype=float) / 4
    options = ReadOptions(window_s=(-1.0, 1.5), bin_s=0.125, smoothing="none")
    wanted = np.stack([histogram(spikes, events, options.edges_s) for spikes in units.values()], axis=1)
    if not wanted.any():
        with refused(RecordingError, "spike times", "-1 to 1.5 s", "events"):
            read_recording(units, options, events=events)
        return
    recording = read_recording(units, options, events=events)
    np.testing.assert_array_equal(counted(recording)[:, :, 0], wanted)
    assert recording.trials == (len(events),)
    assert recording.ids == tuple(units)
    assert recording.provenance["spikes"] == wanted.sum()


def test_a_boxcar_is_the_mean_over_what_lies_in_the_window() -> None:
    counts = np.random.default_rng(1).poisson(3.0, (40, 5))
    for width in (1, 3, 15, 99):
        half = width // 2
        wanted = [counts[max(i - half, 0) : i + half + 1].mean(axis=0) for i in range(40)]
        np.testing.assert_allclose(smooth(counts, "boxcar", width), wanted, rtol=1e-14)
    np.testing.assert_array_equal(smooth(counts, "boxcar", 1), counts)
    np.testing.assert_array_equal(smooth(counts, "none", 0), counts)


def test_a_gaussian_weighs_one_at_the_ends_too() -> None:
    sd, counts = 2.0, np.random.default_rng(1).poisson(3.0, (40, 5))
    np.testing.assert_allclose(smooth(np.full((40, 2), 7), "gaussian", sd), 7.0, rtol=1e-14)
    distance = np.arange(40)[:, None] - np.arange(40)
    weights = np.where(abs(distance) <= 8, np.exp(-(distance**2) / (2 * sd**2)), 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(smooth(counts, "gaussian", sd), weights @ counts, rtol=1e-12)


def test_rates_are_counts_over_trials_and_bin_width() -> None:
    counts = np.array([[4, 0], [2, 6]])
    np.testing.assert_allclose(psth(counts, [2, 3], 0.5, smoothing="none"), [[4, 0], [2, 4]])
    np.testing.assert_allclose(psth(counts, 2, 0.5), [[3, 3], [3, 3]])


def test_spikes_of_trials_with_separate_clocks() -> None:
    times, trials = [np.array([0.5, 0.1, 9.9, 0.5])], [np.array([0, 1, 1, -1])]
    edges, events = np.array([0.0, 0.25, 0.75, 1.0]), np.array([0.0, 0.0, 9.5])
    found = spike_counts(times, events[:2], edges, spike_trials=trials)
    assert found[:, 0].tolist() == [1, 1, 0]
    found = spike_counts(times, events[[0, 2]], edges, spike_trials=trials)
    assert found[:, 0].tolist() == [0, 2, 0]
    observed = np.array([[False, True]])
    assert spike_counts(times, events[:2], edges, spike_trials=trials, observed=observed)[:, 0].tolist() == [1, 0, 0]


def test_the_public_rates_are_smoothed_in_the_same_way(data: Path) -> None:
    """The published rates are means over 15 bins, truncated at the ends; the last bin is empty."""
    with h5py.File(data / "alm" / "movingrate_Pyr1Hz_lickleft.jld") as file:
        rates = file["Pyr"][()]
    means = smooth(np.eye(101, dtype=int), "boxcar", 15)
    raw = np.linalg.lstsq(means, rates, rcond=None)[0]
    np.testing.assert_allclose(means @ raw, rates, atol=1e-10)
    np.testing.assert_allclose(raw[-1], 0.0, atol=1e-9)


# --- NWB


OPTIONS: list[dict[str, Any]] = [
    {},
    {"smoothing": "none", "quality": ()},
    {"smoothing": "gaussian", "smoothing_bins": 2.5, "window_s": (-1.0, 1.0), "bin_s": 0.01},
    {
        "trials": (
            "trial_instruction == 'left' and outcome == 'hit'",
            "trial_instruction == 'right' and outcome == 'hit'",
        )
    },
    {
        "trials": "early_lick == 'no early' and photostim_onset == 'N/A'",
        "event": "sample_start_times",
        "window_s": (-1, 2),
    },
]


@pytest.mark.parametrize("options", OPTIONS)
def test_pynwb_reads_the_same(data: Path, options: dict[str, Any]) -> None:
    pynwb = pytest.importorskip("pynwb")
    path = data / "nwb" / "mini_000363_layout.nwb"
    ours = read(path, **options)
    with pynwb.NWBHDF5IO(path, "r") as io:
        nwb = io.read()
        units, trials = nwb.units.to_dataframe(), nwb.trials.to_dataframe()
        name = options.get("event", "go_start_times")
        events = nwb.acquisition["BehavioralEvents"].time_series[name].timestamps[:]
    if options.get("quality") != ():
        units = units[units.classification == "good"]
    times = {str(unit): spikes for unit, spikes in units.spike_times.items()}
    assert ours.ids == tuple(times)
    shared = {key: options[key] for key in ("smoothing", "smoothing_bins", "window_s", "bin_s") if key in options}
    texts = options.get("trials", "")
    for condition, text in enumerate([texts] if isinstance(texts, str) else texts):
        chosen = events[trials.eval(text)] if text else events
        theirs = read_recording(times, ReadOptions(**shared), events=chosen)
        np.testing.assert_array_equal(ours.rates_hz[:, :, condition], theirs.rates_hz[:, :, 0])
        assert ours.trials is not None
        assert ours.trials[condition] == len(chosen)
        assert ours.edges_s is not None
        wanted = sum(np.histogram(times[ours.ids[3]] - event, ours.edges_s)[0] for event in chosen)
        raw = read(path, **{**options, "smoothing": "none", "smoothing_bins": None})
        np.testing.assert_array_equal(counted(raw)[:, 3, condition], wanted)


def test_a_session_in_the_layout_of_the_public_ones(make_nwb: Make) -> None:
    path = make_nwb()
    recording = read(path)
    assert recording.ids == ("10", "11", "13", "14", "15")
    assert recording.regions == ("MOs5", "MOs5", "MOs6a", "CP", "CP")
    assert (recording.trials, recording.conditions) == ((8,), ("all trials",))
    assert recording.edges_s is not None
    assert (recording.bins, recording.edges_s[0], recording.edges_s[-1]) == (150, -2.0, 1.0)
    assert recording.provenance["event"] == "go_start_times"
    assert recording.provenance["units_dropped_by_quality"] == 1
    event, quality = recording.notes
    assert "go_start_times" in event
    assert "1 of 6" in quality
    assert "classification is not good" in quality
    np.testing.assert_allclose(recording.mean_rates_hz, [4, 12, 8, 20, 2], rtol=0.3)
    raw = read(path, **RAW)
    for unit, times in enumerate(spikes_of(path)):
        wanted = sum(np.histogram(times - event, raw.edges_s)[0] for event in START + 3.2)
        np.testing.assert_array_equal(counted(raw)[:, unit, 0], wanted)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint64, np.int32])
def test_the_index_may_be_of_any_whole_type(make_nwb: Make, kind: type) -> None:
    """Cumulative ends of the smallest unsigned type: differences must not wrap around."""
    times = np.sort(np.random.default_rng(1).uniform(2, 4, 255))
    changes = {"units/spike_times": times, "units/spike_times_index": np.array([0, 9, 9, 100, 200, 255], dtype=kind)}
    counts = counted(read(make_nwb(changes), **RAW, event="start_time", window_s=(0, 4), bin_s=0.5))
    assert counts.sum(axis=(0, 2)).tolist() == [0, 9, 0, 91, 100, 55]


@pytest.mark.parametrize("index", [[5, 3, 9, 9, 9, 9], [1, 2, 3, 4, 5, 10**6]])
def test_an_index_that_does_not_fit(refused: Refused, make_nwb: Make, index: list[int]) -> None:
    with refused(RecordingError, "units/spike_times_index", "made.nwb"):
        read(make_nwb({"units/spike_times_index": np.array(index)}))


def test_spikes_in_any_order(make_nwb: Make) -> None:
    path = make_nwb()
    wanted = read(path)
    with h5py.File(path, "a") as file:
        ends = [0, *file["units/spike_times_index"][()].astype(int)]
        for first, last in pairwise(ends):
            file["units/spike_times"][first:last] = file["units/spike_times"][first:last][::-1]
    np.testing.assert_array_equal(read(path).rates_hz, wanted.rates_hz)


def test_classification_of_only_nan_is_ignored(refused: Refused, make_nwb: Make) -> None:
    nan = np.full(6, np.nan)
    recording = read(make_nwb({"units/classification": nan}))
    assert recording.neurons == 6
    quality = {"units/unit_quality": ["good", "multi", "multi", "good", "multi", "multi"]}
    recording = read(make_nwb({"units/classification": nan} | quality))
    assert recording.ids == ("10", "13")
    assert any("4 of 6" in note and "unit_quality is not good" in note for note in recording.notes)
    with refused(RecordingError, "made.nwb", "quality"):
        read(make_nwb({"units/classification": nan}), quality="unlabelled")


def test_units_by_quality(refused: Refused, make_nwb: Make) -> None:
    path = make_nwb()
    assert read(path, quality="unlabelled").ids == ("12",)
    assert read(path, quality=("good", "unlabelled")).neurons == read(path, quality=()).neurons == 6
    with refused(RecordingError, "classification", "'great'", "'good' (5)", "'unlabelled' (1)"):
        read(path, quality="great")


@pytest.mark.parametrize("group", [np.zeros(6, dtype=int), np.arange(6.0), ["tetrode 1"] * 6])
def test_a_column_without_labels_of_quality_is_not_one(refused: Refused, make_nwb: Make, group: Any) -> None:
    """Many files number shanks or tetrodes in the column that others use for the quality."""
    path = make_nwb({"units/classification": None, "units/group": group})
    assert read(path).neurons == 6
    assert read(path).provenance["quality_column"] == ""
    with refused(RecordingError, "made.nwb", "--units", "group"):
        read(path, quality="mua")
    with_labels = make_nwb({"units/classification": None, "units/group": group, "units/KSLabel": ["good", "mua"] * 3})
    assert read(with_labels).ids == ("10", "12", "14")
    assert read(with_labels).provenance["quality_column"] == "KSLabel"


def test_units_by_columns(refused: Refused, make_nwb: Make) -> None:
    columns = {"units/snr": np.arange(6.0), "units/is_fast": np.array([True, False] * 3)}
    path = make_nwb(columns)
    recording = read(path, units=" snr > 1 and not is_fast ")
    assert recording.ids == ("13", "15")
    assert recording.provenance["units_selection"] == "snr > 1 and not is_fast"
    assert recording.provenance["units_dropped_by_selection"] == 4
    assert recording.provenance["units_dropped_by_quality"] == 0  # the only such unit was not selected
    assert any("4 of 6" in note and "snr > 1" in note for note in recording.notes)
    assert read(path, units="id in [10, 12]", quality="good").ids == ("10",)
    assert read(path, units="anno_name == 'CP'", regions="CP").ids == ("14", "15")
    for units, named in (("snr > 9", ["6 units", "0 (1)"]), ("depth > 1", ["depth", "snr"]), ("snr >", ["'snr >'"])):
        with refused(RecordingError, *named):
            read(path, units=units)
    with refused(RecordingError, "1 of 6", "5 of 6", "classification", "id == 12"):
        read(path, units="id == 12")


@pytest.mark.parametrize("index", [True, False])
def test_units_by_region(refused: Refused, make_nwb: Make, index: bool) -> None:
    """The region of the unit or of its electrode; electrodes may have an index."""
    changes = {} if index else {"units/electrodes_index": None}
    path = make_nwb(changes)
    assert read(path, regions="MOs").ids == ("10", "11", "13")
    assert read(path, regions=("mos6", "CP")).ids == ("13", "14", "15")
    assert read(path, regions="left", quality=()).ids == ("10", "11", "13")
    assert read(path, quality=()).regions == ("MOs5", "MOs5", "right Striatum", "MOs6a", "CP", "CP")
    bare = make_nwb(changes | {"units/anno_name": None}, "bare.nwb")
    assert read(bare).regions == ("left ALM", "left ALM", "left ALM", "right Striatum", "right Striatum")
    with refused(RecordingError, "made.nwb", "'VISp'", "'' (1)", "'CP' (2)", "left ALM"):
        read(path, regions=("MOs", "VISp"))
    with refused(RecordingError, "made.nwb", "CP", "classification", "unlabelled"):
        read(path, regions="CP", quality="unlabelled")
    with refused(RecordingError, "made.nwb", "regions"):
        read(make_nwb({"units/anno_name": None, "units/electrodes": None}), regions="MOs")


@pytest.mark.parametrize(
    ("location", "region"),
    [
        ("ALM", "ALM"),
        ('{"brain_regions": "ALM", "depth": 3}', "ALM"),
        ('{"depth": 3}', '{"depth": 3}'),
        ("[" * 5000, "[" * 5000),
        ("5", "5"),
    ],
)
def test_locations_of_electrodes(make_nwb: Make, location: str, region: str) -> None:
    changes = {"general/extracellular_ephys/electrodes/location": [location] * 2, "units/anno_name": None}
    assert read(make_nwb(changes)).regions == (region,) * 5


def test_electrodes_with_several_a_unit_and_electrodes_that_are_not_there(make_nwb: Make) -> None:
    bare: dict[str, Any] = {"units/anno_name": None}
    several = {"units/electrodes": np.array([1, 0, 1, 0, 0, 0]), "units/electrodes_index": np.array([2, 3, 3, 4, 5, 6])}
    assert read(make_nwb(bare | several), quality=()).regions == (
        "right Striatum", "right Striatum", "", "left ALM", "left ALM", "left ALM",
    )  # fmt: skip
    assert read(make_nwb(bare | {"units/electrodes": np.array([0, 0, 7, 0, 0, 0])})).regions is None


def test_trials_by_columns(refused: Refused, make_nwb: Make) -> None:
    path = make_nwb()
    left, right = (
        "trial_instruction == 'left' and outcome == 'hit'",
        "trial_instruction == 'right' and outcome == 'hit'",
    )
    both = read(path, trials=(left, right), **RAW)
    assert both.conditions == (left, right)
    assert both.trials == (2, 4)
    for condition, text in enumerate((left, right)):
        np.testing.assert_array_equal(both.rates_hz[:, :, condition], read(path, trials=text, **RAW).rates_hz[:, :, 0])
    events = (START + 3.2)[[0, 6]]
    wanted = [sum(np.histogram(times - event, both.edges_s)[0] for event in events) for times in spikes_of(path)]
    np.testing.assert_array_equal(counted(both)[:, :, 0], np.transpose(wanted))
    assert read(path, trials="photostim_onset == 'N/A'").trials == (6,)
    assert any(note.startswith("6 trials") for note in read(path, trials=("", "photostim_onset == 'N/A'")).notes)
    with refused(RecordingError, "column outcom:", "outcome", "trial_instruction"):
        read(path, trials="outcom == 'hit'")
    with refused(RecordingError, "8 trials", "made.nwb", "outcome: 'hit' (6)"):
        read(path, trials="outcome == 'hot'")


# --- trials that end early, and units that are not always there


def test_trials_that_end_within_the_window_are_omitted(refused: Refused, make_nwb: Make) -> None:
    """Spikes exist only inside trials: they stop after a miss, and the zeros are not rates."""
    stop = START + 4.9
    stop[[2, 4]] = START[[2, 4]] + 3.6  # 0.4 s after the go cue
    whole = make_nwb()
    spikes = [s[~((s > 14.6) & (s < 16)) & ~((s > 24.6) & (s < 26))] for s in spikes_of(whole)]
    changes = {
        "intervals/trials/stop_time": stop,
        "units/spike_times": np.concatenate(spikes),
        "units/spike_times_index": np.cumsum([len(s) for s in spikes]).astype(np.uint16),
        "units/obs_intervals": None,
        "units/is_good_trials": None,
    }
    path = make_nwb(changes, "short.nwb")
    recording = read(path, **RAW)
    assert recording.trials == (6,)
    assert recording.provenance["trials_left_out"] == 2
    (note,) = [note for note in recording.notes if "trials" in note]
    assert "2 of 8" in note
    assert "window" in note
    kept = np.delete(START, [2, 4]) + 3.2
    wanted = [sum(np.histogram(times - event, recording.edges_s)[0] for event in kept) for times in spikes]
    np.testing.assert_array_equal(counted(recording)[:, :, 0], np.transpose(wanted))
    assert read(path, window_s=(-2.0, 0.4)).trials == (8,)  # just as far as the shortest trial
    with refused(RecordingError, "1 trials", "outcome == 'miss'", "-2 to 1 s", "-3.2 to 0.4 s"):
        read(path, trials="outcome == 'miss'")
    observed = np.tile(np.stack([START, stop], axis=1), (6, 1))  # as the intervals of units, whatever the trials say
    both = make_nwb(changes | {"intervals/trials/stop_time": START + 5, "units/obs_intervals": observed}, "both.nwb")
    np.testing.assert_array_equal(read(both, **RAW).rates_hz, recording.rates_hz)


def test_windows_may_reach_beyond_trials_where_spikes_do(make_nwb: Make) -> None:
    spikes = np.sort(np.random.default_rng(2).uniform(0, 45, 600))
    changes = {
        "units/spike_times": spikes,
        "units/spike_times_index": np.arange(100, 601, 100),
        "units/obs_intervals": None,
        "units/is_good_trials": None,
        "intervals/trials/stop_time": START + 3.4,
    }
    assert read(make_nwb(changes)).trials == (8,)
    changes["units/spike_times"] = 1.0 + spikes * 40 / 45
    joined = make_nwb(changes | {"intervals/trials/stop_time": START + 5})  # one trial ends where the next begins
    assert read(joined, window_s=(-2.0, 3.0)).trials == (7,)  # the last has no next


def test_units_that_were_observed_in_some_trials(refused: Refused, make_nwb: Make) -> None:
    good = np.ones((6, 8), dtype=bool)
    good[1, :3] = False
    good[4, 0] = False
    path = make_nwb({"units/is_good_trials": good})
    recording = read(path, **RAW)
    assert recording.trials == (8,)
    assert recording.unit_trials is not None
    assert recording.unit_trials[:, 0].tolist() == [8, 5, 8, 8, 7, 8]
    assert any(note.startswith("2 of 6 units") for note in recording.notes)
    wanted = sum(np.histogram(spikes_of(path)[1] - event, recording.edges_s)[0] for event in START[3:] + 3.2)
    np.testing.assert_array_equal(counted(recording)[:, 1, 0], wanted)
    np.testing.assert_allclose(recording.rates_hz[:, 1, 0], wanted / (5 * 0.02))
    good[1] = False
    recording = read(make_nwb({"units/is_good_trials": good}), **RAW)
    assert recording.ids == ("10", "12", "13", "14", "15")
    assert recording.provenance["units_not_observed"] == 1
    with refused(RecordingError, "8 trials", "8: no unit observed"):
        read(make_nwb({"units/is_good_trials": np.zeros((6, 8), dtype=bool)}))


@pytest.mark.parametrize("ragged", [True, False])
def test_flags_of_fewer_trials_are_those_of_the_observation_intervals(make_nwb: Make, ragged: bool) -> None:
    """A few files have flags only for the recorded trials, here the second to the sixth."""
    flags = np.ones((6, 5), dtype=bool)
    flags[0, 0] = False
    changes: dict[str, Any] = {
        "units/is_good_trials": flags.ravel() if ragged else flags,
        "units/is_good_trials_index": 5 * np.arange(1, 7, dtype=np.uint8) if ragged else None,
        "units/obs_intervals": np.tile(np.stack([START, START + 4.9], axis=1)[1:6], (6, 1)),
        "units/obs_intervals_index": 5 * np.arange(1, 7, dtype=np.uint8),
    }
    path = make_nwb(changes)
    recording = read(path, **RAW)
    assert recording.trials == (5,)
    assert recording.unit_trials is not None
    assert recording.unit_trials[:, 0].tolist() == [4, 5, 5, 5, 5, 5]
    wanted = sum(np.histogram(spikes_of(path)[0] - event, recording.edges_s)[0] for event in START[2:6] + 3.2)
    np.testing.assert_array_equal(counted(recording)[:, 0, 0], wanted)
    assert any("3 of 8" in note and "no unit observed" in note for note in recording.notes)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (np.ones((5, 8), dtype=bool), ""),
        (np.zeros((6, 7), dtype=bool), "6 of 6 units"),
    ],
)
def test_flags_that_match_nothing_are_ignored(make_nwb: Make, flags: np.ndarray, named: str) -> None:
    recording = read(make_nwb({"units/is_good_trials": flags}))
    assert recording.trials == (8,)
    assert any("units/is_good_trials" in note and named in note for note in recording.notes)


def test_a_gap_in_the_recording_is_not_silence(make_nwb: Make) -> None:
    spikes = [s[(s < 16) | (s > 21)] for s in spikes_of(make_nwb())]
    changes = {
        "units/spike_times": np.concatenate(spikes),
        "units/spike_times_index": np.cumsum([len(s) for s in spikes]),
    }
    recording = read(make_nwb(changes))
    assert recording.trials == (7,)
    assert any("1 of 8" in note and "gap" in note for note in recording.notes)


def test_an_end_of_the_window_without_spikes_is_reported(make_nwb: Make) -> None:
    path = make_nwb()
    kept = [s[((s - 1) % 5) < 3.7] for s in spikes_of(path)]
    changes = {"units/spike_times": np.concatenate(kept), "units/spike_times_index": np.cumsum([len(s) for s in kept])}
    recording = read(make_nwb(changes), bin_s=0.1)
    assert "0.5 to 1 s" in recording.notes[-1]
    assert "--window" in recording.notes[-1]


# --- events


@pytest.mark.parametrize("event", ["go_time", "go_start_times", "go.txt", "go.csv", "go.npy", "go2.csv", None])
def test_events_from_everywhere(make_nwb: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, event: str) -> None:
    go = START + 3.2
    monkeypatch.chdir(tmp_path)
    (tmp_path / "go.txt").write_text("# go cues\n" + "\n".join(map(repr, map(float, go))))
    (tmp_path / "go.csv").write_text("number,time\n" + "\n".join(f"{i},{float(t)!r}" for i, t in enumerate(go)))
    (tmp_path / "go2.csv").write_text(",".join(map(repr, map(float, go[::-1]))))
    np.save("go.npy", go)
    recording = read(make_nwb(), event=event)
    np.testing.assert_array_equal(recording.rates_hz, read(make_nwb(), event="go_time").rates_hz)
    assert recording.provenance["event"] == (event or "go_start_times")
    given = read_recording(make_nwb(), ReadOptions(), events=go)
    np.testing.assert_array_equal(given.rates_hz, recording.rates_hz)


def test_a_series_with_more_times_than_trials(refused: Refused, make_nwb: Make) -> None:
    """The sample epoch restarts after an early lick: trials 1 and 6 have it twice."""
    path = make_nwb()
    options: dict[str, Any] = {"event": "sample_start_times", "window_s": (-1, 1), **RAW}
    with refused(
        RecordingError, "sample_start_times", "10 times", "8 trials", "0 have none", "2 have several", "--occurrence"
    ):
        read(path, **options)
    sample = START + 1.35
    for occurrence, late in (("first", False), ("last", True)):
        events = sample.copy()
        events[[0, 5]] = (2.9, 27.9) if late else sample[[0, 5]]
        wanted = read_recording(
            dict(enumerate(spikes_of(path))), ReadOptions(window_s=(-1, 1), smoothing="none"), events=events
        )
        np.testing.assert_array_equal(read(path, occurrence=occurrence, **options).rates_hz, wanted.rates_hz)
    others = read(path, trials="start_time > 1 and start_time != 26", **options)  # the trials that have it once
    assert others.trials == (6,)


def test_a_series_with_fewer_times_than_trials(refused: Refused, make_nwb: Make) -> None:
    path = make_nwb({GO: (START + 3.2)[:-1]})
    with refused(RecordingError, "go_start_times", "7 times", "8 trials", "1 have none", "0 have several"):
        read(path)
    recording = read(path, occurrence="first")
    assert recording.trials == (7,)
    assert any("1 of 8" in note and note.endswith("no go_start_times") for note in recording.notes)
    with refused(RecordingError, "9 times", "8 trials"):
        read(make_nwb({GO: [*(START + 3.2), 5.0]}))
    with refused(RecordingError, "8 times", "go_start_times", "8 trials"):
        read(make_nwb({GO: 1000 * START}))


def test_a_column_of_times_with_gaps(refused: Refused, make_nwb: Make) -> None:
    cue = START + 3.0
    cue[3] = np.nan
    texts = ["N/A" if np.isnan(time) else repr(float(time)) for time in cue]
    for values in (cue, texts):
        recording = read(make_nwb({"intervals/trials/cue": values}), event="cue")
        assert recording.trials == (7,)
        assert any("1 of 8" in note and note.endswith("no cue") for note in recording.notes)
    with refused(RecordingError, "photostim_onset", "'2.7' (2)", "'N/A' (6)"):
        read(make_nwb(), event="photostim_onset")
    with refused(RecordingError, "column outcome", "made.nwb", "'hit'"):
        read(make_nwb(), event="outcome")


NO_TRIALS: dict[str, Any] = {
    f"intervals/trials/{name}": None
    for name in ("id", "start_time", "stop_time", "trial_instruction", "outcome", "photostim_onset", "go_time")
}
NO_EVENTS: dict[str, Any] = {
    f"acquisition/{name}": None
    for name in ("BehavioralEvents/go_start_times/timestamps", "BehavioralEvents/sample_start_times/timestamps")
}


def test_no_trials_table(refused: Refused, make_nwb: Make, tmp_path: Path) -> None:
    path = make_nwb(NO_TRIALS | NO_EVENTS, "bare.nwb")
    with refused(RecordingError, "bare.nwb", "--event"):
        read(path)
    np.savetxt(tmp_path / "go.txt", START + 3.2)
    event = str(tmp_path / "go.txt")
    recording = read(path, event=event, **RAW)
    np.testing.assert_array_equal(recording.rates_hz, read(make_nwb(), **RAW).rates_hz)
    assert recording.provenance["event"] == "go.txt"  # no folder
    with refused(RecordingError, "bare.nwb", "no trials table", "--event"):
        read(path, event=event, trials="outcome == 'hit'")
    (tmp_path / "go.csv").write_text(
        "outcome,time\n" + "".join(f"{'hm'[i % 2]},{t}\n" for i, t in enumerate(START + 3.2))
    )
    chosen = read(path, event=str(tmp_path / "go.csv"), trials=("outcome == 'h'", "outcome == 'm'"))
    assert chosen.trials == (4, 4)
    series = make_nwb(NO_TRIALS, "series.nwb")
    assert read(series).trials == (8,)  # the go cue
    with refused(RecordingError, "series.nwb", "sample_start_times", "--event"):
        read(make_nwb(NO_TRIALS | {GO: None}, "series.nwb"))
    with refused(RecordingError, "sample_start_times", "start_time"):
        read(make_nwb({GO: None, "intervals/trials/go_time": None}))


def test_any_table_of_intervals_may_be_the_trials(refused: Refused, make_nwb: Make) -> None:
    shown = "intervals/gratings_presentations/"
    other = {
        f"{shown}start_time": START + 1,
        f"{shown}stop_time": START + 2,
        f"{shown}orientation": np.array([0.0, 90.0] * 4),
        f"{shown}tags": ["a"] * 12,
        f"{shown}tags_index": np.full(8, 12),
        "intervals/broken/start_time": START,
        "intervals/broken/stop_time": START[:3],
    }
    path = make_nwb(NO_TRIALS | NO_EVENTS | other, "shown.nwb")
    with refused(RecordingError, "shown.nwb", "gratings_presentations", "--trials-table"):
        read(path)
    how: dict[str, Any] = {"trials_table": "gratings_presentations", "event": "start_time", "window_s": (-0.5, 0.5)}
    recording = read(path, trials="orientation == 90", **how)
    assert recording.trials == (4,)
    assert recording.provenance["trials_table"] == "gratings_presentations"
    assert any("intervals/broken" in note for note in recording.notes)
    with refused(RecordingError, "tags", "orientation"):
        read(path, trials="tags == 'a'", **how)
    assert read(path, event="gratings_presentations", window_s=(-0.5, 0.5)).trials == (8,)
    both = make_nwb(other)
    assert read(both).provenance["event"] == "go_start_times"  # of the trials table
    assert read(both, **how).trials == (8,)
    assert read(both, trials_table="trials").trials == (8,)
    with refused(RecordingError, "'gratings'", "gratings_presentations"):
        read(both, trials_table="gratings")


def test_tables_of_events_and_annotations(make_nwb: Make) -> None:
    side, times = ["left", "right"] * 4, START + 2.5
    made = {
        "events/cues/timestamp": times,
        "events/cues/side": side,
        "acquisition/notes/timestamps": times + 0.1,
        "acquisition/notes/data": side,
        "acquisition/diary/timestamps": np.arange(30.0),
        "acquisition/diary/data": [f"day {i}" for i in range(30)],
    }
    path = make_nwb(made)
    session = read_contents(path).session
    assert session is not None
    np.testing.assert_array_equal(session.events["cues: right"], times[1::2])
    np.testing.assert_array_equal(session.events["notes: left"], times[::2] + 0.1)
    assert [name for name in session.events if name.startswith("diary")] == ["diary"]
    assert read(path, event="cues").trials == (8,)
    assert read(path, event="cues: left", occurrence="first").trials == (4,)
    assert read(path, trials_table="cues", event="timestamp", trials="side == 'left'").trials == (4,)


def test_units_in_another_table(refused: Refused, make_nwb: Make) -> None:
    path = make_nwb()
    whole = read(path)
    with h5py.File(path, "a") as file:
        file.create_group("processing/ecephys")
        file.move("units", "processing/ecephys/sorted")
    recording = read(path)
    np.testing.assert_array_equal(recording.rates_hz, whole.rates_hz)
    assert recording.ids == whole.ids
    assert any("processing/ecephys/sorted" in note for note in recording.notes)
    with h5py.File(path, "a") as file:
        file.copy("processing/ecephys/sorted", "processing/ecephys/all")
    with refused(RecordingError, "processing/ecephys/all, processing/ecephys/sorted", "--dataset"):
        read(path)
    assert read(path, dataset="/processing/ecephys/all").ids == whole.ids
    with h5py.File(path, "a") as file:
        file.move("processing/ecephys/all", "units")
    recording = read(path)
    assert any("processing/ecephys/sorted" in note for note in recording.notes)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", []),
        ("one\ntwo\n", ["not numbers"]),
        ("1\nnan\ninf\n", ["2 event times", "NaN"]),
        ("a,b\n1,2\n", ["columns a, b", "column named time"]),
        ("1.5,2\n3,4\n", ["2 columns", "column named time"]),
        (b"\xff1\n", ["UTF-8"]),
        (np.zeros((2, 2)), ["(2, 2) float64"]),
        (np.array(["a"]), ["(1,) <U1"]),
        (np.zeros(0), ["no event times"]),
        (np.zeros(1_000_001, dtype=np.uint8), ["1,000,001", "1,000,000"]),
    ],
)
def test_invalid_files_of_events(
    refused: Refused, make_nwb: Make, tmp_path: Path, content: Any, named: list[str]
) -> None:
    path = tmp_path / "events"
    if isinstance(content, np.ndarray):
        np.save(tmp_path / "events.npy", content)
        path = tmp_path / "events.npy"
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with refused(RecordingError, path.name, *named):
        read(make_nwb(), event=str(path))


def test_unknown_events(refused: Refused, make_nwb: Make) -> None:
    with refused(RecordingError, "'cue'", "outcome", "go_start_times, sample_start_times"):
        read(make_nwb(), event="cue")
    with refused(RecordingError, "event = 'go_time'", "twice"):
        read_recording(make_nwb(), ReadOptions(event="go_time"), events=START)
    for events in ([], [np.nan], [[1.0]], ["a"], 3.0):
        with refused(RecordingError, "events", "finite"):
            read_recording(make_nwb(), events=events)
    with refused(RecordingError, "spike times", "--event"):
        read_recording({1: [1.0]})


# --- tables and mappings


def table(path: Path, trials: bool) -> str:
    """The spikes of an NWB file as a table in random order, absolute or relative to the trial."""
    spikes = spikes_of(path)
    unit = np.repeat(np.arange(6), [len(s) for s in spikes])
    time = np.concatenate(spikes)
    trial = np.searchsorted(START, time, side="right") - 1
    order = np.random.default_rng(3).permutation(len(time))
    if trials:
        lines = [f"u{unit[i]},{time[i] - START[trial[i]]!r},{trial[i]}" for i in order]
    else:
        lines = [f"u{unit[i]},{float(time[i])!r}" for i in order]
    return "\n".join([f"Unit,time{',trial' if trials else ''}", *lines]).replace("np.float64(", "").replace(")", "")


def test_tables_of_spikes(refused: Refused, make_nwb: Make, tmp_path: Path) -> None:
    path = tmp_path / "spikes.csv"
    path.write_text(table(make_nwb(), trials=False))
    recording = read_recording(path, ReadOptions(smoothing="none"), events=START + 3.2)
    wanted = read(make_nwb(), **RAW)
    np.testing.assert_array_equal(recording.rates_hz, wanted.rates_hz)
    assert recording.ids == ("u0", "u1", "u2", "u3", "u4", "u5")
    with refused(RecordingError, "spikes.csv", "--event FILE", "--event 0"):
        read(path)
    pytest.importorskip("pyarrow")
    import pandas as pd

    frame = pd.read_csv(path)
    frame["depth"] = 3.0
    nested = [[1.0, 2.0]] * len(frame)  # a column that no one asks for
    frame.assign(waveform=nested).to_parquet(tmp_path / "spikes.parquet")
    again = read_recording(tmp_path / "spikes.parquet", ReadOptions(smoothing="none"), events=START + 3.2)
    np.testing.assert_array_equal(again.rates_hz, wanted.rates_hz)
    assert again.notes[0].endswith(": depth, waveform")


def test_tables_of_spikes_by_trial(refused: Refused, make_nwb: Make, tmp_path: Path) -> None:
    """Each trial has a separate clock; its zero is the event unless a time per trial is given."""
    path = tmp_path / "spikes.csv"
    path.write_text(table(make_nwb(), trials=True))
    wanted = read(make_nwb(), **RAW, event="start_time", window_s=(0.0, 4.5), bin_s=0.5)
    recording = read(path, smoothing="none", window_s=(0.0, 4.5), bin_s=0.5)
    np.testing.assert_array_equal(counted(recording), counted(wanted))
    assert recording.trials == (8,)
    assert read(path, trials="trial in [1, 2]", window_s=(0, 4)).trials == (2,)
    go = read_recording(path, ReadOptions(smoothing="none"), events=np.full(8, 3.2))
    assert abs(counted(go) - counted(read(make_nwb(), **RAW))).sum() <= 2  # but for rounding at an edge
    (tmp_path / "go.csv").write_text(
        "time,trial,side\n" + "".join(f"3.2,{i},{'lr'[i % 2]}\n" for i in range(9, -1, -1))
    )
    by_label = read(path, event=str(tmp_path / "go.csv"), trials=("side == 'l'", "side == 'r'"), smoothing="none")
    assert by_label.trials == (5, 5)  # two more trials, in which no unit fired
    np.testing.assert_array_equal(counted(by_label).sum(axis=2), counted(go)[:, :, 0])
    with refused(RecordingError, "7 times", "8 trials", "spikes.csv"):
        read_recording(path, events=np.zeros(7))
    (tmp_path / "go.csv").write_text("time,trial\n3.2,1\n3.2,1\n3.2,2\n")
    with refused(RecordingError, "go.csv", "3 lines", "2 trials", "0, 3"):
        read(path, event=str(tmp_path / "go.csv"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("unit,time\n1,a\n", ["column time"]),
        ("unit,time\n1,\n1,inf\n", ["unit 1", "1 infinite"]),
        ("unit,time\n1,\n1,\n", ["2 of 2", "NaN"]),
        ("unit,time\n,1\n1,2\n", ["column unit", "1 empty"]),
        ("unit,time,trial\n1,1,\n1,2,3\n", ["column trial", "1 empty"]),
        ("unit,time\n1,50\n1,60\n", ["-2 to 1 s", "events"]),
        ("unit,time\n1,5000\n1,6000\n", ["--time-unit ms", "2 of 2", "6000 s"]),
    ],
)
def test_invalid_tables_of_spikes(refused: Refused, tmp_path: Path, text: str, named: list[str]) -> None:
    (tmp_path / "a.csv").write_text(text)
    with refused(RecordingError, "a.csv", *named):
        read_recording(tmp_path / "a.csv", events=[1.0])


@pytest.mark.parametrize("clocks", [False, True])
def test_spike_times_of_nan_are_counted_and_omitted(clocks: bool, tmp_path: Path) -> None:
    trial = ",trial" if clocks else ""
    rows = [f"{row},0" if clocks else row for row in ("1,0.5", "1,", "2,nan", "2,0.1", "2,")]
    (tmp_path / "a.csv").write_text("\n".join([f"unit,time{trial}", *rows]) + "\n")
    how: dict[str, Any] = {"window_s": (0, 1), "bin_s": 0.5, "smoothing": "none"}
    recording = read_recording(tmp_path / "a.csv", ReadOptions(**how), events=[0.0])
    assert (recording.rates_hz[:, :, 0] * 0.5).tolist() == [[0, 1], [1, 0]]
    (note,) = [note for note in recording.notes if "NaN" in note]
    assert "3 of 5" in note
    assert "2 units" in note


def test_texts_that_are_padded_or_enumerated(make_nwb: Make, tmp_path: Path) -> None:
    good = make_nwb({"units/classification": np.array([b"good  "] * 3 + [b" mua"] * 3)})
    assert read(good).neurons == 3
    with h5py.File(good, "r+") as file:
        del file["units/classification"]
        labels = h5py.enum_dtype({"good": 1, "mua": 2})
        file["units"].create_dataset("classification", data=[1, 1, 2, 2, 1, 1], dtype=labels)
    assert read(good).neurons == 4
    with h5py.File(good, "r+") as file:  # as NWB enumerates: numbers, and the texts in another column
        del file["units/classification"]
        file["units/classification"] = np.array([0, 1, 1, 1, 1, 1], np.uint8)
        file["units/classification_elements"] = ["good", "mua"]
    assert read(good).neurons == 1
    (tmp_path / "a.csv").write_text("unit,time,trial\n1 ,0.1,left \n1,0.2,left\n2,0.1,right\n")
    assert read_recording(tmp_path / "a.csv", ReadOptions(trials=("trial == 'left'",))).trials == (1,)


def test_columns_of_parquet(tmp_path: Path) -> None:
    """Texts may be categories, and times lists; other columns of lists are not read."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    units = pa.array(["a ", None, "a ", "b"])
    for column in (units, units.dictionary_encode()):
        table = {"unit": column, "time": [0.1, 0.2, 0.3, 0.4], "waveform": [[1.0], [2.0], [3.0], [4.0]]}
        pq.write_table(pa.table(table), tmp_path / "a.parquet")
        session = read_contents(tmp_path / "a.parquet").session
        assert session is not None
        assert session.units.ids == ("", "a", "b")
        assert [times.tolist() for times in session.units.spike_times] == [[0.2], [0.1, 0.3], [0.4]]
    times = [[0.1, 0.2], [], None, [0.25]]
    for kind in (pa.list_(pa.float64()), pa.large_list(pa.float32())):
        pq.write_table(pa.table({"unit": list("abca"), "spike_times": pa.array(times, kind)}), tmp_path / "b.parquet")
        session = read_contents(tmp_path / "b.parquet").session
        assert session is not None
        assert [len(part) for part in session.units.spike_times] == [3, 0, 0]
        np.testing.assert_allclose(session.units.spike_times[0], [0.1, 0.2, 0.25])


def test_mappings(refused: Refused, make_nwb: Make) -> None:
    units = {"a": [1.0, 2.0], 7: np.array([3, 1]), "silent": []}
    recording = read_recording(units, ReadOptions(window_s=(0, 4), bin_s=1, smoothing="none"), events=[0, 0])
    assert recording.ids == ("a", "7", "silent")
    assert recording.rates_hz[:, :, 0].T.tolist() == [[0, 1, 1, 0], [0, 1, 0, 1], [0, 0, 0, 0]]
    assert (recording.source, recording.provenance["format"]) == ("spike times", "mapping")
    for wrong, named in [
        ({}, "no units"),
        ({1: ["x"]}, "unit 1"),
        ({1: [[1.0]]}, "unit 1"),
        ({1: [np.inf]}, "unit 1"),
    ]:
        with refused(RecordingError, "spike times", named):
            read_recording(wrong, events=[1.0])  # type: ignore[arg-type]


# --- invalid files


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({f"units/{name}": None for name in ("id", "spike_times", "spike_times_index", "classification", "anno_name",
          "electrodes", "electrodes_index", "is_good_trials", "obs_intervals", "obs_intervals_index")},
         ["without units"]),
        ({"units/spike_times": None}, ["spike_times_index"]),
        ({"units/spike_times_index": None}, ["spike_times_index"]),
        ({"units/spike_times_index": np.zeros(0, dtype=np.uint8)}, ["no units"]),
        ({"units/spike_times": np.full(9, np.nan), "units/spike_times_index": np.arange(1, 7)}, ["6 of 6", "NaN"]),
        ({"intervals/trials/start_time": None}, ["intervals/trials", "start_time", "stop_time"]),
        ({"intervals/trials/outcome": ["hit"] * 7}, ["intervals/trials", "start_time 8", "outcome 7"]),
    ],
)  # fmt: skip
def test_incomplete_sessions(refused: Refused, make_nwb: Make, changes: dict[str, Any], named: list[str]) -> None:
    with refused(RecordingError, "made.nwb", *named):
        read(make_nwb(changes))


def test_rates_in_an_nwb_file_are_read_by_name(make_nwb: Make) -> None:
    path = make_nwb({"scratch/psth": np.ones((10, 40))})
    assert read(path, dataset="scratch/psth", time_axis="rows").rates_hz.shape == (10, 40, 1)


def test_no_neurons_after_the_rate_filter(refused: Refused, make_nwb: Make) -> None:
    with refused(RecordingError, "5 neurons", "made.nwb", "500 Hz"):
        read(make_nwb(), minimum_rate_hz=500)
    assert read(make_nwb(), minimum_rate_hz=6).ids == ("11", "13", "14")


def test_many_references_to_one_long_text(refused: Refused, make_nwb: Make) -> None:
    """Texts may share storage in the file, so their total length is checked while reading."""
    long = "x" * 200_000
    path = make_nwb({"intervals/trials/outcome": [long] * 8, "units/classification": ["good"] * 6})
    assert read(path).trials == (8,)
    from rlsbench.recordings import hdf5

    before = hdf5.MAX_TEXT
    try:
        hdf5.MAX_TEXT = 10**6
        with refused(RecordingError, "intervals/trials/outcome", "1,000,000"):
            read(path)
    finally:
        hdf5.MAX_TEXT = before


def test_links_are_followed_within_the_file(refused: Refused, make_nwb: Make, tmp_path: Path) -> None:
    other = make_nwb(name="other.nwb")
    for link in (h5py.SoftLink("/elsewhere/./"), h5py.SoftLink("elsewhere")):
        path = make_nwb()
        with h5py.File(path, "a") as file:
            file.move("units", "elsewhere")
            file.move("acquisition/BehavioralEvents/go_start_times/timestamps", "general/times")
            file["units"] = link
            file["acquisition/BehavioralEvents/go_start_times/timestamps"] = h5py.SoftLink("/general/times")
            file["intervals/trials/nothing"] = h5py.SoftLink("/intervals/trials/nothing")
            file["acquisition/photos"] = h5py.ExternalLink(str(other), "/acquisition")
            file["acquisition/again"] = h5py.SoftLink("/acquisition/photos")
        recording = read(path, event="go_start_times")
        np.testing.assert_array_equal(recording.rates_hz, read(other, event="go_start_times").rates_hz)
        assert any("acquisition/photos" in note for note in recording.notes)
    path = make_nwb()
    with h5py.File(path, "a") as file:
        del file["units"]
        file["units"] = h5py.ExternalLink(str(other), "/units")
    with refused(RecordingError, "made.nwb", "'units'", str(other)):
        read(path)
    path = make_nwb()
    with h5py.File(path, "a") as file:
        del file["units/spike_times"]
        file["units/spike_times"] = h5py.ExternalLink(str(other), "/units/spike_times")
        file["acquisition/loop"] = file["/acquisition"]
    with refused(RecordingError, "made.nwb", "spike_times"):
        read(path)


def test_signals_are_not_events(make_nwb: Make) -> None:
    session = read_contents(make_nwb()).session
    assert session is not None
    assert list(session.events) == ["go_start_times", "sample_start_times"]
    two = {"processing/behavior/go_start_times/timestamps": START + 3.3}
    session = read_contents(make_nwb(two)).session
    assert session is not None
    assert "processing/behavior/go_start_times" in session.events
