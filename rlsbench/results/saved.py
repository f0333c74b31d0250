"""A run that was saved, read back: its configuration, its document and its weights.

In: the directory of a run.  Out: a `SavedRun`.  Nothing is unpickled, and sizes are checked before memory is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from rlsbench.available import available_bytes
from rlsbench.configuration import Experiment, changed, load_experiment
from rlsbench.errors import ConfigurationError, ResultError
from rlsbench.results.checkpoint import read_checkpoint
from rlsbench.results.checkpoints import best_checkpoint, checkpoint_files
from rlsbench.results.document import LARGEST, IterationRecord, RunDocument, configuration_hash, parse_document

__all__ = ["SavedRun", "load_run"]


@dataclass(frozen=True)
class SavedRun:
    """What a run left behind.

    Parameters
    ----------
    path : Path
    experiment : Experiment
        As it was resolved.
    document : RunDocument
    weights : ndarray, shape (N, n)
        Plastic weights.
    weights_from : str
        Where they are from, as "best, iteration 120".
    iterations : list of IterationRecord
        The learning curve up to these weights.
    """

    path: Path
    experiment: Experiment
    document: RunDocument
    weights: NDArray[np.floating[Any]]
    weights_from: str
    iterations: list[IterationRecord]


def load_run(path: str | Path, checkpoint: str | Path | None = None) -> SavedRun:
    """Read the directory of a finished run.

    Parameters
    ----------
    path : path
    checkpoint : {"best", "last"} or path, optional
        Whose weights: those of the best iteration or the last one, or a checkpoint file. By default the best where the
        run kept it, and else the last.

    Raises
    ------
    ResultError
        If it is none, or a file in it is missing or damaged.
    """
    folder = Path(path)
    if not (folder / "configuration.toml").is_file():
        raise ResultError(f"{folder} is not the directory of a run: it has no configuration.toml")
    try:
        experiment = load_experiment(config=folder / "configuration.toml")
    except ConfigurationError as error:
        raise ResultError(f"{folder / 'configuration.toml'} cannot be used: {error}") from None
    document = _document(folder / "result.json")
    best = best_checkpoint(folder)
    if checkpoint is None:
        checkpoint = "last" if best is None else "best"
    if checkpoint == "best" and best is None:
        raise ResultError(f"{folder} kept no best checkpoint: run with --save-best, or take the last")
    numbered = checkpoint_files(folder)
    if checkpoint == "last" and ((folder / "weights.npy").is_file() or not numbered):
        weights = _weights(folder / "weights.npy")
        return SavedRun(folder, experiment, document, weights, "last iteration", document.iterations)
    file = best if checkpoint == "best" else numbered[-1][1] if checkpoint == "last" else Path(checkpoint)
    assert file is not None
    saved = read_checkpoint(file)
    if configuration_hash(_same_length(saved.experiment, experiment)) != configuration_hash(experiment):
        raise ResultError(f"{file} is of another experiment than {folder}")
    name = checkpoint if checkpoint in ("best", "last") else file.name
    done = [i for i in document.iterations if i.iteration <= saved.iteration]
    return SavedRun(
        folder, experiment, document, _finite(file, saved.weights()), f"{name}, iteration {saved.iteration}", done
    )


def _same_length(experiment: Experiment, other: Experiment) -> Experiment:
    """An experiment with those settings of another that may change when a run is resumed."""
    kept = experiment.training.model_dump() | {
        key: getattr(other.training, key) for key in ("iterations", "patience", "maxrate_hz")
    }
    return changed(
        experiment,
        {"training": kept, "numerics": other.numerics.model_dump(), "recording.files": other.recording.files},
    )


def _document(path: Path) -> RunDocument:
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ResultError(f"it has more than {LARGEST >> 20} MiB")
        document = parse_document(content.decode("utf-8"))
    except FileNotFoundError:
        raise ResultError(f"{path} is missing: the run did not end") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ResultError(f"{path} cannot be read: {error}") from None
    except ResultError as error:
        raise ResultError(f"{path} is no document of a run: {error}") from None
    if not isinstance(document, RunDocument):
        raise ResultError(f"{path} is no document of a run: it says why a run was not made")
    return document


def _weights(path: Path) -> NDArray[np.floating[Any]]:
    """The matrix in an NPY file, its header checked against the size of the file."""
    try:
        with path.open("rb") as stream:
            version = npy.read_magic(stream)
            header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, fortran, dtype = header(stream)
            if len(shape) != 2 or dtype not in (np.float32, np.float64) or fortran or min(shape) < 0:
                raise ResultError(f"{path} holds {shape} {dtype}: weights are a matrix of float32 or float64")
            wanted = shape[0] * shape[1] * dtype.itemsize
            if path.stat().st_size - stream.tell() != wanted:
                raise ResultError(f"{path} is damaged: its header promises {wanted:,} bytes of weights")
            if 2 * wanted > available_bytes():  # with the mask of what is finite
                raise ResultError(f"{path} holds {wanted:,} bytes of weights, more than memory has")
            weights = np.fromfile(stream, dtype, shape[0] * shape[1]).reshape(shape)
    except FileNotFoundError:
        raise ResultError(f"{path} is missing: the run did not save its weights") from None
    except OSError as error:
        raise ResultError(f"{path} cannot be read: {error.strerror}") from None
    except ResultError:
        raise
    except Exception as error:  # the header is Python text: a damaged one may raise nearly anything
        raise ResultError(f"{path} is no NPY file ({str(error).splitlines()[0][:200]})") from None
    return _finite(path, weights)


def _finite(path: Path, weights: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    if not np.isfinite(weights).all():
        raise ResultError(f"{path} holds weights that are NaN or infinite")
    return weights
