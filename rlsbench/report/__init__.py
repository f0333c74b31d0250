"""Figures of results, and the report that contains them."""

from rlsbench.report.evaluation_figures import save_evaluation
from rlsbench.report.figures import draw_currents, draw_learning_curve, draw_raster, save_summary
from rlsbench.report.folder import WrittenReport, write_report
from rlsbench.report.headline import write_headline
from rlsbench.report.heatmaps import draw_psth_heatmap, save_psth_heatmap

__all__ = [
    "WrittenReport",
    "draw_currents",
    "draw_learning_curve",
    "draw_psth_heatmap",
    "draw_raster",
    "save_evaluation",
    "save_psth_heatmap",
    "save_summary",
    "write_headline",
    "write_report",
]
