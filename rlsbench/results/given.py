"""Targets and recordings that were given in Python, which no file of the user holds.

In: a `Training`.  Out: arrays for its checkpoints and files for its directory, and from these the
arguments of `prepare`.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.errors import ConfigurationError, RecordingError, ResultError
from rlsbench.recordings.arrays import array_digest
from rlsbench.recordings.stored import read_arrays, read_saved, save_recording
from rlsbench.targets import MatrixTargets, SinusoidTargets
from rlsbench.training import Training

LARGEST = 1 << 26  # bytes that are kept; of what is larger, only the digest is
FILE = "given.npz"  # in the directory of a run


def check_targets(training: Training) -> None:
    """Raise a `ConfigurationError` for targets that the experiment does not have."""
    targets, has = training.problem.targets, training.experiment.targets
    if targets is None:
        return
    own = array_digest(targets.currents) == has.digest if isinstance(targets, MatrixTargets) else False
    if isinstance(targets, SinusoidTargets) != (has.kind == "sinusoid") or (has.kind == "given" and not own):
        raise ConfigurationError(
            f"the targets of this training are not those of its experiment (targets.kind = {has.kind}), with which it "
            "would be resumed: give them to rlsbench.prepare, as targets"
        )


def given_arrays(training: Training) -> dict[str, NDArray[Any]]:
    """What `prepare` was given, unless it is too large: currents, or the bytes of an NPZ file."""
    found: dict[str, NDArray[Any]] = {}
    if training.experiment.targets.kind == "given" and isinstance(training.problem.targets, MatrixTargets):
        found["targets"] = training.problem.targets.currents
    elif training.experiment.targets.digest and training.recording is not None:
        save_recording(stream := BytesIO(), training.recording)
        found["recording"] = np.frombuffer(stream.getvalue(), np.uint8)
    return {name: values for name, values in found.items() if values.nbytes <= LARGEST}


def as_arguments(arrays: Mapping[str, NDArray[Any]], source: str) -> dict[str, Any]:
    """The arguments of `prepare` that these arrays stand for; else a `ResultError`."""
    if "recording" not in arrays:
        return dict(arrays)
    try:
        return {"recording": read_saved(arrays["recording"].tobytes(), source)}
    except RecordingError as error:
        raise ResultError(f"{source} is damaged: {error}") from None


def given_file(training: Training) -> bytes:
    """The content of `FILE` for a training that was given something, else nothing."""
    arrays = given_arrays(training)
    if arrays:
        np.savez_compressed(stream := BytesIO(), **arrays)  # type: ignore[arg-type]
    return stream.getvalue() if arrays else b""


def read_given(folder: Path) -> dict[str, Any]:
    """What `prepare` was given for the run in a folder, as its arguments; else a `ResultError`."""
    path = folder / FILE
    try:
        arrays = read_arrays(path)
    except RecordingError as error:
        raise ResultError(f"the targets of this run were given in Python: {error}") from None
    return as_arguments({name: arrays[name] for name in ("targets", "recording") if name in arrays}, str(path))
