"""Mutated files for the readers: who makes them, and a process that reads them under limits.

    python -m tests.fuzzing READER FILE...      reads each file, and prints a line for it

A reader must succeed, or raise one `RlsbenchError` of one line.  Anything else is a finding: another exception, more
than `SECONDS` for a file, a crash, more than `BYTES` of memory, or an error that tells of memory that was asked for.
To have further files fuzzed, add what reads them to `READERS`, and files to `corpus`.
"""

from __future__ import annotations

import json
import os
import random
import selectors
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

SECONDS = 20.0
BYTES = 2**30  # of address space beyond what the libraries take
FURTHER = "RLSBENCH_FUZZ_CORPUS"  # a folder of further recordings, as real ones
ROOT = Path(__file__).parents[1]


# Readers


def read_result(path: Path) -> None:
    from rlsbench.errors import ResultError
    from rlsbench.report.contents import contents
    from rlsbench.report.page import page
    from rlsbench.report.series import select
    from rlsbench.report.summary import markdown, results_csv
    from rlsbench.results import read_results

    found = read_results([path])
    found.table()
    selection = select(found)
    report = contents(selection, "fuzzed")
    assert "<script" not in page(report).lower()
    markdown(report)
    results_csv(selection)
    if found.skipped:
        raise ResultError(found.skipped[0][1])


def read_configuration(path: Path) -> None:
    from rlsbench import load_experiment
    from rlsbench.configuration import to_toml

    to_toml(load_experiment("smoke", config=path))


def read_plan(path: Path) -> None:
    from rlsbench.sweep import load_plan

    load_plan(path)


def read_recorded(path: Path) -> None:
    from rlsbench.errors import RecordingError
    from rlsbench.recordings import ReadOptions, read_contents, read_recording

    with suppress(RecordingError):
        read_contents(path)
    read_recording(path, ReadOptions(minimum_rate_hz=0.1))


def read_weights(path: Path) -> None:
    from rlsbench.results.saved import _weights

    _weights(path)


def fail_on_purpose(path: Path) -> None:
    """What the harness must find out, by the name of the file."""
    from rlsbench.errors import RlsbenchError

    match path.name:
        case "traceback":
            raise KeyError("a")
        case "two-lines":
            raise RlsbenchError("a\nb")
        case "memory":
            bytearray(2**33)
        case "crash":
            os.abort()
        case "hang":
            time.sleep(60)


READERS: dict[str, Callable[[Path], None]] = {
    "result": read_result,
    "configuration": read_configuration,
    "plan": read_plan,
    "recording": read_recorded,
    "weights": read_weights,
    "fails": fail_on_purpose,
}


# Files to begin with


def corpus(folder: Path) -> dict[str, list[Path]]:
    """Real files for each reader, those that are made in `folder`; recordings of `FURTHER` among them."""
    import h5py
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(3)
    rates = draw.gamma(2.0, 4.0, (40, 12))
    with h5py.File(folder / "rates.h5", "w") as file:
        file.create_dataset("rates", data=rates, compression="gzip", chunks=(8, 12))
        file.create_dataset("names", data=["a", "b"], dtype=h5py.string_dtype())
    with h5py.File(folder / "vectors.jld", "w", userblock_size=512) as file:
        rows = [file.create_dataset(f"_refs/{i}", data=row) for i, row in enumerate(rates[:6])]
        file.create_dataset("psth", data=[row.ref for row in rows], dtype=h5py.ref_dtype)
    units = [np.sort(draw.uniform(0, 40, 60)) for _ in range(4)]
    starts = np.arange(0.0, 40.0, 5.0)
    with h5py.File(folder / "units.nwb", "w") as file:
        text = h5py.string_dtype()
        file["session_start_time"] = "2020-01-01T00:00:00+00:00"
        file["units/id"] = np.arange(4)
        file["units/spike_times"] = np.concatenate(units)
        file["units/spike_times_index"] = np.cumsum([len(u) for u in units])
        file.create_dataset("units/classification", data=["good"] * 4, dtype=text)
        file.create_dataset("general/extracellular_ephys/electrodes/location", data=['{"brain_regions": "x"}'] * 2)
        file["units/electrodes"] = np.array([0, 1, 0, 1])
        file["intervals/trials/start_time"], file["intervals/trials/stop_time"] = starts, starts + 4.9
        file["intervals/trials/go_time"] = starts + 3.2
        file.create_dataset("intervals/trials/outcome", data=["hit", "miss"] * 4, dtype=text)
    np.save(folder / "rates.npy", rates)
    np.savez_compressed(folder / "rates.npz", rates=rates)
    np.savetxt(folder / "rates.csv", rates[:12], delimiter=",")
    table = pd.DataFrame({"unit": np.repeat([1, 2, 3], 30), "time": draw.uniform(0, 5, 90), "trial": [0, 1, 2] * 30})
    table.to_csv(folder / "spikes.csv", index=False)
    table.to_parquet(folder / "spikes.parquet")
    pd.DataFrame(rates, columns=[f"n{i}" for i in range(12)]).to_parquet(folder / "rates.parquet")
    np.save(folder / "weights.npy", rates.astype(np.float32))
    (folder / "plan.toml").write_text(
        'preset = "smoke"\nbackends = ["numba", "numpy-full"]\nneurons = [400, 1e3]\nthreads = [1]\n'
        "repetitions = 2\n[set.training]\niterations = 3\n[largest]\nnumba = 5000\n"
    )
    made = [folder / f"rates.{kind}" for kind in ("h5", "npy", "npz", "csv", "parquet")]
    made += [folder / name for name in ("vectors.jld", "units.nwb", "spikes.csv", "spikes.parquet")]
    further = [p for p in sorted(Path(os.environ[FURTHER]).rglob("*")) if p.is_file()] if FURTHER in os.environ else []
    presets = sorted((ROOT / "rlsbench" / "configuration" / "presets").glob("*.toml"))
    from rlsbench import load_experiment
    from rlsbench.configuration import to_toml

    (folder / "whole.toml").write_text(to_toml(load_experiment("mouse", overrides={"recording.files": ["a.nwb"]})))
    results = [*sorted((ROOT / "reports").rglob("*.json")), *_made_results(folder)]
    return {
        "result": [path for path in results if path.stat().st_size < 10**6],
        "configuration": [*presets, folder / "whole.toml"],
        "plan": [folder / "plan.toml"],
        "recording": [*made, *further],
        "weights": [folder / "weights.npy"],
    }


def _made_results(folder: Path) -> Iterator[Path]:
    """A document of the latest schema that is drawn, with all of its parts."""
    found = next((ROOT / "reports" / "2026-11-23").glob("sinusoid-1e4-numba.json"))
    from rlsbench.results import parse_document

    text = parse_document(found.read_text()).to_json()
    content = json.loads(text) | {
        "validity": "passed",
        "created": "2026-11-23T00:00:00Z",
        "update": {
            "update_seconds": [0.1, 0.2],
            "simulation_seconds": [1.0],
            "bytes_per_update": 1e4,
            "operations_per_update": 1e4,
        },
        "limits": {
            "threads": 2,
            "read_bytes_per_second": 1e10,
            "update_bytes_per_second": 1e10,
            "operations_per_second": {"float32": 1e11},
        },
        "repetition": {"sweep": "a", "point": "b", "repetition": 1, "warm_up": 1},
        "resources": {
            "interval_seconds": 1.0,
            "samples": 2,
            "seconds": 2.0,
            "iterations": 2,
            "cpu_percent": 100.0,
            "peak_resident_bytes": 10**8,
            "peak_gpu_memory_bytes": None,
            "gpu_power_w": None,
            "cpu_energy_per_iteration_j": 3.0,
            "gpu_energy_per_iteration_j": None,
            "unreadable": {"gpu_energy_j": "none"},
        },
    }
    path = folder / "result.json"
    path.write_text(json.dumps(content, indent=1))
    yield path


# Mutations

NUMBERS = (
    b"0",
    b"-1",
    b"1e999",
    b"-1e999",
    b"NaN",
    b"Infinity",
    b"nan",
    b"inf",
    b"1e12",
    b"1e18",
    b"9" * 30,
    b"9" * 5000,
)
TEXTS = (b'"<script>alert(1)</script>"', b'"=cmd|1"', b'"' + b"A" * 100_000 + b'"', b"null", b"true", b"[]", b"{}")
DEEP = (b"[" * 3000, b"{" * 3000, b'{"a":' * 3000, b"[" * 3000 + b"]" * 3000)
WORDS = (
    *(value.to_bytes(4, order) for value in (0, 1, 2**31 - 1) for order in ("little", "big")),
    *(value.to_bytes(8, order) for value in (2**40, 2**63 - 1) for order in ("little", "big")),
    *(b"\xff" * 4, b"\xff" * 8),
)


def mutated(content: bytes, random_: random.Random) -> bytes:
    """A file that is broken in one to four places."""
    data = bytearray(content)
    for _ in range(random_.choice((1, 1, 1, 2, 4))):
        random_.choice(_EDITS)(data, random_)
    return bytes(data)


def _somewhere(data: bytearray, random_: random.Random) -> int:
    """Half of the edits hit the head of a file, where sizes are announced."""
    return random_.randrange(min(len(data), 4096) if random_.random() < 0.5 else len(data)) if data else 0


def _flip(data: bytearray, random_: random.Random) -> None:
    if data:
        data[_somewhere(data, random_)] ^= 1 << random_.randrange(8)


def _word(data: bytearray, random_: random.Random) -> None:
    at, word = _somewhere(data, random_), random_.choice(WORDS)
    data[at : at + len(word)] = word


def _noise(data: bytearray, random_: random.Random) -> None:
    at, length = _somewhere(data, random_), random_.randrange(1, 64)
    data[at : at + length] = random_.randbytes(length)


def _cut(data: bytearray, random_: random.Random) -> None:
    del data[_somewhere(data, random_) :]


def _leave_out(data: bytearray, random_: random.Random) -> None:
    at = _somewhere(data, random_)
    del data[at : at + random_.choice((1, 8, 100, 4096))]


def _repeat(data: bytearray, random_: random.Random) -> None:
    at, length = _somewhere(data, random_), random_.choice((1, 8, 100, 4096))
    data[at:at] = data[at : at + length] * random_.choice((1, 2, 50))


def _token(data: bytearray, random_: random.Random) -> None:
    """A value of a text becomes one that is hard to bear; of a binary file, some bytes do."""
    starts = [i for i in range(1, min(len(data), 20_000)) if data[i - 1 : i] in (b" ", b",", b"[", b"=", b":")]
    if not starts:
        return
    at = random_.choice(starts)
    end = next((i for i in range(at, len(data)) if data[i : i + 1] in (b",", b"\n", b"]", b"}")), len(data))
    data[at:end] = random_.choice(NUMBERS + TEXTS + DEEP if random_.random() < 0.5 else NUMBERS)


VALUES = (
    *(None, True, -1, 0, 1, 10**12, 10**30, 10**400, 1e300, -1e300, float("nan"), float("inf"), float("-inf"), 1e-300),
    *("", "<script>alert(1)</script>", "=1+1", "a\nb", "\x00\x1b[31m", "\ud800", "A" * 100_000, "$x_{$", "10"),
    *([], {}, [None], [[]], ["x"], {"a": None}, {"<script>": "</td>"}, [1.0] * 1000),
)


def mutated_json(content: bytes, random_: random.Random) -> bytes:
    """A document with one to three values, anywhere in it, that are replaced, left out or put in."""
    document = json.loads(content)
    for _ in range(random_.choice((1, 1, 2, 3))):
        inside = [document] if isinstance(document, dict | list) else []
        for part in inside:  # grows as it goes
            below = part.values() if isinstance(part, dict) else part
            inside.extend(value for value in below if isinstance(value, dict | list))
        chosen = random_.choice([part for part in inside if part] or [{}])
        if not chosen:
            continue
        key = random_.choice(list(chosen)) if isinstance(chosen, dict) else random_.randrange(len(chosen))
        if random_.random() < 0.15:
            del chosen[key]
        elif isinstance(chosen, dict) and random_.random() < 0.1:
            chosen["<script>"] = random_.choice(VALUES)
        else:
            chosen[key] = random_.choice(VALUES)
    return json.dumps(document).encode()


_EDITS = (_flip, _word, _word, _noise, _cut, _leave_out, _repeat, _token, _token)


def write_mutations(files: list[Path], folder: Path, count: int, seed: int) -> list[Path]:
    """Write `count` mutated files, each from the next of `files`."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for i in range(count):
        source = files[i % len(files)]
        path = folder / f"{i}-{source.name}"
        random_ = random.Random(zlib.crc32(f"{seed} {path.name}".encode()))
        edit = mutated_json if source.suffix == ".json" and random_.random() < 0.6 else mutated
        path.write_bytes(edit(source.read_bytes(), random_))
        written.append(path)
    return written


# The process that reads


def judge(reader: str, path: Path) -> str:
    """What became of reading a file: "read", "refused", or what is wrong."""
    from rlsbench.errors import RlsbenchError

    try:
        READERS[reader](path)
    except RlsbenchError as error:
        message = str(error)
        if "\n" in message or not message.strip() or len(message) > 5000:
            return f"finding: no single line: {message[:200]!r}"
        asked = any(word in message for word in ("Unable to allocate", "MemoryError", "malloc", "memory allocation"))
        return f"finding: memory was asked for: {message[:200]!r}" if asked else "refused"
    except MemoryError:
        return "finding: MemoryError"
    except Exception as error:
        import traceback

        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"finding: {type(error).__name__}: {str(error)[:200]!r} at {where.filename}:{where.lineno}"
    return "read"


def main() -> None:
    """Read the files that are named on standard input under limits."""
    import faulthandler
    import resource
    import warnings

    faulthandler.enable()
    reader = sys.argv[1]
    import h5py  # noqa: F401 - what libraries take is not counted
    import pandas as pd
    import pyarrow.parquet  # noqa: F401

    import rlsbench.recordings
    import rlsbench.report.contents  # noqa: F401

    pd.DataFrame({"a": [1.0]}).mean()
    warnings.simplefilter("ignore")
    taken = 1024 * int(next(x for x in Path("/proc/self/status").read_text().splitlines() if "VmSize" in x).split()[1])
    resource.setrlimit(resource.RLIMIT_AS, (taken + BYTES, taken + BYTES))
    for line in sys.stdin:
        print(json.dumps([line.rstrip("\n"), judge(reader, Path(line.rstrip("\n")))]), flush=True)


def read_all(reader: str, files: list[Path]) -> dict[Path, str]:
    """Have all files read in a process, and in a further one where it crashed or hung: path to what became of it."""
    found: dict[Path, str] = {}
    left = list(files)
    while left:
        command = [sys.executable, "-m", "tests.fuzzing", reader]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            with selectors.DefaultSelector() as selector:
                selector.register(child.stdout, selectors.EVENT_READ)
                seconds = 120.0  # the first one imports all libraries
                while left:
                    try:
                        child.stdin.write(f"{left[0]}\n")
                        child.stdin.flush()
                        line = child.stdout.readline() if selector.select(seconds) else None
                    except BrokenPipeError:
                        line = ""
                    if not line:
                        child.kill()
                        what = f"more than {seconds:g} s" if line is None else f"the process ended: {child.wait()}"
                        found[left.pop(0)] = f"finding: {what}"
                        break
                    path, outcome = json.loads(line)
                    assert Path(path) == left[0]
                    found[left.pop(0)] = outcome
                    seconds = SECONDS
            child.kill()
            child.communicate()
    return found


def findings(found: dict[Path, str]) -> dict[str, str]:
    """Name of each file with a finding to the finding."""
    return {str(path): what for path, what in found.items() if what.startswith("finding")}


def fuzz(reader: str, files: list[Path], folder: Path, count: int, seed: int = 1) -> dict[Path, str]:
    """Mutate and read."""
    return read_all(reader, write_mutations(files, folder, count, seed))


if __name__ == "__main__":
    main()
