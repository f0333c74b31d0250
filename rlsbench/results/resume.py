"""Going on with a training from a checkpoint, as if it had never stopped.

In: the directory of a run, or a checkpoint, and what is to change.  Out: a `Training`.  Knows no command line.
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

__all__ = ["resume", "resume_checkpoint"]

CHANGEABLE = (
    *("numerics.", "checkpoints.", "training.iterations", "training.patience", "training.maxrate_hz"),
    "recording.files",  # where they are now; their rates must be the same
)
_NUMERICS = ("precision", "p_precision", "storage", "algorithm", "device", "threads", "compile")


def resume(
    run: str | Path,
    *,
    backend: str | Backend | None = None,
    overrides: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Training:
    """Take up a training where its last whole checkpoint left it.

    Parameters
    ----------
    run : path
        Directory of a run, or a checkpoint file.
    backend : str or Backend, optional
        By default the one that wrote it.
    overrides : mapping, optional
        Dotted keys to values: `numerics`, `checkpoints`, the number of iterations, patience, and where recordings are.
    force : bool
        Start even what memory is too small for.

    Returns
    -------
    Training
        `run()` makes the iterations that are left. `resumptions` says whether they are bit for bit those of a training
        that was never stopped, or what differs.

    Raises
    ------
    ResultError
        If there is no whole checkpoint, or the recording is no longer the same.
    ConfigurationError
        If something else is to change.
    UnsupportedError, UnavailableBackendError, InsufficientMemoryError
        If the backend cannot do this here.

    Examples
    --------
    >>> training = rlsbench.resume("runs/tutorial", overrides={"training.iterations": 200})
    >>> for iteration in training.run():
    ...     print(iteration.correlation)
    """
    path = Path(run)
    checkpoint = last_checkpoint(path)[0] if path.is_dir() else read_checkpoint(path)
    return resume_checkpoint(checkpoint, backend=backend, overrides=overrides, force=force)


def resume_checkpoint(
    checkpoint: Checkpoint,
    *,
    backend: str | Backend | None = None,
    overrides: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Training:
    """Take up a training from a checkpoint that has been opened; parameters and errors as of `resume`."""
    overrides = dict(overrides or {})
    for key in overrides:
        if not key.startswith(CHANGEABLE):
            raise ConfigurationError(
                f"{key} cannot change when a training is resumed; numerics, checkpoints, training.iterations, "
                "training.patience, training.maxrate_hz and recording.files can"
            )
    if isinstance(backend, str) or backend is None:
        backend = get_backend(backend or checkpoint.backend)
    experiment = changed(checkpoint.experiment, overrides)
    options, notes = _options(checkpoint, backend, experiment, overrides)
    training = prepare(experiment, backend, options=options, initial=checkpoint.initial(), force=force)
    problem, wanted = training.problem, checkpoint.experiment
    if (problem.neurons, problem.n) != (wanted.network.neurons, wanted.plastic_inputs) or (
        training.recording_digest() != checkpoint.recording_digest
    ):
        raise ResultError(f"the recorded rates are not those that {checkpoint.path} was trained on")
    checkpoint.load(training.trainer)
    training.resume_from(checkpoint.iterations, checkpoint.first_learned())
    training.resumptions = [*checkpoint.resumptions, _told(checkpoint, training)]
    training.notes += [*notes, *training.resumptions]
    return training


def _options(
    checkpoint: Checkpoint, backend: Backend, experiment: Experiment, overrides: Mapping[str, Any]
) -> tuple[Options, list[str]]:
    """The options of the checkpoint, but for those that are to change; another backend has what it can of them."""
    before, same = asdict(checkpoint.options), backend.name == checkpoint.backend
    asked = {key: before[key] for key in _NUMERICS if f"numerics.{key}" not in overrides}
    if same:
        pinned = changed(experiment, {f"numerics.{key}": value for key, value in asked.items()})
        return resolve_options(backend, pinned.numerics), []
    asked = {key: asked[key] for key in ("precision", "p_precision", "storage", "threads") if key in asked}
    kept = changed(
        experiment, {f"numerics.{key}": "auto" for key in ("precision", "p_precision", "storage") if key in asked}
    )
    for key, value in asked.items():  # as many of them as it has
        tried = changed(kept, {f"numerics.{key}": value})
        try:
            resolve_options(backend, tried.numerics)
        except UnsupportedError:
            continue
        kept = tried
    for key in ("algorithm", "device"):
        if f"numerics.{key}" not in overrides:
            kept = changed(kept, {f"numerics.{key}": "auto"})
    return fitting_options(backend, kept)


def _told(checkpoint: Checkpoint, training: Training) -> str:
    """One sentence: from where, and what differs."""
    before, now = asdict(checkpoint.options), asdict(training.options)
    differ = [f"{now[key]} in place of {before[key]} ({key})" for key in before if now[key] != before[key]]
    if training.backend.name != checkpoint.backend:
        differ.insert(0, f"{training.backend.name} in place of {checkpoint.backend} (backend)")
    versions = version_record(training.backend.name)
    differ += [
        f"{name} {versions.get(name, 'none')} in place of {version}"
        for name, version in checkpoint.versions.items()
        if training.backend.name == checkpoint.backend and versions.get(name) != version
    ]
    start = f"resumed after iteration {checkpoint.iteration}"
    if not differ:
        return f"{start}: goes on bit for bit"
    return f"{start} with {', '.join(differ)}: goes on within rounding, not bit for bit"
