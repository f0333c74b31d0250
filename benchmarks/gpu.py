"""For a machine with a GPU: conformance, scaling and recording experiments, and a kernel profile.

    python -m benchmarks.gpu --output reports/$(date +%F)-gpu   # less than ten minutes
    python -m benchmarks.gpu --output FOLDER --miniature        # tests the script itself

Writes README.md (tables) and result.json (everything) to the folder, which must not exist.  Parts
for which no time is left are listed as not run.  No times are written for an emulated device.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from rlsbench import Experiment, load_experiment, prepare
from rlsbench.backend import get_backend
from rlsbench.capacity import fits, fitting_options, free_bytes, needed_bytes
from rlsbench.conformance import Validity, run_check, subjects
from rlsbench.conformance.checks import CHECKS
from rlsbench.errors import RlsbenchError
from rlsbench.results import machine_record
from rlsbench.training.trial import run_trial

SECONDS = 570.0  # limit of the whole script
CONFORMANCE_SHARE = 0.45
NEURONS = (10_000, 100_000, 1_000_000)
ITERATIONS = 3
RATE_HZ = 5.5  # firing rate that the counts of the profile assume
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


@dataclass
class Report:
    """Results."""

    date: str
    device: dict[str, Any]
    machine: dict[str, Any]
    emulated: bool
    conformance: dict[str, Any] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    profile: dict[str, Any] = field(default_factory=dict)
    not_run: list[str] = field(default_factory=list)


def device_facts(number: int) -> dict[str, Any]:
    """Name, memory and versions of a device."""
    import cupy

    properties = cupy.cuda.runtime.getDeviceProperties(number)
    name = properties["name"]
    return {
        "name": name.decode() if isinstance(name, bytes) else str(name),
        "memory_bytes": int(properties["totalGlobalMem"]),
        "multiprocessors": int(properties["multiProcessorCount"]),
        "compute_capability": f"{properties['major']}.{properties['minor']}",
        "cupy": str(cupy.__version__),
        "runtime": int(cupy.cuda.runtime.runtimeGetVersion()),
        "driver": int(cupy.cuda.runtime.driverGetVersion()),
    }


def conformance(report: Report, device: str, until: float, miniature: bool) -> None:
    """Run as many checks as the time allows, each on every configuration."""
    backend = get_backend("cupy")
    found = subjects(backend, device)
    names = list(CHECKS)
    if miniature:
        found, names = found[:1], names[:1]
    totals, failed, left = dict.fromkeys(Validity, 0), [], 0
    for name in names:  # the first checks reach every configuration
        for subject in found:
            if time.perf_counter() > until:
                left += 1
                continue
            outcome = run_check(name, subject)
            totals[outcome.validity] += 1
            if outcome.validity is Validity.FAILED:
                failed.append(f"{subject}: {name}: {outcome.reason}")
    report.conformance = {
        "configurations": len(found),
        "checks": len(names),
        **{validity.name.lower(): count for validity, count in totals.items()},
        "failures": failed,
        "not_run": left,
    }


def run(report: Report, name: str, experiment: Experiment, iterations: int, until: float) -> None:
    """Train for some iterations; the first is a warm-up."""
    backend = get_backend("cupy")
    options, _ = fitting_options(backend, experiment)
    if not fits(needed_bytes(backend, experiment, options), free_bytes(backend, options)):
        report.not_run.append(f"{name}, {experiment.network.neurons:,} neurons: too little memory")
        return
    if time.perf_counter() > until:
        report.not_run.append(f"{name}, {experiment.network.neurons:,} neurons: no time left")
        return
    training = prepare(experiment, backend)
    done = []
    for iteration in training.run(iterations):
        done.append(asdict(iteration))
        if time.perf_counter() > until:
            break
    if report.emulated:
        for row in done:
            row.update({key: None for key in row if key.endswith("seconds")})
    report.runs.append(
        {
            "experiment": name,
            "neurons": training.problem.neurons,
            "plastic_inputs": training.problem.n,
            "options": asdict(training.options),
            "seconds_per_iteration": None if report.emulated else training.seconds_per_iteration(),
            "setup_seconds": None if report.emulated else training.setup_seconds,
            "compile_seconds": None if report.emulated else training.compile_seconds,
            "iterations": done,
        }
    )


def profile(report: Report, experiment: Experiment, until: float) -> None:
    """Measure kernel times in one trial, and count the bytes that the kernels move."""
    from rlsbench_cupy.profiling import kernel_times
    from rlsbench_cupy.trainer import CupyTrainer

    if time.perf_counter() > until:
        report.not_run.append(f"profile, {experiment.network.neurons:,} neurons: no time left")
        return
    backend = get_backend("cupy")
    training = prepare(experiment, backend)
    trainer = training.trainer
    assert isinstance(trainer, CupyTrainer)
    run_trial(trainer, 1)
    times = kernel_times(trainer, lambda: run_trial(trainer, 2))
    counted = {cost.kernel: cost for cost in backend.kernel_costs(experiment, training.options, RATE_HZ)}
    report.profile = {
        "neurons": training.problem.neurons,
        "kernels": [
            {
                "kernel": t.kernel,
                "launches": t.launches,
                "milliseconds": None if report.emulated else t.milliseconds,
                "counted_bytes": counted[t.kernel].bytes if t.kernel in counted else None,
                "counted_operations": counted[t.kernel].operations if t.kernel in counted else None,
            }
            for t in times
        ],
    }


def written(report: Report) -> str:
    """The report in Markdown."""
    c = report.conformance
    lines = [f"# Backend cupy on {report.device['name']}, {report.date}", ""]
    if report.emulated:
        lines += ["Emulated, not yet run on a GPU: no times are shown.", ""]
    lines += [
        ", ".join(f"{key} {value}" for key, value in report.device.items()) + ".",
        "",
        f"**Conformance**: {c['configurations']} configurations, {c['checks']} checks: {c['passed']} passed, "
        f"{c['failed']} failed, {c['not_checked']} not checked, {c['not_run']} not run for lack of time.",
        *[f"- {failure}" for failure in c["failures"]],
        "",
        "| experiment | neurons | P | update | seconds per iteration | correlation | rate (Hz) |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for r in report.runs:
        o, last = r["options"], r["iterations"][-1]
        seconds = "" if r["seconds_per_iteration"] is None else f"{r['seconds_per_iteration']:.3g}"
        correlation = "" if last["correlation"] is None else f"{last['correlation']:.3f}"
        lines.append(
            f"| {r['experiment']} | {r['neurons']:,} | {o['p_precision']} {o['storage']} | {o['algorithm']} "
            f"| {seconds} | {correlation} | {last['firing_rate_hz']:.2f} |"
        )
    if report.profile:
        lines += [
            "",
            f"**Kernels** in one trial of {report.profile['neurons']:,} neurons, each launch between events:",
            "",
        ]
        lines += ["| kernel | launches | ms | GB by count | GB/s |", "| --- | --- | --- | --- | --- |"]
        for k in report.profile["kernels"]:
            ms, moved = k["milliseconds"], k["counted_bytes"]
            size = "" if moved is None else f"{moved / 1e9:.3g}"
            speed = "" if moved is None or not ms else f"{moved / 1e6 / ms:,.0f}"
            lines.append(
                f"| {k['kernel']} | {k['launches']:,} | {'' if ms is None else f'{ms:.3g}'} | {size} | {speed} |"
            )
    lines += ["", *[f"Not run: {what}." for what in report.not_run]]
    return "\n".join(lines).rstrip() + "\n"


@click.command()
@click.option("--output", required=True, type=click.Path(path_type=Path), help="New folder for the results.")
@click.option("--device", default="cuda:0", show_default=True)
@click.option("--miniature", is_flag=True, help="Tiny networks and one check, to test the script.")
def main(output: Path, device: str, miniature: bool) -> None:
    """Check and time the backend cupy on the GPU of this machine."""
    start = time.perf_counter()
    if output.exists():
        sys.exit(f"{output} exists; choose another folder")
    try:
        get_backend("cupy")
    except RlsbenchError as error:
        sys.exit(str(error))
    facts = device_facts(int(device.partition(":")[2] or 0))
    emulated = facts["name"].startswith("emulated")
    report = Report(f"{datetime.now(UTC):%F}", facts, machine_record(), emulated)
    until = start + SECONDS
    conformance(report, device, start + CONFORMANCE_SHARE * SECONDS, miniature)
    tiny = MINIATURE if miniature else {}
    for neurons in (64, 100) if miniature else NEURONS:
        overrides = {"network.neurons": neurons, "numerics.device": device, **tiny}
        run(report, "sinusoid", load_experiment("sinusoid", overrides=overrides), ITERATIONS, until - 60)
    mouse = {"numerics.device": device, **({"network.neurons": 60, **tiny, "network.K": 0} if miniature else {})}
    run(report, "mouse", load_experiment("mouse", overrides=mouse), ITERATIONS, until - 60)
    size = {"network.neurons": 64 if miniature else 100_000, "numerics.device": device}
    profile(report, load_experiment("sinusoid", overrides=size | tiny), until - 40)
    output.mkdir(parents=True)
    (output / "result.json").write_text(json.dumps(asdict(report), indent=1, default=str) + "\n", encoding="utf-8")
    (output / "README.md").write_text(written(report), encoding="utf-8")
    click.echo((output / "README.md").read_text(encoding="utf-8"))
    if report.conformance["failures"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
