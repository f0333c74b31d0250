"""`rlsbench sweep`: a grid of runs, whose results go into a store."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import click

from rlsbench.backend import registered_backend
from rlsbench.cli.console import echo
from rlsbench.cli.options import COUNT, DURATION, LIST, SHARD, Parsed, together
from rlsbench.configuration import parse_assignments
from rlsbench.errors import UnavailableBackendError
from rlsbench.results import AttemptDocument, SimulationDocument, Store
from rlsbench.sweep import Progress, SweepPlan, SweepSummary, load_plan, run_sweep

_COUNTS = Parsed("list", lambda text: tuple(COUNT.convert(part, None, None) for part in LIST.read(text)))
_SHARD = "Only run I, I + N, I + 2 N, ... of the plan, I = 1 to N; in a job array, $SLURM_ARRAY_TASK_ID/N."
_SET = "A setting, or several values of it, such as learning.lambda_plastic=0.01,0.04; may be repeated."
_OPTIONS = {
    "--backend": ("backends", LIST),
    "--neurons": ("neurons", _COUNTS),
    "--seed": ("seeds", _COUNTS),
    "--precision": ("precisions", LIST),
    "--p-precision": ("p_precisions", LIST),
    "--storage": ("storages", LIST),
    "--algorithm": ("algorithms", LIST),
    "--device": ("devices", LIST),
    "--threads": ("threads", _COUNTS),
    "--ranks": ("ranks", _COUNTS),
    "--launcher": ("launcher", None),
    "--simulator": ("simulators", LIST),
    "--simulator-python": ("simulator_python", None),
    "--iterations": ("iterations", COUNT),
    "--warm-up": ("warm_up", COUNT),
    "--repetitions": ("repetitions", COUNT),
    "--time-limit": ("time_limit_s", DURATION),
    "--correlate/--no-correlate": ("correlate", None),
}


@click.command(short_help="Run a grid of experiments and store the results.")
@click.argument("plan_file", metavar="[PLAN.toml]", required=False, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
@click.option("--preset", metavar="NAME", help="The experiment; sinusoid unless the plan sets another.")
@together(
    *(
        click.option(option, name, type=kind, default=None, help=SweepPlan.model_fields[name].description)
        for option, (name, kind) in _OPTIONS.items()
    )
)
@click.option("--budget", type=DURATION, help="Time for the whole sweep, such as 90, 30m or 2h.")
@click.option("--shard", type=SHARD, default=(1, 1), metavar="I/N", help=_SHARD)
@click.option("--retry", is_flag=True, help="Repeat runs that did not complete.")
@click.option("--set", "assignments", multiple=True, metavar="SECTION.KEY=VALUE[,...]", help=_SET)
def sweep(
    plan_file: Path | None, output: Path, budget: float | None, shard: tuple[int, int], retry: bool, **options: Any
) -> None:
    """Run every combination of backends, sizes and precisions, each in its own process.

    Options or a TOML file (see docs/sweeps.md) define the grid. Each run adds a document to the
    folder --output. Runs that are already there are skipped, so repeating the same command
    continues an interrupted sweep, and sweeps that run at the same time share the work. The exit
    status is 1 if a run failed or a backend did not pass the conformance suite.
    """
    assignments = options.pop("assignments")
    overrides: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    for assignment in assignments:
        ((key, value),) = parse_assignments([assignment]).items()
        section, _, name = key.partition(".")
        unquoted = value == assignment.partition("=")[2].strip()
        several = isinstance(value, str) and unquoted and "," in value
        field = overrides.setdefault("vary" if several else "set", {})
        field.setdefault(section, {})[name] = _several(key, value) if several else value
    plan = load_plan(plan_file, overrides)
    for name in plan.backends:
        with suppress(UnavailableBackendError):  # recorded by the sweep; an unknown name is an error
            registered_backend(name)
    store = Store(output)
    try:
        summary = run_sweep(plan, store, budget_s=budget, retry=retry, shard=shard, show=_show)
    except KeyboardInterrupt:
        click.echo(f"results so far are in {output}; repeat the command to continue")
        raise
    for problem in summary.problems:
        echo(f"warning: ignored {problem}", err=True)
    click.echo(_told(summary, output))
    if summary.not_made.keys() & {"failed", "timed out"} or summary.failed_checks:
        sys.exit(1)


def _several(key: str, text: str) -> list[Any]:
    """The values of a setting, which are separated by commas."""
    values = parse_assignments([f"{key}=[{text}]"])[key]
    if isinstance(values, list):
        return values
    return [parse_assignments([f"{key}={part}"])[key] for part in LIST.read(text)]


def _show(progress: Progress) -> None:
    document, place = progress.document, f"{progress.number}/{progress.total}"
    if document is None:
        click.echo(f"{place}  {progress.point} (repetition {progress.repetition}) ... ", nl=False)
    elif isinstance(document, AttemptDocument):
        echo(f"{document.outcome}: {document.reason}")
    elif isinstance(document, SimulationDocument):
        click.echo(f"{median(document.seconds) / document.model_seconds:.3g} s per second of model time")
    else:
        checked = {"passed": "", "failed": "; FAILS the conformance suite", "not checked": "; not checked"}
        seconds = document.seconds_per_iteration or 0.0
        click.echo(f"{seconds:.3g} s per iteration{checked[document.validity]}")


def _told(summary: SweepSummary, output: Path) -> str:
    parts = [f"{summary.completed} runs completed"]
    parts += [f"{count} {outcome}" for outcome, count in summary.not_made.items()]
    if summary.before:
        parts.append(f"{summary.before} already present")
    if summary.elsewhere:
        parts.append(f"{summary.elsewhere} being made by another sweep")
    if summary.left:
        parts.append(f"{summary.left} remaining because {summary.stopped}; repeat the command to continue")
    return f"{'; '.join(parts)}; results in {output}"
