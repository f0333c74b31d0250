"""Recordings, targets and masks that are given in Python, and what is kept of them."""

from __future__ import annotations

import json
import zipfile
from collections import UserDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import rlsbench
from rlsbench.configuration import Experiment
from rlsbench.errors import ConfigurationError, RecordingError, ResultError
from rlsbench.recordings import ReadOptions, Recording, read_contents, read_recording, save_recording
from rlsbench.results import RunDirectory, configuration_hash, read_checkpoint, read_given, run_document
from rlsbench.results.saved import check_recording, recording_found
from rlsbench.targets import MatrixTargets
from rlsbench.training import Training

Refused = Callable[..., Any]
RANDOM = np.random.default_rng(3)
SPIKES = [np.sort(RANDOM.uniform(0, 100, 300)) for _ in range(4)]
CUES = np.arange(5.0, 95.0, 3.0)
HOW = ReadOptions(window_s=(-0.2, 0.4))
RATES = RANDOM.gamma(1.0, 8.0, (20, 40))  # as many bins as the tiny experiment
CURRENTS = np.full((20, 70), np.nan)
CURRENTS[:, :50] = 0.3 * np.sin(np.arange(20))[:, None]


class Ts:
    """Times as pynapple has them: not an array, but an object with one."""

    def __init__(self, times: Any) -> None:
        self.t = np.asarray(times)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise ValueError("not an array")


class TsGroup(UserDict[int, Ts]):
    """Units with metadata as pynapple has them."""

    metadata = pd.DataFrame({"region": ["a", "b", "a", "b"], "snr": [1.0, 2.0, 3.0, 4.0]})


@pytest.fixture
def e(tiny: dict[str, Any]) -> Experiment:
    return rlsbench.load_experiment("smoke", overrides=tiny | {"training.iterations": 4})


def prepare(e: Experiment, **given: Any) -> Training:
    return rlsbench.prepare(e, "numpy-packed", **given)


def test_spike_times_in_every_container() -> None:
    expected = read_recording(dict(enumerate(SPIKES)), HOW, events=CUES)
    units = np.repeat(np.arange(4), 300)
    for spikes in (
        SPIKES,
        tuple(times.tolist() for times in SPIKES),
        np.array([*SPIKES, None], dtype=object)[:-1],
        pd.Series(SPIKES),
        pd.Series(np.concatenate(SPIKES), index=units),
        pd.DataFrame({"unit": units, "time": np.concatenate(SPIKES)}),
        TsGroup({i: Ts(times) for i, times in enumerate(SPIKES)}),
        pd.DataFrame({"unit": range(4), "spike_times": SPIKES}),
    ):
        found = read_recording(spikes, HOW, events=Ts(CUES))
        np.testing.assert_array_equal(found.rates_hz, expected.rates_hz)
        assert found.ids == ("0", "1", "2", "3")
    many = pd.DataFrame({"unit": ["a"], "spike_times": [np.sort(np.random.default_rng(0).uniform(0, 90, 1500))]})
    mapping = dict(zip(many["unit"], many["spike_times"], strict=True))
    wanted = read_recording(mapping, HOW, events=CUES)
    np.testing.assert_array_equal(read_recording(many, HOW, events=CUES).rates_hz, wanted.rates_hz)
    group = TsGroup({i: Ts(times) for i, times in enumerate(SPIKES)})
    some = ReadOptions(window_s=(-0.2, 0.4), units="region == 'a' and snr > 2")
    assert read_recording(group, some, events=CUES).ids == ("2",)


def test_events_of_several_conditions() -> None:
    found = read_recording(SPIKES, HOW, events={"left": CUES[::2], "right": CUES[1::2]})
    assert (found.conditions, found.trials, found.notes) == (("left", "right"), (15, 15), ())
    right = read_recording(SPIKES, HOW, events=CUES[1::2])
    np.testing.assert_array_equal(found.rates_hz[:, :, 1], right.rates_hz[:, :, 0])


def test_rates_in_every_container() -> None:
    named = pd.DataFrame(RATES, columns=[f"n{i}" for i in range(40)], index=pd.Index(0.02 * np.arange(20), name="time"))
    for rates in (RATES, RATES[:, :, None], RATES.astype(">f4"), pd.DataFrame(RATES), named):
        found = read_recording(rates, experiment=(20, 512))
        np.testing.assert_allclose(found.rates_hz[:, :, 0], RATES, rtol=1e-6)
    assert found.ids is not None
    assert found.ids[:2] == ("n0", "n1")
    two = read_recording(np.stack([RATES, 2 * RATES], axis=2))
    assert len(two.conditions) == 2
    mine = RATES.copy()
    kept = read_recording(mine)
    mine[:] = 0.0
    np.testing.assert_array_equal(kept.rates_hz[:, :, 0], RATES)
    assert read_recording(RATES.T, ReadOptions(time_axis="columns"), experiment=(20, 512)).bins == 20
    assert read_recording(kept) is kept


class Labelled:
    """What an xarray.DataArray has."""

    def __init__(self, values: np.ndarray, *dims: str) -> None:
        self.values, self.dims = values, dims

    def transpose(self, first: str, rest: Any) -> Labelled:
        assert rest is ...
        axis = self.dims.index(first)
        return Labelled(np.moveaxis(self.values, axis, 0), first, *self.dims[:axis], *self.dims[axis + 1 :])

    def to_pandas(self) -> pd.DataFrame:
        return pd.DataFrame(self.values, index=pd.RangeIndex(len(self.values), name=self.dims[0]))


def test_rates_with_named_dimensions(refused: Refused) -> None:
    for rates in (Labelled(RATES, "time", "unit"), Labelled(RATES.T, "unit", "time")):
        np.testing.assert_array_equal(read_recording(rates).rates_hz[:, :, 0], RATES)
    with refused(RecordingError, "trial x time x unit"):
        read_recording(Labelled(RATES[None], "trial", "time", "unit"))


@pytest.mark.parametrize(
    ("source", "named"),
    [
        (5, "()"),
        (None, "()"),
        (RATES[0], "(40,)"),
        (RATES.astype(str), "<U"),
        (RATES.T, "(40, 20)"),  # neurons x bins
        ([1.0, 2.0], "unit 0"),
        (["a", "b"], "unit 0"),
        (pd.Series([1.0, 2.0]), "2 spike times"),
        ({}, "no units"),
    ],
)
def test_what_is_no_recording(refused: Refused, source: Any, named: str) -> None:
    with refused(RecordingError, named):
        read_recording(source, experiment=(20, 512))
    with refused(RecordingError, "event"):
        read_recording(RATES, events=CUES)


def test_a_recording_is_saved_and_loaded(refused: Refused, tmp_path: Path) -> None:
    saved = read_recording(SPIKES, HOW, events={"left": CUES[::2], "right": CUES[1::2]})
    save_recording(tmp_path / "r.npz", saved)
    loaded = read_recording(tmp_path / "r.npz")
    for name in Recording.__dataclass_fields__:
        one, other = getattr(saved, name), getattr(loaded, name)
        if name == "provenance":
            assert one.items() <= other.items()
        else:
            np.testing.assert_array_equal(one, other)
    contents = read_contents(tmp_path / "r.npz")
    assert (contents.format, contents.session) == ("NPZ, a saved recording", None)
    assert contents.matrices == ("rates_hz (30, 4, 2) float64",)
    assert "window_s" in read_recording(tmp_path / "r.npz", HOW).notes[-1]
    with zipfile.ZipFile(tmp_path / "r.npz") as archive:
        arrays = dict(np.load(tmp_path / "r.npz"))
        assert set(archive.namelist()) == {"rates_hz.npy", "edges_s.npy", "unit_trials.npy", "recording.npy"}
    fields = json.loads(arrays["recording"].tobytes())
    for wrong in ({"ids": ["1"]}, {"ids": 5}, {"more": 1}, {"conditions": ["a", "a"]}):
        text = np.frombuffer(json.dumps(fields | wrong).encode(), np.uint8)
        np.savez(tmp_path / "wrong.npz", **arrays | {"recording": text})
        with refused(RecordingError):
            read_recording(tmp_path / "wrong.npz")
    np.savez(tmp_path / "wrong.npz", **arrays | {"rates_hz": -saved.rates_hz})
    with refused(RecordingError, "negative"):
        read_recording(tmp_path / "wrong.npz")


def test_targets_and_who_learns(e: Experiment) -> None:
    training = prepare(e, targets=CURRENTS, learns=np.arange(70) % 2 == 0)
    targets = training.problem.targets
    assert targets is not None
    followed = np.flatnonzero(~np.isnan(targets.row(0, 0)))
    assert followed.tolist() == [*range(0, 50, 2)]
    np.testing.assert_array_equal(targets.matrix(0)[:, followed], CURRENTS[:, followed])
    assert configuration_hash(training.experiment) != configuration_hash(e)
    other = prepare(e, targets=MatrixTargets(2 * np.stack([CURRENTS, CURRENTS])))
    assert other.problem.tasks == 2
    hashes = {configuration_hash(t.experiment) for t in (training, other, prepare(e, targets=CURRENTS))}
    assert len(hashes) == 3
    assert prepare(e, learns=[3, 8]).experiment.learning.neurons == ("3", "8")


def test_targets_that_resume_would_not_know_are_not_saved(refused: Refused, e: Experiment, tmp_path: Path) -> None:
    training = prepare(e)
    training.problem = replace(training.problem, targets=MatrixTargets(CURRENTS[None]))
    with refused(ConfigurationError, "targets.kind = sinusoid", "prepare"):
        rlsbench.save_checkpoint(tmp_path / "x.h5", training)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", [{"targets": CURRENTS, "learns": np.arange(70) < 40}, {"recording": RATES}])
def test_a_checkpoint_keeps_what_was_given(
    refused: Refused, e: Experiment, tmp_path: Path, given: dict[str, Any]
) -> None:
    training, path = prepare(e, **given), tmp_path / "x.h5"
    list(training.run(1))
    rlsbench.save_checkpoint(path, training)
    again = rlsbench.resume(path)
    for t in (training, again):
        list(t.run(1))
    np.testing.assert_array_equal(again.weights(), training.weights())
    assert again.experiment == training.experiment
    assert again.labels("ids") == training.labels("ids")
    (name,) = {"targets", "recording"} & set(given)
    with refused(ResultError, "x.h5"):
        rlsbench.resume(path, **{name: 2 * given[name]})
    assert rlsbench.resume(path, **{name: given[name]}).experiment == training.experiment


def test_what_is_too_large_is_kept_as_a_digest(
    refused: Refused, e: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlsbench.results.given.LARGEST", 1000)
    training, path = prepare(e, recording=RATES), tmp_path / "x.h5"
    rlsbench.save_checkpoint(path, training)
    assert not read_checkpoint(path).given()
    with refused(ResultError, "x.h5", "recording="):
        rlsbench.resume(path)
    with refused(ResultError, "x.h5"):
        rlsbench.resume(path, recording=2 * RATES)
    assert rlsbench.resume(path, recording=RATES).recording is not None
    save_recording(tmp_path / "r.npz", training.recording or read_recording(RATES))
    files = {"recording.files": [str(tmp_path / "r.npz")]}
    assert rlsbench.resume(path, overrides=files).recording_digest() == training.recording_digest()


def test_the_directory_of_a_run_keeps_what_was_given(refused: Refused, e: Experiment, tmp_path: Path) -> None:
    for number, given in enumerate(({"targets": CURRENTS}, {"recording": RATES})):
        training = prepare(e, **given)
        with RunDirectory(tmp_path / str(number)) as directory:
            directory.begin(training)
        again = prepare(training.experiment, **read_given(directory.path))
        assert again.experiment == training.experiment
        with refused(ConfigurationError, "prepare"):
            prepare(training.experiment)
    assert run_document(training).configuration["targets"]["digest"] == training.recording_digest()
    (directory.path / "given.npz").write_bytes(b"PK damaged")
    with refused(ResultError, "given.npz"):
        read_given(directory.path)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"targets": CURRENTS[:5]}, ["(1, 5, 70)", "20 bins", "network.neurons = 70"]),
        ({"targets": CURRENTS.T}, ["(1, 70, 20)"]),
        ({"targets": "currents"}, ["targets"]),
        ({"targets": np.where(np.arange(20)[:, None] == 3, np.inf, CURRENTS)}, ["neuron 0"]),
        ({"targets": CURRENTS, "learns": [60]}, ["all neurons"]),
        ({"targets": CURRENTS, "recording": RATES}, ["targets", "recording"]),
        ({"learns": np.ones(5, bool)}, ["5 neurons", "70"]),
        ({"learns": [70]}, ["learning.neurons = 70", "0:70"]),
    ],
)
def test_what_cannot_be_learned(refused: Refused, e: Experiment, given: dict[str, Any], named: list[str]) -> None:
    with refused(ConfigurationError, *named):
        prepare(e, **given)


def test_files_and_events_in_python(make_nwb: Callable[..., Path], e: Experiment, tmp_path: Path) -> None:
    how = {"recording.window_s": [-0.02, 0.02], "network.L": 2, "targets.untrained": 65, "recording.quality": []}
    e = rlsbench.configuration.changed(e, how)
    path = make_nwb()
    training = prepare(e, recording=path)
    assert training.experiment.recording.files == (str(path),)
    assert training.experiment.targets.digest == ""
    go = 1.0 + 5.0 * np.arange(8) + 3.2
    given = prepare(e, recording=path, events=go)
    assert given.recording_digest() == training.recording_digest() == given.experiment.targets.digest
    rlsbench.save_checkpoint(tmp_path / "x.h5", given)
    assert rlsbench.resume(tmp_path / "x.h5").recording_digest() == given.recording_digest()


def test_a_run_that_was_moved_finds_its_recording(
    refused: Refused, e: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a" / "data").mkdir(parents=True)
    (tmp_path / "a" / "runs" / "x").mkdir(parents=True)
    np.save(tmp_path / "a" / "data" / "rates.npy", RATES[:, :35])
    monkeypatch.chdir(tmp_path / "a")
    how = {"targets.untrained": 35, "recording.time_axis": "rows"}
    training = prepare(rlsbench.configuration.changed(e, how), recording="data/rates.npy")
    rlsbench.save_checkpoint("runs/x/1.h5", training)
    document = run_document(training)
    digest, fitted = document.recording_digest, training.experiment
    assert digest == training.recording_digest()
    assert document.configuration["recording"]["files"] == ["rates.npy"]  # no folders in documents
    assert fitted.recording.files == (str(tmp_path / "a" / "data" / "rates.npy"),)
    monkeypatch.chdir(tmp_path)
    here = recording_found(fitted, Path("a/runs/x"), digest)
    assert here.recording.files == fitted.recording.files

    (tmp_path / "a").rename(tmp_path / "b")
    np.save(tmp_path / "b" / "runs" / "rates.npy", 2 * RATES[:, :35])  # nearer, but another
    again = rlsbench.resume("b/runs/x/1.h5")
    assert again.experiment.recording.files == (str(tmp_path / "b" / "data" / "rates.npy"),)
    with refused(ResultError, "--recording", "1.h5"):
        rlsbench.resume("b/runs/x/1.h5", overrides={"recording.files": ["b/runs/rates.npy"]})
    for folder in ("data", "runs"):
        (tmp_path / "b" / folder / "rates.npy").unlink()
    with refused(ResultError, str(tmp_path / "a" / "data" / "rates.npy"), "--recording"):
        recording_found(fitted, Path("b/runs/x"), digest)
    with refused(ResultError, "--recording", "run"):
        check_recording(training, "0" * 64, Path("run"))
