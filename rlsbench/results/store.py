"""The result store: a folder to which documents are added and in which none is ever changed.

A `.json` file holds one document.  A `.jsonl` file (JSON Lines) holds one on each line, which keeps
a sweep in a single small file; a bad line is reported by its number, and the others are still used.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rlsbench.errors import OutputError, ResultError
from rlsbench.results.directory import remove_parts, write_atomically
from rlsbench.results.document import LARGEST, AttemptDocument, Document, RunDocument, digest, parse_document
from rlsbench.results.table import results_table

if TYPE_CHECKING:
    import pandas as pd

_OTHER_FILES = ("machine.json",)  # also written into the directory of a run


@dataclass
class ResultSet:
    """The documents that could be read, and what could not be."""

    documents: list[tuple[Path, Document]] = field(default_factory=list)
    """Sorted by creation time, then by content.  A document from line 3 of a JSON Lines file has
    the path `FILE.jsonl:3`."""
    skipped: list[tuple[Path, str]] = field(default_factory=list)
    """Files and lines that could not be read, sorted, with the reason."""

    @property
    def problems(self) -> list[str]:
        """One sentence for each file or line that was skipped."""
        return [f"{path}: {reason}" for path, reason in self.skipped]

    @property
    def runs(self) -> list[RunDocument]:
        """The completed runs."""
        return [document for _, document in self.documents if isinstance(document, RunDocument)]

    @property
    def attempts(self) -> list[AttemptDocument]:
        """The runs that could not be made."""
        return [document for _, document in self.documents if isinstance(document, AttemptDocument)]

    def table(self) -> pd.DataFrame:
        """One row per document; see `load_results`."""
        return results_table(self.documents)


class Store:
    """A folder with one JSON file per document, created if necessary; else an `OutputError`."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot create the results folder {self.path}: {error.strerror}") from None
        remove_parts(self.path, older_s=3600.0)  # other sweeps may be writing into it

    def add(self, document: Document) -> Path:
        """Write a document into a new file, named after time, backend, size, ranks and hash.

        If it cannot be written, there is an `OutputError`, and no partial file is left behind.
        """
        text = document.to_json()
        stamp = (document.created or "undated").translate(str.maketrans("", "", "-:"))
        ranks = f"{document.ranks}ranks-" if document.ranks > 1 else ""
        path = self.path / f"{stamp}-{document.backend}-{document.neurons}-{ranks}{digest(text)}.json"
        write_atomically(path, text)  # the name contains a hash of the content: a file of this name is the same
        return path

    def read(self) -> ResultSet:
        """All documents in the store."""
        return read_results([self.path])


def read_results(paths: Sequence[str | Path]) -> ResultSet:
    """Read documents from `.json` and `.jsonl` files, and from folders including their subfolders.

    Returns
    -------
    ResultSet
        Independent of the order of the paths; a document that occurs several times is listed once.

    Raises
    ------
    ResultError
        If a path does not exist.
    """
    found = ResultSet()
    seen: dict[str, tuple[str, str, Path, Document]] = {}
    for file in _files(paths):
        try:
            for place, content in _contents(file):
                try:
                    document = parse_document(content.decode("utf-8"))
                except UnicodeDecodeError:
                    found.skipped.append((place, "not UTF-8 text"))
                except ResultError as error:
                    found.skipped.append((place, str(error)))
                else:
                    text = document.to_json()
                    seen.setdefault(text, (document.created or "", digest(text), place, document))
        except OSError as error:
            found.skipped.append((file, f"cannot be read: {error.strerror}"))
        except ResultError as error:
            found.skipped.append((file, str(error)))
    found.skipped.sort()
    found.documents = [(path, document) for _, _, path, document in sorted(seen.values(), key=lambda item: item[:2])]
    return found


def load_results(*paths: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """Read results into a table: a row for each completed run and each run that could not be made.

    Parameters
    ----------
    *paths : path or iterable of paths
        `.json` and `.jsonl` files, or folders that contain such files.

    Returns
    -------
    DataFrame
        With the columns of `rlsbench.results.table.COLUMNS`, and one for each other setting that
        varies, such as `learning.lambda_plastic`.  Do not pool rows that differ in `machine`,
        `software` or `measurement_version`.

    Raises
    ------
    ResultError
        If a path does not exist, or if any file or line is not a document that this release can
        read; the message names the first.
    """
    given = [(path,) if isinstance(path, str | Path) else path for path in paths]
    found = read_results([path for group in given for path in group])
    if found.problems:
        more = f" (and {len(found.problems) - 1} more)" if found.problems[1:] else ""
        raise ResultError(f"cannot use {found.problems[0]}{more}")
    return found.table()


def _contents(file: Path) -> Iterator[tuple[Path, bytes]]:
    """The serialized documents of a file, each with the path to report for it."""
    found = file.stat()
    if not stat.S_ISREG(found.st_mode):  # a pipe or a device may have no end
        raise ResultError("not a regular file")
    if found.st_size > LARGEST:
        raise ResultError(f"larger than {LARGEST >> 20} MiB")
    content = file.read_bytes()
    if file.suffix != ".jsonl":
        yield file, content
        return
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            yield Path(f"{file}:{number}"), line


def _files(paths: Iterable[str | Path]) -> list[Path]:
    files: dict[Path, None] = {}
    for given in map(Path, paths):
        if given.is_dir():
            inside = (p for p in given.rglob("*.json*") if p.suffix in (".json", ".jsonl"))
            files |= dict.fromkeys(sorted(p for p in inside if p.name not in _OTHER_FILES and p.name[0] != "."))
        elif given.exists():
            files[given] = None
        else:
            raise ResultError(f"no such file or folder of results: {given}")
    return list(files)
