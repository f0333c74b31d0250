"""Figures of results, and the report that contains them.

No module of it is imported here, so that the figure of one run does not load what a report needs: a
run takes `figures`, `evaluation_figures` and `heatmaps`; a report `folder` and `headline`.
"""

import os
import sys
from contextlib import suppress

# MPLBACKEND may name the backend of another environment, such as that of its notebooks, with which
# Matplotlib cannot be imported. Files need none; figures of the user's own keep it if it exists.
if "matplotlib" not in sys.modules and os.environ.get("MPLBACKEND"):
    _backend = os.environ.pop("MPLBACKEND")
    try:
        import matplotlib
    finally:
        os.environ["MPLBACKEND"] = _backend
    with suppress(ValueError):
        matplotlib.rcParams["backend"] = _backend
