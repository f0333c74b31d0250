"""Fuzzing of the readers: mutated files, and a process with limits that reads them.

    python -m tests.fuzzing READER      reads the files named on standard input, a line for each

A reader must succeed or raise an `RlsbenchError` with one line. Anything else is a finding: another
exception, more than `SECONDS` of a processor or `PATIENCE` for a file, a crash, more than `BYTES`
of memory, or an error about a failed allocation. The files of some readers hold settings or the
words of a command. To fuzz other files, add their reader to `READERS` and examples to `corpus`.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout, suppress
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import h5py

    from rlsbench.configuration import Experiment

SECONDS = 20.0  # of a processor
PATIENCE = 120.0  # seconds, on a machine that does other work, too
BYTES = 2**30  # of address space in addition to the libraries
FURTHER = "RLSBENCH_FUZZ_CORPUS"  # a folder of additional recordings
ROOT = Path(__file__).parents[1]


# Readers


def read_result(path: Path) -> None:
    from rlsbench.errors import ResultError
    from rlsbench.report.contents import contents
    from rlsbench.report.folder import markdown, page, results_csv
    from rlsbench.report.series import select
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
    for how in ({}, {"time_axis": "rows"}, {"axes": "trial,time,unit", "values": "counts"}, {"event": "1"}):
        with suppress(RecordingError):
            read_recording(path, ReadOptions(**how))
    read_recording(path, ReadOptions(minimum_rate_hz=0.1, time_axis="columns"))


def read_folder_with(path: Path) -> None:
    """Read a folder in which this file takes the place of its original, whose path has @ for /."""
    from rlsbench.errors import RecordingError
    from rlsbench.recordings import read_contents

    changed = path.parent / path.name.split("-", 1)[-1].replace("@", "/")
    folder = path.parent / changed.relative_to(path.parent).parts[0]
    if not folder.exists():
        _made_folder(folder)
    original = changed.read_bytes()
    changed.write_bytes(path.read_bytes())
    try:
        session = read_contents(folder).session
    finally:
        changed.write_bytes(original)
    if session is None or any("was ignored" in note for note in session.notes):
        raise RecordingError("not read, or in part")


def _made_folder(folder: Path) -> Path:
    """A folder of phy, or a Zarr store with a link, as its name says."""
    from tests.test_formats import phy, zarr

    if folder.name == "phy":
        return phy(folder)
    _write_units(source := folder.with_suffix(".nwb"))
    return zarr(source, folder, {"acquisition/same": (".", "/events/cues")})


def read_weights(path: Path) -> None:
    from rlsbench.results.saved import read_weights

    read_weights(path)


def read_edges(path: Path) -> None:
    from rlsbench.configuration import load_experiment
    from rlsbench.problem import initial_problem

    table = {"file": str(path), "rows": "pre" if path.suffix == ".npz" else None}
    problem = initial_problem(load_experiment(overrides={"connectivity": [table]}))
    assert problem.projections is not None
    problem.static_edges()
    assert problem.longest_delay <= 255


def read_checkpoint_file(path: Path) -> None:
    """Verify it, find it as the last of a run, read it for `evaluate`, and resume from it."""
    from rlsbench.errors import ResultError, RlsbenchError
    from rlsbench.results import last_checkpoint, load_run, read_checkpoint, resume

    run = _run_around(path)

    def resumed() -> None:
        checkpoint = read_checkpoint(path)
        # Compiling kernels for a changed option takes longer than the limit for a file.
        backend = None if checkpoint.backend.startswith(("numpy", "reference")) else "numpy-full"
        training = resume(checkpoint, backend=backend)
        if training.problem.clock.steps <= 2000:
            for _ in training.run(1):
                pass

    errors = []
    for use in (
        lambda: read_checkpoint(path).verify(),
        lambda: last_checkpoint(run),
        lambda: load_run(run, checkpoint=path),
        resumed,
    ):
        try:
            use()
        except RlsbenchError as error:
            errors.append(str(error))
    if errors:
        raise ResultError("; ".join(errors))


def _run_around(path: Path) -> Path:
    """The directory of a run whose only checkpoint is this file."""
    from rlsbench.configuration import to_toml

    run = path.parent / "run"
    if not run.exists():
        (run / "checkpoints").mkdir(parents=True)
        (run / "configuration.toml").write_text(to_toml(_trained()))
        next(_made_results(run))
    link = run / "checkpoints" / "iteration-000002.h5"
    link.unlink(missing_ok=True)
    os.link(path, link)
    return run


# What a training of mutated settings may ask for: more would be a long run, not a fault.
MOST = {"neurons": 2000, "steps": 5000, "iterations": 5, "trials": 5, "inputs": 200}


def _bounded(prepare: Callable[..., Any]) -> Callable[..., Any]:
    def bounded(experiment: Experiment, *arguments: Any, **options: Any) -> Any:
        from rlsbench.errors import RlsbenchError

        e = experiment
        steps = (e.stimulus.off_ms + e.time.train_duration_ms) / e.time.dt_ms
        asked = {"neurons": e.network.neurons, "steps": steps, "inputs": e.plastic_inputs}
        if any(number > MOST[name] for name, number in asked.items()) or e.training.iterations > MOST["iterations"]:
            raise RlsbenchError(f"a long run: {asked}")
        return prepare(experiment, *arguments, **options)

    return bounded


def bound_commands() -> None:
    """Replace what would run for long, or draw pictures, in this process."""
    import rlsbench.cli.run
    import rlsbench.cli.sweep
    import rlsbench.report.evaluation_figures
    import rlsbench.report.figures
    import rlsbench.results.saved
    import rlsbench.training.evaluation
    from rlsbench.errors import RlsbenchError

    bounded, evaluate = _bounded(rlsbench.training.prepare), rlsbench.training.evaluation.evaluate

    def briefly(training: Any, trials: int, **options: Any) -> Any:
        if trials > MOST["trials"]:
            raise RlsbenchError(f"a long evaluation: {trials}")
        return evaluate(training, trials, **options)

    def planned(plan: Any, store: Any, **options: Any) -> Any:
        return rlsbench.sweep.SweepSummary(len(plan.points()))

    for module in (rlsbench.training, sys.modules["rlsbench.cli.run"], rlsbench.results.saved):
        module.prepare = bounded  # type: ignore[attr-defined]
    rlsbench.training.evaluation.evaluate = briefly
    sys.modules["rlsbench.cli.sweep"].run_sweep = planned  # type: ignore[attr-defined]
    rlsbench.report.figures.save_summary = lambda training, folder: folder
    rlsbench.report.evaluation_figures.save_evaluation = lambda training, found, folder: folder


def train_settings(path: Path) -> None:
    """A small network with settings as in `--set`, trained for an iteration."""
    from rlsbench import load_experiment
    from rlsbench.configuration import parse_assignments, to_toml

    experiment = load_experiment("smoke", overrides=parse_assignments(json.loads(path.read_text())))
    to_toml(experiment)
    _bounded(prepared)(experiment)


def prepared(experiment: Experiment) -> None:
    from rlsbench import prepare

    list(prepare(experiment, "numpy-packed").run(1))


def call(*words: str) -> None:
    """The command line; a `ResultError` with its error line, if it fails as it should."""
    from rlsbench.cli import main
    from rlsbench.errors import ResultError

    out, err = io.StringIO(), io.StringIO()
    status: Any = 0
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main(list(words))
        except SystemExit as end:
            status = end.code
    lines = err.getvalue().splitlines()
    own = [line for line in lines if line.startswith("rlsbench: ")]
    told = (words, status, lines)
    assert "Traceback" not in err.getvalue(), told
    assert status in (None, 0, 1, 2), told
    assert lines or not status, told
    assert len(own) == 1 or status != 2, told
    if own:
        raise ResultError(own[0])


def run_command(path: Path) -> None:
    """A command, given by its words, in an empty folder."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, chdir(folder):
        call(*json.loads(path.read_text()))


def use_run(path: Path) -> None:
    """`resume`, `evaluate` or `report` on a run, in which one file is replaced by this one."""
    name = path.name.partition("-")[2]
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        run = Path(shutil.copytree(_trained_run(path.parent), Path(folder) / "run"))
        shutil.copy(path, run / ("checkpoints" if name.endswith(".h5") else "") / name)
        commands = [("resume", run, "--iterations", 3), ("evaluate", run, "--trials", 2, "--threads", 1)]
        commands += [("report", run, "-o", Path(folder) / "report")]
        call(*map(str, commands[zlib.crc32(path.name.encode()) % 3]))


def _trained_run(folder: Path) -> Path:
    """A run of two iterations, with all files."""
    run = folder / "trained"
    if not run.exists():
        from tests.conftest import TINY

        few = [part for key, value in (TINY | FEW).items() for part in ("--set", f"{key}={value}")]
        how = ["--threads", "1", "--checkpoint-every", "1", "--monitor", "1", "--save-best"]
        call("run", "--backend", "numpy-packed", *few, *how, "--output", str(run))
    return run


FEW = {"time.dt_ms": 0.5, "numerics.threads": 1}  # steps


def fail_on_purpose(path: Path) -> None:
    """Fail as the name of the file says, to test the harness."""
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
    "folder": read_folder_with,
    "weights": read_weights,
    "edges": read_edges,
    "checkpoint": read_checkpoint_file,
    "settings": train_settings,
    "command": run_command,
    "run": use_run,
    "fails": fail_on_purpose,
}


# Valid files


def _write_edges(folder: Path) -> list[Path]:
    """Files of edges in each format."""
    import h5py
    import pandas as pd
    from scipy import sparse

    files = [folder / f"edges.{kind}" for kind in ("csv", "parquet", "npz", "h5")]
    pre, post = np.arange(40), np.arange(40)[::-1] + 100
    table = pd.DataFrame({"pre": pre, "post": post, "weight": 0.5, "delay_ms": 0.3, "kind": "static"})
    table.to_csv(files[0], index=False)
    table.to_parquet(files[1])
    sparse.save_npz(files[2], sparse.csr_array((np.full(40, 0.5), (pre, post)), shape=(512, 512)))
    with h5py.File(files[3], "w") as file:
        edges = file.create_group("edges/all")
        for name, ids in (("source_node_id", pre), ("target_node_id", post), ("edge_group_index", pre)):
            edges.create_dataset(name, data=ids, chunks=(16,), compression="gzip")
        edges["edge_group_id"], edges["0/syn_weight"], edges["0/delay"] = 0 * pre, table["weight"], table["delay_ms"]
    return files


def corpus(folder: Path, narrow: bool) -> dict[str, list[Path]]:
    """Valid files for each reader, created in `folder`, and recordings of `FURTHER`.

    P is in 16 bits in some checkpoints if `narrow`; then kernels are compiled, for a minute.
    """
    import h5py
    import pandas as pd
    from scipy.io import savemat

    from rlsbench.recordings import read_recording, save_recording

    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(3)
    rates = draw.gamma(2.0, 4.0, (40, 12))
    with h5py.File(folder / "rates.h5", "w") as file:
        file.create_dataset("rates", data=rates, compression="gzip", chunks=(8, 12))
        file.create_dataset("names", data=["a", "b"], dtype=h5py.string_dtype())
    with h5py.File(folder / "vectors.jld", "w", userblock_size=512) as file:
        rows = [file.create_dataset(f"_refs/{i}", data=row) for i, row in enumerate(rates[:6])]
        file.create_dataset("psth", data=[row.ref for row in rows], dtype=h5py.ref_dtype)
    units, starts = _write_units(folder / "units.nwb")
    np.save(folder / "rates.npy", rates)
    np.savez_compressed(folder / "rates.npz", rates=rates)
    save_recording(folder / "saved.npz", read_recording(rates))
    np.savetxt(folder / "rates.csv", rates[:12], delimiter=",")
    table = pd.DataFrame({"unit": np.repeat([1, 2, 3], 30), "time": draw.uniform(0, 5, 90), "trial": [0, 1, 2] * 30})
    table.to_csv(folder / "spikes.csv", index=False)
    table.to_parquet(folder / "spikes.parquet")
    pd.DataFrame({"unit": [1, 2, 3, 4], "spike_times": units}).to_parquet(folder / "lists.parquet")
    pd.DataFrame(rates, columns=[f"n{i}" for i in range(12)]).to_parquet(folder / "rates.parquet")
    from tests.test_formats import cells, mat5, mat73, structs

    variables = {"spikes": cells(units), "region": cells(["x"] * 4), "go_cue": starts + 3, "fs": 3e4, "rates": rates}
    variables |= {"trials": {"start": starts, "stop": starts + 4.9, "kind": cells(["hit", "miss"] * 4)}}
    mat5(folder / "cells-5.mat", variables)
    savemat(
        folder / "structs-5.mat", {"units": structs({"spike_times": units, "id": [1, 2, 3, 4]}), "go_cue": starts + 3}
    )
    mat73(folder / "cells-7.3.mat", variables)
    by_trial = {"spikes": cells(units).reshape(2, 2), "side": cells(["left", "right"])}
    mat5(folder / "trials-5.mat", by_trial)
    mat73(folder / "trials-7.3.mat", by_trial)
    np.savez(folder / "units.npz", *units, go_cue=starts + 3)
    index = np.repeat(np.arange(4), 60)
    group = {"t": np.concatenate(units), "index": index, "keys": np.arange(4), "start": [0.0], "end": [40.0]}
    np.savez(folder / "tsgroup.npz", **group)
    np.save(folder / "weights.npy", rates.astype(np.float32))
    (folder / "plan.toml").write_text(
        'preset = "smoke"\nbackends = ["numba", "numpy-full"]\nneurons = [400, 1e3]\nthreads = [1]\n'
        "repetitions = 2\n[set.training]\niterations = 3\n[largest]\nnumba = 5000\n"
    )
    (folder / "spikes.csv.gz").write_bytes(gzip.compress((folder / "spikes.csv").read_bytes()))
    (folder / "nest.dat").write_text("# NEST\nsender\ttime_ms\n" + "".join(f"{i % 5}\t{i},5\n" for i in range(90)))
    (folder / "wide.csv").write_text("i;t\n1;0,5\n2;0,25\n" * 3, encoding="utf-16")
    (folder / "lists.csv").write_text("unit,trial,spike_times\n" + "1,2,[0.1 0.2]\n2,3,\n1,3,0.5\n" * 4)
    pd.DataFrame(rates, index=pd.Index(0.02 * np.arange(40), name="time")).to_csv(folder / "timed.csv")
    pd.DataFrame(rates, index=0.02 * np.arange(40)).rename(columns=str).to_parquet(folder / "timed.parquet")
    np.savez(folder / "counts.npz", counts=draw.poisson(1, (3, 40, 12)), time=np.arange(40.0), unit_ids=np.arange(12))
    np.save(folder / "raster.npy", rates > 5)
    made = [folder / name for name in ("spikes.csv.gz", "nest.dat", "wide.csv", "lists.csv", "timed.csv", "counts.npz")]
    made += [folder / "raster.npy", folder / "timed.parquet", folder / "lists.parquet"]
    made += [folder / f"rates.{kind}" for kind in ("h5", "npy", "npz", "csv", "parquet")]
    made += [folder / name for name in ("vectors.jld", "units.nwb", "saved.npz", "spikes.csv", "spikes.parquet")]
    made += [*folder.glob("*.mat"), folder / "units.npz", folder / "tsgroup.npz"]
    further = [p for p in sorted(Path(os.environ[FURTHER]).rglob("*")) if p.is_file()] if FURTHER in os.environ else []
    presets = sorted((ROOT / "rlsbench" / "configuration" / "presets").glob("*.toml"))
    from rlsbench import load_experiment
    from rlsbench.configuration import to_toml

    (folder / "whole.toml").write_text(to_toml(load_experiment("mouse", overrides={"recording.files": ["a.nwb"]})))
    results = [*_committed_results(folder), *_made_results(folder)]
    return {
        "result": [path for path in results if path.stat().st_size < 10**6],
        "configuration": [*presets, folder / "whole.toml"],
        "plan": [folder / "plan.toml"],
        "recording": [*made, *further],
        "folder": [*_flat(_made_folder(folder / "phy")), *_flat(_made_folder(folder / "zarr"))],
        "weights": [folder / "weights.npy"],
        "edges": _write_edges(folder),
        "checkpoint": list(_made_checkpoints(folder, narrow)),
        "settings": [_written(folder / "tiny.assignments", _assignments())],
        "command": [_written(folder / f"{i}.words", words) for i, words in enumerate(_commands(folder))],
        "run": [path for path in sorted(_trained_run(folder).rglob("*")) if path.suffix in RUN_FILES],
    }


def _flat(folder: Path) -> Iterator[Path]:
    """Copies beside a folder of its files, with @ for / in their paths."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder.parent).as_posix().replace("/", "@")
            yield shutil.copy(path, folder.parent / name)


def _write_units(path: Path) -> tuple[list[Any], Any]:
    """An NWB file; returns the spike times of its units, and the starts of its trials."""
    import h5py

    draw = np.random.default_rng(4)
    units = [np.sort(draw.uniform(0, 40, 60)) for _ in range(4)]
    starts = np.arange(0.0, 40.0, 5.0)
    with h5py.File(path, "w") as file:
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
        file["intervals/gratings/start_time"], file["intervals/gratings/stop_time"] = starts, starts + 1
        file["events/cues/timestamp"], file["acquisition/link/timestamps"] = (
            starts,
            h5py.SoftLink("/events/cues/timestamp"),
        )
        file.create_dataset("events/cues/side", data=["left", "right"] * 4, dtype=text)
    return units, starts


RUN_FILES = (".toml", ".json", ".csv", ".npy", ".h5")


def _written(path: Path, words: list[str]) -> Path:
    path.write_text(json.dumps(words))
    return path


def _assignments() -> list[str]:
    """All settings of the experiment of the tests, each as for `--set`."""
    from rlsbench import load_experiment
    from rlsbench.configuration import changed
    from tests.conftest import TINY

    sections = changed(load_experiment("smoke"), TINY | FEW | {"training.iterations": 1}).model_dump(mode="json")
    tables = {name: keys for name, keys in sections.items() if isinstance(keys, dict) and name != "recording"}
    pairs = [(f"{name}.{key}", value) for name, keys in tables.items() for key, value in keys.items()]
    return [f"{key}={json.dumps(value)}" for key, value in pairs if value is not None and not isinstance(value, dict)]


def _commands(folder: Path) -> Iterator[list[str]]:
    """Words of commands that succeed."""
    from tests.conftest import TINY

    few = [part for key, value in (TINY | FEW).items() for part in ("--set", f"{key}={value}")]
    backend, run = ["--backend", "numpy-packed"], str(_trained_run(folder))
    yield ["show", "smoke", *few, "--plastic-inputs", "10", "--transfer", "stationary", "--seed", "2"]
    yield ["estimate", *backend, *few, "--no-time", "--threads", "1", "--device", "cpu"]
    yield ["inspect", str(folder / "units.nwb"), "--event", "go_time", "--bin-ms", "20"]
    yield ["inspect", str(folder / "rates.npz"), "--minimum-rate", "0.1"]
    yield ["report", str(folder / "result.json"), "-o", "report", "--title", "a", "--compare-with", "numba"]
    yield ["sweep", str(folder / "plan.toml"), "-o", "store", "--neurons", "70,80", "--budget", "1m", *few]
    yield ["run", *backend, *few, "--iterations", "1", "--checkpoint-every", "1", "--time-limit", "1h", "--keep", "2"]
    yield ["resume", run, "--iterations", "2", "--patience", "3"]
    yield ["evaluate", run, "--trials", "2", "--smoothing-bins", "3", "--threads", "1", "--checkpoint", "last"]
    yield ["data", "path", "alm"]


def _trained(**numerics: str) -> Experiment:
    """The experiment of the checkpoints."""
    from rlsbench import load_experiment
    from tests.conftest import TINY

    return load_experiment("smoke", overrides=TINY | {f"numerics.{key}": value for key, value in numerics.items()})


def _made_checkpoints(folder: Path, narrow: bool) -> Iterator[Path]:
    """Checkpoints of several backends, precisions and storages, and one with only weights."""
    from rlsbench import prepare, save_checkpoint

    made: list[tuple[str, dict[str, str]]] = [
        ("numpy-packed", {}),
        ("numpy-full", {"precision": "float64"}),
        ("reference", {}),
    ]
    if narrow:
        made += [
            ("numba", {"p_precision": "float16"}),
            ("numba", {"p_precision": "bfloat16", "storage": "packed"}),
            ("numba", {"p_precision": "int16", "storage": "packed", "algorithm": "event"}),
        ]
    for i, (backend, numerics) in enumerate(made):
        training = prepare(_trained(**numerics), backend)
        for _ in training.run(1):
            pass
        yield save_checkpoint(folder / f"{i}-{backend}.checkpoint", training)
        if i == 0:
            yield save_checkpoint(folder / "weights-alone.checkpoint", training, weights_only=True)


def committed_result(preset: str, neurons: int) -> str:
    """The first committed document of a reproduction, of schema 1 or 2, as JSON."""
    lines = (ROOT / "reports" / "reproduction.jsonl").read_text(encoding="utf-8").splitlines()
    return next(t for t in lines if (c := json.loads(t))["preset"] == preset and c["neurons"] == neurons)


def _committed_results(folder: Path) -> Iterator[Path]:
    """Each committed reproduction in its own file, and two documents in a JSON Lines file."""
    lines = (ROOT / "reports" / "reproduction.jsonl").read_text(encoding="utf-8").splitlines()
    for i, text in enumerate(lines):
        path = folder / f"reproduction-{i}.json"
        path.write_text(text)
        yield path
    both = folder / "two.jsonl"
    both.write_text("".join(f"{committed_result('sinusoid', neurons)}\n" for neurons in (10_000, 100_000)))
    yield both


def _made_results(folder: Path) -> Iterator[Path]:
    """A document of the latest schema with all of its optional parts."""
    from rlsbench.results import parse_document

    text = parse_document(committed_result("sinusoid", 10_000)).to_json()
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
    *(b"0", b"-1", b"1e999", b"-1e999", b"NaN", b"Infinity", b"nan", b"inf", b"1e12", b"1e18"),
    *(b"9" * 30, b"9" * 5000),
)
TEXTS = (b'"<script>alert(1)</script>"', b'"=cmd|1"', b'"' + b"A" * 100_000 + b'"', b"null", b"true", b"[]", b"{}")
DEEP = (b"[" * 3000, b"{" * 3000, b'{"a":' * 3000, b"[" * 3000 + b"]" * 3000)
WORDS = (
    *(value.to_bytes(4, order) for value in (0, 1, 2**31 - 1) for order in ("little", "big")),
    *(value.to_bytes(8, order) for value in (2**40, 2**63 - 1) for order in ("little", "big")),
    *(b"\xff" * 4, b"\xff" * 8),
)


def mutated(content: bytes, random_: random.Random) -> bytes:
    """A file with one to four mutations."""
    data = bytearray(content)
    for _ in range(random_.choice((1, 1, 1, 2, 4))):
        random_.choice(_EDITS)(data, random_)
    return bytes(data)


def _somewhere(data: bytearray, random_: random.Random) -> int:
    """A position; half of the edits are near the start of a file, where sizes are declared."""
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
    """Replace a value in a text, or some bytes in a binary file, with a difficult one."""
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
    """A document in which one to three values are replaced, removed or inserted."""
    document = json.loads(content)
    for _ in range(random_.choice((1, 1, 2, 3))):
        inside = [document] if isinstance(document, dict | list) else []
        for part in inside:  # grows during iteration
            below = part.values() if isinstance(part, dict) else part
            inside.extend(value for value in below if isinstance(value, dict | list))
        chosen = random_.choice([part for part in inside if part] or [{}])
        if not chosen:
            continue
        key = random_.choice(list(chosen)) if isinstance(chosen, dict) else random_.randrange(len(chosen))
        if random_.random() < 0.15:
            del chosen[key]
        elif isinstance(chosen, dict) and random_.random() < 0.1:
            chosen["<script>"] = deepcopy(random_.choice(VALUES))
        else:
            chosen[key] = deepcopy(random_.choice(VALUES))  # later edits may change it
    return json.dumps(document).encode()


def mutated_checkpoint(content: bytes, random_: random.Random) -> bytes:
    """A malicious checkpoint: its checksums are valid, but not its contents or sizes."""
    import h5py

    with h5py.File(io.BytesIO(content)) as file:
        arrays = {name: file[name][...] for name in file if name not in ("manifest", "checksums")}
        manifest = json.loads(file["manifest"][...].tobytes())
    wrong = random_.choice(("manifest", "manifest", "configuration", "numbers", "shape", "structure", "words", "words"))
    if wrong == "manifest":
        manifest = json.loads(mutated_json(json.dumps(manifest).encode(), random_))
    elif wrong == "configuration":
        manifest["configuration"] = json.loads(mutated_json(json.dumps(manifest["configuration"]).encode(), random_))
    elif wrong == "numbers":
        _other_numbers(arrays[random_.choice(sorted(arrays))], random_)
    elif wrong == "shape":
        _other_shape(arrays, manifest, random_)
    text = np.frombuffer(_sealed(manifest), np.uint8)
    made = io.BytesIO()
    # Headers of the earliest format have no checksums.
    with h5py.File(made, "w", libver="earliest" if wrong == "words" else "latest") as file:
        file.attrs["format"], file.attrs["version"] = np.bytes_("rlsbench checkpoint"), 1
        for name, values in {"manifest": text, "checksums": _checksums(text, arrays, manifest), **arrays}.items():
            file.create_dataset(name, data=values)
        places = [dataset.id.get_offset() for dataset in file.values()]
        if wrong == "structure":
            _other_structure(file, random_)
        sizes = [number for values in arrays.values() for number in (*values.shape, values.nbytes)]
    data = bytearray(made.getvalue())
    if wrong == "words":
        _other_words(data, [*[p for p in places if p is not None], *sizes, len(text)], random_)
    return bytes(data)


def _sealed(manifest: Any) -> bytes:
    """A manifest with a matching hash of its configuration and seed, if possible."""
    from rlsbench.configuration import Experiment
    from rlsbench.results import configuration_hash

    with suppress(Exception):
        manifest["configuration_hash"] = configuration_hash(Experiment.model_validate(manifest["configuration"]))
        manifest["seed"] = manifest["configuration"]["training"]["seed"]
    return json.dumps(manifest).encode()


def _checksums(text: np.ndarray[Any, Any], arrays: dict[str, np.ndarray[Any, Any]], manifest: Any) -> Any:
    found = [zlib.crc32(text)]
    with suppress(Exception):
        for array in manifest["arrays"]:
            values, rows = arrays[array["name"]], array["rows"]
            if values.nbytes > 10**7:
                continue
            found += [zlib.crc32(values[i : i + rows].tobytes()) for i in range(0, len(values), rows)]
    found = np.array(found, "<u4")
    return np.append(found, np.array([zlib.crc32(found)], "<u4"))


def _other_numbers(values: np.ndarray[Any, Any], random_: random.Random) -> None:
    """NaN, infinities, zeros or noise, everywhere or in one entry."""
    where = values if random_.random() < 0.5 else values.reshape(-1)[random_.randrange(values.size) :][:1]
    if random_.random() < 0.3:
        where[...] = np.frombuffer(random_.randbytes(where.nbytes), where.dtype).reshape(where.shape)
        return
    hard = (0, -1, 1) if values.dtype.kind != "f" else (np.nan, np.inf, -np.inf, 0, -1, 1e38)
    where[...] = np.array(random_.choice(hard)).astype(values.dtype)


def _other_shape(arrays: dict[str, np.ndarray[Any, Any]], manifest: Any, random_: random.Random) -> None:
    """Another shape or type of an array, possibly with a matching manifest."""
    name = random_.choice(sorted(arrays))
    values = arrays[name]
    arrays[name] = values = random_.choice(
        (
            lambda: values[:-1],
            lambda: values[..., :-1],
            lambda: values.T,
            lambda: values.reshape(-1),
            lambda: values[None],
            lambda: values[:0],
            lambda: np.concatenate([values, values]),
            lambda: values.astype("<f8"),
            lambda: values.astype("<f4"),
            lambda: values.astype("<i2"),
            lambda: values.astype(">f8"),
            lambda: values.astype("S8"),
        )
    )()
    arrays[name] = values = np.ascontiguousarray(values)
    if random_.random() < 0.7:
        entry = next(array for array in manifest["arrays"] if array["name"] == name)
        entry["shape"], entry["rows"] = list(values.shape), max(1, min(len(values), entry["rows"]))
        entry["type"] = {"<f8": "float64", "<f4": "float32", "<i2": "int16"}.get(values.dtype.str, entry["type"])


def _other_structure(file: h5py.File, random_: random.Random) -> None:
    """A dataset that is external, chunked, virtual, a group, or far larger than the file."""
    import h5py

    name = random_.choice(sorted(file))
    values = file[name][...]
    del file[name]
    virtual = h5py.VirtualLayout(values.shape, values.dtype)
    virtual[...] = h5py.VirtualSource("elsewhere.h5", name, values.shape)
    huge = tuple(random_.choice((1, 10**6, 2**31, 2**40)) for _ in values.shape)
    random_.choice(
        (
            lambda: None,
            lambda: file.create_group(name),
            lambda: file.update({name: h5py.SoftLink(f"/{name}")}),
            lambda: file.update({name: h5py.SoftLink("/w")}),
            lambda: file.update({name: h5py.ExternalLink("elsewhere.h5", "/a")}),
            lambda: file.create_dataset(name, data=values, chunks=True),
            lambda: file.create_dataset(name, data=values, chunks=True, compression="gzip"),
            lambda: file.create_dataset(name, values.shape, values.dtype, external=[("elsewhere", 0, values.nbytes)]),
            lambda: file.create_virtual_dataset(name, virtual),
            lambda: file.create_dataset(name, huge, values.dtype, chunks=tuple(min(n, 100) for n in huge)),
            lambda: file.create_dataset(name, huge, values.dtype),  # never written, so without an offset
            lambda: file.create_dataset(name, data=["text"], dtype=h5py.string_dtype()),
            lambda: file.create_dataset(name, data=values.astype([("a", values.dtype)])),
            lambda: file.create_dataset(name, data=h5py.Empty("f4")),
            lambda: file.create_dataset(name, data=3.0),
            lambda: file.attrs.update(version=random_.choice((0, 2, -1, 2**62))),
            lambda: file.attrs.update(format=np.bytes_(b"x" * 1000)),
            lambda: [file.create_group(f"g{i}") for i in range(random_.choice((1, 20)))],
        )
    )()


def _other_words(data: bytearray, words: list[int], random_: random.Random) -> None:
    """Replace one to three known offsets, lengths or sizes in the headers."""
    for word in random_.choices(words, k=random_.choice((1, 1, 2, 3))):
        old, found, at = word.to_bytes(8, "little"), [], -1
        while (at := data.find(old, at + 1)) >= 0:
            found.append(at)
        if found:
            new = random_.choice((0, 1, word - 1, word + 1, len(data), len(data) - 1, 2**31, 2**40, 2**63, 2**64 - 1))
            at = random_.choice(found)
            data[at : at + 8] = max(0, new).to_bytes(8, "little")


def mutated_settings(content: bytes, random_: random.Random) -> bytes:
    """One to three settings that are extreme or of another type; some name the key twice."""
    settings = json.loads(content)
    for _ in range(random_.choice((1, 1, 2, 3))):
        at = random_.randrange(len(settings))
        key, _, old = settings[at].partition("=")
        near = [f"{float(old) * f!r}" for f in (0.5, 2, 10, -1, 1e3, 1e-3)] if old.replace(".", "").isdigit() else ["1"]
        settings[at] = f"{key}={random_.choice(near if random_.random() < 0.4 else SETTINGS)}"
    return json.dumps(settings).encode()


def mutated_words(content: bytes, random_: random.Random) -> bytes:
    """One to three words of a command that are replaced, left out, repeated or added."""
    words = json.loads(content)
    for _ in range(random_.choice((1, 1, 2, 3))):
        at = random_.randrange(1, len(words))
        match random_.randrange(5):
            case 0:
                del words[at:]
                words += ["--help"] if random_.random() < 0.1 else []
            case 1:
                words[at:at] = words[at : at + random_.choice((1, 2))]
            case 2:
                words.insert(at, random_.choice(WORDS_GIVEN))
            case _:
                words[at] = random_.choice(WORDS_GIVEN)
        if len(words) < 2:
            break
    return json.dumps(words).encode()


SETTINGS = (
    *("0", "-1", "1", "1e300", "-1e300", "1e-300", "1e-30", "1e38", "nan", "inf", "-inf", "9" * 30, "9" * 5000, "1e6"),
    *('""', '"x"', "x", "true", "[]", "[1.0, 2.0]", "[20.0, 200.0]", "[[]]", "{}", "{a = 1}", "[" * 3000, "=", "'a'"),
    *('"keep"', '"rls-without-p"', '"voltage"', '"current"', '"surrogate"', '"simulated"', '"random"', '"neuron"'),
    *('["excitatory"]', '["0:9"]', "0.5", "2", "3", "0.999999", "1e-9", '"auto"', '"float64"', '"float16"', '"packed"'),
)
WORDS_GIVEN = (
    *(word for word in SETTINGS if len(word) < 1000),
    *("", " ", "-", "--", "-o", "--set", "--config", "--backend", "--recording", "--json", "--save-best", "--force"),
    *(
        "\udcff",
        "\x1b[31m",
        "[bold]x[/x]",
        "a" * 300,
        "a/" * 300,
        "é",
        "1k",
        "1e3",
        "10GB",
        "0x10",
        "１",
        "~",
        "%s",
        "{}",
    ),
    *("numpy-full", "reference", "numba", "unknown", "mouse", "sinusoid", "a,b,,c", "1,2", ",", "network.neurons=1e9"),
    *(
        "/dev/null",
        "/dev/full",
        "/proc/self/mem",
        "/etc/hostname",
        ".",
        "..",
        "https://",
        "file:///x",
        "alm:left",
        "alm:",
    ),
    *(
        "--threads",
        "--trials",
        "--iterations",
        "--seed",
        "--plastic-inputs",
        "--monitor",
        "--align",
        "--quality",
        "any",
    ),
)

_EDITS = (_flip, _word, _word, _noise, _cut, _leave_out, _repeat, _token, _token)

EDITS_INSIDE = {
    ".json": mutated_json,
    ".zarray": mutated_json,
    ".zattrs": mutated_json,
    ".checkpoint": mutated_checkpoint,
    ".assignments": mutated_settings,
    ".words": mutated_words,
}
ALWAYS = (".assignments", ".words")  # whose other mutations would not even be JSON
"""Suffix of a file to the format-specific edit that makes most of its mutations."""


def write_mutations(files: list[Path], folder: Path, count: int, seed: int) -> list[Path]:
    """Write `count` mutated files, each from the next of `files`."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for i in range(count):
        source = files[i % len(files)]
        path = folder / f"{i}-{source.name}"
        random_ = random.Random(zlib.crc32(f"{seed} {path.name}".encode()))
        inside = source.suffix in ALWAYS or random_.random() < 0.6
        edit = EDITS_INSIDE.get(source.suffix, mutated) if inside else mutated
        path.write_bytes(edit(source.read_bytes(), random_))
        written.append(path)
    return written


# The reading process


def judge(reader: str, path: Path) -> str:
    """Result of reading a file: "read", "refused" or a finding."""
    from rlsbench.errors import RlsbenchError

    try:
        READERS[reader](path)
    except RlsbenchError as error:
        message = str(error)
        if "\n" in message or not message.strip() or len(message) > 5000:
            return f"finding: not a single line: {message[:200]!r}"
        asked = any(word in message for word in ("Unable to allocate", "MemoryError", "malloc", "memory allocation"))
        return f"finding: failed allocation: {message[:200]!r}" if asked else "refused"
    except MemoryError:
        return "finding: MemoryError"
    except Exception as error:
        import traceback

        where = traceback.extract_tb(error.__traceback__)[-1]
        return f"finding: {type(error).__name__}: {str(error)[:200]!r} at {where.filename}:{where.lineno}"
    return "read"


def main() -> None:
    """Read the files named on standard input under limits."""
    import faulthandler
    import resource
    import warnings

    faulthandler.enable()
    reader = sys.argv[1]
    import h5py  # noqa: F401 - memory of libraries is not counted
    import numcodecs  # noqa: F401
    import pandas as pd
    import pyarrow.parquet  # noqa: F401
    import scipy.io  # noqa: F401

    import rlsbench.recordings
    import rlsbench.report.contents  # noqa: F401

    pd.DataFrame({"a": [1.0]}).mean()
    if reader in ("command", "run"):
        bound_commands()
    warnings.simplefilter("ignore")
    taken = 1024 * int(next(x for x in Path("/proc/self/status").read_text().splitlines() if "VmSize" in x).split()[1])
    resource.setrlimit(resource.RLIMIT_AS, (taken + BYTES, taken + BYTES))
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # SIGPROF ends the process, in whatever library it is
        answers.write(json.dumps([line.rstrip("\n"), judge(reader, Path(line.rstrip("\n")))]) + "\n")
        answers.flush()


def read_all(reader: str, files: list[Path]) -> dict[Path, str]:
    """Read all files in a process, and in a new one after a crash or a hang: path to result."""
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
                seconds = max(120.0, PATIENCE)  # includes importing all libraries
                while left:
                    try:
                        child.stdin.write(f"{left[0]}\n")
                        child.stdin.flush()
                        line = child.stdout.readline() if selector.select(seconds) else None
                    except BrokenPipeError:
                        line = ""
                    if not line:
                        child.kill()
                        what = f"more than {seconds:g} s" if line is None else f"the process exited: {child.wait()}"
                        found[left.pop(0)] = f"finding: {what}"
                        break
                    path, outcome = json.loads(line)
                    assert Path(path) == left[0]
                    found[left.pop(0)] = outcome
                    seconds = PATIENCE
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
