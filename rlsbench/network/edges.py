"""Synapses as compressed rows: what connectivity that varies from neuron to neuron is kept in.

In: nothing.  Out: `Edges`.  Knows neither rules nor files.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Edges(NamedTuple):
    """Synapses of consecutive neurons; row i has the entries start[i] .. start[i+1]-1.

    Rows are presynaptic neurons for static synapses, and postsynaptic ones for plastic synapses.
    """

    start: NDArray[np.int64]  #: (rows + 1,), from 0 on
    index: NDArray[np.int32]  #: (E,), the neuron at the other end, ascending in each row
    weight: NDArray[np.float64] | None = None  #: (E,), (threshold - reset) ms; None: as the rule says
    delay: NDArray[np.uint8] | None = None  #: (E,), steps; None: one step
