"""Pictures of results."""

from rlsbench.report.evaluation_figures import save_evaluation
from rlsbench.report.figures import draw_currents, draw_learning_curve, draw_raster, save_summary

__all__ = ["draw_currents", "draw_learning_curve", "draw_raster", "save_evaluation", "save_summary"]
