"""Matrices: what a file says about the axes, bins, counts, and arrays of trials and conditions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from rlsbench.errors import ConfigurationError, RecordingError
from rlsbench.recordings import ReadOptions, Recording, read_recording

Refused = Callable[..., Any]
BINS, NEURONS = 12, 5
RATES = np.random.default_rng(4).gamma(2.0, 5.0, (BINS, NEURONS)).round(3)
IDS = tuple(f"u{i}" for i in range(NEURONS))


def read(path: Path, **options: Any) -> Recording:
    return read_recording(path, ReadOptions(**options))


def frame(index: object = None, name: str | None = None, columns: object = IDS) -> pd.DataFrame:
    rows = None if index is None else pd.Index(np.asarray(index), name=name)
    return pd.DataFrame(RATES, index=rows, columns=list(columns))  # type: ignore[call-overload]


STEPS = np.arange(BINS)
MATRICES: dict[str, tuple[pd.DataFrame, float | None]] = {
    "header": (frame(), None),
    "seconds": (frame(0.02 * STEPS - 0.1, "time"), 0.02),
    "seconds without name": (frame(0.02 * STEPS), 0.02),
    "milliseconds": (frame(20 * STEPS, "Time (ms)"), 0.02),
    "milliseconds without unit": (frame(20 * STEPS, "t"), 0.02),
    "microseconds": (frame(20_000 * STEPS, "time_us"), 0.02),
    "rounded seconds": (frame((STEPS / 30).round(3), "bin_start"), 1 / 30),
    "numbers of bins": (frame(STEPS, "bin"), None),
    "time as a number": (frame(STEPS, "time"), None),
    "unknown name": (frame(0.02 * STEPS, "from go cue"), 0.02),
    "ids of neurons": (frame(columns=[4, 9, 11, 12, 40]), None),
    "pandas index": (frame(STEPS), None),
}


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_say_which_axis_is_time(tmp_path: Path, name: str, kind: str, transposed: bool) -> None:
    table, bin_s = MATRICES[name]
    path = tmp_path / f"a.{kind}"
    if transposed:
        if name == "microseconds":
            pytest.skip("a header has no place for the unit")
        table = table.T.rename_axis(index="unit" if "ids" in name else None, columns=None)
        if "time as" in name or "pandas" in name or name == "header":  # names of neurons, and 0, 1, ...
            table.columns = pd.RangeIndex(BINS)
        elif name == "numbers of bins":
            table.columns = pd.Index([f"bin_{i}" for i in STEPS])
    if kind == "csv":
        table.to_csv(path, index=transposed or table.index.name is not None or name != "header")
    else:
        pytest.importorskip("pyarrow")
        table.columns = table.columns.map(str)
        table.to_parquet(path)
    recording = read(path, bin_s=bin_s or 0.05)
    np.testing.assert_allclose(recording.rates_hz[:, :, 0], RATES)
    if "ids" in name:
        assert recording.ids == ("4", "9", "11", "12", "40")
    else:
        assert recording.ids == IDS
    if not transposed or bin_s is None:
        assert recording.bin_s == pytest.approx(bin_s, rel=1e-2) if bin_s else recording.bin_s is None
    assert ("columns" if transposed else "rows") in recording.notes[0]


def test_a_table_without_header_may_start_with_times(refused: Refused, tmp_path: Path) -> None:
    np.savetxt(tmp_path / "a.csv", np.column_stack([0.02 * STEPS, RATES]), delimiter=",", fmt="%g")
    recording = read(tmp_path / "a.csv")
    assert (recording.rates_hz.shape, recording.bin_s) == ((BINS, NEURONS, 1), pytest.approx(0.02))
    np.savetxt(tmp_path / "a.csv", RATES, delimiter=",")
    with refused(RecordingError, "a.csv", f"{BINS} x {NEURONS}", "--time-axis rows"):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("table", "named"),
    [
        (frame(STEPS**2, "time"), ["'time'", "equal steps", "--columns unit="]),
        (frame(STEPS[::-1], "time_s"), ["'time_s'", "equal steps"]),
        (frame(0.01 * STEPS, "sample"), ["'sample'", "--time-unit 30kHz"]),
        (frame(20_000 * STEPS, "time"), ["steps of 20000", "--time-unit"]),
        (frame().iloc[:, :2], ["12 x 2", "--time-axis rows", "--columns unit=u0,time=u1"]),
        (frame(list("abcdefghijkl"), "unit"), ["--time-axis"]),  # names of rows, and of columns
    ],
)
def test_tables_that_contradict_themselves(
    refused: Refused, tmp_path: Path, table: pd.DataFrame, named: list[str]
) -> None:
    table.to_csv(tmp_path / "a.csv", index=table.index.name is not None)
    with refused(RecordingError, "a.csv", *named):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize("kind", ["npz", "h5"])
@pytest.mark.parametrize(
    ("beside", "bin_s"),
    [
        ({"time": 0.02 * STEPS}, 0.02),
        ({"bin_edges": 20.0 * np.arange(BINS + 1)}, 0.02),
        ({"t_ms": 20 * STEPS, "unit_ids": np.arange(3, 3 + NEURONS)}, 0.02),
        ({"unit_ids": np.arange(3, 3 + NEURONS), "depth": np.ones(BINS)}, None),
    ],
)
def test_vectors_beside_a_matrix_tell_its_axes(
    tmp_path: Path, kind: str, beside: dict[str, np.ndarray], bin_s: float | None
) -> None:
    for transposed in (False, True):
        arrays = {"psth": RATES.T if transposed else RATES, **beside}
        path = tmp_path / f"a.{kind}"
        if kind == "npz":
            np.savez(path, **arrays)  # type: ignore[arg-type]
        else:
            with h5py.File(path, "w") as file:
                file["elsewhere/time"] = np.arange(float(NEURONS))
                for name, values in arrays.items():
                    file[f"session/{name}"] = values
        recording = read(path)
        np.testing.assert_allclose(recording.rates_hz[:, :, 0], RATES)
        assert recording.bin_s == (None if bin_s is None else pytest.approx(bin_s))
        assert recording.ids == (("3", "4", "5", "6", "7") if "unit_ids" in beside else None)


def test_bins_are_kept_or_made_wider_or_narrower(refused: Refused, tmp_path: Path) -> None:
    frame(0.01 * STEPS - 0.06, "time").to_csv(tmp_path / "a.csv")
    kept, wider, narrower = (read(tmp_path / "a.csv", bin_s=width) for width in (0.01, 0.03, 0.005))
    np.testing.assert_array_equal(kept.rates_hz[:, :, 0], RATES)
    np.testing.assert_allclose(kept.edges_s, 0.01 * np.arange(-6, 7), atol=1e-12)
    np.testing.assert_allclose(wider.rates_hz[:, :, 0], RATES.reshape(4, 3, NEURONS).mean(axis=1))
    np.testing.assert_allclose(wider.edges_s, 0.03 * np.arange(-2, 3), atol=1e-12)
    np.testing.assert_allclose(narrower.rates_hz[:, :, 0], RATES.repeat(2, axis=0))
    assert any("4 of 30 ms" in note and "--bin-ms 10" in note for note in wider.notes)
    odd = read(tmp_path / "a.csv", bin_s=0.025)  # 4 of 4.8
    np.testing.assert_allclose(odd.rates_hz[0, :, 0], RATES[[0, 0, 1, 1, 2]].mean(axis=0))
    assert odd.bins == 4
    with refused(RecordingError, "a.csv", "12 bins of 10 ms", "100 ms", "--bin-ms"):
        read(tmp_path / "a.csv", bin_s=0.1)
    np.save(tmp_path / "a.npy", RATES)
    unknown = read(tmp_path / "a.npy", time_axis="rows", bin_s=0.007)  # of which a window has no whole number
    assert (unknown.bins, unknown.bin_s) == (BINS, None)
    assert any("7 ms" in note and "--matrix-bin-ms" in note for note in unknown.notes)
    told = read(tmp_path / "a.npy", time_axis="rows", matrix_bin_ms=5, bin_s=0.01)
    np.testing.assert_allclose(told.rates_hz[:, :, 0], RATES.reshape(6, 2, NEURONS).mean(axis=1))


def test_counts(refused: Refused, tmp_path: Path) -> None:
    counts = np.random.default_rng(1).poisson(0.3, (BINS, NEURONS))
    how: dict[str, Any] = {"time_axis": "rows", "smoothing": "none"}
    for path, values in ((tmp_path / "counts.npy", counts), (tmp_path / "raster.npy", counts > 0)):
        np.save(path, values)
        kind = {} if values.dtype == bool else {"values": "counts"}
        np.testing.assert_allclose(read(path, **how, **kind).rates_hz[:, :, 0], values / 0.02)
        fine = read(path, **how, **kind, matrix_bin_ms=10.0)
        np.testing.assert_allclose(fine.rates_hz[:, :, 0], values.reshape(6, 2, NEURONS).sum(axis=1) / 0.02)
        smoothed = read(path, time_axis="rows", smoothing_bins=3, **kind)
        np.testing.assert_allclose(smoothed.rates_hz[1, :, 0], values[:3].mean(axis=0) / 0.02, atol=1e-9)
        assert smoothed.provenance["values"] == "counts"
    taken = read(tmp_path / "counts.npy", time_axis="rows")
    np.testing.assert_array_equal(taken.rates_hz[:, :, 0], counts)
    (warning,) = [note for note in taken.notes if note.startswith("warning: ")]
    assert f"from 0 to {counts.max()}" in warning
    assert "--values counts" in warning
    for values, options in ((counts, {"values": "rates"}), (40 * counts, {}), (counts + 0.5, {}), (0 * counts, {})):
        np.save(tmp_path / "rates.npy", values)
        assert not any("--values" in note for note in read(tmp_path / "rates.npy", time_axis="rows", **options).notes)
    with refused(ConfigurationError, "values = 'spikes'", "'rates' or 'counts'"):
        read(tmp_path / "rates.npy", values="spikes")


def test_arrays_of_trials_and_conditions(refused: Refused, tmp_path: Path) -> None:
    trials = np.random.default_rng(2).poisson(0.5, (2, 7, BINS, NEURONS))
    np.savez(tmp_path / "a.npz", left=trials[0], labels=np.arange(7))
    recording = read(tmp_path / "a.npz", axes="trials, time, units", values="counts", smoothing="none")
    np.testing.assert_allclose(recording.rates_hz[:, :, 0], trials[0].mean(axis=0) / 0.02)
    assert (recording.trials, recording.conditions) == ((7,), ("left",))
    np.save(tmp_path / "b.npy", trials.transpose(3, 0, 2, 1))
    both = read(tmp_path / "b.npy", axes=("unit", "condition", "time", "trial"), values="rates")
    np.testing.assert_allclose(both.rates_hz, trials.mean(axis=1).transpose(1, 2, 0))
    assert (both.trials, both.conditions) == ((7, 7), ("rates 1", "rates 2"))
    for axes in ((), ("time", "unit"), ("time", "unit", "time", "trial"), ("trial", "condition", "time", "time")):
        with refused(RecordingError, "b.npy", "5 x 2 x 12 x 7", "--axes condition,trial,time,unit"):
            read(tmp_path / "b.npy", axes=axes)
    with refused(ConfigurationError, "axes = 'time,neuron'", "'unit'"):
        read(tmp_path / "b.npy", axes="time,neuron")
    np.save(tmp_path / "c.npy", trials[0, 0])
    assert read(tmp_path / "c.npy", axes="time,unit", values="rates").neurons == NEURONS


@pytest.mark.parametrize(("unit", "bin_s"), [("s", 2.0), ("us", 2e-6), ("1kHz", 2e-3), ("0.5 Hz", 4.0)])
def test_the_unit_of_times_may_be_told(tmp_path: Path, unit: str, bin_s: float) -> None:
    frame(2 * STEPS, "time").to_csv(tmp_path / "a.csv")
    assert read(tmp_path / "a.csv", time_unit=unit, bin_s=bin_s).bin_s == pytest.approx(bin_s)


@pytest.mark.parametrize("unit", ["min", "", "kHz", "0 Hz", "1e3Hz"])
def test_units_of_time_that_do_not_exist(refused: Refused, unit: str) -> None:
    with refused(ConfigurationError, f"time_unit = {unit!r}", "ms", "30kHz"):
        ReadOptions(time_unit=unit)
