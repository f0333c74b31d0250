"""The report folder: the page, its figures, a summary, a table, and all documents in one file.

In: results.  Out: files.  A folder that contains anything other than an earlier report is rejected,
and so is one whose figures are a link: nothing outside of it is written or removed.  Text from
documents is escaped.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from rlsbench.errors import ConfigurationError, OutputError, ResultError
from rlsbench.report.contents import Contents, contents
from rlsbench.report.series import Selection, select
from rlsbench.results import digest, read_results, remove_parts, results_table, write_atomically

_LIST = ".rlsbench-report"
_HEAD = "Files of a report by rlsbench; they are overwritten when it is written again."
_FIGURES = "figures"
_SUFFIXES = frozenset({".html", ".md", ".csv", ".jsonl", ".svg", ".png"})


@dataclass(frozen=True)
class WrittenReport:
    """Summary of a report that was written."""

    page: Path
    drawn: int  #: number of documents in the figures
    not_drawn: int
    problems: tuple[str, ...]  #: one sentence for each file or line of results that could not be read
    findings: tuple[str, ...]


def write_report(
    paths: Sequence[str | Path], output: str | Path, *, title: str = "rlsbench", compared_with: str | None = None
) -> WrittenReport:
    """Write a page, figures (SVG and PNG), a summary, a table and all documents (JSON Lines).

    The output is a function of the documents alone: the same documents give the same bytes, in any
    order and from any files.

    Parameters
    ----------
    paths : sequence of path
        `.json` and `.jsonl` files, or folders that contain such files.
    output : path
        A folder: new, empty, or with an earlier report, whose files are replaced.
    title : str
    compared_with : str, optional
        Backend that is the baseline of speed-ups; by default the slowest one.

    Raises
    ------
    ResultError
        If a path does not exist, or if no document can be read.
    ConfigurationError
        If there is no valid result of the baseline.
    OutputError
        If the folder contains anything else, or if it cannot be written.
    """
    folder = Path(output)
    before = _earlier(folder)
    found = read_results(paths)
    if not found.documents:
        more = f": {found.problems[0]}" if found.problems else ""
        raise ResultError(f"no result can be read from {', '.join(map(str, paths))}{more}")
    selection = select(found)
    backends = sorted({line.contender.backend for study in selection.studies for line in study.lines})
    if compared_with is not None and compared_with not in backends:
        raise ConfigurationError(f"no valid result of backend {compared_with!r}; there are {', '.join(backends)}")
    report = contents(selection, title, compared_with)
    files = {
        "index.html": page(report).encode(),
        "summary.md": markdown(report).encode(),
        "results.csv": results_csv(selection).encode(),
        "results.jsonl": "".join(document.to_line() for document in selection.documents).encode(),
    }
    for picture in (picture for section in report.sections for picture in section.pictures):
        files[f"{_FIGURES}/{picture.name}.svg"] = picture.svg
        files[f"{_FIGURES}/{picture.name}.png"] = picture.png
    _write(folder, files, before)
    drawn, problems = sum(selection.drawn), tuple(found.problems)
    return WrittenReport(folder / "index.html", drawn, len(selection.drawn) - drawn, problems, report.findings)


def _earlier(folder: Path) -> list[str]:
    """Files of an earlier report; an error if the folder contains something else."""
    try:
        if (folder / _FIGURES).is_symlink():
            raise OutputError(f"{folder / _FIGURES} is a link; specify a new folder with --output")
        if not folder.exists():
            return []
        if folder.is_dir() and all(path.match(f".{_LIST}.*.part") for path in folder.iterdir()):
            return []  # empty, or its first report was killed
        if (folder / _LIST).is_file():
            head, *names = (folder / _LIST).read_text(encoding="utf-8").splitlines()
            if head == _HEAD:
                return [name for name in names if _is_inside(name)]
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot use the folder {folder}: {error}") from None
    what = "contains files that are not a report" if folder.is_dir() else "is not a folder"
    raise OutputError(f"{folder} {what}; specify a new folder with --output")


def _is_inside(name: str) -> bool:
    """Whether a report has a file of this name: at the top, or among the figures."""
    *folders, last = PurePosixPath(name).parts or ("",)
    return folders in ([], [_FIGURES]) and PurePosixPath(last).suffix in _SUFFIXES


def _write(folder: Path, files: dict[str, bytes], before: Sequence[str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for place in (folder, folder / _FIGURES):
            remove_parts(place)
        # First of all, so that the folder is that of a report wherever this is killed.
        write_atomically(folder / _LIST, "\n".join([_HEAD, *sorted({*files, *before})]).encode() + b"\n")
        (folder / _FIGURES).mkdir(exist_ok=True)
        for name in set(before) - files.keys():
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to {folder}: {error.strerror}") from None
    for name, content in files.items():
        write_atomically(folder / name, content)
    write_atomically(folder / _LIST, "\n".join([_HEAD, *sorted(files)]).encode() + b"\n")


def page(contents: Contents) -> str:
    """The contents as one HTML page with embedded figures."""
    return _rendered("report.html", contents)


def markdown(contents: Contents) -> str:
    """The contents of the page as Markdown, with links to the figures."""
    return _rendered("summary.md", contents).rstrip() + "\n"


def _rendered(template: str, contents: Contents) -> str:
    loader = FileSystemLoader(Path(__file__).parent / "templates")
    blocks: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    environment = Environment(loader=loader, autoescape=select_autoescape(), undefined=StrictUndefined, **blocks)
    environment.filters |= {"base64": lambda content: b64encode(content).decode("ascii"), "escaped": _escaped}
    return environment.get_template(template).render(report=contents)


def _escaped(text: str) -> str:
    """Text with the special characters of Markdown and HTML escaped."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", text)


def results_csv(selection: Selection) -> str:
    """The table of `rlsbench.load_results` as CSV, with hashes for file names, and `drawn`."""
    table = results_table([(Path(), document) for document in selection.documents])
    table["file"] = [digest(document.to_json()) for document in selection.documents]
    table = table.rename(columns={"file": "document"})
    table.insert(1, "drawn", selection.drawn)
    return str(table.map(_no_formula).to_csv(index=False, lineterminator="\n"))


def _no_formula(cell: Any) -> Any:
    """Quote text that a spreadsheet would evaluate as a formula (OWASP, CSV injection)."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
