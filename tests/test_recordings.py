"""Matrices of recorded rates: formats, choice of dataset and time axis, conditions, errors."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlsbench.errors import ConfigurationError, RecordingError
from rlsbench.recordings import ReadOptions, Recording, pool_neurons, read_recording, stack_conditions

Refused = Callable[..., Any]
RATES = np.arange(4 * 10, dtype=np.float64).reshape(4, 10)  # 4 bins of 10 neurons


def read(path: Path, *, experiment: tuple[int, int] | None = RATES.shape, **options: Any) -> Recording:
    return read_recording(path, ReadOptions(**options), experiment=experiment)


def hdf5(path: Path, userblock: int = 0, **datasets: object) -> Path:
    """Write datasets to an HDF5 file; __ in a name stands for /."""
    with h5py.File(path, "w", userblock_size=userblock) as file:
        for name, values in datasets.items():
            file.create_dataset(name.replace("__", "/"), data=values)
    return path


def npy(path: Path, values: object, **options: object) -> Path:
    np.save(path, values, **options)  # type: ignore[arg-type, call-overload]
    return path


def header(path: Path, shape: str, descr: str = "<f8", values: bytes = bytes(64)) -> Path:
    """Write an NPY file whose header says anything."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + values)
    return path


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "f2", "u1", "<i8"])
@pytest.mark.parametrize("kind", ["npy", "npy-fortran", "npz", "h5", "jld2"])
def test_formats_and_types(tmp_path: Path, kind: str, dtype: str) -> None:
    path, values = tmp_path / f"rates.{kind}", RATES.astype(dtype)
    if kind.startswith("npy"):
        path = npy(tmp_path / "rates.npy", np.asfortranarray(values) if "fortran" in kind else values)
    elif kind == "npz":
        np.savez_compressed(path, psth=values)
    else:
        hdf5(path, 512 if kind == "jld2" else 0, psth=values)
    recording = read(path)
    np.testing.assert_array_equal(recording.rates_hz, RATES[:, :, None])
    assert recording.rates_hz.dtype == np.float64
    assert recording.rates_hz.flags.c_contiguous
    assert not recording.rates_hz.flags.writeable
    assert recording.source == path.name
    assert recording.conditions == ("rates" if path.suffix == ".npy" else "psth",)
    assert (recording.edges_s, recording.trials, recording.ids, recording.regions) == (None, None, None, None)
    names = {"npy": "NPY", "npz": "NPZ"}
    assert recording.provenance["format"] == names.get(path.suffix[1:], "HDF5")


def test_user_blocks_of_any_size_and_a_wrong_suffix(tmp_path: Path) -> None:
    for size in (512, 1024, 4096):
        path = hdf5(tmp_path / f"rates{size}.dat", size, psth=RATES)
        assert read(path).provenance["dataset"] == "psth"


@pytest.mark.parametrize("shape", [(4, 10), (10, 4), (4, 4), (400, 3)])
def test_the_time_axis_of_a_bare_matrix_is_not_guessed(
    refused: Refused, tmp_path: Path, shape: tuple[int, int]
) -> None:
    matrix = np.arange(np.prod(shape), dtype=float).reshape(shape)
    path = npy(tmp_path / "a.npy", matrix)
    a, b = shape
    for experiment in (None, (a, b + 1), (4, 4)):
        with refused(RecordingError, "a.npy", f"--time-axis rows for {a} bins of {b}", f"columns for {b} bins of {a}"):
            read(path, experiment=experiment)
    for axis, expected in (("rows", matrix), ("columns", matrix.T)):
        recording = read(path, experiment=None, time_axis=axis)
        np.testing.assert_array_equal(recording.rates_hz[:, :, 0], expected)
        assert f"the {axis} of {a} x {b}" in recording.notes[0]
        if a != b:
            np.testing.assert_array_equal(read(path, experiment=expected.shape).rates_hz, recording.rates_hz)


def test_the_only_matrix_is_found_at_any_depth(tmp_path: Path) -> None:
    path = hdf5(
        tmp_path / "a.h5",
        session__left__psth=RATES,
        b=np.zeros(5),
        cube=np.zeros((2, 2, 2)),
        flags=np.zeros((4, 10), dtype=bool),
        names=[[b"a", b"b"]],
        phase=np.zeros((4, 10), dtype=complex),
        _types__table=np.zeros((4, 10)),
        _creator__table=np.zeros((4, 10)),
    )
    assert read(path).conditions == ("session/left/psth",)


def test_several_matrices(refused: Refused, tmp_path: Path) -> None:
    path = hdf5(tmp_path / "a.h5", left=RATES, go__right=2 * RATES)
    with refused(RecordingError, "a.h5", "go/right (4, 10) float64", "left (4, 10) float64", "--dataset"):
        read(path)
    for name in ("go/right", "/go/right"):
        np.testing.assert_array_equal(read(path, dataset=name).rates_hz[:, :, 0], 2 * RATES)
    with refused(RecordingError, "'up'", "go/right", "left"):
        read(path, dataset="up")
    np.savez(tmp_path / "a.npz", left=RATES, right=2 * RATES, label="x")
    with refused(RecordingError, "a.npz", "left", "right"):
        read(tmp_path / "a.npz")
    assert read(tmp_path / "a.npz", dataset="right").rates_hz[0, 1, 0] == 2


def test_links_and_loops(refused: Refused, tmp_path: Path) -> None:
    other = hdf5(tmp_path / "other.h5", secret=RATES)
    path = hdf5(tmp_path / "a.h5", group__psth=RATES)
    with h5py.File(path, "a") as file:
        file["soft"] = h5py.SoftLink("/group/psth")
        file["outside"] = h5py.ExternalLink(other.name, "/secret")
        file["group/loop"] = file["/"]
    assert read(path).conditions == ("group/psth",)
    assert read(path, dataset="/soft").conditions == ("soft",)
    with refused(RecordingError, "outside", "other.h5"):
        read(path, dataset="outside")


@pytest.mark.parametrize("values", [RATES.astype(complex), RATES.astype("S3"), RATES[0], np.zeros((1, 2, 3, 4, 5))])
def test_arrays_other_than_matrices_of_real_numbers(refused: Refused, tmp_path: Path, values: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", psth=values)
    for path in (npy(tmp_path / "a.npy", values), tmp_path / "a.npz", hdf5(tmp_path / "a.h5", psth=values)):
        with refused(RecordingError, path.name):
            read(path)
    with refused(RecordingError, "a.h5", "psth", values.shape):
        read(tmp_path / "a.h5", dataset="psth")


def test_pickles_are_not_loaded(refused: Refused, tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    values = np.array([[Bomb(), Bomb()], [Bomb(), Bomb()]], dtype=object)
    np.savez(tmp_path / "a.npz", psth=values)
    for path in (npy(tmp_path / "a.npy", values), tmp_path / "a.npz"):
        with refused(RecordingError, path.name, "object"):
            read(path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "shape", ["(1000000, 1000000)", "(4, 1000)", "(-4, -2)", "(99999999999999999999, 2)", "(3.5, 2)"]
)
def test_npy_headers_that_declare_wrong_sizes(refused: Refused, tmp_path: Path, shape: str) -> None:
    path = header(tmp_path / "a.npy", shape)
    with refused(RecordingError, "a.npy"):
        read(path)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(path, "psth.npy")
    with refused(RecordingError, "a.npz", "psth"):
        read(tmp_path / "a.npz")


def test_the_hand_made_header_is_valid(tmp_path: Path) -> None:
    assert read(header(tmp_path / "a.npy", "(2, 4)"), time_axis="rows").rates_hz.shape == (2, 4, 1)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keep=st.floats(0, 1, exclude_max=True), kind=st.sampled_from(["npy", "npz", "h5", "jld2"]))
def test_truncated_files(refused: Refused, tmp_path: Path, keep: float, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "npy":
        npy(path, RATES)
    elif kind == "npz":
        np.savez(path, psth=RATES)
    else:
        hdf5(path, 512 if kind == "jld2" else 0, psth=RATES)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with refused(RecordingError, f"a.{kind}"):
        read(path)


def test_other_files(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\x00\x01")
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "text.npz").write_text("PKzip is a word")
    os.mkfifo(tmp_path / "pipe")
    formats = "NWB, MATLAB, HDF5, JLD, JLD2, NPY, NPZ, CSV or Parquet"
    for name, named in [
        ("a.bin", formats),
        ("empty.h5", formats),
        ("text.npz", "NPZ"),
        ("pipe", formats),
        ("missing.h5", formats),
        ("nul\0.h5", formats),
        ("x" * 5000, "too long"),
        ("", formats),
    ]:
        with refused(RecordingError, name, named):
            read(tmp_path / name)
    with refused(RecordingError, "a.npy", "'Pyr'"):
        read(npy(tmp_path / "a.npy", RATES), dataset="Pyr")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.5])
def test_values_that_are_not_rates(refused: Refused, tmp_path: Path, value: float) -> None:
    values = RATES.copy()
    values[2, 7] = values[3, 1] = value
    with refused(RecordingError, "2 of 40", f"({value:g})", "bin 2", "neuron 7"):
        read(npy(tmp_path / "a.npy", values))
    with refused(RecordingError, "bin 2", "neuron 7"):
        read(npy(tmp_path / "b.npy", values.T))


@pytest.mark.parametrize("shape", [(1, 10), (10, 1), (0, 10), (10, 0), (1, 1)])
def test_too_small(refused: Refused, tmp_path: Path, shape: tuple[int, int]) -> None:
    for path in (npy(tmp_path / "a.npy", np.zeros(shape)), hdf5(tmp_path / "a.h5", psth=np.zeros(shape))):
        with refused(RecordingError, path.name, f"{shape[0]} bins", f"{shape[1]} neurons"):
            read(path, time_axis="rows")


def test_recordings_of_the_motor_cortex(data: Path) -> None:
    path = data / "alm" / "movingrate_Pyr1Hz_lickleft.jld"
    recording = read(path, experiment=(101, 1824))
    assert recording.rates_hz.shape == (101, 1824, 1)
    assert (recording.conditions, recording.source) == (("Pyr",), path.name)
    assert str(data) not in str(recording)
    assert (recording.rates_hz == 0).sum() == 647
    assert recording.rates_hz.max() == pytest.approx(52.5555, abs=1e-3)
    assert read(path, time_axis="columns").rates_hz.shape == (1824, 101, 1)


def test_sample_of_jld2(refused: Refused, data: Path) -> None:
    path = data / "jld2" / "lin_elastic_2d.jld2"
    with refused(RecordingError, path.name, "bin ", "neuron "):
        read(path, time_axis="rows")  # displacements: B, the only matrix, has negative values
    with refused(RecordingError, "'C'", " B "):
        read(path, dataset="C")
    with refused(RecordingError, "b (208,) float64"):
        read(path, dataset="b")


def test_vectors_of_vectors(refused: Refused, tmp_path: Path) -> None:
    """JLD and JLD2 keep them as references to vectors elsewhere in the file."""
    path = tmp_path / "a.jld2"
    with h5py.File(path, "w", userblock_size=512) as file:
        hidden = [file.create_dataset(f"_refs/{i}", data=RATES[:, i]) for i in range(10)]
        file["psth"] = np.array([part.ref for part in hidden], dtype=h5py.ref_dtype)
        file["struct"] = np.array([(1, hidden[0].ref)], dtype=[("n", int), ("values", h5py.ref_dtype)])
        file["types"] = np.array([file["_refs"].ref, hidden[0].ref], dtype=h5py.ref_dtype)
        file["nothing"] = np.array([h5py.Reference()], dtype=h5py.ref_dtype)
    recording = read(path)
    np.testing.assert_array_equal(recording.rates_hz[:, :, 0], RATES)
    assert recording.conditions == ("psth",)
    with h5py.File(path, "a") as file:
        del file["_refs/3"]
        short = file.create_dataset("_refs/3", data=[1.0, 2.0])
        file["psth"][3] = short.ref
    with refused(RecordingError, "psth", "vector 3", "4 numbers"):
        read(path)


def test_values_in_other_files_are_not_read(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(RATES.tobytes())
    other = hdf5(tmp_path / "other.h5", secret=RATES)
    for name in ("external", "virtual"):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            if name == "external":
                stored = [(str(tmp_path / "secret.bin"), 0, RATES.nbytes)]
                file.create_dataset("psth", shape=RATES.shape, dtype="f8", external=stored)
            else:
                layout = h5py.VirtualLayout(shape=RATES.shape, dtype="f8")
                layout[:] = h5py.VirtualSource(str(other), "secret", shape=RATES.shape)
                file.create_virtual_dataset("psth", layout)
        with refused(RecordingError, f"{name}.h5", "psth", "other files"):
            read(tmp_path / f"{name}.h5")


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "rates.csv"
    for separator in (",", ";", "\t", "  "):
        np.savetxt(path, RATES + 0.1, delimiter=separator, header="made for a test")
        np.testing.assert_allclose(read(path).rates_hz[:, :, 0], RATES + 0.1, rtol=1e-15)
    names = ",".join(f"n{i}" for i in range(10))
    np.savetxt(path, RATES, delimiter=",", header=names, comments="")
    recording = read(path)
    assert recording.ids == tuple(names.split(","))
    assert recording.conditions == ("rates",)
    np.testing.assert_array_equal(read(path, time_axis="columns").rates_hz[:, :, 0], RATES.T)
    assert read(path, time_axis="columns").ids is None


def test_labels_of_bins_are_not_neurons(tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame(RATES)
    for index in (False, True):
        frame.to_csv(tmp_path / "a.csv", index=index)
        recording = read(tmp_path / "a.csv")
        np.testing.assert_array_equal(recording.rates_hz[:, :, 0], RATES)
        assert recording.ids == tuple(map(str, range(10)))
        assert len(recording.notes) == 3 + index
        assert any("a.csv, 0, 1, ... 9" in note for note in recording.notes)
    frame.insert(0, "Time", np.arange(4) * 0.02)
    frame.to_csv(tmp_path / "a.csv", index=False)
    np.testing.assert_array_equal(read(tmp_path / "a.csv").rates_hz[:, :, 0], RATES)


def test_parquet(refused: Refused, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    import pandas as pd

    path = tmp_path / "rates.dat"
    frame = pd.DataFrame(RATES, columns=[f"n{i}" for i in range(10)])
    for index in (False, True):
        frame.to_parquet(path, index=index)
        recording = read(path)
        np.testing.assert_array_equal(recording.rates_hz[:, :, 0], RATES)
        assert recording.ids == tuple(frame.columns)
        assert recording.provenance["format"] == "Parquet"
    pd.DataFrame({"a": np.zeros(10**6), "b": np.zeros(10**6)}).to_parquet(path)  # run lengths: a few kB
    content = path.read_bytes()
    with refused(RecordingError, "rates.dat", "1,000,000 rows", "2 columns"):
        read(path)
    path.write_bytes(content[: len(content) // 2])
    with refused(RecordingError, "rates.dat", "Parquet"):
        read(path)


def test_parquet_needs_pyarrow(refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with refused(RecordingError, "a.parquet", "pyarrow", "'rlsbench[parquet]'"):
        read(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("in the way", ["'in the way'"]),
        ("a,b\n1,x\n2,y\n", ["unit,time", "'b'"]),
        ("a,b\n1,2,3\n4,5,6\n", ["header"]),
        ("1,2,9\n4,5\n6,7,8\n9,9,9\n1,1,1\n1,1,1\n", ["2 to 3 values"]),
        ("1,2,9\n4,,5\n6,7,8\n9,9,9\n1,1,1\n1,1,1\n", ["1 of 18", "NaN", "bin 1", "neuron 1"]),
        ("1,2\n3,4,5\n", ["2 to 3 values", "unit,spike_times"]),
        ("# nothing\n\n", []),
        ("1.5,2,3,4\n4,-5,6,7\n", ["(-5)", "bin 1", "neuron 1"]),
    ],
)
def test_texts_that_are_not_rates(refused: Refused, tmp_path: Path, text: str, named: list[str]) -> None:
    (tmp_path / "a.csv").write_text(text)
    with refused(RecordingError, "a.csv", *named):
        read(tmp_path / "a.csv", time_axis="rows")


def test_neurons_with_a_low_rate_are_omitted(refused: Refused, tmp_path: Path) -> None:
    path = hdf5(tmp_path / "a.h5", psth=RATES)  # means 15, 16, ... 24
    recording = read(path, minimum_rate_hz=20)
    np.testing.assert_array_equal(recording.rates_hz[:, :, 0], RATES[:, 5:])
    assert recording.provenance["units_dropped_by_rate"] == 5
    assert "5 of 10" in recording.notes[-1]
    assert "20 Hz" in recording.notes[-1]
    with refused(RecordingError, "a.h5", "10 neurons", "25 Hz", "24 Hz"):
        read(path, minimum_rate_hz=25)


@pytest.mark.parametrize("options", [{"event": "go"}, {"trials": "a == 1"}, {"smoothing": "none"}, {"regions": "ALM"}])
def test_options_for_spikes_are_refused_for_rates(refused: Refused, tmp_path: Path, options: dict[str, Any]) -> None:
    (name,) = options
    with refused(RecordingError, "a.h5", name):
        read(hdf5(tmp_path / "a.h5", psth=RATES), **options)
    with refused(RecordingError, "a.h5", "events"):
        read_recording(tmp_path / "a.h5", events=[1.0])


# --- recordings and options


def made(rates: object = RATES[:, :, None], **others: Any) -> Recording:
    return Recording(**({"rates_hz": rates, "conditions": ("a",), "source": "made"} | others))  # type: ignore[arg-type]


def test_a_recording_is_read_only_and_leaves_its_input_alone() -> None:
    rates = RATES[:, :, None].copy()
    recording = made(rates, edges_s=np.arange(5.0))
    assert (recording.bins, recording.neurons, recording.bin_s) == (4, 10, 1.0)
    rates[0, 0, 0] = 1.0  # still the caller's
    for array in (recording.rates_hz, recording.edges_s):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0  # type: ignore[index]


@pytest.mark.parametrize(
    ("others", "named"),
    [
        ({"rates": RATES}, ["(4, 10)"]),
        ({"rates": np.zeros((4, 0, 1))}, ["(4, 0, 1)"]),
        ({"rates": -RATES[:, :, None]}, ["39 of 40", "(-1)", "bin 0", "neuron 1"]),
        ({"conditions": ("a", "b")}, ["conditions", "(2,)", "(1,)"]),
        ({"ids": ("1",)}, ["ids", "(1,)", "(10,)"]),
        ({"regions": ("ALM",) * 9}, ["regions", "(9,)", "(10,)"]),
        ({"trials": (3, 4)}, ["trials", "(2,)", "(1,)"]),
        ({"edges_s": np.arange(4.0)}, ["edges_s", "(4,)", "(5,)"]),
        ({"edges_s": np.zeros(5)}, ["edges_s", "increasing"]),
        ({"unit_trials": np.ones((10, 2))}, ["unit_trials", "(10, 2)", "(10, 1)"]),
    ],
)
def test_inconsistent_recordings_are_refused(refused: Refused, others: dict[str, Any], named: list[str]) -> None:
    with refused(RecordingError, "made", *named):
        made(**others)


def test_several_conditions_name_the_one_with_a_wrong_rate(refused: Refused) -> None:
    rates = np.stack([RATES, RATES], axis=2)
    rates[2, 7, 1] = np.nan
    with refused(RecordingError, "made", "bin 2", "neuron 7", "'right'"):
        made(rates, conditions=("left", "right"))


def test_conditions_of_several_files(refused: Refused, tmp_path: Path) -> None:
    left = read(hdf5(tmp_path / "left.jld", Pyr=RATES))
    right = read(hdf5(tmp_path / "right.jld", Pyr=2 * RATES))
    both = stack_conditions([left, right])
    np.testing.assert_array_equal(both.rates_hz[:, :, 1], 2 * RATES)
    assert both.conditions == ("left.jld: Pyr", "right.jld: Pyr")
    assert both.source == "left.jld + right.jld"
    assert both.notes[:-1] == left.notes
    assert "10 neurons" in both.notes[-1]  # taken to be the same without evidence
    assert both.provenance == left.provenance
    assert stack_conditions([left, right], ["left", "right"]).conditions == ("left", "right")
    assert stack_conditions([made(trials=(3,)), made(trials=(4,))], ["a", "b"]).trials == (3, 4)
    short = read(hdf5(tmp_path / "short.jld", Pyr=RATES[:, :8]), time_axis="rows")
    for other, named in [
        (short, ["short.jld", "8 neurons", "10"]),
        (made(RATES[:3, :, None]), ["made", "3 bins", "4"]),
        (made(edges_s=np.arange(5.0)), ["made", "bins"]),
        (made(ids=tuple("abcdefghij")), ["made", "ids"]),
    ]:
        with refused(RecordingError, "left.jld", *named):
            stack_conditions([left, other])


def test_sessions_are_pooled() -> None:
    """Every session is spread over both populations, and every neuron says where it is from."""
    sizes = {"a": 3, "b": 5, "c": 2}
    parts = [
        made(
            np.full((4, size, 1), number + 1.0),
            source=name,
            regions=["ALM"] * size if name == "b" else None,
            conditions=["left"],
            trials=[number + 2],
            unit_trials=np.full((size, 1), number + 2),
            notes=("common", name),
        )
        for number, (name, size) in enumerate(sizes.items())
    ]
    pool = pool_neurons(parts)
    halves = ["a: 0", "b: 0", "b: 1", "b: 2", "c: 0", "a: 1", "a: 2", "b: 3", "b: 4", "c: 1"]
    assert pool.ids == tuple(halves)
    np.testing.assert_array_equal(pool.rates_hz[0, :, 0], ["abc".index(id[0]) + 1 for id in halves])
    assert pool.regions == tuple("ALM" if id[0] == "b" else "" for id in halves)
    assert pool.unit_trials is not None
    assert pool.unit_trials[:, 0].tolist() == ["abc".index(id[0]) + 2 for id in halves]
    assert (pool.trials, pool.conditions, pool.source) == ((9,), ("left",), "a + b + c")
    assert pool.notes[1:] == ("common", "a: a", "b: b", "c: c")
    assert pool_neurons(parts[:1]).neurons == 3
    named = pool_neurons([made(source="s.nwb", ids=["7", "9"] * 5), made(2 * RATES[:, :, None], source="s.nwb")])
    assert named.ids is not None
    assert set(named.ids) >= {"s.nwb (1): 7", "s.nwb (2): 9"}  # files of one name in different folders


def test_recordings_that_cannot_be_pooled(refused: Refused) -> None:
    a = made(source="a", session="s1", ids=[*map(str, range(10))])
    for other, named in [
        (made(2 * RATES[:3, :, None], source="b"), ["3 bins", "4"]),
        (made(2 * RATES[:, :, None], source="b", edges_s=np.arange(5.0)), ["bins"]),
        (made(np.stack([RATES, RATES], axis=2), source="b", conditions=["x", "y"]), ["x, y"]),
        (replace(a, source="b", session="s2"), ["10 neurons"]),  # the same file twice
        (made(2 * RATES[:, :, None], source="b", session="s1", ids=[*map(str, range(8, 18))]), ["2 neurons"]),
    ]:
        with refused(RecordingError, "a", "b", *named):
            pool_neurons([a, other])
    assert pool_neurons([a, replace(a, rates_hz=2 * a.rates_hz, session="s2")]).neurons == 20


def test_conditions_are_of_the_same_session(refused: Refused, make_nwb: Callable[..., Path]) -> None:
    """Units are numbered from 0 in many files, so equal names do not make them equal."""
    parts = [read(make_nwb({"identifier": name}, f"{name}.nwb")) for name in ("day1", "day2")]
    with refused(RecordingError, "day1.nwb", "day2.nwb", "day1, 2019-01-01", "--pool", "--no-pool"):
        stack_conditions(parts)
    assert stack_conditions(parts, same_neurons=True).neurons == 5
    same = [replace(part, session="s", source="s") for part in parts]
    assert not any("5 neurons" in note for note in stack_conditions(same, ["left", "right"]).notes)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"time_axis": "time"}, ["time_axis = 'time'", "'rows' or 'columns'"]),
        ({"smoothing": "mean"}, ["smoothing = 'mean'", "'boxcar', 'gaussian' or 'none'"]),
        ({"occurrence": "all"}, ["occurrence = 'all'", "'only', 'first' or 'last'"]),
        ({"window_s": (1.0, -2.0)}, ["window_s = (1, -2)"]),
        ({"window_s": (0.0, np.inf)}, ["window_s = (0.0, inf)", "finite"]),
        ({"window_s": 3}, ["window_s = 3"]),
        ({"bin_s": 0.0}, ["bin_s = 0.0", "greater than"]),
        ({"bin_s": np.nan}, ["bin_s = nan", "finite"]),
        ({"bin_s": True}, ["bin_s = True", "number"]),
        ({"bin_s": "0.02"}, ["bin_s = '0.02'", "number"]),
        ({"bin_s": 0.07}, ["bin_s = 0.07", "42.8571"]),
        ({"bin_s": 3.0}, ["bin_s = 3", "at least 2"]),
        ({"bin_s": 1e-9}, ["bin_s = 1e-09", "1,000,000 bins"]),
        ({"smoothing_bins": 4}, ["smoothing_bins = 4", "odd"]),
        ({"smoothing_bins": 0}, ["smoothing_bins = 0", "greater than"]),
        ({"smoothing": "gaussian"}, ["smoothing_bins", "missing"]),
        ({"smoothing": "gaussian", "smoothing_bins": -1.0}, ["smoothing_bins = -1.0", "greater than"]),
        ({"smoothing": "gaussian", "smoothing_bins": 1e9}, ["smoothing_bins = 1e+09", "150 bins"]),
        ({"smoothing": "none", "smoothing_bins": 3}, ["smoothing_bins = 3", "'none'"]),
        ({"trials": ()}, ["trials = ()", "at least one"]),
        ({"trials": ("a == 1", "a == 1")}, ["trials = ('a == 1', 'a == 1')", "twice"]),
        ({"quality": (1,)}, ["quality = (1,)", "string"]),
        ({"minimum_rate_hz": -1}, ["minimum_rate_hz = -1", "equal to 0"]),
        ({"bins": 3}, ["bins = 3"]),
    ],
)
def test_invalid_options(refused: Refused, options: dict[str, Any], named: list[str]) -> None:
    with refused(ConfigurationError, *named):
        assert ReadOptions(**options).bins  # of the window, which a matrix does not have


def test_one_text_stands_for_a_tuple() -> None:
    options = ReadOptions(trials="a == 1", regions="ALM", window_s=(0, 1))
    assert (options.trials, options.regions, options.window_s) == (("a == 1",), ("ALM",), (0.0, 1.0))
    assert options.changed() == ("window_s", "trials", "regions")
    assert ReadOptions().changed() == ()
    assert ReadOptions().bins == 150
    assert ReadOptions().edges_s[100] == 0.0
    assert ReadOptions().smoothing_bins == 15


def test_heavy_libraries_are_imported_only_when_needed() -> None:
    code = (
        "import sys, rlsbench.recordings, rlsbench.cli.recordings; "
        "sys.exit(bool({'h5py', 'matplotlib', 'pyarrow', 'rlsbench.report'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
