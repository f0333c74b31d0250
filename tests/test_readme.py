"""The commands in the documentation are those of the command line and of continuous integration."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from rlsbench.cli import command

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> Iterator[str]:
    """Every line in a block of code that calls rlsbench, without comments."""
    pages = [page for folder in ("", "recordings") for page in sorted((ROOT / "docs" / folder).glob("*.md"))]
    for document in [ROOT / "README.md", *pages]:
        text = document.read_text(encoding="utf-8").replace("\\\n", " ")
        blocks = re.findall(r"^```.*?^```|^    [^\n]+", text, flags=re.MULTILINE | re.DOTALL)
        for line in "\n".join(blocks).splitlines():
            for part in re.split(r"&&| > | \| ", line):
                if match := re.match(r"\s*(?:\w+=\S+ )?(?:\.venv/bin/)?rlsbench (\w+ [^\n]*)", part):
                    yield match[1].strip()


def test_continuous_integration_runs_the_test_command_of_the_readme() -> None:
    (line,) = [line.strip() for line in README.splitlines() if line.strip().endswith("/pytest -n auto")]
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert line.replace(".venv", "$VENV").replace('"', "") in ci.replace('"', "")


def test_commands_are_found() -> None:
    assert len(set(commands())) > 20


@pytest.mark.parametrize("line", sorted(set(commands())))
def test_commands_parse(line: str) -> None:
    """Unknown options and invalid values are errors; files that do not exist are not."""
    name, *arguments = shlex.split(line, comments=True)
    parent = click.Context(command, **command.context_settings)
    subcommand = command.get_command(parent, name)
    assert subcommand is not None, name
    for variable, value in (("$backend", "numba"), ("$neurons", "256"), ("$SLURM_ARRAY_TASK_ID", "1")):
        arguments = [argument.replace(variable, value) for argument in arguments]
    try:
        subcommand.make_context(name, arguments, parent)  # with its help options, which click keeps
    except click.BadParameter as error:
        if not isinstance(getattr(error.param, "type", None), click.Path):
            raise
