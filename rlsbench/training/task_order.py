"""Which task each iteration trains (docs/model.md section 3.3).

In: the configured order, the number of tasks and the seed.  Out: the task of an iteration, a pure
function of seed and iteration.  Knows no network.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

import numpy as np

from rlsbench.errors import ConfigurationError
from rlsbench.streams import Purpose, uniform

TaskOrder = Callable[[int], int]  #: from the number of an iteration, 1, 2, ..., to a task, 0, 1, ...


def task_order(order: str | tuple[float, ...], tasks: int, seed: int) -> TaskOrder:
    """The order of tasks that `training.task_order` names.

    Parameters
    ----------
    order : {"cyclic", "random"} or tuple of float
        Relative frequencies of the tasks in a random order; "random" is for equal ones.
    tasks : int
    seed : int

    Raises
    ------
    ConfigurationError
        If there are not as many frequencies as tasks.
    """
    if order == "cyclic" or tasks == 1:
        return lambda iteration: (iteration - 1) % tasks
    weights = (1.0,) * tasks if isinstance(order, str) else order
    if len(weights) != tasks:
        raise ConfigurationError(
            f"training.task_order = {list(weights)}: {len(weights)} frequencies for {tasks} tasks; give one for each"
        )
    bounds = np.array(list(accumulate(weights))) / sum(weights)

    def drawn(iteration: int) -> int:
        u = uniform(seed, Purpose.TASK, trial=iteration, first=0, last=1)[0]
        return int(np.searchsorted(bounds[:-1], u, side="right"))

    return drawn
