"""Configuration of the documentation site, which is built without network.

``sphinx-build -W --keep-going -b html docs OUT``
"""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

import ziamath
from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))

# Examples are run by a Jupyter kernel. They start `rlsbench` from the environment of this build.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
os.environ.update(COLUMNS="78", NO_COLOR="1", TERM="dumb", TTY_COMPATIBLE="0", PYDEVD_DISABLE_FILE_VALIDATION="1")
os.environ.setdefault("OMP_NUM_THREADS", "2")

project = "rlsbench"
author = "the rlsbench authors"
copyright = "2026, the rlsbench authors"
version = release = installed_version("rlsbench")

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx_click",
    "sphinx_copybutton",
    "sphinx_design",
    "mathml",
    "streams",
]
exclude_patterns = ["_build", "_ext", "_templates", "tutorial/*", "**/.ipynb_checkpoints"]
default_role = "literal"  # single backticks in docstrings are code

# --- pages

myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
myst_update_mathjax = False
myst_links_external_new_tab = False
suppress_warnings = ["myst.header"]  # front pages start below level 1 where an include says so

nb_execution_mode = "cache"
nb_execution_in_temp = True
nb_execution_timeout = 900  # for the first example that compiles, on a busy machine
nb_execution_raise_on_error = False  # a failure is a warning, and -W makes it an error: all of them are shown
nb_merge_streams = True
nb_render_markdown_format = "myst"  # tables that examples print
nb_number_source_lines = False

# --- API

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # numpydoc's Parameters sections give the types
autodoc_preserve_defaults = True
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 110

# --- HTML

html_theme = "pydata_sphinx_theme"
html_title = f"rlsbench {release}"
# Equations are set in STIX Two Math, which ziamath carries, so that they look the same everywhere.
MATH_FONT = Path(ziamath.__file__).parent / "fonts" / "STIXTwoMath-Regular.ttf"
html_static_path = ["_static", str(MATH_FONT)]
templates_path = ["_templates"]
html_sidebars = {"**": ["site-contents.html"], "index": []}
html_css_files = ["rlsbench.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "logo": {"text": "rlsbench"},
    "navbar_align": "left",
    "navbar_center": [],
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}


def _write_schema(app: Sphinx, error: Exception | None) -> None:
    """Write the JSON Schema of result documents beside the pages that link to it."""
    if error is None and app.builder.format == "html":
        from rlsbench.results import result_schema

        text = json.dumps(result_schema(), indent=2) + "\n"
        Path(app.outdir, "result.schema.json").write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Connect the build to what it generates."""
    app.connect("build-finished", _write_schema)
