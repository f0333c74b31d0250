"""Recordings: files of spike times or rates, converted to rates around an event.

Data flow in one direction: `reading` detects the format, `nwb`, `tables` or `sessions` read spikes
and `matrices` reads rates, `events` and `alignment` compute rates with `psth`; the result is a
`Recording`.
"""

from rlsbench.recordings.options import Occurrence, ReadOptions, Smoothing, TimeAxis
from rlsbench.recordings.psth import psth, smooth, spike_counts
from rlsbench.recordings.reading import Contents, read_contents, read_recording
from rlsbench.recordings.recording import Recording, check_trainable, pool_neurons, stack_conditions
from rlsbench.recordings.selection import column_values, select_rows
from rlsbench.recordings.sessions import Session, Trials, Units
from rlsbench.recordings.stored import save_recording

__all__ = ["Contents", "ReadOptions", "Recording", "pool_neurons", "read_contents", "read_recording"]
__all__ += ["save_recording"]
__all__ += ["Occurrence", "Smoothing", "TimeAxis", "check_trainable", "stack_conditions"]
__all__ += ["Session", "Trials", "Units", "column_values", "select_rows"]
__all__ += ["psth", "smooth", "spike_counts"]
