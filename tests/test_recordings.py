"""Reading recorded rates: formats, choice of dataset and time axis, and what is refused."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlsbench.errors import ConfigurationError, RecordingError
from rlsbench.recordings import read_rates

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
RATES = np.arange(4 * 10, dtype=np.float64).reshape(4, 10)  # 4 bins of 10 neurons


@pytest.fixture
def data() -> Path:
    """Folder of real recordings and format samples."""
    if not (DATA / "alm").is_dir():
        pytest.skip(f"no recordings in {DATA}")
    return DATA


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
    recording = read_rates(path, bins=4)
    np.testing.assert_array_equal(recording.rates_hz, RATES)
    assert recording.rates_hz.dtype == np.float64
    assert recording.rates_hz.flags.c_contiguous
    assert not recording.rates_hz.flags.writeable
    assert recording.source == path.name
    assert recording.dataset == (None if path.suffix == ".npy" else "psth")


def test_user_blocks_of_any_size_and_a_wrong_suffix(tmp_path: Path) -> None:
    for size in (512, 1024, 4096):
        path = hdf5(tmp_path / f"rates{size}.dat", size, psth=RATES)
        assert read_rates(path).dataset == "psth"


@settings(deadline=None, max_examples=60)
@given(rows=st.integers(2, 40), columns=st.integers(2, 40), bins=st.none() | st.integers(2, 40), data=st.data())
def test_time_axis(
    tmp_path_factory: pytest.TempPathFactory, rows: int, columns: int, bins: int | None, data: st.DataObject
) -> None:
    axis = data.draw(st.sampled_from([None, "rows", "columns"]))
    matrix = np.arange(rows * columns, dtype=float).reshape(rows, columns)
    path = npy(tmp_path_factory.getbasetemp() / "axis.npy", matrix)
    if axis is not None:
        expected, words = axis, "as requested"
    elif rows != columns and bins in (rows, columns):
        expected, words = ("rows" if rows == bins else "columns"), f"{bins} bins"
    elif max(rows, columns) >= 2 * min(rows, columns):
        expected, words = ("rows" if rows < columns else "columns"), "inferred .* --time-axis"
    else:
        with pytest.raises(RecordingError, match=r"ambiguous: give --time-axis rows or --time-axis columns"):
            read_rates(path, bins=bins)
        return
    recording = read_rates(path, bins=bins, time_axis=axis)
    np.testing.assert_array_equal(recording.rates_hz, matrix if expected == "rows" else matrix.T)
    assert recording.orientation_note.startswith(expected)
    assert re.search(words, recording.orientation_note)


def test_unknown_time_axis(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="rows or columns"):
        read_rates(npy(tmp_path / "a.npy", RATES), time_axis="time")  # type: ignore[arg-type]


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
    assert read_rates(path, bins=4).dataset == "session/left/psth"


def test_several_matrices(tmp_path: Path) -> None:
    path = hdf5(tmp_path / "a.h5", left=RATES, go__right=2 * RATES)
    with pytest.raises(RecordingError, match=r"go/right \(4, 10\) float64, left \(4, 10\) float64: give .*dataset="):
        read_rates(path)
    for name in ("go/right", "/go/right"):
        np.testing.assert_array_equal(read_rates(path, dataset=name).rates_hz, 2 * RATES)
    with pytest.raises(RecordingError, match=r"no dataset 'up'.*go/right.*left"):
        read_rates(path, dataset="up")
    np.savez(tmp_path / "a.npz", left=RATES, right=2 * RATES, label="x")
    with pytest.raises(RecordingError, match=r"several .*left .*right"):
        read_rates(tmp_path / "a.npz")
    assert read_rates(tmp_path / "a.npz", dataset="right").rates_hz[0, 1] == 2


def test_links_and_loops_are_not_followed(tmp_path: Path) -> None:
    other = hdf5(tmp_path / "other.h5", secret=RATES)
    path = hdf5(tmp_path / "a.h5", group__psth=RATES)
    with h5py.File(path, "a") as file:
        file["soft"] = h5py.SoftLink("/group/psth")
        file["outside"] = h5py.ExternalLink(other.name, "/secret")
        file["group/loop"] = file["/"]
    assert read_rates(path).dataset == "group/psth"
    with pytest.raises(RecordingError, match="no dataset 'outside'"):
        read_rates(path, dataset="outside")


@pytest.mark.parametrize(
    "values", [RATES.astype(complex), RATES.astype(bool), RATES.astype("S3"), RATES[0], RATES[None]]
)
def test_what_is_no_matrix_of_real_numbers(tmp_path: Path, values: np.ndarray) -> None:
    np.savez(tmp_path / "a.npz", psth=values)
    for path in (npy(tmp_path / "a.npy", values), tmp_path / "a.npz", hdf5(tmp_path / "a.h5", psth=values)):
        with pytest.raises(RecordingError, match=rf"{path.name} holds no 2-D dataset of real numbers"):
            read_rates(path)
    with pytest.raises(RecordingError, match=r"psth .* is not a 2-D matrix of real numbers"):
        read_rates(tmp_path / "a.h5", dataset="psth")


def test_pickles_are_not_loaded(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    values = np.array([[Bomb(), Bomb()], [Bomb(), Bomb()]], dtype=object)
    np.savez(tmp_path / "a.npz", psth=values)
    for path in (npy(tmp_path / "a.npy", values), tmp_path / "a.npz"):
        with pytest.raises(RecordingError, match="object"):
            read_rates(path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    "shape", ["(1000000, 1000000)", "(4, 1000)", "(-4, -2)", "(99999999999999999999, 2)", "(3.5, 2)"]
)
def test_npy_headers_that_lie(tmp_path: Path, shape: str) -> None:
    path = header(tmp_path / "a.npy", shape)
    with pytest.raises(RecordingError, match=r"a\.npy"):
        read_rates(path)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.write(path, "psth.npy")
    with pytest.raises(RecordingError, match="psth"):
        read_rates(tmp_path / "a.npz")


def test_the_hand_made_header_is_valid(tmp_path: Path) -> None:
    assert read_rates(header(tmp_path / "a.npy", "(2, 4)")).rates_hz.shape == (2, 4)


def test_hdf5_that_announces_more_than_it_holds(tmp_path: Path) -> None:
    for name, shape in (("a", (10**6, 10**6)), ("b", (5 * 10**4, 10**4))):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file.create_dataset("psth", shape=shape, dtype="f8", chunks=(100, 100))  # never written: no storage
        with pytest.raises(RecordingError, match="too large"):
            read_rates(tmp_path / f"{name}.h5")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keep=st.floats(0, 1, exclude_max=True), kind=st.sampled_from(["npy", "npz", "h5", "jld2"]))
def test_truncated_files(tmp_path: Path, keep: float, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    if kind == "npy":
        npy(path, RATES)
    elif kind == "npz":
        np.savez(path, psth=RATES)
    else:
        hdf5(path, 512 if kind == "jld2" else 0, psth=RATES)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(RecordingError, match=rf"a\.{kind}"):
        read_rates(path)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["npy", "npz"]),
    flips=st.lists(st.tuples(st.integers(0, 600), st.integers(1, 255)), min_size=1),
)
def test_damaged_files_give_a_recording_or_a_clear_error(
    tmp_path: Path, kind: str, flips: list[tuple[int, int]]
) -> None:
    stream = io.BytesIO()
    if kind == "npy":
        np.save(stream, RATES)
    else:
        np.savez_compressed(stream, psth=RATES)
    content = bytearray(stream.getvalue())
    for position, change in flips:
        content[position % len(content)] ^= change
    path = tmp_path / "rates.bin"
    path.write_bytes(content)
    try:
        rates = read_rates(path).rates_hz
    except RecordingError as refused:
        message = str(refused)
    else:
        message = "rates.bin"
        assert np.isfinite(rates).all()
        assert (rates >= 0).all()
    assert "\n" not in message
    assert "rates.bin" in message


def test_what_is_no_file_of_rates(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1 2 3\n4 5 6\n")
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "text.npz").write_text("PKzip is a word")
    os.mkfifo(tmp_path / "pipe")
    for name, words in [
        ("a.txt", "not a file of a known format: give an HDF5, JLD, JLD2, NPY or NPZ file"),
        ("empty.h5", "not a file of a known format"),
        ("text.npz", "not a readable NPZ"),
        ("pipe", "not an existing file"),
        ("missing.h5", "not an existing file"),
        ("nul\0.h5", "not an existing file"),
        ("x" * 5000, "cannot be read"),
        ("", "is a folder"),
    ]:
        with pytest.raises(RecordingError, match=words):
            read_rates(tmp_path / name)
    with pytest.raises(RecordingError, match="has no dataset 'Pyr'"):
        read_rates(npy(tmp_path / "a.npy", RATES), dataset="Pyr")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.5])
def test_values_that_are_no_rates(tmp_path: Path, value: float) -> None:
    values = RATES.copy()
    values[2, 7] = values[3, 1] = value
    with pytest.raises(RecordingError, match=rf"2 of 40 values .*\({value:g}\) at bin 2 of neuron 7"):
        read_rates(npy(tmp_path / "a.npy", values))
    with pytest.raises(RecordingError, match="at bin 2 of neuron 7"):
        read_rates(npy(tmp_path / "b.npy", values.T))


@pytest.mark.parametrize("shape", [(1, 10), (10, 1), (0, 10), (10, 0), (1, 1)])
def test_too_small(tmp_path: Path, shape: tuple[int, int]) -> None:
    for path in (npy(tmp_path / "a.npy", np.zeros(shape)), hdf5(tmp_path / "a.h5", psth=np.zeros(shape))):
        with pytest.raises(RecordingError, match="at least 2 x 2"):
            read_rates(path, time_axis="rows")


def test_recordings_of_the_motor_cortex(data: Path) -> None:
    path = data / "alm" / "movingrate_Pyr1Hz_lickleft.jld"
    recording = read_rates(path)
    assert recording.rates_hz.shape == (101, 1824)
    assert (recording.dataset, recording.source) == ("Pyr", path.name)
    assert "inferred" in recording.orientation_note
    assert str(data) not in str(recording)
    assert (recording.rates_hz == 0).sum() == 647
    assert recording.rates_hz.max() == pytest.approx(52.5555, abs=1e-3)
    assert "101 bins" in read_rates(path, bins=101).orientation_note
    assert read_rates(path, time_axis="columns").rates_hz.shape == (1824, 101)


def test_sample_of_jld2(data: Path) -> None:
    path = data / "jld2" / "lin_elastic_2d.jld2"
    with pytest.raises(RecordingError, match="NaN, infinite or negative"):
        read_rates(path)  # displacements: B, the only matrix, has negative values
    with pytest.raises(RecordingError, match=r"no dataset 'C': .* B "):
        read_rates(path, dataset="C")
    with pytest.raises(RecordingError, match=r"b \(208,\) float64"):
        read_rates(path, dataset="b")


def test_spikes_are_not_taken_for_rates(data: Path) -> None:
    with pytest.raises(RecordingError, match="is an NWB file"):
        read_rates(data / "nwb" / "mini_000363_layout.nwb")


def test_h5py_is_imported_only_when_needed() -> None:
    code = "import sys, rlsbench.recordings; sys.exit('h5py' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
