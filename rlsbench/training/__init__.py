"""Training: from an experiment to a trained network, trial by trial."""

from rlsbench.training.training import Iteration, Training, prepare
from rlsbench.training.trial import TrialRecord, run_trial

__all__ = ["Iteration", "Training", "TrialRecord", "prepare", "run_trial"]
