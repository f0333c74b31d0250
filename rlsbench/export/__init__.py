"""Trained networks for other tools: SONATA, Brian2, NEST and NumPy (docs/export.md).

In: the directory of a run.  Out: a folder of files.  Imports no simulator.

Stable names, for formats in other distributions: `TrainedNetwork`, `Synapses`.
"""

from rlsbench.export.network import SYNAPSES, Synapses, TrainedNetwork, described, trained_network
from rlsbench.export.writing import GROUP, export, format_names

__all__ = ["GROUP", "SYNAPSES", "Synapses", "TrainedNetwork", "described", "export", "format_names"]
__all__ += ["trained_network"]
