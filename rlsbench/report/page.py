"""A report as one self-contained HTML page.

In: `Contents`.  Out: HTML.  Figures are embedded; all text from documents is escaped.
"""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rlsbench.report.contents import Contents

__all__ = ["page"]


def page(contents: Contents) -> str:
    """Render the page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["base64"] = lambda content: b64encode(content).decode("ascii")
    return environment.get_template("report.html").render(report=contents)
