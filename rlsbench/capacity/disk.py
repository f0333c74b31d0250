"""How many bytes the directory of a run will take, before anything is written, and whether they are free.

In: an experiment, options, and what is to be kept.  Out: bytes by file.  Knows sizes; writes nothing.
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

__all__ = ["check_disk", "disk_bytes"]

DOCUMENTS: Final = 2**15  # configuration, record of the machine and the document without its iterations, as measured
PICTURE: Final = 2**20  # as measured, with a little to spare
PER_ITERATION: Final = 420  # in the document and in the learning curve
PER_SAMPLE: Final = 120  # a line of resources.csv


def disk_bytes(
    e: Experiment,
    options: Options,
    *,
    weights: bool = True,
    checkpoints: int | None = None,
    samples: int = 0,
) -> dict[str, int]:
    """Bytes of the files of a run.

    Parameters
    ----------
    e : Experiment
        With the neurons of its recording, where it has one.
    options : Options
        Resolved.
    weights : bool
        Whether the trained weights are kept.
    checkpoints : int, optional
        Most whole checkpoints that are there at once, the one that is being written among them; by default as the
        experiment asks for.  Each holds w and P in the precision and storage of the run, 8 bytes a neuron for the scale
        of int16, and the learning curve.
    samples : int
        Of the resources, where they are recorded.

    Returns
    -------
    dict
        Name of the file to bytes.
    """
    N, n, iterations = e.network.neurons, e.plastic_inputs, e.training.iterations
    entries = STORAGES[options.storage].entries(n)
    w = N * n * np.dtype(options.precision).itemsize
    curve = iterations * PER_ITERATION
    if checkpoints is None:
        checkpoints = whole_checkpoints(e)
    needed = {
        "checkpoints": checkpoints * (w + N * entries * PRECISIONS[options.p_precision].bytes + 8 * N + curve),
        "best weights": 2 * (w + curve) if e.checkpoints.best == "weights" else 0,  # two while one replaces the other
        "weights.npy": w + 128 if weights else 0,
        "documents": DOCUMENTS + curve,
        "pictures": PICTURE,
        "resources.csv": samples * PER_SAMPLE,
    }
    return {name: size for name, size in needed.items() if size}


def whole_checkpoints(e: Experiment) -> int:
    """Most whole checkpoints that a run has at once: those that it keeps, and the one that is being written."""
    section = e.checkpoints
    kept = min(section.keep, ceil(e.training.iterations / section.every)) if section.every else 0
    kept += section.best == "whole"
    return kept + 1 if kept else 0


def check_disk(needed: Mapping[str, int], folder: str | Path) -> None:
    """Refuse what a folder, which may not exist yet, has no room for.

    Raises
    ------
    InsufficientDiskError
        With the size of each file and what is free.
    """
    total, free = sum(needed.values()), free_disk_bytes(folder)
    if free is not None and total > free:
        raise InsufficientDiskError(
            f"the files of this run take {readable(total)} and {readable(free)} are free where {folder} is to be: keep "
            "fewer checkpoints, leave the weights out by --no-save-weights, or name another --output; --force starts "
            "it nevertheless",
            details=shortage_table(needed, free, "file"),
        )
