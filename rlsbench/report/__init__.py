"""Pictures of results."""

from rlsbench.report.figures import draw_currents, draw_learning_curve, draw_raster, save_figures

__all__ = ["draw_currents", "draw_learning_curve", "draw_raster", "save_figures"]
