"""Formats of recordings: how HDF5 files are stored, MATLAB, folders of phy, NPZ files of units."""

from __future__ import annotations

import fcntl
import json
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from rlsbench.errors import RecordingError
from rlsbench.recordings import ReadOptions, Recording, Session, read_contents, read_recording

Make = Callable[..., Path]
Refused = Callable[..., Any]
RATES = np.arange(4 * 10, dtype=np.float64).reshape(4, 10)  # 4 bins of 10 neurons


def read(path: Path, **options: Any) -> Recording:
    return read_recording(path, ReadOptions(**options))


def session_of(path: Path) -> Session:
    session = read_contents(path).session
    assert session is not None
    return session


# --- HDF5


def filtered(path: Path, code: int) -> Path:
    """A matrix whose only chunk claims to be compressed by a filter."""
    with h5py.File(path, "w") as file:
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_chunk(RATES.shape)
        how.set_filter(code, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple(RATES.shape)
        made = h5py.h5d.create(file.id, b"rates", h5py.h5t.NATIVE_DOUBLE, space, dcpl=how)
        made.write_direct_chunk((0, 0), b"compressed")
    return path


def test_filters_that_are_missing_are_named(refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = filtered(tmp_path / "a.h5", 444)  # a number that nobody registered
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)  # cannot be imported
    with refused(RecordingError, "a.h5", "/rates", "HDF5 filter 444", "hdf5plugin", "rlsbench[filters]"):
        read(path)
    monkeypatch.undo()
    pytest.importorskip("hdf5plugin")
    with refused(RecordingError, "a.h5", "/rates", "HDF5 filter 444", "hdf5plugin lacks"):
        read(path)


def test_filters_of_hdf5plugin(tmp_path: Path) -> None:
    hdf5plugin = pytest.importorskip("hdf5plugin")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("rates", data=RATES, **hdf5plugin.Blosc())
    np.testing.assert_array_equal(read(tmp_path / "a.h5", time_axis="rows").rates_hz[:, :, 0], RATES)


def test_locked_files(refused: Refused, make_nwb: Make) -> None:
    path = make_nwb()
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with refused(RecordingError, "made.nwb", "locked", "HDF5_USE_FILE_LOCKING"):
            read(path)
    assert read(path).neurons == 5


# --- MATLAB

START = 5.0 * np.arange(1, 9)
SPIKES = [np.sort(np.random.default_rng(unit).uniform(4.0, 44.0, 200 + unit)) for unit in range(3)]
REGIONS = ["ALM", "ALM", "striatum"]


def cells(values: list[Any]) -> np.ndarray:
    """A row of cells, as `savemat` takes it."""
    row = np.empty((1, len(values)), dtype=object)
    for i, value in enumerate(values):
        row[0, i] = value
    return row


def structs(fields: dict[str, list[Any]]) -> np.ndarray:
    """A row of structs, as `savemat` takes it."""
    row = np.empty((1, len(next(iter(fields.values())))), dtype=[(name, object) for name in fields])
    for name, values in fields.items():
        row[name] = cells(values)
    return row


def mat73(path: Path, variables: dict[str, Any]) -> Path:
    """Write variables as MATLAB does in version 7.3."""
    number = count()

    def write(group: h5py.Group, name: str, value: Any) -> h5py.Dataset:
        kind, empty = "double", False
        if isinstance(value, dict):
            made = group.create_group(name)
            for field, part in value.items():
                write(made, field, part)
            kind = "struct"
        elif isinstance(value, np.ndarray) and value.dtype.names:
            made = group.create_group(name)
            for field in value.dtype.names:
                del write(made, field, value[field]).attrs["MATLAB_class"]
            kind = "struct"
        elif isinstance(value, np.ndarray) and value.dtype.kind == "O":
            store = file.require_group("#refs#")
            parts = [write(store, str(next(number)), part).ref for part in value.flat]
            made, kind = group.create_dataset(name, data=np.array(parts).reshape(value.shape).T), "cell"
        elif isinstance(value, str):
            made, kind = group.create_dataset(name, data=np.array([[ord(c)] for c in value], "u2")), "char"
        else:
            array = np.atleast_2d(value)
            kind = {"b": "logical", "u": "uint8"}.get(array.dtype.kind, "double")
            empty = array.size == 0
            stored = (
                np.array(array.shape, "u8") if empty else array.T.astype("u1" if kind == "logical" else array.dtype)
            )
            made = group.create_dataset(name, data=stored)
        made.attrs["MATLAB_class"] = np.bytes_(kind)
        if empty:
            made.attrs["MATLAB_empty"] = np.uint8(1)
        return made

    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            write(file, name, value)
    content = bytearray(path.read_bytes())
    content[:19] = b"MATLAB 7.3 MAT-file"
    path.write_bytes(content)
    return path


def mat5(path: Path, variables: dict[str, Any]) -> Path:
    savemat(path, variables, do_compression=True)
    return path


Write = Callable[[Path, dict[str, Any]], Path]
both = pytest.mark.parametrize("write", [mat5, mat73])


@both
def test_matlab_cells_of_spike_times(refused: Refused, tmp_path: Path, write: Write) -> None:
    wanted = {
        "spikes": cells([*SPIKES[:2], SPIKES[2][:, None], np.zeros((0, 0))]),
        "region": cells([*REGIONS, "ALM"]),
        "depth": np.arange(4.0)[:, None],
        "go_cue": START[:, None] + 1.0,
        "fs": 30_000.0,
        "animal": "mouse 1",
    }
    path = write(tmp_path / "a.mat", wanted)
    session = session_of(path)
    for found, spikes in zip(session.units.spike_times, [*SPIKES, []], strict=True):
        np.testing.assert_array_equal(found, spikes)
    assert session.units.ids == ("1", "2", "3", "4")  # as MATLAB counts
    assert list(session.units.regions) == [*REGIONS, "ALM"]
    assert session.trials is None
    np.testing.assert_array_equal(session.events["go_cue"], START + 1)
    recording = read(path, event="go_cue", window_s=(-1, 1), units="depth < 3", regions="ALM")
    assert (recording.ids, recording.trials) == (("1", "2"), (8,))
    assert session.format == ("MATLAB" if write is mat5 else "MATLAB 7.3")
    assert any("4 vectors of spikes" in note for note in session.notes)


@both
def test_matlab_cells_of_units_and_trials(refused: Refused, tmp_path: Path, write: Write) -> None:
    train = np.empty((2, 4), dtype=object)
    for unit, trial in np.ndindex(2, 4):
        train[unit, trial] = 0.1 * np.arange(-1.0, unit + trial)  # from the event of the trial
    train[1, 2] = np.zeros((0, 0))
    trials = {"start": 5.0 * np.arange(4), "stop": 5.0 * np.arange(4) + 4, "side": cells(["left", "right"] * 2)}
    path = write(tmp_path / "a.mat", {"spikes": train, "trials": trials, "region": cells(["ALM", "CP"])})
    session = session_of(path)
    assert (session.units.ids, session.trials and session.trials.rows) == (("1", "2"), 4)
    how: dict[str, Any] = {"window_s": (-0.25, 0.75), "bin_s": 0.5, "smoothing": "none", "minimum_rate_hz": 0}
    found = read(path, trials="side == 'left'", regions="CP", **how)
    assert (found.ids, found.trials) == (("2",), (2,))
    assert found.rates_hz[:, 0, 0].tolist() == [2.0, 0.0]  # two spikes in the first of two trials, at -0.1 and 0 s
    assert read(path, **how).rates_hz[:, 0, 0].tolist() == [(1 + 2 + 3 + 4) / 4 / 0.5, 0.0]
    with refused(RecordingError, "a.mat", "4 trials x 2 units", "transpose"):
        read_contents(write(tmp_path / "a.mat", {"spikes": train.T, "trials": trials}))


@both
def test_matlab_structs(refused: Refused, tmp_path: Path, write: Write) -> None:
    units = structs(
        {"id": [7, 8, 9], "spike_times": SPIKES, "shape": [np.ones(9)] * 3, "quality": ["good", "mua", "good"]}
    )
    trials = {"start_time": START, "stop_time": START + 4.5, "cue": START + 2, "kind": cells(["go", "nogo"] * 4)}
    path = write(tmp_path / "a.mat", {"data": {"units": units, "trials": trials}, "ok": np.array([True, False])})
    recording = read(path, event="cue", trials="kind == 'go'", window_s=(-1, 1))
    assert (recording.ids, recording.trials) == (("7", "9"), (4,))
    unnamed = {"licks": cells(SPIKES), "bouts": cells(SPIKES)}
    with refused(RecordingError, "b.mat", "licks", "bouts", "--dataset"):
        read_contents(write(tmp_path / "b.mat", unnamed))
    assert read(tmp_path / "b.mat", dataset="bouts", event=_times(tmp_path), window_s=(-1, 1)).neurons == 3
    assert read_contents(tmp_path / "b.mat", ReadOptions(dataset="bouts")).session is not None
    with refused(RecordingError, "c.mat", "spikes", "3 x 2 x 2"):
        read_contents(write(tmp_path / "c.mat", {"spikes": np.concatenate([cells(SPIKES)] * 4).T.reshape(3, 2, 2)}))
    array = structs({"start": list(START), "stop": list(START + 4), "kind": ["a", "b"] * 4})
    session = session_of(write(tmp_path / "d.mat", {"spikes": cells(SPIKES), "trials": array}))
    assert session.trials is not None
    assert list(session.trials.columns["kind"]) == ["a", "b"] * 4


def _times(folder: Path) -> str:
    np.savetxt(folder / "times.txt", START + 1)
    return str(folder / "times.txt")


@both
def test_matlab_matrices(refused: Refused, tmp_path: Path, write: Write) -> None:
    """Neither a number nor a text is a matrix, and rows are what MATLAB calls rows."""
    others = {"fs": 30_000.0, "animal": "mouse 1", "licks": cells(SPIKES), "flags": np.array([True, False])}
    path = write(tmp_path / "a.mat", {"rates": RATES, **others})
    assert read_contents(path).matrices == ("rates (4, 10) float64",)
    np.testing.assert_array_equal(read(path, time_axis="rows").rates_hz[:, :, 0], RATES)
    np.testing.assert_array_equal(read(path, dataset="rates", time_axis="columns").rates_hz[:, :, 0], RATES.T)
    both = write(tmp_path / "b.mat", {"rates": RATES, "spike_times": cells(SPIKES)})
    assert len(session_of(both).units) == 3
    assert read(both, dataset="rates", time_axis="rows").neurons == 10
    with refused(RecordingError, "c.mat", "fs"):
        read(write(tmp_path / "c.mat", {"fs": 3.0, "name": "x"}))


@both
def test_matlab_vectors_of_units_and_times(tmp_path: Path, write: Write) -> None:
    unit = np.repeat([3, 1, 2], [len(s) for s in SPIKES])
    session = session_of(write(tmp_path / "a.mat", {"time": np.concatenate(SPIKES), "unit": unit, "go": START}))
    assert session.units.ids == ("1", "2", "3")
    np.testing.assert_array_equal(session.units.spike_times[2], SPIKES[0])
    assert list(session.events) == ["go"]
    session = session_of(write(tmp_path / "b.mat", {f"SPK0{i}a": s for i, s in enumerate(SPIKES)} | {"cue": START}))
    assert session.units.ids == ("SPK00a", "SPK01a", "SPK02a")
    assert list(session.events) == ["cue"]


def test_damaged_matlab_files(refused: Refused, tmp_path: Path) -> None:
    """What a header declares is compared with the bytes of the file before SciPy allocates it."""
    path = tmp_path / "a.mat"
    savemat(path, {"spikes": cells(SPIKES)})
    whole = path.read_bytes()
    dims = whole.index(b"\x05\0\0\0\x08\0\0\0\x01\0\0\0\x03\0\0\0") + 12
    for declared in (10**6, -1):
        path.write_bytes(whole[:dims] + declared.to_bytes(4, "little", signed=True) + whole[dims + 4 :])
        with refused(RecordingError, "a.mat", "larger than what holds it"):
            read(path)
    flags = whole.rindex(b"\x06\0\0\0\x08\0\0\0\x06\0\0\0")  # of an array of numbers, values are 40 bytes on
    for at, changed, named in ((flags + 9, 8, "lacks a part"), (flags + 40, 20, "something else")):  # SciPy crashes
        path.write_bytes(whole[:at] + bytes([changed]) + whole[at + 1 :])
        with refused(RecordingError, "a.mat", named):
            read(path)
    for kept in (200, len(whole) - 50):
        path.write_bytes(whole[:kept])
        with refused(RecordingError, "a.mat"):
            read(path)
    deep: Any = 1.0
    for _ in range(40):
        deep = cells([deep])
    for write in (mat5, mat73):
        with refused(RecordingError, "deep.mat", "32"):
            read(write(tmp_path / "deep.mat", {"a": deep}))


@both
def test_matlab_spike_times_in_other_units(tmp_path: Path, write: Write) -> None:
    """The name of a variable, or an option, says it; events stay in seconds."""
    milliseconds = [1000 * spikes for spikes in SPIKES]
    unit = np.repeat([0, 1, 2], [len(s) for s in SPIKES])
    made = (
        (write(tmp_path / "a.mat", {"spike_times_ms": cells(milliseconds), "go_cue": START}), None),
        (write(tmp_path / "b.mat", {"spikes": cells(milliseconds), "go_cue": START}), "ms"),
        (write(tmp_path / "c.mat", {"time_ms": np.concatenate(milliseconds), "unit": unit, "go_cue": START}), None),
    )
    for path, given in made:
        session = read_contents(path, ReadOptions(time_unit=given)).session
        assert session is not None
        np.testing.assert_allclose(session.units.spike_times[1], SPIKES[1])
        np.testing.assert_array_equal(session.events["go_cue"], START)


# --- NPZ


def test_npz_with_an_array_for_each_unit(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", *SPIKES, go_cue=START)
    session = session_of(tmp_path / "a.npz")
    assert session.units.ids == ("arr_0", "arr_1", "arr_2")
    assert list(session.events) == ["go_cue"]
    assert read(tmp_path / "a.npz", window_s=(-0.5, 0.5)).trials == (8,)
    np.savez(tmp_path / "b.npz", rates=RATES, times_0=np.arange(10.0))
    assert read_contents(tmp_path / "b.npz").session is None


def test_npz_of_pynapple(refused: Refused, tmp_path: Path) -> None:
    time, index = np.concatenate(SPIKES), np.repeat([2, 5, 7], [len(s) for s in SPIKES])
    order = np.argsort(time)
    group = {
        "type": np.array(["TsGroup"]),
        "t": time[order],
        "index": index[order],
        "keys": np.array([2, 5, 7, 9]),
        "start": np.array([4.0, 30.0]),
        "end": np.array([28.0, 44.0]),
        "location": np.array([*REGIONS, "ALM"]),
        "_metadata": np.array({"a": 1}, dtype=object),  # pickled, and never loaded
    }
    np.savez(tmp_path / "a.npz", **group)
    session = session_of(tmp_path / "a.npz")
    assert session.units.ids == ("2", "5", "7", "9")
    np.testing.assert_array_equal(session.units.spike_times[1], SPIKES[1])
    assert len(session.units.spike_times[3]) == 0
    recording = read(tmp_path / "a.npz", event=_times(tmp_path), window_s=(-0.5, 0.5), regions="ALM")
    assert recording.ids == ("2", "5", "9")
    assert recording.trials == (8,) if recording.trials is None else (8,)
    np.savez(tmp_path / "b.npz", **(group | {"index": np.zeros(3)}))
    with refused(RecordingError, "b.npz", "TsGroup"):
        read(tmp_path / "b.npz")


# --- phy


def phy(folder: Path, **changes: Any) -> Path:
    """A folder as phy saves it: four clusters, of which one is noise and one has no label."""
    folder.mkdir()
    spikes = np.concatenate([*SPIKES, SPIKES[0] + 0.5])
    clusters = np.repeat([3, 11, 4, 20], [*map(len, SPIKES), len(SPIKES[0])])
    order = np.argsort(spikes)
    files: dict[str, Any] = {
        "spike_times.npy": np.round(spikes[order] * 30_000).astype(np.uint64)[:, None],
        "spike_clusters.npy": clusters[order].astype(np.int32),
        "params.py": "dat_path = ['raw.dat']\nn_channels_dat = 4\nsample_rate = 30000.\nhp_filtered = False\n",
        "cluster_group.tsv": "cluster_id\tgroup\n3\tgood\n4\tgood\n11\tnoise\n7\tgood\n",
        "cluster_KSLabel.tsv": "cluster_id\tKSLabel\n3\tmua\n4\tmua\n11\tgood\n20\tgood\n",
        "cluster_info.tsv": "cluster_id\tamp\tgroup\n3\t10.5\tgood\n4\t20\tgood\n11\t30\tnoise\n20\t40\t\n",
    }
    for name, content in (files | {name.replace("__", "."): value for name, value in changes.items()}).items():
        if isinstance(content, np.ndarray):
            np.save(folder / name, content)
        elif content is not None:
            (folder / name).write_text(content)
    return folder


def test_a_folder_of_phy(tmp_path: Path) -> None:
    folder = phy(tmp_path / "sorted")
    contents, session = read_contents(folder), session_of(folder)
    assert (contents.source, contents.format) == ("sorted", "phy")
    assert contents.size > 0
    assert session.units.ids == ("3", "4", "11", "20")
    np.testing.assert_allclose(session.units.spike_times[2], SPIKES[1], atol=1e-4)
    assert session.units.quality == "group"  # what a person curated, rather than what Kilosort says
    assert list(session.units.columns["group"]) == ["good", "good", "noise", ""]
    np.testing.assert_array_equal(session.units.columns["amp"], [10.5, 20, 30, 40])
    how: dict[str, Any] = {"event": _times(tmp_path), "window_s": (-1, 1)}
    assert read(folder, **how).ids == ("3", "4")
    assert read(folder, units="amp > 15", **how).ids == ("4",)
    uncurated = phy(tmp_path / "ks", cluster_group__tsv=None, cluster_info__tsv=None)
    assert read(uncurated, **how).ids == ("11", "20")
    (uncurated / "spike_clusters.npy").rename(uncurated / "spike_templates.npy")
    assert read(uncurated, **how).ids == ("11", "20")


def test_folders_of_phy_in_other_units(tmp_path: Path) -> None:
    wanted = session_of(phy(tmp_path / "sorted")).units.spike_times
    bare = phy(tmp_path / "bare", params__py=None)
    seconds = phy(tmp_path / "seconds", spike_times__npy=np.load(bare / "spike_times.npy") / 30_000)
    for folder, unit in ((bare, "30kHz"), (seconds, "s")):
        session = read_contents(folder, ReadOptions(time_unit=unit)).session
        assert session is not None
        np.testing.assert_allclose(np.concatenate(session.units.spike_times), np.concatenate(wanted))
        assert any(unit in note for note in session.notes)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"params__py": None}, ["params.py", "sample_rate", "--time-unit 30kHz"]),
        ({"params__py": "n_channels_dat = 4"}, ["params.py", "sample_rate"]),
        ({"params__py": "sample_rate = -1"}, ["params.py", "-1"]),
        ({"params__py": "sample_rate = open('a')"}, ["params.py"]),
        ({"spike_clusters__npy": None}, ["spike_clusters.npy", "spike_templates.npy"]),
        ({"spike_clusters__npy": np.arange(5)}, ["spike_clusters.npy", " 5 "]),
        ({"spike_times__npy": np.linspace(0, 1, 7)}, ["spike_times.npy", "whole numbers", "--time-unit s"]),
        ({"spike_clusters__npy": np.linspace(0, 1, 7)}, ["spike_clusters.npy", "whole numbers"]),
        ({"spike_times__npy": np.ones((4, 3), dtype=int)}, ["spike_times.npy", "(4, 3)"]),
    ],
)
def test_incomplete_folders_of_phy(refused: Refused, tmp_path: Path, changes: dict[str, Any], named: list[str]) -> None:
    with refused(RecordingError, "sorted", *named):
        read_contents(phy(tmp_path / "sorted", **changes))


def test_other_folders(refused: Refused, tmp_path: Path) -> None:
    with refused(RecordingError, str(tmp_path), "folder", "spike_times.npy"):
        read_contents(tmp_path)
    broken = phy(tmp_path / "broken", cluster_group__tsv="cluster_id\tgroup\n")
    assert any("cluster_group.tsv" in note for note in session_of(broken).notes)


# --- NWB in Zarr


def zarr(source: Path, folder: Path, links: dict[str, tuple[str, str]] | None = None) -> Path:
    """The arrays of an HDF5 file in a Zarr store, in chunks of 100; links: store and path."""
    from numcodecs import Blosc, VLenUTF8

    def write(name: str, item: Any) -> None:
        at = folder / name
        at.mkdir(parents=True)
        if isinstance(item, h5py.Group):
            found = [
                {"name": n.rsplit("/", 1)[1], "source": s, "path": p}
                for n, (s, p) in (links or {}).items()
                if n.rsplit("/", 1)[0] == name
            ]
            (at / ".zgroup").write_text('{"zarr_format": 2}')
            (at / ".zattrs").write_text(json.dumps({"zarr_link": found}))
            return
        is_text = h5py.check_string_dtype(item.dtype) is not None
        values = np.atleast_1d(np.asarray(item.asstr()[()], dtype=object) if is_text else item[()])
        chunks = [min(100, length) for length in values.shape]
        how = {"zarr_format": 2, "shape": values.shape, "chunks": chunks, "order": "C", "fill_value": 0}
        how |= {"dtype": values.dtype.str, "compressor": Blosc().get_config()}
        how["filters"] = [VLenUTF8().get_config()] if is_text else None
        (at / ".zarray").write_text(json.dumps(how))
        for place in np.ndindex(*(-(-length // 100) for length in values.shape)):
            part = values[tuple(slice(100 * i, 100 * i + 100) for i in place)]
            whole = np.full(chunks, "" if is_text else 0, dtype=values.dtype)
            whole[tuple(map(slice, part.shape))] = part
            content = Blosc().encode(VLenUTF8().encode(whole) if is_text else whole)
            (at / ".".join(map(str, place))).write_bytes(content)

    with h5py.File(source) as file:
        write("", file)
        file.visititems(write)
    return folder


def assert_same(found: Session, wanted: Session) -> None:
    for part in ("ids", "spike_times", "columns", "regions", "target_regions", "observed_s", "good_trials"):
        np.testing.assert_equal(getattr(found.units, part), getattr(wanted.units, part))
    assert found.trials is not None
    assert wanted.trials is not None
    np.testing.assert_equal(found.trials.columns, wanted.trials.columns)
    np.testing.assert_equal(found.events, wanted.events)
    assert found.identity == wanted.identity


def test_nwb_in_zarr(refused: Refused, make_nwb: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numcodecs")
    source = make_nwb()
    links = {"acquisition/same": (".", "/acquisition/BehavioralEvents/go_start_times")}
    folder = zarr(source, tmp_path / "made.zarr", links | {"acquisition/away": ("../other.zarr", "/x")})
    session = session_of(folder)
    np.testing.assert_equal(session.events.pop("same"), session.events["go_start_times"])
    assert_same(session, session_of(source))
    assert any("acquisition/away" in note and "other.zarr" in note for note in session.notes)
    assert read_contents(folder).format == "NWB Zarr"
    how: dict[str, Any] = {"event": "go_time", "trials": "outcome == 'hit'", "minimum_rate_hz": 0}
    np.testing.assert_array_equal(read(folder, **how).rates_hz, read(source, **how).rates_hz)

    column = folder / "intervals" / "trials" / "outcome" / ".zarray"
    column.write_text(column.read_text().replace("vlen-utf8", "pickle"))
    assert any("intervals/trials/outcome" in note and "pickled" in note for note in session_of(folder).notes)
    monkeypatch.setitem(sys.modules, "numcodecs", None)  # cannot be imported
    with refused(RecordingError, str(folder), "Zarr", "hdmf-zarr", "rlsbench[zarr]"):
        read_contents(folder)


def test_nwb_that_hdmf_zarr_wrote(tmp_path: Path) -> None:
    written = pytest.importorskip("hdmf_zarr.nwb")
    from datetime import UTC, datetime

    from pynwb import NWBHDF5IO, NWBFile, TimeSeries

    nwb = NWBFile("a session", "one", datetime(2026, 1, 1, tzinfo=UTC))
    nwb.add_trial_column("side", "left or right")
    for i in range(4):
        nwb.add_trial(5.0 * i, 5.0 * i + 4.9, side="lr"[i % 2])
    for _ in range(3):
        nwb.add_unit(spike_times=np.sort(np.random.default_rng(0).uniform(0, 20, 50)), obs_intervals=[[0.0, 20.0]])
    first = TimeSeries(name="first", data=np.arange(4.0), timestamps=5.0 * np.arange(4), unit="s")
    nwb.add_acquisition(first)
    nwb.add_acquisition(TimeSeries(name="second", data=np.arange(4.0), timestamps=first, unit="s"))  # a link
    with NWBHDF5IO(tmp_path / "a.nwb", "w") as io:
        io.write(nwb)
    with NWBHDF5IO(tmp_path / "a.nwb", "r") as source, written.NWBZarrIO(str(tmp_path / "a.zarr"), mode="w") as io:
        io.export(src_io=source, write_args={"link_data": False})
    session = session_of(tmp_path / "a.zarr")
    assert "second" in session.events
    assert_same(session, session_of(tmp_path / "a.nwb"))


def test_damaged_and_malicious_zarr(
    refused: Refused, make_nwb: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numcodecs")
    made = count()
    source = make_nwb()

    def store(place: str = "", **changes: Any) -> Path:
        folder = zarr(source, tmp_path / f"{next(made)}.zarr")
        if place:
            file = folder / place / ".zarray"
            file.write_text(json.dumps(json.loads(file.read_text()) | changes))
        return folder

    for place, changes in (
        ("units/spike_times", {"shape": [10**12]}),  # larger than memory
        ("units/spike_times", {"chunks": [10**10]}),
        ("units/spike_times", {"chunks": [50]}),  # a chunk holds more than it should
        ("units/spike_times", {"chunks": [0]}),
        ("units/spike_times", {"compressor": {"id": "bz2"}}),
        ("intervals/trials/outcome", {"shape": [10**7]}),
        ("intervals/trials/outcome", {"chunks": [7]}),
        ("intervals/trials/outcome", {"filters": [{"id": "vlen-utf8", "unknown": 1}]}),
    ):
        with refused(RecordingError, place):
            read_contents(store(place, **changes))
    truncated = store()
    chunk = truncated / "units" / "spike_times" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-5])
    with refused(RecordingError, "units/spike_times", truncated.name, "truncated"):
        read_contents(truncated)
    away = store()
    (away / "units" / "spike_times" / "0").unlink()
    (away / "units" / "spike_times" / "0").symlink_to(tmp_path)
    with refused(RecordingError, away / "units" / "spike_times" / "0"):
        read_contents(away)
    newer = store()
    (newer / ".zgroup").rename(newer / "zarr.json")
    with refused(RecordingError, newer, "version 2"):
        read_contents(newer)
    cycle = zarr(source, tmp_path / "cycle.zarr", {f"acquisition/{n}": (".", "/acquisition") for n in "abcdefgh"})
    with monkeypatch.context() as patch, refused(RecordingError, "cycle.zarr", "1,000 groups"):
        patch.setattr("rlsbench.recordings.arrays._MAX_OBJECTS", 1000)
        read_contents(cycle)
    unwritten = store("units/spike_times", fill_value="NaN")
    (unwritten / "units" / "spike_times" / "0").unlink()
    times = [session_of(path).units.spike_times[0] for path in (unwritten, source)]
    np.testing.assert_array_equal(times[0], times[1][100:])  # NaN is no time
