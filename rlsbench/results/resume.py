"""Resuming a training from a checkpoint as if it had never stopped.

In: a run or a checkpoint, and overrides. Out: a `Training`. Knows no command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rlsbench.backend import Backend, Options, get_backend, resolve_options
from rlsbench.capacity import fitting_options
from rlsbench.configuration import Experiment, changed
from rlsbench.errors import ConfigurationError, ResultError, UnsupportedError
from rlsbench.results.checkpoint import Checkpoint, read_checkpoint
from rlsbench.results.checkpoints import last_checkpoint
from rlsbench.results.machine import version_record
from rlsbench.training import Training, prepare

CHANGEABLE = (
    *("numerics.", "checkpoints.", "training.iterations", "training.patience", "training.maxrate_hz"),
    "recording.files",  # the files may have moved; their rates must be the same
)
_NUMERICS = ("precision", "p_precision", "storage", "algorithm", "device", "threads", "compile")
_PORTABLE = ("precision", "p_precision", "storage", "threads")  # that carry over to another backend


def resume(
    run: str | Path | Checkpoint,
    *,
    backend: str | Backend | None = None,
    overrides: Mapping[str, Any] | None = None,
    force: bool = False,
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
    force : bool
        Start even if the available memory is too small.

    Returns
    -------
    Training
        `run()` performs the remaining iterations. `resumptions` says whether they are bit for bit
        those of an uninterrupted training, or what differs.

    Raises
    ------
    ResultError
        If there is no valid checkpoint, or the recording has changed.
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
        run = last_checkpoint(run)[0] if Path(run).is_dir() else read_checkpoint(run)
    checkpoint, overrides = run, dict(overrides or {})
    for key in overrides:
        if not key.startswith(CHANGEABLE):
            allowed = ", ".join(name.rstrip(".") for name in CHANGEABLE)
            raise ConfigurationError(f"{key} cannot be changed when a training is resumed; these can: {allowed}")
    if isinstance(backend, str) or backend is None:
        backend = get_backend(backend or checkpoint.backend)
    experiment = changed(checkpoint.experiment, overrides)
    options, notes = _options(checkpoint, backend, experiment, overrides)
    training = prepare(experiment, backend, options=options, initial=checkpoint.initial(), force=force)
    sizes = (training.problem.neurons, training.problem.n)
    saved = checkpoint.experiment
    same_size = sizes == (saved.network.neurons, saved.plastic_inputs)
    if not same_size or training.recording_digest() != checkpoint.recording_digest:
        raise ResultError(f"the recorded rates differ from those that {checkpoint.path} was trained on")
    checkpoint.load(training.trainer)
    training.resume_from(checkpoint.iterations, checkpoint.first_learned(), checkpoint.target_offset())
    training.resumptions = [*checkpoint.resumptions, _description(checkpoint, training)]
    training.notes += [*notes, *training.resumptions]
    return training


def _options(
    checkpoint: Checkpoint, backend: Backend, experiment: Experiment, overrides: Mapping[str, Any]
) -> tuple[Options, list[str]]:
    """The saved options except for overrides; another backend keeps those that it supports."""
    saved = asdict(checkpoint.options)
    kept = {f"numerics.{key}": saved[key] for key in _NUMERICS if f"numerics.{key}" not in overrides}
    if backend.name == checkpoint.backend:
        return resolve_options(backend, changed(experiment, kept).numerics), []
    experiment = changed(experiment, {key: "auto" for key in kept if not key.endswith((".threads", ".compile"))})
    for key in (f"numerics.{name}" for name in _PORTABLE):
        if key in kept:
            attempt = changed(experiment, {key: kept[key]})
            try:
                resolve_options(backend, attempt.numerics)
            except UnsupportedError:
                continue
            experiment = attempt
    return fitting_options(backend, experiment)


def _description(checkpoint: Checkpoint, training: Training) -> str:
    """One sentence that says where the run was resumed and what differs."""
    before, now = asdict(checkpoint.options), asdict(training.options)
    differences = [f"{now[key]} instead of {before[key]} ({key})" for key in before if now[key] != before[key]]
    if training.backend.name != checkpoint.backend:
        differences.insert(0, f"{training.backend.name} instead of {checkpoint.backend} (backend)")
    else:
        versions = version_record(training.backend.name)
        differences += [
            f"{name} {versions.get(name, 'none')} instead of {version}"
            for name, version in checkpoint.versions.items()
            if versions.get(name) != version
        ]
    start = f"resumed after iteration {checkpoint.iteration}"
    if not differences:
        return f"{start}: continues bit for bit"
    return f"{start} with {', '.join(differences)}: continues within rounding, not bit for bit"
