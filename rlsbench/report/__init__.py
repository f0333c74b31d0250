"""Pictures of results."""

from rlsbench.report.figures import draw_currents, draw_learning_curve, draw_raster, save_summary

__all__ = ["draw_currents", "draw_learning_curve", "draw_raster", "save_summary"]
