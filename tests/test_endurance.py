"""Commands that are ended at any moment: nothing is torn, and each goes on bit for bit.

`pytest -m endurance` ends a thousand; RLSBENCH_ENDURANCE=0.1 makes it a hundred.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ENDURANCE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fork, pidfd_open and subreapers of Linux")


def ended(folder: Path, seed: int, backend: str, **kills: int) -> dict[str, int]:
    """End commands of `tests.killing`, and return how many."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    words = [f"{command}={count}" for command, count in kills.items()]
    done = subprocess.run(
        [sys.executable, "-m", "tests.killing", str(folder / "killing"), str(seed), backend, *words],
        cwd=Path(__file__).parents[1],
        env=os.environ | one,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, int] = json.loads(done.stdout)
    return found


def test_runs_that_are_killed_lose_nothing(tmp_path: Path) -> None:
    assert ended(tmp_path, 5, "numpy-packed", run=4)["all"] >= 4


@pytest.mark.endurance
@pytest.mark.parametrize(
    ("backend", "kills"),
    [
        ("numpy-packed", {"run": 420, "evaluate": 60}),
        ("numba", {"run": 340, "evaluate": 40}),
        ("numpy-packed", {"report": 90, "sweep": 50}),
    ],
)
def test_a_thousand_commands_are_ended(backend: str, kills: dict[str, int], tmp_path: Path) -> None:
    kills = {command: max(2, round(ENDURANCE * count)) for command, count in kills.items()}
    found = ended(tmp_path, 11, backend, **kills)
    print(found)
    assert found["all"] >= sum(kills.values())
    assert found["chains"] >= len(kills)
