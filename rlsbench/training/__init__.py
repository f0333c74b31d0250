"""Training: from an experiment to a trained network, trial by trial."""

from rlsbench.training.preparation import prepare
from rlsbench.training.records import Iteration, TrialRecord
from rlsbench.training.training import Training
from rlsbench.training.trial import run_trial

__all__ = ["Iteration", "Training", "TrialRecord", "prepare", "run_trial"]
