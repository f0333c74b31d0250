"""A report as a self-contained HTML page and as Markdown, and all documents as a table in CSV.

In: `Contents`; a `Selection`.  Out: text.  Text from documents is escaped.
"""

from __future__ import annotations

import re
from base64 import b64encode
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rlsbench.report.contents import Contents, Table
from rlsbench.report.series import Selection
from rlsbench.results import digest, results_table


def page(contents: Contents) -> str:
    """The contents as one HTML page with embedded figures."""
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


def markdown(contents: Contents) -> str:
    """The contents of the page as Markdown, with links to the figures."""
    lines = [f"# {_escaped(contents.title)}", "", contents.summary, ""]
    if contents.findings:
        lines += [*(f"- {_escaped(finding)}" for finding in contents.findings), ""]
    for section in contents.sections:
        lines += [f"## {section.heading}", "", section.introduction, ""]
        for picture in section.pictures:
            lines += [f"![{_escaped(picture.title)}](figures/{picture.name}.svg)", ""]
            lines += [f"{_escaped(picture.context)}. {_escaped(picture.caption)}", ""]
        for table in section.tables:
            lines += [f"### {_escaped(table.title)}", "", *_table(table), ""]
            if table.note:
                lines += [table.note, ""]
    return "\n".join(lines).rstrip() + "\n"


def results_csv(selection: Selection) -> str:
    """The table of `rlsbench.load_results` as CSV, with hashes for file names, and `drawn`."""
    table = results_table([(Path(), document) for document in selection.documents])
    table["file"] = [digest(document.to_json()) for document in selection.documents]
    table = table.rename(columns={"file": "document"})
    table.insert(1, "drawn", selection.drawn)
    table = table.map(_no_formula)
    return str(table.to_csv(index=False, lineterminator="\n"))


def _no_formula(cell: Any) -> Any:
    """Quote text that a spreadsheet would evaluate as a formula (OWASP, CSV injection)."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def _table(table: Table) -> list[str]:
    rule = ["---" if i < table.text_columns else "---:" for i in range(len(table.columns))]
    rows = [table.columns, rule, *table.rows]
    return [f"| {' | '.join(cell if row is rule else _escaped(cell) for cell in row)} |" for row in rows]


def _escaped(text: str) -> str:
    """Text with the special characters of Markdown and HTML escaped."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", text)
