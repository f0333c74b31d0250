"""For a machine with a GPU: checks, experiments and profiles of kernels, the most telling first.

    python -m benchmarks.gpu --output reports/$(date +%F)-gpu   # less than ten minutes
    python -m benchmarks.gpu --output FOLDER --seconds 420      # in less time, fewer parts
    python -m benchmarks.gpu --output FOLDER --tables           # only writes README.md again
    python -m benchmarks.gpu --output FOLDER --miniature        # tests the script itself

Each part is a process of its own: what fails, hangs, or leaves the device unusable ends that part
alone.  Each result is appended to results.jsonl as soon as it is there, so a run that is killed
loses nothing that is done.  errors.txt has what the parts wrote to stderr, README.md the tables,
after each part.  No times are written for an emulated device.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import click

from rlsbench import load_experiment, prepare
from rlsbench.backend import Options, get_backend, require_usable
from rlsbench.conformance import CHECKS, Subject, run_check
from rlsbench.conformance.suite import declared_subjects
from rlsbench.errors import RlsbenchError
from rlsbench.results import machine_record
from rlsbench.training.trial import run_trial

SECONDS = 570.0  # of the whole script
END_S = 5.0  # for the last lines of a part that is out of time
ITERATIONS = 3  # the first is a warm-up
RATE_HZ = 5.5  # firing rate that the counts of a profile assume
REPLAYED = "a replayed trial matches the reference: "
FIRST_CHECKS = (
    "one RLS update matches the reference for random P, x, w, u_bal and f",
    f"{REPLAYED}plain",
    f"{REPLAYED}everything",
    "a free run of 50 ms matches the reference spike for spike: plain",
    "a trial is reproducible, and differs from another trial",
)
FIRST_PRECISIONS = (("float64", "float64"), ("float32", "float32"), ("float32", "float16"))
MINIATURE: dict[str, Any] = {
    "network.K": 8,
    "network.L": 4,
    "external.scale": 0.4,
    "stimulus.on_ms": 4.0,
    "stimulus.off_ms": 10.0,
    "time.train_duration_ms": 40.0,
    "time.learn_every_ms": 2.0,
    "training.average_from_ms": 0.0,
    "training.window_ms": 4.0,
}

Line = dict[str, Any]


class Here(NamedTuple):
    """Where a part runs."""

    device: str  #: such as cuda:0
    miniature: bool
    until: float  #: by `time.perf_counter`


Result = tuple[str, Any]
"""What it is, a key of a line, and its value."""


class Part(NamedTuple):
    """Something to do, with the time that it may take."""

    name: str
    seconds: float
    results: Callable[[Here], Iterator[Result]]


def facts(here: Here) -> Iterator[Result]:
    """Name, memory and versions of the device; the machine."""
    import cupy

    get_backend("cupy")
    properties = cupy.cuda.runtime.getDeviceProperties(int(here.device.partition(":")[2] or 0))
    name = properties["name"]
    yield (
        "device",
        {
            "name": name.decode() if isinstance(name, bytes) else str(name),
            "date": f"{datetime.now(UTC):%F}",
            "memory_bytes": int(properties["totalGlobalMem"]),
            "multiprocessors": int(properties["multiProcessorCount"]),
            "compute_capability": f"{properties['major']}.{properties['minor']}",
            "cupy": str(cupy.__version__),
            "runtime": int(cupy.cuda.runtime.runtimeGetVersion()),
            "driver": int(cupy.cuda.runtime.driverGetVersion()),
        },
    )
    yield "machine", machine_record()


def checks(here: Here, backend: str, found: Sequence[Subject], names: Sequence[str]) -> Iterator[Result]:
    """Outcomes of checks in the time that there is, each check first on every configuration."""
    for name, subject in product(names[:1] if here.miniature else names, found[:1] if here.miniature else found):
        if time.perf_counter() > here.until:
            yield "left", f"{backend}, {subject}: {name}"
            continue
        outcome = run_check(name, subject)
        yield "outcome", {"backend": backend, **asdict(outcome), "validity": outcome.validity.value}


def first_checks(backend: str) -> Callable[[Here], Iterator[Result]]:
    """What says most about a backend in a minute."""

    def results(here: Here) -> Iterator[Result]:
        found = get_backend(backend)
        storage = found.capabilities.storages[0]
        options = [Options(*precisions, storage, 2, here.device, "event") for precisions in FIRST_PRECISIONS]
        require_usable(found, options[0])
        return checks(here, backend, [Subject(found, of) for of in options], FIRST_CHECKS)

    return results


def all_checks(here: Here) -> Iterator[Result]:
    """The conformance suite."""
    return checks(here, "cupy", declared_subjects(get_backend("cupy"), here.device), list(CHECKS))


def experiment(here: Here, preset: str, neurons: int | None) -> Any:
    """A preset on the device, tiny in miniature."""
    tiny = MINIATURE | {"network.neurons": 64} | ({"network.K": 0} if preset == "mouse" else {})
    size = tiny if here.miniature else {} if neurons is None else {"network.neurons": neurons}
    return load_experiment(preset, overrides={"numerics.device": here.device, **size})


def training(preset: str, neurons: int | None = None, backend: str = "cupy") -> Callable[[Here], Iterator[Result]]:
    """Iterations of a training, in the time that there is."""

    def results(here: Here) -> Iterator[Result]:
        made, done = prepare(experiment(here, preset, neurons), backend), []
        for iteration in made.run(ITERATIONS, undo=False):  # without copies of P
            done.append(asdict(iteration))
            yield (
                "run",
                {
                    "backend": backend,
                    "experiment": preset,
                    "neurons": made.problem.neurons,
                    "plastic_inputs": made.problem.n,
                    "options": asdict(made.options),
                    "seconds_per_iteration": made.seconds_per_iteration(),
                    "setup_seconds": made.setup_seconds,
                    "compile_seconds": made.compile_seconds,
                    "iterations": done,
                },
            )
            if time.perf_counter() > here.until:
                break

    return results


def profile(neurons: int) -> Callable[[Here], Iterator[Result]]:
    """Times of the kernels in one trial, and the bytes that they move by count."""

    def results(here: Here) -> Iterator[Result]:
        from rlsbench_cupy.profiling import kernel_times
        from rlsbench_cupy.trainer import CupyTrainer

        chosen, backend = experiment(here, "sinusoid", neurons), get_backend("cupy")
        made = prepare(chosen, backend)
        trainer = made.trainer
        assert isinstance(trainer, CupyTrainer)
        run_trial(trainer, 1)
        times = kernel_times(trainer, lambda: run_trial(trainer, 2))
        counted = {cost.kernel: cost for cost in backend.kernel_costs(chosen, made.options, RATE_HZ)}
        kernels = [
            {
                "kernel": t.kernel,
                "launches": t.launches,
                "seconds": t.milliseconds / 1000.0,
                "bytes": counted[t.kernel].bytes if t.kernel in counted else None,
                "operations": counted[t.kernel].operations if t.kernel in counted else None,
            }
            for t in times
        ]
        yield "profile", {"neurons": made.problem.neurons, "kernels": kernels}

    return results


PARTS = (
    Part("device", 60, facts),
    Part("first checks", 90, first_checks("cupy")),
    Part("sinusoid, 10,000 neurons", 60, training("sinusoid", 10_000)),
    Part("sinusoid, 1,000,000 neurons", 120, training("sinusoid", 1_000_000)),
    Part("mouse", 120, training("mouse")),
    Part("profile, 10,000 neurons", 60, profile(10_000)),
    Part("profile, 1,000,000 neurons", 90, profile(1_000_000)),
    Part("sinusoid, 100,000 neurons", 60, training("sinusoid", 100_000)),
    Part("first checks of torch", 60, first_checks("torch")),
    Part("sinusoid, 10,000 neurons, torch", 60, training("sinusoid", 10_000, "torch")),
    Part("the conformance suite", 600, all_checks),
)


def append(folder: Path, part: str, key: str, value: Any) -> None:
    """Append one result, on a line of its own even after one that was cut off."""
    with (folder / "results.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps({"part": part, key: value}, default=str))


def run_part(part: Part, folder: Path, here: Here) -> None:
    """Do what a part does, in its own process."""
    hidden = emulated(folder)
    try:
        for key, value in part.results(here):
            append(folder, part.name, key, timeless(value) if hidden else value)
    except RlsbenchError as error:
        sys.exit(str(error))


def run_parts(parts: Sequence[Part], command: Sequence[str], folder: Path, seconds: float) -> bool:
    """Run parts in turn, each by a command with its name and seconds; whether all went well."""
    until = time.perf_counter() + seconds
    for part in parts:
        start = time.perf_counter()
        limit = min(part.seconds, until - start - END_S)
        if limit < END_S:
            append(folder, part.name, "ended", "not run: no time left")
            continue
        with (folder / "errors.txt").open("a+", encoding="utf-8") as errors:
            before = errors.tell()
            asked = [*command, "--part", part.name, "--seconds", str(limit)]
            try:
                status = subprocess.run(asked, stderr=errors, timeout=limit + END_S, check=False).returncode
                errors.seek(before)
                said = [f"exit status {status}", *errors.read().splitlines()]
                ended = f"failed: {said[-1]}" if status else "done"
            except subprocess.TimeoutExpired:
                ended = f"failed: killed after {limit + END_S:.0f} s"
        append(folder, part.name, "ended", ended)
        if not emulated(folder):
            append(folder, part.name, "seconds", time.perf_counter() - start)
        (folder / "README.md").write_text(written(lines(folder)), encoding="utf-8")
        click.echo(f"{part.name}: {ended}")
    found = lines(folder)
    failed = any(line.get("outcome", {}).get("validity") == "FAILED" for line in found)
    return not failed and not any(str(line.get("ended", "")).startswith("failed") for line in found)


def lines(folder: Path) -> list[Line]:
    """All results so far, without lines that were cut off."""
    file, found = folder / "results.jsonl", []
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        with suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found


def emulated(folder: Path) -> bool:
    """Whether the device is that of the emulator."""
    return any(line.get("device", {}).get("name", "").startswith("emulated") for line in lines(folder))


def timeless(value: Any) -> Any:
    """The same without times."""
    if isinstance(value, Mapping):
        return {key: None if "seconds" in key else timeless(of) for key, of in value.items()}
    return [timeless(of) for of in value] if isinstance(value, list) else value


def written(found: Sequence[Line]) -> str:
    """Tables in Markdown."""
    device = next((line["device"] for line in found if "device" in line), {"name": "unknown", "date": ""})
    text = [f"# Backend cupy on {device['name']}, {device['date']}", ""]
    if device["name"].startswith("emulated"):
        text += ["Emulated, not yet run on a GPU: no times are shown.", ""]
    text += [", ".join(f"{key} {value}" for key, value in device.items()) + ".", ""]
    outcomes = [line["outcome"] for line in found if "outcome" in line]
    for backend in dict.fromkeys(outcome["backend"] for outcome in outcomes):
        counts = Counter(outcome["validity"] for outcome in outcomes if outcome["backend"] == backend)
        text.append(f"**Conformance of {backend}**: " + ", ".join(f"{n} {of}" for of, n in counts.items()) + ".")
    failures = [o for o in outcomes if o["validity"] == "FAILED"]
    text += [f"- {o['backend']}, {o['configuration']}: {o['check']}: {o['reason']}" for o in failures]
    runs = {line["part"]: line["run"] for line in found if "run" in line}  # the last one of a part
    text += [
        "",
        "| experiment | neurons | backend | P | update | s per iteration | set up (s) | correlation | rate (Hz) |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for r in runs.values():
        o, last = r["options"], r["iterations"][-1]
        text.append(
            f"| {r['experiment']} | {r['neurons']:,} | {r['backend']} | {o['p_precision']} {o['storage']} "
            f"| {o['algorithm']} | {_short(r['seconds_per_iteration'])} | {_short(r['setup_seconds'])} "
            f"| {_short(last['correlation'])} | {last['firing_rate_hz']:.2f} |"
        )
    for p in (line["profile"] for line in found if "profile" in line):
        text += [
            "",
            f"**Kernels** in one trial of {p['neurons']:,} neurons, each launch between events:",
            "",
            "| kernel | launches | ms | GB by count | GB/s |",
            "| --- | --- | --- | --- | --- |",
        ]
        for k in p["kernels"]:
            size = None if k["bytes"] is None else k["bytes"] / 1e9
            speed = size / k["seconds"] if size and k["seconds"] else None
            took = None if k["seconds"] is None else 1000.0 * k["seconds"]
            text.append(f"| {k['kernel']} | {k['launches']:,} | {_short(took)} | {_short(size)} | {_short(speed)} |")
    left = sum("left" in line for line in found)
    text += ["", *([f"- {left} checks were left out for lack of time."] if left else [])]
    text += [f"- {line['part']}: {line['ended']}." for line in found if line.get("ended", "done") != "done"]
    return "\n".join(text).rstrip() + "\n"


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


@click.command()
@click.option("--output", "folder", required=True, type=click.Path(path_type=Path), help="New folder for the results.")
@click.option("--device", default="cuda:0", show_default=True)
@click.option("--seconds", default=SECONDS, show_default=True, help="Time that all parts together may take.")
@click.option("--miniature", is_flag=True, help="Tiny networks and one check, to test the script.")
@click.option("--tables", is_flag=True, help="Only write README.md again.")
@click.option("--part", hidden=True, help="The part that this process is for.")
def main(folder: Path, device: str, seconds: float, miniature: bool, tables: bool, part: str | None) -> None:
    """Check and time the backends cupy and torch on the GPU of this machine."""
    if part is not None:
        chosen = next(p for p in PARTS if p.name == part)
        run_part(chosen, folder, Here(device, miniature, time.perf_counter() + seconds))
        return
    if tables != folder.exists():
        sys.exit(f"{folder} {'does not exist' if tables else 'exists; choose another folder'}")
    well = True
    if not tables:
        folder.mkdir(parents=True)
        # With the same command, so that the emulator starts them, too.
        parts = [part._replace(seconds=seconds) for part in PARTS] if miniature else PARTS
        well = run_parts(parts, [sys.executable, *sys.orig_argv[1:]], folder, seconds)
    (folder / "README.md").write_text(written(lines(folder)), encoding="utf-8")
    click.echo((folder / "README.md").read_text(encoding="utf-8"))
    if not well:
        sys.exit(1)


if __name__ == "__main__":
    main()
