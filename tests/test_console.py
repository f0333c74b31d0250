"""What reaches a terminal, and pictures whatever the settings of the user are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlsbench import load_experiment, prepare
from rlsbench.cli.console import drawn, echo, new_console, new_table
from rlsbench.errors import OutputError
from tests.conftest import Cli

NAME = "a\x1b]0;pwned\x07\x1b[31m[/x] [bold]b\u202e\udc80 :warning: μ"
SHOWN = "a\\x1b]0;pwned\\x07\\x1b[31m[/x] [bold]b\\u202e\\udc80 :warning: μ"


def test_names_from_files_are_neither_markup_nor_escape_sequences(capsys: pytest.CaptureFixture[str]) -> None:
    console, table = new_console(), new_table(NAME)
    table.add_row(NAME)
    console.print(NAME)
    console.print(table, soft_wrap=False)
    echo(NAME)
    echo(NAME, err=True)
    out, err = capsys.readouterr()
    assert [line.rstrip() for line in (out + err).splitlines()] == [SHOWN] * 5


def test_a_picture_that_fails_is_told_and_a_full_disk_is_an_error(refused: Any) -> None:
    def full() -> Path:
        raise OutputError("cannot write a.png")

    assert drawn(lambda: Path("a.png")).endswith("a.png")
    assert "ZeroDivisionError" in drawn(lambda: Path(str(1 // 0)))
    with refused(OutputError, "a.png"):
        drawn(full)


def test_pictures_do_not_depend_on_the_settings_of_the_user(tiny: dict[str, Any], tmp_path: Path) -> None:
    import matplotlib as mpl

    from rlsbench.report.figures import save_summary

    training = prepare(load_experiment("smoke", overrides=tiny), "numpy-packed")
    list(training.run(1))
    plain = save_summary(training, tmp_path).read_bytes()
    with mpl.rc_context({"text.usetex": True, "font.size": 30.0, "text.latex.preamble": "\\nothing"}):
        assert save_summary(training, tmp_path).read_bytes() == plain


def test_a_backend_of_another_environment_is_no_reason_to_fail(cli: Cli) -> None:
    code = "import os, rlsbench.report.picture as p; print(os.environ['MPLBACKEND'], p.WIDTH)"
    done = cli(code=code, env={"MPLBACKEND": "none_such"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "none_such"
