"""`benchmarks.gpu`: a part that fails, hangs or is killed costs no results but its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("the benchmarks are in the repository only", allow_module_level=True)

from benchmarks import gpu  # noqa: E402
from tests import emulator  # noqa: E402

# Takes the place of the script: what a part does is its name.
PART = """
import json, os, sys, time
folder, name = sys.argv[1], sys.argv[sys.argv.index("--part") + 1]
with open(f"{folder}/results.jsonl", "a") as file:
    outcome = {"backend": "b", "configuration": "c", "check": name, "validity": "passed", "reason": ""}
    file.write("\\n" + json.dumps({"part": name, "outcome": outcome}))
    if name == "device":
        file.write("\\n" + json.dumps({"part": name, "device": {"name": "DEVICE", "date": "DATE"}}))
    if name == "is cut off":
        file.write('\\n{"part": "is cut o')
        file.flush()
        os.abort()
if name == "raises":
    raise ValueError("REASON")
if name == "hangs":
    time.sleep(60)
"""


def test_a_part_that_fails_costs_its_own_results_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "END_S", 0.5)
    names = ("device", "raises", "hangs", "is cut off", "goes well")
    parts = [gpu.Part(name, 1.0 if name == "hangs" else 20.0, gpu.facts) for name in names]
    assert not gpu.run_parts(parts, [sys.executable, "-c", PART, str(tmp_path)], tmp_path, 60.0)
    found = gpu.lines(tmp_path)
    assert [line["outcome"]["check"] for line in found if "outcome" in line] == list(names)
    ended = {line["part"]: line["ended"] for line in found if "ended" in line}
    assert ended["device"] == ended["goes well"] == "done"
    assert "ValueError: REASON" in ended["raises"]
    assert "killed" in ended["hangs"]
    assert "ValueError" in (tmp_path / "errors.txt").read_text()
    tables = (tmp_path / "README.md").read_text()
    assert "DEVICE" in tables
    assert "5 passed" in tables
    assert "REASON" in tables


def test_parts_for_which_no_time_is_left_are_told(tmp_path: Path) -> None:
    gpu.run_parts([gpu.Part("late", 20.0, gpu.facts)], ["nothing"], tmp_path, 0.0)
    (line,) = gpu.lines(tmp_path)
    assert (line["part"], "no time" in line["ended"]) == ("late", True)


def test_no_times_are_written_for_an_emulated_device() -> None:
    value: Any = {"neurons": 3, "setup_seconds": 1.0, "iterations": [{"rls_seconds": 2.0, "task": 0}]}
    assert gpu.timeless(value) == {
        "neurons": 3,
        "setup_seconds": None,
        "iterations": [{"rls_seconds": None, "task": 0}],
    }


@pytest.mark.emulated
@pytest.mark.skipif(emulator.missing() is not None, reason=str(emulator.missing()))
def test_all_parts_in_miniature(tmp_path: Path) -> None:
    """All but those of torch, which knows no emulated device, unless there is a real one."""
    command = [sys.executable, "-m", "tests.emulator", "run", "benchmarks/gpu.py", "--miniature", "--seconds", "900"]
    environment = os.environ | {"RLSBENCH_EMULATOR": "fast", "RLSBENCH_EMULATOR_CACHE": str(tmp_path / "cache")}
    subprocess.run([*command, "--output", str(tmp_path / "out")], cwd=ROOT, env=environment, check=False)
    found = gpu.lines(tmp_path / "out")
    ended = {line["part"]: line["ended"] for line in found if "ended" in line}
    assert set(ended) == {part.name for part in gpu.PARTS}
    assert {name for name, how in ended.items() if how != "done"} <= {name for name in ended if "torch" in name}
    assert {key for line in found for key in line} >= {"device", "machine", "outcome", "run", "profile"}
    assert all(line["run"]["seconds_per_iteration"] is None for line in found if "run" in line)
