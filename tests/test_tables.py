"""Tables of spikes: names of columns, units of times, lists of times, encodings, and wrong ones."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rlsbench.errors import ConfigurationError, RecordingError
from rlsbench.recordings import ReadOptions, Session, read_contents, read_recording

Refused = Callable[..., Any]
TIMES = {"3": [0.25, 1.5], "7": [0.125, 0.5, 2.0]}  # spikes of two units, s
SPIKES = [(unit, time) for unit, times in TIMES.items() for time in times]


def session(path: Path, **options: Any) -> Session:
    found = read_contents(path, ReadOptions(**options)).session
    assert found is not None
    return found


def found_in(path: Path, **options: Any) -> dict[str, list[float]]:
    units = session(path, **options).units
    return {id: times.round(9).tolist() for id, times in zip(units.ids, units.spike_times, strict=True)}


def write(path: Path, header: str | None, *, separator: str = ",", unit_s: float = 1.0) -> Path:
    lines = [f"{unit}{separator}{time / unit_s:g}" for unit, time in reversed(SPIKES)]
    path.write_text("\n".join([header, *lines] if header else lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("header", "unit_s"),
    [
        ("unit,time", 1.0),
        ("i,t", 1.0),  # Brian
        ("sender,time_ms", 1e-3),  # NEST 3
        ("gid,time [ms]", 1e-3),  # NEST 2
        ("unit_id,spike_time", 1.0),  # SpikeInterface
        ("spike_clusters,spike_times", 1.0),  # phy
        ("Neuron ID,Timestamp (us)", 1e-6),
        ("cell,ts", 1.0),
    ],
)
def test_usual_names_of_columns(tmp_path: Path, header: str, unit_s: float) -> None:
    path = write(tmp_path / "a.csv", header, unit_s=unit_s)
    assert found_in(path) == TIMES
    notes = session(path).notes
    assert any(repr(header.split(",")[0]) in note for note in notes) == (header != "unit,time")
    assert any("converted" in note for note in notes) == (unit_s != 1.0)


def test_columns_and_units_that_are_told(refused: Refused, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "ch,when", unit_s=1e-3)
    assert found_in(path, columns="unit=ch,time=when", time_unit="ms") == TIMES
    assert found_in(path, columns={"unit": "0", "time": "1"}, time_unit="1kHz") == TIMES
    with refused(RecordingError, "a.csv", "'chan'", "ch, when"):
        session(path, columns="unit=chan,time=when")
    with refused(RecordingError, "a.csv", "time", "ch, when"):
        session(path, columns="unit=ch")
    bare = write(tmp_path / "bare.dat", None, separator="\t", unit_s=1e-3)
    with refused(RecordingError, "bare.dat", "--columns unit=0,time=1"):
        read_recording(bare)
    assert found_in(bare, columns="unit=0,time=1", time_unit="ms") == TIMES
    with refused(RecordingError, "bare.dat", "'2'", "2 columns"):
        session(bare, columns="unit=0,time=2")
    for text, named in (("unit", ["columns"]), ("spike=a", ["'spike=a'", "'unit', 'time' or 'trial'"])):
        with refused(ConfigurationError, *named):
            ReadOptions(columns=text)
    samples = write(tmp_path / "b.csv", "cluster_id,sample", unit_s=1 / 32)
    with refused(RecordingError, "b.csv", "samples", "--time-unit 30kHz"):
        session(samples)
    assert found_in(samples, time_unit="32 Hz") == TIMES
    with refused(RecordingError, "a.npy", "columns"):
        np.save(tmp_path / "a.npy", np.ones((20, 3)))
        read_recording(tmp_path / "a.npy", ReadOptions(columns="unit=a,time=b", time_axis="rows"))


def test_a_line_may_hold_a_list_of_times(refused: Refused, tmp_path: Path) -> None:
    """As pandas writes lists and arrays; trials and units without spikes are then known."""
    path = tmp_path / "a.csv"
    lists = ["[0.25, 0.5]", "0.125", "[]", "[2.   3.5]", "", "(1; 2)"]
    rows = {"unit_id": ["a", "a", "b", "b", "c", "a"], "trial": [1, 2, 1, 2, 4, 3], "spike_times": lists}
    pd.DataFrame(rows).to_csv(path, index=False)
    found = session(path)
    assert found_in(path) == {"a": [0.125, 0.25, 0.5, 1.0, 2.0], "b": [2.0, 3.5], "c": []}
    assert found.trials is not None
    assert found.trials.rows == 4
    assert found.units.spike_trials is not None
    assert [rows.tolist() for rows in found.units.spike_trials] == [[1, 0, 0, 2, 2], [1, 1], []]
    recording = read_recording(path, ReadOptions(window_s=(0, 1), bin_s=0.5, smoothing="none"))
    assert recording.rates_hz[:, 0, 0].tolist() == [1.0, 0.5]  # 2 and 1 spikes in 4 trials of 0.5 s bins
    path.write_text("unit,time\n1,[0.1 ... 0.9]\n")
    with refused(RecordingError, "a.csv", "time", "numbers"):
        session(path)


@pytest.mark.parametrize("text", ["0.1 0.2\n0.3\n", "1.5,2,3,4\n0.1,0.2\n", "1\t2\n1\t2\t3\n"])
def test_lines_of_different_lengths(refused: Refused, tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    with refused(RecordingError, "a.txt", "values", "unit,spike_times"):
        read_contents(tmp_path / "a.txt")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("packed", [False, True])
def test_encodings_and_compression(tmp_path: Path, encoding: str, packed: bool) -> None:
    text = ("\ufeff" if encoding == "utf-16-le" else "") + write(tmp_path / "a", "unit,time").read_text()
    content = text.encode(encoding)
    path = tmp_path / "spikes.csv.gz"
    path.write_bytes(gzip.compress(content) if packed else content)
    assert found_in(path) == TIMES


@pytest.mark.parametrize("separator", [";", "\t", " "])
@pytest.mark.parametrize("header", ["unit{}time", None])
def test_decimal_commas(tmp_path: Path, separator: str, header: str | None) -> None:
    path = write(tmp_path / "a.csv", header and header.format(separator), separator=separator)
    path.write_text(path.read_text().replace(".", ","))
    if separator == " ":  # the decimal commas of a line outnumber its other separators only here
        path.write_text(path.read_text().replace(" ", "\t"))
    assert found_in(path, columns={} if header else {"unit": "0", "time": "1"}) == TIMES


def test_thousands_are_not_decimals(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("unit,time\n3,0.25\n3,1.5\n7,0.125\n7,0.5\n7,2\n")
    assert found_in(tmp_path / "a.csv") == TIMES


def test_damaged_and_other_compressed_files(refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = gzip.compress(b"unit,time\n" + b"1,0.5\n" * 5000)
    for name, part in (("cut.gz", content[:-20]), ("binary.gz", gzip.compress(b"\0\1\2\3"))):
        (tmp_path / name).write_bytes(part)
        with refused(RecordingError, name):
            session(tmp_path / name)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(b"1,2\n" * 10**6))
    monkeypatch.setattr("rlsbench.recordings.arrays.available_bytes", lambda: 10**7)
    with refused(RecordingError, "bomb.gz", "too large"):
        session(tmp_path / "bomb.gz")


def test_a_long_table_of_rates_is_not_one_of_spikes(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("unit,time,firing_rate\n1,0.0,3\n1,0.1,4\n2,0.0,5\n2,0.1,6\n")
    with refused(RecordingError, "a.csv", "'firing_rate'", "pivot"):
        session(tmp_path / "a.csv")


@pytest.mark.parametrize(("unit", "factor", "told"), [("ms", 1e3, "ms"), ("samples", 3e4, "30kHz")])
@pytest.mark.parametrize("clocks", [False, True])
def test_times_in_another_unit_are_noticed(
    refused: Refused, tmp_path: Path, unit: str, factor: float, told: str, clocks: bool
) -> None:
    times = np.random.default_rng(1).uniform(0, 3 if clocks else 60, 500)
    trial = np.arange(500) % 9
    frame = pd.DataFrame({"unit": np.arange(500) % 4, "time": times * factor} | ({"trial": trial} if clocks else {}))
    frame.to_csv(tmp_path / "a.csv", index=False)
    events = None if clocks else np.arange(3.0, 60.0, 5.0)
    how: dict[str, Any] = {"window_s": (0.0, 1.0)}
    with refused(RecordingError, "a.csv", f"--time-unit {told}"):
        read_recording(tmp_path / "a.csv", ReadOptions(**how), events=events)
    recording = read_recording(tmp_path / "a.csv", ReadOptions(**how, time_unit=told), events=events)
    inside = times < 1 if clocks else np.any([(times >= e) & (times < e + 1) for e in np.asarray(events)], axis=0)
    assert abs(int(recording.provenance["spikes"]) - int(inside.sum())) <= 1
    if unit == "ms":  # nonsense, but as told
        told_s = ReadOptions(window_s=(0.0, 6000.0), bin_s=10.0, time_unit="s")
        assert read_recording(tmp_path / "a.csv", told_s, events=events).bins == 600


def test_an_event_may_be_a_time(tmp_path: Path) -> None:
    """For simulations, which have no trials."""
    path = write(tmp_path / "a.csv", "i,t")
    recording = read_recording(path, ReadOptions(event="0.25", window_s=(0, 2), bin_s=0.5, smoothing="none"))
    assert (recording.rates_hz[:, :, 0] * 0.5).T.tolist() == [[1, 0, 1, 0], [1, 0, 0, 1]]
    units = {"a": [250.0, 750.0]}
    told = read_recording(units, ReadOptions(time_unit="ms", window_s=(0, 1), bin_s=0.5, smoothing="none"), events=[0])
    assert (told.rates_hz[:, 0, 0] * 0.5).tolist() == [1, 1]
