"""Benchmarks of spiking networks trained by recursive least squares, on pluggable backends.

Data flow in one direction: configuration -> network and targets -> trainer (of a backend) ->
trial records -> results -> report.
"""

from rlsbench.configuration import Experiment, load_experiment
from rlsbench.results import load_results, resume, save_checkpoint
from rlsbench.training import Iteration, Training, TrialRecord, prepare, run_trial

__all__ = [
    "Experiment",
    "Iteration",
    "Training",
    "TrialRecord",
    "load_experiment",
    "load_results",
    "prepare",
    "resume",
    "run_trial",
    "save_checkpoint",
]
