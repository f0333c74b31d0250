"""Commands with the stand-in in CuPy's place: `python -m tests.emulator rlsbench ARGUMENTS` and others, see README.md."""

from __future__ import annotations

import runpy
import sys

from tests.emulator import install, missing


def main(arguments: list[str]) -> None:
    """Run a command."""
    if missing():
        sys.exit(missing())
    match arguments:
        case ["rlsbench", *rest]:
            install()
            from rlsbench.cli import main as rlsbench

            rlsbench(rest)
        case ["run", script, *rest]:
            install()
            sys.argv = [script, *rest]
            runpy.run_path(script, run_name="__main__")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
