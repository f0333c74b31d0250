"""`rlsbench inspect`: its output for each kind of file, the figure, and errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlsbench.cli import main
from rlsbench.recordings import ReadOptions, Recording, read_recording
from rlsbench.report.heatmaps import peak_order, save_psth_heatmap
from tests.conftest import DATA

Make = Callable[..., Path]
Inspect = Callable[..., tuple[int, list[str], str]]
NO_TRIALS: dict[str, Any] = {
    f"intervals/trials/{name}": None
    for name in ("id", "start_time", "stop_time", "trial_instruction", "outcome", "photostim_onset", "go_time")
}
NO_EVENTS: dict[str, Any] = {
    f"acquisition/BehavioralEvents/{name}_start_times/timestamps": None for name in ("go", "sample")
}


@pytest.fixture
def inspect(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Inspect:
    """Exit status, lines with single spaces, and errors of `rlsbench inspect`."""
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: object) -> tuple[int, list[str], str]:
        try:
            main(["inspect", *map(str, arguments)])
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        out, err = capsys.readouterr()
        return status, [" ".join(line.split()) for line in out.splitlines()], err

    return run


def test_an_nwb_file(make_nwb: Make, inspect: Inspect) -> None:
    path = make_nwb()
    status, lines, err = inspect(path)
    assert (status, err) == (0, "")
    assert lines[0].startswith("made.nwb: NWB, ")
    assert lines[1].startswith("6 units, ")
    for line in (
        "region by classification good unlabelled total",
        "MOs5 2 0 2",
        "right Striatum 0 1 1",
        "total 5 1 6",
        "8 trials",
        "outcome 'hit' (6), 'ignore' (1), 'miss' (1)",
        "photostim_onset '2.7' (2), 'N/A' (6)",
        "start_time 1 to 36 (8 values)",
        "event series times first (s) last (s)",
        "go_start_times 8 4.20 39.20",
        "sample_start_times 10 2.35 37.35",
        "150 bins of 20 ms from -2 to 1 s, 5 neurons",
    ):
        assert line in lines
    assert any(line.startswith("time 0 is go_start_times") for line in lines)
    assert "--figure FILE" in lines[-1]
    means = read_recording(path).mean_rates_hz
    numbers = [means.mean(), *np.quantile(means, [0, 0.25, 0.5, 0.75, 1])]
    assert " ".join(["all trials 8", *(f"{number:.2f}" for number in numbers)]) in lines
    assert not any("id" in line.split() for line in lines)


def test_options_reach_the_reader(make_nwb: Make, inspect: Inspect, tmp_path: Path) -> None:
    left, right = "trial_instruction == 'left'", "trial_instruction == 'right'"
    arguments = ["--event", "sample_start_times", "--occurrence", "last", "--window", -1, 2, "--bin-ms", 10]
    arguments += ["--smoothing", "gaussian", "--smoothing-bins", 2.5, "--quality", "any", "--region", "MOs"]
    arguments += ["--region", "CP", "--minimum-rate", 3, "--trials", left, "--trials", right]
    status, lines, err = inspect(make_nwb(), *arguments)
    assert (status, err) == (0, "")
    options = ReadOptions(
        event="sample_start_times",
        occurrence="last",
        window_s=(-1, 2),
        bin_s=0.01,
        smoothing="gaussian",
        smoothing_bins=2.5,
        trials=(left, right),
        quality=(),
        regions=("MOs", "CP"),
        minimum_rate_hz=3,
    )
    recording = read_recording(make_nwb(), options)
    assert f"300 bins of 10 ms from -1 to 2 s, {recording.neurons} neurons" in lines
    assert f"condition 1: {left}" in lines
    means = recording.rates_hz[:, :, 1].mean(axis=0)
    assert any(line.startswith(f"condition 2 4 {means.mean():.2f} {means.min():.2f} ") for line in lines)


@pytest.mark.parametrize("events", [True, False])
def test_an_nwb_file_without_trials(make_nwb: Make, inspect: Inspect, tmp_path: Path, events: bool) -> None:
    path = make_nwb(NO_TRIALS | ({} if events else NO_EVENTS))
    status, lines, err = inspect(path)
    assert (status, err) == (0, "")
    assert "no trials table" in lines
    assert ("no event series" in lines) != events
    if not events:
        (line,) = [line for line in lines if line.startswith("no rates: ")]
        assert "--event FILE" in line
    status, lines, err = inspect(path, "--trials", "outcome == 'hit'")  # options were given, so it fails
    assert status == 1
    assert "has no trials table" in err
    np.savetxt(tmp_path / "go.txt", 4.2 + 5 * np.arange(8))
    status, lines, err = inspect(path, "--event", tmp_path / "go.txt")
    assert (status, err) == (0, "")
    assert any(line.startswith("all trials 8 ") for line in lines)


def test_files_without_units_quality_or_regions(make_nwb: Make, inspect: Inspect) -> None:
    bare: dict[str, Any] = {"units/classification": None, "units/anno_name": None, "units/electrodes": None}
    status, lines, _ = inspect(make_nwb(bare))
    assert status == 0
    assert any("neither quality nor regions" in line for line in lines)
    status, lines, _ = inspect(make_nwb({"units/classification": None}))
    assert status == 0
    assert "MOs5 2 2" in lines
    status, _, err = inspect(make_nwb({"units/spike_times": None}))
    assert status == 1
    assert "made.nwb" in err
    assert "spike_times" in err


def test_matrices(tmp_path: Path, inspect: Inspect) -> None:
    rates = np.arange(40.0).reshape(4, 10)
    np.savez(tmp_path / "one.npz", psth=rates)
    status, lines, _ = inspect(tmp_path / "one.npz")
    assert status == 0
    assert any(line.startswith("no rates: ") and "--time-axis" in line for line in lines)
    status, lines, _ = inspect(tmp_path / "one.npz", "--time-axis", "rows")
    assert status == 0
    assert any(line.startswith("a run refuses") and "4 bins" in line for line in lines)
    for line in (
        "matrices that may hold rates: psth (4, 10) float64",
        "4 bins of 10 neurons; unknown bin width",
        "psth 19.50 15.00 17.25 19.50 21.75 24.00",
    ):
        assert line in lines
    np.savez(tmp_path / "two.npz", left=rates, right=0 * rates)
    status, lines, _ = inspect(tmp_path / "two.npz")
    assert status == 0
    assert any(line.startswith("no rates: two.npz") and "left" in line and "right" in line for line in lines)
    status, lines, _ = inspect(tmp_path / "two.npz", "--dataset", "right", "--time-axis", "columns")
    assert status == 0
    assert any(line.startswith("4 of 4 neurons") for line in lines)
    np.savetxt(tmp_path / "a.csv", rates, delimiter=",")
    assert inspect(tmp_path / "a.csv")[0] == 0


def test_a_table_of_spikes(tmp_path: Path, inspect: Inspect) -> None:
    (tmp_path / "a.csv").write_text("unit,time,trial\n1,0.5,1\n2,0.25,1\n1,-0.5,2\n")
    status, lines, _ = inspect(tmp_path / "a.csv", "--smoothing", "none")
    assert status == 0
    assert "2 units, 3 spikes, from -0.50 to 0.50 s" in lines
    assert any(line.startswith("all trials 2 ") for line in lines)


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_the_figure(make_nwb: Make, inspect: Inspect, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"figure{suffix}"
    status, lines, _ = inspect(make_nwb(), "--figure", path, "--quality", "any")
    assert status == 0
    assert lines[-1] == f"figure: {path}"
    start = {".png": b"\x89PNG\r\n\x1a\n", ".pdf": b"%PDF", ".svg": b"<?xml"}[suffix]
    assert path.read_bytes().startswith(start)
    if suffix == ".svg":  # in which comments repeat the texts
        texts = re.findall("<!-- (.*?) -->", path.read_text(encoding="utf-8"))
        assert "mean rate (Hz)" in texts
        assert not [text for text in texts if "$" in text]


@pytest.mark.parametrize(
    ("figure", "words"),
    [("figure.jpg", ".png"), ("none/figure.png", "No such file"), (".", "it is a directory")],
)
def test_figures_that_cannot_be_written(
    make_nwb: Make, inspect: Inspect, tmp_path: Path, figure: str, words: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    path = make_nwb()
    status, _, err = inspect(path, "--figure", tmp_path / figure)
    assert status == 1
    assert words in err
    assert sorted(tmp_path.rglob("*")) == sorted([*before, path])


def test_no_figure_without_rates(make_nwb: Make, inspect: Inspect, tmp_path: Path) -> None:
    status, _, err = inspect(make_nwb(NO_TRIALS | NO_EVENTS), "--figure", tmp_path / "figure.png")
    assert status == 1
    assert "has no trials table" in err
    assert not (tmp_path / "figure.png").exists()


@pytest.mark.parametrize("conditions", [1, 2])
def test_figures_of_many_regions_and_of_silence(tmp_path: Path, conditions: int) -> None:
    rates = np.random.default_rng(1).gamma(1.0, 5.0, (10, 60, conditions))
    rates[:, ::7] = 0
    recording = Recording(
        rates_hz=rates,
        conditions=("left", "right")[:conditions],
        regions=tuple(f"region {i % 11}" if i % 11 else "" for i in range(60)),
        source="made",
    )
    assert save_psth_heatmap(recording, tmp_path / "a.png").stat().st_size > 10_000
    silent = Recording(rates_hz=0 * rates, conditions=recording.conditions, source="made")
    assert save_psth_heatmap(silent, tmp_path / "b.png").exists()


def test_neurons_stand_in_the_order_of_their_peaks() -> None:
    rates = np.zeros((5, 4, 2))
    rates[3, 0] = rates[1, 1] = rates[0, 3] = 1.0
    rates[0, 0, 1] = 9.0  # in the second condition
    assert peak_order(rates).tolist() == [3, 1, 0, 2]


@pytest.mark.parametrize(
    ("arguments", "status", "named"),
    [
        (["none.nwb"], 1, "none.nwb"),
        (["made.nwb", "--trials", "outcom == 'hit'"], 1, "column outcom:"),
        (["made.nwb", "--trials", "outcome == 'hot'"], 1, "8 trials"),
        (["made.nwb", "--smoothing", "mean"], 2, "smoothing = 'mean'"),
        (["made.nwb", "--window", "1", "-1"], 2, "window_s = (1, -1)"),
        (["made.nwb", "--window", "1"], 2, "--window"),
        (["made.nwb", "--bin-ms", "7"], 2, "bin_s = 0.007"),
        (["made.nwb", "--minimum-rate", "1000"], 1, "5 neurons"),
        (["made.nwb", "--event", "none.txt"], 1, "'none.txt'"),
        ([], 2, "FILE"),
    ],
)
def test_bad_input_ends_in_one_line(
    make_nwb: Make, inspect: Inspect, monkeypatch: pytest.MonkeyPatch, arguments: list[str], status: int, named: str
) -> None:
    monkeypatch.chdir(make_nwb().parent)
    ended, _, err = inspect(*arguments)
    assert ended == status
    assert err.startswith("rlsbench: ")
    assert len(err.splitlines()) == 1
    assert named in err


@pytest.mark.parametrize("name", ["nwb/mini_000363_layout.nwb", "alm/movingrate_Pyr1Hz_lickleft.jld"])
def test_the_samples(inspect: Inspect, tmp_path: Path, name: str) -> None:
    if not (DATA / name).is_file():
        pytest.skip(f"no recordings in {DATA}")
    status, _, err = inspect(DATA / name, "--time-axis", "rows", "--figure", tmp_path / "a.png")
    assert (status, err) == (0, "")
