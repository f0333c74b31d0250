"""The folder of a report: the page, its pictures, a summary and a table.

In: results.  Out: files.  A folder that holds anything else than an earlier report is left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rlsbench.errors import ConfigurationError, OutputError, ResultError
from rlsbench.report.contents import contents
from rlsbench.report.page import page
from rlsbench.report.series import select
from rlsbench.report.summary import markdown, results_csv
from rlsbench.results import read_results, write_atomically

__all__ = ["WrittenReport", "write_report"]

_LIST = ".rlsbench-report"
_HEAD = "Files of a report by rlsbench; they are overwritten when it is written again."


@dataclass(frozen=True)
class WrittenReport:
    """What was written.

    Parameters
    ----------
    page : Path
    drawn, not_drawn : int
        Documents.
    problems : tuple of str
        One sentence for each file of results that could not be read.
    findings : tuple of str
    """

    page: Path
    drawn: int
    not_drawn: int
    problems: tuple[str, ...]
    findings: tuple[str, ...]


def write_report(
    paths: Sequence[str | Path], output: str | Path, *, title: str = "rlsbench", compared_with: str | None = None
) -> WrittenReport:
    """Write a page, its pictures as SVG and PNG, a summary and a table from documents of results alone.

    The same documents give the same bytes, in whatever order and from whatever files they come.

    Parameters
    ----------
    paths : sequence of path
        Files, or folders that are searched through.
    output : path
        A folder: a new one, an empty one, or one with an earlier report, whose files are replaced.
    title : str
    compared_with : str, optional
        Backend that others are compared with; by default the slowest one.

    Returns
    -------
    WrittenReport

    Raises
    ------
    ResultError
        If a path does not exist, or holds no document that can be read.
    ConfigurationError
        If no valid result is of the backend to compare with.
    OutputError
        If the folder holds anything else, or cannot be written.
    """
    folder = Path(output)
    before = _earlier(folder)
    found = read_results(paths)
    if not found.documents:
        more = f": {found.problems[0]}" if found.problems else ""
        raise ResultError(f"no result can be read in {', '.join(map(str, paths))}{more}")
    selection = select(found)
    backends = sorted({line.contender.backend for study in selection.studies for line in study.lines})
    if compared_with is not None and compared_with not in backends:
        raise ConfigurationError(f"no valid result is of backend {compared_with!r}; there are {', '.join(backends)}")
    report = contents(selection, title, compared_with)
    files = {
        "index.html": page(report).encode(),
        "summary.md": markdown(report).encode(),
        "results.csv": results_csv(selection).encode(),
    }
    for picture in report.pictures:
        files[f"figures/{picture.name}.svg"] = picture.svg
        files[f"figures/{picture.name}.png"] = picture.png
    _write(folder, files, before)
    return WrittenReport(
        page=folder / "index.html",
        drawn=sum(selection.drawn),
        not_drawn=len(selection.drawn) - sum(selection.drawn),
        problems=tuple(found.problems),
        findings=report.findings,
    )


def _earlier(folder: Path) -> list[str]:
    """Files of an earlier report; refuses a folder that holds something else."""
    try:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return []
        if folder.is_dir() and (folder / _LIST).is_file():
            head, *names = (folder / _LIST).read_text(encoding="utf-8").splitlines()
            if head == _HEAD:
                return [name for name in names if _is_inside(name)]
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot use the folder {folder}: {error}") from None
    what = "holds something else than a report" if folder.is_dir() else "is no folder"
    raise OutputError(f"{folder} {what}; name a new folder by --output")


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.suffix in {".html", ".md", ".csv", ".svg", ".png"}


def _write(folder: Path, files: dict[str, bytes], before: Sequence[str]) -> None:
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        write_atomically(folder / _LIST, "\n".join([_HEAD, *sorted({*files, *before})]).encode() + b"\n")
        for name in set(before) - files.keys():
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write into {folder}: {error.strerror}") from None
    for name, content in files.items():
        write_atomically(folder / name, content)
    write_atomically(folder / _LIST, "\n".join([_HEAD, *sorted(files)]).encode() + b"\n")
