"""Formats of recordings: how HDF5 files are stored, MATLAB, folders of phy, NPZ files of units."""

from __future__ import annotations

import fcntl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rlsbench.errors import RecordingError
from rlsbench.recordings import ReadOptions, Recording, read_recording

Make = Callable[..., Path]
Refused = Callable[..., Any]
RATES = np.arange(4 * 10, dtype=np.float64).reshape(4, 10)  # 4 bins of 10 neurons


def read(path: Path, **options: Any) -> Recording:
    return read_recording(path, ReadOptions(**options))


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
    with refused(RecordingError, "a.h5", "/rates", "HDF5 filter 444", "pip install", "filters"):
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
