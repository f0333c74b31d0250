"""A saved run: its results read again, or its training resumed as if it had never stopped.

The directory of a run is untrusted input: nothing is unpickled, and sizes are checked first.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice, product
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlsbench.available import available_bytes
from rlsbench.backend import Backend, Options, get_backend, resolve_options
from rlsbench.capacity import fitting_options
from rlsbench.configuration import Experiment, changed, load_experiment
from rlsbench.datasets import locate
from rlsbench.errors import ConfigurationError, ResultError, RlsbenchError, UnsupportedError
from rlsbench.ranks import ALONE, Communicator
from rlsbench.recordings.arrays import array_digest
from rlsbench.results.checkpoint import Checkpoint, read_checkpoint
from rlsbench.results.checkpoints import best_checkpoint, checkpoint_files, last_checkpoint
from rlsbench.results.document import (
    LARGEST,
    AttemptDocument,
    IterationRecord,
    RunDocument,
    configuration_hash,
    parse_document,
)
from rlsbench.results.given import read_given
from rlsbench.results.machine import version_record
from rlsbench.targets.making import fit_to_recording
from rlsbench.training import Training, prepare

# The files of a recording may have moved; their rates must be the same.
_TRAINING = ("training.iterations", "training.patience", "training.maxrate_hz")
CHANGEABLE = ("numerics.", "checkpoints.", *_TRAINING, "recording.files")
MOST_PARTS = 20  # of the path of a recording that are searched for
MOST_ATTEMPTS = 8  # recordings that are read to find the one of a run
_PORTABLE = ("precision", "p_precision", "storage", "threads")  # that carry over to another backend


@dataclass(frozen=True)
class SavedRun:
    """The contents of the directory of a run."""

    path: Path
    experiment: Experiment  #: the resolved configuration
    document: RunDocument
    weights: NDArray[np.floating[Any]]  #: plastic weights, (N, n); of several ranks, those of its own neurons
    weights_from: str  #: their source, such as "best, iteration 120"
    iterations: list[IterationRecord]  #: the learning curve up to these weights
    external_current: NDArray[np.floating[Any]] | None = None  #: (N,), if it was adapted


def load_run(path: str | Path, checkpoint: str | Path | None = None, ranks: Communicator = ALONE) -> SavedRun:
    """Read the directory of a finished run.

    Parameters
    ----------
    path : path
    checkpoint : {"best", "last"} or path, optional
        Source of the weights: the best or last iteration, or a checkpoint file. By default the
        best if the run kept it, otherwise the last.
    ranks : Communicator
        Those that the network is to be spread over, each of which reads the weights of its neurons.

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
    own = ranks.own(experiment.network.neurons) if ranks.spread else None
    if checkpoint is None:
        checkpoint = "best" if best else "last"
    if checkpoint == "last" and ((folder / "weights.npy").is_file() or not numbered):
        weights = read_weights(folder / "weights.npy", rows=own)
        adapted = experiment.learning.external != "fixed"
        external = read_weights(folder / "external_current.npy", ndim=1) if adapted else None
        return SavedRun(folder, experiment, document, weights, "last iteration", document.iterations, external)
    file = best if checkpoint == "best" else numbered[-1][1] if checkpoint == "last" else Path(checkpoint)
    if file is None:
        raise ResultError(f"{folder} has no best checkpoint: train with --save-best, or choose the last")
    saved = read_checkpoint(file)
    changes = {key: attrgetter(key)(experiment) for key in CHANGEABLE if not key.endswith(".")}
    changes["numerics"] = experiment.numerics.model_dump()
    if configuration_hash(changed(saved.experiment, changes)) != configuration_hash(experiment):
        raise ResultError(f"{file} belongs to another experiment than {folder}")
    source = f"{checkpoint if checkpoint in ('best', 'last') else file.name}, iteration {saved.iteration}"
    iterations = [i for i in document.iterations if i.iteration <= saved.iteration]
    weights, external = _finite(file, saved.weights(own)), saved.external_current()
    return SavedRun(folder, experiment, document, weights, source, iterations, external)


def frozen(
    saved: SavedRun, backend: Backend, settings: Mapping[str, Any] | None = None, ranks: Communicator = ALONE
) -> Training:
    """The network of a run, ready for trials without learning.

    Parameters
    ----------
    saved : SavedRun
    backend : Backend
    settings : mapping, optional
        Dotted keys to values that differ from those of the run, such as `numerics.threads` and
        `recording.files`.
    ranks : Communicator
        Those that the run was loaded for.

    Raises
    ------
    ResultError
        If the recording is not found, or is another one.
    RlsbenchError
        Whatever `prepare` raises.
    """
    experiment = changed(saved.experiment, dict(settings or {}))
    moved = settings is not None and "recording.files" in settings
    given = read_given(saved.path) if experiment.targets.digest and not moved else {}
    if not given and not moved:
        experiment = recording_found(experiment, saved.path, saved.document.recording_digest)
    how: dict[str, Any] = {"external_current": saved.external_current, "learn": False, "ranks": ranks}
    training = prepare(experiment, backend, **given, weights=saved.weights, **how)
    if saved.document.recording_digest is not None:  # which version 0.2 did not keep
        check_recording(training, saved.document.recording_digest, saved.path)
    return training


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
    if isinstance(document, AttemptDocument):
        raise ResultError(f"{path} describes a run that did not take place: {document.reason}")
    if not isinstance(document, RunDocument):
        raise ResultError(f"{path} describes a {document.kind}, not a run")
    return document


def iterations_in(path: Path, checkpoint: Checkpoint) -> int | None:
    """Number of iterations in a document, or None if its run did not write the checkpoint.

    No other run takes the same time for its first iteration.
    """
    try:
        iterations = _document(path).iterations
    except ResultError:
        return None
    first = [IterationRecord(**vars(iteration)) for iteration in checkpoint.iterations[:1]]
    return len(iterations) if first and iterations[:1] == first else None


def requested_settings(folder: Path) -> dict[str, Any]:
    """Settings of the run as last started or resumed, which its checkpoints need not have yet."""
    try:
        requested = load_experiment(config=folder / "configuration.toml")
    except ConfigurationError:
        return {}
    return {key: attrgetter(key)(requested) for key in _TRAINING}


def read_weights(path: Path, ndim: int = 2, rows: slice | None = None) -> NDArray[np.floating[Any]]:
    """Read the weights (N, n), or another array of as many dimensions as given, from an NPY file.

    Only some rows, if they are given. There is a `ResultError` if it is missing, damaged, not a
    finite array of real numbers, or too large for memory.
    """
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)  # checks the size of the file
    except FileNotFoundError:
        raise ResultError(f"{path} is missing: the run did not save its {path.stem}") from None
    except Exception as error:  # the header is Python text: a damaged one can raise nearly anything
        raise ResultError(f"cannot read {path} as NPY: {(str(error).splitlines() or [''])[0][:200]}") from None
    if not isinstance(mapped, np.memmap) or mapped.ndim != ndim or mapped.dtype not in (np.float32, np.float64):
        what = "a matrix" if ndim == 2 else "a vector"
        raise ResultError(f"{path} does not contain {what} of float32 or float64")
    mapped = mapped if rows is None else mapped[rows]
    if 2 * mapped.nbytes > available_bytes():  # with the mask of finite weights
        raise ResultError(f"{path}: {mapped.nbytes:,} bytes of weights exceed the available memory")
    return _finite(path, np.array(mapped, order="C"))


def _finite(path: Path, weights: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    if not np.isfinite(weights).all():
        raise ResultError(f"{path} contains numbers that are NaN or infinite")
    return weights


def resume(
    run: str | Path | Checkpoint,
    *,
    backend: str | Backend | None = None,
    overrides: Mapping[str, Any] | None = None,
    recording: Any = None,
    targets: Any = None,
    force: bool = False,
    ranks: Communicator = ALONE,
) -> Training:
    """Resume a training from its last valid checkpoint.

    Parameters
    ----------
    run : path or Checkpoint
        Directory of a run, a checkpoint file, or a checkpoint that has been opened.
    backend : str or Backend, optional
        By default the one that wrote the checkpoint.
    overrides : mapping, optional
        Dotted keys to values: `numerics`, `checkpoints`, the number of iterations, patience, and
        the paths of recordings.
    recording, targets : optional
        What `prepare` was given; needed only if it was too large for the checkpoint.
    force : bool
        Start even if the available memory is too small.
    ranks : Communicator
        Those that the network is now spread over, as in `prepare`, however many wrote it.

    Returns
    -------
    Training
        `run()` performs the remaining iterations. `resumptions` says whether they are bit for bit
        those of an uninterrupted training, or what differs.

    Raises
    ------
    ResultError
        If there is no valid checkpoint, or the recording or the targets have changed.
    ConfigurationError
        If an override is not allowed.
    UnsupportedError, UnavailableBackendError, InsufficientMemoryError
        If the backend cannot run this here.

    Examples
    --------
    >>> training = rlsbench.resume("runs/tutorial", overrides={"training.iterations": 200})
    >>> for iteration in training.run():
    ...     print(iteration.correlation)
    """
    if not isinstance(run, Checkpoint):
        with ranks.together():
            run = last_checkpoint(run, ranks)[0] if Path(run).is_dir() else read_checkpoint(run)
    checkpoint, overrides = run, dict(overrides or {})
    for key in overrides:
        if not key.startswith(CHANGEABLE):
            allowed = ", ".join(name.rstrip(".") for name in CHANGEABLE)
            raise ConfigurationError(f"{key} cannot be changed when a training is resumed; these can: {allowed}")
    if isinstance(backend, str) or backend is None:
        backend = get_backend(backend or checkpoint.backend)
    experiment = changed(checkpoint.experiment, overrides)
    given = {name: value for name, value in (("recording", recording), ("targets", targets)) if value is not None}
    if not given and "recording.files" not in overrides:
        given = checkpoint.given()
        if not given:
            experiment = recording_found(experiment, checkpoint.path, checkpoint.recording_digest)
    options, notes = _options(checkpoint, backend, experiment, overrides, ranks)
    if checkpoint.experiment.targets.digest and not given and not experiment.recording.files:
        name = "targets" if checkpoint.experiment.targets.kind == "given" else "recording"
        raise ResultError(f"{checkpoint.path} lacks the {name} that it was trained on: rlsbench.resume({name}=...)")
    given |= {"initial": checkpoint.initial(), "external_current": checkpoint.external_current()}
    training = prepare(experiment, backend, **given, options=options, force=force, ranks=ranks)
    saved, problem = checkpoint.experiment, training.problem
    same_size = (problem.neurons, problem.n) == checkpoint.size
    if saved.targets.kind == "given" and training.experiment.targets.digest != saved.targets.digest:
        raise ResultError(f"the targets differ from those that {checkpoint.path} was trained on")
    if not same_size:
        raise ResultError(f"the recording has another size than the one that {checkpoint.path} was trained on")
    check_recording(training, checkpoint.recording_digest, checkpoint.path)
    with ranks.together():
        checkpoint.load(training.trainer)
    training.resume_from(checkpoint.iterations, checkpoint.first_learned(), checkpoint.target_offset())
    training.resumptions = [*checkpoint.resumptions, _description(checkpoint, training)]
    training.notes += [*notes, *training.resumptions]
    return training


def check_recording(training: Training, digest: str | None, source: Path) -> None:
    """Raise a `ResultError` unless the recorded rates have the digest of those of a run."""
    if training.recording_digest() != digest:
        raise ResultError(
            f"the recorded rates differ from those that {source} was trained on: tell where the recording is now with "
            "--recording, or in Python with the override recording.files"
        )


def recording_found(e: Experiment, run: Path, digest: str | None) -> Experiment:
    """An experiment with the current paths of its recording.

    A run and its recording may have been moved together: of the files that have the end of a
    recorded path, in `run` (a directory or checkpoint) or a folder above it, those with the digest
    are taken. Raises a `ResultError` if there is none.
    """
    if e.targets.kind != "recording":
        return e
    found = [_places(Path(file), run) if locate(file) == Path(file) else [file] for file in e.recording.files]
    for file, places in zip(e.recording.files, found, strict=True):
        if not places:
            raise ResultError(
                f"the recording {file} of {run} does not exist, and no file {Path(file).name} is in a folder above the "
                "run: tell where it is now with --recording, or in Python with the override recording.files"
            )
    attempts = [changed(e, {"recording.files": files}) for files in islice(product(*found), MOST_ATTEMPTS)]
    for attempt in attempts if len(attempts) > 1 and digest is not None else ():
        with suppress(RlsbenchError):
            if array_digest(fit_to_recording(attempt)[1].rates_hz) == digest:
                return attempt
    return attempts[0]


def _places(file: Path, run: Path) -> list[str]:
    """Where a recording may be now: at its path, or below the run or a folder above it."""
    parts = file.parts[-MOST_PARTS:]
    ends = [Path(*parts[i:]) for i in range(len(parts))]
    folders = [run.absolute(), *run.absolute().parents]
    places = [str(file), *(str(folder / end) for folder in folders for end in ends)]
    return list({os.path.realpath(place): place for place in reversed(places) if os.path.exists(place)}.values())[::-1]


def _options(
    checkpoint: Checkpoint,
    backend: Backend,
    experiment: Experiment,
    overrides: Mapping[str, Any],
    ranks: Communicator,
) -> tuple[Options, list[str]]:
    """The saved options except for overrides; another backend keeps those that it supports.

    Threads of a rank are not kept, because there may be another number of ranks now.
    """
    saved = {f"numerics.{name}": value for name, value in asdict(checkpoint.options).items()}
    kept = {key: value for key, value in saved.items() if key not in overrides}
    if _spread(checkpoint, ranks):
        kept.pop("numerics.threads", None)
    if backend.name == checkpoint.backend:
        return resolve_options(backend, changed(experiment, kept).numerics), []
    experiment = changed(experiment, {key: "auto" for key in kept if not key.endswith((".threads", ".compile"))})
    for key in [f"numerics.{name}" for name in _PORTABLE if f"numerics.{name}" in kept]:
        attempt = changed(experiment, {key: kept[key]})
        with suppress(UnsupportedError):
            resolve_options(backend, attempt.numerics)
            experiment = attempt
    return fitting_options(backend, experiment, ranks)


def _spread(checkpoint: Checkpoint, ranks: Communicator) -> bool:
    """Whether ranks wrote a checkpoint, or resume it: no number of threads then changes a bit."""
    return ranks.spread or checkpoint.ranks > 1


def _description(checkpoint: Checkpoint, training: Training) -> str:
    """One sentence that says where the run was resumed and what differs."""
    before, now = asdict(checkpoint.options), asdict(training.options)
    if _spread(checkpoint, training.problem.ranks):
        del before["threads"]
    differences = [f"{now[key]} instead of {before[key]} ({key})" for key in before if now[key] != before[key]]
    if training.backend.name != checkpoint.backend:
        differences.insert(0, f"{training.backend.name} instead of {checkpoint.backend} (backend)")
    else:
        versions = version_record(training.backend.name)
        changes = {name: old for name, old in checkpoint.versions.items() if versions.get(name) != old}
        differences += [f"{name} {versions.get(name, 'none')} instead of {old}" for name, old in changes.items()]
    start = f"resumed after iteration {checkpoint.iteration}"
    if not differences:
        return f"{start}: continues bit for bit"
    return f"{start} with {', '.join(differences)}: continues within rounding, not bit for bit"
