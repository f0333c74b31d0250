"""Sweeps: a grid of runs over backends, sizes and precisions, each in a separate process."""

from rlsbench.sweep.limits import measure_limits
from rlsbench.sweep.plan import Point, SweepPlan, load_plan
from rlsbench.sweep.runner import Progress, SweepSummary, run_sweep

__all__ = ["Point", "Progress", "SweepPlan", "SweepSummary", "load_plan", "measure_limits", "run_sweep"]
