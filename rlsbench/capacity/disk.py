"""Disk space that a run will need, computed before anything is written, and whether it is free.

In: an experiment, options, and what is kept. Out: bytes per file. Knows sizes; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Final

import numpy as np

from rlsbench.available import free_disk_bytes
from rlsbench.backend import Options
from rlsbench.capacity.memory import readable, shortage_table
from rlsbench.configuration import Experiment
from rlsbench.errors import InsufficientDiskError
from rlsbench.precision import PRECISIONS, STORAGES

DOCUMENTS: Final = 2**15  # configuration, machine and document without iterations; measured
FIGURES: Final = 2**20  # measured, with a margin
PER_ITERATION: Final = 420  # in the document and the learning curve
PER_SAMPLE: Final = 120  # one line of resources.csv


def disk_bytes(
    e: Experiment,
    options: Options,
    *,
    weights: bool = True,
    checkpoints: int | None = None,
    samples: int = 0,
) -> dict[str, int]:
    """Return the sizes of the files of a run.

    Parameters
    ----------
    e : Experiment
        With the number of neurons of its recording, if it has one.
    options : Options
        Resolved.
    weights : bool
        Whether the trained weights are kept.
    checkpoints : int, optional
        Largest number of full checkpoints that exist at the same time, including the one being
        written; by default from the experiment. Each contains w and P in the precision and storage
        of the run, 8 bytes per neuron for the scale of int16, and the learning curve.
    samples : int
        Number of samples of the resources, if they are recorded.

    Returns
    -------
    dict
        File to bytes.
    """
    N, n, iterations = e.network.neurons, e.plastic_inputs, e.training.iterations
    entries = STORAGES[options.storage].entries(n)
    w = N * n * np.dtype(options.precision).itemsize
    curve = iterations * PER_ITERATION
    if checkpoints is None:
        checkpoints = full_checkpoints(e)
    needed = {
        "checkpoints": checkpoints * (w + N * entries * PRECISIONS[options.p_precision].bytes + 8 * N + curve),
        "best weights": 2 * (w + curve) if e.checkpoints.best == "weights" else 0,  # two during replacement
        "weights.npy": w + 128 if weights else 0,
        "documents": DOCUMENTS + curve,
        "figures": FIGURES,
        "resources.csv": samples * PER_SAMPLE,
    }
    return {name: size for name, size in needed.items() if size}


def full_checkpoints(e: Experiment) -> int:
    """Largest number of full checkpoints at the same time: those kept and the one being written."""
    section = e.checkpoints
    kept = min(section.keep, ceil(e.training.iterations / section.every)) if section.every else 0
    kept += section.best == "whole"
    return kept + 1 if kept else 0


def check_disk(needed: Mapping[str, int], folder: str | Path) -> None:
    """Check that a folder, which need not exist yet, has enough free disk space.

    Raises
    ------
    InsufficientDiskError
        With the size of each file and the free space.
    """
    total, free = sum(needed.values()), free_disk_bytes(folder)
    if free is not None and total > free:
        raise InsufficientDiskError(
            f"the files of this run need {readable(total)}, but {readable(free)} are free at {folder}: keep fewer "
            "checkpoints, use --no-save-weights, or choose another --output; --force starts it anyway",
            details=shortage_table(needed, free, "file"),
        )
