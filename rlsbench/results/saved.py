"""A saved run: its configuration, its document and its weights.

In: the directory of a run, which is untrusted input. Out: a `SavedRun`. Nothing is unpickled, and
sizes are checked before memory is allocated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.available import available_bytes
from rlsbench.configuration import Experiment, changed, load_experiment
from rlsbench.errors import ConfigurationError, ResultError
from rlsbench.results.checkpoint import read_checkpoint
from rlsbench.results.checkpoints import best_checkpoint, checkpoint_files
from rlsbench.results.document import LARGEST, IterationRecord, RunDocument, configuration_hash, parse_document


@dataclass(frozen=True)
class SavedRun:
    """The contents of the directory of a run.

    Parameters
    ----------
    path : Path
    experiment : Experiment
        The resolved configuration.
    document : RunDocument
    weights : ndarray, shape (N, n)
        Plastic weights.
    weights_from : str
        Source of the weights, such as "best, iteration 120".
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
        Source of the weights: the best or last iteration, or a checkpoint file. By default the
        best if the run kept it, otherwise the last.

    Raises
    ------
    ResultError
        If it is not a run, or a file in it is missing or damaged.
    """
    folder = Path(path)
    if not (folder / "configuration.toml").is_file():
        raise ResultError(f"{folder} is not the directory of a run: configuration.toml is missing")
    try:
        experiment = load_experiment(config=folder / "configuration.toml")
    except ConfigurationError as error:
        raise ResultError(f"invalid {folder / 'configuration.toml'}: {error}") from None
    document = _document(folder / "result.json")
    best, numbered = best_checkpoint(folder), checkpoint_files(folder)
    if checkpoint is None:
        checkpoint = "best" if best else "last"
    if checkpoint == "last" and ((folder / "weights.npy").is_file() or not numbered):
        weights = read_weights(folder / "weights.npy")
        return SavedRun(folder, experiment, document, weights, "last iteration", document.iterations)
    file = best if checkpoint == "best" else numbered[-1][1] if checkpoint == "last" else Path(checkpoint)
    if file is None:
        raise ResultError(f"{folder} has no best checkpoint: train with --save-best, or choose the last")
    saved = read_checkpoint(file)
    if configuration_hash(_with_changeable(saved.experiment, experiment)) != configuration_hash(experiment):
        raise ResultError(f"{file} belongs to another experiment than {folder}")
    source = f"{checkpoint if checkpoint in ('best', 'last') else file.name}, iteration {saved.iteration}"
    iterations = [i for i in document.iterations if i.iteration <= saved.iteration]
    return SavedRun(folder, experiment, document, _finite(file, saved.weights()), source, iterations)


def _with_changeable(experiment: Experiment, other: Experiment) -> Experiment:
    """An experiment with the settings of another that may change when a run is resumed."""
    training = {f"training.{key}": getattr(other.training, key) for key in ("iterations", "patience", "maxrate_hz")}
    settings = {"numerics": other.numerics.model_dump(), "recording.files": other.recording.files}
    return changed(experiment, training | settings)


def _document(path: Path) -> RunDocument:
    try:
        with path.open("rb") as stream:
            content = stream.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ResultError(f"more than {LARGEST >> 20} MiB")
        document = parse_document(content.decode("utf-8"))
    except FileNotFoundError:
        raise ResultError(f"{path} is missing: the run did not finish") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ResultError(f"cannot read {path}: {error}") from None
    except ResultError as error:
        raise ResultError(f"not a valid result: {path}: {error}") from None
    if not isinstance(document, RunDocument):
        raise ResultError(f"{path} describes a run that did not take place: {document.reason}")
    return document


def read_weights(path: Path) -> NDArray[np.floating[Any]]:
    """Read the weights (N, n) from an NPY file.

    Raises
    ------
    ResultError
        If it is missing, damaged, not a finite matrix of real numbers, or too large for memory.
    """
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)  # checks the size of the file
    except FileNotFoundError:
        raise ResultError(f"{path} is missing: the run did not save its weights") from None
    except Exception as error:  # the header is Python text: a damaged one can raise nearly anything
        raise ResultError(f"cannot read {path} as NPY: {(str(error).splitlines() or [''])[0][:200]}") from None
    if not isinstance(mapped, np.memmap) or mapped.ndim != 2 or mapped.dtype not in (np.float32, np.float64):
        raise ResultError(f"{path} does not contain a matrix of float32 or float64")
    if 2 * mapped.nbytes > available_bytes():  # with the mask of finite weights
        raise ResultError(f"{path}: {mapped.nbytes:,} bytes of weights exceed the available memory")
    return _finite(path, np.array(mapped, order="C"))


def _finite(path: Path, weights: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    if not np.isfinite(weights).all():
        raise ResultError(f"{path} contains weights that are NaN or infinite")
    return weights
