"""The documents say what is true: the README's commands are those of continuous integration and of the command line."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from rlsbench.cli import command

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_continuous_integration_runs_the_test_command_of_the_readme() -> None:
    (line,) = [line.strip() for line in README.splitlines() if line.strip().endswith("/pytest -n auto")]
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert line.replace(".venv", "$VENV").replace('"', "") in ci.replace('"', "")


COMMANDS = "run|inspect|show|verify|backends|sweep|report"


@pytest.mark.parametrize("line", re.findall(rf"rlsbench ((?:{COMMANDS})\b[^#\n]*)", README))
def test_commands_of_the_readme_parse(line: str) -> None:
    name, *arguments = shlex.split(line.split("`")[0])
    subcommand = command.get_command(click.Context(command), name)
    assert subcommand is not None
    subcommand.make_context(name, arguments)  # raises for an option that does not exist


def test_links_of_the_documents_lead_somewhere() -> None:
    for document in ROOT.rglob("*.md"):
        if any(part.startswith(".") for part in document.relative_to(ROOT).parts):
            continue
        for link in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            if "://" not in link:
                assert (document.parent / link).exists(), f"{document.name}: {link}"
