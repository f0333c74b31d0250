"""When a run stops in time: the option `--time-limit`, and the limit of a Slurm job."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping

SLURM = "SLURM_JOB_END_TIME"  # seconds since 1970, set by Slurm 22.05 and later
MARGIN = 1.2  # on the longest iteration and checkpoint so far
RESULTS_S = 10.0  # to write results and draw the picture
BYTES_PER_SECOND = 1e8  # of a slow disk, as long as no checkpoint has been timed


class Deadline:
    """The earlier of a limit in seconds from now and that of the batch system, or none.

    A limit of Slurm that is in the past belongs to another job, and is ignored.
    """

    def __init__(self, limit_s: float | None, environment: Mapping[str, str] = os.environ) -> None:
        limits = [] if limit_s is None else [(limit_s, "--time-limit")]
        slurm = environment.get(SLURM, "")
        if slurm.isdecimal() and (left := int(slurm) - time.time()) > 0:
            limits.append((left, "the limit of the Slurm job"))
        self.seconds, self.source = min(limits, default=(math.inf, ""))
        self._begun = time.monotonic()

    def leaves_time(self, iteration_s: float, saving_s: float | None, size: int) -> bool:
        """Whether one more iteration can be completed and saved.

        Parameters
        ----------
        iteration_s : float
            The longest so far.
        saving_s : float or None
            What the longest checkpoint took, if there was one.
        size : int
            Bytes of a checkpoint.
        """
        saving_s = size / BYTES_PER_SECOND if saving_s is None else saving_s
        needed = MARGIN * (iteration_s + saving_s) + RESULTS_S
        return time.monotonic() - self._begun + needed < self.seconds
