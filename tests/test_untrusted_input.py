"""Untrusted input: mutated and malicious files, read by a process with limited memory."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsbench.configuration import Experiment
from rlsbench.errors import RecordingError, ResultError
from rlsbench.recordings import ReadOptions, read_contents, read_recording
from rlsbench.report.folder import results_csv
from rlsbench.results import configuration_hash, parse_document, read_checkpoint
from rlsbench.results.document import check_json_memory
from tests.conftest import ENDURANCE
from tests.fuzzing import READERS, committed_result, corpus, findings, fuzz, read_all

# Number of mutated files of each reader: in every run of the tests, and of the long proof.
QUICK = {"result": 50, "configuration": 50, "plan": 20, "recording": 70, "weights": 20, "edges": 40, "checkpoint": 40}
QUICK |= {"folder": 30, "command": 20, "run": 6}
WHOLE = {"result": 2000, "configuration": 1500, "plan": 1000, "recording": 2300, "weights": 500}
WHOLE |= {"edges": 500, "checkpoint": 700, "folder": 1500, "settings": 500, "command": 600, "run": 300}


pytestmark = pytest.mark.xdist_group("untrusted input")  # so that its files are made once


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    return corpus(tmp_path_factory.mktemp("corpus"), narrow=False)


@pytest.fixture(scope="module")
def all_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    return corpus(tmp_path_factory.mktemp("corpus"), narrow=True)


def test_intact_files_are_read(files: dict[str, list[Path]]) -> None:
    assert {*files, "fails"} == set(READERS)
    for reader in ("configuration", "plan", "weights", "edges"):
        assert set(read_all(reader, files[reader]).values()) == {"read"}
    found = {path.name: what for path, what in read_all("checkpoint", files["checkpoint"]).items()}
    assert found.pop("weights-alone.checkpoint") == "refused"  # training cannot be resumed from it
    assert set(found.values()) == {"read"}


@pytest.mark.parametrize("reader", QUICK)
def test_mutated_files_are_read_or_refused_in_one_line(
    reader: str, files: dict[str, list[Path]], tmp_path: Path
) -> None:
    found = fuzz(reader, files[reader], tmp_path, QUICK[reader])
    assert len(found) == QUICK[reader]
    assert findings(found) == {}


@pytest.mark.endurance
@pytest.mark.parametrize("reader", WHOLE)
def test_many_mutated_files(reader: str, all_files: dict[str, list[Path]], tmp_path: Path) -> None:
    found = fuzz(reader, all_files[reader], tmp_path, round(ENDURANCE * WHOLE[reader]), seed=2)
    print(reader, Counter(what.partition(":")[0] for what in found.values()))
    assert findings(found) == {}


def test_the_harness_detects_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzzing.PATIENCE", 1.0)
    names = ["good", "traceback", "two-lines", "memory", "hang", "crash"]
    found = {path.name: what for path, what in read_all("fails", [tmp_path / name for name in names]).items()}
    assert found["good"] == "read"
    assert "KeyError" in found["traceback"]
    assert "not a single line" in found["two-lines"]
    assert "MemoryError" in found["memory"]
    assert "more than 1 s" in found["hang"]
    assert "the process exited: -" in found["crash"]


# Malicious files


def _npy_header(shape: str, descr: str = "'<f8'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def _zip(path: Path, name: str, content: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)


def _hdf5(path: Path, fill: Any) -> None:
    with h5py.File(path, "w") as file:
        fill(file)


def _soft_cycle(file: h5py.File) -> None:
    file["a"], file["b"] = h5py.SoftLink("/b"), h5py.SoftLink("/a")


def _hard_cycle(file: h5py.File) -> None:
    group = file.create_group("a")
    group["a"] = file


def _many_references(file: h5py.File) -> None:
    row = file.create_dataset("row", shape=(10**7,), dtype="f8", chunks=(10**5,), compression="gzip")
    file.create_dataset("rows", data=[row.ref] * 1000, dtype=h5py.ref_dtype)


def _many_vectors(file: h5py.File) -> None:
    row = file.create_dataset("row", data=[1.0])
    file.create_dataset("rows", data=[row.ref] * 10**5, dtype=h5py.ref_dtype, chunks=(10**5,), compression=1)


def malicious(folder: Path) -> dict[str, Path]:
    """Recordings with false sizes, references to other files, or code."""
    paths = {
        name: folder / name
        for name in (
            *("huge.npy", "object.npy", "huge.npz", "bomb.npz", "away.npz", "unwritten.h5", "deflated.h5"),
            *("soft.h5", "hard.h5", "references.h5", "bomb.parquet", "long.csv", "units.nwb"),
            *("chunk.h5", "vectors.jld", "deep.h5", "lists.parquet", "many.nwb"),
        )
    }
    paths["huge.npy"].write_bytes(_npy_header("(1000000, 1000000)") + bytes(800))
    np.save(paths["object.npy"], np.array([[{}, 1], [2, 3]], dtype=object), allow_pickle=True)
    _zip(paths["huge.npz"], "rates.npy", _npy_header("(1000000, 1000000)") + bytes(800))
    _zip(paths["bomb.npz"], "rates.npy", _npy_header("(2000, 30000)") + bytes(2000 * 30000 * 8))
    _zip(paths["away.npz"], "../../away.npy", _npy_header("(3, 20)") + np.ones(60).tobytes())
    _hdf5(
        paths["unwritten.h5"],
        lambda f: f.create_dataset("rates", shape=(10**6, 10**6), dtype="f8", chunks=(1000, 1000)),
    )
    _hdf5(
        paths["deflated.h5"],
        lambda f: f.create_dataset("rates", data=np.zeros((50, 10**6), "f4"), chunks=(50, 10**6), compression=1),
    )
    _hdf5(paths["soft.h5"], _soft_cycle)
    _hdf5(paths["hard.h5"], _hard_cycle)
    _hdf5(paths["references.h5"], _many_references)

    def units(file: h5py.File) -> None:
        file["session_start_time"] = "x"
        file.create_dataset("units/spike_times", shape=(10**12,), dtype="f8", chunks=(10**5,))
        file["units/spike_times_index"] = np.array([10**12])

    _hdf5(paths["units.nwb"], units)
    chunked = {"dtype": "f8", "chunks": (16_000, 16_000), "compression": 1, "maxshape": (None, None)}
    _hdf5(paths["chunk.h5"], lambda f: f.create_dataset("rates", shape=(20, 60), **chunked))
    _hdf5(paths["vectors.jld"], _many_vectors)
    _hdf5(paths["deep.h5"], lambda f: f.create_group("/".join("g" * 100)))

    def many(file: h5py.File) -> None:
        file["session_start_time"], file["units/spike_times"] = "x", np.arange(3.0)
        ends = {"dtype": "u1", "chunks": (10**6,), "compression": 1}
        file.create_dataset("units/spike_times_index", shape=(2 * 10**7,), **ends)

    _hdf5(paths["many.nwb"], many)
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Runs of one value: 5 x 10^7 numbers in a file of kilobytes.
    pq.write_table(pa.table({"a": pa.array(np.zeros(5 * 10**7))}), paths["bomb.parquet"], compression="zstd")
    ones = pa.array(np.zeros(10**7))
    lists = pa.ListArray.from_arrays(pa.array(np.linspace(0, 10**7, 1001).astype("i4")), ones)
    pq.write_table(pa.table({"unit": np.zeros(1000), "time": lists}), paths["lists.parquet"], compression="zstd")
    paths["long.csv"].write_bytes(b"1," * 3_000_000)
    return paths


def test_false_sizes_are_not_allocated(tmp_path: Path) -> None:
    paths = malicious(tmp_path)
    found = {path.name: what for path, what in read_all("recording", list(paths.values())).items()}
    assert {name: what for name, what in found.items() if what.startswith("finding")} == {}
    refused = {
        "bomb.npz",
        "deflated.h5",
        "bomb.parquet",
        "long.csv",
        "huge.npy",
        "object.npy",
        "huge.npz",
        "unwritten.h5",
        "soft.h5",
        "hard.h5",
        "references.h5",
        "units.nwb",
        *("chunk.h5", "vectors.jld", "deep.h5", "lists.parquet", "many.nwb"),
    }
    assert {name for name, what in found.items() if what == "refused"} >= refused


def test_errors_that_quote_what_was_read_are_cut(tmp_path: Path) -> None:
    path, name = tmp_path / "a.npz", "n" * 20_000 + ".npy"
    _zip(path, name, _npy_header("(1, 2)") + bytes(16))
    path.write_bytes(path.read_bytes().replace(b"nn.npy", b"mm.npy", 1))  # not in the directory, which is at the end
    with pytest.raises(RecordingError, match=r"a\.npz") as refused:
        read_contents(path)
    assert len(str(refused.value)) < 500


def test_what_is_described_often_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    """A few groups and an array under many names, and too many arrays."""
    from rlsbench.recordings import arrays

    def bushy(file: h5py.File) -> None:
        file["session_start_time"], file["units/spike_times"] = "x", np.arange(3.0)
        file["units/spike_times_index"] = np.array([3])
        below = file.create_group("acquisition/a")
        for level in range(3):
            group = file.create_group(f"level{level}") if level < 2 else file["acquisition"]
            for i in range(9):
                group[str(i)] = below
            below = group

    def together(file: h5py.File) -> None:
        file["session_start_time"], file["units/spike_times"] = "x", np.zeros(3)
        file["units/spike_times_index"] = np.array([3])
        series = file.create_dataset("series", data=np.zeros(10**6), chunks=(10**6,), compression=9)
        for i in range(100):
            file[f"acquisition/{i}/timestamps"] = series

    monkeypatch.setattr(arrays, "_MAX_OBJECTS", 500)
    for name, fill, what in (("bushy.nwb", bushy, "500 groups"), ("together.nwb", together, "too large")):
        _hdf5(tmp_path / name, fill)
        with refused(RecordingError, name, what):
            read_contents(tmp_path / name)
    monkeypatch.setattr(arrays, "MAX_MEMBERS", 1)
    np.savez(tmp_path / "members.npz", a=np.ones((2, 3)), b=np.ones((2, 3)))
    with refused(RecordingError, "members.npz", "2 arrays"):
        read_contents(tmp_path / "members.npz")


def _sparse_checkpoint(path: Path, manifest: bytes, checksums: int = 7) -> None:
    """A sparse checkpoint of 10^8 neurons; the checksums that are verified first are valid."""
    n = 10**8
    found = np.zeros(7, "<u4")
    found[0] = zlib.crc32(manifest)
    found[-1] = zlib.crc32(found[:-1].tobytes())
    shapes = {"w": (n, 12), "P": (n, 78), **dict.fromkeys(_INITIAL, (n,))}
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_layout(h5py.h5d.CONTIGUOUS)
    how.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    how.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["format"], file.attrs["version"] = np.bytes_("rlsbench checkpoint"), 1
        file.create_dataset("manifest", data=np.frombuffer(manifest, np.uint8))
        if checksums == 7:
            file.create_dataset("checksums", data=found)
        else:
            shapes["checksums"] = (checksums,)
        for name, shape in shapes.items():
            type_ = {"w": "<f4", "P": "<f4", "checksums": "<u4"}.get(name, "<f8")
            h5py.h5d.create(
                file.id, name.encode(), h5py.h5t.py_create(np.dtype(type_)), h5py.h5s.create_simple(shape), dcpl=how
            )


_INITIAL = ("initial_rates_hz", "initial_mean_current", "initial_std_current")


def test_sparse_files_take_no_memory(files: dict[str, list[Path]], tmp_path: Path, refused: Any) -> None:
    """A sparse file of terabytes takes no disk: its size alone must not make us allocate memory."""
    with h5py.File(files["checkpoint"][0]) as file:
        manifest = json.loads(file["manifest"][...].tobytes())
    manifest["configuration"]["network"]["neurons"] = 10**8
    manifest["configuration_hash"] = configuration_hash(Experiment.model_validate(manifest["configuration"]))
    arrays = [("w", "float32", (10**8, 12)), ("P", "float32", (10**8, 78))]
    arrays += [(name, "float64", (10**8,)) for name in _INITIAL]
    keys = ("name", "type", "shape")
    manifest["arrays"] = [dict(zip(keys, array, strict=True)) | {"rows": 10**8} for array in arrays]
    whole = json.dumps(manifest).encode()
    made = {
        "arrays": (whole, 7),
        "checksums": (whole, 2**33),
        "manifest": (b"[" + b"[]," * 20_000_000 + b"[]]", 7),
    }
    for name, (text, checksums) in made.items():
        _sparse_checkpoint(tmp_path / name, text, checksums)
        assert (tmp_path / name).stat().st_blocks * 512 < 2**27
    found = read_all("checkpoint", [tmp_path / name for name in made])
    assert set(found.values()) == {"refused"}
    with refused(ResultError, "checksums", tmp_path / "checksums"):
        read_checkpoint(tmp_path / "checksums")
    (tmp_path / "result.json").write_bytes(made["manifest"][0])
    assert set(read_all("result", [tmp_path / "result.json"]).values()) == {"refused"}
    with refused(ResultError, f"{2**50:,}"):
        check_json_memory(2**50)


def test_archives_are_not_extracted(tmp_path: Path) -> None:
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    _zip(inside / "away.npz", "../../away.npy", _npy_header("(3, 20)") + np.ones(60).tobytes())
    before = sorted(tmp_path.rglob("*"))
    assert read_contents(inside / "away.npz").matrices
    read_recording(inside / "away.npz", ReadOptions(time_axis="rows"))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "text",
    [
        *("[" * 10**5, '{"a":' * 10**5, "9" * 10**5, '{"schema_version": ' + "9" * 5000 + "}", "NaN", "\x00"),
        *('{"schema_version": 1e999}', '{"schema_version": 2, "kind": "run", "preset": "\\ud800"}', '"' + "A" * 10**6),
    ],
)
def test_hostile_json_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ResultError) as caught:
        parse_document(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_value_in_a_document_is_accepted_or_refused(data: st.DataObject) -> None:
    content = json.loads(committed_result("sinusoid", 10_000))
    content[data.draw(st.sampled_from(sorted(content)))] = data.draw(_JSON)
    with suppress(ResultError):
        document = parse_document(json.dumps(content))
        assert parse_document(document.to_json()).to_json() == document.to_json()


def test_hostile_toml_is_refused(tmp_path: Path) -> None:
    hostile = {
        "deep.toml": b"a = " + b"[" * 10**5,
        "digits.toml": b"[network]\nneurons = " + b"9" * 5000,
        "neurons.toml": b"[network]\nneurons = 1000000000000\n",
        "inf.toml": b"[time]\ndt_ms = inf\n",
        "text.toml": b'[network]\nneurons = "' + b"A" * 10**6 + b'"',
        "long.toml": b"#" * (2**24 + 1),
        "bytes.toml": b"\xff\xfe\x00",
        "keys.toml": b".".join([b"a"] * 5000) + b" = 1\n",
    }
    for name, content in hostile.items():
        (tmp_path / name).write_bytes(content)
    for reader in ("configuration", "plan"):
        assert set(read_all(reader, [tmp_path / name for name in hostile]).values()) == {"refused"}


def test_results_csv_contains_no_formulas(tmp_path: Path) -> None:
    """Cells of results.csv that look like a formula are quoted as text."""
    from rlsbench.report.series import select
    from rlsbench.results import read_results

    content = json.loads(committed_result("sinusoid", 10_000))
    content["backend"] = '=HYPERLINK("x")'
    content["machine"]["cpu"] = "@SUM(A1)"
    (tmp_path / "result.json").write_text(json.dumps(content))
    text = results_csv(select(read_results([tmp_path])))
    import pandas as pd

    cells = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False).to_numpy().ravel()
    begun = [cell for cell in cells if cell[:1] in ("=", "@", "\t") or (cell[:1] in "+-" and not _is_number(cell))]
    assert begun == []
    assert any("HYPERLINK" in cell for cell in cells)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return not text
    return True
