"""Figures of results, and the report that contains them.

Nothing is imported here, so that the figure of one run does not load what a report needs: a run
takes `figures`, `evaluation_figures` and `heatmaps`; a report `folder` and `headline`.
"""
