"""The documentation agrees with the tree: citations, file names, links, widths and versions."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
FOLDERS = ("backends", "benchmarks", "docs", "reference", "rlsbench", "tests")
SUFFIXES = {".py", ".cu", ".cuh", ".md", ".html", ".toml"}

SECTION = re.compile(r"(\S*?)model(\.md)?,?\s+sections?\s+(\d+(?:\.\d+)?(?:(?:, | and | to )\d+(?:\.\d+)?)*)")
"""A citation: what stands before the name, whether it ends in .md, and the numbers."""
FILE = re.compile(
    r"(?<![\w/.:-])((?:docs|backends|reports|benchmarks|reference|rlsbench|tests)/[\w./-]+\.\w+)(#[\w-]+)?"
)
OTHERS = {"emulator", "reports"}  # their lines are wider
LINK = re.compile(r"\]\(([^)\s]+)\)")


def sources() -> Iterator[tuple[Path, str]]:
    """Files that may cite the documentation, with their texts."""
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    for path in sorted([*paths, *ROOT.glob("*.md"), ROOT / "reports" / "README.md"]):
        if "_build" not in path.parts and path != Path(__file__).resolve():
            yield path, path.read_text(encoding="utf-8")


def joined(text: str) -> str:
    """The text in one line, without the comment marks at the beginnings of its lines."""
    return re.sub(r"\s*\n\s*(?://|#|\*)?\s*", " ", text)


def headings(document: Path) -> list[str]:
    """The headings of a Markdown file, without those in blocks of code."""
    prose = re.sub(r"^(`{3,}).*?^\1", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^#+ +(.+?) *$", prose, flags=re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """The anchors that GitHub and MyST give to the headings of a Markdown file."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings(document)}


MODEL_SECTIONS = {match[1] for h in headings(DOCS / "model.md") if (match := re.match(r"(\d+(?:\.\d+)?)\.? ", h))}


def citations(text: str) -> Iterator[tuple[str, bool, list[str]]]:
    """Each citation of the model: its text, whether it names the file, and the section numbers."""
    for match in SECTION.finditer(joined(text)):
        named = match[1].endswith("docs/") and match[2] is not None
        yield match[0], named, re.findall(r"\d+(?:\.\d+)?", match[3])


def test_model_has_the_sections_that_the_code_cites() -> None:
    assert {"1", "2", "3", "4", "5"} <= MODEL_SECTIONS


def test_citations_of_the_model_resolve() -> None:
    cited = 0
    for path, text in sources():
        for citation, named, numbers in citations(text):
            cited += 1
            assert named, f"{path.relative_to(ROOT)}: {citation}: write docs/model.md section N"
            assert set(numbers) <= MODEL_SECTIONS, f"{path.relative_to(ROOT)}: {citation}"
    assert cited > 10  # the pattern finds them


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("(docs/model.md section 3)", ["3"]),
        ("// in docs/model.md\n// section 2, step 8", ["2"]),
        ("see docs/model.md sections 2 and 3.1", ["2", "3.1"]),
    ],
)
def test_citations_are_found(text: str, numbers: list[str]) -> None:
    assert [(named, found) for _, named, found in citations(text)] == [(True, numbers)]


def test_citations_without_the_file_are_found() -> None:
    assert [named for _, named, _ in citations("see model section 3 and model.md section 2")] == [False, False]


def test_files_that_are_named_exist() -> None:
    named = 0
    for path, text in sources():
        if path.parent == ROOT / "tests" or path.name == "CHANGELOG.md":  # files of tests are made up
            continue
        for name, fragment in FILE.findall(text):
            if name.startswith("reports/$") or "*" in name:
                continue
            named += 1
            target = ROOT / name
            assert target.exists(), f"{path.relative_to(ROOT)}: {name}"
            if fragment and target.suffix == ".md":
                assert fragment[1:] in anchors(target), f"{path.relative_to(ROOT)}: {name}{fragment}"
    assert named > 10


def documents() -> list[Path]:
    return [path for path, _ in sources() if path.suffix == ".md"]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("document", documents(), ids=named)
def test_links_resolve(document: Path) -> None:
    for link in LINK.findall(document.read_text(encoding="utf-8")):
        file, _, fragment = link.partition("#")
        if "://" in file or file.startswith("mailto:"):
            continue
        target = document.parent / file if file else document
        assert target.exists(), link
        if fragment and target.suffix == ".md":
            assert fragment in anchors(target), link


@pytest.mark.parametrize("document", [d for d in documents() if not OTHERS & set(d.parts)], ids=named)
def test_prose_and_code_fit(document: Path) -> None:
    """Prose in 100 columns, and code in 80: more would scroll sideways beside the side bars."""
    fence = ""
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            fence = "" if fence else line.strip()
        elif line == ":tags: [remove-input]":
            fence = "hidden"
        if re.fullmatch(r"```(sh|bash|python|toml|\{code-cell\}.*)", fence):
            fits = len(line) <= 80
        else:
            exempt = fence or line.startswith(("|", "    ", "![")) or re.search(r"\]\(|https?://", line)
            fits = bool(exempt) or len(line) <= 100
        assert fits, f"line {number} has {len(line)} columns"


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 60


def test_citation_names_this_version_and_the_paper() -> None:
    citation = YAML(typ="safe").load(ROOT / "CITATION.cff")
    heading = next(heading for heading in headings(ROOT / "CHANGELOG.md")[1:] if heading[0].isdigit())
    assert heading == f"{citation['version']} ({citation['date-released']})"
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["references"][0]["doi"] == "10.3389/fninf.2023.1099510"


def test_version_of_the_package_is_that_of_the_citation() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == YAML(typ="safe").load(ROOT / "CITATION.cff")["version"]
