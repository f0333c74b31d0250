"""The store of results: a folder to which documents are added, and never changed; and results as a table.

In: documents; or files and folders that hold some.  Out: files; or documents, what could not be read, and a DataFrame.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rlsbench.errors import OutputError, ResultError
from rlsbench.results.document import LARGEST, AttemptDocument, RunDocument, digest, parse_document
from rlsbench.results.table import results_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LARGEST", "ResultSet", "Store", "load_results", "read_results"]

_NO_RESULTS = frozenset({"machine.json"})  # the directory of a run holds it, too


@dataclass
class ResultSet:
    """Documents that could be read, and what could not.

    Parameters
    ----------
    documents : list of (Path, RunDocument or AttemptDocument)
        In order of creation, then of content.
    skipped : list of (Path, str)
        Files that could not be, and why, in order.
    """

    documents: list[tuple[Path, RunDocument | AttemptDocument]] = field(default_factory=list)
    skipped: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """One sentence for each file that was skipped."""
        return [f"{path}: {reason}" for path, reason in self.skipped]

    @property
    def runs(self) -> list[RunDocument]:
        """The runs that were made."""
        return [document for _, document in self.documents if isinstance(document, RunDocument)]

    @property
    def attempts(self) -> list[AttemptDocument]:
        """The runs that were not."""
        return [document for _, document in self.documents if isinstance(document, AttemptDocument)]

    def table(self) -> pd.DataFrame:
        """A row for each document; see `load_results`."""
        return results_table(self.documents)


class Store:
    """A folder of documents, one JSON file each; files are added, and never changed or removed.

    Parameters
    ----------
    path : path
        Made at need.

    Raises
    ------
    OutputError
        If it cannot be made.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make the folder of results {self.path}: {error.strerror}") from None

    def add(self, document: RunDocument | AttemptDocument) -> Path:
        """Write a document into a file of its own.

        Returns
        -------
        Path
            Named after its time, backend and size.

        Raises
        ------
        OutputError
            If it cannot be written; there is no half of it then.
        """
        text = document.to_json()
        stamp = (document.created or "undated").translate(str.maketrans("", "", "-:"))
        path = self.path / f"{stamp}-{document.backend}-{document.neurons}-{digest(text)}.json"
        try:
            with tempfile.NamedTemporaryFile("w", dir=self.path, prefix=".", encoding="utf-8", delete=False) as file:
                file.write(text)
            try:
                os.chmod(file.name, 0o644)
                os.link(file.name, path)  # unlike a move, never replaces
            except FileExistsError:
                pass  # the same content, since its hash is the same
            finally:
                os.unlink(file.name)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}") from None
        return path

    def read(self) -> ResultSet:
        """All that it holds."""
        return read_results([self.path])


def read_results(paths: Sequence[str | Path]) -> ResultSet:
    """Read the documents in files and, with all their folders, in folders.

    Parameters
    ----------
    paths : sequence of path

    Returns
    -------
    ResultSet
        Sorted by time and content, so that it does not depend on the order of the paths; the same document is taken
        once.

    Raises
    ------
    ResultError
        If a path does not exist.
    """
    found = ResultSet()
    seen: dict[str, tuple[str, str, Path, RunDocument | AttemptDocument]] = {}
    for path in _files(paths):
        try:
            if path.stat().st_size > LARGEST:
                raise ResultError(f"it has more than {LARGEST >> 20} MiB")
            document = parse_document(path.read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            found.skipped.append((path, "it is not text"))
        except OSError as error:
            found.skipped.append((path, f"it cannot be read: {error.strerror}"))
        except ResultError as error:
            found.skipped.append((path, str(error)))
        else:
            text = document.to_json()
            seen.setdefault(text, (document.created or "", digest(text), path, document))
    found.skipped.sort()
    found.documents = [(path, document) for _, _, path, document in sorted(seen.values(), key=lambda item: item[:2])]
    return found


def load_results(*paths: str | Path) -> pd.DataFrame:
    """Results as a table, a row for each run and for each run that was not made.

    Parameters
    ----------
    *paths : path
        Files, or folders that are searched through.

    Returns
    -------
    DataFrame
        What can be compared and what tells whether it may be: see `rlsbench.results.table.COLUMNS`. Rows of different
        `machine`, `software` or `measurement_version` are not to be pooled.

    Raises
    ------
    ResultError
        If a path does not exist, or a file in it is no document that this release reads; the first is named.
    """
    found = read_results(paths)
    if found.problems:
        more = f" (and {len(found.problems) - 1} more)" if found.problems[1:] else ""
        raise ResultError(f"cannot use {found.problems[0]}{more}")
    return found.table()


def _files(paths: Iterable[str | Path]) -> list[Path]:
    files: dict[Path, None] = {}
    for given in map(Path, paths):
        if given.is_dir():
            inside = (p for p in given.rglob("*.json") if p.name not in _NO_RESULTS and not p.name.startswith("."))
            files |= dict.fromkeys(sorted(inside))
        elif given.exists():
            files[given] = None
        else:
            raise ResultError(f"no such file or folder of results: {given}")
    return list(files)
